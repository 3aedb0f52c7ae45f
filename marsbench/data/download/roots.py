"""Folders of ``root=``: a folder, an archive, or the URL of either."""

import hashlib
import os
import posixpath
import re
import shutil
import sys
from pathlib import Path

from marsbench.base import paths
from marsbench.base.errors import DataError, DataNotFoundError
from marsbench.base.files import once
from marsbench.base.paths import expanded
from marsbench.data.download import web
from marsbench.data.download.disk import WriteError, writing
from marsbench.data.download.unpacking import safe_name, unpack
from marsbench.data.download.web import check_online, shown


def fetch_root(root: str) -> Path:
    """Local folder of a ``root=`` value.

    Archives are unpacked once below ``MARSBENCH_HOME/unpacked``, URLs copied or unpacked below
    ``MARSBENCH_HOME/copies``; `marsbench data clean roots` deletes both. Concurrent processes
    wait for each other.

    Args:
        root: Folder, archive, or fsspec URL of either (``s3://BUCKET/FOLDER``). An http or https
            URL is the address of an archive.

    Raises:
        DataNotFoundError: If `root` does not exist.
        DataError: If fetching or unpacking fails.
    """
    if "://" in root:
        folder = paths.home() / "copies" / _key(root)
    else:
        path = expanded(root)
        if path.is_dir():
            return path
        try:
            status = path.stat()
        except OSError as error:
            raise DataNotFoundError(
                f"root={root} is not a folder, archive or URL: {error.strerror}.", "Check the path."
            ) from error
        # Size and time: a changed archive is unpacked anew.
        key = _key(f"{path.resolve()}\t{status.st_size}\t{status.st_mtime_ns}")
        folder = paths.home() / "unpacked" / key

    def build() -> Path:
        _fetch(root, folder) if "://" in root else unpack(path, folder)
        return folder

    with writing(folder.parent):
        return once(folder, lambda: folder if folder.is_dir() else None, build)


def _key(text: str) -> str:
    return hashlib.sha256(os.fsencode(text)).hexdigest()[:16]


def _fetch(url: str, folder: Path) -> None:
    """Copy a remote folder, or download and unpack an archive.

    A complete download is kept if writing fails or the process is interrupted.
    """
    scratch = folder.with_name(f"{folder.name}.download")
    copy = scratch / (posixpath.basename(shown(url).rstrip("/")) or "archive")
    try:
        if not copy.exists():
            shutil.rmtree(scratch, ignore_errors=True)  # of a killed process
            if url.startswith(("http://", "https://")):
                web.download(url, copy)
            else:
                _copy(url, scratch / "partial" / copy.name)
                (scratch / "partial" / copy.name).rename(copy)
        if copy.is_dir():
            copy.rename(folder)
        else:
            unpack(copy, folder)
    except BaseException as error:
        is_damaged = isinstance(error, DataError) and not isinstance(error, WriteError)
        if is_damaged or not copy.exists():
            shutil.rmtree(scratch, ignore_errors=True)
        raise
    shutil.rmtree(scratch, ignore_errors=True)


def _copy(url: str, target: Path) -> None:
    """Copy a file or folder from an fsspec file system."""
    from fsspec.callbacks import TqdmCallback
    from fsspec.core import url_to_fs

    if not url.startswith(("file://", "memory://", "local://")):
        check_online(url)
    try:
        system, path = url_to_fs(url)
        # Cached listings may be outdated.
        system.invalidate_cache()
        files = {name: name.removeprefix(path).lstrip("/") for name in system.find(path)}
        if bad := [name for name, relative in files.items() if safe_name(relative) is None]:
            raise DataError(f"{shown(url)}: {bad[0]} leads out of the folder.", "Rename it.")
        if not files:
            raise DataNotFoundError(f"{shown(url)} holds no files.", "Check the address.")
        targets = [target / relative for relative in files.values()]
        for folder in {file.parent for file in targets}:
            folder.mkdir(parents=True, exist_ok=True)
        progress = TqdmCallback(tqdm_kwargs={"disable": not sys.stderr.isatty()})
        system.get(list(files), list(map(str, targets)), callback=progress)
    except DataError:
        raise
    except ImportError as error:
        package = re.search(r"install (\w+)", str(error), re.IGNORECASE)
        raise DataError(
            f"root={shown(url)} needs a package that is not installed: {error}.",
            f"pip install {package[1] if package else 'PACKAGE'}",
        ) from error
    except Exception as error:  # each file system raises errors of its own
        raise DataError(
            f"root={shown(url)} cannot be read: {type(error).__name__}: {error}.",
            "Check the address (file://, https:// of an archive, s3://, gs://, abfs://) and the "
            "network. A public bucket may need FSSPEC_S3_ANON=true (or FSSPEC_GCS_TOKEN=anon), a "
            "private one your credentials.",
        ) from error
