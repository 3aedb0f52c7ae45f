"""Classification of features by their nearest neighbours among the train samples."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

TEMPERATURE = 0.07
"""Temperature of the votes (Wu et al. 2018, section 3.4; DINO, Caron et al. 2021, appendix)."""

_QUERIES = 2**26
"""Largest number of similarities in memory at a time."""

_PART_BYTES = 2**28
"""Most bytes of features of the host that are copied to the device at a time."""


class NeighbourHead(nn.Module):
    """Votes of the nearest train samples by cosine similarity s, of weight exp(s / 0.07).

    The share v of the k votes for a class, and its frequency f among the train samples as one more
    vote, give its probability (k v + f) / (k + 1), which is never 0.

    Args:
        features: Features of the train samples (N, F); on the host, if the device is too small.
        targets: Their targets, 0 or 1, per output (N, K); on the device of the queries.
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
        most = max(1, _QUERIES // min(len(self.features), self._rows_at_a_time))
        return torch.cat(
            [self._logits(part, numbers) for part in torch.split(features, most)], dim=1
        )

    def _logits(self, features: Tensor, numbers: list[int]) -> Tensor:
        asked = functional.normalize(features.to(self.targets), dim=1)
        similarity, nearest = self._nearest(asked, max(numbers))
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

    def _nearest(self, asked: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """Largest similarities of normalised queries (B, F) and their train samples, (B, count)."""
        best: tuple[Tensor, Tensor] | None = None
        for start in range(0, len(self.features), self._rows_at_a_time):
            part = self.features[start : start + self._rows_at_a_time].to(asked.device)
            similarity, nearest = (asked @ part.T).topk(min(count, len(part)), dim=1)
            nearest = nearest + start
            if best is not None:
                similarity = torch.cat([best[0], similarity], dim=1)
                nearest = torch.cat([best[1], nearest], dim=1)
                similarity, chosen = similarity.topk(min(count, similarity.shape[1]), dim=1)
                nearest = nearest.gather(1, chosen)
            best = similarity, nearest
        if best is None:
            raise RuntimeError("there are no train samples")
        return best

    @property
    def _rows_at_a_time(self) -> int:
        """Train samples compared at a time: all that are on the device of the queries."""
        if self.features.device == self.targets.device:
            return max(1, len(self.features))
        return max(1, _PART_BYTES // (self.features.shape[1] * self.features.element_size()))

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
