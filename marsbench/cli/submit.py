"""``marsbench submit``: collect, check and push a submission to the leaderboard."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from marsbench.cli import complete
from marsbench.cli.output import Format, FormatOption, friendly, note, print_rows, say
from marsbench.config.schema import SourceName

if TYPE_CHECKING:
    from marsbench.leaderboard.schema import Check, Finding


@friendly
def submit(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="STORE KEY=VALUE...",
            help="Folder of records (default: runs), and words that narrow them to one model and "
            "setting: model= mode= protocol= subset= task=A,B seed= setting=HASH, or any key of a "
            "run.",
            autocompletion=complete.run_words,
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Folder to write to.")] = None,
    author: Annotated[str, typer.Option("--author", help="Name of a person or group.")] = "",
    organisation: Annotated[str, typer.Option("--organisation", help="Organisation.")] = "",
    link: Annotated[str, typer.Option("--link", help="Web page of the author, https.")] = "",
    licence: Annotated[str, typer.Option("--licence", help="Licence of the model.")] = "",
    remark: Annotated[str, typer.Option("--note", help="Remark in a sentence or two.")] = "",
    about: Annotated[
        Path | None,
        typer.Option(
            "--about",
            help="YAML with author, model (weights, licence, links, pretraining) and note; options "
            "override it.",
        ),
    ] = None,
    partial: Annotated[
        bool, typer.Option("--partial", help="Submit although seeds or tasks are missing.")
    ] = False,
    check: Annotated[
        Path | None,
        typer.Option("--check", help="Check a submission, a folder or an archive; collect none."),
    ] = None,
    source: Annotated[
        SourceName | None,
        typer.Option("--source", help="Source of the labels; by default as of the runs, or auto."),
    ] = None,
    root: Annotated[
        str | None, typer.Option("--root", help="Folder of the labels, as root= of a run.")
    ] = None,
    push: Annotated[
        str | None,
        typer.Option(
            "--push", help="Open a pull request on a data set repository: hf://datasets/ORG/NAME."
        ),
    ] = None,
    schema: Annotated[
        bool, typer.Option("--schema", help="Print the JSON Schema of submission.json.")
    ] = False,
    form: FormatOption = Format.AUTO,
) -> None:
    """Collect a leaderboard submission from finished runs, and score it from its predictions.

    For example: marsbench submit runs model=vit mode=frozen --author NAME --out submission
    """
    from marsbench.base.errors import ConfigError

    if schema:
        from marsbench.base.json_schema import json_schema
        from marsbench.leaderboard.schema import Submission

        title = "Submission to the marsbench leaderboard"
        say(json.dumps(json_schema(Submission, title), indent=2))
        return
    if check is not None and (words or out is not None):
        raise ConfigError(
            "--check checks a finished submission and collects none.",
            "Leave out --check, or the store, words and --out.",
        )
    folder = check or out
    if folder is None:
        raise ConfigError("The folder of the submission is missing.", "Add --out FOLDER.")
    from marsbench.leaderboard.board.results import results_address
    from marsbench.leaderboard.submission import push_submission
    from marsbench.leaderboard.submission import submit as collect

    address = None if push is None else results_address(push)
    if address is not None and address.revision is not None:
        raise ConfigError(
            f"{address} names a revision; pull requests are made on the main branch.",
            "Write hf://datasets/ORG/NAME.",
        )
    if check is None:
        given = {"name": author, "organisation": organisation, "link": link}
        result, notes = collect(
            *_store_and_words(words or []),
            folder,
            author=given,
            licence=licence,
            note=remark,
            about=about,
            partial=partial,
            source=source,
            root=root,
        )
        for text in notes:
            note(text)
    else:
        from marsbench.leaderboard.check import check_submission

        result = check_submission(folder, source=source, root=root)
    _print_check(result, folder, form)
    if not result.is_valid:
        raise SystemExit(2)
    if address is not None:
        page = push_submission(result, folder, address)
        say(json.dumps({"pull_request": page}) if form.is_json else f"Pull request: {page}")


def _store_and_words(words: list[str]) -> tuple[Path, dict[str, str]]:
    """Separate the store from the words.

    Raises:
        ConfigError: If there are two stores, or a key is given twice.
    """
    from marsbench.base.errors import ConfigError

    stores = [
        word.removeprefix("store=")
        for word in words
        if "=" not in word or word.startswith("store=")
    ]
    if len(stores) > 1:
        raise ConfigError(
            f"{stores[0]} and {stores[1]} are two folders of records.", "Name one of them."
        )
    values: dict[str, str] = {}
    for word in words:
        key, separator, value = word.partition("=")
        if separator and key in values:
            raise ConfigError(f"'{key}' is given twice.", "Give several values as A,B.")
        if separator and key != "store":
            values[key] = value
    return Path(stores[0] if stores else "runs"), values


def _print_check(check: "Check", folder: Path, form: Format) -> None:
    """Print the scores and problems of a submission."""
    if form.is_json:
        content = {"path": str(folder), "valid": check.is_valid, **json.loads(check.to_json())}
        say(json.dumps(content))
        return
    rows = _scores(check)
    if rows:
        print_rows(rows, form, f"Runs of {folder}", right=("mean", "runs"))
    for finding in check.findings:
        note(_text(finding))
    if not check.is_valid:
        count = len(check.errors)
        note(f"{folder} is not valid: {count} error{'s' * (count != 1)}.")
    elif check.submission is not None:
        partial = ", incomplete" if check.submission.partial else ""
        count = len(check.runs)
        say(f"{folder} is valid: {count} run{'s' * (count != 1)}{partial}.")


def _scores(check: "Check") -> list[dict[str, Any]]:
    """Mean headline metric of each task."""
    from marsbench.leaderboard.rows import means_of
    from marsbench.tasks.catalog import known_task

    rows = []
    for task, mean in means_of(check).items():
        spec = known_task(task)
        metric = "" if spec is None else spec.headline_metric
        score = mean.metrics.get(metric)
        rows.append(
            {
                "task": task,
                "runs": mean.runs,
                "metric": metric,
                "mean": None if score is None else f"{score:.4f}",
                "scores": ", ".join(sorted({r.badge for r in check.runs if r.task == task})),
            }
        )
    return rows


def _text(finding: "Finding") -> str:
    sort = "Error" if finding.is_error else "Note"
    where = f" in {finding.where}" if finding.where else ""
    return f"{sort}{where}: {finding.problem} {finding.remedy}".rstrip()
