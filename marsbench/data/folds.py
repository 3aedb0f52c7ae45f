"""Stratified folds of a train split for cross-validation, equal for all runs."""

from collections.abc import Hashable, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from marsbench.base.errors import ConfigError
from marsbench.config.identity import digest

FOLD_SEED = 0
"""Seed of the folds, independent of the run: predictions of all runs can be averaged."""

OUT_OF_FOLD = "oof"
"""Name of the split of out-of-fold predictions on the train samples."""

ASIDE = 8
"""One in `ASIDE` samples of the training folds is kept aside to choose the checkpoint."""


def assign_folds(
    strata: Sequence[Hashable], folds: int, seed: int = FOLD_SEED
) -> NDArray[np.int64]:
    """Assign samples to stratified folds.

    Strata are dealt in turn, largest first, each continuing at the fold where the previous stratum
    ended: fold sizes differ by at most one sample, in total and within each stratum.

    Args:
        strata: Stratum of each of the N samples, such as instrument and labels.
        folds: Number of folds.
        seed: Seed of the order within a stratum.

    Returns:
        Fold of each sample, int64 (N,).

    Raises:
        ConfigError: If there are fewer samples than folds.
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


def folds_digest(sample_ids: Iterable[Iterable[str]]) -> str:
    """Digest of the sample ids of each fold, in any order within a fold."""
    return digest([sorted(fold) for fold in sample_ids])[:16]


def strata_of(
    targets: NDArray[np.integer], groups: Sequence[str] | None = None
) -> list[tuple[str, tuple[int, ...]]]:
    """Strata of samples: group, such as the instrument, and labels.

    Args:
        targets: Class ids (N,), or zeros and ones (N, K).
        groups: Group of each sample.
    """
    rows = targets.reshape(len(targets), -1).tolist()
    named = [""] * len(rows) if groups is None else groups
    return [(group, tuple(row)) for group, row in zip(named, rows, strict=True)]
