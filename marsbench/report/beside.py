"""Tables that set a report's numbers beside others: those of another store, and published ones."""

import math

import numpy as np

from marsbench.report import aggregate
from marsbench.report.analysis import Analysis, matching
from marsbench.report.reference import PAPER, Published, published
from marsbench.report.summary import TaskSummary
from marsbench.report.table_forms import Column, Entry, Score, Table
from marsbench.report.tables import anchor_of, score_of


def compared_tables(here: Analysis, there: Analysis, name: str) -> list[Table]:
    """Set the cells of two stores side by side, a table for each group that either has.

    Args:
        here: The numbers of this report.
        there: Those of the other store, drawn from another stream, so that the two are independent.
        name: What to call the other store.
    """
    columns = tuple(map(Column, ("task", "model", "here", "there", "difference", "runs", "note")))
    tables = []
    for key in dict.fromkeys([*here.summaries, *there.summaries]):
        ours = here.summaries[key].tasks if key in here.summaries else {}
        theirs = there.summaries[key].tasks if key in there.summaries else {}
        level = next(iter((*here.summaries.values(), *there.summaries.values()))).level
        rows = [
            _compared_row(task, model, ours.get((task, model)), theirs.get((task, model)), level)
            for task, model in sorted({*ours, *theirs})
        ]
        tables.append(
            Table(
                f"compared-{key.slug}",
                f"Beside {name}: {key.title}",
                f"Interquartile means of the raw headline metric in this store and in {name}, and "
                f"here minus there, with {100 * level:.0f} % bootstrap intervals; for losses, less "
                "is better. A difference whose interval holds 0 may be chance.",
                columns,
                tuple(rows),
                (key,),
            )
        )
    return tables


def _compared_row(
    task: str, model: str, ours: TaskSummary | None, theirs: TaskSummary | None, level: float
) -> tuple[Entry, ...]:
    here = None if ours is None else score_of(ours.iqm, anchor_of(ours.cell))
    there = None if theirs is None else score_of(theirs.iqm)
    counts = [0 if one is None else len(one.cell.runs) for one in (ours, theirs)]
    runs = f"{counts[0]} and {counts[1]}"
    if ours is None or theirs is None:
        return task, model, here, there, None, runs, f"only {'there' if ours is None else 'here'}"
    notes = []
    if ours.cell.runs[0].data != theirs.cell.runs[0].data:
        notes.append("other data, split or metric: not comparable")
    if set(ours.cell.run_ids) == set(theirs.cell.run_ids):
        notes.append("the same runs")
    elif ours.cell.setting != theirs.cell.setting:
        notes.append("other settings")
    return task, model, here, there, _difference(ours, theirs, level), runs, "; ".join(notes)


def _difference(ours: TaskSummary, theirs: TaskSummary, level: float) -> Score:
    value = ours.iqm.value - theirs.iqm.value
    if math.isnan(ours.iqm.low) or math.isnan(theirs.iqm.low):
        return Score(value)
    low, high = aggregate.percentile_interval(ours.distribution - theirs.distribution, level)
    return Score(value, float(low), float(high))


def published_table(analysis: Analysis) -> Table:
    """List published numbers of the tasks there are, with the best of this report beside each."""
    tasks = {task for group in analysis.study.groups.values() for task in group.tasks}
    columns = ("where", "task", "model", "mode", "imbalance", "metric")
    rows: list[tuple[Entry, ...]] = []
    for one in published():
        if tasks and one.task not in tasks:
            continue
        best = _best_here(analysis, one)
        rows.append(
            (
                one.table,
                one.task,
                one.model,
                one.mode,
                one.imbalance,
                one.metric or "not named",
                Score(one.value, digits=2),
                None if best is None else score_of(best.iqm, anchor_of(best.cell)),
                "" if best is None else best.cell.model,
                one.note,
            )
        )
    return Table(
        "published",
        "Published numbers",
        f"Numbers that {PAPER}, gives in its text, for the tasks of this report; and the best "
        "interquartile mean here of the same task, mode and metric, whatever the protocol. They "
        "were trained elsewhere: data, settings and seeds may differ.",
        tuple(map(Column, (*columns, "published", "here", "model here", "note"))),
        tuple(rows),
    )


def _best_here(analysis: Analysis, one: Published) -> TaskSummary | None:
    found = [
        summary.tasks[task, model]
        for key, group in analysis.study.groups.items()
        if one.task in group.tasks and one in matching(group, one.task)
        for summary in [analysis.summaries[key]]
        for task, model in summary.tasks
        if task == one.task and np.isfinite(summary.tasks[task, model].iqm.value)
    ]
    if not found:
        return None
    sign = 1 if found[0].cell.higher_is_better else -1
    return max(found, key=lambda summary: sign * summary.iqm.value)
