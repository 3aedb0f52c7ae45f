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
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from marsbench.base.errors import DataError, some
from marsbench.config.schema import SourceName, Subset
from marsbench.data import decode, raster
from marsbench.data.boxes import files as box_files
from marsbench.data.boxes.forms import BoxFormat, Size, cross_check, spellings
from marsbench.data.rows import Raw, Rows, class_order, code_notes
from marsbench.data.sources.annotations import (
    ANNOTATIONS,
    MAPPING,
    Index,
    Meta,
    csv_rows,
    keep_first_of_pairs,
    read_annotations,
    read_bytes,
    read_classes,
    without_seconds_of_pairs,
)
from marsbench.data.sources.layout import (
    COCO_FILE,
    IMAGES,
    LABELS,
    Files,
    box_formats,
    listed_subsets,
    subset_file,
)
from marsbench.metrics.boxes import Boxes
from marsbench.tasks.kinds import Kind
from marsbench.tasks.spec import SPLITS, TaskSpec

_PARSING = threading.Lock()
"""Held while a split's COCO file is parsed, so that reading threads parse it only once."""


class LocalSource:
    """Source of a task's local folder.

    Args:
        spec: The task.
        folder: The folder that holds ``annotation.csv``.
        problems: List to collect errors in, to report all at once. By default the first error is
            raised.

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
        with collecting(problems):
            mapping = read_classes(spec, folder / MAPPING)
            num_classes = len(mapping)
            names, codes = class_order(spec, mapping, str(folder / MAPPING))
            self.class_names, self.notes = tuple(names), code_notes(codes)
            self._spellings = spellings(spec, self.class_names, mapping)
        index: Index = {}
        self._meta: Meta = {}
        with collecting(problems):
            read_annotations(spec, folder / ANNOTATIONS, num_classes, index, self._meta)
        if spec.is_pairs:
            with collecting(problems):
                keep_first_of_pairs(index, folder / ANNOTATIONS)
        self._files: dict[str, list[tuple[str, ...]]] = {}
        self._rows: dict[str, Rows] = {}
        self._formats: dict[str, tuple[BoxFormat, ...]] = {}
        self._coco: dict[str, tuple[box_files.CocoFile | None, list[DataError]]] = {}
        content = hashlib.sha256(json.dumps(self.class_names).encode())
        missing: list[str] = []
        for split in SPLITS:
            if split not in index:
                continue
            entries = sorted(index[split].items())
            fingerprint = self._open_split(split, entries, content, missing, problems)
            targets = _targets(spec.kind, [label for _, (_, label) in entries], num_classes)
            ids = [sample_id for sample_id, _ in entries]
            self._rows[split] = Rows(split, ids, targets, fingerprint)
        self._check_missing(missing, problems)
        self.revision = f"folder:{content.hexdigest()[:16]}"

    def _open_split(
        self,
        split: str,
        entries: Sequence[tuple[str, tuple[str, tuple[int, ...]]]],
        content: "hashlib._Hash",
        missing: list[str],
        problems: list[DataError] | None,
    ) -> str:
        """Find the files of a split, and take its digests.

        Args:
            split: train, val or test.
            entries: Its rows: sample id, and path below ``data/SPLIT`` and class ids.
            content: Updated with the part of the revision.
            missing: Extended by the missing files.
            problems: List to collect errors in; None raises the first.

        Returns:
            The split's fingerprint.
        """
        place = self.folder / "data" / split
        fingerprint = hashlib.sha256()
        if self.spec.has_boxes:
            self._formats[split] = ()
            with collecting(problems):
                self._formats[split] = box_formats(place)
            if BoxFormat.COCO in self._formats[split]:
                stat = (place / COCO_FILE).stat()
                fingerprint.update(f"{stat.st_size}\t{stat.st_mtime_ns}\n".encode())
                content.update(f"{split}\t{COCO_FILE}\t{stat.st_size}\n".encode())
        files = Files(self.spec, place, self._formats.get(split, ()))
        self._files[split] = []
        owners: dict[str, str] = {}
        shared: list[str] = []
        for sample_id, (relative, label) in entries:
            own: tuple[str, ...] = (f"{place}/{relative}",)
            with collecting(problems):
                own = files.of(relative)
            self._files[split].append(own)
            for file in own[1:] if self.spec.has_boxes else ():
                if (owner := owners.setdefault(file, sample_id)) != sample_id:
                    shared.append(f"{owner} and {sample_id} share {file}")
            for file in own:
                info = files.stat(file)
                if info is None:
                    missing.append(file)
                    continue
                fingerprint.update(f"{file}\t{info.st_size}\t{info.st_mtime_ns}\n".encode())
                content.update(f"{split}\t{sample_id}\t{label}\t{info.st_size}\n".encode())
            with collecting(problems):
                if (pixels := raster.companion(Path(own[0]))) is not None:
                    stat = pixels.stat()
                    fingerprint.update(f"{pixels}\t{stat.st_size}\t{stat.st_mtime_ns}\n".encode())
                    content.update(f"{split}\t{pixels.name}\t{stat.st_size}\n".encode())
        with collecting(problems):
            if shared:
                raise DataError(
                    f"Label file(s) belong to two images of a split: {some(shared, '; ')}.",
                    "Rename an image, and give each image its own label file.",
                )
        return fingerprint.hexdigest()

    def _check_missing(self, missing: Sequence[str], problems: list[DataError] | None) -> None:
        """Report missing images, and missing masks or label files apart."""
        name = self.spec.files.apart
        images = {own[0] for files in self._files.values() for own in files}
        apart = [file for file in missing if name and file not in images]
        listed = [file for file in missing if not name or file in images]
        with collecting(problems):
            if listed:
                raise DataError(
                    f"{self.folder / ANNOTATIONS} lists {len(listed)} file(s) not found: "
                    f"{some(listed)}.",
                    "Unpack the data again, or remove those rows.",
                )
        with collecting(problems):
            if apart:
                raise DataError(
                    f"{len(apart)} {name}(s) of images in "
                    f"{self.folder / ANNOTATIONS} were not found: {some(apart)}.",
                    "Unpack the data again, or remove those rows."
                    + " (An image without boxes has an empty label file.)" * self.spec.has_boxes,
                )

    @property
    def where(self) -> str:
        """Path of the folder."""
        return str(self.folder)

    def rows(self, split: str) -> Rows:
        """Index of a split."""
        if split not in self._rows:
            raise DataError(
                f"{self.folder / ANNOTATIONS} has no rows of the {split} split "
                f"(only {', '.join(self._rows)}).",
                f"Add rows with {split} in column `split`.",
            )
        return self._rows[split]

    @property
    def splits(self) -> tuple[str, ...]:
        """Splits of the data."""
        return tuple(self._rows)

    def files(self, split: str, index: int) -> tuple[Path, ...]:
        """All files of a sample: its image, then the second image, the mask or the labels.

        The COCO file belongs to the split and is left out.
        """
        return tuple(map(Path, self._files[split][index]))

    def read(self, split: str, index: int) -> Raw:
        """Read the raw files of a sample, and parse its boxes.

        Raises:
            DataError: If a file cannot be read, or boxes are invalid or contradict each other.
        """
        first, *others = self.files(split, index)
        sample_id = self._rows[split].sample_ids[index]
        meta = self._meta.get(split, {}).get(sample_id, {})
        raw = Raw(read_bytes(first), str(first), meta=meta, path=first)
        if self.spec.has_boxes:
            size = decode.image_size(raw.image, raw.where, raw.path)
            return replace(raw, boxes=self.boxes(split, index, size))
        if not others:
            return raw
        second = Raw(read_bytes(others[0]), str(others[0]), path=others[0])
        fields: dict[str, Any] = {self.spec.files.second: second}
        return replace(raw, **fields)

    def boxes(
        self, split: str, index: int, size: Size, problems: list[DataError] | None = None
    ) -> Boxes | None:
        """Read the boxes of an image in every form, and compare the forms.

        Args:
            split: train, val or test.
            index: Position of the sample in `rows`.
            size: Height and width of the image.
            problems: List to collect errors in; forms with errors, and missing files, are then
                skipped. By default the first error is raised.

        Returns:
            The boxes; None if no form could be read.
        """
        classes = self._spellings
        image, *labels = self.files(split, index)
        paths = dict(zip([f for f in self._formats[split] if f in LABELS], labels, strict=True))
        forms: dict[BoxFormat, Boxes] = {}
        for form in self._formats[split]:
            with collecting(problems):
                path = paths.get(form)
                if path is None:
                    coco = self._coco_file(split, problems)
                    sample_id = self._rows[split].sample_ids[index]
                    if coco is not None and sample_id in coco.sizes:
                        forms[form] = coco.boxes(sample_id, size, classes)
                elif problems is not None and not path.exists():
                    continue
                elif form is BoxFormat.YOLO:
                    forms[form] = box_files.read_yolo(read_bytes(path), size, classes, str(path))
                else:
                    forms[form] = box_files.read_voc(read_bytes(path), size, classes, str(path))
        with collecting(problems):
            if forms:
                return cross_check(forms, str(image))
        return None

    def _coco_file(self, split: str, problems: list[DataError] | None) -> box_files.CocoFile | None:
        """COCO file of a split, parsed on first use; None if damaged."""
        with _PARSING:
            if split not in self._coco:
                self._coco[split] = self._parse_coco(split)
        coco, errors = self._coco[split]
        if problems is None and errors:
            raise errors[0]
        if problems is not None:
            problems += errors
        return coco

    def _parse_coco(self, split: str) -> tuple[box_files.CocoFile | None, list[DataError]]:
        place = self.folder / "data" / split
        path = place / COCO_FILE
        try:
            coco = box_files.read_coco(read_bytes(path), str(path))
        except DataError as error:
            return None, [error]
        ids = self._rows[split].sample_ids
        return coco, coco.problems(ids, place / IMAGES, self._spellings)

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
        return without_seconds_of_pairs(ids) if self.spec.is_pairs else ids

    @property
    def subsets(self) -> tuple[Subset, ...]:
        """Subsets with a list in the folder."""
        return tuple(listed_subsets(self.folder))

    def subset_path(self, subset: Subset) -> Path | None:
        """Path of a subset's CSV, existing or not; None for the full split."""
        path = subset_file(subset)
        return None if path is None else self.folder / path


@contextlib.contextmanager
def collecting(problems: list[DataError] | None) -> Iterator[None]:
    """Append an error of the block to a list; without a list, raise the error."""
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
    """Find the first folder with a table, in the places or in the task's folder below them."""
    for place in places.values():
        for folder in (place, place / spec.folder, place / spec.name):
            if os.path.lexists(folder / table):
                return folder
    return None
