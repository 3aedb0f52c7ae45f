"""Objective of masks: losses per image.

Ignored pixels count neither as targets nor in the predicted volume of a class. Computed in float32
at least, since half precision cannot count pixels.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from marsbench.config.schema import LossName
from marsbench.data.dataset import MarsDataset
from marsbench.metrics.masks import IGNORE
from marsbench.training.loop.objectives.base import LogitObjective, Observed, widened

SMOOTHING = 1e-5
"""Added to both sides of a Dice ratio, as in the paper."""

DICE_WEIGHTS = ("square", "simple", "linear")
"""Weights of a class of volume v in generalised Dice: 1/v^2, 1/v, 1."""


def cross_entropy(
    logits: Tensor, masks: Tensor, class_weights: Tensor | None = None, ignore: int = IGNORE
) -> Tensor:
    """Mean cross entropy of every image, without ignored pixels.

    Args:
        logits: float (B, K, H, W).
        masks: int64 (B, H, W), class ids or `ignore`.
        class_weights: float (K,); factors of the pixels' losses, 1 on average. The mean is over
            pixels, not weights, so that images are comparable.
        ignore: Value of ignored pixels.

    Returns:
        float (B,); 0 for images with all pixels ignored.
    """
    logits = widened(logits)
    weights = None if class_weights is None else class_weights.to(logits.dtype)
    losses = functional.cross_entropy(
        logits, masks, weight=weights, ignore_index=ignore, reduction="none"
    )
    counted = (masks != ignore).flatten(1).sum(dim=1)
    return losses.flatten(1).sum(dim=1) / counted.clamp(min=1)


def generalized_dice(
    logits: Tensor, masks: Tensor, weights: str = "square", ignore: int = IGNORE
) -> Tensor:
    """Generalised Dice loss of every image (Sudre et al. 2017, arXiv:1707.03237).

    The volume of a class is its share of the image's counted pixels. Without smoothing this gives
    the same loss as a volume in pixels, whose square weights in large images would be smaller than
    the smoothing.

    The weight of a class without pixels would be infinite. As in MONAI it is the largest weight of
    the image's classes, so that false predictions of the class count.

    Args:
        logits: float (B, K, H, W).
        masks: int64 (B, H, W), class ids or `ignore`.
        weights: One of `DICE_WEIGHTS`.
        ignore: Value of ignored pixels.

    Returns:
        float (B,) in [0, 1]; 0 for images with all pixels ignored.
    """
    logits = widened(logits)
    num_classes = logits.shape[1]
    counted = masks != ignore
    ids = torch.arange(num_classes, device=masks.device).view(1, -1, 1, 1)
    # Products with booleans keep a byte per pixel and class for the backward pass.
    is_class = (masks[:, None] == ids) & counted[:, None]
    probabilities = torch.softmax(logits, dim=1)
    pixels = counted.flatten(1).sum(dim=1, keepdim=True).clamp(min=1).to(logits.dtype)
    volume = is_class.flatten(2).sum(dim=2) / pixels
    overlap = (probabilities * is_class).flatten(2).sum(dim=2) / pixels
    predicted = (probabilities * counted[:, None]).flatten(2).sum(dim=2) / pixels
    factors = _dice_factors(volume, weights)
    numerator = 2 * (factors * overlap).sum(dim=1) + SMOOTHING
    denominator = (factors * (volume + predicted)).sum(dim=1) + SMOOTHING
    return 1 - numerator / denominator


def _dice_factors(volume: Tensor, weights: str) -> Tensor:
    """Weights of classes with volumes (B, K)."""
    if weights == "linear":
        return torch.ones_like(volume)
    present = volume > 0
    # Divides by positive volumes only, so that no infinity arises.
    inverse = torch.where(present, volume, 1.0).reciprocal() * present
    factors = inverse.square() if weights == "square" else inverse
    return torch.where(present, factors, factors.amax(dim=1, keepdim=True))


class MaskObjective(LogitObjective):
    """Trains on masks of the size of the model's input, and scores at the original size.

    Class weights apply to cross entropy; generalised Dice has its own weights.
    """

    def probabilities(self, logits: Tensor) -> Tensor:
        """Softmax over the classes: logits (B, K, H, W) to float32 probabilities."""
        return torch.softmax(logits.float(), dim=1)

    def train_losses(self, model: nn.Module, batch: dict[str, Any]) -> Tensor:
        """Loss of every sample, (B,)."""
        losses: Tensor = self(model(batch["image"]), batch["mask"])
        return losses

    def measure(self, model: nn.Module, batch: dict[str, Any]) -> Observed:
        """Loss of each sample."""
        return {"loss": self.plain(model(batch["image"]), batch["mask"])}

    def observe(self, model: nn.Module, batch: dict[str, Any]) -> Observed:
        """Predict a batch; returns the loss and confusion matrix (K, K) of each sample."""
        logits, truths = model(batch["image"]), batch["truth"]
        confusions: dict[int, Tensor] = {}
        maps: dict[int, Tensor] = {}
        for alike in _alike(truths, logits.shape[1]):
            truth = torch.stack([truths[i] for i in alike])
            part = logits if len(alike) == len(logits) else torch.stack([logits[i] for i in alike])
            classes = at_size(part, (truth.shape[1], truth.shape[2])).argmax(dim=1)
            counts = confusion(truth.long(), classes, self.num_classes)
            confusions |= zip(alike, counts, strict=True)
            maps |= zip(alike, classes, strict=True)
        if self.keep is not None:
            on_host = _on_host([maps[i] for i in range(len(truths))])
            for name, classes_of_image in zip(batch["sample_id"], on_host, strict=True):
                self.keep(name, classes_of_image)
        return {
            "loss": self.plain(logits, batch["mask"]),
            "confusion": torch.stack([confusions[i] for i in range(len(truths))]),
        }

    def columns(self, dataset: MarsDataset, outputs: Observed) -> dict[str, list[Any]]:
        """Column ``confusion``: pixels by class in ground truth and prediction, (K * K,)."""
        confusions = torch.as_tensor(outputs["confusion"]).cpu().numpy()
        return {"confusion": list(confusions.reshape(len(confusions), -1))}

    def losses(self, logits: Tensor, targets: Tensor, weights: Tensor | None) -> Tensor:
        """Loss of every image, (B,); ``combined`` is cross entropy plus ``generalized_dice``."""
        if self.loss is LossName.CROSS_ENTROPY:
            return cross_entropy(logits, targets, weights)
        if self.loss is LossName.COMBINED:
            return cross_entropy(logits, targets, weights) + generalized_dice(logits, targets)
        _, _, weighing = self.loss.partition("generalized_dice_")
        return generalized_dice(logits, targets, weighing or "square")


_MOST = 2**26
"""Most logits of images at their original size at a time."""


def _alike(truths: Sequence[Tensor], num_classes: int) -> Iterator[list[int]]:
    """Positions of masks of equal size, in groups whose logits fit."""
    sizes: dict[torch.Size, list[int]] = {}
    for i, truth in enumerate(truths):
        sizes.setdefault(truth.shape, []).append(i)
    for size, alike in sizes.items():
        most = max(1, _MOST // (num_classes * size.numel()))
        for start in range(0, len(alike), most):
            yield alike[start : start + most]


def _on_host(maps: Sequence[Tensor]) -> list[NDArray[np.uint8]]:
    """Class maps (H, W) in the memory of the host, copied at once."""
    flat = torch.cat([classes.flatten() for classes in maps]).to(torch.uint8).cpu().numpy()
    ends = np.cumsum([classes.numel() for classes in maps])[:-1]
    parts = zip(np.split(flat, ends), maps, strict=True)
    return [part.reshape(tuple(classes.shape)) for part, classes in parts]


def at_size(logits: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize logits (K, S, S) or (B, K, S, S) to the original size of the images."""
    if logits.shape[-2:] == size:
        return logits
    batch = logits.reshape(-1, *logits.shape[-3:]).float()
    resized = functional.interpolate(batch, size=size, mode="bilinear", align_corners=False)
    return resized.view(*logits.shape[:-2], *size)


def confusion(truth: Tensor, classes: Tensor, num_classes: int, ignore: int = IGNORE) -> Tensor:
    """Count pixels by class id in the ground truth (rows) and the prediction (columns).

    Args:
        truth: int64 (H, W) or (B, H, W).
        classes: int64, of the same shape.
        num_classes: K.
        ignore: Value of ignored pixels of the ground truth.

    Returns:
        int64 (K, K) or (B, K, K).
    """
    pairs = torch.where(truth == ignore, num_classes**2, truth * num_classes + classes)
    counts = _counted(pairs.reshape(-1, *pairs.shape[-2:]).flatten(1), num_classes**2)
    return counts.view(*truth.shape[:-2], num_classes, num_classes)


def _counted(ids: Tensor, number: int) -> Tensor:
    """Count each id below `number` in the rows of ids (N, P) from 0 to `number`; (N, number)."""
    if ids.device.type == "cpu":
        rows = torch.arange(len(ids))[:, None] * (number + 1)
        counts = torch.bincount((ids + rows).flatten(), minlength=len(ids) * (number + 1))
        return counts.view(len(ids), number + 1)[:, :number]
    # The host waits for bincount on a GPU, which adds in any order.
    edges = torch.arange(number + 1, device=ids.device).expand(len(ids), -1).contiguous()
    return torch.searchsorted(ids.sort(dim=1).values, edges).diff(dim=1)
