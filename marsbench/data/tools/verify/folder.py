"""Check a local folder file by file and report all problems at once."""

import hashlib
import os
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from marsbench.base.errors import ConfigError, DataError, collecting, some
from marsbench.base.names import display_name
from marsbench.base.progress import track
from marsbench.config.schema import Bands, Subset, parse_subset
from marsbench.data import decode
from marsbench.data.boxes.forms import Size
from marsbench.data.formats import IMAGE_SUFFIXES
from marsbench.data.rows import Pixels, Raw
from marsbench.data.samples import Decoded, decode_pixels, decode_sample
from marsbench.data.sources import find_local
from marsbench.data.sources.annotations import read_bytes
from marsbench.data.sources.layout import MASKS
from marsbench.data.sources.local import LocalSource
from marsbench.data.subsets import select
from marsbench.data.tools.verify.report import VerifyReport
from marsbench.data.tools.verify.spectra import verify_spectra
from marsbench.metrics.boxes import Boxes
from marsbench.metrics.masks import IGNORE
from marsbench.tasks.spec import BACKGROUND, SPLITS, TaskSpec, normalise

_SHOWN_COPIES = 10
"""Groups of equal images that a note names."""


def verify_folder(spec: TaskSpec, root: str | Path | None = None) -> VerifyReport:
    """Check a task's local folder: index, mapping, every file, subsets, repeated images.

    Args:
        spec: The task.
        root: As for a local source.

    Raises:
        DataNotFoundError: If no folder is found.
    """
    folder = find_local(spec, root)
    if spec.is_spectra:
        return verify_spectra(spec, folder)
    report = VerifyReport(str(folder))
    problems: list[DataError] = []
    source = LocalSource(spec, folder, problems)
    report.problems += [str(problem).replace("\n", " ") for problem in problems]
    report.notes += source.notes
    missing = [split for split in SPLITS if split not in source.splits]
    report.problems += [f"the {split} split is missing" for split in missing]
    _note_unlisted(source, report)
    if source.class_names:
        contents = _read(source, report)
        _note_contents(spec, contents, report)
        if spec.kind.is_classification:
            _check_classes(source, report)
        else:
            _check_objects(source, contents, report)
        _note_oddities(spec, contents, report)
    if "train" in source.splits:
        _check_subsets(source, report)
    return report


@dataclass
class _Contents:
    """Statistics of the samples of a folder, gathered while they are read.

    Attributes:
        has_background: Whether class 0 is the background.
        shapes: Samples by image size.
        places: Samples by digest of the image.
        targets: Label, or digest of the mask or boxes, by sample.
        everything: Digest of ids, pixels, masks and boxes.
        counts: Pixels or boxes of each class, (K + 1,), by split; the last counts ignored pixels.
        read: Number of samples read, by split.
        negatives: Number of samples without an object, by split.
        blank: Samples with ignored pixels alone.
        thin: Samples with less than a pixel of a box inside of the image.
        twice: Samples with two equal boxes.
        readings: Samples by a change to their files' numbers, with its details.
    """

    has_background: bool
    shapes: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    places: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    targets: dict[str, str] = field(default_factory=dict)
    everything: "hashlib._Hash" = field(default_factory=hashlib.sha256)
    counts: dict[str, NDArray[np.int64]] = field(default_factory=dict)
    read: dict[str, int] = field(default_factory=dict)
    negatives: dict[str, int] = field(default_factory=dict)
    blank: list[str] = field(default_factory=list)
    thin: list[str] = field(default_factory=list)
    twice: list[str] = field(default_factory=list)
    readings: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    def add(self, split: str, sample_id: str, sample: Decoded, label: NDArray[np.integer]) -> None:
        """Count a sample; its label is empty for masks and boxes."""
        name = f"{split}/{sample_id}"
        height, width, _ = sample.pixels.shape
        self.read[split] += 1
        self.shapes[f"{height} x {width}"].append(name)
        for reading in sample.readings:
            change, _, details = reading.partition(": ")
            self.readings[change].append(f"{name}: {details}" if details else name)
        if label.size:
            pixels = hashlib.sha256(sample.pixels.tobytes()).hexdigest()
            self.targets[name] = str(label.tolist())
            self.everything.update(f"{name} {pixels}\n".encode())
        else:
            pixels = _digest(sample.pixels)
            if sample.mask is not None:
                self._add_mask(split, name, sample.mask)
            elif sample.boxes is not None:
                self._add_boxes(split, name, sample.boxes, (height, width))
            self.everything.update(f"{name} {pixels} {self.targets[name]}\n".encode())
        self.places[pixels].append(name)

    def _add_mask(self, split: str, name: str, mask: NDArray[np.uint8]) -> None:
        self.targets[name] = _digest(mask)
        pixels_of = np.bincount(mask.ravel(), minlength=IGNORE + 1)
        counts = self.counts[split]
        counts[:-1] += pixels_of[: len(counts) - 1]
        counts[-1] += pixels_of[IGNORE]
        has_object = pixels_of[1:IGNORE].any()
        self.negatives[split] += int(self.has_background and pixels_of[0] > 0 and not has_object)
        if pixels_of[IGNORE] == mask.size:
            self.blank.append(name)

    def _add_boxes(self, split: str, name: str, boxes: Boxes, size: Size) -> None:
        height, width = size
        self.targets[name] = _digest(boxes.xyxy, boxes.labels)
        self.counts[split] += np.bincount(boxes.labels, minlength=len(self.counts[split]))
        self.negatives[split] += int(len(boxes) == 0)
        inside = np.clip(boxes.xyxy, 0, [width, height, width, height])
        if len(inside) and (inside[:, 2:] - inside[:, :2]).min() < 1:
            self.thin.append(name)
        rows = np.column_stack([boxes.xyxy, boxes.labels])
        if len(np.unique(rows, axis=0)) < len(rows):
            self.twice.append(name)


def _digest(*arrays: NDArray[Any]) -> str:
    content = hashlib.sha256()
    for array in arrays:
        content.update(f"{array.dtype} {array.shape}\n".encode())
        content.update(np.ascontiguousarray(array).data)
    return content.hexdigest()


def _read(source: LocalSource, report: VerifyReport) -> _Contents:
    """Read every sample, and report the problems of its files."""
    spec = source.spec
    contents = _Contents(normalise(source.class_names[0]) == BACKGROUND)
    # A dict, since each image of a split repeats the problems of its COCO file.
    problems = dict.fromkeys(report.problems)
    for split in source.splits:
        rows = source.rows(split)
        contents.counts[split] = np.zeros(len(source.class_names) + 1, dtype=np.int64)
        contents.read[split] = contents.negatives[split] = 0
        masks = source.folder / "data" / split / MASKS
        if spec.has_masks and not source.has_paths and not _is_filled(masks):
            problems[f"{masks} holds no masks"] = None
        for i in track(range(len(rows)), f"Reading {split}", len(rows)):
            files = source.files(split, i)
            try:
                sample = decode_sample(spec, source.read(split, i), Bands.ALL)
            except DataError as error:
                apart = [] if spec.kind.is_classification else _problems_apart(source, split, i)
                # Missing files were reported when the source was opened.
                if not apart and not any(str(file) in source.refused for file in files):
                    apart = [error]
                problems |= dict.fromkeys(part.problem for part in apart)
                continue
            report.num_samples += 1
            report.num_files += len(files)
            contents.add(split, rows.sample_ids[i], sample, rows.targets[i])
        if spec.sizes and spec.sizes.get(split) != len(rows):
            report.notes.append(
                f"{split} has {len(rows)} samples; published are {spec.sizes.get(split)}"
            )
    report.problems = list(problems)
    return contents


def _note_unlisted(source: LocalSource, report: VerifyReport) -> None:
    """Report files that no sample uses, linked folders included.

    These are all files below ``data/``, or all images below the folder if ``annotation.csv`` has
    the paths of files.
    """
    data = source.folder if source.has_paths else source.folder / "data"
    unlisted: list[str] = []
    seen: set[tuple[int, int]] = set()
    for place, folders, names in os.walk(data, followlinks=True):
        info = Path(place).stat()
        if (key := (info.st_dev, info.st_ino)) in seen:
            folders.clear()  # a link to a folder above, or a second link
            continue
        seen.add(key)
        paths = (f"{place}/{name}" for name in sorted(names))
        unlisted += [
            path
            for path in paths
            if path not in source.listed
            and (not source.has_paths or path.lower().endswith(IMAGE_SUFFIXES))
        ]
        folders.sort()
    if unlisted:
        shown = some(display_name(Path(path).relative_to(data)) for path in unlisted)
        report.notes.append(f"{len(unlisted)} files below {data} are in no sample: {shown}")


def _is_filled(folder: Path) -> bool:
    """Whether a folder has entries; True if unknown, since its files are reported one by one."""
    try:
        return any(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True


def _problems_apart(source: LocalSource, split: str, index: int) -> list[DataError]:
    """Problems of each file of a sample, since reading the sample ends at the first problem.

    Missing files, and contradictions between files, are left out.
    """
    spec = source.spec
    problems: list[DataError] = []
    image, *others = source.files(split, index)
    pixels: Pixels | None = None
    if str(image) not in source.refused:
        with collecting(problems):
            raw = Raw(read_bytes(image), str(image), path=image)
            pixels = decode_pixels(spec, raw, Bands.ALL).pixels
    if spec.has_masks:
        for path in (path for path in others if str(path) not in source.refused):
            with collecting(problems):
                mask = Raw(read_bytes(path), str(path), path=path)
                decode.mask(Raw(b"", str(image), mask=mask), len(spec.classes))
    elif pixels is not None:
        source.boxes(split, index, (pixels.shape[0], pixels.shape[1]), problems)
    return problems


def _check_classes(source: LocalSource, report: VerifyReport) -> None:
    """Report classes without a sample."""
    for split in source.splits:
        rows = source.rows(split)
        for class_id, name in enumerate(source.class_names):
            if not rows.of_class(class_id).any():
                # A model cannot learn such a class; a metric can skip it.
                lines = report.problems if split == "train" else report.notes
                lines.append(f"class {name} has no sample in {split}")


def _check_objects(source: LocalSource, contents: _Contents, report: VerifyReport) -> None:
    """Report the share of each class, and classes without a pixel or box."""
    names = source.class_names
    is_mask = source.spec.has_masks
    for split, counts in contents.counts.items():
        total = int(counts.sum())
        if total and is_mask:
            shares = [*zip([*names, "ignored"], counts / total, strict=True)]
            if not counts[-1]:
                shares.pop()
            listed = [f"{n} {100 * v:.2f} %" for n, v in shares]
            report.notes.append(f"{split}: shares of pixels: {', '.join(listed)}")
        elif total:
            listed = [f"{n} {v}" for n, v in zip(names, counts[:-1].tolist(), strict=True)]
            report.notes.append(f"{split}: boxes: {', '.join(listed)}")
    for split, counts in contents.counts.items():
        num_read = contents.read[split]
        for name, count in zip(names, counts[:-1].tolist(), strict=True):
            if count or not num_read:
                continue
            text = f"class {name} has no {'pixel' if is_mask else 'box'} in {split}"
            if num_read < len(source.rows(split)):
                # The class may be in the other samples, whose problems are reported.
                report.notes.append(f"{text}, of which {num_read} samples could be read")
            elif split == "train" and normalise(name) != BACKGROUND:
                report.problems.append(text)
            else:
                # Images full of objects have no background.
                report.notes.append(text)
    report.notes += [
        f"{split}: {negatives} of {contents.read[split]} samples show no object"
        for split, negatives in contents.negatives.items()
    ]


def _note_contents(spec: TaskSpec, contents: _Contents, report: VerifyReport) -> None:
    """Report the digest and the image sizes."""
    digest = contents.everything.hexdigest()[:16]
    of = f"ids, pixels and {spec.files.target}" if spec.files.apart else "ids and pixels"
    report.notes.append(f"digest of {of}: {digest}")
    report.notes += [
        f"reading: {change}: {len(names)} image(s), such as {names[0]}"
        for change, names in contents.readings.items()
    ]
    by_count = sorted(contents.shapes.items(), key=lambda item: -len(item[1]))
    listed = ", ".join(f"{shape}: {len(names)}" for shape, names in by_count[:5])
    report.notes.append(f"image sizes (height x width): {listed}")
    # If nearly all images have the same size, the others are likely mistakes.
    if by_count and len(by_count[0][1]) >= 0.9 * report.num_samples:
        report.notes += [
            f"{len(names)} of another size, {shape}, such as {names[0]}"
            for shape, names in by_count[1:6]
        ]


def _note_oddities(spec: TaskSpec, contents: _Contents, report: VerifyReport) -> None:
    """Report suspicious samples: blank, thin, repeated."""
    for names, text in (
        (contents.blank, "sample(s) of which every pixel is ignored"),
        (contents.thin, "sample(s) with a box of less than a pixel inside of the image"),
        (contents.twice, "sample(s) with the same box twice"),
    ):
        if names:
            report.notes.append(f"{len(names)} {text}: {some(names)}")
    copies = [names for names in contents.places.values() if len(names) > 1]
    across = [names for names in copies if len(_splits(names)) > 1]
    within = [names for names in copies if len(_splits(names)) == 1]
    for where, groups in (("in more than one split", across), ("within a split", within)):
        if groups:
            differing = sum(len({contents.targets[n] for n in names}) > 1 for names in groups)
            listed = some(map(" = ".join, groups), "; ", _SHOWN_COPIES)
            report.notes.append(
                f"{len(groups)} images occur more than once {where}, {differing} of them with "
                f"other {spec.files.target}: {listed}"
            )


def _splits(names: Sequence[str]) -> set[str]:
    return {name.partition("/")[0] for name in names}


def _check_subsets(source: LocalSource, report: VerifyReport) -> None:
    """Check the published lists of subsets: readable, and nested."""
    for family, pattern, prefix in (
        ("partition", "partitions/*x_partition.csv", "partition"),
        ("few-shot", "few_shot/*_shot.csv", "few_shot"),
    ):
        subsets: list[Subset] = []
        for path in sorted(source.folder.glob(pattern)):
            amount = path.name.removesuffix("x_partition.csv").removesuffix("_shot.csv")
            try:
                subsets.append(parse_subset(f"{prefix}_{amount}"))
            except ConfigError as error:
                report.problems.append(f"{path}: {error.problem}")
        subsets.sort(key=lambda subset: subset.fraction or subset.shots or 0)
        smaller: set[int] = set()
        nested = True
        for subset in subsets:
            try:
                indices = set(select(source, subset).indices.tolist())
            except DataError as error:
                report.problems.append(error.problem)
                continue
            nested &= smaller <= indices
            smaller = indices
        if subsets:
            names = ", ".join(map(str, subsets))
            report.notes.append(f"{family} lists: {names} ({'nested' if nested else 'NOT nested'})")
