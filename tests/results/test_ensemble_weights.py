"""Weights of the runs of an ensemble."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from marsbench.data.folds import assign_folds, strata_of
from marsbench.results.ensemble.weights import Scores, combine, cross_fitted, fit_weights
from marsbench.tasks.kinds import Kind

N, K = 400, 3


def multilabel() -> tuple[Scores, np.ndarray]:
    """Three runs: overconfident, of noise, and timid; and what they predict."""
    rng = np.random.default_rng(3)
    truth = rng.normal(0, 2, (N, K))
    targets = (rng.random((N, K)) < 1 / (1 + np.exp(-truth))).astype(np.int64)
    odds = np.stack([truth * 3, rng.normal(0, 2, (N, K)), truth * 0.2])
    return 1 / (1 + np.exp(-odds)), targets


def single() -> tuple[Scores, np.ndarray]:
    """Two runs of which one knows nothing."""
    rng = np.random.default_rng(4)
    truth = rng.normal(0, 2, (N, K))
    chances = np.exp(truth) / np.exp(truth).sum(axis=1, keepdims=True)
    targets = np.array([rng.choice(K, p=p) for p in chances])
    other = rng.dirichlet(np.ones(K), N)
    return np.stack([chances, other]), targets


def log_loss(kind: Kind, found: Scores, targets: np.ndarray) -> float:
    if kind is Kind.MULTILABEL:
        return float(-np.where(targets == 1, np.log(found), np.log1p(-found)).mean())
    return float(-np.log(found[np.arange(len(found)), targets]).mean())


@pytest.mark.parametrize(
    ("kind", "made"), [(Kind.MULTILABEL, multilabel()), (Kind.MULTICLASS, single())]
)
def test_no_weights_nearby_are_better(kind: Kind, made: tuple[Scores, np.ndarray]) -> None:
    scores, targets = made
    found = fit_weights(kind, scores, targets)
    best = log_loss(kind, combine(kind, scores, found), targets)
    rng = np.random.default_rng(0)
    for _ in range(50):
        other = np.maximum(found + rng.normal(0, 0.05, len(found)), 0)
        assert log_loss(kind, combine(kind, scores, other), targets) >= best - 1e-9


def test_noise_counts_for_nothing_and_overconfidence_is_taken_back() -> None:
    scores, targets = multilabel()
    found = fit_weights(Kind.MULTILABEL, scores, targets)
    assert found[1] < 0.05
    assert_allclose(3 * found[0] + 0.2 * found[2], 1, atol=0.2)


def test_single_labels_stay_distributions() -> None:
    scores, targets = single()
    combined = combine(Kind.MULTICLASS, scores, fit_weights(Kind.MULTICLASS, scores, targets))
    assert_allclose(combined.sum(axis=1), 1)


def test_each_part_is_weighed_by_the_others() -> None:
    scores, targets = multilabel()
    combined = cross_fitted(Kind.MULTILABEL, scores, targets, None, 4)
    part = assign_folds(strata_of(targets), 4)
    for k in range(4):
        weights = fit_weights(Kind.MULTILABEL, scores[:, part != k], targets[part != k])
        assert_allclose(
            combined[part == k], combine(Kind.MULTILABEL, scores[:, part == k], weights)
        )
