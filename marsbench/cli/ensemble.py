"""``marsbench ensemble``: average the predictions of finished runs."""

from pathlib import Path
from typing import Annotated

import typer

from marsbench.cli.output import Format, FormatOption, friendly, say


@friendly
def ensemble(
    runs: Annotated[
        list[str], typer.Argument(help="Ids, hashes or folders of finished runs of one task.")
    ],
    store: Annotated[
        Path, typer.Option("--store", help="Folder of records; the new one goes there.")
    ] = Path("runs"),
    form: FormatOption = Format.AUTO,
) -> None:
    """Average the predictions of finished runs of one task into a record of its own."""
    from marsbench.cli.run import print_summary
    from marsbench.ensemble import make_ensemble

    record, was_done = make_ensemble(runs, store)
    if not form.is_json:
        say(f"mean of {len(record.parents)} runs: {', '.join(record.parents)}")
    print_summary(record, str(store / record.run_id), form, was_done=was_done)
