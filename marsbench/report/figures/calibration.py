"""Figures of calibration: reliability diagrams of each task."""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

from marsbench.base.names import file_stem
from marsbench.metrics.calibration import NUM_BINS
from marsbench.report.analysis import Analysis
from marsbench.report.figures.plots import calibration as plots
from marsbench.report.figures.spec import FigureSpec
from marsbench.report.names import lowered
from marsbench.report.study.calibration import Calibrated, pooled_bins
from marsbench.report.study.cells import Group
from marsbench.results.store import Store
from marsbench.tasks.kinds import Kind

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MOST = 12
"""Largest number of models in a figure; the tables have all."""


def reliability(analysis: Analysis) -> Iterator[FigureSpec]:
    """Plan a reliability diagram of each task of labels, with a panel for each model."""
    for group in analysis.headline_groups:
        calibration = analysis.calibration.get(group.key, {})
        ordered = list(analysis.summaries[group.key].models)
        for task in group.tasks:
            cells = [calibration.get((task, model)) for model in ordered]
            drawn = [c for c in cells if c is not None and c.predicted]
            if drawn:
                yield _planned(analysis, group, task, drawn)


def _planned(
    analysis: Analysis, group: Group, task: str, cells: Sequence[Calibrated]
) -> FigureSpec:
    is_multilabel = cells[0].predicted[0].kind == Kind.MULTILABEL
    shown = cells[:_MOST]
    what = "samples with the label" if is_multilabel else "right predictions"
    pooled = "labels and seeds" if is_multilabel else "seeds"
    means = "runs and labels" if is_multilabel else "runs"
    hidden = f" {len(cells) - len(shown)} further models are in the tables." * (shown != cells)
    colours = {name: look["color"] for name, look in analysis.looks(group.key).items()}
    return FigureSpec(
        f"reliability-{file_stem(task)}-{group.key.slug}",
        f"{task}, {lowered(group.key.title)}",
        f"Share of {what} over the predicted probability, in {NUM_BINS} bins of equal width, "
        f"{pooled} pooled, from stored predictions. On the dotted line a model is calibrated, "
        "below it too sure. Bars at the bottom are the numbers of predictions in the bins; errors "
        f"are means over {means} of the expected calibration error.{hidden}",
        (group.key,),
        partial(_draw, analysis.store, shown, colours, what),
    )


def _draw(
    store: Store, cells: Sequence[Calibrated], colours: dict[str, str], what: str
) -> "Figure":
    panels = [
        plots.Panel(
            c.cell.model,
            pooled_bins(store, c.predicted),
            float(c.values["ece"].mean()),
            colours[c.cell.model],
        )
        for c in cells
    ]
    return plots.reliability(panels, f"share of {what}")
