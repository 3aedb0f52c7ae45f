"""Make a submission from finished runs: choose, describe, collect, check and tabulate."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from marsbench.base.errors import some
from marsbench.config.schema import SourceName
from marsbench.leaderboard.check import check_submission
from marsbench.leaderboard.choice import choose
from marsbench.leaderboard.collect import absolute_paths, collect
from marsbench.leaderboard.details import complete, model_of, read_about
from marsbench.leaderboard.rows import write_rows
from marsbench.leaderboard.schema import Check
from marsbench.results.store import Store


class Made(NamedTuple):
    """A collected submission.

    Attributes:
        check: Result of its check.
        notes: Remarks for the user.
    """

    check: Check
    notes: tuple[str, ...]


def submit(
    store: Path,
    words: Mapping[str, str],
    out: Path,
    *,
    author: Mapping[str, str],
    licence: str = "",
    note: str = "",
    about: Path | None = None,
    partial: bool = False,
    source: SourceName | None = None,
    root: str | None = None,
) -> Made:
    """Collect a submission into a folder and score it from its predictions.

    The folder stays for inspection if the check finds errors; rows for other boards are written for
    valid submissions only.

    Args:
        store: Folder of records.
        words: Words that narrow the records, as for `choose`.
        out: Folder to write; an earlier submission in it is replaced.
        author: Values of `Author`, empty ones for the values of `about`.
        licence: Licence of the model.
        note: Remark in a sentence or two.
        about: The author's file, as for `read_about`.
        partial: Whether seeds and tasks may be missing.
        source: Source of the labels; None for the source of the runs.
        root: Folder of the labels; None for the folder of the runs.

    Raises:
        MarsbenchError: If the records are not a submission's, or the folder cannot be written.
    """
    stated = {} if about is None else read_about(about)
    opened = Store(store)
    choice = choose(opened, words, partial=partial)
    details = complete(model_of(choice.records), stated, author, licence=licence, note=note)
    collect(opened, choice, details, out)
    notes = list(choice.notes)
    if paths := absolute_paths(choice.records):
        notes.append(
            f"The records hold paths of this machine, which readers will see: {some(paths)}."
        )
    configs = [record.config for record in choice.records]
    sources = {str(config.get("source")) for config in configs}
    roots = {config.get("root") for config in configs}
    if source is None and root is None and len(sources) == len(roots) == 1:
        source, (root,) = SourceName(sources.pop()), roots
    check = check_submission(out, source=source or SourceName.AUTO, root=root)
    if check.is_valid:
        write_rows(check, out)
    return Made(check, tuple(notes))
