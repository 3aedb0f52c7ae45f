"""Check of an uploaded submission, and its findings in HTML."""

import contextlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from marsbench.base.errors import MarsbenchError
from marsbench.leaderboard.app.words import count, number, safe, table
from marsbench.leaderboard.board.live import Live
from marsbench.leaderboard.check import check_submission
from marsbench.leaderboard.rows import means_of
from marsbench.leaderboard.schema import Check, Finding
from marsbench.report.study.cells import metric_label
from marsbench.tasks.catalog import known_task

EMPTY = "<p>Choose a zip or tar archive of a submission.</p>"


@dataclass(frozen=True)
class Labels:
    """Test labels for the checks of uploads.

    Attributes:
        read: Whether to read the labels of the tasks; if not, scores are compared with the targets
            that a submission stores, and get no badge.
        root: Folder of the data; None for the download cache, the hub or Zenodo.
    """

    read: bool = False
    root: Path | None = None


def checked(path: str | None, live: Live, labels: Labels) -> str:
    """Check an uploaded archive, delete it, and describe the result.

    Args:
        path: The archive; None if there is none.
        live: The board, for predictions that nearly equal those of other submissions.
        labels: Test labels.
    """
    if path is None:
        return EMPTY
    archive = Path(path)
    try:
        check = check_submission(
            archive, root=labels.root, others=live.checks(), labels=labels.read
        )
    except MarsbenchError as error:
        return f'<p class="verdict">{safe(error, 1000)}</p>'
    finally:
        with contextlib.suppress(OSError):
            archive.unlink()
    return result(check, archive.name)


def result(check: Check, name: str) -> str:
    """Verdict, scores and findings of the check of an archive."""
    errors = len(check.errors)
    if check.is_valid:
        verdict = f"{safe(name, 80)} is valid: {count(len(check.runs), 'run')}."
    else:
        verdict = f"{safe(name, 80)} is not valid: {count(errors, 'error')}."
    kind = "good" if check.is_valid else "bad"
    parts = [f'<p class="verdict {kind}">{verdict}</p>']
    if check.submission is not None:
        parts.append(f"<p>Model: {safe(check.submission.model.name)}</p>")
    if check.findings:
        parts.append(f'<ul class="findings">{"".join(map(_item, check.findings))}</ul>')
    return f'<article class="page">{"".join(parts)}{_scores(check)}</article>'


def _item(finding: Finding) -> str:
    sort = "Error" if finding.is_error else "Remark"
    where = f" in <code>{safe(finding.where)}</code>" if finding.where else ""
    return (
        f"<li><strong>{sort}</strong>{where}: {safe(finding.problem, 1000)} "
        f"{safe(finding.remedy, 1000)}</li>"
    )


def _scores(check: Check) -> str:
    """Mean of the headline metric of each task, and the badges of its runs."""
    rows = []
    for task, mean in means_of(check).items():
        spec = known_task(task)
        metric = "" if spec is None else spec.headline_metric
        title = metric_label(metric) if metric else ""
        badges = Counter(str(run.badge) for run in check.runs if run.task == task)
        words = ", ".join(f"{name} ({runs})" for name, runs in badges.items())
        rows.append([task, str(mean.runs), title, number(mean.metrics.get(metric), 4), words])
    titles = ["Task", "Runs", "Metric", "Mean", "Scores"]
    return table("Headline scores", titles, rows) if rows else ""
