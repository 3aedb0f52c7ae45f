"""Check a local folder file by file and report everything at once."""

import contextlib
import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from marsbench.base.errors import ConfigError, DataError, some
from marsbench.base.progress import track
from marsbench.config.schema import Bands, Subset, parse_subset
from marsbench.data import box_files, decode
from marsbench.data.boxes import BoxFormat, cross_check, spellings
from marsbench.data.cache import DirectSamples
from marsbench.data.decode import IGNORE
from marsbench.data.rows import Raw
from marsbench.data.samples import Decoded, decode_sample
from marsbench.data.sources import find_local
from marsbench.data.sources.annotations import MAPPING, read_mapping, without_background
from marsbench.data.sources.layout import COCO_FILE, IMAGES, MASKS, box_formats
from marsbench.data.sources.local import LocalSource
from marsbench.data.subsets import select
from marsbench.data.tools.verify.report import Report
from marsbench.data.tools.verify.spectra import verify_spectra
from marsbench.metrics.boxes import Boxes
from marsbench.tasks.spec import BACKGROUND, SPLITS, Decode, TaskSpec, normalise

_SHOWN_COPIES = 10
"""Groups of equal images that a note names."""


def verify_folder(spec: TaskSpec, root: str | Path | None = None) -> Report:
    """Check a task's local folder: index, mapping, every file, subsets, repeated images.

    Args:
        spec: The task.
        root: As for a local source.

    Raises:
        DataNotFoundError: If there is no folder to check.
    """
    folder = find_local(spec, root)
    if spec.decode is Decode.SPECTRUM:
        return verify_spectra(spec, folder)
    report = Report(str(folder))
    problems: list[DataError] = []
    source = LocalSource(spec, folder, problems)
    report.problems += [str(problem).replace("\n", " ") for problem in problems]
    splits = list(source.splits)
    report.problems += [f"there is no {split} split" for split in SPLITS if split not in splits]
    if source.class_names and spec.kind.is_classification:
        _check_images(spec, source, splits, report)
        _check_classes(source, splits, report)
    elif source.class_names:
        _check_objects(spec, source, splits, report)
    if "train" in splits:
        _check_subsets(source, report)
    return report


def _check_images(spec: TaskSpec, source: LocalSource, splits: list[str], report: Report) -> None:
    shapes: defaultdict[str, list[str]] = defaultdict(list)
    everything = hashlib.sha256()
    places: defaultdict[str, list[str]] = defaultdict(list)
    for split in splits:
        rows = source.rows(split)
        images = DirectSamples(spec, source, rows)
        for i in track(range(len(rows)), f"Reading {split}", len(rows)):
            try:
                pixels = images[i].pixels
            except DataError as error:
                # Files that lack are reported already, together.
                if all(file.exists() for file in source.files(split, i)):
                    report.problems.append(error.problem)
                continue
            report.num_samples += 1
            report.num_files += len(source.files(split, i))
            height, width, _ = pixels.shape
            shapes[f"{height} x {width}"].append(f"{split}/{rows.sample_ids[i]}")
            content = hashlib.sha256(pixels.tobytes()).hexdigest()
            everything.update(f"{split}/{rows.sample_ids[i]} {content}\n".encode())
            places[content].append(f"{split}/{rows.sample_ids[i]}")
        _note_number(spec, split, len(rows), report)
    report.notes.append(f"digest of ids and pixels: {everything.hexdigest()[:16]}")
    _note_sizes(shapes, report)
    across, within = _copies(places)
    for what, groups in (("in more than one split", across), ("within a split", within)):
        if groups:
            report.notes.append(
                f"{len(groups)} images occur more than once {what}, such as {', '.join(groups[0])}"
            )


def _note_number(spec: TaskSpec, split: str, number: int, report: Report) -> None:
    if spec.sizes and spec.sizes.get(split) != number:
        report.notes.append(f"{split} has {number} samples; published are {spec.sizes.get(split)}")


def _note_sizes(shapes: Mapping[str, list[str]], report: Report) -> None:
    """Tell the image sizes, from the samples of each."""
    by_count = sorted(shapes.items(), key=lambda item: -len(item[1]))
    listed = ", ".join(f"{shape}: {len(names)}" for shape, names in by_count[:5])
    report.notes.append(f"image sizes (height x width): {listed}")
    # Where nearly all are of one size, the others are likely to be mistakes.
    if by_count and len(by_count[0][1]) >= 0.9 * report.num_samples:
        report.notes += [
            f"{len(names)} of another size, {shape}, such as {names[0]}"
            for shape, names in by_count[1:6]
        ]


def _copies(places: Mapping[str, list[str]]) -> tuple[list[list[str]], list[list[str]]]:
    """Samples of equal images: groups that lie in several splits, and groups in one."""
    across = [p for p in places.values() if len({name.partition("/")[0] for name in p}) > 1]
    within = [p for p in places.values() if len(p) > 1 and p not in across]
    return across, within


@dataclass
class _Found:
    """What the samples of a segmentation or detection task hold, gathered while they are read.

    Attributes:
        shapes: Samples by image size.
        places: Samples by content of the image.
        targets: Digest of the mask or boxes by sample.
        everything: Over ids, pixels, masks and boxes.
        counts: Pixels or boxes by class id, (K,), by split; of masks, pixels to ignore in (K,).
        sizes: Samples of each split, read or not.
        negatives: Samples of each split that show no object.
        blank: Samples of which every pixel is to be ignored.
        thin: Samples with a box of less than a pixel inside of the image.
        twice: Samples with a box that stands twice.
    """

    shapes: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    places: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    targets: dict[str, str] = field(default_factory=dict)
    everything: "hashlib._Hash" = field(default_factory=hashlib.sha256)
    counts: dict[str, NDArray[np.int64]] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
    negatives: dict[str, int] = field(default_factory=dict)
    blank: list[str] = field(default_factory=list)
    thin: list[str] = field(default_factory=list)
    twice: list[str] = field(default_factory=list)

    def add(self, split: str, sample_id: str, sample: Decoded, has_background: bool) -> None:
        """Take in one sample."""
        name = f"{split}/{sample_id}"
        height, width, _ = sample.pixels.shape
        self.shapes[f"{height} x {width}"].append(name)
        pixels = _digest(sample.pixels)
        self.places[pixels].append(name)
        counts = self.counts[split]
        if sample.mask is not None:
            self.targets[name] = _digest(sample.mask)
            pixels_of = np.bincount(sample.mask.ravel(), minlength=IGNORE + 1)
            counts[:-1] += pixels_of[: len(counts) - 1]
            counts[-1] += pixels_of[IGNORE]
            objects = pixels_of[1:IGNORE].sum()
            self.negatives[split] += int(has_background and pixels_of[0] > 0 and objects == 0)
            if pixels_of[IGNORE] == sample.mask.size:
                self.blank.append(name)
        if sample.boxes is not None:
            self.targets[name] = _digest(sample.boxes.xyxy, sample.boxes.labels)
            counts[:-1] += np.bincount(sample.boxes.labels, minlength=len(counts) - 1)
            self.negatives[split] += int(len(sample.boxes) == 0)
            inside = np.clip(sample.boxes.xyxy, 0, [width, height, width, height])
            if len(inside) and (inside[:, 2:] - inside[:, :2]).min() < 1:
                self.thin.append(name)
            rows = np.column_stack([sample.boxes.xyxy, sample.boxes.labels])
            if len(np.unique(rows, axis=0)) < len(rows):
                self.twice.append(name)
        self.everything.update(f"{name} {pixels} {self.targets[name]}\n".encode())


def _digest(*arrays: NDArray[Any]) -> str:
    content = hashlib.sha256()
    for array in arrays:
        content.update(f"{array.dtype} {array.shape}\n".encode())
        content.update(np.ascontiguousarray(array).data)
    return content.hexdigest()


def _check_objects(spec: TaskSpec, source: LocalSource, splits: list[str], report: Report) -> None:
    """Decode every image and mask, parse every box, and tell what they hold."""
    found = _Found()
    has_background = normalise(source.class_names[0]) == BACKGROUND
    # What is wrong with a split's COCO file is met again at each of its images.
    problems = dict.fromkeys(report.problems)
    for split in splits:
        rows = source.rows(split)
        found.counts[split] = np.zeros(len(source.class_names) + 1, dtype=np.int64)
        found.sizes[split], found.negatives[split] = len(rows), 0
        masks = source.folder / "data" / split / MASKS
        if spec.decode is Decode.IMAGE_MASK and not (masks.is_dir() and any(masks.iterdir())):
            problems[f"{masks} holds no masks"] = None
        parts = _Parts(spec, source, split)
        problems |= dict.fromkeys(parts.problems)
        for i in track(range(len(rows)), f"Reading {split}", len(rows)):
            try:
                sample = decode_sample(spec, source.read(split, i), Bands.ALL)
            except DataError as error:
                apart = parts.problems_of(i)
                # Files that lack are reported already, together.
                if not apart and all(file.exists() for file in source.files(split, i)):
                    apart = [error.problem]
                problems |= dict.fromkeys(apart)
                continue
            report.num_samples += 1
            report.num_files += len(source.files(split, i))
            found.add(split, rows.sample_ids[i], sample, has_background)
        _note_number(spec, split, len(rows), report)
    report.problems = list(problems)
    what = "masks" if spec.decode is Decode.IMAGE_MASK else "boxes"
    report.notes.append(f"digest of ids, pixels and {what}: {found.everything.hexdigest()[:16]}")
    _note_sizes(found.shapes, report)
    _check_objects_of_classes(spec, source.class_names, found, report)
    _note_oddities(found, what, report)


class _Parts:
    """What is wrong with the files of a sample, each looked at alone.

    Reading a sample ends at its first problem, and a bad COCO file hides its whole split.

    Args:
        spec: The task.
        source: Its folder, opened.
        split: train, val or test.

    Attributes:
        problems: What is wrong with the split's COCO file as a whole.
    """

    def __init__(self, spec: TaskSpec, source: LocalSource, split: str) -> None:
        self.spec, self.source, self.split = spec, source, split
        self.problems: list[str] = []
        self._formats: Sequence[BoxFormat] = ()
        self._spellings: Mapping[str, int] = {}
        self._coco: box_files.CocoFile | None = None
        place = source.folder / "data" / split
        if spec.decode is not Decode.IMAGE_BOXES:
            return
        # That there are no boxes at all was found when the folder was opened.
        with contextlib.suppress(DataError):
            self._formats = box_formats(place)
        mapping = without_background(read_mapping(source.folder / MAPPING))
        self._spellings = spellings(spec, source.class_names, mapping)
        if BoxFormat.COCO not in self._formats:
            return
        file = place / COCO_FILE
        try:
            coco = box_files.read_coco(file.read_bytes(), str(file))
        except (DataError, OSError) as error:
            self.problems.append(_words(error))
            return
        self._coco = coco
        # Each of these checks ends at its first problem: what one found is left out of the next.
        ids = source.rows(split).sample_ids
        listed = [name for name in ids if name in coco.sizes]
        known = replace(coco, sizes={name: coco.sizes[name] for name in listed})
        for checked, names in ((coco, ids), (coco, listed), (known, listed)):
            with _collecting(self.problems):
                checked.check_images(names, place / IMAGES, self._spellings)
        self.problems = list(dict.fromkeys(self.problems))

    def problems_of(self, index: int) -> list[str]:
        """Problems of the files of one sample; of files that lack, none."""
        problems: list[str] = []
        image, *others = self.source.files(self.split, index)
        size: tuple[int, int] | None = None
        if image.exists():
            with _collecting(problems):
                nothing = Boxes(np.zeros((0, 4)), np.zeros(0, dtype=np.int64))
                # A sample of boxes is its image alone, where there are none to read.
                alone = replace(self.spec, decode=Decode.IMAGE_BOXES)
                raw = Raw(image.read_bytes(), str(image), boxes=nothing)
                height, width, _ = decode_sample(alone, raw, Bands.ALL).pixels.shape
                size = height, width
        if self.spec.decode is Decode.IMAGE_MASK:
            for path in filter(Path.exists, others):
                with _collecting(problems):
                    mask = Raw(path.read_bytes(), str(path))
                    ids = decode.mask(Raw(b"", str(image), mask=mask), len(self.spec.classes))
                    if size is not None and ids.shape != size:
                        problems += self._read(index)
        elif size is not None:
            problems += self._problems_of_boxes(index, size, others)
        return problems

    def _read(self, index: int) -> list[str]:
        """The problem that reading the sample as a whole ends at."""
        problems: list[str] = []
        with _collecting(problems):
            decode_sample(self.spec, self.source.read(self.split, index), Bands.ALL)
        return problems

    def _problems_of_boxes(
        self, index: int, size: tuple[int, int], labels: Sequence[Path]
    ) -> list[str]:
        problems: list[str] = []
        sample_id = self.source.rows(self.split).sample_ids[index]
        count = len(self.source.class_names)
        found: dict[BoxFormat, Boxes] = {}
        own = iter(labels)
        for form in self._formats:
            path = self.source.folder if form is BoxFormat.COCO else next(own)
            with _collecting(problems):
                if form is BoxFormat.COCO:
                    if self._coco is not None and sample_id in self._coco.sizes:
                        found[form] = self._coco.boxes(sample_id, size, count)
                elif path.exists():
                    content = path.read_bytes()
                    found[form] = (
                        box_files.read_yolo(content, size, count, str(path))
                        if form is BoxFormat.YOLO
                        else box_files.read_voc(content, size, self._spellings, str(path))
                    )
        if found:
            with _collecting(problems):
                cross_check(found, str(self.source.path(self.split, index)))
        return problems


@contextlib.contextmanager
def _collecting(problems: list[str]) -> Iterator[None]:
    try:
        yield
    except (DataError, OSError) as error:
        problems.append(_words(error))


def _words(error: DataError | OSError) -> str:
    if isinstance(error, DataError):
        return error.problem
    return f"{error.filename} cannot be read: {error.strerror}"


def _check_objects_of_classes(
    spec: TaskSpec, names: Sequence[str], found: _Found, report: Report
) -> None:
    """Tell how much there is of each class, and what train has nothing of."""
    is_mask = spec.decode is Decode.IMAGE_MASK
    for split, counts in found.counts.items():
        total = int(counts.sum())
        if total == 0:
            continue
        if is_mask:
            shares = [*zip([*names, "ignored"], counts / total, strict=True)]
            # Where nothing is to be ignored, that needs no word.
            listed = [f"{n} {100 * v:.2f} %" for n, v in shares[: None if counts[-1] else -1]]
            report.notes.append(f"{split}: shares of pixels: {', '.join(listed)}")
        else:
            listed = [f"{n} {v}" for n, v in zip(names, counts[:-1].tolist(), strict=True)]
            report.notes.append(f"{split}: boxes: {', '.join(listed)}")
    read = Counter(name.partition("/")[0] for name in found.targets)
    for split, counts in found.counts.items():
        for name, count in zip(names, counts[:-1].tolist(), strict=True):
            if count or not read[split]:
                continue
            text = f"class {name} has no {'pixel' if is_mask else 'box'} in {split}"
            if read[split] < found.sizes[split]:
                # It may be in the others, whose problems are told.
                report.notes.append(f"{text}, of which {read[split]} samples could be read")
            elif split == "train" and normalise(name) != BACKGROUND:
                report.problems.append(text)
            else:
                # Images of which every pixel is an object leave nothing for the background.
                report.notes.append(text)
    report.notes += [
        f"{split}: {negatives} of {read[split]} samples show no object"
        for split, negatives in found.negatives.items()
    ]


def _note_oddities(found: _Found, what: str, report: Report) -> None:
    """Tell of samples that can be used and may yet be mistakes."""
    for names, text in (
        (found.blank, "sample(s) of which every pixel is ignored"),
        (found.thin, "sample(s) with a box of less than a pixel inside of the image"),
        (found.twice, "sample(s) with the same box twice"),
    ):
        if names:
            report.notes.append(f"{len(names)} {text}: {some(names)}")
    across, within = _copies(found.places)
    for where, groups in (("in more than one split", across), ("within a split", within)):
        if groups:
            others = sum(len({found.targets[name] for name in names}) > 1 for names in groups)
            report.notes.append(
                f"{len(groups)} images occur more than once {where}, {others} of them with other "
                f"{what}: {_listed(groups)}"
            )


def _listed(groups: Iterable[Sequence[str]]) -> str:
    texts = [" = ".join(names) for names in groups]
    more = f"; and {len(texts) - _SHOWN_COPIES} more" if len(texts) > _SHOWN_COPIES else ""
    return "; ".join(texts[:_SHOWN_COPIES]) + more


def _check_classes(source: LocalSource, splits: list[str], report: Report) -> None:
    for split in splits:
        rows = source.rows(split)
        for class_id, name in enumerate(source.class_names):
            if not rows.of_class(class_id).any():
                # A model cannot learn such a class; a metric can leave it out.
                found = report.problems if split == "train" else report.notes
                found.append(f"class {name} has no sample in {split}")


def _check_subsets(source: LocalSource, report: Report) -> None:
    """Check that published lists can be read and that smaller ones are nested in larger."""
    families: defaultdict[str, list[tuple[float, Subset]]] = defaultdict(list)
    lists = {
        "partition": source.folder.glob("partitions/*x_partition.csv"),
        "few-shot": source.folder.glob("few_shot/*_shot.csv"),
    }
    for family, paths in lists.items():
        for path in sorted(paths):
            amount = path.name.removesuffix("x_partition.csv").removesuffix("_shot.csv")
            try:
                name = f"partition_{amount}" if family == "partition" else f"few_shot_{amount}"
                subset = parse_subset(name)
            except ConfigError as error:
                report.problems.append(f"{path}: {error.problem}")
                continue
            families[family].append((float(subset.fraction or subset.shots or 0), subset))
    for family, members in families.items():
        smaller: set[int] = set()
        nested = True
        for _, subset in sorted(members, key=lambda m: m[0]):
            try:
                indices = set(select(source, subset).indices.tolist())
            except DataError as error:
                report.problems.append(error.problem)
                continue
            nested &= smaller <= indices
            smaller = indices
        names = ", ".join(str(subset) for _, subset in sorted(members, key=lambda m: m[0]))
        report.notes.append(f"{family} lists: {names} ({'nested' if nested else 'NOT nested'})")
