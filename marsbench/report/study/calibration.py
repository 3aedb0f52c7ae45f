"""Calibration of the runs of a report, from records and stored predictions."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from marsbench.base.errors import StoreError
from marsbench.base.progress import track
from marsbench.base.reading import is_missing
from marsbench.metrics.calibration import Bins, bins_of
from marsbench.metrics.labels import read
from marsbench.report.study.cells import Cell, Group, GroupKey, StudyProblem, Trouble
from marsbench.results.metrics import scores_with
from marsbench.results.record import RunRecord
from marsbench.results.store import PREDICTIONS, Store
from marsbench.tasks.kinds import LABELS

METRICS = ("ece", "brier")
"""Metrics of calibration, of every record of labels except those of earlier versions."""


class Calibrated(NamedTuple):
    """Calibration of a cell.

    Attributes:
        cell: Runs of a model on a task.
        values: Values of each of `METRICS`, one per run that has it.
        predicted: Records of the runs with stored predictions.
    """

    cell: Cell
    values: Mapping[str, NDArray[np.float64]]
    predicted: tuple[RunRecord, ...]


Calibration = Mapping[GroupKey, Mapping[tuple[str, str], Calibrated]]
"""Calibration by group, and task and model."""


def calibration_of(
    store: Store, records: Iterable[RunRecord], groups: Sequence[Group]
) -> tuple[Calibration, tuple[StudyProblem, ...]]:
    """Gather the calibration of all cells of labels; runs without any are left out.

    Args:
        store: Store of the records and their predictions.
        records: Records of the runs.
        groups: Cells.

    Returns:
        The calibration, without groups and cells that have none; and unreadable predictions.
    """
    by_id = {record.run_id: record for record in records if record.kind in LABELS}
    cells = [(group.key, name, cell) for group in groups for name, cell in group.cells.items()]
    cells = [each for each in cells if any(i in by_id for i in each[2].run_ids)]
    gathered: dict[GroupKey, dict[tuple[str, str], Calibrated]] = {}
    problems: list[StudyProblem] = []
    for key, name, cell in track(cells, "Calibration", len(cells)):
        runs = [by_id[i] for i in cell.run_ids if i in by_id]
        try:
            calibrated = _calibrated(store, cell, runs)
        except StoreError as error:
            text = f"Without calibration: {cell.task} {cell.model}. {error.problem}"
            problems.append(StudyProblem(Trouble.NO_SCORE, text, cell.run_ids))
            continue
        if any(len(values) for values in calibrated.values.values()):
            gathered.setdefault(key, {})[name] = calibrated
    return gathered, tuple(problems)


def _calibrated(store: Store, cell: Cell, records: Sequence[RunRecord]) -> Calibrated:
    # Predictions are read by the classes of the record.
    predicted = tuple(
        r
        for r in records
        if r.data.get("classes") and not is_missing(store.folder(r.run_id) / PREDICTIONS)
    )
    values = {}
    for metric in METRICS:
        known = [
            scores_with(store, r, metric) if r in predicted else r.scores.get(metric)
            for r in records
        ]
        values[metric] = np.array([v for v in known if v is not None], dtype=np.float64)
    return Calibrated(cell, values, predicted)


def pooled_bins(store: Store, records: Sequence[RunRecord]) -> Bins:
    """Bins of the scored split, summed over runs and, of multilabel tasks, over labels.

    Args:
        store: Store of their predictions.
        records: Runs of a cell.

    Returns:
        Sums of shape (1, NUM_BINS).

    Raises:
        StoreError: If predictions are invalid.
    """
    total = [np.zeros((1, 1)) for _ in Bins._fields]
    for record in records:
        frame = store.predictions(record.run_id)
        try:
            part = frame[frame["split"] == record.scored_split]
            bins = bins_of(*read(part, len(record.data["classes"])))
        except (KeyError, TypeError, ValueError) as error:
            raise StoreError(
                f"The predictions of {record.run_id} give no calibration ({error}).",
                "Run it again.",
            ) from error
        total = [a + b.sum(axis=0, keepdims=True) for a, b in zip(total, bins, strict=True)]
    return Bins(*total)
