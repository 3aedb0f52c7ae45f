"""``marsbench data convert`` and ``subsets``: write a task's folder, and lists of subsets."""

import json
from pathlib import Path
from typing import Annotated

import typer

from marsbench.base.paths import expanded
from marsbench.cli import complete
from marsbench.cli.data import (
    CONVERT_KEYS,
    VERIFY_KEYS,
    FolderArgument,
    TaskArgument,
    keys_of,
    open_where,
)
from marsbench.cli.output import Format, FormatOption, friendly, note, say


@friendly
def convert(
    task: TaskArgument,
    where: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="KEY=VALUE...",
            help="source=..., root=FOLDER, revision=..., size=N (demo data).",
            autocompletion=complete.words_of(CONVERT_KEYS),
        ),
    ] = None,
    out: Annotated[
        Path, typer.Option("--out", help="Folder that will hold the task's folder.")
    ] = Path("data"),
    boxes: Annotated[
        str, typer.Option("--boxes", help="Forms of boxes: coco, voc, yolo, separated by commas.")
    ] = "coco,voc,yolo",
    form: FormatOption = Format.AUTO,
) -> None:
    """Write a task, from any source, as a folder in the published layout.

    Boxes are written in COCO, Pascal VOC and YOLO form.
    """
    from marsbench.base.errors import unknown_name
    from marsbench.data.boxes.forms import BoxFormat
    from marsbench.data.sources.hub_files import fetch
    from marsbench.data.sources.huggingface import HubSource
    from marsbench.data.tools.convert import convert as write
    from marsbench.tasks.catalog import get_task

    formats = [name.strip() for name in boxes.split(",")]
    for name in formats:
        if name not in [f.value for f in BoxFormat]:
            raise unknown_name("box format", name, [f.value for f in BoxFormat])
    spec = get_task(task)
    keys_of(where, CONVERT_KEYS)
    source = open_where(spec, where, download=True)
    if isinstance(source, HubSource):
        # With the published subsets, to write their lists.
        fetch(source.listing.repo, source.listing.revision, [], every_split=True)
    folder = write(spec, source, out, [BoxFormat(name) for name in formats])
    counts = {split: len(source.rows(split)) for split in source.splits}
    if form.is_json:
        say(json.dumps({"task": spec.name, "folder": str(folder), "samples": counts}))
    else:
        say(f"{folder}: " + ", ".join(f"{split} {n}" for split, n in counts.items()))


@friendly
def subsets(
    task: TaskArgument,
    where: FolderArgument = None,
    names: Annotated[
        list[str] | None,
        typer.Option(
            "--subset", help="partition_P or few_shot_K, repeatable; default: those of Mars-Bench."
        ),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace existing lists.")] = False,
    form: FormatOption = Format.AUTO,
) -> None:
    """Write few-shot and partition lists into a folder: nested, seeded, val and test unchanged."""
    from marsbench.base.errors import ConfigError
    from marsbench.config.schema import PUBLISHED_PARTITIONS, PUBLISHED_SHOTS, parse_subset
    from marsbench.data.sources import find_local
    from marsbench.data.sources.local import LocalSource
    from marsbench.data.sources.zenodo import is_ours
    from marsbench.data.tools.subset_files import write_subsets
    from marsbench.tasks.catalog import get_task

    spec = get_task(task)
    root = keys_of(where, VERIFY_KEYS).get("root")
    if root is not None and not expanded(root).is_dir():
        raise ConfigError(
            f"root={root} is not a folder; lists are written into a folder.",
            "Unpack or copy the data.",
        )
    source = LocalSource(spec, find_local(spec, root))
    if overwrite and is_ours(source.folder):
        raise ConfigError(
            f"{source.folder} was downloaded with its published lists.",
            "Copy the folder to write other lists, or leave out --overwrite.",
        )
    published = [f"partition_{share}" for share in PUBLISHED_PARTITIONS]
    if spec.kind.is_classification:
        published += [f"few_shot_{shots}" for shots in PUBLISHED_SHOTS]
    done = write_subsets(source, [parse_subset(n) for n in names or published], overwrite=overwrite)
    if form.is_json:
        files = {str(path): count for path, count in done.files.items()}
        kept = [str(path) for path in done.kept]
        say(json.dumps({"written": files, "skipped": done.skipped, "kept": kept}))
    else:
        for path, count in done.files.items():
            say(f"{path}: {count} train samples")
        for name, why in done.skipped.items():
            say(f"skipped {name}: {why}")
        for path in done.kept:
            say(f"{path} exists already (--overwrite replaces it)")
    if names and done.skipped:
        note(f"{len(done.skipped)} not written.")
        raise SystemExit(2)
