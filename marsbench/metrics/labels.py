"""Metrics of labels, from class probabilities in numpy arrays.

AUROC and average precision are one-versus-rest means over the classes, also in binary tasks, and so
independent of the order of classes. Classes without positive or without negative samples are left
out of the mean; without any other class the metric is left out.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from marsbench.metrics import masks


def read(columns: Any, num_classes: int) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """Read stored columns.

    Args:
        columns: Predictions of N samples: ``target``, class ids or rows of K zeros and ones, and
            ``scores``, rows of K probabilities.
        num_classes: K.

    Returns:
        Targets, (N,) or (N, K), and scores, (N, K).

    Raises:
        ValueError: If shapes do not fit or a score is not finite.
    """
    targets, scores = (
        column if isinstance(column, np.ndarray) else np.stack(list(column))
        for column in (columns["target"], columns["scores"])
    )
    probabilities: NDArray[np.float64] = scores.astype(np.float64)
    if probabilities.shape != (len(targets), num_classes):
        raise ValueError(
            f"scores of shape {probabilities.shape} do not fit {len(targets)} targets "
            f"and {num_classes} classes"
        )
    if not np.isfinite(probabilities).all():
        raise ValueError(
            f"{int((~np.isfinite(probabilities)).any(axis=1).sum())} rows hold NaN or inf"
        )
    return targets, probabilities


def present(
    targets: NDArray[np.generic], _: NDArray[np.float64], classes: Sequence[str]
) -> NDArray[np.bool_]:
    """Mark the classes with a positive sample, (K,); arguments as in the scores."""
    ids = np.arange(len(classes))
    one_hot = targets.astype(bool) if targets.ndim == 2 else targets[:, None] == ids[None, :]
    positive: NDArray[np.bool_] = np.any(one_hot, axis=0)
    return positive


def confusion(targets: NDArray[np.integer], scores: NDArray[np.float64]) -> masks.Counts:
    """Count samples by true (row) and predicted class, (K, K)."""
    # Labels are counted as a mask of a single column; samples without an answer are left out.
    predicted = _chosen(scores)
    targets, predicted = targets[predicted >= 0], predicted[predicted >= 0]
    return masks.confusion(targets[:, None], predicted[:, None], scores.shape[1], ignore=-1)


def score_single(
    targets: NDArray[np.generic],
    scores: NDArray[np.float64],
    classes: Sequence[str],
    num_scored: int | None = None,
) -> dict[str, float]:
    """Compute the metrics of tasks with a single class per sample.

    Args:
        targets: Class ids, shape (N,).
        scores: Probabilities of the K classes, shape (N, K).
        classes: The K class names, in the order of their ids.
        num_scored: Number of the first classes that samples can have; None for all. Means over
            the classes leave the others out, whose prediction is always an error.

    Returns:
        Metric name to value; per class as ``f1/CLASS`` and ``recall/CLASS`` (the accuracy within
        the class; left out of a class without targets); ``unanswered``, the share of rows of zeros,
        which are answers of no class and count as wrong, if there are any.
    """
    predicted = _chosen(scores)
    unanswered = float((predicted < 0).mean())
    ids = np.arange(len(classes))
    one_hot, chosen = targets[:, None] == ids[None, :], predicted[:, None] == ids[None, :]
    return {
        **_f1(one_hot[:, :num_scored], chosen[:, :num_scored], classes[:num_scored]),
        "accuracy": float((predicted == targets).mean()),
        **_ranking(one_hot, scores),
        **_recall(one_hot, chosen, classes),
        **({"unanswered": unanswered} if unanswered else {}),
    }


def _chosen(scores: NDArray[np.float64]) -> NDArray[np.intp]:
    """Class of the highest score of each row, (N,); -1 for a row of zeros."""
    chosen: NDArray[np.intp] = np.where(scores.any(axis=1), scores.argmax(axis=1), -1)
    return chosen


def f1_positive(
    targets: NDArray[np.generic], scores: NDArray[np.float64], _: Sequence[str]
) -> float:
    """F1 of the class with id 1 of a binary task; arguments as in `score_single`.

    The F1 of Mars-Bench's own code for binary tasks, whatever average its name says: torchmetrics
    counts class 1 alone (https://github.com/kerner-lab/Mars-Bench,
    ``models/classification/BaseClassificationModel.py``).
    """
    positive, predicted = targets == 1, _chosen(scores) == 1
    return float(2 * (positive & predicted).sum() / max(positive.sum() + predicted.sum(), 1))


def score_multi(
    targets: NDArray[np.generic], scores: NDArray[np.float64], classes: Sequence[str]
) -> dict[str, float]:
    """Compute the metrics of multilabel tasks; accuracy requires all labels of a sample.

    Args:
        targets: Zeros and ones, shape (N, K).
        scores: Probabilities of the K classes, shape (N, K).
        classes: The K class names, in the order of their ids.

    Returns:
        Metric name to value; per class as in `score_single`.
    """
    positive = targets.astype(bool)
    predicted = scores >= 0.5
    clipped = np.clip(scores, 1e-7, 1 - 1e-7)
    losses = -np.where(positive, np.log(clipped), np.log1p(-clipped)).mean(axis=0)
    micro = Ranked(positive.reshape(-1, 1), scores.reshape(-1, 1)).average_precision()
    return {
        **_f1(positive, predicted, classes),
        "accuracy": float((positive == predicted).all(axis=1).mean()),
        **_ranking(positive, scores),
        "ap_micro": float(micro[0]) if positive.any() else 0.0,
        "log_loss": float(losses.mean()),
        **_recall(positive, predicted, classes),
    }


def _f1(
    positive: NDArray[np.bool_], predicted: NDArray[np.bool_], classes: Sequence[str]
) -> dict[str, float]:
    """F1 of every class, and means."""
    counts, chosen = positive.sum(axis=0), predicted.sum(axis=0)
    both = (positive & predicted).sum(axis=0)
    # Undefined F1 (a class neither present nor predicted) counts as 0, as in scikit-learn.
    per_class = 2 * both / np.maximum(counts + chosen, 1)
    # Macro F1 averages occurring classes only; absent classes would add meaningless zeros in
    # small test splits.
    seen = (counts > 0) | (chosen > 0)
    return {
        "f1_weighted": float((counts * per_class).sum() / max(counts.sum(), 1)),
        "f1_macro": float(per_class[seen].mean()) if seen.any() else 0.0,
        **{f"f1/{name}": float(value) for name, value in zip(classes, per_class, strict=True)},
    }


def _recall(
    positive: NDArray[np.bool_], predicted: NDArray[np.bool_], classes: Sequence[str]
) -> dict[str, float]:
    """Recall of every class with samples."""
    counts, hits = positive.sum(axis=0), (positive & predicted).sum(axis=0)
    return {
        f"recall/{name}": float(f / n)
        for name, f, n in zip(classes, hits, counts, strict=True)
        if n
    }


def _ranking(positive: NDArray[np.bool_], scores: NDArray[np.float64]) -> dict[str, float]:
    """AUROC and average precision, means over the classes with defined values."""
    defined = positive.any(axis=0) & ~positive.all(axis=0)
    if not defined.any():
        return {}
    ranked = Ranked(positive[:, defined], scores[:, defined])
    return {
        "auroc": float(ranked.auroc().mean()),
        "average_precision": float(ranked.average_precision().mean()),
    }


class Ranked:
    """Columns sorted by descending score, all at once for speed.

    Args:
        positive: Positive samples, (N, K).
        scores: Scores, (N, K).
    """

    def __init__(self, positive: NDArray[np.bool_], scores: NDArray[np.float64]) -> None:
        # Transposed, so that sorting reads contiguous memory.
        rows, labels = np.ascontiguousarray(scores.T), np.ascontiguousarray(positive.T)
        order = np.argsort(-rows, axis=1)
        ordered = np.take_along_axis(rows, order, axis=1)
        self._positive = np.take_along_axis(labels, order, axis=1)
        self._count = np.count_nonzero(labels, axis=1)
        # Positions of the first and last sample with the same score, which share their rank.
        length = rows.shape[1]
        place = np.arange(length)
        differs = ordered[:, 1:] != ordered[:, :-1]
        edge = np.ones((len(rows), 1), dtype=bool)
        starts, ends = np.hstack([edge, differs]), np.hstack([differs, edge])
        self._first = np.maximum.accumulate(np.where(starts, place, 0), axis=1)
        late = np.where(ends, place, length)
        self._last = np.minimum.accumulate(late[:, ::-1], axis=1)[:, ::-1]

    def auroc(self) -> NDArray[np.float64]:
        """Area under the ROC curve, (K,); ties count half.

        Each column needs positive and negative samples.
        """
        length, count = self._positive.shape[1], self._count
        # Mean ascending rank of samples with equal scores.
        ranks = length - (self._first + self._last) / 2
        total = (ranks * self._positive).sum(axis=1)
        areas: NDArray[np.float64] = (total - count * (count + 1) / 2) / (count * (length - count))
        return areas

    def average_precision(self) -> NDArray[np.float64]:
        """Average precision, (K,), without interpolation; 0 without positives."""
        true = np.take_along_axis(np.cumsum(self._positive, axis=1), self._last, axis=1)
        precision = true / (self._last + 1)
        total = (precision * self._positive).sum(axis=1)
        means: NDArray[np.float64] = total / np.maximum(self._count, 1)
        return means
