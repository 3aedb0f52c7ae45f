"""Losses by the name that `kinds` gives them, and what turns logits into probabilities."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from marsbench.kinds import Kind

Loss = Callable[[Tensor, Tensor], Tensor]

LOSSES: dict[str, Loss] = {
    "cross_entropy": functional.cross_entropy,
    "binary_cross_entropy": functional.binary_cross_entropy_with_logits,
}
"""Mean over the batch, from logits (B, K) and labels as in `Sample`."""


def probabilities(kind: Kind, logits: Tensor) -> Tensor:
    """Turn logits (N, K) into probabilities (N, K): per label, or adding up to one."""
    logits = logits.float()
    return torch.sigmoid(logits) if kind is Kind.MULTILABEL else torch.softmax(logits, dim=1)
