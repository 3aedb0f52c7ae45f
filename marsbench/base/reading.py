"""Reading of regular files: a named pipe, socket or device is refused, never waited for."""

import errno
import io
import os
import stat
from pathlib import Path

_SPECIAL = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def check_regular(path: str | Path | os.DirEntry[str]) -> os.stat_result:
    """Refuse a named pipe, socket or device, from which a library could read forever.

    Returns:
        Mode, size and times of the file or folder.

    Raises:
        OSError: If the path is special, missing or may not be visited; names the path.
    """
    info = path.stat() if isinstance(path, os.DirEntry) else os.stat(path)  # noqa: PTH116
    if kind := _SPECIAL.get(stat.S_IFMT(info.st_mode)):
        raise OSError(errno.EINVAL, f"it is {kind}; expected a regular file", os.fspath(path))
    return info


def open_file(path: Path) -> io.BufferedReader:
    """Open a regular file for reading.

    Raises:
        OSError: As `check_regular`, or if the file may not be read or is a folder.
    """
    check_regular(path)
    return open(path, "rb", opener=_open_at_once)


def _open_at_once(path: str, flags: int) -> int:
    """Open without waiting for a writer, if a pipe has taken the place of the file meanwhile."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def is_missing(path: Path) -> bool:
    """Whether a file or folder does not exist; links are followed.

    False if a folder on the way may not be visited: reading the file then gives the reason.
    """
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False


def read_bytes(path: Path) -> bytes:
    """Content of a regular file; errors as `open_file`."""
    with open_file(path) as file:
        return file.read()


def read_text(path: Path, encoding: str = "utf-8", errors: str = "strict") -> str:
    """Text of a regular file; errors as `open_file`, and `UnicodeDecodeError`."""
    return read_bytes(path).decode(encoding, errors)
