"""Tables of a report."""

import math
from collections import defaultdict
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass

from marsbench.base.errors import some
from marsbench.base.names import LONGEST_TITLE
from marsbench.config.identity import slug
from marsbench.report.analysis import Analysis
from marsbench.report.names import amount_title, lowered, subset_title
from marsbench.report.statistics.aggregate import ALPHA
from marsbench.report.statistics.ranges import no_range
from marsbench.report.statistics.summary import LEVEL, Estimate, GroupSummary, ModelSummary
from marsbench.report.study.cells import DOWN, UP, Group, GroupKey, metric_is_up, metric_label
from marsbench.report.study.imbalance import Ways, compared_ways
from marsbench.report.tables.by_group import group_tables
from marsbench.report.tables.calibration import calibration_tables
from marsbench.report.tables.entries import (
    anchor_of,
    marked,
    model_anchor,
    overlap_note,
    overlaps_of,
    score_of,
    with_marks,
)
from marsbench.report.tables.evaluations import evaluation_tables
from marsbench.report.tables.forms import MARKS, Column, Entry, Link, Score, Table
from marsbench.report.tables.modes import modes_tables
from marsbench.report.tables.pretraining import pretraining_table


@dataclass(frozen=True)
class Tables:
    """Tables of a report.

    Attributes:
        groups: Scores, aggregates, pairs, curves and unequal classes; may be empty.
        beside: Comparisons with other numbers.
        coverage: Counts of runs, for each group.
        missing: Missing runs.
        ranges: Ranges of the normalisation.
        pretraining: Pre-training of the models.
        evaluations: Evaluations beyond the test split; may be empty.
    """

    groups: Sequence[Table]
    beside: Sequence[Table]
    coverage: Sequence[Table]
    missing: Table
    ranges: Table
    pretraining: Table
    evaluations: Sequence[Table] = ()

    @property
    def files(self) -> list[Table]:
        """Tables to write to files."""
        beside = [table for table in self.beside if table.rows]
        return [
            *self.groups,
            *self.evaluations,
            *beside,
            *self.coverage,
            self.missing,
            self.ranges,
            self.pretraining,
        ]


def make_tables(
    analysis: Analysis, beside: Sequence[Table] = (), *, with_groups: bool = True
) -> Tables:
    """Build all tables of a report."""
    return Tables(
        list(_group_tables(analysis)) if with_groups else [],
        beside,
        coverage_tables(analysis),
        missing_table(analysis),
        ranges_table(analysis),
        pretraining_table(analysis),
        list(evaluation_tables(analysis)) if with_groups else [],
    )


def _group_tables(analysis: Analysis) -> Iterator[Table]:
    for group in analysis.headline_groups:
        summary = analysis.summaries[group.key]
        yield scores_table(group, summary, analysis.overlapping)
        if len(group.cells) > 1:
            yield overall_table(group, summary, analysis.overlapping)
        if analysis.comparisons.get(group.key):
            yield _comparisons_table(analysis, group.key)
    yield from modes_tables(analysis)
    yield from calibration_tables(analysis)
    yield from group_tables(analysis)
    yield from (table for table in _curve_tables(analysis) if table.rows)
    for number, ways in enumerate(compared_ways(analysis), start=1):
        yield _imbalance_table(analysis, ways, number)


def scores_table(
    group: Group, summary: GroupSummary, overlapping: Container[str] = frozenset()
) -> Table:
    """Raw interquartile means with intervals, models x tasks.

    Args:
        group: Cells.
        summary: Their estimates.
        overlapping: Ids of runs whose pre-training may have seen images of their task.
    """
    better = {t: UP if metric_is_up(group.metrics[t]) else DOWN for t in group.tasks}
    scores = {
        name: score_of(
            result.iqm,
            anchor_of(result.cell),
            overlaps=overlaps_of([result.cell], overlapping),
        )
        for name, result in summary.tasks.items()
    }
    by_metric: defaultdict[str, list[str]] = defaultdict(list)
    for task in group.tasks:
        by_metric[metric_label(group.metrics[task])].append(task)
    named = "; ".join(
        f"{metric} of {', '.join(tasks)}" if len(by_metric) > 1 else metric
        for metric, tasks in by_metric.items()
    )
    return marked(
        Table(
            f"scores-{group.key.slug}",
            f"Scores of {lowered(group.key.title)}",
            f"Interquartile means over seeds of the headline metric, with {LEVEL} bootstrap "
            f"intervals. Metric: {named}.",
            [Column("model"), *(Column(task, better[task]) for task in group.tasks)],
            [[m, *(scores.get((task, m)) for task in group.tasks)] for m in summary.models],
            [group.key],
        )
    )


def overall_table(
    group: Group, summary: GroupSummary, overlapping: Container[str] = frozenset()
) -> Table:
    """Aggregates of models over all tasks; arguments as in `scores_table`."""
    columns = [Column("model"), *(Column(name, UP) for name in ("IQM", "median", "mean"))]
    columns += [Column("optimality gap", DOWN), Column("mean rank", DOWN)]
    columns += map(Column, ("tasks", "runs", "missing"))
    complete = [model for model in summary.models.values() if not model.missing_tasks]
    partial = [model for model in summary.models.values() if model.missing_tasks]
    rows = with_marks(columns, [_overall_row(group, model, overlapping) for model in complete])
    # Incomplete models are not compared with others.
    rows += [_overall_row(group, model, overlapping) for model in partial]
    without = no_range(group, summary.ranges)
    left_out = f" Without a range, and in no column: {some(without)}." if without else ""
    note = overlap_note(entry for row in rows for entry in row if isinstance(entry, Score))
    return Table(
        f"overall-{summary.key.slug}",
        f"Overall scores of {lowered(summary.key.title)}",
        f"Scores normalised by {summary.ranges.words(group.metrics.items())}; "
        f"{LEVEL} bootstrap intervals. {MARKS} Models with missing tasks are "
        f"aggregated over fewer tasks and not compared.{left_out}{note}",
        columns,
        rows,
        [summary.key],
    )


def _overall_row(group: Group, model: ModelSummary, overlapping: Container[str]) -> list[Entry]:
    anchor = model_anchor(group, model.model)
    cells = [group.cells[task, model.model] for task in model.tasks]
    return [
        model.model,
        score_of(model.iqm, anchor, overlaps=overlaps_of(cells, overlapping)),
        score_of(model.median, anchor),
        score_of(model.mean, anchor),
        score_of(model.optimality_gap, anchor),
        None if model.rank is None else score_of(model.rank, anchor, digits=2),
        len(model.tasks),
        model.num_runs,
        ", ".join(model.missing_tasks),
    ]


def _comparisons_table(analysis: Analysis, key: GroupKey) -> Table:
    group = analysis.study.groups[key]
    columns = ("first", "second", "P(first beats second)", "tasks", "pairs", "p", "p, Holm")
    rows: list[list[Entry]] = [
        [
            Link(pair.first, model_anchor(group, pair.first)),
            Link(pair.second, model_anchor(group, pair.second)),
            score_of(pair.probability),
            len(pair.tasks),
            pair.num_pairs,
            _p_value(pair.p_value),
            _p_value(pair.p_holm),
        ]
        for pair in analysis.comparisons[key]
    ]
    return Table(
        f"comparisons-{key.slug}",
        f"Pairs of {lowered(key.title)}",
        "Probability that a run of the first model beats a run of the second on the same task, "
        "ties half, mean over shared tasks; and p-values of Wilcoxon's signed rank test of runs "
        "with the same task and seed, two-sided, without and with Holm's correction for all "
        f"pairs. No p-value is given for too few runs to reach {ALPHA:g}.",
        list(map(Column, columns)),
        rows,
        [key],
    )


def _p_value(value: float) -> Score | None:
    if math.isnan(value):
        return None
    return Score(value, words="< 0.001" if value < 0.001 else "")


def _curve_tables(analysis: Analysis) -> Iterator[Table]:
    for curve in analysis.curves:
        first = analysis.curve_summaries[curve.keys[0]]
        rows: list[list[Entry]] = []
        for model, line in curve.over_tasks.items():
            scores = {
                key: score_of(estimate, model_anchor(analysis.study.groups[key], model))
                for key, estimate in line.items()
            }
            rows.append([model, *map(scores.get, curve.keys)])
        yield marked(
            Table(
                f"curves-{curve.slug}",
                f"{curve.title}: {subset_title(curve.what)}",
                "Interquartile means over the tasks with all these amounts "
                f"({', '.join(curve.tasks)}), normalised by {first.ranges.source}, with {LEVEL} "
                "bootstrap intervals. A column has only models with all of these tasks.",
                [Column("model"), *map(_amount, curve.keys)],
                rows,
                curve.keys,
            )
        )


def _amount(key: GroupKey) -> Column:
    return Column(key.subset, UP, amount_title(key.subset))


def _imbalance_table(analysis: Analysis, ways: Ways, number: int) -> Table:
    table = ways.table
    rarest, *_, commonest = table.counts
    headline = next(iter(table.runs.values()))[0].headline
    shown = {
        headline: metric_label(headline),
        "accuracy": metric_label("accuracy"),
        f"recall/{rarest}": f"minority: {rarest}",
        f"recall/{commonest}": f"majority: {commonest}",
    }
    columns = [Column("imbalance"), Column("seeds")]
    for metric, title in shown.items():
        better = UP if metric_is_up(metric) else DOWN
        columns.append(Column(title.removesuffix(better).strip(), better))
    rows: list[list[Entry]] = [
        [way, len(runs), *(_known(ways.mean(way, metric, analysis)) for metric in shown)]
        for way, runs in table.runs.items()
    ]
    return marked(
        Table(
            f"imbalance-{number:02d}-{slug(ways.words)[:LONGEST_TITLE]}",
            f"Unequal classes: {ways.title}",
            f"Test scores by method for unequal classes, means {ways.over}, with "
            f"{LEVEL} bootstrap intervals; minority and majority are the recall of the rarest and "
            "of the most frequent class.",
            columns,
            rows,
            ways.keys,
        )
    )


def _known(estimate: Estimate) -> Score | None:
    return None if math.isnan(estimate.value) else score_of(estimate)


def coverage_tables(analysis: Analysis) -> list[Table]:
    """Count the expected runs of each model on each task, for every group.

    Entries link to cells; aggregates over tasks link to rows.
    """
    made = []
    for group in analysis.study.groups.values():
        entries: dict[tuple[str, str], Entry] = {
            name: Link(text, anchor_of(group.cells[name])) if name in group.cells else text
            for name, text in analysis.study.coverage(group.key).items()
        }
        made.append(
            Table(
                coverage_name(group.key),
                f"Coverage of {lowered(group.key.title)}",
                f"Present and expected runs. Expected: {_asked(analysis, group)}.",
                list(map(Column, ("model", *group.tasks))),
                [
                    [model, *(entries[task, model] for task in group.tasks)]
                    for model in group.models
                ],
                [group.key],
                [model_anchor(group, model) for model in group.models],
            )
        )
    return made


def coverage_name(key: GroupKey) -> str:
    """Name of the coverage table of a group, also its anchor on the page."""
    return f"coverage-{key.slug}"


def _asked(analysis: Analysis, group: Group) -> str:
    if analysis.study.plan is not None:
        return f"the runs of {analysis.study.plan.name}; other seeds are counted as more"
    seeds = ", ".join(map(str, group.seeds))
    return f"all seeds of this group ({seeds})" if seeds else "none, since all are ensembles"


def missing_table(analysis: Analysis) -> Table:
    """List the missing runs."""
    rows: list[tuple[Entry, ...]] = [
        (
            gap.key.title,
            gap.task,
            gap.model,
            ", ".join(map(str, gap.present)) or None,
            ", ".join(map(str, gap.seeds)),
        )
        for gap in analysis.study.missing
    ]
    plan = analysis.study.plan
    return Table(
        "missing",
        "Missing runs",
        "Seeds of other cells of the same group, and tasks of other models."
        if plan is None
        else f"Runs of {plan.name} missing in the store.",
        list(map(Column, ("group", "task", "model", "seeds found", "seeds missing"))),
        rows,
        nothing="Every model of a group has all tasks and seeds of the group."
        if plan is None
        else f"The store has every run of {plan.name}.",
    )


def ranges_table(analysis: Analysis) -> Table:
    """List the range of each task and its families of groups."""
    by_range: defaultdict[tuple[str, str, float, float], list[str]] = defaultdict(list)
    for title, ranges, pairs in analysis.scales:
        for pair in sorted(pairs):
            low, high = (ends.get(pair, math.nan) for ends in (ranges.low, ranges.high))
            by_range[*pair, low, high].append(title)
    rows: list[tuple[Entry, ...]] = [
        (task, ", ".join(families), metric_label(metric), Score(low), Score(high))
        for (task, metric, low, high), families in sorted(by_range.items())
    ]
    return Table(
        "ranges",
        "Ranges of the normalisation",
        analysis.normalisation,
        list(map(Column, ("task", "of", "metric", "low", "high"))),
        rows,
    )
