"""What lies below ``MARSBENCH_HOME``: downloads, unpacked archives, decoded images."""

import contextlib
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from marsbench.base import paths
from marsbench.base.errors import DataError
from marsbench.base.progress import track
from marsbench.data.download.disk import other_digest
from marsbench.data.sources import hub_files, zenodo
from marsbench.data.sources.hub_files import Listing
from marsbench.tasks.catalog import TASKS
from marsbench.tasks.spec import TaskSpec

PART = ".part"
"""End of the name of a folder that is being made or deleted, or was left so."""

ROOTS = "roots"
"""Stands for archives and copies of URLs that were given as ``root=``, which are of no task."""

OWN = "own folder"
"""A folder that a user put among the downloads: it is never deleted."""


@dataclass(frozen=True)
class Held:
    """One thing that is there.

    Attributes:
        task: Task it belongs to, or the name of its folder where no task is known.
        what: huggingface, zenodo, own folder, partial download, decoded images, unpacked root.
        path: Where it is.
        size: Bytes on the disk.
        revision: Commit or record; "" where there is none.
        splits: Splits of the hub that are there whole.
        problems: What is damaged or lacks, a line each; none means whole.
    """

    task: str
    what: str
    path: Path
    size: int
    revision: str = ""
    splits: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()


def inventory(tasks: Iterable[TaskSpec] = (), *, check: bool = False) -> list[Held]:
    """List everything, by task.

    Args:
        tasks: Custom tasks, whose folders would else not be known as theirs.
        check: Whether to read every file of the hub and compare its checksum; without, sizes are
            compared alone.
    """
    specs = [*TASKS.values(), *tasks]
    found = [*_hub(specs, check=check), *_folders(specs), *_others(specs)]
    return sorted(found, key=lambda held: (held.task, held.what, held.revision))


def clean(spec: TaskSpec | None, *, dry_run: bool = False) -> list[Held]:
    """Delete a task's downloads and decoded images; a folder of the user's own stays.

    Args:
        spec: The task; None stands for what was unpacked or copied of ``root=``.
        dry_run: Whether to delete nothing and only tell what would be.

    Returns:
        What was deleted.

    Raises:
        DataError: If something cannot be deleted.
    """
    name = ROOTS if spec is None else spec.name
    found = inventory([] if spec is None else [spec])
    mine = [held for held in found if held.task == name and held.what != OWN]
    if dry_run or not mine:
        return mine
    try:
        for held in mine:
            if held.what != "huggingface":
                _delete(held.path)
        if spec is not None and spec.hub_id is not None:
            hub_files.delete(spec.hub_id)
    except OSError as error:
        raise DataError(
            f"{error.filename} cannot be deleted: {error.strerror}.", "Mend that, and try again."
        ) from error
    return mine


def _delete(folder: Path) -> None:
    """Delete a folder; killed in between, what is left is listed and deleted the next time."""
    aside = folder.with_name(f"{folder.name.removesuffix(PART)}{PART}")
    if aside != folder:
        shutil.rmtree(aside, ignore_errors=True)
        folder.rename(aside)
    shutil.rmtree(aside)


def _hub(specs: Sequence[TaskSpec], *, check: bool) -> Iterator[Held]:
    tasks = {spec.hub_id: spec.name for spec in specs if spec.hub_id}
    pinned = {folder.name.replace("--", "/", 1) for folder in _below(paths.home() / "hub")}
    for repo in sorted({*tasks, *pinned}):
        for listing in hub_files.held(repo):
            here = [name for name in listing.splits if not listing.missing([name])]
            problems = [
                f"{split} is incomplete"
                for split in listing.splits
                if split not in here and any(map(listing.has, listing.splits[split]))
            ]
            if check:
                problems += _damaged(listing, here)
            yield Held(
                tasks.get(repo, repo.replace("/", "--")),
                "huggingface",
                listing.folder,
                listing.size,
                listing.revision,
                tuple(here),
                tuple(problems),
            )


def _damaged(listing: Listing, splits: list[str]) -> list[str]:
    problems = []
    for file in track(files := listing.files(splits), f"Reading {listing.repo}", len(files)):
        path = listing.folder / file.path
        if file.digest is not None and (actual := other_digest(path, file.digest)):
            problems.append(f"{path} is damaged: {actual}, not {file.digest}")
    return problems


def _folders(specs: Sequence[TaskSpec]) -> Iterator[Held]:
    tasks = {spec.folder: spec.name for spec in specs}
    for folder in _below(paths.home() / "data"):
        name = folder.name.removesuffix(PART)
        task = tasks.get(name, name)
        if name != folder.name:
            yield Held(task, "partial download", folder, size_of(folder))
            continue
        if not zenodo.is_ours(folder):
            yield Held(task, OWN, folder, size_of(folder))
            continue
        manifest: dict[str, Any] = zenodo.read_manifest(folder) or {}
        files, size = zenodo.measure(folder)
        problems = []
        if (files, size) != (manifest.get("files"), manifest.get("bytes")):
            problems.append(
                f"{folder}: {files} files of {size} bytes are there, {manifest.get('files')} of "
                f"{manifest.get('bytes')} were unpacked"
            )
        record = str(manifest.get("record", ""))
        yield Held(task, "zenodo", folder, size, record, problems=tuple(problems))


def _others(specs: Sequence[TaskSpec]) -> Iterator[Held]:
    folders = {spec.folder: spec.name for spec in specs}
    kinds = {
        "downloads": "partial download",
        "decoded": "decoded images",
        "unpacked": "unpacked root",
        "mirrors": "copy of a root",
    }
    for place, what in kinds.items():
        for path in _below(paths.home() / place):
            name = ROOTS if what.endswith("root") else path.name.removesuffix(PART)
            yield Held(folders.get(name, name), what, path, size_of(path))


def _below(folder: Path) -> list[Path]:
    """Folders in a folder."""
    return sorted(p for p in folder.iterdir() if p.is_dir()) if folder.is_dir() else []


def size_of(folder: Path) -> int:
    """Bytes of the files below a folder, of links their own; 0 where there is none."""
    total = 0
    for where, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                total += Path(where, name).lstat().st_size
    return total
