"""``marsbench card``: a model card for the Hugging Face hub."""

import json
from pathlib import Path
from typing import Annotated

import typer

from marsbench.cli import complete
from marsbench.cli.output import Format, FormatOption, friendly, note, say


@friendly
def card(
    runs: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN...",
            help="Finished runs that differ in their seeds, as listed by `marsbench results`, by "
            "whole ids or folders; the weights of the first are published.",
            autocompletion=complete.run_ids,
        ),
    ],
    out: Annotated[Path, typer.Option("--out", help="Folder to write.")] = Path("card"),
    store: Annotated[Path, typer.Option("--store", help="Folder of records.")] = Path("runs"),
    task: Annotated[
        str | None,
        typer.Option(
            "--task",
            help="File of a custom task that has moved.",
            autocompletion=complete.task_names,
        ),
    ] = None,
    licence: Annotated[
        str | None,
        typer.Option("--licence", help="Licence of the weights, such as mit or cc-by-4.0."),
    ] = None,
    push: Annotated[
        str | None,
        typer.Option("--push", help="Publish the folder in this repository: hf://ORG/NAME."),
    ] = None,
    public: Annotated[
        bool, typer.Option("--public", help="Make a new repository public; private by default.")
    ] = False,
    form: FormatOption = Format.AUTO,
) -> None:
    """Write a model card, with the files that use the model again.

    For example: marsbench card 0-3f2a91c04d 1-3f2a91c04d --out card --push hf://ORG/NAME
    """
    from marsbench.base.hub import parse_address
    from marsbench.leaderboard.card.write import write_card

    address = None if push is None else parse_address(push)
    done = write_card(
        runs,
        out,
        store=store,
        task=task,
        licence=licence,
        address=address,
        private=not public,
    )
    for text in done.notes:
        note(text)
    page = None if done.push is None else done.push.page
    if form.is_json:
        say(json.dumps({"folder": str(done.folder), "files": done.files, "page": page}))
        return
    say(f"{done.folder}: {len(done.files)} files")
    if address is not None:
        say(f"published: {page}\nuse it again: marsbench predict {address} IMAGES... --out DIR")
