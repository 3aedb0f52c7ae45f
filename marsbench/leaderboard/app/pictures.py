"""Figures of the app: those of reports, and score against size and training time."""

import base64
import io
import threading
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from marsbench.leaderboard.app.scatter import Point, scatter
from marsbench.leaderboard.app.words import safe
from marsbench.leaderboard.board.entries import Entry, group_of
from marsbench.leaderboard.board.normalisation import ranges_of
from marsbench.leaderboard.board.ranking import Ranked
from marsbench.leaderboard.board.tasksets import Choice, categories
from marsbench.report.analysis import Analysis
from marsbench.report.figures import by_task, over_tasks, style
from marsbench.report.figures.plots.marks import Row
from marsbench.report.figures.plots.violins import ScorePanel, violins
from marsbench.report.statistics.summary import LEVEL, GroupSummary, summarise
from marsbench.report.study.cells import Group, GroupKey, amount_of, metric_label
from marsbench.report.study.coverage import Study
from marsbench.results.store import Store

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DPI = 150

_LOCK = threading.Lock()
"""Held while a figure is drawn: matplotlib's settings are global."""


def picture(draw: Callable[[], "Figure"], description: str) -> str:
    """Draw a figure as an image in HTML.

    Args:
        draw: Draws the figure.
        description: Caption, also for readers who do not see the image.
    """
    content = io.BytesIO()
    with _LOCK, style.drawing():
        draw().savefig(content, format="png", dpi=DPI, metadata={"Software": None})
    data = base64.b64encode(content.getvalue()).decode()
    text = safe(description, 2000)
    return (
        f'<figure><img src="data:image/png;base64,{data}" alt="{text}">'
        f"<figcaption>{text}</figcaption></figure>"
    )


def analysis_of(groups: Sequence[Group], choice: Choice) -> Analysis:
    """Estimates of groups as of a report, with the ranges of the board."""
    ranges = ranges_of(choice)
    return Analysis(
        store=Store(Path()),  # the figures here read no predictions
        study=Study({group.key: group for group in groups}),
        ranges={group.key.family: ranges for group in groups},
        summaries={group.key: summarise(group, ranges=ranges) for group in groups},
    )


def of_model(entry: Entry, family: Sequence[Entry], choice: Choice) -> str:
    """Violins of an entry on each task, and curves over the amount of training data.

    Args:
        entry: The entry.
        family: Entries of the same model, author and settings, of any subset.
        choice: Metric of each task.
    """
    groups = [
        group_of({entry.label: member}, category, tasks.tasks, choice)
        for category, tasks in categories().items()
        for member in sorted(family, key=lambda member: amount_of(member.subset))
    ]
    analysis = analysis_of([group for group in groups if group.cells], choice)
    shown = [
        _violins(key, summary, entry.label)
        for key, summary in analysis.summaries.items()
        if key.subset == entry.subset
    ]
    shown += [
        picture(figure.draw, f"{figure.title}. {figure.caption}")
        for figure in over_tasks.curves(analysis)
    ]
    return "".join(shown)


def _violins(key: GroupKey, summary: GroupSummary, model: str) -> str:
    rows = {
        task: Row(*result.iqm, result.distribution, result.cell.scores)
        for (task, _), result in summary.tasks.items()
    }
    labels = dict.fromkeys(metric_label(result.cell.metric) for result in summary.tasks.values())
    panel = ScorePanel(f"Scores: {key.category}", ", ".join(labels), rows)
    look = style.looks([model])[model]
    return picture(
        partial(violins, [panel], list(rows), dict.fromkeys(rows, look)),
        f"Interquartile mean of the scores on each task ({', '.join(labels)}). Lines are {LEVEL} "
        "bootstrap intervals over seeds, shapes the bootstrap distribution, ticks single runs.",
    )


def of_pair(group: Group, choice: Choice) -> str:
    """Violins of the entries of a group, on each task and over all tasks."""
    (figure, *_) = reversed(list(by_task.violins(analysis_of([group], choice))))
    return picture(figure.draw, figure.caption)


def of_costs(rows: Sequence[Ranked]) -> str:
    """Score against the number of parameters and the training time, as far as they are known."""
    known = [(row.entry, row.estimate) for row in rows if row.estimate is not None]
    panels = {
        ("IQM and size", "parameters (millions)"): [
            Point(entry.parameters / 1e6, estimate, entry.label)
            for entry, estimate in known
            if entry.parameters
        ],
        ("IQM and training time", "training per run (seconds)"): [
            Point(entry.train_seconds, estimate, entry.label)
            for entry, estimate in known
            if entry.train_seconds
        ],
    }
    return "".join(scatter(points, *words) for words, points in panels.items() if points)
