"""Scores per group of samples of the runs of a report, from stored predictions."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from marsbench.base.reading import is_missing
from marsbench.metrics.groups import INSTRUMENT
from marsbench.report.study.cells import Cell, Group, StudyProblem
from marsbench.report.study.gathering import ByCell, gather
from marsbench.results.groups import groups_of
from marsbench.results.record import RunRecord
from marsbench.results.store import PREDICTIONS, Store, columns_of


class ByGroup(NamedTuple):
    """Scores of a cell per group of samples.

    Attributes:
        cell: Runs of a model on a task.
        sizes: Number of samples by ``FIELD:VALUE``.
        values: Headline metric by ``FIELD:VALUE``, one per run in which it is defined.
    """

    cell: Cell
    sizes: Mapping[str, int]
    values: Mapping[str, NDArray[np.float64]]


Scores = ByCell[ByGroup]
"""Scores per group of samples by key, and task and model."""


def scores_by_group(
    store: Store, records: Iterable[RunRecord], groups: Sequence[Group]
) -> tuple[Scores, tuple[StudyProblem, ...]]:
    """Gather the scores per group of samples; cells without such groups are left out.

    Args:
        store: Store of the records and their predictions.
        records: Records of the runs.
        groups: Cells.

    Returns:
        The scores, and unreadable predictions.
    """

    def reduced(cell: Cell, runs: Sequence[RunRecord]) -> ByGroup | None:
        scored = _of_cell(store, cell, runs)
        return scored if scored.sizes else None

    return gather("Groups of samples", records, groups, reduced)


def _of_cell(store: Store, cell: Cell, records: Sequence[RunRecord]) -> ByGroup:
    sizes: dict[str, int] = {}
    values: defaultdict[str, list[float]] = defaultdict(list)
    for record in records:
        folder = store.folder(record.run_id)
        if not _may_have_groups(folder / PREDICTIONS):
            continue
        for name, scores in groups_of(record, folder).items():
            sizes[name] = scores["n"]
            if cell.metric in scores["metrics"]:
                values[name].append(scores["metrics"][cell.metric])
    return ByGroup(cell, sizes, {name: np.array(of) for name, of in values.items()})


def _may_have_groups(path: Path) -> bool:
    """Whether predictions have columns that name groups; their rows are not read."""
    return not is_missing(path) and bool({INSTRUMENT, "meta"} & columns_of(path))
