"""Parts of a run: K trainings with ``folds=K``, else a single training."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from marsbench.base.errors import ConfigError
from marsbench.config.schema import Checkpoint
from marsbench.data.folds import ASIDE, OUT_OF_FOLD, assign_folds, strata_of
from marsbench.data.imbalance import Balance, balance
from marsbench.plan.resolve import Plan
from marsbench.tasks.spec import SPLITS
from marsbench.training.trainers import chooses_epoch


@dataclass(frozen=True)
class Section:
    """Samples of a split.

    Attributes:
        split: train, val or test.
        indices: Indices of the samples, (n,); None for all.
    """

    split: str
    indices: NDArray[np.int64] | None = None


@dataclass(frozen=True)
class Part:
    """Training of a model.

    Attributes:
        name: Name of its folder in the run's folder; "" for the only part.
        train: Training samples.
        balance: Drawing and weighing of the training samples.
        val: Samples for the choice of a checkpoint; None if none is chosen.
        scored: Samples to predict, by the name of their scores.
    """

    name: str
    train: Section
    balance: Balance
    val: Section | None
    scored: Mapping[str, Section]

    @property
    def splits(self) -> set[str]:
        """Splits with samples of the part."""
        sections = (self.train, self.val, *self.scored.values())
        return {section.split for section in sections if section is not None}

    def folder(self, run: Path) -> Path:
        """Folder of the part, in the folder of its run."""
        return run / self.name if self.name else run


def parts_of(plan: Plan) -> list[Part]:
    """List the parts of a run.

    Folds are the same in every run of a task; a subset limits the training samples of a fold,
    never the predicted ones. A group (`train_on`) limits both, and the val split. If validation
    chooses the checkpoint, it uses training samples set aside from the other folds, so that no
    model has seen the samples it is scored on.

    Raises:
        ConfigError: If a fold has no training samples, or no samples of the group.
    """
    if not plan.trains:
        nothing = Section("train", plan.selection.indices)
        return [Part("", nothing, plan.balance, None, {"test": Section("test")})]
    chooses = plan.config.trainer.checkpoint is Checkpoint.BEST and chooses_epoch(plan)
    other_splits: dict[str, Section] = {
        s: Section(s, indices)
        for s in SPLITS[1:]
        if s in plan.source.splits
        for indices in [plan.in_group(s)]
        if indices is None or len(indices)
    }
    if plan.config.folds is None:
        train = Section("train", plan.selection.indices)
        return [
            Part("", train, plan.balance, other_splits["val"] if chooses else None, other_splits)
        ]
    rows = plan.source.rows("train")
    strata = strata_of(rows.targets, rows.groups)
    fold_of = assign_folds(strata, plan.config.folds)
    of_group = plan.in_group("train")
    everyone = np.arange(len(rows)) if of_group is None else of_group
    parts = []
    for k in range(plan.config.folds):
        mine = plan.selection.indices[fold_of[plan.selection.indices] != k]
        aside: NDArray[np.int64] | None = None
        if chooses:
            inner = assign_folds([strata[i] for i in mine], min(ASIDE, max(len(mine), 1)), seed=k)
            aside, mine = mine[inner == 0], mine[inner != 0]
        if not len(mine):
            raise ConfigError(
                f"Fold {k} of {plan.config.folds} has no training samples in the subset "
                f"{plan.config.subset}.",
                "Choose a larger subset, or trainer.checkpoint=last.",
            )
        targets = rows.targets[mine]
        names = plan.source.class_names
        weighed = balance(targets, plan.config.imbalance, plan.config.seed, names)
        held_out = everyone[fold_of[everyone] == k]
        if not len(held_out):
            raise ConfigError(
                f"Fold {k} of {plan.config.folds} has no samples of train_on={plan.group}.",
                "Choose fewer folds, or another group.",
            )
        scored = {OUT_OF_FOLD: Section("train", held_out), **other_splits}
        section = Section("train", mine)
        held = None if aside is None else Section("train", aside)
        parts.append(Part(f"fold_{k}", section, weighed, held, scored))
    return parts
