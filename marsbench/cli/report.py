"""``marsbench report``: figures, tables and a page of the records of a store."""

import json
from collections import Counter
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from marsbench.cli import complete
from marsbench.cli.output import Format, FormatOption, friendly, note, say
from marsbench.cli.stores import StoreArgument
from marsbench.cli.sweep import read_asked
from marsbench.report.figures.spec import FAMILIES

if TYPE_CHECKING:
    from marsbench.report.study.coverage import ExpectedRuns

SHOWN = 4
"""Number of problems printed; the page lists all."""

LENGTH = 240
"""Letters of a problem printed."""


class Normalise(StrEnum):
    """Ranges of the normalisation."""

    REFERENCE = "reference"
    OBSERVED = "observed"


class Font(StrEnum):
    """Fonts of figures."""

    SANS = "sans"
    SERIF = "serif"


@friendly
def report(
    store: StoreArgument = Path("runs"),
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="KEY=VALUE...",
            help="Words of a sweep to narrow its suite: suite=NAME task=A,B model= mode= subset= "
            "seed=; other words such as launcher= are ignored.",
            autocompletion=complete.sweep_words,
        ),
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write to.")] = Path("report"),
    only: Annotated[
        list[str] | None,
        typer.Option(
            "--only",
            help=f"Parts to build, separated by commas: tables, {', '.join(FAMILIES)}. The page "
            "is always built.",
        ),
    ] = None,
    compare: Annotated[
        Path | None,
        typer.Option("--compare", help="Folder of other records to compare with."),
    ] = None,
    reference: Annotated[
        bool,
        typer.Option(
            "--reference",
            help="Draw the paper's runs beside comparable runs, and show its published numbers.",
        ),
    ] = False,
    task: Annotated[
        list[str] | None,
        typer.Option("--task", help="Only these tasks, separated by commas."),
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option("--model", help="Only these models, separated by commas."),
    ] = None,
    mode: Annotated[
        list[str] | None,
        typer.Option("--mode", help="Only these modes, separated by commas."),
    ] = None,
    suite: Annotated[
        str | None,
        typer.Option(
            "--suite",
            help="Name or YAML file of a suite: report its runs only, and list missing runs.",
            autocompletion=complete.suite_names,
        ),
    ] = None,
    normalise: Annotated[
        Normalise,
        typer.Option(
            "--normalise",
            help="By the reference range of each task if available, or by the lowest and highest "
            "observed score of each task.",
        ),
    ] = Normalise.REFERENCE,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the bootstrap.")] = 0,
    title: Annotated[
        str, typer.Option("--title", help="Title of the page; by default the store's name.")
    ] = "",
    font: Annotated[
        Font, typer.Option("--font", help="Font of the figures: sans, or serif as of Times.")
    ] = Font.SANS,
    form: FormatOption = Format.AUTO,
) -> None:
    """Build figures, tables and a page of a store's records.

    For example: marsbench report runs --out report, or: marsbench report runs suite=smoke seed=0
    """
    from marsbench.api import make_report
    from marsbench.base.errors import NothingYetError

    try:
        built = make_report(
            store,
            out,
            only=None if only is None else _names(only),
            compare=compare,
            reference=reference,
            tasks=_names(task),
            models=_names(model),
            modes=_names(mode),
            suite=_plan(store, words or [], suite),
            normalise=normalise.value,
            seed=seed,
            title=title,
            font=font.value,
        )
    except NothingYetError as nothing:
        if nothing.remedy:
            note(nothing.remedy)
        content = {"index": None, "runs": 0, "message": nothing.problem}
        say(json.dumps(content) if form.is_json else nothing.problem)
        return
    for problem in built.problems[:SHOWN]:
        text = problem.message
        text = text if len(text) <= LENGTH else f"{text[:LENGTH].rstrip()} \N{HORIZONTAL ELLIPSIS}"
        note(f"Problem ({problem.what}): {text}")
    if len(built.problems) > SHOWN:
        more = len(built.problems) - SHOWN
        note(f"and {more} more problem{'s' if more > 1 else ''}, in {built.index}#problems")
    if form.is_json:
        counts = Counter(problem.what for problem in built.problems)
        summary: dict[str, Any] = {
            "index": str(built.index),
            "runs": built.num_runs,
            "figures": len(built.figures) // 2,
            "tables": len({path.stem for path in built.tables}),
            "problems": dict(counts),
        }
        say(json.dumps(summary))
        return
    for what, files in (("figure", built.figures), ("table", built.tables)):
        if files:
            endings = ", ".join(sorted({path.suffix[1:].upper() for path in files}))
            number = len({path.stem for path in files})
            say(f"{number} {what}{'s' * (number != 1)} ({endings}) in {files[0].parent}")
    say(f"The report of {built.num_runs} runs: {built.index}")


def _plan(store: Path, words: list[str], suite: str | None) -> "ExpectedRuns | None":
    """Expected runs of the words and the suite; None if neither is given."""
    from marsbench.base.errors import ConfigError
    from marsbench.report.study.coverage import ExpectedRuns

    if "=" in store.name and not store.is_dir():
        raise ConfigError(
            f"'{store}' is not a folder of records.",
            "Name the folder before the words: marsbench report runs suite=NAME KEY=VALUE...",
        )
    named = {word.partition("=")[2] for word in words if word.startswith("suite=")}
    if suite is not None and suite not in named:
        words = [f"suite={suite}", *words]
    elif words and not named:
        raise ConfigError(
            f"'{words[0]}' is given without a suite.", "Add suite=NAME, or --suite NAME."
        )
    if not words:
        return None
    asked = read_asked(words)
    return ExpectedRuns.of_suite(asked.suite.name, asked.runs)


def _names(given: list[str] | None) -> tuple[str, ...]:
    """Split names at commas."""
    return tuple(n for part in given or () for n in map(str.strip, part.split(",")) if n)
