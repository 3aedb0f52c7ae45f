"""Checks of all submissions of a results repository, as its owner runs them."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from marsbench.base.errors import StoreError
from marsbench.base.files import write_text
from marsbench.leaderboard.board.results import (
    SUBMISSIONS,
    check_file,
    names_in,
    read_check,
    submission_digest,
)
from marsbench.leaderboard.check import check_submission
from marsbench.leaderboard.schema import Check


def check_results(
    folder: Path, *, source: str | None = None, root: str | None = None, again: bool = False
) -> Iterator[tuple[str, Check]]:
    """Check new and changed submissions, and write their checks into the repository.

    Args:
        folder: Local copy of the repository, with the files of the submissions.
        source: Source of the labels, as in `check_submission`.
        root: Folder of the labels, as in `check_submission`.
        again: Whether to check unchanged submissions too.

    Yields:
        Name and check of each checked submission.

    Raises:
        StoreError: If the folder has no submissions.
    """
    names = names_in(folder)
    if names is None:
        raise StoreError(
            f"{folder} has no folder {SUBMISSIONS}.", "Name a local copy of a results repository."
        )
    known = {name: check for name in names if (check := _valid(folder, name)) is not None}
    for name in names:
        if name in known and not again:
            continue
        others = [check for other, check in known.items() if other != name]
        check = check_submission(
            folder / SUBMISSIONS / name, source=source, root=root, others=others
        )
        path = check_file(folder, name)
        path.parent.mkdir(exist_ok=True)
        write_text(path, check.to_json())
        known[name] = check
        yield name, check


def _valid(folder: Path, name: str) -> Check | None:
    """Check of an unchanged submission; None if it is missing, invalid or of another version."""
    with contextlib.suppress(OSError, StoreError, UnicodeDecodeError):
        check = read_check(folder, name)
        if check.digest == submission_digest(folder, name):
            return check
    return None
