"""Progress of training: a bar, or a line per epoch."""

import time
from typing import TYPE_CHECKING, Any

import pytorch_lightning as pl

from marsbench.base.progress import has_bars, remaining, rich_progress, tell
from marsbench.training.loop.module import MONITOR

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

ETA = "ETA at most"
"""Training may stop early."""


class ProgressBar(pl.Callback):
    """Progress of the whole training, with an upper bound of the remaining time.

    A bar on terminals and in notebooks with ipywidgets, elsewhere a line per epoch.
    """

    def __init__(self) -> None:
        self._bar: tuple[Progress, TaskID] | None = None
        self._first, self._started = 0, 0.0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Show the bar, in resumed runs at the current epoch."""
        self._first, self._started = trainer.current_epoch, time.monotonic()
        if not trainer.is_global_zero or not has_bars():
            return
        from rich.progress import TaskProgressColumn

        progress = rich_progress(TaskProgressColumn(), eta=ETA)
        batches, epochs = int(trainer.num_training_batches), trainer.max_epochs or 1
        task = progress.add_task(
            f"epoch {min(self._first + 1, epochs)}/{epochs}",
            total=batches * epochs,
            completed=batches * self._first,
        )
        self._bar = progress, task
        progress.start()

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Advance the bar."""
        if self._bar is not None:
            progress, task = self._bar
            progress.advance(task)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Show the epoch and the last validation loss."""
        if not trainer.is_global_zero:
            return
        loss = trainer.callback_metrics.get(MONITOR)
        shown = "" if loss is None else f"  {MONITOR} {float(loss):.4f}"
        done, epochs = trainer.current_epoch + 1, trainer.max_epochs or 1
        if self._bar is not None:
            progress, task = self._bar
            progress.update(task, description=f"epoch {min(done + 1, epochs)}/{epochs}{shown}")
        else:
            seconds = time.monotonic() - self._started
            eta = remaining(seconds, done - self._first, epochs - done, ETA)
            tell(f"epoch {done}/{epochs}{shown}{eta}")

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Remove the bar."""
        self._stop()

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        """Remove the bar."""
        self._stop()

    def _stop(self) -> None:
        if self._bar is not None:
            self._bar[0].stop()
            self._bar = None
