"""From a config to the run it names: task, data, subset, model and run id, without torch.

The same resolution serves a dry run, a sweep's planner and the runner, so an id is the same
before a run and from its record.
"""

from collections.abc import Hashable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from marsbench.config import (
    Augment,
    Imbalance,
    LossName,
    Mode,
    Negatives,
    RunConfig,
    SourceName,
    Subset,
    parse_subset,
)
from marsbench.data.cache import DirectSamples, cached_samples
from marsbench.data.catalog import get_task
from marsbench.data.decode import image_size
from marsbench.data.imbalance import Balance, balance, class_counts
from marsbench.data.rendering import Rendering, rendering_for
from marsbench.data.rows import BACKGROUND, Source, normalise
from marsbench.data.sources import open_source
from marsbench.data.spec import SPLITS, Decode, Platform, TaskSpec
from marsbench.data.spectra import VERSION as POINTS_VERSION
from marsbench.data.subsets import Selection, select
from marsbench.errors import ConfigError, DataError, NotAvailableError, WeightsError
from marsbench.files import file_digest
from marsbench.identity import digest, identity, run_id
from marsbench.kinds import KINDS, Kind
from marsbench.models.spec import Library, ModelSpec
from marsbench.models.zoo import get_model
from marsbench.models.zoo_spectra import VERSION as MODELS_VERSION
from marsbench.spectra.features import VERSION as FEATURES_VERSION
from marsbench.spectra.raster import VERSION as RASTER_VERSION

SEGMENTATION_LOSSES = (
    LossName.CROSS_ENTROPY,
    LossName.GENERALIZED_DICE,
    LossName.GENERALIZED_DICE_SIMPLE,
    LossName.GENERALIZED_DICE_LINEAR,
    LossName.COMBINED,
)

HALVED = 32
"""Sides of segmentation inputs are multiples of this."""


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
        side: Side in pixels to which images are resized; None where spectra are drawn at the size
            of their raster.
        balance: How the samples of the subset are drawn and weighed.
        loss: The loss, resolved.
        num_outputs: Output nodes of the model.
        rendering: How spectra become images; None where samples are images, or a model takes
            engineered features.
    """

    config: RunConfig
    task: TaskSpec
    source: Source
    selection: Selection
    model: ModelSpec
    augment: Augment
    weights: str | None
    side: int | None
    balance: Balance
    loss: LossName
    num_outputs: int
    rendering: Rendering | None = None

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
            input_size=self.side,
            augment=self.augment,
            bands=self.config.bands if self.task.channels > 3 else None,
            loss=None if self.loss == KINDS[self.task.kind].loss else self.loss,
            outputs=None if self.num_outputs == len(self.task.classes) else self.num_outputs,
            spectra=self._spectra,
            trains=self.model.library is not Library.TABULAR,
        )

    @property
    def _spectra(self) -> dict[str, Any] | None:
        """What moves the scores of spectra beside the choices of all tasks."""
        if self.task.decode is not Decode.SPECTRUM:
            return None
        models = {"models": MODELS_VERSION} if self.model.spectra_only else {}
        return rendered_by(self.rendering) | models

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
        sizes = {split: len(self.source.rows(split)) for split in self.source.splits}
        return sizes | {"train": len(self.selection.indices)}

    @cached_property
    def train_counts(self) -> dict[str, int]:
        """Train samples of each class in the subset, before any balancing; of labels alone."""
        names = self.source.class_names
        if not self.task.kind.is_classification:
            return {}
        targets = self.source.rows("train").targets[self.selection.indices]
        return dict(zip(names, class_counts(targets, len(names)).tolist(), strict=True))


class Resolver:
    """Resolves many runs: tasks, data, subsets and weights that they share are read once.

    Data that change meanwhile go unnoticed: one resolver serves one command.
    """

    def __init__(self) -> None:
        self._tasks: dict[str, TaskSpec] = {}
        self._sources: dict[Hashable, Source] = {}
        self._selections: dict[Hashable, Selection] = {}
        self._digests: dict[str, str] = {}
        self._plans: dict[RunConfig, Plan] = {}

    def resolve(self, config: RunConfig) -> Plan:
        """Find everything a run needs but pixels and tensors; as `resolve`."""
        return resolve(config, self)

    def run_id(self, config: RunConfig) -> str:
        """Name a run; runs that differ in nothing but the seed are resolved once.

        Raises:
            MarsbenchError: As `resolve`.
        """
        plan = self.plan_of(config)
        return run_id(
            plan.task.name,
            plan.model.name,
            config.mode,
            config.subset,
            config.seed,
            plan.identity,
        )

    def plan_of(self, config: RunConfig) -> Plan:
        """Resolve a run for seed 0, which is as good as any to see what runs share."""
        alike = replace(config, seed=0)
        if alike not in self._plans:
            self._plans[alike] = resolve(alike, self)
        return self._plans[alike]

    def task(self, name: str) -> TaskSpec:
        """Look up a task."""
        if name not in self._tasks:
            self._tasks[name] = get_task(name)
        return self._tasks[name]

    def source(self, config: RunConfig, task: TaskSpec, subset: Subset) -> Source:
        """Open a run's data."""
        place = (config.task, config.source, config.root, config.size, config.revision)
        whole, part = (*place, config.strict), (*place, config.strict, subset)
        if (found := self._sources.get(whole) or self._sources.get(part)) is not None:
            return found
        opened = open_source(
            task,
            config.source,
            config.root,
            config.size,
            subset=subset,
            revision=config.revision,
            strict=config.strict,
        )
        # A hub gives a published subset alone, any other source the whole split.
        is_whole = opened.name is not SourceName.HUGGINGFACE
        self._sources[whole if is_whole else part] = opened
        return opened

    def selection(self, source: Source, subset: Subset) -> Selection:
        """Find the train samples of a subset."""
        key = (id(source), subset)
        if key not in self._selections:
            self._selections[key] = select(source, subset)
        return self._selections[key]

    def file_digest(self, path: str) -> str:
        """SHA-256 of a file of weights."""
        if path not in self._digests:
            self._digests[path] = file_digest(Path(path).expanduser())
        return self._digests[path]


def resolve(config: RunConfig, shared: Resolver | None = None) -> Plan:
    """Find everything a run needs but pixels and tensors.

    Args:
        config: The run.
        shared: What was read for other runs.

    Raises:
        MarsbenchError: If a name is unknown, data cannot be found or do not fit, or this version
            cannot run such a task.
    """
    shared = shared or Resolver()
    task = shared.task(config.task)
    model = get_model(config.model)
    is_spectra = task.decode is Decode.SPECTRUM
    if model.spectra_only and not is_spectra:
        raise NotAvailableError(
            f"Model {model.name} is for spectra; the samples of {task.name} are images.",
            "`marsbench list models` shows what each model serves.",
        )
    if task.kind not in model.kinds:
        raise NotAvailableError(
            f"Model {model.name} does not serve {task.kind} tasks such as {task.name}.",
            "`marsbench list models` shows what each model serves.",
        )
    if config.compile and task.kind is Kind.DETECTION:
        raise ConfigError(
            f"compile=true has no effect on detectors such as {model.name}.", "Leave compile out."
        )
    _check_model(config, task, model)
    weights = _weights(config, model, shared)
    subset = parse_subset(config.subset)
    source = shared.source(config, task, subset)
    for split in SPLITS if config.folds is None else ("train",):
        source.rows(split)  # raises if the split lacks
    if config.folds is not None and not task.kind.is_classification:
        raise ConfigError(
            f"folds={config.folds} is for tasks of labels; {task.name} is {task.kind}.",
            "Leave folds out.",
        )
    if source.holds == Subset() and task.kind.is_classification:
        _check_classes(source)
    selection = shared.selection(source, subset)
    if config.negatives is Negatives.EXCLUDE:
        selection = _without_negatives(config, task, source, selection)
    augment = augment_of(config.augment, task, model)
    rendering = rendering_of(config, task, model, augment)
    if config.imbalance is Imbalance.OVERSAMPLE and augment is Augment.NONE:
        raise ConfigError(
            "imbalance=oversample repeats samples, which needs augmentation to make them differ; "
            f"augment={config.augment} makes none on {task.name}.",
            "Set augment=d4 or augment=hflip, or choose another imbalance.",
        )
    loss, num_outputs = _loss(config, task)
    return Plan(
        config=config,
        task=task,
        source=source,
        selection=selection,
        model=model,
        augment=augment,
        weights=weights,
        side=_side(config, task, source, model, rendering),
        balance=_balance(config, task, source, selection),
        loss=loss,
        num_outputs=num_outputs,
        rendering=rendering,
    )


def _check_model(config: RunConfig, task: TaskSpec, model: ModelSpec) -> None:
    """Refuse what a model would not heed, and would stand in the run's id all the same."""
    ours = model.library in (Library.SPECTRAL, Library.TABULAR)
    if ours and config.side is not None:
        raise ConfigError(
            f"side={config.side}: {model.name} takes spectra as they are drawn.", "Leave side out."
        )
    if model.library is Library.TABULAR:
        for key, value, kept in (
            ("mode", config.mode, Mode.SCRATCH),
            ("imbalance", config.imbalance, config.imbalance),
            ("trainer.devices", config.world_size, 1),
        ):
            if value != kept or value is Imbalance.LOSS_WEIGHT:
                raise ConfigError(
                    f"{key}={value} has no meaning for {model.name}, which is fitted at once.",
                    "Add mode=scratch." if key == "mode" else f"Leave {key} out.",
                )
    if config.pictures and (task.decode is Decode.SPECTRUM or config.folds is not None):
        raise ConfigError(
            "pictures=true draws the test images of a run without folds.",
            f"Leave pictures out; `marsbench data info {task.word} --samples FILE` draws samples.",
        )


def rendered_by(rendering: Rendering | None) -> dict[str, Any]:
    """Say what makes of spectra what a model sees: engineered features where nothing is drawn."""
    versions: dict[str, Any] = {"points": POINTS_VERSION}
    if rendering is None:
        return versions | {"features": FEATURES_VERSION}
    raster = {k: v for k, v in rendering.raster.choices.items() if k != "name"}
    return versions | {"raster": digest(raster)[:16], "raster_version": RASTER_VERSION}


def rendering_of(
    config: RunConfig, task: TaskSpec, model: ModelSpec, augment: Augment
) -> Rendering | None:
    """Choose how spectra become images: as the run says, else the model, else as is usual."""
    if task.decode is not Decode.SPECTRUM:
        for key, value in (("raster", config.raster), ("views", config.views)):
            if value not in (None, 1):
                raise ConfigError(
                    f"{key}={value} is for spectra; the samples of {task.name} are images.",
                    f"Leave {key} out.",
                )
        return None
    if model.library is Library.TABULAR and config.views > 1:
        raise ConfigError(
            f"views={config.views}: {model.name} draws nothing at random.", "Leave views out."
        )
    if model.library is Library.TABULAR and not model.rasters:
        if config.raster is not None:
            raise ConfigError(
                f"raster={config.raster}: {model.name} takes engineered features, not images.",
                "Leave raster out.",
            )
        return None
    change = augment is Augment.SPECTRAL
    return rendering_for(task, config.raster, model.rasters, change=change)


def _balance(config: RunConfig, task: TaskSpec, source: Source, selection: Selection) -> Balance:
    """Say how samples are drawn and weighed."""
    if task.kind.is_classification:
        targets = source.rows("train").targets[selection.indices]
        return balance(targets, config.imbalance, config.seed, source.class_names)
    if config.imbalance is not Imbalance.NONE:
        raise ConfigError(
            f"imbalance={config.imbalance} is for tasks with one label per image or several; "
            f"{task.name} is {task.kind}.",
            "Leave imbalance out.",
        )
    return Balance(np.arange(len(selection.indices)), None)


def _without_negatives(
    config: RunConfig, task: TaskSpec, source: Source, selection: Selection
) -> Selection:
    """Leave out train samples that show no object; val and test never change."""
    if task.kind.is_classification:
        raise ConfigError(
            f"negatives=exclude is for masks and boxes; {task.name} is {task.kind}.",
            "Leave negatives out.",
        )
    if task.kind is Kind.SEGMENTATION and normalise(source.class_names[0]) != BACKGROUND:
        raise ConfigError(
            f"negatives=exclude needs a class {BACKGROUND}, which {task.name} does not have.",
            "Leave negatives out.",
        )
    rows = source.rows("train")
    opened = cached_samples if config.cache else DirectSamples
    samples = opened(task, source, rows, config.bands)
    kept = [i for i in selection.indices.tolist() if not samples[i].is_negative]
    if not kept:
        raise DataError(
            f"No train sample of {task.name} shows an object.", "Leave negatives=exclude out."
        )
    ids = [rows.sample_ids[i] for i in kept]
    return Selection(np.array(kept), selection.origin, digest(ids)[:16])


def _side(
    config: RunConfig,
    task: TaskSpec,
    source: Source,
    model: ModelSpec,
    rendering: Rendering | None,
) -> int | None:
    """Choose the side to which images are resized: the one given, else the model's.

    A segmentation model takes any: that of the images, up to its own, in whole multiples of what
    its encoder halves five times.
    """
    is_spectra = task.decode is Decode.SPECTRUM
    if config.side is None and is_spectra and not model.fixed_size:
        raster = None if rendering is None else rendering.raster
        if raster is not None and not model.spectra_only:
            least = min(raster.rows, raster.columns)
            if least < model.smallest:
                raise ConfigError(
                    f"The raster {raster.name} gives images of {raster.rows} x {raster.columns}, "
                    f"and {model.name} takes {model.smallest} at least.",
                    f"Add side={model.input_size}, or choose another raster.",
                )
        return None
    if config.side is not None:
        if (task.kind.is_classification and not is_spectra) or model.fixed_size:
            raise ConfigError(
                f"side={config.side} cannot be chosen: {model.name} takes images of "
                f"{model.input_size} x {model.input_size} pixels.",
                "Leave side out.",
            )
        if config.side < model.smallest:
            raise ConfigError(
                f"side={config.side} is too small: {model.name} takes images of at least "
                f"{model.smallest} pixels.",
                f"Give a side of at least {model.smallest}, best {model.input_size}.",
            )
        return config.side
    if task.kind is not Kind.SEGMENTATION or model.fixed_size:
        return model.input_size
    raw = source.read("train", 0)
    largest = max(image_size(raw.image, raw.where))
    return min(model.input_size, -(-largest // HALVED) * HALVED)


def _check_classes(source: Source) -> None:
    """Refuse a train split that lacks a class: no model can learn it, and its score counts."""
    train = source.rows("train")
    counts = class_counts(train.targets, len(source.class_names))
    if absent := [source.class_names[int(k)] for k in np.flatnonzero(counts == 0)]:
        raise DataError(
            f"{source.where} has no train sample of: {', '.join(absent)}.",
            "Add train samples of these classes, or leave the classes out of a task of your own.",
        )


def _loss(config: RunConfig, task: TaskSpec) -> tuple[LossName, int]:
    """Resolve the loss and the number of output nodes."""
    if not task.kind.is_classification:
        return _loss_of_pixels(config, task), len(task.classes)
    cross_entropy, binary = LossName.CROSS_ENTROPY, LossName.BINARY_CROSS_ENTROPY
    loss, outputs = config.loss, config.outputs
    if loss is LossName.AUTO:
        loss = binary if outputs == 1 else LossName(KINDS[task.kind].loss)
    if outputs is not None and task.kind is not Kind.BINARY:
        raise ConfigError(
            f"outputs={outputs} is for binary tasks; {task.name} is {task.kind}, with one output "
            f"for each of its {len(task.classes)} classes.",
            "Leave outputs out.",
        )
    if loss not in (cross_entropy, binary):
        raise ConfigError(
            f"loss={loss} is for masks or boxes; {task.name} is {task.kind}.",
            f"Choose {cross_entropy} or {binary}, or leave loss out.",
        )
    if loss is cross_entropy and task.kind is Kind.MULTILABEL:
        raise ConfigError(
            f"loss=cross_entropy allows one label per sample; {task.name} is multilabel.",
            "Leave loss out: it is then binary_cross_entropy.",
        )
    if loss is cross_entropy and outputs == 1:
        raise ConfigError(
            "loss=cross_entropy compares the outputs of two nodes; outputs=1 gives one.",
            "Set outputs=2, or loss=binary_cross_entropy.",
        )
    if task.kind is Kind.BINARY and outputs is None:
        outputs = 1 if loss is binary else 2
    return loss, outputs or len(task.classes)


def _loss_of_pixels(config: RunConfig, task: TaskSpec) -> LossName:
    """Resolve the loss of a segmentation or detection task."""
    default = LossName(KINDS[task.kind].loss)
    allowed = {Kind.SEGMENTATION: SEGMENTATION_LOSSES, Kind.DETECTION: (LossName.MODEL,)}
    loss = default if config.loss is LossName.AUTO else config.loss
    if loss not in allowed[task.kind]:
        raise ConfigError(
            f"loss={loss} is not for {task.kind} tasks such as {task.name}.",
            f"Choose one of: {', '.join(allowed[task.kind])}.",
        )
    if config.outputs is not None:
        raise ConfigError(
            f"outputs={config.outputs} is for binary tasks; {task.name} is {task.kind}.",
            "Leave outputs out.",
        )
    return loss


def _weights(config: RunConfig, model: ModelSpec, shared: Resolver) -> str | None:
    if config.mode is Mode.SCRATCH:
        return None
    if config.weights is not None:
        return shared.file_digest(config.weights)
    if model.weights is None:
        raise WeightsError(
            f"There are no pre-trained weights of {model.name}, which mode={config.mode} needs.",
            "Add mode=scratch, or weights=PATH.",
        )
    return model.weights.name


def augment_of(augment: Augment, task: TaskSpec, model: ModelSpec) -> Augment:
    """Choose changes that leave the label alone: an orbital view has no up, a rover's has."""
    is_spectra = task.decode is Decode.SPECTRUM
    if augment is Augment.AUTO:
        if is_spectra:
            return Augment.NONE if model.library is Library.TABULAR else Augment.SPECTRAL
        choices = {Platform.ORBITER: Augment.D4, Platform.ROVER: Augment.HFLIP}
        return choices.get(task.platform, Augment.NONE)
    fits = (Augment.NONE, Augment.SPECTRAL) if is_spectra else set(Augment) - {Augment.SPECTRAL}
    if augment not in fits or (augment is not Augment.NONE and model.library is Library.TABULAR):
        raise ConfigError(
            f"augment={augment} has no meaning for {task.name} with {model.name}.",
            "Leave augment out, or set augment=none.",
        )
    return augment
