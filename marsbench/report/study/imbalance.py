"""Ways of dealing with unequal classes, compared seed by seed."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from marsbench.report.analysis import Analysis
from marsbench.report.statistics import aggregate
from marsbench.report.statistics.summary import Estimate, stream
from marsbench.report.study.cells import NONE, GroupKey
from marsbench.report.study.scores import run_of
from marsbench.results.classes import ClassTable, class_tables
from marsbench.results.record import RunRecord


@dataclass(frozen=True)
class Ways:
    """Runs that differ in how unequal classes are dealt with, and in their seeds, alone.

    Attributes:
        title: Task, model and what their groups share, in words.
        table: The runs of each way and the train samples of each class.
        keys: The groups they are in.
        seeds: Seeds that every way has, of which alone `table` is; empty if there are none, and
            then `table` has all runs of each way.
    """

    title: str
    table: ClassTable
    keys: tuple[GroupKey, ...]
    seeds: tuple[int, ...]

    @property
    def over(self) -> str:
        """What the means are over, in words."""
        if self.seeds:
            named = ", ".join(map(str, self.seeds))
            return f"over the seed{'s' * (len(self.seeds) > 1)} that every way has ({named})"
        counts = ", ".join(f"{way}: {len(runs)}" for way, runs in self.table.runs.items())
        return f"over the seeds of each way, of which none is common to all ({counts})"

    def mean(self, way: str, metric: str, analysis: Analysis) -> Estimate:
        """Average a metric on the scored split over the seeds of a way, with its interval.

        Args:
            way: One of the ways.
            metric: Name as in records; NaN where no run defines it.
            analysis: Lends rounds and seed of the bootstrap.
        """
        scores = (run.metrics[run.scored_split].get(metric) for run in self.table.runs[way])
        values = np.array([[value] for value in scores if value is not None], dtype=np.float64)
        if not len(values):
            return Estimate(np.nan, np.nan, np.nan)
        if len(values) == 1:
            return Estimate(float(values[0, 0]), np.nan, np.nan)
        rng = stream(analysis.seed, self.title, way, metric)
        drawn = aggregate.stratified_bootstrap(values, rng, analysis.rounds, aggregate.mean)
        low, high = aggregate.percentile_interval(drawn)
        return Estimate(float(values.mean()), float(low), float(high))


def compared_ways(analysis: Analysis) -> list[Ways]:
    """List what was trained in two ways or more."""
    comparisons = []
    for table in class_tables(analysis.study.records):
        if len(table.runs) < 2:
            continue
        runs = [run for members in table.runs.values() for run in members]
        keys = tuple(dict.fromkeys(run_of(run).key for run in runs))
        seeds = _common(table.runs)
        if seeds:
            kept = {w: [r for r in rs if r.seed in seeds] for w, rs in table.runs.items()}
            table = replace(table, runs=kept)
        comparisons.append(Ways(_title(runs[0], keys), table, keys, seeds))
    return _told_apart(comparisons)


def _common(runs: Mapping[str, list[RunRecord]]) -> tuple[int, ...]:
    first, *others = ({run.seed for run in members} for members in runs.values())
    return tuple(sorted(first.intersection(*others)))


def _title(run: RunRecord, keys: tuple[GroupKey, ...]) -> str:
    """Name the task, the model and what the groups share, which is all but the way."""
    return f"{run.task} {run.model} {replace(keys[0], imbalance=NONE).title}"


def _told_apart(comparisons: list[Ways]) -> list[Ways]:
    """Add the digest of the setting where two would have one title."""
    counts = Counter(ways.title for ways in comparisons)
    return [
        replace(ways, title=f"{ways.title}, setting {_setting(ways)}")
        if counts[ways.title] > 1
        else ways
        for ways in comparisons
    ]


def _setting(ways: Ways) -> str:
    return next(iter(ways.table.runs.values()))[0].run_id.rpartition("-")[2]
