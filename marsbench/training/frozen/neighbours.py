"""Classify by nearest neighbours, whose number is chosen on validation."""

import time
from dataclasses import dataclass

import torch
from torch import Tensor

from marsbench.config.schema import LossName
from marsbench.models.encoders.neighbours import NeighbourHead
from marsbench.tasks.kinds import Kind
from marsbench.training.frozen.heads import FittedHead, Head, Indices, Samples

NUMBERS = (1, 2, 5, 10, 20, 50, 100, 200)
"""Numbers of neighbours to choose from, as far as there are train samples."""


@dataclass(frozen=True, kw_only=True)
class FittedNeighbours(FittedHead):
    """Train samples that classify.

    Attributes:
        head: The classifier.
        loss: Validation loss of its number of neighbours.
    """

    head: NeighbourHead
    loss: float

    @property
    def neighbours(self) -> int:
        """Number of neighbours."""
        return int(self.head.neighbours)

    def logits(self, features: Tensor) -> Tensor:
        """Apply the head to features (N, F); returns (N, K)."""
        logits: Tensor = self.head(features)
        return logits

    @property
    def tensors(self) -> dict[str, Tensor]:
        """Features and targets of the train samples, and the number of neighbours."""
        return self.head.state_dict()

    @property
    def num_trained(self) -> int:
        """No parameter is trained."""
        return 0


def fit_neighbours(
    head: Head, samples: dict[str, Samples], dtype: torch.dtype = torch.float32
) -> FittedNeighbours:
    """Choose the number of neighbours with the smallest loss on validation.

    Args:
        head: The head, with validation samples.
        samples: Its splits by name.
        dtype: Type of the similarities.
    """
    started = time.perf_counter()
    if head.val is None:
        raise RuntimeError("the number of neighbours is chosen on validation")
    features, labels = _taken(samples["train"], head.train[head.draws], dtype)
    objective = head.loss.objective
    exclusive = objective.kind is not Kind.MULTILABEL and objective.loss is LossName.CROSS_ENTROPY
    numbers = [k for k in NUMBERS if k <= len(features)]
    voters = NeighbourHead(
        features, objective.one_hot(labels), neighbours=numbers[0], exclusive=exclusive
    )
    split, indices = head.val
    asked, wanted = _taken(samples[split], indices, dtype)
    wanted = wanted.to(dtype) if wanted.is_floating_point() else wanted
    losses = [
        float(objective.plain(logits, wanted).mean()) for logits in voters.logits(asked, numbers)
    ]
    best = min(range(len(numbers)), key=lambda i: losses[i])
    voters.neighbours.fill_(numbers[best])
    return FittedNeighbours(head=voters, loss=losses[best], seconds=time.perf_counter() - started)


def _taken(samples: Samples, rows: Indices, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Features (N, F) and labels of rows, on the device."""
    at, device = torch.from_numpy(rows), samples.labels.device
    features = samples.features[0][at.to(samples.features.device)].to(device, dtype)
    return features, samples.labels[at.to(device)]
