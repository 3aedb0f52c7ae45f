"""Tables of the app: rankings and efficiency, as values for Gradio's table."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from marsbench.leaderboard.app.words import DASH, badge_of, cut, duration, millions, number
from marsbench.leaderboard.board.entries import Entry
from marsbench.leaderboard.board.estimates import Estimates
from marsbench.leaderboard.board.normalisation import normalisable
from marsbench.leaderboard.board.ranking import Ranked
from marsbench.leaderboard.board.tasksets import Choice, TaskSet
from marsbench.report.statistics.summary import LEVEL, Estimate
from marsbench.report.study.cells import DOWN, metric_is_up


class Cell(NamedTuple):
    """Value to sort by, and its text; the text of an HTML cell holds no names."""

    value: Any
    text: str


Kind = Literal["number", "str", "html"]

NUMBER: Kind = "number"
TEXT: Kind = "str"
HTML: Kind = "html"


@dataclass
class Table:
    """Columns and rows.

    Attributes:
        names: Entry of each row.
        columns: Title, type and cells of each column.
    """

    names: list[str] = field(default_factory=list)
    columns: list[tuple[str, Kind, list[Cell]]] = field(default_factory=list)

    def add(self, title: str, kind: Kind, cells: Iterable[Cell]) -> None:
        """Add a column."""
        self.columns.append((title, kind, list(cells)))

    def text(self, title: str, texts: Iterable[str]) -> None:
        """Add a column of text, which is shortened and never markup."""
        self.add(title, TEXT, (Cell(line, line) for line in map(cut, texts)))

    def numbers(self, title: str, values: Iterable[float | None], places: int = 3) -> None:
        """Add a column of numbers."""
        known = (None if value is None else round(value, 6) for value in values)
        self.add(title, NUMBER, (Cell(value, number(value, places)) for value in known))

    @property
    def value(self) -> dict[str, Any]:
        """Value of Gradio's table, which sorts by the values and shows the texts."""
        cells = [column for *_, column in self.columns]
        return {
            "headers": [title for title, *_ in self.columns],
            "data": [[column[row].value for column in cells] for row in range(len(self.names))],
            "metadata": {
                "display_value": [
                    [column[row].text for column in cells] for row in range(len(self.names))
                ]
            },
        }

    @property
    def kinds(self) -> list[Kind]:
        """Type of each column."""
        return [kind for _, kind, _ in self.columns]


def ranking(
    rows: Sequence[Ranked],
    tasks: TaskSet,
    choice: Choice,
    estimates: Estimates,
    *,
    per_task: bool = False,
) -> Table:
    """Table of a ranking.

    Args:
        rows: Ranked entries.
        tasks: Tasks of the ranking.
        choice: Metric of each task.
        estimates: Estimates of the entries.
        per_task: Whether to add a column for each task, in the task's own metric.
    """
    table = _named(rows)
    table.numbers("IQM", (row.estimate.value if row.estimate else None for row in rows))
    table.add(f"{LEVEL} interval", HTML, (_bar(row.estimate) for row in rows))
    table.numbers("Mean rank", (row.mean_rank for row in rows), 2)
    total = len(normalisable(tasks, choice).tasks)
    table.text("Tasks", (_tasks(row, total) for row in rows))
    if per_task:
        scores = [estimates.per_task(row.entry, choice) for row in rows]
        for task, metric in tasks.pairs(choice):
            title = task if metric_is_up(metric) else f"{task} {DOWN}"
            table.numbers(title, (by_task.get(task) for by_task in scores))
    table.text("Seeds", (_seeds(row.entry, tasks, choice) for row in rows))
    _facts(table, [row.entry for row in rows])
    return table


def capabilities(
    rows: Sequence[Ranked], groups: Sequence[TaskSet], choice: Choice, estimates: Estimates
) -> Table:
    """Table of a ranking with a column for each group of tasks; groups with gaps have no number."""
    table = _named(rows)
    table.numbers("IQM", (row.estimate.value if row.estimate else None for row in rows))
    for tasks in groups:
        if not normalisable(tasks, choice).tasks:
            continue
        parts = [estimates.over(row.entry, tasks, choice) for row in rows]
        title = f"{tasks.title} ({len(normalisable(tasks, choice).tasks)})"
        table.numbers(title, (part.value if part else None for part in parts))
    entries = [row.entry for row in rows]
    table.text("Mode", (entry.mode for entry in entries))
    table.text("Author", (entry.author.name for entry in entries))
    return table


def efficiency(rows: Sequence[Ranked]) -> Table:
    """Table of scores, sizes and training times of a ranking."""
    table = _named(rows)
    entries = [row.entry for row in rows]
    table.numbers("IQM", (row.estimate.value if row.estimate else None for row in rows))
    table.add(f"{LEVEL} interval", HTML, (_bar(row.estimate) for row in rows))
    table.add("Parameters", NUMBER, map(_parameters, entries))
    table.add(
        "Training per run",
        NUMBER,
        (Cell(entry.train_seconds, duration(entry.train_seconds)) for entry in entries),
    )
    table.text("Mode", (entry.mode for entry in entries))
    table.text("Protocol", (entry.protocol for entry in entries))
    table.text("Author", (entry.author.name for entry in entries))
    return table


def _named(rows: Sequence[Ranked]) -> Table:
    table = Table([row.entry.name for row in rows])
    table.add("#", NUMBER, (Cell(row.place, str(row.place or DASH)) for row in rows))
    # Short, since the column stays in place in narrow windows; the page has the full name.
    table.text("Model", (cut(row.entry.label, 26) for row in rows))
    return table


def _facts(table: Table, entries: Sequence[Entry]) -> None:
    table.text("Mode", (entry.mode for entry in entries))
    table.text("Protocol", (entry.protocol for entry in entries))
    table.text("Subset", (entry.subset for entry in entries))
    table.text("Pre-training", (entry.pretraining.data for entry in entries))
    table.text("Overlap", (entry.pretraining.overlap for entry in entries))
    table.add("Parameters", NUMBER, map(_parameters, entries))
    table.text("Author", (entry.author.name for entry in entries))
    table.text("Date", (entry.created or DASH for entry in entries))
    table.text("Scores", map(badge_of, entries))


def _parameters(entry: Entry) -> Cell:
    return Cell(entry.parameters, millions(entry.parameters))


def _tasks(row: Ranked, total: int) -> str:
    if row.place is not None:
        return str(total)
    return f"{row.num_tasks} of {total}, incomplete"


def _seeds(entry: Entry, tasks: TaskSet, choice: Choice) -> str:
    """Number of seeds of the tasks, as a range if it varies."""
    counts = {len(entry.scores[p]) for p in tasks.pairs(choice) if p in entry.scores}
    low, high = min(counts, default=0), max(counts, default=0)
    return str(low) if low == high else f"{low} to {high}"


def _bar(estimate: Estimate | None) -> Cell:
    """Interval as a bar on an axis from 0 to 1; beyond the axis it ends at the border.

    It is sorted by the estimate.
    """
    if estimate is None:
        return Cell(None, "")
    value, low, high = (min(max(end, 0.0), 1.0) * 100 for end in estimate)
    # NaN fails every comparison: a single seed has no interval.
    if not low <= high:
        text, low, high = "one seed", value, value
    else:
        text = f"{estimate.low:.3f} to {estimate.high:.3f}"
    shape = f"left:{low:.1f}%;width:{high - low:.1f}%"
    html = (
        f'<span class="interval"><span class="axis"><span class="range" style="{shape}"></span>'
        f'<span class="dot" style="left:{value:.1f}%"></span></span>{text}</span>'
    )
    return Cell(round(estimate.value, 6), html)
