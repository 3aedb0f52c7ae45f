"""Reading of regular files: a named pipe, socket or device is refused, never waited for."""

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

_SPECIAL = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def check_regular(path: Path) -> None:
    """Refuse a named pipe, socket or device, from which a library could read forever.

    Raises:
        OSError: If the path is special, missing or may not be visited; names the path.
    """
    if kind := _SPECIAL.get(stat.S_IFMT(path.stat().st_mode)):
        raise OSError(errno.EINVAL, f"it is {kind}; expected a regular file", str(path))


def open_file(path: Path) -> BinaryIO:
    """Open a regular file for reading.

    Raises:
        OSError: As `check_regular`, or if the file may not be read or is a folder.
    """
    check_regular(path)
    return open(path, "rb", opener=_open_at_once)


def _open_at_once(path: str, flags: int) -> int:
    """Open without waiting for a writer, if a pipe has taken the place of the file meanwhile."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def read_bytes(path: Path) -> bytes:
    """Content of a regular file; errors as `open_file`."""
    with open_file(path) as file:
        return file.read()


def read_text(path: Path, encoding: str = "utf-8", errors: str = "strict") -> str:
    """Text of a regular file; errors as `open_file`, and `UnicodeDecodeError`."""
    return read_bytes(path).decode(encoding, errors)
