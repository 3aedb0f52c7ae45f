"""Base classes of objectives, the training loop's interface to a kind of task."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from marsbench.config.schema import LossName
from marsbench.data.dataset import MarsDataset
from marsbench.tasks.kinds import Kind

Observed = dict[str, Tensor | list[Any]]
"""Outputs of a batch kept in evaluation: tensors (B, ...) or lists of B."""


class Objective(nn.Module, ABC):
    """Loss of a kind of task, and the columns of its predictions.

    Args:
        kind: Kind of the task.
        loss: The loss.
        num_classes: K.
        num_outputs: Output nodes: K, or 1 in a binary task with a node for class 1 only.
        class_weights: Class weights for training, as in `marsbench.data.imbalance.Balance`.

    Attributes:
        keep: Called in evaluation of masks with the sample id and the class map (H, W), uint8, of
            every sample; None to keep no maps.
    """

    weights: Tensor | None
    keep: Callable[[str, NDArray[np.uint8]], None] | None = None

    def __init__(
        self,
        kind: Kind,
        loss: LossName,
        num_classes: int,
        num_outputs: int,
        class_weights: NDArray[np.float64] | None = None,
    ) -> None:
        super().__init__()
        self.kind, self.loss = kind, loss
        self.num_classes, self.num_outputs = num_classes, num_outputs
        weights = None if class_weights is None else torch.tensor(class_weights).float()
        # Not in checkpoints, since they follow from the data.
        self.register_buffer("weights", weights, persistent=False)

    @abstractmethod
    def train_losses(self, model: Any, batch: dict[str, Any]) -> Tensor:
        """Loss of every sample of a batch, (B,); the mean is the loss of the batch."""

    @abstractmethod
    def observe(self, model: Any, batch: dict[str, Any]) -> Observed:
        """Predict a batch and return the outputs for scoring."""

    def measure(self, model: Any, batch: dict[str, Any]) -> Observed:
        """Outputs of a batch for `val_loss` alone."""
        return self.observe(model, batch)

    def val_loss(self, outputs: Observed) -> Tensor:
        """Mean loss of a split, without class weights."""
        return torch.as_tensor(outputs["loss"]).mean()

    @abstractmethod
    def columns(self, dataset: MarsDataset, outputs: Observed) -> dict[str, list[Any]]:
        """Columns of the stored predictions, from the outputs of a split in its order."""


class LogitObjective(Objective):
    """Objective of models with logits as outputs."""

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Loss of every sample, weighed by class.

        Args:
            logits: float (B, num_outputs) or (B, K, H, W).
            targets: As in `Sample`: labels, or masks (B, H, W).

        Returns:
            float (B,).
        """
        return self.losses(widened(logits), targets, self.weights)

    def plain(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Loss of every sample, without class weights; shapes as in `forward`."""
        return self.losses(widened(logits), targets, None)

    @abstractmethod
    def losses(self, logits: Tensor, targets: Tensor, weights: Tensor | None) -> Tensor:
        """Loss of every sample, (B,), of logits in float32 at least."""

    @abstractmethod
    def probabilities(self, logits: Tensor) -> Tensor:
        """Turn logits into probabilities."""


def widened(logits: Tensor) -> Tensor:
    """Convert logits to float32 at least: half precision has too few digits for a loss."""
    return logits if logits.dtype == torch.float64 else logits.float()
