"""Progress bars with an ETA on terminals and in notebooks; elsewhere a line now and then."""

import contextlib
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from importlib.util import find_spec
from typing import TYPE_CHECKING, Protocol, TypeVar

from marsbench.base.text import inline, visible

if TYPE_CHECKING:
    from rich.progress import Progress, ProgressColumn, TaskID

T = TypeVar("T")

EVERY = 30.0
"""Seconds between two lines where there is no bar."""


def tell(text: str) -> None:
    """Print a line to standard error; standard output is for results.

    A line that cannot be written, such as to a log on a full disk, ends no work.
    """
    with contextlib.suppress(OSError):
        sys.stderr.write(f"{visible(text)}\n")


class Bar(Protocol):
    """Progress of a known number of steps; called with the steps done since the last call."""

    def __call__(self, amount: int, /) -> None:
        """Advance; a negative amount goes back."""

    def describe(self, text: str, /) -> None:
        """Replace the text before the bar."""


def track(items: Iterable[T], description: str, total: int) -> Iterator[T]:
    """Yield items with a progress bar on standard error."""
    if not has_bars():
        lines = _Lines(description, total, 0, _count)
        for item in items:
            yield item
            lines(1)
        return
    from rich.progress import MofNCompleteColumn

    with rich_progress(MofNCompleteColumn()) as progress:
        yield from progress.track(items, total=total, description=inline(description))


@contextlib.contextmanager
def steps(description: str, total: int, done: int = 0) -> Iterator[Bar]:
    """Show a progress bar of steps on standard error.

    Args:
        description: Text before the bar.
        total: Number of steps.
        done: Steps of an earlier, interrupted process; the ETA does not count them.

    Yields:
        The bar.
    """
    if not has_bars():
        yield _Lines(description, total, done, _count)
        return
    from rich.progress import MofNCompleteColumn

    with rich_progress(MofNCompleteColumn()) as progress:
        yield _RichBar(progress, progress.add_task(inline(description), True, total, done))


@contextlib.contextmanager
def bar(description: str, total: int) -> Iterator[Bar]:
    """Show a progress bar of bytes on standard error.

    Args:
        description: Text before the bar.
        total: Total bytes; 0 if unknown.

    Yields:
        The bar, called with the bytes received since the last call; negative after a loss.
    """
    if not has_bars():
        yield _Lines(description, total, 0, _megabytes)
        return
    from rich.progress import DownloadColumn, TransferSpeedColumn

    with rich_progress(DownloadColumn(), TransferSpeedColumn()) as progress:
        yield _RichBar(progress, progress.add_task(inline(description), total=total or None))


def has_bars() -> bool:
    """Whether bars can be drawn: on a terminal, or in a notebook with ipywidgets."""
    return sys.stderr.isatty() or _in_notebook()


def _in_notebook() -> bool:
    if "IPython" not in sys.modules or find_spec("ipywidgets") is None:
        return False
    from rich.console import Console

    return Console().is_jupyter


def rich_progress(*amounts: "ProgressColumn", eta: str = "ETA") -> "Progress":
    """Build a bar, not started: description, bar, given columns, elapsed and remaining time."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        *amounts,
        TimeElapsedColumn(),
        TextColumn(eta),
        TimeRemainingColumn(),
    )
    # A notebook shows widgets, which belong to no stream.
    return Progress(*columns, console=Console(stderr=sys.stderr.isatty()), transient=True)


class _RichBar:
    """Bar of a terminal or notebook."""

    def __init__(self, progress: "Progress", task: "TaskID") -> None:
        self._progress, self._task = progress, task

    def __call__(self, amount: int, /) -> None:
        self._progress.advance(self._task, amount)

    def describe(self, text: str, /) -> None:
        self._progress.update(self._task, description=inline(text))


class _Lines:
    """Lines in place of a bar, at most one every `EVERY` seconds."""

    def __init__(self, description: str, total: int, done: int, form: Callable[[int], str]) -> None:
        self._description, self._form = inline(description), form
        self._total, self._first, self._done = total, done, done
        self._started = self._told = time.monotonic()

    def __call__(self, amount: int, /) -> None:
        self._done += amount
        now = time.monotonic()
        if now - self._told >= EVERY and self._done != self._total:
            self._told = now
            of = f" of {self._form(self._total)}" if self._total else ""
            left = self._total - self._done
            eta = remaining(now - self._started, self._done - self._first, left)
            tell(f"{self._description}: {self._form(self._done)}{of}{eta}")

    def describe(self, text: str, /) -> None:
        self._description = inline(text)


def remaining(seconds: float, done: int, left: int, eta: str = "ETA") -> str:
    """Text of the remaining time, after a comma; empty if unknown or over.

    Args:
        seconds: Seconds of the steps done.
        done: Steps done.
        left: Steps left.
        eta: Word for the time.
    """
    if done <= 0 or left <= 0:
        return ""
    return f", {eta} {timedelta(seconds=round(seconds / done * left))}"


def _count(number: int) -> str:
    return f"{number:,}"


def _megabytes(number: int) -> str:
    return f"{number / 1e6:.1f} MB"
