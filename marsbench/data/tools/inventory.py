"""Inventory of downloads, unpacked archives and decoded images."""

import contextlib
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from marsbench.base import paths
from marsbench.base.errors import DataError
from marsbench.base.hub import COMMIT
from marsbench.base.progress import track
from marsbench.data.download.disk import other_digest
from marsbench.data.sources import hub_files, zenodo
from marsbench.data.sources.hub_files import Listing
from marsbench.tasks.catalog import TASKS
from marsbench.tasks.spec import TaskSpec

PART = ".part"
"""Suffix of unfinished or half-deleted folders."""

ROOTS = "roots"
"""Pseudo-task of the archives and URLs given as ``root=``."""

OWN = "own folder"
"""Kind of a user's folder among the downloads; never deleted."""


@dataclass(frozen=True)
class Held:
    """Entry of the inventory.

    Attributes:
        task: Name of the task, else of the folder.
        what: huggingface, unused hub files, zenodo, own folder, partial download, decoded images,
            unpacked root, copy of a root.
        path: Folder.
        size: Bytes on the disk.
        revision: Commit or record, or "".
        splits: Complete splits of the hub.
        problems: Damaged or missing files, a line each.
    """

    task: str
    what: str
    path: Path
    size: int
    revision: str = ""
    splits: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()


def inventory(tasks: Iterable[TaskSpec] = (), *, check: bool = False) -> list[Held]:
    """List all entries, by task.

    Args:
        tasks: Custom tasks, to name their folders.
        check: Whether to compare the checksums of hub files; sizes are always compared.
    """
    specs = [*TASKS.values(), *tasks]
    entries = [*_hub(specs, check=check), *_folders(specs), *_others(specs)]
    return sorted(entries, key=lambda held: (held.task, held.what, held.revision))


def clean(spec: TaskSpec | None, *, dry_run: bool = False) -> list[Held]:
    """Delete a task's downloads and decoded images; a user's own folder is kept.

    Hub files are deleted from the cache of the hub's client, which other tools share.

    Args:
        spec: The task; None deletes the archives and copies of ``root=``.
        dry_run: Return the entries without deleting them.

    Returns:
        Deleted entries.

    Raises:
        DataError: If deleting fails.
    """
    name = ROOTS if spec is None else spec.name
    entries = inventory([] if spec is None else [spec])
    entries = [held for held in entries if held.task == name and held.what != OWN]
    if dry_run or not entries:
        return entries
    try:
        for held in entries:
            if held.what != "huggingface":
                _delete(held.path)
        if spec is not None and spec.hub_id is not None:
            hub_files.delete(spec.hub_id)
    except OSError as error:
        raise DataError(
            f"{error.filename} cannot be deleted: {error.strerror}.",
            "Check its permissions, and try again.",
        ) from error
    return entries


def _delete(folder: Path) -> None:
    """Rename and delete a folder; the next call completes an interrupted deletion."""
    aside = folder.with_name(f"{folder.name.removesuffix(PART)}{PART}")
    if aside != folder:
        shutil.rmtree(aside, ignore_errors=True)
        folder.rename(aside)
    shutil.rmtree(aside)


def _hub(specs: Sequence[TaskSpec], *, check: bool) -> Iterator[Held]:
    tasks = {spec.hub_id: spec.name for spec in specs if spec.hub_id}
    pinned = {folder.name.replace("--", "/", 1) for folder in _below(paths.home() / "hub")}
    for repo in sorted({*tasks, *pinned}):
        name = tasks.get(repo, repo.replace("/", "--"))
        for folder in _below(hub_files.pin_folder(repo)):
            if COMMIT.fullmatch(folder.name.removesuffix(PART)):  # of older versions
                yield Held(name, "unused hub files", folder, size_of(folder), folder.name)
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
                name,
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
            problems.append(f"{path} is damaged: checksum {actual}; expected {file.digest}")
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
                f"{folder} has {files} files of {size} bytes; expected {manifest.get('files')} "
                f"files of {manifest.get('bytes')} bytes"
            )
        record = str(manifest.get("record", ""))
        yield Held(task, "zenodo", folder, size, record, problems=tuple(problems))


def _others(specs: Sequence[TaskSpec]) -> Iterator[Held]:
    folders = {spec.folder: spec.name for spec in specs}
    kinds = {
        "downloads": "partial download",
        "decoded": "decoded images",
        "unpacked": "unpacked root",
        "copies": "copy of a root",
        "mirrors": "unused copy of a root",  # of older versions
    }
    for place, what in kinds.items():
        for path in _below(paths.home() / place):
            name = ROOTS if what.endswith("root") else path.name.removesuffix(PART)
            yield Held(folders.get(name, name), what, path, size_of(path))


def _below(folder: Path) -> list[Path]:
    """Sorted subfolders of a folder; empty if missing."""
    return sorted(p for p in folder.iterdir() if p.is_dir()) if folder.is_dir() else []


def size_of(folder: Path) -> int:
    """Bytes of all files below a folder, links not followed; 0 if missing."""
    total = 0
    for where, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                total += Path(where, name).lstat().st_size
    return total
