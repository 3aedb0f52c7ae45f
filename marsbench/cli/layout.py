"""Layout of tables: columns by importance, and widths that break no word."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

GAP = 2
"""Blanks between columns."""

NARROW = 40
"""Width to which sentences may be wrapped."""

NARROWEST = 24
"""Width to which sentences may be wrapped if they do not fit otherwise."""


@dataclass(frozen=True)
class Layout:
    """Layout of a table.

    Attributes:
        widths: Width of each shown column in terminal cells, in the order of the table.
        left_out: Columns that do not fit, in the order of the table.
    """

    widths: Mapping[str, int]
    left_out: tuple[str, ...]


def fit(
    columns: Mapping[str, Sequence[str]], width: int | None, first: Sequence[str] = ()
) -> Layout:
    """Choose the columns that fit, and their widths.

    The most important column is always shown. Cells are wrapped between words only; wide characters
    take two cells.

    Args:
        columns: Cells by name of the column.
        width: Width of the terminal; None for no limit.
        first: Columns by importance; the others follow in the order of the table.
    """
    from rich.cells import cell_len

    full = {name: max(map(cell_len, (name, *cells)), default=0) for name, cells in columns.items()}
    if width is None:
        return Layout(full, ())
    words = {
        name: max((cell_len(word) for text in cells for word in text.split()), default=0)
        for name, cells in columns.items()
    }
    order = [name for name in first if name in columns]
    order += [name for name in columns if name not in order]
    spare = width + GAP
    chosen: dict[str, int] = {}
    for name in order:
        narrow, narrowest = (
            max(cell_len(name), min(full[name], size), words[name]) for size in (NARROW, NARROWEST)
        )
        if narrowest + GAP <= spare or not chosen:
            chosen[name] = min(narrow, max(narrowest, spare - GAP))
            spare -= chosen[name] + GAP
    widths = {name: chosen[name] for name in columns if name in chosen}
    # Columns that need little get it first, so that few rows are wrapped.
    wrapped = sorted(widths, key=lambda name: full[name] - widths[name])
    for number, name in enumerate(wrapped):
        more = min(full[name] - widths[name], max(spare, 0) // (len(wrapped) - number))
        widths[name] += more
        spare -= more
    return Layout(widths, tuple(name for name in columns if name not in chosen))
