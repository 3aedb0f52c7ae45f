"""Comparisons with other numbers: of another store, and published."""

import math
from statistics import fmean

from marsbench.report.analysis import Analysis
from marsbench.report.statistics import aggregate
from marsbench.report.statistics.reference import MEAN_OF_MODELS, PAPER, Published, published
from marsbench.report.statistics.summary import LEVEL, ModelSummary, TaskSummary
from marsbench.report.study.cells import metric_is_up
from marsbench.report.tables.entries import THERE, anchor_of, score_of
from marsbench.report.tables.forms import Column, Entry, Score, Table


def compared_tables(here: Analysis, there: Analysis, name: str) -> list[Table]:
    """Compare the cells of two stores, in a table for each group.

    Args:
        here: Estimates of this report.
        there: Estimates of the other store, with an independent bootstrap.
        name: Name of the other store.
    """
    columns = list(map(Column, ("task", "model", "here", "there", "difference", "runs", "note")))
    tables = []
    for key in dict.fromkeys([*here.summaries, *there.summaries]):
        ours = here.summaries[key].tasks if key in here.summaries else {}
        theirs = there.summaries[key].tasks if key in there.summaries else {}
        rows = [
            _compared_row(task, model, ours.get((task, model)), theirs.get((task, model)))
            for task, model in sorted({*ours, *theirs})
        ]
        tables.append(
            Table(
                f"compared-{key.slug}",
                f"{key.title}, beside {name}",
                f"Interquartile means of the raw headline metric in this store and in {name}, and "
                f"their difference (this store minus the other), with {LEVEL} bootstrap intervals; "
                "lower losses are better. A difference with 0 in its interval may be chance.",
                columns,
                rows,
                [key],
            )
        )
    return tables


def _compared_row(
    task: str, model: str, ours: TaskSummary | None, theirs: TaskSummary | None
) -> tuple[Entry, ...]:
    here = None if ours is None else score_of(ours.iqm, anchor_of(ours.cell))
    there = None if theirs is None else score_of(theirs.iqm, anchor_of(theirs.cell, THERE))
    counts = [0 if result is None else len(result.cell.runs) for result in (ours, theirs)]
    runs = f"{counts[0]} and {counts[1]}"
    if ours is None or theirs is None:
        return task, model, here, there, None, runs, f"only {'there' if ours is None else 'here'}"
    notes, is_same = [], False
    if ours.cell.runs[0].data != theirs.cell.runs[0].data:
        notes.append("other data, split or metric: not comparable")
    if set(ours.cell.run_ids) == set(theirs.cell.run_ids):
        is_same = ours.cell.scores.tolist() == theirs.cell.scores.tolist()
        notes.append("the same runs" if is_same else "the same run ids, other scores")
    elif ours.cell.setting != theirs.cell.setting:
        notes.append("other settings")
    # Two bootstraps of the same runs would differ by chance alone.
    shown = None if is_same else difference(ours, theirs)
    return task, model, here, there, shown, runs, "; ".join(notes)


def difference(ours: TaskSummary | ModelSummary, theirs: TaskSummary | ModelSummary) -> Score:
    """Difference of two interquartile means, with an interval from independent bootstraps."""
    value = ours.iqm.value - theirs.iqm.value
    if math.isnan(ours.iqm.low) or math.isnan(theirs.iqm.low):
        return Score(value)
    low, high = aggregate.percentile_interval(ours.distribution - theirs.distribution)
    return Score(value, float(low), float(high))


def published_table(analysis: Analysis) -> Table:
    """List published numbers for the tasks of a report, with the best score of the report."""
    tasks = {task for group in analysis.study.groups.values() for task in group.tasks}
    columns = ("where", "task", "model", "mode", "imbalance", "metric")
    rows: list[tuple[Entry, ...]] = []
    for number in published():
        if tasks and number.task not in tasks:
            continue
        here = (
            _mean_here(analysis, number)
            if number.model == MEAN_OF_MODELS
            else _best_here(analysis, number)
        )
        rows.append(
            (
                number.table,
                number.task,
                number.model,
                number.mode,
                number.imbalance,
                number.metric,
                Score(number.value, digits=2),
                *here,
                number.note,
            )
        )
    return Table(
        "published",
        "Published numbers",
        f"Numbers published by {PAPER}, for the tasks of this report, and the best interquartile "
        "mean here for the same task, mode, imbalance and metric, with any protocol. For published "
        "means over models, the mean over models here. Only headline metrics have intervals. "
        "Published models were trained elsewhere: data, settings and seeds may differ.",
        list(map(Column, (*columns, "published", "here", "model here", "note"))),
        rows,
        nothing=f"{PAPER}, has no number for the tasks of this report.",
    )


def _best_here(analysis: Analysis, number: Published) -> tuple[Score | None, str]:
    """Best score of the report for a published number, and its model."""
    candidates = [pair for scores in _scores_here(analysis, number) for pair in scores.items()]
    if not candidates:
        return None, ""
    sign = 1 if metric_is_up(number.compared) else -1
    model, score = max(candidates, key=lambda pair: sign * pair[1].value)
    return score, model


def _mean_here(analysis: Analysis, number: Published) -> tuple[Score | None, str]:
    """Mean over the models of the group with most models, and their names."""
    scores = max(_scores_here(analysis, number), key=len, default={})
    if not scores:
        return None, ""
    mean = fmean(score.value for score in scores.values())
    return Score(mean), f"mean of {len(scores)} models: {', '.join(scores)}"


def _scores_here(analysis: Analysis, number: Published) -> list[dict[str, Score]]:
    """Scores of every model by the metric of a published number, for each comparable group."""
    records = {record.run_id: record for record in analysis.study.records}
    by_group = []
    for key, group in analysis.study.groups.items():
        scores: dict[str, Score] = {}
        for (task, model), cell in group.cells.items():
            if task != number.task or not number.is_of(key):
                continue
            anchor = anchor_of(cell)
            measured = [records[run_id].scores for run_id in cell.run_ids]
            if cell.metric == number.compared:
                scores[model] = score_of(analysis.summaries[key].tasks[task, model].iqm, anchor)
            elif all(number.compared in of for of in measured):
                value = aggregate.iqm([[of[number.compared]] for of in measured])
                scores[model] = Score(float(value), anchor=anchor)
        by_group.append(scores)
    return by_group
