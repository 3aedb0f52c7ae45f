"""Progress bar."""

import sys
from typing import Any

import pytorch_lightning as pl
from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from marsbench.training.loop.module import MONITOR


class ProgressBar(pl.Callback):
    """Progress bar of the whole training, with an upper bound of the remaining time.

    Hidden unless standard error is a terminal.
    """

    def __init__(self) -> None:
        self._progress: Progress | None = None
        self._task = TaskID(0)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Show the bar, in resumed runs at the current epoch."""
        if not sys.stderr.isatty() or not trainer.is_global_zero:
            return
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            TextColumn("ETA at most"),
            TimeRemainingColumn(elapsed_when_finished=False),
            console=Console(stderr=True),
            transient=True,
        )
        batches = int(trainer.num_training_batches)
        epochs = trainer.max_epochs or 1
        self._task = self._progress.add_task(
            f"epoch 1/{epochs}",
            total=batches * epochs,
            completed=batches * trainer.current_epoch,
        )
        self._progress.start()

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Advance the bar."""
        if self._progress is not None:
            self._progress.advance(self._task)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Show the epoch and the last validation loss."""
        if self._progress is not None:
            loss = trainer.callback_metrics.get(MONITOR)
            shown = "" if loss is None else f"  {MONITOR} {float(loss):.4f}"
            epoch = min(trainer.current_epoch + 2, trainer.max_epochs or 1)
            self._progress.update(
                self._task, description=f"epoch {epoch}/{trainer.max_epochs}{shown}"
            )

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Remove the bar."""
        self._stop()

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        """Remove the bar."""
        self._stop()

    def _stop(self) -> None:
        if self._progress is not None:
            self._progress.stop()
            self._progress = None
