"""Score predictions: numpy and scikit-learn only, so that a leaderboard can re-score.

Training, records and re-scoring all call `score`; a number in a record is the number that
its stored predictions give.
"""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score

from marsbench.errors import NotAvailableError
from marsbench.kinds import Kind


def score(
    kind: Kind, targets: NDArray[np.generic], scores: NDArray[np.floating], classes: Sequence[str]
) -> dict[str, float]:
    """Compute every metric of a kind.

    Args:
        kind: Kind of the task.
        targets: Class ids, shape (N,), or for multilabel tasks zeros and ones, shape (N, K).
        scores: Probabilities of the K classes, shape (N, K).
        classes: The K class names, in the order of their ids.

    Returns:
        Metric name to value; per class as ``f1/CLASS`` and ``recall/CLASS`` (the accuracy within
        the class; left out of a class without targets). AUROC and average precision are means
        over the classes, each against the rest, in binary tasks too, so that they do not depend
        on which class has id 1. Accuracy of multilabel tasks asks for all labels right. A metric
        that the targets leave undefined (AUROC of a class with no positive or no negative
        sample) is averaged over the classes that have it, and is left out where none has.

    Raises:
        ValueError: If shapes do not fit or a score is not finite.
    """
    targets = np.asarray(targets)
    probabilities: NDArray[np.float64] = np.asarray(scores, dtype=np.float64)
    if probabilities.shape != (len(targets), len(classes)):
        raise ValueError(
            f"scores of shape {probabilities.shape} do not fit {len(targets)} targets "
            f"and {len(classes)} classes"
        )
    if not np.isfinite(probabilities).all():
        raise ValueError(
            f"{int((~np.isfinite(probabilities)).any(axis=1).sum())} rows hold NaN or inf"
        )
    if kind is Kind.MULTILABEL:
        return _multilabel(targets, probabilities, classes)
    if kind in (Kind.BINARY, Kind.MULTICLASS):
        return _single_label(targets, probabilities, classes)
    raise NotAvailableError(f"This version has no metrics for {kind} tasks yet.")


def score_labels(
    kind: Kind, columns: Mapping[str, Sequence[Any]], names: Sequence[str]
) -> dict[str, float]:
    """Score the labels of a split, and where several instruments measured it those of each.

    Args:
        kind: Kind of the task.
        columns: ``target`` and ``scores`` of every sample, and perhaps ``instrument``.
        names: The K class names.

    Returns:
        Metric name to value; of one instrument's samples as ``log_loss/instrument=NAME``.
    """
    targets, scores = np.stack(columns["target"]), np.stack(columns["scores"])
    values = score(kind, targets, scores, names)
    groups = np.array(columns.get("instrument", []))
    for group in sorted(set(groups.tolist()) - {""}) if len(set(groups.tolist())) > 1 else []:
        mine = groups == group
        part = score(kind, targets[mine], scores[mine], names)
        for name in ("log_loss", "ap_micro"):
            # Without a positive there is no precision to average.
            if name in part and (name == "log_loss" or targets[mine].any()):
                values[f"{name}/instrument={group}"] = part[name]
    return values


def _single_label(
    targets: NDArray[np.generic], scores: NDArray[np.float64], classes: Sequence[str]
) -> dict[str, float]:
    ids = np.arange(len(classes))
    predicted = scores.argmax(axis=1)
    # Undefined F1 (a class neither present nor predicted) counts as 0, as in scikit-learn.
    per_class = f1_score(targets, predicted, labels=ids, average=None, zero_division=0.0)
    # Macro F1 averages the classes that occur; a class absent from both would add a
    # meaningless zero to a small test split.
    seen = np.isin(ids, targets) | np.isin(ids, predicted)
    one_hot = targets[:, None] == ids[None, :]
    return {
        "f1_weighted": float(
            f1_score(targets, predicted, labels=ids, average="weighted", zero_division=0.0)
        ),
        "f1_macro": float(per_class[seen].mean()),
        "accuracy": float((predicted == targets).mean()),
        **_ranking(one_hot, scores),
        **{f"f1/{name}": float(value) for name, value in zip(classes, per_class, strict=True)},
        **_recall(one_hot, predicted[:, None] == ids[None, :], classes),
    }


def _multilabel(
    targets: NDArray[np.generic], scores: NDArray[np.float64], classes: Sequence[str]
) -> dict[str, float]:
    positive = targets.astype(bool)
    predicted = scores >= 0.5
    per_class = f1_score(positive, predicted, average=None, zero_division=0.0)
    seen = positive.any(axis=0) | predicted.any(axis=0)
    clipped = np.clip(scores, 1e-7, 1 - 1e-7)
    losses = -np.where(positive, np.log(clipped), np.log1p(-clipped)).mean(axis=0)
    return {
        "f1_weighted": float(f1_score(positive, predicted, average="weighted", zero_division=0.0)),
        "f1_macro": float(per_class[seen].mean()) if seen.any() else 0.0,
        "accuracy": float((positive == predicted).all(axis=1).mean()),
        **_ranking(positive, scores),
        "ap_micro": float(average_precision_score(positive.ravel(), scores.ravel()))
        if positive.any()
        else 0.0,
        "log_loss": float(losses.mean()),
        **{f"f1/{name}": float(value) for name, value in zip(classes, per_class, strict=True)},
        **_recall(positive, predicted, classes),
    }


def _recall(
    positive: NDArray[np.bool_], predicted: NDArray[np.bool_], classes: Sequence[str]
) -> dict[str, float]:
    """Share of each class's samples that are found."""
    counts, found = positive.sum(axis=0), (positive & predicted).sum(axis=0)
    return {
        f"recall/{name}": float(f / n)
        for name, f, n in zip(classes, found, counts, strict=True)
        if n
    }


def _ranking(positive: NDArray[np.bool_], scores: NDArray[np.float64]) -> dict[str, float]:
    """AUROC and average precision, means over the classes in which they are defined."""
    defined = positive.any(axis=0) & ~positive.all(axis=0)
    if not defined.any():
        return {}
    positive, scores = positive[:, defined], scores[:, defined]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UndefinedMetricWarning)
        return {
            "auroc": float(roc_auc_score(positive, scores, average="macro")),
            "average_precision": float(average_precision_score(positive, scores, average="macro")),
        }
