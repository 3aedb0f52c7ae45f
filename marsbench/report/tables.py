"""The tables of a report."""

import math
from collections.abc import Iterator, Sequence

from marsbench.identity import slug
from marsbench.report.analysis import Analysis
from marsbench.report.figures import imbalance_tables, metric_label
from marsbench.report.scores import Cell, Group, GroupKey
from marsbench.report.summary import Estimate, ModelSummary, Summary
from marsbench.report.table_forms import DOWN, MARKS, UP, Column, Entry, Score, Table, mark
from marsbench.results.classes import ClassTable


def tables(analysis: Analysis) -> list[Table]:
    """Make every table that the records have something to say in."""
    found = []
    for group in analysis.headline_groups:
        summary = analysis.summaries[group.key]
        found.append(scores_table(group, summary))
        if len(group.cells) > 1:
            found.append(overall_table(summary))
        if analysis.comparisons.get(group.key):
            found.append(_comparisons_table(analysis, group.key))
    found += _curve_tables(analysis)
    for number, table in enumerate(imbalance_tables(analysis), start=1):
        found.append(_imbalance_table(table, number))
    return [table for table in found if table.rows]


def anchor_of(cell: Cell) -> str:
    """Where the page says which runs a cell is made of."""
    return f"cell-{slug(cell.key.slug)}-{slug(cell.task)}-{slug(cell.model)}"


def score_of(estimate: Estimate, anchor: str = "", digits: int = 3) -> Score:
    """Put an estimate into a table."""
    return Score(estimate.value, estimate.low, estimate.high, digits=digits, anchor=anchor)


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
    return Table(name, title, f"{caption}{more}", tuple(columns), marked)


def _percent(summary: Summary) -> str:
    return f"{100 * summary.level:.0f} %"


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
        f"{_percent(summary)} bootstrap intervals.",
        columns,
        rows,
        [group.key],
    )


def overall_table(summary: Summary) -> Table:
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
    rows = _with_marks(columns, [_overall_row(model) for model in complete])
    # What is over fewer tasks takes no part in the contest.
    rows += [_overall_row(model) for model in partial]
    return Table(
        f"overall-{summary.key.slug}",
        f"Over all tasks: {summary.key.title}",
        f"Normalised scores, by {summary.ranges.source}, with {_percent(summary)} bootstrap "
        f"intervals. {MARKS} A model that lacks tasks is over those it has, and takes no part.",
        tuple(columns),
        tuple(map(tuple, rows)),
        (summary.key,),
    )


def _overall_row(model: ModelSummary) -> list[Entry]:
    return [
        model.model,
        score_of(model.iqm),
        score_of(model.median),
        score_of(model.mean),
        score_of(model.optimality_gap),
        None if model.rank is None else score_of(model.rank, digits=2),
        len(model.tasks),
        model.num_runs,
        ", ".join(model.lacks),
    ]


def _comparisons_table(analysis: Analysis, key: GroupKey) -> Table:
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
            one.first,
            one.second,
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
        "equal task and seed, two-sided, alone and with Holm's correction for all pairs.",
        columns,
        rows,
        [key],
    )


def _p_value(value: float) -> str | None:
    if math.isnan(value):
        return None
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def _curve_tables(analysis: Analysis) -> Iterator[Table]:
    for curve in analysis.curves:
        first = curve.summaries[0]
        models = dict.fromkeys(m for s in reversed(curve.summaries) for m in s.models)
        columns = [Column("model"), *(Column(s.key.subset, UP) for s in curve.summaries)]
        rows: list[list[Entry]] = []
        for model in models:
            found = [summary.models.get(model) for summary in curve.summaries]
            rows.append(
                [model, *(None if m is None or m.lacks else score_of(m.iqm) for m in found)]
            )
        yield _table(
            f"curves-{curve.slug}",
            f"Amounts of training data: {curve.title}",
            "Normalised interquartile means over the tasks that every amount has "
            f"({', '.join(curve.tasks)}), by {first.ranges.source}, with {_percent(first)} "
            "bootstrap intervals. Models that lack one of these tasks are left out of a column.",
            columns,
            rows,
            [summary.key for summary in curve.summaries],
        )


def _imbalance_table(table: ClassTable, number: int) -> Table:
    summary = table.summary("recall")
    names = [name for name in summary[0] if name not in ("imbalance", "seeds")]
    columns = [Column("imbalance"), Column("seeds"), *(Column(name, UP) for name in names)]
    rows: list[list[Entry]] = [
        [
            str(row["imbalance"]),
            int(row["seeds"]),
            *(None if row[name] is None else Score(float(row[name])) for name in names),
        ]
        for row in summary
    ]
    return _table(
        f"imbalance-{number:02d}-{slug(table.title)}",
        f"Unequal classes: {table.title}",
        "Test scores by how training deals with unequal classes, means over seeds; minority and "
        "majority are the recall of the rarest and of the most frequent class.",
        columns,
        rows,
        (),
    )


def coverage_tables(analysis: Analysis) -> list[Table]:
    """Say for every group how many of the seeds each model has on each task."""
    found = []
    for group in analysis.study.groups.values():
        columns = [Column("model"), *(Column(task) for task in group.tasks)]
        rows: list[tuple[Entry, ...]] = []
        for model in group.models:
            counts = [len(c.runs) if (c := group.cells.get((t, model))) else 0 for t in group.tasks]
            rows.append((model, *(f"{count}/{len(group.seeds)}" for count in counts)))
        found.append(
            Table(
                f"coverage-{group.key.slug}",
                f"Coverage: {group.key.title}",
                "Runs there are, of the seeds that occur in this group "
                f"({', '.join(map(str, group.seeds))}).",
                tuple(columns),
                tuple(rows),
                (group.key,),
            )
        )
    return found


def missing_table(analysis: Analysis) -> Table:
    """List the runs that lack, against every seed, task and model of each group."""
    rows: list[tuple[Entry, ...]] = [
        (
            one.key.title,
            one.task,
            one.model,
            ", ".join(map(str, one.found)) or None,
            ", ".join(map(str, one.seeds)),
        )
        for one in analysis.study.missing()
    ]
    columns = tuple(map(Column, ("group", "task", "model", "seeds found", "seeds missing")))
    return Table(
        "missing",
        "Missing runs",
        "Seeds that other cells of the same group have, and tasks that other models have.",
        columns,
        tuple(rows),
    )


def runs_table(analysis: Analysis) -> Table:
    """List every run that a number is made of."""
    rows: list[tuple[Entry, ...]] = [
        (
            run.run_id,
            cell.key.title,
            cell.task,
            cell.model,
            run.seed,
            cell.metric,
            Score(run.score, digits=6),
            run.record_type,
        )
        for group in analysis.study.groups.values()
        for cell in group.cells.values()
        for run in cell.runs
    ]
    names = ("run_id", "group", "task", "model", "seed", "metric", "score", "record_type")
    return Table(
        "runs",
        "Runs",
        "Every run that a number of this report is made of.",
        tuple(map(Column, names)),
        tuple(rows),
    )


def ranges_table(analysis: Analysis) -> Table:
    """List what each task's scores are normalised by."""
    rows: list[tuple[Entry, ...]] = []
    for data, ranges in sorted(analysis.ranges.items()):
        groups = [g for k, g in analysis.study.groups.items() if k.data == data]
        metrics = {cell.task: cell.metric for group in groups for cell in group.cells.values()}
        for task, metric in sorted(metrics.items()):
            low, high = (ends.get(task, math.nan) for ends in (ranges.low, ranges.high))
            rows.append((task, data, metric_label(metric), Score(low), Score(high)))
    return Table(
        "ranges",
        "Ranges of the normalisation",
        " ".join(f"Of {data} data: {r.source}." for data, r in sorted(analysis.ranges.items())),
        tuple(map(Column, ("task", "data", "metric", "low", "high"))),
        tuple(rows),
    )
