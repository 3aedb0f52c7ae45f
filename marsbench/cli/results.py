"""``marsbench results``: the records of a store."""

import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from marsbench.cli.output import Format, FormatOption, friendly, note, print_rows, say

if TYPE_CHECKING:
    from marsbench.results.classes import ClassTable


class PerClass(StrEnum):
    """Scores that exist per class."""

    RECALL = "recall"
    F1 = "f1"


@friendly
def results(
    store: Annotated[Path, typer.Argument(help="Folder of records.")] = Path("runs"),
    per_class: Annotated[
        PerClass | None,
        typer.Option(
            "--per-class",
            help="Test scores per class, rarest first, with a column for each imbalance=: recall "
            "(the accuracy within a class) or f1.",
        ),
    ] = None,
    task: Annotated[str | None, typer.Option("--task", help="Only runs of this task.")] = None,
    model: Annotated[str | None, typer.Option("--model", help="Only runs of this model.")] = None,
    form: FormatOption = Format.AUTO,
) -> None:
    """List a store's finished runs with their headline scores; name records it cannot read."""
    from marsbench.errors import unknown_name
    from marsbench.results.classes import class_tables
    from marsbench.results.store import Store

    opened = Store(store)
    records, unreadable = opened.records()
    for error in unreadable:
        note(f"Left out: {error}")
    for what, wanted in (("task", task), ("model", model)):
        known = {getattr(record, what) for record in records}
        if wanted is not None and wanted not in known:
            raise unknown_name(f"{what} in {store}", wanted, known)
        records = [r for r in records if wanted in (None, getattr(r, what))]
    if per_class is not None:
        _print_classes(class_tables(records), per_class, form)
        return
    rows = [
        {
            "task": record.task,
            "model": record.model,
            "mode": record.mode,
            "subset": record.subset,
            "imbalance": record.config.get("imbalance", "none"),
            "seed": record.seed,
            "metric": record.headline,
            "val": _rounded(record.metrics.get("val", {}).get(record.headline)),
            "test": _rounded(record.score),
            "of": record.scored_split,
            "epochs": record.checkpoint.get("epochs_trained", ""),
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


def _print_classes(tables: "list[ClassTable]", metric: PerClass, form: Format) -> None:
    for table in tables:
        classes, summary = table.per_class(metric), table.summary(metric)
        if form.is_json:
            for row in (*classes, *summary):
                say(json.dumps({"runs": table.title, "metric": metric, **row}))
            continue
        for rows, title in (
            (classes, f"{table.title}: test {metric} per class"),
            (summary, f"{table.title}: overall, rarest and most frequent class"),
        ):
            shown = [
                {k: f"{v:.3f}" if isinstance(v, float) else v for k, v in r.items()} for r in rows
            ]
            print_rows(shown, form, title, right=tuple(rows[0])[1:])
    if not tables:
        note("No runs of classification here.")


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
