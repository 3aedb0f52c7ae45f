"""Calibration of the runs of a report, from records and stored predictions."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from marsbench.base.errors import StoreError
from marsbench.base.reading import is_missing
from marsbench.metrics.calibration import Bins, bins_of
from marsbench.metrics.labels import read
from marsbench.report.study.cells import Cell, Group, StudyProblem
from marsbench.report.study.gathering import ByCell, gather
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


Calibration = ByCell[Calibrated]
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

    def reduced(cell: Cell, runs: Sequence[RunRecord]) -> Calibrated | None:
        calibrated = _calibrated(store, cell, runs)
        return calibrated if any(len(v) for v in calibrated.values.values()) else None

    labels = (record for record in records if record.kind in LABELS)
    return gather("Calibration", labels, groups, reduced)


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
