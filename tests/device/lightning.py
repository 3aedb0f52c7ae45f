"""Runs of Lightning on the second device, and their costs per step."""

from collections import defaultdict
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.accelerators import Accelerator
from pytorch_lightning.strategies import SingleDeviceStrategy

from tests.device.tensors import NAME, second
from tests.device.watching import Cost, Seen


class SecondAccelerator(Accelerator):
    """The second device in Lightning."""

    def setup_device(self, device: torch.device) -> None: ...

    def teardown(self) -> None: ...

    @staticmethod
    def parse_devices(devices: Any) -> Any:
        return [second()]

    @staticmethod
    def get_parallel_devices(devices: Any) -> Any:
        return [second()]

    @staticmethod
    def auto_device_count() -> int:
        return 1

    @staticmethod
    def is_available() -> bool:
        return True

    @staticmethod
    def name() -> str:
        return NAME


class Meter(pl.Callback):
    """Costs of the steps of a run, from the end of the last step to the end of each.

    Args:
        seen: Events of the run.

    Attributes:
        steps: Costs of the batches of ``train``, ``val`` and ``test``, in order.
    """

    def __init__(self, seen: Seen) -> None:
        self.seen, self._before = seen, seen.cost
        self.steps: dict[str, list[Cost]] = defaultdict(list)

    def _restart(self) -> None:
        self._before = self.seen.cost

    def _note(self, phase: str) -> None:
        now, before = self.seen.cost, self._before
        self.steps[phase].append(Cost(now.launches - before.launches, now.waits - before.waits))
        self._restart()

    def on_train_epoch_start(self, *_: Any) -> None:
        self._restart()

    def on_train_batch_end(self, *_: Any) -> None:
        self._note("train")

    def on_validation_epoch_start(self, *_: Any) -> None:
        self._restart()

    def on_validation_batch_end(self, *_: Any) -> None:
        self._note("val")

    def on_predict_epoch_start(self, *_: Any) -> None:
        self._restart()

    def on_predict_batch_end(self, *_: Any) -> None:
        self._note("test")


def use_second_device(patch: pytest.MonkeyPatch, seen: Seen) -> Meter:
    """Let all trainers use the second device, and measure their steps."""
    make, meter = pl.Trainer, Meter(seen)

    def made(**options: Any) -> pl.Trainer:
        return make(
            **options
            | {
                "accelerator": "auto",
                "devices": 1,
                "strategy": SingleDeviceStrategy(second(), accelerator=SecondAccelerator()),
                # Autograd asks such tensors for their versions, which inference mode has not.
                "inference_mode": False,
                "callbacks": [*options["callbacks"], meter],
            }
        )

    patch.setattr(pl, "Trainer", made)
    return meter
