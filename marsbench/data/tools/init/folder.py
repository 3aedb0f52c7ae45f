"""Make a task of a user's own folder of images, without moving or changing a file."""

import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

from marsbench.base.errors import ConfigError, DataError, some
from marsbench.base.files import write_text
from marsbench.base.paths import expanded
from marsbench.data.boxes.forms import number
from marsbench.data.sources.annotations import (
    ANNOTATIONS,
    BOXES_PATH,
    IMAGE_PATH,
    MAPPING,
    MASK_PATH,
    csv_text,
)
from marsbench.data.tools.init.earlier import Earlier, read_earlier
from marsbench.data.tools.init.facts import Facts, read_facts
from marsbench.data.tools.init.listing import Listing, list_files
from marsbench.data.tools.init.names import task_name
from marsbench.data.tools.init.notes import notes_of
from marsbench.data.tools.init.samples import Samples, find_samples
from marsbench.data.tools.init.splits import (
    DEFAULT,
    OBSERVATION,
    Unit,
    assign,
    group_names,
    parse_shares,
    suggested_groups,
)
from marsbench.data.tools.init.yaml_file import task_yaml
from marsbench.tasks.kinds import Kind
from marsbench.tasks.spec import SPLITS, TASK_FILE


@dataclass(frozen=True)
class Options:
    """Choices of a user.

    Attributes:
        name: Name of the task; None takes that of the folder.
        kind: classification, segmentation or detection; None detects it.
        classes: Names of the classes by id; empty takes them from the data.
        splits: Shares of train, val and test, such as ``0.7,0.15,0.15``; None takes folders named
            as splits if there are any, else `DEFAULT`.
        group_by: ``observation``, or a regular expression whose match in an image's path is its
            group; None for no groups.
        seed: Seed of the splits.
        update: Whether to add new images to an existing task, whose images keep their splits.
        force: Whether to replace an existing task.
        dry_run: Whether to write nothing.
    """

    name: str | None = None
    kind: str | None = None
    classes: Sequence[str] = ()
    splits: str | None = None
    group_by: str | None = None
    seed: int = 0
    update: bool = False
    force: bool = False
    dry_run: bool = False


@dataclass(frozen=True)
class Initialised:
    """Result of `init_task`.

    Attributes:
        folder: The folder.
        name: Name of the task.
        kind: Its kind.
        detected: How the kind was detected, in words.
        sizes: Number of samples by split.
        counts: Number of samples with a class, by class and split.
        notes: Remarks on what to look at.
        files: Files written; empty for a dry run.
        commands: Commands to run next.
    """

    folder: Path
    name: str
    kind: Kind
    detected: str
    sizes: Mapping[str, int]
    counts: Mapping[str, Mapping[str, int]]
    notes: Sequence[str]
    files: Sequence[Path]
    commands: Sequence[str] = field(default_factory=list)


def init_task(folder: str | Path, options: Options = Options()) -> Initialised:
    """Make a task of a folder: seeded splits, ``annotation.csv`` and ``task.yaml``.

    The folder holds images in class folders (``CLASS/*.jpg``), images with masks, or images with
    boxes in COCO, Pascal VOC or YOLO form. All of them are read once. Splits are drawn as `assign`
    says, from groups of images; without groups, equal images stay together.

    Args:
        folder: The folder.
        options: Choices.

    Raises:
        ConfigError: If an option is invalid, or the folder is a task already.
        DataError: If the folder holds no task, or files cannot be read or contradict each other;
            names them. Nothing is written then.
    """
    folder = expanded(folder)
    listing = list_files(folder)
    earlier = _check_place(folder, options)
    name = task_name(options.name, folder) if earlier is None else earlier.spec.name
    shares = parse_shares(options.splits or DEFAULT)
    classes = options.classes if earlier is None else earlier.classes
    samples = find_samples(listing, options.kind or (earlier.kind if earlier else None), classes)
    if earlier is not None:
        _check_update(folder, samples, earlier, options)
    groups = group_names(samples.paths, options.group_by) if options.group_by else {}
    if len(samples.paths) < len(SPLITS):
        raise DataError(
            f"{folder} holds {len(samples.paths)} image(s) with a target; expected at least "
            f"{len(SPLITS)}, one for each split.",
            "Add images.",
        )
    facts = read_facts(folder, samples)
    held = _classes_of(samples, facts)
    keys = {path: groups.get(path) or facts[path].digest for path in samples.paths}
    splits, how = _splits(listing, samples, keys, held, shares, options, earlier)
    if groups:
        how += f"; {len(set(groups.values()))} groups stay together"
    elif earlier is None and (suggested := suggested_groups(samples.paths)):
        expression, count = suggested
        samples.notes.append(
            f"the names of the images show {count} groups, whose images may be alike in several "
            f"splits: --group-by {shlex.quote(expression)} keeps each together"
        )
    counts = {c: Counter(splits[p] for p in samples.paths if c in held[p]) for c in samples.classes}
    sizes = Counter(splits.values())
    yaml_text = task_yaml(name, folder, samples, facts)
    table = _table(samples, splits, groups, options.group_by == OBSERVATION, earlier)
    files = []
    if not options.dry_run:
        outputs = {ANNOTATIONS: table} if earlier else {TASK_FILE: yaml_text, ANNOTATIONS: table}
        files = [_write(folder / file, text) for file, text in outputs.items()]
    return Initialised(
        folder,
        name,
        samples.kind,
        samples.detected,
        {split: sizes[split] for split in SPLITS},
        {c: {split: counts[c][split] for split in SPLITS} for c in samples.classes},
        [how, *samples.notes, *notes_of(samples, facts, splits, counts, groups)],
        files,
        _commands(folder, samples.kind, max(fact.bands for fact in facts.values())),
    )


def _check_place(folder: Path, options: Options) -> Earlier | None:
    """Refuse to replace a task; the earlier task to add images to."""
    existing = [name for name in (TASK_FILE, ANNOTATIONS) if (folder / name).exists()]
    if options.update:
        fixed = ("name", "kind", "classes", "force")
        if given := [f"--{key}" for key in fixed if getattr(options, key)]:
            raise ConfigError(
                f"--update keeps the task, so {', '.join(given)} has no effect.",
                f"Leave {', '.join(given)} out.",
            )
        return read_earlier(folder)
    if existing and not options.force:
        raise ConfigError(
            f"{folder} is a task already: it holds {' and '.join(existing)}.",
            "Add --update to add new images to it, or --force to make it anew.",
        )
    if (folder / MAPPING).exists():
        raise ConfigError(
            f"{folder / MAPPING} would decide the class ids of the new task.",
            "Remove it: the order of the classes in task.yaml gives their ids.",
        )
    return None


def _check_update(folder: Path, samples: Samples, earlier: Earlier, options: Options) -> None:
    """Refuse to update a task whose images are missing or grouped in an unknown way."""
    present = set(samples.paths)
    if missing := [path for path in earlier.splits if path not in present]:
        raise DataError(
            f"{len(missing)} image(s) of {folder / ANNOTATIONS} are missing in the folder, or have "
            f"no target: {some(missing)}.",
            "Copy them again, or remove their rows.",
        )
    if earlier.group_column and not options.group_by:
        raise ConfigError(
            f"{folder / ANNOTATIONS} has groups (column {earlier.group_column}), which must stay "
            "together.",
            "Add the --group-by of before.",
        )


def _classes_of(samples: Samples, facts: Mapping[str, Facts]) -> dict[str, set[str]]:
    """Names of the classes of each image."""
    if samples.labels:
        return {path: {samples.labels[path]} for path in samples.paths}
    return {path: {samples.classes[i] for i in facts[path].ids} for path in samples.paths}


def _splits(
    listing: Listing,
    samples: Samples,
    keys: Mapping[str, str],
    held: Mapping[str, set[str]],
    shares: Mapping[str, Fraction],
    options: Options,
    earlier: Earlier | None,
) -> tuple[dict[str, str], str]:
    """Split of each image, and how it was chosen.

    Args:
        listing: The folder's files.
        samples: The images.
        keys: Unit of each image.
        held: Names of the classes of each image.
        shares: Share of each split.
        options: Choices of the user.
        earlier: The task to add images to.
    """
    seed = options.seed
    if earlier is not None:
        fixed = {keys[path]: split for path, split in earlier.splits.items()}
        drawn = _assigned(samples.paths, keys, held, shares, seed, fixed)
        num_new = len(drawn) - len(earlier.splits)
        how = f"splits: {num_new} new image(s) drawn with seed {seed}; the others keep theirs"
        return drawn | earlier.splits, how
    folders = listing.splits if options.splits is None else {}
    if not folders:
        drawn = _assigned(samples.paths, keys, held, shares, seed, {})
        return drawn, f"splits: drawn with seed {seed}: {_text_of(shares)}"
    if outside := [path for path in samples.paths if path not in folders]:
        raise DataError(
            f"{len(outside)} image(s) of {listing.folder} are in no train, val or test folder: "
            f"{some(outside)}.",
            f"Move them, or add --splits {DEFAULT} to split all images anew.",
        )
    splits = {path: folders[path] for path in samples.paths}
    given = [split for split in SPLITS if split in splits.values()]
    if given == [*SPLITS]:
        return splits, "splits: the folders train, val and test"
    parts = {split: shares[split] for split in SPLITS if split not in given[1:]}
    whole = sum(parts.values())
    train = [path for path in samples.paths if splits[path] == SPLITS[0]]
    parts = {split: share / whole for split, share in parts.items()}
    splits |= _assigned(train, keys, held, parts, seed, {})
    return splits, (
        f"splits: the folders {' and '.join(given)}; the train folder is divided with seed {seed}: "
        f"{_text_of(parts)}"
    )


def _text_of(shares: Mapping[str, Fraction]) -> str:
    return ", ".join(f"{split} {float(share):g}" for split, share in shares.items())


def _assigned(
    paths: Sequence[str],
    keys: Mapping[str, str],
    held: Mapping[str, set[str]],
    shares: Mapping[str, Fraction],
    seed: int,
    fixed: Mapping[str, str],
) -> dict[str, str]:
    units: dict[str, Unit] = {}
    for path in paths:
        unit = units.setdefault(keys[path], Unit(keys[path]))
        unit.size += 1
        unit.classes.update(held[path] or {""})
    assigned = assign(units.values(), shares, seed, fixed)
    return {path: assigned[keys[path]] for path in paths}


def _table(
    samples: Samples,
    splits: Mapping[str, str],
    groups: Mapping[str, str],
    is_observation: bool,
    earlier: Earlier | None,
) -> str:
    """Text of ``annotation.csv``."""
    target = {Kind.SEGMENTATION: MASK_PATH, Kind.DETECTION: BOXES_PATH}.get(samples.kind, "label")
    group = OBSERVATION if is_observation else "group"
    columns = [IMAGE_PATH, "split", target, *([group] if groups else [])]
    # A name that is a number would be read as the id of a class.
    is_numbered = any(number(name) is not None for name in samples.classes)
    ids = {name: i for i, name in enumerate(samples.classes)}
    rows: list[Mapping[str, str]] = []
    if earlier is not None:
        rows, columns = [*earlier.rows], [*dict.fromkeys([*earlier.columns, *columns])]
    for path in samples.paths:
        if earlier is not None and path in earlier.splits:
            continue
        label = samples.target.get(path, "")
        if samples.labels:
            label = str(ids[samples.labels[path]]) if is_numbered else samples.labels[path]
        row = {IMAGE_PATH: path, "split": splits[path], target: label}
        rows.append(row | ({group: groups[path]} if groups else {}))
    return csv_text(columns, rows)


def _write(path: Path, text: str) -> Path:
    try:
        write_text(path, text)
    except OSError as error:
        raise DataError(
            f"{path} cannot be written: {error.strerror}.", "Choose a writable folder."
        ) from error
    return path


_MODELS = {
    Kind.SEGMENTATION: "model=unet_lite0",
    Kind.DETECTION: "model=ssdlite mode=scratch",
}
"""Small models for a first run, other than that of labels."""


def _commands(folder: Path, kind: Kind, num_bands: int) -> list[str]:
    # A word without a slash could be the name of a task of the catalogue.
    word = shlex.quote(f"{folder}/")
    model = _MODELS.get(kind, "model=efficientnet_lite0")
    if num_bands > 3:
        model += " bands=all"
    return [
        f"marsbench data verify {word}",
        f"marsbench data info {word} --samples samples.png",
        f"marsbench run task={word} {model}",
    ]
