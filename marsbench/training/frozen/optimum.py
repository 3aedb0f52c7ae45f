"""Fit a head to the optimum of its convex problem, without learning rate or sample order."""

import math
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from marsbench.training.frozen.heads import Head, LinearHead
from marsbench.training.frozen.samples import Rows, Samples, joined

MOST_ITERATIONS = 100
"""Largest number of Newton steps; a dozen is usual."""

TOLERANCE = 1e-6
"""Norm of the gradient at convergence, relative to weight decay times norm of the weights.

The weight decay bounds the curvature in the weights from below, so at a given bias their distance
to the optimum is at most the norm of the gradient over the weight decay.
"""

_MOST_PRODUCTS = 1000
"""Largest number of products with the Hessian per step."""

_STALE = 20
"""Products of a step after which the preconditioner is made again."""


def fit_to_convergence(
    head: Head, samples: dict[str, Samples], dtype: torch.dtype = torch.float32
) -> LinearHead:
    """Fit a head to all samples by Newton's method.

    Minimises the mean loss of the draws plus half the weight decay times the sum of the squared
    weights, without biases, in double precision.

    Args:
        head: The head; its weight decay is positive.
        samples: Its splits by name.
        dtype: Type of the returned weights.
    """
    started = time.perf_counter()
    train = samples["train"]
    indices = head.train[head.draws]
    rows, labels = Rows(train, indices, torch.float64), train.labels_of(indices)
    basis = None
    if len(rows) < rows.num_features:
        # The optimum is a combination of the samples, so their span is searched alone.
        basis, coordinates = torch.linalg.qr(rows.whole().T)
        rows = Rows(Samples(coordinates.T[None], labels))
    problem = _Problem(head, _Matrix(rows), labels)
    state, iterations = problem.solve()
    weight, bias = state.weights[:-1], state.weights[-1]
    weight = (weight if basis is None else basis @ weight).to(dtype)
    return LinearHead(
        weight=weight.T.contiguous(),
        bias=bias.to(dtype),
        epoch=iterations,
        epochs_trained=iterations,
        losses=[],
        rates=[],
        broken=None if math.isfinite(state.loss) else iterations,
        converged=problem.is_optimum(state),
        seconds=time.perf_counter() - started,
    )


@dataclass(frozen=True)
class _State:
    """Weights with the derivatives of the loss.

    Attributes:
        weights: (F + 1, K); the last row is the bias.
        loss: The loss.
        gradient: (F + 1, K).
        diagonal: (N, K), and
        chance: (N, K) or None: the second derivative by the logits, as `HeadLoss.curvature`.
    """

    weights: Tensor
    loss: float
    gradient: Tensor
    diagonal: Tensor
    chance: Tensor | None


class _Matrix:
    """Features with a column of ones, (N, F + 1); those of the host in parts on each pass."""

    def __init__(self, rows: Rows) -> None:
        self.num_rows, self.num_columns, self._rows = len(rows), rows.num_features + 1, rows
        # Kept if the features are on the device.
        self._kept = list(self._read()) if rows.is_near else None

    def _read(self) -> Iterator[tuple[slice, Tensor]]:
        for place, x in self._rows.parts():
            yield place, torch.cat([x, x.new_ones(len(x), 1)], dim=1)

    @property
    def _parts(self) -> Iterable[tuple[slice, Tensor]]:
        return self._read() if self._kept is None else self._kept

    def times(self, weights: Tensor) -> Tensor:
        """Product with weights (F + 1, K), (N, K)."""
        return joined([x @ weights for _, x in self._parts])

    def transposed_times(self, slopes: Tensor) -> Tensor:
        """Product of the transpose with slopes (N, K), (F + 1, K)."""
        return _total(x.T @ slopes[place] for place, x in self._parts)

    def squared(self, factors: Tensor) -> Tensor:
        """Product of the transpose, the rows times factors (N, 1), and the matrix."""
        return _total((x * factors[place]).T @ x for place, x in self._parts)


def _total(parts: Iterator[Tensor]) -> Tensor:
    """Sum of tensors; a single one as it is."""
    total = next(parts)
    for part in parts:
        total += part
    return total


class _Problem:
    """Loss of a head on features (N, F) with labels, as a function of the weights."""

    def __init__(self, head: Head, x: _Matrix, labels: Tensor) -> None:
        self.x = x
        self.labels, self.loss, self.weight_decay = labels, head.loss, head.weight_decay
        self.objective = head.loss.objective.to(labels.device).double()
        self.class_weights = head.loss.stacked([head.loss], labels.device, torch.float64)
        self.wanted = self.objective.one_hot(labels).double()[None]
        self.decay = self.wanted.new_full((x.num_columns, 1), head.weight_decay)
        self.decay[-1] = 0.0  # of the bias

    def solve(self) -> tuple[_State, int]:
        """Take Newton steps until the optimum, or until rounding ends the progress.

        Returns:
            The last state, and the number of steps.
        """
        start = self.decay.new_zeros(self.x.num_columns, self.loss.num_outputs)
        state = self.at(start)
        first, products, factor = float(state.gradient.norm()), _STALE + 1, None
        for step in range(MOST_ITERATIONS):
            if self.is_optimum(state) or not math.isfinite(state.loss):
                return state, step
            if factor is None or products > _STALE:
                factor = self._factor(state)
            # Far from the optimum an exact solution of the linear system would be wasted.
            accuracy = min(0.25, math.sqrt(float(state.gradient.norm()) / first))
            direction, products = self._direction(state, factor, accuracy)
            better = self._search(state, direction)
            if better is None:
                return state, step
            state = better
        return state, MOST_ITERATIONS

    def is_optimum(self, state: _State) -> bool:
        """Whether the weights are within `TOLERANCE` of the optimum."""
        size = max(1.0, float(state.weights[:-1].norm()))
        return float(state.gradient.norm()) <= TOLERANCE * self.weight_decay * size

    def at(self, weights: Tensor) -> _State:
        """Loss and derivatives at weights (F + 1, K)."""
        logits = self.x.times(weights)
        labels = self.labels.double() if self.labels.is_floating_point() else self.labels
        mean = self.objective(logits, labels).mean()
        arguments = logits[None, :, None], self.labels[None], self.class_weights, self.wanted
        diagonal, chance = self.loss.curvature(*arguments)
        slope = self.loss.slope(*arguments)[0, :, 0]
        return _State(
            weights,
            float(mean + (self.decay * weights.square()).sum() / 2),
            self.x.transposed_times(slope) / self.x.num_rows + self.decay * weights,
            diagonal[0, :, 0],
            None if chance is None else chance[0, :, 0],
        )

    def _factor(self, state: _State) -> Tensor:
        """Cholesky factor (F + 1, F + 1) of the mean over the outputs of the Hessian's blocks."""
        own = state.diagonal if state.chance is None else state.diagonal * (1 - state.chance)
        block = self.x.squared(own.mean(dim=1, keepdim=True)) / self.x.num_rows
        # The bias has no decay; a tiny one keeps the block positive if all samples are certain.
        floor = max(1e-10, 1e-14 * float(block.trace()))
        block.diagonal().add_(self.decay[:, 0].clamp(min=floor))
        factor: Tensor = torch.linalg.cholesky(block)
        return factor

    def _direction(self, state: _State, factor: Tensor, accuracy: float) -> tuple[Tensor, int]:
        """Solve Newton's linear system by preconditioned conjugate gradients.

        Args:
            state: The weights.
            factor: Cholesky factor of the preconditioner.
            accuracy: Relative error of the solution.

        Returns:
            The step (F + 1, K), and the number of products with the Hessian.
        """
        residual = -state.gradient
        direction = torch.zeros_like(residual)
        ahead = torch.cholesky_solve(residual, factor)
        rest = first = float((residual * ahead).sum())
        conjugate = ahead
        for product in range(1, _MOST_PRODUCTS + 1):
            turned = self._times_hessian(state, conjugate)
            along = float((conjugate * turned).sum())
            if along <= 0:  # by rounding; the problem is convex
                return direction, product
            direction = direction + rest / along * conjugate
            residual = residual - rest / along * turned
            ahead = torch.cholesky_solve(residual, factor)
            before, rest = rest, float((residual * ahead).sum())
            if rest <= accuracy**2 * first:
                return direction, product
            conjugate = ahead + rest / before * conjugate
        return direction, _MOST_PRODUCTS

    def _times_hessian(self, state: _State, direction: Tensor) -> Tensor:
        logits = self.x.times(direction)
        if state.chance is not None:
            logits = logits - (state.chance * logits).sum(dim=1, keepdim=True)
        product = self.x.transposed_times(state.diagonal * logits)
        return product / self.x.num_rows + self.decay * direction

    def _search(self, state: _State, direction: Tensor) -> _State | None:
        """Halve a step until the loss decreases; None if rounding prevents a decrease."""
        slope = float((state.gradient * direction).sum())
        size = 1.0
        while size > 1e-8:
            better = self.at(state.weights + size * direction)
            if better.loss <= state.loss + 1e-4 * size * slope:
                return better
            # At the optimum the loss is flat within rounding, and the gradient still decreases.
            is_flat = better.loss <= state.loss + 1e-13 * abs(state.loss)
            if is_flat and float(better.gradient.norm()) < float(state.gradient.norm()):
                return better
            size /= 2
        return None
