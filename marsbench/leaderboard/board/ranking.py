"""Filters and rankings of entries."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from marsbench.leaderboard.board.entries import Entry
from marsbench.leaderboard.board.estimates import Estimates
from marsbench.leaderboard.board.normalisation import normalisable
from marsbench.leaderboard.board.tasksets import Choice, TaskSet
from marsbench.report.statistics import aggregate as agg
from marsbench.report.statistics.summary import Estimate
from marsbench.report.study.cells import FULL, metric_is_up

ANY = "any"
"""Choice of a filter that keeps all entries."""

UNKNOWN = "unknown"

SIZES: dict[str, tuple[float, float]] = {
    "up to 10 M": (0, 10e6),
    "10 to 50 M": (10e6, 50e6),
    "50 to 100 M": (50e6, 100e6),
    "100 to 500 M": (100e6, 500e6),
    "above 500 M": (500e6, float("inf")),
}
"""Ranges of the number of parameters, upper end included."""


def size_of(entry: Entry) -> str:
    """Key of `SIZES` of an entry, or `UNKNOWN`."""
    count = entry.parameters
    if count is None:
        return UNKNOWN
    return next(size for size, (low, high) in SIZES.items() if low < count <= high or not count)


@dataclass(frozen=True)
class Filters:
    """Filters of entries; an empty tuple, and `ANY`, keep all.

    Attributes:
        modes: Modes.
        protocols: Protocols.
        subset: Subset.
        sizes: Keys of `SIZES`, or `UNKNOWN`.
        pretraining: Data sets of the pre-training.
        overlap: A `marsbench.models.pretraining.Overlap`, or `ANY`.
        search: Words, all of which occur in the model, author, weights or data.
    """

    modes: tuple[str, ...] = ()
    protocols: tuple[str, ...] = ()
    subset: str = FULL
    sizes: tuple[str, ...] = ()
    pretraining: tuple[str, ...] = ()
    overlap: str = ANY
    search: str = ""

    def keep(self, entries: Iterable[Entry]) -> list[Entry]:
        """Keep the entries that pass all filters."""
        words = self.search.casefold().split()
        return [
            entry
            for entry in entries
            if (not self.modes or entry.mode in self.modes)
            and (not self.protocols or entry.protocol in self.protocols)
            and self.subset in (ANY, entry.subset)
            and (not self.sizes or size_of(entry) in self.sizes)
            and (not self.pretraining or entry.pretraining.data in self.pretraining)
            and self.overlap in (ANY, entry.pretraining.overlap)
            and all(word in _searched(entry) for word in words)
        ]


def _searched(entry: Entry) -> str:
    author, data = entry.author, entry.pretraining.data
    return " ".join([entry.label, author.name, author.organisation, entry.weights, data]).casefold()


@dataclass(frozen=True)
class Ranked:
    """An entry in a ranking.

    Attributes:
        entry: The entry.
        place: Place, 1 is best, shared by equal estimates; None if a task is missing.
        estimate: Interquartile mean over all tasks; None if a task is missing.
        mean_rank: Mean over tasks of its rank among the complete entries of the ranking; None if
            a task is missing.
        num_tasks: Number of tasks of the aggregate with scores.
    """

    entry: Entry
    place: int | None
    estimate: Estimate | None
    mean_rank: float | None
    num_tasks: int


def ranked(
    entries: Iterable[Entry], tasks: TaskSet, choice: Choice, estimates: Estimates
) -> list[Ranked]:
    """Rank entries by the interquartile mean over some tasks.

    Args:
        entries: Entries; those without a score on any of the tasks are left out.
        tasks: Tasks.
        choice: Metric of each task.
        estimates: Estimates of the entries.

    Returns:
        Complete entries, the best first; then entries with missing tasks, which have no place, by
        their number of tasks.
    """
    usable = normalisable(tasks, choice)
    complete: list[tuple[Entry, Estimate]] = []
    others: list[tuple[Entry, int]] = []
    for entry in entries:
        estimate = estimates.over(entry, usable, choice)
        if estimate is not None:
            complete.append((entry, estimate))
        elif entry.present(tasks, choice):
            others.append((entry, len(entry.present(usable, choice))))
    complete.sort(key=lambda item: (-item[1].value, item[0].label, item[0].name))
    others.sort(key=lambda item: (-item[1], item[0].label, item[0].name))
    means = _mean_ranks([entry for entry, _ in complete], usable, choice, estimates)
    places: dict[float, int] = {}
    for place, (_, estimate) in enumerate(complete, start=1):
        places.setdefault(estimate.value, place)
    placed = [
        Ranked(entry, places[estimate.value], estimate, mean, len(usable.tasks))
        for (entry, estimate), mean in zip(complete, means, strict=True)
    ]
    return placed + [Ranked(entry, None, None, None, count) for entry, count in others]


def _mean_ranks(
    entries: Sequence[Entry], tasks: TaskSet, choice: Choice, estimates: Estimates
) -> list[float]:
    if not entries:
        return []
    signs = np.array([1.0 if metric_is_up(m) else -1.0 for _, m in tasks.pairs(choice)])
    scores = [estimates.per_task(entry, choice) for entry in entries]
    table = np.array([[by_task[task] for task in tasks.tasks] for by_task in scores])
    means: list[float] = agg.ranks(table * signs).tolist()
    return means
