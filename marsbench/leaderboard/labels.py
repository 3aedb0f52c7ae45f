"""Labels of a task's scored split, from the task's own source; images are not decoded."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from marsbench.base.errors import ConfigError, DataError, DataNotFoundError, some
from marsbench.config.schema import SourceName
from marsbench.data import decode
from marsbench.data.folds import OUT_OF_FOLD, assign_folds, folds_digest, strata_of
from marsbench.data.rows import Rows, Source
from marsbench.data.samples import clipped, needed
from marsbench.data.sources import open_source
from marsbench.metrics.boxes import Boxes
from marsbench.metrics.masks import IGNORE
from marsbench.tasks.kinds import Kind
from marsbench.tasks.spec import TaskSpec

MOST_DEMO = 4.0
"""Largest amount of demo data, whose samples are drawn when they are read."""

SPLITS = {"test": "test", OUT_OF_FOLD: "train"}
"""Split of the data for each scored split."""


class ContradictionError(DataError):
    """Run that contradicts the data of its task."""


@dataclass(frozen=True)
class Labels:
    """Labels of a scored split, in the class ids of a run.

    Attributes:
        spec: The task.
        source: Its opened data.
        split: test or train.
        class_ids: Class id of the run for each class id of the data, (K,).
    """

    spec: TaskSpec
    source: Source
    split: str
    class_ids: NDArray[np.int64]

    @cached_property
    def rows(self) -> Rows:
        """Index of the split."""
        return self.source.rows(self.split)

    @cached_property
    def targets(self) -> NDArray[np.int64]:
        """Targets of labels: class ids (N,), or zeros and ones (N, K)."""
        targets = self.rows.targets.astype(np.int64)
        if targets.ndim == 1:
            ids: NDArray[np.int64] = self.class_ids[targets]
            return ids
        return targets[:, np.argsort(self.class_ids)]

    def mask(self, index: int) -> NDArray[np.uint8]:
        """Mask of a sample, class ids and `IGNORE`, (H, W).

        Raises:
            DataError: If the mask cannot be decoded.
        """
        mask = decode.mask(self.source.read(self.split, index), len(self.spec.classes))
        of_value = np.full(256, IGNORE, dtype=np.uint8)
        of_value[: len(self.class_ids)] = self.class_ids
        mapped: NDArray[np.uint8] = of_value[mask]
        return mapped

    def boxes(self, index: int) -> Boxes:
        """Boxes of a sample, clipped to its image.

        Raises:
            DataError: If the boxes cannot be read.
        """
        raw = self.source.read(self.split, index)
        size = decode.image_size(raw.image, raw.where, raw.path)
        boxes, _ = clipped(needed(raw.boxes, raw, "boxes"), size)
        return Boxes(boxes.xyxy, self.class_ids[boxes.labels])

    def folds(self, count: int) -> str:
        """Digest of the sample ids of each of `count` folds.

        Raises:
            ConfigError: If there are fewer than two folds, or fewer samples than folds.
        """
        if count < 2:
            raise ConfigError(f"folds={count}; expected at least 2.")
        fold_of = assign_folds(strata_of(self.rows.targets, self.rows.groups), count)
        folds: list[list[str]] = [[] for _ in range(count)]
        for fold, sample_id in zip(fold_of.tolist(), self.rows.sample_ids, strict=True):
            folds[fold].append(sample_id)
        return folds_digest(folds)


def open_labels(
    spec: TaskSpec,
    scored_split: str,
    classes: Sequence[str],
    source: SourceName,
    root: str | Path | None,
    size: float = 1.0,
    *,
    strict: bool = True,
) -> Labels | None:
    """Open the labels of a scored split.

    Args:
        spec: The task.
        scored_split: test, or oof for the train split.
        classes: Class names of a run, in the order of its ids.
        source: Source of the data.
        root: Folder of a local source, as for `open_source`.
        size: Amount of demo data.
        strict: As for `open_source`.

    Returns:
        The labels; None if the data are not on this machine and cannot be downloaded.

    Raises:
        DataError: If the data contradict their task, or have no labels of the split.
        ContradictionError: If the run contradicts the data.
    """
    split = SPLITS[scored_split]
    if source is SourceName.DEMO and not 0 < size <= MOST_DEMO:
        raise ContradictionError(
            f"The run is of demo data of size={size:g}; expected up to {MOST_DEMO:g}.",
            "Run it with less demo data.",
        )
    try:
        opened = open_source(spec, source, root, size, splits=(split,), strict=strict)
    except DataNotFoundError:
        return None
    if split == "train" and "test" in opened.splits:
        raise ContradictionError(
            f"The run is scored out of fold, but {opened.where} has a test split.",
            "Run it without folds.",
        )
    opened.rows(split)
    own = opened.class_names
    if sorted(own) != sorted(classes):
        raise ContradictionError(
            f"The run has the classes {some(classes)}; {opened.where} has {some(own)}.",
            "Check the submission with the source of the run's data: --source and --root.",
        )
    if spec.kind is Kind.BINARY and list(own) != list(classes):
        raise ContradictionError(
            f"The run has the classes {some(classes)}; {opened.where} has {some(own)}, and F1 of "
            "class 1 is of another class.",
            "Check the submission with the source of the run's data: --source and --root.",
        )
    return Labels(spec, opened, split, np.array([list(classes).index(name) for name in own]))
