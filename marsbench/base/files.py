"""Files: digests, atomic writes, and caches built under a lock."""

import contextlib
import glob
import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from marsbench.base.errors import WeightsError

_T = TypeVar("_T")


def file_digest(path: Path) -> str:
    """SHA-256 of a checkpoint, part of a run's id.

    Raises:
        WeightsError: If the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()[:16]}"
    except OSError as error:
        raise WeightsError(
            f"weights={path} cannot be read: {error.strerror}.", "Give the path of a checkpoint."
        ) from error


@contextlib.contextmanager
def replacing(path: Path, *, sync: bool = True) -> Iterator[Path]:
    """Write a file so that readers see the old content or all of the new.

    Args:
        path: The file.
        sync: Whether to flush the content to the disk, which takes milliseconds.

    Yields:
        Path of a temporary file in the same folder. It is renamed to `path` when the block ends,
        and removed if the block raises.
    """
    # A random name: processes on several nodes may share a folder and a process id.
    partial = path.with_name(f".{path.name}.{os.urandom(4).hex()}.part")
    try:
        yield partial
        if sync:
            with partial.open("rb") as file:
                os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        raise


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text so that readers see the old content or all of the new."""
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8")


def once(place: Path, open_: Callable[[], _T | None], build: Callable[[], _T]) -> _T:
    """Open a cached file or folder, or build it under a lock while other processes wait.

    Args:
        place: The file or folder; its parent is made, and its lock is ``PLACE.lock``.
        open_: Returns the content, or None if it is missing or damaged. It takes no lock, so a
            read-only cache serves.
        build: Builds and returns the content.

    Raises:
        OSError: If the lock or the folder cannot be made. Errors of `build` pass through.
    """
    from filelock import FileLock

    if (content := open_()) is not None:
        return content
    place.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{place}.lock"):
        content = open_()  # another process may have finished while this one waited
        if content is not None:
            return content
        for leftover in place.parent.glob(f".{glob.escape(place.name)}.*.part"):
            leftover.unlink(missing_ok=True)  # left by a killed build
        return build()
