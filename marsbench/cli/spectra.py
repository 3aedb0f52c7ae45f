"""``marsbench spectra``: submissions to the mass-spectrometry challenges."""

import json
from pathlib import Path
from typing import Annotated

import typer

from marsbench.cli import complete
from marsbench.cli.output import Format, FormatOption, friendly, note, print_rows, say

app = typer.Typer(no_args_is_help=True, help="Submissions to the mass-spectrometry challenges.")


@app.command("submission")
@friendly
def submission(
    run: Annotated[
        str,
        typer.Argument(
            help="Finished run or ensemble as listed by `marsbench results`, its whole id or "
            "folder.",
            autocompletion=complete.run_ids,
        ),
    ],
    root: Annotated[
        str, typer.Option("--root", help="Folder of the challenge: metadata.csv and features.")
    ],
    out: Annotated[Path, typer.Option("--out", help="CSV to write.")] = Path("submission.csv"),
    template: Annotated[
        Path | None,
        typer.Option(
            "--format-file",
            help="The challenge's submission_format.csv, with the order of samples; by default "
            "the one in the folder, else all samples of --split.",
        ),
    ] = None,
    split: Annotated[
        str, typer.Option("--split", help="Split to predict without such a file.")
    ] = "test",
    model: Annotated[str | None, typer.Option("--model", help="Own encoder of the run.")] = None,
    store: Annotated[Path, typer.Option("--store", help="Folder of records.")] = Path("runs"),
) -> None:
    """Predict the samples of a challenge with a finished run, and write its CSV."""
    from marsbench.predict.submissions import write_submission

    count = write_submission(
        run, root, out, template=template, split=split, store=store, model=model
    )
    note(f"Wrote the probabilities of {count} samples to {out}.")


@app.command("score")
@friendly
def score(
    predictions: Annotated[Path, typer.Argument(help="CSV of a submission.")],
    labels: Annotated[Path, typer.Argument(help="CSV of labels, such as val_labels.csv.")],
    metadata: Annotated[
        Path | None,
        typer.Option("--metadata", help="metadata.csv, to also score each instrument."),
    ] = None,
    form: FormatOption = Format.AUTO,
) -> None:
    """Score a submission: mean binary log loss, and micro-averaged precision."""
    from marsbench.predict.submissions import score_submission

    values = score_submission(predictions, labels, metadata)
    if form.is_json:
        say(json.dumps(values))
        return
    rows = [{"metric": name, "value": f"{value:.4f}"} for name, value in values.items()]
    print_rows(rows, Format.TABLE, str(predictions), right=("value",))
