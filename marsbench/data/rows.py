"""Interface of data sources."""

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
"""Pixels of shape (H, W, C): uint8, or float32 in [0, 1]."""


@dataclass(frozen=True)
class Rows:
    """Index of a split without the images, sorted by sample id.

    Attributes:
        split: train, val or test.
        sample_ids: Unique, sorted ids.
        targets: Class ids, int64 of shape (N,), or zeros and ones, uint8 of shape (N, K), for
            multilabel tasks; uint8 of shape (N, 0) for segmentation and detection, whose targets
            are read with the images.
        fingerprint: Changes whenever the bytes behind the rows change, or the class ids of boxes;
            keys the caches.
        reading_order: Positions in the order in which reading all samples is fastest, int64 of
            shape (N,); None if any order is as fast.
        groups: Group of each sample, such as the instrument, to stratify folds by beside the
            labels; None without groups.
        meta: Further fields of each sample, if the index holds them. They are in no cache; fields
            in other files are read and cached with the image.
        fields: Further fields that group samples, by name a value per sample; beside `groups` and
            `meta`, and like them in no cache.
    """

    split: str
    sample_ids: Sequence[str]
    targets: NDArray[np.integer]
    fingerprint: str
    reading_order: NDArray[np.int64] | None = None
    groups: Sequence[str] | None = None
    meta: Sequence[Mapping[str, Any]] | None = None
    fields: Mapping[str, Sequence[Any]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.sample_ids)

    def of_class(self, class_id: int) -> NDArray[np.bool_]:
        """Mask of the samples with a class, shape (N,)."""
        targets = self.targets
        has: NDArray[np.bool_] = (
            targets[:, class_id] > 0 if targets.ndim == 2 else targets == class_id
        )
        return has


@dataclass(frozen=True)
class Raw:
    """Raw files of a sample as bytes, or arrays of a generator.

    Attributes:
        image: Encoded image, or its pixels; the earlier image of a pair.
        where: Name of the sample in error messages, such as its path.
        after: The later image of a pair; None elsewhere.
        mask: The class-id mask of a segmentation task, as its own raw file; None elsewhere.
        boxes: The boxes of a detection task, empty without objects; None elsewhere.
        meta: Further fields of the sample, such as its region.
        spectrum: Generated measurement; `image` is then empty.
        path: File of the image; data files of detached labels lie beside.
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
    """Opened data of a task, with the index in memory and images read on access."""

    @property
    def name(self) -> SourceName:
        """Name of the source."""

    @property
    def where(self) -> str:
        """Place of the data, for messages."""

    @property
    def revision(self) -> str:
        """Revision of the data, equal on every machine with the same data.

        For folders a digest of class names, sample ids, labels, the content of masks and boxes,
        and the sizes of images.
        """

    @property
    def class_names(self) -> tuple[str, ...]:
        """Class names in the order of the data's ids."""

    @property
    def splits(self) -> tuple[str, ...]:
        """Available splits of train, val and test."""

    @property
    def holds(self) -> Subset:
        """Subset of the train split in the rows of ``train``; the full split except on a hub.

        A hub publishes each subset as a split of its own, which is downloaded alone.
        """

    @property
    def notes(self) -> tuple[str, ...]:
        """Remarks for the user, such as classes named by codes alone."""

    def rows(self, split: str) -> Rows:
        """Index of a split.

        Raises:
            DataError: If the split is missing.
        """

    def read(self, split: str, index: int) -> Raw:
        """Raw files of a sample of `rows`."""

    def subset_ids(self, subset: Subset) -> list[str] | None:
        """Sample ids of a published subset of the train split; None for an unpublished subset."""


def class_order(
    spec: TaskSpec, mapping: Mapping[int, Sequence[str]], where: str
) -> tuple[list[str], list[str]]:
    """Put the spec's class names in the order of the data's own ids.

    Classes named in the data by an unknown code alone keep the code: scores do not depend on names,
    and a guess might be wrong.

    Args:
        spec: The task, which fixes the set of names.
        mapping: Class id to its names in the data (acronym, name).
        where: Name of the mapping in error messages.

    Returns:
        Names by id, and the names that are codes.

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
        parts = [f"{where}: classes differ from the classes of task {spec.name}."]
        if unknown:
            parts.append(f"Only in the data: {'; '.join(unknown)}.")
        if missing:
            parts.append(f"Only in the task: {', '.join(missing)}.")
        if twice := sorted({name for name in order if order.count(name) > 1}):
            parts.append(f"With two ids: {', '.join(twice)}.")
        raise DataError(
            " ".join(parts),
            "If this is another version of the data, describe it in a custom task: a YAML file "
            "with these class names, given as task=PATH.",
        )
    # A single code can only be the single missing class.
    if len(codes) == 1:
        return [missing[0] if name == codes[0] else name for name in order], []
    return order, codes


def code_notes(codes: Sequence[str]) -> tuple[str, ...]:
    """Remark about classes named by a code alone."""
    if not codes:
        return ()
    return (f"The data name these classes by a code alone, which is kept: {', '.join(codes)}.",)


def _is_code(names: Sequence[str]) -> bool:
    """Whether data name a class by an acronym alone, such as ``ael``."""
    return len(names) == 1 and re.fullmatch(r"[a-z0-9]{2,4}", names[0]) is not None
