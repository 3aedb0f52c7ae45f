"""Cards of toy runs: text, metadata, files, and use of a pushed model by the real client."""

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from huggingface_hub import ModelCard, constants
from markdown_it import MarkdownIt
from PIL import Image
from typer.testing import CliRunner

import marsbench
from marsbench.base.errors import ConfigError, MarsbenchError, StoreError
from marsbench.cli import app
from marsbench.leaderboard.card.write import Card, write_card
from marsbench.results.record import RunRecord
from marsbench.results.store import Store
from marsbench.tasks.kinds import Decode, Kind
from marsbench.tasks.spec import TaskSpec
from tests.fakes import make_spec, write_folder, write_spec
from tests.predict.test_run import rows_of
from tests.server import Server

NAMES = ("a | b", "<script>alert(1)</script>", "[x](https://evil.example) $y$")
"""Class names that a page could take for more than text."""

TITLE = "---\nTwo *bold* lines\x1b[31m @me #1 www.evil.example"


def task_at(folder: Path) -> tuple[TaskSpec, str]:
    spec = dataclasses.replace(
        make_spec(Kind.MULTICLASS, NAMES),
        title=TITLE,
        sensor="HiRISE",
        mission="MRO",
        licence="CC-BY-4.0",
        citation="Author | Others (2026), `code`",
        notes=("A *note*.",),
    )
    data = write_folder(spec, folder)
    return spec, str(write_spec(spec, data / "task.yaml"))


def keys(task: str, store: Path, **more: Any) -> dict[str, Any]:
    given = {"task": task, "model": "timm:test_resnet", "mode": "scratch", "workers": 0}
    given |= {"trainer.max_epochs": 1, "trainer.accelerator": "cpu", "optim.batch_size": 8}
    return given | {"store": str(store)} | more


class Place:
    """A store with runs of an odd task."""

    def __init__(self, folder: Path) -> None:
        self.spec, self.task = task_at(folder)
        self.store = folder / "runs"
        self.images = Path(self.task).parent / "data" / "test"
        self.records = [self.run(seed=seed, pictures=seed == 0) for seed in (0, 1, 2)]

    def run(self, **more: Any) -> RunRecord:
        return marsbench.run(**keys(self.task, self.store, **more))

    def ids(self, count: int = 3) -> list[str]:
        return [record.run_id for record in self.records[:count]]

    def card(self, out: Path, *runs: str, **more: Any) -> Card:
        return write_card(runs or self.ids(), out, store=self.store, **more)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return Place(tmp_path_factory.mktemp("place"))


def rendered(folder: Path) -> str:
    text = (folder / "README.md").read_text()
    page = MarkdownIt("commonmark").enable("table").render(text.partition("\n---\n")[2])
    return str(page)


def test_scores_and_metadata(place: Place, tmp_path: Path) -> None:
    done = place.card(tmp_path / "card", licence="cc-by-4.0")
    card = ModelCard.load(done.folder / "README.md")
    assert card.data.license == "cc-by-4.0"
    assert card.data.library_name == "marsbench"
    assert card.data.pipeline_tag == "image-classification"
    assert card.data.get("base_model") is None
    results = card.data.eval_results
    assert results is not None
    by_name = {result.metric_name: result for result in results}
    scores = [record.scores["f1_weighted"] for record in place.records]
    headline = results[0]
    assert headline.metric_name == "weighted F1, IQM of 3 seeds"
    assert headline.metric_value == pytest.approx(np.mean(scores), abs=1e-6)  # of three runs
    assert (headline.metric_type, headline.dataset_split) == ("f1", "test")
    assert "loss" not in {result.metric_type for result in results}
    assert by_name["AUROC, IQM of 3 seeds"].metric_type == "roc_auc"
    text = (done.folder / "README.md").read_text()
    assert f"| {min(scores):.3f}" in text
    interval = re.search(
        r"\| weighted F1 \(headline\) \| ([\d.]+) \| ([\d.]+) to ([\d.]+) \|", text
    )
    assert interval is not None
    value, low, high = map(float, interval.groups())
    assert min(scores) - 1e-3 <= low <= value <= high <= max(scores) + 1e-3
    one = place.card(tmp_path / "one", place.ids()[1])
    text = (one.folder / "README.md").read_text()
    assert "One seed: the spread over seeds is unknown." in text
    assert "95 %" not in text
    result = (ModelCard.load(one.folder / "README.md").data.eval_results or [])[0]
    assert result.metric_value == pytest.approx(scores[1], abs=1e-6)
    assert result.metric_name == "weighted F1"


def test_files_that_use_the_model_again(place: Place, tmp_path: Path) -> None:
    done = place.card(tmp_path / "card", *reversed(place.ids()))
    run = place.store / place.ids()[2]
    seeds = [f"seeds/{run_id.rpartition('/')[2]}.json" for run_id in place.ids(2)]
    assert {*done.files} == {
        *("README.md", "record.json", "config.yaml", "task.yaml", "model.safetensors"),
        *("confusion.png", *seeds),
    }
    found = {str(p.relative_to(done.folder)) for p in done.folder.rglob("*") if p.is_file()}
    assert found == {*done.files}
    for name in ("record.json", "model.safetensors"):
        assert (done.folder / name).read_bytes() == (run / name).read_bytes()
    assert any("paths of this machine" in text and "task=" in text for text in done.notes)
    # The picture of samples is the published run's, here of seed 0.
    again = place.card(tmp_path / "card")
    assert {*again.files} - {*done.files} >= {"samples.png"}
    for name in ("confusion.png", "samples.png"):
        with Image.open(again.folder / name) as picture:
            assert picture.format == "PNG"
            assert min(picture.size) > 200
    text = (again.folder / "README.md").read_text()
    assert "](confusion.png)" in text
    assert "Commonest mistake:" in text
    assert "/nowhere" not in text
    assert "marsbench predict hf://ORG/NAME IMAGES..." in text
    assert "None: no weights were pre-trained." in text


def test_names_are_text(place: Place, tmp_path: Path) -> None:
    done = place.card(tmp_path / "card")
    text = (done.folder / "README.md").read_text()
    assert "\x1b" not in text
    page = rendered(done.folder)
    assert "<script>" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert not re.findall(r'href="[^"]*evil', page)
    assert set(re.findall(r'<img src="([^"]*)"', page)) == {"confusion.png", "samples.png"}
    # Names do not end cells: every row of a table has as many as its header.
    for table in re.findall(r"<table>.*?</table>", page, re.DOTALL):
        rows = re.findall(r"<tr>(.*?)</tr>", table, re.DOTALL)
        counts = {len(re.findall(r"<t[hd]", row)) for row in rows}
        assert len(counts) == 1
    assert "<td>a | b</td>" in page
    assert (
        "<h1>timm:test_resnet on ---\\nTwo *bold* lines\\x1b[31m @me #1 www.evil.example</h1>"
        in page
    )
    # GitHub's form of Markdown would link these without an escape.
    assert not re.search(r"(?<!\\)://evil|www\.evil", text.partition("\n---\n")[2])
    assert not re.search(r"(?<!\\)[@$]", text.partition("\n---\n")[2].partition("## Files")[0])


def invoke(*words: object) -> tuple[int, str, str]:
    done = CliRunner().invoke(app, [*map(str, words)])
    return done.exit_code, done.stdout, done.stderr


def test_a_pushed_model_predicts_as_its_run(
    place: Place, tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "good")
    words = ("card", *place.ids(), "--store", place.store, "--out", tmp_path / "card")
    code, out, err = invoke(*words, "--push", "hf://me/toy", "--format", "table")
    assert code == 0, err
    assert "marsbench predict hf://me/toy IMAGES..." in out
    repo = server.models["me/toy"]
    assert repo.private
    assert {*repo.files} >= {
        "README.md",
        "record.json",
        "model.safetensors",
        f"seeds/{place.ids()[1].rpartition('/')[2]}.json",
    }
    assert b"marsbench predict hf://me/toy" in repo.files["README.md"]
    for name, run in (("hub", "hf://me/toy"), ("folder", place.store / place.ids()[0])):
        code, _, err = invoke(
            "predict", run, place.images, "--out", tmp_path / name, "--device", "cpu"
        )
        assert code == 0, err
    assert rows_of(tmp_path / "hub") == rows_of(tmp_path / "folder")
    # The same card again changes nothing but its commit.
    code, out, err = invoke(*words, "--push", "hf://me/toy", "--public", "--format", "json")
    assert code == 0, err
    assert json.loads(out)["page"] == f"{server.url}/me/toy"
    assert repo.private  # who may see a repository is not for a later upload to change


def test_pushes_that_fail_leave_the_card(
    place: Place, tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "none"))
    words = ("card", place.ids()[0], "--store", place.store, "--out", tmp_path / "card")
    code, _, err = invoke(*words, "--push", "hf://me/toy")
    assert code == 2
    assert "no login to" in err
    assert "HF_TOKEN" in err
    assert (tmp_path / "card" / "README.md").exists()
    monkeypatch.setenv("HF_TOKEN", "good")
    code, _, err = invoke(*words, "--push", "hf://others/toy")
    assert code == 2
    assert "refuses access to hf://others/toy" in err
    assert not server.models


def test_a_frozen_run_says_which_weights_it_needs(
    place: Place, weights: str, tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = place.run(mode="frozen", weights=weights)
    done = place.card(tmp_path / "card", record.run_id)
    text = (done.folder / "README.md").read_text()
    assert record.weights is not None
    assert f"the author's file `model.safetensors` (`{record.weights['name']}`)" in text
    assert "Unknown. Initial weights:" in text
    packaged = place.run(mode="frozen", model="efficientnet_lite0")
    done = place.card(tmp_path / "card", packaged.run_id)
    text = (done.folder / "README.md").read_text()
    assert "those of the trained head alone" in text
    assert "`efficientnet-lite0-57934424`" in text
    assert "`ImageNet-1k`, 1,281,167 images" in text
    assert "no images of the benchmark are among them" in text
    neighbours = place.run(mode="frozen", model="efficientnet_lite0", **{"optim.name": "knn"})
    place.card(tmp_path / "knn", neighbours.run_id)
    knn = (tmp_path / "knn" / "README.md").read_text()
    assert "those of the classifier of nearest neighbours alone" in knn
    assert ("| loss |" in knn, "| loss |" in text) == (False, True)
    monkeypatch.setenv("HF_TOKEN", "good")
    place.card(tmp_path / "card", packaged.run_id, address=_address("hf://me/frozen"))
    code, _, err = invoke(
        "predict", "hf://me/frozen", place.images, "--out", tmp_path / "out", "--device", "cpu"
    )
    assert code == 0, err


def _address(text: str) -> Any:
    from marsbench.base.hub import parse_address

    return parse_address(text)


def test_a_segmenter(tmp_path: Path) -> None:
    spec = make_spec(Kind.SEGMENTATION, ("background", "crater"), decode=Decode.IMAGE_MASK)
    folder = write_folder(spec, tmp_path, {"train": 4, "val": 2, "test": 3})
    task = str(write_spec(spec, folder / "task.yaml"))
    store = tmp_path / "runs"
    record = marsbench.run(**keys(task, store, model="smp:unet/resnet18", pictures=True))
    done = write_card([record.run_id], tmp_path / "card", store=store)
    text = (done.folder / "README.md").read_text()
    assert {"confusion.png", "samples.png"} <= {*done.files}
    assert "Share of the pixels of each class" in text
    assert "a class for every pixel" in text
    card = ModelCard.load(done.folder / "README.md")
    assert card.data.pipeline_tag == "image-segmentation"
    assert next(r.metric_type for r in card.data.eval_results or ()) == "mean_iou"
    # Without predictions there is no picture, but a card.
    (store / record.run_id / "predictions.parquet").unlink()
    done = write_card([record.run_id], tmp_path / "card", store=store)
    assert "confusion.png" not in done.files
    assert any("No picture was drawn" in text for text in done.notes)


def test_runs_that_are_no_seeds_of_a_model(place: Place, tmp_path: Path) -> None:
    def refused(failure: type[MarsbenchError], text: str, *runs: str, **more: Any) -> None:
        with pytest.raises(failure, match=text):
            place.card(tmp_path / "card", *runs, **more)
        assert not (tmp_path / "card").exists()

    first = place.ids()[0]
    other = place.run(**{"optim.lr": 0.1, "seed": 1, "save_model": False})
    refused(ConfigError, "differ in more than the seed", first, other.run_id)
    refused(ConfigError, "A seed is named twice", first, first)
    refused(StoreError, "weights of run .* were not saved", other.run_id)
    refused(ConfigError, "is not an identifier of the hub", licence="All rights reserved")
    refused(ConfigError, "is not the repository of a model", address=_address("hf://datasets/me/a"))
    refused(ConfigError, "is not the repository of a model", address=_address("hf://me/a/file"))
    refused(MarsbenchError, "Unknown run", "0123456789")
    folds = place.run(folds=2)
    refused(ConfigError, "a model for each fold", folds.run_id)
    ensemble = dataclasses.replace(place.records[0], record_type="ensemble")
    store = Store(tmp_path / "others")
    with store.claim(ensemble.run_id):
        store.finish(ensemble)
    with pytest.raises(ConfigError, match="of type ensemble, without weights"):
        write_card([ensemble.run_id], tmp_path / "card", store=store.root)


def test_folders_of_others_stay(place: Place, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match=r"is not an earlier card: it holds notes\.txt"):
        place.card(out)
    assert (out / "notes.txt").read_text() == "mine"
    run = place.store / place.ids()[0]
    for folder in (run, run / "card", place.store):
        with pytest.raises(ConfigError, match="overlaps with the run"):
            place.card(folder)
    assert (run / "record.json").exists()
    place.card(tmp_path / "card")
    (tmp_path / "link").symlink_to(tmp_path / "card")
    place.card(tmp_path / "link")  # an earlier card, through the link
    (tmp_path / "file").write_text("x")
    with pytest.raises(ConfigError, match="is not a folder"):
        place.card(tmp_path / "file")
