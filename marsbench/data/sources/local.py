"""A task's folder in the layout Mars-Bench publishes.

``annotation.csv`` and ``mapping.json`` (class id to name, or to [acronym, name]) beside ``data/``,
whose files `layout` describes, with optional ``few_shot/K_shot.csv`` and
``partitions/0.10x_partition.csv``.
"""

import contextlib
import hashlib
import json
import os
import threading
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from marsbench.base.errors import DataError, some
from marsbench.config.schema import SourceName, Subset
from marsbench.data import box_files, decode
from marsbench.data.boxes import BoxFormat, cross_check, spellings
from marsbench.data.rows import Raw, Rows, class_order, code_notes
from marsbench.data.sources.annotations import (
    ANNOTATIONS,
    MAPPING,
    Index,
    Meta,
    check_background,
    csv_rows,
    keep_first_of_pairs,
    read_annotations,
    read_mapping,
    second_of_pair,
    without_background,
    without_seconds_of_pairs,
)
from marsbench.data.sources.layout import (
    COCO_FILE,
    IMAGES,
    Files,
    box_formats,
    listed_subsets,
    subset_file,
)
from marsbench.metrics.boxes import Boxes
from marsbench.tasks.kinds import Kind
from marsbench.tasks.spec import SPLITS, Decode, TaskSpec

__all__ = [
    "ANNOTATIONS",
    "MAPPING",
    "LocalSource",
    "find_folder",
    "read_annotations",
    "read_mapping",
    "second_of_pair",
]

_PARSING = threading.Lock()
"""Held while a split's COCO file is parsed, so that threads that read samples parse it once."""


class LocalSource:
    """One task's folder, opened.

    Args:
        spec: The task.
        folder: The folder that holds ``annotation.csv``.
        problems: Where to collect problems in place of raising the first, to report all at
            once; what can still be opened is.

    Raises:
        DataError: If the folder contradicts the task or itself; the message names the file
            and the rows.
    """

    name = SourceName.LOCAL
    holds = Subset()
    notes: tuple[str, ...] = ()

    def __init__(
        self, spec: TaskSpec, folder: Path, problems: list[DataError] | None = None
    ) -> None:
        self.spec = spec
        self.folder = folder
        self.class_names: tuple[str, ...] = ()
        num_classes = len(spec.classes)
        self._spellings: dict[str, int] = {}
        with _collecting(problems):
            mapping = read_mapping(folder / MAPPING)
            if spec.decode is Decode.IMAGE_BOXES:
                mapping = without_background(mapping)
            if spec.decode is Decode.IMAGE_MASK:
                check_background(mapping, folder / MAPPING)
            num_classes = len(mapping)
            names, codes = class_order(spec, mapping, str(folder / MAPPING))
            self.class_names, self.notes = tuple(names), code_notes(codes)
            self._spellings = spellings(spec, self.class_names, mapping)
        index: Index = {}
        self._meta: Meta = {}
        with _collecting(problems):
            read_annotations(spec, folder / ANNOTATIONS, num_classes, index, self._meta)
        if spec.decode is Decode.PAIR_LABEL:
            with _collecting(problems):
                keep_first_of_pairs(index, folder / ANNOTATIONS)
        self._files: dict[str, list[tuple[str, ...]]] = {}
        self._rows: dict[str, Rows] = {}
        self._formats: dict[str, tuple[BoxFormat, ...]] = {}
        self._coco: dict[str, box_files.CocoFile] = {}
        content = hashlib.sha256(json.dumps(self.class_names).encode())
        absent: list[str] = []
        for split in SPLITS:
            if split not in index:
                continue
            entries = sorted(index[split].items())
            fingerprint, missing = self._open_split(split, entries, content, problems)
            absent += missing
            targets = _targets(spec.kind, [label for _, (_, label) in entries], num_classes)
            ids = [sample_id for sample_id, _ in entries]
            self._rows[split] = Rows(split, ids, targets, fingerprint)
        listed = {own[0] for files in self._files.values() for own in files}
        beside = spec.decode in (Decode.IMAGE_MASK, Decode.IMAGE_BOXES)
        with _collecting(problems):
            if images := [file for file in absent if not beside or file in listed]:
                raise DataError(
                    f"{folder / ANNOTATIONS} lists {len(images)} file(s) that are not there: "
                    f"{some(images)}.",
                    "Unpack the data again, or remove those rows.",
                )
        with _collecting(problems):
            if others := [file for file in absent if beside and file not in listed]:
                what = "mask" if spec.decode is Decode.IMAGE_MASK else "label file"
                raise DataError(
                    f"{len(others)} {what}(s) of images that {folder / ANNOTATIONS} lists are not "
                    f"there: {some(others)}.",
                    "Unpack the data again, or remove those rows."
                    + (" (An image without boxes has an empty label file.)" * (what != "mask")),
                )
        self.revision = f"folder:{content.hexdigest()[:16]}"

    def _open_split(
        self,
        split: str,
        entries: list[tuple[str, tuple[str, tuple[int, ...]]]],
        content: "hashlib._Hash",
        problems: list[DataError] | None,
    ) -> tuple[str, list[str]]:
        """Find the files of a split.

        Args:
            split: train, val or test.
            entries: Its rows: sample id, and path below ``data/SPLIT`` and class ids.
            content: Updated with what the revision covers.
            problems: Where to collect problems in place of raising them.

        Returns:
            The split's fingerprint, and the files that are not there.
        """
        place = self.folder / "data" / split
        fingerprint = hashlib.sha256()
        if self.spec.decode is Decode.IMAGE_BOXES:
            self._formats[split] = ()
            with _collecting(problems):
                self._formats[split] = box_formats(place)
            if BoxFormat.COCO in self._formats[split]:
                stat = (place / COCO_FILE).stat()
                fingerprint.update(f"{stat.st_size}\t{stat.st_mtime_ns}\n".encode())
                content.update(f"{split}\t{COCO_FILE}\t{stat.st_size}\n".encode())
        files = Files(self.spec, place, self._formats.get(split, ()))
        self._files[split] = []
        absent = []
        owners: dict[str, str] = {}
        shared: list[str] = []
        for sample_id, (relative, label) in entries:
            own: tuple[str, ...] = (f"{place}/{relative}",)
            with _collecting(problems):
                own = files.of(relative)
            self._files[split].append(own)
            if self.spec.decode is Decode.IMAGE_BOXES:
                for file in own[1:]:
                    if (owner := owners.setdefault(file, sample_id)) != sample_id:
                        shared.append(f"{owner} and {sample_id} have both {file}")
            for file in own:
                found = files.stat(file)
                if found is None:
                    absent.append(file)
                    continue
                fingerprint.update(f"{file}\t{found.st_size}\t{found.st_mtime_ns}\n".encode())
                content.update(f"{split}\t{sample_id}\t{label}\t{found.st_size}\n".encode())
        with _collecting(problems):
            if shared:
                raise DataError(
                    f"Label file(s) are of two images of one split: {some(shared, '; ')}.",
                    "Rename one of the images, and give each its own.",
                )
        return fingerprint.hexdigest(), absent

    @property
    def where(self) -> str:
        """The folder."""
        return str(self.folder)

    def rows(self, split: str) -> Rows:
        """Index of a split."""
        if split not in self._rows:
            raise DataError(
                f"{self.folder / ANNOTATIONS} has no rows of the {split} split "
                f"(only {', '.join(self._rows)}).",
                f"Add rows whose column `split` says {split}.",
            )
        return self._rows[split]

    @property
    def splits(self) -> tuple[str, ...]:
        """Splits the data have."""
        return tuple(self._rows)

    def path(self, split: str, index: int) -> Path:
        """File of one image."""
        return Path(self._files[split][index][0])

    def files(self, split: str, index: int) -> tuple[Path, ...]:
        """All files of one sample: its image, that of a pair after it, its mask or boxes.

        The COCO file is the split's and left out.
        """
        return tuple(map(Path, self._files[split][index]))

    def read(self, split: str, index: int) -> Raw:
        """Raw files of one sample, its boxes parsed.

        Raises:
            DataError: If a file cannot be read, or boxes are bad or contradict each other.
        """
        first, *others = self.files(split, index)
        sample_id = self._rows[split].sample_ids[index]
        raw = Raw(_bytes(first), str(first), meta=self._meta.get(split, {}).get(sample_id, {}))
        if self.spec.decode is Decode.IMAGE_BOXES:
            return replace(raw, boxes=self._boxes(split, sample_id, raw, others))
        second = Raw(_bytes(others[0]), str(others[0])) if others else None
        if self.spec.decode is Decode.IMAGE_MASK:
            return replace(raw, mask=second)
        return replace(raw, after=second)

    def _boxes(self, split: str, sample_id: str, raw: Raw, labels: list[Path]) -> Boxes:
        """Boxes of an image, read in every form there is and compared."""
        size = decode.image_size(raw.image, raw.where)
        count = len(self.class_names)
        found: dict[BoxFormat, Boxes] = {}
        own = iter(labels)
        for form in self._formats[split]:
            if form is BoxFormat.COCO:
                found[form] = self._coco_file(split).boxes(sample_id, size, count)
                continue
            path = next(own)
            if form is BoxFormat.YOLO:
                found[form] = box_files.read_yolo(_bytes(path), size, count, str(path))
            else:
                found[form] = box_files.read_voc(_bytes(path), size, self._spellings, str(path))
        return cross_check(found, raw.where)

    def _coco_file(self, split: str) -> box_files.CocoFile:
        """The split's COCO file, parsed when first asked for."""
        with _PARSING:
            if split not in self._coco:
                place = self.folder / "data" / split
                file = box_files.read_coco(_bytes(place / COCO_FILE), str(place / COCO_FILE))
                file.check_images(self._rows[split].sample_ids, place / IMAGES, self._spellings)
                self._coco[split] = file
        return self._coco[split]

    def subset_ids(self, subset: Subset) -> list[str] | None:
        """Train ids of a published subset, in the order of its CSV."""
        path = self.subset_path(subset)
        if path is None or not path.is_file():
            return None
        ids = [
            row["file_id"]
            for _, row in csv_rows(path, ("file_id", "split"))
            if row["split"] == "train"
        ]
        return without_seconds_of_pairs(ids) if self.spec.decode is Decode.PAIR_LABEL else ids

    @property
    def subsets(self) -> tuple[Subset, ...]:
        """Subsets that the folder has lists of."""
        return tuple(listed_subsets(self.folder))

    def subset_path(self, subset: Subset) -> Path | None:
        """Where a subset's CSV would be; None for the full split."""
        path = subset_file(subset)
        return None if path is None else self.folder / path


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(
            f"{path} cannot be read: {error.strerror}.", "Unpack the data again."
        ) from error


@contextlib.contextmanager
def _collecting(problems: list[DataError] | None) -> Iterator[None]:
    try:
        yield
    except DataError as error:
        if problems is None:
            raise
        problems.append(error)


def _targets(kind: Kind, labels: list[tuple[int, ...]], num_classes: int) -> NDArray[np.integer]:
    if not kind.is_classification:
        return np.zeros((len(labels), 0), dtype=np.uint8)
    if kind is not Kind.MULTILABEL:
        return np.array([ids[0] for ids in labels], dtype=np.int64)
    targets = np.zeros((len(labels), num_classes), dtype=np.uint8)
    for row, ids in zip(targets, labels, strict=True):
        row[list(ids)] = 1
    return targets


def find_folder(
    spec: TaskSpec, places: Mapping[str, Path], table: str = ANNOTATIONS
) -> Path | None:
    """Find a task's folder, which holds a table, in or below the places, first come first."""
    for place in places.values():
        for folder in (place, place / spec.folder, place / spec.name):
            if os.path.lexists(folder / table):
                return folder
    return None
