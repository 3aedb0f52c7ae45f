"""Figures over several tasks: curves over amounts of data, performance profiles, ranks."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from marsbench.config.schema import parse_subset
from marsbench.report.analysis import Analysis
from marsbench.report.figures.plots import scores as plots
from marsbench.report.figures.plots.marks import Looks, Row
from marsbench.report.figures.plots.scores import CurvePanel
from marsbench.report.figures.spec import FigureSpec
from marsbench.report.names import subset_title
from marsbench.report.statistics import aggregate
from marsbench.report.statistics.aggregate import ALPHA
from marsbench.report.statistics.curves import Curve, Line
from marsbench.report.statistics.summary import LEVEL, Comparison, GroupSummary, stream
from marsbench.report.study.cells import PARTITION, Group, GroupKey

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_TAUS = np.linspace(0.0, 1.0, 201)


def curves(analysis: Analysis) -> Iterator[FigureSpec]:
    """Plan curves of scores over the amount of training data, over tasks and for each task."""
    for curve in analysis.curves:
        groups = [analysis.study.groups[key] for key in curve.keys]
        source = analysis.curve_summaries[curve.keys[0]].ranges.words(
            pair for group in groups for pair in group.metrics.items() if pair[0] in curve.by_task
        )
        yield curve_figure(curve, source, analysis.looks(curve.family))


def curve_figure(curve: Curve, source: str, look: Looks) -> FigureSpec:
    """Plan the figure of a curve.

    Args:
        curve: Estimates.
        source: Origin of the ranges, to be read after "normalised by".
        look: Colours and markers from `style.looks`, in the order of the legend.
    """
    is_share = curve.what == PARTITION
    label = "share of the train split" if is_share else "train samples per class"
    panels = _curve_panels(curve)
    keys = {key for panel in _lines_of(curve) for line in panel.values() for key in line}
    ticks = {_place(key): _tick(_place(key), curve.what) for key in keys}
    over = ""
    if len(curve.by_task) > 1 and len(curve.tasks) > 1:
        over = f"The first panel is over {', '.join(curve.tasks)}, for models with all of "
        over += "these tasks; the others show single tasks. "
    return FigureSpec(
        f"curves-{curve.slug}",
        f"{curve.title}: {subset_title(curve.what)}",
        f"Normalised IQM over the {label}. {over}Lines are {LEVEL} bootstrap "
        "intervals; models at the same amount are drawn side by side. "
        f"Scores are normalised by {source}.",
        tuple(sorted(keys, key=_place)),
        partial(plots.curves, panels, ticks, label, "normalised IQM", look),
    )


def _lines_of(curve: Curve) -> list[Mapping[str, Line]]:
    return [curve.over_tasks, *curve.by_task.values()]


def _place(key: GroupKey) -> float:
    """Position of an amount of data on the axis: shots, or a share of the train split."""
    part = parse_subset(key.subset)
    return float(part.shots or part.fraction or 1)


def _tick(place: float, what: str) -> str:
    return f"{100 * place:.0f} %" if what == PARTITION else f"{place:.0f}"


def _curve_panels(curve: Curve) -> list[CurvePanel]:
    """Panel of all tasks, if several, followed by a panel for each."""

    def panel(title: str, lines: Mapping[str, Line]) -> CurvePanel:
        return CurvePanel(
            title,
            {
                model: {_place(key): Row(*e) for key, e in line.items()}
                for model, line in lines.items()
            },
        )

    single = {task: panel(task, lines) for task, lines in curve.by_task.items()}
    if len(curve.tasks) == 1:
        return [single.pop(curve.tasks[0]), *single.values()]
    title = "All tasks"
    if len(curve.tasks) < len(single):
        title = f"{len(curve.tasks)} of {len(single)} tasks"
    return [panel(title, curve.over_tasks), *single.values()]


def profiles(analysis: Analysis) -> Iterator[FigureSpec]:
    """Plan performance profiles: shares of runs above thresholds, for models with every task."""
    for group in analysis.headline_groups:
        summary = analysis.summaries[group.key]
        models = [name for name, model in summary.models.items() if not model.missing_tasks]
        if len(models) < 2 or not any(np.isfinite(summary.models[m].iqm.value) for m in models):
            continue
        source = summary.ranges.words(group.metrics.items())
        yield FigureSpec(
            f"profiles-{group.key.slug}",
            group.key.title,
            "Share of a task's runs whose normalised score is above a threshold, mean over tasks: "
            "the higher the curve, the better. Bands are "
            f"{LEVEL} bootstrap intervals. Models with missing tasks are left "
            f"out. Scores are normalised by {source}.",
            (group.key,),
            partial(_draw_profiles, group, summary, models, analysis),
        )


def _draw_profiles(
    group: Group, summary: GroupSummary, models: Sequence[str], analysis: Analysis
) -> "Figure":
    scale = summary.ranges.scale([(task, group.metrics[task]) for task in group.tasks])
    shares = {}
    for name in models:
        scores = scale(group.matrix(name))
        rng = stream(analysis.seed, group.key.words, "profile", name)
        draws = aggregate.stratified_bootstrap(scores, rng, summary.rounds, _profile)
        low, high = aggregate.percentile_interval(draws)
        shares[name] = (_profile(scores), low, high)
    return plots.profiles(_TAUS, shares, analysis.looks(group.key))


def _profile(scores: ArrayLike) -> NDArray[np.float64]:
    return aggregate.performance_profile(scores, _TAUS)


def ranks(analysis: Analysis) -> Iterator[FigureSpec]:
    """Plan figures of mean ranks; bars join models without a significant difference."""
    for group in analysis.headline_groups:
        summary = analysis.summaries[group.key]
        ranked = {n: m.rank for n, m in summary.models.items() if m.rank is not None}
        if len(ranked) < 2:
            continue
        rows = {
            name: Row(*rank)
            for name, rank in sorted(ranked.items(), key=lambda item: item[1].value)
        }
        comparisons = [
            pair
            for pair in analysis.comparisons.get(group.key, ())
            if pair.first in rows and pair.second in rows
        ]
        yield FigureSpec(
            f"ranks-{group.key.slug}",
            group.key.title,
            f"Mean rank over {_tasks(len(summary.ranked_tasks))} with {LEVEL} "
            f"bootstrap intervals. {_bars(comparisons)}",
            (group.key,),
            partial(
                plots.ranks, rows, alike_groups(list(rows), comparisons), analysis.looks(group.key)
            ),
        )


def _tasks(count: int) -> str:
    return f"{count} task{'s' if count > 1 else ''}"


def _bars(comparisons: Sequence[Comparison]) -> str:
    """Explain the bars, or their absence."""
    test = (
        f"Wilcoxon's signed rank test of runs of equal task and seed, Holm's correction, {ALPHA:g}"
    )
    untested = sum(not pair.is_tested for pair in comparisons)
    if untested == len(comparisons):
        return f"No pair of models has enough runs for a significant difference ({test})."
    text = f"Bars at the right join models without a significant difference: {test}."
    if untested:
        text += (
            f" {untested} of {len(comparisons)} pairs have too few runs for the test; not joined."
        )
    return text


def alike_groups(names: Sequence[str], comparisons: Sequence[Comparison]) -> list[list[str]]:
    """Longest sequences of neighbouring models without a significant difference in any pair.

    Args:
        names: Models in the order of their ranks.
        comparisons: Comparisons; untested pairs are not joined.
    """
    alike = {
        frozenset((c.first, c.second)) for c in comparisons if c.is_tested and c.p_holm >= ALPHA
    }
    spans: list[tuple[int, int]] = []
    for start in range(len(names)):
        end = start
        while end + 1 < len(names) and all(
            frozenset((names[i], names[end + 1])) in alike for i in range(start, end + 1)
        ):
            end += 1
        if end > start and (not spans or end > spans[-1][1]):
            spans.append((start, end))
    return [list(names[start : end + 1]) for start, end in spans]
