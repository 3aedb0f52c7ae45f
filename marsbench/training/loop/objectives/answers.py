"""Objective of answers in words: cross entropy of their tokens."""

from typing import Any

import torch
from torch import Tensor

from marsbench.data.dataset import MarsDataset
from marsbench.training.loop.objectives.base import LogitObjective, Observed


class AnswerObjective(LogitObjective):
    """Loss and classes of answers. An answer without a class has zeros for scores."""

    def train_losses(self, model: Any, batch: dict[str, Any]) -> Tensor:
        """Loss of every sample of a batch, (B,)."""
        label = batch["label"]
        losses: Tensor = model.losses(batch["image"], label)
        return losses if self.weights is None else losses * self.weights[label]

    def measure(self, model: Any, batch: dict[str, Any]) -> Observed:
        """Loss of every sample, without the answer, which takes much longer."""
        return {"loss": model.losses(batch["image"], batch["label"])}

    def observe(self, model: Any, batch: dict[str, Any]) -> Observed:
        """Answer for a batch."""
        return {"scores": model(batch["image"]), **self.measure(model, batch)}

    def columns(self, dataset: MarsDataset, outputs: Observed) -> dict[str, list[Any]]:
        """Columns ``target`` and ``scores``, 1 for the class of the answer."""
        scores = torch.as_tensor(outputs["scores"]).cpu().numpy()
        return {"target": list(dataset.targets), "scores": list(scores)}

    def probabilities(self, logits: Tensor) -> Tensor:
        """Return the scores of the model, which are no logits."""
        return logits

    def losses(self, logits: Tensor, targets: Tensor, weights: Tensor | None) -> Tensor:
        """Raise: answers have no logits of classes."""
        raise NotImplementedError("answers have no logits of classes")
