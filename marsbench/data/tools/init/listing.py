"""Files of a user's folder: images, other files, and folders named as splits."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from marsbench.base.errors import DataError, DataNotFoundError, some
from marsbench.base.files import is_name
from marsbench.base.names import display_name
from marsbench.base.text import is_formula
from marsbench.data.formats import IMAGE_SUFFIXES, LABEL_SUFFIXES, is_raster
from marsbench.data.sources.annotations import ANNOTATIONS
from marsbench.tasks.spec import SPLITS

_SPLIT_FOLDER = re.compile(r"(train|val|test)(?:ing|id|idation)?(?:\d{4})?", re.IGNORECASE)
"""Names such as ``train``, ``valid`` and ``val2017``."""

_TEXTS = (".txt", ".xml", ".json")
"""Suffixes of files with boxes."""

_RUN_FILES = {"record.json", "failed.json"}
"""Files of the folder of a run."""


@dataclass(frozen=True)
class Listing:
    """Files of a folder, as sorted relative paths with ``/``.

    Attributes:
        folder: The folder.
        images: Images by their suffix and, for labels of rasters, by their content.
        texts: Files that may hold boxes.
        splits: Split of each image below folders named as splits; empty without such folders.
    """

    folder: Path
    images: tuple[str, ...]
    texts: tuple[str, ...]
    splits: dict[str, str]


def list_files(folder: Path) -> Listing:
    """List a folder; hidden files and folders, and folders of runs, are left out.

    Raises:
        DataNotFoundError: If the folder is missing.
        DataError: If it holds no image, links that lead out of it, or names that a table cannot
            hold as text.
    """
    if not folder.is_dir():
        raise DataNotFoundError(f"{folder} is not a folder.", "Give the folder of your images.")
    paths: list[str] = []
    _walk(folder, paths)
    bad = [p for p in paths if not (is_name(p) and p.isprintable() and p == p.strip())]
    if bad:
        shown = some(display_name(path).encode("unicode_escape").decode() for path in bad)
        raise DataError(
            f"{len(bad)} file(s) of {folder} have names with control characters, invalid UTF-8 or "
            f"spaces at an end: {shown}.",
            "Rename them, or their folders.",
        )
    if computed := [path for path in paths if is_formula(path)]:
        raise DataError(
            f"{len(computed)} file(s) of {folder} have paths that a spreadsheet would compute in "
            f"{ANNOTATIONS}: {some(map(display_name, computed))}.",
            "Rename the files or their folders: begin with a letter or digit.",
        )
    images, texts = [], []
    for path in sorted(paths):
        suffix = os.path.splitext(path)[1].lower()  # noqa: PTH122 - for each file
        if suffix in IMAGE_SUFFIXES and (suffix not in LABEL_SUFFIXES or is_raster(folder / path)):
            images.append(path)
        elif suffix in _TEXTS:
            texts.append(path)
    if not images:
        raise DataError(
            f"{folder} holds no image ({len(paths)} other file(s)).",
            f"Images end in {' '.join(IMAGE_SUFFIXES)}.",
        )
    return Listing(folder, tuple(images), tuple(texts), _splits_of(images))


def _walk(folder: Path, paths: list[str]) -> None:
    """Append the relative paths of all files."""
    top = folder.resolve()
    out: list[str] = []

    def refuse(error: OSError) -> None:
        raise DataError(
            f"{error.filename} cannot be searched: {error.strerror}.", "Check its permissions."
        ) from error

    for place, folders, names in os.walk(folder, onerror=refuse):
        if not _RUN_FILES.isdisjoint(names):
            folders.clear()  # a run's folder, whose pictures are not data
            continue
        folders[:] = sorted(name for name in folders if not _is_hidden(name))
        below = Path(place).relative_to(folder).as_posix()
        prefix = "" if below == "." else f"{below}/"
        for name in folders:
            if (Path(place) / name).is_symlink():
                out.append(f"{prefix}{name}")
        for name in names:
            if _is_hidden(name):
                continue
            path = Path(place) / name
            if path.is_symlink() and not path.resolve().is_relative_to(top):
                out.append(f"{prefix}{name}")
            else:
                paths.append(f"{prefix}{name}")
    if out:
        raise DataError(
            f"{len(out)} link(s) in {folder} lead to folders or out of it: "
            f"{some(map(display_name, out))}.",
            "Give the folder that holds the files themselves, or copy them into this folder.",
        )


def _is_hidden(name: str) -> bool:
    return name.startswith((".", "__"))


def split_of_folder(name: str) -> str | None:
    """Split that a folder is named after; None for other folders."""
    match = _SPLIT_FOLDER.fullmatch(name)
    return None if match is None else match[1].lower()


def without_split(path: str) -> list[str]:
    """Parts of a path without the first folder that is named as a split."""
    *folders, name = path.split("/")
    for i, folder in enumerate(folders):
        if split_of_folder(folder):
            return [*folders[:i], *folders[i + 1 :], name]
    return [*folders, name]


def _splits_of(images: list[str]) -> dict[str, str]:
    """Split of each image, if there are a train folder and a val or test folder."""
    splits = {}
    for path in images:
        named = (split_of_folder(folder) for folder in path.split("/")[:-1])
        if split := next(filter(None, named), None):
            splits[path] = split
    held = set(splits.values())
    return splits if SPLITS[0] in held and len(held) > 1 else {}
