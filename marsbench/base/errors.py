"""Errors a user can mend, and the close matches they are told.

Everything raised on bad input derives from `MarsbenchError`. The command line prints it
without a traceback and exits with code 2; from Python it is an ordinary exception.
"""

from collections.abc import Iterable
from difflib import get_close_matches

SHOWN = 5
"""How many of a list of problems one message names."""


class MarsbenchError(Exception):
    """A problem whose message says what is wrong and what to do about it.

    Args:
        problem: What is wrong, naming the file or the value.
        remedy: What the user can do. May hold several lines.
    """

    def __init__(self, problem: str, remedy: str = "") -> None:
        super().__init__(problem, remedy)
        self.problem = problem
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.problem}\n{self.remedy}" if self.remedy else self.problem


class ConfigError(MarsbenchError):
    """A key or value of a configuration that cannot be used."""


class UnknownNameError(ConfigError):
    """A name that no table holds."""


class DataError(MarsbenchError):
    """Data that are missing, damaged or contradict their task."""


class DataNotFoundError(DataError):
    """Data that are in none of the places searched."""


class WeightsError(MarsbenchError):
    """Pre-trained weights or a checkpoint that cannot be had or do not fit."""


class NotAvailableError(MarsbenchError):
    """Something the tables list but this version cannot run."""


class TrainingError(MarsbenchError):
    """A training that cannot go on, such as one whose loss is not a number."""


class StoreError(MarsbenchError):
    """A record or store that cannot be read or written."""


class NothingYetError(StoreError):
    """A store in which no run of a plan has finished yet."""


class BusyError(StoreError):
    """A run that another process is at."""


def unknown_name(what: str, name: str, choices: Iterable[str], hint: str = "") -> UnknownNameError:
    """Build the error for a name that is not among the choices.

    Args:
        what: What the name stands for, such as ``"task"``.
        name: The name that was given.
        choices: The names that exist.
        hint: What else the user can do, such as the command that lists the names.
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


def some(items: Iterable[str], separator: str = ", ", count: int = SHOWN) -> str:
    """Join the first `count` items of a list, and say how many more there are."""
    texts = list(items)
    more = f"{separator}and {len(texts) - count} more" if len(texts) > count else ""
    return separator.join(texts[:count]) + more
