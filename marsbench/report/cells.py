"""What reports compare: runs, the cells they fill, and groups of cells that may be compared."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from marsbench.kinds import METRICS

FULL = "full"
NONE = "none"


class Trouble(StrEnum):
    """What can be wrong with what a store holds; none of it stops a report."""

    UNREADABLE = "unreadable"  # half written, damaged, or of a newer schema
    NO_SCORE = "no score"  # NaN, infinite, or undefined
    DUPLICATE = "duplicate"  # one run id in several folders
    ONE_SEED = "one seed"
    ONE_MODEL = "one model"
    SETTINGS = "several settings"  # one model, several hyperparameters
    REVISIONS = "several revisions"  # one task, several data
    MISSING = "missing"  # seeds or tasks that others have
    RANGE = "range"  # nothing to normalise by


@dataclass(frozen=True)
class Problem:
    """Something a reader must know.

    Attributes:
        trouble: Which sort.
        message: What it is and what was done about it, in one sentence or two.
        run_ids: The runs it is about, where there are some.
    """

    trouble: Trouble
    message: str
    run_ids: tuple[str, ...] = ()


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
        words = [self.category, self.mode, self.protocol, self.subset]
        words += [f"imbalance={self.imbalance}"] if self.imbalance != NONE else []
        words += [f"views={self.views}"] if self.views != NONE else []
        return " ".join(words + (["demo data"] if self.data == "demo" else []))

    @property
    def slug(self) -> str:
        """The key as part of a file's name."""
        return "-".join(self.title.replace("=", "-").split())


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
        data: What must be equal for two scores on a task to be comparable: data revision, scored
            split, headline metric.
        score: The headline metric on the scored split.
        val_loss: Validation loss of the checkpoint tested; NaN where it has none.
        train_seconds: Seconds of training; NaN where unknown.
        parameters: Number of parameters; 0 where unknown.
        record_type: run, ensemble, imported or evaluation.
    """

    run_id: str
    key: GroupKey
    task: str
    model: str
    seed: int
    setting: str
    data: tuple[str, str, str]
    score: float
    val_loss: float
    train_seconds: float
    parameters: int
    record_type: str


@dataclass(frozen=True)
class Cell:
    """One model on one task, trained in one way: what a box of a table stands for.

    Attributes:
        task: Task.
        model: Model.
        key: Its group.
        runs: One run per seed, in the order of the seeds.
        others: Settings (digests) that the same model was also run with, which are not in `runs`.
    """

    task: str
    model: str
    key: GroupKey
    runs: tuple[Run, ...]
    others: tuple[str, ...] = ()

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
        return self.runs[0].data[2]

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
        problems: What is wrong with this group.
    """

    key: GroupKey
    cells: Mapping[tuple[str, str], Cell]
    problems: tuple[Problem, ...] = ()

    @cached_property
    def tasks(self) -> tuple[str, ...]:
        """Tasks, sorted."""
        return tuple(sorted({task for task, _ in self.cells}))

    @cached_property
    def models(self) -> tuple[str, ...]:
        """Models, sorted."""
        return tuple(sorted({model for _, model in self.cells}))

    @cached_property
    def seeds(self) -> tuple[int, ...]:
        """Every seed that some cell has, sorted."""
        return tuple(sorted({seed for cell in self.cells.values() for seed in cell.seeds}))

    def matrix(self, model: str, tasks: Sequence[str] | None = None) -> NDArray[np.float64]:
        """Raw scores of a model, shape (num_seeds, num_tasks), NaN where a run lacks.

        Args:
            model: Its name.
            tasks: Columns; None for all tasks of the group. Rows are the seeds of the group.
        """
        columns = self.tasks if tasks is None else tuple(tasks)
        rows = {seed: number for number, seed in enumerate(self.seeds)}
        scores = np.full((len(rows), len(columns)), np.nan)
        for column, task in enumerate(columns):
            if cell := self.cells.get((task, model)):
                scores[[rows[seed] for seed in cell.seeds], column] = cell.scores
        return scores


def metric_is_up(metric: str) -> bool:
    """Whether more of a metric is better; per class (``f1/CLASS``) as over all."""
    info = METRICS.get(metric.partition("/")[0])
    return info is None or info.higher_is_better
