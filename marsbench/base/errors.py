"""Errors with remedies, and close matches for unknown names.

All errors on bad input derive from `MarsbenchError`. The command line prints the message without
a traceback and exits with code 2; in Python they are ordinary exceptions.
"""

import contextlib
import errno
from collections.abc import Iterable, Iterator
from difflib import get_close_matches

SHOWN = 5
"""Number of items listed in a message."""


class MarsbenchError(Exception):
    """A problem and its remedy.

    Args:
        problem: The problem, with the file or value.
        remedy: Advice to the user, a line or more.
    """

    exit_code = 2
    """Exit code of the command line."""

    def __init__(self, problem: str, remedy: str = "") -> None:
        super().__init__(problem, remedy)
        self.problem = problem
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.problem}\n{self.remedy}" if self.remedy else self.problem


class ConfigError(MarsbenchError):
    """Invalid key or value of a configuration."""


class UnknownNameError(ConfigError):
    """Unknown name of a table entry."""


class DataError(MarsbenchError):
    """Data are missing, damaged or contradict their task."""


class DataNotFoundError(DataError):
    """Data not found at any of the searched places."""


class WeightsError(MarsbenchError):
    """Weights or a checkpoint are unavailable or do not fit the model."""


class NotAvailableError(MarsbenchError):
    """Unsupported combination, or missing package."""


class EndpointError(MarsbenchError):
    """Endpoint of a model that is missing, refuses requests, or fails."""


class TrainingError(MarsbenchError):
    """Training cannot continue, for example after a NaN loss."""


class DeviceLostError(MarsbenchError):
    """Lost GPU: this process must end, and no run is marked as failed."""

    exit_code = 70
    """EX_SOFTWARE, as after a bug: a new process may succeed."""


class GpuSharedError(DeviceLostError):
    """Too little memory on a GPU that serves other workers too; the run has to run alone."""

    exit_code = 71


class StoreError(MarsbenchError):
    """Unreadable or unwritable record or store."""


class NothingYetError(StoreError):
    """Store without a finished run of the plan."""


class BusyError(StoreError):
    """Run in progress in another process."""


def causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and its causes."""
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        yield link
        link = link.__cause__ or link.__context__


_FULL = (errno.ENOSPC, errno.EDQUOT)

_FULL_TEXTS = ("No space left on device", "Disk quota exceeded", "PytorchStreamWriter failed")
"""Texts of writers in C++ and Rust, which give no error number."""

SHARED_MEMORY = "file </torch_"
"""Text of torch on tensors in shared memory, which may have "no space left on device" as well."""


def is_disk_full(error: BaseException) -> bool:
    """Whether an error, or a cause of the error, is a full disk or an exceeded quota."""
    return any(
        (isinstance(link, OSError) and link.errno in _FULL)
        or (any(text in str(link) for text in _FULL_TEXTS) and SHARED_MEMORY not in str(link))
        for link in causes(error)
    )


def unknown_name(what: str, name: str, choices: Iterable[str], hint: str = "") -> UnknownNameError:
    """Build the error for an unknown name, with close matches.

    Args:
        what: Sort of name, such as ``"task"``.
        name: The given name.
        choices: Valid names.
        hint: Further advice, such as the command that lists the names.
    """
    known = sorted(set(choices))
    by_lower = {choice.lower(): choice for choice in known}
    close = [by_lower[m] for m in get_close_matches(name.lower(), list(by_lower), n=3, cutoff=0.6)]
    if close:
        remedy = f"Did you mean {' or '.join(close)}?"
    elif len(known) <= 12:
        remedy = f"Choose one of: {', '.join(known)}."
    else:
        remedy = ""
    return UnknownNameError(f"Unknown {what} '{name}'.", " ".join(p for p in (remedy, hint) if p))


def check_names(what: str, names: Iterable[str], choices: Iterable[str]) -> None:
    """Raise the error for the first unknown name, with close matches."""
    known = list(choices)
    for name in names:
        if name not in known:
            raise unknown_name(what, name, known)


def some(items: Iterable[str], separator: str = ", ", count: int = SHOWN) -> str:
    """Join the first `count` items of a list, and count the others."""
    texts = list(items)
    more = f"{separator}and {len(texts) - count} more" if len(texts) > count else ""
    return separator.join(texts[:count]) + more


@contextlib.contextmanager
def collecting(problems: list[DataError] | None) -> Iterator[None]:
    """Append an error of the block to a list; without a list, raise the error."""
    try:
        yield
    except DataError as error:
        if problems is None:
            raise
        problems.append(error)
