"""Resolve a config to a planned run: task, data, subset, model and run id, without torch.

The same resolution serves a dry run, a sweep's planner and the runner, so an id is the same
before a run and from its record.
"""

from collections.abc import Hashable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from marsbench.base.files import file_digest
from marsbench.base.hub import is_address, local_file, parse_address
from marsbench.base.paths import expanded
from marsbench.config.identity import digest, identity, run_id
from marsbench.config.resizing import WHOLE, Resizing
from marsbench.config.schema import (
    Augment,
    Decoder,
    HeadName,
    LossName,
    Mode,
    Negatives,
    Pooling,
    Protocol,
    RunConfig,
    SourceName,
    Subset,
    parse_subset,
)
from marsbench.data.boxes.forms import spellings
from marsbench.data.decode import image_size
from marsbench.data.groups import Group, find_group, members
from marsbench.data.imbalance import Balance, class_counts
from marsbench.data.rendering import Rendering
from marsbench.data.rows import Source
from marsbench.data.sources import open_source
from marsbench.data.subsets import Selection, select
from marsbench.models.answering.instructions import Instructions, instructions
from marsbench.models.answering.prompt import digest as digest_of_prompt
from marsbench.models.inputs import DEFAULT, Inputs
from marsbench.models.pretraining import RANDOM, UNKNOWN, Pretraining
from marsbench.models.spec import Library, ModelSpec
from marsbench.models.zoo.catalog import find_model
from marsbench.models.zoo.spectra import VERSION as MODELS_VERSION
from marsbench.plan.case import Case, side_of
from marsbench.plan.choices import check
from marsbench.plan.derived import (
    answers_of,
    asked_task,
    inputs_of,
    is_table,
    outputs_of,
    rendered_by,
    weights_of,
)
from marsbench.plan.samples import (
    balance_of,
    check_classes,
    check_validation,
    within,
    without_negatives,
)
from marsbench.tasks.catalog import get_task
from marsbench.tasks.kinds import KINDS, Kind, Technique
from marsbench.tasks.prompts import Prompts, digest_of, prompts_of
from marsbench.tasks.spec import BACKGROUND, SPLITS, TaskSpec, normalise

NO_TRAINING = Selection(np.arange(0), "none", "")
"""Train samples of a model that is not trained."""


@dataclass(frozen=True)
class Plan:
    """Resolved run.

    Attributes:
        config: The config as given.
        task: Its task.
        source: The task's data, opened.
        selection: The train samples of its subset.
        model: Its model.
        augment: Augmentation, resolved.
        weights: Name of the initial weights; None for random weights.
        side: Side of the model's input in pixels; None for spectra at the size of their raster.
        balance: Drawing and weights of the train samples.
        loss: The loss, resolved.
        num_outputs: Output nodes of the model.
        protocol: Training protocol, resolved.
        rendering: Rasterisation of spectra; None for images, and for models of engineered features.
        resizing: Resizing of images to `side`.
        inputs: Way from bands to channels, without statistics of the data.
        decoder: Decoder of an encoder; None for labels, and for models with one of their own.
        group: Group of the train and validation samples; None for all samples.
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
    protocol: Protocol
    rendering: Rendering | None = None
    resizing: Resizing = WHOLE
    inputs: Inputs = DEFAULT
    decoder: Decoder | None = None
    group: Group | None = None

    @property
    def trains(self) -> bool:
        """Whether anything is trained."""
        return self.config.mode is not Mode.ZERO_SHOT

    @cached_property
    def asked(self) -> TaskSpec:
        """The task as its samples are scored: of ``mode=zero_shot`` with masks recast as labels."""
        return asked_task(self.config, self.task)

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the scored classes in the order of the data's ids."""
        names = self.source.class_names
        if self.asked is self.task:
            return names
        return tuple(name for name in names if normalise(name) != BACKGROUND)

    @cached_property
    def prompts(self) -> Prompts:
        """Words of the classes, for ``mode=zero_shot``.

        Raises:
            ConfigError: As `prompts_of`.
        """
        path = self.config.prompts
        return prompts_of(self.task, self.class_names, None if path is None else expanded(path))

    @cached_property
    def instructions(self) -> Instructions:
        """Instructions to a generative model of ``mode=zero_shot``."""
        return instructions(self.asked, self.prompts)

    @property
    def _prompt(self) -> str | None:
        """Digest of the prompt of a vision-language model; None for other models."""
        if self.model.library is Library.TOWERS:
            is_several = self.asked.kind is Kind.MULTILABEL
            absent = self.prompts.absent_texts() if is_several else []
            return digest_of([self.prompts.texts(), absent])
        if not self.trains:
            return self.instructions.digest
        return digest_of_prompt() if self.model.library is Library.VLM else None

    @cached_property
    def identity(self) -> dict[str, Any]:
        """Choices with an effect on the score."""
        return identity(
            self.config,
            kind=self.asked.kind,
            data_revision=self.source.revision,
            subset_digest=self.selection.digest if self.trains else None,
            architecture=self.model.architecture,
            weights=self.weights,
            input_size=self.side,
            augment=self.augment,
            protocol=self.protocol,
            bands=self.config.bands if self.task.channels > 3 else None,
            loss=None if self.loss == KINDS[self.asked.kind].loss else self.loss,
            outputs=None if self.num_outputs == len(self.asked.classes) else self.num_outputs,
            spectra=self._spectra,
            task=self._task_facts,
            trains=self.trains and not is_table(self.model),
            batch_statistics=self.has_batch_statistics,
            resize=self.resizing.identity,
            inputs=self.inputs.identity,
            pooling=None if self.config.pooling is Pooling.AUTO else self.config.pooling,
            prompt=self._prompt,
            head=None if self.config.head is HeadName.LINEAR else self.config.head,
            decoder=self.decoder,
            test_samples=self._fewer_samples,
            train_on=None if self.group is None else str(self.group),
            answers=answers_of(self.config, self.model),
        )

    @property
    def _fewer_samples(self) -> int | None:
        """Number of test samples, if they are not the whole split."""
        chosen = self.config.test_samples
        return chosen if chosen is not None and chosen < len(self.source.rows("test")) else None

    @property
    def fits_heads(self) -> bool:
        """Whether heads are fitted to cached vectors, together with those of other runs."""
        return self.protocol is Protocol.CACHED and self.task.kind.is_classification

    @property
    def pretraining(self) -> Pretraining:
        """Data behind the initial weights; `UNKNOWN` of the user's own, or of replaced files."""
        if self.weights is None:
            return RANDOM if self.trains else UNKNOWN
        published, given = self.model.weights, self.config.weights
        if published is not None and self.weights == published.name:
            return self.model.pretraining
        if given is not None and is_address(given):
            place = str(replace(parse_address(given), revision=None))
            known = [w for w in (published, *self.model.variants) if w is not None]
            return next((w.pretraining for w in known if w.name == place), UNKNOWN)
        return UNKNOWN

    @property
    def has_batch_statistics(self) -> bool:
        """Whether smaller batches of equal steps give other numbers."""
        # UPerNet normalises by statistics of a batch.
        is_upernet = self.decoder is Decoder.UPERNET
        return is_upernet or self.config.mode in self.model.batch_statistics

    @property
    def _spectra(self) -> dict[str, Any] | None:
        """Further choices with an effect on scores of spectra."""
        if not self.task.is_spectra:
            return None
        models = {"models": MODELS_VERSION} if self.model.spectra_only else {}
        return rendered_by(self.rendering) | models

    @property
    def _task_facts(self) -> dict[str, Any] | None:
        """Facts of a custom task with an effect on the score that its data do not determine.

        Folders determine the classes and the files of a sample; a hub's commit determines neither.
        """
        task, is_hub = self.task, self.source.name is SourceName.HUGGINGFACE
        if task.path is None:
            return None
        facts: dict[str, Any] = {}
        if task.headline_metric != KINDS[task.kind].headline:
            facts["headline"] = task.headline_metric
        if task.channels > 3 and task.rgb_bands is not None:
            facts["rgb_bands"] = list(task.rgb_bands)
        if task.technique is Technique.GC and self.rendering is None:
            facts["technique"] = task.technique  # a raster states its technique
        if is_hub:
            facts["classes"] = list(self.source.class_names)
            if task.decode is not KINDS[task.kind].decoders[0]:
                facts["decode"] = task.decode
            if task.has_boxes:
                facts["spellings"] = digest(spellings(task, self.source.class_names))[:16]
        return facts or None

    @cached_property
    def run_id(self) -> str:
        """``task/model/mode/subset/seed-HASH``."""
        config = self.config
        return run_id(
            self.task.name, self.model.name, config.mode, config.subset, config.seed, self.identity
        )

    def in_group(self, split: str) -> NDArray[np.int64] | None:
        """Samples of the run's group in a split, (n,); None for all, as always in test.

        Everything that a choice may follow from keeps to the group. The test split never changes.
        """
        if self.group is None or split == "test":
            return None
        return members(self.source.rows(split), self.group)

    @cached_property
    def num_samples(self) -> dict[str, int]:
        """Samples per split; for train, samples of the subset. Of a run without training, test."""
        if not self.trains:
            return {"test": self._fewer_samples or len(self.source.rows("test"))}
        chosen = {split: self.in_group(split) for split in self.source.splits}
        sizes = {
            split: len(self.source.rows(split) if indices is None else indices)
            for split, indices in chosen.items()
        }
        return sizes | {"train": len(self.selection.indices)}

    @cached_property
    def train_counts(self) -> dict[str, int]:
        """Train samples per class in the subset, before balancing; empty without labels."""
        names = self.source.class_names
        if not (self.trains and self.task.kind.is_classification):
            return {}
        targets = self.source.rows("train").targets[self.selection.indices]
        return dict(zip(names, class_counts(targets, len(names)).tolist(), strict=True))


class Resolver:
    """Resolver of many runs; shared tasks, data, subsets and weights are read once.

    Data that change meanwhile go unnoticed: one resolver serves one command.

    Args:
        download: Whether missing data may be downloaded.
    """

    def __init__(self, *, download: bool = True) -> None:
        self.download = download
        self._tasks: dict[str, TaskSpec] = {}
        self._sources: dict[Hashable, Source] = {}
        self._selections: dict[Hashable, Selection] = {}
        self._sides: dict[int, int] = {}
        self._digests: dict[str, str] = {}
        self._plans: dict[RunConfig, Plan] = {}

    def resolve(self, config: RunConfig) -> Plan:
        """Resolve a run, as `resolve` does."""
        return resolve(config, self)

    def run_id(self, config: RunConfig) -> str:
        """Build the id of a run; runs are resolved once for all seeds.

        Raises:
            MarsbenchError: As `resolve`.
        """
        return self.named(config)[1]

    def named(self, config: RunConfig) -> tuple[Plan, str]:
        """Plan of a run for seed 0, as `plan_of`, and its id, as `run_id`."""
        plan = self.plan_of(config)
        # Digests do not cover the seed, so ids of other seeds differ only in its number.
        head, _, tail = plan.run_id.rpartition("/0-")
        return plan, f"{head}/{config.seed}-{tail}"

    def plan_of(self, config: RunConfig) -> Plan:
        """Resolve a run for seed 0, since shared work does not depend on the seed."""
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
        splits = SPLITS if config.mode is not Mode.ZERO_SHOT else splits_of(config)
        place = (config.task, config.source, config.root, config.size, config.revision, splits)
        full, part = (*place, config.strict), (*place, config.strict, subset)
        if (source := self._sources.get(full) or self._sources.get(part)) is not None:
            return source
        opened = open_source(
            task,
            config.source,
            config.root,
            config.size,
            subset=subset,
            splits=splits,
            revision=config.revision,
            download=self.download,
            strict=config.strict,
        )
        # A hub gives a published subset alone, any other source the whole split.
        is_full = opened.name is not SourceName.HUGGINGFACE
        self._sources[full if is_full else part] = opened
        return opened

    def selection(self, source: Source, subset: Subset) -> Selection:
        """Select the train samples of a subset."""
        key = (id(source), subset)
        if key not in self._selections:
            self._selections[key] = select(source, subset)
        return self._selections[key]

    def largest_side(self, source: Source) -> int:
        """Larger side of the first train image in pixels."""
        if id(source) not in self._sides:
            raw = source.read("train", 0)
            self._sides[id(source)] = max(image_size(raw.image, raw.where, raw.path))
        return self._sides[id(source)]

    def file_digest(self, path: str) -> str:
        """SHA-256 of a weights file, given by path or by address of the hub."""
        if path not in self._digests:
            self._digests[path] = file_digest(local_file(path))
        return self._digests[path]


def splits_of(config: RunConfig) -> tuple[str, ...]:
    """Splits that the data of a run must have."""
    if config.mode is Mode.ZERO_SHOT:
        return ("test",)
    return SPLITS if config.folds is None else ("train",)


def resolve(config: RunConfig, shared: Resolver | None = None) -> Plan:
    """Resolve everything a run needs except pixels and tensors.

    Args:
        config: The run.
        shared: Resolver with content read for other runs.

    Raises:
        MarsbenchError: If a name is unknown, data are missing or invalid, or keys exclude each
            other.
    """
    shared = shared or Resolver()
    task, model = shared.task(config.task), find_model(config.model).for_mode(config.mode)
    case = Case(config, asked_task(config, task), model)
    check(case)
    weights = weights_of(config, model, shared.file_digest)
    subset = parse_subset(config.subset)
    source = shared.source(config, task, subset)
    for split in splits_of(config):
        source.rows(split)  # raises if the split is missing
    group = None if config.train_on is None else find_group(source, config.train_on)
    if config.mode is Mode.ZERO_SHOT:
        selection, balance = NO_TRAINING, Balance(NO_TRAINING.indices, None)
    else:
        if source.holds == Subset() and task.kind.is_classification:
            check_classes(source)
        selection = shared.selection(source, subset)
        if config.negatives is Negatives.EXCLUDE:
            selection = without_negatives(config, task, source, selection)
        if group is not None:
            selection = within(source, selection, group)
            if config.folds is None:
                check_validation(source, group)
        balance = balance_of(config, task, source, selection)
    return Plan(
        config=config,
        task=task,
        source=source,
        selection=selection,
        model=model,
        augment=case.augment,
        weights=weights,
        side=side_of(case, lambda: shared.largest_side(source)),
        balance=balance,
        loss=case.loss,
        num_outputs=outputs_of(config, case.task, case.loss),
        protocol=case.protocol,
        rendering=case.rendering,
        resizing=case.resizing,
        inputs=inputs_of(config, task, model),
        decoder=case.decoder,
        group=group,
    )
