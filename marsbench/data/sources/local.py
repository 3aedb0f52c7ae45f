"""A task's folder in the layout Mars-Bench publishes.

``annotation.csv`` and ``mapping.json`` (class id to name, or to [acronym, name]) beside ``data/``,
whose files `layout` describes, with optional ``few_shot/K_shot.csv`` and
``partitions/0.10x_partition.csv``. With a column ``image_path`` in ``annotation.csv``, files may
lie anywhere below the folder, and ``mapping.json`` is optional.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from marsbench.base.errors import DataError, collecting, some
from marsbench.base.reading import check_regular
from marsbench.config.schema import SourceName, Subset
from marsbench.data import decode
from marsbench.data.boxes.forms import BoxFormat, Size, spellings
from marsbench.data.formats import files_beside
from marsbench.data.rows import Raw, Rows, class_order, code_notes
from marsbench.data.sources.annotations import (
    ANNOTATIONS,
    IMAGE_PATH,
    MAPPING,
    Index,
    Meta,
    Row,
    cannot_read,
    columns_of,
    keep_first_of_pairs,
    label_reader,
    read_annotations,
    read_bytes,
    read_classes,
    sample_rows,
    without_seconds_of_pairs,
)
from marsbench.data.sources.boxes import BoxFiles, difficult_notes
from marsbench.data.sources.fingerprints import Print, prints_by_content, prints_by_state
from marsbench.data.sources.labels import targets_of
from marsbench.data.sources.layout import (
    COCO_FILE,
    Files,
    ListedFiles,
    box_formats,
    is_there,
    listed_subsets,
    subset_file,
)
from marsbench.metrics.boxes import Boxes
from marsbench.tasks.spec import SPLITS, TaskSpec


class LocalSource:
    """Source of a task's local folder.

    Args:
        spec: The task.
        folder: The folder that holds ``annotation.csv``.
        problems: List to collect errors in, to report all at once. By default the first error is
            raised.

    Attributes:
        refused: Paths of listed files that are missing or cannot be read.
        listed: Paths of the files of all samples.
        has_paths: Whether ``annotation.csv`` has the paths of files.

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
        self.has_paths = False
        with collecting(problems):
            self.has_paths = IMAGE_PATH in columns_of(folder / ANNOTATIONS)
        with collecting(problems):
            mapping = read_classes(spec, folder / MAPPING, is_optional=self.has_paths)
            num_classes = len(mapping)
            names, codes = class_order(spec, mapping, str(folder / MAPPING))
            self.class_names, self.notes = tuple(names), code_notes(codes)
            self._spellings = spellings(spec, self.class_names, mapping)
        index: Index = {}
        metas: Meta = {}
        with collecting(problems):
            read_annotations(spec, folder / ANNOTATIONS, num_classes, self._spellings, index, metas)
        if spec.is_pairs:
            with collecting(problems):
                keep_first_of_pairs(index, folder / ANNOTATIONS)
        self._files: dict[str, list[tuple[str, ...]]] = {}
        self._rows: dict[str, Rows] = {}
        self._beside: dict[str, list[str]] = {}  # further files with the pixels of an image
        stats: dict[str, os.stat_result] = {}
        self.refused: set[str] = set()
        self._boxes = BoxFiles(
            folder, self._spellings, self._rows, self._files, self.refused, has_paths=self.has_paths
        )
        missing: list[str] = []
        for split in SPLITS:
            if split in index:
                listed = [row for _, row in sorted(index[split].items())]
                self._list_files(split, listed, stats, missing, problems)
        self.refused |= set(missing)
        self.listed = {file for files in self._files.values() for own in files for file in own}
        self.listed |= stats.keys()
        self._check_missing(missing, problems)
        prints = self._prints(stats, problems)
        with collecting(problems):
            apart = (file for own in self._files.values() for part in own for file in part[1:])
            self.notes += difficult_notes({f: prints[f].content for f in apart if f in prints})
        content = hashlib.sha256(json.dumps(self.class_names).encode())
        if spec.has_boxes:
            content.update(json.dumps(sorted(self._spellings.items())).encode())
        for split, own in self._files.items():
            entries = sorted(index[split].items())
            fingerprint = hashlib.sha256()
            if spec.has_boxes:
                # Boxes are cached with class ids, which follow from the names.
                fingerprint.update(json.dumps(sorted(self._spellings.items())).encode())
            for line, state in self._lines(split, entries, own, prints):
                content.update(line.encode())
                fingerprint.update(os.fsencode(state))
            targets = targets_of(spec.kind, [row.labels for _, row in entries], num_classes)
            ids = [sample_id for sample_id, _ in entries]
            meta = [metas[split].get(i, {}) for i in ids] if split in metas else None
            self._rows[split] = Rows(split, ids, targets, fingerprint.hexdigest(), meta=meta)
        self.revision = f"folder:{content.hexdigest()[:16]}"

    def _list_files(
        self,
        split: str,
        listed: Sequence[Row],
        stats: dict[str, os.stat_result],
        missing: list[str],
        problems: list[DataError] | None,
    ) -> None:
        """Find the files of a split.

        Args:
            split: train, val or test.
            listed: Its rows.
            stats: Filled with the sizes and times of all files.
            missing: Extended by the missing files.
            problems: List to collect errors in; None raises the first.
        """
        files = self._layout(split, listed, problems)
        for coco in sorted({*self._boxes.coco_paths[split]} - {""}):
            with collecting(problems):
                try:
                    stats[coco] = check_regular(coco)
                except OSError as error:
                    self.refused.add(coco)
                    raise cannot_read(coco, error) from error
        self._files[split] = []
        owners: dict[str, str] = {}
        shared: list[str] = []
        closed: dict[str, list[str]] = {}  # files that cannot be read, by reason
        for row in listed:
            own: tuple[str, ...] = (f"{files.place}/{row.path}",)
            with collecting(problems):
                own = files.of(row)
            self._files[split].append(own)
            for file in own[1:] if self.spec.has_boxes else ():
                if (owner := owners.setdefault(file, own[0])) != own[0]:
                    shared.append(f"{Path(owner).name} and {Path(own[0]).name} share {file}")
            for file in own:
                try:
                    stats[file] = files.stat(file)
                except (FileNotFoundError, NotADirectoryError):
                    missing.append(file)
                except OSError as error:
                    closed.setdefault(str(error.strerror), []).append(file)
            for file in own[:1] if self.spec.has_boxes else own:
                with collecting(problems):
                    if beside := files_beside(file):
                        self._beside[file] = list(map(str, beside))
                        stats |= {str(path): path.stat() for path in beside}
        self.refused |= {file for files_ in closed.values() for file in files_}
        for reason, refused in closed.items():
            with collecting(problems):
                raise DataError(
                    f"{len(refused)} file(s) of {self.folder / ANNOTATIONS} cannot be read: "
                    f"{reason}: {some(refused)}.",
                    "Check their permissions and those of their folders, or copy the data again.",
                )
        with collecting(problems):
            if shared:
                raise DataError(
                    f"Label file(s) belong to two images of a split: {some(shared, '; ')}.",
                    "Rename an image, and give each image its own label file.",
                )

    def _layout(self, split: str, listed: Sequence[Row], problems: list[DataError] | None) -> Files:
        """Layout of the files of a split; with its COCO files."""
        self._boxes.coco_paths[split] = [""] * len(listed)
        if self.has_paths:
            files = ListedFiles(self.spec, self.folder)
            self._boxes.coco_paths[split] = [files.coco(row) for row in listed]
            return files
        place = self.folder / "data" / split
        formats: tuple[BoxFormat, ...] = ()
        if self.spec.has_boxes:
            with collecting(problems):
                formats = box_formats(place)
            if BoxFormat.COCO in formats:
                self._boxes.coco_paths[split] = [str(place / COCO_FILE)] * len(listed)
        return Files(self.spec, place, formats)

    def _prints(
        self, stats: Mapping[str, os.stat_result], problems: list[DataError] | None
    ) -> dict[str, Print]:
        """Fingerprint every file: masks and boxes by content, images by size and times."""
        shown = slice(None) if self.spec.is_pairs else slice(1)
        images = {file for files in self._files.values() for own in files for file in own[shown]}
        images |= {path for file in images & self._beside.keys() for path in self._beside[file]}
        apart = {file: info for file, info in stats.items() if file not in images}
        prints = prints_by_content(apart, problems)
        self.refused |= {file for file, known in prints.items() if not known.content}
        return prints | prints_by_state({f: info for f, info in stats.items() if f in images})

    def _lines(
        self,
        split: str,
        entries: Sequence[tuple[str, Row]],
        files: Sequence[tuple[str, ...]],
        prints: Mapping[str, Print],
    ) -> Iterator[tuple[str, str]]:
        """Yield the lines of a split in the revision and in the fingerprint."""
        for coco in sorted({*self._boxes.coco_paths[split]} & prints.keys()):
            name = Path(coco).name
            yield f"{split}\t{name}\t{prints[coco].content}\n", f"{prints[coco].state}\n"
        for (sample_id, row), own in zip(entries, files, strict=True):
            for file in own:
                if (known := prints.get(file)) is not None:
                    line = f"{split}\t{sample_id}\t{row.labels}\t{known.content}\n"
                    yield line, f"{known.state}\n"
            for file in own:
                for path in self._beside.get(file, ()):
                    known = prints[path]
                    yield f"{split}\t{Path(path).name}\t{known.content}\n", f"{known.state}\n"

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
        metas = self._rows[split].meta
        meta = {} if metas is None else metas[index]
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
        return self._boxes.read(split, index, size, problems)

    def subset_ids(self, subset: Subset) -> list[str] | None:
        """Train ids of a published subset, in the order of its CSV."""
        path = self.subset_path(subset)
        if path is None or not is_there(path):
            return None
        rows = [
            (line, row) for line, row in sample_rows(path, ("split",)) if row["split"] == "train"
        ]
        if self.spec.kind.is_classification:
            self._compare_labels(path, rows)
        ids = [row["file_id"] for _, row in rows]
        return without_seconds_of_pairs(ids) if self.spec.is_pairs else ids

    def _compare_labels(self, path: Path, rows: Sequence[tuple[int, dict[str, str]]]) -> None:
        """Refuse a list whose labels differ from ``annotation.csv``."""
        train = self.rows("train")
        position = {sample_id: i for i, sample_id in enumerate(train.sample_ids)}
        num_classes = len(self.class_names)
        labels = label_reader(self.spec, self.folder / ANNOTATIONS, num_classes, self._spellings)
        problems: list[str] = []
        for line, row in rows:
            text, index = row.get("label", ""), position.get(row["file_id"])
            if not text or index is None:
                continue
            try:
                ids = labels.read(text)
            except ValueError as error:
                problems.append(f"line {line}: label '{text[:80]}' {error}")
                continue
            target = targets_of(self.spec.kind, [ids], num_classes)[0]
            if not np.array_equal(target, train.targets[index]):
                problems.append(f"line {line}: label {text} of {row['file_id']}")
        if problems:
            raise DataError(
                f"{path}: {len(problems)} label(s) differ from {ANNOTATIONS}: "
                f"{some(problems, '; ')}.",
                "Correct them, or remove the list: the subset is then generated.",
            )

    @property
    def subsets(self) -> tuple[Subset, ...]:
        """Subsets with a list in the folder."""
        return tuple(listed_subsets(self.folder))

    def subset_path(self, subset: Subset) -> Path | None:
        """Path of a subset's CSV, existing or not; None for the full split."""
        path = subset_file(subset)
        return None if path is None else self.folder / path
