"""Subsets of the train split: published where there are CSVs, else generated, nested, seeded.

Validation and test splits never change.
"""

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from marsbench.base.errors import DataError
from marsbench.config.identity import digest
from marsbench.config.schema import Subset
from marsbench.data.rows import Rows, Source

SUBSET_SEED = 0
"""Seed of generated subsets. Not the run's: all seeds of a study train on the same samples."""


@dataclass(frozen=True)
class Selection:
    """The train samples of a subset.

    Attributes:
        indices: Positions in the train split, ascending, shape (n,).
        origin: full, published or generated.
        digest: SHA-256 of the sample ids in order.
    """

    indices: NDArray[np.int64]
    origin: str
    digest: str


def select(source: Source, subset: Subset) -> Selection:
    """Find the train samples of a subset.

    Args:
        source: The task's data, opened.
        subset: Which subset.

    Raises:
        DataError: If a published list names unknown samples or the subset cannot be made;
            the message names the class or the smallest partition that can.
    """
    if source.holds not in (Subset(), subset):
        raise DataError(
            f"{source.where} was opened for {source.holds} alone and cannot give {subset}.",
            "Open it for the subset that is wanted.",
        )
    rows = source.rows("train")
    if subset == source.holds:
        indices, origin = np.arange(len(rows)), "full" if subset == Subset() else "published"
    elif (published := source.subset_ids(subset)) is not None:
        indices, origin = _positions(published, rows, subset, source.where), "published"
    else:
        indices, origin = generate(rows.targets, subset, source.class_names), "generated"
    indices = np.sort(indices)
    return Selection(indices, origin, digest([rows.sample_ids[int(i)] for i in indices])[:16])


def generate(
    targets: NDArray[np.integer], subset: Subset, classes: tuple[str, ...]
) -> NDArray[np.int64]:
    """Draw the samples of a partition or few-shot subset that nobody published.

    Args:
        targets: As for `partition` and `few_shot`.
        subset: Which.
        classes: The K class names, for messages.

    Raises:
        DataError: If it cannot be made.
    """
    if subset.fraction is not None:
        return partition(targets, Fraction(subset.fraction))
    if subset.shots is not None and targets.shape[1:] == (0,):
        raise DataError(
            f"{subset} needs a class for every image, which masks and boxes do not give.",
            "Choose a partition.",
        )
    return (
        np.arange(len(targets))
        if subset.shots is None
        else few_shot(targets, subset.shots, classes)
    )


def _positions(sample_ids: list[str], rows: Rows, subset: Subset, where: str) -> NDArray[np.int64]:
    position = {sample_id: i for i, sample_id in enumerate(rows.sample_ids)}
    unknown = [s for s in sample_ids if s not in position]
    if unknown or not sample_ids or len(set(sample_ids)) != len(sample_ids):
        what = (
            f"names {len(unknown)} sample(s) that the train split lacks, the first {unknown[0]}"
            if unknown
            else "repeats samples"
            if sample_ids
            else "has no train rows"
        )
        raise DataError(
            f"The published list of {subset} in {where} {what}.",
            "Unpack the data again, or remove the list: the subset is then generated.",
        )
    return np.array([position[s] for s in sample_ids], dtype=np.int64)


def partition(targets: NDArray[np.integer], fraction: Fraction) -> NDArray[np.int64]:
    """Keep floor(fraction x n) samples, classes in proportion; smaller ones are nested in larger.

    Args:
        targets: Class ids, shape (n,), or zeros and ones, shape (n, K); of segmentation and
            detection shape (n, 0), and all samples count alike.
        fraction: Share to keep.

    Returns:
        Positions, shape (floor(fraction x n),).

    Raises:
        DataError: If that is no sample at all.
    """
    n = len(targets)
    keep = int(fraction * n)
    if keep == 0:
        smallest = -(-100 // n) if n else 0
        raise DataError(
            f"A partition of {float(fraction):g} of {n} train samples holds none.",
            f"The smallest usable one is partition_{smallest / 100:.2f}.",
        )
    return _stratified_order(targets)[:keep]


def _stratified_order(targets: NDArray[np.integer]) -> NDArray[np.int64]:
    """One order of all samples in which every prefix holds the classes in proportion."""
    rng = np.random.default_rng(SUBSET_SEED)
    shuffled = rng.permutation(len(targets))
    if targets.ndim == 1:
        strata = targets[shuffled]
    elif targets.shape[1] == 0:
        # Masks and boxes have no one class.
        strata = np.zeros(len(targets), dtype=np.int64)
    else:
        # A multilabel sample counts for the rarest of its classes.
        frequency = np.where(targets > 0, targets.sum(axis=0), len(targets) + 1)
        strata = frequency.argmin(axis=1)[shuffled]
    place = np.empty(len(targets))
    for stratum in np.unique(strata):
        members = np.flatnonzero(strata == stratum)
        place[members] = (np.arange(len(members)) + rng.random()) / len(members)
    order: NDArray[np.int64] = shuffled[np.argsort(place, kind="stable")]
    return order


def few_shot(
    targets: NDArray[np.integer], shots: int, classes: tuple[str, ...]
) -> NDArray[np.int64]:
    """Keep `shots` samples of every class; fewer shots are nested in more.

    Single label: exactly `shots` per class. Multilabel: samples are added until every class has
    at least `shots`, rarest classes first (paper, B.3).

    Args:
        targets: Class ids, shape (n,), or zeros and ones, shape (n, K).
        shots: Samples per class.
        classes: The K class names, for messages.

    Returns:
        Positions, shape (shots x K,) if single label.

    Raises:
        DataError: If a class has fewer train samples; names all such classes.
    """
    multi_hot = (
        targets.astype(bool)
        if targets.ndim == 2
        else targets[:, None] == np.arange(len(classes))[None, :]
    )
    counts = multi_hot.sum(axis=0)
    if short := [f"{c} ({n})" for c, n in zip(classes, counts, strict=True) if n < shots]:
        raise DataError(
            f"few_shot_{shots} needs {shots} train samples of every class; too few are of: "
            f"{', '.join(short)}.",
            f"The largest usable one is few_shot_{counts.min()}."
            if counts.min()
            else "No few-shot subset exists while a class has no train sample.",
        )
    order = np.random.default_rng(SUBSET_SEED).permutation(len(targets))
    chosen = np.zeros(len(targets), dtype=bool)
    # One shot after another, so that the samples of fewer shots are a prefix.
    for wanted in range(1, shots + 1):
        for k in np.argsort(counts, kind="stable"):
            while (multi_hot[:, k] & chosen).sum() < wanted:
                chosen[next(i for i in order if multi_hot[i, k] and not chosen[i])] = True
    return np.flatnonzero(chosen)
