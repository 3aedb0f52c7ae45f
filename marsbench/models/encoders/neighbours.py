"""Classification of features by their nearest neighbours among the train samples."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

TEMPERATURE = 0.07
"""Temperature of the votes (Wu et al. 2018, section 3.4; DINO, Caron et al. 2021, appendix)."""

_QUERIES = 2**26
"""Largest number of similarities in memory at a time."""


class NeighbourHead(nn.Module):
    """Votes of the nearest train samples by cosine similarity s, of weight exp(s / 0.07).

    The share v of the k votes for a class, and its frequency f among the train samples as one more
    vote, give its probability (k v + f) / (k + 1), which is never 0.

    Args:
        features: Features of the train samples (N, F).
        targets: Their targets, 0 or 1, per output (N, K).
        neighbours: Number of neighbours k, 1 to N.
        exclusive: Whether the classes of a sample exclude each other, so that logits are those of a
            softmax, rather than of a sigmoid for each output.
    """

    features: Tensor
    targets: Tensor
    neighbours: Tensor
    exclusive: Tensor

    def __init__(
        self, features: Tensor, targets: Tensor, *, neighbours: int, exclusive: bool
    ) -> None:
        super().__init__()
        self.register_buffer("features", functional.normalize(features, dim=1))
        self.register_buffer("targets", targets.to(features.dtype))
        self.register_buffer("neighbours", torch.tensor(neighbours))
        self.register_buffer("exclusive", torch.tensor(exclusive))

    @classmethod
    def of(cls, tensors: dict[str, Tensor]) -> "NeighbourHead":
        """Make a head of the tensors of another."""
        k, exclusive = int(tensors["neighbours"]), bool(tensors["exclusive"])
        head = cls(tensors["features"], tensors["targets"], neighbours=k, exclusive=exclusive)
        head.features = tensors["features"]  # normalising again would round again
        return head

    def forward(self, features: Tensor) -> Tensor:
        """Classify features (B, F); returns logits (B, K)."""
        return self.logits(features, [int(self.neighbours)])[0]

    def logits(self, features: Tensor, numbers: list[int]) -> Tensor:
        """Classify features (B, F) by each of n numbers of neighbours; returns (n, B, K)."""
        most = max(1, _QUERIES // len(self.features))
        return torch.cat(
            [self._logits(part, numbers) for part in torch.split(features, most)], dim=1
        )

    def _logits(self, features: Tensor, numbers: list[int]) -> Tensor:
        asked = functional.normalize(features.to(self.features), dim=1)
        similarity, nearest = (asked @ self.features.T).topk(max(numbers), dim=1)
        # Relative to the nearest: the shares stay, and nothing overflows.
        votes = ((similarity - similarity[:, :1]) / TEMPERATURE).exp()
        total = votes.cumsum(dim=1)
        frequency = (self.targets.sum(dim=0) + self._doubt) / (len(self.targets) + 1)
        chances = []
        for k in numbers:
            share = (votes[:, :k, None] * self.targets[nearest[:, :k]]).sum(dim=1)
            share = share / total[:, k - 1 : k]
            chances.append((k * share + frequency) / (k + 1))
        chance = torch.stack(chances)
        return chance.log() if self.exclusive else chance.logit()

    @property
    def _doubt(self) -> float:
        """Prior count of a class, of which the train samples may have none."""
        return 1 / self.targets.shape[1] if self.exclusive else 0.5


def with_neighbours(model: Any, state: dict[str, Tensor]) -> Any:
    """Replace the linear head of a classifier by the neighbours in its saved tensors."""
    model.head = NeighbourHead.of(
        {name.removeprefix("head."): t for name, t in state.items() if name.startswith("head.")}
    )
    return model
