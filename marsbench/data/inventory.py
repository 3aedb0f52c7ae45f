"""What lies below ``MARSBENCH_HOME``: downloads, unpacked archives, decoded images."""

import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from marsbench import paths
from marsbench.data.catalog import TASKS
from marsbench.data.sources import archives, hub_files, zenodo
from marsbench.data.sources.hub_files import Listing
from marsbench.data.sources.transfer import other_digest
from marsbench.data.spec import TaskSpec
from marsbench.errors import DataError
from marsbench.progress import bar

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


def clean(spec: TaskSpec, *, dry_run: bool = False) -> list[Held]:
    """Delete a task's downloads and decoded images; a folder of the user's own stays.

    Args:
        spec: The task.
        dry_run: Whether to delete nothing and only tell what would be.

    Returns:
        What was deleted.

    Raises:
        DataError: If something cannot be deleted.
    """
    mine = [held for held in inventory([spec]) if held.task == spec.name and held.what != OWN]
    if dry_run or not mine:
        return mine
    repo = None if spec.hub_id is None else hub_files.repo_folder(spec.hub_id)
    try:
        for held in mine:
            if held.what != "huggingface":
                shutil.rmtree(held.path) if held.path.is_dir() else held.path.unlink()
        if repo is not None and repo.is_dir():
            # With the commit that a name stood for, so that the next download asks anew; a
            # download that is under way is let finish.
            with archives.locked(repo):
                shutil.rmtree(repo)
    except OSError as error:
        raise DataError(
            f"{error.filename} cannot be deleted: {error.strerror}.", "Mend that, and try again."
        ) from error
    return mine


def _hub(specs: Sequence[TaskSpec], *, check: bool) -> Iterator[Held]:
    tasks = {hub_files.repo_folder(s.hub_id).name: s for s in specs if s.hub_id}
    for folder in _below(paths.home() / "hub"):
        spec = tasks.get(folder.name)
        for commit in _below(folder):
            repo = spec.hub_id if spec is not None and spec.hub_id else folder.name
            listing = hub_files.known_listing(repo, commit.name)
            if listing is None:
                continue
            here = [name for name in listing.splits if not listing.missing([name])]
            problems = [
                f"{split} is incomplete"
                for split in listing.splits
                if split not in here and any(listing.has(f) for f in listing.splits[split])
            ]
            if check:
                problems += _damaged(listing, here)
            yield Held(
                folder.name if spec is None else spec.name,
                "huggingface",
                commit,
                size_of(commit),
                listing.revision,
                tuple(here),
                tuple(problems),
            )


def _damaged(listing: Listing, splits: list[str]) -> list[str]:
    files = listing.files(splits)
    problems = []
    with bar(f"Reading {listing.repo}", sum(file.size for file in files)) as advance:
        for file in files:
            path = listing.folder / file.path
            if file.digest is not None and (found := other_digest(path, file.digest)):
                problems.append(f"{path} is damaged: {found}, not {file.digest}")
            advance(file.size)
    return problems


def _folders(specs: Sequence[TaskSpec]) -> Iterator[Held]:
    tasks = {spec.folder: spec.name for spec in specs}
    for folder in _below(paths.home() / "data"):
        manifest: dict[str, Any] | None = zenodo.read_manifest(folder)
        task = tasks.get(folder.name, folder.name)
        if manifest is None:
            yield Held(task, OWN, folder, size_of(folder))
            continue
        files, size = _count(folder)
        problems = []
        if (files, size) != (manifest["files"], manifest["bytes"]):
            problems.append(
                f"{files} files of {size} bytes are there, {manifest['files']} of "
                f"{manifest['bytes']} were unpacked"
            )
        yield Held(task, "zenodo", folder, size, str(manifest["record"]), problems=tuple(problems))


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
            yield Held(folders.get(path.name, path.name), what, path, size_of(path))


def _below(folder: Path) -> list[Path]:
    """Folders in a folder, those still being made left out."""
    if not folder.is_dir():
        return []
    return sorted(p for p in folder.iterdir() if p.is_dir() and p.suffix != ".part")


def _count(folder: Path) -> tuple[int, int]:
    """Files and bytes of a folder, our own manifest left out."""
    files = size = 0
    for where, _, names in os.walk(folder):
        for name in names:
            if name != archives.MARKER:
                files += 1
                size += Path(where, name).lstat().st_size
    return files, size


def size_of(folder: Path) -> int:
    """Bytes of the files below a folder."""
    return sum(
        Path(where, name).lstat().st_size for where, _, names in os.walk(folder) for name in names
    )
