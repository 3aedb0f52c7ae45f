"""Tables of a report's models beside the paper's."""

from collections.abc import Iterator, Sequence

from marsbench.base.names import file_stem
from marsbench.report.analysis import Analysis
from marsbench.report.statistics.paper import Beside, Both, in_paper, plain
from marsbench.report.statistics.summary import LEVEL, ModelSummary, TaskSummary
from marsbench.report.study.cells import Cell, metric_label
from marsbench.report.tables.beside import difference
from marsbench.report.tables.entries import anchor_of, score_of
from marsbench.report.tables.forms import Column, Entry, Score, Table

_COLUMNS = ("subset", "task", "model", "metric", "here", "paper", "difference", "runs", "note")


def paper_tables(analysis: Analysis) -> list[Table]:
    """Compare interquartile means with the paper's, in a table for each family.

    Without any comparable run, a table without rows that says so.
    """
    if not analysis.beside:
        text = " ".join(problem.message for problem in analysis.beside_problems)
        return [Table("paper", "Beside the paper", "", [], [], nothing=text)]
    return [
        Table(
            f"paper-{file_stem(beside.pairing.family.family_words)}",
            f"{beside.pairing.family.family_title}, beside the paper",
            "Interquartile means of this report and of the paper, and their difference (here minus "
            f"paper), with {LEVEL} bootstrap intervals.{_over(beside)} {beside.origin}",
            list(map(Column, _COLUMNS)),
            [row for both in beside.by_subset.values() for row in _rows(beside, both)],
            [both.group.key for both in beside.by_subset.values()],
        )
        for beside in analysis.beside
    ]


def _over(beside: Beside) -> str:
    """Explain numbers over several tasks; empty for a single task."""
    if len(beside.metrics) == 1:
        return ""
    return f" Over tasks, scores are normalised by {beside.source}, for models with all tasks."


def _rows(beside: Beside, both: Both) -> Iterator[tuple[Entry, ...]]:
    """Rows of a subset: over all tasks, if several, then for each task."""
    group, summary = both
    names = list(dict.fromkeys(map(plain, summary.models)))
    if len(group.tasks) > 1:
        over = {name: model for name, model in summary.models.items() if not model.missing_tasks}
        for name in names:
            ours, theirs = over.get(name), over.get(in_paper(name))
            counts = [0 if model is None else model.num_runs for model in (ours, theirs)]
            if any(counts):
                first = (group.key.subset, f"all {len(group.tasks)} tasks", name, "normalised IQM")
                yield *first, *_numbers(ours, theirs), _runs(counts), ""
    for task in group.tasks:
        for name in names:
            mine, its = (summary.tasks.get((task, n)) for n in (name, in_paper(name)))
            cells = [None if result is None else result.cell for result in (mine, its)]
            if any(cells):
                first = (group.key.subset, task, name, metric_label(group.metrics[task]))
                numbers = _numbers(mine, its, "" if mine is None else anchor_of(mine.cell))
                counts = [0 if cell is None else len(cell.runs) for cell in cells]
                yield *first, *numbers, _runs(counts), _note(beside, *cells)


def _numbers(
    ours: TaskSummary | ModelSummary | None,
    theirs: TaskSummary | ModelSummary | None,
    anchor: str = "",
) -> tuple[Score | None, Score | None, Score | None]:
    """Both interquartile means and their difference."""
    return (
        None if ours is None else score_of(ours.iqm, anchor),
        None if theirs is None else score_of(theirs.iqm),
        None if ours is None or theirs is None else difference(ours, theirs),
    )


def _runs(counts: Sequence[int]) -> str:
    return f"{counts[0]} and {counts[1]}"


def _note(beside: Beside, ours: Cell | None, theirs: Cell | None) -> str:
    """Differences of the data and of the settings of a cell."""
    notes = []
    if ours is not None:
        if remark := beside.pairing.remarks.get(ours.task):
            notes.append(f"other data: {remark}")
        if any(run.subset_origin == "generated" for run in ours.runs):
            notes.append("generated subset; the paper's is published")
    if theirs is not None and theirs.others:
        notes.append(f"the paper has {len(theirs.others) + 1} series of runs; one is shown")
    return "; ".join(notes)
