"""Decode images and masks from bytes to arrays."""

import io
import struct
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from marsbench.base.errors import DataError, some
from marsbench.data import raster
from marsbench.data.rows import Pixels, Raw
from marsbench.metrics.masks import IGNORE
from marsbench.tasks.spec import BACKGROUND, TaskSpec, normalise

VERSION = 2
"""Part of the cache's key: raise it whenever a decoder's output changes."""

DAMAGE = (
    OSError,
    ValueError,
    TypeError,
    SyntaxError,
    LookupError,
    OverflowError,
    struct.error,
    Image.DecompressionBombError,
)
"""Errors of PIL on damaged files."""

PICTURES = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
"""Formats that PIL may read. An EPS, for example, would start an interpreter of PostScript."""

_EIGHT_BIT = {"1", "L", "LA", "P", "PA", "RGB", "RGBA"}


def open_picture(source: Path | BinaryIO) -> Image.Image:
    """Open a picture of the formats in `PICTURES`, whatever its name ends in.

    Raises:
        UnidentifiedImageError: If it is of another format.
    """
    return Image.open(source, formats=PICTURES)


def image(raw: Raw, channels: int) -> NDArray[np.uint8]:
    """Decode an image to 8 bits.

    Lossless conversions are made: grey to colour, colour with equal bands to grey, opaque alpha
    dropped. TIFF, JPEG 2000, PDS and ISIS images deeper than 8 bits are stretched between
    `raster.PERCENTILES`. Other conversions are errors.

    Args:
        raw: Encoded bytes, or pixels already.
        channels: Bands of the task's images, 1 or 3.

    Returns:
        Pixels of shape (H, W, channels).

    Raises:
        DataError: If the file is empty, damaged or not an image, has another number of bands, or is
            a picture deeper than 8 bits; names the file.
    """
    if isinstance(raw.image, np.ndarray):
        return _to_channels(raw.image.astype(np.uint8, copy=False), channels, raw.where)
    if not raw.image:
        raise DataError(f"{raw.where} is empty (0 bytes).", "Unpack the data again.")
    if raster.format_of(raw.image):
        return _to_channels(_of_raster(raw.image, raw), channels, raw.where)
    try:
        with open_picture(io.BytesIO(raw.image)) as opened:
            _check_claim(opened, raw.image, raw.where)
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
    except DAMAGE as error:
        raise DataError(f"{raw.where} is damaged: {error}.", "Unpack the data again.") from error
    return _to_channels(pixels if pixels.ndim == 3 else pixels[:, :, None], channels, raw.where)


def _of_raster(encoded: bytes, raw: Raw) -> NDArray[np.uint8]:
    """Pixels of a TIFF, JPEG 2000, PDS or ISIS image; deeper ones are stretched to 8 bits."""
    file = raster.open_raster(encoded, raw.where, raw.path)
    values, bands = file.pixels[:, :], range(file.colors)
    if file.alpha is not None and file.is_alpha_stored:
        opaque = 255 if values.dtype == np.uint8 else values[:, :, file.alpha].max()
        if values[:, :, file.alpha].min() < opaque:
            raise DataError(
                f"{raw.where} has transparent pixels, whose colour is undefined.",
                "Save the image without an alpha band.",
            )
    if values.dtype == np.uint8:
        return values[:, :, : file.colors]
    scaled = raster.stretch(values[:, :, : file.colors], file.limits(bands))
    scaled[~file.valid(values, bands)] = 0
    return np.round(255 * scaled).astype(np.uint8)


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
    """Decode an image pair into the composite of Kerner et al. 2019.

    Args:
        raw: The earlier image; the later image is `Raw.after`.
        channels: Bands of each image, 1.

    Returns:
        Pixels of shape (H, W, 3): red is zero, green the later and blue the earlier image
            (paper, B.2).

    Raises:
        DataError: If either cannot be decoded, or their sizes differ; names the files.
    """
    if raw.after is None:
        raise DataError(f"{raw.where} has no second image.", "Unpack the data again.")
    before, after = image(raw, channels), image(raw.after, channels)
    if before.shape != after.shape:
        raise DataError(
            f"{raw.where} is {_size(before)} and {raw.after.where} is {_size(after)}: the two "
            "images of a pair must have the same size.",
            "Crop both to the same ground.",
        )
    return np.concatenate([np.zeros_like(before), after, before], axis=2)


def _size(pixels: NDArray[np.uint8]) -> str:
    return f"{pixels.shape[0]} x {pixels.shape[1]}"


def image_size(image: bytes | Pixels, where: str, path: Path | None = None) -> tuple[int, int]:
    """Height and width of an image, without reading its pixels.

    Args:
        image: Encoded image, or pixels of shape (H, W, C).
        where: Name in error messages.
        path: Path of the file; the data file of a label is in the same folder.

    Raises:
        DataError: If the file is not an image.
    """
    if isinstance(image, np.ndarray):
        return image.shape[0], image.shape[1]
    if raster.format_of(image):
        return raster.size(image, where, path)
    try:
        with open_picture(io.BytesIO(image)) as opened:
            return opened.height, opened.width
    except DAMAGE as error:
        raise DataError(f"{where} is not an image.", "Unpack the data again.") from error


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
    values = stored if isinstance(stored, np.ndarray) else _values(stored, where, raw.mask.path)
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


def _values(encoded: bytes, where: str, path: Path | None) -> NDArray[Any]:
    """Read the stored numbers of a mask file, (H, W) or (H, W, bands)."""
    if not encoded:
        raise DataError(f"{where} is empty (0 bytes).", "Unpack the data again.")
    if raster.format_of(encoded):
        return raster.numbers(encoded, where, path)
    try:
        with open_picture(io.BytesIO(encoded)) as opened:
            if opened.format in ("JPEG", "MPO") or _is_lossy_webp(encoded):
                kind = "lossy WebP" if opened.format == "WEBP" else "JPEG"
                raise DataError(
                    f"{where} is a {kind}, which changes class ids.", "Save masks as PNG or TIFF."
                )
            _check_claim(opened, encoded, where)
            values: NDArray[Any] = np.asarray(opened)
            if opened.format == "PNG":
                bits, colour = encoded[24], encoded[25]
                if colour and bits == 16:
                    # PIL would drop the lower byte of each number, which holds the class id.
                    raise DataError(
                        f"{where} is a 16-bit colour image; expected one band of class ids.",
                        "Save it with one band.",
                    )
                if not colour and bits in (2, 4):
                    # PIL stretches these to the range of 8 bits.
                    values = values // (255 // (2**bits - 1))
            if opened.mode in ("LA", "RGBA") and (values[:, :, -1] == 255).all():
                values = values[:, :, :-1]
    except UnidentifiedImageError as error:
        raise DataError(f"{where} is not an image.", "Unpack the data again.") from error
    except DAMAGE as error:
        raise DataError(f"{where} is damaged: {error}.", "Unpack the data again.") from error
    return values


def _is_lossy_webp(encoded: bytes) -> bool:
    """Whether a file is a WebP without a lossless (VP8L) chunk."""
    if encoded[:4] != b"RIFF" or encoded[8:12] != b"WEBP":
        return False
    at = 12
    while at + 8 <= len(encoded):
        if encoded[at : at + 4] == b"VP8L":
            return False
        length = int.from_bytes(encoded[at + 4 : at + 8], "little")
        at += 8 + length + length % 2
    return True


def _check_claim(opened: Image.Image, encoded: bytes, where: str) -> None:
    # PIL uses at most four bytes per pixel.
    raster.check_claim(4 * opened.width * opened.height, len(encoded), where)


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
