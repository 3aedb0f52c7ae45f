"""From the raw files of one sample to arrays: one function per `Decode`."""

import io
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from marsbench.data.rows import Raw
from marsbench.data.spec import Decode, TaskSpec
from marsbench.errors import DataError, NotAvailableError

VERSION = 1
"""Part of the cache's key: raise it whenever a decoder's output changes."""

_EIGHT_BIT = {"1", "L", "LA", "P", "PA", "RGB", "RGBA"}


def image(raw: Raw, channels: int) -> NDArray[np.uint8]:
    """Decode one 8-bit image.

    Conversions that lose nothing are made (grey to colour, a colour image of equal bands to
    grey, an opaque alpha band dropped); others are errors.

    Args:
        raw: Encoded bytes, or pixels already.
        channels: Bands of the task's images, 1 or 3.

    Returns:
        Pixels of shape (H, W, channels).

    Raises:
        DataError: If the file is empty, damaged, not an image, deeper than 8 bits or of
            other bands; names it.
    """
    if isinstance(raw.image, np.ndarray):
        return _to_channels(raw.image, channels, raw.where)
    if not raw.image:
        raise DataError(f"{raw.where} is empty (0 bytes).", "Unpack the data again.")
    try:
        with Image.open(io.BytesIO(raw.image)) as opened:
            if opened.mode not in _EIGHT_BIT:
                raise DataError(
                    f"{raw.where}: pixels are of mode {opened.mode}; 8-bit grey or RGB is needed.",
                    "Convert the image to 8 bits per band.",
                )
            has_alpha = opened.mode in ("LA", "PA", "RGBA") or "transparency" in opened.info
            if has_alpha and np.asarray(opened.convert("RGBA"))[:, :, 3].min() < 255:
                raise DataError(
                    f"{raw.where} has transparent pixels, whose colour is undefined.",
                    "Save the image without an alpha band.",
                )
            grey = opened.mode in ("1", "L", "LA")
            pixels = np.asarray(opened.convert("L" if grey else "RGB"))
    except UnidentifiedImageError as error:
        raise DataError(f"{raw.where} is not an image.", "Unpack the data again.") from error
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(f"{raw.where} is damaged: {error}.", "Unpack the data again.") from error
    return _to_channels(pixels if pixels.ndim == 3 else pixels[:, :, None], channels, raw.where)


def _to_channels(pixels: NDArray[np.uint8], channels: int, where: str) -> NDArray[np.uint8]:
    bands = pixels.shape[2]
    if bands == channels:
        return np.ascontiguousarray(pixels)
    if bands == 1:
        return np.repeat(pixels, channels, axis=2)
    if channels == 1 and (pixels == pixels[:, :, :1]).all():
        return np.ascontiguousarray(pixels[:, :, :1])
    raise DataError(
        f"{where} has {bands} bands that differ, where the task has {channels}.",
        f"Convert the image, or set channels: {bands} in a custom task.",
    )


def pair(raw: Raw, channels: int) -> NDArray[np.uint8]:
    """Decode two grey images of one place into the composite of Kerner et al. 2019.

    Args:
        raw: The image before, and in `Raw.after` the one after.
        channels: Bands of each of the two, 1.

    Returns:
        Pixels of shape (H, W, 3): red zero, green after, blue before (paper, B.2).

    Raises:
        DataError: If either cannot be decoded, or their sizes differ; names the files.
    """
    if raw.after is None:
        raise DataError(f"{raw.where} has no second image.", "Unpack the data again.")
    before, after = image(raw, channels), image(raw.after, channels)
    if before.shape != after.shape:
        raise DataError(
            f"{raw.where} is {_size(before)} and {raw.after.where} is {_size(after)}: the two "
            "images of a pair must have one size.",
            "Crop both to the same ground.",
        )
    return np.concatenate([np.zeros_like(before), after, before], axis=2)


def _size(pixels: NDArray[np.uint8]) -> str:
    return f"{pixels.shape[0]} x {pixels.shape[1]}"


DECODERS: dict[Decode, Callable[[Raw, int], NDArray[np.uint8]]] = {
    Decode.IMAGE_LABEL: image,
    Decode.PAIR_LABEL: pair,
}
"""The decoders this version has."""


def decode(spec: TaskSpec, raw: Raw) -> NDArray[np.uint8]:
    """Decode one sample of a task.

    Returns:
        Pixels of shape (H, W, C).

    Raises:
        DataError: If its files are damaged or not what the task says; names the file.
    """
    pixels = DECODERS[spec.decode](raw, spec.channels)
    if spec.image_size is not None and pixels.shape[:2] != spec.image_size:
        height, width = spec.image_size
        raise DataError(
            f"{raw.where} is {_size(pixels)} pixels, where every image of {spec.name} is "
            f"{height} x {width} (height x width).",
            "Correct the image, or image_size in a task of your own.",
        )
    return pixels


_LATER = {
    Decode.IMAGE_MASK: "segmentation masks",
    Decode.IMAGE_BOXES: "boxes for detection",
    Decode.SPECTRUM: "mass spectra",
}


def missing_piece(spec: TaskSpec) -> str | None:
    """What this version lacks to read a task's samples; None if it lacks nothing."""
    return None if spec.decode in DECODERS else _LATER[spec.decode]


def check_available(spec: TaskSpec) -> None:
    """Raise if this version cannot read a task's samples yet.

    Raises:
        NotAvailableError: Names the task and what is lacking.
    """
    if lacking := missing_piece(spec):
        raise NotAvailableError(
            f"Task {spec.name} cannot be run yet: this version does not read {lacking}.",
            "`marsbench list tasks` shows which tasks can be run.",
        )
