"""Hyperparameters that were tuned: small YAML files, one for each task, model and mode."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from marsbench.base.errors import ConfigError
from marsbench.base.files import write_text
from marsbench.base.keys import flatten, nest
from marsbench.config.identity import slug
from marsbench.config.schema import RunConfig
from marsbench.models.zoo.catalog import get_model
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
"""What may be tuned: keys of a run."""


@dataclass(frozen=True)
class Choice:
    """What was chosen for one task, model and mode.

    Attributes:
        task: Name of the task.
        model: Name of the model.
        mode: Mode.
        set: The chosen values, by key.
        loss: Their validation loss.
        tried: How many settings were compared.
        failed: How many of them failed, such as those that diverge.
        protocol: How the runs met their data.
        run: Id of the best run.
        searched: The values that were searched, by key.
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

    def write(self, folder: Path) -> Path:
        """Write the choice into a folder; returns its file."""
        path = path_of(folder, self.task, self.model, self.mode)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, yaml.safe_dump(asdict(self), sort_keys=False))
        return path


def path_of(folder: Path, task: str, model: str, mode: str) -> Path:
    """File of a choice."""
    return folder / slug(task) / f"{slug(model)}-{mode}.yaml"


def filled(values: Mapping[str, Any]) -> dict[str, Any]:
    """Add to the keys of a run what was tuned for it; keys that are given stay as they are.

    Args:
        values: Keys of a run, nested or dotted, with ``hparams``, ``task``, ``model`` and perhaps
            ``mode``.

    Raises:
        ConfigError: If nothing was tuned for this task, model and mode.
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
    folder = Path(str(chosen)).expanduser()
    path = path_of(folder, get_task(task).name, get_model(model).name, mode)
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        found = dict(content["set"])
    except FileNotFoundError as error:
        raise ConfigError(
            f"hparams={chosen}: nothing was tuned for {task}, {model}, {mode}: there is no {path}.",
            f"Run: marsbench tune task={task} model={model} mode={mode}",
        ) from error
    except (OSError, yaml.YAMLError, KeyError, TypeError, ValueError) as error:
        raise ConfigError(f"{path} is no choice of hyperparameters: {error}.", "Tune again.") from (
            error
        )
    if odd := [key for key in found if key not in KEYS]:
        raise ConfigError(f"{path} sets {', '.join(odd)}, which cannot be tuned.", "Tune again.")
    return nest(found | given)
