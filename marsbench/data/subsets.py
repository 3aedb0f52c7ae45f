"""Published subsets of the train split, or generated, nested subsets.

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
"""Seed of generated subsets, independent of the run: all seeds train on the same samples."""


@dataclass(frozen=True)
class Selection:
    """Train samples of a subset.

    Attributes:
        indices: Positions in the train split, ascending, shape (n,).
        origin: full, published or generated.
        digest: SHA-256 of the sample ids in order.
    """

    indices: NDArray[np.int64]
    origin: str
    digest: str


def select(source: Source, subset: Subset) -> Selection:
    """Select the train samples of a subset.

    Args:
        source: The task's data, opened.
        subset: Subset to select.

    Raises:
        DataError: If a published list names unknown samples, or the train split is too small;
            names the class or the smallest usable partition.
    """
    if source.holds not in (Subset(), subset):
        raise DataError(
            f"{source.where} was opened for {source.holds}; expected {subset}.",
            f"Open the data with subset={subset}.",
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
    """Generate a partition or few-shot subset.

    Args:
        targets: As for `partition` and `few_shot`.
        subset: Subset to generate.
        classes: The K class names, for messages.

    Raises:
        DataError: If the train split is too small.
    """
    if subset.fraction is not None:
        return partition(targets, Fraction(subset.fraction))
    if subset.shots is not None and targets.shape[1:] == (0,):
        raise DataError(
            f"{subset} needs a class for every image; samples with masks or boxes have none.",
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
            f"names {len(unknown)} sample(s) missing from the train split, the first {unknown[0]}"
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
    """Draw floor(fraction x n) samples with proportional classes; partitions are nested.

    Args:
        targets: Class ids, shape (n,), or zeros and ones, shape (n, K); shape (n, 0) in
            segmentation and detection, without classes.
        fraction: Share to keep.

    Returns:
        Positions, shape (floor(fraction x n),).

    Raises:
        DataError: If no sample is left.
    """
    n = len(targets)
    keep = int(fraction * n)
    if keep == 0:
        smallest = -(-100 // n) if n else 0
        raise DataError(
            f"A partition of {float(fraction):g} of {n} train samples is empty.",
            f"Choose partition_{smallest / 100:.2f} or larger.",
        )
    return _stratified_order(targets)[:keep]


def _stratified_order(targets: NDArray[np.integer]) -> NDArray[np.int64]:
    """Order all samples so that every prefix has proportional classes."""
    rng = np.random.default_rng(SUBSET_SEED)
    shuffled = rng.permutation(len(targets))
    if targets.ndim == 1:
        strata = targets[shuffled]
    elif targets.shape[1] == 0:
        # Images with masks or boxes have no single class.
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


def test_sample(targets: NDArray[np.integer], count: int) -> NDArray[np.int64]:
    """Draw test samples with proportional labels, for models that are not trained.

    The samples are the same for all models and seeds of a run, and nested: a larger count adds
    samples. A multilabel sample counts for the rarest of its labels, or as a sample without labels.

    Args:
        targets: Class ids, shape (n,), or zeros and ones, shape (n, K).
        count: Number of samples; n or more for all.

    Returns:
        Positions, ascending, shape (min(count, n),).
    """
    if targets.ndim == 2:
        targets = np.column_stack([targets, ~targets.any(axis=1)])
    return np.sort(_stratified_order(targets)[:count])


def few_shot(
    targets: NDArray[np.integer], shots: int, classes: tuple[str, ...]
) -> NDArray[np.int64]:
    """Draw `shots` samples of every class; subsets are nested.

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
            f"few_shot_{shots} needs {shots} train samples of every class; too few: "
            f"{', '.join(short)}.",
            f"Choose few_shot_{counts.min()} or smaller."
            if counts.min()
            else "Choose a partition: few-shot subsets need train samples of every class.",
        )
    order = np.random.default_rng(SUBSET_SEED).permutation(len(targets))
    chosen = np.zeros(len(targets), dtype=bool)
    # Shot by shot, so that fewer shots are a prefix.
    for wanted in range(1, shots + 1):
        for k in np.argsort(counts, kind="stable"):
            while (multi_hot[:, k] & chosen).sum() < wanted:
                chosen[next(i for i in order if multi_hot[i, k] and not chosen[i])] = True
    return np.flatnonzero(chosen)
