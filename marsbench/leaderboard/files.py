"""Files of a submission: a folder, or an archive unpacked into a temporary folder."""

import contextlib
import os
import stat
import tempfile
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from marsbench.base.errors import DataError, some
from marsbench.base.files import is_name
from marsbench.base.reading import check_regular, open_file
from marsbench.base.text import inline
from marsbench.data.download.unpacking import Limits, is_litter, unpack
from marsbench.leaderboard.findings import Findings
from marsbench.leaderboard.guard import limited

MOST_FILES = 60_000
"""Largest number of files; all class maps of all tasks, for seven seeds, are 32,000."""

MOST_BYTES = 4 << 30
"""Largest size of a submission, in bytes."""

MOST_ARCHIVED = 2 << 30
"""Largest size of an archive, in bytes."""

_DEEPEST = 32
"""Deepest nesting of folders."""

_PACK = "Pack the folder that `marsbench submit` writes as a zip or tar.gz."
_SPECIAL = "Replace it by a regular file, or remove it."
_RENAME = "Rename it, or remove it."


@dataclass(frozen=True)
class Files:
    """Regular files below a folder.

    Attributes:
        root: The folder.
        sizes: Size in bytes of each file by path below the folder, sorted.
    """

    root: Path
    sizes: dict[str, int]

    def read(self, name: str, most: int) -> bytes:
        """Content of a file.

        Args:
            name: Path below the folder.
            most: Largest size in bytes.

        Raises:
            ValueError: If it is missing, larger, or cannot be read; the message says so.
        """
        if name not in self.sizes:  # links were refused when the folder was listed
            raise ValueError("is missing")
        try:
            with open_file(self.root / name) as file:
                content = file.read(most + 1)
        except OSError as error:
            raise ValueError(f"cannot be read: {error.strerror}") from error
        if len(content) > most:
            raise ValueError(f"is larger than {most / 1e6:g} MB")
        return content


@contextlib.contextmanager
def opened(path: Path, findings: Findings) -> Iterator[Files | None]:
    """Open a submission; None if it is refused as a whole.

    Args:
        path: A folder, or a zip or tar archive of one.
        findings: Collects problems.
    """
    try:
        info = check_regular(path)
    except OSError as error:
        findings.error(path.name, f"The submission cannot be read: {error.strerror}.", _PACK)
        yield None
        return
    if stat.S_ISDIR(info.st_mode):
        yield _listed(path, findings)
        return
    if info.st_size > MOST_ARCHIVED:
        text = f"The archive is larger than {MOST_ARCHIVED / 1e9:.1f} GB."
        findings.error(path.name, text, "Submit fewer tasks at a time.")
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="marsbench-") as scratch:
        folder = Path(scratch) / "submission"
        (refusal,) = limited(f"{__name__}:unpacked", [(str(path), str(folder))])
        if refusal:
            problem = refusal.replace(str(path), path.name)
            findings.error(path.name, problem, _PACK)
            yield None
        else:
            yield _listed(folder, findings)


def unpacked(archive: str, folder: str) -> str:
    """Unpack an archive into a new folder, within the limits of a submission.

    Returns:
        The reason if it is refused, else an empty text.
    """
    limits = Limits(num_bytes=MOST_BYTES, members=2 * MOST_FILES, repeats=False)
    try:
        unpack(Path(archive), Path(folder), limits=limits)
    except DataError as error:
        return error.problem
    return ""


def _listed(root: Path, findings: Findings) -> Files | None:
    """List the regular files of a folder; others are findings. None if there are too many."""
    sizes: dict[str, int] = {}
    folders = [(root, "", 0)]
    num_bytes = 0
    while folders:
        folder, prefix, depth = folders.pop()
        for entry in _entries(folder, prefix, findings):
            name = prefix + entry.name
            if is_litter(name):
                continue
            if reason := _oddity(entry, name):
                findings.error(name, f"The file {reason}.", _SPECIAL)
            elif not is_name(name) or inline(name) != name:
                text = "The name of the file has control characters or separators."
                findings.error(name, text, _RENAME)
            elif entry.is_dir(follow_symlinks=False):
                if depth == _DEEPEST:
                    text = f"The folder is nested more than {_DEEPEST} levels deep."
                    findings.error(name, text, "Submit the folder that `marsbench submit` writes.")
                else:
                    folders.append((folder / entry.name, f"{name}/", depth + 1))
            else:
                sizes[name] = entry.stat(follow_symlinks=False).st_size
                num_bytes += sizes[name]
            if len(sizes) + len(folders) > MOST_FILES or num_bytes > MOST_BYTES:
                limits = f"{MOST_FILES:,} files or {MOST_BYTES / 1e9:.1f} GB"
                text = f"The submission has more than {limits}."
                findings.error(root.name, text, "Submit fewer tasks at a time.")
                return None
    _check_collisions(sizes, findings)
    return Files(root, dict(sorted(sizes.items())))


def _entries(folder: Path, prefix: str, findings: Findings) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            yield from entries
    except OSError as error:
        text = f"The folder cannot be read: {error.strerror}."
        findings.error(prefix, text, "Check its permissions.")


def _oddity(entry: os.DirEntry[str], name: str) -> str | None:
    """Reason to refuse an entry that is neither a file nor a folder."""
    if entry.is_symlink():
        return "is a link"
    try:
        check_regular(entry)
    except OSError as error:
        return (error.strerror or "cannot be read").partition(";")[0].replace("it is", "is")
    return None


def _check_collisions(sizes: dict[str, int], findings: Findings) -> None:
    """Refuse names that are the same file on other systems."""
    first: dict[str, str] = {}
    twice = []
    for name in sizes:
        other = first.setdefault(unicodedata.normalize("NFC", name).casefold(), name)
        if other != name:
            twice.append(f"{other} and {name}")
    if twice:
        text = f"Files differ in upper and lower case alone: {some(twice)}."
        findings.error(twice[0].partition(" and ")[0], text, _RENAME)
