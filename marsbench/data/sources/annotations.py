"""The tables of a task's folder: ``annotation.csv`` and ``mapping.json``."""

import contextlib
import csv
import io
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from marsbench.base import reading
from marsbench.base.documents import parse_json
from marsbench.base.errors import DataError, some
from marsbench.base.files import is_name
from marsbench.data.sources.labels import Labels
from marsbench.tasks.kinds import Kind
from marsbench.tasks.spec import BACKGROUND, SPLITS, TaskSpec, normalise

ANNOTATIONS = "annotation.csv"
MAPPING = "mapping.json"
COLUMNS = ("file_id", "split", "feature_name", "label")
"""The published columns."""

IMAGE_PATH, MASK_PATH, BOXES_PATH = PATHS = ("image_path", "mask_path", "boxes_path")
"""Columns of paths below the task's folder, for files that are not in the published layout. Columns
beyond these and `COLUMNS` become metadata of the sample."""


class Row(NamedTuple):
    """A sample of ``annotation.csv``.

    Attributes:
        path: Path of its image below ``data/SPLIT``; below the task's folder with `IMAGE_PATH`.
        labels: Class ids.
        target: Path of its mask or boxes below the task's folder, with `IMAGE_PATH`.
    """

    path: str
    labels: tuple[int, ...]
    target: str = ""


Index = dict[str, dict[str, Row]]
"""For each split, rows by sample id."""

Meta = dict[str, dict[str, dict[str, str]]]
"""For each split, sample id to its columns beyond `COLUMNS` and `PATHS`."""

BEFORE, AFTER = "before", "after"
"""Words in the names of the two files of a pair."""


def second_of_pair(path: Path) -> Path:
    """Path of the later image of a pair, from the path of the earlier."""
    return path.with_name(path.name.replace(BEFORE, AFTER))


def keep_first_of_pairs(index: Index, path: Path) -> None:
    """Drop rows of second images, in place.

    Args:
        index: Rows of all splits.
        path: File of the rows, for error messages.

    Raises:
        DataError: If a name belongs to no pair, or the second image of a pair has another label
            than the first.
    """
    problems: list[str] = []
    for split, rows in index.items():
        first = {name: entry for name, entry in rows.items() if BEFORE in Path(name).name}
        seconds = {str(second_of_pair(Path(name))): entry for name, entry in first.items()}
        for name, row in rows.items():
            if name in first:
                continue
            if name not in seconds:
                problems.append(f"{name} ({split}) belongs to no pair of images")
            elif seconds[name].labels != row.labels:
                problems.append(f"{name} ({split}) has another label than the image before it")
        index[split] = first
    if problems:
        raise DataError(
            f"{path}: {len(problems)} bad row(s): {some(problems, '; ')}.",
            f"List the first image of each pair, with '{BEFORE}' in its name; the second is named "
            f"alike, with '{AFTER}'.",
        )


def without_seconds_of_pairs(names: Sequence[str]) -> list[str]:
    """Drop names of second images whose first image is listed too."""
    seconds = {str(second_of_pair(Path(name))) for name in names if BEFORE in Path(name).name}
    return [name for name in names if name not in seconds or BEFORE in Path(name).name]


def read_mapping(path: Path) -> dict[int, list[str]]:
    """Read ``mapping.json``: class id to the names of the class in the data.

    Raises:
        DataError: If the file is missing or invalid.
    """
    try:
        text = reading.read_text(path, "utf-8-sig")
        content = parse_json(text, object_pairs_hook=_unique)
    except PermissionError as error:
        raise cannot_read(path, error) from error
    except OSError as error:
        raise DataError(
            f"{path} cannot be read: {error.strerror}.",
            'Write the names of the labels into it: {"0": "first class", "1": "second class"}.',
        ) from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is not JSON: {error}.", "Unpack the data again.") from error
    try:
        mapping = {
            int(key): [value] if isinstance(value, str) else [str(v) for v in value]
            for key, value in content.items()
        }
        if len(mapping) < len(content):
            raise ValueError("a class id has two spellings")
    except (AttributeError, TypeError, ValueError) as error:
        raise DataError(
            f"{path} does not map class ids to names: {str(content)[:80]}.",
            'Write {"0": "first class", "1": ["acronym", "second class"]}.',
        ) from error
    return mapping


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Object of JSON, whose repeated keys would silently drop a class."""
    counts = Counter(key for key, _ in pairs)
    if repeated := sorted(key for key, count in counts.items() if count > 1):
        raise ValueError(f"'{repeated[0]}' is given twice")
    return dict(pairs)


def read_classes(spec: TaskSpec, path: Path, *, is_optional: bool = False) -> dict[int, list[str]]:
    """Read the mapping of a task: class 0 of masks is the background, boxes have none.

    Args:
        spec: The task.
        path: The file.
        is_optional: Whether the order of the task's classes gives their ids if the file is missing.

    Raises:
        DataError: As `read_mapping`, or if the background of masks is not class 0.
    """
    if is_optional and reading.is_missing(path):
        mapping = {i: [name] for i, name in enumerate(spec.class_names)}
        path = spec.path or path
    else:
        mapping = read_mapping(path)
    if spec.kind is Kind.DETECTION:
        return _without_background(mapping)
    if spec.kind is Kind.SEGMENTATION:
        _check_background(mapping, path)
    return mapping


def _check_background(mapping: dict[int, list[str]], path: Path) -> None:
    """Check that the background of a segmentation task is class 0.

    Args:
        mapping: Names by class id.
        path: File of the mapping, for error messages.

    Raises:
        DataError: If the background has another id.
    """
    for class_id, names in mapping.items():
        if class_id != 0 and BACKGROUND in map(normalise, names):
            raise DataError(
                f"{path}: class {class_id} is the {BACKGROUND}; expected class 0, as in all masks.",
                "Renumber the classes in the file, and in the masks.",
            )


def _without_background(mapping: dict[int, list[str]]) -> dict[int, list[str]]:
    """Number the classes of a detection task from 0, without the background.

    Mappings may list the background as id 0, as COCO and Pascal VOC files count it, or start
    at id 1.
    """
    if 0 in mapping and BACKGROUND not in map(normalise, mapping[0]):
        return mapping
    return {class_id - 1: names for class_id, names in mapping.items() if class_id != 0}


def read_annotations(
    spec: TaskSpec,
    path: Path,
    num_classes: int,
    classes: Mapping[str, int],
    index: Index,
    meta: Meta,
) -> None:
    """Read ``annotation.csv``.

    Args:
        spec: The task.
        path: The file.
        num_classes: Number of classes in the data's mapping.
        classes: Class id by normalised name or code.
        index: Filled with the valid rows.
        meta: Filled with their further columns.

    Raises:
        DataError: If columns are missing, rows repeat or hold an unknown split or label, paths
            lead out of the folder, or feature_name is the name of another class than label; names
            the first of them and their lines.
    """
    multilabel = spec.kind is Kind.MULTILABEL
    labelled = not spec.files.apart
    has_paths = IMAGE_PATH in columns_of(path)
    columns: tuple[str, ...] = ("split",)
    if labelled:
        columns += ("label",) if multilabel or has_paths else ("label", "feature_name")
    target_column = (MASK_PATH if spec.has_masks else BOXES_PATH) if not labelled else ""
    if has_paths and target_column:
        columns += (target_column,)
    problems: list[str] = []
    reader = label_reader(spec, path, num_classes, classes)
    for line, row in sample_rows(path, columns):
        split, file_id = row["split"], row["file_id"]
        if split not in SPLITS:
            problems.append(f"line {line}: split '{split}' is none of {', '.join(SPLITS)}")
            continue
        if not is_name(file_id):
            problems.append(f"line {line}: file_id '{file_id}' is not a file name")
            continue
        target = row[target_column] if has_paths and target_column else ""
        bad = [c for c in (IMAGE_PATH, target_column) if has_paths and c and not is_name(row[c])]
        if bad:
            problems.append(
                f"line {line}: {bad[0]} '{row[bad[0]]}' is not a path below {path.parent}"
            )
            continue
        place = "images"
        labels: tuple[int, ...] = ()
        if labelled:
            place = row.get("feature_name", "") if not multilabel else ""
            if not multilabel and not has_paths and not is_name(place):
                problems.append(f"line {line}: feature_name '{place}' is not a folder name")
                continue
            try:
                labels = reader.read(row["label"])
            except ValueError as error:
                problems.append(f"line {line}: label '{row['label'][:80]}' of {file_id} {error}")
                continue
            if reader.name_differs(place, labels):
                problems.append(
                    f"line {line}: feature_name '{place}' of {file_id} is not class {labels[0]}, "
                    "its label"
                )
                continue
        rows = index.setdefault(split, {})
        if file_id in rows:
            problems.append(
                f"line {line}: {file_id} is listed twice in {split} (ids are unique in a split)"
            )
            continue
        below = f"{place}/{file_id}" if place else file_id
        rows[file_id] = Row(row[IMAGE_PATH] if has_paths else below, labels, target)
        if more := {c: row[c] for c in row if c not in COLUMNS and c not in PATHS}:
            meta.setdefault(split, {})[file_id] = more
    if problems:
        raise DataError(
            f"{path}: {len(problems)} bad row(s): {some(problems, '; ')}.",
            "Correct these rows, or check that mapping.json belongs to this file.",
        )
    if not index:
        raise DataError(f"{path} has no rows.", "Unpack the data again.")


def label_reader(
    spec: TaskSpec, path: Path, num_classes: int, classes: Mapping[str, int]
) -> Labels:
    """Reader of the labels of ``annotation.csv``.

    Args:
        spec: The task.
        path: The file, which decides the form of multilabel lists.
        num_classes: Number of classes in the data's mapping.
        classes: Class id by normalised name or code.
    """
    multilabel = spec.kind is Kind.MULTILABEL
    texts = [row["label"] for _, row in csv_rows(path, ("label",))] if multilabel else []
    return Labels(texts, num_classes, classes, multilabel)


def sample_rows(path: Path, columns: tuple[str, ...]) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield (line number, row) of ``annotation.csv`` or of a subset's list.

    The column ``file_id`` defaults to `IMAGE_PATH`.

    Args:
        path: The file.
        columns: Columns needed beside the sample's id.

    Raises:
        DataError: As `csv_rows`.
    """
    key = next((c for c in ("file_id", IMAGE_PATH) if c in columns_of(path)), "file_id")
    for line, row in csv_rows(path, (key, *columns)):
        yield line, {"file_id": row[key], **row}


def columns_of(path: Path) -> tuple[str, ...]:
    """Names of the columns of a CSV file.

    Raises:
        DataError: If the file cannot be read.
    """
    with _csv_reader(path) as reader:
        return tuple(reader.fieldnames or ())


def csv_rows(path: Path, columns: tuple[str, ...]) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield (line number, row) of a CSV file, with stripped cells.

    Raises:
        DataError: If the file cannot be read, or a column of `columns` or a cell is missing.
    """
    with _csv_reader(path) as reader:
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
            # Cells beyond the header have the column None.
            yield (
                reader.line_num,
                {c: (row[c] or "").strip() for c in row if c is not None},
            )


@contextlib.contextmanager
def _csv_reader(path: Path) -> Iterator["csv.DictReader[str]"]:
    """Open a CSV file; errors of reading in the block become a `DataError`."""
    try:
        with io.TextIOWrapper(reading.open_file(path), "utf-8-sig", newline="") as file:
            yield csv.DictReader(file)
    except OSError as error:
        raise cannot_read(path, error) from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} is not a CSV file: {error}.", "Unpack the data again.") from error


def csv_text(columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> str:
    """Format rows as CSV, with empty text for missing cells."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns, restval="", extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def read_bytes(path: Path) -> bytes:
    """Content of a file.

    Raises:
        DataError: If it cannot be read.
    """
    try:
        return reading.read_bytes(path)
    except OSError as error:
        raise cannot_read(path, error) from error


def cannot_read(path: Path | str, error: OSError) -> DataError:
    """Build the error for a file that is missing, may not be read, or is no regular file."""
    remedy = "Unpack the data again."
    if isinstance(error, PermissionError):
        remedy = "Check its permissions and those of its folder."
    return DataError(f"{path} cannot be read: {error.strerror}.", remedy)
