"""Files of a table: CSV for programs, Markdown for pages, LaTeX for papers."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from marsbench.report.tables.forms import Table
from marsbench.report.tables.latex import latex

_MAKERS: Mapping[str, Callable[[Table], str]] = {
    "csv": Table.csv,
    "md": Table.markdown,
    "tex": latex,
}

FORMS = tuple(_MAKERS)
"""Suffixes of the files of a table."""


def write_table(table: Table, folder: Path, forms: Sequence[str] = FORMS) -> list[Path]:
    """Write a table in several forms; return its files."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for form in forms:
        written.append(folder / f"{table.name}.{form}")
        written[-1].write_text(_MAKERS[form](table), encoding="utf-8")
    return written
