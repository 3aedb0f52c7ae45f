"""The slowly changing background of ion curves.

Adaptive smoothness parameter penalised least squares (asPLS): F. Zhang et al. (2020), Baseline
correction for infrared spectra using adaptive smoothness parameter penalized least squares
method, Spectroscopy Letters 53(3), 222-233; as pybaselines has it. Solving all curves of a sample
in one banded system was tried: 1.3 times as fast, which is not worth a second implementation.
"""

import warnings

import numpy as np

from marsbench.spectra.spectrum import Floats

SMOOTHNESS = 2e6
"""Penalty of curvature, the first place's."""

TOLERANCE = 1e-2
"""Change of the weights at which a curve is done: pybaselines' own 1e-3 takes several times as long
for a background that training takes away at random anyway."""

SHORTEST = 5
"""Points that second differences need; of a shorter curve the background is its minimum."""


def load() -> None:
    """Import the dependencies of `estimate` before threads import them at once."""
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
    found = np.zeros_like(curves)
    # It tells of curves with hardly a point below, which is what noiseless ones look like. Several
    # threads do this at once, and `warnings.catch_warnings` is for one alone.
    warnings.filterwarnings("ignore", category=ParameterWarning)
    with np.errstate(all="ignore"):
        for row, curve in zip(found, curves, strict=True):
            if curve.any():
                row[:] = aspls(curve, lam=smoothness, tol=TOLERANCE)[0]
    return np.where(np.isfinite(found), found, curves.min(axis=1, keepdims=True))
