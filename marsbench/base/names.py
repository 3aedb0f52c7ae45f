"""Names of files as text, and names of outputs after inputs and titles."""

import hashlib
import os
import re
from pathlib import Path, PurePosixPath

LONGEST = 160
"""Longest output name in bytes, of the 255 of most file systems; prefixes and suffixes follow."""

LONGEST_TITLE = 80
"""Largest number of characters of a title in a file name."""

_LONGEST_PATH = 1024
"""Longest relative output path in bytes."""

_UNSAFE = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\\]")
"""Control characters, bytes that are not UTF-8, and the separator of other systems."""


def display_name(path: str | Path) -> str:
    r"""Name of a file as valid UTF-8, such as ``\xd6l.png`` for bytes of Latin-1."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def output_name(name: str) -> str:
    """Relative path without a suffix for an output named after an input.

    Plain names are kept. A name that is long, leaves its folder, or holds control characters or
    invalid UTF-8 is shortened and cleaned, and ends in a digest of the original.

    Args:
        name: Relative path with ``/``, without a suffix.
    """
    parts = [part for part in PurePosixPath(name).parts if part not in ("/", "..", ".")]
    kept = [shortened(_UNSAFE.sub("_", part), LONGEST) for part in parts]
    # A folder must not take the name of an image's output.
    kept[:-1] = [f"{p}_" if p.lower().endswith((".png", ".tif")) else p for p in kept[:-1]]
    if kept and "/".join(kept) == name and len(name.encode()) <= _LONGEST_PATH:
        return name
    digest = f"-{hashlib.sha256(name.encode('utf-8', 'surrogatepass')).hexdigest()[:10]}"
    *folders, last = kept or [""]
    last = shortened(last, LONGEST - len(digest)) + digest
    safe = "/".join([*folders, last])
    return safe if len(safe.encode()) <= _LONGEST_PATH else last


def shortened(name: str, longest: int) -> str:
    """Cut a name to a number of bytes of UTF-8."""
    encoded = os.fsencode(name)
    return name if len(encoded) <= longest else encoded[:longest].decode("utf-8", "ignore")


def file_stem(text: str) -> str:
    """Name of a file for a title: spaces and ``=`` become hyphens.

    Titles that need further changes, or are longer than `LONGEST_TITLE`, get a digest, so that
    different titles have different files.
    """
    usual = re.sub(r"[\s=]+", "-", text)
    stem = re.sub(r"[^A-Za-z0-9._]+", "-", usual).strip("-.")[:LONGEST_TITLE]
    if stem and stem == usual:
        return stem
    return f"{stem or 'name'}-{hashlib.sha256(text.encode(errors='surrogatepass')).hexdigest()[:8]}"
