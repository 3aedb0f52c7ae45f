"""Files whose pixels differ from those that earlier versions read.

Their mark enters run ids and cache keys, so scores of the old pixels are never taken for new ones;
all other files keep their ids and caches.
"""

import io
from pathlib import Path
from typing import BinaryIO

from marsbench.base import reading
from marsbench.base.errors import DataError
from marsbench.data.formats import format_of
from marsbench.data.gdal import tiff_pages
from marsbench.data.pictures import PNG_EXIF, PNM, orientation
from marsbench.data.raster import open_raster
from marsbench.data.special import among

MARK = "reader-2"
"""Version of the reader, of the files that it reads otherwise than version 1."""

KIND = "marks-2"
"""Kind of the cached marks; its number rises when `mark_of` marks other files."""

_START = 4096
"""Bytes at the start of a file that are searched for its format."""

_MOST_PAGES = 8
"""Pages of a TIFF that are looked through for a mask; writers put it behind the image."""

_MOST_ROWS = 256
"""Rows of a raster searched at a time."""


def mark_of(source: Path | bytes) -> str:
    """`MARK` of a file that version 1 of the reader read otherwise, else an empty text.

    These are pictures with an EXIF orientation, colours of 16 bits in PNG and PNM, PDS and ISIS
    images, colours of less than 8 bits in JPEG 2000 and TIFF, and TIFFs with a turn, a mask, a "no
    data" value, white as 0, whole numbers of 32 bits and more, different scales of bands, or
    special pixels of ISIS. Files that cannot be read have no mark; reading them is an error later.

    Args:
        source: Path or content of the file.
    """
    try:
        with reading.open_file(source) if isinstance(source, Path) else io.BytesIO(source) as file:
            return MARK if _is_changed(source, file) else ""
    except (OSError, DataError):
        return ""


def _is_changed(source: Path | bytes, file: BinaryIO) -> bool:
    start = file.read(_START)
    if start[:6] == b"\x89PNG\r\n":
        is_deep = start[24:25] == b"\x10" and start[25:26] in (b"\2", b"\6")  # others were refused
        return is_deep or (_has_png_exif(file) and orientation(source) != 1)
    if header := PNM.match(start):
        return header[1] in b"36" and int(header[4]) > 255
    form = format_of(start)
    if form is None:
        is_webp = start[:4] == b"RIFF" and start[12:16] == b"VP8X" and len(start) > 20
        may_turn = start[:2] == b"\xff\xd8" or (is_webp and start[20] & 0b1100)  # EXIF or XMP
        return bool(may_turn) and orientation(source) != 1
    if form.driver == "GTiff":
        return _is_changed_tiff(source)
    return form.is_labelled or _has_few_bits(start)


def _has_png_exif(file: BinaryIO) -> bool:
    """Whether a PNG has a chunk that may hold an orientation, also behind its pixels."""
    at = 8
    while len(chunk := _read_at(file, at, 8 + max(map(len, PNG_EXIF)))) > 8:
        if any(mark in chunk[4:] for mark in PNG_EXIF):
            return True
        at += 12 + int.from_bytes(chunk[:4], "big")
    return False


def _read_at(file: BinaryIO, at: int, length: int) -> bytes:
    file.seek(at)
    return file.read(length)


def _has_few_bits(start: bytes) -> bool:
    """Whether a JPEG 2000 image has several bands of less than 8 bits, by its SIZ segment."""
    at = start.find(b"\xff\x4f\xff\x51") + 40
    bands, depth = int.from_bytes(start[at : at + 2], "big"), start[at + 2 : at + 3]
    return at >= 40 and bands > 1 and bool(depth) and (depth[0] & 127) + 1 < 8


def _is_changed_tiff(source: Path | bytes) -> bool:
    first, *others = tiff_pages(source, _MOST_PAGES) or [{}]
    bits, form = first.get(258, 8), first.get(339, 1)
    return (
        first.get(274, 1) != 1
        or 42113 in first
        or (first.get(262) == 0 and (bits > 8 or form == 2))
        or bits > (32 if form == 3 else 16)
        or (bits < 8 and first.get(277, 1) > 1)
        or any(page.get(254, 0) & 4 for page in others)
        or ((form == 3 or 42112 in first) and _has_special_numbers(source))
    )


def _has_special_numbers(source: Path | bytes) -> bool:
    """Whether a raster has special pixels, or scales that change its colours."""
    opened = open_raster(source, "the image")
    if opened.scale is not None and (opened.is_uneven or opened.colors > 3):
        return True
    if opened.pixels.dtype.kind != "f":
        return False
    parts = (slice(at, at + _MOST_ROWS) for at in range(0, opened.size[0], _MOST_ROWS))
    return any(among(opened.pixels[rows, :], opened.special.all).any() for rows in parts)
