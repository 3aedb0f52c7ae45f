"""Confusion matrices from stored predictions."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from marsbench.base.errors import StoreError
from marsbench.metrics import masks as mask_metrics
from marsbench.results.record import RunRecord
from marsbench.results.store import Store
from marsbench.tasks.kinds import Kind

Floats = NDArray[np.float64]

KINDS = (Kind.BINARY, Kind.MULTICLASS, Kind.SEGMENTATION)
"""Kinds in which a sample, or a pixel, has one class; others have no such matrix."""


def confusion_shares(store: Store, records: Sequence[RunRecord]) -> tuple[Floats, list[str]]:
    """Average the confusion matrices of a cell's runs.

    Args:
        store: Where their predictions are.
        records: Runs that differ in their seed alone.

    Returns:
        Shape (K, K): of each true class (row) the share predicted as each class, mean over the
        runs, NaN in rows without samples; and the K class names.

    Raises:
        StoreError: If predictions lack or do not fit.
    """
    classes = list(records[0].data["classes"])
    matrices = []
    for record in records:
        if list(record.data["classes"]) != classes:
            raise StoreError(
                f"{record.run_id} has its classes in another order than {records[0].run_id}.",
                "Report them apart.",
            )
        counts = _counts(store, record, len(classes))
        total = counts.sum(axis=1, keepdims=True)
        matrices.append(np.where(total > 0, counts / np.maximum(total, 1), np.nan))
    shares: Floats = np.mean(matrices, axis=0)
    return shares, classes


def _counts(store: Store, record: RunRecord, num_classes: int) -> NDArray[np.int64]:
    frame = store.predictions(record.run_id)
    try:
        frame = frame[frame["split"] == record.scored_split]
        if record.kind == Kind.SEGMENTATION:
            stacked = np.stack(frame["confusion"].to_list()).sum(axis=0)
            return np.asarray(stacked, dtype=np.int64).reshape(num_classes, num_classes)
        target = frame["target"].to_numpy(dtype=np.int64)
        predicted = np.stack(frame["scores"].to_list()).argmax(axis=1)
        # A column of targets is a mask one pixel wide.
        return mask_metrics.confusion(target[:, None], predicted[:, None], num_classes, ignore=-1)
    except (KeyError, ValueError) as error:
        raise StoreError(
            f"The predictions of {record.run_id} give no confusion matrix ({error}).",
            "Run it again if you need one.",
        ) from error
