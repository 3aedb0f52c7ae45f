"""``marsbench ensemble``: average the predictions of finished runs."""

from pathlib import Path
from typing import Annotated

import typer

from marsbench.cli import complete
from marsbench.cli.output import Format, FormatOption, friendly, say


@friendly
def ensemble(
    runs: Annotated[
        list[str],
        typer.Argument(
            help="Finished runs of a task, as listed by `marsbench results`, by whole ids or "
            "folders.",
            autocompletion=complete.run_ids,
        ),
    ],
    store: Annotated[
        Path, typer.Option("--store", help="Folder of records, also for the new record.")
    ] = Path("runs"),
    weights: Annotated[
        str,
        typer.Option("--weights", help="equal, or fitted to the validation split or other folds."),
    ] = "equal",
    form: FormatOption = Format.AUTO,
) -> None:
    """Average the predictions of finished runs of a task into a new record."""
    from marsbench.cli.run import print_summary
    from marsbench.results.ensemble.combine import make_ensemble

    record, was_done = make_ensemble(runs, store, weights=weights)
    if not form.is_json:
        counts: dict[str, float] = record.checkpoint.get("weights", {})
        named = (f"{run} ({counts[run]:.2f})" if run in counts else run for run in record.parents)
        how = "weighted sum" if counts else "mean"
        say(f"{how} of {len(record.parents)} runs: {', '.join(named)}")
    print_summary(record, str(store / record.run_id), form, was_done=was_done)
