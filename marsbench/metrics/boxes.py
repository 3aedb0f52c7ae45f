"""Metrics of detection, from boxes in numpy arrays.

Average precision is COCO's (https://cocodataset.org/#detection-eval), computed by
faster-coco-eval (https://github.com/MiXaiLL76/faster_coco_eval), a C++ port of pycocotools with
equal results.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

IOU = 0.5
"""Smallest overlap of a match in the object-level metrics."""

_MATCH_TIE = 1 - 1e-10
"""COCO's upper bound on overlap thresholds, for overlaps of 1 in spite of rounding."""


@dataclass(frozen=True)
class Boxes:
    """Boxes of the objects in an image.

    Attributes:
        xyxy: Left, top, right and bottom in pixels from the image's corner, float64 (N, 4).
        labels: Class ids from 0, background not counted, int64 (N,).
    """

    xyxy: Floats
    labels: Ints

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, which: NDArray[np.bool_] | Ints) -> Self:
        """Select boxes by a mask (N,) or by indices."""
        return type(self)(*(getattr(self, field.name)[which] for field in fields(self)))


NO_BOXES = Boxes(np.zeros((0, 4)), np.zeros(0, dtype=np.int64))
"""Boxes of an image without objects."""


@dataclass(frozen=True)
class PredictedBoxes(Boxes):
    """Predicted boxes in an image, in any order.

    Attributes:
        scores: Confidence of each box in [0, 1], float64 (N,).
    """

    scores: Floats


def read(columns: Any, num_classes: int) -> tuple[list[Boxes], list[PredictedBoxes]]:
    """Read the stored columns of N images into targets and predictions."""
    targets = zip(columns["target_boxes"], columns["target_labels"], strict=True)
    predictions = zip(columns["boxes"], columns["labels"], columns["scores"], strict=True)
    return (
        [Boxes(_rows(xyxy), np.asarray(labels)) for xyxy, labels in targets],
        [
            PredictedBoxes(_rows(xyxy), np.asarray(labels), np.asarray(scores))
            for xyxy, labels, scores in predictions
        ],
    )


def _rows(boxes: Any) -> Floats:
    """Stack boxes, (N, 4); Parquet stores them as arrays within an array."""
    return np.array([list(box) for box in boxes], dtype=np.float64).reshape(-1, 4)


class _Image:
    """Boxes of an image as checked arrays, predictions by descending score in a stable order."""

    def __init__(self, target: Boxes, prediction: PredictedBoxes, num_classes: int) -> None:
        self.xyxy = _boxes(target.xyxy)
        self.labels = _labels(target.labels, len(self.xyxy), num_classes)
        boxes = _boxes(prediction.xyxy)
        labels = _labels(prediction.labels, len(boxes), num_classes)
        scores = np.asarray(prediction.scores, dtype=np.float64).reshape(-1)
        if len(scores) != len(boxes):
            raise ValueError(f"{len(boxes)} boxes have {len(scores)} scores")
        if not np.isfinite(scores).all():
            raise ValueError("scores hold NaN or inf")
        order = np.argsort(-scores, kind="stable")
        self.found_xyxy, self.found_labels = boxes[order], labels[order]
        self.scores = scores[order]


def _boxes(values: ArrayLike) -> Floats:
    boxes: Floats = np.asarray(values, dtype=np.float64)
    if boxes.size == 0:
        return np.zeros((0, 4))
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise ValueError(f"boxes of shape {boxes.shape} are not (N, 4)")
    if not np.isfinite(boxes).all() or (boxes[:, 2:] < boxes[:, :2]).any():
        raise ValueError("boxes hold NaN, inf or a negative size")
    return boxes


def _labels(values: ArrayLike, number: int, num_classes: int) -> Ints:
    labels: Ints = np.asarray(values, dtype=np.int64).reshape(-1)
    if len(labels) != number:
        raise ValueError(f"{number} boxes have {len(labels)} labels")
    if number and not 0 <= labels.min() <= labels.max() < num_classes:
        raise ValueError(f"labels {labels.min()} to {labels.max()} of {num_classes} classes")
    return labels


def present(
    targets: Sequence[Boxes], _: Sequence[PredictedBoxes], classes: Sequence[str]
) -> NDArray[np.bool_]:
    """Mark the classes with an object, (K,); arguments as in `score`."""
    labels = [np.asarray(boxes.labels, dtype=np.int64) for boxes in targets]
    return np.isin(np.arange(len(classes)), np.concatenate([*labels, np.zeros(0, np.int64)]))


def score(
    targets: Sequence[Boxes],
    predictions: Sequence[PredictedBoxes],
    classes: Sequence[str],
    *,
    confidence: float = 0.5,
) -> dict[str, float]:
    """Compute every metric of detection.

    Boxes are in pixels of the original images, as are COCO's sizes (small up to 32 x 32, large from
    96 x 96 pixels). Predictions in images without objects are false positives.

    Args:
        targets: Objects of each image.
        predictions: Predictions of each image, in the same order.
        classes: The class names, in the order of their ids.
        confidence: Smallest score of detections in the object-level metrics; other metrics use all
            detections.

    Returns:
        Metric name to value:

        - ``map``, ``map50``, ``map75``: average precision, mean over the classes, and for ``map``
          over overlaps of 0.50, 0.55 to 0.95;
        - ``map_small``, ``map_medium``, ``map_large``: likewise, among objects of that size;
        - ``recall``: largest recall with the 100 best detections of each class and image, mean
          over classes and overlaps;
        - ``ap/CLASS``: average precision of a class over all overlaps;
        - ``object_precision``, ``object_recall``, ``object_f1``: precision and recall of single
          objects at an overlap of `IOU`, all classes together.

        Undefined metrics are left out: average precision and recall of a class or size without
        targets, precision without detections.

    Raises:
        ValueError: If shapes do not fit, or a number is not finite.
    """
    if len(targets) != len(predictions):
        raise ValueError(f"{len(targets)} images have {len(predictions)} predictions")
    images = [
        _Image(target, prediction, len(classes))
        for target, prediction in zip(targets, predictions, strict=True)
    ]
    return _coco(images, classes) | _objects(images, confidence)


def _coco(images: Sequence[_Image], classes: Sequence[str]) -> dict[str, float]:
    if not any(len(image.labels) for image in images):
        return {}  # nothing is defined
    from faster_coco_eval import COCO, COCOeval_faster

    evaluation: Any = COCOeval_faster(
        COCO(_dataset([(i.xyxy, i.labels, None) for i in images], len(classes))),
        COCO(_dataset([(i.found_xyxy, i.found_labels, i.scores) for i in images], len(classes))),
        "bbox",
        print_function=_say_nothing,
    )
    evaluation.evaluate()
    evaluation.accumulate()
    # Dimensions: overlap, recall, class, size, number of detections (the last is 100).
    # Undefined values are -1.
    shape = (10, 101, len(classes), 4, 3)
    precision: Floats = np.asarray(evaluation.eval["precision"]).reshape(shape)[..., -1]
    recall: Floats = np.asarray(evaluation.eval["recall"]).reshape(10, len(classes), 4, 3)[..., -1]
    parts = {
        "map": precision[:, :, :, 0],
        "map50": precision[0, :, :, 0],
        "map75": precision[5, :, :, 0],
        "map_small": precision[:, :, :, 1],
        "map_medium": precision[:, :, :, 2],
        "map_large": precision[:, :, :, 3],
        "recall": recall[:, :, 0],
    }
    parts |= {f"ap/{name}": precision[:, :, i, 0] for i, name in enumerate(classes)}
    return {
        name: float(values[values > -1].mean())
        for name, values in parts.items()
        if (values > -1).any()
    }


def _say_nothing(*_args: object) -> None: ...


def _dataset(
    images: Sequence[tuple[Floats, Ints, Floats | None]], num_classes: int
) -> dict[str, list[dict[str, Any]]]:
    annotations: list[dict[str, Any]] = []
    for image_id, (xyxy, labels, scores) in enumerate(images, 1):
        sizes = xyxy[:, 2:] - xyxy[:, :2]
        boxes = np.concatenate([xyxy[:, :2], sizes], axis=1).tolist()
        for i, (box, area) in enumerate(zip(boxes, sizes.prod(axis=1).tolist(), strict=True)):
            annotation = {
                "id": len(annotations) + 1,  # 0 means unmatched
                "image_id": image_id,
                "category_id": int(labels[i]) + 1,
                "bbox": box,
                "area": area,
                "iscrowd": 0,
            }
            if scores is not None:
                annotation["score"] = float(scores[i])
            annotations.append(annotation)
    return {
        "images": [{"id": i} for i in range(1, len(images) + 1)],
        "categories": [{"id": i} for i in range(1, num_classes + 1)],
        "annotations": annotations,
    }


def _objects(images: Sequence[_Image], confidence: float) -> dict[str, float]:
    predicted = right = objects = 0
    for image in images:
        kept = image.scores >= confidence
        predicted += int(kept.sum())
        objects += len(image.labels)
        for class_id in np.intersect1d(image.labels, image.found_labels[kept]):
            overlaps = _iou(
                image.found_xyxy[kept & (image.found_labels == class_id)],
                image.xyxy[image.labels == class_id],
            )
            right += _count_matches(overlaps)
    metrics = {}
    if predicted:
        metrics["object_precision"] = right / predicted
    if objects:
        metrics["object_recall"] = right / objects
    if predicted or objects:
        metrics["object_f1"] = 2 * right / (predicted + objects)
    return metrics


def _count_matches(overlaps: Floats) -> int:
    """Count greedy matches, as COCO: each detection in turn takes the best unmatched object.

    Args:
        overlaps: Overlaps of detections, by descending score, with objects, (M, N).
    """
    free, matches = np.ones(overlaps.shape[1], dtype=bool), 0
    for row in overlaps:
        left = np.where(free, row, -1.0)
        best = left.max()
        if best >= min(IOU, _MATCH_TIE):
            # Among equally good objects COCO takes the last.
            free[np.flatnonzero(left == best)[-1]] = False
            matches += 1
    return matches


def _iou(a: Floats, b: Floats) -> Floats:
    """Intersection over union of boxes (M, 4) with boxes (N, 4): (M, N)."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    shared = (high - low).clip(min=0).prod(axis=2)
    areas_a = (a[:, 2:] - a[:, :2]).prod(axis=1)
    areas_b = (b[:, 2:] - b[:, :2]).prod(axis=1)
    union = areas_a[:, None] + areas_b[None, :] - shared
    overlaps: Floats = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    return overlaps
