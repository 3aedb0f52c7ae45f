"""Open new images, and read parts of them."""

import math
import threading
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from marsbench.base.errors import DataError
from marsbench.config.schema import Bands
from marsbench.data.georeference import Georeference
from marsbench.data.raster import AS_STORED, Raster, open_raster
from marsbench.data.rows import Pixels
from marsbench.data.samples import SMALLEST
from marsbench.data.sources.annotations import AFTER, BEFORE
from marsbench.data.special import of_numbers
from marsbench.predict.walk import Item
from marsbench.tasks.spec import TaskSpec

_IN_MEMORY = 64 << 20
"""Pixels above which an untiled image is reduced while it is read."""

_ROWS = 1024
"""Rows read at a time to check a whole image."""


@dataclass(frozen=True)
class Picture:
    """An opened image.

    Attributes:
        raster: The image, in memory or on disk.
        bands: Bands seen by the model.
        repeated: Repeats of a grey band.
        is_unit: Whether the image is in [0, 1] as those of a task with more than three bands.
        note: Scaling of the two files of a pair.
        reading: Held while pixels are read: GDAL's data sets serve one thread at a time.
    """

    raster: Raster
    bands: tuple[int, ...]
    repeated: int = 1
    is_unit: bool = False
    note: str | None = None
    reading: threading.RLock = field(default_factory=threading.RLock, repr=False, compare=False)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the upright image in pixels."""
        return self.raster.size

    @property
    def geo(self) -> Georeference | None:
        """Georeference; None if missing."""
        return self.raster.geo

    @property
    def scaling(self) -> str:
        """Scaling from the file's numbers to the model's input, and turn, for tables."""
        if self.note is not None:
            return self.note
        if self.is_unit and self.raster.pixels.dtype != np.uint8:
            return "; ".join((AS_STORED, *self.raster.turns))
        return "; ".join(self.raster.readings)

    @property
    def has_gaps(self) -> bool:
        """Whether pixels may be empty."""
        return self.raster.has_gaps

    def part(self, rows: slice, columns: slice) -> Pixels:
        """Pixels of a part, (h, w, C): uint8, or float32 in [0, 1], zero where empty."""
        with self.reading:
            if self.is_unit:
                return self.raster.unit(rows, columns, self.bands)
            chosen = self.raster.eight_bit(rows, columns)[:, :, list(self.bands)]
        return chosen if self.repeated == 1 else chosen.repeat(self.repeated, axis=2)

    def valid(self, rows: slice, columns: slice) -> NDArray[np.bool_]:
        """Mask of the non-empty pixels of a part, (h, w)."""
        with self.reading:
            return self.raster.valid(self.raster.pixels[rows, columns], self.bands)

    def preview(self, longest: int) -> NDArray[np.uint8]:
        """Subsampled pixels with at most `longest` a side, (h, w, 3)."""
        step = -(-max(self.size) // longest)
        pixels = self.part(slice(None, None, step), slice(None, None, step))
        if pixels.dtype != np.uint8:
            pixels = np.round(pixels * 255).astype(np.uint8)
        shown = [0, 1, 2] if pixels.shape[2] >= 3 else [0, 0, 0]
        return np.ascontiguousarray(pixels[:, :, shown].astype(np.uint8))

    def reduced(self, side: int) -> Pixels:
        """The whole image; above `_IN_MEMORY` pixels, means of n x n pixels.

        Args:
            side: Side of the model's input; means keep at least four times as many pixels.
        """
        height, width = self.size
        if height * width <= _IN_MEMORY:
            return self.part(slice(None), slice(None))
        step = max(math.isqrt(height * width // _IN_MEMORY) + 1, min(self.size) // (4 * side))
        columns = slice(0, width - width % step)
        means = []
        for top in range(0, height + 1 - step, step):
            strip = self.part(slice(top, top + step), columns)
            strip = strip.reshape(step, -1, step, strip.shape[2])
            means.append(strip.mean(axis=(0, 2), dtype=np.float32))
        pixels = np.stack(means)
        return np.round(pixels).astype(np.uint8) if strip.dtype == np.uint8 else pixels


def open_picture(item: Item, task: TaskSpec, bands: Bands) -> Picture:
    """Open an image, or a pair as its composite.

    Args:
        item: The image.
        task: Task of the model.
        bands: Bands used in training.

    Raises:
        DataError: If the file is damaged, too small or of other bands; names the file.
    """
    if item.error is not None:
        raise item.error
    if not task.is_pairs:
        return _open(item.path, task, bands)
    if item.after is None:
        raise DataError(
            f"The first image of the pair of {item.path} is missing, or its name holds neither "
            f"'{BEFORE}' nor '{AFTER}'.",
            "Name the two images of a pair alike, with these words.",
        )
    if not item.after.exists():
        raise DataError(
            f"The second image of {item.path} is missing: {item.after.name}.",
            "Put it beside the first.",
        )
    pair = [_open(path, task, bands) for path in (item.path, item.after)]
    before, after = (p.part(slice(None), slice(None)) for p in pair)
    if before.shape != after.shape:
        raise DataError(
            f"{item.path} is {before.shape[0]} x {before.shape[1]} pixels and {item.after} "
            f"{after.shape[0]} x {after.shape[1]}: images of a pair must have the same size.",
            "Crop both to the same ground.",
        )
    composite = np.concatenate([np.zeros_like(before), after, before], axis=2)
    note = "; ".join(dict.fromkeys(p.scaling for p in pair))
    special = of_numbers(composite.dtype, ())
    return Picture(
        Raster(str(item.path), composite, special, geo=pair[0].geo), (0, 1, 2), note=note
    )


def _open(path: Path, task: TaskSpec, bands: Bands) -> Picture:
    raster = open_raster(path, bands=task.channels if task.channels > 3 else None)
    height, width = raster.size
    if min(height, width) < SMALLEST:
        raise DataError(
            f"{path} is {height} x {width} pixels, too small to predict.", "Leave it out."
        )
    picture = Picture(raster, *_choose(raster, task, bands), task.channels > 3)
    if picture.is_unit:
        _check_unit(picture)
    elif raster.is_deep:
        _ = raster.limits  # refuses images without data
    return picture


def _choose(raster: Raster, task: TaskSpec, bands: Bands) -> tuple[tuple[int, ...], int]:
    """Choose the bands for the model, and the repeats of a grey band."""
    wanted, count = task.channels, raster.colors
    takes = f"was trained on images of {wanted}"
    remedy = f"Save it with {'one band' if wanted == 1 else f'these {wanted} bands'}."
    if wanted == 3:
        remedy = "Save it with three bands, or in grey with one."
    if wanted > 3 and bands is Bands.RGB and task.rgb_bands is not None:
        takes = "takes three colours"
        remedy = f"Save it with red, green and blue alone, or with all {wanted} bands of the task."
        if count == wanted:
            return task.rgb_bands, 1
        if count == 3:
            return (0, 1, 2), 1
    elif count == wanted:
        return tuple(range(count)), 1
    elif count == 1 and wanted <= 3:
        return (0,), wanted
    elif wanted == 1 and count == 3 and _is_grey(raster):
        return (0,), 1
    raise DataError(
        f"{raster.where} has {count} band{'' if count == 1 else 's'}"
        + (" of different values" if wanted == 1 and count == 3 else "")
        + f"; the model {takes}.",
        remedy,
    )


def _is_grey(raster: Raster) -> bool:
    strips = (
        raster.pixels[top : top + _ROWS, :] for top in range(0, raster.pixels.shape[0], _ROWS)
    )
    return all(bool((s[:, :, :3] == s[:, :, :1]).all()) for s in strips)


def _check_unit(picture: Picture) -> None:
    """Refuse an image outside of [0, 1], the range of the task's images."""
    for top in range(0, picture.size[0], _ROWS):
        picture.part(slice(top, top + _ROWS), slice(None))
