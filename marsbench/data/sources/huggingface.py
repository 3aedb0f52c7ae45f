"""Task data in parquet files, as Mars-Bench publishes them on the Hugging Face hub.

A repository has one configuration with the splits ``train``, ``val``, ``test``, and a split for
each few-shot set and partition of train. The files are read with pyarrow: the index reads labels
and image names only, at a cost independent of the image size, and a sample reads one row group.
(`datasets` would first copy all images into a second format.) The images of a file are read once
more, when it is opened first, for those whose pixels differ from those of earlier versions.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from marsbench.base.errors import DataError, DataNotFoundError, some
from marsbench.base.files import cached_facts
from marsbench.config.schema import SourceName, Subset
from marsbench.data import decode
from marsbench.data.boxes import columns as box_columns
from marsbench.data.boxes.forms import spellings
from marsbench.data.changed import KIND
from marsbench.data.rows import Raw, Rows, class_order, code_notes
from marsbench.data.sources.annotations import cannot_read, read_mapping
from marsbench.data.sources.hub_files import Listing, split_name
from marsbench.data.sources.parquet import (
    ANNOTATIONS,
    Table,
    class_ids,
    mark_of_images,
    multi_hot,
    unusable,
)
from marsbench.tasks.kinds import Kind
from marsbench.tasks.spec import SPLITS, TaskSpec

_NOT_META = {"image", "label", "mask", "class_labels", "width", "height", *ANNOTATIONS}

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
        self._tables: dict[str, Table] = {}
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
                raise unusable(
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
                fields={
                    column: [values[i] for i in table.order]
                    for column, values in table.plain_columns(_NOT_META).items()
                },
            )
        return self._rows[split]

    def _mark(self, name: str) -> str:
        """Mark of a published split with an image or mask that earlier versions read otherwise."""
        files = [self.listing.folder / file.path for file in self.listing.splits[name]]
        return max(cached_facts(files, f"hub-{KIND}", mark_of_images), default="")

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

    def _table(self, name: str) -> "Table":
        """Parquet files of a published split."""
        if name not in self._tables:
            files = self.listing.splits[name]
            table = Table([self.listing.folder / file.path for file in files], self.where, name)
            table.check_columns(self.spec)
            self._tables[name] = table
        return self._tables[name]

    def _targets(self, table: "Table") -> NDArray[np.integer]:
        if not self.spec.kind.is_classification:
            return np.zeros((table.num_rows, 0), dtype=np.uint8)
        labels = table.column("label")
        num_classes = len(self.class_names)
        if self.spec.kind is Kind.MULTILABEL:
            return multi_hot(labels, num_classes, table.where)
        return class_ids(labels, num_classes, self._spellings, table.where)

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
            raise unusable(f"Splits of {self.where} have different class ids: {listed}.")
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


def _image(cell: Any, where: str) -> bytes:
    content = cell.get("bytes") if isinstance(cell, Mapping) else cell
    if not isinstance(content, bytes):
        raise unusable(f"{where} has no image.")
    return content


def _two_of_composite(raw: Raw) -> Raw:
    """Split a composite into two grey images: green is after, blue is before (paper, B.2)."""
    pixels = decode.image(raw, 3)
    if pixels[:, :, 0].mean() > _RED:
        raise unusable(f"{raw.where} is not a composite of two images: the red band is not empty.")
    after = Raw(np.ascontiguousarray(pixels[:, :, 1:2]), f"{raw.where}, after")
    before = np.ascontiguousarray(pixels[:, :, 2:3])
    return Raw(before, f"{raw.where}, before", after=after, meta=raw.meta)
