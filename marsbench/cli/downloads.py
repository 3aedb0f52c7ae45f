"""``marsbench data download``, ``status`` and ``clean``."""

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from marsbench.cli import complete
from marsbench.cli.output import Format, FormatOption, friendly, note, print_rows, say, size_text

if TYPE_CHECKING:
    from marsbench.config.schema import Subset
    from marsbench.data.tools.inventory import Held
    from marsbench.tasks.spec import TaskSpec

EVERY_TASK = "all"
"""Name of all published tasks together."""

SOURCES = ("auto", "huggingface", "zenodo")


@friendly
def download(
    tasks: Annotated[
        list[str],
        typer.Argument(
            metavar="TASK...",
            help="Task names, paths of custom tasks, or 'all'.",
            autocompletion=complete.task_names,
        ),
    ],
    subsets: Annotated[
        list[str] | None,
        typer.Option(
            "--subset",
            help="Subset of the train split, repeatable; default: full. Zenodo: all subsets.",
        ),
    ] = None,
    every_subset: Annotated[
        bool, typer.Option("--all-subsets", help="Every published subset, and the full split.")
    ] = False,
    source: Annotated[
        str,
        typer.Option(
            "--source", help="huggingface, zenodo, or auto: the first source with the data."
        ),
    ] = "auto",
    revision: Annotated[
        str | None, typer.Option("--revision", help="Commit, tag or branch of the hub.")
    ] = None,
    update: Annotated[
        bool, typer.Option("--update", help="Move to the newest commit of the hub.")
    ] = False,
    form: FormatOption = Format.AUTO,
) -> None:
    """Download tasks, so that runs need no network.

    Present files are kept. A task's failure does not stop the others; the exit code is then 2.
    """
    from marsbench.base.errors import ConfigError, MarsbenchError, unknown_name
    from marsbench.config.schema import PUBLISHED_PARTITIONS, PUBLISHED_SHOTS, Subset, parse_subset
    from marsbench.tasks.catalog import TASKS, get_task

    if source not in SOURCES:
        raise unknown_name("source", source, SOURCES)
    if source == "zenodo" and (revision is not None or update):
        raise ConfigError(
            "--revision and --update apply to the Hugging Face hub only.",
            "For the newest Zenodo record: `marsbench data clean TASK`, then download again.",
        )
    published = [s for s in TASKS.values() if s.hub_id or s.zenodo_title]
    specs = published if tasks == [EVERY_TASK] else [get_task(task) for task in tasks]
    chosen = [parse_subset(name) for name in subsets or []] or [Subset()]
    if every_subset:
        names = [f"partition_{share}" for share in PUBLISHED_PARTITIONS]
        names += [f"few_shot_{shots}" for shots in PUBLISHED_SHOTS]
        chosen = [Subset(), *map(parse_subset, names)]
    rows: list[dict[str, Any]] = []
    failed = 0
    for spec in specs:
        try:
            rows.append(_download(spec, source, chosen, revision, update, every_subset))
        except MarsbenchError as error:
            failed += 1
            note(f"Error: {spec.name}: {error}")
            continue
        if form.is_json:
            say(json.dumps(rows[-1]))
    if rows and not form.is_json:
        shown = [{**r, "splits": len(r["splits"]), "size": size_text(r["size"])} for r in rows]
        print_rows(shown, Format.TABLE, "", right=("splits", "size"))
    if failed:
        note(f"{failed} of {len(specs)} not downloaded.")
        raise SystemExit(2)


def _download(
    spec: "TaskSpec",
    source: str,
    subsets: "list[Subset]",
    revision: str | None,
    update: bool,
    every_subset: bool,
) -> dict[str, Any]:
    """Download and open a task: invalid data fail here, not in a run."""
    from marsbench.base.errors import DataNotFoundError
    from marsbench.data.sources import zenodo
    from marsbench.data.sources.hub_files import fetch
    from marsbench.data.sources.huggingface import HubSource
    from marsbench.data.sources.local import LocalSource
    from marsbench.data.tools.inventory import size_of
    from marsbench.tasks.spec import SPLITS

    if source != "zenodo":
        try:
            if spec.hub_id is None:
                raise DataNotFoundError(
                    f"{spec.name} is not on the hub: it has no hub_id.", "Choose another --source."
                )
            listing = fetch(spec.hub_id, revision, subsets, update=update, every_split=every_subset)
        except DataNotFoundError as error:
            if source != "auto" or revision is not None or spec.zenodo_title is None:
                raise
            note(f"{spec.name}: {error.problem} Trying Zenodo.")
            source = "zenodo"
    if source == "zenodo":
        folder = LocalSource(spec, zenodo.download(spec))
        for split in SPLITS:
            folder.rows(split)
        record = (zenodo.read_manifest(folder.folder) or {}).get("record")
        path, version, splits = folder.folder, f"record {record}", list(folder.splits)
        size = size_of(path)
    else:
        for subset in subsets:
            hub = HubSource(spec, listing, subset)
            for split in SPLITS:
                hub.rows(split)
        path, version = listing.folder, listing.revision
        splits = [name for name in listing.splits if not listing.missing([name])]
        size = listing.size
    return {
        "task": spec.name,
        "source": "zenodo" if source == "zenodo" else "huggingface",
        "revision": version,
        "splits": splits,
        "size": size,
        "path": str(path),
    }


@friendly
def status(
    check: Annotated[
        bool, typer.Option("--check", help="Compare the checksum of every file of the hub.")
    ] = False,
    form: FormatOption = Format.AUTO,
) -> None:
    """List downloads and caches: source, revision, size, completeness.

    The exit code is 2 for damaged or incomplete data.
    """
    from marsbench.base import paths
    from marsbench.data.tools.inventory import inventory

    entries = inventory(check=check)
    _print(entries, form)
    problems = [problem for held in entries for problem in held.problems]
    if not form.is_json:
        say(f"{size_text(sum(held.size for held in entries))} in all; folder: {paths.home()}")
        for problem in problems:
            say(f"PROBLEM: {problem}.")
    if problems:
        note("Repair: `marsbench data clean TASK`, then `marsbench data download TASK`.")
        raise SystemExit(2)


@friendly
def clean(
    task: Annotated[
        str,
        typer.Argument(
            help="Task name, path to a custom task, or 'roots': archives and copies of root=.",
            autocompletion=complete.task_names,
        ),
    ],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the entries without deleting them.")
    ] = False,
    form: FormatOption = Format.AUTO,
) -> None:
    """Delete a task's downloads and decoded images; your own folders are kept.

    Hub files are deleted from the cache that other tools share (HF_HOME).
    """
    from marsbench.data.tools.inventory import ROOTS
    from marsbench.data.tools.inventory import clean as delete
    from marsbench.tasks.catalog import get_task

    entries = delete(None if task == ROOTS else get_task(task), dry_run=dry_run)
    _print(entries, form)
    size = size_text(sum(held.size for held in entries))
    note(f"Would free {size}." if dry_run else f"Freed {size}.")


def _print(entries: "list[Held]", form: Format) -> None:
    rows = [
        {
            "task": held.task,
            "what": held.what,
            "revision": held.revision,
            "splits": list(held.splits),
            "size": held.size,
            "state": "damaged" if held.problems else "whole",
            "path": str(held.path),
            "problems": list(held.problems),
        }
        for held in entries
    ]
    if form.is_json:
        print_rows(rows, form, "")
        return
    for row in rows:
        row["size"] = size_text(held_size) if isinstance(held_size := row["size"], int) else ""
        row["splits"] = len(held_splits) if isinstance(held_splits := row["splits"], list) else ""
        row["revision"] = str(row["revision"])[:12]
        del row["problems"]
    print_rows(rows, form, "", right=("size", "splits"))
