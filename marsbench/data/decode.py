"""Decode images and masks from bytes to arrays."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from marsbench.base.errors import DataError, some
from marsbench.data import raster
from marsbench.data.rows import Pixels, Raw
from marsbench.data.special import of_numbers
from marsbench.metrics.masks import IGNORE
from marsbench.tasks.spec import BACKGROUND, TaskSpec, normalise

VERSION = 2
"""Part of the cache's key: raise it whenever a decoder's output changes for all files."""


class Seen(NamedTuple):
    """An image as a model sees it.

    Attributes:
        pixels: Pixels of shape (H, W, C), uint8, or float32 in [0, 1].
        readings: Changes made to the file's numbers, for people; empty for generated images.
    """

    pixels: Pixels
    readings: tuple[str, ...] = ()


def image(raw: Raw, channels: int) -> NDArray[np.uint8]:
    """Pixels of an image alone; as `read_image`."""
    return read_image(raw, channels).pixels  # type: ignore[return-value]


def read_image(raw: Raw, channels: int) -> Seen:
    """Decode an image to 8 bits.

    Lossless conversions are made: grey to colour, colour with equal bands to grey. Numbers other
    than 8 bits are stretched between `raster.PERCENTILES`; empty pixels become 0.

    Args:
        raw: Encoded bytes, or pixels already.
        channels: Bands of the task's images, 1 or 3.

    Returns:
        Pixels of shape (H, W, channels), uint8, and how they were read.

    Raises:
        DataError: If the file cannot be read whole, or has another number of bands; names it.
    """
    if isinstance(raw.image, np.ndarray):
        return Seen(_to_channels(raw.image.astype(np.uint8, copy=False), channels, raw.where))
    file = raster.open_raster(raw.image, raw.where, raw.path)
    pixels = _to_channels(file.eight_bit(*raster.ALL), channels, raw.where)
    return Seen(pixels, (*file.readings, *_gaps(file, range(file.colors))))


def read_bands(raw: Raw, channels: int, chosen: Sequence[int]) -> Seen:
    """Decode an image of more than three bands, in [0, 1].

    Args:
        raw: Encoded bytes, or pixels already.
        channels: Bands of the task's images.
        chosen: Bands to keep.

    Returns:
        Pixels of shape (H, W, n), uint8 from images of 8 bits, else float32, zero where empty.

    Raises:
        DataError: As `read_image`, or if numbers are outside of [0, 1]; names the file.
    """
    if isinstance(raw.image, np.ndarray):
        file = raster.Raster(raw.where, raw.image, of_numbers(raw.image.dtype, ()))
    else:
        file = raster.open_raster(raw.image, raw.where, raw.path, channels)
    if file.colors != channels:
        raise DataError(
            f"{raw.where} has {file.colors} band(s); expected {channels} as in the task.",
            "Correct the image, or channels of your custom task.",
        )
    pixels = np.ascontiguousarray(file.unit(*raster.ALL, chosen))
    scaling = "8 bits" if pixels.dtype == np.uint8 else raster.AS_STORED
    return Seen(pixels, (scaling, *file.turns, *_gaps(file, chosen)))


def _gaps(file: raster.Raster, chosen: Sequence[int]) -> tuple[str, ...]:
    if not file.has_gaps:
        return ()
    share = 1 - file.valid(file.pixels[raster.ALL], chosen).mean()
    return (f"empty pixels, 0 for the model: {100 * share:.2g} %",) if share else ()


def _to_channels(pixels: NDArray[np.uint8], channels: int, where: str) -> NDArray[np.uint8]:
    bands = pixels.shape[2]
    if bands == channels:
        return np.ascontiguousarray(pixels)
    if bands == 1:
        return np.repeat(pixels, channels, axis=2)
    if channels == 1 and (pixels == pixels[:, :, :1]).all():
        return np.ascontiguousarray(pixels[:, :, :1])
    raise DataError(
        f"{where} has {bands} bands of different values; expected {channels}.",
        f"Convert the image, or set channels: {bands} in a custom task.",
    )


def pair(raw: Raw, channels: int) -> NDArray[np.uint8]:
    """Composite of an image pair alone; as `read_pair`."""
    return read_pair(raw, channels).pixels  # type: ignore[return-value]


def read_pair(raw: Raw, channels: int) -> Seen:
    """Decode an image pair into the composite of Kerner et al. 2019.

    Args:
        raw: The earlier image; the later image is `Raw.after`.
        channels: Bands of each image, 1.

    Returns:
        Pixels of shape (H, W, 3): red is zero, green the later and blue the earlier image
            (paper, B.2); and how both were read.

    Raises:
        DataError: If either cannot be decoded, or their sizes differ; names the files.
    """
    if raw.after is None:
        raise DataError(f"{raw.where} has no second image.", "Unpack the data again.")
    seen = read_image(raw, channels), read_image(raw.after, channels)
    before, after = seen[0].pixels, seen[1].pixels
    if before.shape != after.shape:
        raise DataError(
            f"{raw.where} is {_size(before)} and {raw.after.where} is {_size(after)}: the two "
            "images of a pair must have the same size.",
            "Crop both to the same ground.",
        )
    composite = np.concatenate([np.zeros_like(before), after, before], axis=2)
    return Seen(composite, tuple(dict.fromkeys(seen[0].readings + seen[1].readings)))


def _size(pixels: Pixels) -> str:
    return f"{pixels.shape[0]} x {pixels.shape[1]}"


def image_size(image: bytes | Pixels, where: str, path: Path | None = None) -> tuple[int, int]:
    """Height and width of an upright image, without reading its pixels.

    Args:
        image: Encoded image, or pixels of shape (H, W, C).
        where: Name in error messages.
        path: Path of the file; the data file of a label is in the same folder.

    Raises:
        DataError: If the file is not an image.
    """
    if isinstance(image, np.ndarray):
        return image.shape[0], image.shape[1]
    return raster.size(image, where, path)


def mask(raw: Raw, num_classes: int) -> NDArray[np.uint8]:
    """Decode the mask of a sample from any type of pixels.

    Args:
        raw: The sample. Its mask may be a PNG or TIFF of 1 to 32 bits, of palette indices, of
            whole numbers written as floats, or of three equal bands.
        num_classes: Number of classes, background included.

    Returns:
        Class ids and `IGNORE`, shape (H, W).

    Raises:
        DataError: If the mask is missing, damaged or has several bands; if ids are neither 0 to
            num_classes - 1 nor `IGNORE`; or if a mask of two classes holds `IGNORE` but not 1,
            as black-and-white pictures do. Names the file and the ids.
    """
    if raw.mask is None:
        raise DataError(f"{raw.where} has no mask.", "Unpack the data again.")
    where = raw.mask.where
    stored = raw.mask.image
    values: NDArray[Any] = (
        stored if isinstance(stored, np.ndarray) else raster.numbers(stored, where, raw.mask.path)
    )
    if values.ndim == 3 and (values.shape[2] == 1 or (values == values[:, :, :1]).all()):
        values = values[:, :, 0]
    if values.ndim != 2:
        raise DataError(
            f"{where} has the shape {' x '.join(map(str, values.shape))}; expected one band of "
            "class ids.",
            "Save it with one band.",
        )
    if num_classes == 2 and (values == IGNORE).any() and np.isin(values, (0, IGNORE)).all():
        raise DataError(
            f"{where} holds {IGNORE} and no 1: it is unclear whether {IGNORE} is the class, or to "
            "be ignored.",
            f"Write class ids, 0 and 1, and {IGNORE} for pixels to ignore.",
        )
    bad = ~(((values >= 0) & (values < num_classes)) | (values == IGNORE))
    if values.dtype.kind == "f":
        bad |= values != np.floor(values)
    if bad.any():
        ids = [f"{v:g}" for v in np.unique(values[bad]).tolist()]
        raise DataError(
            f"{where} holds {some(ids)}; expected class ids 0 to {num_classes - 1}, or {IGNORE} "
            "for ignored pixels.",
            "Check that mapping.json belongs to these masks, or set pixels of no class to "
            f"{IGNORE}.",
        )
    return np.ascontiguousarray(values, dtype=np.uint8)


def is_negative(spec: TaskSpec, raw: Raw) -> bool:
    """Whether a sample shows no object: a mask of background alone, or no boxes.

    Ignored pixels do not count. Tasks without a background class, and classification tasks, have
    no negative samples.

    Raises:
        DataError: If the mask cannot be decoded.
    """
    if spec.has_boxes:
        return raw.boxes is not None and len(raw.boxes) == 0
    if not spec.has_masks:
        return False
    if BACKGROUND not in map(normalise, spec.class_names):
        return False
    return is_background(mask(raw, len(spec.classes)))


def is_background(ids: NDArray[np.uint8]) -> bool:
    """Whether class ids (H, W) are all background (0) or ignored, with some background."""
    return bool((ids == 0).any() and ((ids == 0) | (ids == IGNORE)).all())


def check_size(spec: TaskSpec, size: tuple[int, int], where: str) -> None:
    """Refuse an image whose (height, width) differs from `TaskSpec.image_size`."""
    if spec.image_size is not None and size != spec.image_size:
        height, width = spec.image_size
        raise DataError(
            f"{where} is {size[0]} x {size[1]} pixels; expected {height} x {width} as for all "
            f"images of {spec.name} (height x width).",
            "Correct the image, or image_size of your custom task.",
        )
