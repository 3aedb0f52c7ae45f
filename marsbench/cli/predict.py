"""``marsbench predict``: a finished model on new images."""

import json
from pathlib import Path
from typing import Annotated

import typer

from marsbench.cli import complete
from marsbench.cli.output import Format, FormatOption, friendly, note, say


@friendly
def predict(
    run: Annotated[
        str,
        typer.Argument(
            metavar="RUN",
            help="Finished run as listed by `marsbench results`, its whole id or folder; a "
            "checkpoint file; or hf://ORG/NAME of the hub.",
            autocompletion=complete.run_ids,
        ),
    ],
    images: Annotated[list[Path], typer.Argument(help="Images, and folders of images.")],
    out: Annotated[Path, typer.Option("--out", help="Folder to write into.")],
    task: Annotated[
        str | None,
        typer.Option(
            "--task",
            help="Task of a checkpoint.",
            autocompletion=complete.task_names,
        ),
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", help="Model of a checkpoint, or own encoder.")
    ] = None,
    store: Annotated[Path, typer.Option("--store", help="Folder of records.")] = Path("runs"),
    batch_size: Annotated[int, typer.Option("--batch-size", help="Images or tiles per batch.")] = 8,
    overlap: Annotated[
        float,
        typer.Option("--overlap", help="Overlap of neighbouring tiles, as a share of a tile."),
    ] = 0.25,
    threshold: Annotated[
        float,
        typer.Option(
            "--threshold", help="Smallest score of a box, or of a label in multilabel tasks."
        ),
    ] = 0.5,
    tile: Annotated[
        int | None,
        typer.Option(
            "--tile",
            help="Side of a tile in pixels of the image; 0 never tiles. By default, images more "
            "than twice the size of training images are tiled.",
        ),
    ] = None,
    overlay: Annotated[
        bool, typer.Option("--overlay/--no-overlay", help="Draw classes or boxes over images.")
    ] = True,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Discard earlier predictions in the folder.")
    ] = False,
    device: Annotated[
        str, typer.Option("--device", help="auto (a GPU if available), cpu, cuda or cuda:1.")
    ] = "auto",
    form: FormatOption = Format.AUTO,
) -> None:
    """Predict new images with a finished run or a checkpoint.

    For example: marsbench predict 0-3f2a91c04d images/ --out predicted

    Labels and shares of classes go to predictions.csv, beside class maps and overlays; boxes to
    predictions.json in COCO format. Images predicted earlier are skipped. Files that a prediction
    wrote are never read as images.
    """
    from marsbench.predict.failures import summarise
    from marsbench.predict.options import Options
    from marsbench.predict.paths import predict_paths

    options = Options(
        batch_size=batch_size,
        overlap=overlap,
        threshold=threshold,
        tile=tile,
        overlay=overlay,
        overwrite=overwrite,
        device=device,
    )
    summary = predict_paths(
        run,
        images,
        out,
        options,
        store=store,
        task=task,
        model=model,
        note=note,
        report=(lambda line: say(json.dumps(line))) if form.is_json else (lambda _: None),
    )
    if not form.is_json:
        skipped = f", {summary.skipped} predicted earlier" if summary.skipped else ""
        say(f"{summary.done} images predicted{skipped}: {out}")
    if summary.failed:
        note(f"{len(summary.failed)} of {summary.total} failed:")
        for line in summarise(summary.failed):
            note(line)
        raise SystemExit(2)
