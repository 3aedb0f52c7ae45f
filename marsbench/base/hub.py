"""Addresses of the Hugging Face hub, files behind them, and errors of the hub's client.

An address is ``hf://[datasets/]ORG/NAME[@REVISION][/FILE]``, as `huggingface_hub` spells it:
https://huggingface.co/docs/huggingface_hub/guides/hf_file_system.
"""

import contextlib
import importlib
import re
import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, unquote, urlsplit

from marsbench.base import links, network
from marsbench.base.errors import ConfigError, MarsbenchError, WeightsError
from marsbench.base.files import is_name
from marsbench.base.paths import expanded
from marsbench.base.text import inline

PREFIX = "hf://"

COMMIT = re.compile(r"[0-9a-f]{40}")

TRANSIENT = (408, 429, 500, 502, 503, 504)
"""HTTP statuses of transient failures."""

_KINDS = {"datasets": "dataset", "spaces": "space"}
"""Kinds of repositories by the first word of an address; models have none."""

_REFERENCE = r"refs/(?:pr|convert)/[\w.-]+"
"""Revisions with slashes that need no escape: pull requests and conversions."""

_ADDRESS = re.compile(
    rf"{PREFIX}(?:({'|'.join(_KINDS)})/)?([\w.-]+)/([\w.-]+)"
    rf"(?:@({_REFERENCE}|[\w.%-]+))?(?:/(.+?))?/?",
    re.ASCII,
)
_REPO = re.compile(r"(?![-.])[\w.-]+(?<![-.])/(?![-.])[\w.-]+(?<![-.])", re.ASCII)

_WEB_LIBRARIES = ("httpx", "httpx2", "requests", "urllib3")
"""HTTP libraries of the client's versions; their errors are network errors."""


@dataclass(frozen=True)
class HubAddress:
    """Repository of the hub, or a file of it.

    Attributes:
        repo: ``ORG/NAME``.
        kind: model, dataset or space.
        revision: Commit, tag or branch; None is the main branch.
        path: File of the repository; empty for the repository.
    """

    repo: str
    kind: str = "model"
    revision: str | None = None
    path: str = ""

    def __str__(self) -> str:
        revision = self.revision or ""
        if not re.fullmatch(_REFERENCE, revision):
            revision = quote(revision, safe="")
        at = f"@{revision}" if revision else ""
        return f"{PREFIX}{self._word}{self.repo}{at}" + (f"/{self.path}" if self.path else "")

    @property
    def repository(self) -> "HubAddress":
        """Address of the repository, without the file."""
        return replace(self, path="")

    @property
    def page(self) -> str:
        """Address of the repository's web page."""
        return f"{endpoint()}/{self._word}{self.repo}"

    @property
    def _word(self) -> str:
        return next((f"{word}/" for word, kind in _KINDS.items() if kind == self.kind), "")


def endpoint() -> str:
    """Address of the hub, without credentials."""
    from huggingface_hub import constants

    parts = urlsplit(constants.ENDPOINT)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def is_address(text: str) -> bool:
    """Whether a text is an address of the hub, valid or not."""
    return text.startswith(PREFIX)


def is_repo_id(text: str) -> bool:
    """Whether a text has the form ``ORG/NAME``."""
    is_odd = len(text) > 96 or ".." in text or "--" in text or text.endswith(".git")
    return _REPO.fullmatch(text) is not None and not is_odd


def parse_address(text: str) -> HubAddress:
    """Parse an address.

    Raises:
        ConfigError: If it is not an address, or a name, revision or file is invalid.
    """
    match = _ADDRESS.fullmatch(text)
    word, org, name, revision, path = match.groups() if match else ("", "", "", None, None)
    repo, revision = f"{org}/{name}", None if revision is None else unquote(revision)
    # The client writes files named after repository and revision.
    if (
        not is_repo_id(repo)
        or org in _KINDS
        or any(part.startswith(("/", ".")) or ".." in part for part in (repo, revision or "main"))
        or any(inline(text) != text for text in (revision or "", path or ""))
        or not is_name(path or "file")
    ):
        raise ConfigError(
            f"'{inline(text[:200])}' is not an address of the hub.",
            f"Write {PREFIX}ORG/NAME for models or {PREFIX}datasets/ORG/NAME, with @REVISION or "
            "/FILE if needed.",
        )
    return HubAddress(repo, _KINDS.get(word, "model"), revision, path or "")


def local_file(text: str, *, may_ask: bool = True) -> Path:
    """Local file of a path, of an address after `fetch`, or of a link after `links.fetch`.

    Args:
        text: The path, address or link.
        may_ask: Whether the server of a link may be asked. A record of others could name any.

    Raises:
        ConfigError: If the address is invalid or names no file.
        WeightsError: As `fetch`.
    """
    if links.is_link(text):
        link = links.parse_link(text)
        return links.fetch(link) if may_ask else link.file
    if not is_address(text):
        return expanded(text)
    address = parse_address(text)
    if not address.path:
        raise ConfigError(f"{address} is a repository.", f"Name a file of it: {address}/FILE.")
    return fetch(address)


def fetch(address: HubAddress) -> Path:
    """Download a file into the cache of the hub's client; a cached file is used without a request.

    A branch is therefore resolved to a commit by its first download, and stays there.

    Raises:
        WeightsError: If the file is not found, or not cached and the hub does not answer.
    """
    from huggingface_hub import constants, hf_hub_download, try_to_load_from_cache

    cached = try_to_load_from_cache(
        address.repo, address.path, revision=address.revision, repo_type=address.kind
    )
    if isinstance(cached, str):
        return Path(cached)
    with explained(address, WeightsError):
        network.check_reachable(constants.ENDPOINT)
        return Path(
            hf_hub_download(
                address.repo, address.path, revision=address.revision, repo_type=address.kind
            )
        )


def pinned(address: HubAddress, file: Path) -> HubAddress:
    """Address with the commit of a file in the client's cache as its revision."""
    commit = next((part for part in file.parts if COMMIT.fullmatch(part)), None)
    return address if commit is None else replace(address, revision=commit)


class Refusal(NamedTuple):
    """Failed request to the hub.

    Attributes:
        cause: Error of the client or its web library.
        status: HTTP status; None without an answer.
        is_unreachable: Whether the hub did not answer, or asked to try later.
    """

    cause: BaseException
    status: int | None
    is_unreachable: bool

    @property
    def reason(self) -> str:
        """HTTP status, or type of the error."""
        return type(self.cause).__name__ if self.status is None else f"HTTP {self.status}"


def refusal_of(error: BaseException) -> Refusal:
    """Classify an error of the hub's client."""
    from huggingface_hub.errors import LocalEntryNotFoundError

    cause = error.__cause__ if isinstance(error, LocalEntryNotFoundError) else None
    cause = cause or error
    status = getattr(getattr(cause, "response", None), "status_code", None)
    is_web = type(cause).__module__.partition(".")[0] in _WEB_LIBRARIES
    is_offline = isinstance(cause, ConnectionError | socket.gaierror | TimeoutError)
    is_network = status is None and (is_offline or is_web)
    return Refusal(cause, status, status in TRANSIENT or is_network)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Let the client show progress on terminals alone."""
    client: Any = importlib.import_module("huggingface_hub.utils")
    if sys.stderr.isatty() or client.are_progress_bars_disabled():
        yield
        return
    client.disable_progress_bars()
    try:
        yield
    finally:
        client.enable_progress_bars()


@contextlib.contextmanager
def explained(address: HubAddress, failure: type[MarsbenchError]) -> Iterator[None]:
    """Turn errors of the hub's client while reading or writing into messages.

    Args:
        address: The address.
        failure: Type of the raised error.
    """
    from huggingface_hub import constants
    from huggingface_hub.errors import (
        EntryNotFoundError,
        LocalEntryNotFoundError,
        LocalTokenNotFoundError,
        OfflineModeIsEnabled,
        RevisionNotFoundError,
    )

    try:
        with _quiet():
            yield
    except MarsbenchError:
        raise
    except Exception as error:  # of the client, its web library and the disk
        hub = endpoint()
        refusal = refusal_of(error)
        cause, status = refusal.cause, refusal.status
        if isinstance(cause, OfflineModeIsEnabled) or (
            constants.HF_HUB_OFFLINE and isinstance(error, LocalEntryNotFoundError)
        ):
            raise failure(
                f"{address} is not in the cache {constants.HF_HUB_CACHE}, and HF_HUB_OFFLINE "
                "forbids requests.",
                "Run once on a machine with a network and the same HF_HOME, or unset "
                "HF_HUB_OFFLINE.",
            ) from error
        if isinstance(cause, RevisionNotFoundError):
            raise failure(
                f"Revision '{address.revision}' of {replace(address, revision=None, path='')} was "
                "not found.",
                "Give a commit, tag or branch after @.",
            ) from error
        if isinstance(cause, EntryNotFoundError) and not isinstance(cause, LocalEntryNotFoundError):
            raise failure(
                f"{address.path or address} was not found in {address.repository}.",
                f"{address.page}/tree/main lists its files.",
            ) from error
        if status == 401 or isinstance(cause, LocalTokenNotFoundError):
            raise failure(
                f"{address} is not found on {hub}, or needs a valid token ({refusal.reason}).",
                "Check the name. Log in with `hf auth login`, or set HF_TOKEN; the hub refuses an "
                "expired token for public repositories too.",
            ) from error
        if status == 403:
            raise failure(
                f"{hub} refuses access to {address} ({refusal.reason}).",
                f"Use a token with the needed rights, or accept the terms on {address.page}.",
            ) from error
        if status == 404:
            raise failure(f"{address} was not found on {hub}.", "Check the name.") from error
        if refusal.is_unreachable:
            raise failure(
                f"{hub} does not answer for {address} ({refusal.reason}).",
                "Check the network, the proxy (https_proxy) and HF_ENDPOINT, or try again later.",
            ) from error
        lines = str(cause).strip().splitlines() or [""]
        raise failure(
            f"{address} failed on {hub}: {refusal.reason}: {inline(lines[0][:200])}.",
            "Check the disk, the proxy, and that HF_ENDPOINT is a hub.",
        ) from error
