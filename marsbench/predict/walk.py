"""Find new images in files and folders, and count and name every entry that is left out."""

import contextlib
import json
import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from marsbench.base import reading
from marsbench.base.errors import DataError, some
from marsbench.base.names import display_name
from marsbench.data.formats import IMAGE_SUFFIXES, LABEL_SUFFIXES, companion, is_raster
from marsbench.data.sources.annotations import BEFORE, second_of_pair
from marsbench.predict.outputs import ABOUT, JOURNAL, LOCK, NAMES, PICTURES
from marsbench.results.store import FAILED, RECORD
from marsbench.tasks.spec import TaskSpec

_ABOUT_KEYS = {"model", "task", "kind", "classes", "environment"}

_WRITTEN = "written by predict"
_HIDDEN, _OTHER, _TEXT = "hidden", "not named as images", "without an image inside"
_RUN, _AGAIN = "in folders of runs", "searched already"
_DANGLING = "linked to missing files"


@dataclass(frozen=True)
class Item:
    """An image to predict.

    Attributes:
        path: File; of a pair, the earlier image.
        name: Path relative to the given folder, or the file's name.
        after: The later image of a pair.
        error: Error of a folder that cannot be searched, or of a refused file; None for images.
    """

    path: Path
    name: str
    after: Path | None = None
    error: DataError | None = None


@dataclass(frozen=True)
class Selection:
    """Images to predict.

    Attributes:
        items: The images, each once.
        notes: A line for each folder with linked folders or entries left out, which counts them
            and names the first.
    """

    items: list[Item]
    notes: list[str]


def find_images(given: Sequence[Path], task: TaskSpec) -> Selection:
    """List the images of files and folders, each once.

    Linked folders are followed, each folder once. Files that a prediction wrote are never listed.

    Args:
        given: Files and folders; folders are searched recursively.
        task: The task; of image pairs the later image is not listed.

    Raises:
        DataError: If a path does not exist, or no image is found.
    """
    chosen: dict[str, Item] = {}
    notes: list[str] = []
    seen: set[tuple[int, int]] = set()
    for path in given:
        check_exists(path)
        if not path.is_dir():
            chosen.setdefault(os.path.realpath(path), Item(path, path.name, error=_refusal(path)))
            continue
        walk = _Walk(path, seen)
        for item in walk.items():
            chosen.setdefault(os.path.realpath(item.path), item)
        if walk.linked or any(walk.left.values()):
            notes.append(walk.note())
    if not chosen:
        raise DataError(
            "\n".join([f"No images found in {', '.join(map(str, given))}.", *notes]),
            f"Name images, or folders with files that end in {' '.join(IMAGE_SUFFIXES)}.",
        )
    items = list(chosen.values())
    if task.is_pairs:
        seconds = {os.path.realpath(second_of_pair(i.path)) for i in items if _is_first(i)}
        items = [
            Item(i.path, i.name, second_of_pair(i.path), i.error) if _is_first(i) else i
            for i in items
            if _is_first(i) or os.path.realpath(i.path) not in seconds
        ]
    return Selection(items, notes)


def check_exists(path: Path) -> None:
    """Check that a given file or folder exists; a dangling link counts as a file.

    Raises:
        DataError: If it does not, or its folder may not be visited.
    """
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise DataError(f"File or folder not found: {path}.", "Correct the path.") from error
    except OSError as error:
        raise DataError(
            f"{path} cannot be read: {error.strerror}.", "Check the path and its permissions."
        ) from error


def _is_first(item: Item) -> bool:
    return BEFORE in item.path.name


def _refusal(path: Path) -> DataError | None:
    """Error of a named file that a prediction wrote."""
    if not is_written(path):
        return None
    return DataError(f"{path} was written by predict.", "Give the image that it shows.")


@dataclass
class _Walk:
    """Search of a given folder.

    Attributes:
        top: The folder.
        seen: Device and inode of the folders searched, also below other given folders.
        left: Names of the entries left out, by reason.
        linked: Names of the links followed.
        count: Number of images.
    """

    top: Path
    seen: set[tuple[int, int]]
    left: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    linked: list[str] = field(default_factory=list)
    count: int = 0

    def items(self) -> Iterator[Item]:
        """Images in the order of their paths, and folders that cannot be searched."""
        waiting = [self.top]
        if is_written(self.top):
            self.left[_WRITTEN].append(str(self.top))
            waiting = []
        texts: list[Path] = []
        data: set[Path] = set()
        while waiting:
            path = waiting.pop()
            try:
                is_folder = path.is_dir()
                if is_folder:
                    waiting += self._entries(path)[::-1]
            except OSError as error:
                self.count += 1
                yield self._item(
                    path,
                    DataError(
                        f"{path} cannot be searched: {error.strerror}.", "Check its permissions."
                    ),
                )
                continue
            if is_folder or not self._is_image(path, texts):
                continue
            if path.suffix.lower() in LABEL_SUFFIXES:
                with contextlib.suppress(DataError):  # raised again on opening
                    data |= {companion(path) or path}
            self.count += 1
            yield self._item(path)
        # Data files belong to the images of their labels.
        self.left[_TEXT] += [self._name(path) for path in texts if path not in data]

    def note(self) -> str:
        """Line with the images, the links followed and the entries left out."""
        text = f"{self.top}: {self.count} image{'' if self.count == 1 else 's'}"
        if self.linked:
            text += f"; links followed: {len(self.linked)} ({some(self.linked)})"
        left = [f"{len(names)} {why} ({some(names)})" for why, names in self.left.items() if names]
        text += f"; left out: {', '.join(left)}" if left else ""
        return display_name(f"{text}.")

    def _name(self, path: Path) -> str:
        if path == self.top:
            return self.top.name or str(self.top)
        return path.relative_to(self.top).as_posix()

    def _item(self, path: Path, error: DataError | None = None) -> Item:
        return Item(path, self._name(path), error=error)

    def _entries(self, folder: Path) -> list[Path]:
        """Sorted entries of a folder to search; the others are noted."""
        info = folder.stat()
        if (place := (info.st_dev, info.st_ino)) in self.seen:
            self.left[_AGAIN].append(self._name(folder))
            return []
        names = sorted(path.name for path in folder.iterdir())
        self.seen.add(place)
        if {RECORD, FAILED} & set(names):
            self.left[_RUN].append(self._name(folder))
            return []
        if (JOURNAL in names or ABOUT in names) and is_output(folder):
            self.left[_WRITTEN].append(self._name(folder))
            names = [n for n in names if n not in (*NAMES, JOURNAL) and not n.startswith(LOCK)]
        entries = []
        for name in names:
            path = folder / name
            if name.startswith("."):
                self.left[_HIDDEN].append(self._name(path))
            elif path.is_symlink() and is_written(path):
                self.left[_WRITTEN].append(self._name(path))
            else:
                entries.append(path)
                if path.is_symlink() and path.is_dir():
                    self.linked.append(self._name(path))
        return entries

    def _is_image(self, path: Path, texts: list[Path]) -> bool:
        """Whether to predict a file; others are noted, or added to `texts`."""
        suffix = path.suffix.lower()
        if suffix not in IMAGE_SUFFIXES:
            is_there = os.path.exists(path)  # noqa: PTH110
            self.left[_OTHER if is_there else _DANGLING].append(self._name(path))
        elif suffix in LABEL_SUFFIXES and _is_readable(path) and not is_raster(path):
            texts.append(path)
        else:
            return True
        return False


def _is_readable(path: Path) -> bool:
    try:
        reading.open_file(path).close()
    except OSError:
        return False
    return True


def is_written(path: Path) -> bool:
    """Whether a prediction wrote a file or folder of pictures, wherever it is linked from."""
    real = Path(os.path.realpath(path))
    places = (real, *real.parents)
    return any(place.name in PICTURES and is_output(place.parent) for place in places)


def is_output(folder: Path) -> bool:
    """Whether a folder is the output folder of a prediction, of this or an earlier version."""
    # Unlike `Path.exists`, this returns False without permissions.
    if os.path.exists(folder / JOURNAL):  # noqa: PTH110
        return True
    try:
        about = json.loads(reading.read_text(folder / ABOUT))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(about, dict) and about.keys() >= _ABOUT_KEYS
