from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from marsbench.metrics import scoring
from marsbench.tasks.kinds import KINDS, METRICS, Kind, MetricInfo, metrics_of


def score(
    kind: Kind, targets: npt.NDArray[Any], scores: npt.NDArray[Any], names: list[str]
) -> dict[str, float]:
    return scoring.score(kind, {"target": targets, "scores": scores}, names)


def softmax(x: npt.NDArray[Any]) -> Any:
    e = np.exp(x - x.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("k", [2, 3, 8])
def test_single_label_equals_sklearn(k: int) -> None:
    rng = np.random.default_rng(k)
    targets = rng.integers(k, size=200)
    scores = softmax(rng.normal(size=(200, k)) + 1.5 * np.eye(k)[targets])
    kind = Kind.BINARY if k == 2 else Kind.MULTICLASS
    names = [f"c{i}" for i in range(k)]
    found = score(kind, targets, scores, names)
    predicted = scores.argmax(1)
    assert found["accuracy"] == pytest.approx(sk.accuracy_score(targets, predicted), abs=1e-12)
    for average in ("weighted", "macro"):
        expected = sk.f1_score(targets, predicted, average=average)
        assert found[f"f1_{average}"] == pytest.approx(expected, abs=1e-12)
    if k == 2:
        assert found["f1_positive"] == pytest.approx(sk.f1_score(targets, predicted), abs=1e-12)
        assert found["auroc"] == pytest.approx(sk.roc_auc_score(targets, scores[:, 1]), abs=1e-12)
    else:
        assert "f1_positive" not in found
        expected = sk.roc_auc_score(targets, scores, multi_class="ovr")
        assert found["auroc"] == pytest.approx(expected, abs=1e-12)
    per_class = sk.f1_score(targets, predicted, average=None)
    assert [found[f"f1/{n}"] for n in names] == pytest.approx(per_class)


def test_hand_computed_case() -> None:
    targets = np.array([0, 0, 1, 1])
    scores = np.array([[0.9, 0.1], [0.4, 0.6], [0.3, 0.7], [0.2, 0.8]])
    found = score(Kind.BINARY, targets, scores, ["no", "yes"])
    # no: P 1, R 1/2, F 2/3; yes: P 2/3, R 1, F 4/5; every yes above every no.
    assert found["f1/no"] == pytest.approx(2 / 3)
    assert found["f1/yes"] == found["f1_positive"] == pytest.approx(4 / 5)
    assert (found["recall/no"], found["recall/yes"]) == (0.5, 1.0)
    assert found["f1_weighted"] == found["f1_macro"] == pytest.approx((2 / 3 + 4 / 5) / 2)
    assert (found["accuracy"], found["auroc"]) == (0.75, 1.0)


def test_multilabel_equals_sklearn() -> None:
    rng = np.random.default_rng(3)
    targets = (rng.random((100, 4)) < 0.3).astype(np.uint8)
    scores = np.clip(rng.random((100, 4)) * 0.6 + 0.4 * targets, 0.01, 0.99)
    found = score(Kind.MULTILABEL, targets, scores, list("abcd"))
    losses = [sk.log_loss(targets[:, i], scores[:, i], labels=[0, 1]) for i in range(4)]
    assert found["log_loss"] == pytest.approx(np.mean(losses), abs=1e-9)
    expected = sk.average_precision_score(targets, scores, average="micro")
    assert found["ap_micro"] == pytest.approx(expected, abs=1e-12)
    expected = sk.average_precision_score(targets, scores, average="macro")
    assert found["average_precision"] == pytest.approx(expected, abs=1e-12)
    predicted = scores >= 0.5
    expected = sk.f1_score(targets, predicted, average="weighted")
    assert found["f1_weighted"] == pytest.approx(expected, abs=1e-12)
    assert found["accuracy"] == pytest.approx((predicted == targets).all(1).mean())


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 5), st.integers(1, 30))
def test_class_order_does_not_matter(seed: int, k: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    targets, order = rng.integers(k, size=n), rng.permutation(k)
    scores = softmax(rng.normal(size=(n, k)))
    names = np.array([f"c{i}" for i in range(k)])
    kind = Kind.BINARY if k == 2 else Kind.MULTICLASS
    inverse = np.argsort(order)
    first = score(kind, targets, scores, list(names))
    second = score(kind, inverse[targets], scores[:, order], list(names[order]))
    for metrics, ids in ((first, np.arange(k)), (second, order)):
        if k == 2:  # the only metric of a certain class
            assert metrics.pop("f1_positive") == pytest.approx(metrics[f"f1/c{ids[1]}"])
    assert first == pytest.approx(second, abs=1e-12)


def test_undefined_metrics_are_left_out() -> None:
    found = score(Kind.BINARY, np.zeros(4, int), np.full((4, 2), 0.5), ["a", "b"])
    assert "auroc" not in found
    assert "average_precision" not in found
    assert (found["f1_weighted"], found["f1_positive"]) == (1.0, 0.0)


def test_every_metric_is_in_the_table() -> None:
    for kind, targets in ((Kind.MULTICLASS, [0, 1, 2]), (Kind.MULTILABEL, np.eye(3, dtype=int))):
        found = score(kind, np.asarray(targets), np.eye(3) * 0.8 + 0.1, ["a", "b", "c"])
        assert {name for name in found if "/" not in name} <= set(METRICS)
        assert KINDS[kind].headline in found


@pytest.mark.parametrize(
    ("targets", "scores", "match"),
    [
        ([0, 1], [[0.5, 0.5]], "do not fit"),
        ([0], [[0.5, 0.3, 0.2]], "do not fit"),
        ([0, 1], [[0.5, np.nan], [0.5, 0.5]], "1 rows hold NaN"),
    ],
)
def test_bad_scores(targets: list[int], scores: list[list[float]], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        score(Kind.BINARY, np.asarray(targets), np.asarray(scores), ["a", "b"])


def entropy(targets: npt.NDArray[Any], scores: npt.NDArray[Any], classes: list[str]) -> float:
    return float(-(scores * np.log(scores)).sum(axis=1).mean() / np.log(len(classes)))


def test_a_new_metric_is_an_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = MetricInfo("entropy", (Kind.BINARY,), function=f"{__name__}:entropy")
    monkeypatch.setitem(METRICS, "entropy", entry)
    scores = np.array([[0.9, 0.1], [0.5, 0.5]])
    found = score(Kind.BINARY, np.array([0, 1]), scores, ["a", "b"])
    assert found["entropy"] == entropy(np.array([0, 1]), scores, ["a", "b"])
    assert "entropy" in metrics_of(Kind.BINARY)
    three = score(Kind.MULTICLASS, np.array([0, 1]), np.eye(3)[:2], ["a", "b", "c"])
    assert "entropy" not in three
