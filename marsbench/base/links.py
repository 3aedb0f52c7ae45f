"""Files of the web with a checksum: ``https://HOST/FILE#sha256=DIGITS``.

The fragment is spelled as in links to Python packages:
https://packaging.python.org/en/latest/specifications/version-specifiers/#direct-references.
"""

import logging
import re
import sys
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

from marsbench.base import network, paths
from marsbench.base.errors import ConfigError, WeightsError
from marsbench.base.files import is_name, once
from marsbench.base.text import inline
from marsbench.base.version import __version__

SCHEMES = ("https://", "http://")

_FRAGMENT = re.compile(r"sha256=([0-9a-fA-F]{64})")

_IDLE = 30.0
"""Timeout of a connection without data, in seconds."""

_CHUNK = 1 << 20
"""Bytes per read."""

_RETRIES = 2
"""Retries of a failed download."""


@dataclass(frozen=True)
class Link:
    """File of the web.

    Attributes:
        url: Its address, without the checksum.
        sha256: SHA-256 of its content, 64 hexadecimal digits.
    """

    url: str
    sha256: str

    def __str__(self) -> str:
        """Address without password and query, for messages and records."""
        parts = urlsplit(self.url)
        plain = (parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", "")
        return f"{urlunsplit(plain)}#sha256={self.sha256}"

    @property
    def file(self) -> Path:
        """Place of the file on this machine, present or not."""
        name = PurePosixPath(unquote(urlsplit(self.url).path)).name
        return paths.home() / "weights" / self.sha256 / (name if is_name(name) else "weights")


def is_link(text: str) -> bool:
    """Whether a text is an address of the web, valid or not."""
    return text.startswith(SCHEMES)


def parse_link(text: str) -> Link:
    """Parse an address with its checksum.

    Raises:
        ConfigError: If the checksum is missing, or the address is invalid.
    """
    try:
        parts = urlsplit(text)
        valid = bool(parts.hostname) and bool(PurePosixPath(parts.path).name)
    except ValueError:
        valid = False
    if not valid or inline(text) != text:
        raise ConfigError(
            f"'{inline(text[:200])}' is not the address of a file.",
            "Write https://HOST/FILE#sha256=DIGITS.",
        )
    match = _FRAGMENT.fullmatch(parts.fragment)
    url = urlunsplit(parts._replace(fragment=""))
    if match is None:
        shown = str(Link(url, "")).partition("#")[0]
        raise ConfigError(
            f"weights={shown} has no checksum of 64 digits, without which a changed file would go "
            "unnoticed.",
            f"Add it: weights={shown}#sha256=DIGITS; `sha256sum FILE` prints it.",
        )
    return Link(url, match[1].lower())


def fetch(link: Link) -> Path:
    """Download a file once, below ``MARSBENCH_HOME/weights``; a present file needs no request.

    Raises:
        WeightsError: If the server refuses or does not answer, the content has another checksum, or
            the file cannot be written.
    """
    path = link.file
    try:
        return once(path, lambda: path if path.is_file() else None, lambda: _download(link, path))
    except OSError as error:
        raise WeightsError(
            f"{path} cannot be written: {error.strerror or error}.",
            f"Free space, or set MARSBENCH_HOME (now {paths.home()}).",
        ) from error


def _download(link: Link, path: Path) -> Path:
    import pooch
    from huggingface_hub import constants
    from requests import RequestException

    if constants.HF_HUB_OFFLINE:
        raise WeightsError(
            f"{link} is not downloaded, and HF_HUB_OFFLINE forbids downloads.",
            f"Copy the file to {path}, or unset HF_HUB_OFFLINE.",
        )
    pooch.get_logger().setLevel(logging.WARNING)
    headers = {"User-Agent": f"marsbench/{__version__}", "Accept-Encoding": "identity"}
    get: Any = pooch.HTTPDownloader(
        progressbar=sys.stderr.isatty(), chunk_size=_CHUNK, headers=headers, timeout=_IDLE
    )
    files = pooch.create(
        path.parent,
        "",
        registry={path.name: f"sha256:{link.sha256}"},
        urls={path.name: link.url},
        retry_if_failed=_RETRIES,
    )
    try:
        network.check_reachable(link.url)
    except OSError as error:
        raise _refused(link, type(error).__name__) from error
    try:
        files.fetch(path.name, downloader=get)
    except RequestException as error:  # its text may contain secrets of the address
        status = None if error.response is None else error.response.status_code
        reason = type(error).__name__ if status is None else f"HTTP {status}"
        raise _refused(link, reason) from error
    except ValueError as error:  # pooch's wrong checksum
        raise WeightsError(
            f"{link} has another checksum.",
            "Check the digits after sha256=; if they are right, the file was changed.",
        ) from error
    return path


def _refused(link: Link, reason: str) -> WeightsError:
    return WeightsError(
        f"{link} cannot be downloaded: {reason}.",
        "Check the address, the network and the proxy (https_proxy, REQUESTS_CA_BUNDLE), or "
        "download it by other means and give weights=PATH.",
    )
