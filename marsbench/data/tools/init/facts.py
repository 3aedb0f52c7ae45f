"""Facts of the images, masks and boxes of a user's folder, read file by file."""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

import numpy as np

from marsbench.base.errors import DataError, some
from marsbench.base.progress import track
from marsbench.data import raster
from marsbench.data.boxes.files import CocoFile, read_voc, read_yolo
from marsbench.data.boxes.forms import BoxFormat, Size
from marsbench.data.sources.annotations import read_bytes
from marsbench.data.sources.layout import form_of
from marsbench.data.tools.init.samples import Samples
from marsbench.metrics.boxes import Boxes
from marsbench.metrics.masks import IGNORE
from marsbench.tasks.kinds import Kind
from marsbench.tasks.spec import BACKGROUND, normalise

T = TypeVar("T")

_THREADS = 4
"""Threads that read images; decoding leaves Python's lock."""

_COLOURS = 6
"""Number of colours of a mask that a message lists."""

HOW_TO_CONVERT = (
    "Write class ids into copies of the masks, one band of 0, 1, 2, ..., and "
    f"{IGNORE} for pixels to ignore; docs/custom_task.md has the lines of Python."
)


@dataclass(frozen=True)
class Facts:
    """Facts of a sample.

    Attributes:
        size: Height and width in pixels.
        bands: Number of bands; 1 for colours of three equal bands.
        digest: SHA-256 of size and pixels.
        ids: Class ids of the mask or the boxes, without `IGNORE`; with the number of boxes.
    """

    size: Size
    bands: int
    digest: str
    ids: Counter[int] = field(default_factory=Counter)


def read_facts(folder: Path, samples: Samples) -> dict[str, Facts]:
    """Read every image with its mask or boxes.

    Returns:
        Facts by path of the image.

    Raises:
        DataError: If files cannot be read or do not fit each other; names the first of them.
    """
    facts = _each(samples.paths, lambda path: _image(folder / path), "Reading images", "image(s)")
    if samples.kind is Kind.SEGMENTATION:
        ids = _each(
            samples.paths,
            lambda path: _mask(folder / samples.target[path], facts[path].size),
            "Reading masks",
            "mask(s)",
        )
        _check_ids(folder, samples, ids)
    elif samples.kind is Kind.DETECTION:
        classes = {normalise(name): i for i, name in enumerate(samples.classes)}
        views = {
            target: coco.matched(
                {p: p for p in samples.paths if samples.target[p] == target}, classes
            )
            for target, coco in samples.coco.items()
        }
        ids = _each(
            samples.paths,
            lambda path: _boxes(
                folder, samples.target[path], path, facts[path].size, classes, views
            ),
            "Reading boxes",
            "image(s) with boxes",
        )
    else:
        return facts
    return {path: replace(facts[path], ids=ids[path]) for path in samples.paths}


def _each(
    paths: Sequence[str], read: Callable[[str], T], description: str, noun: str
) -> dict[str, T]:
    """Apply a function to all paths in threads, and raise its errors together."""
    problems: list[DataError] = []

    def tried(path: str) -> T | None:
        try:
            return read(path)
        except DataError as error:
            problems.append(error)
            return None

    with ThreadPoolExecutor(_THREADS) as pool:
        results: Iterator[T | None] = pool.map(tried, paths)
        values = dict(zip(paths, track(results, description, len(paths)), strict=True))
    if problems:
        texts = some(sorted({error.problem for error in problems}), "\n  ")
        raise DataError(
            f"{len(problems)} of {len(paths)} {noun} cannot be used:\n  {texts}",
            problems[0].remedy,
        )
    return {path: value for path, value in values.items() if value is not None}


def _image(path: Path) -> Facts:
    """Decode an image as training does."""
    file = raster.open_raster(read_bytes(path), str(path), path)
    bands = file.colors
    if bands == 2:
        raise DataError(
            f"{path} has 2 bands; expected 1, 3 or more.", "Save it as grey, or as RGB."
        )
    pixels = file.eight_bit(*raster.ALL) if bands <= 3 else np.asarray(file.pixels[raster.ALL])
    if bands == 3 and (pixels == pixels[:, :, :1]).all():
        bands = 1
        pixels = pixels[:, :, :1]
    content = hashlib.sha256(f"{pixels.dtype} {pixels.shape}\n".encode())
    content.update(np.ascontiguousarray(pixels).data)
    return Facts(file.size, bands, content.hexdigest())


def _mask(path: Path, size: Size) -> Counter[int]:
    """Class ids of a mask."""
    values = raster.numbers(read_bytes(path), str(path), path)
    if values.shape[:2] != size:
        raise DataError(
            f"{path} is {values.shape[0]} x {values.shape[1]} pixels; its image is {size[0]} x "
            f"{size[1]} (height x width).",
            "Give each image a mask of its own size.",
        )
    if (values != values[:, :, :1]).any():
        colours = np.unique(values.reshape(-1, values.shape[2]), axis=0)
        listed = some([str(tuple(c)) for c in colours[:50].tolist()], ", ", _COLOURS)
        raise DataError(
            f"{path} is a mask of colours, {len(colours)} of them: {listed}; expected class ids.",
            HOW_TO_CONVERT,
        )
    held = np.unique(values)
    if (held != np.floor(held)).any() or held.min() < 0 or held.max() > IGNORE:
        raise DataError(
            f"{path} holds numbers from {held.min():g} to {held.max():g}; expected class ids 0 to "
            f"{IGNORE - 1}, and {IGNORE} for pixels to ignore.",
            HOW_TO_CONVERT,
        )
    return Counter(int(value) for value in held if value != IGNORE) + (
        Counter({IGNORE: 1}) if IGNORE in held else Counter()
    )


def _check_ids(folder: Path, samples: Samples, ids: dict[str, Counter[int]]) -> None:
    """Name the classes of masks if nobody has, and refuse ids without a name."""
    held = set().union(*ids.values())
    if held <= {0, IGNORE} and IGNORE in held:
        raise DataError(
            f"The masks of {folder} hold 0 and {IGNORE} alone, as black-and-white pictures do, and "
            f"{IGNORE} means a pixel to ignore.",
            "Write 1 in place of 255. " + HOW_TO_CONVERT,
        )
    for own in ids.values():
        del own[IGNORE]
    held -= {IGNORE}
    if len(held) < 2 and len(samples.classes) < 2:
        raise DataError(
            f"The masks of {folder} hold one class id alone: {some(map(str, held))}.",
            "A task needs two or more, such as 0 for the background and 1.",
        )
    if not samples.classes:
        missing = sorted(set(range(max(held) + 1)) - held)
        if missing:
            raise DataError(
                f"The masks of {folder} hold the class ids "
                f"{some(map(str, sorted(held)), count=20)}, which have gaps (no "
                f"{some(map(str, missing))}), and the classes are not named.",
                "Name all classes from id 0 on: --classes background,a,b, or a line each in "
                "classes.txt; or number the masks without gaps. If the ids are grey values: "
                + HOW_TO_CONVERT,
            )
        samples.classes += [BACKGROUND, *(f"class_{i}" for i in range(1, max(held) + 1))]
        samples.notes.append(
            "the classes of the masks have no names: write them into task.yaml, in the order of "
            "their ids, or use --classes background,NAME,..."
        )
    if max(held) >= len(samples.classes):
        raise DataError(
            f"The masks of {folder} hold the class id {max(held)}, and {len(samples.classes)} "
            f"classes are named: {some(samples.classes, count=20)}.",
            "Name all classes from id 0 on: --classes background,a,b, or a line each in "
            "classes.txt.",
        )


def _boxes(
    folder: Path,
    target: str,
    path: str,
    size: Size,
    classes: Mapping[str, int],
    views: Mapping[str, CocoFile],
) -> Counter[int]:
    """Number of boxes of each class of an image."""
    boxes: Boxes
    if target in views:
        boxes = views[target].boxes(path, size, classes)
    else:
        read = read_yolo if form_of(target) is BoxFormat.YOLO else read_voc
        boxes = read(read_bytes(folder / target), size, classes, str(folder / target))
    return Counter(boxes.labels.tolist())
