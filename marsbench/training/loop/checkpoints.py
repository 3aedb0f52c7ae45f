"""Checkpoints of a run: copied to memory after epochs, and written now and then.

Writing takes longer than an epoch on few samples: ViT-L with Adam has checkpoints of 3.7 GB.
"""

import copy
import os
import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Checkpoint
from pytorch_lightning.plugins.io import TorchCheckpointIO
from torch import Tensor

from marsbench.base.errors import is_disk_full
from marsbench.base.files import replacing
from marsbench.base.progress import tell
from marsbench.training.loop.module import MONITOR

BEST, LAST = "best.ckpt", "last.ckpt"

WRITE_EVERY = 60.0
"""Seconds of training between two writings; a killed process repeats no more than them."""

COPY_SHARE = 0.05
"""Largest share of the training time spent on copies for resuming."""


class HeldCheckpoints(TorchCheckpointIO):
    """Holds checkpoints in memory until they are written."""

    def __init__(self) -> None:
        self.held: dict[Path, dict[str, Any]] = {}

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | os.PathLike[str], storage_options: Any = None
    ) -> None:
        """Hold a copy of a checkpoint in the memory of the host."""
        self.held[Path(path)] = _copied(checkpoint)

    def write(self, path: Path, **more: Any) -> None:
        """Write a held checkpoint by rename and let it go; nothing if it is not held.

        Args:
            path: Its file.
            more: Further entries.
        """
        if path not in self.held:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        # Not through Lightning, which writes to the system's temporary folder first.
        with replacing(path) as partial, partial.open("wb") as file:
            torch.save(self.held[path] | more, file)
        del self.held[path]


def _copied(value: Any) -> Any:
    """Copy a checkpoint; tensors to the memory of the host."""
    if isinstance(value, Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, dict):
        twin = copy.copy(value)  # with the attributes of a state dict
        for key, item in value.items():
            twin[key] = _copied(item)
        return twin
    if type(value) in (list, tuple):
        return type(value)(map(_copied, value))
    return copy.deepcopy(value)


class Checkpoints(Checkpoint):
    """Keeps the epoch with the lowest validation loss, and the last epoch for resuming.

    Both are written every `WRITE_EVERY` seconds and when training is interrupted; the one to test
    also when training ends. Several processes follow the clock of the first.

    Args:
        folder: Folder of the checkpoints.
        held: Holds them.
        chooses: Whether the epoch with the lowest validation loss is tested, not the last.
    """

    def __init__(self, folder: Path, held: HeldCheckpoints, *, chooses: bool) -> None:
        self.best, self.last = folder / BEST, folder / LAST
        self._held, self._chooses = held, chooses
        self._lowest: float | None = None
        self._written = self._copied = 0.0  # time of the last writing and copy
        self._seconds = 0.0  # duration of the last copy

    def state_dict(self) -> dict[str, Any]:
        """The lowest validation loss, under the names of Lightning's own callback."""
        return {"monitor": MONITOR, "best_model_score": self._lowest}

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Restore the lowest validation loss."""
        scores = [
            state["best_model_score"]
            for state in checkpoint["callbacks"].values()
            if state.get("monitor") == MONITOR and state["best_model_score"] is not None
        ]
        self._lowest = float(scores[0]) if scores else None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock."""
        self._written = self._copied = time.monotonic()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Keep the epoch, after its validation."""
        started = time.monotonic()
        value = float(trainer.callback_metrics[MONITOR]) if self._chooses else None
        is_end = trainer.should_stop or trainer.current_epoch + 1 == trainer.max_epochs
        must_write = started - self._written >= WRITE_EVERY
        must_copy = started - self._copied >= self._seconds / COPY_SHARE
        is_lowest = value is not None and (self._lowest is None or value < self._lowest)
        must_copy = must_copy or must_write or (is_end and not self._chooses)
        decisions = (is_lowest, must_copy, must_write)
        is_lowest, must_copy, must_write = trainer.strategy.broadcast(decisions)
        if is_lowest:
            trainer.save_checkpoint(self.best, weights_only=True)
            self._lowest = value  # after the copy: an interrupted one leaves the earlier epoch
        if must_copy:
            copied = time.monotonic()
            trainer.save_checkpoint(self.last, weights_only=False)
            self._copied = time.monotonic()
            self._seconds = self._copied - copied
        if must_write:
            self._write()
            self._written = time.monotonic()

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write the checkpoint to test."""
        if self._chooses:
            self._held.held.pop(self.last, None)
        self._write()

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        """Write the checkpoints, so that the run resumes where it stopped."""
        if is_disk_full(exception):
            return
        try:
            self._write()
        except (OSError, RuntimeError) as error:
            tell(f"The last epochs are not saved, as {self.last.parent} cannot be written: {error}")

    def _write(self) -> None:
        # The best first: the other one names its loss, and a process may be killed in between.
        self._held.write(self.best, callbacks={self.state_key: self.state_dict()})
        self._held.write(self.last)
