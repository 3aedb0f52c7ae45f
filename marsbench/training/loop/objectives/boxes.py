"""Objective of boxes: the loss of the detector."""

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from marsbench.data.dataset import MarsDataset
from marsbench.metrics.boxes import NO_BOXES, PredictedBoxes
from marsbench.training.loop.objectives.base import Objective, Observed


class BoxObjective(Objective):
    """Trains a detector by its own loss."""

    def train_losses(self, model: Any, batch: dict[str, Any]) -> Tensor:
        """Share of every sample in the loss of the batch, (B,)."""
        losses: Tensor = model.losses(batch["image"], batch["boxes"], batch["labels"])
        return losses

    def observe(self, model: Any, batch: dict[str, Any]) -> Observed:
        """Detect objects; returns losses, and detections in pixels of the original image."""
        scaled = self.detections(model, batch)
        # Image by image: detectors weigh their terms by the whole batch, and the choice of a
        # checkpoint must not depend on the batches.
        image, boxes, labels = batch["image"], batch["boxes"], batch["labels"]
        losses = [
            model.losses(image[i : i + 1], boxes[i : i + 1], labels[i : i + 1])
            for i in range(len(image))
        ]
        return {"loss": torch.cat(losses), "detections": scaled}

    def detections(self, model: Any, batch: dict[str, Any]) -> list[PredictedBoxes]:
        """Detect objects in the images of a batch, in pixels of the original image."""
        side = batch["image"].shape[-1]
        scaled = []
        for detections, size in zip(model(batch["image"]), batch["size"].tolist(), strict=True):
            height, width = size
            scale = np.array([width, height, width, height], np.float32) / np.float32(side)
            predicted = detections.numpy()
            scaled.append(replace(predicted, xyxy=predicted.xyxy * scale))
        return scaled

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
