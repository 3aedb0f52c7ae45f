"""Progress of sweeps, from records, failures and heartbeats of workers."""

import contextlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from marsbench.base.documents import parse_json
from marsbench.base.errors import StoreError
from marsbench.base.reading import read_text
from marsbench.config.identity import is_run_id
from marsbench.results.record import EVALUATION
from marsbench.results.store import CONFIG, FAILED, RECORD, Store, read_record
from marsbench.sweep.heartbeat import STALE, Heartbeat, heartbeats
from marsbench.sweep.units import SWEEP, SWEEPS, WAS_FULL

WINDOW = 3600.0
"""Seconds over which throughput is measured."""


@dataclass(frozen=True)
class Progress:
    """Counts of runs by state.

    Attributes:
        runs: All runs.
        done: Runs with a record.
        running: Runs in the unit of a live worker.
        failed: Runs whose last attempt failed.
        to_do: All other runs.
        recent: Records of the last hour.
        per_hour: Throughput of the last hour; None without a recent record.
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
        """Seconds to the end at the current throughput; None if unknown."""
        left = self.running + self.to_do
        return left / self.per_hour * 3600 if left and self.per_hour else None


def progress(store: Store, ids: Iterable[str], workers: Sequence[Heartbeat]) -> Progress:
    """Count runs by state.

    Args:
        store: Store of the records.
        ids: Run ids.
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
            # Records appear by rename, so the modification time is about the creation time.
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
        # A sweep younger than the window made its records in its own lifetime.
        began = [_time(b.started) for b in workers if b.age < STALE]
        span = now - min(times + [t for t in began if now - t < WINDOW])
        per_hour = len(times) / max(span, 1.0) * 3600
    to_do = runs - done - failed - running
    return Progress(runs, done, running, failed, to_do, len(times), per_hour)


def _created(path: Path, default: float) -> float:
    """Creation time of a record in seconds, from its content: a copied file is newer."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        return _time(parse_json(read_text(path))["created"])
    return default


def _time(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


@dataclass(frozen=True)
class Sweep:
    """A started sweep.

    Attributes:
        name: Name of its folder.
        suite: Name of its suite.
        launcher: Name of its launcher.
        started: Start time, UTC, ISO 8601.
        ids: Run ids.
    """

    name: str
    suite: str
    launcher: str
    started: str
    ids: tuple[str, ...]


def sweeps(store: Store) -> list[Sweep]:
    """Read the started sweeps of a store, oldest first."""
    started = []
    for path in sorted((store.root / SWEEPS).glob(f"*/{SWEEP}")):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            content = parse_json(read_text(path))
            suite, launcher, time = (str(content[k]) for k in ("suite", "launcher", "time"))
            ids = tuple(filter(is_run_id, content["ids"]))
            started.append(Sweep(path.parent.name, suite, launcher, time, ids))
    return sorted(started, key=lambda sweep: sweep.started)


def disk_was_full(store: Store) -> str | None:
    """Name of the newest sweep of a store, if its workers stopped on a full disk."""
    folders = sorted(
        (store.root / SWEEPS).glob(f"*/{SWEEP}"), key=lambda path: path.stat().st_mtime
    )
    if folders and (folders[-1].parent / WAS_FULL).exists():
        return folders[-1].parent.name
    return None


def workers_of(store: Store) -> list[Heartbeat]:
    """Read the heartbeats of a store."""
    return list(heartbeats(store.root))


def ids_on_disk(store: Store) -> set[str]:
    """Ids of all runs with a record or a recorded failure, without evaluations."""
    pattern = "/".join(["[!.]*"] * 5)
    return {
        path.parent.relative_to(store.root).as_posix()
        for name in (RECORD, FAILED)
        for path in store.root.glob(f"{pattern}/{name}")
        if not _is_evaluation(path)
    }


def _is_evaluation(path: Path) -> bool:
    """Whether a record is an evaluation; runs have a config, and are not read."""
    if path.name != RECORD or (path.parent / CONFIG).exists():
        return False
    with contextlib.suppress(StoreError):
        return read_record(path).record_type == EVALUATION
    return False
