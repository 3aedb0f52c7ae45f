"""Evaluations planned: a run's classes and bands matched with a task's, and their ids."""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from marsbench.base.errors import ConfigError, DataError
from marsbench.config.identity import digest, run_id
from marsbench.config.schema import Mode, RunConfig, SourceName
from marsbench.data.rendering import Rendering
from marsbench.data.rows import Source
from marsbench.data.sources import open_source
from marsbench.data.spectra import technique_of
from marsbench.evaluate.bands import Reading, match_bands
from marsbench.evaluate.classes import Classes, match_classes
from marsbench.evaluate.damage import Damage, damages_of
from marsbench.evaluate.parents import Parent
from marsbench.evaluate.settings import Settings
from marsbench.evaluate.tested import SPLIT, Tested, tested_samples
from marsbench.models.spec import Library
from marsbench.tasks.catalog import get_task
from marsbench.tasks.kinds import BOXES, LABELS, MASKS, Kind, metrics_of
from marsbench.tasks.spec import TaskSpec


@dataclass(frozen=True)
class Evaluation:
    """A run to evaluate on a task.

    Attributes:
        parent: The run.
        settings: Settings of the call.
        task: The target.
        source: Its data, opened.
        place: Place of its data, by the keys of a run.
        classes: Classes of run and target.
        reading: Bands of run and target.
        tested: Samples of the target.
        damage: Corruption of the samples; None for the samples as they are.
    """

    parent: Parent
    settings: Settings
    task: TaskSpec
    source: Source
    place: Mapping[str, Any] = field(repr=False)
    classes: Classes
    reading: Reading
    tested: Tested
    damage: Damage | None = None

    @property
    def is_own(self) -> bool:
        """Whether samples and classes are those of the test split the run was scored on."""
        record = self.parent.record
        is_same = self.task.word == self.parent.task.word
        is_same &= self.source.revision == record.data.get("revision")
        is_same &= self.classes.is_identical
        is_whole = self.tested.split == SPLIT and self.tested.group is None
        return is_same and is_whole and SPLIT in record.metrics

    @property
    def identity(self) -> dict[str, Any]:
        """Choices with an effect on the score; those at their default are absent."""
        choices = {
            "parent": self.parent.record.run_id,
            "task": self.task.name,
            "data_revision": self.source.revision,
            "classes": self.classes.digest,
            "test_on": None if self.tested.group is None else str(self.tested.group),
            "reading": None if self.task.path is None else digest(self.task.reading)[:16],
        }
        if self.damage is not None:
            choices |= self.damage.identity
        return {key: value for key, value in choices.items() if value is not None}

    @cached_property
    def run_id(self) -> str:
        """``TARGET/model/mode/subset/seed-HASH``."""
        record = self.parent.record
        return run_id(
            self.task.name, record.model, record.mode, record.subset, record.seed, self.identity
        )

    @property
    def kind(self) -> Kind:
        """Kind by which predictions are scored."""
        return self.classes.kind

    @property
    def headline(self) -> str:
        """Headline metric: the target's, if the kind has it."""
        wanted = self.task.headline_metric
        return wanted if wanted in metrics_of(self.kind) else self.parent.record.headline

    @cached_property
    def positions(self) -> NDArray[np.int64]:
        """Positions of the samples that count, without those of a class without a counterpart."""
        rows = self.source.rows(self.tested.split)
        chosen = self.tested.positions(rows)
        if self.task.kind not in (Kind.BINARY, Kind.MULTICLASS):
            return chosen
        has_class: NDArray[np.bool_] = self.classes.of_target[rows.targets[chosen]] >= 0
        return chosen[has_class]

    @property
    def rendering(self) -> Rendering | None:
        """Rasterisation of spectra as in the run, unchanged."""
        rendering = self.parent.case.rendering
        return None if rendering is None else replace(rendering, change=False)

    @property
    def images(self) -> Hashable:
        """Key of the inputs: evaluations of equal keys see the same batches."""
        record = self.parent.record
        return (
            self.task.word,
            self.source.where,
            self.source.revision,
            self.tested,
            record.input_size,
            digest(record.identity.get("resize")),
            self.reading,
            self.rendering,
            self.parent.config.draws,
        )

    @property
    def backbone(self) -> str | None:
        """Digest of a frozen backbone whose features are shared; None for all other networks."""
        record = self.parent.record
        digest_of = (record.weights or {}).get("sha256")
        is_shared = record.mode == Mode.FROZEN and record.kind in LABELS
        return digest_of if is_shared and digest_of else None

    @property
    def group(self) -> Hashable:
        """Key of the evaluations to carry out together: equal inputs and frozen backbones.

        Corruptions are no part: those of a run follow one another with the same networks.
        """
        record, backbone = self.parent.record, self.backbone
        if backbone is None:
            return (self.images, record.run_id)
        facts = {key: record.identity.get(key) for key in ("architecture", "pooling", "head")}
        facts |= {"inputs": record.data.get("inputs"), "protocol": record.protocol}
        trainer = self.parent.config.trainer
        return (self.images, backbone, digest(facts), trainer.precision, trainer.matmul)


class Planner:
    """Planner of the evaluations of a call; targets are opened once."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._sources: dict[Hashable, Source] = {}

    def plan(self, parent: Parent) -> Evaluation:
        """Match a run with the target, as it is.

        Raises:
            MarsbenchError: If kinds, classes or bands do not match, or data are missing.
        """
        task = self._task(parent)
        _check(parent, task)
        reading = match_bands(parent.config, parent.task, task)
        place = self._place(parent, task)
        source = self._source(task, place)
        tested = tested_samples(parent, task, source, self.settings.test_on)
        classes = match_classes(
            parent.task,
            parent.record.data["classes"],
            task,
            source.class_names,
            self.settings.class_map,
        )
        planned = Evaluation(parent, self.settings, task, source, place, classes, reading, tested)
        if not len(planned.positions):
            raise DataError(
                f"No sample of {task.name} to evaluate has a class with a counterpart among the "
                f"classes of {parent.task.name}.",
                "Match further classes in class_map=FILE, or choose other data.",
            )
        return planned

    def all_of(self, parent: Parent) -> list[Evaluation]:
        """Evaluations of a run: one, or one per corruption and severity.

        Corrupted samples of another test split than the run's own are compared with the clean
        ones, which are evaluated first.

        Raises:
            MarsbenchError: As `plan`, or if a corruption does not apply to the target.
        """
        clean = self.plan(parent)
        damages = damages_of(self.settings, clean.task, clean.reading)
        if not damages:
            return [clean]
        damaged = [replace(clean, damage=damage) for damage in damages]
        return damaged if clean.is_own else [clean, *damaged]

    def _task(self, parent: Parent) -> TaskSpec:
        return parent.task if self.settings.task is None else get_task(self.settings.task)

    def _source(self, task: TaskSpec, place: Mapping[str, Any]) -> Source:
        key = (task.word, *place.values())
        if key not in self._sources:
            self._sources[key] = open_source(
                task,
                SourceName(place["source"]),
                place["root"],
                place["size"],
                revision=place["revision"],
                splits=[SPLIT],
                strict=place["strict"],
            )
        return self._sources[key]

    def _place(self, parent: Parent, task: TaskSpec) -> Mapping[str, Any]:
        """Place of the target's data: as given; of the run's own task by default the run's."""
        keys = ("source", "root", "size", "revision")
        given = {key: getattr(self.settings, key) for key in keys}
        if task.word == parent.task.word and all(value is None for value in given.values()):
            chosen = parent.config
            return {key: getattr(chosen, key) for key in (*keys, "strict")}
        usual = RunConfig()
        return {
            **{key: getattr(usual, key) if v is None else v for key, v in given.items()},
            "strict": usual.strict,
        }


def _check(parent: Parent, task: TaskSpec) -> None:
    """Refuse targets of another kind or technique."""
    mine = parent.task
    alike = any(mine.kind in kinds and task.kind in kinds for kinds in (LABELS, MASKS, BOXES))
    if not alike or mine.is_spectra != task.is_spectra:
        theirs = "spectra" if task.is_spectra else f"images with {task.files.target}"
        ours = "spectra" if mine.is_spectra else f"images with {mine.files.target}"
        raise ConfigError(
            f"Samples of {task.name} are {theirs}; the run {parent.record.run_id} expects {ours}.",
            "Choose a task of the same kind.",
        )
    if task.is_spectra and technique_of(task) is not technique_of(mine):
        raise ConfigError(
            f"Spectra of {task.name} are of the technique {technique_of(task)}; the run "
            f"{parent.record.run_id} expects {technique_of(mine)}.",
            "Choose a task of the same technique.",
        )
    if parent.model.library is Library.VLM and mine.kind is not task.kind:
        raise ConfigError(
            f"{parent.model.name} answers with the name of a class; {task.name} is {task.kind}.",
            f"Choose a task of the kind {mine.kind}.",
        )
