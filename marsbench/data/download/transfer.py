"""Downloads over HTTP that resume where they were cut, and are checked before they are kept.

Written on the standard library because nothing installed does both: the client of the Hugging
Face hub throws a partial file away when it is interrupted, and pooch cannot resume at all. Data
sets of gigabytes come over lines that break, into jobs that are killed.
"""

import contextlib
import errno
import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from marsbench.base import paths
from marsbench.base.errors import DataError
from marsbench.data.download.web import (
    Passing,
    TransferError,
    check_online,
    is_page,
    network,
    page_came,
    patiently,
    send,
    shown,
)

CHUNK = 1 << 20
"""Most bytes read at once."""


@dataclass(frozen=True)
class Remote:
    """A file on a server.

    Attributes:
        url: Its address, http or https.
        size: Its bytes as the catalogue of the source states them, or None.
        digest: ``md5:HEX``, ``sha256:HEX`` or ``git-sha1:HEX`` (of ``blob SIZE``, a zero byte and
            the content, as git names files), or None.
        headers: Headers of the request, such as Authorization; after a redirect another host
            does not get them.
    """

    url: str
    size: int | None
    digest: str | None
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)


def _ignore(_: int) -> None:
    """Show no progress."""


def download(remote: Remote, path: Path, advance: Callable[[int], None] = _ignore) -> None:
    """Download a file, going on where an earlier call was cut, and keep it if it is right.

    Until it is whole and checked it is ``NAME.part`` in the same folder, with ``NAME.part.json``
    beside it that says of which file it is a part. Only one process may download to a path at
    a time: hold a lock.

    Args:
        remote: The file.
        path: Where it goes; a file that is there stays if it has the right digest, else it is
            replaced.
        advance: Called with every number of bytes that are there, those of an earlier call
            included; negative where bytes are thrown away.

    Raises:
        TransferError: If it cannot be had, or is not what its source states.
        DataError: If it cannot be written.
    """
    check_online(remote.url)
    if remote.digest is not None and path.is_file() and other_digest(path, remote.digest) is None:
        advance(path.stat().st_size)
        return
    part = _Part(remote, path)
    with writing(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        part.recall()
    if part.length:
        advance(part.length)
    patiently(remote.url, lambda: _fetch(remote, part, advance), lambda: part.length)
    with writing(path.parent):
        part.check()
        part.path.rename(path)
        part.side.unlink(missing_ok=True)


class _Part:
    """What there is of a file so far.

    Args:
        remote: The file.
        path: Where it will be when it is whole.
    """

    def __init__(self, remote: Remote, path: Path) -> None:
        self.remote = remote
        self.name = path.name
        self.path = path.with_name(f"{path.name}.part")
        self.side = path.with_name(f"{path.name}.part.json")
        self.length = 0
        self.validator = ""
        # Not the address: what a mirror began another may finish.
        self._identity = {"digest": remote.digest, "size": remote.size}

    def recall(self) -> None:
        """Find what an earlier call left; throw it away unless it is surely of this file."""
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
            known = json.loads(self.side.read_text(encoding="utf-8"))
            validator = str(known.pop("validator"))
            length = self.path.stat().st_size
            # Without a digest nothing else would tell that it was changed in between.
            sure = self.remote.digest is not None or validator != ""
            if sure and known == self._identity and length <= (self.remote.size or length):
                self.length, self.validator = length, validator
                return
        self.clear()

    def clear(self) -> int:
        """Throw away what is there; returns how many bytes that were."""
        lost, self.length, self.validator = self.length, 0, ""
        self.path.unlink(missing_ok=True)
        self.side.unlink(missing_ok=True)
        return lost

    def begin(self, validator: str) -> None:
        """Start an empty part.

        Args:
            validator: What the server calls this version of the file, or "".
        """
        self.validator = validator
        known = json.dumps({**self._identity, "validator": validator})
        self.side.write_text(known, encoding="utf-8")

    @property
    def is_whole(self) -> bool:
        """Whether all bytes that were stated are there."""
        return self.length == self.remote.size and self.path.exists()

    def check(self) -> None:
        """Check that this is the file, and that it is on the disk; it is deleted if it is not.

        Raises:
            TransferError: If it is another.
        """
        remote = self.remote
        with self.path.open("r+b") as file:
            if is_page(file.read(512)) and not _may_be_page(self.name):
                self.clear()
                raise page_came(remote.url)
            if remote.size not in (None, self.length):
                self.clear()
                raise _wrong(remote, self.name, f"{remote.size} bytes", f"{self.length}")
            os.fsync(file.fileno())
        if remote.digest is not None and (found := other_digest(self.path, remote.digest)):
            self.clear()
            raise _wrong(remote, self.name, remote.digest, found)


def other_digest(path: Path, digest: str) -> str | None:
    """The digest of a file if it is another than this, else None."""
    algorithm, _, expected = digest.partition(":")

    def hasher() -> Any:
        if algorithm != "git-sha1":
            return hashlib.new(algorithm, usedforsecurity=False)
        return hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)

    with path.open("rb") as file:
        found = hashlib.file_digest(file, hasher).hexdigest()
    return None if found == expected.lower() else f"{algorithm}:{found}"


def _fetch(remote: Remote, part: _Part, advance: Callable[[int], None]) -> None:
    """Try once to get what is missing of a file.

    Raises:
        Passing: If it may help to try again; what came is kept.
    """
    if part.is_whole:
        return
    headers = {"Accept-Encoding": "identity"}
    if asked := part.length:
        headers["Range"] = f"bytes={asked}-"
        headers |= {"If-Range": part.validator} if part.validator else {}
    with network(remote.url):
        response = send(remote.url, headers, remote.headers, answers=(416,) if asked else ())
    with response:
        span = response.headers.get("Content-Range") or ""
        match = re.fullmatch(r"bytes (?:(\d+)-\d+|\*)/(\d+|\*)", span.strip())
        start, total = match.groups() if match else (None, None)
        if response.status == 416:
            if total == str(asked):
                return  # it is whole, if shorter than stated
            _restart(part, advance)
            raise Passing("the server would not resume")
        if response.headers.get_content_type() == "text/html" and not _may_be_page(part.name):
            raise page_came(remote.url)
        length = response.headers.get("Content-Length") or ""
        left = int(length) if length.isdigit() else None
        if response.status != 206:
            # All of it, though we asked for the rest: another version, or no resuming here.
            start, total = "0", None if left is None else str(left)
            _restart(part, advance)
        if start != str(part.length):
            _restart(part, advance)
            raise Passing(f"the server sent the bytes from {start}, not those asked for")
        if remote.size is not None and total not in (None, "*", str(remote.size)):
            with network(remote.url):
                head = response.read1(512)
            part.clear()
            if is_page(head):
                raise page_came(remote.url)
            raise _wrong(remote, part.name, f"{remote.size} bytes", f"{total}")
        _receive(response, left, part, advance)


def _restart(part: _Part, advance: Callable[[int], None]) -> None:
    with writing(part.path.parent):
        if lost := part.clear():
            advance(-lost)


def _receive(response: Any, left: int | None, part: _Part, advance: Callable[[int], None]) -> None:
    """Append what comes to a part.

    Args:
        response: The answer.
        left: Bytes still to come as the server states them, or None.
        part: The part.
        advance: Called with the bytes of every piece.
    """
    folder, remote = part.path.parent, part.remote
    with writing(folder):
        if part.length == 0:
            part.begin(_validator(response.headers))
        # Unbuffered: what a process that is killed had received is there for the next.
        file = part.path.open("ab" if part.length else "wb", buffering=0)
    with file:
        while left is None or left > 0:
            with network(remote.url):
                # Not read(), which waits for all of a chunk and loses it when the line is cut.
                piece = response.read1(CHUNK if left is None else min(CHUNK, left))
            if not piece:
                break
            with writing(folder):
                rest = memoryview(piece)
                while rest:
                    written = file.write(rest)
                    part.length += written
                    rest = rest[written:]
            advance(len(piece))
            left = None if left is None else left - len(piece)
            if remote.size is not None and part.length > remote.size:
                return  # more than there can be: the check says so
    if left or part.length < (remote.size or 0):
        raise Passing(f"the connection was cut after {part.length} bytes")


def _validator(headers: Any) -> str:
    """What tells this version of a file from another; a weak ETag does not."""
    etag = str(headers.get("ETag") or "").strip()
    return etag if etag.startswith('"') else str(headers.get("Last-Modified") or "").strip()


@contextlib.contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Name the folder that cannot be written.

    Raises:
        DataError: If something within cannot be written.
    """
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        raise DataError(
            f"{folder} cannot be written: {error.strerror or error}.",
            f"{'Make room' if full else 'Mend that'}, or set MARSBENCH_HOME (now {paths.home()}) "
            "to another folder. Then run the same again: a download goes on where it stopped.",
        ) from error


def _may_be_page(name: str) -> bool:
    return name.lower().endswith((".html", ".htm"))


def _wrong(remote: Remote, name: str, expected: str, found: str) -> TransferError:
    return TransferError(
        f"{name} is not what its source states: expected {expected}, found {found} "
        f"({shown(remote.url)}).",
        "What came was deleted: try again. If it stays so, the file was changed at its source or "
        "something between, such as a proxy, changes it.",
    )
