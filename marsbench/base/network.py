"""Whether a server answers, known within seconds."""

import errno
import socket
import threading
import time
from urllib.parse import urlsplit, urlunsplit
from urllib.request import Request, urlopen

PATIENCE = 3.0
"""Longest wait for any answer of a server before a download, in seconds."""

REMEMBERED = 60.0
"""Seconds during which a server is not asked again whether it answers."""


def check_reachable(url: str) -> None:
    """Fail within `PATIENCE` without a network; the hub's client would retry for minutes.

    The answer of a server is remembered for `REMEMBERED` seconds. Proxies are used.

    Raises:
        OSError: If the host is unknown or refuses connections, or nothing answers.
    """
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE and url.startswith(constants.ENDPOINT):
        return  # the client refuses by itself
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]  # without a password
    root = urlunsplit((parts.scheme, host, "/", "", ""))
    asked, error = _asked.get(root, (-REMEMBERED, None))
    if time.monotonic() - asked >= REMEMBERED:
        error = _silence_of(root)
        _asked[root] = time.monotonic(), error
    if error is not None:
        raise error.with_traceback(None)


_asked: dict[str, tuple[float, OSError | None]] = {}
"""Times and errors of the last requests of `check_reachable`, by server."""

_NO_ROUTE = (errno.ENETUNREACH, errno.EHOSTUNREACH)


def _silence_of(root: str) -> OSError | None:
    """Ask a server for its start page; None if it answers anything."""
    errors: list[OSError | None] = []

    def ask() -> None:
        try:
            urlopen(Request(root, method="HEAD"), timeout=PATIENCE).close()  # noqa: S310
            errors.append(None)
        except Exception as error:  # of sockets, HTTP and certificates
            reason = getattr(error, "reason", error)
            if isinstance(reason, ConnectionError | socket.gaierror | TimeoutError):
                errors.append(reason)
            elif isinstance(reason, OSError) and reason.errno in _NO_ROUTE:
                errors.append(ConnectionError(*reason.args))
            else:
                errors.append(None)  # an answer too, which the download explains

    # A thread, since the lookup of a name has no timeout.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(PATIENCE)
    return errors[0] if errors else TimeoutError(f"no answer within {PATIENCE:g} s")
