"""Heartbeat files of running workers."""

import contextlib
import json
import os
import platform
import threading
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from marsbench.base.documents import parse_json
from marsbench.base.files import write_text
from marsbench.base.reading import read_text
from marsbench.base.values import build
from marsbench.config.identity import is_run_id
from marsbench.results.store import now
from marsbench.sweep.units import SWEEPS, WORKERS

EVERY = 20.0
"""Seconds between two beats."""

STALE = 180.0
"""Seconds without a beat after which a worker counts as lost."""


@dataclass(frozen=True)
class Heartbeat:
    """State of a running worker.

    Attributes:
        host: Host name.
        pid: Process id.
        unit: Name of the unit file.
        ids: Run ids of the unit.
        current: Id of the current run; None between runs and while a bank trains several.
        started: Start of the unit, UTC, ISO 8601.
        updated: Time of the last beat, UTC, ISO 8601.
    """

    host: str
    pid: int
    unit: str
    ids: tuple[str, ...]
    current: str | None
    started: str
    updated: str

    def __post_init__(self) -> None:
        """Check the times.

        Raises:
            ValueError: If a time is not ISO 8601 with a zone.
        """
        for text in (self.started, self.updated):
            if datetime.fromisoformat(text).tzinfo is None:
                raise ValueError(text)

    @property
    def age(self) -> float:
        """Seconds since the last beat."""
        return (datetime.now(UTC) - datetime.fromisoformat(self.updated)).total_seconds()


class Beating:
    """Thread to update a worker's heartbeat file.

    Args:
        path: Heartbeat file.
        beat: Initial content.
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
        """Set the current run."""
        self._beat = replace(self._beat, current=run_id)
        self._write()

    def _go_on(self) -> None:
        while not self._stop.wait(EVERY):
            self._write()

    def _write(self) -> None:
        with self._lock, contextlib.suppress(OSError):
            # A heartbeat that cannot be written must not stop the work.
            self._beat = replace(self._beat, updated=now())
            write_text(self.path, json.dumps(asdict(self._beat)) + "\n")


def beating(sweep: Path, unit: Path, ids: Sequence[str]) -> Beating:
    """Update a heartbeat file while this process works on a unit (a context manager)."""
    host, pid = platform.node(), os.getpid()
    folder = sweep / WORKERS
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
    beat = Heartbeat(host, pid, unit.name, tuple(ids), None, now(), now())
    return Beating(folder / f"{host}-{pid}.json", beat)


def heartbeats(store: Path) -> Iterator[Heartbeat]:
    """Yield the heartbeats of a store's sweeps."""
    for path in sorted((store / SWEEPS).glob(f"*/{WORKERS}/*.json")):
        # A worker may end and remove its file at any time.
        with contextlib.suppress(OSError, ValueError, TypeError, AttributeError):
            content = parse_json(read_text(path))
            beat = build(Heartbeat, content, [], strict=True)
            if beat and all(map(is_run_id, beat.ids)):
                yield beat
