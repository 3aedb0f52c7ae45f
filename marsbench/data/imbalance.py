"""Strategies for class imbalance (Mars-Bench paper, D.1.1).

- undersample: every class is cut to the size of the smallest.
- oversample: the largest class is cut to half, or to the size of the second if that is more;
  the others are repeated up to that level, each sample at most ten times. Every repeat is
  augmented anew (by eight flips and turns from orbit, by two flips on the ground).
- loss_weight: all samples are drawn once; the loss of a sample is weighted by the inverse
  frequency of its class.

The paper says "modestly down-sample the majority class" and gives no numbers; half and ten are our
choice.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from marsbench.base.errors import ConfigError, DataError
from marsbench.config.schema import Imbalance

MOST_REPEATS = 10
"""Largest number of times oversampling draws a sample in an epoch."""


class Balance(NamedTuple):
    """Sampling and class weights of a training.

    Attributes:
        draws: Positions to draw in each epoch, with repeats, ascending, shape (n,).
        class_weights: Weight of each class in the loss, float64 (K,): of a single-label task the
            factor of a sample's loss, 1 on average; of a multilabel task the factor of the
            positives' loss. None weights all classes equally.
    """

    draws: NDArray[np.int64]
    class_weights: NDArray[np.float64] | None


def class_counts(targets: NDArray[np.integer], num_classes: int) -> NDArray[np.int64]:
    """Samples of each class, shape (K,), from ids (n,) or zeros and ones (n, K)."""
    counts: NDArray[np.int64] = (
        (targets > 0).sum(axis=0)
        if targets.ndim == 2
        else np.bincount(targets, minlength=num_classes)
    )
    return counts


def balance(
    targets: NDArray[np.integer], strategy: Imbalance, seed: int, classes: Sequence[str]
) -> Balance:
    """Compute sampling and class weights.

    Args:
        targets: Class ids, shape (n,), or zeros and ones, shape (n, K), of the train samples.
        strategy: Imbalance strategy.
        seed: Seed of the run, by which samples are dropped or repeated.
        classes: The K class names, for messages.

    Raises:
        ConfigError: If the strategy does not apply to multilabel targets.
        DataError: If a class has no sample.
    """
    everything = every_position(len(targets))
    if strategy is Imbalance.NONE:
        return Balance(everything, None)
    counts = class_counts(targets, len(classes))
    if empty := [name for name, n in zip(classes, counts, strict=True) if n == 0]:
        raise DataError(
            f"imbalance={strategy} needs train samples of every class; missing: "
            f"{', '.join(empty)}.",
            "Choose a larger subset, or imbalance=none.",
        )
    if strategy is Imbalance.LOSS_WEIGHT:
        if targets.ndim == 2:
            # A class present in all samples has weight 1: with 0 it would never be trained.
            rest = np.where(counts < len(targets), len(targets) - counts, counts)
            return Balance(everything, rest / counts)
        return Balance(everything, len(targets) / (len(counts) * counts))
    if targets.ndim == 2:
        raise ConfigError(
            f"imbalance={strategy} does not apply to multilabel tasks: a sample has "
            "several classes, which cannot be drawn separately.",
            "Choose imbalance=loss_weight or none.",
        )
    rng = np.random.default_rng([seed, len(targets)])
    level = _level(counts, strategy)
    draws = []
    for class_id, count in enumerate(counts):
        members = rng.permutation(np.flatnonzero(targets == class_id))
        wanted = min(level, int(count) * MOST_REPEATS)
        # Whole rounds first: draws of two samples differ by at most one.
        draws.append(np.resize(members, wanted))
    return Balance(np.sort(np.concatenate(draws)), None)


@lru_cache(maxsize=32)
def every_position(count: int) -> NDArray[np.int64]:
    """All positions in order; read-only, shared by all runs of a sweep."""
    positions = np.arange(count)
    positions.flags.writeable = False
    return positions


def _level(counts: NDArray[np.int64], strategy: Imbalance) -> int:
    """Target number of samples per class."""
    if strategy is Imbalance.UNDERSAMPLE:
        return int(counts.min())
    largest = np.sort(counts)[::-1]
    second = int(largest[1]) if len(largest) > 1 else 0
    return max(int(largest[0]) // 2, second)
