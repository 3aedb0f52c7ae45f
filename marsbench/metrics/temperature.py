"""Temperature scaling: probabilities made calibrated by a single number.

Logits divided by a temperature T keep the order of the classes: above 1 a model becomes less sure,
below 1 surer (Guo et al. 2017, https://arxiv.org/abs/1706.04599). Logits are taken from
probabilities: their logarithms, and of labels that do not exclude each other their log odds.
"""

import math

import numpy as np
from numpy.typing import NDArray

from marsbench.metrics.calibration import Floats

LOWEST, HIGHEST = 0.05, 20.0
"""Range of temperatures."""

_LEAST = float(np.finfo(np.float32).tiny)
"""Smallest probability; stored ones are float32."""

_MOST = 1 - 2.0**-25
"""Largest probability of a label: half a step of float32 below 1."""

_CLIP = 1e-7
"""Distance of probabilities from 0 and 1 in log losses, as in `marsbench.metrics.labels`."""


def log_loss(targets: NDArray[np.generic], scores: Floats) -> float:
    """Mean negative logarithm of the probability of the true class, or of each label's truth.

    Args:
        targets: Class ids, (N,), or zeros and ones of multilabel tasks, (N, K).
        scores: Probabilities, (N, K).
    """
    if targets.ndim == 2:
        truth = np.where(targets.astype(bool), scores, 1 - scores)
    else:
        truth = scores[np.arange(len(scores)), targets.astype(np.intp)]
    return float(-np.log(np.clip(truth, _CLIP, 1 - _CLIP)).mean())


def scaled(scores: Floats, temperature: float, *, is_multilabel: bool) -> Floats:
    """Divide the logits of probabilities by a temperature.

    Args:
        scores: Probabilities, (N, K).
        temperature: The temperature.
        is_multilabel: Whether labels do not exclude each other.

    Returns:
        Probabilities, (N, K).
    """
    if is_multilabel:
        clipped = np.clip(scores, _LEAST, _MOST)
        logits = (np.log(clipped) - np.log1p(-clipped)) / temperature
        return np.asarray(1 / (1 + np.exp(-logits)), dtype=np.float64)
    logits = np.log(np.maximum(scores, _LEAST)) / temperature
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True), dtype=np.float64)


def fit_temperature(targets: NDArray[np.generic], scores: Floats) -> float:
    """Temperature with the lowest log loss, `LOWEST` to `HIGHEST`.

    The log loss is convex in the inverse temperature, so its minimum is found.

    Args:
        targets: As in `log_loss`.
        scores: Probabilities, (N, K), with N above 0.
    """
    from scipy.optimize import minimize_scalar

    def loss(logarithm: float) -> float:
        probabilities = scaled(scores, math.exp(logarithm), is_multilabel=targets.ndim == 2)
        return log_loss(targets, probabilities)

    ends = math.log(LOWEST), math.log(HIGHEST)
    fitted = minimize_scalar(loss, bounds=ends, method="bounded", options={"xatol": 1e-6})
    return math.exp(fitted.x)
