"""Entries of tables: scores with links to their runs, and marks."""

from collections.abc import Container, Iterable, Sequence
from dataclasses import replace

from marsbench.models.pretraining import OVERLAP_WARNING
from marsbench.report.statistics.summary import Estimate
from marsbench.report.study.cells import Cell, Group
from marsbench.report.tables.forms import MARKS, OVERLAP, Column, Entry, Score, Table, mark

THERE = "there-"
"""Prefix of anchors of another store's cells."""


def anchor_of(cell: Cell, store: str = "") -> str:
    """Anchor of a cell on the page, by its first run, since slugs of models may be equal.

    Args:
        cell: Cell.
        store: Prefix for cells of another store.
    """
    return f"{store}cell-{cell.run_ids[0]}"


def model_anchor(group: Group, model: str) -> str:
    """Anchor of the cells of a model on the page."""
    first = next(cell for (_, name), cell in sorted(group.cells.items()) if name == model)
    return f"model-{first.run_ids[0]}"


def score_of(
    estimate: Estimate, anchor: str = "", digits: int = 3, *, overlaps: bool = False
) -> Score:
    """Convert an estimate to an entry of a table."""
    return Score(*estimate, digits=digits, anchor=anchor, overlaps=overlaps)


def with_marks(columns: Sequence[Column], rows: Sequence[Sequence[Entry]]) -> list[list[Entry]]:
    """Mark the best score of every column with a direction."""
    marked = [list(row) for row in rows]
    for number, column in enumerate(columns):
        if column.better:
            entries = [row[number] for row in rows]
            scores = mark([e if isinstance(e, Score) else None for e in entries], column.better)
            for row, score in zip(marked, scores, strict=True):
                row[number] = score
    return marked


def marked(table: Table) -> Table:
    """Mark the best score of each column, and explain all marks in the caption."""
    rows = with_marks(table.columns, table.rows)
    scores = [entry for row in rows for entry in row if isinstance(entry, Score)]
    caption = table.caption + f" {MARKS}" * any(score.best for score in scores)
    return replace(table, rows=rows, caption=caption + overlap_note(scores))


def overlap_note(scores: Iterable[Score]) -> str:
    """Explain the mark of overlapping pre-training, if a score has it."""
    return f" {OVERLAP} {OVERLAP_WARNING}" * any(score.overlaps for score in scores)


def overlaps_of(cells: Iterable[Cell], overlapping: Container[str]) -> bool:
    """Whether the pre-training of a run, by id, may have seen images of its task."""
    return any(run_id in overlapping for cell in cells for run_id in cell.run_ids)
