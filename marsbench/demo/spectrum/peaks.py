"""Shapes of peaks and patterns of fragments."""

from collections.abc import Mapping, Sequence

import numpy as np

from marsbench.spectra.spectrum import Floats


def peak(x: Floats, centre: Floats, spread: Floats, tail: Floats) -> Floats:
    """Peaks of height 1, Gaussian but for a tail.

    The exponential-Gaussian hybrid of Lan and Jorgenson (2001), J. Chromatogr. A 915, 1-13.

    Args:
        x: Where to evaluate them, (N,).
        centre: Where each is highest, (C,).
        spread: Standard deviation where the tail is 0, (C,).
        tail: Decay length of the far side, (C,); below 0, the tail leads and the far side drops.

    Returns:
        Each peak everywhere, (N, C).
    """
    offset = x[:, None] - centre
    width = 2 * spread**2 + tail * offset
    inside = width > 0
    return np.where(inside, np.exp(-(offset**2) / np.where(inside, width, 1.0)), 0.0)


def patterns(ions: Sequence[Mapping[int, float]], mz_end: int) -> Floats:
    """Fragment patterns as a matrix.

    Args:
        ions: Of each substance, m/z to abundance.
        mz_end: One more than the largest m/z kept.

    Returns:
        Abundance by substance and m/z, (len(ions), mz_end).
    """
    matrix = np.zeros((len(ions), mz_end))
    for row, pattern in zip(matrix, ions, strict=True):
        for mz, abundance in pattern.items():
            if mz < mz_end:
                row[mz] += abundance
    return matrix
