"""A task's folder in the layout Mars-Bench publishes.

``annotation.csv`` (file_id, split, feature_name, label) and ``mapping.json`` (class id to name,
or to [acronym, name]) beside ``data/SPLIT/FEATURE_NAME/FILE_ID`` (multilabel:
``data/SPLIT/FILE_ID``), with optional ``few_shot/K_shot.csv`` and
``partitions/0.10x_partition.csv``. Of an image pair the name of the second file is that of the
first with ``before`` replaced by ``after``, in the same folder; the first is the sample.
"""

import ast
import contextlib
import csv
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from marsbench.config import SourceName, Subset
from marsbench.data.rows import Raw, Rows, class_order, code_notes
from marsbench.data.spec import SPLITS, Decode, TaskSpec
from marsbench.errors import DataError
from marsbench.kinds import Kind

ANNOTATIONS = "annotation.csv"
MAPPING = "mapping.json"

Index = dict[str, dict[str, tuple[str, tuple[int, ...]]]]
"""For each split, sample id to (path below ``data/SPLIT``, class ids)."""

BEFORE, AFTER = "before", "after"
"""What tells the two files of a pair apart."""

SHOWN = 5
"""How many of a list of problems one message names."""


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
        with _collecting(problems):
            mapping = read_mapping(folder / MAPPING)
            num_classes = len(mapping)
            names, codes = class_order(spec, mapping, str(folder / MAPPING))
            self.class_names, self.notes = tuple(names), code_notes(codes)
        index: Index = {}
        with _collecting(problems):
            read_annotations(spec, folder / ANNOTATIONS, num_classes, index)
        self._paired = spec.decode is Decode.PAIR_LABEL
        if self._paired:
            with _collecting(problems):
                keep_first_of_pairs(index, folder / ANNOTATIONS)
        self._paths: dict[str, list[Path]] = {}
        self._rows: dict[str, Rows] = {}
        content = hashlib.sha256(json.dumps(self.class_names).encode())
        absent: list[Path] = []
        for split in SPLITS:
            if split not in index:
                continue
            entries = sorted(index[split].items())
            paths = [folder / "data" / split / relative for _, (relative, _) in entries]
            fingerprint = hashlib.sha256()
            for (sample_id, (_, label)), path in zip(entries, paths, strict=True):
                for file in self._files(path):
                    try:
                        stat = file.stat()
                    except OSError:
                        absent.append(file)
                        continue
                    fingerprint.update(f"{file}\t{stat.st_size}\t{stat.st_mtime_ns}\n".encode())
                    content.update(f"{split}\t{sample_id}\t{label}\t{stat.st_size}\n".encode())
            self._paths[split] = paths
            targets = _targets(spec.kind, [label for _, (_, label) in entries], num_classes)
            ids = [sample_id for sample_id, _ in entries]
            self._rows[split] = Rows(split, ids, targets, fingerprint.hexdigest())
        with _collecting(problems):
            if absent:
                raise DataError(
                    f"{folder / ANNOTATIONS} lists {len(absent)} file(s) that are not there: "
                    f"{_some(map(str, absent))}.",
                    "Unpack the data again, or remove those rows.",
                )
        self.revision = f"folder:{content.hexdigest()[:16]}"

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
        return self._paths[split][index]

    def files(self, split: str, index: int) -> tuple[Path, ...]:
        """All files of one sample: its image, or the two of a pair."""
        return self._files(self.path(split, index))

    def _files(self, path: Path) -> tuple[Path, ...]:
        return (path, second_of_pair(path)) if self._paired else (path,)

    def read(self, split: str, index: int) -> Raw:
        """Bytes of one image, or of the two of a pair."""
        first, *others = (Raw(_bytes(file), str(file)) for file in self.files(split, index))
        return Raw(first.image, first.where, after=others[0] if others else None)

    def subset_ids(self, subset: Subset) -> list[str] | None:
        """Train ids of a published subset, in the order of its CSV."""
        path = self.subset_path(subset)
        if path is None or not path.is_file():
            return None
        return [
            row["file_id"]
            for _, row in _csv_rows(path, ("file_id", "split"))
            if row["split"] == "train"
        ]

    def subset_path(self, subset: Subset) -> Path | None:
        """Where a subset's CSV would be; None for the full split."""
        if subset.shots is not None:
            return self.folder / "few_shot" / f"{subset.shots}_shot.csv"
        if subset.fraction is not None:
            return self.folder / "partitions" / f"{subset.fraction:.2f}x_partition.csv"
        return None


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(
            f"{path} cannot be read: {error.strerror}.", "Unpack the data again."
        ) from error


def second_of_pair(path: Path) -> Path:
    """File of the later image of a pair, from the file of the earlier one."""
    return path.with_name(path.name.replace(BEFORE, AFTER))


def keep_first_of_pairs(index: Index, path: Path) -> None:
    """Drop rows of second images, which files may list beside the first.

    Args:
        index: Changed in place.
        path: Where it was read from, for messages.

    Raises:
        DataError: If a name says neither which image of a pair it is, or the second of a pair
            has another label than the first, or no first.
    """
    problems: list[str] = []
    for split, rows in index.items():
        first = {name: entry for name, entry in rows.items() if BEFORE in Path(name).name}
        seconds = {str(second_of_pair(Path(name))): entry for name, entry in first.items()}
        for name, (_, labels) in rows.items():
            if name in first:
                continue
            if name not in seconds:
                problems.append(f"{name} ({split}) is the first image of no pair, nor the second")
            elif seconds[name][1] != labels:
                problems.append(f"{name} ({split}) has another label than the image before it")
        index[split] = first
    if problems:
        raise DataError(
            f"{path}: {len(problems)} bad row(s): {_some(problems, '; ')}.",
            f"List the first image of each pair, with '{BEFORE}' in its name; the second is named "
            f"alike, with '{AFTER}'.",
        )


@contextlib.contextmanager
def _collecting(problems: list[DataError] | None) -> Iterator[None]:
    try:
        yield
    except DataError as error:
        if problems is None:
            raise
        problems.append(error)


def read_mapping(path: Path) -> dict[int, list[str]]:
    """Read ``mapping.json``: class id to the names the data use for it.

    Raises:
        DataError: If it is missing or not of that form.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(
            f"{path} cannot be read: {error.strerror}.",
            'It says which class each label is: {"0": "first class", "1": "second class"}.',
        ) from error
    except ValueError as error:
        raise DataError(f"{path} is not JSON: {error}.", "Unpack the data again.") from error
    try:
        return {
            int(key): [value] if isinstance(value, str) else [str(v) for v in value]
            for key, value in content.items()
        }
    except (AttributeError, TypeError, ValueError) as error:
        raise DataError(
            f"{path} does not map class ids to names: {str(content)[:80]}.",
            'Write {"0": "first class", "1": ["acronym", "second class"]}.',
        ) from error


def read_annotations(spec: TaskSpec, path: Path, num_classes: int, index: Index) -> None:
    """Read ``annotation.csv``.

    Args:
        spec: The task.
        path: The file.
        num_classes: Number of classes in the data's mapping.
        index: Filled with the good rows.

    Raises:
        DataError: If columns are missing, or rows repeat or hold an unknown split or label;
            names the first of them and their lines.
    """
    multilabel = spec.kind is Kind.MULTILABEL
    columns = ("file_id", "split", "label") + (() if multilabel else ("feature_name",))
    problems: list[str] = []
    one_hot = multilabel and _is_one_hot(
        [row["label"] for _, row in _csv_rows(path, columns)], num_classes
    )
    for line, row in _csv_rows(path, columns):
        split, file_id = row["split"], row["file_id"]
        if split not in SPLITS:
            problems.append(f"line {line}: split '{split}' is none of {', '.join(SPLITS)}")
            continue
        if not _is_name(file_id):
            problems.append(f"line {line}: file_id '{file_id}' is no file name")
            continue
        if not multilabel and not _is_name(row["feature_name"]):
            problems.append(f"line {line}: feature_name '{row['feature_name']}' is no folder name")
            continue
        labels = _labels(row["label"], num_classes, multilabel, one_hot)
        if labels is None:
            problems.append(
                f"line {line}: label '{row['label']}' of {file_id} is outside 0..{num_classes - 1}"
            )
            continue
        rows = index.setdefault(split, {})
        if file_id in rows:
            problems.append(
                f"line {line}: {file_id} is listed twice in {split} (ids are unique in a split)"
            )
            continue
        rows[file_id] = (file_id if multilabel else f"{row['feature_name']}/{file_id}", labels)
    if problems:
        raise DataError(
            f"{path}: {len(problems)} bad row(s): {_some(problems, '; ')}.",
            "Correct these rows, or check that mapping.json belongs to this file.",
        )
    if not index:
        raise DataError(f"{path} has no rows.", "Unpack the data again.")


def _csv_rows(path: Path, columns: tuple[str, ...]) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield (line number, row); the wanted columns are there and stripped."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            missing = [c for c in columns if c not in (reader.fieldnames or ())]
            if missing:
                raise DataError(
                    f"{path} has no column {', '.join(missing)} "
                    f"(its first line is: {','.join(reader.fieldnames or ())}).",
                    f"Its columns are {','.join(columns)}.",
                )
            for row in reader:
                if any(row[c] is None for c in columns):
                    raise DataError(
                        f"{path}, line {reader.line_num}: the row is cut short.",
                        "Unpack the data again.",
                    )
                yield reader.line_num, {c: row[c].strip() for c in columns}
    except OSError as error:
        raise DataError(
            f"{path} cannot be read: {error.strerror}.", "Unpack the data again."
        ) from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} is not a CSV file: {error}.", "Unpack the data again.") from error


def _is_name(text: str) -> bool:
    """Whether a text is a path that stays below its folder."""
    return bool(text) and ".." not in Path(text).parts and not Path(text).is_absolute()


def _cell(text: str, multilabel: bool) -> list[int] | None:
    """Read a label cell: one number, or for multilabel tasks a list literal of numbers."""
    try:
        value = ast.literal_eval(text) if multilabel else [int(text)]
        return [int(v) for v in value]
    except (ValueError, SyntaxError, TypeError):
        return None


def _is_one_hot(cells: list[str], num_classes: int) -> bool:
    """Whether a multilabel file lists zeros and ones rather than class ids.

    Decided once for the whole file: all cells hold one 0 or 1 per class, and some cell repeats a
    value, which no list of ids does. (With two classes, ``[0, 1]`` alone could be either.)
    """
    values = [_cell(cell, multilabel=True) or [] for cell in cells]
    return all(len(v) == num_classes and set(v) <= {0, 1} for v in values) and any(
        len(set(v)) < len(v) for v in values
    )


def _labels(text: str, num_classes: int, multilabel: bool, one_hot: bool) -> tuple[int, ...] | None:
    """Class ids of a label cell; None if it holds anything else."""
    ids = _cell(text, multilabel)
    if ids is None:
        return None
    if one_hot:
        return tuple(i for i, present in enumerate(ids) if present)
    return tuple(sorted(set(ids))) if all(0 <= i < num_classes for i in ids) else None


def _targets(kind: Kind, labels: list[tuple[int, ...]], num_classes: int) -> NDArray[np.integer]:
    if kind is not Kind.MULTILABEL:
        return np.array([ids[0] for ids in labels], dtype=np.int64)
    targets = np.zeros((len(labels), num_classes), dtype=np.uint8)
    for row, ids in zip(targets, labels, strict=True):
        row[list(ids)] = 1
    return targets


def _some(items: Iterator[str] | list[str], separator: str = ", ") -> str:
    found = list(items)
    more = f"{separator}and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    return separator.join(found[:SHOWN]) + more


def find_folder(spec: TaskSpec, places: Mapping[str, Path]) -> Path | None:
    """Find a task's folder in or below one of the places, first come first."""
    for place in places.values():
        for folder in (place, place / spec.folder, place / spec.name):
            if os.path.lexists(folder / ANNOTATIONS):
                return folder
    return None
