"""Make a submission from finished runs: choose, describe, collect, check, tabulate and push."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from marsbench.base.errors import ConfigError, some
from marsbench.base.hub import HubAddress
from marsbench.base.names import shortened
from marsbench.base.text import inline
from marsbench.config.identity import slug
from marsbench.config.schema import SourceName
from marsbench.leaderboard.board.results import SUBMISSIONS
from marsbench.leaderboard.check import check_submission
from marsbench.leaderboard.choice import choose
from marsbench.leaderboard.collect import absolute_paths, collect
from marsbench.leaderboard.details import complete, model_of, read_about
from marsbench.leaderboard.pushing import push
from marsbench.leaderboard.rows import write_rows
from marsbench.leaderboard.schema import Check
from marsbench.results.record import RunRecord
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
    if source is None and root is None:
        source, root = _place(choice.records)
    check = check_submission(out, source=source, root=root)
    if check.is_valid:
        write_rows(check, out)
    return Made(check, tuple(notes))


def _place(records: Sequence[RunRecord]) -> tuple[SourceName | None, str | None]:
    """Source and root of the data of runs, if they are equal."""
    places = {(str(r.config.get("source")), str(r.config.get("root") or "")) for r in records}
    source, root = places.pop()
    if places or source not in [*SourceName]:
        return None, None
    return SourceName(source), root or None


def push_submission(check: Check, folder: Path, address: HubAddress) -> str:
    """Open a pull request with a submission in a results repository, below ``submissions/``.

    Args:
        check: Result of the submission's check.
        folder: The submission.
        address: The repository.

    Returns:
        Web page of the pull request.

    Raises:
        ConfigError: If the submission is invalid or an archive.
        NotAvailableError: If there is no login, or the hub refuses or does not answer.
    """
    submission = check.submission
    if submission is None or not check.is_valid:
        raise ConfigError(f"{folder} is not valid, so it is not pushed.", "Correct the errors.")
    if not folder.is_dir():
        raise ConfigError(f"{folder} is not a folder.", "Unpack it, and push the folder.")
    model, mode, subset = submission.model.name, submission.mode, submission.subset
    # The digest tells apart submissions of one model; none replaces another.
    name = f"{slug(submission.author.name)}-{slug(model)}-{mode}-{subset}"
    place = replace(address, path=f"{SUBMISSIONS}/{shortened(name, 100)}-{check.digest[:8]}")
    title = f"Submission: {model}, {mode}, {subset}, by {submission.author.name}"
    return push(place, folder, None, inline(title), pull_request=True).page
