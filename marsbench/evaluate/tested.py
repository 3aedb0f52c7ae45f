"""Samples of an evaluation: the test split, a group of it, or a group that the run never saw."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from marsbench.base.errors import ConfigError, DataError
from marsbench.data.groups import Group, find_group, members
from marsbench.data.rows import Rows, Source
from marsbench.evaluate.parents import Parent
from marsbench.tasks.spec import TaskSpec

SPLIT = "test"
"""Split of an evaluation."""

UNSEEN = "unseen"
"""Name of the scores on samples of the train split that the run never saw."""


@dataclass(frozen=True)
class Tested:
    """Samples to evaluate.

    Attributes:
        name: Name of their scores and predictions.
        split: Split that holds them.
        group: Group of the samples; None for all of the split.
        without: Group that the run was trained on, left out; None for the test split.
    """

    name: str = SPLIT
    split: str = SPLIT
    group: Group | None = None
    without: Group | None = None

    def positions(self, rows: Rows) -> NDArray[np.int64]:
        """Positions of the samples in the index of their split, ascending, (n,)."""
        chosen = np.arange(len(rows)) if self.group is None else members(rows, self.group)
        return chosen if self.without is None else np.setdiff1d(chosen, members(rows, self.without))

    @property
    def facts(self) -> dict[str, Any]:
        """Facts for a record; empty for the whole test split."""
        if self.group is None:
            return {}
        without = None if self.without is None else str(self.without)
        return {"test_on": str(self.group), "split": self.split, "without": without}


def tested_samples(parent: Parent, task: TaskSpec, source: Source, test_on: str | None) -> Tested:
    """Choose the samples of an evaluation.

    Without a labelled test split, a group may come from the train split of the run's own data,
    if the run was trained within another group: neither its weights, nor its checkpoint, nor its
    statistics have seen them.

    Args:
        parent: The run.
        task: The target.
        source: The target's data, opened.
        test_on: Group, ``VALUE`` or ``FIELD:VALUE``; None for the whole test split.

    Raises:
        ConfigError: If the group is unknown, or the run was trained on its samples.
        DataError: If there are no such samples with labels.
    """
    has_test = SPLIT in source.splits and len(source.rows(SPLIT)) > 0
    if test_on is None:
        if not has_test:
            raise DataError(
                f"{source.where} has no labelled samples of the {SPLIT} split.",
                "Choose data with a test split.",
            )
        return Tested()
    group = find_group(source, test_on, "test_on")
    tested = Tested(group=group) if has_test else _unseen(parent, task, source, group)
    if not len(tested.positions(source.rows(tested.split))):
        raise DataError(
            f"The {tested.split} split of {source.where} has no sample of test_on={group}"
            f"{'' if tested.without is None else f' outside of {tested.without}'}.",
            "Choose another group.",
        )
    return tested


def _unseen(parent: Parent, task: TaskSpec, source: Source, group: Group) -> Tested:
    """Samples of a group in the train split of a run that was trained within another group."""
    record = parent.record
    place = f"{source.where} has no labelled {SPLIT} split"
    is_same = task.name == record.task and source.revision == record.data.get("revision")
    if not is_same:
        raise DataError(
            f"{place}, and is not the data of {record.run_id}, whose train split could serve.",
            "Give the data of the run, or data with a test split.",
        )
    trained_on = record.train_on
    if trained_on is None or trained_on == str(group):
        seen = "every train sample" if trained_on is None else f"the samples of {group}"
        raise ConfigError(
            f"{place}, and {record.run_id} was trained on {seen}: its score on test_on={group} "
            "would be of samples that it has seen.",
            "Evaluate a run trained within another group, such as train_on=VALUE.",
        )
    return Tested(UNSEEN, "train", group, Group(*trained_on.split(":", 1)))
