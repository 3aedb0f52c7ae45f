"""Write errors and checksums of files."""

import contextlib
import errno
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from marsbench.base import paths
from marsbench.base.errors import DataError


class WriteError(DataError):
    """Folder that cannot be written, for example on a full disk."""


@contextlib.contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Convert an `OSError` in a block to a `WriteError` with the folder's name."""
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        raise WriteError(
            f"{folder} cannot be written: {error.strerror or error}.",
            f"{'Free disk space' if full else 'Check its permissions'}, or set MARSBENCH_HOME "
            f"(now {paths.home()}) to another folder. Then run the command again.",
        ) from error


def digest_of(path: Path, algorithm: str) -> str:
    """Checksum of a file, as ``ALGORITHM:HEX``.

    Args:
        path: The file.
        algorithm: ``sha256`` or another name of hashlib, or ``git-sha1`` (SHA-1 of ``blob SIZE``, a
            zero byte and the content, as git names files).
    """

    def hasher() -> Any:
        if algorithm != "git-sha1":
            return hashlib.new(algorithm, usedforsecurity=False)
        return hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)

    with path.open("rb") as file:
        return f"{algorithm}:{hashlib.file_digest(file, hasher).hexdigest()}"


def other_digest(path: Path, digest: str) -> str | None:
    """Compare a file with its checksum; returns the actual checksum if they differ, else None.

    Args:
        path: The file.
        digest: Expected checksum, as from `digest_of`.
    """
    actual = digest_of(path, digest.partition(":")[0])
    return None if actual == digest else actual
