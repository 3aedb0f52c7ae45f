"""Tables and captions as they fit the page."""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from marsbench.base.text import visible
from marsbench.report.figures.by_task import STAR
from marsbench.report.tables.forms import MARKS, Entry, Score, Table

if TYPE_CHECKING:
    from markupsafe import Markup


_OF_MARKS = (MARKS, STAR.strip())
"""Sentences about marks, lifted also if not every table or figure has the mark."""


def lifted(captions: Sequence[str]) -> tuple[str, list[str]]:
    """Split captions into the sentences that all share, and those of each alone.

    A single caption stays whole; explanations of marks are always shared.
    """
    if len(captions) < 2:
        return "", list(captions)
    split = [re.split(r"(?<=[.!?]) (?=\S)", caption) for caption in captions]
    every = dict.fromkeys(sentence for own in split for sentence in own)
    shared = [s for s in every if s in _OF_MARKS or all(s in own for own in split)]
    return " ".join(shared), [" ".join(s for s in own if s not in shared) for own in split]


_PAGE_WIDTH = 1230
"""CSS pixels of a table that fit beside each other in a window of 1300."""


def fitted(table: Table) -> tuple[Table, bool]:
    """A table as it fits the page, transposed if that is narrower, and whether it is still wide."""
    if _width(table) <= _PAGE_WIDTH:
        return table, False
    if not table.anchors and len(table.rows) > 1:
        table = min((table, table.transposed()), key=_width)
    return table, _width(table) > _PAGE_WIDTH


def _width(table: Table) -> float:
    """CSS pixels of a table, by the letters of its headings and entries."""
    return sum(
        max(8.2 * max(map(len, re.split("[_ ]", column.title))) + 18, *map(_pixels, entries), 30)
        + 20
        for column, *entries in zip(table.columns, *table.rows, strict=True)
    )


def _pixels(entry: Entry) -> float:
    if isinstance(entry, Score):
        return max(8.5 * len(entry.text + entry.marks), 7.2 * len(entry.interval))
    return 8.0 * min(len(str(entry)), 24)


def breakable(text: str) -> "Markup":
    """A name that may be broken behind its underscores."""
    from markupsafe import Markup, escape

    return Markup("_<wbr>").join(escape(part) for part in visible(text).split("_"))
