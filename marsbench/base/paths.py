"""Folders of the package."""

import contextlib
import os
from pathlib import Path


def home() -> Path:
    """Folder of downloads and caches: ``MARSBENCH_HOME``, else in the user's cache folder."""
    if given := os.environ.get("MARSBENCH_HOME"):
        return expanded(given)
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return expanded(base) / "marsbench"


def configs() -> Path:
    """Folder of the shipped YAML files, in the wheel or at the top of a checkout."""
    package = Path(__file__).parent.parent
    shipped = package / "configs"
    return shipped if shipped.is_dir() else package.parent / "configs"


def expanded(text: str | Path) -> Path:
    """Path with ``~`` expanded; the home of an unknown user stays as it is."""
    with contextlib.suppress(RuntimeError):
        return Path(text).expanduser()
    return Path(text)
