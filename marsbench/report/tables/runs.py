"""Tables of the runs behind the numbers of a report."""

from collections.abc import Iterable

from marsbench.report.analysis import Analysis
from marsbench.report.study.cells import Group, Run
from marsbench.report.study.imbalance import compared_ways
from marsbench.report.study.scores import run_of
from marsbench.report.tables.forms import Column, Entry, Score, Table


def runs_table(analysis: Analysis, name: str = "runs") -> Table:
    """List every run behind the numbers of a report."""
    runs = {run.run_id: run for run in _runs_of(analysis.study.groups.values())}
    # Methods for unequal classes are compared in every setting, also in settings kept apart.
    for ways in compared_ways(analysis):
        for records in ways.table.runs.values():
            runs |= {r.run_id: run_of(r) for r in records if r.run_id not in runs}
    return _table(name, "Every run behind the numbers of this report.", runs.values())


def paper_runs_table(analysis: Analysis) -> Table:
    """List every run behind the numbers beside the paper, of the report and of the paper."""
    groups = (group for beside in analysis.beside for group in beside.shown)
    runs = {run.run_id: run for run in _runs_of(groups)}
    text = "Every run behind the numbers beside the paper, by the paper's metric of each task."
    return _table("runs-paper", text, runs.values())


def _runs_of(groups: Iterable[Group]) -> Iterable[Run]:
    return (run for group in groups for cell in group.cells.values() for run in cell.runs)


def _table(name: str, caption: str, runs: Iterable[Run]) -> Table:
    rows: list[tuple[Entry, ...]] = [
        (
            run.run_id,
            run.key.words,
            run.task,
            run.model,
            run.seed,
            run.data.metric,
            Score(run.score, digits=6),
            run.record_type,
        )
        for run in runs
    ]
    names = ("run_id", "group", "task", "model", "seed", "metric", "score", "record_type")
    return Table(name, "Runs", caption, list(map(Column, names)), rows)
