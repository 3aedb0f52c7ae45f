"""Parse labels of PDS3, PDS4 and ISIS3 images: place, type and special numbers of the pixels."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from marsbench.base.errors import DataError
from marsbench.base.reading import check_regular

LONGEST = 1 << 20
"""Limit of a label's length in bytes."""

_END = {
    "PDS": re.compile(rb"^[ \t]*(?:END|End)[ \t]*(?=[\r\n\0/]| {8}|\Z)|\0", re.M),
    "PDS4": re.compile(rb"</Product_Observational"),
}
_END["ISIS3"] = _END["PDS"]
"""End of the label, before padding and pixels."""

_PDS3 = re.compile(
    rb"""^[ \t]*\^(?:\w*IMAGE|\w*QUBE)\s*=\s*\(?\s*(?:"(?P<file>[^"]+)"\s*,?)?\s*"""
    rb"(?P<start>\d+)?\s*(?P<unit><BYTES>)?",
    re.M,
)
_RECORD = re.compile(rb"^[ \t]*RECORD_BYTES\s*=\s*(\d+)", re.M)
_CORE, _START = re.compile(rb"\^Core\s*=\s*(\S+)"), re.compile(rb"StartByte\s*=\s*(\d+)")
_FILE = re.compile(rb"<(?:\w+:)?file_name>([^<]+)</")
_ARRAY = re.compile(rb"<(?:\w+:)?Array_\w+>")
_OFFSET = re.compile(rb"<(?:\w+:)?offset[^<>]*>\s*(\d+)")
_OTHER_FILE = re.compile(rb"COMPRESSED_FILE|^[ \t]*Format\s*=\s*\"?(?:GeoTIFF|JP2)", re.M | re.I)
"""Statements of labels with pixels in another format, such as JPEG 2000."""

_CONSTANT = r"(?:CORE_)?(?:\w+_CONSTANT|MISSING|NULL|(?:LOW|HIGH)_\w+_SATURATION)"
_CONSTANTS = {
    "PDS": re.compile(
        rf"^[ \t]*({_CONSTANT})[ \t]*=[ \t]*[\"({{]*[ \t]*([\w#.+-]+)".encode(), re.M
    ),
    "PDS4": re.compile(rf"<(?:\w+:)?({_CONSTANT})\s*>\s*([\w#.+-]+)".encode(), re.I),
}
"""Statements of special numbers."""

_OBJECT = re.compile(
    rb"^[ \t]*OBJECT[ \t]*=[ \t]*(\w*IMAGE|\w*QUBE)\b(.*?)^[ \t]*END_OBJECT[ \t]*=[ \t]*\1\b",
    re.M | re.S,
)
_BITS = re.compile(rb"^[ \t]*(?:SAMPLE_BITS|(CORE_ITEM_BYTES))[ \t]*=[ \t]*(\d+)", re.M)
_TYPE = re.compile(rb"^[ \t]*(?:SAMPLE|CORE_ITEM)_TYPE[ \t]*=[ \t]*\"?(\w+)", re.M)
_TURNED = re.compile(
    rb"^[ \t]*((?:LINE|SAMPLE)_DISPLAY_DIRECTION)[ \t]*=[ \t]*\"?(UP|LEFT)\b", re.M
)
"""Statements of PDS3 images stored upside down or mirrored; GDAL turns those of PDS4 only."""

_SIGNED_16 = "(?:(?:MSB|SUN|MAC|LSB|PC|VAX)_)?INTEGER"
_UNSIGNED_16 = "(?:MSB|SUN|MAC|LSB)_UNSIGNED_INTEGER"
_REAL = "(?:(?:IEEE|SUN|MAC|PC)_)?REAL|FLOAT"
_READ = {
    8: re.compile(r"(?:\w+_)?UNSIGNED_INTEGER|(?:\w+_)?BIT_STRING|(?:\w+_)?CHARACTER"),
    16: re.compile(f"{_SIGNED_16}|{_UNSIGNED_16}"),
    32: re.compile(_REAL),
    64: re.compile(_REAL),
}
"""Types of numbers by bits that GDAL's PDS reader returns as they are.

It takes other types for one of these: signed for unsigned bytes, whole numbers of 32 bits and
reals of a VAX for IEEE reals, unsigned words of a PC for those of a Sun.
"""


@dataclass(frozen=True)
class Label:
    """Place of an image's pixels.

    Attributes:
        file: Name of the data file; None if pixels and label share a file.
        start: First byte of the pixels.
        constants: Names and values of special numbers of the pixels.
    """

    file: str | None
    start: int = 0
    constants: tuple[tuple[str, str], ...] = ()


def read_label(text: bytes, driver: str, where: str) -> Label:
    """Parse the place of the pixels from a label.

    Args:
        text: The label, or the start of a file with an attached label.
        driver: PDS, PDS4 or ISIS3.
        where: Name of the label in error messages.

    Raises:
        DataError: If the label has no end within `LONGEST` bytes, the data file has another
            format or is in another folder, or the pixels are of a type that GDAL misreads.
    """
    text = text[:LONGEST]
    if end := _END[driver].search(text):
        text = text[: end.start()]
    elif len(text) == LONGEST:
        raise DataError(
            f"{where} has no end of the label within {LONGEST} bytes.",
            "Copy it again, or save it as a TIFF.",
        )
    if _OTHER_FILE.search(text):
        raise DataError(
            f"{where} describes an image in a file of another format.",
            "Give that file (.jp2, .tif) instead of the label.",
        )
    name, start = _PARSERS[driver](text)
    if name is not None and (not name.strip(".") or set(name) & set("/\\:")):
        raise DataError(
            f"{where} refers to {name!r}; expected a file in the folder of the label.",
            "Put both into one folder and correct the label.",
        )
    if driver == "ISIS3":
        return Label(name, start)
    if driver == "PDS":
        text = _image_of(text, where)
    statements = _CONSTANTS[driver].findall(text)
    return Label(name, start, tuple((_text(k) or "", _text(v) or "") for k, v in statements))


def _image_of(text: bytes, where: str) -> bytes:
    """Statements of the image in a PDS3 label, without those of tables and other objects.

    Raises:
        DataError: If GDAL would return other numbers than the label describes.
    """
    section = _OBJECT.search(text)
    image = section[2] if section else b""
    if turned := _TURNED.search(image):
        raise DataError(
            f"{where} is stored upside down or mirrored: {_text(turned[1])} = {_text(turned[2])}.",
            "Convert it to an upright GeoTIFF, for example with ISIS (pds2isis, flip, mirror).",
        )
    bits, kind = _BITS.search(image), _TYPE.search(image)
    if bits and kind:
        count, name = int(bits[2]) * (8 if bits[1] else 1), (_text(kind[1]) or "").upper()
        if count not in _READ or not _READ[count].fullmatch(name):
            raise DataError(
                f"{where} holds numbers of type {name} and {count} bits, which GDAL's PDS reader "
                "misreads.",
                "Convert it to a GeoTIFF, for example with ISIS (pds2isis).",
            )
    return image


def _pds3(text: bytes) -> tuple[str | None, int]:
    found = _PDS3.search(text)
    if found is None:
        return None, 0
    start = max(int(found["start"] or 1) - 1, 0)
    if found["unit"] is None:
        record = _RECORD.search(text)
        start *= int(record[1]) if record else 1
    return _text(found["file"]), start


def _pds4(text: bytes) -> tuple[str | None, int]:
    name, array = _FILE.search(text), _ARRAY.search(text)
    offset = _OFFSET.search(text, array.end()) if array else None
    return _text(name[1].strip() if name else None), int(offset[1]) if offset else 0


def _isis3(text: bytes) -> tuple[str | None, int]:
    name, start = _CORE.search(text), _START.search(text)
    return _text(name[1].strip(b'"') if name else None), int(start[1]) - 1 if start else 0


_PARSERS = {"PDS": _pds3, "PDS4": _pds4, "ISIS3": _isis3}


def _text(name: bytes | None) -> str | None:
    return None if name is None else name.decode("utf-8", "surrogateescape")


def data_file(label: Label, path: Path) -> Path:
    """Path of the data file of a label, matched case-insensitively.

    Raises:
        DataError: If the data file is missing or no regular file.
    """
    if label.file is None:
        return path
    beside = path.with_name(label.file)
    if not beside.exists():
        wanted = label.file.casefold()
        same = sorted(p for p in path.parent.iterdir() if p.name.casefold() == wanted)
        if not same:
            raise DataError(
                f"{path} describes {label.file}, which is missing.",
                "Put the data file into the folder of its label.",
            )
        beside = same[0]
    try:
        check_regular(beside)
    except OSError as error:
        raise DataError(
            f"{beside} cannot be read: {error.strerror}.", "Check the data file of its label."
        ) from error
    return beside


def check_folder(files: Sequence[str], path: Path) -> None:
    """Refuse a data set with files outside of the folder of `path`.

    Raises:
        DataError: If a file is in another folder.
    """
    folder = path.absolute().parent
    for file in files:
        if Path(file).parent != folder:
            raise DataError(
                f"{path} refers to {file}; expected a file in its own folder.",
                "Put both into one folder and correct the label.",
            )
