"""Runs, cells of runs, and groups of comparable cells."""

import math
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from marsbench.base.names import file_stem
from marsbench.config.schema import parse_subset
from marsbench.report.names import mode_title, protocol_title, subset_title, usual_protocol
from marsbench.tasks.kinds import METRICS

FULL = "full"
PARTITION = "partition"
FEW_SHOT = "few_shot"
NONE = "none"
ENSEMBLE = "ensemble"
DEMO = "demo"
REAL = "real"

UP = "\N{UPWARDS ARROW}"
DOWN = "\N{DOWNWARDS ARROW}"


class Trouble(StrEnum):
    """Sorts of problems with records, the most severe first; no problem stops a report."""

    UNREADABLE = "unreadable"  # half written, damaged, or of a newer schema
    DUPLICATE = "duplicate"  # one run id in several folders
    NO_SCORE = "no score"  # NaN, infinite, undefined, or out of the bounds of its metric
    REVISIONS = "several data"  # one task, other revisions, splits, metrics or samples
    SETTINGS = "several settings"  # one model, several hyperparameters
    RANGE = "range"  # no range for the normalisation
    MISSING = "missing"  # runs of other cells, or of a suite
    NO_PAPER = "beside the paper"  # runs without a counterpart among the paper's runs
    UNTESTED = "untested pairs"  # too few pairs of runs for a test
    ONE_SEED = "one seed"
    ONE_MODEL = "one model"
    NOTE = "note"  # notes in records
    NOT_DRAWN = "figure not drawn"


@dataclass(frozen=True)
class StudyProblem:
    """A problem, shown to readers of a report.

    Attributes:
        trouble: Sort.
        message: Description and consequence, in a sentence or two.
        run_ids: Affected runs, if any.
        is_elsewhere: Whether it concerns the other store of a comparison.
    """

    trouble: Trouble
    message: str
    run_ids: tuple[str, ...] = ()
    is_elsewhere: bool = False

    @property
    def what(self) -> str:
        """Sort in words."""
        return f"other store: {self.trouble}" if self.is_elsewhere else str(self.trouble)


_SEVERITY = {trouble: place for place, trouble in enumerate(Trouble)}


def by_severity(problems: Iterable[StudyProblem]) -> tuple[StudyProblem, ...]:
    """Sort problems, the most severe first; the sort is stable."""
    return tuple(sorted(problems, key=lambda problem: _SEVERITY[problem.trouble]))


def amount_of(subset: str) -> float:
    """Sort key of a subset by amount of data: shots, then shares, then the full split."""
    part = parse_subset(subset)
    if part.shots is not None:
        return part.shots - 1e6
    return float(part.fraction) if part.fraction is not None else math.inf


@dataclass(frozen=True, order=True)
class GroupKey:
    """Common settings of the cells of a group.

    Attributes:
        category: classification, segmentation, detection or spectra.
        mode: scratch, frozen, finetune or zero_shot; mixed of an ensemble over several.
        protocol: online, cached or upstream; mixed of an ensemble over several.
        subset: full, partition_P or few_shot_K.
        imbalance: Method for unequal classes; none for no method.
        views: d4 for cached flips and turns, a number of averaged draws, or none.
        train_on: Group of the train and validation samples, as ``FIELD:VALUE``, or none.
        data: real or demo.
    """

    category: str
    mode: str
    protocol: str
    subset: str = FULL
    imbalance: str = NONE
    views: str = NONE
    train_on: str = NONE
    data: str = REAL

    @property
    def averaged(self) -> str:
        """The key of a run that gives its views, with its value."""
        return "augment=d4" if self.views == "d4" else f"draws={self.views}"

    @property
    def words(self) -> str:
        """The key as words, which name files and random streams."""
        return self._words(self.subset)

    @property
    def family(self) -> "GroupKey":
        """Key of the family: all groups of equal settings except the subset."""
        return replace(self, subset=FULL)

    @property
    def family_words(self) -> str:
        """The family as words, without a subset."""
        return self._words()

    def _words(self, *subset: str) -> str:
        return " ".join([self.category, self.mode, self.protocol, *subset, *self.unusual])

    @property
    def title(self) -> str:
        """Title without default settings: ``Frozen classification models, full training split``."""
        return self._title(subset_title(self.subset))

    @property
    def family_title(self) -> str:
        """Title of the family, without a subset."""
        return self._title()

    def _title(self, *subset: str) -> str:
        is_usual = self.protocol == usual_protocol(self.category, self.mode)
        protocol = [] if is_usual else [protocol_title(self.protocol)]
        start = mode_title(self.mode, self.category)
        return ", ".join([start, *subset, *protocol, *self.unusual])

    @property
    def unusual(self) -> list[str]:
        """Settings other than the default, with demo data last."""
        words = [f"imbalance={self.imbalance}"] if self.imbalance != NONE else []
        words += [self.averaged] if self.views != NONE else []
        words += [f"train_on={self.train_on}"] if self.train_on != NONE else []
        return words + (["demo data"] if self.data == DEMO else [])

    @property
    def slug(self) -> str:
        """The key for file names."""
        return file_stem(self.words)


class Basis(NamedTuple):
    """Data behind a score; scores on a task are comparable for equal data.

    Attributes:
        revision: Revision of the data.
        split: Scored split.
        metric: Headline metric.
        subset_digest: Digest of the training samples; empty for the full split or if unknown.
        test_samples: Digest of the test samples of a model that is not trained; else empty.
    """

    revision: str
    split: str
    metric: str
    subset_digest: str = ""
    test_samples: str = ""


@dataclass(frozen=True)
class Run:
    """A record, reduced to the fields for reports.

    Attributes:
        run_id: Run id.
        key: Key of its group.
        task: Task.
        model: Model; for an ensemble with the models of its members.
        seed: Seed.
        setting: Digest of all other choices, the end of the run id.
        identity: These choices.
        data: Data of training and scoring.
        subset_origin: published or generated; empty if unknown.
        score: Headline metric on the scored split.
        val_loss: Validation loss of the tested checkpoint; NaN if unknown.
        train_seconds: Seconds of training; NaN if unknown or resumed.
        resumed: Whether the run was resumed, with a time of the last part only.
        record_type: run, ensemble, imported or evaluation.
    """

    run_id: str
    key: GroupKey
    task: str
    model: str
    seed: int
    setting: str
    identity: Mapping[str, Any] = field(compare=False, repr=False)
    data: Basis
    subset_origin: str
    score: float
    val_loss: float
    train_seconds: float
    resumed: bool
    record_type: str


@dataclass(frozen=True)
class Cell:
    """Runs of a model on a task with the same settings: an entry of a table.

    Attributes:
        task: Task.
        model: Model.
        key: Key of its group.
        runs: A run per seed, in the order of the seeds.
        others: Other settings of the same model, not in `runs`: differences in words, by digest.
    """

    task: str
    model: str
    key: GroupKey
    runs: tuple[Run, ...]
    others: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def scores(self) -> NDArray[np.float64]:
        """Raw scores, shape (num_seeds,)."""
        return np.array([run.score for run in self.runs], dtype=np.float64)

    @property
    def seeds(self) -> tuple[int, ...]:
        """Seeds, sorted."""
        return tuple(run.seed for run in self.runs)

    @property
    def run_ids(self) -> tuple[str, ...]:
        """Run ids, in the order of the seeds."""
        return tuple(run.run_id for run in self.runs)

    @property
    def setting(self) -> str:
        """Digest of the hyperparameters and all other choices behind the score."""
        return self.runs[0].setting

    @property
    def metric(self) -> str:
        """Name of the headline metric."""
        return self.runs[0].data.metric

    @property
    def is_ensemble(self) -> bool:
        """Whether the run is an ensemble; ensembles have no seed."""
        return self.runs[0].record_type == ENSEMBLE

    @property
    def higher_is_better(self) -> bool:
        """Direction of the headline metric."""
        return metric_is_up(self.metric)


@dataclass(frozen=True)
class Group:
    """Comparable cells.

    Attributes:
        key: Common settings.
        cells: Cells by (task, model); some may be missing.
    """

    key: GroupKey
    cells: Mapping[tuple[str, str], Cell]

    @cached_property
    def tasks(self) -> tuple[str, ...]:
        """Tasks, sorted."""
        return tuple(sorted({task for task, _ in self.cells}))

    @cached_property
    def metrics(self) -> dict[str, str]:
        """Headline metric of each task, equal for all its cells."""
        return {task: cell.metric for (task, _), cell in self.cells.items()}

    @cached_property
    def models(self) -> tuple[str, ...]:
        """Models, sorted."""
        return tuple(sorted({model for _, model in self.cells}))

    @cached_property
    def seeds(self) -> tuple[int, ...]:
        """Seeds of all cells except ensembles, sorted."""
        cells = [cell for cell in self.cells.values() if not cell.is_ensemble]
        return tuple(sorted({seed for cell in cells for seed in cell.seeds}))

    @cached_property
    def rows(self) -> dict[int, int]:
        """Row of `matrix` by seed, including the seeds of ensembles."""
        seeds = {seed for cell in self.cells.values() for seed in cell.seeds}
        return {seed: row for row, seed in enumerate(sorted(seeds))}

    def of_tasks(self, tasks: Container[str]) -> "Group":
        """The group with cells of some tasks only."""
        return replace(self, cells={n: cell for n, cell in self.cells.items() if n[0] in tasks})

    def matrix(self, model: str, tasks: Sequence[str] | None = None) -> NDArray[np.float64]:
        """Raw scores of a model, shape (num_seeds, num_tasks), NaN for missing runs.

        Args:
            model: Model.
            tasks: Columns; None for all tasks of the group. Rows follow `rows`.
        """
        columns = self.tasks if tasks is None else tuple(tasks)
        scores = np.full((len(self.rows), len(columns)), np.nan)
        for column, task in enumerate(columns):
            if cell := self.cells.get((task, model)):
                scores[[self.rows[seed] for seed in cell.seeds], column] = cell.scores
        return scores


def metric_is_up(metric: str) -> bool:
    """Whether higher values of a metric are better, also per class (``f1/CLASS``)."""
    info = METRICS.get(metric.partition("/")[0])
    return info is None or info.higher_is_better


def metric_title(metric: str) -> str:
    """Title of a metric; the name of an unknown metric."""
    info = METRICS.get(metric.partition("/")[0])
    return info.title if info else metric


def metric_label(metric: str) -> str:
    """Title of a metric with an arrow: up if higher is better, down if lower."""
    info = METRICS.get(metric.partition("/")[0])
    return f"{info.title} {UP if info.higher_is_better else DOWN}" if info else metric
