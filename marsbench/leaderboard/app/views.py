"""Functions behind the tabs with tables: from the values of filters to captions and tables."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from marsbench.leaderboard.app import pictures, tables, texts
from marsbench.leaderboard.app.controls import FIRST_ROWS, selection
from marsbench.leaderboard.app.tables import Table
from marsbench.leaderboard.board.live import Live
from marsbench.leaderboard.board.ranking import Filters, Ranked, ranked
from marsbench.leaderboard.board.tasksets import (
    Choice,
    TaskSet,
    capabilities,
    categories,
    kinds,
)


class Filled(NamedTuple):
    """Content of a tab.

    Attributes:
        caption: Text above the table, in HTML.
        table: The table.
        picture: Figure below the table, in HTML; None for tabs without one.
    """

    caption: str
    table: Table
    picture: str | None = None


class _Ranking(NamedTuple):
    """Ranking over some tasks.

    Attributes:
        choice: Metric of each task.
        tasks: Tasks.
        all_rows: All entries that pass the filters.
        rows: Rows of the table: all of them, or the first.
        caption: Text above the table, in HTML.
    """

    choice: Choice
    tasks: TaskSet
    all_rows: list[Ranked]
    rows: list[Ranked]
    caption: str


class Views:
    """Content of the tabs for the values of the filters.

    Args:
        live: The board.
    """

    def __init__(self, live: Live) -> None:
        self._live = live

    def opening(self) -> str:
        """Category that the board opens with: the one with most complete entries."""
        board = self._live.board
        choice = board.opening()
        entries = Filters().keep(board.entries)
        sets = categories()
        return max(sets, key=lambda name: sum(entry.has(sets[name], choice) for entry in entries))

    def overall(self, values: Sequence[Any], category: str) -> Filled:
        """Ranking over a category."""
        choice, tasks, _, rows, caption = self._ranked(values, categories()[category])
        return Filled(caption, tables.ranking(rows, tasks, choice, self._live.estimates))

    def kind(self, values: Sequence[Any], kind: str) -> Filled:
        """Ranking over a kind, with a column for each task."""
        choice, tasks, _, rows, caption = self._ranked(values, kinds()[kind])
        table = tables.ranking(rows, tasks, choice, self._live.estimates, per_task=True)
        return Filled(caption, table)

    def capability(self, values: Sequence[Any], category: str, grouping: str) -> Filled:
        """Ranking over a category, with a column for each group of tasks."""
        choice, _, _, rows, caption = self._ranked(values, categories()[category])
        groups = capabilities(grouping, category)
        return Filled(caption, tables.capabilities(rows, groups, choice, self._live.estimates))

    def efficiency(self, values: Sequence[Any], category: str) -> Filled:
        """Ranking over a category, with sizes and training times."""
        ranking = self._ranked(values, categories()[category])
        none = "<p>No complete entry states its parameters or its training time.</p>"
        picture = pictures.of_costs(ranking.all_rows) or none
        return Filled(ranking.caption, tables.efficiency(ranking.rows), picture)

    def _ranked(self, values: Sequence[Any], tasks: TaskSet) -> _Ranking:
        choice, filters, is_whole = selection(*values)
        rows = ranked(filters.keep(self._live.board.entries), tasks, choice, self._live.estimates)
        self._live.estimates.keep()
        complete = sum(row.place is not None for row in rows)
        shown = rows if is_whole else rows[:FIRST_ROWS]
        caption = texts.caption(tasks, choice, len(rows), complete, len(shown))
        return _Ranking(choice, tasks, rows, shown, caption)
