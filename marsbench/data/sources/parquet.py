"""Parquet files of a published split: columns, class ids and row groups, read by pyarrow."""

import contextlib
from collections import OrderedDict
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from marsbench.base.documents import parse_json
from marsbench.base.errors import DataError, some
from marsbench.base.files import is_name
from marsbench.data.boxes import columns as box_columns
from marsbench.data.changed import mark_of
from marsbench.data.sources.labels import MIXED, class_id, is_one_hot, is_row_one_hot
from marsbench.tasks.kinds import Decode
from marsbench.tasks.spec import TaskSpec

if TYPE_CHECKING:
    import pyarrow as pa

COLUMNS = {
    Decode.IMAGE_LABEL: ("image", "label"),
    Decode.PAIR_LABEL: ("image", "label"),
    Decode.IMAGE_MASK: ("image", "mask"),
    Decode.IMAGE_BOXES: ("image",),
}
"""Required columns."""

ANNOTATIONS = tuple(box_columns.COLUMNS.values())
"""Columns of boxes, one per format, with equal boxes; at least one is required."""

_IMAGES = ("image", "mask")
"""Columns of images."""

_BATCH = 16
"""Rows of images searched at a time."""

_KEPT = 256 << 20
"""Bytes of row groups kept in memory; a published row group has some megabytes."""


class Table:
    """Parquet files of a published split.

    Attributes:
        num_rows: Number of rows in all files.
        order: Row of each sample of the index, shape (N,).
    """

    def __init__(self, paths: Sequence[Path], where: str, split: str) -> None:
        import pyarrow.parquet as pq

        self.paths, self.split, self.where = paths, split, f"{where} {split}"
        self.order: NDArray[np.int64] = np.zeros(0, dtype=np.int64)
        self._schemas: list[pa.Schema] = []
        ends: list[int] = []
        self._places: list[tuple[Path, int]] = []
        for path in paths:
            with _readable(path):
                metadata = pq.read_metadata(path)
                self._schemas.append(pq.read_schema(path))
            for group in range(metadata.num_row_groups):
                ends.append((ends[-1] if ends else 0) + metadata.row_group(group).num_rows)
                self._places.append((path, group))
        self._ends = np.array(ends, dtype=np.int64)
        self.num_rows = int(ends[-1]) if ends else 0
        self._groups: OrderedDict[int, pa.Table] = OrderedDict()
        self._lock = Lock()

    def __getstate__(self) -> dict[str, Any]:
        # Worker processes read their own row groups.
        return {**self.__dict__, "_groups": OrderedDict(), "_lock": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _lock=Lock())

    def check_columns(self, spec: TaskSpec) -> None:
        """Raise `DataError` for a missing column, or for different types among the files."""
        for path, schema in zip(self.paths, self._schemas, strict=True):
            missing = [name for name in COLUMNS[spec.decode] if name not in schema.names]
            if spec.has_boxes and not set(ANNOTATIONS) & set(schema.names):
                missing.append(" or ".join(ANNOTATIONS))
            if missing:
                raise unusable(
                    f"{self.where} has no column {', '.join(missing)} in {path.name} (its columns "
                    f"are: {', '.join(schema.names)})."
                )
            for name in COLUMNS[spec.decode]:
                first, other = self._schemas[0].field(name).type, schema.field(name).type
                if first != other:
                    raise unusable(
                        f"{self.where}: column {name} is {first} in {self.paths[0].name} and "
                        f"{other} in {path.name}."
                    )

    def class_names(self, column: str) -> list[str]:
        """Class names in the metadata of `datasets`; empty if missing."""
        names = [_feature_names(_features(schema).get(column)) for schema in self._schemas]
        if any(others != names[0] for others in names):
            raise unusable(f"Files of {self.where} have different class ids.")
        return names[0] if names else []

    def column(self, name: str) -> "pa.ChunkedArray":
        """Column of all rows, or part of a nested column, such as ``image.path``."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        chunks: list[Any] = []
        for path in self.paths:
            with _readable(path):
                # read_table() would read the images too.
                column = pq.ParquetFile(path).read(columns=[name]).column(0)
            if pa.types.is_struct(column.type):
                column = pa.chunked_array([chunk.field(0) for chunk in column.chunks])
            chunks.extend(column.chunks)
        return pa.chunked_array(chunks)

    def plain_columns(self, without: Collection[str]) -> dict[str, list[Any]]:
        """Columns of texts, numbers and truth values that every file has, except some."""
        import pyarrow as pa

        types = (pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean)
        texts = (pa.types.is_string, pa.types.is_large_string)
        return {
            column.name: self.column(column.name).to_pylist()
            for column in (self._schemas[0] if self._schemas else ())
            if column.name not in without
            and any(is_type(column.type) for is_type in (*types, *texts))
            and all(column.name in schema.names for schema in self._schemas)
        }

    @property
    def is_named(self) -> bool:
        """Whether all images have unique names."""
        return self._names is not None

    @cached_property
    def _names(self) -> list[str] | None:
        import pyarrow as pa

        kind = self._schemas[0].field("image").type
        if not pa.types.is_struct(kind) or kind.get_field_index("path") < 0 or not self.num_rows:
            return [] if not self.num_rows else None
        paths = [
            str(path or "").replace("\\", "/") for path in self.column("image.path").to_pylist()
        ]
        if not all(paths):
            return None
        # File names, as in annotation.csv; with their folders if ambiguous.
        for names in ([path.rpartition("/")[2] for path in paths], paths):
            if len(set(names)) == len(names):
                if bad := [name for name in names if not is_name(name)]:
                    raise unusable(
                        f"{self.where}: {len(bad)} image path(s) are not file names below a "
                        f"folder: {some(map(repr, bad))}."
                    )
                return names
        return None

    @property
    def sample_ids(self) -> Sequence[str]:
        """Names of the images, else split and row number, such as ``val_000003``."""
        return self._names or [f"{self.split}_{i:06d}" for i in range(self.num_rows)]

    def row(self, index: int) -> dict[str, Any]:
        """All columns of a row."""
        group = int(np.searchsorted(self._ends, index, side="right"))
        start = int(self._ends[group - 1]) if group else 0
        columns: dict[str, Any] = self._group(group).slice(index - start, 1).to_pylist()[0]
        return columns

    def _group(self, group: int) -> "pa.Table":
        import pyarrow.parquet as pq

        with self._lock:
            if group in self._groups:
                self._groups.move_to_end(group)
            else:
                path, number = self._places[group]
                with _readable(path):
                    self._groups[group] = pq.ParquetFile(path).read_row_group(number)
                held = sum(table.nbytes for table in self._groups.values())
                while len(self._groups) > 1 and held > _KEPT:
                    held -= self._groups.popitem(last=False)[1].nbytes
            return self._groups[group]


def unusable(problem: str) -> DataError:
    """Build the error for published files that contradict their task or themselves."""
    return DataError(problem, "Choose another revision=, or another source.")


@contextlib.contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Translate pyarrow's errors on damaged or missing files."""
    try:
        yield
    except (OSError, ValueError, KeyError) as error:  # pyarrow's derive from these
        raise DataError(
            f"{path} cannot be read: {str(error).splitlines()[0]}.",
            "Delete it with `marsbench data clean TASK` and download the data again.",
        ) from error


def _features(schema: "pa.Schema") -> dict[str, Any]:
    """Column descriptions in the metadata of `datasets`."""
    try:
        values = parse_json((schema.metadata or {})[b"huggingface"])
        features: dict[str, Any] = values["info"]["features"]
    except (KeyError, TypeError, ValueError):
        return {}
    return features


def _feature_names(feature: Any) -> list[str]:
    """Class names of a class label or list of class labels; empty for other features."""
    if isinstance(feature, list):
        feature = feature[0] if feature else None
    while isinstance(feature, Mapping) and isinstance(feature.get("feature"), (Mapping, list)):
        feature = feature["feature"]
    names = feature.get("names") if isinstance(feature, Mapping) else None
    return [str(name) for name in names] if isinstance(names, list) else []


def class_ids(
    labels: "pa.ChunkedArray", num_classes: int, classes: Mapping[str, int], where: str
) -> NDArray[np.int64]:
    """Class ids of a column of numbers, their texts or names of classes, shape (N,)."""
    import pyarrow as pa

    try:
        if labels.null_count:
            raise ValueError("values are missing")
        if pa.types.is_string(labels.type) or pa.types.is_large_string(labels.type):
            texts = labels.to_pylist()
            known = {text: _named(text, num_classes, classes) for text in dict.fromkeys(texts)}
            return np.array([known[text] for text in texts], dtype=np.int64)
        values = labels.to_numpy()
        ids: NDArray[np.int64] = values.astype(np.int64)
        if values.dtype.kind == "f" and (ids != values).any():
            raise ValueError("values are not integers")
    except (ValueError, TypeError, NotImplementedError) as error:
        raise unusable(f"{where}: column label is invalid; expected class ids: {error}.") from error
    _check_range(ids, num_classes, where)
    return ids


def _named(text: str, num_classes: int, classes: Mapping[str, int]) -> int:
    try:
        return class_id(text, num_classes, classes)
    except ValueError as error:
        raise ValueError(f"'{text[:80]}' {error}") from error


def _check_range(ids: NDArray[np.int64], num_classes: int, where: str) -> None:
    bad = (ids < 0) | (ids >= num_classes)
    if bad.any():
        raise unusable(
            f"{where}: row {int(np.flatnonzero(bad)[0])} has label {int(ids[bad][0])}; expected "
            f"0..{num_classes - 1} ({int(bad.sum())} invalid rows)."
        )


def multi_hot(labels: "pa.ChunkedArray", num_classes: int, where: str) -> NDArray[np.uint8]:
    """One-hot targets of a column of lists (class ids, or K zeros and ones), shape (N, K)."""
    rows = labels.to_pylist()
    if rows and all(isinstance(row, str) for row in rows):
        try:
            rows = [parse_json(row) for row in rows]
        except ValueError as error:
            raise unusable(f"{where}: column label is invalid; expected lists: {error}.") from error
    targets = np.zeros((len(rows), num_classes), dtype=np.uint8)
    if not all(isinstance(row, list) and all(isinstance(v, int) for v in row) for row in rows):
        raise unusable(f"{where}: column label is invalid; expected lists of class ids.")
    if is_one_hot(rows, num_classes):
        return np.array(rows, dtype=np.uint8)
    if odd := [row for row in rows if is_row_one_hot(row, num_classes)]:
        raise unusable(f"{where}: {len(odd)} label(s) are invalid: {odd[0]} {MIXED}.")
    place = np.repeat(np.arange(len(rows)), [len(row) for row in rows])
    ids = np.array([i for row in rows for i in row], dtype=np.int64)
    _check_range(ids, num_classes, where)
    targets[place, ids] = 1
    return targets


def mark_of_images(path: Path) -> str:
    """Mark of a parquet file by its images and masks; unreadable files are an error later."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    with contextlib.suppress(OSError, pa.ArrowException), pq.ParquetFile(path) as file:
        columns = [name for name in _IMAGES if name in file.schema_arrow.names]
        for batch in file.iter_batches(_BATCH, columns=columns):
            for cell in (cell for column in batch.columns for cell in column.to_pylist()):
                content = cell.get("bytes") if isinstance(cell, Mapping) else cell
                if isinstance(content, bytes) and (mark := mark_of(content)):
                    return mark
    return ""
