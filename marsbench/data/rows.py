"""What every source of data provides."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from marsbench.base.errors import DataError
from marsbench.config.schema import SourceName, Subset
from marsbench.metrics.boxes import Boxes
from marsbench.spectra.spectrum import Spectrum
from marsbench.tasks.spec import TaskSpec, normalise

Pixels = NDArray[np.uint8] | NDArray[np.float32]
"""Pixels of shape (H, W, C): 8 bits, or in [0, 1]."""


@dataclass(frozen=True)
class Rows:
    """Index of one split: everything but the images, in the order of the sample ids.

    Attributes:
        split: train, val or test.
        sample_ids: One id per sample, unique and sorted.
        targets: Class ids, int64 of shape (N,), or zeros and ones, uint8 of shape (N, K), for
            multilabel tasks; uint8 of shape (N, 0) for segmentation and detection, whose targets
            are read with the images.
        fingerprint: Changes whenever the bytes behind the rows change; keys the cache.
        reading_order: Positions in the order in which reading all samples is fastest, int64 of
            shape (N,); None if any order is as fast.
        groups: What else folds are stratified by, such as the instrument; None if nothing is.
    """

    split: str
    sample_ids: Sequence[str]
    targets: NDArray[np.integer]
    fingerprint: str
    reading_order: NDArray[np.int64] | None = None
    groups: Sequence[str] | None = None

    def __len__(self) -> int:
        return len(self.sample_ids)

    def of_class(self, class_id: int) -> NDArray[np.bool_]:
        """Which samples have a class, shape (N,)."""
        targets = self.targets
        has: NDArray[np.bool_] = (
            targets[:, class_id] > 0 if targets.ndim == 2 else targets == class_id
        )
        return has


@dataclass(frozen=True)
class Raw:
    """The raw files of one sample, as bytes or, from a generator, as finished arrays.

    Attributes:
        image: Encoded image, or its pixels; of a pair, the one before.
        where: What to call the sample in an error message, such as its path.
        after: The later image of a pair, and what to call it; None elsewhere.
        mask: The class-id mask of a segmentation task, as its own raw file; None elsewhere.
        boxes: The boxes of a detection task, none of them in an image without; None elsewhere.
        meta: What else the data say of the sample, such as its region.
        spectrum: A measurement that a generator made; `image` is then empty.
        path: File of the image, beside which the data file of its label is.
    """

    image: bytes | Pixels
    where: str
    after: "Raw | None" = None
    mask: "Raw | None" = None
    boxes: Boxes | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)
    spectrum: Spectrum | None = None
    path: Path | None = None


class Source(Protocol):
    """One task's data, opened: the index is in memory, the images are not."""

    @property
    def name(self) -> SourceName:
        """Which source this is."""

    @property
    def where(self) -> str:
        """The place the data are in, for people."""

    @property
    def revision(self) -> str:
        """Which data these are: the same on every machine that has them.

        Of a folder, a digest of its index: class names, sample ids, labels and file sizes.
        """

    @property
    def class_names(self) -> tuple[str, ...]:
        """Class names in the order of the ids the data give them."""

    @property
    def splits(self) -> tuple[str, ...]:
        """Splits the data have, of train, val and test."""

    @property
    def holds(self) -> Subset:
        """Which part of the train split the rows of ``train`` are; all of it but on a hub.

        A hub publishes each subset as a split of its own, and only that is then downloaded.
        """

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user should know of these data, such as classes named by codes alone."""

    def rows(self, split: str) -> Rows:
        """Index of a split.

        Raises:
            DataError: If the data have no such split.
        """

    def read(self, split: str, index: int) -> Raw:
        """Raw files of one sample of `rows`."""

    def subset_ids(self, subset: Subset) -> list[str] | None:
        """Sample ids of a published subset of the train split; None where none is published."""


def class_order(
    spec: TaskSpec, mapping: Mapping[int, Sequence[str]], where: str
) -> tuple[list[str], list[str]]:
    """Put the spec's class names in the order of the data's own ids.

    Data that name a class by a code alone, which no table of ours explains, keep their code: a
    score does not depend on a name, and a guess might be wrong.

    Args:
        spec: The task, which fixes the set of names.
        mapping: Class id to the names the data use for it (acronym, name).
        where: The mapping's place, for messages.

    Returns:
        The names by id, and those of them that are codes.

    Raises:
        DataError: If ids are not 0 to K - 1, or names and spec do not match one to one.
    """
    if sorted(mapping) != list(range(len(mapping))):
        raise DataError(
            f"{where}: class ids are {sorted(mapping)}, not 0 to {len(mapping) - 1}.",
            "Number the classes from 0 without gaps.",
        )
    by_spelling = {
        normalise(spelling): c.name for c in spec.classes for spelling in (c.name, *c.aliases)
    }
    order: list[str] = []
    unknown = []
    codes = []
    for class_id in range(len(mapping)):
        found = {by_spelling[s] for s in map(normalise, mapping[class_id]) if s in by_spelling}
        if len(found) == 1:
            order.append(found.pop())
        elif not found and len(mapping) == len(spec.classes) and _is_code(mapping[class_id]):
            codes.append(mapping[class_id][0])
            order.append(mapping[class_id][0])
        else:
            unknown.append(f"{class_id} ({', '.join(mapping[class_id])})")
    missing = [name for name in spec.class_names if name not in order]
    if unknown or len(missing) != len(codes) or len(set(order)) != len(order):
        parts = [f"{where}: its classes are not those of task {spec.name}."]
        if unknown:
            parts.append(f"Only in the data: {'; '.join(unknown)}.")
        if missing:
            parts.append(f"Only in the task: {', '.join(missing)}.")
        if twice := sorted({name for name in order if order.count(name) > 1}):
            parts.append(f"Given two ids: {', '.join(twice)}.")
        raise DataError(
            " ".join(parts),
            "Are these another version of the data? Then describe them as a custom task: a YAML "
            "with these class names, and task=PATH_TO_IT.",
        )
    # Of one class alone it is clear which one it is.
    if len(codes) == 1:
        return [missing[0] if name == codes[0] else name for name in order], []
    return order, codes


def code_notes(codes: Sequence[str]) -> tuple[str, ...]:
    """Tell a user of classes that the data name by a code alone."""
    if not codes:
        return ()
    return (f"The data name these classes by a code alone, which is kept: {', '.join(codes)}.",)


def _is_code(names: Sequence[str]) -> bool:
    """Whether data name a class by an acronym alone, such as ``ael``."""
    return len(names) == 1 and re.fullmatch(r"[a-z0-9]{2,4}", names[0]) is not None
