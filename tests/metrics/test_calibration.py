"""Calibration error and Brier score against torchmetrics, scikit-learn and a plain loop."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from sklearn.metrics import brier_score_loss
from torchmetrics.functional import calibration_error

from marsbench.metrics import scoring
from marsbench.metrics.calibration import NUM_BINS, bins_of
from marsbench.tasks.kinds import Kind

Array = npt.NDArray[Any]


def score(kind: Kind, targets: Array, scores: Array) -> dict[str, float]:
    names = [f"c{i}" for i in range(scores.shape[1])]
    return scoring.score(kind, {"target": targets, "scores": scores.astype(np.float32)}, names)


def single(k: int, seed: int = 0, n: int = 400) -> tuple[Array, Array]:
    """Targets and overconfident probabilities."""
    rng = np.random.default_rng(seed)
    targets = rng.integers(k, size=n)
    logits = 2 * (rng.normal(size=(n, k)) + np.eye(k)[targets])
    e = np.exp(logits - logits.max(axis=1, keepdims=True))
    return targets, (e / e.sum(axis=1, keepdims=True)).astype(np.float32)


def by_loop(probability: Array, right: Array) -> float:
    """Error of one label, bin by bin."""
    total = 0.0
    for b in range(NUM_BINS):
        low, high = b / NUM_BINS, (b + 1) / NUM_BINS
        inside = [i for i, p in enumerate(probability) if low < p <= high or (p == 0 and b == 0)]
        if inside:
            share = sum(bool(right[i]) for i in inside) / len(inside)
            mean = sum(float(probability[i]) for i in inside) / len(inside)
            total += len(inside) / len(probability) * abs(share - mean)
    return total


@pytest.mark.parametrize("k", [2, 3, 8])
def test_single_label_equals_other_libraries(k: int) -> None:
    targets, scores = single(k)
    values = score(Kind.BINARY if k == 2 else Kind.MULTICLASS, targets, scores)
    theirs = calibration_error(
        torch.from_numpy(scores),
        torch.from_numpy(targets),
        task="multiclass",
        num_classes=k,
        n_bins=15,
        norm="l1",
    )
    assert values["ece"] == pytest.approx(float(theirs), abs=1e-6)
    assert values["ece"] == pytest.approx(
        by_loop(scores.max(axis=1), scores.argmax(axis=1) == targets), abs=1e-12
    )
    # Of two classes 0 to 1, of more 0 to 2.
    given = scores.astype(np.float64)
    given /= given.sum(axis=1, keepdims=True)
    assert values["brier"] == pytest.approx(
        brier_score_loss(targets, given[:, 1] if k == 2 else given), abs=1e-6
    )


def test_multilabel_is_the_mean_over_labels() -> None:
    rng = np.random.default_rng(3)
    targets = (rng.random((300, 4)) < 0.3).astype(np.uint8)
    scores = np.clip(rng.random((300, 4)) * 0.7 + 0.3 * targets, 0, 1).astype(np.float32)
    values = score(Kind.MULTILABEL, targets, scores)
    errors = [by_loop(scores[:, i], targets[:, i]) for i in range(4)]
    assert values["ece"] == pytest.approx(np.mean(errors), abs=1e-9)
    losses = [brier_score_loss(targets[:, i], scores[:, i].astype(float)) for i in range(4)]
    assert values["brier"] == pytest.approx(np.mean(losses), abs=1e-9)


def test_labels_with_opposite_errors_do_not_cancel() -> None:
    targets = np.array([[1, 0]] * 10)
    values = score(Kind.MULTILABEL, targets, np.full((10, 2), 0.5))
    assert values["ece"] == pytest.approx(0.5)


def test_hand_computed_case() -> None:
    targets = np.array([0, 1, 1, 0])
    scores = np.array([[0.95, 0.05], [0.94, 0.06], [0.4, 0.6], [0.4, 0.6]])
    values = score(Kind.BINARY, targets, scores)
    # Two of 0.945 with half right, two of 0.6 with half right.
    assert values["ece"] == pytest.approx((0.445 + 0.1) / 2, abs=1e-6)
    brier = (0.05**2 + 0.94**2 + 0.4**2 + 0.6**2) / 4
    assert values["brier"] == pytest.approx(brier, abs=1e-6)


def test_bounds_and_rows_without_an_answer() -> None:
    targets = np.array([0, 1, 2])
    best = score(Kind.MULTICLASS, targets, np.eye(3))
    assert (best["ece"], best["brier"]) == (0.0, 0.0)
    worst = score(Kind.MULTICLASS, targets, np.eye(3)[[1, 2, 0]])
    assert (worst["ece"], worst["brier"]) == (1.0, 2.0)
    # A row of zeros is wrong with probability 0: no error of calibration, a Brier score of 1.
    silent = score(Kind.MULTICLASS, targets, np.zeros((3, 3)))
    assert (silent["ece"], silent["brier"]) == (0.0, 1.0)


def test_bins_include_their_upper_end() -> None:
    scores = np.array([[0.0], [1 / 3], [np.nextafter(1 / 3, 1)], [1.0]])
    bins = bins_of(np.ones((4, 1)), scores)
    assert np.flatnonzero(bins.counts[0]).tolist() == [0, 4, 5, 14]
