"""Requests over HTTP: patient with failures that may pass, plain about those that will not.

Proxies are honoured as ``urllib`` does: ``http_proxy``, ``https_proxy``, ``no_proxy``.
"""

import contextlib
import http.client
import json
import os
import re
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit, urlunsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from marsbench.base import paths
from marsbench.base.errors import DataError
from marsbench.base.version import __version__

WAITS = (0.5, 1.0, 2.0, 4.0, 8.0)
"""Seconds between tries without progress; one more try than waits."""

LONGEST_WAIT = 300.0
"""Seconds that a server may ask us to wait."""

IDLE = 30.0
"""Seconds without a byte after which a connection counts as dead."""

RETRIED = (408, 429, 500, 502, 503, 504)
"""Statuses of failures that may pass."""

OFFLINE_VARIABLES = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")

T = TypeVar("T")


class TransferError(DataError):
    """Something that could not be had over the network.

    Args:
        problem: What is wrong, naming the file or the URL.
        remedy: What the user can do.
        status: HTTP status of the answer; None if there was none, or it was not the problem.
    """

    def __init__(self, problem: str, remedy: str = "", status: int | None = None) -> None:
        super().__init__(problem, remedy)
        self.status = status


class UnreachableError(TransferError):
    """Nobody there answers, or not now: another source may have the same."""


def get_json(url: str, headers: Mapping[str, str] | None = None, what: str = "Zenodo") -> Any:
    """Ask for a JSON document.

    Args:
        url: Its address, http or https.
        headers: Headers of the request; after a redirect another host does not get them.
        what: Who is asked, for messages.

    Raises:
        TransferError: If there is no answer, or it is not JSON.
    """
    check_online(url)

    def attempt() -> bytes:
        with (
            network(url),
            send(url, {"Accept": "application/json"}, headers or {}) as response,
        ):
            content: bytes = response.read()
            return content

    content = patiently(url, attempt)
    try:
        return json.loads(content)
    except ValueError as error:
        if is_page(content[:512]):
            raise page_came(url) from error
        raise TransferError(
            f"{what} answered something that is not JSON: {shown(url)}.",
            f"Try again later; if it stays, see whether {what} works in a browser.",
        ) from error


def offline() -> bool:
    """Whether ``HF_HUB_OFFLINE`` or ``TRANSFORMERS_OFFLINE`` forbids using the network."""
    return _offline_variable() is not None


def _offline_variable() -> str | None:
    yes = ("1", "true", "yes", "on")
    set_ = (v for v in OFFLINE_VARIABLES if os.environ.get(v, "").strip().lower() in yes)
    return next(set_, None)


def check_online(url: str) -> None:
    """Check that the network may be used.

    Raises:
        TransferError: If not.
    """
    if variable := _offline_variable():
        raise UnreachableError(
            f"{shown(url)} was not asked for: {variable} is set.",
            "Run `marsbench data download TASK` where there is a network and the same "
            f"MARSBENCH_HOME (now {paths.home()}), or unset {variable}.",
        )


def _check_scheme(url: str) -> None:
    # urllib would also open file:// and ftp://.
    if urlsplit(url).scheme not in ("http", "https"):
        raise TransferError(f"{shown(url)} is no web address.", "Use an http or https address.")


class Passing(Exception):  # noqa: N818 - `patiently` catches it: users never see one
    """A failure that may pass.

    Args:
        reason: What happened, without a full stop.
        wait: Seconds the server asks us to wait, or None.
        status: HTTP status, or None.
    """

    def __init__(self, reason: str, wait: float | None = None, status: int | None = None) -> None:
        super().__init__(reason)
        self.reason, self.wait, self.status = reason, wait, status


def patiently(url: str, attempt: Callable[[], T], reached: Callable[[], int] = lambda: 0) -> T:
    """Try again and again, as long as there is progress or some hope.

    Args:
        url: What is asked for, for messages.
        attempt: One try; raises `Passing` if another may help.
        reached: How far it is; any progress beyond all earlier tries starts the count anew.

    Raises:
        UnreachableError: If nothing helps.
    """
    tries, farthest = 0, reached()
    while True:
        try:
            return attempt()
        except Passing as failure:
            tries = 1 if reached() > farthest else tries + 1
            farthest = max(farthest, reached())
            if tries > len(WAITS):
                raise UnreachableError(
                    f"{shown(url)} cannot be had: {failure.reason} (tried {tries} times).",
                    "Check the network and the proxy (https_proxy), or try again later: a download "
                    "goes on where it stopped.",
                    failure.status,
                ) from failure
            time.sleep(max(WAITS[tries - 1], failure.wait or 0.0))


@contextlib.contextmanager
def network(url: str) -> Iterator[None]:
    """Sort failures of a request into those that may pass and those that will not."""
    try:
        yield
    except HTTPError as error:
        with error:
            if error.code in RETRIED:
                reason = f"HTTP {error.code} {error.reason}".strip()
                raise Passing(reason, retry_after(error.headers), error.code) from error
            raise _refused(url, error) from error
    except http.client.InvalidURL as error:
        raise TransferError(f"{shown(url)} is no web address.", f"{error}.") from error
    except (OSError, http.client.HTTPException) as error:
        # What urlopen() meets comes wrapped, what read() meets does not.
        cause = error.reason if isinstance(error, URLError) else error
        if isinstance(cause, ssl.SSLCertVerificationError):
            raise TransferError(
                f"{shown(url)} cannot be trusted: {cause.verify_message}.",
                "Is there a proxy that inspects traffic? Set SSL_CERT_FILE to its certificate. "
                "Is the clock of this machine right?",
            ) from error
        if isinstance(cause, TimeoutError):
            raise Passing(f"no byte in {IDLE:g} s") from error
        raise Passing(str(cause) or type(cause).__name__) from error


def _refused(url: str, error: HTTPError) -> TransferError:
    remedy = {
        401: "It wants a login: check the token.",
        403: "It is not open to this login, address or network: see whether it opens in a browser.",
        404: "It may have been moved or withdrawn: see whether it opens in a browser.",
        407: "The proxy wants a login: https_proxy=http://USER:PASSWORD@HOST:PORT.",
    }.get(error.code, "See whether it opens in a browser.")
    reason = f"HTTP {error.code} {error.reason}".strip()
    return TransferError(f"{shown(url)} cannot be had: {reason}.", remedy, error.code)


def retry_after(headers: Any) -> float | None:
    """Seconds a server asks us to wait before we ask again, at most `LONGEST_WAIT`.

    Args:
        headers: Headers of its answer; any of the forms in use is understood.
    """
    wait = _wait(headers)
    return None if wait is None else min(max(wait, 0.0), LONGEST_WAIT)


def _wait(headers: Any) -> float | None:
    given = str(headers.get("Retry-After") or "").strip()
    if given.isdigit():
        return float(given)
    with contextlib.suppress(ValueError):
        return parsedate_to_datetime(given).timestamp() - time.time()
    if match := re.search(r"\bt=(\d+)", headers.get("RateLimit") or ""):
        return float(match[1])
    for name in ("RateLimit-Reset", "X-RateLimit-Reset"):
        reset = str(headers.get(name) or "").strip()
        if reset.isdigit():
            # Some say how long, some say when; nobody asks for thirty years.
            return float(reset) - (time.time() if int(reset) > 10**9 else 0.0)
    return None


def send(
    url: str, headers: Mapping[str, str], private: Mapping[str, str], answers: tuple[int, ...] = ()
) -> Any:
    """Send a request.

    Args:
        url: Where to.
        headers: Headers for whoever answers.
        private: Headers for this host alone.
        answers: Statuses of errors to return like an answer.

    Returns:
        The answer, as of `urllib.request.urlopen`.
    """
    _check_scheme(url)
    request = Request(url, headers={"User-Agent": f"marsbench/{__version__}", **headers})  # noqa: S310 - the scheme is checked
    for name, value in private.items():
        request.add_unredirected_header(name, value)
    try:
        return build_opener(_Redirects).open(request, timeout=IDLE)
    except HTTPError as error:
        if error.code in answers:
            return error
        raise


class _Redirects(HTTPRedirectHandler):
    """Follows redirects; private headers stay with the host they are for."""

    def redirect_request(
        self, req: Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> Request | None:
        _check_scheme(newurl)
        following = super().redirect_request(req, fp, code, msg, headers, newurl)
        if following is not None and _origin(newurl) == _origin(req.full_url):
            following.unredirected_hdrs.update(req.unredirected_hdrs)
        return following


def _origin(url: str) -> tuple[str, str]:
    return urlsplit(url).scheme, urlsplit(url).netloc


def is_page(head: bytes) -> bool:
    """Whether content begins as a web page does."""
    return (
        head.removeprefix(b"\xef\xbb\xbf")
        .lstrip()
        .lower()
        .startswith((b"<!doctype html", b"<html"))
    )


def page_came(url: str) -> TransferError:
    """Build the error for a web page where a file should be."""
    return TransferError(
        f"A web page came in place of the file {shown(url)}.",
        "It may be a login page, a proxy's or a check for robots: open the address in a browser on "
        "this machine to see it, or download on another network.",
    )


def shown(url: str) -> str:
    """An address without what may be secret in it: a password, or a signature in the query."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
