"""Methods for unequal classes, compared seed by seed."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from marsbench.report.analysis import Analysis
from marsbench.report.names import lowered, model_title
from marsbench.report.statistics import aggregate
from marsbench.report.statistics.summary import Estimate, estimate_of, stream
from marsbench.report.study.cells import NONE, GroupKey
from marsbench.report.study.scores import run_of
from marsbench.results.classes import ClassTable, class_tables
from marsbench.results.record import RunRecord


@dataclass(frozen=True)
class Ways:
    """Runs of equal settings except the method for unequal classes and the seed.

    Attributes:
        words: Task, model and common settings of their groups, which name files and random streams.
        title: The same for readers.
        table: Runs of each method and train samples of each class.
        keys: Keys of their groups.
        seeds: Seeds shared by all methods, to which `table` is restricted; empty if no seed is
            shared, and then `table` has all runs.
    """

    words: str
    title: str
    table: ClassTable
    keys: tuple[GroupKey, ...]
    seeds: tuple[int, ...]

    @property
    def over(self) -> str:
        """Seeds of the means, in words."""
        if self.seeds:
            named = ", ".join(map(str, self.seeds))
            return f"over the seed{'s' * (len(self.seeds) > 1)} shared by all methods ({named})"
        counts = ", ".join(f"{way}: {len(runs)}" for way, runs in self.table.runs.items())
        return f"over all seeds of each method, since no seed is shared ({counts})"

    def mean(self, way: str, metric: str, analysis: Analysis) -> Estimate:
        """Mean of a metric on the scored split over the seeds of a method, with an interval.

        Args:
            way: Method.
            metric: Name as in records; undefined metrics give NaN.
            analysis: Source of rounds and seed of the bootstrap.
        """
        scores = (run.metrics[run.scored_split].get(metric) for run in self.table.runs[way])
        values = np.array([value for value in scores if value is not None], dtype=np.float64)
        rng = stream(analysis.seed, self.words, way, metric)
        return estimate_of(values, rng, analysis.rounds, aggregate.mean)


def compared_ways(analysis: Analysis) -> list[Ways]:
    """List models trained with two methods or more."""
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
        comparisons.append(Ways(*_names(runs[0], keys), table, keys, seeds))
    return _disambiguated(comparisons)


def _common(runs: Mapping[str, list[RunRecord]]) -> tuple[int, ...]:
    first, *others = ({run.seed for run in members} for members in runs.values())
    return tuple(sorted(first.intersection(*others)))


def _names(run: RunRecord, keys: tuple[GroupKey, ...]) -> tuple[str, str]:
    """Words and title of task, model and common settings, without the method."""
    key = replace(keys[0], imbalance=NONE)
    words = f"{run.task} {run.model} {key.words}"
    return words, f"{model_title(run.model)} on {run.task}, {lowered(key.title)}"


def _disambiguated(comparisons: list[Ways]) -> list[Ways]:
    """Make names unique by the digest of the setting."""
    counts = Counter(ways.words for ways in comparisons)
    return [
        replace(ways, words=ways.words + more, title=ways.title + more)
        for ways in comparisons
        for more in [f", setting {_setting(ways)}" * (counts[ways.words] > 1)]
    ]


def _setting(ways: Ways) -> str:
    return next(iter(ways.table.runs.values()))[0].run_id.rpartition("-")[2]
