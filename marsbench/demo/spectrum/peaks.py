"""Peak shapes and fragment patterns."""

from collections.abc import Mapping, Sequence

import numpy as np

from marsbench.spectra.spectrum import Floats


def peak(x: Floats, centre: Floats, spread: Floats, tail: Floats) -> Floats:
    """Peaks of height 1, Gaussian with a tail.

    The exponential-Gaussian hybrid of Lan and Jorgenson (2001), J. Chromatogr. A 915, 1-13.

    Args:
        x: Points of evaluation, (N,).
        centre: Positions of the maxima, (C,).
        spread: Standard deviation for tail 0, (C,).
        tail: Decay length of the far side, (C,); negative for a leading tail and a steep far side.

    Returns:
        Values of the peaks, (N, C).
    """
    offset = x[:, None] - centre
    width = 2 * spread**2 + tail * offset
    inside = width > 0
    return np.where(inside, np.exp(-(offset**2) / np.where(inside, width, 1.0)), 0.0)


def patterns(ions: Sequence[Mapping[int, float]], mz_end: int) -> Floats:
    """Fragment patterns as a matrix.

    Args:
        ions: Abundance by m/z, one mapping per substance.
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
