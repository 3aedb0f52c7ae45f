"""The three published forms of boxes, and their comparison.

YOLO has class, centre and size relative to the image; COCO left, top, width and height in pixels;
Pascal VOC left, top, right and bottom. Class i of a task is i in YOLO and i + 1 in COCO and Pascal
VOC, which count the background.

Corners are rounded to `DIGITS` decimals of a pixel, so that a box is the same in any form.
"""

import math
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Any, NamedTuple

import numpy as np

from marsbench.base.errors import DataError, some
from marsbench.metrics.boxes import Boxes
from marsbench.tasks.spec import TaskSpec, normalise

DIGITS = 8
"""Decimals of a corner in pixels: six decimals of a centre and size give seven of a corner."""

MARGIN = 1
"""Pixels by which a box may extend beyond its image, as rounded boxes do."""

Size = tuple[int, int]
"""Height and width of an image in pixels."""

CORNERS = ("xmin", "ymin", "xmax", "ymax")
"""Names of the corners in Pascal VOC."""

_DECIMAL = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,4})?")


class BoxFormat(StrEnum):
    """The forms of boxes, the preferred first."""

    COCO = "coco"
    YOLO = "yolo"
    VOC = "voc"


_ROUNDING = {BoxFormat.COCO: 0.0, BoxFormat.YOLO: 0.05, BoxFormat.VOC: 1.51}
"""Rounding error of each form in pixels: YOLO numbers usually have six decimals, and Pascal VOC
has whole pixels, which some tools count from 1."""

_WHOLE = 1.01
"""Rounding error in pixels of COCO boxes of whole pixels: a right side is the sum of two rounded
numbers."""

_MOST_PAIRS = 10**6
"""Limit of pairs of neighbouring boxes compared in one image."""


class Entry(NamedTuple):
    """A box as stated in a file.

    Attributes:
        name: Its name in error messages.
        class_named: Number, name or code of its class.
        values: Four numbers of the form, or their text.
    """

    name: str
    class_named: object
    values: Sequence[Any]


@dataclass(frozen=True)
class ReadBoxes(Boxes):
    """Boxes of an image, read from a form.

    Attributes:
        rounding: Possible error of a corner in pixels, from the digits in the file.
    """

    rounding: float


def parse(
    form: BoxFormat, entries: Iterable[Entry], size: Size, classes: Mapping[str, int], where: str
) -> ReadBoxes:
    """Convert the boxes of an image to pixels and class ids.

    Args:
        form: Form of the boxes.
        entries: The boxes.
        size: Height and width of the image.
        classes: Class id by normalised name or code, from `spellings`.
        where: Name of the file in error messages.

    Raises:
        DataError: If boxes are not numbers, have no area, extend beyond the image or have an
            unknown class; names the first of them.
    """
    height, width = size
    xyxy: list[list[float]] = []
    labels: list[int] = []
    values: list[Any] = []
    problems: list[str] = []
    for entry in entries:
        shown = f"{entry.name} [{', '.join(map(str, entry.values))[:120]}]"
        numbers = [n for n in map(number, entry.values) if n is not None]
        if len(numbers) != 4 or len(entry.values) != 4:
            problems.append(f"{shown} is not four finite numbers")
            continue
        left, top, right, bottom = corners = _corners(form, numbers, size)
        if right <= left or bottom <= top:
            problems.append(f"{shown} has no positive width and height")
        elif min(left, top) < -MARGIN or right > width + MARGIN or bottom > height + MARGIN:
            problems.append(
                f"{shown} extends beyond the image of {height} x {width} pixels (height x width)"
            )
        elif (label := _class_id(form, entry.class_named, classes)) is None:
            problems.append(f"{shown} is of the unknown class '{entry.class_named}'")
        else:
            xyxy.append(corners)
            labels.append(label)
            values += entry.values
    if problems:
        raise DataError(
            f"{where}: {len(problems)} bad box(es): {some(problems, '; ')}.",
            "Correct or remove them.",
        )
    rounding = _ROUNDING[form]
    if form is BoxFormat.YOLO and values:
        # The centre and half of the size are each off by up to half a unit of the last decimal.
        # Zeros at the end may be left out, so the longest number has the last decimal.
        rounding = max(rounding, max(size) * 10.0 ** -max(map(_decimals, values)))
    elif form is BoxFormat.COCO and values and all(float(v).is_integer() for v in values):
        rounding = _WHOLE
    return ReadBoxes(
        np.array(xyxy, dtype=np.float64).reshape(-1, 4), np.array(labels, dtype=np.int64), rounding
    )


def _corners(form: BoxFormat, box: Sequence[float], size: Size) -> list[float]:
    """Left, top, right and bottom in pixels, rounded."""
    if form is BoxFormat.COCO:
        left, top, width, height = box
        box = left, top, left + width, top + height
    elif form is BoxFormat.YOLO:
        x, y, width, height = box
        rows, columns = size
        box = (
            (x - width / 2) * columns,
            (y - height / 2) * rows,
            (x + width / 2) * columns,
            (y + height / 2) * rows,
        )
    return [round(value, DIGITS) for value in box]


def number(value: object) -> float | None:
    """Value of a number or its text; None unless finite and of plain digits."""
    text = str(value).strip()
    if not _DECIMAL.fullmatch(text):
        return None
    parsed = float(text)
    return parsed if math.isfinite(parsed) else None


def _decimals(value: object) -> int:
    """Number of decimals of a finite number."""
    exponent = Decimal(str(value).strip()).as_tuple().exponent
    return max(0, -int(exponent))


def _class_id(form: BoxFormat, named: object, classes: Mapping[str, int]) -> int | None:
    """Class id from the name or number in a form; None if unknown."""
    if form is BoxFormat.VOC and (class_id := classes.get(normalise(str(named)))) is not None:
        return class_id
    counted = number(named)
    first = 0 if form is BoxFormat.YOLO else 1  # COCO and Pascal VOC count the background
    if counted is None or counted - first not in classes.values():
        return None
    return int(counted) - first


def spellings(
    spec: TaskSpec,
    class_names: Sequence[str],
    mapping: Mapping[int, Sequence[str]] | None = None,
) -> dict[str, int]:
    """Class id by every normalised name and code that belongs to a single class.

    Published codes are the first letters of names, so several classes may share a code.

    Args:
        spec: The task.
        class_names: Names by class id.
        mapping: Other names of the classes in the data, by id.
    """
    aliases = {info.name: info.aliases for info in spec.classes}
    owners: defaultdict[str, set[int]] = defaultdict(set)
    for class_id, name in enumerate(class_names):
        for spelling in (*aliases.get(name, ()), *(mapping or {}).get(class_id, ())):
            owners[normalise(spelling)].add(class_id)
    single = {spelling: ids.pop() for spelling, ids in owners.items() if len(ids) == 1}
    return single | {normalise(name): class_id for class_id, name in enumerate(class_names)}


def cross_check(forms: Mapping[BoxFormat, Boxes], where: str) -> Boxes:
    """Compare the forms of the boxes of an image, in any order of the boxes.

    Args:
        forms: The boxes by form; at least one form.
        where: Name of the sample in error messages.

    Returns:
        The boxes of the preferred form.

    Raises:
        DataError: If forms differ by more than their rounding; names the sample and the boxes.
    """
    best, *others = [form for form in BoxFormat if form in forms]
    for other in others:
        tolerance = max(_rounding(form, forms[form]) for form in (best, other))
        if difference := _difference(forms[best], forms[other], tolerance):
            first, second = difference
            raise DataError(
                f"{where}: boxes differ between forms: {best} has {first}, {other} has {second}.",
                "Correct or remove the wrong form.",
            )
    return forms[best]


def _rounding(form: BoxFormat, boxes: Boxes) -> float:
    return boxes.rounding if isinstance(boxes, ReadBoxes) else _ROUNDING[form]


def _difference(first: Boxes, second: Boxes, tolerance: float) -> tuple[str, str] | None:
    """Texts of an unpaired box of each list; None if all boxes can be paired."""
    if len(first) != len(second):
        return f"{len(first)} box(es)", f"{len(second)}"
    tolerance += 0.5 * 10.0**-DIGITS
    is_near = np.abs(first.xyxy - second.xyxy) <= tolerance
    if is_near.all() and (first.labels == second.labels).all():
        return None
    from scipy.sparse import csr_matrix
    from scipy.sparse.csgraph import maximum_bipartite_matching
    from scipy.spatial import KDTree

    # Classes are an axis of their own, along which they are far apart.
    first_tree, second_tree = (
        KDTree(np.column_stack([boxes.xyxy, boxes.labels * (2.0 * tolerance + 1.0)]))
        for boxes in (first, second)
    )
    partners = np.full(len(first), -1)
    if first_tree.count_neighbors(second_tree, tolerance, p=np.inf) <= _MOST_PAIRS:
        near = first_tree.sparse_distance_matrix(
            second_tree, tolerance, p=np.inf, output_type="ndarray"
        )
        graph = csr_matrix(
            (np.ones(len(near), dtype=np.int8), (near["i"], near["j"])), (len(first), len(first))
        )
        partners = maximum_bipartite_matching(graph, perm_type="column")
    if (partners >= 0).all():
        return None
    row = int(np.flatnonzero(partners < 0)[0])
    free = np.setdiff1d(np.arange(len(first)), partners)
    nearest = np.abs(second.xyxy[free] - first.xyxy[row]).max(axis=1).argmin()
    return _shown(first, row), _shown(second, int(free[nearest]))


def _shown(boxes: Boxes, index: int) -> str:
    corners = ", ".join(f"{v:g}" for v in boxes.xyxy[index])
    return f"[{corners}] (left, top, right, bottom) of class {boxes.labels[index]}"
