"""Formats of rasters and pictures, detected by content, and the files beside an image."""

import os
import re
from pathlib import Path
from typing import NamedTuple

from marsbench.base import reading
from marsbench.base.errors import DataError
from marsbench.data import pds

TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
"""First bytes of a TIFF or BigTIFF."""

_START = pds.LONGEST
"""Bytes at the start of a file that are searched for its format and label."""


class RasterFormat(NamedTuple):
    """A raster format.

    Attributes:
        name: Name in messages.
        driver: GDAL's name.
        suffixes: Usual ends of file names.
        mark: Pattern of the first bytes.
        is_labelled: Whether a text label describes the pixels, which may be in another file.
    """

    name: str
    driver: str
    suffixes: tuple[str, ...]
    mark: re.Pattern[bytes]
    is_labelled: bool = False


FORMATS = (
    RasterFormat("a TIFF", "GTiff", (".tif", ".tiff"), re.compile(b"|".join(map(re.escape, TIFF)))),
    RasterFormat(
        "a JPEG 2000 image",
        "JP2OpenJPEG",
        (".jp2", ".j2k", ".jpx"),
        re.compile(rb"\0\0\0\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51"),
    ),
    # PIL keeps the upper byte of 16-bit colours alone; other PNGs are pictures.
    RasterFormat(
        "a PNG of 16 bits", "PNG", (), re.compile(rb"(?s:\x89PNG\r\n\x1a\n.{4}IHDR.{8}\x10)")
    ),
    RasterFormat(
        "an ISIS cube", "ISIS3", (".cub", ".lbl"), re.compile(rb"\s*Object\s*=\s*IsisCube"), True
    ),
    RasterFormat(
        "a PDS4 image",
        "PDS4",
        (".xml", ".lblx"),
        re.compile(rb"(?:\xef\xbb\xbf)?\s*(?=<)(?s:.{,8192}?)<Product_Observational"),
        True,
    ),
    RasterFormat(
        "a PDS3 image",
        "PDS",
        (".img", ".lbl"),
        re.compile(rb"(?s:.{,256})PDS_VERSION_ID\s*="),
        True,
    ),
)
"""Formats read by GDAL."""

LABEL_SUFFIXES = tuple(s for form in FORMATS if form.is_labelled for s in form.suffixes)
"""Suffixes shared by labels and unrelated files; the content decides."""

IMAGE_SUFFIXES = (
    *(".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".gif", ".webp"),
    *(".pbm", ".pgm", ".ppm", ".pnm"),
    *(suffix for form in FORMATS for suffix in form.suffixes),
)
"""Suffixes of images in a folder."""

_OTHERS = (
    (rb"LBLSIZE\s*=", "a VICAR image"),
    (rb"CCSD3ZF", "an ISIS2 cube or a label without PDS_VERSION_ID"),
    (rb"SIMPLE  =", "a FITS image"),
    (rb"\x89HDF|CDF[\x01\x02\x05]", "an HDF5 or netCDF file"),
    (rb"(?s:.{4})ftyp(?:avi|hei|mif|msf)", "an AVIF or HEIF picture"),
    (rb"\xff\x0a|\0\0\0\x0cJXL ", "a JPEG XL picture"),
    (rb"\xff\xd8\xff\xf7", "a JPEG-LS picture"),
    (rb"8BPS|%!PS|%PDF", "a document"),
)
"""Patterns of the first bytes of formats that are not read, and their names in messages."""


def format_of(start: bytes) -> RasterFormat | None:
    """Detect the raster format from the first bytes; None for other files."""
    return next((form for form in FORMATS if form.mark.match(start)), None)


def start_of(path: Path) -> bytes:
    """Read the first bytes of a file.

    Raises:
        DataError: If it cannot be read.
    """
    try:
        with reading.open_file(path) as file:
            return file.read(_START)
    except OSError as error:
        raise DataError(
            f"{path} cannot be read: {error.strerror or error}.", "Check the path."
        ) from error


def start_of_source(source: Path | bytes) -> bytes:
    """First bytes of a file or of its content.

    Raises:
        DataError: If the file cannot be read.
    """
    return start_of(source) if isinstance(source, Path) else source[:_START]


def refusal(start: bytes, where: str) -> DataError:
    """Error of a file in no readable format, from its first bytes.

    Args:
        start: First bytes of the file.
        where: Name of the file in the message.
    """
    for mark, name in _OTHERS:
        if re.match(mark, start):
            return DataError(
                f"{where} is {name}; expected a PNG, JPEG, TIFF, JPEG 2000, PDS or ISIS image.",
                "Convert it to a PNG or GeoTIFF.",
            )
    if (coding := _jpeg_coding(start)) is not None:
        precision, kind = coding
        return DataError(
            f"{where} is a JPEG of {precision} bits (SOF{kind}); expected 8 bits, baseline or "
            "progressive.",
            "Convert it to a PNG or TIFF.",
        )
    suffix = Path(where).suffix.lower()
    if suffix in LABEL_SUFFIXES:
        return DataError(
            f"{where} holds no PDS or ISIS label; expected PDS_VERSION_ID, IsisCube or "
            "Product_Observational at its beginning.",
            "Give the label (.lbl, .xml) if it is a file beside the pixels, or convert the image "
            "to a GeoTIFF.",
        )
    return DataError(
        f"{where} has no known image format.", "Copy or unpack it again, or leave it out."
    )


def _jpeg_coding(start: bytes) -> tuple[int, int] | None:
    """Bits per number and kind of a JPEG that PIL cannot read; None for other files."""
    at = 2
    while start[:2] == b"\xff\xd8" and at + 5 <= len(start) and start[at] == 0xFF:
        marker, length = start[at + 1], int.from_bytes(start[at + 2 : at + 4], "big")
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            precision, kind = start[at + 4], marker - 0xC0
            return None if precision == 8 and kind in (0, 1, 2, 9, 10) else (precision, kind)
        at += 2 + length
    return None


def is_raster(path: Path) -> bool:
    """Whether a file is a raster or a raster's label. Data files of labels are neither."""
    try:
        start = start_of(path)
        form = format_of(start)
        if form is not None and form.is_labelled:
            pds.read_label(start, form.driver, str(path))
    except DataError:
        return False
    return form is not None


def companion(path: Path) -> Path | None:
    """Data file of a detached label; None for files with their own pixels."""
    if path.suffix.lower() not in LABEL_SUFFIXES or not path.is_file():
        return None
    start = start_of(path)
    form = format_of(start)
    if form is None or not form.is_labelled:
        return None
    file = pds.data_file(pds.read_label(start, form.driver, str(path)), path)
    return None if file == path else file


def mask_beside(path: str) -> Path | None:
    """GDAL's external mask of an image, ``NAME.msk`` beside it; None if missing."""
    mask = f"{path}.msk"
    return Path(mask) if os.path.isfile(mask) else None  # noqa: PTH113 - for each image of a task


def files_beside(path: str) -> list[Path]:
    """Files beside an image that belong to its pixels: data file of a label, external mask.

    Raises:
        DataError: If the data file of a label is missing.
    """
    is_label = path.lower().endswith(LABEL_SUFFIXES)
    pixels = companion(Path(path)) if is_label else None
    return [file for file in (pixels, mask_beside(path)) if file is not None]


def check_claim(claimed: int, held: int, where: str) -> None:
    """Refuse an image with more bytes of pixels than its file can hold compressed.

    A damaged width could otherwise exhaust the memory.

    Raises:
        DataError: If the claim is too large; names the image.
    """
    if claimed > 4096 * held + (64 << 20):
        raise DataError(
            f"{where} is damaged: its header declares {claimed} bytes of pixels, but the file has "
            f"{held} bytes.",
            "Copy or unpack it again.",
        )
