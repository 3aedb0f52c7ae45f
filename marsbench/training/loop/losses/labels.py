"""What a classifier's outputs mean: the loss they are trained by, and probabilities."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from marsbench.config.schema import LossName
from marsbench.tasks.kinds import Kind


class Objective(nn.Module):
    """Loss of every sample, and probabilities, from logits.

    Args:
        kind: Kind of the task.
        loss: cross_entropy or binary_cross_entropy.
        num_classes: K.
        num_outputs: Output nodes: K, or 1 in a binary task whose one node is class 1.
        class_weights: As `marsbench.data.imbalance.Balance` gives them.

    The weights count in `forward`, for training, alone; `plain` leaves them out.
    """

    weights: Tensor | None

    def __init__(
        self,
        kind: Kind,
        loss: LossName,
        num_classes: int,
        num_outputs: int,
        class_weights: NDArray[np.float64] | None = None,
    ) -> None:
        super().__init__()
        if loss not in (LossName.CROSS_ENTROPY, LossName.BINARY_CROSS_ENTROPY):
            raise ValueError(f"{loss} is no loss of labels")
        self.kind, self.loss = kind, loss
        self.num_classes, self.num_outputs = num_classes, num_outputs
        weights = None if class_weights is None else torch.tensor(class_weights).float()
        # Not in checkpoints: it follows from the data.
        self.register_buffer("weights", weights, persistent=False)

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Give the loss of every sample, weighed by class.

        Args:
            logits: float (B, num_outputs).
            labels: As in `Sample`.

        Returns:
            float (B,); their mean is the loss of the batch.
        """
        return self._losses(widened(logits), labels, self.weights)

    def plain(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Give the loss of every sample, all classes alike; shapes as in `forward`."""
        return self._losses(widened(logits), labels, None)

    def probabilities(self, logits: Tensor) -> Tensor:
        """Turn logits (N, num_outputs) into probabilities (N, K).

        Per label in multilabel tasks, else adding up to one.
        """
        logits = logits.float()
        if self.loss is LossName.CROSS_ENTROPY:
            return torch.softmax(logits, dim=1)
        chances = torch.sigmoid(logits)
        if self.kind is Kind.MULTILABEL:
            return chances
        if self.num_outputs == 1:
            return torch.cat([1.0 - chances, chances], dim=1)
        # The sigmoids, scaled to add up to one; their ratios survive where they underflow.
        return torch.softmax(functional.logsigmoid(logits), dim=1)

    def train_losses(self, model: nn.Module, batch: dict[str, Any]) -> Tensor:
        """Loss of every sample of a batch, (B,)."""
        losses: Tensor = self(model(batch["image"]), batch["label"])
        return losses

    def observe(self, model: nn.Module, batch: dict[str, Any]) -> dict[str, Tensor | list[Any]]:
        """Predict a batch; keep logits and labels."""
        image = batch["image"]
        if image.ndim == 5:  # several drawings of each sample
            drawn = self.probabilities(model(image.flatten(0, 1)))
            mean = drawn.view(*image.shape[:2], -1).mean(dim=1)
            return {"logits": torch.logit(mean.double(), eps=1e-12), "label": batch["label"]}
        return {"logits": model(image), "label": batch["label"]}

    def val_loss(self, outputs: dict[str, Tensor | list[Any]]) -> Tensor:
        """Mean loss of a split, all classes alike, also where training weighs them."""
        logits, label = torch.as_tensor(outputs["logits"]), torch.as_tensor(outputs["label"])
        return self.plain(logits, label).mean()

    def _losses(self, logits: Tensor, labels: Tensor, weights: Tensor | None) -> Tensor:
        if self.kind is Kind.MULTILABEL:
            return functional.binary_cross_entropy_with_logits(
                logits, labels, reduction="none", pos_weight=weights
            ).mean(dim=1)
        if self.loss is LossName.CROSS_ENTROPY:
            losses = functional.cross_entropy(logits, labels, reduction="none")
        else:
            wanted = (
                labels[:, None]
                if self.num_outputs == 1
                else functional.one_hot(labels, self.num_classes)
            )
            losses = functional.binary_cross_entropy_with_logits(
                logits, wanted.to(logits.dtype), reduction="none"
            ).mean(dim=1)
        return losses if weights is None else losses * weights[labels]


def widened(logits: Tensor) -> Tensor:
    """Half precision has too few digits for a loss."""
    return logits if logits.dtype == torch.float64 else logits.float()
