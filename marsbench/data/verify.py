"""Check a local folder file by file and report everything at once."""

import dataclasses
import hashlib
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from marsbench.config import Subset, parse_subset
from marsbench.data.cache import DirectImages
from marsbench.data.decode import check_available
from marsbench.data.sources import find_local
from marsbench.data.sources.local import LocalSource
from marsbench.data.spec import SPLITS, TaskSpec
from marsbench.data.subsets import select
from marsbench.errors import ConfigError, DataError
from marsbench.progress import track


@dataclass
class Report:
    """What a check found.

    Attributes:
        folder: The folder checked.
        num_files: Files read.
        num_samples: Samples read; a pair has two files.
        problems: What keeps runs from working or makes their numbers wrong.
        notes: What a user should know, such as sizes other than published.
    """

    folder: str
    num_files: int = 0
    num_samples: int = 0
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Give the report as plain values."""
        return dataclasses.asdict(self)


def verify_folder(spec: TaskSpec, root: str | Path | None = None) -> Report:
    """Check a task's local folder: index, mapping, every image, subsets, repeated images.

    Args:
        spec: The task.
        root: As for a local source.

    Raises:
        DataNotFoundError: If there is no folder to check.
    """
    check_available(spec)
    folder = find_local(spec, root)
    report = Report(str(folder))
    problems: list[DataError] = []
    source = LocalSource(spec, folder, problems)
    report.problems += [str(problem).replace("\n", " ") for problem in problems]
    splits = list(source.splits)
    report.problems += [f"there is no {split} split" for split in SPLITS if split not in splits]
    if source.class_names:
        _check_images(spec, source, splits, report)
        _check_classes(source, splits, report)
    if "train" in splits:
        _check_subsets(source, report)
    return report


def _check_images(spec: TaskSpec, source: LocalSource, splits: list[str], report: Report) -> None:
    shapes: defaultdict[str, list[str]] = defaultdict(list)
    everything = hashlib.sha256()
    places: defaultdict[str, list[str]] = defaultdict(list)
    for split in splits:
        rows = source.rows(split)
        images = DirectImages(spec, source, rows)
        for i in track(range(len(rows)), f"Reading {split}", len(rows)):
            try:
                pixels = images[i]
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
        if spec.sizes and spec.sizes.get(split) != len(rows):
            report.notes.append(
                f"{split} has {len(rows)} samples; published are {spec.sizes.get(split)}"
            )
    report.notes.append(f"digest of ids and pixels: {everything.hexdigest()[:16]}")
    by_count = sorted(shapes.items(), key=lambda item: -len(item[1]))
    listed = ", ".join(f"{shape}: {len(names)}" for shape, names in by_count[:5])
    report.notes.append(f"image sizes (height x width): {listed}")
    # Where nearly all are of one size, the others are likely to be mistakes.
    if by_count and len(by_count[0][1]) >= 0.9 * report.num_samples:
        report.notes += [
            f"{len(names)} of another size, {shape}, such as {names[0]}"
            for shape, names in by_count[1:6]
        ]
    across = [p for p in places.values() if len({name.partition("/")[0] for name in p}) > 1]
    within = [p for p in places.values() if len(p) > 1 and p not in across]
    for what, groups in (("in more than one split", across), ("within a split", within)):
        if groups:
            report.notes.append(
                f"{len(groups)} images occur more than once {what}, such as {', '.join(groups[0])}"
            )


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
