"""From a config to the run it names: task, data, subset, model and run id, without torch.

The same resolution serves a dry run, a sweep's planner and the runner, so an id is the same
before a run and from its record.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from marsbench.config import Augment, Mode, RunConfig, parse_subset
from marsbench.data.catalog import get_task
from marsbench.data.decode import check_available
from marsbench.data.rows import Source
from marsbench.data.sources import open_source
from marsbench.data.spec import SPLITS, Platform, TaskSpec
from marsbench.data.subsets import Selection, select
from marsbench.errors import NotAvailableError, WeightsError
from marsbench.files import file_digest
from marsbench.identity import identity, run_id
from marsbench.models.spec import ModelSpec
from marsbench.models.zoo import get_model


@dataclass(frozen=True)
class Plan:
    """One run, resolved.

    Attributes:
        config: The config as given.
        task: Its task.
        source: The task's data, opened.
        selection: The train samples of its subset.
        model: Its model.
        augment: Augmentation, resolved.
        weights: Name of the weights it starts from; None for random ones.
    """

    config: RunConfig
    task: TaskSpec
    source: Source
    selection: Selection
    model: ModelSpec
    augment: Augment
    weights: str | None

    @cached_property
    def identity(self) -> dict[str, Any]:
        """Every choice that can move the score."""
        return identity(
            self.config,
            kind=self.task.kind,
            data_revision=self.source.revision,
            subset_digest=self.selection.digest,
            architecture=self.model.architecture,
            weights=self.weights,
            input_size=self.model.input_size,
            augment=self.augment,
        )

    @cached_property
    def run_id(self) -> str:
        """``task/model/mode/subset/seed-HASH``."""
        config = self.config
        return run_id(
            self.task.name, self.model.name, config.mode, config.subset, config.seed, self.identity
        )

    @cached_property
    def num_samples(self) -> dict[str, int]:
        """Samples per split, of train those of the subset."""
        sizes = {split: len(self.source.rows(split)) for split in SPLITS}
        return sizes | {"train": len(self.selection.indices)}


def resolve(config: RunConfig) -> Plan:
    """Find everything a run needs but pixels and tensors.

    Raises:
        MarsbenchError: If a name is unknown, data cannot be found or do not fit, or this version
            cannot run such a task.
    """
    task = get_task(config.task)
    model = get_model(config.model)
    check_available(task)
    if task.kind not in model.kinds:
        raise NotAvailableError(
            f"Model {model.name} does not serve {task.kind} tasks such as {task.name}.",
            "`marsbench list models` shows what each model serves.",
        )
    weights = _weights(config, model)
    source = open_source(task, config.source, config.root, config.size)
    for split in SPLITS:
        source.rows(split)  # raises if the split lacks
    selection = select(source, parse_subset(config.subset))
    augment = _augment(config.augment, task.platform)
    return Plan(config, task, source, selection, model, augment, weights)


def _weights(config: RunConfig, model: ModelSpec) -> str | None:
    if config.mode is Mode.SCRATCH:
        return None
    if config.weights is not None:
        return file_digest(Path(config.weights).expanduser())
    if model.weights is None:
        raise WeightsError(
            f"There are no pre-trained weights of {model.name}, which mode={config.mode} needs.",
            "Add mode=scratch, or weights=PATH.",
        )
    return model.weights.name


def _augment(augment: Augment, platform: Platform) -> Augment:
    """Choose changes that leave the label alone: an orbital view has no up, a rover's has."""
    if augment is not Augment.AUTO:
        return augment
    choices = {Platform.ORBITER: Augment.D4, Platform.ROVER: Augment.HFLIP}
    return choices.get(platform, Augment.NONE)
