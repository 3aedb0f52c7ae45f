"""Figures of a report's models beside the paper's: violins, and curves over amounts of data."""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

from marsbench.report.analysis import Analysis
from marsbench.report.figures import style
from marsbench.report.figures.by_task import STAR, intervals, violin_panels
from marsbench.report.figures.over_tasks import curve_figure
from marsbench.report.figures.plots.marks import Looks
from marsbench.report.figures.plots.violins import violins
from marsbench.report.figures.spec import FigureSpec
from marsbench.report.statistics.paper import Beside, Both, plain

_MARKS = "Hollow, marked (paper): the paper's models."


def beside_paper(analysis: Analysis) -> Iterator[FigureSpec]:
    """Plan violins and curves of each family that stands beside the paper's runs."""
    for beside in analysis.beside:
        look = _looks(analysis, beside)
        for both in beside.headline:
            yield _violins(beside, both, look)
        for curve in beside.curves:
            source = beside.ranges_of(curve).words(
                pair for pair in beside.metrics.items() if pair[0] in curve.by_task
            )
            figure = curve_figure(curve, source, look)
            yield replace(
                figure,
                name=f"paper-{figure.name}",
                title=figure.title,
                caption=f"{figure.caption} {_MARKS} {beside.origin}",
            )


def _violins(beside: Beside, both: Both, look: Looks) -> FigureSpec:
    group, summary = both
    starred = {name for name, model in summary.models.items() if model.missing_tasks}
    panels = violin_panels(group, summary, normalised=False, with_published=False)
    over = ""
    if len(group.tasks) > 1:
        source = summary.ranges.words(group.metrics.items())
        over = f" Over tasks, scores are normalised by {source}."
    return FigureSpec(
        f"paper-violins-{group.key.slug}",
        group.key.title,
        "Bootstrapped interquartile mean (IQM) of raw scores of every model, the best on top, both "
        f"models of a name together. {intervals(summary)} Ticks are single runs.{over} "
        f"{_MARKS} {beside.origin}{STAR if starred else ''}",
        (group.key,),
        partial(violins, panels, list(summary.models), look, starred),
    )


def _looks(analysis: Analysis, beside: Beside) -> dict[str, dict[str, Any]]:
    """Colours as in all figures of the category; the paper's models are hollow."""
    names = [n for both in beside.by_subset.values() for n in both.summary.models]
    for curve in beside.curves:
        names += (name for lines in curve.by_task.values() for name in lines)
    # Colours follow from the order: the models of the report come first.
    colours = style.looks([*analysis.looks(beside.pairing.family), *map(plain, names)])
    return {
        name: style.hollow(colours[plain(name)]) if name != plain(name) else colours[name]
        for name in dict.fromkeys(names)
    }
