"""Records scored by a chosen metric."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from marsbench.metrics.labels import f1_positive
from marsbench.report.study.cells import Trouble
from marsbench.report.study.rescoring import paper_metric, rescored, study_by_metric
from marsbench.results.store import PREDICTIONS
from tests.report.fake_store import Fake, fake_record, make_store

BINARY = fake_record(Fake("frost_cls", "resnet101"))
LABELS = fake_record(Fake("landmark_cls", "resnet101"))
MASKS = fake_record(Fake("mmls", "unet"))
BOXES = fake_record(Fake("crater_det", "retinanet"))
SPECTRA = fake_record(Fake("ega_ms", "lightgbm"))


def test_metric_of_the_paper() -> None:
    metrics = [paper_metric(record) for record in (BINARY, LABELS, MASKS, BOXES, SPECTRA)]
    assert metrics == ["f1_positive", "f1_weighted", "iou_per_image", "map", "log_loss"]


def test_scores_come_from_predictions_and_records_stay(tmp_path: Path) -> None:
    store = make_store(tmp_path, [BINARY, LABELS, MASKS])
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.json")}
    made = rescored(store, [BINARY, LABELS, MASKS])
    assert made.problems == ()
    binary, labels, masks = made.records
    frame = store.predictions(BINARY.run_id)
    scores = frame["scores"].tolist()
    expected = f1_positive(frame["target"].to_numpy(), np.array(scores), ())
    assert binary.headline == "f1_positive"
    assert binary.score == pytest.approx(expected)
    assert binary.score != BINARY.score
    assert binary.scores["f1_weighted"] == BINARY.score
    assert labels == LABELS
    assert masks.headline == "iou_per_image"
    assert "iou_per_image" not in MASKS.scores
    assert before == {path: path.read_bytes() for path in tmp_path.rglob("*.json")}


def test_groups_by_another_metric(tmp_path: Path) -> None:
    records = [
        fake_record(Fake("frost_cls", model, seed=seed))
        for model in ("resnet101", "vit_l_16")
        for seed in (0, 1)
    ]
    store = make_store(tmp_path, records)
    (group,) = study_by_metric(store, records, lambda record: "accuracy").groups.values()
    assert group.metrics == {"frost_cls": "accuracy"}
    cell = group.cells["frost_cls", "vit_l_16"]
    assert cell.scores.tolist() == [r.scores["accuracy"] for r in records if r.model == cell.model]


def test_records_without_the_metric_are_named(tmp_path: Path) -> None:
    other, odd = (fake_record(Fake("frost_cls", "vit_l_16", seed=seed)) for seed in (1, 2))
    store = make_store(tmp_path, [BINARY, other])
    (store.folder(BINARY.run_id) / PREDICTIONS).unlink()
    (store.folder(other.run_id) / PREDICTIONS).write_text("no table")
    made = rescored(store, [BINARY, other, replace(odd, kind="sculpture"), LABELS])
    assert [record.run_id for record in made.records] == [LABELS.run_id]
    assert [problem.trouble for problem in made.problems] == [Trouble.NO_SCORE] * 3
    messages = [problem.message for problem in made.problems]
    assert messages[0].startswith(f"Left out, without f1_positive: {BINARY.run_id}. It is neither")
    assert "cannot be read" in messages[1]
    assert "unknown kind 'sculpture'" in messages[2].lower()
    assert made.problems[0].run_ids == (BINARY.run_id,)
    study = study_by_metric(store, [BINARY, LABELS])
    assert made.problems[0] in study.problems
