"""Train samples of a run: required classes, exclusion of negatives, balancing."""

import numpy as np

from marsbench.base.errors import ConfigError, DataError
from marsbench.config.identity import digest
from marsbench.config.schema import RunConfig
from marsbench.data.cache import DirectSamples, cached_samples
from marsbench.data.groups import Group, members
from marsbench.data.imbalance import Balance, balance, class_counts
from marsbench.data.rows import Source
from marsbench.data.subsets import Selection
from marsbench.tasks.kinds import Kind
from marsbench.tasks.spec import BACKGROUND, TaskSpec, normalise


def check_classes(source: Source) -> None:
    """Raise an error if a class has no train sample, since its score counts all the same."""
    train = source.rows("train")
    counts = class_counts(train.targets, len(source.class_names))
    if absent := [source.class_names[int(k)] for k in np.flatnonzero(counts == 0)]:
        raise DataError(
            f"{source.where} has no train sample of: {', '.join(absent)}.",
            "Add train samples of these classes, or leave the classes out of a task of your own.",
        )


def without_negatives(
    config: RunConfig, task: TaskSpec, source: Source, selection: Selection
) -> Selection:
    """Exclude train samples without objects; val and test never change."""
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


def within(source: Source, selection: Selection, group: Group) -> Selection:
    """Keep the train samples of a group, of a subset drawn before from all groups.

    Raises:
        DataError: If none is left.
    """
    rows = source.rows("train")
    kept = np.intersect1d(selection.indices, members(rows, group))
    if not len(kept):
        raise DataError(
            f"No train sample of the subset is in the group {group} (of {source.where}).",
            "Choose a larger subset, or another group.",
        )
    ids = [rows.sample_ids[int(i)] for i in kept]
    return Selection(kept, selection.origin, digest(ids)[:16])


def check_validation(source: Source, group: Group) -> None:
    """Raise an error if a run without folds has no validation sample of its group."""
    if not len(members(source.rows("val"), group)):
        raise DataError(
            f"The val split of {source.where} has no sample of train_on={group}, and the choice of "
            "a checkpoint must not see other groups.",
            "Add folds=4 for cross-validation within the group's train samples.",
        )


def balance_of(config: RunConfig, task: TaskSpec, source: Source, selection: Selection) -> Balance:
    """Choose the draws and the weights of the train samples."""
    if not task.kind.is_classification:
        return Balance(np.arange(len(selection.indices)), None)
    targets = source.rows("train").targets[selection.indices]
    return balance(targets, config.imbalance, config.seed, source.class_names)
