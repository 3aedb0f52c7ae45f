"""Whether a server answers, known within seconds."""

import errno
import socket
import threading
import time
from http.client import RemoteDisconnected
from urllib.parse import urlsplit, urlunsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

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


class _NoRedirect(HTTPRedirectHandler):
    """Take a redirect for the answer; its target may be another server."""

    def redirect_request(self, *_: object) -> None:
        """Follow no redirect."""


def _silence_of(root: str) -> OSError | None:
    """Ask a server for its start page; None if it answers anything."""
    errors: list[OSError | None] = []

    def ask() -> None:
        try:
            opener = build_opener(_NoRedirect)
            opener.open(Request(root, method="HEAD"), timeout=PATIENCE).close()  # noqa: S310
            errors.append(None)
        except RemoteDisconnected:
            errors.append(None)  # some proxies close the connection at HEAD
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
