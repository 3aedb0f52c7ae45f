"""Objective of labels: cross entropy, or binary cross entropy per output."""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from marsbench.config.schema import LossName
from marsbench.data.dataset import MarsDataset
from marsbench.tasks.kinds import Kind
from marsbench.training.loop.objectives.base import LogitObjective, Observed


class LabelObjective(LogitObjective):
    """Loss and probabilities of logits (B, num_outputs)."""

    def probabilities(self, logits: Tensor) -> Tensor:
        """Turn logits (N, num_outputs) into probabilities (N, K).

        Independent per label in multilabel tasks, else adding up to 1.
        """
        logits = logits.float()
        if self.loss is LossName.CROSS_ENTROPY:
            return torch.softmax(logits, dim=1)
        chances = torch.sigmoid(logits)
        if self.kind is Kind.MULTILABEL:
            return chances
        if self.num_outputs == 1:
            return torch.cat([1.0 - chances, chances], dim=1)
        # Sigmoids scaled to add up to 1; logarithms keep their ratios if they underflow.
        return torch.softmax(functional.logsigmoid(logits), dim=1)

    def train_losses(self, model: nn.Module, batch: dict[str, Any]) -> Tensor:
        """Loss of every sample of a batch, (B,)."""
        losses: Tensor = self(model(batch["image"]), batch["label"])
        return losses

    def observe(self, model: nn.Module, batch: dict[str, Any]) -> Observed:
        """Predict a batch; returns logits and labels."""
        image = batch["image"]
        if image.ndim == 5:  # several drawings of each sample
            drawn = self.probabilities(model(image.flatten(0, 1)))
            mean = drawn.view(*image.shape[:2], -1).mean(dim=1)
            return {"logits": torch.logit(mean.double(), eps=1e-12), "label": batch["label"]}
        return {"logits": model(image), "label": batch["label"]}

    def val_loss(self, outputs: Observed) -> Tensor:
        """Mean loss of a split, without class weights."""
        logits, label = torch.as_tensor(outputs["logits"]), torch.as_tensor(outputs["label"])
        return self.plain(logits, label).mean()

    def columns(self, dataset: MarsDataset, outputs: Observed) -> dict[str, list[Any]]:
        """Columns ``target`` and ``scores``, probabilities (K,); ``instrument`` of spectra."""
        # Stored and scored as float32, so that scoring them again gives equal numbers.
        scores = self.probabilities(torch.as_tensor(outputs["logits"])).cpu().numpy()
        columns: dict[str, list[Any]] = {
            "target": list(dataset.targets),
            "scores": list(scores.astype(np.float32)),
        }
        if dataset.rendering is not None:
            columns["instrument"] = [
                str(dataset.samples[int(i)].meta.get("instrument", "")) for i in dataset.indices
            ]
        return columns

    def one_hot(self, labels: Tensor) -> Tensor:
        """Targets of the outputs, zeros and ones (N, num_outputs), for labels (N,) or (N, K)."""
        if self.kind is Kind.MULTILABEL:
            return labels
        if self.num_outputs == 1:
            return labels[:, None]
        return functional.one_hot(labels, self.num_outputs)

    def losses(self, logits: Tensor, targets: Tensor, weights: Tensor | None) -> Tensor:
        """Loss of every sample, (B,)."""
        if self.kind is Kind.MULTILABEL:
            return functional.binary_cross_entropy_with_logits(
                logits, targets, reduction="none", pos_weight=weights
            ).mean(dim=1)
        if self.loss is LossName.CROSS_ENTROPY:
            losses = functional.cross_entropy(logits, targets, reduction="none")
        else:
            losses = functional.binary_cross_entropy_with_logits(
                logits, self.one_hot(targets).to(logits.dtype), reduction="none"
            ).mean(dim=1)
        return losses if weights is None else losses * weights[targets]
