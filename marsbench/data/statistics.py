"""Statistics of the pixels of a data set."""

from collections.abc import Iterable

import numpy as np

from marsbench.base.progress import steps
from marsbench.data.dataset import MarsDataset

Statistics = tuple[tuple[float, ...], tuple[float, ...]]
"""Mean and standard deviation of each band, of values in [0, 1]."""


def band_statistics(dataset: MarsDataset) -> Statistics:
    """Mean and standard deviation of each band over all pixels of a data set.

    Images count at their own sizes, each pixel once. A constant band gets the standard deviation 1,
    so that normalisation makes it 0.

    Args:
        dataset: The n images, of C bands.

    Returns:
        Two tuples of C numbers.
    """
    total, squares, count = np.zeros(1), np.zeros(1), 0
    for pixels in _images(dataset):
        total, squares = total + pixels.sum(axis=0), squares + (pixels**2).sum(axis=0)
        count += len(pixels)
    mean = total / count
    std = np.sqrt(np.maximum(squares / count - mean**2, 0))
    # Sums of squares of 8-bit numbers are off by less.
    std[std < 1e-6] = 1
    return tuple(mean.tolist()), tuple(std.tolist())


def _images(dataset: MarsDataset) -> Iterable[np.ndarray[tuple[int, int], np.dtype[np.float64]]]:
    """Pixels of each image, (H * W, C) in [0, 1]."""
    with steps(f"Measuring {dataset.spec.name} {dataset.split}", len(dataset)) as advance:
        for index in dataset.indices:
            pixels = dataset.samples[int(index)].pixels
            scale = 255 if pixels.dtype == np.uint8 else 1
            yield pixels.reshape(-1, pixels.shape[2]).astype(np.float64) / scale
            advance(1)
