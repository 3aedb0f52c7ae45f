"""Figures of evaluations: robustness to corruptions, and train x test matrices."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from marsbench.base.names import file_stem
from marsbench.data.corruptions.table import CORRUPTIONS, Subject
from marsbench.demo.recipes import RECIPES
from marsbench.report.analysis import Analysis
from marsbench.report.figures.plots import evaluations as plots
from marsbench.report.figures.plots import grids
from marsbench.report.figures.plots.marks import Row
from marsbench.report.figures.spec import FigureSpec
from marsbench.report.names import lowered, model_title
from marsbench.report.statistics.evaluations import Robustness, Shift
from marsbench.report.statistics.summary import LEVEL
from marsbench.report.study.cells import GroupKey, metric_is_up, metric_label
from marsbench.tasks.catalog import TASKS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SCENES = "landmark_cls"
"""Task whose demo scenes show corruptions of tasks without scenes of their own."""

_MOST = 6
"""Largest number of models with a matrix; the table has all."""


def robustness(analysis: Analysis) -> Iterator[FigureSpec]:
    """Plan curves over severities, and pictures of the corruptions."""
    pictured: set[str] = set()
    for each in analysis.robustness:
        look = {m: v for m, v in analysis.looks(each.key).items() if m in each.scores}
        panels = {
            name: {
                model: {
                    s: row for s in (0, *each.severities) if (row := _row(each, model, name, s))
                }
                for model in look
            }
            for name in each.corruptions
        }
        yield FigureSpec(
            f"robustness-{file_stem(each.words)}",
            each.title,
            f"Interquartile means over seeds of {metric_label(each.metric)} on corrupted test "
            f"samples, by severity, with {LEVEL} bootstrap intervals; 0 is without corruption.",
            (each.key,),
            partial(plots.severity_curves, panels, metric_label(each.metric), look),
        )
        task = each.tested_on.partition(" ")[0]
        names = [n for n in each.corruptions if n in CORRUPTIONS and _is_of_images(n)]
        if names and task not in pictured:
            pictured.add(task)
            has_scenes = task in RECIPES and TASKS[task].channels <= 3
            scenes = task if has_scenes else _SCENES
            yield FigureSpec(
                f"corruptions-{file_stem(task)}",
                f"Corruptions of {task}",
                f"A demo scene of {scenes}, drawn, without and with each corruption at severities "
                f"{', '.join(map(str, each.severities))}.",
                (each.key,),
                partial(_draw_strips, scenes, names, each.severities),
                is_photo=True,
            )


def _row(each: Robustness, model: str, corruption: str, severity: int) -> Row | None:
    estimate = each.at(model, corruption, severity)
    return Row(*estimate) if np.isfinite(estimate.value) else None


def _is_of_images(name: str) -> bool:
    return CORRUPTIONS[name].applies_to is Subject.IMAGES


def _draw_strips(task: str, names: Sequence[str], severities: Sequence[int]) -> "Figure":
    from marsbench.report.figures.scenes import corrupted_scene

    return plots.corruption_strips(corrupted_scene(task, names, severities), severities)


def shifts(analysis: Analysis) -> Iterator[FigureSpec]:
    """Plan a train x test matrix of each model with evaluations on other tasks."""
    by_model: defaultdict[tuple[GroupKey, str], list[Shift]] = defaultdict(list)
    for shift in analysis.shifts:
        by_model[shift.key, shift.model].append(shift)
    drawn: defaultdict[GroupKey, int] = defaultdict(int)
    for (key, model), members in by_model.items():
        drawn[key] += 1
        if drawn[key] <= _MOST:
            yield _matrix(analysis, key, model, members)


def _matrix(analysis: Analysis, key: GroupKey, model: str, shifts: Sequence[Shift]) -> FigureSpec:
    """Plan the matrix of a model: evaluations beside scores in domain on the diagonal."""
    summary = analysis.summaries[key].tasks
    entries = {(shift.trained_on, shift.tested_on): shift.score.value for shift in shifts}
    metrics = {shift.tested_on: shift.metric for shift in shifts}
    for shift in shifts:
        entries.setdefault((shift.trained_on, shift.trained_on), shift.in_domain.value)
        metrics.setdefault(shift.trained_on, shift.metric)
    for task, metric in metrics.items():
        own = summary.get((task, model))
        if own is not None and own.cell.metric == metric:
            entries[task, task] = own.iqm.value
    rows = sorted({trained for trained, _ in entries})
    columns = sorted({tested for _, tested in entries})
    values = np.full((len(rows), len(columns)), np.nan)
    for (trained, tested), value in entries.items():
        values[rows.index(trained), columns.index(tested)] = value
    up = np.array([metric_is_up(metrics[task]) for task in columns])
    # Losses have no upper bound: a column's largest is the worst of its colours.
    worst = np.maximum(np.nanmax(values, axis=0, initial=0), 1)
    shades = np.clip(np.where(up, values, 1 - values / worst), 0, 1)
    framed = [(rows.index(task), columns.index(task)) for task in rows if task in columns]
    named = ", ".join(f"{task}: {metric_label(metrics[task])}" for task in columns)
    return FigureSpec(
        f"shift-{file_stem(model)}-{key.slug}",
        f"{model_title(model)}, {lowered(key.title)}",
        "Rows are training tasks, columns tested tasks. Interquartile means over seeds of the "
        f"headline metric ({named}). Framed: in domain, the test split of the training task; other "
        "entries are evaluations without further training, over the classes with a counterpart.",
        (key,),
        partial(grids.heat_map, values, shades, rows, columns, "score", framed),
    )
