"""Linear heads on cached features, of which many are fitted at once.

Heads with the same samples in the same order (equal seed, subset and batch size) form a **group**:
they share every batch, and their weights are columns of a matrix. Groups with equal numbers of
draws and equal batches step together in a **block**, as a batched product. Settings that differ
between heads of a group are vectors: learning rate, weight decay, schedule, patience, end of
training. A single run is a block with one head.

Heads do not influence each other, except for rounding.
"""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Hashable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from marsbench.config.schema import OptimName, SchedulerConfig
from marsbench.training.frozen.losses import HeadLoss
from marsbench.training.frozen.samples import Indices


@dataclass(frozen=True, eq=False)
class Head:
    """A head to fit, with its training choices.

    Attributes:
        train: Indices of its samples in the train split, int64 (n,).
        draws: Indices into `train` of the samples of an epoch, int64 (m,).
        val: Samples for the choice of an epoch as (split, indices); None takes the last epoch.
        loss: The loss.
        seed: Seed of the initial weights and of the order of samples.
        batch_size: Samples per step.
        optimizer: Adam, AdamW or SGD.
        lr: Learning rate.
        weight_decay: Weight decay.
        momentum: Momentum of SGD.
        scheduler: Schedule of the learning rate.
        max_epochs: Largest number of epochs.
        patience: Epochs without a better validation loss before early stopping; None for none.
        clip: Largest norm of the gradient; None to not clip.
        turned: Whether each visit of a sample draws a random view.
    """

    train: Indices
    draws: Indices
    val: tuple[str, Indices] | None
    loss: HeadLoss
    seed: int
    batch_size: int
    optimizer: OptimName
    lr: float
    weight_decay: float
    momentum: float
    scheduler: SchedulerConfig
    max_epochs: int
    patience: int | None
    clip: float | None
    turned: bool

    @cached_property
    def group(self) -> Hashable:
        """Key of heads with equal batches."""
        return (self.seed, _digest(self.train), _digest(self.draws), self.block)

    @cached_property
    def block(self) -> Hashable:
        """Key of heads with common steps."""
        val = None if self.val is None else (self.val[0], _digest(self.val[1]))
        size = min(self.batch_size, len(self.draws))
        clips = self.clip is not None
        return (len(self.draws), size, self.optimizer, val, self.loss.kind, clips, self.turned)


@dataclass(frozen=True, kw_only=True)
class FittedHead(ABC):
    """A fitted head.

    Attributes:
        epoch: Epoch of its weights.
        epochs_trained: Number of trained epochs.
        losses: Validation loss after each epoch; empty without validation.
        rates: Learning rate of each epoch.
        broken: Epoch with a NaN or infinite loss; None without.
        converged: Whether fitting to convergence succeeded.
        seconds: Share of the duration of fitting.
    """

    epoch: int = 0
    epochs_trained: int = 0
    losses: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    broken: int | None = None
    converged: bool = True
    seconds: float = 0.0

    @abstractmethod
    def logits(self, features: Tensor) -> Tensor:
        """Apply the head to features (N, F); returns (N, K)."""

    @property
    @abstractmethod
    def tensors(self) -> dict[str, Tensor]:
        """Its tensors, as in the module that applies it to new features."""

    @property
    @abstractmethod
    def num_trained(self) -> int:
        """Number of trained parameters."""


@dataclass(frozen=True, kw_only=True)
class LinearHead(FittedHead):
    """A fitted linear head.

    Attributes:
        weight: (K, F).
        bias: (K,).
    """

    weight: Tensor
    bias: Tensor

    def logits(self, features: Tensor) -> Tensor:
        """Apply the head to features (N, F); returns (N, K)."""
        weight: Any = self.weight
        return torch.addmm(self.bias, features.to(weight.device, weight.dtype), weight.T)

    @property
    def tensors(self) -> dict[str, Tensor]:
        """Tensors of torch's linear layer."""
        return {"weight": self.weight, "bias": self.bias}

    @property
    def num_trained(self) -> int:
        """Number of weights and biases."""
        return self.weight.numel() + self.bias.numel()


def _digest(numbers: Indices) -> bytes:
    """Short digest of indices."""
    return hashlib.blake2b(np.ascontiguousarray(numbers).data, digest_size=16).digest()
