"""``marsbench results``: the records of a store."""

from pathlib import Path
from typing import Annotated

import typer

from marsbench.cli.output import Format, FormatOption, friendly, note, print_rows


@friendly
def results(
    store: Annotated[Path, typer.Argument(help="Folder of records.")] = Path("runs"),
    form: FormatOption = Format.AUTO,
) -> None:
    """List a store's finished runs with their headline scores; name records it cannot read."""
    from marsbench.results.store import Store

    opened = Store(store)
    records, unreadable = opened.records()
    for error in unreadable:
        note(f"Left out: {error}")
    rows = [
        {
            "task": record.task,
            "model": record.model,
            "mode": record.mode,
            "subset": record.subset,
            "seed": record.seed,
            "metric": record.headline,
            "val": _rounded(record.metrics["val"].get(record.headline)),
            "test": _rounded(record.score),
            "epochs": record.checkpoint["epochs_trained"],
            "train s": round(record.timing["train"], 1),
            "run_id": record.run_id,
        }
        for record in records
    ]
    if form.is_json:
        print_rows(rows, form, "")
    else:
        shown = [{**row, "run_id": str(row["run_id"]).rpartition("-")[2]} for row in rows]
        title = f"Finished runs in {store}: {len(rows)}"
        print_rows(shown, form, title, right=("val", "test"))
    failed, unfinished = opened.unfinished()
    if failed or unfinished:
        note(f"{len(failed)} failed and {len(unfinished)} unfinished runs are not shown.")


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
