"""Read plain pictures of 8 bits by PIL: PNG, JPEG, GIF, WebP, BMP; and PNM of any depth.

PIL changes the numbers of other depths and takes the first frame of an animation, so both are
refused here; PNGs of 16 bits are read by GDAL.
"""

import contextlib
import io
import re
import struct
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, UnidentifiedImageError

from marsbench.base.errors import DataError
from marsbench.data.formats import check_claim, refusal, start_of_source

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

_READ = ("PNG", "JPEG", "GIF", "WEBP", "BMP", "DIB", "PPM")
"""Formats opened by PIL. Others change numbers unseen, or start programs (EPS)."""

_EIGHT_BIT = {"1", "L", "LA", "P", "PA", "RGB", "RGBA"}

_ANIMATED = ("GIF", "WEBP", "PNG")
"""Formats with frames; further pictures of an MPO are previews and depths of the first."""

PNM = re.compile(rb"P([2356])(?:\s|#[^\n]*\n)+(\d+)(?:\s|#[^\n]*\n)+(\d+)(?:\s|#[^\n]*\n)+(\d+)\s")
"""Header of a PNM file: kind, width, height and largest number."""

PNG_EXIF = (b"eXIf", b"Raw profile type exif", b"XML:com.adobe.xmp")
"""Marks of chunks of a PNG that may hold an orientation."""

_opening = threading.Lock()


class Stored(NamedTuple):
    """A picture as stored.

    Attributes:
        values: Numbers of shape (H, W, bands), uint8, or uint16 of a deep PNM.
        has_alpha: Whether the last band is alpha, 0 in transparent pixels.
        orientation: EXIF orientation, 1 to 8; 1 is upright.
    """

    values: NDArray[Any]
    has_alpha: bool = False
    orientation: int = 1


def read(source: Path | bytes, where: str) -> Stored:
    """Read a picture.

    Args:
        source: Path or content of the file.
        where: Name of the file in error messages.

    Raises:
        DataError: If the file is damaged or no picture, is an animation, or has other colours than
            grey and RGB, or another depth.
    """
    start = start_of_source(source)
    if header := PNM.match(start):
        values = _pnm(source, header, where)
        largest = int(header[4])
        if largest < 255:
            values = np.round(values / largest * 255).astype(np.uint8)
        return Stored(values)
    with _opened(source, start, where) as opened:
        if opened.mode not in _EIGHT_BIT:
            raise DataError(
                f"{where} has pixels of mode {opened.mode}; expected grey or RGB of 8 bits.",
                "Convert it to 8 bits per band, grey or RGB.",
            )
        has_alpha = opened.mode in ("LA", "PA", "RGBA") or "transparency" in opened.info
        wanted = "L" if opened.mode in ("1", "L", "LA") else "RGB"
        if has_alpha:
            wanted = "LA" if wanted == "L" else "RGBA"
        values = np.asarray(opened if opened.mode == wanted else opened.convert(wanted))
        orientation = _orientation(opened)
    values = values if values.ndim == 3 else values[:, :, None]
    return Stored(values, has_alpha, orientation)


def numbers(source: bytes, where: str) -> Stored:
    """Read the stored numbers of a picture, such as class ids; indices into a palette stay indices.

    Raises:
        DataError: If the compression changes numbers, besides the errors of `read`.
    """
    if header := PNM.match(source):
        return Stored(_pnm(source, header, where))
    with _opened(source, source, where) as opened:
        if opened.format in ("JPEG", "MPO") or _is_lossy_webp(source):
            kind = "lossy WebP" if opened.format == "WEBP" else "JPEG"
            raise DataError(
                f"{where} is a {kind}, which changes class ids.", "Save masks as PNG or TIFF."
            )
        values: NDArray[Any] = np.asarray(opened)
        if opened.format == "PNG" and not source[25] and source[24] in (2, 4):
            # PIL stretches these to the range of 8 bits.
            values = values // (255 // (2 ** source[24] - 1))
        values = values if values.ndim == 3 else values[:, :, None]
        return Stored(values, opened.mode in ("LA", "PA", "RGBA"), _orientation(opened))


def size(encoded: bytes, where: str) -> tuple[int, int]:
    """Height and width of the upright picture, without its pixels; errors as `read`."""
    if header := PNM.match(encoded):
        return int(header[3]), int(header[2])
    with _opened(encoded, encoded, where) as opened:
        height, width = opened.height, opened.width
        # PIL would decode a PNG to see EXIF behind the pixels.
        has_exif = opened.format != "PNG" or any(mark in encoded for mark in PNG_EXIF)
        is_upright = not has_exif or _orientation(opened) < 5
        return (height, width) if is_upright else (width, height)


@contextlib.contextmanager
def _opened(source: Path | bytes, start: bytes, where: str) -> Iterator[Image.Image]:
    """Open a picture by PIL, with PIL's errors as `DataError`."""
    if not start:
        raise DataError(f"{where} is empty (0 bytes).", "Copy or unpack it again.")
    try:
        with _open(source if isinstance(source, Path) else io.BytesIO(source)) as opened:
            held = source.stat().st_size if isinstance(source, Path) else len(source)
            # PIL uses at most four bytes per pixel.
            check_claim(4 * opened.width * opened.height, held, where)
            frames = getattr(opened, "n_frames", 1) if opened.format in _ANIMATED else 1
            if frames > 1:
                raise DataError(
                    f"{where} is an animation of {frames} frames; expected a single picture.",
                    "Save the frame to use as a PNG.",
                )
            yield opened
    except UnidentifiedImageError as error:
        raise refusal(start, where) from error
    except DAMAGE as error:
        raise DataError(
            f"{where} is damaged: {str(error)[:200]}.", "Copy or unpack it again, or leave it out."
        ) from error


def _open(file: Path | io.BytesIO) -> Image.Image:
    """Open without PIL's limit of 179 million pixels, which `check_claim` replaces."""
    with _opening:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            return Image.open(file, formats=_READ)
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def png_orientation(source: Path | bytes, where: str) -> int:
    """EXIF orientation of a PNG of any depth, 1 to 8; errors as `read`."""
    encoded = source.read_bytes() if isinstance(source, Path) else source
    with _opened(encoded, encoded, where) as opened:
        has_exif = any(mark in encoded for mark in PNG_EXIF)
        return _orientation(opened) if has_exif else 1


def orientation(source: Path | bytes) -> int:
    """EXIF orientation of a picture, 1 to 8; 1 for files that PIL cannot open."""
    file = source if isinstance(source, Path) else io.BytesIO(source)
    with contextlib.suppress(*DAMAGE), _open(file) as opened:
        return _orientation(opened)
    return 1


def _orientation(opened: Image.Image) -> int:
    """EXIF orientation of a picture, 1 to 8; 1 is upright, also without readable EXIF."""
    with contextlib.suppress(*DAMAGE):
        number = opened.getexif().get(ExifTags.Base.Orientation, 1)
        if number in range(1, 9):
            return int(number)
    return 1


def turned(values: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Turn stored pixels upright.

    Args:
        values: Pixels of shape (h, w, ...).
        orientation: EXIF orientation, 1 to 8.

    Returns:
        Pixels of shape (h, w, ...), or (w, h, ...) for 5 to 8; a view.
    """
    if orientation > 4:
        values = values.swapaxes(0, 1)
    rows = -1 if orientation in (3, 4, 7, 8) else 1
    columns = -1 if orientation in (2, 3, 6, 7) else 1
    return values[::rows, ::columns]


def _pnm(source: Path | bytes, header: re.Match[bytes], where: str) -> NDArray[Any]:
    """Numbers of a PNM file as they are stored, (H, W, 1 or 3)."""
    kind, width, height, largest = map(int, header.groups())
    bands = 3 if kind in (3, 6) else 1
    count, dtype = width * height * bands, np.dtype(">u2" if largest > 255 else "u1")
    content = source.read_bytes() if isinstance(source, Path) else source
    check_claim(count * dtype.itemsize, len(content), where)
    body = content[header.end() :]
    if kind > 3:
        values = np.frombuffer(body[: count * dtype.itemsize], dtype)
    else:
        try:
            values = np.array(body.split()[:count], dtype=np.int64)
        except ValueError as error:
            raise DataError(f"{where} is damaged: {error}.", "Copy it again.") from error
    if len(values) < count or not 0 < largest < 65536 or (values > largest).any():
        raise DataError(
            f"{where} is damaged: expected {count} numbers up to {largest}.", "Copy it again."
        )
    return values.astype(dtype.newbyteorder("=")).reshape(height, width, bands)


def _is_lossy_webp(start: bytes) -> bool:
    """Whether a file is a WebP without a lossless (VP8L) chunk."""
    if start[:4] != b"RIFF" or start[8:12] != b"WEBP":
        return False
    at = 12
    while at + 8 <= len(start):
        if start[at : at + 4] == b"VP8L":
            return False
        length = int.from_bytes(start[at + 4 : at + 8], "little")
        at += 8 + length + length % 2
    return True
