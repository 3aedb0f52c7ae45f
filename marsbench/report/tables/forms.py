"""Tables, their marks, and their forms as CSV for programs and Markdown for pages."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from marsbench.base.text import inline, spreadsheet_csv
from marsbench.report.names import model_title
from marsbench.report.study.cells import UP, GroupKey

DASH = "\N{EN DASH}"
CLOSE = "\N{DAGGER}"
OVERLAP = "\N{DOUBLE DAGGER}"
"""Mark of scores of models whose pre-training may have seen images of the task."""

MARKS = f"Bold: best of its column; {CLOSE}: interval overlaps with the best's interval."


@dataclass(frozen=True)
class Score:
    """A number with its interval, as an entry of a table.

    Attributes:
        value: Number; NaN if missing.
        low: Lower end of the interval; NaN without an interval.
        high: Upper end.
        best: Whether it is the best of its column.
        close: Whether its interval overlaps with the interval of the best.
        digits: Digits after the point.
        anchor: Anchor of its runs on the page.
        words: Text instead of the number, such as ``< 0.001``; sorting still uses the value.
        overlaps: Whether the model's pre-training may have seen images of the task.
    """

    value: float
    low: float = math.nan
    high: float = math.nan
    best: bool = False
    close: bool = False
    digits: int = 3
    anchor: str = ""
    words: str = ""
    overlaps: bool = False

    @property
    def marks(self) -> str:
        """Marks behind the number."""
        return CLOSE * (self.close and not self.best) + OVERLAP * self.overlaps

    @property
    def text(self) -> str:
        """The number without its interval."""
        if self.words:
            return self.words
        # z: no negative zero
        return f"{self.value:z.{self.digits}f}" if math.isfinite(self.value) else DASH

    @property
    def interval(self) -> str:
        """Interval in brackets; empty without an interval."""
        if not (math.isfinite(self.low) and math.isfinite(self.high)):
            return ""
        return f"[{self.low:z.{self.digits}f}, {self.high:z.{self.digits}f}]"


@dataclass(frozen=True)
class Link:
    """Text with a link, as an entry of a table.

    Attributes:
        text: Text.
        anchor: Target on the page.
    """

    text: str
    anchor: str

    def __str__(self) -> str:
        return self.text


Entry = str | int | Score | Link | None


_OF_MODELS = ("model", "first", "second", "model here")
"""Names of columns of models."""


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        name: Heading in the CSV.
        better: `UP`, `DOWN`, or empty without a direction.
        label: Heading for readers; the name if empty.
    """

    name: str
    better: str = ""
    label: str = ""

    @property
    def title(self) -> str:
        """Heading with an arrow: up if higher is better, down if lower."""
        return f"{self.label or self.name} {self.better}".strip()

    def shown(self, entry: Entry) -> Entry:
        """Entry for readers: names of models become titles."""
        if self.name not in _OF_MODELS or entry is None or isinstance(entry, int | Score):
            return entry
        title = model_title(str(entry))
        return Link(title, entry.anchor) if isinstance(entry, Link) else title


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        name: Name of its files.
        title: Title in a few words.
        caption: Description of the numbers.
        columns: Columns.
        rows: Rows with an entry per column.
        keys: Keys of its groups, if any.
        anchors: Anchor of each row on the page; empty without links to rows.
        nothing: Text instead of the caption if there are no rows.
    """

    name: str
    title: str
    caption: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Entry]]
    keys: Sequence[GroupKey] = ()
    anchors: Sequence[str] = ()
    nothing: str = "No entries."

    @property
    def text(self) -> str:
        """Caption, or the text for a table without rows."""
        return self.caption if self.rows else self.nothing

    @property
    def shown_rows(self) -> list[list[Entry]]:
        """Rows for readers, with titles of models; the CSV has their names."""
        return [
            [column.shown(entry) for column, entry in zip(self.columns, row, strict=True)]
            for row in self.rows
        ]

    def transposed(self) -> "Table":
        """The table with a row for each column after the first."""
        rows = self.shown_rows
        columns = [Column(""), *(Column(str(row[0])) for row in rows)]
        turned = [
            [column.title, *(row[number] for row in rows)]
            for number, column in enumerate(self.columns)
            if number
        ]
        return replace(self, columns=columns, rows=turned, anchors=())

    def csv(self) -> str:
        """CSV with all digits and the ends of intervals in columns of their own."""
        import pandas as pd

        columns: dict[str, list[object]] = {}
        for number, column in enumerate(self.columns):
            entries = [row[number] for row in self.rows]
            scores = [entry if isinstance(entry, Score) else None for entry in entries]
            columns[column.name] = [e.value if isinstance(e, Score) else e for e in entries]
            if any(score and score.interval for score in scores):
                columns[f"{column.name} low"] = [score and score.low for score in scores]
                columns[f"{column.name} high"] = [score and score.high for score in scores]
        return spreadsheet_csv(pd.DataFrame(columns, dtype=object))

    def markdown(self) -> str:
        """Table in GitHub's Markdown."""
        right = [self.is_number(i) for i in range(len(self.columns))]
        lines = [
            f"**{_escape_markdown(self.title)}.** {_escape_markdown(self.text)}",
            "",
            _markdown_row([_escape_markdown(column.title) for column in self.columns]),
            _markdown_row(["---:" if numeric else "---" for numeric in right]),
            *(_markdown_row([_markdown_cell(entry) for entry in row]) for row in self.shown_rows),
        ]
        return "\n".join(lines) + "\n"

    def is_number(self, column: int) -> bool:
        """Whether a column holds numbers."""
        return any(isinstance(row[column], int | Score) for row in self.rows)


def mark(scores: Sequence[Score | None], better: str) -> list[Score | None]:
    """Mark the best score of a column, and scores with overlapping intervals.

    Args:
        scores: Column; None and NaN are ignored. A single score, or scores that are all equal,
            are not marked.
        better: `UP` or `DOWN`.
    """
    known = [s for s in scores if s is not None and math.isfinite(s.value)]
    if len({s.value for s in known}) < 2:
        return list(scores)  # none is better than another
    best = (max if better == UP else min)(s.value for s in known)
    leaders = [s for s in known if s.value == best]
    marked: list[Score | None] = []
    for score in scores:
        if score is None or not math.isfinite(score.value):
            marked.append(score)
            continue
        overlaps = any(score.low <= top.high and top.low <= score.high for top in leaders)
        is_best = score.value == best
        marked.append(replace(score, best=is_best, close=overlaps and not is_best))
    return marked


def _markdown_row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _escape_markdown(text: str) -> str:
    return re.sub(r"([\\`*_|<>\[\]$~])", r"\\\1", inline(text.replace("\n", " ")))


def _markdown_cell(entry: Entry) -> str:
    if not isinstance(entry, Score):
        return DASH if entry is None else _escape_markdown(str(entry))
    text = _escape_markdown(entry.text)
    number = (f"**{text}**" if entry.best else text) + entry.marks
    return f"{number} {_escape_markdown(entry.interval)}".strip()
