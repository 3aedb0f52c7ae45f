"""Files whose pixels differ from those that earlier versions read.

Their mark enters run ids and cache keys, so scores of the old pixels are never taken for new ones;
all other files keep their ids and caches.
"""

import os
from pathlib import Path

from marsbench.base import reading
from marsbench.data.formats import format_of
from marsbench.data.gdal import tiff_pages
from marsbench.data.pictures import PNM, orientation

MARK = "reader-2"
"""Version of the reader, of the files that it reads otherwise than version 1."""

_END = 4096
"""Bytes at both ends of a picture in which EXIF is looked for."""

_EXIF = (b"Exif", b"eXIf", b"EXIF", b"exif", b"tiff:Orientation")
"""Marks of EXIF in JPEG, PNG and WebP."""

_MOST_PAGES = 8
"""Pages of a TIFF that are looked through for a mask; writers put it behind the image."""


def mark_of(path: Path) -> str:
    """`MARK` of a file that version 1 of the reader read otherwise, else an empty text.

    These are pictures with an EXIF orientation, colours of 16 bits in PNG and PNM, PDS and ISIS
    images, and TIFFs with a turn, a mask, a "no data" value, white as 0, or whole numbers of 32
    bits and more. Files that cannot be read have no mark; reading them is an error later.
    """
    try:
        with reading.open_file(path) as file:
            start = file.read(_END)
            file.seek(max(0, os.fstat(file.fileno()).st_size - _END))
            end = file.read()
        return MARK if _is_changed(path, start, end) else ""
    except OSError:
        return ""


def _is_changed(path: Path, start: bytes, end: bytes) -> bool:
    if start[:6] == b"\x89PNG\r\n" and start[24:25] == b"\x10":
        if start[25:26] in (b"\2", b"\6"):  # others were refused
            return True
    elif header := PNM.match(start):
        return header[1] in b"36" and int(header[4]) > 255
    elif (form := format_of(start)) is not None:
        return form.is_labelled or (form.driver == "GTiff" and _is_changed_tiff(path))
    has_exif = any(mark in part for part in (start, end) for mark in _EXIF)
    return has_exif and orientation(path) != 1


def _is_changed_tiff(path: Path) -> bool:
    first, *others = tiff_pages(path, _MOST_PAGES) or [{}]
    bits, is_float = first.get(258, 8), first.get(339) == 3
    return (
        first.get(274, 1) != 1
        or 42113 in first
        or (first.get(262) == 0 and bits > 8)
        or bits > (32 if is_float else 16)
        or any(page.get(254, 0) & 4 for page in others)
    )
