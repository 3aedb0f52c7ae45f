"""What a worker at work leaves word of: a small file, touched while it lives."""

import contextlib
import json
import os
import platform
import threading
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from marsbench.base.files import write_text
from marsbench.results.store import now
from marsbench.sweep.units import WORKERS

EVERY = 20.0
"""Seconds between two beats."""

STALE = 180.0
"""Seconds without a beat after which a worker is taken for lost."""


@dataclass(frozen=True)
class Heartbeat:
    """A worker at work.

    Attributes:
        host: Its machine.
        pid: Its process there.
        unit: Name of the unit file.
        ids: Run ids of the unit.
        current: The run it is at; None between two, and while runs are carried out together.
        started: When it took up the unit, UTC, ISO 8601.
        updated: When it last said so.
    """

    host: str
    pid: int
    unit: str
    ids: tuple[str, ...]
    current: str | None
    started: str
    updated: str

    @property
    def age(self) -> float:
        """Seconds since the last beat."""
        return (datetime.now(UTC) - datetime.fromisoformat(self.updated)).total_seconds()


class Beating:
    """Keeps a worker's file up to date, from a thread beside the work.

    Args:
        path: The file.
        beat: What it says at first.
    """

    def __init__(self, path: Path, beat: Heartbeat) -> None:
        self.path = path
        self._beat = beat
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._go_on, daemon=True)

    def __enter__(self) -> "Beating":
        self._write()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(timeout=5)
        with contextlib.suppress(OSError):
            self.path.unlink(missing_ok=True)

    def at(self, run_id: str | None) -> None:
        """Say which run the worker is at."""
        self._beat = replace(self._beat, current=run_id)
        self._write()

    def _go_on(self) -> None:
        while not self._stop.wait(EVERY):
            self._write()

    def _write(self) -> None:
        with self._lock, contextlib.suppress(OSError):
            # Work that goes on must not stop because nobody can be told.
            self._beat = replace(self._beat, updated=now())
            write_text(self.path, json.dumps(asdict(self._beat)) + "\n")


def beating(sweep: Path, unit: Path, ids: Sequence[str]) -> Beating:
    """Begin to say that this process works on a unit; used as a context."""
    host, pid = platform.node(), os.getpid()
    folder = sweep / WORKERS
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
    beat = Heartbeat(host, pid, unit.name, tuple(ids), None, now(), now())
    return Beating(folder / f"{host}-{pid}.json", beat)


def heartbeats(store: Path) -> Iterator[Heartbeat]:
    """Read the heartbeats of a store's sweeps."""
    from marsbench.sweep.units import SWEEPS

    for path in sorted((store / SWEEPS).glob(f"*/{WORKERS}/*.json")):
        # A worker may end, and remove its file, at any time.
        with contextlib.suppress(OSError, ValueError, TypeError):
            content = json.loads(path.read_text(encoding="utf-8"))
            yield Heartbeat(**{**content, "ids": tuple(content["ids"])})
