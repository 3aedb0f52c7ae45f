"""Stored predictions of a run as checked arrays.

Parquet files are read without metadata of pandas, which might say anything. A file is opened in a
child process first (`marsbench.leaderboard.guard`).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from marsbench.base.errors import some
from marsbench.base.reading import check_regular
from marsbench.tasks.kinds import BOXES, LABELS, MASKS, Kind

if TYPE_CHECKING:
    import pyarrow as pa

MOST_ROWS = 500_000
"""Largest number of rows of a file; the largest task has 54,000 samples."""

MOST_VALUES = 10_000_000
"""Largest number of values of a column."""

MOST_BYTES = 200_000_000
"""Largest uncompressed size of a file."""

MOST_COLUMNS = 20

LONGEST_ID = 1000
"""Longest sample id in characters."""

_ROUNDING = 1e-5
"""Largest excess of a probability over 1 from single precision."""

_SUM = 1e-3
"""Largest difference of a sum of probabilities from 1, from half precision."""


@dataclass(frozen=True)
class Predictions:
    """Predictions of a split.

    Attributes:
        sample_ids: N unique ids.
        columns: Stored values by column, as `marsbench.metrics.scoring.score` takes them: arrays
            (N,) or (N, M), or lists of N arrays of boxes.
    """

    sample_ids: list[str]
    columns: dict[str, Any]

    def __len__(self) -> int:
        return len(self.sample_ids)

    def ordered(self, order: NDArray[np.int64]) -> "Predictions":
        """Select and order the samples by position, (M,)."""
        columns = {
            name: values[order] if isinstance(values, np.ndarray) else [values[i] for i in order]
            for name, values in self.columns.items()
        }
        return Predictions([self.sample_ids[i] for i in order], columns)


class Form(NamedTuple):
    """Form of a column.

    Attributes:
        numbers: Kind of number: whole, real, or text.
        depth: Levels of lists around the number.
        width: Length of each row's list; None for any length.
    """

    numbers: str
    depth: int = 0
    width: int | None = None


def forms_of(kind: Kind, num_classes: int) -> dict[str, Form]:
    """Columns of a kind of task with K classes, by name."""
    k = num_classes
    if kind in LABELS:
        target = Form("whole", 1, k) if kind is Kind.MULTILABEL else Form("whole")
        return {"target": target, "scores": Form("real", 1, k)}
    if kind in MASKS:
        return {"confusion": Form("whole", 1, k * k)}
    return {
        "target_boxes": Form("real", 2, 4),
        "target_labels": Form("whole", 1),
        "boxes": Form("real", 2, 4),
        "scores": Form("real", 1),
        "labels": Form("whole", 1),
    }


_TEXTS = ("split", "sample_id", "instrument", "meta", "answer")
"""Columns of text; the last three are optional."""


def refusal(path: str) -> str:
    """Read a file and drop it.

    Returns:
        The reason if it cannot be read, else an empty text.
    """
    try:
        _table(Path(path))
    except ValueError as error:
        return str(error)
    return ""


def _table(path: Path) -> "pa.Table":
    """Read a Parquet file within the limits.

    Raises:
        ValueError: If it is damaged or beyond the limits; the message says so.
        MemoryError: If it needs more memory than there is.
    """
    import pyarrow as pa
    from pyarrow import parquet

    try:
        check_regular(path)
        with parquet.ParquetFile(path) as file:
            _check_limits(file.metadata)
            return file.read(use_threads=False).replace_schema_metadata(None)
    except MemoryError:
        raise
    except OSError as error:
        raise ValueError(f"cannot be read: {error.strerror or error}") from error
    except (pa.ArrowException, UnicodeDecodeError, TypeError, LookupError) as error:
        raise ValueError(f"is not a Parquet file: {error}") from error


def _check_limits(metadata: Any) -> None:
    """Refuse a file by its metadata, before its content is decoded."""
    if metadata.num_rows > MOST_ROWS:
        raise ValueError(f"has {metadata.num_rows:,} rows; expected up to {MOST_ROWS:,}")
    if metadata.num_columns > MOST_COLUMNS:
        raise ValueError(f"has {metadata.num_columns:,} columns; expected up to {MOST_COLUMNS}")
    groups = [metadata.row_group(i) for i in range(metadata.num_row_groups)]
    if sum(group.total_byte_size for group in groups) > MOST_BYTES:
        raise ValueError(f"is larger than {MOST_BYTES / 1e6:g} MB uncompressed")
    for i in range(metadata.num_columns):
        count = sum(group.column(i).num_values for group in groups)
        if count > MOST_VALUES:
            name = metadata.schema.column(i).path[:80]
            raise ValueError(
                f"has {count:,} values in the column {name}; expected up to {MOST_VALUES:,}"
            )


def read_predictions(path: Path, split: str, kind: Kind, num_classes: int) -> Predictions:
    """Read the predictions of a split, and check their form.

    Args:
        path: Parquet file.
        split: Name of the split.
        kind: Kind of the task.
        num_classes: Number of classes, K.

    Raises:
        ValueError: If the file is damaged, too large, or of another form, or a value is invalid.
            The message lists the problems.
    """
    import pyarrow as pa

    table = _table(path)
    names = table.column_names
    forms = forms_of(kind, num_classes)
    wanted = [*_TEXTS[:2], *forms]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"has columns twice: {some(twice)}")
    if missing := [name for name in wanted if name not in names]:
        raise ValueError(f"has no column {some(missing)}, as predictions of {kind} have")
    if other := [name for name in names if name not in (*wanted, *_TEXTS)]:
        raise ValueError(f"has columns of no meaning: {some(other)}")
    problems: list[str] = []
    splits = _text(table.column("split"), "split", problems)
    if problems:
        raise ValueError("; ".join(problems))
    mask = pa.array([name == split for name in splits], type=pa.bool_())
    part = table.filter(mask)
    if not len(part):
        raise ValueError(f"has no rows of the split {split}; it has {some(sorted(set(splits)))}")
    ids = _text(part.column("sample_id"), "sample_id", problems)
    columns: dict[str, Any] = {}
    for name, form in forms.items():
        values = _values(part.column(name), form)
        if isinstance(values, str):
            problems.append(f"has a column {name} that {values}")
        else:
            columns[name] = values
    if "instrument" in names and part.column("instrument").null_count < len(part):
        columns["instrument"] = np.array(_text(part.column("instrument"), "instrument", problems))
    _check_ids(ids, problems)
    if not problems:
        problems += CHECKS[kind](columns, num_classes)
    if problems:
        raise ValueError("; ".join(problems))
    return Predictions(ids, columns)


def _text(column: "pa.ChunkedArray", name: str, problems: list[str]) -> list[str]:
    """Texts of a column; problems if it has others."""
    import pyarrow as pa

    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
        problems.append(f"has a column {name} of type {str(column.type)[:80]}; expected text")
    elif column.null_count:
        problems.append(f"has {column.null_count} empty value(s) in the column {name}")
    else:
        try:
            return [str(value) for value in column.to_pylist()]
        except UnicodeDecodeError:
            problems.append(f"has a column {name} that is not UTF-8")
    return []


def _values(column: "pa.ChunkedArray", form: Form) -> Any:
    """Array (N,) or (N, width), or a list of N arrays; a text is the reason for none."""
    import pyarrow as pa

    array = column.combine_chunks()
    if isinstance(array, pa.ChunkedArray):  # without chunks
        array = pa.concat_arrays(array.chunks) if array.num_chunks else pa.array([], column.type)
    ends: list[NDArray[np.int64]] = []
    for _ in range(form.depth):
        is_list = pa.types.is_list(array.type) or pa.types.is_large_list(array.type)
        if not is_list and not pa.types.is_fixed_size_list(array.type):
            return f"is of type {str(column.type)[:80]}; expected {form.depth} level(s) of lists"
        if array.null_count:
            return f"has {array.null_count} empty value(s)"
        lengths = array.value_lengths().to_numpy(zero_copy_only=False).astype(np.int64)
        ends.append(np.cumsum(lengths))
        array = array.flatten()
    if len(array) and not _IS[form.numbers](array.type):
        return f"is of type {str(column.type)[:80]}; expected {form.numbers} numbers"
    if array.null_count:
        return f"has {array.null_count} empty value(s)"
    kind = np.int64 if form.numbers == "whole" else np.float64
    numbers = array.to_numpy(zero_copy_only=False)
    if numbers.dtype.kind == "u" and numbers.size and numbers.max() > np.iinfo(np.int64).max:
        return "has numbers beyond 64 bits"
    return _shaped(numbers.astype(kind), ends, form)


def _shaped(numbers: NDArray[Any], ends: list[NDArray[np.int64]], form: Form) -> Any:
    """Rows of numbers from their ends by level; a text is the reason for none."""
    if form.width is not None:
        lengths = np.diff(ends[-1], prepend=0)
        if (lengths != form.width).any():
            odd = lengths[lengths != form.width]
            text = some(map(str, sorted(set(odd.tolist()))))
            return f"has {len(odd)} row(s) of {text} numbers; expected {form.width}"
        numbers = numbers.reshape(-1, form.width)
        ends = ends[:-1]
    if not ends:
        return numbers
    return np.split(numbers, ends[0][:-1]) if len(ends[0]) else []


def _is_whole(kind: "pa.DataType") -> bool:
    import pyarrow as pa

    return bool(pa.types.is_integer(kind))


def _is_real(kind: "pa.DataType") -> bool:
    import pyarrow as pa

    return bool(pa.types.is_floating(kind))


_IS: Mapping[str, Callable[["pa.DataType"], bool]] = {"whole": _is_whole, "real": _is_real}


def _check_ids(ids: list[str], problems: list[str]) -> None:
    if long := [name for name in ids if len(name) > LONGEST_ID]:
        problems.append(f"has {len(long)} sample id(s) of more than {LONGEST_ID} characters")
    if len(set(ids)) != len(ids):
        twice = sorted({name for name, n in _counts(ids).items() if n > 1})
        problems.append(f"has {len(twice)} sample id(s) twice: {some(n[:80] for n in twice)}")


def _counts(ids: list[str]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for name in ids:
        counts[name] = counts.get(name, 0) + 1
    return counts


def _label_problems(columns: Mapping[str, Any], num_classes: int) -> list[str]:
    """Invalid targets and probabilities of a single class per sample."""
    problems = _target_problems(columns["target"], num_classes)
    problems += _probability_problems(columns["scores"])
    if not problems:
        sums = columns["scores"].sum(axis=1)
        # Zeros are an answer of no class.
        if odd := int(((np.abs(sums - 1) > _SUM) & (sums != 0)).sum()):
            problems.append(f"has {odd} row(s) whose scores do not sum to 1")
    return problems


def _multilabel_problems(columns: Mapping[str, Any], num_classes: int) -> list[str]:
    problems = _target_problems(columns["target"], 2)
    return problems + _probability_problems(columns["scores"])


def _target_problems(targets: NDArray[np.int64], count: int) -> list[str]:
    odd = np.unique(targets[(targets < 0) | (targets >= count)])
    text = f"has the targets {some(map(str, odd))}; expected 0 to {count - 1}"
    return [text] if odd.size else []


def _probability_problems(scores: NDArray[np.float64]) -> list[str]:
    if odd := int((~np.isfinite(scores)).sum()):
        return [f"has {odd} score(s) that are NaN or infinite"]
    if odd := int(((scores < -_ROUNDING) | (scores > 1 + _ROUNDING)).sum()):
        return [f"has {odd} score(s) outside of 0 to 1"]
    return []


def _mask_problems(columns: Mapping[str, Any], _: int) -> list[str]:
    confusion = columns["confusion"]
    odd = int(((confusion < 0) | (confusion > 2**40)).sum())
    return [f"has {odd} impossible count(s) of pixels"] if odd else []


def _box_problems(columns: Mapping[str, Any], num_classes: int) -> list[str]:
    problems = []
    for boxes, labels in (("target_boxes", "target_labels"), ("boxes", "labels")):
        if any(len(b) != len(k) for b, k in zip(columns[boxes], columns[labels], strict=True)):
            problems.append(f"has {boxes} and {labels} of different numbers")
        xyxy = _joined(columns[boxes], (0, 4))
        if not np.isfinite(xyxy).all() or (xyxy[:, 2:] < xyxy[:, :2]).any():
            problems.append(f"has {boxes} with NaN, infinity or negative sizes")
        ids = _joined(columns[labels], (0,))
        if ids.size and not 0 <= ids.min() <= ids.max() < num_classes:
            problems.append(f"has {labels} outside of 0 to {num_classes - 1}")
    if any(len(a) != len(b) for a, b in zip(columns["boxes"], columns["scores"], strict=True)):
        problems.append("has boxes and scores of different numbers")
    return problems + _probability_problems(_joined(columns["scores"], (0,)))


def _joined(rows: list[NDArray[Any]], empty: tuple[int, ...]) -> NDArray[Any]:
    return np.concatenate([np.zeros(empty), *rows]) if rows else np.zeros(empty)


CHECKS: dict[Kind, Callable[[Mapping[str, Any], int], list[str]]] = {
    Kind.BINARY: _label_problems,
    Kind.MULTICLASS: _label_problems,
    Kind.MULTILABEL: _multilabel_problems,
    **dict.fromkeys(MASKS, _mask_problems),
    **dict.fromkeys(BOXES, _box_problems),
}
"""Checks of the values of each kind of task."""
