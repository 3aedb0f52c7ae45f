"""Read images of every format as training, `data verify` and `predict` see them.

Rasters (`gdal`) and plain pictures (`pictures`) become a `Raster`: stored numbers with their depth,
sign, scale, special numbers, alpha or mask, turned upright. A file is read whole or refused.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from marsbench.base.errors import DataError
from marsbench.data import pictures
from marsbench.data.formats import format_of, start_of_source
from marsbench.data.gdal import (
    Opened,
    Windows,
    external_mask,
    gdal,
    is_stack,
    open_source,
    orientation_of,
    stacked,
)
from marsbench.data.georeference import Georeference, read_georeference
from marsbench.data.special import Special, among, of_numbers

PERCENTILES = (0.5, 99.5)
"""Percentiles of deep images that become 0 and 1."""

AS_STORED = "0 to 1 as stored"
"""Reading of images in [0, 1], of tasks with more than three bands."""

_IN_MEMORY = 64 << 20
"""Bytes of pixels above which a file is read by windows."""

_SAMPLED = 4_000_000
"""Largest number of pixels for percentiles; larger images are subsampled."""

ALL = (slice(None), slice(None))
"""Window of a whole image."""


@dataclass(frozen=True)
class Raster:
    """An opened image, with the file's description of its numbers.

    Attributes:
        where: Name in error messages.
        pixels: Numbers of the upright image by rows and columns, (H, W, bands), in memory or on
            disk.
        special: Numbers without data, and of saturated pixels.
        has_alpha: Whether the last band is alpha or a mask, 0 in empty pixels.
        scale: Factor and offset of each band but alpha, (2, bands), if the file names any.
        is_inverted: Whether 0 is white; 8-bit numbers are inverted already.
        orientation: EXIF orientation of the file, 1 to 8; 1 is stored upright.
        geo: Georeference; None if the file has none.
    """

    where: str
    pixels: "NDArray[Any] | Windows"
    special: Special
    has_alpha: bool = False
    scale: NDArray[np.float64] | None = None
    is_inverted: bool = False
    orientation: int = 1
    geo: Georeference | None = None

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the upright image."""
        return self.pixels.shape[0], self.pixels.shape[1]

    @property
    def colors(self) -> int:
        """Number of bands beside alpha."""
        return int(self.pixels.shape[2]) - self.has_alpha

    @property
    def has_gaps(self) -> bool:
        """Whether pixels may be empty."""
        is_float = self.pixels.dtype.kind == "f"
        return self.has_alpha or is_float or len(self.special.empty) > 0

    @property
    def is_deep(self) -> bool:
        """Whether colours are stretched to 8 bits: other numbers than unsigned bytes."""
        return self.pixels.dtype != np.uint8 or self.is_uneven

    @property
    def turns(self) -> tuple[str, ...]:
        """Turn of the stored image, for people; empty if stored upright."""
        upright = self.orientation == 1
        return () if upright else (f"turned upright: orientation {self.orientation}",)

    @property
    def readings(self) -> tuple[str, ...]:
        """Changes from the file's numbers to 8-bit colours, for people."""
        scaling = "8 bits"
        if self.is_deep:
            low, high = self.limits
            scaling = f"percentiles {PERCENTILES[0]} to {PERCENTILES[1]}: {low:g} to {high:g}"
        return (scaling, *self.turns)

    def valid(self, values: NDArray[Any], bands: Sequence[int]) -> NDArray[np.bool_]:
        """Mask of the non-empty pixels, (h, w).

        Args:
            values: A window of `pixels`, (h, w, all bands).
            bands: Bands to look at; a pixel is empty if all of them are special numbers without
                data, or one is not finite.
        """
        valid = np.ones(values.shape[:2], dtype=np.bool_)
        if self.has_alpha:
            valid &= values[:, :, -1] > 0
        chosen = values[:, :, list(bands)]
        if chosen.dtype.kind == "f":
            valid &= np.isfinite(chosen).all(axis=2)
        if len(self.special.empty):
            valid &= ~among(chosen, self.special.empty).all(axis=2)
        return valid

    def eight_bit(self, rows: slice, columns: slice) -> NDArray[np.uint8]:
        """Colours of a part as models see them, (h, w, colors): 8 bits, 0 in empty pixels.

        Deep images are stretched linearly between `limits`; saturated pixels are black or white.

        Raises:
            DataError: If all pixels of a deep image are empty, or the file is damaged.
        """
        values = self.pixels[rows, columns]
        stored = values[:, :, : self.colors]
        colors = stored if not self.is_deep else self._stretched(stored)
        for numbers, color in ((self.special.low, 0), (self.special.high, 255)):
            if len(numbers):
                colors = np.where(among(stored, numbers), np.uint8(color), colors)
        if self.has_gaps:
            valid = self.valid(values, range(self.colors))
            if not valid.all():
                colors = np.where(valid[:, :, None], colors, np.uint8(0))
        return colors

    def unit(self, rows: slice, columns: slice, bands: Sequence[int]) -> NDArray[Any]:
        """Bands of a part of an image in [0, 1], (h, w, n), zero in empty pixels.

        Returns:
            float32; uint8 of images of 8 bits.

        Raises:
            DataError: If numbers are outside of [0, 1], or NaN where the file does not name it as
                its number without data.
        """
        values = self.pixels[rows, columns]
        chosen = values[:, :, list(bands)]
        if self.scale is not None:
            chosen = self._measured(chosen, bands)
        if chosen.dtype != np.uint8:
            chosen = chosen.astype(np.float32)
        if self.has_gaps:
            gaps = ~self.valid(values, bands)[:, :, None]
            if not self.has_alpha and not self.special.has_nan:
                gaps = gaps & np.isfinite(chosen)
            chosen = np.where(gaps, chosen.dtype.type(0), chosen)
        in_range = chosen.dtype == np.uint8 or ((chosen >= 0) & (chosen <= 1)).all()
        if not in_range:
            raise DataError(
                f"{self.where} holds numbers from {chosen.min():g} to {chosen.max():g}; expected 0 "
                "to 1, and NaN only as its 'no data' value.",
                "Scale the image to 0..1 as the task's own images, or save it with 8 bits per "
                "band.",
            )
        return chosen

    @cached_property
    def limits(self) -> tuple[float, float]:
        """Numbers of deep images that become black and white: `PERCENTILES` over all colours.

        Empty and saturated pixels do not count.

        Raises:
            DataError: If all pixels are empty.
        """
        height, width = self.size
        step = max(1, int(np.ceil(np.sqrt(height * width / _SAMPLED))))
        sample = self.pixels[::step, ::step]
        stored = sample[:, :, : self.colors]
        counted = np.repeat(self.valid(sample, range(self.colors))[:, :, None], self.colors, 2)
        counted &= ~among(stored, self.special.all)
        if not counted.any():
            raise DataError(f"{self.where} holds no data: every pixel is empty.", "Leave it out.")
        values = self._measured(stored) if self.is_uneven else stored
        low, high = np.percentile(values[counted].astype(np.float64), PERCENTILES)
        return float(low), float(high)

    @property
    def is_uneven(self) -> bool:
        """Whether bands have different scales, or a negative one; others change no colour."""
        if self.scale is None:
            return False
        return bool((self.scale != self.scale[:, :1]).any() or self.scale[0, 0] < 0)

    def _measured(
        self, stored: NDArray[Any], bands: Sequence[int] | None = None
    ) -> NDArray[np.float64]:
        """Apply scale and offset to stored numbers (h, w, n) of some bands."""
        factor, offset = (1.0, 0.0) if self.scale is None else self.scale
        if self.scale is not None and bands is not None:
            factor, offset = self.scale[:, list(bands)]
        return stored.astype(np.float64) * factor + offset

    def _stretched(self, stored: NDArray[Any]) -> NDArray[np.uint8]:
        values = self._measured(stored) if self.is_uneven else stored
        scaled = stretch(values, self.limits)
        if self.is_inverted:
            scaled = 1 - scaled
        return np.nan_to_num(np.round(255 * scaled), nan=0).astype(np.uint8)


def stretch(values: NDArray[Any], limits: tuple[float, float]) -> NDArray[np.floating]:
    """Scale numbers linearly from the limits to [0, 1], and clip.

    Numbers that single precision holds are scaled in it; others, such as 32-bit integers, in double
    precision.
    """
    low, high = limits
    dtype = np.result_type(values.dtype, np.float32)
    with np.errstate(over="ignore", invalid="ignore"):  # special numbers near -3.4e38
        scaled = (values.astype(dtype) - low) / max(high - low, 1e-12)
    return np.clip(scaled, 0, 1)


def open_raster(
    source: Path | bytes, where: str = "", path: Path | None = None, bands: int | None = None
) -> Raster:
    """Open an image.

    Palette indices become colours, and numbers of 1 to 7 bits are scaled to 8 bits. Rasters below
    `_IN_MEMORY` and all pictures are read at once and closed.

    Args:
        source: Path or content of the file.
        where: Name of the content in error messages.
        path: Path of the content; data files of detached labels and external masks lie beside.
        bands: Bands of images of more than three. In rasters with as many, a band marked as alpha
            is data; tools mark the fourth band of any TIFF so.

    Raises:
        DataError: If the file is damaged, has several pages or frames, an unknown format, or
            numbers or colours that cannot be read whole; names the file.
    """
    where = where or str(source)
    if format_of(start_of_source(source)) is None:
        return _of_picture(source, where, source if isinstance(source, Path) else path)
    opened = open_source(source, where, path)
    with gdal(where, opened.form):
        return _of_dataset(opened, source, where, bands)


def _of_picture(source: Path | bytes, where: str, path: Path | None) -> Raster:
    stored = pictures.read(source, where)
    values, has_alpha = _masked(stored, path)
    values = pictures.turned(values, stored.orientation)
    special = of_numbers(values.dtype, ())
    return Raster(where, values, special, has_alpha, orientation=stored.orientation)


def _masked(stored: pictures.Stored, path: Path | None) -> tuple[NDArray[Any], bool]:
    """Pixels of a picture with the mask beside it as alpha, and whether they have alpha."""
    values = stored.values
    has_data = None if path is None else external_mask(path, values.shape[:2])
    if has_data is None:
        return values, stored.has_alpha
    if stored.has_alpha:
        return np.where(has_data[:, :, None], values, 0).astype(values.dtype), True
    return np.dstack([values, has_data.astype(values.dtype)]), True


def _of_dataset(
    opened: Opened, source: Path | bytes, where: str, bands: int | None = None
) -> Raster:
    dataset = opened.dataset
    _check_colors(opened, where)
    special, geo = opened.special, read_georeference(dataset)
    orientation = orientation_of(source, opened.form, where)
    pixels: NDArray[Any] | Windows
    if is_stack(dataset):
        pixels, has_alpha, is_stored = stacked(source, where), False, True
    else:
        windows = Windows(opened, where, bands=bands)
        has_alpha, is_stored = windows.has_alpha, windows.lut is None
        # PNGs are decoded from their beginning for each window.
        is_whole = windows.num_bytes <= _IN_MEMORY or opened.form.driver == "PNG"
        pixels = windows[ALL] if is_whole or isinstance(source, bytes) else windows
    if orientation != 1:
        if geo is not None or isinstance(pixels, Windows):
            kind = "has a georeference" if geo is not None else "is too large to turn in memory"
            raise DataError(
                f"{where} is stored turned (orientation {orientation}) and {kind}.",
                "Save it upright, with orientation 1.",
            )
        pixels = pictures.turned(pixels, orientation)
    return Raster(
        where,
        pixels,
        special if is_stored else of_numbers(pixels.dtype, ()),
        has_alpha,
        _scale(dataset, pixels.shape[2] - has_alpha),
        is_stored and dataset.tags(ns="IMAGE_STRUCTURE").get("MINISWHITE") == "YES",
        orientation,
        geo,
    )


def _check_colors(opened: Opened, where: str) -> None:
    """Refuse complex numbers, and colours that GDAL would change or return as indices."""
    from rasterio.enums import ColorInterp

    dtype = opened.dataset.dtypes[0]
    if np.dtype(dtype).kind not in "uif":
        raise DataError(f"{where} holds numbers of type {dtype}.", "Save it as 8 bits.")
    dataset, structure = opened.dataset, opened.dataset.tags(ns="IMAGE_STRUCTURE")
    space = structure.get("SOURCE_COLOR_SPACE", "")
    if ColorInterp.cyan in dataset.colorinterp:
        space = "CMYK"
    if space.endswith(("LAB", "CMYK")):
        raise DataError(f"{where} has colours in {space}; expected RGB.", "Save it as RGB.")
    is_palette = dataset.colorinterp[0] is ColorInterp.palette
    if is_palette and dataset.dtypes[0] != "uint8" and structure.get("MINISWHITE") != "YES":
        raise DataError(f"{where} has a palette of 16 bits; expected 8.", "Save it as RGB.")
    if dataset.tags().get("NODATA_VALUES"):
        raise DataError(
            f"{where} has a transparent colour; expected an alpha band.",
            "Save it with an alpha band.",
        )


def _scale(dataset: Any, colors: int) -> NDArray[np.float64] | None:
    """Factors and offsets of the bands, (2, colors); None if all are 1 and 0."""
    if len(dataset.scales) < colors:  # pages and palettes become bands
        return None
    scale = np.array([dataset.scales[:colors], dataset.offsets[:colors]])
    return None if (scale == [[1.0], [0.0]]).all() else scale


def numbers(encoded: bytes, where: str, path: Path | None = None) -> NDArray[Any]:
    """Read the stored numbers of an image, such as class ids, upright.

    Args:
        encoded: Content of the file.
        where: Name of the content in error messages.
        path: Path of the content; data files of detached labels and external masks lie beside.

    Returns:
        Numbers of shape (H, W, bands). An alpha band or mask with empty pixels is the last band.

    Raises:
        DataError: As `open_raster`; or if the compression changes numbers, as JPEG does.
    """
    if format_of(encoded) is None:
        stored = pictures.numbers(encoded, where)
        values, has_alpha = _masked(stored, path)
        orientation = stored.orientation
    else:
        opened = open_source(encoded, where, path)
        with gdal(where, opened.form), opened.dataset:
            if is_stack(opened.dataset):
                return stacked(encoded, where)
            windows = Windows(opened, where, as_stored=True)
            values, has_alpha = windows[ALL], windows.has_alpha
            orientation = orientation_of(encoded, opened.form, where)
    if has_alpha and values[:, :, -1].min() == values[:, :, -1].max() > 0:
        values = values[:, :, :-1]
    return pictures.turned(values, orientation)


def size(encoded: bytes, where: str, path: Path | None = None) -> tuple[int, int]:
    """Height and width of the upright image, without reading pixels; as `numbers`."""
    if format_of(encoded) is None:
        return pictures.size(encoded, where)
    opened = open_source(encoded, where, path)
    with gdal(where, opened.form), opened.dataset:
        if is_stack(opened.dataset):
            height, width, _ = stacked(encoded, where).shape
            return height, width
        height, width = opened.dataset.height, opened.dataset.width
        is_upright = orientation_of(encoded, opened.form, where) < 5
        return (height, width) if is_upright else (width, height)
