"""What reports compare: runs, the cells they fill, and groups of cells that may be compared."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from marsbench.config.schema import parse_subset
from marsbench.tasks.kinds import METRICS

FULL = "full"
NONE = "none"
ENSEMBLE = "ensemble"

UP = "\N{UPWARDS ARROW}"
DOWN = "\N{DOWNWARDS ARROW}"


class Trouble(StrEnum):
    """What can be wrong with what a store holds, the gravest first; none of it stops a report."""

    UNREADABLE = "unreadable"  # half written, damaged, or of a newer schema
    DUPLICATE = "duplicate"  # one run id in several folders
    NO_SCORE = "no score"  # NaN, infinite, undefined, or beyond what its metric can be
    REVISIONS = "several data"  # one task, other revisions, splits, metrics or samples
    SETTINGS = "several settings"  # one model, several hyperparameters
    RANGE = "range"  # nothing to normalise by
    MISSING = "missing"  # runs that others have, or that a suite has
    UNTESTED = "untested pairs"  # too few pairs of runs for a test to tell anything
    ONE_SEED = "one seed"
    ONE_MODEL = "one model"
    NOTE = "note"  # what records say of themselves
    NOT_DRAWN = "figure not drawn"


@dataclass(frozen=True)
class Problem:
    """Something a reader must know.

    Attributes:
        trouble: Which sort.
        message: What it is and what was done about it, in one sentence or two.
        run_ids: The runs it is about, where there are some.
        is_elsewhere: Whether it is one of the store that a report is compared with.
    """

    trouble: Trouble
    message: str
    run_ids: tuple[str, ...] = ()
    is_elsewhere: bool = False

    @property
    def what(self) -> str:
        """Its sort, in words."""
        return f"other store: {self.trouble}" if self.is_elsewhere else str(self.trouble)


_SEVERITY = {trouble: place for place, trouble in enumerate(Trouble)}


def by_severity(problems: Iterable[Problem]) -> tuple[Problem, ...]:
    """Sort problems, the gravest first; those of one sort stay in their order."""
    return tuple(sorted(problems, key=lambda problem: _SEVERITY[problem.trouble]))


def amount_of(subset: str) -> float:
    """Order subsets by what they hold: shots, then shares, then everything."""
    part = parse_subset(subset)
    if part.shots is not None:
        return part.shots - 1e6
    return float(part.fraction) if part.fraction is not None else math.inf


@dataclass(frozen=True, order=True)
class GroupKey:
    """What all cells of a group share.

    Attributes:
        category: classification, segmentation, detection or spectra.
        mode: scratch, frozen or finetune; mixed of an ensemble over several.
        protocol: online, cached or upstream; mixed of an ensemble over several.
        subset: full, partition_P or few_shot_K.
        imbalance: How unequal classes are dealt with; none if they are left as they are.
        views: Views of a sample that are averaged, such as d4; none if it is seen once.
        data: real, or demo for drawn data.
    """

    category: str
    mode: str
    protocol: str
    subset: str = FULL
    imbalance: str = NONE
    views: str = NONE
    data: str = "real"

    @property
    def title(self) -> str:
        """The key in words; what is as usual is left out."""
        return self._in_words(self.subset)

    @property
    def family(self) -> "GroupKey":
        """What groups share that differ in their subset alone: the key of the full one."""
        return replace(self, subset=FULL)

    @property
    def family_title(self) -> str:
        """The family in words, without a subset."""
        return self._in_words()

    def _in_words(self, *subset: str) -> str:
        words = [self.category, self.mode, self.protocol, *subset]
        words += [f"imbalance={self.imbalance}"] if self.imbalance != NONE else []
        words += [f"views={self.views}"] if self.views != NONE else []
        return " ".join(words + (["demo data"] if self.data == "demo" else []))

    @property
    def slug(self) -> str:
        """The key as part of a file's name."""
        return "-".join(self.title.replace("=", "-").split())


class Basis(NamedTuple):
    """What must be equal for two scores on a task to be comparable.

    Attributes:
        revision: Of the data.
        split: The one scored.
        metric: The headline metric.
        subset_digest: Digest of the samples trained on; empty for the full split, and if unknown.
    """

    revision: str
    split: str
    metric: str
    subset_digest: str = ""


@dataclass(frozen=True)
class Run:
    """What a report needs of one record.

    Attributes:
        run_id: Its id.
        key: The group it belongs to.
        task: Its task.
        model: Its model; of an ensemble, with the models it is of.
        seed: Its seed.
        setting: Digest of every other choice, as it ends the run id.
        identity: These choices.
        data: What it was scored on, and trained on.
        subset_origin: Who drew the subset: published or generated; empty if unknown.
        score: The headline metric on the scored split.
        val_loss: Validation loss of the checkpoint tested; NaN where it has none.
        train_seconds: Seconds of training; NaN where unknown, as of a run that was resumed.
        resumed: Whether it was resumed, and only its last part was timed.
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
    """One model on one task, trained in one way: what a box of a table stands for.

    Attributes:
        task: Task.
        model: Model.
        key: Its group.
        runs: One run per seed, in the order of the seeds.
        others: Settings (digests) that the same model was also run with, which are not in `runs`,
            and how each differs from the one that is, in words.
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
        """Digest of the hyperparameters and everything else that can move the score."""
        return self.runs[0].setting

    @property
    def metric(self) -> str:
        """Name of the headline metric."""
        return self.runs[0].data.metric

    @property
    def is_ensemble(self) -> bool:
        """Whether its run is an ensemble, which has no seed of its own."""
        return self.runs[0].record_type == ENSEMBLE

    @property
    def higher_is_better(self) -> bool:
        """Direction of the headline metric."""
        return metric_is_up(self.metric)


@dataclass(frozen=True)
class Group:
    """Cells that may be compared.

    Attributes:
        key: What they share.
        cells: By (task, model); some pairs may lack.
    """

    key: GroupKey
    cells: Mapping[tuple[str, str], Cell]

    @cached_property
    def tasks(self) -> tuple[str, ...]:
        """Tasks, sorted."""
        return tuple(sorted({task for task, _ in self.cells}))

    @cached_property
    def metrics(self) -> dict[str, str]:
        """Name of the headline metric by task: all cells of a task have the same."""
        return {task: cell.metric for (task, _), cell in self.cells.items()}

    @cached_property
    def models(self) -> tuple[str, ...]:
        """Models, sorted."""
        return tuple(sorted({model for _, model in self.cells}))

    @cached_property
    def seeds(self) -> tuple[int, ...]:
        """Every seed that some cell has, sorted; an ensemble has none of its own."""
        cells = [cell for cell in self.cells.values() if not cell.is_ensemble]
        return tuple(sorted({seed for cell in cells for seed in cell.seeds}))

    @cached_property
    def rows(self) -> dict[int, int]:
        """Row of `matrix` by seed, those under which ensembles are filed included."""
        seeds = {seed for cell in self.cells.values() for seed in cell.seeds}
        return {seed: row for row, seed in enumerate(sorted(seeds))}

    def matrix(self, model: str, tasks: Sequence[str] | None = None) -> NDArray[np.float64]:
        """Raw scores of a model, shape (num_seeds, num_tasks), NaN where a run lacks.

        Args:
            model: Its name.
            tasks: Columns; None for all tasks of the group. Rows are as `rows` says.
        """
        columns = self.tasks if tasks is None else tuple(tasks)
        scores = np.full((len(self.rows), len(columns)), np.nan)
        for column, task in enumerate(columns):
            if cell := self.cells.get((task, model)):
                scores[[self.rows[seed] for seed in cell.seeds], column] = cell.scores
        return scores


def metric_is_up(metric: str) -> bool:
    """Whether more of a metric is better; per class (``f1/CLASS``) as over all."""
    info = METRICS.get(metric.partition("/")[0])
    return info is None or info.higher_is_better


def metric_label(metric: str) -> str:
    """Title of a metric with an arrow in the direction of better."""
    info = METRICS.get(metric.partition("/")[0])
    return f"{info.title} {UP if info.higher_is_better else DOWN}" if info else metric
