"""Tuned hyperparameters: a small YAML file per task, model and mode."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from marsbench.base.documents import read_yaml
from marsbench.base.errors import ConfigError
from marsbench.base.files import write_text
from marsbench.base.keys import flatten, nest
from marsbench.base.paths import expanded
from marsbench.base.reading import is_missing
from marsbench.base.text import inline
from marsbench.config.identity import slug
from marsbench.config.schema import RunConfig
from marsbench.models.zoo.catalog import find_model
from marsbench.tasks.catalog import get_task

KEYS = (
    "optim.name",
    "optim.lr",
    "optim.weight_decay",
    "optim.momentum",
    "optim.batch_size",
    "scheduler.name",
    "scheduler.step_size",
    "scheduler.gamma",
    "scheduler.patience",
    "trainer.max_epochs",
    "trainer.patience",
)
"""Tunable keys of a run."""


@dataclass(frozen=True)
class Choice:
    """Tuned hyperparameters of a task, model and mode.

    Attributes:
        task: Name of the task.
        model: Name of the model.
        mode: Mode.
        set: Chosen values by key.
        loss: Validation loss of the best run.
        tried: Number of settings tried.
        failed: Number of failed settings, for example by divergence.
        protocol: Protocol of the runs.
        run: Id of the best run.
        searched: Searched values by key.
    """

    task: str
    model: str
    mode: str
    set: dict[str, Any]
    loss: float
    tried: int
    failed: int
    protocol: str
    run: str
    searched: dict[str, list[Any]]

    def __repr__(self) -> str:
        """Task, model, mode, loss and chosen values, in two lines."""
        values = ", ".join(f"{key}={value}" for key, value in self.set.items())
        place = f"{self.task} {self.model} {self.mode}"
        first = f"Choice {place}: lowest loss {self.loss:.4f} of {self.tried} settings"
        return "\n".join(map(inline, (first, f"  {values}")))

    def write(self, folder: Path) -> Path:
        """Write the choice to a folder, and return its file."""
        path = path_of(folder, self.task, self.model, self.mode)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, yaml.safe_dump(asdict(self), sort_keys=False))
        return path


def path_of(folder: Path, task: str, model: str, mode: str) -> Path:
    """File of a choice."""
    return folder / slug(task) / f"{slug(model)}-{mode}.yaml"


def filled(values: Mapping[str, Any]) -> dict[str, Any]:
    """Fill in the tuned hyperparameters of a run; given keys take precedence.

    Args:
        values: Keys of a run, nested or dotted, with ``hparams``, ``task``, ``model`` and perhaps
            ``mode``.

    Raises:
        ConfigError: If no tuned hyperparameters of this task, model and mode are found.
    """
    nested = nest(values)
    chosen = nested.get("hparams")
    if chosen in (None, "null", ""):
        return nested
    given = flatten(nested)
    if given.keys() >= set(KEYS):  # as in the config of a record
        return nested
    task, model = str(nested.get("task", "")), str(nested.get("model", ""))
    mode = str(nested.get("mode", RunConfig.mode))
    folder = expanded(str(chosen))
    path = path_of(folder, get_task(task).name, find_model(model).name, mode)
    if is_missing(path):
        raise ConfigError(
            f"hparams={chosen}: no tuned hyperparameters of {task}, {model}, {mode}; {path} is "
            "missing.",
            f"Run: marsbench tune task={task} model={model} mode={mode}",
        )
    try:
        tuned = dict(read_yaml(path).values["set"])
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(
            f"{path} is not a file of tuned hyperparameters: {error}.", "Tune again."
        ) from error
    if odd := [key for key in tuned if key not in KEYS]:
        raise ConfigError(f"{path} sets {', '.join(odd)}, which are not tunable.", "Tune again.")
    return nest(tuned | given)
