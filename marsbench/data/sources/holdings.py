"""Tasks whose data a folder holds, for messages about a wrong ``root=``."""

from collections.abc import Iterator
from pathlib import Path

from marsbench.data.sources.annotations import ANNOTATIONS
from marsbench.data.sources.challenge import METADATA
from marsbench.tasks.catalog import TASKS
from marsbench.tasks.spec import TASK_FILE

_MOST = 200
"""Largest number of subfolders to look into."""


def task_of(folder: Path) -> str | None:
    """Word for ``task=`` of the data in a folder; None without data or if the task is unknown.

    A task of the catalogue is known by the name of its folder, a custom task by its ``task.yaml``.
    """
    if _has(folder, TASK_FILE):
        return str(folder)
    names = {spec.folder: spec.name for spec in TASKS.values()} | {name: name for name in TASKS}
    return names.get(folder.resolve().name) if _has_table(folder) else None


def tasks_in(folder: Path) -> list[str]:
    """Tasks of the data in a folder and in its subfolders, as text for messages.

    Folders that may not be read hold none.
    """
    return [
        task_of(place) or f"{place.name}/ (no task of the catalogue, and no {TASK_FILE})"
        for place in _places(folder)
        if _has(place, TASK_FILE) or _has_table(place)
    ]


def _has_table(folder: Path) -> bool:
    return _has(folder, ANNOTATIONS) or _has(folder, METADATA)


def _places(folder: Path) -> Iterator[Path]:
    yield folder
    try:
        yield from sorted(path for path in folder.iterdir() if path.is_dir())[:_MOST]
    except OSError:
        return


def _has(folder: Path, name: str) -> bool:
    try:
        return (folder / name).is_file()
    except OSError:
        return False
