"""Metrics of masks, from a confusion matrix per image.

Dataset-level metrics come from the sum of the matrices. Classes absent from targets and predictions
are left out of means, which would otherwise depend on the list of classes.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from marsbench.tasks.spec import BACKGROUND

IGNORE = 255
"""Mask value of ignored pixels."""

Counts = NDArray[np.int64]


def confusion(
    target: NDArray[np.integer],
    predicted: NDArray[np.integer],
    num_classes: int,
    ignore: int = IGNORE,
) -> Counts:
    """Count pixels by true and predicted class.

    Args:
        target: True class ids, shape (H, W).
        predicted: Predicted class ids, shape (H, W).
        num_classes: K.
        ignore: Target value of ignored pixels.

    Returns:
        Shape (K, K); rows are the true classes, columns the predicted ones.

    Raises:
        ValueError: If the shapes differ or a counted pixel has a class outside 0..K-1.
    """
    target, predicted = np.asarray(target), np.asarray(predicted)
    if target.shape != predicted.shape:
        raise ValueError(f"target has shape {target.shape}, but prediction {predicted.shape}")
    counted = target != ignore
    rows = target[counted].astype(np.int64)
    columns = predicted[counted].astype(np.int64)
    for what, ids in (("target", rows), ("prediction", columns)):
        if ids.size and (ids.min() < 0 or ids.max() >= num_classes):
            outside = np.unique(ids[(ids < 0) | (ids >= num_classes)])
            raise ValueError(
                f"the {what} holds class {', '.join(map(str, outside[:5]))} of {num_classes}"
            )
    counts = np.bincount(rows * num_classes + columns, minlength=num_classes**2)
    return counts.reshape(num_classes, num_classes).astype(np.int64)


def read(columns: Any, num_classes: int) -> tuple[Counts]:
    """Read the stored column ``confusion``: matrices of N images, shape (N, K, K)."""
    stacked = np.stack(list(columns["confusion"])).astype(np.int64)
    return (stacked.reshape(len(stacked), num_classes, num_classes),)


def present(confusions: Counts, classes: Sequence[str]) -> NDArray[np.bool_]:
    """Mark the classes with a true pixel, (K,); arguments as in `score`."""
    occurs: NDArray[np.bool_] = total(confusions).sum(axis=1).reshape(len(classes)) > 0
    return occurs


def total(confusions: Counts) -> Counts:
    """Add the matrices of all images, shape (K, K)."""
    counts: Counts = confusions.sum(axis=0)
    return counts


def score(
    confusions: Counts, classes: Sequence[str], num_scored: int | None = None
) -> dict[str, float]:
    """Compute every metric of segmentation.

    Args:
        confusions: Matrix of each image from `confusion`, shape (N, K, K).
        classes: The K class names, in the order of their ids.
        num_scored: Number of the first classes that pixels can have; None for all. Means over the
            classes leave the others out, whose prediction is always an error.

    Returns:
        Metric name to value. From the sum of the matrices:

        - ``miou``, ``dice``: means over the classes present in targets or predictions.
        - ``miou_foreground``: ``miou`` without the class named background, if present in the task.
        - ``precision``, ``recall``: means over the classes present in predictions and in targets.
        - ``pixel_accuracy``; and ``iou/CLASS``, ``dice/CLASS`` of classes present in targets or
          predictions, ``recall/CLASS`` of classes present in targets.

        ``iou_per_image`` is, for each class, the mean over the images with the class in target or
        prediction; and then the mean over these classes. Undefined metrics are left out, as are
        images without a counted pixel.

    Raises:
        ValueError: If the shape does not fit the classes.
    """
    confusions = np.asarray(confusions, dtype=np.int64)
    names = list(classes)
    if confusions.ndim != 3 or confusions.shape[1:] != (len(names), len(names)):
        raise ValueError(
            f"confusion matrices of shape {confusions.shape} do not fit {len(names)} classes"
        )
    pixels = total(confusions)
    if not pixels.any():
        return {}
    hits, true, predicted = _counts(pixels)
    is_scored = np.arange(len(names)) < (len(names) if num_scored is None else num_scored)
    occurs = (true + predicted > 0) & is_scored
    iou, dice = _ratio(hits, true + predicted - hits), _ratio(2 * hits, true + predicted)
    precision, recall = _ratio(hits, predicted), _ratio(hits, true)
    foreground = occurs & np.array([name.lower() != BACKGROUND for name in names])
    result = {
        "miou": float(iou[occurs].mean()),
        "iou_per_image": _iou_per_image(confusions, is_scored),
        "dice": float(dice[occurs].mean()),
        "pixel_accuracy": float(hits.sum() / pixels.sum()),
        "precision": float(precision[(predicted > 0) & is_scored].mean()),
        "recall": float(recall[true > 0].mean()),
    }
    if foreground.any() and BACKGROUND in (name.lower() for name in names):
        result["miou_foreground"] = float(iou[foreground].mean())
    for metric, values, defined in (
        ("iou", iou, occurs),
        ("dice", dice, occurs),
        ("recall", recall, true > 0),
    ):
        result |= {f"{metric}/{names[k]}": float(values[k]) for k in np.flatnonzero(defined)}
    return result


def _iou_per_image(confusions: Counts, is_scored: NDArray[np.bool_]) -> float:
    """Mean over classes of the mean IoU over the images of a class.

    The IoU of Mars-Bench's own code: torchmetrics' ``MeanIoU(per_class=True)``, from version 1.7.1,
    averaged over the classes present in any image (https://github.com/kerner-lab/Mars-Bench,
    ``models/segmentation/BaseSegmentationModel.py``).
    """
    hits, true, predicted = _counts(confusions)
    images = (true + predicted > 0).sum(axis=0) * is_scored
    sums = _ratio(hits, true + predicted - hits).sum(axis=0)
    return float((sums[images > 0] / images[images > 0]).mean())


def _counts(confusions: Counts) -> tuple[Counts, Counts, Counts]:
    """Count correct, true and predicted pixels of each class: (..., K) each."""
    hits = np.diagonal(confusions, axis1=-2, axis2=-1)
    return hits, confusions.sum(axis=-1), confusions.sum(axis=-2)


def _ratio(part: Counts, divisor: Counts) -> NDArray[np.float64]:
    """Divide; divisors of 0 give 0, ignored by callers."""
    return np.divide(part, divisor, out=np.zeros(part.shape), where=divisor > 0)
