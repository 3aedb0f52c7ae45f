"""Metrics of stored predictions, by kind of task.

Training, ensembles and re-scoring all call `score`, so that the metrics of a record follow from its
stored predictions.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from marsbench.base.lazy import load
from marsbench.metrics import boxes, labels, masks
from marsbench.tasks.kinds import METRICS, Kind

Columns = Any
"""Predictions of N samples: a data frame, or a mapping from column to array or list."""


class Scorer(NamedTuple):
    """Metrics of a kind of task.

    Attributes:
        read: Reads the stored columns of K classes into arrays or lists of N samples.
        score: Computes the metrics from these and the class names.
        present: Marks the classes with ground truth, (K,), from these and the class names.
        confusion: Counts samples or pixels by true (row) and predicted class, (K, K); None for
            kinds without a single class per sample or pixel.
    """

    read: Callable[[Columns, int], tuple[Any, ...]]
    score: Callable[..., dict[str, float]]
    present: Callable[..., NDArray[np.bool_]]
    confusion: Callable[..., masks.Counts] | None = None


_SINGLE_LABEL = Scorer(labels.read, labels.score_single, labels.present, labels.confusion)

SCORERS: dict[Kind, Scorer] = {
    Kind.BINARY: _SINGLE_LABEL,
    Kind.MULTICLASS: _SINGLE_LABEL,
    Kind.MULTILABEL: Scorer(labels.read, labels.score_multi, labels.present),
    Kind.SEGMENTATION: Scorer(masks.read, masks.score, masks.present, masks.total),
    Kind.DETECTION: Scorer(boxes.read, boxes.score, boxes.present),
}


def score(
    kind: Kind, columns: Columns, classes: Sequence[str], num_scored: int | None = None
) -> dict[str, float]:
    """Compute every metric of a kind, and for samples of several instruments of each instrument.

    Args:
        kind: Kind of the task.
        columns: Stored predictions; for labels with an optional column ``instrument``.
        classes: The K class names, in the order of their ids.
        num_scored: Number of the first classes that samples or pixels can have; None for all.
            Others are predicted only, by models of another task.

    Returns:
        Metric name to value; undefined metrics are left out. Metrics of an instrument are named
        ``log_loss/instrument=NAME``.

    Raises:
        ValueError: If shapes do not fit or a number is not finite.
    """
    scorer = SCORERS[kind]
    inputs = scorer.read(columns, len(classes))
    # Labels and boxes of other classes do not enter the means anyhow.
    is_part = scorer.confusion is not None and num_scored is not None
    options = {"num_scored": num_scored} if is_part else {}
    values = scorer.score(*inputs, classes, **options)
    for name, info in METRICS.items():
        if info.function and kind in info.kinds:
            values[name] = float(load(info.function)(*inputs, classes))
    instruments = np.array(columns.get("instrument", []))
    names = set(instruments.tolist())
    for instrument in sorted(names - {""}) if len(names) > 1 else ():
        targets, scores = (array[instruments == instrument] for array in inputs)
        part = scorer.score(targets, scores, classes)
        # Average precision needs a positive sample.
        wanted = ("log_loss", "ap_micro") if targets.any() else ("log_loss",)
        values |= {f"{n}/instrument={instrument}": part[n] for n in wanted if n in part}
    return values
