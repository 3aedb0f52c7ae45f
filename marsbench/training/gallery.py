"""Picture of a few test samples of a run: image, truth and prediction."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from marsbench.data.dataset import MarsDataset
from marsbench.data.drawing import Panel, new_figure, save, sheet, short, spread, to_rgb
from marsbench.data.rows import Pixels
from marsbench.metrics.boxes import Boxes, PredictedBoxes
from marsbench.results.store import map_path
from marsbench.tasks.kinds import Kind
from marsbench.training.loop.evaluation import Predictions

SAMPLES = "samples.png"

SHOWN = 6
"""Number of samples drawn."""

CONFIDENCE = 0.5
"""Least score of a drawn box, and of a predicted label of a multilabel task."""

_WRONG, _RIGHT = "#B04A00", "#005A8C"
"""Text colours of wrong and right labels, safe for colour-blind readers."""


Target = NDArray[np.uint8] | Boxes | str
"""Truth or prediction of an image: class ids (H, W), boxes, or words."""


@dataclass(frozen=True)
class GalleryItem:
    """A sample of the picture.

    Attributes:
        image: Pixels of shape (H, W, 1 or 3), uint8, or float in [0, 1].
        truth: Ground truth.
        predicted: Prediction of the model, of the same type.
        class_names: Names by class id.
        sample_id: Its id.
        remark: A few words, such as its score.
        is_right: Whether the predicted words equal the truth; None for masks and boxes.
    """

    image: Pixels
    truth: Target
    predicted: Target
    class_names: Sequence[str]
    sample_id: str
    remark: str = ""
    is_right: bool | None = None


def gallery(dataset: MarsDataset, predictions: Predictions, folder: Path) -> Path:
    """Draw a fixed choice of test samples of a run.

    The samples are spread over the split. For segmentation they include the best, the median and
    the worst image by IoU.

    Args:
        dataset: The split.
        predictions: Predictions of the split.
        folder: The run's folder, with the class maps of a segmentation task.

    Returns:
        Path of the picture, `SAMPLES` in the folder.

    Raises:
        DataError: If an image cannot be read or the picture cannot be written.
    """
    remarks: dict[int, str] = {}
    iou: NDArray[np.float64] | None = None
    if dataset.spec.kind is Kind.SEGMENTATION:
        size = len(dataset.class_names)
        confusions = np.asarray(predictions.columns["confusion"], dtype=np.int64)
        iou = image_iou(confusions.reshape(-1, size, size))
        remarks = _remarkable(iou, confusions.reshape(-1, size, size)[:, 1:].sum(axis=(1, 2)))
    others = [i for i in range(len(dataset)) if i not in remarks]
    spaced = [others[k] for k in spread(len(others), SHOWN - len(remarks))]
    items = []
    for i in (*remarks, *spaced):
        remark = remarks.get(i, "")
        if iou is not None and np.isfinite(iou[i]):
            remark = f"{remark} IoU {iou[i]:.2f}".strip()
        items.append(_item(dataset, predictions, folder, i, remark))
    path = folder / SAMPLES
    draw_gallery(path, f"{dataset.spec.name}, {dataset.split}", items)
    return path


def image_iou(confusions: NDArray[np.int64]) -> NDArray[np.float64]:
    """IoU of each image, mean over the classes present in its truth or prediction.

    Args:
        confusions: Pixels by class in the truth (rows) and the prediction, (N, K, K).

    Returns:
        Shape (N,); NaN for images with ignored pixels alone.
    """
    hits = np.diagonal(confusions, axis1=1, axis2=2)
    union = confusions.sum(axis=2) + confusions.sum(axis=1) - hits
    ratios = np.divide(hits, union, out=np.zeros(union.shape), where=union > 0)
    classes = (union > 0).sum(axis=1)
    return np.where(classes > 0, ratios.sum(axis=1) / np.maximum(classes, 1), np.nan)


def _remarkable(iou: NDArray[np.float64], objects: NDArray[np.int64]) -> dict[int, str]:
    """Name the best, the median and the worst image, by index.

    Args:
        iou: IoU of each image, (N,).
        objects: Foreground pixels in the truth of each image, (N,).
    """
    counted = np.flatnonzero(np.isfinite(iou))
    if len(counted) == 0:
        return {}
    # Ties go to the image with more foreground: an image without an object is easily right.
    order = counted[np.lexsort((objects[counted], iou[counted]))]
    names: dict[int, str] = {}
    for name, place in (("best", -1), ("median", len(order) // 2), ("worst", 0)):
        names.setdefault(int(order[place]), name)
    return names


def _item(
    dataset: MarsDataset, predictions: Predictions, folder: Path, index: int, remark: str
) -> GalleryItem:
    columns, names = predictions.columns, dataset.class_names
    sample_id = predictions.sample_ids[index]
    sample = dataset.original(index)
    truth: Target
    predicted: Target
    is_right = None
    if sample.mask is not None:
        truth = sample.mask
        with Image.open(map_path(folder, sample_id)) as opened:
            predicted = np.array(opened)
    elif sample.boxes is not None:
        truth = sample.boxes
        boxes, scores, labels = (columns[name][index] for name in ("boxes", "scores", "labels"))
        scores = np.asarray(scores, dtype=np.float64)
        predicted = PredictedBoxes(
            np.asarray(boxes, dtype=np.float64).reshape(-1, 4),
            np.asarray(labels, dtype=np.int64),
            scores,
        )[scores >= CONFIDENCE]
        remark = f"{len(truth)} true, {len(predicted)} predicted"
    else:
        truth, predicted, is_right = _labels(columns, index, names, dataset.spec.kind)
    # Three bands are shown as the model saw them.
    rgb_bands = dataset.spec.rgb_bands if sample.pixels.shape[2] > 3 else None
    image = to_rgb(sample.pixels, rgb_bands)
    return GalleryItem(image, truth, predicted, names, sample_id, remark, is_right)


def _labels(
    columns: dict[str, list[Any]], index: int, names: Sequence[str], kind: Kind
) -> tuple[str, str, bool]:
    """True labels, predicted labels with probabilities, and whether they are equal."""
    target, scores = columns["target"][index], np.asarray(columns["scores"][index])
    if kind is Kind.MULTILABEL:
        true = np.flatnonzero(target).tolist()
        chosen = np.flatnonzero(scores >= CONFIDENCE).tolist()
    else:
        true, chosen = [int(target)], [int(scores.argmax())]
    truth = ", ".join(names[k] for k in true)
    predicted = ", ".join(f"{names[k]} {scores[k]:.2f}" for k in chosen)
    return truth or "none", predicted or "none", true == chosen


def draw_gallery(path: Path, title: str, items: Sequence[GalleryItem]) -> None:
    """Draw samples with their truth and prediction.

    Args:
        path: PNG to write.
        title: Title of the picture.
        items: The samples. Masks and boxes are drawn as image, truth and prediction, words above
            the image.

    Raises:
        DataError: If the picture cannot be written.
    """
    in_words = any(isinstance(item.truth, str) for item in items)
    wide, across = (1, max(1, len(items))) if in_words else (3, 2)
    down = max(1, -(-len(items) // across))
    groups = [_panels(item) for item in items]
    # Labels of many words need lines of their own.
    lines = max((panels[0].title.count("\n") for panels in groups), default=0)
    figure = new_figure(
        2.2 * wide * across, (2.4 + 0.14 * lines) * down + (0.4 if in_words else 0.9)
    )
    sheet(figure, groups, items[0].class_names if items else (), across)
    figure.suptitle(title, fontsize=10)
    save(figure, path)


def _panels(item: GalleryItem) -> list[Panel]:
    """Panels of image, truth and prediction; a single panel for labels."""
    image = to_rgb(item.image)
    if isinstance(item.truth, str) or isinstance(item.predicted, str):
        color = {None: "black", True: _RIGHT, False: _WRONG}[item.is_right]
        return [Panel(image, _caption(item), color=color)]
    remark = f": {item.remark}" if item.remark else ""
    return [
        Panel(image, short(item.sample_id)),
        Panel(image, "truth", item.truth),
        Panel(image, f"prediction{remark}", item.predicted),
    ]


def _caption(item: GalleryItem) -> str:
    """Title of an image with its true and predicted labels."""
    lines = [short(item.sample_id)]
    for text in (f"true: {item.truth}", f"predicted: {item.predicted}"):
        lines += textwrap.wrap(text, 36, subsequent_indent="  ")
    return "\n".join(lines)
