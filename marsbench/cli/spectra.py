"""``marsbench spectra``: what the mass-spectrometry challenges ask for."""

import json
from pathlib import Path
from typing import Annotated

import typer

from marsbench.cli.output import Format, FormatOption, friendly, note, print_rows, say

app = typer.Typer(no_args_is_help=True, help="Submissions to the mass-spectrometry challenges.")


@app.command("submission")
@friendly
def submission(
    run: Annotated[str, typer.Argument(help="Id, hash or folder of a finished run or ensemble.")],
    root: Annotated[
        str, typer.Option("--root", help="Folder of the challenge: metadata.csv and features.")
    ],
    out: Annotated[Path, typer.Option("--out", help="CSV to write.")] = Path("submission.csv"),
    template: Annotated[
        Path | None,
        typer.Option(
            "--format-file",
            help="The challenge's submission_format.csv, which says which samples in which order; "
            "by default the one in the folder, else all samples of --split.",
        ),
    ] = None,
    split: Annotated[
        str, typer.Option("--split", help="Without such a file: which split to predict.")
    ] = "test",
    store: Annotated[Path, typer.Option("--store", help="Folder of records.")] = Path("runs"),
) -> None:
    """Predict a challenge's samples with a finished run, and write the challenge's CSV."""
    from marsbench.predict.submissions import write_submission

    count = write_submission(run, root, out, template=template, split=split, store=store)
    note(f"Wrote the probabilities of {count} samples to {out}.")


@app.command("score")
@friendly
def score(
    predictions: Annotated[Path, typer.Argument(help="A submission's CSV.")],
    labels: Annotated[Path, typer.Argument(help="The labels' CSV, such as val_labels.csv.")],
    metadata: Annotated[
        Path | None,
        typer.Option("--metadata", help="metadata.csv, to score each instrument by itself too."),
    ] = None,
    form: FormatOption = Format.AUTO,
) -> None:
    """Score a submission against labels: mean binary log loss, and micro-averaged precision."""
    from marsbench.predict.submissions import score_submission

    values = score_submission(predictions, labels, metadata)
    if form.is_json:
        say(json.dumps(values))
        return
    rows = [{"metric": name, "value": f"{value:.4f}"} for name, value in values.items()]
    print_rows(rows, Format.TABLE, str(predictions), right=("value",))
