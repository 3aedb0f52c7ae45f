"""Fit the heads of a block side by side."""

import math
import time
from collections.abc import Hashable, Sequence
from concurrent.futures import CancelledError
from dataclasses import dataclass, field, replace
from threading import Event

import numpy as np
import torch
from torch import Tensor

from marsbench.data.datamodule import epoch_order
from marsbench.training.frozen.graphs import captured
from marsbench.training.frozen.heads import Head, LinearHead
from marsbench.training.frozen.optimizers import LearningRate, Optimizer
from marsbench.training.frozen.samples import Rows, Samples, fetch
from marsbench.training.loop.devices import to_device

_MOST_LOGITS = 2**22
"""Largest number of validation logits computed at a time; bounds memory."""


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
    block = _Block(heads, samples, dtype)
    try:
        fitted = block.fit(stop)
    finally:
        # Refers to the block, whose memory would only be freed by a full garbage collection.
        del block.step
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

    The host waits for the device once in an epoch, for the validation losses.
    """

    def __init__(
        self, heads: Sequence[Head], samples: dict[str, Samples], dtype: torch.dtype
    ) -> None:
        self.heads, self.dtype = heads, dtype
        self.first = heads[0]
        self.train = samples["train"]
        self.flat = self.train.features.flatten(0, 1)
        self.labels, self.device = self.train.labels, self.train.device
        # One-hot targets of all samples, (N, K), for lookup in every step.
        self.wanted = heads[0].loss.objective.one_hot(self.labels).to(dtype)
        groups: dict[Hashable, list[int]] = {}
        for i, head in enumerate(heads):
            groups.setdefault(head.group, []).append(i)
        self.width = max(map(len, groups.values()))
        # Heads of the columns of each group; -1 for padding.
        self.columns = [group + [-1] * (self.width - len(group)) for group in groups.values()]
        # Heads in training; -1 for stopped ones too.
        self.members = self.columns
        self.leaders = [heads[group[0]] for group in groups.values()]
        self.outputs = self.first.loss.num_outputs
        self.progress = [_Progress(LearningRate(head.lr, head.scheduler)) for head in heads]
        self.weights = self._first_weights()
        # Weights of each head's best epoch.
        self.best = torch.full_like(self.weights, math.nan)
        self.optimizer = Optimizer(self.first.optimizer, self.weights)
        self.chosen: dict[int, Tensor] = {}
        self.finite: list[Tensor] = []
        self.val = None
        if self.first.val is not None:
            split, indices = self.first.val
            self.val = Rows(samples[split], indices, dtype), samples[split].labels_of(indices)
        self._gather()

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
        return to_device(torch.stack(rows).to(self.dtype), self.device)

    def _gather(self) -> None:
        """Collect the settings of heads and groups into tensors, and prepare steps with them."""
        self.rows = [leader.train[leader.draws] for leader in self.leaders]
        self.class_weights = self.first.loss.stacked(
            [leader.loss for leader in self.leaders], self.device, self.dtype
        )
        self.optimizer.set(
            self._vector([head.weight_decay for head in self.heads]),
            self._vector([head.momentum for head in self.heads]),
        )
        clips = self._vector([head.clip or math.inf for head in self.heads])
        self.clips = to_device(clips, self.device)
        self.step = captured(self._step, self.device)

    def _vector(self, values: Sequence[float]) -> Tensor:
        """Repeat a number per head for its outputs, (S, 1, G * K), on the host."""
        rows = [[values[i] if i >= 0 else 0.0 for i in group] for group in self.members]
        vector = torch.tensor(rows, dtype=self.dtype)
        return vector.repeat_interleave(self.outputs, dim=1)[:, None, :]

    def fit(self, stop: Event | None = None) -> list[LinearHead]:
        """Train until all heads have stopped."""
        epoch = 0
        while self.members:
            if stop is not None and stop.is_set():
                raise CancelledError
            self._train(epoch)
            losses = self._val_losses()
            is_best = np.zeros((len(self.members), self.width), dtype=bool)
            for s, members in enumerate(self.members):
                for g, i in enumerate(members):
                    if i >= 0:
                        loss = None if losses is None else losses[s][g]
                        is_best[s, g] = self._note(i, epoch, loss)
            self._keep(is_best)
            self._drop()
            epoch += 1
        finite = torch.cat(self.finite).tolist()
        return [
            self._fitted(i, is_finite=is_finite)
            for i, is_finite in sorted(zip(self.chosen, finite, strict=True))
        ]

    def _train(self, epoch: int) -> None:
        """Train for an epoch."""
        head = self.first
        drawn = [
            epoch_order(len(rows), leader.seed, epoch)
            for rows, leader in zip(self.rows, self.leaders, strict=True)
        ]
        rows = np.stack([own[order] for own, (order, _) in zip(self.rows, drawn, strict=True)])
        where = rows
        if head.turned:
            num_rows = self.train.features.shape[1]
            where = rows + np.stack([seeds[order] & 7 for order, seeds in drawn]) * num_rows
        at = torch.from_numpy(where)
        if self.train.is_near:
            at = to_device(at, self.device)
        of = to_device(torch.from_numpy(rows), self.device)
        size = min(head.batch_size, rows.shape[1])
        starts = range(0, rows.shape[1], size)
        factors = self.optimizer.begin(self._rates(), len(starts))
        for n, start in enumerate(starts):
            part = slice(start, start + size)
            self.step(self._batch(at[:, part]), of[:, part], factors[n])

    def _batch(self, where: Tensor) -> Tensor:
        """Batch of flat rows (S, B): rows on the device, or features (S * B, F) of the host."""
        if self.train.is_near:
            return where
        return fetch(self.flat, where.flatten(), self.device)

    def _step(self, batch: Tensor, rows: Tensor, factors: Tensor) -> None:
        """Step on a batch of `_batch`, samples (S, B), with factors of the optimiser."""
        near = self.train.is_near
        taken = self.flat.index_select(0, batch.flatten()) if near else batch
        x = taken.view(*rows.shape, -1).to(self.dtype)
        wanted = self.wanted.index_select(0, rows.flatten()).view(*rows.shape, -1)
        labels = None if self.class_weights is None else self.labels[rows]
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
        self.optimizer.step(weights, gradient, factors)

    def _clip(self, gradient: Tensor) -> None:
        """Clip the gradient of every head to its largest norm, as in torch."""
        squares = gradient.square().sum(dim=1, keepdim=True)
        norms = squares.view(len(squares), 1, -1, self.outputs).sum(dim=3).sqrt()
        norms = norms.repeat_interleave(self.outputs, dim=2)
        gradient.mul_((self.clips / (norms + 1e-6)).clamp(max=1.0))

    def _rates(self) -> Tensor:
        """Learning rate of every head in the next epoch."""
        rates = [0.0] * len(self.heads)
        for group in self.members:
            for i in group:
                if i >= 0:
                    rates[i] = self.progress[i].rate.now(self.heads[i].max_epochs)
                    self.progress[i].rates.append(rates[i])
        return self._vector(rates)

    def _val_losses(self) -> list[list[float]] | None:
        """Mean validation loss of every head, S lists of G."""
        if self.val is None:
            return None
        rows, labels = self.val
        groups = len(self.weights)
        # All groups in a single product, so that the features are read once.
        columns = self.weights.permute(1, 0, 2).flatten(1)
        most = max(1, _MOST_LOGITS // columns.shape[1])
        total = torch.zeros(groups * self.width, dtype=self.dtype, device=self.device)
        for place, features in rows.parts(most):
            logits = torch.addmm(columns[-1], features, columns[:-1])
            shaped = logits.view(len(logits), -1, self.outputs)
            total += self.first.loss.means(shaped, labels[place]) * len(logits)
        losses: list[list[float]] = (total / len(rows)).view(groups, -1).tolist()
        return losses

    def _note(self, i: int, epoch: int, loss: float | None) -> bool:
        """Update the state of a head after an epoch; returns whether to keep its weights."""
        now, head = self.progress[i], self.heads[i]
        now.trained = epoch + 1
        if loss is None:
            now.epoch = epoch
            is_best = now.trained == head.max_epochs
        else:
            now.losses.append(loss)
            is_best = loss < now.best and math.isfinite(loss)
            if not math.isfinite(loss):
                now.broken = epoch
            elif is_best:
                now.best, now.epoch, now.waited = loss, epoch, 0
            else:
                now.waited += 1
        now.rate.step(loss)
        return is_best

    def _keep(self, is_best: np.ndarray) -> None:
        """Copy the weights of heads, chosen by (S, G), to the best ones."""
        if is_best.all():
            self.best.copy_(self.weights)
        elif is_best.any():
            mask = torch.from_numpy(is_best.repeat(self.outputs, axis=1))[:, None, :]
            torch.where(to_device(mask, self.device), self.weights, self.best, out=self.best)

    def _is_done(self, i: int) -> bool:
        now, head = self.progress[i], self.heads[i]
        is_patient = head.patience is None or now.waited < head.patience
        return now.trained >= head.max_epochs or not is_patient or now.broken is not None

    def _drop(self) -> None:
        """Remove stopped heads, and shrink the block if groups or columns become unused."""
        left = [[-1 if i < 0 or self._is_done(i) else i for i in group] for group in self.members]
        self.members = left
        kept = [s for s, group in enumerate(left) if max(group) >= 0]
        width = max((sum(i >= 0 for i in left[s]) for s in kept), default=0)
        # Another size is another graph, and a GPU hardly takes longer for unused columns.
        most = len(left) * self.width // (1 if self.device.type == "cpu" else 2)
        if len(kept) * width > most or (len(kept) == len(left) and width == self.width):
            return
        # Columns of each group to keep, padded with stopped heads.
        places = [sorted(range(self.width), key=lambda g: left[s][g] < 0)[:width] for s in kept]
        self._release(kept, places)
        self.members = [[left[s][g] for g in row] for s, row in zip(kept, places, strict=True)]
        if not kept:
            return
        self.columns = [
            [self.columns[s][g] for g in row] for s, row in zip(kept, places, strict=True)
        ]
        self.leaders, self.width = [self.leaders[s] for s in kept], width
        start = torch.tensor(places)[:, :, None] * self.outputs
        index = (start + torch.arange(self.outputs)).flatten(1)[:, None, :]
        index, groups = (to_device(t, self.device) for t in (index, torch.tensor(kept)))

        def smaller(tensor: Tensor) -> Tensor:
            part = tensor[groups]
            return part.gather(2, index.expand(-1, part.shape[1], -1))

        self.weights, self.best = smaller(self.weights), smaller(self.best)
        self.optimizer.change(smaller)
        self._gather()

    def _release(self, kept: list[int], places: list[list[int]]) -> None:
        """Take the best weights of the heads whose columns are removed."""
        staying = {(s, g) for s, row in zip(kept, places, strict=True) for g in row}
        leaving = [
            (i, s, g)
            for s, group in enumerate(self.columns)
            for g, i in enumerate(group)
            if i >= 0 and (s, g) not in staying
        ]
        if not leaving:
            return
        heads, groups, columns = zip(*leaving, strict=True)
        places_of = to_device(torch.tensor([groups, columns]), self.device)
        by_head = self.best.view(*self.best.shape[:2], -1, self.outputs)
        best = by_head[places_of[0], :, places_of[1]]
        self.chosen.update(zip(heads, best, strict=True))
        self.finite.append(torch.isfinite(best).flatten(1).all(dim=1))

    def _fitted(self, i: int, *, is_finite: bool) -> LinearHead:
        now, weights = self.progress[i], self.chosen[i]
        broken = now.broken
        if broken is None and not is_finite:
            broken = max(now.epoch, 0)
        return LinearHead(
            weight=weights[:-1].T.clone(memory_format=torch.contiguous_format),
            bias=weights[-1].clone(),
            epoch=now.epoch,
            epochs_trained=now.trained,
            losses=now.losses,
            rates=now.rates,
            broken=broken,
        )
