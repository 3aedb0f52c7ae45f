"""Progress bars with an ETA; silent when standard error is not a terminal."""

import contextlib
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from rich.progress import Progress, ProgressColumn

T = TypeVar("T")


def tell(text: str) -> None:
    """Print a line to standard error, where it cannot mix with results."""
    sys.stderr.write(f"{text}\n")


def track(items: Iterable[T], description: str, total: int) -> Iterator[T]:
    """Yield the items while a bar on standard error shows how far they are and how long yet."""
    if not sys.stderr.isatty():
        yield from items
        return
    from rich.progress import MofNCompleteColumn

    with _progress(MofNCompleteColumn()) as progress:
        yield from progress.track(items, total=total, description=description)


@contextlib.contextmanager
def steps(description: str, total: int) -> Iterator[Callable[[int], None]]:
    """Show on standard error how many of so many things are done.

    Args:
        description: What is going on.
        total: How many there are.

    Yields:
        A function to call with each number of things that are done now.
    """
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.progress import MofNCompleteColumn

    with _progress(MofNCompleteColumn()) as progress:
        task = progress.add_task(description, total=total)
        yield lambda amount: progress.advance(task, amount)


@contextlib.contextmanager
def bar(description: str, total: int) -> Iterator[Callable[[int], None]]:
    """Show on standard error how many of so many bytes are there, how fast and how long yet.

    Args:
        description: What is going on.
        total: Bytes in all; 0 if that is not known.

    Yields:
        A function to call with each number of bytes that came; negative if some were lost.
    """
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.progress import DownloadColumn, TransferSpeedColumn

    with _progress(DownloadColumn(), TransferSpeedColumn()) as progress:
        task = progress.add_task(description, total=total or None)
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
        TextColumn("{task.description}"),
        BarColumn(),
        *amounts,
        TimeElapsedColumn(),
        TextColumn("ETA"),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=Console(stderr=True), transient=True)
