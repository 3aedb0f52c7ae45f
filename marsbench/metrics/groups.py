"""Scores per group of samples, such as the samples of an instrument, a region or a range of sols.

A group is written ``FIELD:VALUE``, such as ``instrument:sam_testbed``. Fields come from the
columns of stored predictions: ``instrument``, and every field of ``meta``.
"""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, NotRequired, TypedDict

import numpy as np
from numpy.typing import NDArray

from marsbench.metrics.scoring import SCORERS, Columns, score
from marsbench.tasks.kinds import Kind

INSTRUMENT = "instrument"
"""Field of the instrument of a spectrum, stored in a column of its own."""

BINS: Mapping[str, float] = {"longitude": 60.0, "latitude": 30.0, "sol": 500.0}
"""Numeric fields whose groups are bins, with the width of a bin: degrees, degrees, sols."""

MOST_GROUPS = 50
"""Most values of a field that are groups; fields with more, such as a name, tell samples apart."""

_SPREAD = frozenset({"f1_weighted", "f1_macro", "ap_micro"})
"""Metrics of labels that need a positive sample of any class."""


LEVEL = 0.95
"""Level of intervals."""


class Interval(TypedDict):
    """Percentile interval of a metric over resampled samples.

    Attributes:
        low: Lower end.
        high: Upper end.
        defined: Share of the rounds in which the metric is defined; others are left out.
    """

    low: float
    high: float
    defined: float


class Resampling(NamedTuple):
    """Bootstrap over the samples of a group.

    Attributes:
        metrics: Metrics to give intervals.
        rounds: Number of rounds.
        seed: Seed of each group's draws.
    """

    metrics: Sequence[str]
    rounds: int = 1000
    seed: int = 0


class GroupScores(TypedDict):
    """Scores of the samples of a group.

    Attributes:
        n: Number of samples.
        metrics: Metric name to value; undefined metrics are missing, among them those of classes
            without ground truth in the group.
        absent: Classes without ground truth in the group.
        intervals: Intervals by metric, if asked for; of metrics defined in any round.
    """

    n: int
    metrics: dict[str, float]
    absent: list[str]
    intervals: NotRequired[dict[str, Interval]]


def group_name(field: str, value: object) -> str:
    """Name of the group of a value within its field; empty without a value.

    Values of `BINS` become ``0..60``, the bin [0, 60).
    """
    is_missing = value is None or (isinstance(value, float) and math.isnan(value))
    text = "" if is_missing else str(value).strip()
    width = BINS.get(field)
    if width is None or not text:
        return text
    try:
        low = math.floor(float(text) / width) * width
    except (ValueError, OverflowError):
        return text
    return f"{low:g}..{low + width:g}"


def fields_of(columns: Columns) -> dict[str, list[str]]:
    """Fields of stored predictions that group samples: a group's name per sample, empty for none.

    Args:
        columns: Stored predictions of N samples.

    Raises:
        ValueError: If ``meta`` is not JSON.
    """
    fields: dict[str, list[str]] = {}
    if INSTRUMENT in columns:
        fields[INSTRUMENT] = [group_name(INSTRUMENT, value) for value in columns[INSTRUMENT]]
    if "meta" in columns:
        fields |= fields_of_meta([json.loads(text) if text else {} for text in columns["meta"]])
    return fields


def fields_of_meta(meta: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    """Fields of the metadata of N samples, as `fields_of`; nested values group nothing."""
    names = dict.fromkeys(name for facts in meta for name in facts)
    plain = (str, int, float, bool)
    return {
        name: [
            group_name(name, value) if isinstance(value := facts.get(name), plain) else ""
            for facts in meta
        ]
        for name in names
    }


def grouping(fields: Mapping[str, Sequence[str]]) -> dict[str, Sequence[str]]:
    """Fields with two to `MOST_GROUPS` groups."""
    counts = {name: len({*values} - {""}) for name, values in fields.items()}
    return {name: fields[name] for name, count in counts.items() if 2 <= count <= MOST_GROUPS}


def score_groups(
    kind: Kind,
    columns: Columns,
    classes: Sequence[str],
    fields: Mapping[str, Sequence[str]],
    num_scored: int | None = None,
    resampling: Resampling | None = None,
) -> dict[str, GroupScores]:
    """Score each group of samples by the metrics of a kind.

    Args:
        kind: Kind of the task.
        columns: Stored predictions of N samples.
        classes: The K class names, in the order of their ids.
        fields: Field to the group of each sample, as from `fields_of`; samples without a group
            are left out.
        num_scored: As of `marsbench.metrics.scoring.score`.
        resampling: Bootstrap for intervals; None for none.

    Returns:
        Scores by ``FIELD:VALUE``, in the order of the fields and values.

    Raises:
        ValueError: If shapes do not fit or a number is not finite.
    """
    scores: dict[str, GroupScores] = {}
    for field, values in fields.items():
        names = np.array(values)
        for value in sorted({*values} - {""}, key=_place):
            part = columns_at(columns, np.flatnonzero(names == value))
            group = scores[f"{field}:{value}"] = score_group(kind, part, classes, num_scored)
            if resampling is not None:
                rounds = _rounds(kind, part, classes, num_scored, resampling, group["n"])
                group["intervals"] = _intervals(rounds, resampling)
    return scores


def score_group(
    kind: Kind, columns: Columns, classes: Sequence[str], num_scored: int | None = None
) -> GroupScores:
    """Score the samples of one group; arguments as in `score_groups`."""
    inputs = SCORERS[kind].read(columns, len(classes))
    present = SCORERS[kind].present(*inputs, classes)
    scored = zip(classes[:num_scored], present[:num_scored], strict=True)
    absent = [name for name, is_there in scored if not is_there]
    undefined = {"f1_positive"} if classes[1:] and classes[1] in absent else set()
    undefined |= set() if present.any() else _SPREAD
    metrics = {
        name: value
        for name, value in score(kind, columns_at(columns, None), classes, num_scored).items()
        if name not in undefined and name.partition("/")[2] not in absent
    }
    return GroupScores(n=len(inputs[0]), metrics=metrics, absent=absent)


def _rounds(
    kind: Kind,
    columns: Columns,
    classes: Sequence[str],
    num_scored: int | None,
    resampling: Resampling,
    count: int,
) -> list[dict[str, float]]:
    """Metrics of each round of samples drawn with replacement."""
    rng = np.random.default_rng(resampling.seed)
    return [
        score_group(
            kind, columns_at(columns, rng.integers(count, size=count)), classes, num_scored
        )["metrics"]
        for _ in range(resampling.rounds)
    ]


def _intervals(
    rounds: Sequence[Mapping[str, float]], resampling: Resampling
) -> dict[str, Interval]:
    intervals = {}
    for metric in resampling.metrics:
        values = [metrics[metric] for metrics in rounds if metric in metrics]
        if values:
            low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
            share = len(values) / len(rounds)
            intervals[metric] = Interval(low=float(low), high=float(high), defined=share)
    return intervals


def columns_at(columns: Columns, positions: NDArray[np.intp] | None) -> dict[str, Any]:
    """Columns of some samples, without those that name groups.

    Args:
        columns: Stored predictions: a data frame, or a mapping from column to array or list.
        positions: Samples to keep, (n,); None keeps all.
    """
    kept: dict[str, Any] = {}
    for name in columns:
        values = columns[name]
        if name in (INSTRUMENT, "meta"):
            continue
        if not isinstance(values, np.ndarray):
            values = list(values)
        if positions is None:
            kept[name] = values
        elif isinstance(values, np.ndarray):
            kept[name] = values[positions]
        else:
            kept[name] = [values[int(i)] for i in positions]
    return kept


def _place(value: str) -> tuple[float, str]:
    """Sort key: bins and numbers by size, then texts."""
    try:
        return float(value.partition("..")[0]), value
    except ValueError:
        return math.inf, value
