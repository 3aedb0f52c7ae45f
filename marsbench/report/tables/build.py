"""The tables of a report."""

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from marsbench.config.identity import slug
from marsbench.report.analysis import Analysis
from marsbench.report.statistics.aggregate import ALPHA
from marsbench.report.statistics.summary import LEVEL, Estimate, ModelSummary, Summary
from marsbench.report.study.cells import DOWN, UP, Cell, Group, GroupKey, metric_is_up, metric_label
from marsbench.report.study.imbalance import Ways, compared_ways
from marsbench.report.study.scores import run_of
from marsbench.report.tables.forms import MARKS, Column, Entry, Link, Score, Table, mark

THERE = "there-"
"""Begins the anchors of another store's cells."""

AMOUNTS = {"partition": "Partitions of the train split", "few_shot": "Few shots"}
"""Ways of training on less than everything, in words."""


@dataclass(frozen=True)
class Tables:
    """Tables of a report.

    Attributes:
        groups: Scores, aggregates and comparisons; none if they are not wanted.
        beside: Tables that set the numbers beside others.
        coverage: Runs of each group.
        missing: Missing runs.
        ranges: Ranges of the normalisation.
    """

    groups: Sequence[Table]
    beside: Sequence[Table]
    coverage: Sequence[Table]
    missing: Table
    ranges: Table

    @property
    def files(self) -> list[Table]:
        """Tables that are written, each to its own files."""
        beside = [table for table in self.beside if table.rows]
        return [*self.groups, *beside, *self.coverage, self.missing, self.ranges]


def make_tables(
    analysis: Analysis, beside: Sequence[Table] = (), *, with_groups: bool = True
) -> Tables:
    """Make every table for which there are records."""
    return Tables(
        list(_group_tables(analysis)) if with_groups else [],
        beside,
        coverage_tables(analysis),
        missing_table(analysis),
        ranges_table(analysis),
    )


def _group_tables(analysis: Analysis) -> Iterator[Table]:
    for group in analysis.headline_groups:
        summary = analysis.summaries[group.key]
        yield scores_table(group, summary)
        if len(group.cells) > 1:
            yield overall_table(group, summary)
        if analysis.comparisons.get(group.key):
            yield _comparisons_table(analysis, group.key)
    yield from (table for table in _curve_tables(analysis) if table.rows)
    for number, ways in enumerate(compared_ways(analysis), start=1):
        yield _imbalance_table(analysis, ways, number)


def anchor_of(cell: Cell, store: str = "") -> str:
    """Where the page says which runs a cell is made of.

    Args:
        cell: The cell. Its first run is in no other, whereas two models may share a slug.
        store: What tells cells of another store from those of this one.
    """
    return f"{store}cell-{cell.run_ids[0]}"


def model_anchor(group: Group, model: str) -> str:
    """Where the page lists the cells of a model, which what goes over tasks is made of."""
    first = next(cell for (_, name), cell in sorted(group.cells.items()) if name == model)
    return f"model-{first.run_ids[0]}"


def score_of(estimate: Estimate, anchor: str = "", digits: int = 3) -> Score:
    """Put an estimate into a table."""
    return Score(*estimate, digits=digits, anchor=anchor)


def _with_marks(columns: Sequence[Column], rows: Sequence[Sequence[Entry]]) -> list[list[Entry]]:
    """Mark the best of every column that has a better."""
    marked = [list(row) for row in rows]
    for number, column in enumerate(columns):
        if not column.better:
            continue
        entries = [row[number] for row in rows]
        scores = mark([e if isinstance(e, Score) else None for e in entries], column.better)
        for row, score in zip(marked, scores, strict=True):
            row[number] = score
    return marked


def _table(
    name: str,
    title: str,
    caption: str,
    columns: Sequence[Column],
    rows: Sequence[Sequence[Entry]],
    keys: Sequence[GroupKey],
) -> Table:
    marked = tuple(map(tuple, _with_marks(columns, rows)))
    more = (
        f" {MARKS}" if any(isinstance(e, Score) and e.best for row in marked for e in row) else ""
    )
    return Table(name, title, f"{caption}{more}", tuple(columns), marked, tuple(keys))


def scores_table(group: Group, summary: Summary) -> Table:
    """Models x tasks: raw interquartile means with intervals."""
    columns = [Column("model")]
    for task in group.tasks:
        up = next(c for (t, _), c in group.cells.items() if t == task).higher_is_better
        columns.append(Column(task, UP if up else DOWN))
    rows: list[list[Entry]] = []
    for model in summary.models:
        row: list[Entry] = [model]
        for task in group.tasks:
            one = summary.tasks.get((task, model))
            row.append(None if one is None else score_of(one.iqm, anchor_of(one.cell)))
        rows.append(row)
    metrics = {cell.task: metric_label(cell.metric) for cell in group.cells.values()}
    named = ", ".join(f"{task}: {metric}" for task, metric in sorted(metrics.items()))
    return _table(
        f"scores-{group.key.slug}",
        f"Scores: {group.key.title}",
        f"Interquartile means over seeds of the headline metric ({named}), with "
        f"{LEVEL} bootstrap intervals.",
        columns,
        rows,
        [group.key],
    )


def overall_table(group: Group, summary: Summary) -> Table:
    """Models over all tasks."""
    columns = [
        Column("model"),
        Column("IQM", UP),
        Column("median", UP),
        Column("mean", UP),
        Column("optimality gap", DOWN),
        Column("mean rank", DOWN),
        Column("tasks"),
        Column("runs"),
        Column("lacks"),
    ]
    complete = [model for model in summary.models.values() if not model.lacks]
    partial = [model for model in summary.models.values() if model.lacks]
    rows = _with_marks(columns, [_overall_row(group, model) for model in complete])
    # What is over fewer tasks takes no part in the contest.
    rows += [_overall_row(group, model) for model in partial]
    return Table(
        f"overall-{summary.key.slug}",
        f"Over all tasks: {summary.key.title}",
        f"Scores normalised by {summary.ranges.words(group.metrics.items())}; "
        f"{LEVEL} bootstrap intervals. {MARKS} A model that lacks tasks is over those "
        "it has, and takes no part.",
        tuple(columns),
        tuple(map(tuple, rows)),
        (summary.key,),
    )


def _overall_row(group: Group, model: ModelSummary) -> list[Entry]:
    anchor = model_anchor(group, model.model)
    return [
        model.model,
        score_of(model.iqm, anchor),
        score_of(model.median, anchor),
        score_of(model.mean, anchor),
        score_of(model.optimality_gap, anchor),
        None if model.rank is None else score_of(model.rank, anchor, digits=2),
        len(model.tasks),
        model.num_runs,
        ", ".join(model.lacks),
    ]


def _comparisons_table(analysis: Analysis, key: GroupKey) -> Table:
    group = analysis.study.groups[key]
    columns = [
        Column("first"),
        Column("second"),
        Column("P(first beats second)"),
        Column("tasks"),
        Column("pairs"),
        Column("p"),
        Column("p, Holm"),
    ]
    rows: list[list[Entry]] = [
        [
            Link(one.first, model_anchor(group, one.first)),
            Link(one.second, model_anchor(group, one.second)),
            score_of(one.probability),
            len(one.tasks),
            one.num_pairs,
            _p_value(one.p_value),
            _p_value(one.p_holm),
        ]
        for one in analysis.comparisons[key]
    ]
    return _table(
        f"comparisons-{key.slug}",
        f"Pairs of models: {key.title}",
        "Probability that a run of the first model beats one of the second on the same task, ties "
        "half, mean over the tasks that both have; and Wilcoxon's signed rank test of runs of "
        "equal task and seed, two-sided, alone and with Holm's correction for all pairs; none of "
        f"so few runs that no difference could give a p-value below {ALPHA:g}.",
        columns,
        rows,
        [key],
    )


def _p_value(value: float) -> Score | None:
    if math.isnan(value):
        return None
    return Score(value, words="< 0.001" if value < 0.001 else "")


def _curve_tables(analysis: Analysis) -> Iterator[Table]:
    for curve in analysis.curves:
        first = analysis.summaries[curve.keys[0]]
        columns = [Column("model"), *(Column(key.subset, UP) for key in curve.keys)]
        rows: list[list[Entry]] = [
            [
                model,
                *(
                    score_of(line[key], model_anchor(analysis.study.groups[key], model))
                    if key in line
                    else None
                    for key in curve.keys
                ),
            ]
            for model, line in curve.over_tasks.items()
        ]
        yield _table(
            f"curves-{curve.slug}",
            f"{AMOUNTS[curve.what]}: {curve.title}",
            "Normalised interquartile means over the tasks that all these amounts have "
            f"({', '.join(curve.tasks)}), by {first.ranges.source}, with {LEVEL} "
            "bootstrap intervals. Models that lack one of these tasks are left out of a column.",
            columns,
            rows,
            curve.keys,
        )


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
    return _table(
        f"imbalance-{number:02d}-{slug(ways.title)}",
        f"Unequal classes: {ways.title}",
        f"Test scores by how training deals with unequal classes, means {ways.over}, with "
        f"{LEVEL} bootstrap intervals; minority and majority are the recall of the "
        "rarest and of the most frequent class.",
        columns,
        rows,
        ways.keys,
    )


def _known(estimate: Estimate) -> Score | None:
    return None if math.isnan(estimate.value) else score_of(estimate)


def coverage_tables(analysis: Analysis) -> list[Table]:
    """Say for every group how many of the runs that there should be each model has on each task.

    Entries lead to the cells, and rows are where what goes over tasks leads to.
    """
    found = []
    for group in analysis.study.groups.values():
        coverage = analysis.study.coverage(group.key)
        rows: list[tuple[Entry, ...]] = []
        for model in group.models:
            entries: list[Entry] = []
            for task in group.tasks:
                cell, text = group.cells.get((task, model)), coverage[task, model]
                entries.append(text if cell is None else Link(text, anchor_of(cell)))
            rows.append((model, *entries))
        found.append(
            Table(
                coverage_name(group.key),
                f"Coverage: {group.key.title}",
                f"Runs there are, of those that there should be: {_asked(analysis, group)}.",
                (Column("model"), *(Column(task) for task in group.tasks)),
                tuple(rows),
                (group.key,),
                tuple(model_anchor(group, model) for model in group.models),
            )
        )
    return found


def coverage_name(key: GroupKey) -> str:
    """Name of the table of a group's coverage, and where the page has it."""
    return f"coverage-{key.slug}"


def _asked(analysis: Analysis, group: Group) -> str:
    if analysis.study.plan is not None:
        return f"those of {analysis.study.plan.name}; runs of other seeds are counted as more"
    seeds = ", ".join(map(str, group.seeds))
    return f"the seeds that occur in this group ({seeds})" if seeds else "none but ensembles"


def missing_table(analysis: Analysis) -> Table:
    """List the runs that lack of those that there should be."""
    rows: list[tuple[Entry, ...]] = [
        (
            one.key.title,
            one.task,
            one.model,
            ", ".join(map(str, one.found)) or None,
            ", ".join(map(str, one.seeds)),
        )
        for one in analysis.study.missing
    ]
    columns = tuple(map(Column, ("group", "task", "model", "seeds found", "seeds missing")))
    plan = analysis.study.plan
    return Table(
        "missing",
        "Missing runs",
        "Seeds that other cells of the same group have, and tasks that other models have."
        if plan is None
        else f"Runs of {plan.name} that the store lacks.",
        columns,
        tuple(rows),
        nothing="Every model of a group has every task of it with every seed."
        if plan is None
        else f"The store has every run of {plan.name}.",
    )


def runs_table(analysis: Analysis, name: str = "runs") -> Table:
    """List every run that a number is made of; another store's under another name."""
    cells = (cell for group in analysis.study.groups.values() for cell in group.cells.values())
    runs = {run.run_id: run for cell in cells for run in cell.runs}
    # Ways of dealing with unequal classes are compared in every setting, not only in the shown.
    for ways in compared_ways(analysis):
        for records in ways.table.runs.values():
            runs |= {r.run_id: run_of(r) for r in records if r.run_id not in runs}
    rows: list[tuple[Entry, ...]] = [
        (
            run.run_id,
            run.key.title,
            run.task,
            run.model,
            run.seed,
            run.data.metric,
            Score(run.score, digits=6),
            run.record_type,
        )
        for run in runs.values()
    ]
    names = ("run_id", "group", "task", "model", "seed", "metric", "score", "record_type")
    return Table(
        name,
        "Runs",
        "Every run that a number of this report is made of.",
        tuple(map(Column, names)),
        tuple(rows),
    )


def ranges_table(analysis: Analysis) -> Table:
    """List what each task's scores are normalised by, and in which families of groups."""
    found: defaultdict[tuple[str, str, float, float], list[str]] = defaultdict(list)
    for family, groups in analysis.families.items():
        ranges = analysis.ranges[family]
        for pair in sorted({pair for group in groups for pair in group.metrics.items()}):
            low, high = (ends.get(pair, math.nan) for ends in (ranges.low, ranges.high))
            found[*pair, low, high].append(family.family_title)
    rows: list[tuple[Entry, ...]] = [
        (task, ", ".join(families), metric_label(metric), Score(low), Score(high))
        for (task, metric, low, high), families in sorted(found.items())
    ]
    return Table(
        "ranges",
        "Ranges of the normalisation",
        analysis.normalisation,
        tuple(map(Column, ("task", "of", "metric", "low", "high"))),
        tuple(rows),
    )
