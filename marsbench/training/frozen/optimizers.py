"""Optimisers and schedules of many heads at once, with steps as in torch."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from marsbench.config.schema import OptimName, SchedulerConfig, SchedulerName

BETAS = (0.9, 0.999)
EPS = 1e-8
"""Torch's defaults for Adam and AdamW."""

_THRESHOLD = 1e-4
"""Relative improvement of the loss that `plateau` counts, torch's default."""


class Optimizer:
    """Adam, AdamW, or SGD with Nesterov momentum.

    Source: the update rules of torch.optim; tests compare both.

    Args:
        name: The optimiser.
    """

    def __init__(self, name: OptimName) -> None:
        self.name, self.steps = name, 0
        self._memory: list[Tensor] = []

    def change(self, how: Callable[[Tensor], Tensor]) -> None:
        """Apply a selection of the weights to the optimiser's state."""
        self._memory = [how(tensor) for tensor in self._memory]

    def set(self, rate: Tensor, decay: Tensor, momentum: Tensor) -> None:
        """Set the values of an epoch for each column of the weights.

        Args:
            rate: Learning rates (S, 1, R); 0 for stopped heads.
            decay: Weight decays (S, 1, R).
            momentum: Momentum of SGD (S, 1, R).
        """
        self._rate, self._decay, self._momentum = rate, decay, momentum
        self._kept = 1 - rate * decay
        # Unused heads still step; avoids dividing by zero.
        self._inverse = 1 / torch.where(rate > 0, rate, 1.0)
        self._decays = bool((decay != 0).any())

    def step(self, weights: Tensor, gradient: Tensor) -> None:
        """Update the weights (S, F + 1, R) in place; overwrites the gradient."""
        self.steps += 1
        if self.name is OptimName.SGD:
            self._sgd(weights, gradient)
        else:
            self._adam(weights, gradient)

    def _adam(self, weights: Tensor, gradient: Tensor) -> None:
        if not self._memory:
            self._memory = [torch.zeros_like(weights), torch.zeros_like(weights)]
        mean, square = self._memory
        if self._decays:
            if self.name is OptimName.ADAM:
                gradient.addcmul_(weights, self._decay)
            else:
                weights.mul_(self._kept)
        first, second = BETAS
        mean.lerp_(gradient, 1 - first)
        square.mul_(second).addcmul_(gradient, gradient, value=1 - second)
        # The rate is part of the divisor, which saves a pass over the weights. The divisor reuses
        # the gradient's memory.
        scale = self._inverse / math.sqrt(1 - second**self.steps)
        root = torch.sqrt(square, out=gradient)
        divisor = torch.addcmul(EPS * self._inverse, root, scale, out=gradient)
        weights.addcdiv_(mean, divisor, value=-1 / (1 - first**self.steps))

    def _sgd(self, weights: Tensor, gradient: Tensor) -> None:
        gradient.addcmul_(weights, self._decay)
        if not self._memory:
            self._memory = [gradient.clone()]
        else:
            self._memory[0].mul_(self._momentum).add_(gradient)
        gradient.addcmul_(self._memory[0], self._momentum)
        weights.addcmul_(gradient, self._rate, value=-1)


@dataclass
class LearningRate:
    """Learning rate of a head by epoch.

    Attributes:
        start: Initial rate.
        schedule: The schedule.
    """

    start: float
    schedule: SchedulerConfig
    epoch: int = 0
    _lowered: float | None = None
    _best: float = field(default=math.inf)
    _waited: int = 0
    _warmup: int = 0

    def now(self, max_epochs: int) -> float:
        """Rate of the next epoch."""
        schedule = self.schedule
        self._warmup = schedule.warmup_epochs(max_epochs)
        epoch = self.epoch - self._warmup
        if epoch < 0:
            return self.start * (self.epoch + 1) / (self._warmup + 1)
        match schedule.name:
            case SchedulerName.COSINE:
                left = max_epochs - self._warmup
                return self.start * (1 + math.cos(math.pi * epoch / left)) / 2
            case SchedulerName.STEP:
                return self.start * schedule.gamma ** (epoch // schedule.step_size)
            case SchedulerName.PLATEAU:
                return self.start if self._lowered is None else self._lowered
        return self.start

    def step(self, loss: float | None) -> None:
        """Advance to the next epoch; `plateau` uses the last validation loss."""
        self.epoch += 1
        is_warm = self.epoch > self._warmup
        if self.schedule.name is not SchedulerName.PLATEAU or loss is None or not is_warm:
            return
        if loss < self._best * (1 - _THRESHOLD):
            self._best, self._waited = loss, 0
            return
        self._waited += 1
        if self._waited > self.schedule.patience:
            current = self.start if self._lowered is None else self._lowered
            lowered = current * self.schedule.gamma
            # As in torch, tiny changes are skipped.
            if current - lowered > EPS:
                self._lowered = lowered
            self._waited = 0
