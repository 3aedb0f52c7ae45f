"""``--columns`` and ``--sort`` of listings."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from marsbench.base.errors import ConfigError, unknown_name

ColumnsOption = Annotated[
    str | None,
    typer.Option("--columns", metavar="A,B,...", help="Columns to show, the most important first."),
]
SortOption = Annotated[
    str | None,
    typer.Option(
        "--sort", metavar="A,B,...", help="Columns to sort by; -COLUMN sorts in descending order."
    ),
]


def arrange(
    rows: Sequence[Mapping[str, Any]],
    columns: str | None,
    sort: str | None,
    usual: Sequence[str] | None = None,
) -> list[dict[str, Any]]:
    """Sort rows, and choose their columns.

    Args:
        rows: Rows with equal keys; missing values (None, empty, NaN) are sorted last.
        columns: Names of columns, separated by commas; None for `usual`.
        sort: Names of columns, separated by commas; a minus sign sorts in descending order.
        usual: Columns without `columns`; None for all.

    Raises:
        ConfigError: If a column is unknown, or none is named.
    """
    known = list(rows[0]) if rows else []
    ordered = list(rows)
    # The sort is stable: the most important column is sorted last.
    for word in reversed(_split(sort)):
        name = word.removeprefix("-")
        _check(name, known)
        ordered = _sorted(ordered, name, reverse=word.startswith("-"))
    names = known if usual is None else list(usual)
    if columns is not None:
        names = list(dict.fromkeys(_split(columns)))
        if not names:
            raise ConfigError("--columns names no column.", f"The columns are {', '.join(known)}.")
        for name in names:
            _check(name, known)
    return [{name: row[name] for name in names} for row in ordered]


def _sorted(
    rows: Sequence[Mapping[str, Any]], name: str, *, reverse: bool
) -> list[Mapping[str, Any]]:
    present = [row for row in rows if not _is_missing(row[name])]
    absent = [row for row in rows if _is_missing(row[name])]
    return [*sorted(present, key=lambda row: _key(row[name]), reverse=reverse), *absent]


def _split(names: str | None) -> list[str]:
    return [name.strip() for name in (names or "").split(",") if name.strip()]


def _check(name: str, known: Sequence[str]) -> None:
    if known and name not in known:
        raise unknown_name("column", name, known, f"The columns are {', '.join(known)}.")


def _is_missing(value: Any) -> bool:
    return value is None or value == "" or value != value  # the last for NaN


def _key(value: Any) -> tuple[bool, float, str]:
    """Key of a value; numbers precede text."""
    if isinstance(value, int | float):
        return False, float(value), ""
    return True, 0.0, str(value).casefold()
