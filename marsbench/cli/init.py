"""``marsbench data init``."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from marsbench.cli.output import Format, FormatOption, friendly, print_rows, say

if TYPE_CHECKING:
    from marsbench.data.tools.init.folder import Initialised


@friendly
def init(
    folder: Annotated[Path, typer.Argument(help="Folder of images.")],
    name: Annotated[
        str | None, typer.Option("--name", help="Name of the task; default: the folder's.")
    ] = None,
    kind: Annotated[
        str | None,
        typer.Option("--kind", help="classification, segmentation or detection; default: detect."),
    ] = None,
    classes: Annotated[
        str, typer.Option("--classes", help="Names of the classes by id, separated by commas.")
    ] = "",
    splits: Annotated[
        str | None,
        typer.Option(
            "--splits",
            help="Shares of train, val, test; default: folders of these names, else 0.7,0.15,0.15.",
        ),
    ] = None,
    group_by: Annotated[
        str | None,
        typer.Option(
            "--group-by",
            help="Keep images together: 'observation', or a regular expression for their paths.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the splits.")] = 0,
    update: Annotated[
        bool, typer.Option("--update", help="Add new images; the others keep their splits.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing task.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Write nothing.")] = False,
    form: FormatOption = Format.AUTO,
) -> None:
    """Make a task of your folder: class folders, or images with masks or boxes.

    Writes annotation.csv, with seeded splits, and task.yaml. Images are neither moved nor changed.
    """
    from marsbench.data.tools.init.folder import Options, init_task

    names = tuple(part.strip() for part in classes.split(",") if part.strip())
    options = Options(
        name=name,
        kind=kind,
        classes=names,
        splits=splits,
        group_by=group_by,
        seed=seed,
        update=update,
        force=force,
        dry_run=dry_run,
    )
    made = init_task(folder, options)
    if form.is_json:
        say(json.dumps(_facts(made)))
    else:
        _print(made)


def _facts(made: "Initialised") -> dict[str, Any]:
    return {
        "task": made.name,
        "kind": made.kind.value,
        "detected": made.detected,
        "folder": str(made.folder),
        "sizes": dict(made.sizes),
        "classes": {name: dict(counts) for name, counts in made.counts.items()},
        "notes": list(made.notes),
        "files": [str(path) for path in made.files],
        "next": list(made.commands),
    }


def _print(made: "Initialised") -> None:
    say(f"{made.folder}: {made.kind}, from {made.detected} (--kind decides otherwise)")
    rows: list[dict[str, Any]] = [
        {"class": name, **counts, "all": sum(counts.values())}
        for name, counts in made.counts.items()
    ]
    rows.append({"class": "images", **made.sizes, "all": sum(made.sizes.values())})
    print_rows(rows, Format.TABLE, "", right=(*made.sizes, "all"))
    for text in made.notes:
        say(f"note: {text}")
    for path in made.files:
        say(f"wrote {path}")
    if not made.files:
        say("nothing written (--dry-run)")
    say("next:")
    for command in made.commands:
        say(f"  {command}")
