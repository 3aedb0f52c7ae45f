"""Files: names, digests, atomic writes, and caches built under a lock."""

import contextlib
import glob
import hashlib
import json
import os
import shutil
import stat
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO, Any, TypeVar

from marsbench.base import paths
from marsbench.base.errors import WeightsError
from marsbench.base.locks import locked
from marsbench.base.names import LONGEST, shortened
from marsbench.base.reading import is_missing, open_file

_T = TypeVar("_T")

_SETTLED = 2.0
"""Seconds after a file's last change until its digest is cached; some clocks tick this slowly."""

_THREADS = 8
"""Threads that digest files."""


def is_name(text: str) -> bool:
    """Whether a text is a relative path below its folder, on Windows too."""
    if text in ("", ".", "..") or "\0" in text:
        return False
    # Most names are plain and need no parsing.
    if "/" not in text and "\\" not in text and ":" not in text:
        return True
    both = (PurePosixPath(text), PureWindowsPath(text))
    is_below = all(path.parts and ".." not in path.parts and not path.root for path in both)
    return is_below and not Path(text).anchor


def file_state(stat: os.stat_result) -> list[int]:
    """Size, modification time, change time and inode of a file.

    The change time cannot be set by a user, so other content has another state. (On Windows it is
    the time of creation.)
    """
    return [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino]


def is_settled(state: list[int]) -> bool:
    """Whether a file of this `file_state` is old enough that a change would give another state."""
    return time.time() - max(state[1:3]) / 1e9 > _SETTLED


def file_digest(path: Path) -> str:
    """SHA-256 of a checkpoint, part of a run's id.

    Raises:
        WeightsError: If the file cannot be read.
    """
    try:
        return f"sha256:{cached_digest(path)[:16]}"
    except OSError as error:
        raise WeightsError(
            f"weights={path} cannot be read: {error.strerror}.", "Give the path of a checkpoint."
        ) from error


def cached_digest(path: Path) -> str:
    """SHA-256 of a file, 64 hexadecimal digits, as `cached_digests`."""
    return cached_digests([path])[0]


def cached_digests(
    files: Sequence[Path | str], stats: Sequence[os.stat_result] | None = None
) -> list[str]:
    """SHA-256 of files, read only if a file changed since the last call, also by other processes.

    Args:
        files: Their paths.
        stats: Sizes and times of the files, if known.

    Raises:
        OSError: If a file cannot be read.
    """
    return cached_facts(files, "digests", _digest, stats)


def _digest(path: Path) -> str:
    with open_file(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def cached_facts(
    files: Sequence[Path | str],
    kind: str,
    compute: Callable[[Path], str],
    stats: Sequence[os.stat_result] | None = None,
) -> list[str]:
    """Facts of files, computed only if a file changed since the last call, of any process.

    A file is unchanged if its `file_state` is equal. Facts are kept in ``MARSBENCH_HOME/KIND``, a
    table per folder; if it cannot be written, they are computed again.

    Args:
        files: Their paths.
        kind: Kind of the facts, with a version if their computation changes.
        compute: Computes the fact of a file from its content.
        stats: Sizes and times of the files, if known.

    Raises:
        OSError: If a file cannot be read.
    """
    folders: dict[str, list[tuple[int, str]]] = defaultdict(list)
    for i, path in enumerate(files):
        folder, name = os.path.split(path)
        folders[folder].append((i, name))
    facts = [""] * len(files)
    for folder, members in folders.items():
        place = hashlib.sha256(os.fsencode(Path(folder).resolve())).hexdigest()[:32]
        table = paths.home() / kind / f"{place}.json"
        known = _read_table(table)
        changed: list[tuple[int, str, list[int]]] = []
        for i, name in members:
            state = file_state(Path(files[i]).stat() if stats is None else stats[i])
            key = os.fsencode(name).hex()
            if (entry := known.get(key)) and entry[:-1] == state:
                facts[i] = entry[-1]
            else:
                changed.append((i, key, state))
        new = {}
        parts = [[Path(files[i]) for i, *_ in changed[k::_THREADS]] for k in range(_THREADS)]
        with ThreadPoolExecutor(_THREADS) as pool:  # files of a network take long to open
            for k, read in enumerate(pool.map(lambda part: [*map(compute, part)], parts)):
                for (i, key, state), fact in zip(changed[k::_THREADS], read, strict=True):
                    facts[i] = fact
                    if is_settled(state) and file_state(Path(files[i]).stat()) == state:
                        new[key] = [*state, fact]
        if new:
            with contextlib.suppress(OSError):
                table.parent.mkdir(parents=True, exist_ok=True)
                write_text(table, json.dumps(_read_table(table) | new))
    return facts


def _read_table(path: Path) -> dict[str, list[Any]]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    is_table = isinstance(content, dict) and all(isinstance(v, list) for v in content.values())
    return content if is_table else {}


@contextlib.contextmanager
def replacing(path: Path, *, sync: bool = True) -> Iterator[Path]:
    """Write a file so that readers see the old content or all of the new.

    The umask decides who may read the file, however its writer makes it.

    Args:
        path: The file.
        sync: Whether to flush the content to the disk, which takes milliseconds.

    Yields:
        Path of a temporary file in the same folder. It is renamed to `path` when the block ends,
        and removed if the block raises.
    """
    # A random name: processes on several nodes may share a folder and a process id.
    partial = path.with_name(f".{shortened(path.name, LONGEST)}.{os.urandom(4).hex()}.part")
    try:
        partial.touch(exist_ok=False)
        mode = partial.stat().st_mode
        yield partial
        # Some writers, such as safetensors, put a private temporary file in its place.
        if partial.stat().st_mode != mode:
            partial.chmod(stat.S_IMODE(mode))
        if sync:
            with partial.open("rb") as file:
                os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def replacing_folder(folder: Path) -> Iterator[Path]:
    """Write a folder so that it appears as a whole, in the place of an earlier one."""
    partial, old = (
        folder.with_name(f".{folder.name[:100]}.{os.urandom(4).hex()}.{word}")
        for word in ("part", "old")
    )
    partial.mkdir()
    try:
        yield partial
        if not is_missing(folder):
            folder.rename(old)
        partial.rename(folder)
    except BaseException:
        if is_missing(folder) and not is_missing(old):
            old.rename(folder)
        raise
    finally:
        for leftover in (partial, old):
            shutil.rmtree(leftover, ignore_errors=True)


def write_text(path: Path, text: str, *, sync: bool = True) -> None:
    """Write UTF-8 text so that readers see the old content or all of the new, as `replacing`."""
    with replacing(path, sync=sync) as partial:
        partial.write_text(text, encoding="utf-8")


def allocate(file: IO[bytes], size: int) -> None:
    """Allocate the bytes of a file to map into memory.

    Raises:
        OSError: If the disk is full; otherwise a bus error would end the process later.
    """
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file.fileno(), 0, size)
    else:
        file.truncate(size)


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
    if (content := open_()) is not None:
        return content
    place.parent.mkdir(parents=True, exist_ok=True)
    with locked(place.with_name(f"{place.name}.lock")):
        content = open_()  # another process may have finished while this one waited
        if content is not None:
            return content
        for leftover in place.parent.glob(f".{glob.escape(place.name)}.*.part"):
            leftover.unlink(missing_ok=True)  # left by a killed build
        return build()
