"""Downloads over HTTP with pooch, and their errors.

Proxies and their certificates are honoured as ``requests`` does: ``https_proxy``, ``no_proxy``,
``REQUESTS_CA_BUNDLE``.
"""

import contextlib
import io
import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from marsbench.base import network, paths
from marsbench.base.errors import DataError, DataNotFoundError
from marsbench.base.hub import TRANSIENT
from marsbench.base.version import __version__
from marsbench.data.download.disk import writing

RETRIES = 2
"""Retries of a failed download."""

IDLE = 30.0
"""Timeout of a connection without data, in seconds."""

CHUNK = 1 << 20
"""Bytes per read."""

HEADERS = {"User-Agent": f"marsbench/{__version__}", "Accept-Encoding": "identity"}


class UnreachableError(DataNotFoundError):
    """Unreachable or overloaded server; another source may have the same data."""


def shown(url: str) -> str:
    """URL without password and query, for messages and records."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def check_online(url: str) -> None:
    """Check that downloads are allowed and that a server answers.

    Args:
        url: Address of a file, or of a repository; only servers of the web are asked.

    Raises:
        UnreachableError: If ``HF_HUB_OFFLINE`` or ``TRANSFORMERS_OFFLINE`` is set, or nothing
            answers within seconds.
    """
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        raise UnreachableError(
            f"{shown(url)} is not downloaded, and HF_HUB_OFFLINE forbids downloads.",
            "Run `marsbench data download TASK` on a machine with a network and the same HF_HOME "
            f"and MARSBENCH_HOME (now {paths.home()}), or unset HF_HUB_OFFLINE.",
        )
    if not url.startswith(("http://", "https://")):
        return
    try:
        network.check_reachable(url)
    except OSError as error:
        raise _silent(url, type(error).__name__) from error


def _silent(url: str, reason: str) -> UnreachableError:
    return UnreachableError(
        f"{shown(url)} does not answer: {reason}.",
        "Check the network and the proxy (https_proxy, REQUESTS_CA_BUNDLE), or try again later.",
    )


def get_json(url: str) -> Any:
    """Request a JSON document.

    Raises:
        UnreachableError: If the server does not answer.
        DataError: If the request is refused, or the answer is not JSON.
    """
    import requests

    check_online(url)
    with _explained(url):
        response = requests.get(url, headers=HEADERS, timeout=IDLE)
        response.raise_for_status()
        return response.json()


def download(url: str, path: Path, digest: str | None = None, size: int | None = None) -> None:
    """Download a file over HTTP; a present file with the right checksum is kept.

    The file appears under its name when complete. An interrupted download starts anew.

    Args:
        url: Address, http or https.
        path: The file.
        digest: ``md5:HEX``, ``sha256:HEX`` or None.
        size: Listed size in bytes; the download stops when more arrive.

    Raises:
        UnreachableError: If the server does not answer.
        DataError: If the request is refused, the checksum or size differs, or writing fails.
    """
    import pooch

    check_online(url)
    pooch.get_logger().setLevel(logging.WARNING)
    files = pooch.create(
        path.parent,
        "",
        registry={path.name: digest},
        urls={path.name: url},
        retry_if_failed=RETRIES,
    )
    get = pooch.HTTPDownloader(
        progressbar=sys.stderr.isatty(), chunk_size=CHUNK, headers=HEADERS, timeout=IDLE
    )

    def fetch(address: str, target: str, client: Any) -> None:
        Path(target).unlink()  # readable by its owner alone
        with _Limited(io.FileIO(target, "wb")) as file:
            file.url, file.size = address, size
            get(address, file, client)

    with writing(path.parent), _explained(url):
        files.fetch(path.name, downloader=fetch)


class _Limited(io.BufferedWriter):
    """File with a limit of `size` bytes, for a download of `url`."""

    url = ""
    size: int | None = None

    def write(self, content: Any, /) -> int:
        if self.size is not None and self.tell() + len(content) > self.size:
            raise DataError(
                f"{shown(self.url)} is larger than its listed {self.size} bytes.",
                "Try again. If the error persists, the record or a proxy changed the file.",
            )
        return super().write(content)


@contextlib.contextmanager
def _explained(url: str) -> Iterator[None]:
    """Translate errors of requests and pooch, whose texts may contain secrets of the URL."""
    from requests import RequestException
    from requests.exceptions import JSONDecodeError

    try:
        yield
    except JSONDecodeError as error:
        raise DataError(
            f"The answer of {shown(url)} is not JSON.", "Open the address in a browser to see why."
        ) from error
    except RequestException as error:
        status = None if error.response is None else error.response.status_code
        reason = type(error).__name__ if status is None else f"HTTP {status}"
        invalid = isinstance(error, ValueError)  # the address, not the network
        if not invalid and (status is None or status in TRANSIENT):
            raise _silent(url, reason) from error
        raise DataError(
            f"{shown(url)} cannot be downloaded: {reason}.",
            "Open the address in a browser: the file may have moved, or need a login.",
        ) from error
    except ValueError as error:  # pooch's wrong checksum
        raise DataError(
            f"The checksum of {shown(url)} differs from its record.",
            "Try again. If the error persists, the record or a proxy changed the file.",
        ) from error
