"""Classify by nearest neighbours, whose number is chosen on validation."""

import time
from dataclasses import dataclass

import torch
from torch import Tensor

from marsbench.config.schema import LossName
from marsbench.models.encoders.neighbours import NeighbourHead
from marsbench.tasks.kinds import Kind
from marsbench.training.frozen.heads import FittedHead, Head
from marsbench.training.frozen.samples import Rows, Samples, joined

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
    train, rows = samples["train"], head.train[head.draws]
    objective = head.loss.objective
    exclusive = objective.kind is not Kind.MULTILABEL and objective.loss is LossName.CROSS_ENTROPY
    numbers = [k for k in NUMBERS if k <= len(rows)]
    voters = NeighbourHead(
        train.features_of(rows).to(dtype),
        objective.one_hot(train.labels_of(rows)),
        neighbours=numbers[0],
        exclusive=exclusive,
    )
    split, indices = head.val
    wanted = samples[split].labels_of(indices)
    wanted = wanted.to(dtype) if wanted.is_floating_point() else wanted
    asked = Rows(samples[split], indices, dtype).parts()
    logits = joined([voters.logits(part, numbers) for _, part in asked], dim=1)
    losses = [float(objective.plain(by_number, wanted).mean()) for by_number in logits]
    best = min(range(len(numbers)), key=lambda i: losses[i])
    voters.neighbours.fill_(numbers[best])
    return FittedNeighbours(head=voters, loss=losses[best], seconds=time.perf_counter() - started)
