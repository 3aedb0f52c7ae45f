"""``marsbench data info``, ``corruptions`` and ``verify``."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from marsbench.cli import complete
from marsbench.cli.output import Format, FormatOption, friendly, note, print_rows, say

if TYPE_CHECKING:
    from marsbench.data.rows import Source
    from marsbench.tasks.spec import TaskSpec

CONVERT_KEYS = ("source", "root", "size", "revision")
"""Keys of ``marsbench data convert``."""

INFO_KEYS = (*CONVERT_KEYS, "subset", "raster", "strict")
"""Keys of ``marsbench data info``."""

VERIFY_KEYS = ("root",)
"""Keys of ``marsbench data verify``."""

app = typer.Typer(no_args_is_help=True, help="Download, describe and check a task's data.")

TaskArgument = Annotated[
    str,
    typer.Argument(help="Task name, or path to a custom task.", autocompletion=complete.task_names),
]
WhereArgument = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="KEY=VALUE...",
        help="source=..., root=FOLDER, revision=..., size=N (demo data).",
        autocompletion=complete.words_of(INFO_KEYS),
    ),
]

FolderArgument = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="root=FOLDER",
        help="Folder of the data.",
        autocompletion=complete.words_of(VERIFY_KEYS),
    ),
]


@app.command("info")
@friendly
def info(
    task: TaskArgument,
    where: WhereArgument = None,
    samples: Annotated[
        Path | None, typer.Option("--samples", help="Draw labelled samples into this PNG.")
    ] = None,
    split: Annotated[str, typer.Option("--split", help="Split to draw from.")] = "train",
    negatives: Annotated[
        bool,
        typer.Option("--negatives", help="Count samples without an object (reads all masks)."),
    ] = False,
    form: FormatOption = Format.AUTO,
) -> None:
    """Describe a task and its local data, and draw samples with --samples."""
    from marsbench.base.errors import DataNotFoundError, NotAvailableError
    from marsbench.tasks.catalog import get_task

    spec = get_task(task)
    source: Source | None = None
    try:
        # Missing data are downloaded for an explicit source= or --samples only.
        wanted = samples is not None or any(w.startswith("source=") for w in where or [])
        source = open_where(spec, where, download=wanted)
    except (DataNotFoundError, NotAvailableError) as error:
        if samples is not None:
            raise
        _print_info(spec, None, {}, form)
        note(str(error))
        return
    _print_info(spec, source, _negatives(spec, source) if negatives else {}, form)
    if samples is not None:
        from marsbench.data.tools.pictures.images import draw_samples

        draw_samples(spec, source, split, samples, raster=keys_of(where).get("raster"))
        note(f"Drew {samples}.")


@app.command("corruptions")
@friendly
def corruptions(
    task: TaskArgument,
    where: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="KEY=VALUE...",
            help="source=..., root=FOLDER, revision=..., size=N (demo data).",
            autocompletion=complete.words_of(CONVERT_KEYS),
        ),
    ] = None,
    out: Annotated[Path, typer.Option("--out", help="PNG to write.")] = Path("corruptions.png"),
    split: Annotated[str, typer.Option("--split", help="Split to draw from.")] = "test",
    severities: Annotated[
        str, typer.Option("--severity", help="Severities, 1 to 5, separated by commas.")
    ] = "1,3,5",
    seed: Annotated[int, typer.Option("--seed", help="Seed of the corruptions.")] = 0,
) -> None:
    """Draw samples under every corruption of images, or of spectra, by severity."""
    from marsbench.data.corruptions.table import parse_severities
    from marsbench.data.tools.pictures.corruptions import draw_corruptions
    from marsbench.tasks.catalog import get_task

    chosen = parse_severities(severities)
    spec = get_task(task)
    keys_of(where, CONVERT_KEYS)
    source = open_where(spec, where, download=True)
    draw_corruptions(spec, source, split, out, chosen, seed)
    note(f"Drew {out}.")


@app.command("verify")
@friendly
def verify(
    task: TaskArgument,
    where: FolderArgument = None,
    form: FormatOption = Format.AUTO,
) -> None:
    """Check every file of a local folder and list all problems; exit code 2 if any."""
    from marsbench.data.tools.verify.folder import verify_folder
    from marsbench.tasks.catalog import get_task

    spec = get_task(task)
    report = verify_folder(spec, keys_of(where, VERIFY_KEYS).get("root"))
    if form.is_json:
        say(json.dumps(report.to_dict()))
    else:
        say(f"{report.folder}: {report.num_samples} samples, {report.num_files} files read")
        for text in report.notes:
            say(f"note: {text}")
        for text in report.problems:
            say(f"PROBLEM: {text}")
        say(f"{len(report.problems)} problems" if report.problems else "No problems.")
    if report.problems:
        raise SystemExit(2)


def keys_of(where: list[str] | None, allowed: tuple[str, ...] = INFO_KEYS) -> dict[str, Any]:
    """Parse ``KEY=VALUE`` words.

    Raises:
        ConfigError: If a key is unknown to the command.
    """
    from marsbench.base.errors import unknown_name
    from marsbench.cli.compose import split_word

    values = dict(split_word(word) for word in where or [])
    for key in values:
        if key not in allowed:
            raise unknown_name("key", key, allowed)
    return values


def open_where(spec: "TaskSpec", where: list[str] | None, *, download: bool) -> "Source":
    """Open a task's data with the ``KEY=VALUE`` words of a command."""
    from marsbench.config.schema import RunConfig, parse_subset
    from marsbench.data.sources import open_source

    # RunConfig checks the values as for a run.
    config = RunConfig.from_dict({"task": spec.name, "model": "-", **keys_of(where)})
    return open_source(
        spec,
        config.source,
        config.root,
        config.size,
        subset=parse_subset(config.subset),
        revision=config.revision,
        download=download,
        strict=config.strict,
    )


def _print_info(
    spec: "TaskSpec", source: "Source | None", negatives: dict[str, int], form: Format
) -> None:
    counts = _counts(spec, source) if source is not None else {}
    described = {c.name: c.description for c in spec.classes}
    names = spec.class_names if source is None else source.class_names
    classes = [
        {"class": name, **counts.get(name, {}), "description": described.get(name, "")}
        for name in names
    ]
    facts: dict[str, Any] = {
        "task": spec.name,
        "title": spec.title,
        "kind": spec.kind.value,
        "headline metric": spec.headline_metric,
        "mission": spec.mission,
        "sensor": spec.sensor,
        "bands": spec.channels,
        "published sizes": dict(spec.sizes),
        "hub": spec.hub_id,
        "zenodo": spec.zenodo_title,
        "citation": spec.citation,
        "licence": spec.licence,
        "notes": list(spec.notes),
    }
    if source is not None:
        sizes = {s: len(source.rows(s)) for s in source.splits}
        facts |= {"data": source.where, "revision": source.revision, "sizes": sizes}
        facts["notes"] = [*spec.notes, *source.notes]
        facts |= {"negative samples": negatives} if negatives else {}
    if form.is_json:
        say(json.dumps({**facts, "classes": classes}))
        return
    for name, value in facts.items():
        if value:
            for i, line in enumerate(value if isinstance(value, list) else [value]):
                shown = (
                    ", ".join(f"{k} {v}" for k, v in line.items())
                    if isinstance(line, dict)
                    else line
                )
                say(f"{name if i == 0 else '':<16} {shown}")
    print_rows(classes, Format.TABLE, "", right=("train", "val", "test"))


def _negatives(spec: "TaskSpec", source: "Source") -> dict[str, int]:
    """Number of samples without an object, by split."""
    from marsbench.base.errors import ConfigError
    from marsbench.base.progress import track
    from marsbench.data import decode

    if spec.kind.is_classification:
        raise ConfigError(
            f"--negatives needs masks or boxes; {spec.name} is {spec.kind}.", "Remove --negatives."
        )
    counts = {}
    for split in source.splits:
        rows = source.rows(split)
        order = range(len(rows)) if rows.reading_order is None else rows.reading_order.tolist()
        samples = track(order, f"Reading {split}", len(rows))
        counts[split] = sum(decode.is_negative(spec, source.read(split, i)) for i in samples)
    return counts


def _counts(spec: "TaskSpec", source: "Source") -> dict[str, dict[str, int]]:
    """Number of samples by class and split."""
    counts: dict[str, dict[str, int]] = {name: {} for name in source.class_names}
    for split in source.splits if spec.kind.is_classification else ():
        rows = source.rows(split)
        for class_id, name in enumerate(source.class_names):
            counts[name][split] = int(rows.of_class(class_id).sum())
    return counts
