"""Comparison of derived files of a submission by value: other versions of a library write others.

Such files are the rows for other boards, of which anyone can write equal ones again.
"""

import csv
import io
from datetime import date
from pathlib import Path
from typing import Any

from marsbench.base.documents import read_yaml
from marsbench.base.errors import ConfigError
from marsbench.leaderboard.files import Files
from marsbench.leaderboard.rows import DIGITS

MOST_DERIVED = 1_000_000
"""Largest size of a derived file in bytes."""

_UNIT = 1.001 * 10.0**-DIGITS
"""Largest difference of two numbers; another machine may round the last digit otherwise."""


def follows(files: Files, name: str, written: Path) -> bool:
    """Whether a derived file has the values of the file written from the check.

    Args:
        files: Files of the submission.
        name: Path of the file within it, a CSV or YAML.
        written: The file as written from the check, which may be missing.

    Raises:
        ValueError: If the file cannot be read; the message says so.
    """
    content = files.read(name, MOST_DERIVED)
    if not written.exists():
        return False
    if name.endswith(".csv"):
        return _are_close(_rows(content), _rows(written.read_bytes()))
    try:
        values = read_yaml(files.root / name).values
    except ConfigError as error:
        text = error.problem.replace(f"{files.root / name}", "YAML").rstrip(".")
        raise ValueError(f"cannot be read: {text}") from error
    return _are_close(values, read_yaml(written).values)


def _rows(content: bytes) -> list[dict[str, str]]:
    """Rows of a CSV, by column."""
    try:
        text = content.decode("utf-8-sig")
        header, *rows = csv.reader(io.StringIO(text, newline=""), strict=True)
        if len(set(header)) < len(header):
            raise ValueError("it has columns twice")
        return [dict(zip(header, row, strict=True)) for row in rows]
    except (csv.Error, ValueError) as error:
        raise ValueError(f"is not a CSV: {error}") from error


def _are_close(a: Any, b: Any) -> bool:
    """Whether plain values are equal, numbers up to `_UNIT`."""
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(_are_close(a[key], b[key]) for key in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(_are_close, a, b))
    if isinstance(a, date) or isinstance(b, date):  # a time without quotes
        a, b = (v.isoformat() if isinstance(v, date) else v for v in (a, b))
    if a == b:
        return True
    try:
        return abs(float(a) - float(b)) <= _UNIT
    except (TypeError, ValueError, OverflowError):
        return False
