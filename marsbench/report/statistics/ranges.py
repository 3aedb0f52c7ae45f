"""Ranges that normalise scores: fixed ones, and the lowest and highest observed scores."""

import math
from collections import defaultdict
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from marsbench.base import paths
from marsbench.base.documents import read_yaml
from marsbench.base.errors import ConfigError
from marsbench.report.statistics import aggregate as agg
from marsbench.report.study.cells import (
    DEMO,
    FEW_SHOT,
    FULL,
    PARTITION,
    Group,
    GroupKey,
    metric_is_up,
)
from marsbench.tasks.catalog import TASKS
from marsbench.tasks.kinds import METRICS

REFERENCE = "reference"
OBSERVED = "observed"
"""Ways of choosing the ranges that normalise scores."""

Pair = tuple[str, str]
"""A task and its headline metric; each has a range of its own."""


@dataclass(frozen=True)
class Ranges:
    """Ranges of the normalisation: `low` becomes 0 and `high` 1, reversed if lower is better.

    Attributes:
        source: Origin of the ranges, to be read after "normalised by".
        low: Lower end by task and metric, on the metric's scale.
        high: Upper end by task and metric.
    """

    source: str
    low: Mapping[Pair, float]
    high: Mapping[Pair, float]

    def has(self, task: str, metric: str) -> bool:
        """Whether a task and metric have a non-empty range."""
        pair = (task, metric)
        return pair in self.low and self.low[pair] < self.high[pair]

    def is_raw(self, pairs: Iterable[Pair]) -> bool:
        """Whether normalised scores equal raw scores: ranges of 0 to 1, higher is better."""
        return all(
            (self.low.get(pair), self.high.get(pair)) == (0.0, 1.0) and metric_is_up(pair[1])
            for pair in pairs
        )

    def words(self, pairs: Iterable[Pair]) -> str:
        """Origin of the ranges, with a remark if normalised scores equal raw scores."""
        return f"{self.source}{', which leaves them as they are' if self.is_raw(pairs) else ''}"

    def scale(self, pairs: Sequence[Pair]) -> Callable[[NDArray[np.float64]], NDArray[np.float64]]:
        """Function to normalise scores with last axis `pairs`; NaN for pairs without range."""
        low = np.array([self.low.get(pair, np.nan) for pair in pairs])
        high = np.array([self.high.get(pair, np.nan) for pair in pairs])
        up = np.array([metric_is_up(metric) for _, metric in pairs], dtype=bool)
        return lambda scores: agg.normalise(scores, low, high, up)


def observed_ranges(groups: Iterable[Group], pairs: Container[Pair] | None = None) -> Ranges:
    """Lowest and highest score of each task and metric in some groups.

    A task with a single cell has no range, since only its seeds would differ.

    Args:
        groups: Groups that share a scale.
        pairs: Tasks and metrics to look at; None for all.
    """
    scores: defaultdict[Pair, list[NDArray[np.float64]]] = defaultdict(list)
    for group in groups:
        for (task, _), cell in group.cells.items():
            if pairs is None or (task, cell.metric) in pairs:
                scores[task, cell.metric].append(cell.scores)
    known = {pair: np.concatenate(values) for pair, values in scores.items() if len(values) > 1}
    runs = sorted({len(values) for values in known.values()})
    among = f" among its {' to '.join(map(str, dict.fromkeys([*runs[:1], *runs[-1:]])))} runs"
    return Ranges(
        f"the lowest and highest score of each task{among if runs else ''}",
        {pair: float(values.min()) for pair, values in known.items()},
        {pair: float(values.max()) for pair, values in known.items()},
    )


def reference_ranges(pairs: Iterable[Pair] | None = None, *, demo: bool = False) -> Ranges:
    """Fixed ranges: from the table shipped with marsbench, else the bounds of the metric.

    Args:
        pairs: Tasks and headline metrics; None for the whole catalogue.
        demo: Whether the data are demo data, for which the table of real data does not hold.

    Returns:
        Ranges by pair; unbounded metrics outside the table have none.

    Raises:
        ConfigError: If the table of ranges is invalid.
    """
    if pairs is None:
        pairs = [(spec.name, spec.headline_metric) for spec in TASKS.values()]
    wanted = list(pairs)
    version, table = _table_of_ranges()
    own = {pair: table[pair] for pair in wanted if pair in table and not demo}
    bounds = {
        pair: (info.low, info.high)
        for pair in wanted
        if pair not in own
        and (info := METRICS.get(pair[1].partition("/")[0]))
        and math.isfinite(info.high - info.low)
    }
    tasks = ", ".join(sorted({task for task, _ in own}))
    ends = ", ".join(f"{low:g} to {high:g}" for low, high in sorted(set(bounds.values())))
    parts = [f"the bounds of each metric ({ends})"] if bounds else []
    parts += [f"reference ranges, version {version} ({tasks})"] if own else []
    ranges = bounds | own
    return Ranges(
        "; ".join(parts),
        {pair: low for pair, (low, _) in ranges.items()},
        {pair: high for pair, (_, high) in ranges.items()},
    )


def no_range(group: Group, ranges: Ranges) -> list[str]:
    """Tasks of a group without a range, each with the reason."""
    names = [task for task, metric in group.metrics.items() if not ranges.has(task, metric)]
    scores = {task: np.concatenate(_scores(group, task)) for task in names}
    return [
        f"{task} ({'all runs are equal' if is_equal(scores[task]) else 'a single model'})"
        for task in names
    ]


def is_equal(scores: NDArray[np.float64]) -> bool:
    """Whether several scores are all the same."""
    return len(scores) > 1 and bool(np.ptp(scores) == 0)


def _scores(group: Group, task: str) -> list[NDArray[np.float64]]:
    return [cell.scores for (name, _), cell in group.cells.items() if name == task]


def reference_version() -> str:
    """Version of the table of ranges shipped with marsbench."""
    return _table_of_ranges()[0]


def _table_of_ranges() -> tuple[str, dict[Pair, tuple[float, float]]]:
    """Read the version and the ends of the ranges shipped with marsbench."""
    path = paths.configs() / "report" / "ranges.yaml"
    ranges: dict[Pair, tuple[float, float]] = {}
    try:
        table = read_yaml(path).values
        for task, entry in table["tasks"].items():
            low, high = float(entry["low"]), float(entry["high"])
            if not low < high:
                raise ValueError(f"the range of {task} is empty")
            ranges[task, str(entry["metric"])] = low, high
        return str(table["version"]), ranges
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ConfigError(
            f"The table of ranges {path} is invalid: {error}.", "Install marsbench again."
        ) from error


def scale_of(key: GroupKey, normalise: str = REFERENCE) -> GroupKey:
    """Key of the ranges of a group, shared by other groups of its family.

    Args:
        key: The group.
        normalise: `REFERENCE`: all subsets of a family share ranges. `OBSERVED`: the full split,
            partitions and few-shot subsets have ranges of their own, as the paper's figures; the
            subset of the key is then ``full``, ``partition`` or ``few_shot``.
    """
    if normalise == OBSERVED:
        amount = next((name for name in (PARTITION, FEW_SHOT) if key.subset.startswith(name)), FULL)
        return replace(key, subset=amount)
    return key.family


def family_ranges(groups: Iterable[Group], normalise: str = REFERENCE) -> dict[GroupKey, Ranges]:
    """Compute the ranges of each family.

    Args:
        groups: All groups, of one store or of two compared stores.
        normalise: `REFERENCE` takes fixed ranges, and for a task without a fixed range the lowest
            and highest score of the family; `OBSERVED` takes lowest and highest scores for all
            tasks. The ranges of partitions include the full split, the end of their curves.

    Returns:
        Ranges by key from `scale_of`.
    """
    scales: defaultdict[GroupKey, list[Group]] = defaultdict(list)
    full = defaultdict(list)
    for group in groups:
        scales[scale_of(group.key, normalise)].append(group)
        if group.key.subset == FULL:
            full[group.key].append(group)
    for key, members in scales.items():
        members += full[key.family] if key.subset == PARTITION else []
    return {key: shared_ranges(members, normalise) for key, members in scales.items()}


def shared_ranges(groups: Sequence[Group], normalise: str = REFERENCE) -> Ranges:
    """Compute ranges shared by some groups of real or of demo data.

    Args:
        groups: Groups, at least one.
        normalise: As in `family_ranges`.
    """
    if normalise == OBSERVED:
        return observed_ranges(groups)
    pairs = {pair for group in groups for pair in group.metrics.items()}
    fixed = reference_ranges(sorted(pairs), demo=groups[0].key.data == DEMO)
    without = {pair for pair in pairs if not fixed.has(*pair)}
    seen = observed_ranges(groups, without)
    sources = [fixed.source] if fixed.low else []
    if without:
        sources.append(f"{seen.source} ({', '.join(sorted({task for task, _ in without}))})")
    return Ranges("; ".join(sources), {**seen.low, **fixed.low}, {**seen.high, **fixed.high})
