"""Figures of cells and classes: heat maps, confusion matrices, unequal classes."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from marsbench.base.names import LONGEST_TITLE, file_stem
from marsbench.config.identity import slug
from marsbench.metrics.scoring import SCORERS
from marsbench.report.analysis import Analysis
from marsbench.report.figures.plots import grids
from marsbench.report.figures.spec import FigureSpec
from marsbench.report.names import lowered, model_title
from marsbench.report.statistics.summary import GroupSummary, TaskSummary
from marsbench.report.study.cells import DOWN, UP
from marsbench.report.study.confusions import confusion_shares
from marsbench.report.study.imbalance import compared_ways
from marsbench.results.record import RunRecord
from marsbench.results.store import Store
from marsbench.tasks.kinds import Kind

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def heat_maps(analysis: Analysis) -> Iterator[FigureSpec]:
    """Plan heat maps of models x tasks, for groups with several models and tasks."""
    for group in analysis.headline_groups:
        summary = analysis.summaries[group.key]
        models, tasks = list(summary.models), list(group.tasks)
        if len(models) < 2 or len(tasks) < 2:
            continue  # a column or a row of a table
        values = np.full((len(models), len(tasks)), np.nan)
        shades = values.copy()
        labels = []
        for column, task in enumerate(tasks):
            by_model = {m: s for (t, m), s in summary.tasks.items() if t == task}
            up = next(iter(by_model.values())).cell.higher_is_better
            labels.append(f"{task} {UP if up else DOWN}")
            for name, result in by_model.items():
                values[models.index(name), column] = result.iqm.value
                shades[models.index(name), column] = result.normalised_iqm.value
        titles = list(map(model_title, models))
        # Scores without a range get the colour in the middle of the scale.
        shades = np.where(np.isfinite(values) & ~np.isfinite(shades), 0.5, np.clip(shades, 0, 1))
        yield FigureSpec(
            f"heatmap-{group.key.slug}",
            group.key.title,
            "IQM of the raw headline metric; arrows point to better. Colours are scores normalised "
            f"by {summary.ranges.words(group.metrics.items())}.",
            (group.key,),
            partial(grids.heat_map, values, shades, titles, labels, "normalised score"),
        )


def confusions(analysis: Analysis) -> Iterator[FigureSpec]:
    """Plan the confusion matrix of the best model of each task with a class per sample or pixel."""
    by_id = {record.run_id: record for record in analysis.study.records}
    for group in analysis.headline_groups:
        summary = analysis.summaries[group.key]
        for task in group.tasks:
            cell = _best(summary, task).cell
            records = [by_id[i] for i in cell.run_ids if i in by_id]
            if not records or SCORERS[Kind(records[0].kind)].confusion is None:
                continue
            if not records[0].data.get("classes"):
                continue  # imported: a number without predictions
            unit = "pixels" if records[0].kind == Kind.SEGMENTATION else "samples"
            title = f"{task}, {model_title(cell.model)}"
            yield FigureSpec(
                f"confusion-{file_stem(task)}-{group.key.slug}",
                f"{title}, {lowered(group.key.title)}",
                f"Percentage of the {unit} of each true class (row) predicted as each class, mean "
                f"over {len(records)} seed{'s' if len(records) > 1 else ''}, for the model with "
                "the best IQM on the task, from stored predictions.",
                (group.key,),
                partial(_draw_confusion, analysis.store, records, title),
            )


def _draw_confusion(store: Store, records: Sequence[RunRecord], title: str) -> "Figure":
    shares, classes = confusion_shares(store, records)
    return grids.confusion(shares, classes, title)


def _best(summary: GroupSummary, task: str) -> TaskSummary:
    results = [result for (t, _), result in summary.tasks.items() if t == task]
    sign = 1 if results[0].cell.higher_is_better else -1
    known = [result for result in results if np.isfinite(result.iqm.value)] or results
    return max(known, key=lambda result: sign * result.iqm.value)


def imbalances(analysis: Analysis) -> Iterator[FigureSpec]:
    """Plan figures of the recall of each class by method for unequal classes."""
    for number, comparison in enumerate(compared_ways(analysis), start=1):
        rows = comparison.table.per_class("recall")
        ways: Mapping[str, dict[str, float | None]] = {
            way: {row["class"]: row[way] for row in rows} for way in comparison.table.runs
        }
        yield FigureSpec(
            f"imbalance-{number:02d}-{slug(comparison.words)[:LONGEST_TITLE]}",
            comparison.title,
            "Recall of each class by method for unequal classes, the rarest class on top, with "
            f"numbers of train samples; means {comparison.over}.",
            comparison.keys,
            partial(grids.imbalance, comparison.table.counts, ways, "recall"),
        )
