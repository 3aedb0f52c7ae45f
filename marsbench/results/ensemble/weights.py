"""Weights of the runs of an ensemble, fitted to predictions of unscored samples.

Weights multiply log odds (for single labels, log probabilities, normalised afterwards). There is a
single, non-negative weight per run, shared by all classes, so that a few hundred samples suffice.
The loss is convex in the weights.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from marsbench.data.folds import assign_folds, strata_of
from marsbench.tasks.kinds import Kind

VERSION = 1
"""Part of the id of an ensemble; increment with any change of the fitted weights."""

PARTS = 5
"""Number of parts for cross-fitting of runs without folds."""

CLIP = 1e-6
"""Probabilities are clipped to this distance from 0 and 1."""

Scores = NDArray[np.float64]


def combine(kind: Kind, scores: Scores, weights: Scores) -> Scores:
    """Combine the predictions of R runs.

    Args:
        kind: Kind of the task, of labels.
        scores: Probabilities (R, N, K).
        weights: Weights of the runs, (R,).

    Returns:
        Probabilities (N, K), adding up to 1 for single labels.
    """
    return _probabilities(kind, np.tensordot(weights, _evidence(kind, scores), axes=1))


def fit_weights(kind: Kind, scores: Scores, targets: NDArray[np.integer]) -> Scores:
    """Fit the weights with the lowest log loss.

    Args:
        kind: Kind of the task, of labels.
        scores: Probabilities (R, N, K).
        targets: Class ids (N,), or zeros and ones (N, K).

    Returns:
        Weights (R,), 0 or more.
    """
    from scipy.optimize import minimize

    evidence = _evidence(kind, scores)
    wanted = _one_hot(targets, scores.shape[2])

    def loss(weights: Scores) -> tuple[float, Scores]:
        fitted = _probabilities(kind, np.tensordot(weights, evidence, axes=1))
        safe = np.clip(fitted, 1e-12, 1.0)
        likelihood = wanted * np.log(safe)
        if kind is Kind.MULTILABEL:
            likelihood += (1 - wanted) * np.log(np.clip(1 - fitted, 1e-12, 1.0))
        gradient = np.tensordot(evidence, fitted - wanted, axes=2)
        return -float(likelihood.sum()) / len(wanted), gradient / len(wanted)

    start = np.full(len(scores), 1 / len(scores))
    bounds = [(0.0, None)] * len(scores)
    options = {"maxiter": 1000, "ftol": 1e-12, "gtol": 1e-8}
    fitted = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options=options)
    return np.asarray(fitted.x, dtype=np.float64)


def cross_fitted(
    kind: Kind,
    scores: Scores,
    targets: NDArray[np.integer],
    groups: Sequence[str] | None,
    parts: int,
) -> Scores:
    """Combine each part of the samples with weights fitted to the others.

    Args:
        kind: Kind of the task, of labels.
        scores: Probabilities (R, N, K).
        targets: Class ids (N,), or zeros and ones (N, K).
        groups: Group of each sample, for stratification together with labels.
        parts: Number of parts; the number of folds of a run reproduces its folds.

    Returns:
        Probabilities (N, K), each independent of the target of its sample.
    """
    part = assign_folds(strata_of(targets, groups), parts)
    combined = np.empty(scores.shape[1:])
    for k in range(parts):
        mine = part == k
        weights = fit_weights(kind, scores[:, ~mine], targets[~mine])
        combined[mine] = combine(kind, scores[:, mine], weights)
    return combined


def _evidence(kind: Kind, scores: Scores) -> Scores:
    safe = np.clip(scores, CLIP, 1 - CLIP)
    return np.log(safe) - np.log1p(-safe) if kind is Kind.MULTILABEL else np.log(safe)


def _probabilities(kind: Kind, evidence: Scores) -> Scores:
    from scipy.special import expit, softmax

    probabilities = expit(evidence) if kind is Kind.MULTILABEL else softmax(evidence, axis=1)
    return np.asarray(probabilities, dtype=np.float64)


def _one_hot(targets: NDArray[np.integer], classes: int) -> Scores:
    if targets.ndim == 2:
        return targets.astype(np.float64)
    return np.asarray(targets[:, None] == np.arange(classes)[None, :], dtype=np.float64)
