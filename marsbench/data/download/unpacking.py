"""Safe unpacking of zip and tar archives.

Members must be plain files below the folder, within the disk's free space. A failed archive leaves
no files.
"""

import contextlib
import io
import lzma
import re
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any, Self

from marsbench.base.errors import DataError
from marsbench.base.progress import bar
from marsbench.base.reading import check_regular
from marsbench.data.download.disk import writing

MOST_MEMBERS = 2_000_000
"""Limit of members; the largest task has 54,000 files."""

MOST_GROWTH = 200
"""Limit of the ratio of unpacked to packed bytes, beyond `FREE_GROWTH`."""

FREE_GROWTH = 1 << 30
"""Unpacked bytes allowed to any archive."""

MOST_HEADER = 1 << 20
"""Limit of a header with a long name or attributes in a tar, which is held in memory."""

_LONG_HEADERS = (
    *(tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE),
    *(tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK),
)

CHUNK = 1 << 20
"""Bytes per read."""

_DAMAGED = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    ValueError,
    FileExistsError,  # a name of both a file and a folder
    NotADirectoryError,
)


def top_folder(folder: Path) -> Path:
    """Single subfolder of a folder without other entries, else the folder itself."""
    entries = list(folder.iterdir())
    return entries[0] if len(entries) == 1 and entries[0].is_dir() else folder


@dataclass(frozen=True)
class Limits:
    """Limits of an archive from an unknown author, beside the general ones.

    Attributes:
        num_bytes: Largest unpacked size; None for no further limit.
        members: Largest number of members; None for no further limit.
        repeats: Whether a name may be repeated; the last member holds.
    """

    num_bytes: int | None = None
    members: int | None = None
    repeats: bool = True


def unpack(
    archive: Path,
    folder: Path,
    pick: Callable[[Path], Path] = top_folder,
    limits: Limits | None = None,
) -> None:
    """Unpack a zip or tar archive (tar.gz, tar.bz2, tar.xz too) into a new folder.

    Not safe for several processes and the same folder: hold a lock.

    Args:
        archive: The archive.
        folder: Destination; must not exist.
        pick: Function of the temporary folder with all members. Returns the subfolder that
            becomes `folder`; may check and add files.
        limits: Further limits.

    Raises:
        WriteError: If the folder cannot be written.
        DataError: If the archive is unreadable, damaged, too large, or holds links, special
            files, encrypted members or names outside the folder.
    """
    scratch = folder.with_name(f"{folder.name}.part")
    if folder.exists():
        raise DataError(f"{folder} exists already.", "Move it away.")
    shutil.rmtree(scratch, ignore_errors=True)  # of a killed process
    with writing(folder.parent):
        scratch.mkdir(parents=True)
    try:
        with _open(archive) as file:
            _extract(archive, file, scratch, limits or Limits())
        if not any(scratch.iterdir()):
            raise DataError(f"{archive} holds no files.", "Check the path of the archive.")
        with writing(folder):
            pick(scratch).rename(folder)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


class _File(io.FileIO):
    """File whose read errors are `DataError`, to tell them from errors of writing."""

    def readinto(self, buffer: Any, /) -> int | None:
        try:
            return super().readinto(buffer)
        except OSError as error:
            raise _unreadable(Path(str(self.name)), error) from error


def _open(archive: Path) -> io.BufferedReader:
    try:
        check_regular(archive)
        return io.BufferedReader(_File(archive))
    except OSError as error:
        raise _unreadable(archive, error) from error


def _unreadable(archive: Path, error: OSError) -> DataError:
    return DataError(
        f"{archive} cannot be read: {error.strerror}.", "Check its permissions and the disk."
    )


def _extract(archive: Path, file: IO[bytes], folder: Path, limits: Limits) -> None:
    size, free = archive.stat().st_size, shutil.disk_usage(folder).free
    most = min(free, max(MOST_GROWTH * size, FREE_GROWTH))
    most = most if limits.num_bytes is None else min(most, limits.num_bytes)
    most_members = MOST_MEMBERS if limits.members is None else limits.members
    total = position = 0
    names: dict[str, str] = {}
    with writing(folder), _reading(archive), bar(f"Unpacking {archive.name}", size) as advance:
        for count, member in enumerate(_members(file), start=1):
            total += member.num_bytes
            name = safe_name(member.path)
            is_repeated = not limits.repeats and name in names and not member.is_folder
            if (oddity := _oddity(member, name, names)) is not None:
                raise _refused(archive, f"{member.name!r} {oddity}")
            if is_repeated:
                raise _refused(archive, f"{member.name!r} is in it twice")
            if count > most_members:
                raise _refused(archive, f"it has more than {most_members:,} members")
            if total > most:
                limit = f"the {free:,} free bytes" if most == free else f"{most:,} bytes"
                raise _refused(archive, f"it unpacks to more than {limit}")
            if name and not is_litter(name):
                member.extract(folder)
            advance(file.tell() - position)
            position = file.tell()


@dataclass(frozen=True)
class _Member:
    """Member of an archive.

    Attributes:
        name: Name in the archive.
        path: Name with ``/`` between folders.
        is_folder: Whether it is a folder.
        num_bytes: Unpacked size.
        oddity: Reason to refuse it, if any.
        extract: Function that extracts it into a folder.
    """

    name: str
    path: str
    is_folder: bool
    num_bytes: int
    oddity: str | None
    extract: Callable[[Path], object]


def _oddity(member: _Member, name: str | None, names: dict[str, str]) -> str | None:
    """Reason to refuse a member.

    Args:
        member: The member.
        name: Its normalised path; None for a path out of the folder.
        names: Names of the files so far by normalised path; this member's is added.
    """
    if name is None:
        return "leads out of the folder"
    if member.oddity is not None or member.is_folder:
        return member.oddity
    if not name:
        return "is not a file name"
    # A file may be repeated, and the last holds, but two names of one file are ambiguous.
    first = names.setdefault(name, member.name)
    return None if first == member.name else f"is the same file as {first!r}"


class _TarInfo(tarfile.TarInfo):
    """Header of a tar, limited in size."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        info = super().frombuf(buf, encoding, errors)
        if info.type in _LONG_HEADERS and info.size > MOST_HEADER:
            raise ValueError(f"a header of {info.size:,} bytes")
        return info


def _is_tar(file: IO[bytes]) -> bool:
    try:
        tarfile.open(fileobj=file, tarinfo=_TarInfo).close()
    except tarfile.TarError:
        return False
    return True


def _members(file: IO[bytes]) -> Iterator[_Member]:
    """Members of an archive, recognised by its content."""
    # tar first: a tar with a zip at its end is also recognised as a zip.
    if _is_tar(file):
        file.seek(0)
        with tarfile.open(fileobj=file, mode="r:*", tarinfo=_TarInfo) as tar:
            yield from _tar_members(tar)
    elif zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            yield from (_zip_member(archive, info) for info in archive.infolist())
    else:
        file.seek(0)
        head = file.read(512).lstrip().lower()
        page = head.startswith((b"<!doctype html", b"<html"))
        raise ValueError("a web page" if page else "no zip or tar archive")


def _zip_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> _Member:
    kind = stat.S_IFMT(info.external_attr >> 16)
    oddity = None
    if info.flag_bits & 0x1:
        oddity = "is encrypted"
    elif kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        oddity = "is a link or a special file"
    # Original name: zipfile removes ".." from `filename`. Some programs on Windows separate folders
    # by backslashes.
    name = info.orig_filename
    info.filename = path = name.replace("\\", "/")
    return _Member(
        name, path, path.endswith("/"), info.file_size, oddity, partial(archive.extract, info)
    )


def _tar_members(tar: tarfile.TarFile) -> Iterator[_Member]:
    for info in tar:
        oddity = None if info.isfile() or info.isdir() else "is a link or a special file"
        extract = partial(tar.extract, info, filter=_plain)
        yield _Member(info.name, info.name, info.isdir(), info.size, oddity, extract)
    # tarfile takes a damaged header for the end, and does not read the final checksum.
    stream: Any = tar.fileobj
    stream.seek(tar.offset)
    if stream.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
        raise tarfile.ReadError("no end mark")
    for _ in iter(lambda: stream.read(CHUNK), b""):
        if stream.tell() > tar.offset + FREE_GROWTH:
            raise tarfile.ReadError("no end")


def _plain(info: tarfile.TarInfo, folder: str) -> tarfile.TarInfo | None:
    """Apply tarfile's data filter, and leave the permissions to the umask."""
    checked = tarfile.data_filter(info, folder)
    keep_none: Any = {"mode": None}  # missing in tarfile's type stub
    return None if checked is None else checked.replace(**keep_none, deep=False)


@contextlib.contextmanager
def _reading(archive: Path) -> Iterator[None]:
    """Translate the libraries' errors on damaged archives."""
    try:
        yield
    except NotImplementedError as error:
        raise DataError(
            f"{archive} has an unknown compression: {error}.",
            "Unpack it with another program and add root=FOLDER.",
        ) from error
    except (*_DAMAGED, OSError) as error:
        if not isinstance(error, _DAMAGED) and error.errno is not None:
            raise  # disk error; damaged gzip and bz2 streams have no errno
        raise DataError(
            f"{archive} is damaged or not an archive: {error or type(error).__name__}.",
            "Download it again.",
        ) from error


def safe_name(name: str) -> str | None:
    """Normalise a relative path; returns None for a path out of its folder."""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    bad = name.startswith("/") or "\\" in name or "\0" in name or re.match(r"[A-Za-z]:", name)
    return None if bad or ".." in parts else "/".join(parts)


LITTER_PATTERNS = ["__MACOSX/*", ".DS_Store", "*/.DS_Store", "._*", "*/._*"]
"""Files of `is_litter` as patterns, in which a star matches slashes too."""


def is_litter(name: str) -> bool:
    """Whether a relative path is a metadata file of macOS."""
    parts = name.split("/")
    return parts[0] == "__MACOSX" or parts[-1] == ".DS_Store" or parts[-1].startswith("._")


def _refused(archive: Path, reason: str) -> DataError:
    return DataError(
        f"{archive} is not unpacked: {reason}.",
        "If you trust the archive, unpack it with another program and add root=FOLDER.",
    )
