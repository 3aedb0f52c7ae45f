"""How far sweeps are: by records, words of failures, and heartbeats of workers."""

import contextlib
import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from marsbench.results.store import FAILED, RECORD, Store
from marsbench.sweep.heartbeat import STALE, Heartbeat, heartbeats
from marsbench.sweep.units import SWEEP, SWEEPS

WINDOW = 3600.0
"""Seconds of which the throughput is taken."""


@dataclass(frozen=True)
class Progress:
    """How far some runs are.

    Attributes:
        runs: How many there are.
        done: Those with a record.
        running: Those that a worker is at, or has before it in its unit.
        failed: Those whose last attempt failed.
        to_do: The others.
        recent: Records of the last hour.
        per_hour: Runs finished per hour, of the last hour; None if none were.
    """

    runs: int
    done: int
    running: int
    failed: int
    to_do: int
    recent: int
    per_hour: float | None

    @property
    def eta(self) -> float | None:
        """Seconds until all are done, if it goes on like this; None if that cannot be said."""
        left = self.running + self.to_do
        return left / self.per_hour * 3600 if left and self.per_hour else None


def progress(store: Store, ids: Iterable[str], workers: Sequence[Heartbeat]) -> Progress:
    """See how far runs are.

    Args:
        store: Where their records are.
        ids: Their ids.
        workers: Heartbeats of the store.
    """
    at_work = {run_id for beat in workers if beat.age < STALE for run_id in beat.ids}
    runs = done = running = failed = 0
    finished: list[float] = []
    now = datetime.now(UTC).timestamp()
    for run_id in ids:
        runs += 1
        folder = f"{store.root}/{run_id}"
        try:
            # Records appear by rename, so this is about when one was made.
            if now - os.stat(f"{folder}/{RECORD}").st_mtime < WINDOW:  # noqa: PTH116
                finished.append(_created(Path(folder, RECORD), now))
            done += 1
        except OSError:
            if os.path.exists(f"{folder}/{FAILED}"):  # noqa: PTH110
                failed += 1
            elif run_id in at_work:
                running += 1
    times = [time for time in finished if now - time < WINDOW]
    per_hour = None
    if times:
        # A sweep that began ten minutes ago has made its records in ten minutes.
        began = [_time(b.started) for b in workers if b.age < STALE]
        span = now - min(times + [t for t in began if now - t < WINDOW])
        per_hour = len(times) / max(span, 1.0) * 3600
    to_do = runs - done - failed - running
    return Progress(runs, done, running, failed, to_do, len(times), per_hour)


def _created(path: Path, default: float) -> float:
    """When a record was made, in seconds; copies of records are not counted as made just now."""
    with contextlib.suppress(OSError, ValueError, KeyError):
        return _time(json.loads(path.read_text(encoding="utf-8"))["created"])
    return default


def _time(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


@dataclass(frozen=True)
class Sweep:
    """A sweep that was started.

    Attributes:
        name: Its name.
        suite: Its suite.
        launcher: Its launcher.
        started: When, UTC, ISO 8601.
        ids: Ids of its runs.
    """

    name: str
    suite: str
    launcher: str
    started: str
    ids: tuple[str, ...]


def sweeps(store: Store) -> list[Sweep]:
    """Read what sweeps were started over a store, the oldest first."""
    found = []
    for path in sorted((store.root / SWEEPS).glob(f"*/{SWEEP}")):
        with contextlib.suppress(OSError, ValueError, KeyError):
            content = json.loads(path.read_text(encoding="utf-8"))
            suite, launcher, time = (str(content[k]) for k in ("suite", "launcher", "time"))
            found.append(Sweep(path.parent.name, suite, launcher, time, tuple(content["ids"])))
    return sorted(found, key=lambda sweep: sweep.started)


def workers_of(store: Store) -> list[Heartbeat]:
    """Read the heartbeats of a store."""
    return list(heartbeats(store.root))


def ids_on_disk(store: Store) -> set[str]:
    """Ids of every run that left a record or word of a failure."""
    pattern = "/".join(["[!.]*"] * 5)
    return {
        path.parent.relative_to(store.root).as_posix()
        for name in (RECORD, FAILED)
        for path in store.root.glob(f"{pattern}/{name}")
    }
