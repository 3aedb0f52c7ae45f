"""The figures of a report: what each shows, its caption, and how it is drawn.

A figure is planned first and drawn later, so that one that fails leaves the others alone.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import fmean
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from marsbench.config import parse_subset
from marsbench.identity import slug
from marsbench.kinds import METRICS, Kind
from marsbench.report import aggregate, plots, plots_grids
from marsbench.report.analysis import Analysis, Curve, matching
from marsbench.report.confusions import KINDS, confusion_shares
from marsbench.report.plots import CurvePanel, Panel, Row
from marsbench.report.scores import Cell, Group, GroupKey
from marsbench.report.summary import Comparison, Estimate, Summary, TaskSummary
from marsbench.results.classes import ClassTable, class_tables
from marsbench.results.record import RunRecord
from marsbench.results.store import Store

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FAMILIES = ("violins", "curves", "profiles", "ranks", "heatmap", "cost", "confusion", "imbalance")
"""Kinds of figures, in the order of a report."""

ALPHA = 0.05
"""Pairs of models with a corrected p-value below it count as different."""

_TAUS = np.linspace(0.0, 1.0, 201)

_STAR = " * lacks tasks: its aggregate is over those it has, and cannot be compared with others."


@dataclass(frozen=True)
class Picture:
    """A figure that can be drawn.

    Attributes:
        name: Of its files.
        family: One of `FAMILIES`.
        title: In a few words.
        caption: What is seen, and how it was made.
        keys: Groups it is made of.
        draw: Draws it; call within `style.drawing`.
    """

    name: str
    family: str
    title: str
    caption: str
    keys: tuple[GroupKey, ...]
    draw: Callable[[], "Figure"]


def pictures(analysis: Analysis, only: Collection[str] = FAMILIES) -> list[Picture]:
    """Plan every figure that the records have something to show in.

    Args:
        analysis: The numbers.
        only: Families to draw.
    """
    makers: dict[str, Callable[[Analysis], Iterator[Picture]]] = {
        "violins": _violins,
        "curves": _curves,
        "profiles": _profiles,
        "ranks": _ranks,
        "heatmap": _heat_maps,
        "cost": _costs,
        "confusion": _confusions,
        "imbalance": _imbalances,
    }
    return [one for family in FAMILIES if family in only for one in makers[family](analysis)]


def metric_label(metric: str) -> str:
    """A metric's title with an arrow in the direction of better."""
    info = METRICS.get(metric.partition("/")[0])
    if info is None:
        return metric
    arrow = "\N{UPWARDS ARROW}" if info.higher_is_better else "\N{DOWNWARDS ARROW}"
    return f"{info.title} {arrow}"


def _row(estimate: Estimate, draws: NDArray[np.float64], runs: NDArray[np.float64]) -> Row:
    return Row(estimate.value, estimate.low, estimate.high, draws, runs)


_NO_RUNS: NDArray[np.float64] = np.empty(0)


def _aggregate_panel(summary: Summary) -> Panel:
    rows = {
        name: _row(model.iqm, model.distribution, _NO_RUNS)
        for name, model in summary.models.items()
        if np.isfinite(model.iqm.value)
    }
    return Panel("All tasks", "normalised IQM \N{UPWARDS ARROW}", rows)


def _intervals(summary: Summary) -> str:
    return (
        f"Lines are {100 * summary.level:.0f} % percentile intervals and shapes the distribution "
        f"of {summary.rounds:,} rounds of the stratified bootstrap over seeds."
    )


def _violins(analysis: Analysis) -> Iterator[Picture]:
    for group in analysis.headline_groups:
        summary = analysis.summaries[group.key]
        look, models = analysis.looks(group.key), list(summary.models)
        starred = {name for name, model in summary.models.items() if model.lacks}
        star = _STAR if starred else ""
        for normalised in (True, False):
            if normalised and len(group.tasks) == 1:
                continue  # the same picture on another scale
            panels = _violin_panels(group, summary, normalised, analysis.with_published)
            if normalised:
                title, what = "Normalised scores", "normalised scores"
                more = f"Scores are normalised by {summary.ranges.source}."
            else:
                title, what = "Raw scores", "raw scores, on the scale of each task,"
                more = "Ticks are single runs."
                if any(panel.lines for panel in panels):
                    more += " Dotted lines are the published numbers listed on the page."
            yield Picture(
                f"violins-{'normalised' if normalised else 'raw'}-{group.key.slug}",
                "violins",
                f"{title}: {group.key.title}",
                f"Bootstrapped interquartile mean (IQM) of {what} of every model, the best on top. "
                f"{_intervals(summary)} {more}{star}",
                (group.key,),
                partial(plots.violins, panels, models, look, starred),
            )


def _violin_panels(
    group: Group, summary: Summary, normalised: bool, with_published: bool
) -> list[Panel]:
    panels = [_aggregate_panel(summary)] if len(group.tasks) > 1 else []
    for task in group.tasks:
        found = {m: s for (t, m), s in summary.tasks.items() if t == task}
        metric = next(iter(found.values())).cell.metric
        rows = {model: _task_row(one, normalised) for model, one in found.items()}
        rows = {model: row for model, row in rows.items() if np.isfinite(row.value)}
        label = "normalised" if normalised else metric_label(metric)
        wanted = with_published and not normalised
        lines = tuple(one.value for one in matching(group, task)) if wanted else ()
        panels.append(Panel(task, label, rows, lines))
    return panels


def _task_row(one: TaskSummary, normalised: bool) -> Row:
    if normalised:
        return _row(one.normalised_iqm, one.normalised_distribution, _NO_RUNS)
    return _row(one.iqm, one.distribution, one.cell.scores)


def _curves(analysis: Analysis) -> Iterator[Picture]:
    for curve in analysis.curves:
        if curve.what == "partition":
            name, label = "Partitions", "share of the train split"
        else:
            name, label = "Few shots", "train samples per class"
        first = curve.summaries[0]
        panels, places = _curve_panels(curve)
        ticks = {place: _tick(place, curve.what) for place in places}
        yield Picture(
            f"curves-{curve.slug}",
            "curves",
            f"{name}: {curve.title}",
            f"Normalised IQM over the {label}, over the tasks that every amount has "
            f"({', '.join(curve.tasks)}). {_lines(first)} A point over all tasks is of models "
            f"that have them all. Scores are normalised by {first.ranges.source}.",
            tuple(summary.key for summary in curve.summaries),
            partial(
                plots.curves, panels, ticks, label, "normalised IQM", analysis.looks(curve.family)
            ),
        )


def _lines(summary: Summary) -> str:
    return f"Lines are {100 * summary.level:.0f} % bootstrap intervals."


def _tick(place: float, what: str) -> str:
    return f"{100 * place:.0f} %" if what == "partition" else f"{place:.0f}"


def _curve_panels(curve: Curve) -> tuple[list[CurvePanel], list[float]]:
    together: dict[str, dict[float, Row]] = {}
    single: dict[str, dict[str, dict[float, Row]]] = {}
    places = []
    for summary in curve.summaries:
        part = parse_subset(summary.key.subset)
        place = float(part.shots or part.fraction or 1)
        places.append(place)
        for name, model in summary.models.items():
            if np.isfinite(model.iqm.value) and not model.lacks:
                row = _row(model.iqm, _NO_RUNS, _NO_RUNS)
                together.setdefault(name, {})[place] = row
        for (task, name), one in summary.tasks.items():
            if np.isfinite(one.normalised_iqm.value):
                row = _row(one.normalised_iqm, _NO_RUNS, _NO_RUNS)
                single.setdefault(task, {}).setdefault(name, {})[place] = row
    if len(single) == 1:
        return [CurvePanel(task, lines) for task, lines in single.items()], places
    others = [CurvePanel(task, lines) for task, lines in sorted(single.items())]
    return [CurvePanel("All tasks", together), *others], places


def _complete(summary: Summary) -> list[str]:
    """Models that have every task of the group, which alone compare over all tasks."""
    return [name for name, model in summary.models.items() if not model.lacks]


def _profiles(analysis: Analysis) -> Iterator[Picture]:
    for group in analysis.headline_groups:
        summary = analysis.summaries[group.key]
        models = _complete(summary)
        if len(models) < 2 or not any(np.isfinite(summary.models[m].iqm.value) for m in models):
            continue
        yield Picture(
            f"profiles-{group.key.slug}",
            "profiles",
            f"Performance profiles: {group.key.title}",
            "Share of all runs whose normalised score is above a threshold: the higher the curve, "
            f"the better. Bands are {100 * summary.level:.0f} % bootstrap intervals. Models that "
            "lack tasks are left out.",
            (group.key,),
            partial(_draw_profiles, group, summary, models, analysis),
        )


def _draw_profiles(
    group: Group, summary: Summary, models: Sequence[str], analysis: Analysis
) -> "Figure":
    shares = {}
    for number, name in enumerate(models):
        scores = _normalised(group, summary, name)
        rng = np.random.default_rng((analysis.seed, number))
        draws = aggregate.stratified_bootstrap(scores, rng, summary.rounds, _profile)
        low, high = aggregate.percentile_interval(draws, summary.level)
        shares[name] = (_profile(scores), low, high)
    return plots.profiles(_TAUS, shares, analysis.looks(group.key))


def _profile(scores: ArrayLike) -> NDArray[np.float64]:
    return aggregate.performance_profile(scores, _TAUS)


def _normalised(group: Group, summary: Summary, model: str) -> NDArray[np.float64]:
    """Normalised scores of a model, (num_seeds, num_tasks); NaN in tasks without a range."""
    up = [
        next(cell for (t, _), cell in group.cells.items() if t == task).higher_is_better
        for task in group.tasks
    ]
    return summary.ranges.scale(group.tasks, up)(group.matrix(model))


def _ranks(analysis: Analysis) -> Iterator[Picture]:
    for group in analysis.headline_groups:
        summary = analysis.summaries[group.key]
        ranked = {n: m.rank for n, m in summary.models.items() if m.rank is not None}
        if len(ranked) < 2:
            continue
        rows = {
            name: Row(rank.value, rank.low, rank.high)
            for name, rank in sorted(ranked.items(), key=lambda item: item[1].value)
        }
        alike = alike_groups(list(rows), analysis.comparisons.get(group.key, ()))
        count = len(summary.ranked_tasks)
        yield Picture(
            f"ranks-{group.key.slug}",
            "ranks",
            f"Ranks: {group.key.title}",
            f"Mean rank over {count} task{'s' if count > 1 else ''} with "
            f"{100 * summary.level:.0f} % bootstrap intervals. A bar at the right joins models of "
            "which no pair differs: Wilcoxon's signed rank test of runs of equal task and seed, "
            f"Holm's correction, {ALPHA:g}.",
            (group.key,),
            partial(plots.ranks, rows, alike, analysis.looks(group.key)),
        )


def alike_groups(names: Sequence[str], found: Sequence[Comparison]) -> list[list[str]]:
    """Runs of neighbouring models of which no pair differs, the longest possible.

    Args:
        names: Models in the order of their ranks.
        found: Comparisons; a pair without a test counts as not told apart.
    """
    differ = {frozenset((c.first, c.second)) for c in found if c.p_holm < ALPHA}
    spans: list[tuple[int, int]] = []
    for start in range(len(names)):
        end = start
        while end + 1 < len(names) and all(
            frozenset((names[i], names[end + 1])) not in differ for i in range(start, end + 1)
        ):
            end += 1
        if end > start and (not spans or end > spans[-1][1]):
            spans.append((start, end))
    return [list(names[start : end + 1]) for start, end in spans]


def _heat_maps(analysis: Analysis) -> Iterator[Picture]:
    for group in analysis.headline_groups:
        summary = analysis.summaries[group.key]
        models, tasks = list(summary.models), list(group.tasks)
        if len(group.cells) < 2:
            continue
        values = np.full((len(models), len(tasks)), np.nan)
        shades = values.copy()
        labels = []
        for column, task in enumerate(tasks):
            found = {m: s for (t, m), s in summary.tasks.items() if t == task}
            up = next(iter(found.values())).cell.higher_is_better
            labels.append(f"{task} {chr(0x2191) if up else chr(0x2193)}")
            for name, one in found.items():
                values[models.index(name), column] = one.iqm.value
                shades[models.index(name), column] = one.normalised_iqm.value
        # What cannot be normalised is shown in the middle of the scale, with its number.
        shades = np.where(np.isfinite(values) & ~np.isfinite(shades), 0.5, np.clip(shades, 0, 1))
        yield Picture(
            f"heatmap-{group.key.slug}",
            "heatmap",
            f"Models and tasks: {group.key.title}",
            "IQM of the raw headline metric; arrows point to better. Colours are normalised "
            f"scores, by {summary.ranges.source}.",
            (group.key,),
            partial(
                plots_grids.heat_map,
                values,
                np.clip(shades, 0, 1),
                models,
                labels,
                "normalised score",
            ),
        )


def _costs(analysis: Analysis) -> Iterator[Picture]:
    for group in analysis.headline_groups:
        summary = analysis.summaries[group.key]
        panels = []
        if len(group.models) < 2:
            continue
        if len(group.tasks) > 1:
            rows = {
                name: (fmean(times), _row(model.iqm, _NO_RUNS, _NO_RUNS))
                for name, model in summary.models.items()
                if not model.lacks
                and np.isfinite(model.iqm.value)
                and len(times := _times(group, name)) == len(group.tasks)
            }
            panels.append(("All tasks, mean per task", "normalised IQM", rows))
        for task in group.tasks:
            found = {m: s for (t, m), s in summary.tasks.items() if t == task}
            rows = {
                name: (seconds, _task_row(one, False))
                for name, one in found.items()
                if (seconds := _seconds(one.cell)) is not None
            }
            panels.append((task, metric_label(next(iter(found.values())).cell.metric), rows))
        panels = [panel for panel in panels if panel[2]]
        if panels:
            yield Picture(
                f"cost-{group.key.slug}",
                "cost",
                f"Training time and score: {group.key.title}",
                "Mean seconds of training as recorded, on whatever device each run had (the page "
                f"names them), against the IQM. {_lines(summary)}",
                (group.key,),
                partial(plots.cost, panels, analysis.looks(group.key)),
            )


def _seconds(cell: Cell) -> float | None:
    known = [run.train_seconds for run in cell.runs if run.train_seconds > 0]
    return fmean(known) if known else None


def _times(group: Group, model: str) -> list[float]:
    cells = (cell for (_, name), cell in group.cells.items() if name == model)
    return [seconds for cell in cells if (seconds := _seconds(cell)) is not None]


def _confusions(analysis: Analysis) -> Iterator[Picture]:
    by_id = {record.run_id: record for record in analysis.study.records}
    for group in analysis.headline_groups:
        summary = analysis.summaries[group.key]
        for task in group.tasks:
            cell = _best(summary, task).cell
            records = [by_id[i] for i in cell.run_ids if i in by_id]
            if not records or Kind(records[0].kind) not in KINDS:
                continue
            if not records[0].data.get("classes"):
                continue  # imported: a number without predictions
            unit = "pixels" if records[0].kind == Kind.SEGMENTATION else "samples"
            title = f"{task}, {cell.model}"
            yield Picture(
                f"confusion-{slug(task)}-{group.key.slug}",
                "confusion",
                f"Confusion: {title}, {group.key.title}",
                f"Of each true class (row) the percentage of {unit} predicted as each class, mean "
                f"over {len(records)} seed{'s' if len(records) > 1 else ''}, of the model with the "
                f"best IQM on the task ({cell.model}), from stored predictions.",
                (group.key,),
                partial(_draw_confusion, analysis.store, records, title),
            )


def _draw_confusion(store: Store, records: Sequence[RunRecord], title: str) -> "Figure":
    shares, classes = confusion_shares(store, records)
    return plots_grids.confusion(shares, classes, title)


def _best(summary: Summary, task: str) -> TaskSummary:
    found = [one for (t, _), one in summary.tasks.items() if t == task]
    sign = 1 if found[0].cell.higher_is_better else -1
    known = [one for one in found if np.isfinite(one.iqm.value)] or found
    return max(known, key=lambda one: sign * one.iqm.value)


def imbalance_tables(analysis: Analysis) -> list[ClassTable]:
    """Runs that differ in how unequal classes are dealt with, where there are two ways or more."""
    return [table for table in class_tables(analysis.study.records) if len(table.runs) > 1]


def _imbalances(analysis: Analysis) -> Iterator[Picture]:
    for number, table in enumerate(imbalance_tables(analysis), start=1):
        rows = table.per_class("recall")
        ways: Mapping[str, dict[str, float | None]] = {
            way: {row["class"]: row[way] for row in rows} for way in table.runs
        }
        seeds = ", ".join(f"{way}: {len(runs)}" for way, runs in table.runs.items())
        ids = {record.run_id for runs in table.runs.values() for record in runs}
        keys = [
            key
            for key, group in analysis.study.groups.items()
            if any(ids & set(cell.run_ids) for cell in group.cells.values())
        ]
        yield Picture(
            f"imbalance-{number:02d}-{slug(table.title)}",
            "imbalance",
            f"Unequal classes: {table.title}",
            "Recall of each class, the rarest on top with its number of train samples, by how "
            f"training deals with unequal classes; means over the seeds ({seeds}).",
            tuple(keys),
            partial(plots_grids.imbalance, table.counts, ways, "recall"),
        )
