"""The entries of a running board, read again when their sources change."""

import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from marsbench.base.errors import MarsbenchError
from marsbench.base.progress import tell
from marsbench.leaderboard.board.entries import Entry
from marsbench.leaderboard.board.estimates import Estimates
from marsbench.leaderboard.board.results import Results
from marsbench.leaderboard.board.sources import paper_entries, store_entries, store_names
from marsbench.leaderboard.board.tasksets import Choice, categories
from marsbench.leaderboard.schema import Check
from marsbench.results.store import now

INTERVAL = 300.0
"""Seconds after which the sources are looked at again, when somebody opens the page."""


@dataclass(frozen=True)
class Board:
    """Entries at a time.

    Attributes:
        entries: Entries, the paper's first.
        notes: Runs and submissions left out, in sentences.
        loaded: Time of reading, UTC, ISO 8601.
    """

    entries: tuple[Entry, ...] = field(repr=False)
    notes: tuple[str, ...] = field(default=(), repr=False)
    loaded: str = field(default_factory=now)

    def entry(self, name: str | None) -> Entry | None:
        """Entry by its name; None if there is none."""
        return next((entry for entry in self.entries if entry.name == name), None)

    def opening(self) -> Choice:
        """Metric that a board opens with: the headline, if an entry has a whole category of it."""
        for entry in self.entries:
            if any(entry.has(tasks, Choice.HEADLINE) for tasks in categories().values()):
                return Choice.HEADLINE
        return Choice.PAPER if self.entries else Choice.HEADLINE


class Live:
    """A board and its estimates.

    Args:
        stores: Folders of local runs.
        results: Results repository: a folder, or ``hf://datasets/ORG/NAME``; None for none.

    Raises:
        MarsbenchError: If a store or the results cannot be read.
    """

    def __init__(self, stores: Sequence[Path] = (), results: str | None = None) -> None:
        self._stores = store_names(stores)
        self._results = None if results is None else Results(results)
        self.estimates = Estimates()
        self._lock = threading.Lock()
        self._looked = time.monotonic()
        self._thread: threading.Thread | None = None
        self._paper = paper_entries()
        self.board = self._read()

    def checks(self) -> Iterator[Check]:
        """Checks of the submissions on the board."""
        if self._results is not None:
            yield from self._results.checks()

    def look(self) -> None:
        """Read the sources again in the background, if the last look was long ago."""
        if time.monotonic() - self._looked > INTERVAL and self._lock.acquire(blocking=False):
            self._looked = time.monotonic()
            self._thread = threading.Thread(target=self._again, daemon=True)
            self._thread.start()

    def prepare(self) -> None:
        """Compute all estimates in the background, so that filters and tabs answer at once."""
        threading.Thread(target=self._prepare, daemon=True).start()

    def _prepare(self) -> None:
        for number, entry in enumerate(self.board.entries):
            self.estimates.prepare(entry)
            if number % 100 == 0:
                self.estimates.keep()
        self.estimates.keep()

    def wait(self) -> None:
        """Wait until a look in the background has ended."""
        if self._thread is not None:
            self._thread.join()

    def _again(self) -> None:
        try:
            board = self._read()
            if (board.entries, board.notes) != (self.board.entries, self.board.notes):
                self.board = board
                self._prepare()
        except MarsbenchError as error:
            # What was read before stays on the board.
            tell(f"The board was not read again: {error.problem}")
        finally:
            self._lock.release()

    def _read(self) -> Board:
        loaded = [self._paper, *(store_entries(*store) for store in self._stores.items())]
        if self._results is not None:
            loaded.append(self._results.load())
        entries = [entry for source in loaded for entry in source.entries]
        return Board(tuple(entries), tuple(note for source in loaded for note in source.notes))
