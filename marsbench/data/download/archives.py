"""What ``root=`` may be besides a folder: an archive, or the URL of a folder or an archive."""

import contextlib
import hashlib
import json
import posixpath
import re
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from filelock import FileLock

from marsbench.base import paths
from marsbench.base.errors import DataError, DataNotFoundError
from marsbench.base.progress import bar
from marsbench.data.download import transfer
from marsbench.data.download.transfer import writing
from marsbench.data.download.unpacking import pour, safe_name, top_folder, unpack
from marsbench.data.download.web import check_online, shown

__all__ = ["MARKER", "fetch_root", "locked", "unpack"]

MARKER = ".marsbench.json"
"""File in a folder of ours that says what it is; a folder that has one is whole."""

AT_ONCE = 8
"""Files of a mirror fetched at the same time: what costs is waiting."""


def fetch_root(root: str) -> Path:
    """Make a folder of what ``root=`` of a local source may be.

    Archives are unpacked below ``MARSBENCH_HOME/unpacked``; URLs are mirrored or unpacked below
    ``MARSBENCH_HOME/mirrors``, once: delete the folder there to have them anew. Several processes
    may ask for the same at once: one works, the others wait.

    Args:
        root: A folder, an archive, or an fsspec URL (``s3://BUCKET/FOLDER``) of either; a web
            address is that of an archive.

    Raises:
        DataNotFoundError: If there is no such thing.
        DataError: If it cannot be fetched or unpacked.
    """
    if "://" in root:
        return _fetch_url(root)
    path = Path(root).expanduser()
    if path.is_dir():
        return path
    try:
        status = path.stat()
    except OSError as error:
        raise DataNotFoundError(
            f"root={root} is no folder, archive or URL: {error.strerror}.", "Check the path."
        ) from error
    # A changed archive is another.
    key = _key(f"{path.resolve()}\t{status.st_size}\t{status.st_mtime_ns}")
    folder = paths.home() / "unpacked" / key
    if not folder.is_dir():
        with locked(folder):
            if not folder.is_dir():
                unpack(path, folder)
    return folder


def _key(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder that need not exist; other processes wait.

    Raises:
        DataError: If there can be no lock.
    """
    lock = FileLock(f"{folder}.lock")
    with writing(folder.parent):
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _fetch_url(url: str) -> Path:
    folder = paths.home() / "mirrors" / _key(url)
    if not (folder / MARKER).is_file():
        with locked(folder):
            if not (folder / MARKER).is_file():
                if url.startswith(("http://", "https://")):
                    _fetch_archive(url, folder, lambda path: _download(url, path))
                else:
                    _fetch_files(url, folder)
    return folder


def _download(url: str, path: Path) -> None:
    with bar(path.name, 0) as advance:
        transfer.download(transfer.Remote(url, None, None), path, advance)


def _fetch_archive(url: str, folder: Path, fetch: Callable[[Path], None]) -> None:
    """Fetch an archive, unpack it and delete it."""
    name = posixpath.basename(shown(url).rstrip("/")) or "archive"
    archive = folder.with_name(f"{folder.name}.download") / name
    if not archive.exists():
        fetch(archive)

    def pick(unpacked: Path) -> Path:
        top = top_folder(unpacked)
        _mark(top, url)
        return top

    try:
        unpack(archive, folder, pick)
    except DataError:
        # It would be bad the next time too. (One that was only interrupted is kept.)
        shutil.rmtree(archive.parent, ignore_errors=True)
        raise
    shutil.rmtree(archive.parent, ignore_errors=True)


def _mark(folder: Path, url: str) -> None:
    partial = folder / f"{MARKER}.part"
    partial.write_text(json.dumps({"source": shown(url)}), encoding="utf-8")
    partial.rename(folder / MARKER)


def _fetch_files(url: str, folder: Path) -> None:
    """Mirror a folder of any file system that fsspec knows, or unpack an archive there."""
    from fsspec.core import url_to_fs

    if not url.startswith(("file://", "memory://", "local://")):
        check_online(url)
    with _remote(url):
        system, path = url_to_fs(url)
        # What it remembers may be older than the files.
        system.invalidate_cache()
        is_file = system.isfile(path)
        found = {} if is_file else system.find(path, detail=True)
    if is_file:
        with _remote(url):
            size = int(system.size(path) or 0)

        def fetch(archive: Path) -> None:
            with bar(archive.name, size) as advance:
                advance(_get(url, system, path, archive, size or None))

        _fetch_archive(url, folder, fetch)
        return
    files = {}
    for name, info in found.items():
        relative = safe_name(name.removeprefix(path).lstrip("/")) if info["type"] == "file" else ""
        if relative is None:
            raise DataError(f"{shown(url)}: {name} would lead out of the folder.", "Rename it.")
        if relative:
            files[name] = (folder / relative, info.get("size"))
    if not files:
        raise DataNotFoundError(f"{shown(url)} holds no files.", "Check the address.")

    def fetch_one(name: str) -> int:
        target, size = files[name]
        return _get(url, system, name, target, size)

    with (
        bar(f"Mirroring {shown(url)}", sum(size or 0 for _, size in files.values())) as advance,
        ThreadPoolExecutor(AT_ONCE) as pool,
    ):
        for size in pool.map(fetch_one, files):
            advance(size)
    with writing(folder):
        _mark(folder, url)


def _get(url: str, system: Any, name: str, target: Path, size: int | None) -> int:
    """Fetch one file unless it is there; returns its bytes."""
    with contextlib.suppress(OSError):
        if target.stat().st_size == size:
            return size
    partial = target.with_name(f"{target.name}.part")
    with writing(target.parent):
        partial.unlink(missing_ok=True)
    found = pour(lambda: system.open(name, "rb"), partial, lambda: _remote(url, name))
    if size not in (None, found):
        partial.unlink()
        raise DataError(f"{name} should have {size} bytes, {found} came.", "Try again.")
    with writing(target.parent):
        partial.replace(target)
    return found


@contextlib.contextmanager
def _remote(url: str, name: str = "") -> Iterator[None]:
    """Explain what another library says of a URL."""
    try:
        yield
    except ImportError as error:
        package = re.search(r"install (\w+)", str(error), re.IGNORECASE)
        raise DataError(
            f"root={shown(url)} needs a package that is not installed: {error}.",
            f"pip install {package[1] if package else 'PACKAGE'}",
        ) from error
    except ValueError as error:
        raise DataError(
            f"root={shown(url)} cannot be opened: {error}.",
            "Use file://, https:// (an archive), s3://, gs:// or abfs://, or download it and give "
            "root=FOLDER.",
        ) from error
    except Exception as error:  # each file system raises errors of its own
        raise DataError(
            f"{name or shown(url)} cannot be read: {type(error).__name__}: {error}.",
            "Check the address and the network. A public bucket may need FSSPEC_S3_ANON=true "
            "(or FSSPEC_GCS_TOKEN=anon), a private one your credentials.",
        ) from error
