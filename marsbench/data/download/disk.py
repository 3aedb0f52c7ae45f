"""Files on the disk: write errors and checksums."""

import contextlib
import errno
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from marsbench.base import paths
from marsbench.base.errors import DataError


@contextlib.contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Name the folder that cannot be written.

    Raises:
        DataError: In place of an `OSError` of the block.
    """
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        raise DataError(
            f"{folder} cannot be written: {error.strerror or error}.",
            f"{'Free disk space' if full else 'Check its permissions'}, or set MARSBENCH_HOME "
            f"(now {paths.home()}) to another folder. Then run the command again.",
        ) from error


def other_digest(path: Path, digest: str) -> str | None:
    """Digest of a file that differs from the expected digest, else None.

    Args:
        path: The file.
        digest: ``sha256:HEX``, or ``git-sha1:HEX`` (SHA-1 of ``blob SIZE``, a zero byte and the
            content, as git names files).
    """
    algorithm, _, expected = digest.partition(":")

    def hasher() -> Any:
        if algorithm != "git-sha1":
            return hashlib.new(algorithm, usedforsecurity=False)
        return hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)

    with path.open("rb") as file:
        actual = hashlib.file_digest(file, hasher).hexdigest()
    return None if actual == expected else f"{algorithm}:{actual}"
