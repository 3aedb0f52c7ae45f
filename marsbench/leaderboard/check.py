"""Check of a submission: its form, its records, and its scores computed again.

One function serves the command line, the upload of the app and a public service. A submission may
come from anyone: it is data, within limits of size, and nothing in it is executed.
"""

import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from marsbench.base.errors import some
from marsbench.config.schema import SourceName
from marsbench.leaderboard.derived import follows
from marsbench.leaderboard.document import has_runs_to_compare, read_submission
from marsbench.leaderboard.files import Files, opened
from marsbench.leaderboard.findings import Findings
from marsbench.leaderboard.rescore import rescore
from marsbench.leaderboard.rows import write_rows
from marsbench.leaderboard.runs import DERIVED, check_files, read_runs
from marsbench.leaderboard.schema import (
    SUBMISSION,
    Check,
    CheckedRun,
    Data,
    Submission,
)
from marsbench.leaderboard.signature import equal_seeds, near_runs
from marsbench.results.store import now

_WRITE = "Remove it, or collect the submission again with `marsbench submit`."


def check_submission(
    path: Path,
    *,
    source: str | None = None,
    root: str | Path | None = None,
    others: Iterable[Check] = (),
    labels: bool = True,
) -> Check:
    """Check a submission and compute its scores again.

    Args:
        path: Folder, or zip or tar archive of one.
        source: Source of the labels, as in a config; auto by default.
        root: Folder of a local source, as in a config.
        others: Checks of other submissions, to flag near-equal predictions.
        labels: Whether to read labels, which may download data. Without labels, scores are
            compared with the targets that a submission itself stores, and have no badge.

    Returns:
        The check; invalid submissions have findings that are errors. All problems are collected,
        long lists are shortened.
    """
    findings = Findings()
    submission, digest, runs = None, "", []
    with opened(path, findings) as files:
        if files is not None:
            submission, digest = read_submission(files, findings)
        if files is not None and submission is not None:
            name = SourceName.AUTO if source is None else SourceName(source)
            runs = _checked(files, submission, findings, name, root, labels)
    if submission is not None:
        _flag_setting(submission, findings)
        _flag_signatures(runs, digest, others, findings)
    return Check(
        checked=now(), digest=digest, submission=submission, runs=tuple(runs), findings=findings.all
    )


def _checked(
    files: Files,
    submission: Submission,
    findings: Findings,
    source: SourceName,
    root: str | Path | None,
    labels: bool,
) -> list[CheckedRun]:
    """Check the files of a submission; return the runs without contradictions."""
    if not has_runs_to_compare(submission):
        return []
    check_files(files, submission, findings)
    runs = read_runs(files, submission, findings)
    checked = rescore(files, runs, findings, source, root, labels=labels)
    if not findings.num_errors:
        _check_derived(files, submission, checked, findings)
    return checked


def _check_derived(
    files: Files, submission: Submission, runs: Sequence[CheckedRun], findings: Findings
) -> None:
    """Compare the rows for other boards with the scores of the runs."""
    stored = sorted(DERIVED & files.sizes.keys())
    if not stored:
        return
    check = Check(checked=now(), submission=submission, runs=tuple(runs))
    with tempfile.TemporaryDirectory(prefix="marsbench-") as scratch:
        write_rows(check, Path(scratch))
        for name in stored:
            try:
                is_equal = follows(files, name, Path(scratch, name))
            except ValueError as error:
                findings.error(name, f"The file {error}.", _WRITE)
            else:
                if not is_equal:
                    findings.error(name, "The file does not follow from the scores.", _WRITE)


def _flag_setting(submission: Submission, findings: Findings) -> None:
    if submission.data is Data.DEMO:
        findings.flag(SUBMISSION, "The runs are of demo data, which are drawn, not measured.")
    if submission.partial and has_runs_to_compare(submission):
        gaps = [f"{t} seed {some(map(str, s), count=7)}" for t, s in submission.missing.items()]
        text = f"Missing: {some(gaps, '; ')}." if gaps else f"{len(submission.seeds)} seed(s)."
        findings.flag(SUBMISSION, f"The submission is partial. {text}")


def _flag_signatures(
    runs: Sequence[CheckedRun], digest: str, others: Iterable[Check], findings: Findings
) -> None:
    """Flag equal predictions of seeds, and near-equal predictions of other submissions."""
    for task, seeds in equal_seeds(runs):
        findings.flag(SUBMISSION, f"Seeds of {task} have equal predictions: {seeds}.")
    for other in others:
        if other.submission is None or other.digest == digest:
            continue
        if near := near_runs(runs, other):
            author = other.submission.author.name
            text = f"{len(near)} run(s) have the predictions of {other.submission.model.name} by "
            findings.flag(SUBMISSION, f"{text}{author}, or nearly so: {some(near)}.")
