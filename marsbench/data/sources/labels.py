"""Labels as data spell them: class ids, whole numbers written as floats, names, one-hot lists."""

import ast
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from marsbench.data.boxes.forms import number
from marsbench.tasks.kinds import Kind
from marsbench.tasks.spec import normalise


def class_id(value: Any, num_classes: int, classes: Mapping[str, int]) -> int:
    """Class id of a label.

    Args:
        value: Number, text of a number, or name of a class; ``1.0`` is class 1.
        num_classes: Number of classes, K.
        classes: Class id by normalised name or code.

    Raises:
        ValueError: If it is none of the classes; the message says why, without the value.
    """
    parsed = _number(value)
    if parsed is None:
        named = classes.get(normalise(str(value)))
        if named is None:
            raise ValueError("is neither a class id nor the name of a class")
        return named
    if not parsed.is_integer():
        raise ValueError("is not a whole number")
    if not 0 <= parsed < num_classes:
        raise ValueError(f"is outside 0..{num_classes - 1}")
    return int(parsed)


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, bool) else number(value)


def listed(text: str) -> list[Any]:
    """Elements of a list literal.

    Raises:
        ValueError: If the text is not a list of numbers or names.
    """
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        value = None
    if not isinstance(value, (list, tuple, set)):
        raise ValueError("is not a list such as [0, 2]")
    return list(value)


def is_one_hot(values: Sequence[Sequence[Any]], num_classes: int) -> bool:
    """Whether the labels of a multilabel file are one-hot rather than class ids.

    Labels are one-hot if every sample has a 0 or 1 per class and some sample repeats a value; lists
    of ids never repeat an id. (With two classes, ``[0, 1]`` alone is ambiguous.)
    """
    numbers = [list(map(_number, value)) for value in values]
    return all(len(v) == num_classes and set(v) <= {0, 1} for v in numbers) and any(
        is_row_one_hot(v, num_classes) for v in values
    )


def is_row_one_hot(value: Sequence[Any], num_classes: int) -> bool:
    """Whether a list holds a 0 or 1 per class and repeats one of them, as no list of ids does."""
    numbers = list(map(_number, value))
    return len(numbers) == num_classes and set(numbers) <= {0, 1} and len(set(numbers)) < len(value)


MIXED = "is a 0 or 1 per class, but other rows are not"
"""Problem of a one-hot row among lists of class ids."""


class Labels:
    """Reader of the labels of a classification file.

    Args:
        texts: All label cells of the file, for the form of its lists; empty for single labels.
        num_classes: Number of classes, K.
        classes: Class id by normalised name or code.
        multilabel: Whether cells hold lists.
    """

    def __init__(
        self, texts: Sequence[str], num_classes: int, classes: Mapping[str, int], multilabel: bool
    ) -> None:
        self._num_classes, self._classes, self._multilabel = num_classes, classes, multilabel
        self._one_hot = multilabel and is_one_hot([_listed_or_empty(t) for t in texts], num_classes)

    def read(self, text: str) -> tuple[int, ...]:
        """Sorted class ids of a cell.

        Raises:
            ValueError: If the cell is no label; the message says why, without the cell.
        """
        if not self._multilabel:
            return (class_id(text, self._num_classes, self._classes),)
        values = listed(text)
        if self._one_hot:
            return tuple(i for i, present in enumerate(values) if _number(present))
        if is_row_one_hot(values, self._num_classes):
            raise ValueError(MIXED)
        return tuple(sorted({self._element(value) for value in values}))

    def _element(self, value: Any) -> int:
        try:
            return class_id(value, self._num_classes, self._classes)
        except ValueError as error:
            raise ValueError(f"holds {value!r:.80}, which {error}") from error

    def name_differs(self, name: str, ids: tuple[int, ...]) -> bool:
        """Whether a name is the name of a class other than a single label."""
        return not self._multilabel and self._classes.get(normalise(name), ids[0]) != ids[0]


def _listed_or_empty(text: str) -> list[Any]:
    try:
        return listed(text)
    except ValueError:
        return []


def targets_of(
    kind: Kind, labels: Sequence[tuple[int, ...]], num_classes: int
) -> NDArray[np.integer]:
    """Class ids (n,), or zeros and ones (n, K) for several labels; (n, 0) for masks and boxes."""
    if not kind.is_classification:
        return np.zeros((len(labels), 0), dtype=np.uint8)
    if kind is not Kind.MULTILABEL:
        return np.array([ids[0] for ids in labels], dtype=np.int64)
    targets = np.zeros((len(labels), num_classes), dtype=np.uint8)
    for row, ids in zip(targets, labels, strict=True):
        row[list(ids)] = 1
    return targets
