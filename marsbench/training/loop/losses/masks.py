"""Losses of segmentation, one number per image.

Pixels of the ignored value count nowhere: not as targets, and not in what a class's prediction
adds up to. Arithmetic is in float32 at least, since half precision cannot count pixels.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from marsbench.training.loop.losses.labels import widened

IGNORE = 255
"""The value of mask pixels that count nowhere."""

SMOOTHING = 1e-5
"""Added to both sides of a Dice ratio, as in the paper."""

DICE_WEIGHTS = ("square", "simple", "linear")
"""How generalised Dice weighs a class of volume v: 1/v^2, 1/v, 1."""

LOSSES = (
    "cross_entropy",
    "generalized_dice",
    "generalized_dice_simple",
    "generalized_dice_linear",
    "combined",
)
"""The losses of the paper; ``generalized_dice`` has square weights."""


def cross_entropy(
    logits: Tensor, masks: Tensor, class_weights: Tensor | None = None, ignore: int = IGNORE
) -> Tensor:
    """Mean cross entropy over the counted pixels of every image.

    Args:
        logits: float (B, K, H, W).
        masks: int64 (B, H, W), class ids or `ignore`.
        class_weights: float (K,); factors of the pixels' losses, best 1 on average: the mean is
            taken over pixels and not over weights, so that images stay comparable.
        ignore: Value of the pixels that count nowhere.

    Returns:
        float (B,); 0 where every pixel is ignored.
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

    A class's volume is its share of the image's counted pixels. Without smoothing that gives the
    same loss as a volume in pixels, whose square weights of large images would be so small that
    the smoothing outweighed them.

    A class without pixels would weigh infinitely; as in MONAI it weighs as much as the heaviest
    class that the image has, so what is falsely predicted of it costs.

    Args:
        logits: float (B, K, H, W).
        masks: int64 (B, H, W), class ids or `ignore`.
        weights: One of `DICE_WEIGHTS`.
        ignore: Value of the pixels that count nowhere.

    Returns:
        float (B,) in [0, 1]; 0 where every pixel is ignored.
    """
    logits = widened(logits)
    num_classes = logits.shape[1]
    counted = masks != ignore
    ids = torch.arange(num_classes, device=masks.device).view(1, -1, 1, 1)
    # Products with booleans: what is kept for the backward pass is one byte per pixel and class.
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
    """Weigh classes of volumes (B, K)."""
    if weights == "linear":
        return torch.ones_like(volume)
    present = volume > 0
    # Divided only where there is something, so that no infinity ever arises.
    inverse = torch.where(present, volume, 1.0).reciprocal() * present
    factors = inverse.square() if weights == "square" else inverse
    return torch.where(present, factors, factors.amax(dim=1, keepdim=True))


class SegmentationObjective(nn.Module):
    """Loss of every image, and probabilities, from logits.

    Args:
        loss: One of `LOSSES`; ``combined`` is cross entropy plus ``generalized_dice``.
        num_classes: K.
        class_weights: float (K,), 1 on average; for cross entropy, since generalised Dice weighs
            the classes itself.

    The weights count in `forward`, for training, alone; `plain` leaves them out.

    Raises:
        ValueError: If there is no such loss.
    """

    weights: Tensor | None

    def __init__(
        self, loss: str, num_classes: int, class_weights: NDArray[np.float64] | None = None
    ) -> None:
        super().__init__()
        if loss not in LOSSES:
            raise ValueError(f"loss {loss} is none of {', '.join(LOSSES)}")
        self.loss, self.num_classes = loss, num_classes
        weights = None if class_weights is None else torch.tensor(class_weights).float()
        # Not in checkpoints: it follows from the data.
        self.register_buffer("weights", weights, persistent=False)

    def forward(self, logits: Tensor, masks: Tensor) -> Tensor:
        """Give the loss of every image, weighed by class.

        Args:
            logits: float (B, K, H, W).
            masks: int64 (B, H, W), class ids or `IGNORE`.

        Returns:
            float (B,); their mean is the loss of the batch.
        """
        return self._losses(logits, masks, self.weights)

    def plain(self, logits: Tensor, masks: Tensor) -> Tensor:
        """Give the loss of every image, all classes alike; shapes as in `forward`."""
        return self._losses(logits, masks, None)

    def probabilities(self, logits: Tensor) -> Tensor:
        """Turn logits (B, K, H, W) into float32 probabilities that add up to one over K."""
        return torch.softmax(logits.float(), dim=1)

    def _losses(self, logits: Tensor, masks: Tensor, weights: Tensor | None) -> Tensor:
        if self.loss == "cross_entropy":
            return cross_entropy(logits, masks, weights)
        if self.loss == "combined":
            return cross_entropy(logits, masks, weights) + generalized_dice(logits, masks)
        _, _, kind = self.loss.partition("generalized_dice_")
        return generalized_dice(logits, masks, kind or "square")
