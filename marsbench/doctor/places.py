"""Folders that are read and written, and the data that lie in them."""

import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from marsbench import paths
from marsbench.config import RunConfig
from marsbench.data.catalog import TASKS
from marsbench.data.sources import find_local, local_places
from marsbench.errors import DataNotFoundError

SEARCH = 5.0
"""Seconds to add up the size of a folder; a cache may hold a million files."""


def describe(path: Path, *, measure: bool = True) -> dict[str, Any]:
    """Describe a folder that is there or will be made.

    Args:
        path: The folder.
        measure: Whether to add up the size of its files.

    Returns:
        ``path``, ``exists``, ``writable`` with the ``obstacle`` if it is not, ``free`` bytes of
        its ``disk``, ``size`` in bytes and whether that is ``measured`` whole.
    """
    path = path.expanduser().absolute()
    found: dict[str, Any] = {"path": str(path), "exists": path.is_dir()}
    obstacle = _obstacle(path)
    found |= {"writable": obstacle is None, "obstacle": obstacle}
    above = _nearest(path)
    found |= {"free": shutil.disk_usage(above).free, "disk": above.stat().st_dev}
    if measure and path.is_dir():
        found["size"], found["measured"] = size(path)
    return found


def _nearest(path: Path) -> Path:
    """The path, or the closest above it that is there."""
    return next((p for p in (path, *path.parents) if os.path.lexists(p)), path)


def _obstacle(path: Path) -> str | None:
    """Why files cannot be written below a folder; None if they can.

    A file without a name is written: rights alone do not tell of full or read-only disks.
    """
    above = _nearest(path)
    if not above.is_dir():
        return f"{above} is no folder"
    try:
        with tempfile.TemporaryFile(dir=above) as file:
            file.write(b"0")
    except OSError as error:
        return f"{above}: {error.strerror or error}"
    return None


def size(folder: Path) -> tuple[int, bool]:
    """Bytes of the files below a folder, and whether time sufficed to see all."""
    end = time.monotonic() + SEARCH
    total = 0
    for where, _, names in os.walk(folder):
        for name in names:
            try:
                # Not of what a link leads to: the hub's cache links each file once or more.
                total += (Path(where) / name).lstat().st_size
            except OSError:
                continue
        if time.monotonic() > end:
            return total, False
    return total, True


def _hub_cache() -> dict[str, Any]:
    """Folder of the Hugging Face hub."""
    from huggingface_hub import constants

    return describe(Path(constants.HF_HUB_CACHE))


CACHES: dict[str, Callable[[], dict[str, Any]]] = {
    # Measured by its parts.
    "MARSBENCH_HOME": lambda: describe(paths.home(), measure=False),
    "decoded images": lambda: describe(paths.home() / "decoded"),
    "downloaded data": lambda: describe(paths.home() / "data"),
    "store": lambda: describe(Path(RunConfig().store)),
    "Hugging Face hub": _hub_cache,
}
"""Folders by what they are, `torch_cache` aside; the store is that of a run without ``store=``."""


def torch_cache(folder: str | None) -> dict[str, Any]:
    """Folder of torch's hub.

    Args:
        folder: The folder torch names, if it could be asked.
    """
    if folder is None:
        base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
        folder = str(Path(os.environ.get("TORCH_HOME") or f"{base}/torch") / "hub")
    return describe(Path(folder))


def shared_memory() -> dict[str, Any] | None:
    """Shared memory, through which worker processes hand over images; None if it is no folder."""
    folder = Path("/dev/shm")  # noqa: S108
    if not folder.is_dir():
        return None
    usage = shutil.disk_usage(folder)
    return {"path": str(folder), "size": usage.total, "free": usage.free}


def local_data() -> dict[str, Any]:
    """Which tasks of the catalogue have a folder in the places that are searched."""
    found: dict[str, str] = {}
    places: dict[str, str] = {}
    for name, spec in TASKS.items():
        places |= {what: str(p.absolute()) for what, p in local_places(spec, None).items()}
        try:
            found[name] = str(find_local(spec).absolute())
        except DataNotFoundError:
            continue
    return {"tasks": len(TASKS), "searched": places, "found": found}
