"""Optimisers and schedules of many heads side by side; steps as in torch, numbers per head."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from marsbench.config.schema import OptimName, SchedulerConfig, SchedulerName

BETAS = (0.9, 0.999)
EPS = 1e-8
"""Of Adam and AdamW, torch's defaults."""

_THRESHOLD = 1e-4
"""Share by which a loss has to be lower for `plateau` to count it as better, torch's default."""


class Optimizer:
    """Adam, AdamW, or SGD with Nesterov momentum.

    Source: the update rules of torch.optim, to which tests hold it.

    Args:
        name: Which.
    """

    def __init__(self, name: OptimName) -> None:
        self.name, self.steps = name, 0
        self._memory: list[Tensor] = []

    def change(self, how: Callable[[Tensor], Tensor]) -> None:
        """Change what is remembered as the weights were changed."""
        self._memory = [how(tensor) for tensor in self._memory]

    def set(self, rate: Tensor, decay: Tensor, momentum: Tensor) -> None:
        """Set the numbers of an epoch, one per column of the weights.

        Args:
            rate: Learning rates (S, 1, R); those of heads that have stopped may be 0.
            decay: Weight decays (S, 1, R).
            momentum: Of SGD, (S, 1, R).
        """
        self._rate, self._decay, self._momentum = rate, decay, momentum
        self._kept = 1 - rate * decay
        # Heads that have stopped move on, unseen; nothing divides by zero.
        self._inverse = 1 / torch.where(rate > 0, rate, 1.0)
        self._decays = bool((decay != 0).any())

    def step(self, weights: Tensor, gradient: Tensor) -> None:
        """Change the weights (S, F + 1, R) in place, by their gradient, which is overwritten."""
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
        # The rate is taken into the divisor, which saves going through the weights once more; and
        # what is left of the gradient's memory holds it.
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
    """The learning rate of one head, epoch by epoch.

    Attributes:
        start: The rate it begins with.
        schedule: Its schedule.
    """

    start: float
    schedule: SchedulerConfig
    epoch: int = 0
    _lowered: float | None = None
    _best: float = field(default=math.inf)
    _waited: int = 0

    def now(self, max_epochs: int) -> float:
        """Give the rate of the epoch to come."""
        schedule = self.schedule
        match schedule.name:
            case SchedulerName.COSINE:
                return self.start * (1 + math.cos(math.pi * self.epoch / max_epochs)) / 2
            case SchedulerName.STEP:
                return self.start * schedule.gamma ** (self.epoch // schedule.step_size)
            case SchedulerName.PLATEAU:
                return self.start if self._lowered is None else self._lowered
        return self.start

    def step(self, loss: float | None) -> None:
        """Go on to the next epoch, of which the last one's validation loss may decide."""
        self.epoch += 1
        if self.schedule.name is not SchedulerName.PLATEAU or loss is None:
            return
        if loss < self._best * (1 - _THRESHOLD):
            self._best, self._waited = loss, 0
            return
        self._waited += 1
        if self._waited > self.schedule.patience:
            current = self.start if self._lowered is None else self._lowered
            lowered = current * self.schedule.gamma
            # torch leaves a rate alone that would hardly change.
            if current - lowered > EPS:
                self._lowered = lowered
            self._waited = 0
