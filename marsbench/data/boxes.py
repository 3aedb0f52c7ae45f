"""Boxes of detection tasks in the three forms they are published in, read and written exactly.

YOLO has class, centre and size relative to the image; COCO left, top, width and height in pixels;
Pascal VOC left, top, right and bottom. Class i of a task is i in YOLO and i + 1 in COCO and Pascal
VOC, which count the background.

What stands in a file is a decimal, and is computed with as a fraction; corners are then put on a
grid of `GRID` to a pixel. Such corners survive any change of form, as do centres and sizes of up
to six decimals.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from marsbench.base.errors import DataError, some
from marsbench.metrics.boxes import Boxes
from marsbench.tasks.spec import TaskSpec, normalise

GRID = 10**8
"""Steps of a coordinate in one pixel: six decimals of a centre and size come to seven of a corner
in pixels."""

MARGIN = 1
"""Pixels by which a box may stand out of its image, as rounded ones do."""

Size = tuple[int, int]
"""Height and width of an image in pixels."""

_BLANK = " \t\r\n"
_DECIMAL = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")

_LARGEST = 10**9
"""Pixels; what is larger lies outside any image and is not worth the digits."""


class BoxFormat(StrEnum):
    """The forms boxes come in; where there are several, the first of these is taken."""

    COCO = "coco"
    YOLO = "yolo"
    VOC = "voc"


_ROUNDING = {BoxFormat.COCO: 0.0, BoxFormat.YOLO: 0.05, BoxFormat.VOC: 1.51}
"""Pixels by which a form may be off: YOLO numbers are rounded, to six decimals as a rule, and
Pascal VOC ones to whole pixels, which some count from 1."""

_WHOLE = 1.01
"""Pixels by which COCO boxes may be off that are all of whole pixels: a right side is the sum of
two rounded numbers."""

_MOST_PAIRS = 10**6
"""Pairs of boxes near one another that are looked at in one image."""

COLUMNS: dict[BoxFormat, str] = {
    BoxFormat.COCO: "coco_annotation",
    BoxFormat.YOLO: "yolo_annotation",
    BoxFormat.VOC: "pascal_voc_annotation",
}
"""Columns of boxes in the hub's data, one for each form."""


CORNERS = ("xmin", "ymin", "xmax", "ymax")


@dataclass(frozen=True)
class RoundedBoxes(Boxes):
    """Boxes as they were read.

    Attributes:
        rounding: Pixels by which a corner may be off for the digits that were written.
    """

    rounding: float


@dataclass
class Reading:
    """The boxes of one image in one form while they are read, and what is wrong with them.

    Attributes:
        where: What to call the file.
        size: Height and width of the image.
        form: The form.
        labels: Class ids read so far.
        corners: Left, top, right and bottom read so far.
        problems: What is wrong.
        decimals: The most decimals of any number.
        whole: Whether all numbers are whole.
    """

    where: str
    size: Size
    form: BoxFormat
    labels: list[int] = field(default_factory=list)
    corners: list[list[float]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    decimals: int = 0
    whole: bool = True

    def add(
        self,
        name: str,
        label: int | None,
        class_named: object,
        values: Sequence[Any],
        corners: Callable[..., tuple[Fraction, ...]],
    ) -> None:
        """Read one box.

        Args:
            name: What to call it in a message.
            label: Its class id; None if that is unknown.
            class_named: What the data call the class.
            values: Its four numbers.
            corners: Makes left, top, right and bottom of them.
        """
        shown = f"{name} [{', '.join(map(str, values))}]"
        numbers = [exact(value) for value in values]
        if len(numbers) != 4 or None in numbers:
            self.problems.append(f"{shown} is not four finite numbers")
            return
        steps = [round(corner * GRID) for corner in corners(*numbers)]
        left, top, right, bottom = steps
        height, width = self.size
        if right <= left or bottom <= top:
            self.problems.append(f"{shown} has no width or height, or a negative one")
        elif (
            min(left, top) < -MARGIN * GRID
            or right > (width + MARGIN) * GRID
            or bottom > (height + MARGIN) * GRID
        ):
            self.problems.append(
                f"{shown} stands out of the image, which is {height} x {width} (height x width)"
            )
        elif label is None:
            self.problems.append(f"{shown} is of the unknown class '{class_named}'")
        else:
            self.labels.append(label)
            self.corners.append([step / GRID for step in steps])
            self.decimals = max(self.decimals, *map(_decimals, values))
            self.whole &= all(n is not None and n.denominator == 1 for n in numbers)

    def boxes(self) -> RoundedBoxes:
        """The boxes, in the order in which they were read.

        Raises:
            DataError: If some are bad; names the first of them.
        """
        if self.problems:
            raise DataError(
                f"{self.where}: {len(self.problems)} bad box(es): {some(self.problems, '; ')}.",
                "Correct or remove them.",
            )
        xyxy = np.array(self.corners, dtype=np.float64).reshape(-1, 4)
        return RoundedBoxes(xyxy, np.array(self.labels, dtype=np.int64), self._rounding())

    def _rounding(self) -> float:
        if self.form is BoxFormat.COCO and self.labels and self.whole:
            return _WHOLE
        if self.form is BoxFormat.YOLO and self.labels:
            # Half a unit of the last decimal for the centre, and no more for half of the size.
            # Zeros at the end may be left out, so the longest number tells which decimal that is.
            unit = 10.0 ** -min(self.decimals, 20)
            return max(_ROUNDING[self.form], max(self.size) * unit)
        return _ROUNDING[self.form]


def exact(value: object) -> Fraction | None:
    """Exact value of a number or its text; None if it is no finite number of plain digits."""
    text = str(value).strip(_BLANK)
    if not _DECIMAL.fullmatch(text):
        return None
    try:
        number = Decimal(text)
    except InvalidOperation:
        # Of an exponent that no number has.
        return None
    if number.copy_abs() > _LARGEST:
        return Fraction(-_LARGEST if number.is_signed() else _LARGEST)
    # Digits far below the grid do not matter, and 1e-99999999 is a fraction no memory holds.
    exponent = number.as_tuple().exponent
    is_short = isinstance(exponent, int) and exponent > -60
    return Fraction(number) if is_short else Fraction(float(number))


def _decimals(value: object) -> int:
    """How many decimals a finite number is written with."""
    exponent = Decimal(str(value).strip(_BLANK)).as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0


def to_class(value: object, first: int, num_classes: int) -> int | None:
    """Class id from the number it has in a form that counts from `first`; None if it has none."""
    number = exact(value)
    if number is None or number.denominator != 1 or not first <= number < first + num_classes:
        return None
    return int(number) - first


def from_coco(*box: Fraction) -> tuple[Fraction, ...]:
    """Left, top, right and bottom from left, top, width and height."""
    left, top, width, height = box
    return left, top, left + width, top + height


def from_voc(*box: Fraction) -> tuple[Fraction, ...]:
    """Left, top, right and bottom as they are."""
    return box


def from_yolo(size: Size) -> Callable[..., tuple[Fraction, ...]]:
    """Make the function from relative centre and size to left, top, right and bottom."""
    rows, columns = size

    def corners(*box: Fraction) -> tuple[Fraction, ...]:
        x, y, width, height = box
        return (
            (x - width / 2) * columns,
            (y - height / 2) * rows,
            (x + width / 2) * columns,
            (y + height / 2) * rows,
        )

    return corners


def spellings(
    spec: TaskSpec,
    class_names: Sequence[str],
    mapping: Mapping[int, Sequence[str]] | None = None,
) -> dict[str, int]:
    """Class id by every normalised name and code that a file may use for the class.

    Args:
        spec: The task.
        class_names: Names by class id.
        mapping: What else the data call the classes, by id.
    """
    aliases = {info.name: info.aliases for info in spec.classes}
    found: dict[str, int] = {}
    for class_id, name in enumerate(class_names):
        for spelling in (name, *aliases.get(name, ()), *(mapping or {}).get(class_id, ())):
            found.setdefault(normalise(spelling), class_id)
    return found


def voc_class(name: object, spellings: Mapping[str, int]) -> int | None:
    """Class id of a name, a code or a number, which counts the background."""
    class_id = spellings.get(normalise(str(name)))
    if class_id is None:
        return to_class(name, 1, max(spellings.values(), default=-1) + 1)
    return class_id


def cross_check(found: Mapping[BoxFormat, Boxes], where: str) -> Boxes:
    """Compare the boxes of one image in all the forms they were found in.

    They may stand in another order in each.

    Args:
        found: The boxes by form, of at least one.
        where: What to call the sample.

    Returns:
        Those of the first form of `BoxFormat` there is.

    Raises:
        DataError: If forms differ by more than their rounding; names the sample and the boxes.
    """
    best, *others = [form for form in BoxFormat if form in found]
    for other in others:
        tolerance = max(_rounding(form, found[form]) for form in (best, other))
        if difference := _difference(found[best], found[other], tolerance):
            here, there = difference
            raise DataError(
                f"{where}: its boxes differ between forms: {best} has {here}, {other} has {there}.",
                "Find out which is right, and remove or correct the other.",
            )
    return found[best]


def _rounding(form: BoxFormat, boxes: Boxes) -> float:
    return boxes.rounding if isinstance(boxes, RoundedBoxes) else _ROUNDING[form]


def _difference(one: Boxes, other: Boxes, tolerance: float) -> tuple[str, str] | None:
    """What tells two lists of boxes apart, in each; None if they are the same boxes."""
    if len(one) != len(other):
        return f"{len(one)} box(es)", f"{len(other)}"
    tolerance += 0.5 / GRID
    away = np.abs(one.xyxy - other.xyxy).max(axis=1, initial=0.0)
    left = np.flatnonzero((away > tolerance) | (one.labels != other.labels))
    if len(left) == 0:
        return None
    unmatched = _unmatched(one, other, left, tolerance)
    # Rows that look alike may each be wanted by another.
    if unmatched is None or _unmatched(one, other, np.arange(len(one)), tolerance) is None:
        return None
    return _shown(one, unmatched[0]), _shown(other, unmatched[1])


def _unmatched(
    one: Boxes, other: Boxes, rows: NDArray[np.int64], tolerance: float
) -> tuple[int, int] | None:
    """A box of each list that has no partner; None if there is a way to pair all of these rows."""
    from scipy.sparse import csr_matrix
    from scipy.sparse.csgraph import maximum_bipartite_matching
    from scipy.spatial import KDTree

    # Classes are an axis of their own, along which they are far apart.
    here, there = (
        KDTree(np.column_stack([boxes.xyxy, boxes.labels * (2.0 * tolerance + 1.0)])[rows])
        for boxes in (one, other)
    )
    partners = np.full(len(rows), -1)
    if here.count_neighbors(there, tolerance, p=np.inf) <= _MOST_PAIRS:
        near = here.sparse_distance_matrix(there, tolerance, p=np.inf, output_type="ndarray")
        graph = csr_matrix(
            (np.ones(len(near), dtype=np.int8), (near["i"], near["j"])), (len(rows), len(rows))
        )
        partners = maximum_bipartite_matching(graph, perm_type="column")
    if (partners >= 0).all():
        return None
    first = rows[np.flatnonzero(partners < 0)[0]]
    free = rows[np.setdiff1d(np.arange(len(rows)), partners)]
    nearest = np.abs(other.xyxy[free] - one.xyxy[first]).max(axis=1).argmin()
    return int(first), int(free[nearest])


def _shown(boxes: Boxes, index: int) -> str:
    corners = ", ".join(f"{v:g}" for v in boxes.xyxy[index])
    return f"[{corners}] (left, top, right, bottom) of class {boxes.labels[index]}"


def from_columns(spec: TaskSpec, columns: Mapping[str, Any], size: Size, where: str) -> Boxes:
    """Boxes of one image from the columns of the hub's data, every form there is compared.

    The forms are ``coco_annotation{annotations{bbox, category_id}}``,
    ``yolo_annotation{bbox, category}`` and
    ``pascal_voc_annotation{objects{bbox{xmin, ymin, xmax, ymax}, name}}``. A repeated level may be
    a list of structs or a struct of lists, and nothing at all for an image without boxes.

    Args:
        spec: The task; the ids of its classes are in its order.
        columns: The columns of the image's row, by name; others are ignored.
        size: Height and width of the image in pixels.
        where: What to call the sample.

    Raises:
        DataError: If there is no such column, one is not of its form, boxes are bad, or the forms
            differ.
    """
    names = spellings(spec, spec.class_names)
    count = len(spec.classes)
    found: dict[BoxFormat, Boxes] = {}
    for form, column in COLUMNS.items():
        if column not in columns:
            continue
        reading = Reading(f"{where}, {column}", size, form)
        try:
            if form is BoxFormat.COCO:
                structs = _inside(columns[column], "annotations", ("bbox", "category_id"))
            elif form is BoxFormat.YOLO:
                structs = _structs(columns[column], ("bbox", "category"))
            else:
                structs = _inside(columns[column], "objects", ("bbox", "name"))
            for i, (box, named) in enumerate(structs, start=1):
                if form is BoxFormat.COCO:
                    label, corners = to_class(named, 1, count), from_coco
                elif form is BoxFormat.YOLO:
                    label, corners = to_class(named, 0, count), from_yolo(size)
                else:
                    label, corners = voc_class(named, names), from_voc
                    box = [box[corner] for corner in CORNERS]
                reading.add(f"box {i}", label, named, list(box), corners)
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(
                f"{where}: column {column} is not of its form: {type(error).__name__} {error}.",
                "It is described in `marsbench.data.boxes.from_columns`.",
            ) from error
        found[form] = reading.boxes()
    if not found:
        raise DataError(
            f"{where} has no boxes: none of the columns {', '.join(COLUMNS.values())}.",
            "Choose another source.",
        )
    return cross_check(found, where)


def _inside(value: Any, name: str, fields: tuple[str, str]) -> list[tuple[Any, Any]]:
    """The two fields of every struct in a field of a struct, or of each of a list of them."""
    value = _plain(value)
    if value is None:
        return []
    if isinstance(value, str):
        raise TypeError(f"found the text '{value[:40]}'")
    if isinstance(value, Mapping):
        return _structs(value[name], fields)
    return [pair for element in value for pair in _inside(element, name, fields)]


def _structs(value: Any, fields: tuple[str, str]) -> list[tuple[Any, Any]]:
    """The two fields of every struct, from a list of structs, a struct of lists or one struct."""
    value = _plain(value)
    if value is None:
        return []
    if isinstance(value, str):
        raise TypeError(f"found the text '{value[:40]}'")
    if not isinstance(value, Mapping):
        return [pair for element in value for pair in _structs(element, fields)]
    boxes, classes = (_plain(value[name]) for name in fields)
    if not isinstance(classes, list):
        return [] if boxes is None and classes is None else [(boxes, classes)]
    if isinstance(boxes, Mapping):
        corners = [_plain(boxes[name]) or [] for name in CORNERS]
        boxes = [dict(zip(CORNERS, box, strict=True)) for box in zip(*corners, strict=True)]
    return list(zip(boxes or [], classes, strict=True))


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray) else value
