"""The command line of evaluations, own encoders, and boxes of other classes."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from typer.testing import CliRunner

import marsbench
from marsbench.base.errors import NotAvailableError, StoreError
from marsbench.cli import app
from marsbench.evaluate import loop
from marsbench.results.record import RunRecord
from marsbench.results.store import MODEL, Store
from marsbench.tasks.kinds import Decode, Kind
from tests.fakes import make_spec, write_folder, write_spec

ENCODER = """
import timm, marsbench

def encoder(pretrained=True):
    model = timm.create_model("test_resnet", num_classes=0)
    return marsbench.Encoder(model, num_features=model.num_features, size=160)
"""


EPOCH: dict[str, Any] = {"workers": 0, "trainer.max_epochs": 1}


def called(*words: str) -> tuple[int, list[dict[str, Any]], str]:
    """Exit code, lines and messages of a command."""
    done = CliRunner().invoke(app, ["evaluate", *words])
    return done.exit_code, [json.loads(line) for line in done.stdout.splitlines()], done.stderr


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def run(toy: str, store: Path) -> RunRecord:
    return marsbench.run(
        task=toy,
        model="timm:test_resnet",
        mode="scratch",
        store=str(store),
        **EPOCH,
    )


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A task of colour images with the toy's classes in another order, and one more."""
    spec = make_spec(
        classes=("sky", "Plain", "CRATER", "dune"), name="other", folder="mb-other", channels=3
    )
    folder = write_folder(spec, tmp_path_factory.mktemp("other"))
    return str(write_spec(spec, folder / "task.yaml"))


def test_lines_for_programs_and_tables_for_people(run: RunRecord, other: str, store: Path) -> None:
    words = (run.run_id, f"task={other}", f"store={store}", "workers=0")
    code, (line,), _ = called(*words)
    assert code == 0
    assert (line["status"], line["parent"]) == ("done", run.run_id)
    assert (line["trained_on"], line["task"]) == ("toy", "other")
    record = Store(store).find(line["run_id"])
    assert record is not None
    assert line["score"] == record.score == record.metrics["test"]["f1_weighted"]
    assert line["gap"] == pytest.approx(line["in_domain"] - line["score"])
    assert set(line["ignored"]) == {"sky"}
    assert line["folder"] == str(store / line["run_id"])
    assert set(record.data["classes"]) == {"Plain", "CRATER", "dune"}
    assert record.data["evaluation"]["bands"] == "luminance"
    assert called(*words)[1][0]["status"] == "done already"
    shown = CliRunner().invoke(app, ["evaluate", *words, "--format", "table"])
    assert "in domain" in shown.stdout
    assert "done already" in shown.stdout
    assert record.config["task"] == other


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["task=mmls"], "No run is named"),
        (["RUN", "tsk=mmls"], "Unknown key 'tsk'. Did you mean task"),
        (["RUN", "task=mmls", "task=mmls"], "'task' is given twice"),
        (["RUN", "task=mmls", "size=-1"], "'size' is -1"),
        (["RUN", "device=cuda:77"], "--device cuda:77 is not available"),
        (["RUN", "task=mmls", "source=demo"], "are images with masks; the run"),
        (["RUN", "class_map=nowhere.yaml"], "nowhere.yaml"),
        (["RUN", "root=/nowhere"], "/nowhere"),
        (["toy/none"], "Unknown run"),
    ],
)
def test_bad_words(words: list[str], message: str, run: RunRecord, store: Path) -> None:
    named = [run.run_id if word == "RUN" else word for word in words]
    code, lines, told = called(*named, f"store={store}")
    assert code == 2
    assert message in told.replace("\n", " ")
    assert "Traceback" not in told
    assert all(line["status"] == "failed" for line in lines)


def test_an_error_leaves_other_evaluations(
    run: RunRecord, other: str, toy: str, store: Path, tmp_path: Path
) -> None:
    second = marsbench.run(
        task=toy,
        model="timm:test_resnet",
        mode="scratch",
        seed=1,
        store=str(tmp_path),
        **EPOCH,
    )
    shutil.copytree(store / run.run_id, tmp_path / run.run_id)
    (tmp_path / run.run_id / MODEL).unlink()
    code, lines, told = called(str(tmp_path), f"task={other}", f"store={tmp_path}")
    assert code == 2
    assert sorted(line["status"] for line in lines) == ["done", "failed"]
    assert "1 of 2 failed" in told
    assert "were not saved" in told
    assert [r.parents for r in Store(tmp_path).evaluations()] == [[second.run_id]]
    with pytest.raises(StoreError, match="were not saved"):
        marsbench.run_evaluate(run.run_id, task=other, store=str(tmp_path))


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (torch.AcceleratorError("CUDA error: misaligned address"), 70, "The GPU failed"),
        (
            RuntimeError("Worker is killed by signal: Bus error. out of shared memory"),
            2,
            "/dev/shm",
        ),
    ],
    ids=["lost", "shared"],
)
def test_errors_of_the_machine_have_a_remedy(
    error: Exception,
    code: int,
    message: str,
    run: RunRecord,
    other: str,
    store: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(*_: object) -> None:
        raise error

    monkeypatch.setattr(loop, "read_group", broken)
    words = (run.run_id, f"task={other}", f"store={store}", "workers=0", "--force")
    ended, lines, said = called(*words)
    assert ended == code
    assert said.count(message) == 1
    assert "Traceback" not in said
    # An evaluation that never had a chance has not failed.
    assert [line["status"] for line in lines] == ([] if code == 70 else ["failed"])


def test_own_encoders_are_named_by_the_caller(
    toy: str, other: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("enc.py").write_text(ENCODER)
    own = marsbench.run(task=toy, model="./enc.py", mode="scratch", **EPOCH)
    with pytest.raises(NotAvailableError, match="own:enc"):
        marsbench.run_evaluate(own.run_id, task=other)
    (record,) = marsbench.run_evaluate(own.run_id, task=other, model="./enc.py")
    assert record.model == "own:enc"
    (same,) = marsbench.run_evaluate(own.run_id, model="./enc.py")
    assert same.metrics["test"] == own.metrics["test"]


def test_boxes_of_other_classes(tmp_path: Path) -> None:
    paths = {}
    for name, classes in (("first", ("crater", "dune")), ("second", ("rock", "Crater"))):
        spec = make_spec(
            Kind.DETECTION, classes, decode=Decode.IMAGE_BOXES, name=name, folder=f"mb-{name}"
        )
        folder = write_folder(spec, tmp_path / name, {"train": 2, "val": 2, "test": 4})
        paths[name] = str(write_spec(spec, folder / "task.yaml"))
    keys: dict[str, Any] = {"model": "timm:test_resnet", "mode": "scratch", "side": 64}
    keys |= EPOCH
    store = tmp_path / "runs"
    run = marsbench.run(task=paths["first"], store=str(store), **keys)
    (record,) = marsbench.run_evaluate(run.run_id, task=paths["second"], store=str(store))
    assert record.data["classes"] == ["Crater", "dune"]
    own = marsbench.load_dataset(paths["second"], "test")
    truths = [own[i]["labels"].numpy() for i in range(len(own))]
    counts = np.bincount(np.concatenate(truths), minlength=2)
    rock, crater = (own.class_names.index(name) for name in ("rock", "Crater"))
    assert record.data["evaluation"]["ignored"] == {"rock": int(counts[rock])}
    frame = Store(store).predictions(record.run_id)
    assert sum(len(labels) for labels in frame["target_labels"]) == counts[crater]
    assert set(np.concatenate(list(frame["target_labels"])).tolist()) <= {0}
    assert "loss" not in record.metrics["test"]
    assert "ap/Crater" in record.metrics["test"]
    # Without dune, its boxes are gone.
    content = {
        "first": "first",
        "second": "second",
        "matches": [{"first": "crater", "second": "Crater"}],
        "unmatched": {"second": "rock"},
        "ignore": {"first": "dune"},
    }
    (tmp_path / "map.yaml").write_text(yaml.safe_dump(content))
    (alone,) = marsbench.run_evaluate(
        run.run_id, task=paths["second"], store=str(store), class_map=str(tmp_path / "map.yaml")
    )
    assert alone.data["classes"] == ["Crater"]
    assert alone.metrics["test"]["map"] == record.metrics["test"]["map"]
