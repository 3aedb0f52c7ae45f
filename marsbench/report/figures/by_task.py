"""Figures with a panel for each task: violins, and score over training time."""

from collections.abc import Iterator
from functools import partial
from statistics import fmean

import numpy as np

from marsbench.base.errors import some
from marsbench.report.analysis import Analysis, matching
from marsbench.report.figures.plots import scores as plots
from marsbench.report.figures.plots.marks import Row
from marsbench.report.figures.plots.violins import ScorePanel
from marsbench.report.figures.plots.violins import violins as draw_violins
from marsbench.report.figures.spec import FigureSpec
from marsbench.report.statistics.ranges import is_equal, no_range
from marsbench.report.statistics.summary import LEVEL, GroupSummary, TaskSummary
from marsbench.report.study.cells import Cell, Group, metric_label

_UNTIMED = " Times exclude {} resumed runs, whose records hold the time of the last part only."

STAR = " * tasks are missing: the aggregate covers fewer tasks and is not comparable with others."


def _aggregate_panel(summary: GroupSummary) -> ScorePanel:
    rows = {
        name: Row(*model.iqm, model.distribution)
        for name, model in summary.models.items()
        if np.isfinite(model.iqm.value)
    }
    note = "" if rows else "no task has a range"
    return ScorePanel("All tasks", "normalised IQM \N{UPWARDS ARROW}", rows, note=note)


def intervals(summary: GroupSummary) -> str:
    """Explain the lines and shapes of violins."""
    return (
        f"Lines are {LEVEL} percentile intervals and shapes the distribution "
        f"of {summary.rounds:,} rounds of the stratified bootstrap over seeds."
    )


def violins(analysis: Analysis) -> Iterator[FigureSpec]:
    """Plan violins: bootstrap distributions of every model on every task, and over tasks."""
    for group in analysis.headline_groups:
        summary = analysis.summaries[group.key]
        if sum(len(cell.runs) for cell in group.cells.values()) < 2:
            continue  # a single point
        look, models = analysis.looks(group.key), list(summary.models)
        starred = {name for name, model in summary.models.items() if model.missing_tasks}
        star = STAR if starred else ""
        equal = summary.ranges.is_raw(group.metrics.items())
        for normalised in (True, False):
            if normalised and (equal or len(group.tasks) == 1):
                continue  # equals the raw figure, except for the scale of a single task
            panels = violin_panels(group, summary, normalised, analysis.with_published)
            if normalised:
                title, what = "normalised scores", "normalised scores"
                more = f"Scores are normalised by {summary.ranges.source}."
                without = no_range(group, summary.ranges)
                more += f" Without a range: {some(without)}." if without else ""
            else:
                title, what = "raw scores", "raw scores, on the scale of each task,"
                more = "Ticks are single runs."
                more += " Normalised scores equal raw scores: every range is 0 to 1." * equal
                if any(panel.lines for panel in panels):
                    more += " Dotted lines are the published numbers listed on the page."
            yield FigureSpec(
                f"violins-{'normalised' if normalised else 'raw'}-{group.key.slug}",
                f"{group.key.title}: {title}",
                f"Bootstrapped interquartile mean (IQM) of {what} of every model, the best on top. "
                f"{intervals(summary)} {more}{star}",
                (group.key,),
                partial(draw_violins, panels, models, look, starred, normalised),
            )


def violin_panels(
    group: Group, summary: GroupSummary, normalised: bool, with_published: bool
) -> list[ScorePanel]:
    """Panel over tasks, if several, followed by a panel for each.

    Args:
        group: Cells.
        summary: Their estimates.
        normalised: Whether scores of single tasks are normalised.
        with_published: Whether published numbers are drawn.
    """
    panels = [_aggregate_panel(summary)] if len(group.tasks) > 1 else []
    for task in group.tasks:
        by_model = {m: s for (t, m), s in summary.tasks.items() if t == task}
        metric = next(iter(by_model.values())).cell.metric
        rows = {model: _task_row(result, normalised) for model, result in by_model.items()}
        rows = {model: row for model, row in rows.items() if np.isfinite(row.value)}
        axis = "normalised" if normalised else metric_label(metric)
        wanted = with_published and not normalised
        lines = tuple(result.value for result in matching(group, task)) if wanted else ()
        scores = np.concatenate([result.cell.scores for result in by_model.values()])
        note = ""
        if is_equal(scores):
            note = f"all runs equal: {scores[0]:.3f}"
        elif not rows:
            note = "no range: a single model"
        panels.append(ScorePanel(task, axis, rows, lines, note))
    return panels


def _task_row(result: TaskSummary, normalised: bool) -> Row:
    if normalised:
        return Row(*result.normalised_iqm, result.normalised_distribution)
    return Row(*result.iqm, result.distribution, result.cell.scores)


def costs(analysis: Analysis) -> Iterator[FigureSpec]:
    """Plan figures of scores against training time, for groups with two models or more."""
    for group in analysis.headline_groups:
        summary = analysis.summaries[group.key]
        panels = []
        if len(group.models) < 2:
            continue
        if len(group.tasks) > 1:
            rows = {
                name: (fmean(times), Row(*model.iqm))
                for name, model in summary.models.items()
                if not model.missing_tasks
                and np.isfinite(model.iqm.value)
                and len(times := _times(group, name)) == len(group.tasks)
            }
            panels.append(("All tasks, mean per task", "normalised IQM", rows))
        for task in group.tasks:
            by_model = {m: s for (t, m), s in summary.tasks.items() if t == task}
            rows = {
                name: (seconds, _task_row(result, False))
                for name, result in by_model.items()
                if (seconds := _seconds(result.cell)) is not None
            }
            panels.append((task, metric_label(next(iter(by_model.values())).cell.metric), rows))
        panels = [panel for panel in panels if panel[2]]
        resumed = sum(run.resumed for cell in group.cells.values() for run in cell.runs)
        if panels:
            yield FigureSpec(
                f"cost-{group.key.slug}",
                group.key.title,
                "IQM against the mean recorded seconds of training, on the device of each run "
                f"(listed on the page). Lines are {LEVEL} bootstrap "
                f"intervals.{_UNTIMED.format(resumed) if resumed else ''}",
                (group.key,),
                partial(plots.cost, panels, analysis.looks(group.key)),
            )


def _seconds(cell: Cell) -> float | None:
    known = [run.train_seconds for run in cell.runs if run.train_seconds > 0]
    return fmean(known) if known else None


def _times(group: Group, model: str) -> list[float]:
    cells = (cell for (_, name), cell in group.cells.items() if name == model)
    return [seconds for cell in cells if (seconds := _seconds(cell)) is not None]
