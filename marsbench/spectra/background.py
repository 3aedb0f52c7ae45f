"""Slowly changing background of ion curves.

Adaptive smoothness parameter penalised least squares (asPLS) as implemented by pybaselines: F.
Zhang et al. (2020), Baseline correction for infrared spectra using adaptive smoothness parameter
penalized least squares method, Spectroscopy Letters 53(3), 222-233. One banded system for all
curves of a sample was only 1.3 times as fast.
"""

import warnings

import numpy as np

from marsbench.spectra.spectrum import Floats

SMOOTHNESS = 2e6
"""Penalty of curvature, as in the first place's solution."""

TOLERANCE = 1e-2
"""Change of the weights at convergence; pybaselines' default of 1e-3 is several times slower."""

SHORTEST = 5
"""Fewest points for second differences; a shorter curve's background is its minimum."""


def load() -> None:
    """Import the dependencies of `estimate` once, before threads import them concurrently."""
    import pybaselines.whittaker  # noqa: F401


def estimate(curves: Floats, smoothness: float = SMOOTHNESS) -> Floats:
    """Estimate the background of every curve.

    Args:
        curves: (R, S).
        smoothness: Penalty of curvature.

    Returns:
        The backgrounds, (R, S); zero for curves that are zero.
    """
    from pybaselines.utils import ParameterWarning
    from pybaselines.whittaker import aspls

    if curves.shape[1] < SHORTEST:
        return np.repeat(curves.min(axis=1, keepdims=True), curves.shape[1], axis=1)
    baselines = np.zeros_like(curves)
    # Noiseless curves trigger a warning. `warnings.catch_warnings` is not thread-safe.
    warnings.filterwarnings("ignore", category=ParameterWarning)
    with np.errstate(all="ignore"):
        for row, curve in zip(baselines, curves, strict=True):
            if curve.any():
                row[:] = aspls(curve, lam=smoothness, tol=TOLERANCE)[0]
    return np.where(np.isfinite(baselines), baselines, curves.min(axis=1, keepdims=True))
