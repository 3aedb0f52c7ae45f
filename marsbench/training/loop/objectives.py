"""What a kind of task asks of a model: the loss that trains it, and what evaluation keeps.

Every objective has `train_losses`, `observe` and `val_loss`; `MarsModule` knows no more of a kind.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from marsbench.training.loop.losses.masks import SegmentationObjective

Observed = dict[str, Tensor | list[Any]]
"""What evaluation keeps of a batch, sample by sample: tensors (B, ...) or lists of B."""


class MaskObjective(SegmentationObjective):
    """Trains on masks at the size of the model's input, and judges at the size of the truth.

    Attributes:
        keep: Called with the sample id and the class map (H, W), uint8, of every sample seen in
            evaluation; None keeps none.
    """

    keep: Callable[[str, Any], None] | None = None

    def train_losses(self, model: nn.Module, batch: dict[str, Any]) -> Tensor:
        """Loss of every sample, (B,)."""
        losses: Tensor = self(model(batch["image"]), batch["mask"])
        return losses

    def observe(self, model: nn.Module, batch: dict[str, Any]) -> Observed:
        """Predict a batch; keep each sample's loss and its confusion matrix (K, K)."""
        logits = model(batch["image"])
        confusions = []
        for i, truth in enumerate(batch["truth"]):
            classes = _at_size(logits[i], (truth.shape[0], truth.shape[1])).argmax(dim=0)
            confusions.append(confusion(truth.long(), classes, self.num_classes))
            if self.keep is not None:
                self.keep(batch["sample_id"][i], classes.to(torch.uint8).cpu().numpy())
        return {"loss": self.plain(logits, batch["mask"]), "confusion": torch.stack(confusions)}

    def val_loss(self, outputs: Observed) -> Tensor:
        """Mean loss of a split."""
        return torch.as_tensor(outputs["loss"]).mean()


def _at_size(logits: Tensor, size: tuple[int, int]) -> Tensor:
    """Bring logits (K, S, S) to the size of the image before it was resized."""
    if logits.shape[-2:] == size:
        return logits
    return functional.interpolate(
        logits[None].float(), size=size, mode="bilinear", align_corners=False
    )[0]


def confusion(truth: Tensor, classes: Tensor, num_classes: int, ignore: int = 255) -> Tensor:
    """Count pixels by class id in the truth (rows) and in the prediction (columns).

    Args:
        truth: int64 (H, W).
        classes: int64 (H, W).
        num_classes: K.
        ignore: Id of pixels of the truth that do not count.

    Returns:
        int64 (K, K).
    """
    counted = truth != ignore
    pairs = truth[counted] * num_classes + classes[counted]
    # Not bincount: on a GPU it is not deterministic.
    counts = torch.zeros(num_classes**2, dtype=torch.int64, device=truth.device)
    ones = torch.ones_like(pairs)
    return counts.scatter_add_(0, pairs, ones).view(num_classes, num_classes)


class BoxObjective(nn.Module):
    """Trains a detector by its own loss, and keeps what it finds."""

    def train_losses(self, model: Any, batch: dict[str, Any]) -> Tensor:
        """Every sample's share of the batch's loss, (B,)."""
        losses: Tensor = model.losses(batch["image"], batch["boxes"], batch["labels"])
        return losses

    def observe(self, model: Any, batch: dict[str, Any]) -> Observed:
        """Detect; boxes are kept in pixels of the image before it was resized."""
        side = batch["image"].shape[-1]
        found = []
        for detections, size in zip(model(batch["image"]), batch["size"].tolist(), strict=True):
            height, width = size
            scale = np.array([width, height, width, height], np.float32) / np.float32(side)
            predicted = detections.numpy()
            found.append(replace(predicted, xyxy=predicted.xyxy * scale))
        # One by one: a detector weighs its terms by what the batch holds, and the choice of a
        # checkpoint must not hang on which images meet in one.
        image, boxes, labels = batch["image"], batch["boxes"], batch["labels"]
        losses = [
            model.losses(image[i : i + 1], boxes[i : i + 1], labels[i : i + 1])
            for i in range(len(image))
        ]
        return {"loss": torch.cat(losses), "detections": found}

    def val_loss(self, outputs: Observed) -> Tensor:
        """Mean loss of a split."""
        return torch.as_tensor(outputs["loss"]).mean()
