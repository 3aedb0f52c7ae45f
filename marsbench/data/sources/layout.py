"""Layout of a task's folder: the files of a sample.

Below ``data/SPLIT``, classification keeps ``FEATURE_NAME/FILE_ID`` (multilabel: ``FILE_ID``). The
name of the second image of a pair has ``after`` instead of ``before``. Segmentation keeps
``images/`` and ``masks/``, detection ``images/`` and any of ``labels/`` (YOLO), ``pascal_voc/``
and ``coco_annotations.json``.

Other folders have paths in ``annotation.csv``: ``image_path``, and ``mask_path`` or ``boxes_path``.
"""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from marsbench.base.errors import ConfigError, DataError, some
from marsbench.base.reading import check_regular
from marsbench.config.schema import Subset, parse_subset
from marsbench.data.boxes.forms import BoxFormat
from marsbench.data.sources.annotations import ANNOTATIONS, Row, cannot_read, second_of_pair
from marsbench.tasks.spec import TaskSpec

IMAGES, MASKS = "images", "masks"
COCO_FILE = "coco_annotations.json"

LABELS: Mapping[BoxFormat, tuple[str, str]] = {
    BoxFormat.YOLO: ("labels", ".txt"),
    BoxFormat.VOC: ("pascal_voc", ".xml"),
}
"""Folder and suffix of the formats with a file per image."""

FORM_OF_SUFFIX: Mapping[str, BoxFormat] = {
    ".json": BoxFormat.COCO,
    **{suffix: form for form, (_, suffix) in LABELS.items()},
}
"""Formats of boxes by the suffix of their files."""


def box_formats(place: Path) -> tuple[BoxFormat, ...]:
    """Formats of the boxes in a split of a detection task, the preferred first.

    Args:
        place: The folder ``data/SPLIT``.

    Raises:
        DataError: If the split has no boxes.
    """
    formats = tuple(
        form
        for form in BoxFormat
        if (
            (place / LABELS[form][0]).is_dir()
            if form in LABELS
            else os.path.lexists(place / COCO_FILE)
        )
    )
    if not formats:
        raise DataError(
            f"No boxes found in {place}: {COCO_FILE}, labels (YOLO) and pascal_voc are missing.",
            "Unpack the data again, or add the boxes in one of these forms.",
        )
    return formats


def subset_file(subset: Subset) -> Path | None:
    """Path of a subset's list in a task's folder; None for the full split."""
    if subset.shots is not None:
        return Path("few_shot", f"{subset.shots}_shot.csv")
    if subset.fraction is not None:
        return Path("partitions", f"{subset.fraction:.2f}x_partition.csv")
    return None


def listed_subsets(folder: Path) -> list[Subset]:
    """Subsets with a list in a task's folder, few-shot subsets first."""
    subsets = []
    for pattern, name in (
        ("few_shot/*_shot.csv", "few_shot_{}"),
        ("partitions/*x_partition.csv", "partition_{}"),
    ):
        suffix = pattern.rpartition("*")[2]
        for path in _below(folder, pattern):
            try:
                subset = parse_subset(name.format(path.name.removesuffix(suffix)))
            except ConfigError:
                continue
            # Other spellings, such as 0.1x, are not read.
            if subset_file(subset) == path.relative_to(folder):
                subsets.append(subset)
    return subsets


def _below(folder: Path, pattern: str) -> list[Path]:
    """Sorted paths of a pattern ``SUBFOLDER/*...``.

    Raises:
        DataError: If the subfolder may not be searched.
    """
    place = folder / Path(pattern).parent
    try:
        return sorted(path for path in place.iterdir() if path.match(pattern))
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise cannot_read(place, error) from error


class Files:
    """Files of a split. Each folder is listed only once, since a call per file would be slow.

    Args:
        spec: The task.
        place: The folder ``data/SPLIT``.
        formats: Formats of the boxes, for detection.

    Attributes:
        place: Folder of the paths in rows.
    """

    def __init__(self, spec: TaskSpec, place: Path, formats: Iterable[BoxFormat] = ()) -> None:
        self._spec = spec
        self.place = str(place)
        self._labels = [LABELS[form] for form in formats if form in LABELS]
        self._listed: dict[str, dict[str, os.DirEntry[str]]] = {}
        self._closed: dict[str, OSError] = {}
        self._by_stem: dict[str, dict[str, list[str]]] = {}

    def of(self, row: Row) -> tuple[str, ...]:
        """Paths of a sample's files, its image first; they need not exist.

        Raises:
            DataError: If several files could be its mask.
        """
        relative = row.path
        image = f"{self.place}/{relative}"
        if self._spec.is_pairs:
            return image, str(second_of_pair(Path(image)))
        if self._spec.has_masks:
            return image, self._mask(relative)
        if self._spec.has_boxes:
            stem = os.path.splitext(relative.removeprefix(f"{IMAGES}/"))[0]  # noqa: PTH122
            labels = (f"{self.place}/{f}/{stem}{suffix}" for f, suffix in self._labels)
            return image, *labels
        return (image,)

    def _mask(self, relative: str) -> str:
        """Path of an image's mask, by its stem; ``Image`` in the stem may be ``Mask`` there."""
        below, _, name = relative.removeprefix(f"{IMAGES}/").rpartition("/")
        folder = f"{self.place}/{MASKS}/{below}".rstrip("/")
        if folder not in self._by_stem:
            stems: dict[str, list[str]] = {}
            for file in self._list(folder):
                stems.setdefault(os.path.splitext(file)[0], []).append(file)  # noqa: PTH122
            self._by_stem[folder] = stems
        stem = os.path.splitext(name)[0]  # noqa: PTH122
        masks = self._by_stem[folder]
        candidates = masks.get(stem) or masks.get(stem.replace("Image", "Mask")) or [name]
        if len(candidates) > 1 and name not in candidates:
            raise DataError(
                f"{self.place}/{relative} has several masks in {folder}; expected a single mask: "
                f"{some(sorted(candidates))}.",
                "Remove the wrong masks.",
            )
        return f"{folder}/{name if name in candidates else candidates[0]}"

    def stat(self, file: str) -> os.stat_result:
        """Size and times of a regular file.

        Raises:
            OSError: If the file is missing, special, or in a folder that may not be searched.
        """
        if self._spec.files.apart:
            folder, _, name = file.rpartition("/")
            if (entry := self._list(folder).get(name)) is None:
                raise self._closed.get(folder) or FileNotFoundError(file)
            return check_regular(entry)
        return check_regular(file)

    def _list(self, folder: str) -> dict[str, os.DirEntry[str]]:
        if folder not in self._listed:
            self._listed[folder] = {}
            try:
                with os.scandir(folder) as entries:
                    self._listed[folder] = {entry.name: entry for entry in entries}
            except (FileNotFoundError, NotADirectoryError):
                pass
            except OSError as error:
                self._closed[folder] = error
        return self._listed[folder]


class ListedFiles(Files):
    """Files of a split whose paths are in ``annotation.csv``.

    Args:
        spec: The task.
        folder: Folder of the task.
    """

    def of(self, row: Row) -> tuple[str, ...]:
        """Paths of a sample's files, its image first; they need not exist.

        A COCO file, which has the boxes of many images, is left out.
        """
        image = f"{self.place}/{row.path}"
        if self._spec.is_pairs:
            return image, str(second_of_pair(Path(image)))
        if not row.target or self.coco(row):
            return (image,)
        return image, f"{self.place}/{row.target}"

    def coco(self, row: Row) -> str:
        """Path of the COCO file with the boxes of a sample; empty for other forms."""
        is_coco = self._spec.has_boxes and form_of(row.target) is BoxFormat.COCO
        return f"{self.place}/{row.target}" if is_coco else ""


def form_of(path: str) -> BoxFormat | None:
    """Format of a file of boxes by its suffix; None for other suffixes."""
    return FORM_OF_SUFFIX.get(os.path.splitext(path)[1].lower())  # noqa: PTH122


def find_folder(
    spec: TaskSpec, places: Mapping[str, Path], table: str = ANNOTATIONS
) -> Path | None:
    """Find the first folder with a table, in the places or in the task's folder below them.

    Raises:
        DataError: If a place may not be searched.
    """
    for place in places.values():
        for folder in (place, place / spec.folder, place / spec.name):
            if is_there(folder / table):
                return folder
    return None


def is_there(path: Path) -> bool:
    """Whether a path exists, of a readable file or not.

    Raises:
        DataError: If a folder on the way may not be searched.
    """
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise cannot_read(path, error) from error
    return True
