"""Open new images, and read parts of them in [0, 1]."""

import contextlib
import math
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from marsbench.base.errors import DataError
from marsbench.config.schema import Bands
from marsbench.data import decode
from marsbench.data.georeference import Georeference
from marsbench.data.raster import (
    PERCENTILES,
    Raster,
    check_claim,
    format_of,
    open_raster,
    start_of,
    stretch,
)
from marsbench.data.rows import Pixels
from marsbench.data.samples import SMALLEST
from marsbench.data.sources.annotations import AFTER, BEFORE
from marsbench.predict.walk import Item
from marsbench.tasks.spec import TaskSpec

_IN_MEMORY = 64 << 20
"""Pixels above which an untiled image is reduced while it is read."""

_ROWS = 1024
"""Rows read at a time to check a whole image."""

_pil_limit = threading.Lock()


@dataclass(frozen=True)
class Picture:
    """An opened image.

    Attributes:
        raster: The image, in memory or on disk.
        bands: Bands seen by the model.
        repeated: Repeats of a grey band.
        limits: Numbers scaled to 0 and 1; None for 8 bits, or numbers already in [0, 1].
        note: Scaling of the two files of a pair.
    """

    raster: Raster
    bands: tuple[int, ...]
    repeated: int = 1
    limits: tuple[float, float] | None = None
    note: str | None = None

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.raster.pixels.shape[0], self.raster.pixels.shape[1]

    @property
    def geo(self) -> Georeference | None:
        """Georeference; None if missing."""
        return self.raster.geo

    @property
    def scaling(self) -> str:
        """Scaling from the file's numbers to the model's input, for tables."""
        if self.note is not None:
            return self.note
        if self.limits is not None:
            low, high = self.limits
            return f"percentiles {PERCENTILES[0]} to {PERCENTILES[1]}: {low:g} to {high:g}"
        return "8 bits" if self.raster.pixels.dtype == np.uint8 else "0 to 1 as stored"

    @property
    def has_gaps(self) -> bool:
        """Whether pixels may be empty."""
        return self.raster.has_gaps

    def part(self, rows: slice, columns: slice) -> Pixels:
        """Pixels of a part, (h, w, C): uint8, or float32 in [0, 1], zero where empty."""
        return self._finished(self.raster.pixels[rows, columns])

    def valid(self, rows: slice, columns: slice) -> NDArray[np.bool_]:
        """Mask of the non-empty pixels of a part, (h, w)."""
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

    def _finished(self, values: NDArray[Any]) -> Pixels:
        chosen = values[:, :, list(self.bands)]
        if self.limits is not None:
            chosen = stretch(chosen, self.limits)
        elif chosen.dtype != np.uint8:
            chosen = chosen.astype(np.float32)
        if self.has_gaps:
            valid = self.raster.valid(values, self.bands)
            chosen = np.where(valid[:, :, None], chosen, 0).astype(chosen.dtype)
        return np.repeat(chosen, self.repeated, axis=2) if self.repeated > 1 else chosen


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
    if before.dtype != after.dtype:
        before, after = (_in_one(p) for p in (before, after))
    composite = np.concatenate([np.zeros_like(before), after, before], axis=2)
    note = "; ".join(dict.fromkeys(p.scaling for p in pair))
    return Picture(Raster(str(item.path), composite, geo=pair[0].geo), (0, 1, 2), note=note)


def _in_one(pixels: Pixels) -> NDArray[np.float32]:
    if pixels.dtype == np.uint8:
        return pixels.astype(np.float32) / np.float32(255)
    return pixels.astype(np.float32)


def _open(path: Path, task: TaskSpec, bands: Bands) -> Picture:
    start = start_of(path)
    if not start:
        raise DataError(f"{path} is empty (0 bytes).", "Copy it again.")
    raster = open_raster(path) if format_of(start) else _read_by_pil(path)
    height, width, _ = raster.pixels.shape
    if raster.pixels.dtype.kind not in "uif":
        raise DataError(
            f"{path} holds numbers of type {raster.pixels.dtype}.", "Save it as 8 bits."
        )
    if min(height, width) < SMALLEST:
        raise DataError(
            f"{path} is {height} x {width} pixels, too small to predict.", "Leave it out."
        )
    picture = Picture(raster, *_choose(raster, task, bands))
    if raster.pixels.dtype == np.uint8:
        return picture
    if task.channels > 3:
        _check_unit(path, picture)
        return picture
    return replace(picture, limits=raster.limits(picture.bands))


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


def _check_unit(path: Path, picture: Picture) -> None:
    """Refuse an image outside of [0, 1], the range of the task's images."""
    for top in range(0, picture.size[0], _ROWS):
        part = picture.part(slice(top, top + _ROWS), slice(None))
        if part.min() < 0 or part.max() > 1:
            raise DataError(
                f"{path} holds numbers outside 0..1: {part.min():g} to {part.max():g}.",
                "Scale the image to 0..1 as the task's own images are, or save it with 8 bits per "
                "band.",
            )


@contextlib.contextmanager
def _large_images_allowed() -> Iterator[None]:
    """Lift PIL's limit of 179 million pixels; `check_claim` replaces the limit."""
    with _pil_limit:
        before = Image.MAX_IMAGE_PIXELS
        Image.MAX_IMAGE_PIXELS = None
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = before


def _read_by_pil(path: Path) -> Raster:
    """Read a plain picture."""
    try:
        with _large_images_allowed(), decode.open_picture(path) as opened:
            check_claim(4 * opened.width * opened.height, path.stat().st_size, str(path))
            if opened.mode in ("P", "PA", "1") or "transparency" in opened.info:
                wanted = "RGBA" if "transparency" in opened.info or opened.mode == "PA" else "RGB"
                shown = opened.convert("L" if opened.mode == "1" else wanted)
            elif opened.mode in ("CMYK", "YCbCr", "LAB", "HSV"):
                shown = opened.convert("RGB")
            else:
                shown = opened
            values = np.asarray(shown)
            has_alpha = shown.mode in ("LA", "RGBA")
    except UnidentifiedImageError as error:  # its text adds the path alone
        raise DataError(
            f"{path} is damaged or no image.", "Copy it again, or leave it out."
        ) from error
    except decode.DAMAGE as error:
        raise DataError(
            f"{path} is damaged or no image: {str(error)[:200]}.", "Copy it again, or leave it out."
        ) from error
    values = values if values.ndim == 3 else values[:, :, None]
    return Raster(str(path), values, values.shape[2] - 1 if has_alpha else None)
