"""Metrics of records, also those that only their stored predictions give."""

from functools import lru_cache
from pathlib import Path

from marsbench.base.errors import StoreError
from marsbench.base.reading import is_missing
from marsbench.metrics.scoring import score
from marsbench.results.record import RunRecord
from marsbench.results.store import PREDICTIONS, Store, read_table
from marsbench.tasks.kinds import Kind, metrics_of

_REDEFINED = frozenset({"iou_per_image"})
"""Metrics of another definition in earlier records, read from predictions if there are any.

Earlier, ``iou_per_image`` was the mean over images of the mean over the classes of an image.
"""

_KEPT = 100_000
"""Number of runs whose metrics stay in memory."""


def scores_with(store: Store, record: RunRecord, metric: str) -> float | None:
    """Value of a metric on the scored split: from the record, else from its stored predictions.

    The record does not change. Metrics of predictions stay in memory until their file changes.

    Args:
        store: Store of the record and its predictions.
        record: The record.
        metric: Name as in records, such as ``f1_positive``.

    Returns:
        The value; None if it is undefined, of another kind of task, or neither in the record nor
        given by predictions.

    Raises:
        StoreError: If the predictions are invalid.
    """
    known = record.scores.get(metric)
    if known is not None and metric not in _REDEFINED:
        return known
    path = store.folder(record.run_id) / PREDICTIONS
    if metric not in metrics_of(Kind(record.kind)) or is_missing(path):
        return known
    classes = tuple(record.data.get("classes", ()))
    num_scored = record.data.get("evaluation", {}).get("num_scored")
    return _scores(
        path, _state(path), record.run_id, record.kind, record.scored_split, classes, num_scored
    ).get(metric)


def _state(path: Path) -> tuple[int, int] | None:
    """Time and size of a file; None if it may not be visited."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_size


@lru_cache(_KEPT)
def _scores(
    path: Path,
    state: tuple[int, int] | None,
    run_id: str,
    kind: str,
    split: str,
    classes: tuple[str, ...],
    num_scored: int | None = None,
) -> dict[str, float]:
    """Score the predictions of a run; `state` tells apart versions of the file."""
    del state
    frame = read_table(path)
    try:
        return score(Kind(kind), frame[frame["split"] == split], classes, num_scored)
    except (KeyError, TypeError, ValueError) as error:
        raise StoreError(
            f"The predictions of {run_id} give no metrics ({error}).", "Run it again."
        ) from error
