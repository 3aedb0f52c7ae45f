"""Pace of the requests of all threads: a rate, waits that the endpoint asks for, and retries."""

import random
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from marsbench.base.errors import EndpointError
from marsbench.base.progress import tell
from marsbench.training.zero_shot.endpoint.client import TransientError, UnreachableError

T = TypeVar("T")

FIRST_WAIT, LONGEST_WAIT = 1.0, 60.0
"""Seconds before the first retry, doubled for every further one, and the longest of them."""

MOST_PATIENCE = 900.0
"""Longest wait that an endpoint may ask for, in seconds; a longer one ends the run."""


class StoppedError(Exception):
    """The run ends; the request was not made."""


class Pace:
    """Shared pace of several threads.

    Args:
        per_minute: Most requests per minute; None for no limit.
        max_retries: Retries of a request.
        stop: Set when the run ends, which ends all waits.
    """

    def __init__(self, per_minute: float | None, max_retries: int, stop: threading.Event) -> None:
        self._gap = 0.0 if per_minute is None else 60.0 / per_minute
        self._retries, self._stop = max_retries, stop
        self._lock = threading.Lock()
        self._next = 0.0
        self._blocked = 0.0

    def request(self, make: Callable[[], T], where: str, *, is_first: bool = False) -> T:
        """Make a request in its turn, and again after transient failures.

        Args:
            make: Makes the request.
            where: The endpoint, for messages.
            is_first: Whether nothing has been answered yet, so that an endpoint that cannot be
                reached is most likely not there.

        Raises:
            StoppedError: If the run ends before.
            EndpointError: If all retries fail, or the endpoint asks for too long a wait.
        """
        for attempt in range(self._retries + 1):
            self._turn()
            try:
                return make()
            except TransientError as error:
                if is_first and isinstance(error, UnreachableError):
                    raise _missing(where, error) from None
                if attempt == self._retries:
                    raise _failed(where, error, attempt) from None
                self._hold(error, attempt, where)
        raise AssertionError("unreachable")

    def _turn(self) -> None:
        """Wait for the turn of this request."""
        with self._lock:
            now = time.monotonic()
            at = max(now, self._next, self._blocked)
            self._next = at + self._gap
        while (left := max(at, self._blocked) - time.monotonic()) > 0:
            if self._stop.wait(min(left, 1.0)):
                break
        if self._stop.is_set():
            raise StoppedError

    def _hold(self, error: TransientError, attempt: int, where: str) -> None:
        """Wait after a failure; a limit of the rate holds all threads."""
        wait = error.wait
        if wait is not None and wait > MOST_PATIENCE:
            raise EndpointError(
                f"{where} asks to wait {wait:.0f} s: {error.reason}.",
                "Run it again then. Kept answers are not asked again.",
            )
        if wait is None:
            # Threads that failed together should not retry together.
            wait = min(FIRST_WAIT * 2**attempt, LONGEST_WAIT) * random.uniform(0.5, 1.0)  # noqa: S311
        if wait > LONGEST_WAIT / 2:
            tell(f"{where}: {error.reason}; waiting {wait:.0f} s.")
        if error.status == 429:
            with self._lock:
                self._blocked = max(self._blocked, time.monotonic() + wait)
        elif self._stop.wait(wait):
            raise StoppedError


def _missing(where: str, error: TransientError) -> EndpointError:
    return EndpointError(
        f"The endpoint {where} cannot be reached: {error.reason}.",
        "Check api.base_url, that the server runs, and the network.",
    )


def _failed(where: str, error: TransientError, retries: int) -> EndpointError:
    again = f" after {retries} retries" if retries else ""
    return EndpointError(
        f"{where} gives no answer{again}: {error.reason}.",
        "Check the endpoint, and run again: kept answers are not asked again. "
        "api.requests_per_minute and api.max_retries suit slow or limited endpoints.",
    )
