"""A task's data as Mars-Bench publishes them on the Hugging Face hub.

Everything is a split of one configuration: ``train``, ``val``, ``test``, and each few-shot set and
partition of train by itself. The parquet files are read with pyarrow: the index needs the labels
and the images' names alone, so neither its time nor its memory grows with the images, and a sample
is one read of its row group. (`datasets` would copy all of them into a second format first.)
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

from marsbench.base.errors import DataError, DataNotFoundError
from marsbench.config.schema import SourceName, Subset
from marsbench.data import decode
from marsbench.data.boxes import columns as box_columns
from marsbench.data.rows import Raw, Rows, class_order, code_notes
from marsbench.data.sources.annotations import is_one_hot, read_mapping
from marsbench.data.sources.hub_files import Listing, split_name
from marsbench.tasks.kinds import Kind
from marsbench.tasks.spec import SPLITS, Decode, TaskSpec

if TYPE_CHECKING:
    import pyarrow as pa

COLUMNS = {
    Decode.IMAGE_LABEL: ("image", "label"),
    Decode.PAIR_LABEL: ("image", "label"),
    Decode.IMAGE_MASK: ("image", "mask"),
    Decode.IMAGE_BOXES: ("image",),
}
"""Columns without which samples cannot be read."""

ANNOTATIONS = tuple(box_columns.COLUMNS.values())
"""Columns of boxes, the same boxes in each; one is enough."""

_NOT_META = {"image", "label", "mask", "class_labels", "width", "height", *ANNOTATIONS}

_KEPT = 256 << 20
"""Bytes of row groups kept in memory, the one in use aside; as published each is some megabytes."""

_RED = 2.0
"""Mean level of red up to which an image passes for a composite of two."""


class HubSource:
    """One task's splits from the hub, opened.

    Args:
        spec: The task.
        listing: The files, those of the splits needed being here.
        subset: The subset wanted; if it is published, the train split is that alone.

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
                f"{listing.repo} has none of the splits {', '.join(SPLITS)} "
                f"(only {', '.join(listing.splits)}).",
                "Name its splits so.",
            )
        self.splits = tuple(s for s in published if not listing.missing([self._split[s]]))
        self.revision = f"hub:{listing.revision}"
        self._tables: dict[str, _Table] = {}
        self._rows: dict[str, Rows] = {}
        self.class_names, notes = self._classes()
        unnamed = [s for s in self.splits if not self._table(self._split[s]).is_named]
        note = f"Images of {', '.join(unnamed)} have no names of their own: they are numbered."
        self.notes = (*notes, *([note] if unnamed else []))

    @property
    def where(self) -> str:
        """The repository and its commit."""
        return f"{self.listing.repo}@{self.listing.revision[:8]}"

    def rows(self, split: str) -> Rows:
        """Index of a split; labels and names are read, images are not."""
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
            # As in a folder, samples are in the order of their ids wherever they come from.
            table.order = np.array(sorted(range(len(ids)), key=ids.__getitem__), dtype=np.int64)
            files = self.listing.splits[name]
            # Not the commit, where it can be helped: one that mends the card changes no image.
            content = [name, *(file.digest or self.listing.revision for file in files)]
            self._rows[split] = Rows(
                split,
                [ids[i] for i in table.order],
                self._targets(table)[table.order],
                hashlib.sha256("\t".join(content).encode()).hexdigest(),
                reading_order=np.argsort(table.order),
            )
        return self._rows[split]

    def read(self, split: str, index: int) -> Raw:
        """Bytes of one sample, with its mask or boxes."""
        rows, table = self.rows(split), self._table(self._split[split])
        row = table.row(int(table.order[index]))
        where = f"{self.where} {self._split[split]}/{rows.sample_ids[index]}"
        image = _image(row["image"], where)
        meta = {name: value for name, value in row.items() if name not in _NOT_META}
        if self.spec.decode is Decode.PAIR_LABEL:
            return _two_of_composite(Raw(image, where, meta=meta))
        if self.spec.decode is Decode.IMAGE_MASK:
            mask = Raw(_image(row["mask"], f"{where}, mask"), f"{where}, mask")
            return Raw(image, where, mask=mask, meta=meta)
        if self.spec.decode is Decode.IMAGE_BOXES:
            columns = {name: row[name] for name in ANNOTATIONS if name in row}
            size = decode.image_size(image, where)
            boxes = box_columns.from_columns(self.spec, columns, size, where)
            return Raw(image, where, boxes=boxes, meta=meta)
        return Raw(image, where, meta=meta)

    def subset_ids(self, subset: Subset) -> list[str] | None:
        """Train ids of a published subset.

        Raises:
            DataError: If it is published but not here, or its images have no names to know them by.
        """
        name = split_name(subset, self.listing.splits)
        if subset == Subset() or (name is None and self.listing.complete):
            return None
        if name is None or self.listing.missing([name]):
            raise self._not_here(name or str(subset))
        table = self._table(name)
        if not table.is_named:
            raise DataError(
                f"The images of {table.where} have no names, so it is not known which of the "
                "train split they are.",
                f"Open the subset by itself: subset={subset}.",
            )
        return list(table.sample_ids)

    def _not_here(self, name: str) -> DataError:
        return DataNotFoundError(
            f"The split '{name}' of {self.where} is not downloaded.",
            f"Run `marsbench data download {self.spec.word}` with its --subset, or --all-subsets.",
        )

    def _table(self, name: str) -> "_Table":
        """The files of a published split."""
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
        return _class_ids(labels, num_classes, table.where)

    def _classes(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Class names by id, and what is to be said of them."""
        spec = self.spec
        if spec.kind is Kind.DETECTION:
            # Ids of the annotations follow the task's own order, the background not counted.
            return spec.class_names, ()
        column = "label" if spec.kind.is_classification else "class_labels"
        tables = [self._table(self._split[split]) for split in self.splits]
        found = {table.where: table.class_names(column) for table in tables}
        if len({tuple(names) for names in found.values()}) > 1:
            said = "; ".join(f"{where}: {', '.join(names)}" for where, names in found.items())
            raise _unusable(f"Splits of {self.where} give the classes other ids: {said}.")
        if names := next(iter(found.values()), []):
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
                f"Run `marsbench data download {spec.word}` where there is a network.",
            )
        if spec.path is not None or (spec.kind is Kind.SEGMENTATION and len(spec.classes) == 2):
            # A user's own task lists its classes by id; of two classes the background is 0.
            return spec.class_names, ()
        note = (
            "These data name no classes, only ids 0 to "
            f"{len(spec.classes) - 1}; the order of the task's own list is not known to fit, so "
            "that classes are called by their ids."
        )
        return tuple(str(i) for i in range(len(spec.classes))), (note,)


class _Table:
    """The parquet files of one published split.

    Attributes:
        num_rows: Rows of all files.
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
        # Workers read for themselves.
        return {**self.__dict__, "_groups": OrderedDict(), "_lock": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _lock=Lock())

    def check_columns(self, spec: TaskSpec) -> None:
        """Raise if a file lacks a column that the task needs, or has it of another type."""
        for path, schema in zip(self.paths, self._schemas, strict=True):
            missing = [name for name in COLUMNS[spec.decode] if name not in schema.names]
            if spec.decode is Decode.IMAGE_BOXES and not set(ANNOTATIONS) & set(schema.names):
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
        """Class names that `datasets` noted of a column; none where it noted none."""
        found = [_feature_names(_features(schema).get(column)) for schema in self._schemas]
        if any(names != found[0] for names in found):
            raise _unusable(f"Files of {self.where} give the classes other ids.")
        return found[0] if found else []

    def column(self, name: str) -> "pa.ChunkedArray":
        """One column of all rows; of a nested one a part, such as ``image.path``."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        chunks: list[Any] = []
        for path in self.paths:
            with _readable(path):
                # Not read_table(), which reads the images to give their names.
                found = pq.ParquetFile(path).read(columns=[name]).column(0)
            if pa.types.is_struct(found.type):
                found = pa.chunked_array([chunk.field(0) for chunk in found.chunks])
            chunks.extend(found.chunks)
        return pa.chunked_array(chunks)

    @property
    def is_named(self) -> bool:
        """Whether every image has a name, and no two the same."""
        return self._names is not None

    @cached_property
    def _names(self) -> list[str] | None:
        import pyarrow as pa

        kind = self._schemas[0].field("image").type
        if not pa.types.is_struct(kind) or kind.get_field_index("path") < 0 or not self.num_rows:
            return [] if not self.num_rows else None
        found = self.column("image.path").to_pylist()
        if not all(found):
            return None
        whole = [str(path).replace("\\", "/") for path in found]
        # Without folders, as in annotation.csv; with them where that is no name.
        for names in ([path.rpartition("/")[2] for path in whole], whole):
            if len(set(names)) == len(names):
                return names
        return None

    @property
    def sample_ids(self) -> Sequence[str]:
        """Names of the images; where they have none, the split's own and the number of the row."""
        return self._names or [f"{self.split}_{i:06d}" for i in range(self.num_rows)]

    def row(self, index: int) -> dict[str, Any]:
        """All columns of one row."""
        group = int(np.searchsorted(self._ends, index, side="right"))
        start = int(self._ends[group - 1]) if group else 0
        found: dict[str, Any] = self._group(group).slice(index - start, 1).to_pylist()[0]
        return found

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
    """Turn what pyarrow says of a damaged or missing file into one message."""
    try:
        yield
    except (OSError, ValueError, KeyError) as error:  # pyarrow's derive from these
        raise DataError(
            f"{path} cannot be read: {str(error).splitlines()[0]}.",
            "Remove it with `marsbench data clean TASK` and download the data again.",
        ) from error


def _features(schema: "pa.Schema") -> dict[str, Any]:
    """What `datasets` wrote into a file about its columns."""
    try:
        values = json.loads((schema.metadata or {})[b"huggingface"])
        features: dict[str, Any] = values["info"]["features"]
    except (KeyError, TypeError, ValueError):
        return {}
    return features


def _feature_names(feature: Any) -> list[str]:
    """Class names of a feature that is a class label, or a list of them; else none."""
    if isinstance(feature, list):
        feature = feature[0] if feature else None
    while isinstance(feature, Mapping) and isinstance(feature.get("feature"), (Mapping, list)):
        feature = feature["feature"]
    names = feature.get("names") if isinstance(feature, Mapping) else None
    return [str(name) for name in names] if isinstance(names, list) else []


def _class_ids(labels: "pa.ChunkedArray", num_classes: int, where: str) -> NDArray[np.int64]:
    """Class ids of a column of numbers, or of texts that are numbers; shape (N,)."""
    try:
        if labels.null_count:
            raise ValueError("some are missing")
        values = labels.to_numpy()
        ids: NDArray[np.int64] = values.astype(np.int64)
        if values.dtype.kind == "f" and (ids != values).any():
            raise ValueError("some are not whole numbers")
    except (ValueError, TypeError, NotImplementedError) as error:
        raise _unusable(f"{where}: column label holds no class ids: {error}.") from error
    _check_range(ids, num_classes, where)
    return ids


def _check_range(ids: NDArray[np.int64], num_classes: int, where: str) -> None:
    bad = (ids < 0) | (ids >= num_classes)
    if bad.any():
        raise _unusable(
            f"{where}: row {int(np.flatnonzero(bad)[0])} has label {int(ids[bad][0])}, outside "
            f"0..{num_classes - 1} (as {int(bad.sum())} have)."
        )


def _multi_hot(labels: "pa.ChunkedArray", num_classes: int, where: str) -> NDArray[np.uint8]:
    """Zeros and ones of a column of lists, which hold ids or one 0 or 1 per class; (N, K)."""
    rows = labels.to_pylist()
    if rows and all(isinstance(row, str) for row in rows):
        try:
            rows = [json.loads(row) for row in rows]
        except ValueError as error:
            raise _unusable(f"{where}: column label holds no lists: {error}.") from error
    targets = np.zeros((len(rows), num_classes), dtype=np.uint8)
    if not all(isinstance(row, list) and all(isinstance(v, int) for v in row) for row in rows):
        raise _unusable(f"{where}: column label is not a list of class ids in every row.")
    if is_one_hot(rows, num_classes):
        return np.array(rows, dtype=np.uint8)
    place = np.repeat(np.arange(len(rows)), [len(row) for row in rows])
    ids = np.array([i for row in rows for i in row], dtype=np.int64)
    _check_range(ids, num_classes, where)
    targets[place, ids] = 1
    return targets


def _image(cell: Any, where: str) -> bytes:
    found = cell.get("bytes") if isinstance(cell, Mapping) else cell
    if not isinstance(found, bytes):
        raise _unusable(f"{where} has no image.")
    return found


def _two_of_composite(raw: Raw) -> Raw:
    """Take the two grey images out of a composite: green is after, blue is before (paper, B.2)."""
    pixels = decode.image(raw, 3)
    if pixels[:, :, 0].mean() > _RED:
        raise _unusable(f"{raw.where} is not a composite of two images: its red band is not empty.")
    after = Raw(np.ascontiguousarray(pixels[:, :, 1:2]), f"{raw.where}, after")
    before = np.ascontiguousarray(pixels[:, :, 2:3])
    return Raw(before, f"{raw.where}, before", after=after, meta=raw.meta)
