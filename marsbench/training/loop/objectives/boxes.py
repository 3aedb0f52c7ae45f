"""Objective of boxes: the loss of the detector."""

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from marsbench.data.dataset import MarsDataset
from marsbench.metrics.boxes import NO_BOXES, PredictedBoxes
from marsbench.models.detectors.base import Detections
from marsbench.training.loop.objectives.base import Objective, Observed


class BoxObjective(Objective):
    """Trains a detector by its own loss."""

    def train_losses(self, model: Any, batch: dict[str, Any]) -> Tensor:
        """Share of every sample in the loss of the batch, (B,)."""
        losses: Tensor = model.losses(batch["image"], batch["boxes"], batch["labels"])
        return losses

    def measure(self, model: Any, batch: dict[str, Any]) -> Observed:
        """Loss of every image.

        Image by image: detectors weigh their terms by the whole batch, and the choice of a
        checkpoint must not depend on the batches.
        """
        return {"loss": model.lone_losses(batch["image"], batch["boxes"], batch["labels"])}

    def observe(self, model: Any, batch: dict[str, Any]) -> Observed:
        """Detect objects; returns losses, and detections in pixels of the original image."""
        found, losses = model.observe(batch["image"], batch["boxes"], batch["labels"])
        return {"loss": losses, "detections": _scaled(found, batch)}

    def detections(self, model: Any, batch: dict[str, Any]) -> list[PredictedBoxes]:
        """Detections in pixels of the original image, without their loss."""
        return _scaled(model(batch["image"]), batch)

    def columns(self, dataset: MarsDataset, outputs: Observed) -> dict[str, list[Any]]:
        """Columns ``target_boxes``, ``target_labels``, ``boxes``, ``scores``, ``labels``."""
        truths = [dataset.samples[int(i)].boxes or NO_BOXES for i in dataset.indices]
        predicted: list[PredictedBoxes] = list(outputs["detections"])
        return {
            "target_boxes": [boxes.xyxy.tolist() for boxes in truths],
            "target_labels": [boxes.labels.tolist() for boxes in truths],
            "boxes": [boxes.xyxy.tolist() for boxes in predicted],
            "scores": [boxes.scores.tolist() for boxes in predicted],
            "labels": [boxes.labels.tolist() for boxes in predicted],
        }


def _scaled(detections: list[Detections], batch: dict[str, Any]) -> list[PredictedBoxes]:
    """Detections in pixels of the original images."""
    side = batch["image"].shape[-1]
    scaled = []
    for predicted, (height, width) in zip(*_on_host(detections, batch["size"]), strict=True):
        scale = np.array([width, height, width, height], np.float32) / np.float32(side)
        scaled.append(replace(predicted, xyxy=predicted.xyxy * scale))
    return scaled


def _on_host(
    detections: list[Detections], size: Tensor
) -> tuple[list[PredictedBoxes], list[tuple[float, float]]]:
    """Copy the detections of a batch, and the sizes (B, 2) of its images, at once."""
    kind = detections[0].boxes.dtype  # keeps ids and sizes exact: float32 at least
    columns = [torch.cat(values).to(kind) for values in zip(*detections, strict=True)]
    flat = torch.cat([values.flatten() for values in (*columns, size.to(kind))])
    packed = flat.cpu().double().numpy()
    total = len(columns[1])
    boxes, scores, labels, sizes = np.split(packed, [4 * total, 5 * total, 6 * total])
    ends = np.cumsum([len(image.scores) for image in detections])[:-1]
    parts = (np.split(values, ends) for values in (boxes.reshape(-1, 4), labels, scores))
    predicted = [PredictedBoxes(b, n.astype(np.int64), s) for b, n, s in zip(*parts, strict=True)]
    return predicted, [(height, width) for height, width in sizes.reshape(-1, 2)]
