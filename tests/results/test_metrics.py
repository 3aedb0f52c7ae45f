"""Metrics that a record lacks come from its predictions."""

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as sk

from marsbench.base.errors import StoreError
from marsbench.metrics.masks import confusion
from marsbench.results.metrics import scores_with
from marsbench.results.record import RunRecord
from marsbench.results.store import PREDICTIONS, Store
from tests.report.fake_store import Fake, fake_record, write


def stored(folder: Path, record: RunRecord, frame: pd.DataFrame | None = None) -> Store:
    store = Store(folder)
    write(store, [record], predictions=False)
    if frame is not None:
        frame.to_parquet(store.folder(record.run_id) / PREDICTIONS, index=False)
    return store


def labels(seed: int = 0) -> pd.DataFrame:
    """Predictions of a binary task; those of val are all wrong."""
    rng = np.random.default_rng(seed)
    target = rng.integers(2, size=60)
    scores = rng.random(60)
    scores[:20] = 1 - target[:20]
    return pd.DataFrame(
        {
            "split": ["val"] * 20 + ["test"] * 40,
            "sample_id": [f"i{i}" for i in range(60)],
            "target": target,
            "scores": list(np.stack([1 - scores, scores], axis=1).astype(np.float32)),
        }
    )


def f1(frame: pd.DataFrame) -> float:
    test = frame[frame["split"] == "test"]
    return float(sk.f1_score(test["target"], [row[1] > 0.5 for row in test["scores"]]))


def test_f1_of_class_1(tmp_path: Path) -> None:
    record, frame = fake_record(Fake("frost_cls", "resnet101")), labels()
    store = stored(tmp_path, record, frame)
    before = (store.folder(record.run_id) / "record.json").read_bytes()
    assert "f1_positive" not in record.scores
    assert scores_with(store, record, "f1_positive") == pytest.approx(f1(frame), abs=1e-12)
    # A metric of the record is the record's.
    assert scores_with(store, record, "f1_weighted") == record.scores["f1_weighted"]
    assert (store.folder(record.run_id) / "record.json").read_bytes() == before
    # In memory, until the file changes.
    path = store.folder(record.run_id) / PREDICTIONS
    again = labels(1)
    again.to_parquet(path, index=False)
    assert scores_with(store, record, "f1_positive") == pytest.approx(f1(again), abs=1e-12)
    assert f1(again) != pytest.approx(f1(frame))


def test_calibration_of_earlier_records(tmp_path: Path) -> None:
    record, frame = fake_record(Fake("frost_cls", "resnet101")), labels()
    assert not record.scores.keys() & {"ece", "brier"}
    test = frame[frame["split"] == "test"]
    expected = np.mean(
        [(row[1] - t) ** 2 for t, row in zip(test["target"], test["scores"], strict=True)]
    )
    store = stored(tmp_path, record, frame)
    assert scores_with(store, record, "brier") == pytest.approx(expected, abs=1e-7)
    assert 0 < (scores_with(store, record, "ece") or 0) < 1


def test_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = fake_record(Fake("frost_cls", "resnet101"))
    store = stored(tmp_path, record, labels())
    first = scores_with(store, record, "f1_positive")
    monkeypatch.setattr("marsbench.results.metrics.read_table", None)
    assert scores_with(store, record, "f1_positive") == first


def test_iou_of_earlier_records_is_computed_anew(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    masks = rng.integers(2, size=(2, 5, 8, 8)).astype(np.uint8)
    masks[:, 2] = 0
    frame = pd.DataFrame(
        {
            "split": "test",
            "sample_id": [f"i{i}" for i in range(5)],
            "confusion": [confusion(t, p, 2).ravel() for t, p in zip(*masks, strict=True)],
        }
    )
    record = fake_record(Fake("mmls", "unet"))
    other = record.scores | {"iou_per_image": 0.5}
    record = dataclasses.replace(record, metrics={**record.metrics, "test": other})
    expected = np.mean(
        [
            np.mean(
                [
                    sk.jaccard_score((t == k).ravel(), (p == k).ravel())
                    for t, p in zip(*masks, strict=True)
                    if (t == k).any() or (p == k).any()
                ]
            )
            for k in (0, 1)
        ]
    )
    with_predictions = stored(tmp_path / "a", record, frame)
    assert scores_with(with_predictions, record, "iou_per_image") == pytest.approx(expected)
    assert scores_with(stored(tmp_path / "b", record), record, "iou_per_image") == 0.5


def test_without_predictions_or_of_another_kind(tmp_path: Path) -> None:
    record = fake_record(Fake("frost_cls", "resnet101"))
    assert scores_with(stored(tmp_path / "a", record), record, "f1_positive") is None
    store = stored(tmp_path / "b", record, labels())
    assert scores_with(store, record, "iou_per_image") is None
    assert scores_with(store, record, "nothing") is None


@pytest.mark.parametrize("column", ["split", "target", "scores"])
def test_damaged_predictions(tmp_path: Path, column: str) -> None:
    record = fake_record(Fake("frost_cls", "resnet101"))
    store = stored(tmp_path, record, labels().drop(columns=column))
    with pytest.raises(StoreError, match=f"{record.run_id} give no metrics"):
        scores_with(store, record, "f1_positive")
    (store.folder(record.run_id) / PREDICTIONS).write_bytes(b"PAR1")
    with pytest.raises(StoreError, match="cannot be read"):
        scores_with(store, record, "f1_positive")
