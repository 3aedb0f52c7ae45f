"""Optimisers and schedules of many heads at once, with steps as in torch."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from marsbench.config.schema import OptimName, SchedulerConfig, SchedulerName
from marsbench.training.loop.devices import to_device

BETAS = (0.9, 0.999)
EPS = 1e-8
"""Torch's defaults for Adam and AdamW."""

_THRESHOLD = 1e-4
"""Relative improvement of the loss that `plateau` counts, torch's default."""


class Optimizer:
    """Adam, AdamW, or SGD with Nesterov momentum.

    A step updates tensors in place that stay where they are, so that it can be captured as a graph.

    Source: the update rules of torch.optim; tests compare both.

    Args:
        name: The optimiser.
        weights: The weights (S, F + 1, R).
    """

    def __init__(self, name: OptimName, weights: Tensor) -> None:
        self.name, self.steps = name, 0
        number = 1 if name is OptimName.SGD else 2
        self._memory = [torch.zeros_like(weights) for _ in range(number)]

    def change(self, how: Callable[[Tensor], Tensor]) -> None:
        """Apply a selection of the weights to the optimiser's state."""
        self._memory = [how(tensor) for tensor in self._memory]

    def set(self, decay: Tensor, momentum: Tensor) -> None:
        """Set the values of all epochs for each column of the weights, from the host.

        Args:
            decay: Weight decays (S, 1, R).
            momentum: Momentum of SGD (S, 1, R).
        """
        self._decay, self._decays = decay, bool((decay != 0).any())
        self._momentum = momentum
        device = self._memory[0].device
        self._values = torch.empty(6, *decay.shape, dtype=decay.dtype, device=device)

    def begin(self, rate: Tensor, num_steps: int) -> Tensor:
        """Begin an epoch.

        Args:
            rate: Learning rates (S, 1, R) from the host; 0 for stopped heads.
            num_steps: Number of steps of the epoch.

        Returns:
            The numbers that each step needs, (steps, 2).
        """
        # Unused heads still step; avoids dividing by zero.
        inverse = 1 / torch.where(rate > 0, rate, 1.0)
        kept = 1 - rate * self._decay
        values = [rate, self._decay, self._momentum, kept, inverse, EPS * inverse]
        device = self._values.device
        self._values.copy_(to_device(torch.stack(values), device))
        first, second = BETAS
        factors = [
            (math.sqrt(1 - second**step), -1 / (1 - first**step))
            for step in range(self.steps + 1, self.steps + num_steps + 1)
        ]
        self.steps += num_steps
        return to_device(torch.tensor(factors, dtype=rate.dtype), device)

    def step(self, weights: Tensor, gradient: Tensor, factors: Tensor) -> None:
        """Update the weights (S, F + 1, R) in place; overwrites the gradient.

        Args:
            weights: The weights.
            gradient: Their gradient.
            factors: The numbers of the step, of `begin`, (2,).
        """
        if self.name is OptimName.SGD:
            self._sgd(weights, gradient)
        else:
            self._adam(weights, gradient, factors)

    def _adam(self, weights: Tensor, gradient: Tensor, factors: Tensor) -> None:
        mean, square = self._memory
        _, decay, _, kept, inverse, floor = self._values
        if self._decays:
            if self.name is OptimName.ADAM:
                gradient.addcmul_(weights, decay)
            else:
                weights.mul_(kept)
        first, second = BETAS
        mean.lerp_(gradient, 1 - first)
        square.mul_(second).addcmul_(gradient, gradient, value=1 - second)
        # The rate is part of the divisor, which saves a pass over the weights. The divisor reuses
        # the gradient's memory.
        root = torch.sqrt(square, out=gradient)
        divisor = torch.addcmul(floor, root, inverse / factors[0], out=gradient)
        if weights.device.type == "cpu":
            # A number of the host saves another pass.
            weights.addcdiv_(mean, divisor, value=float(factors[1]))
        else:
            weights.addcdiv_(mean * factors[1], divisor)

    def _sgd(self, weights: Tensor, gradient: Tensor) -> None:
        rate, decay, momentum = self._values[:3]
        (memory,) = self._memory
        gradient.addcmul_(weights, decay)
        memory.mul_(momentum).add_(gradient)
        gradient.addcmul_(memory, momentum)
        weights.addcmul_(gradient, rate, value=-1)


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
