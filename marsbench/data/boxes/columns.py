"""Boxes in the columns of hub data."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from marsbench.base.errors import DataError
from marsbench.data.boxes.forms import (
    CORNERS,
    BoxFormat,
    Entry,
    Size,
    cross_check,
    parse,
    spellings,
)
from marsbench.metrics.boxes import Boxes
from marsbench.tasks.spec import TaskSpec

COLUMNS: dict[BoxFormat, str] = {
    BoxFormat.COCO: "coco_annotation",
    BoxFormat.YOLO: "yolo_annotation",
    BoxFormat.VOC: "pascal_voc_annotation",
}
"""Column of each form."""


def from_columns(spec: TaskSpec, columns: Mapping[str, Any], size: Size, where: str) -> Boxes:
    """Read the boxes of an image from the columns of hub data, and compare all forms.

    The forms are ``coco_annotation{annotations{bbox, category_id}}``,
    ``yolo_annotation{bbox, category}`` and
    ``pascal_voc_annotation{objects{bbox{xmin, ymin, xmax, ymax}, name}}``. A repeated level may be
    a list of structs or a struct of lists. It may be empty or None for an image without boxes.

    Args:
        spec: The task; the ids of its classes are in its order.
        columns: The columns of the image's row, by name; others are ignored.
        size: Height and width of the image in pixels.
        where: Name of the sample in error messages.

    Raises:
        DataError: If no column has boxes, a column or its boxes are invalid, or the forms differ.
    """
    classes = spellings(spec, spec.class_names)
    forms: dict[BoxFormat, Boxes] = {}
    for form, column in COLUMNS.items():
        if column not in columns:
            continue
        try:
            if form is BoxFormat.YOLO:
                pairs = _structs(columns[column], ("bbox", "category"))
            elif form is BoxFormat.COCO:
                pairs = _inside(columns[column], "annotations", ("bbox", "category_id"))
            else:
                pairs = [
                    ([box[corner] for corner in CORNERS], named)
                    for box, named in _inside(columns[column], "objects", ("bbox", "name"))
                ]
            entries = [
                Entry(f"box {i}", named, list(box)) for i, (box, named) in enumerate(pairs, start=1)
            ]
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(
                f"{where}: column {column} is invalid: {type(error).__name__} {error}.",
                "See `marsbench.data.boxes.columns.from_columns` for the form.",
            ) from error
        forms[form] = parse(form, entries, size, classes, f"{where}, {column}")
    if not forms:
        raise DataError(
            f"{where} has no boxes: none of the columns {', '.join(COLUMNS.values())}.",
            "Choose another source.",
        )
    return cross_check(forms, where)


def _inside(value: Any, name: str, fields: tuple[str, str]) -> list[tuple[Any, Any]]:
    """Pairs of two fields, from the structs in a field of a struct or of a list of structs."""
    if isinstance(value, Mapping):
        return _structs(value[name], fields)
    return [pair for element in _listed(value) for pair in _inside(element, name, fields)]


def _structs(value: Any, fields: tuple[str, str]) -> list[tuple[Any, Any]]:
    """Pairs of two fields, from a list of structs, a struct of lists or a single struct."""
    if not isinstance(value, Mapping):
        return [pair for element in _listed(value) for pair in _structs(element, fields)]
    boxes, classes = (_plain(value[name]) for name in fields)
    if not isinstance(classes, list):
        return [] if boxes is None and classes is None else [(boxes, classes)]
    if isinstance(boxes, Mapping):
        corners = [_plain(boxes[name]) or [] for name in CORNERS]
        boxes = [dict(zip(CORNERS, box, strict=True)) for box in zip(*corners, strict=True)]
    return list(zip(boxes or [], classes, strict=True))


def _listed(value: Any) -> list[Any]:
    if isinstance(value, str):
        raise TypeError(f"text '{value[:40]}' in place of structs")
    return list(_plain(value) or [])


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray) else value
