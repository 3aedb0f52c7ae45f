"""Facts of cells, gathered from the stored predictions of their runs."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeVar

from marsbench.base.errors import StoreError
from marsbench.base.progress import track
from marsbench.report.study.cells import Cell, Group, GroupKey, StudyProblem, Trouble
from marsbench.results.record import RunRecord

T = TypeVar("T")

ByCell = Mapping[GroupKey, Mapping[tuple[str, str], T]]
"""Facts by group, and task and model."""


def gather(
    title: str,
    records: Iterable[RunRecord],
    groups: Sequence[Group],
    reduce: Callable[[Cell, Sequence[RunRecord]], T | None],
) -> tuple[ByCell[T], tuple[StudyProblem, ...]]:
    """Gather facts of cells; cells without any of the records are left out.

    Args:
        title: Name of the facts, for the progress bar and messages.
        records: Records of the runs.
        groups: Cells.
        reduce: Facts of a cell from the records of its runs; None without facts. It may raise
            StoreError.

    Returns:
        The facts, without groups and cells that have none; and unreadable predictions.
    """
    by_id = {record.run_id: record for record in records}
    cells = [(group.key, name, cell) for group in groups for name, cell in group.cells.items()]
    cells = [each for each in cells if any(i in by_id for i in each[2].run_ids)]
    gathered: dict[GroupKey, dict[tuple[str, str], T]] = {}
    problems: list[StudyProblem] = []
    for key, name, cell in track(cells, title, len(cells)):
        runs = [by_id[i] for i in cell.run_ids if i in by_id]
        try:
            facts = reduce(cell, runs)
        except StoreError as error:
            missing = f"Without {title.lower()}: {cell.task} {cell.model}. {error.problem}"
            problems.append(StudyProblem(Trouble.NO_SCORE, missing, cell.run_ids))
            continue
        if facts is not None:
            gathered.setdefault(key, {})[name] = facts
    return gathered, tuple(problems)
