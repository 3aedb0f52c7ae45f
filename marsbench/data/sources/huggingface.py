"""Task data in parquet files, as Mars-Bench publishes them on the Hugging Face hub.

A repository has one configuration with the splits ``train``, ``val``, ``test``, and a split for
each few-shot set and partition of train. The files are read with pyarrow: the index reads labels
and image names only, at a cost independent of the image size, and a sample reads one row group.
(`datasets` would first copy all images into a second format.) The images of a file are read once
more, when it is opened first, for those whose pixels differ from those of earlier versions.
"""

import contextlib
import hashlib
import json
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from marsbench.base.documents import parse_json
from marsbench.base.errors import DataError, DataNotFoundError, some
from marsbench.base.files import cached_facts, is_name
from marsbench.config.schema import SourceName, Subset
from marsbench.data import decode
from marsbench.data.boxes import columns as box_columns
from marsbench.data.boxes.forms import spellings
from marsbench.data.changed import KIND, mark_of
from marsbench.data.rows import Raw, Rows, class_order, code_notes
from marsbench.data.sources.annotations import cannot_read, read_mapping
from marsbench.data.sources.hub_files import Listing, split_name
from marsbench.data.sources.labels import MIXED, class_id, is_one_hot, is_row_one_hot
from marsbench.tasks.kinds import Decode, Kind
from marsbench.tasks.spec import SPLITS, TaskSpec

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

_NOT_META = {"image", "label", "mask", "class_labels", "width", "height", *ANNOTATIONS}

_IMAGES = ("image", "mask")
"""Columns of images."""

_BATCH = 16
"""Rows of images searched at a time."""

_KEPT = 256 << 20
"""Bytes of row groups kept in memory; a published row group has some megabytes."""

_RED = 2.0
"""Largest mean of the red band in a composite of two grey images."""


class HubSource:
    """Opened splits of a task from the hub.

    Args:
        spec: The task.
        listing: Files of the repository, downloaded for the splits in use.
        subset: Subset of the train split; a published subset replaces the train split.

    Raises:
        DataError: If the files contradict the task or themselves.
    """

    name = SourceName.HUGGINGFACE

    def __init__(self, spec: TaskSpec, listing: Listing, subset: Subset) -> None:
        self.spec, self.listing = spec, listing
        own = split_name(subset, listing.splits)
        self.holds = subset if own is not None else Subset()
        self._split = {"train": own or "train", "val": "val", "test": "test"}
        published = [s for s in SPLITS if self._split[s] in listing.splits]
        if not published:
            raise DataError(
                f"{listing.repo} has the splits {', '.join(listing.splits)}; expected "
                f"{', '.join(SPLITS)}.",
                "Rename the splits of the repository.",
            )
        self.splits = tuple(s for s in published if not listing.missing([self._split[s]]))
        try:
            changed = listing.changed([self._split[s] for s in self.splits])
        except OSError as error:
            raise cannot_read(str(error.filename), error) from error
        if changed:
            raise DataError(
                f"{len(changed)} file(s) of {self.where} were changed on this machine: "
                f"{some(changed)}.",
                "Delete the data with `marsbench data clean TASK` and download them again.",
            )
        self._marks = {s: self._mark(self._split[s]) for s in self.splits}
        # Data read as by earlier versions have no mark, and keep their ids.
        marks = sorted({mark for mark in self._marks.values() if mark})
        self.revision = "+".join([f"hub:{listing.revision}", *marks])
        self._tables: dict[str, _Table] = {}
        self._rows: dict[str, Rows] = {}
        self.class_names, notes = self._classes()
        unnamed = [s for s in self.splits if not self._table(self._split[s]).is_named]
        note = f"Images of {', '.join(unnamed)} have no unique names; sample ids are numbers."
        self.notes = (*notes, *([note] if unnamed else []))

    @property
    def where(self) -> str:
        """Repository and commit, for messages."""
        return f"{self.listing.repo}@{self.listing.revision[:8]}"

    def rows(self, split: str) -> Rows:
        """Index of a split; reads labels and image names only."""
        if split not in self._rows:
            name = self._split.get(split, split)
            if name not in self.listing.splits:
                raise _unusable(
                    f"{self.where} has no split '{name}' (only {', '.join(self.listing.splits)})."
                )
            if split not in self.splits:
                raise self._not_here(name)
            table = self._table(name)
            ids = table.sample_ids
            # Sorted by id, as every source.
            table.order = np.array(sorted(range(len(ids)), key=ids.__getitem__), dtype=np.int64)
            files = self.listing.splits[name]
            # Checksums before the commit: an edit of the card changes no image.
            content = [name, *(file.digest or self.listing.revision for file in files)]
            if self.spec.has_boxes:
                # Boxes are cached with class ids, which follow from the names.
                content.append(json.dumps(sorted(self._spellings.items())))
            content += filter(None, [self._marks[split]])
            self._rows[split] = Rows(
                split,
                [ids[i] for i in table.order],
                self._targets(table)[table.order],
                hashlib.sha256("\t".join(content).encode()).hexdigest(),
                reading_order=np.argsort(table.order),
            )
        return self._rows[split]

    def _mark(self, name: str) -> str:
        """Mark of a published split with an image or mask that earlier versions read otherwise."""
        files = [self.listing.folder / file.path for file in self.listing.splits[name]]
        return max(cached_facts(files, f"hub-{KIND}", _mark_of_images), default="")

    def read(self, split: str, index: int) -> Raw:
        """Encoded image of a sample, with its mask or boxes."""
        rows, table = self.rows(split), self._table(self._split[split])
        row = table.row(int(table.order[index]))
        where = f"{self.where} {self._split[split]}/{rows.sample_ids[index]}"
        image = _image(row["image"], where)
        meta = {name: value for name, value in row.items() if name not in _NOT_META}
        if self.spec.is_pairs:
            return _two_of_composite(Raw(image, where, meta=meta))
        if self.spec.has_masks:
            mask = Raw(_image(row["mask"], f"{where}, mask"), f"{where}, mask")
            return Raw(image, where, mask=mask, meta=meta)
        if self.spec.has_boxes:
            columns = {name: row[name] for name in ANNOTATIONS if name in row}
            size = decode.image_size(image, where)
            boxes = box_columns.from_columns(self.spec, columns, size, where)
            return Raw(image, where, boxes=boxes, meta=meta)
        return Raw(image, where, meta=meta)

    def subset_ids(self, subset: Subset) -> list[str] | None:
        """Train ids of a published subset; None for an unpublished subset.

        Raises:
            DataError: If the subset is not downloaded, or its images have no unique names.
        """
        name = split_name(subset, self.listing.splits)
        if subset == Subset() or (name is None and self.listing.complete):
            return None
        if name is None or self.listing.missing([name]):
            raise self._not_here(name or str(subset))
        table = self._table(name)
        if not table.is_named:
            raise DataError(
                f"The images of {table.where} have no unique names to find in the train split.",
                f"Open the subset alone: subset={subset}.",
            )
        return list(table.sample_ids)

    def _not_here(self, name: str) -> DataError:
        return DataNotFoundError(
            f"The split '{name}' of {self.where} is not downloaded.",
            f"Run `marsbench data download {self.spec.word}` with --subset or --all-subsets.",
        )

    def _table(self, name: str) -> "_Table":
        """Parquet files of a published split."""
        if name not in self._tables:
            files = self.listing.splits[name]
            table = _Table([self.listing.folder / file.path for file in files], self.where, name)
            table.check_columns(self.spec)
            self._tables[name] = table
        return self._tables[name]

    def _targets(self, table: "_Table") -> NDArray[np.integer]:
        if not self.spec.kind.is_classification:
            return np.zeros((table.num_rows, 0), dtype=np.uint8)
        labels = table.column("label")
        num_classes = len(self.class_names)
        if self.spec.kind is Kind.MULTILABEL:
            return _multi_hot(labels, num_classes, table.where)
        return _class_ids(labels, num_classes, self._spellings, table.where)

    @property
    def _spellings(self) -> dict[str, int]:
        """Class id by normalised name or code."""
        return spellings(self.spec, self.class_names)

    def _classes(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Class names by id, and notes on them."""
        spec = self.spec
        if spec.kind is Kind.DETECTION:
            # Annotation ids follow the task's order, without the background.
            return spec.class_names, ()
        column = "label" if spec.kind.is_classification else "class_labels"
        tables = [self._table(self._split[split]) for split in self.splits]
        by_split = {table.where: table.class_names(column) for table in tables}
        if len({tuple(names) for names in by_split.values()}) > 1:
            listed = "; ".join(f"{where}: {', '.join(names)}" for where, names in by_split.items())
            raise _unusable(f"Splits of {self.where} have different class ids: {listed}.")
        if names := next(iter(by_split.values()), []):
            mapping = {i: [name] for i, name in enumerate(names)}
            order, codes = class_order(spec, mapping, f"{self.where}, column {column}")
            return tuple(order), code_notes(codes)
        if self.listing.mapping is not None:
            path = self.listing.folder / self.listing.mapping.path
            order, codes = class_order(spec, read_mapping(path), str(path))
            return tuple(order), code_notes(codes)
        if not self.listing.complete:
            raise DataNotFoundError(
                f"The class names of {self.where} are not in the cache of the hub's client.",
                f"Run `marsbench data download {spec.word}` on a machine with a network.",
            )
        if spec.path is not None or (spec.kind is Kind.SEGMENTATION and len(spec.classes) == 2):
            # A custom task lists its classes by id; of two classes, the background has id 0.
            return spec.class_names, ()
        note = (
            f"These data have class ids 0 to {len(spec.classes) - 1} without names. The order of "
            "the task's list may differ, so classes are named by their ids."
        )
        return tuple(str(i) for i in range(len(spec.classes))), (note,)


class _Table:
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
                raise _unusable(
                    f"{self.where} has no column {', '.join(missing)} in {path.name} (its columns "
                    f"are: {', '.join(schema.names)})."
                )
            for name in COLUMNS[spec.decode]:
                first, other = self._schemas[0].field(name).type, schema.field(name).type
                if first != other:
                    raise _unusable(
                        f"{self.where}: column {name} is {first} in {self.paths[0].name} and "
                        f"{other} in {path.name}."
                    )

    def class_names(self, column: str) -> list[str]:
        """Class names in the metadata of `datasets`; empty if missing."""
        names = [_feature_names(_features(schema).get(column)) for schema in self._schemas]
        if any(others != names[0] for others in names):
            raise _unusable(f"Files of {self.where} have different class ids.")
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
                    raise _unusable(
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


def _unusable(problem: str) -> DataError:
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


def _class_ids(
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
        raise _unusable(
            f"{where}: column label is invalid; expected class ids: {error}."
        ) from error
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
        raise _unusable(
            f"{where}: row {int(np.flatnonzero(bad)[0])} has label {int(ids[bad][0])}; expected "
            f"0..{num_classes - 1} ({int(bad.sum())} invalid rows)."
        )


def _multi_hot(labels: "pa.ChunkedArray", num_classes: int, where: str) -> NDArray[np.uint8]:
    """One-hot targets of a column of lists (class ids, or K zeros and ones), shape (N, K)."""
    rows = labels.to_pylist()
    if rows and all(isinstance(row, str) for row in rows):
        try:
            rows = [parse_json(row) for row in rows]
        except ValueError as error:
            raise _unusable(
                f"{where}: column label is invalid; expected lists: {error}."
            ) from error
    targets = np.zeros((len(rows), num_classes), dtype=np.uint8)
    if not all(isinstance(row, list) and all(isinstance(v, int) for v in row) for row in rows):
        raise _unusable(f"{where}: column label is invalid; expected lists of class ids.")
    if is_one_hot(rows, num_classes):
        return np.array(rows, dtype=np.uint8)
    if odd := [row for row in rows if is_row_one_hot(row, num_classes)]:
        raise _unusable(f"{where}: {len(odd)} label(s) are invalid: {odd[0]} {MIXED}.")
    place = np.repeat(np.arange(len(rows)), [len(row) for row in rows])
    ids = np.array([i for row in rows for i in row], dtype=np.int64)
    _check_range(ids, num_classes, where)
    targets[place, ids] = 1
    return targets


def _mark_of_images(path: Path) -> str:
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


def _image(cell: Any, where: str) -> bytes:
    content = cell.get("bytes") if isinstance(cell, Mapping) else cell
    if not isinstance(content, bytes):
        raise _unusable(f"{where} has no image.")
    return content


def _two_of_composite(raw: Raw) -> Raw:
    """Split a composite into two grey images: green is after, blue is before (paper, B.2)."""
    pixels = decode.image(raw, 3)
    if pixels[:, :, 0].mean() > _RED:
        raise _unusable(f"{raw.where} is not a composite of two images: the red band is not empty.")
    after = Raw(np.ascontiguousarray(pixels[:, :, 1:2]), f"{raw.where}, after")
    before = np.ascontiguousarray(pixels[:, :, 2:3])
    return Raw(before, f"{raw.where}, before", after=after, meta=raw.meta)
