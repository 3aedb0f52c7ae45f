"""Confusion matrices from stored predictions."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from marsbench.base.errors import StoreError
from marsbench.metrics.scoring import SCORERS
from marsbench.results.record import RunRecord
from marsbench.results.store import Store
from marsbench.tasks.kinds import Kind

Floats = NDArray[np.float64]


def confusion_shares(store: Store, records: Sequence[RunRecord]) -> tuple[Floats, list[str]]:
    """Average the confusion matrices of a cell's runs.

    Args:
        store: Store of their predictions.
        records: Runs that differ only in their seed.

    Returns:
        Shape (K, K): of each true class (row) the share predicted as each class, mean over the
        runs, NaN in rows without samples; and the K class names.

    Raises:
        StoreError: If predictions are missing or invalid.
    """
    classes = list(records[0].data["classes"])
    matrices = []
    for record in records:
        if list(record.data["classes"]) != classes:
            raise StoreError(
                f"{record.run_id} and {records[0].run_id} differ in the order of classes.",
                "Report them separately.",
            )
        counts = _counts(store, record, len(classes))
        total = counts.sum(axis=1, keepdims=True)
        matrices.append(np.where(total > 0, counts / np.maximum(total, 1), np.nan))
    shares: Floats = np.mean(matrices, axis=0)
    return shares, classes


def _counts(store: Store, record: RunRecord, num_classes: int) -> NDArray[np.int64]:
    frame = store.predictions(record.run_id)
    scorer = SCORERS[Kind(record.kind)]
    if scorer.confusion is None:
        raise StoreError(f"{record.kind} tasks such as {record.task} have no confusion matrix.")
    try:
        frame = frame[frame["split"] == record.scored_split]
        return scorer.confusion(*scorer.read(frame, num_classes))
    except (KeyError, ValueError) as error:
        raise StoreError(
            f"The predictions of {record.run_id} give no confusion matrix ({error}).",
            "Run it again for the matrix.",
        ) from error
