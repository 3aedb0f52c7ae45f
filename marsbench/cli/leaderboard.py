"""``marsbench leaderboard``: serve the board, write its Space, check its submissions."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from marsbench.cli.output import Format, FormatOption, friendly, note, say
from marsbench.config.schema import SourceName

app = typer.Typer(
    help="Serve the leaderboard, write its Space, check its submissions.", no_args_is_help=True
)

SHOWN = 10
"""Number of problems of a submission printed to the terminal; its check lists all."""

RESULTS_HELP = (
    "Results repository: a folder with submissions/ and checks/, or hf://datasets/ORG/NAME."
)


@app.command("serve")
@friendly
def serve(
    stores: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[STORE...]",
            help="Folders of records to show as not submitted, beside the paper's runs.",
        ),
    ] = None,
    results: Annotated[
        str | None, typer.Option("--results", metavar="DIR_OR_HF", help=RESULTS_HELP)
    ] = None,
    port: Annotated[
        int | None,
        typer.Option("--port", min=1, max=65535, help="Port; default the first free from 7860."),
    ] = None,
    labels: Annotated[
        bool,
        typer.Option(
            "--labels",
            help="Check uploads against the test labels, which downloads missing data.",
        ),
    ] = False,
    root: Annotated[
        Path | None, typer.Option("--root", help="Folder of the labels, as root= of a run.")
    ] = None,
) -> None:
    """Show the leaderboard in a browser on this machine.

    For example: marsbench leaderboard serve runs --results hf://datasets/ORG/NAME
    """
    from marsbench.leaderboard.app.launch import Settings
    from marsbench.leaderboard.app.launch import serve as start

    start(
        Settings(
            results=results,
            labels=labels or root is not None,
            stores=tuple(map(str, stores or ())),
            root=None if root is None else str(root),
        ),
        port,
    )


@app.command("check")
@friendly
def check(
    folder: Annotated[
        Path,
        typer.Argument(metavar="RESULTS", help="Local copy of a results repository."),
    ],
    source: Annotated[
        SourceName | None,
        typer.Option("--source", help="Source of the labels; by default as of the runs, or auto."),
    ] = None,
    root: Annotated[
        str | None, typer.Option("--root", help="Folder of the labels, as root= of a run.")
    ] = None,
    again: Annotated[
        bool, typer.Option("--again", help="Check unchanged submissions too.")
    ] = False,
    form: FormatOption = Format.AUTO,
) -> None:
    """Check new and changed submissions of a results repository, and write their checks."""
    from marsbench.leaderboard.board.checking import check_results
    from marsbench.leaderboard.board.results import check_file

    valid = True
    for name, result in check_results(folder, source=source, root=root, again=again):
        valid = valid and result.is_valid
        if form.is_json:
            content = {"name": name, "valid": result.is_valid, "runs": len(result.runs)}
            say(json.dumps({**content, "errors": [asdict(error) for error in result.errors]}))
            continue
        say(f"{name}: {'valid' if result.is_valid else 'not valid'}, {len(result.runs)} runs")
        for finding in result.findings[:SHOWN]:
            note(f"  {finding.where}: {finding.problem} {finding.remedy}".rstrip())
        if (more := len(result.findings) - SHOWN) > 0:
            note(f"  {more} more in {check_file(folder, name)}.")
    if not valid:
        raise SystemExit(2)


@app.command("export")
@friendly
def export(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder to write.")],
    results: Annotated[
        str | None,
        typer.Option("--results", metavar="HF", help="Results repository: hf://datasets/ORG/NAME."),
    ] = None,
    labels: Annotated[
        bool,
        typer.Option(
            "--labels", help="Check uploads against the test labels, which downloads data."
        ),
    ] = False,
    package: Annotated[
        str | None,
        typer.Option(
            "--package",
            help="Requirement of marsbench, such as 'marsbench[leaderboard] @ git+https://...'; "
            "default a compatible release.",
        ),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace existing files.")] = False,
    form: FormatOption = Format.AUTO,
) -> None:
    """Write the folder of a Space of the Hugging Face hub: app, requirements, README, settings."""
    from marsbench.leaderboard.app.export import export_space
    from marsbench.leaderboard.app.launch import Settings

    settings = Settings(results=results, labels=labels)
    files = export_space(folder, settings, package=package, overwrite=overwrite)
    if form.is_json:
        say(json.dumps({"folder": str(folder), "files": [file.name for file in files]}))
        return
    say(f"Space written to {folder}: {', '.join(file.name for file in files)}")
    say(f"Try it: python {folder / 'app.py'}")
