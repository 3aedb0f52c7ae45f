"""A run evaluated on its own test split gives its own metrics; nothing is evaluated twice."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import marsbench
from marsbench.base.errors import MarsbenchError, StoreError
from marsbench.metrics import scoring
from marsbench.results.record import RunRecord
from marsbench.results.store import RECORD, Store
from marsbench.tasks.kinds import Decode, Kind
from tests.fakes import SIZES, make_spec, write_folder, write_spec

CLASSES = ("background", "crater", "dune")

CASES: dict[str, tuple[Kind, dict[str, Any]]] = {
    "online": (Kind.MULTICLASS, {"mode": "finetune"}),
    "cached": (Kind.MULTICLASS, {"mode": "frozen"}),
    "knn": (Kind.MULTICLASS, {"mode": "frozen", "optim.name": "knn"}),
    "labels": (Kind.MULTILABEL, {"mode": "scratch", "trainer.precision": "bf16-mixed"}),
    "one output": (Kind.BINARY, {"mode": "scratch", "outputs": 1}),
    "masks": (Kind.SEGMENTATION, {"model": "smp:unet/tu-test_resnet", "mode": "scratch"}),
    "boxes": (Kind.DETECTION, {"mode": "scratch", "side": 64}),
}


@pytest.fixture(scope="module")
def trained(
    tmp_path_factory: pytest.TempPathFactory, weights: str
) -> Callable[[str], tuple[RunRecord, Path]]:
    """Trains the run of a case once."""
    done: dict[str, tuple[RunRecord, Path]] = {}

    def train(case: str) -> tuple[RunRecord, Path]:
        if case not in done:
            kind, choices = CASES[case]
            folder = tmp_path_factory.mktemp("toy")
            decode = {Kind.SEGMENTATION: Decode.IMAGE_MASK, Kind.DETECTION: Decode.IMAGE_BOXES}
            names = {Kind.DETECTION: CLASSES[1:], Kind.BINARY: CLASSES[1:]}.get(kind, CLASSES)
            spec = make_spec(kind, names, decode=decode.get(kind, Decode.IMAGE_LABEL))
            sizes = {"train": 2, "val": 2, "test": 3} if kind is Kind.DETECTION else SIZES
            path = write_spec(spec, write_folder(spec, folder, sizes) / "task.yaml")
            keys: dict[str, Any] = {
                "task": str(path),
                "model": "timm:test_resnet",
                "store": str(folder / "runs"),
            }
            if choices["mode"] != "scratch":
                keys["weights"] = weights
            keys |= {"workers": 0, "optim.batch_size": 5, "trainer.max_epochs": 1}
            done[case] = marsbench.run(**(keys | choices)), folder / "runs"
        return done[case]

    return train


@pytest.mark.parametrize("case", CASES)
def test_own_test_split_gives_own_metrics(
    case: str, trained: Callable[[str], tuple[RunRecord, Path]]
) -> None:
    run, store = trained(case)
    (record,) = marsbench.run_evaluate(run.run_id, store=str(store))
    assert record.metrics["test"] == run.metrics["test"]
    facts = record.data["evaluation"]
    assert record.record_type == "evaluation"
    assert record.parents == [run.run_id]
    assert record.run_id.rpartition("-")[0] == run.run_id.rpartition("-")[0]
    assert facts["in_domain"] == run.score
    assert facts["gap"] == 0
    assert facts["ceiling"] == {"run_id": run.run_id, "score": run.score}
    assert facts["ignored"] == {}
    assert set(record.identity) == {"parent", "task", "data_revision", "reading"}
    # Scores follow from the stored predictions.
    frame = Store(store).predictions(record.run_id)
    again = scoring.score(Kind(record.kind), frame, record.data["classes"])
    assert again == {k: v for k, v in record.metrics["test"].items() if k != "loss"}


def test_finished_evaluations_are_returned(
    trained: Callable[[str], tuple[RunRecord, Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    run, store = trained("cached")
    (record,) = marsbench.run_evaluate(run.run_id, store=str(store))
    path = store / record.run_id / RECORD
    before = path.stat().st_mtime_ns

    def never(*_: Any) -> None:
        raise AssertionError("evaluated again")

    monkeypatch.setattr("marsbench.evaluate.run._computed", never)
    hashed = run.run_id.rpartition("-")[2]
    for words in (hashed, str(store / run.run_id), str(store), "toy/*", ["toy", hashed]):
        assert marsbench.run_evaluate(words, store=str(store)) == [record]
    assert path.stat().st_mtime_ns == before
    monkeypatch.undo()
    (again,) = marsbench.run_evaluate(hashed, store=str(store), force=True)
    assert again.metrics == record.metrics
    assert path.stat().st_mtime_ns != before


def test_evaluation_of_a_replaced_run_is_refused(
    trained: Callable[[str], tuple[RunRecord, Path]],
) -> None:
    run, store = trained("one output")
    marsbench.run_evaluate(run.run_id, store=str(store))
    path = store / run.run_id / RECORD
    text = path.read_text()
    path.write_text(text.replace(run.created, "2001-01-01T00:00:00+00:00"))
    try:
        with pytest.raises(StoreError, match="evaluates an earlier run"):
            marsbench.run_evaluate(run.run_id, store=str(store))
    finally:
        path.write_text(text)


def test_runs_are_named(trained: Callable[[str], tuple[RunRecord, Path]]) -> None:
    run, store = trained("cached")
    (record,) = marsbench.run_evaluate(run.run_id, store=str(store))
    for words, message in (
        ("frost_cls/nothing", "Unknown run"),
        ("frost*", "names no finished run"),
        (record.run_id, "is of type evaluation"),
    ):
        with pytest.raises(MarsbenchError, match=message):
            marsbench.run_evaluate(words, store=str(store))


def test_batches_change_scores_by_rounding_only(
    trained: Callable[[str], tuple[RunRecord, Path]], tmp_path: Path
) -> None:
    run, store = trained("cached")
    folder = str(store / run.run_id)
    (record,) = marsbench.run_evaluate(folder, store=str(tmp_path), batch_size=3)
    ours = np.stack(list(Store(tmp_path).predictions(record.run_id)["scores"]))
    frame = Store(store).predictions(run.run_id)
    theirs = np.stack(list(frame[frame["split"] == "test"]["scores"]))
    np.testing.assert_allclose(ours, theirs, atol=1e-5)
