"""Cache of samples with large images, resized to the side of a model's input.

Resizing a large image takes several milliseconds, and every visit of a sample would pay them again.
Pixels are those of `transforms.resize`, so samples are equal with and without the cache. Masks and
boxes stay at the image's own size, at which they are scored.
"""

from dataclasses import replace

import numpy as np
import torch
import torchvision
from numpy.typing import NDArray

from marsbench.base.errors import DataError
from marsbench.base.progress import tell
from marsbench.config.resizing import WHOLE, Resizing
from marsbench.config.schema import Bands
from marsbench.data.cache import (
    CachedSamples,
    DirectSamples,
    Samples,
    build_cache,
    cached_samples,
    check_sizes,
    choices_of,
    folder_of,
    open_cache,
)
from marsbench.data.rows import Rows, Source
from marsbench.data.samples import Decoded
from marsbench.data.transforms import resize
from marsbench.tasks.spec import TaskSpec

LARGE = 1.5
"""Images are large if their sides, on average, exceed the model's by this factor."""

_ASKED = 4
"""Samples whose sizes decide whether the images of a split are large."""


class ResizedSamples:
    """Samples resized on each access.

    Args:
        samples: Samples at their own sizes.
        side: Side of the square in pixels.
        resizing: Interpolation, and a central crop if any.
    """

    def __init__(self, samples: Samples, side: int, resizing: Resizing = WHOLE) -> None:
        self._samples, self._side, self._resizing = samples, side, resizing

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, index: int) -> Decoded:
        decoded = self._samples[index]
        image = resize(as_tensor(decoded), self._side, self._resizing)
        pixels = np.ascontiguousarray(image.permute(1, 2, 0).numpy())
        return replace(decoded, pixels=pixels, resized_from=decoded.size)


def as_tensor(decoded: Decoded) -> torch.Tensor:
    """Image of a sample, (C, H, W); a copy, since a cache is read-only and tensors are not."""
    return torch.from_numpy(decoded.pixels.transpose(2, 0, 1).copy())


def samples_at(
    spec: TaskSpec,
    source: Source,
    rows: Rows,
    bands: Bands,
    side: int,
    resizing: Resizing = WHOLE,
) -> CachedSamples:
    """Open the cache of a split for a model; a missing cache is built.

    Large images are cached at the model's side alone, others at their own size. A cache at the own
    size that is already there serves if the other cannot be written.

    Args:
        spec: The task.
        source: Its data, opened.
        rows: Index of the split.
        bands: Bands to keep of images with more than three.
        side: Side of the model's input in pixels.
        resizing: Resizing of images to `side`.

    Raises:
        DataError: If a sample cannot be decoded, or the disk is full; names the file.
    """
    choices = choices_of(spec, rows, bands)
    # Another version of the library may round otherwise.
    library = f"{torch.__version__}\t{torchvision.__version__}"
    at_side = f"{choices}\t{side}\t{resizing.interpolation}\t{resizing.shorter}\t{library}"
    folder = folder_of(spec, rows, at_side)
    resized = open_cache(folder)
    if resized is None:
        own = open_cache(folder_of(spec, rows, choices))
        direct = DirectSamples(spec, source, rows, bands)
        if not _are_large(own or direct, side):
            return cached_samples(spec, source, rows, bands)
        try:
            resized = build_cache(
                folder,
                lambda: ResizedSamples(own or direct, side, resizing),
                rows,
                f"Resizing {spec.name} {rows.split}",
            )
        except DataError as error:
            # An error of a sample has no cause of the disk.
            if own is None or not isinstance(error.__cause__, OSError):
                raise
            tell(f"{error.problem} Images are resized at each visit instead, which is slower.")
            return own
    check_sizes(resized, spec, source, rows, bands)
    return resized


def _are_large(samples: Samples, side: int) -> bool:
    """Whether the images of a split are large for a model."""
    if not len(samples):
        return False
    asked = np.unique(np.linspace(0, len(samples) - 1, _ASKED).astype(int)).tolist()
    # Equal answers with and without a cache, which knows the sizes of all.
    sizes: NDArray[np.int64] = (
        samples.sizes[asked]
        if isinstance(samples, CachedSamples)
        else np.array([samples[i].size for i in asked])
    )
    return bool(np.sqrt(sizes.prod(axis=1)).mean() > LARGE * side)
