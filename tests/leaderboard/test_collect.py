"""The folder of a submission, and the details that its author adds."""

import hashlib
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from marsbench.base.errors import ConfigError, StoreError
from marsbench.leaderboard.choice import choose
from marsbench.leaderboard.collect import absolute_paths, collect
from marsbench.leaderboard.details import Details, complete, model_of, read_about
from marsbench.leaderboard.schema import Author, Submission, SubmittedModel
from marsbench.models.pretraining import RANDOM, UNKNOWN, Pretraining
from marsbench.results.store import Store
from tests.report.fake_store import SEEDS, Fake, fake_record, make_store

IMAGENET = Pretraining(data="ImageNet-1k", images=1_281_167, licence="BSD-3-Clause", overlaps=())
VIT = SubmittedModel(name="vit_l_16", weights="vit.pth", parameters=5, pretraining=IMAGENET)
OWN = SubmittedModel(name="vit_l_16", weights="sha256:0123456789abcdef")
DETAILS = Details(author=Author(name="Ada"), model=VIT, note="Short.")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Runs of a classifier with further files, and of a segmenter with class maps."""
    fakes = [Fake("frost_cls", "vit_l_16", seed=s) for s in SEEDS]
    fakes += [Fake("mmls", "unet", seed=s) for s in SEEDS[:2]]
    opened = make_store(tmp_path / "store", map(fake_record, fakes))
    for folder in opened.root.glob("*/*/*/*/*"):
        for name in (
            "model.safetensors",
            "config.yaml",
            ".lock",
            "logs/metrics.csv",
            "samples.png",
        ):
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_text("private")
        if "mmls" in str(folder):
            (folder / "maps").mkdir()
            for number in range(120):
                (folder / "maps" / f"image_{number}.png").write_bytes(b"map")
            (folder / "maps" / "other.png").write_text("private")
    return opened


def files_of(folder: Path) -> dict[str, str]:
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in paths
    }


def test_records_and_predictions_are_copied_and_nothing_else(store: Store, tmp_path: Path) -> None:
    out = tmp_path / "deep" / "submission"
    choice = choose(store, {"model": "vit"})
    submission = collect(store, choice, DETAILS, out)
    assert Submission.from_json((out / "submission.json").read_text(), "") == submission
    assert submission.is_complete
    assert not submission.partial
    assert (submission.author.name, submission.note) == ("Ada", "Short.")
    assert (submission.mode, submission.protocol, submission.subset) == ("frozen", "cached", "full")
    copies = files_of(out)
    del copies["submission.json"]
    assert copies == {
        f"runs/{run.run_id}/{name}": digest
        for run in submission.runs
        for name, digest in run.files.items()
    }
    assert {name.rpartition("/")[2] for name in copies} == {"record.json", "predictions.parquet"}
    assert copies.items() <= {f"runs/{k}": v for k, v in files_of(store.root).items()}.items()
    assert [path.name for path in out.parent.iterdir()] == ["submission"]


def test_class_maps_of_test_samples_are_copied(store: Store, tmp_path: Path) -> None:
    choice = choose(store, {"task": "mmls"}, partial=True)
    submission = collect(store, choice, DETAILS, tmp_path / "out")
    assert submission.partial
    assert submission.seeds == SEEDS[:2]
    maps = {f"maps/image_{number}.png" for number in range(120)}
    for run in submission.runs:
        assert set(run.files) == {"record.json", "predictions.parquet", *maps}
    (tmp_path / "store" / submission.runs[0].run_id / "maps" / "image_7.png").unlink()
    with pytest.raises(StoreError, match=r"image_7\.png cannot be read: No such file"):
        collect(store, choice, DETAILS, tmp_path / "out2")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "store"]


def test_sample_ids_that_lead_out_of_the_folder(store: Store, tmp_path: Path) -> None:
    choice = choose(store, {"task": "mmls"}, partial=True)
    path = store.folder(choice.records[0].run_id) / "predictions.parquet"
    frame = pd.read_parquet(path)
    frame.loc[0, "sample_id"] = "../../../../../../secret"
    frame.to_parquet(path)
    (tmp_path / "secret.png").write_text("secret")
    with pytest.raises(StoreError, match=r"maps/.*secret-.*\.png cannot be read"):
        collect(store, choice, DETAILS, tmp_path / "out")


def test_earlier_submissions_are_replaced_as_a_whole(store: Store, tmp_path: Path) -> None:
    out = tmp_path / "out"
    collect(store, choose(store, {"task": "mmls"}, partial=True), DETAILS, out)
    (out / "rows").mkdir()
    (out / "rows" / "segmentation.csv").write_text("old")
    collect(store, choose(store, {"model": "vit"}), DETAILS, out)
    assert {path.name for path in out.iterdir()} == {"submission.json", "runs"}
    assert [path.name for path in (out / "runs").iterdir()] == ["frost_cls"]
    # A submission that fails keeps the earlier one.
    before = files_of(out)
    (
        store.folder(choose(store, {"model": "vit"}).records[3].run_id) / "predictions.parquet"
    ).unlink()
    with pytest.raises(StoreError, match=r"predictions\.parquet cannot be read.*") as caught:
        collect(store, choose(store, {"model": "vit"}), DETAILS, out)
    assert "again with --force" in caught.value.remedy
    assert files_of(out) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "store"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"thesis.tex": "x"}, r"holds other files: thesis\.tex"),
        ({"runs/a": "x"}, r"holds files, but no submission\.json"),
        ({"submission.json": "{}"}, "is not an earlier submission"),
        ({"submission.json": "\udcff"}, "is not an earlier submission"),
        (None, "is not a folder"),
    ],
)
def test_other_folders_are_never_replaced(
    store: Store, tmp_path: Path, content: dict[str, str] | None, message: str
) -> None:
    out = tmp_path / "out"
    for name, text in (content or {}).items():
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_bytes(os.fsencode(text))
    if content is None:
        out.write_text("x")
    before = files_of(tmp_path)
    with pytest.raises(ConfigError, match=message):
        collect(store, choose(store, {"model": "vit"}), DETAILS, out)
    assert files_of(tmp_path) == before


@pytest.mark.parametrize("place", ["store", "store/frost_cls", "."])
def test_folders_that_overlap_with_the_store(store: Store, tmp_path: Path, place: str) -> None:
    with pytest.raises(ConfigError, match="overlaps with the store"):
        collect(store, choose(store, {"model": "vit"}), DETAILS, tmp_path / place)


def test_absolute_paths_in_records_are_named() -> None:
    config = {"root": "/home/ada/data", "store": "runs", "task": "frost_cls", "optim": {"lr": 1}}
    record = replace(
        fake_record(Fake("frost_cls", "vit_l_16")), config=config, weights={"path": "~/vit.pth"}
    )
    assert absolute_paths((record, record)) == ["root=/home/ada/data", "weights.path=~/vit.pth"]


def test_the_model_of_records() -> None:
    record = fake_record(Fake("frost_cls", "vit_l_16"))
    assert model_of([record]) == SubmittedModel(
        name="vit_l_16", parameters=10_000_000, pretraining=RANDOM
    )
    earlier = replace(record, weights={"name": "vit.pth"}, parameters={"total": 3})
    assert model_of([earlier]).pretraining == UNKNOWN
    now = replace(earlier, pretraining=IMAGENET, parameters={"total": 5})
    assert model_of([earlier, now]) == VIT
    assert model_of([replace(record, parameters={"total": 0})]).parameters is None


def test_details_of_a_file_are_completed_by_options(tmp_path: Path) -> None:
    path = tmp_path / "about.yaml"
    pretraining = {"data": "MarsPix", "images": 10, "overlaps": ["frost_cls"]}
    content = {
        "author": {"name": "Ada", "organisation": "Lab"},
        "model": {
            "weights": "https://example.org/w",
            "pretraining": pretraining,
            "links": ["https://example.org/paper"],
        },
        "note": "From the file.",
    }
    path.write_text(yaml.safe_dump(content))
    options = {"name": "", "organisation": "", "link": "https://ada.org"}
    details = complete(OWN, read_about(path), options, licence="MIT", note="")
    assert details == Details(
        author=Author(name="Ada", organisation="Lab", link="https://ada.org"),
        model=SubmittedModel(
            name="vit_l_16",
            weights="https://example.org/w",
            pretraining=Pretraining(data="MarsPix", images=10, overlaps=("frost_cls",)),
            licence="MIT",
            links=("https://example.org/paper",),
        ),
        note="From the file.",
    )
    assert complete(OWN, read_about(path), {"name": "Bo"}, note="New.").author.name == "Bo"
    assert complete(VIT, {}, {"name": "Ada"}).model == VIT


@pytest.mark.parametrize(
    ("model", "about", "message"),
    [
        (VIT, {}, "The author of the submission is missing"),
        (VIT, {"author": {"organisation": "Lab"}}, "The author of the submission is missing"),
        (VIT, {"author": {"name": "Ada", "mail": "x"}}, "Unknown key 'author.mail'"),
        (VIT, {"author": {"name": 5}}, "'author.name' is 5; expected text"),
        (VIT, {"author": {"name": "Ada", "link": "ada.org"}}, "begins with https://"),
        (VIT, {"author": {"name": "Ada"}, "models": {}}, "Unknown key 'models'"),
        (
            VIT,
            {"author": {"name": "Ada"}, "model": {"pretraining": {"data": "none"}}},
            "'model.pretraining.data' is 'none', but the records have 'ImageNet-1k'",
        ),
        (VIT, {"author": {"name": "Ada"}, "model": {"name": "b"}}, "the records have 'vit_l_16'"),
        (
            OWN,
            {"author": {"name": "Ada"}, "model": {"parameters": -1}},
            "a whole number from 1 to",
        ),
        (OWN, {"author": {"name": "Ada"}, "model": {"links": "https://a"}}, "expected a list"),
    ],
)
def test_invalid_details(model: SubmittedModel, about: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        complete(model, about, {})


@pytest.mark.parametrize("text", ["", "- a", "author: Ada", "model: [1]", "!!python/none"])
def test_files_that_are_no_details(tmp_path: Path, text: str) -> None:
    (tmp_path / "about.yaml").write_text(text)
    with pytest.raises(ConfigError, match=r"about\.yaml"):
        read_about(tmp_path / "about.yaml")


def test_submissions_are_plain_json(store: Store, tmp_path: Path) -> None:
    collect(store, choose(store, {"model": "vit"}), DETAILS, tmp_path / "out")
    content = json.loads((tmp_path / "out" / "submission.json").read_text())
    assert content["seeds"] == list(SEEDS)
    assert content["model"]["pretraining"]["overlaps"] == []
    assert content["data"] == "real"
