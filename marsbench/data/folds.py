"""Parts of a train split for cross-validation: stratified, and the same for every run."""

from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray

from marsbench.base.errors import ConfigError

FOLD_SEED = 0
"""Seed of the parts. Not the run's: predictions of all runs of a study can be averaged."""

OUT_OF_FOLD = "oof"
"""The train split, each part of which was predicted by the model of the others."""

ASIDE = 8
"""Of the samples of the other parts, one of so many chooses the checkpoint."""


def assign_folds(
    strata: Sequence[Hashable], folds: int, seed: int = FOLD_SEED
) -> NDArray[np.int64]:
    """Deal samples to parts, those of each stratum as evenly as their number allows.

    Strata are dealt one after the other, the larger first, each from where the last one ended: so
    that the parts differ by one sample at most, in all and within each stratum.

    Args:
        strata: What each of the N samples is stratified by, such as instrument and labels.
        folds: Number of parts.
        seed: Seed of the order within a stratum.

    Returns:
        The part of each sample, int64 (N,).

    Raises:
        ConfigError: If there are fewer samples than parts.
    """
    if len(strata) < folds:
        raise ConfigError(
            f"folds={folds} needs at least as many train samples; there are {len(strata)}.",
            "Choose fewer folds.",
        )
    rng = np.random.default_rng(seed)
    members: dict[Hashable, list[int]] = {}
    for i, stratum in enumerate(strata):
        members.setdefault(stratum, []).append(i)
    order: list[int] = []
    for stratum in sorted(members, key=lambda s: (-len(members[s]), str(s))):
        order += rng.permutation(members[stratum]).tolist()
    parts = np.empty(len(strata), dtype=np.int64)
    parts[order] = np.arange(len(order)) % folds
    return parts


def strata_of(
    targets: NDArray[np.integer], groups: Sequence[str] | None = None
) -> list[tuple[str, tuple[int, ...]]]:
    """Give what samples are stratified by: their group, such as the instrument, and labels.

    Args:
        targets: Class ids (N,), or zeros and ones (N, K).
        groups: Group of each sample.
    """
    rows = targets.reshape(len(targets), -1).tolist()
    named = [""] * len(rows) if groups is None else groups
    return [(group, tuple(row)) for group, row in zip(named, rows, strict=True)]
