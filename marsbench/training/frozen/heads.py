"""Fit many linear heads at once on cached features.

Heads with the same samples in the same order (equal seed, subset and batch size) form a **group**:
they share every batch, and their weights are columns of a matrix. Groups with equal numbers of
draws and equal batches step together in a **block**, as a batched product. Settings that differ
between heads of a group are vectors: learning rate, weight decay, schedule, patience, end of
training. A single run is a block with one head.

Heads do not influence each other, except for rounding.
"""

import hashlib
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Hashable, Sequence
from concurrent.futures import CancelledError
from dataclasses import dataclass, field, replace
from functools import cached_property
from threading import Event
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from marsbench.config.schema import OptimName, SchedulerConfig
from marsbench.data.datamodule import epoch_order
from marsbench.training.frozen.losses import HeadLoss
from marsbench.training.frozen.optimizers import LearningRate, Optimizer

_MOST_LOGITS = 2**22
"""Largest number of validation logits computed at a time; bounds memory."""

Indices = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Samples:
    """Features and labels of a split.

    Attributes:
        features: (V, N, F) for V views; on the device, or memory-mapped.
        labels: int64 (N,), or float (N, K) for multilabel tasks; on the device.
    """

    features: Tensor
    labels: Tensor


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


def fit_block(
    heads: Sequence[Head],
    samples: dict[str, Samples],
    *,
    dtype: torch.dtype = torch.float32,
    stop: Event | None = None,
) -> list[LinearHead]:
    """Fit the heads of a block, all groups together.

    Args:
        heads: Heads with equal `Head.block`.
        samples: Their splits by name, including ``train``.
        dtype: Type of the weights.
        stop: Checked after each epoch; training stops if it is set.

    Raises:
        CancelledError: If it is stopped.
    """
    started = time.perf_counter()
    fitted = _Block(heads, samples, dtype).fit(stop)
    share = (time.perf_counter() - started) / len(heads)
    return [replace(head, seconds=share) for head in fitted]


@dataclass
class _Progress:
    """State of a head in training."""

    rate: LearningRate
    best: float = math.inf
    epoch: int = -1
    waited: int = 0
    trained: int = 0
    broken: int | None = None
    losses: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)


class _Block:
    """S groups of up to G heads with K outputs.

    The weights are (S, F + 1, G * K); the last of the F + 1 rows are the biases. Smaller groups are
    padded with unused heads.
    """

    def __init__(
        self, heads: Sequence[Head], samples: dict[str, Samples], dtype: torch.dtype
    ) -> None:
        self.heads, self.samples, self.dtype = heads, samples, dtype
        self.first = heads[0]
        train = samples["train"]
        self.flat = train.features.flatten(0, 1)
        self.num_rows = train.features.shape[1]
        self.labels, self.device = train.labels, train.labels.device
        # One-hot targets of all samples, (N, K), for lookup in every step.
        self.wanted = heads[0].loss.objective.one_hot(train.labels).to(dtype)
        groups: dict[Hashable, list[int]] = {}
        for i, head in enumerate(heads):
            groups.setdefault(head.group, []).append(i)
        self.width = max(map(len, groups.values()))
        # Indices of the heads of each group; -1 for padding and stopped heads.
        self.members = [group + [-1] * (self.width - len(group)) for group in groups.values()]
        self.leaders = [heads[group[0]] for group in groups.values()]
        self.outputs = self.first.loss.num_outputs
        self.progress = [_Progress(LearningRate(head.lr, head.scheduler)) for head in heads]
        self.optimizer = Optimizer(self.first.optimizer)
        self.weights = self._first_weights()
        self.chosen: dict[int, Tensor] = {}
        self.val = None if self.first.val is None else self._opened(*self.first.val)
        self._gather()

    def _opened(self, split: str, indices: Indices) -> tuple[Tensor, Tensor]:
        """Features (N, F) and labels of the validation samples."""
        samples = self.samples[split]
        where = torch.from_numpy(indices)
        upright = samples.features[0]
        taken = upright[where.to(upright.device)].to(self.device, self.dtype)
        return taken, samples.labels[where.to(self.device)]

    def _first_weights(self) -> Tensor:
        """Draw initial weights as in torch's linear layers, with the seed of each group."""
        num_features = self.flat.shape[1]
        bound = 1 / math.sqrt(num_features)
        drawn: dict[int, Tensor] = {}
        for seed in {leader.seed for leader in self.leaders}:
            rng = torch.Generator().manual_seed(seed)
            drawn[seed] = torch.empty(num_features + 1, self.outputs, dtype=torch.float64)
            drawn[seed].uniform_(-bound, bound, generator=rng)
        rows = [drawn[leader.seed].repeat(1, self.width) for leader in self.leaders]
        return torch.stack(rows).to(self.device, self.dtype)

    def _gather(self) -> None:
        """Collect the settings of heads and groups into tensors."""
        self.rows = [leader.train[leader.draws] for leader in self.leaders]
        self.class_weights = self.first.loss.stacked(
            [leader.loss for leader in self.leaders], self.device, self.dtype
        )
        self.decay = self._vector([head.weight_decay for head in self.heads])
        self.momentum = self._vector([head.momentum for head in self.heads])
        self.clips = self._vector([head.clip or math.inf for head in self.heads])

    def _vector(self, values: Sequence[float]) -> Tensor:
        """Repeat a number per head for its outputs, (S, 1, G * K)."""
        rows = [[values[i] if i >= 0 else 0.0 for i in group] for group in self.members]
        vector = torch.tensor(rows, dtype=self.dtype, device=self.device)
        return vector.repeat_interleave(self.outputs, dim=1)[:, None, :]

    def fit(self, stop: Event | None = None) -> list[LinearHead]:
        """Train until all heads have stopped."""
        epoch = 0
        while self.members:
            if stop is not None and stop.is_set():
                raise CancelledError
            self._train(epoch)
            losses = self._val_losses()
            for s, members in enumerate(self.members):
                for g, i in enumerate(members):
                    if i >= 0:
                        self._note(i, s, g, epoch, None if losses is None else losses[s][g])
            self._drop()
            epoch += 1
        return [self._fitted(i) for i in range(len(self.heads))]

    def _train(self, epoch: int) -> None:
        """Train for an epoch."""
        head = self.first
        self.optimizer.set(self._rates(), self.decay, self.momentum)
        drawn = [
            epoch_order(len(rows), leader.seed, epoch)
            for rows, leader in zip(self.rows, self.leaders, strict=True)
        ]
        rows = np.stack([own[order] for own, (order, _) in zip(self.rows, drawn, strict=True)])
        where = rows
        if head.turned:
            where = rows + np.stack([seeds[order] & 7 for order, seeds in drawn]) * self.num_rows
        at = torch.from_numpy(where).to(self.flat.device)
        of = torch.from_numpy(rows).to(self.device)
        size = min(head.batch_size, rows.shape[1])
        for start in range(0, rows.shape[1], size):
            part = slice(start, start + size)
            self._step(
                self._features(at[:, part]), self.labels[of[:, part]], self._wanted(of, part)
            )

    def _wanted(self, rows: Tensor, part: slice) -> Tensor:
        chosen = rows[:, part]
        return self.wanted.index_select(0, chosen.flatten()).view(*chosen.shape, -1)

    def _features(self, rows: Tensor) -> Tensor:
        """Gather training features (S, B, F) of rows (S, B), in the type of the weights."""
        taken = self.flat.index_select(0, rows.flatten())
        return taken.view(*rows.shape, -1).to(self.device, self.dtype)

    def _step(self, x: Tensor, labels: Tensor, wanted: Tensor) -> None:
        """Step on a batch (S, B, F) with labels (S, B) or (S, B, K) and targets (S, B, K)."""
        weights = self.weights
        logits = torch.baddbmm(weights[:, -1:], x, weights[:, :-1])
        shaped = logits.view(*logits.shape[:2], -1, self.outputs)
        slope = self.first.loss.slope(shaped, labels, self.class_weights, wanted)
        slope = slope.flatten(2).div_(x.shape[1])
        gradient = torch.empty_like(weights)
        torch.bmm(x.transpose(1, 2), slope, out=gradient[:, :-1])
        torch.sum(slope, dim=1, out=gradient[:, -1])
        if self.first.clip is not None:
            self._clip(gradient)
        self.optimizer.step(weights, gradient)

    def _clip(self, gradient: Tensor) -> None:
        """Clip the gradient of every head to its largest norm, as in torch."""
        squares = gradient.square().sum(dim=1, keepdim=True)
        norms = squares.view(len(squares), 1, -1, self.outputs).sum(dim=3).sqrt()
        norms = norms.repeat_interleave(self.outputs, dim=2)
        gradient.mul_((self.clips / (norms + 1e-6)).clamp(max=1.0))

    def _rates(self) -> Tensor:
        """Learning rate of every head in the next epoch."""
        rates = [0.0] * len(self.heads)
        for i in self._left:
            rates[i] = self.progress[i].rate.now(self.heads[i].max_epochs)
            self.progress[i].rates.append(rates[i])
        return self._vector(rates)

    @property
    def _left(self) -> list[int]:
        """Indices of heads in training."""
        return [i for group in self.members for i in group if i >= 0]

    def _val_losses(self) -> list[list[float]] | None:
        """Mean validation loss of every head, S lists of G."""
        if self.val is None:
            return None
        features, labels = self.val
        groups = len(self.weights)
        # All groups in a single product, so that the features are read once.
        columns = self.weights.permute(1, 0, 2).flatten(1)
        most = max(1, _MOST_LOGITS // columns.shape[1])
        total = torch.zeros(groups * self.width, dtype=self.dtype, device=self.device)
        for start in range(0, len(features), most):
            part = slice(start, start + most)
            logits = torch.addmm(columns[-1], features[part], columns[:-1])
            shaped = logits.view(len(logits), -1, self.outputs)
            total += self.first.loss.means(shaped, labels[part]) * len(logits)
        losses: list[list[float]] = (total / len(features)).view(groups, -1).tolist()
        return losses

    def _note(self, i: int, s: int, g: int, epoch: int, loss: float | None) -> None:
        """Update the state of a head after an epoch."""
        now, head = self.progress[i], self.heads[i]
        now.trained = epoch + 1
        if loss is None:
            now.epoch = epoch
            if now.trained == head.max_epochs:
                self._keep(i, s, g)
        else:
            now.losses.append(loss)
            if not math.isfinite(loss):
                now.broken = epoch
            elif loss < now.best:
                now.best, now.epoch, now.waited = loss, epoch, 0
                self._keep(i, s, g)
            else:
                now.waited += 1
        now.rate.step(loss)

    def _keep(self, i: int, s: int, g: int) -> None:
        columns = slice(g * self.outputs, (g + 1) * self.outputs)
        self.chosen[i] = self.weights[s, :, columns].clone()

    def _is_done(self, i: int) -> bool:
        now, head = self.progress[i], self.heads[i]
        is_patient = head.patience is None or now.waited < head.patience
        return now.trained >= head.max_epochs or not is_patient or now.broken is not None

    def _drop(self) -> None:
        """Remove stopped heads, and shrink the block if groups or columns become unused."""
        left = [[-1 if i < 0 or self._is_done(i) else i for i in group] for group in self.members]
        kept = [s for s, group in enumerate(left) if max(group) >= 0]
        width = max((sum(i >= 0 for i in left[s]) for s in kept), default=0)
        if len(kept) == len(left) and width == self.width:
            self.members = left
            return
        if not kept:
            self.members = []
            return
        # Columns of each group to keep, padded with stopped heads.
        columns = [sorted(range(self.width), key=lambda g: left[s][g] < 0)[:width] for s in kept]
        self.members = [[left[s][g] for g in row] for s, row in zip(kept, columns, strict=True)]
        self.leaders, self.width = [self.leaders[s] for s in kept], width
        start = torch.tensor(columns, device=self.device)[:, :, None] * self.outputs
        index = (start + torch.arange(self.outputs, device=self.device)).flatten(1)[:, None, :]
        groups = torch.tensor(kept, device=self.device)

        def smaller(tensor: Tensor) -> Tensor:
            part = tensor[groups]
            return part.gather(2, index.expand(-1, part.shape[1], -1))

        self.weights = smaller(self.weights)
        self.optimizer.change(smaller)
        self._gather()

    def _fitted(self, i: int) -> LinearHead:
        now = self.progress[i]
        broken = now.broken
        weights = self.chosen.get(i)
        if weights is None:
            weights = torch.full((self.flat.shape[1] + 1, self.outputs), math.nan)
        if broken is None and not bool(torch.isfinite(weights).all()):
            broken = max(now.epoch, 0)
        return LinearHead(
            weight=weights[:-1].T.contiguous(),
            bias=weights[-1].clone(),
            epoch=now.epoch,
            epochs_trained=now.trained,
            losses=now.losses,
            rates=now.rates,
            broken=broken,
        )
