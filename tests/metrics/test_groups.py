"""Scores per group of samples."""

import json

import numpy as np
import pytest
from sklearn import metrics as sk

from marsbench.metrics.groups import Resampling, fields_of, group_name, grouping, score_groups
from marsbench.tasks.kinds import Kind

NAMES = ["basalt", "sulfate", "oxalate"]


def test_groups_of_labels_equal_sklearn_and_undefined_scores_are_missing() -> None:
    rng = np.random.default_rng(0)
    targets = rng.integers(2, size=(60, 3))
    scores = rng.uniform(0.05, 0.95, (60, 3))
    instruments = np.array(["commercial"] * 40 + ["sam_testbed"] * 12 + ["empty"] * 7 + [""])
    targets[instruments == "sam_testbed", 2] = 0
    targets[instruments == "empty"] = 0
    columns = {"target": targets, "scores": list(scores), "instrument": list(instruments)}
    groups = score_groups(Kind.MULTILABEL, columns, NAMES, fields_of(columns))
    assert list(groups) == ["instrument:commercial", "instrument:empty", "instrument:sam_testbed"]
    assert [of["n"] for of in groups.values()] == [40, 7, 12]
    sam, mine = groups["instrument:sam_testbed"], instruments == "sam_testbed"
    assert sam["absent"] == ["oxalate"]
    losses = [sk.log_loss(targets[mine, k], scores[mine, k], labels=[0, 1]) for k in range(3)]
    assert sam["metrics"]["log_loss"] == pytest.approx(np.mean(losses))
    micro = sk.average_precision_score(targets[mine].ravel(), scores[mine].ravel())
    assert sam["metrics"]["ap_micro"] == pytest.approx(micro)
    assert "f1/sulfate" in sam["metrics"]
    assert "f1/oxalate" not in sam["metrics"]
    empty = groups["instrument:empty"]
    assert empty["absent"] == NAMES
    assert not {"ap_micro", "f1_weighted", "auroc"} & empty["metrics"].keys()
    assert empty["metrics"]["log_loss"] > 0


def test_intervals_are_percentiles_over_resampled_samples() -> None:
    rng = np.random.default_rng(1)
    targets, scores = rng.integers(2, size=(9, 3)), rng.uniform(0.05, 0.95, (9, 3))
    targets[:, 1:], targets[:, 0] = 0, np.arange(9) == 4
    columns = {"target": targets, "scores": scores}
    resampling = Resampling(("log_loss", "ap_micro", "auroc"), rounds=40, seed=7)
    groups = score_groups(
        Kind.MULTILABEL, columns, NAMES, {"region": ["A"] * 9}, resampling=resampling
    )
    draws = np.random.default_rng(7)
    losses, precisions = [], []
    for _ in range(40):
        chosen = draws.integers(9, size=9)
        y, p = targets[chosen], scores[chosen]
        losses.append(np.mean([sk.log_loss(y[:, k], p[:, k], labels=[0, 1]) for k in range(3)]))
        if y.any():
            precisions.append(sk.average_precision_score(y.ravel(), p.ravel()))
    assert 0 < len(precisions) < 40
    intervals = groups["region:A"]["intervals"]
    for metric, values in (("log_loss", losses), ("ap_micro", precisions)):
        low, high = np.quantile(values, [0.025, 0.975])
        assert intervals[metric]["low"] == pytest.approx(low)
        assert intervals[metric]["high"] == pytest.approx(high)
        assert intervals[metric]["defined"] == len(values) / 40
    assert intervals["auroc"]["defined"] == len(precisions) / 40


def test_groups_of_masks_and_boxes() -> None:
    confusion = np.array([[8, 2, 1, 5], [9, 0, 1, 0], [4, 4, 4, 4]])
    columns = {"confusion": list(confusion), "meta": [json.dumps({"region": r}) for r in "ABA"]}
    groups = score_groups(Kind.SEGMENTATION, columns, ["background", "cone"], fields_of(columns))
    # A: 12, 6, 5, 9 pixels: background 12 / 23, cone 9 / 20.
    assert groups["region:A"]["metrics"]["iou/cone"] == pytest.approx(9 / 20)
    assert groups["region:B"]["metrics"]["iou/background"] == pytest.approx(9 / 10)
    assert groups["region:A"]["absent"] == groups["region:B"]["absent"] == []
    boxes = {
        "target_boxes": [[[0, 0, 9, 9]], []],
        "target_labels": [[0], []],
        "boxes": [[[0, 0, 9, 9]], [[1, 1, 5, 5]]],
        "labels": [[0], [0]],
        "scores": [[0.9], [0.4]],
    }
    by_region = score_groups(Kind.DETECTION, boxes, ["crater"], {"region": ["A", "B"]})
    assert by_region["region:A"]["metrics"]["map"] == pytest.approx(1)
    assert by_region["region:B"]["absent"] == ["crater"]
    assert "map" not in by_region["region:B"]["metrics"]


def test_f1_of_class_1_needs_class_1() -> None:
    columns = {"target": np.array([0, 1, 0]), "scores": np.array([[0.6, 0.4]] * 3)}
    groups = score_groups(Kind.BINARY, columns, ["no", "yes"], {"region": ["A", "A", "B"]})
    assert groups["region:A"]["metrics"]["f1_positive"] == 0
    assert "f1_positive" not in groups["region:B"]["metrics"]
    assert groups["region:B"]["metrics"]["accuracy"] == 1


def test_fields_and_bins() -> None:
    assert group_name("longitude", "137.4") == "120..180"
    assert group_name("longitude", -0.5) == "-60..0"
    assert group_name("sol", "500") == "500..1000"
    assert group_name("region", 12.5) == "12.5"
    assert group_name("longitude", float("nan")) == group_name("region", None) == ""
    assert group_name("longitude", "unknown") == "unknown"
    texts = ['{"region": "A", "box": [1, 2], "sol": 3}', '{"region": null}', None]
    fields = fields_of({"meta": texts})
    assert fields == {"region": ["A", "", ""], "box": ["", "", ""], "sol": ["0..500", "", ""]}
    many = {"file": [str(i) for i in range(51)], "half": ["a", "b"] + ["b"] * 49}
    assert list(grouping(many)) == ["half"]
