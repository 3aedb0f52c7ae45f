"""Estimates of entries: interquartile means over sets of tasks, with intervals.

An estimate depends on its entry and the fixed reference ranges alone, never on other entries, and
equals that of a report with the same runs. It is computed once and kept in a file.
"""

import contextlib
import hashlib
import itertools
import json
import math
from functools import cache
from pathlib import Path
from threading import Lock
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from marsbench.base import paths
from marsbench.base.documents import parse_json
from marsbench.base.files import write_text
from marsbench.base.reading import read_text
from marsbench.leaderboard.board.entries import Entry, group_of
from marsbench.leaderboard.board.normalisation import normalisable, ranges_of
from marsbench.leaderboard.board.tasksets import Choice, TaskSet, all_sets
from marsbench.report.statistics import aggregate as agg
from marsbench.report.statistics.summary import ROUNDS, Estimate, stream
from marsbench.report.study.coverage import category_of
from marsbench.tasks.catalog import TASKS

VERSION = 1
"""Version of the computation; a new version discards all kept estimates."""

SEED = 0
"""Seed of the bootstrap."""

Floats = NDArray[np.float64]

Kept = dict[str, dict[str, list[float | None]]]
"""Value, low and high end by digests of the entry and of the tasks; None for no interval."""

_ALL = TaskSet("all", tuple(TASKS))


@cache
def _key(tasks: tuple[str, ...], choice: Choice) -> str:
    """Digest of the tasks, metrics and ranges of an aggregate."""
    ranges, members = ranges_of(choice), TaskSet("", tasks)
    pairs = [(*pair, ranges.low[pair], ranges.high[pair]) for pair in members.pairs(choice)]
    return hashlib.sha256(json.dumps(pairs).encode()).hexdigest()[:12]


class _Draws(NamedTuple):
    """Scores of an entry on the tasks of a category, and their bootstrap resamples.

    Attributes:
        tasks: Columns.
        scores: Shape (num_runs, num_tasks).
        samples: Shape (rounds, num_runs, num_tasks).
    """

    tasks: tuple[str, ...]
    scores: Floats
    samples: Floats


class Estimates:
    """Estimates, computed on demand and kept.

    Args:
        file: File of kept estimates; None for the file in ``MARSBENCH_HOME``.
    """

    def __init__(self, file: Path | None = None) -> None:
        name = f"estimates-{VERSION}-{ROUNDS}-{SEED}.json"
        self._file = paths.home() / "leaderboard" / name if file is None else file
        self._kept: Kept = _read(self._file)
        self._new = False
        self._lock = Lock()
        self._draws: dict[tuple[str, str, Choice], _Draws] = {}
        self._per_task: dict[tuple[str, Choice], dict[str, float]] = {}

    def over(self, entry: Entry, tasks: TaskSet, choice: Choice) -> Estimate | None:
        """Interquartile mean of the normalised scores on some tasks, over seeds and tasks.

        Args:
            entry: The entry.
            tasks: Tasks; those without a reference range are left out.
            choice: Metric of each task.

        Returns:
            The estimate; None if a task is missing, since aggregates over different tasks are not
            comparable, or if no task has a range. The interval is NaN with single seeds.
        """
        usable = normalisable(tasks, choice)
        if not usable.tasks or not entry.has(usable, choice):
            return None
        key = _key(usable.tasks, choice)
        ends = self._kept.get(entry.digest, {}).get(key)
        if ends is None:
            with self._lock:
                ends = self._compute(entry, usable, choice)
                self._kept.setdefault(entry.digest, {})[key] = ends
                self._new = True
        return Estimate(*(math.nan if end is None else end for end in ends))

    def prepare(self, entry: Entry) -> None:
        """Compute all estimates of an entry that a board shows."""
        for choice in Choice:
            for category in entry.categories:
                for tasks in all_sets(category):
                    self.over(entry, tasks, choice)

    def per_task(self, entry: Entry, choice: Choice) -> dict[str, float]:
        """Interquartile mean of the raw scores on each task of an entry."""
        key = (entry.digest, choice)
        if key not in self._per_task:
            pairs = [pair for pair in _ALL.pairs(choice) if pair in entry.scores]
            columns = [list(entry.scores[pair].values()) for pair in pairs]
            padded = itertools.zip_longest(*columns, fillvalue=math.nan)
            values = agg.iqm_per_task(np.array(list(padded)).reshape(-1, len(pairs)))
            tasks = [task for task, _ in pairs]
            self._per_task[key] = dict(zip(tasks, map(float, values), strict=True))
        return self._per_task[key]

    def keep(self) -> None:
        """Write new estimates to the file; if that fails they are computed again another time."""
        with self._lock:
            if not self._new:
                return
            with contextlib.suppress(OSError):
                self._file.parent.mkdir(parents=True, exist_ok=True)
                write_text(self._file, json.dumps(_read(self._file) | self._kept))
            self._new = False

    def _compute(self, entry: Entry, tasks: TaskSet, choice: Choice) -> list[float | None]:
        parts = [
            self._drawn(entry, category, choice)
            for category in dict.fromkeys(map(category_of, tasks.tasks))
        ]
        scale = ranges_of(choice).scale(tasks.pairs(choice))
        rows = max(len(part.scores) for part in parts)
        scores = np.full((rows, len(tasks.tasks)), np.nan)
        samples = np.full((ROUNDS, rows, len(tasks.tasks)), np.nan)
        for part in parts:
            columns = [tasks.tasks.index(task) for task in part.tasks if task in tasks.tasks]
            own = [part.tasks.index(tasks.tasks[column]) for column in columns]
            scores[: len(part.scores), columns] = part.scores[:, own]
            samples[:, : len(part.scores), columns] = part.samples[:, :, own]
        value = float(agg.iqm(scale(scores)))
        # Resampling single runs gives no interval.
        if (np.isfinite(scores).sum(axis=0) == 1).all():
            return [value, None, None]
        low, high = agg.percentile_interval(agg.iqm(scale(samples)))
        return [value, float(low), float(high)]

    def _drawn(self, entry: Entry, category: str, choice: Choice) -> _Draws:
        """Resample all scores of a category at once, as a report does."""
        key = (entry.digest, category, choice)
        if key not in self._draws:
            wanted = [task for task in TASKS if category_of(task) == category]
            group = group_of({entry.model: entry}, category, wanted, choice)
            scores = group.matrix(entry.model)
            rng = stream(SEED, group.key.words, entry.model)
            if any(digest != entry.digest for digest, *_ in self._draws):
                self._draws.clear()  # the resamples of one entry are in memory at a time
            self._draws[key] = _Draws(group.tasks, scores, agg.resample(scores, rng, ROUNDS))
        return self._draws[key]


def _read(file: Path) -> Kept:
    """Read kept estimates; a damaged file counts as empty, invalid estimates as missing."""
    try:
        content = parse_json(read_text(file))
    except (OSError, ValueError):
        return {}
    if not isinstance(content, dict):
        return {}
    return {
        digest: {key: ends for key, ends in known.items() if _is_estimate(ends)}
        for digest, known in content.items()
        if isinstance(known, dict)
    }


def _is_estimate(ends: object) -> bool:
    """Whether a value is an estimate: a number with an interval of numbers, or with none."""
    if not isinstance(ends, list) or len(ends) != 3:
        return False
    is_number = [type(end) in (int, float) and abs(end) < 1e12 for end in ends]
    return is_number[0] and (all(is_number) or ends[1:] == [None, None])
