"""The command line: a small module per command.

The modules import heavy packages only when their command runs, so that ``marsbench --help``
loads neither torch nor hydra.
"""

import io
import os
import sys
from functools import partial
from typing import Annotated

import typer

from marsbench.base.version import __version__
from marsbench.cli import (
    card,
    complete,
    data,
    doctor,
    downloads,
    ensemble,
    evaluate,
    folders,
    init,
    leaderboard,
    listing,
    loading,
    model,
    predict,
    report,
    results,
    run,
    spectra,
    status,
    submit,
    sweep,
    tune,
)

app = typer.Typer(
    name="marsbench",
    help="Train, test and compare models on 22 tasks of Mars science.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Train, test and compare models on 22 tasks of Mars science."""


app.command("run")(run.run)
app.command("sweep")(sweep.sweep)
app.command("status")(status.status)
app.command("tune")(tune.tune)
app.command("predict")(predict.predict)
app.command("evaluate")(evaluate.evaluate)
app.command("ensemble")(ensemble.ensemble)
app.command("report")(report.report)
app.command("card")(card.card)
app.command("submit")(submit.submit)
app.command("doctor")(doctor.doctor)
app.add_typer(results.app, name="results")
app.add_typer(leaderboard.app, name="leaderboard")
app.add_typer(listing.app, name="list")
app.add_typer(model.app, name="model")
app.add_typer(data.app, name="data")
app.add_typer(spectra.app, name="spectra")
data.app.command("init")(init.init)
data.app.command("download")(downloads.download)
data.app.command("status")(downloads.status)
data.app.command("clean")(downloads.clean)
data.app.command("convert")(folders.convert)
data.app.command("subsets")(folders.subsets)


def main() -> None:
    """Entry point of the console script."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # Names of files are bytes that need not fit the terminal's encoding.
            stream.reconfigure(errors="backslashreplace")
    loading.show_loading()
    # Named, since the name of the completion variable follows from it.
    command = partial(app, prog_name="marsbench")
    variable, wanted = complete.BASH
    if os.environ.get(variable) == wanted:
        complete.answer_bash(command)
    else:
        command()
