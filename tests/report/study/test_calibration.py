"""Calibration in reports: tables and reliability diagrams from records and predictions."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import brier_score_loss

from marsbench.metrics.calibration import NUM_BINS
from marsbench.report.analysis import Analysis, analyse, with_calibration
from marsbench.report.figures import style
from marsbench.report.figures.calibration import reliability
from marsbench.report.study.calibration import pooled_bins
from marsbench.report.study.scores import open_study
from marsbench.report.tables.calibration import calibration_tables
from marsbench.report.tables.forms import Score
from marsbench.results.record import RunRecord
from marsbench.results.store import PREDICTIONS, Store
from tests.report.fake_store import Fake, fake_record, make_store

SEEDS = (0, 1)


def with_soft_scores(store: Store, record: RunRecord) -> tuple[list[int], list[float]]:
    """Write predictions of a binary task; returns targets and probabilities of class 1."""
    frame = store.predictions(record.run_id)
    rng = np.random.default_rng(record.seed)
    chance = np.clip(0.6 * frame["target"] + 0.4 * rng.random(len(frame)), 0, 1)
    scores = np.stack([1 - chance, chance], axis=1).astype(np.float32)
    path = store.folder(record.run_id) / PREDICTIONS
    frame.assign(scores=list(scores)).to_parquet(path, index=False)
    return list(frame["target"]), [float(s) for s in scores[:, 1]]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    fakes = [Fake("frost_cls", m, seed=s) for m in ("vit_l_16", "resnet101") for s in SEEDS]
    fakes += [Fake("mmls", "unet", seed=s) for s in SEEDS]
    return make_store(tmp_path, map(fake_record, fakes))


def analysed(store: Store) -> Analysis:
    return with_calibration(analyse(store, open_study(store), rounds=50))


def test_table_of_records_that_lack_the_metrics(store: Store) -> None:
    expected: dict[str, list[float]] = {}
    for record in store.records()[0]:
        if record.task == "frost_cls":
            loss = brier_score_loss(*with_soft_scores(store, record))
            expected.setdefault(record.model, []).append(loss)
    tables = {table.name: table for table in calibration_tables(analysed(store))}
    # None for masks.
    assert set(tables) == {f"{m}-classification-frozen-cached-full" for m in ("ece", "brier")}
    for model, entry in tables["brier-classification-frozen-cached-full"].rows:
        assert isinstance(entry, Score)
        assert entry.value == pytest.approx(np.mean(expected[str(model)]), abs=1e-6)
        assert entry.low < entry.value < entry.high


def test_values_of_the_record_come_first(store: Store) -> None:
    for record in store.records()[0]:
        metrics = {**record.metrics, "test": {**record.scores, "ece": 0.25, "brier": 0.5}}
        path = store.folder(record.run_id) / "record.json"
        path.write_text(replace(record, metrics=metrics).to_json())
    table = next(calibration_tables(analysed(store)))
    assert [getattr(row[1], "value", None) for row in table.rows] == [0.25, 0.25]


def test_bins_are_pooled_over_seeds(store: Store) -> None:
    records = [r for r in store.records()[0] if r.model == "resnet101"]
    pairs = [
        (max(p, 1 - p), (p > 0.5) == bool(t))
        for record in records
        for t, p in zip(*with_soft_scores(store, record), strict=True)
    ]
    bins = pooled_bins(store, records)
    for b in range(NUM_BINS):
        inside = [pair for pair in pairs if b < pair[0] * NUM_BINS <= b + 1]
        assert bins.counts[0, b] == len(inside)
        assert bins.right[0, b] == sum(right for _, right in inside)
        assert bins.probability[0, b] == pytest.approx(sum(p for p, _ in inside))


def test_diagrams(store: Store) -> None:
    for record in store.records()[0]:
        if record.task == "frost_cls":
            with_soft_scores(store, record)
    (figure,) = reliability(analysed(store))
    assert figure.name == "reliability-frost_cls-classification-frozen-cached-full"
    with style.drawing():
        drawn = figure.draw()
    assert [axes.get_title("left") for axes in drawn.axes] == ["ViT-L/16", "ResNet-101"]
    shares = np.asarray(drawn.axes[0].lines[1].get_ydata(), dtype=np.float64)
    assert shares.size > 2
    assert (shares >= 0).all()
    assert (shares <= 1).all()


def test_damaged_and_missing_predictions(store: Store) -> None:
    records = {(r.model, r.seed): r for r in store.records()[0]}
    damaged = store.folder(records["vit_l_16", 0].run_id) / PREDICTIONS
    damaged.write_bytes(b"PAR1")
    (store.folder(records["resnet101", 0].run_id) / PREDICTIONS).unlink()
    analysis = analysed(store)
    (problem,) = analysis.calibration_problems
    assert "Without calibration: frost_cls vit_l_16." in problem.message
    assert problem in analysis.problems
    (row,) = next(calibration_tables(analysis)).rows
    assert row[0] == "resnet101"
    assert isinstance(row[1], Score)
    assert math.isnan(row[1].low)  # one run is left
