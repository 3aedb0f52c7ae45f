"""Progress bars with an ETA; silent when standard error is not a terminal."""

import contextlib
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, TypeVar

from marsbench.base.text import inline, visible

if TYPE_CHECKING:
    from rich.progress import Progress, ProgressColumn

T = TypeVar("T")


def tell(text: str) -> None:
    """Print a line to standard error; standard output is for results.

    A line that cannot be written, such as to a log on a full disk, ends no work.
    """
    with contextlib.suppress(OSError):
        sys.stderr.write(f"{visible(text)}\n")


def track(items: Iterable[T], description: str, total: int) -> Iterator[T]:
    """Yield items with a progress bar on standard error."""
    if not sys.stderr.isatty():
        yield from items
        return
    from rich.progress import MofNCompleteColumn

    with _progress(MofNCompleteColumn()) as progress:
        yield from progress.track(items, total=total, description=inline(description))


@contextlib.contextmanager
def steps(description: str, total: int) -> Iterator[Callable[[int], None]]:
    """Show a progress bar of steps on standard error.

    Args:
        description: Text before the bar.
        total: Number of steps.

    Yields:
        A function to call with the number of steps done since the last call.
    """
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.progress import MofNCompleteColumn

    with _progress(MofNCompleteColumn()) as progress:
        task = progress.add_task(inline(description), total=total)
        yield lambda amount: progress.advance(task, amount)


@contextlib.contextmanager
def bar(description: str, total: int) -> Iterator[Callable[[int], None]]:
    """Show a progress bar of bytes on standard error.

    Args:
        description: Text before the bar.
        total: Total bytes; 0 if unknown.

    Yields:
        A function to call with the bytes received since the last call; negative after a loss.
    """
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.progress import DownloadColumn, TransferSpeedColumn

    with _progress(DownloadColumn(), TransferSpeedColumn()) as progress:
        task = progress.add_task(inline(description), total=total or None)
        yield lambda amount: progress.advance(task, amount)


def _progress(*amounts: "ProgressColumn") -> "Progress":
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
        TextColumn("ETA"),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=Console(stderr=True), transient=True)
