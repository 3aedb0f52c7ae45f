"""Loggers of a run: CSV in its folder, and TensorBoard and Weights & Biases, which may fail."""

import sys
from argparse import Namespace
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import CSVLogger, Logger, TensorBoardLogger, WandbLogger

from marsbench.base.errors import ConfigError
from marsbench.base.progress import tell
from marsbench.config.schema import RunConfig
from marsbench.results.store import LOGS

_REMEDIES = {
    "tensorboard": "Install it anew: pip install 'marsbench[tensorboard]'. Or",
    "wandb": "Run `wandb login` (on a batch node, set WANDB_API_KEY), or set WANDB_MODE=offline to "
    "upload later by `wandb sync`. Or",
}


def make_loggers(config: RunConfig, folder: Path) -> list[Logger]:
    """Start the loggers of a run.

    Args:
        config: The run.
        folder: The run's folder.

    Raises:
        ConfigError: If a logger is not installed, not logged in or out of reach.
    """
    chosen = config.logger
    logs = folder / LOGS
    # A resumed run logs into a new folder: Lightning's CSV logger clears existing ones.
    attempt = f"attempt_{1 + len(list(logs.glob('attempt_*')))}"
    loggers: list[Logger] = []
    if chosen.csv:
        loggers.append(CSVLogger(logs, name="", version=attempt))
    if chosen.tensorboard:
        loggers.append(
            OptionalLogger(
                "tensorboard",
                lambda: TensorBoardLogger(logs, name="tensorboard", version=attempt),
            )
        )
    if chosen.wandb:

        def wandb() -> Logger:
            place = logs / attempt
            place.mkdir(parents=True, exist_ok=True)
            return WandbLogger(project=chosen.project, name=folder.name, save_dir=place)

        # A run that the user's own program has begun is not ours to end.
        begun = getattr(sys.modules.get("wandb"), "run", None)
        loggers.append(OptionalLogger("wandb", wandb, ends=begun is None))
    return loggers


class OptionalLogger(Logger):
    """Logger that may fail without ending the run.

    Args:
        option: Name of its key in ``logger.``, and of its package.
        make: Makes the logger.
        ends: Whether the end of training also ends the logger's own run.

    Raises:
        ConfigError: If it cannot start; training has not begun then.
    """

    def __init__(self, option: str, make: Callable[[], Logger], *, ends: bool = True) -> None:
        self._option, self._ends = option, ends
        self._logger: Any = None
        try:
            self._logger = make()
            # Otherwise it would start with the first epoch.
            self._experiment = self._logger.experiment
        except ModuleNotFoundError as error:
            package = (error.name or option).partition(".")[0]
            raise ConfigError(
                f"The package {package}, which logger.{option}=true needs, is not installed.",
                f"Install it: pip install 'marsbench[{option}]'.",
            ) from error
        except Exception as error:  # each package raises errors of its own
            raise ConfigError(
                f"logger.{option}=true cannot start: {_short(error)}.",
                f"{_REMEDIES[option]} remove logger.{option}=true.",
            ) from error

    @property
    def name(self) -> str | None:
        """Name of the experiment."""
        return self._option

    @property
    def version(self) -> None:
        """No version: the folders of attempts are numbered."""
        return

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Log metrics."""
        self._attempt(lambda logger: logger.log_metrics(metrics, step))

    def log_hyperparams(self, params: Mapping[str, Any] | Namespace, *_: Any, **__: Any) -> None:
        """Log hyperparameters."""
        self._attempt(lambda logger: logger.log_hyperparams(params))

    def save(self) -> None:
        """Write pending values."""
        self._attempt(lambda logger: logger.save())

    def finalize(self, status: str) -> None:
        """End the log; the next run of this process starts its own."""
        self._attempt(lambda logger: logger.finalize(status))
        if self._ends and hasattr(self._experiment, "finish"):
            self._attempt(lambda _: self._experiment.finish(int(status != "success")))
        self._logger = None

    def _attempt(self, action: Callable[[Any], object]) -> None:
        """Pass a call on; after a failure the run goes on without this logger."""
        if self._logger is None:
            return
        try:
            action(self._logger)
        except Exception as error:
            self._logger = None
            tell(
                f"logger.{self._option} failed: {_short(error)}. The run goes on without it; its "
                "record and curves are not affected."
            )


def _short(error: Exception) -> str:
    """Type and first line of an error."""
    lines = str(error).strip().splitlines()
    return (
        f"{type(error).__name__}: {lines[0][:300].rstrip('.')}" if lines else type(error).__name__
    )
