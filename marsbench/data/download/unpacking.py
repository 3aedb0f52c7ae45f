"""Archives unpacked with care.

An archive comes from elsewhere: its names must stay below the folder it is unpacked to, its
contents within the disk, and it is unpacked whole or not at all.
"""

import contextlib
import lzma
import re
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from marsbench.base import paths
from marsbench.base.errors import DataError
from marsbench.base.progress import bar
from marsbench.data.download.transfer import writing
from marsbench.data.download.web import is_page

MOST_MEMBERS = 2_000_000
"""Members of an archive; the largest task has 54,000 files."""

MOST_GROWTH = 200
"""Times its own size that an archive may unpack to, beyond `FREE_GROWTH`."""

FREE_GROWTH = 1 << 30
"""Bytes that any archive may unpack to."""

CHUNK = 1 << 20
"""Bytes copied at once."""


@dataclass(frozen=True)
class _Member:
    """One file or folder of an archive, its name as it stands there.

    Attributes:
        name: Its path.
        size: Its bytes, unpacked.
        folder: Whether it is a folder.
        oddity: What it is that may not be unpacked, such as "a link"; None if it may.
        open: Opens its content.
    """

    name: str
    size: int
    folder: bool
    oddity: str | None
    open: Callable[[], IO[bytes]]


def top_folder(folder: Path) -> Path:
    """The one folder that everything lies in, else the folder itself."""
    entries = list(folder.iterdir())
    return entries[0] if len(entries) == 1 and entries[0].is_dir() else folder


def unpack(archive: Path, folder: Path, pick: Callable[[Path], Path] = top_folder) -> None:
    """Unpack a zip or tar archive (tar.gz, tar.bz2, tar.xz too), whole or not at all.

    Only one process may unpack to a folder at a time: hold a lock.

    Args:
        archive: The archive.
        folder: Where its content goes; must not exist.
        pick: Given the folder with all that was in the archive before it gets its name, may check
            or add to it, and returns which folder below it becomes `folder`.

    Raises:
        DataError: If it is damaged, holds what no data set needs (links, names that lead
            elsewhere, encrypted members), or is too large; nothing is left then.
    """
    partial = folder.with_name(f"{folder.name}.part")
    with writing(folder.parent):
        if folder.exists():
            raise DataError(f"{folder} exists already.", "Move it away.")
        folder.parent.mkdir(parents=True, exist_ok=True)
        if partial.exists():  # of a process that was killed
            shutil.rmtree(partial)
        partial.mkdir()
    try:
        _unpack_to(archive, partial)
        with writing(folder):
            pick(partial).rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _unpack_to(archive: Path, folder: Path) -> None:
    size = archive.stat().st_size
    with contextlib.ExitStack() as stack:
        with _reading(archive, "its list of members"):
            file = stack.enter_context(archive.open("rb"))
            members = stack.enter_context(_members(archive, file))
        advance = stack.enter_context(bar(f"Unpacking {archive.name}", size))
        at = 0
        for target, member in _checked(archive, size, members, folder):
            if member.folder:
                with writing(target):
                    target.mkdir(parents=True, exist_ok=True)
                continue
            _copy(archive, member, target)
            advance(file.tell() - at)
            at = file.tell()
    if not any(folder.iterdir()):
        raise DataError(f"{archive} holds no files.", "Is it the right archive?")


def _copy(archive: Path, member: _Member, target: Path) -> None:
    # One byte more than is due, so that a member that has more is found out.
    most = member.size + 1
    copied = pour(member.open, target, lambda: _reading(archive, member.name), most)
    if copied != member.size:
        found = "more" if copied > member.size else str(copied)
        raise DataError(
            f"{archive} is damaged: {member.name} should have {member.size} bytes, has {found}.",
            "Download it again.",
        )


def pour(
    opened: Callable[[], IO[bytes]],
    target: Path,
    reading: Callable[[], AbstractContextManager[None]],
    most: int | None = None,
) -> int:
    """Write what a source holds to a new file and make its folders.

    Args:
        opened: Opens the source.
        target: The file; must not exist.
        reading: Context that explains what goes wrong with the source.
        most: Bytes to stop after.

    Returns:
        The bytes written.

    Raises:
        DataError: If the file cannot be written.
    """
    copied = 0
    with contextlib.ExitStack() as stack:
        with reading():
            source = stack.enter_context(opened())
        with writing(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            file = stack.enter_context(target.open("xb"))
        while True:
            with reading():
                piece = source.read(CHUNK if most is None else min(CHUNK, most - copied))
            if not piece:
                break
            copied += len(piece)
            with writing(target):
                file.write(piece)
        with writing(target):
            file.flush()
    return copied


@contextlib.contextmanager
def _reading(archive: Path, member: str) -> Iterator[None]:
    """Name the archive and the member that cannot be read."""
    try:
        yield
    except NotImplementedError as error:
        raise DataError(
            f"{archive}: {member} is packed in a way Python cannot read: {error}.",
            "Unpack it with another program and give root=FOLDER.",
        ) from error
    except (
        zipfile.BadZipFile,
        tarfile.TarError,
        zlib.error,
        lzma.LZMAError,
        EOFError,
        OSError,
        ValueError,
        RuntimeError,
    ) as error:
        raise DataError(
            f"{archive} is damaged or cut short, at {member}: {error or type(error).__name__}.",
            "Download it again.",
        ) from error


@contextlib.contextmanager
def _members(archive: Path, file: IO[bytes]) -> Iterator[Iterable[_Member]]:
    """Open an archive by its content, whatever its name says."""
    # First tar: a tar that holds a zip looks like a zip, as that is found from its end.
    if tarfile.is_tarfile(file):
        file.seek(0)
        with tarfile.open(fileobj=file, mode="r:*") as tar:
            yield _tar_members(archive, tar)
    elif zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as opened:
            yield [_zip_member(opened, info) for info in opened.infolist()]
    else:
        file.seek(0)
        what = "a web page" if is_page(file.read(512)) else "no zip or tar archive, or cut short"
        raise DataError(f"{archive} is {what}.", "Download it again.")


def _zip_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> _Member:
    kind = stat.S_IFMT(info.external_attr >> 16)
    oddity = None
    if info.flag_bits & 0x1:
        oddity = "encrypted"
    elif kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        oddity = "a link" if kind == stat.S_IFLNK else "a device"
    # The library ends a name at a zero byte, and it may then be another file's.
    name = info.orig_filename if "\0" in info.orig_filename else info.filename
    is_folder = info.is_dir() or kind == stat.S_IFDIR
    return _Member(name, info.file_size, is_folder, oddity, lambda: archive.open(info))


def _tar_members(archive: Path, tar: tarfile.TarFile) -> Iterator[_Member]:
    # One by one, since a list of all would unpack all of it once more.
    infos = iter(tar)
    last = "its first member"
    while True:
        with _reading(archive, f"what comes after {last}"):
            info = next(infos, None)
        if info is None:
            break
        last = info.name
        oddity = None
        if not info.isfile() and not info.isdir():
            oddity = "a link" if info.issym() or info.islnk() else "a device"
        yield _Member(info.name, info.size, info.isdir(), oddity, _opener(tar, info))
    with _reading(archive, f"what comes after {last}"):
        _check_end(tar)


def _opener(tar: tarfile.TarFile, info: tarfile.TarInfo) -> Callable[[], IO[bytes]]:
    def opened() -> IO[bytes]:
        content = tar.extractfile(info)
        if content is None:
            raise tarfile.ReadError("no content")
        return content

    return opened


def _check_end(tar: tarfile.TarFile) -> None:
    """Check what the library does not: that it stopped at the end mark, and the last checksum.

    Raises:
        tarfile.ReadError: If the archive was cut between members.
    """
    if tar.fileobj is None:
        raise tarfile.ReadError("closed")
    tar.fileobj.seek(tar.offset)
    if tar.fileobj.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
        raise tarfile.ReadError("no end mark")
    for _ in range(FREE_GROWTH // CHUNK):
        # To the end of a compressed file, where its checksum is.
        if not tar.fileobj.read(CHUNK):
            return
    raise tarfile.ReadError("no end")


def _checked(
    archive: Path, size: int, members: Iterable[_Member], folder: Path
) -> Iterator[tuple[Path, _Member]]:
    """Yield members with the path each is to have; of a list nothing before all are checked."""
    free = shutil.disk_usage(folder).free
    good = _check(archive, min(free, MOST_GROWTH * size + FREE_GROWTH), free, members, folder)
    return iter(list(good)) if isinstance(members, list) else good


def _check(
    archive: Path, most: int, free: int, members: Iterable[_Member], folder: Path
) -> Iterator[tuple[Path, _Member]]:
    names: set[str] = set()
    folders: set[str] = set()
    total = 0
    for number, member in enumerate(members, start=1):
        if number > MOST_MEMBERS:
            raise _refused(archive, f"it has more than {MOST_MEMBERS:,} members")
        name = safe_name(member.name)
        if name is None:
            raise _refused(archive, f"{member.name!r} would lead out of the folder")
        if member.oddity is not None:
            raise _refused(archive, f"{name} is {member.oddity}")
        parts = name.split("/")
        if not name or _is_litter(parts):
            continue
        total += member.size
        if total > most == free:
            raise DataError(
                f"{archive} does not fit: {free:,} bytes are free in {folder.parent}, and it needs "
                f"more than {total:,}.",
                f"Make room, or set MARSBENCH_HOME (now {paths.home()}) to another folder.",
            )
        if total > most:
            raise _refused(archive, f"it unpacks to more than {MOST_GROWTH} times its size")
        above = {"/".join(parts[:depth]) for depth in range(1, len(parts))}
        if name in names or not names.isdisjoint(above) or (name in folders and not member.folder):
            raise _refused(archive, f"{name} is in it twice, or is a file and a folder")
        (folders if member.folder else names).add(name)
        folders |= above
        yield folder.joinpath(*parts), member


def safe_name(name: str) -> str | None:
    """A name without its empty parts; None if it leads out of its folder."""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    bad = name.startswith("/") or "\\" in name or "\0" in name or re.match(r"[A-Za-z]:", name)
    return None if bad or ".." in parts else "/".join(parts)


def _is_litter(parts: list[str]) -> bool:
    """Whether a file is of macOS: a Finder's setting, or a shadow of another file."""
    return parts[0] == "__MACOSX" or parts[-1] == ".DS_Store" or parts[-1].startswith("._")


def _refused(archive: Path, why: str) -> DataError:
    return DataError(
        f"{archive} is not unpacked: {why}.",
        "No published data need that. If you trust it, unpack it yourself and give root=FOLDER.",
    )
