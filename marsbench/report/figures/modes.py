"""Figures with the modes of each model side by side."""

from collections.abc import Iterator
from functools import partial

from marsbench.report.analysis import Analysis
from marsbench.report.figures import style
from marsbench.report.figures.plots.marks import Row
from marsbench.report.figures.plots.modes import ModePanel
from marsbench.report.figures.plots.modes import modes as draw_modes
from marsbench.report.figures.spec import FigureSpec
from marsbench.report.statistics.modes import Modes
from marsbench.report.statistics.summary import LEVEL
from marsbench.report.study.cells import metric_label


def modes(analysis: Analysis) -> Iterator[FigureSpec]:
    """Plan a figure for each category with models in several modes."""
    for each in analysis.modes:
        names = list(map(each.label, each.keys))
        source = each.ranges.words(each.metrics.items())
        over = "over tasks and on each task" if len(each.tasks) > 1 else f"on {each.tasks[0]}"
        yield FigureSpec(
            f"modes-{each.slug}",
            each.title,
            f"Interquartile means of each model in each mode, {over}, with {LEVEL} bootstrap "
            "intervals. Modes of a model share all settings of the data; hyperparameters are those "
            f"of each mode. Over tasks, scores are normalised by {source}.",
            each.keys,
            partial(draw_modes, _panels(each), list(each.over_tasks), style.looks(names)),
        )


def _panels(each: Modes) -> list[ModePanel]:
    """Panel over tasks, if several, followed by a panel for each."""
    panels = []
    if len(each.tasks) > 1:
        rows = {
            model: {each.label(key): Row(*estimate) for key, estimate in line.items()}
            for model, line in each.over_tasks.items()
        }
        panels.append(ModePanel("All tasks", "normalised IQM \N{UPWARDS ARROW}", rows))
    for task in each.tasks:
        rows = {
            model: {each.label(key): Row(*result.iqm) for key, result in line.items()}
            for model, line in each.by_task[task].items()
        }
        panels.append(ModePanel(task, metric_label(each.metrics[task]), rows))
    return panels
