"""Scores of a submission for other boards: CSVs of the public Space, results for the model's page.

Values are means over the seeds of a task, of re-scored metrics where labels are at hand. Only tasks
of Mars-Bench have rows.
"""

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

import yaml

from marsbench.base.files import write_text
from marsbench.base.text import spreadsheet_csv
from marsbench.leaderboard.schema import EVAL_RESULTS, ROWS, Check, Submission
from marsbench.tasks.catalog import PREFIX, TASKS
from marsbench.tasks.kinds import METRICS, Kind
from marsbench.tasks.spec import TaskSpec

COLLECTION = "mars_bench"

EVAL_FILE = "marsbench.yaml"

_DIGITS = 4
"""Decimals of a score."""


class Sheet(NamedTuple):
    """CSV of the public Space (https://huggingface.co/spaces/Mirali33/Mars-Bench).

    Attributes:
        name: File name.
        metrics: Metric by column.
    """

    name: str
    metrics: Mapping[str, str]


_LABELS = {"Accuracy": "accuracy", "F1-Score": "f1_weighted"}

SHEETS: dict[Kind, Sheet] = {
    # The paper's F1: of class 1 in binary tasks, weighted in others.
    Kind.BINARY: Sheet("classification.csv", {**_LABELS, "F1-Score": "f1_positive"}),
    Kind.MULTICLASS: Sheet("classification.csv", _LABELS),
    Kind.MULTILABEL: Sheet("classification.csv", _LABELS),
    Kind.SEGMENTATION: Sheet("segmentation.csv", {"Dice Score": "dice", "IoU": "iou_per_image"}),
    Kind.DETECTION: Sheet("detection.csv", {"mAP": "map"}),
}


def write_rows(check: Check, folder: Path) -> list[Path]:
    """Write ``rows/`` and ``.eval_results/`` of a submission.

    Args:
        check: Result of the submission's check.
        folder: The submission.

    Returns:
        The written files.
    """
    submission = check.submission
    scores = _scores(check)
    if submission is None or not scores:
        return []
    sheets: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for task, metrics in scores.items():
        sheet = SHEETS[TASKS[task].kind]
        sheets[sheet.name].append(_row(submission, task, sheet, metrics))
    written = [_write_sheet(folder / ROWS / name, rows) for name, rows in sorted(sheets.items())]
    return [*written, _write_results(submission, scores, folder / EVAL_RESULTS / EVAL_FILE)]


def _scores(check: Check) -> dict[str, dict[str, float]]:
    """Mean over the seeds of every metric, by task of Mars-Bench."""
    values: defaultdict[str, defaultdict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    counts: defaultdict[str, int] = defaultdict(int)
    for run in check.runs:
        if run.task in TASKS and TASKS[run.task].collection == COLLECTION:
            counts[run.task] += 1
            for metric, value in run.metrics.items():
                values[run.task][metric].append(value)
    # A metric of some seeds only has no mean over the seeds.
    return {
        task: {m: fmean(v) for m, v in values[task].items() if len(v) == counts[task]}
        for task in sorted(values)
    }


def _row(
    submission: Submission, task: str, sheet: Sheet, metrics: Mapping[str, float]
) -> dict[str, Any]:
    """Row of the Space, in the order of its columns."""
    author = submission.author
    return {
        "Model": submission.model.name,
        "Organization": author.organisation,
        "Dataset": PREFIX + task,
        **{column: _rounded(metrics.get(metric)) for column, metric in sheet.metrics.items()},
        "Author": author.name,
        "Author Link": author.link,
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, _DIGITS)


def _write_sheet(path: Path, rows: list[dict[str, Any]]) -> Path:
    import pandas as pd

    path.parent.mkdir(exist_ok=True)
    write_text(path, spreadsheet_csv(pd.DataFrame(rows)))
    return path


def _write_results(
    submission: Submission, scores: Mapping[str, Mapping[str, float]], path: Path
) -> Path:
    """Write the results for the model's page on the hub.

    The format of https://huggingface.co/docs/hub/eval-results, to be copied into the model's
    repository. The public data sets declare no task ids, so our name of the task is the id.
    """
    from huggingface_hub import EvalResultEntry, eval_result_entries_to_yaml

    seeds = f"mean of {len(submission.seeds)} seeds"
    setting = f"mode={submission.mode} protocol={submission.protocol} subset={submission.subset}"
    entries = []
    for task, metrics in scores.items():
        spec: TaskSpec = TASKS[task]
        if spec.hub_id is None or spec.headline_metric not in metrics:
            continue
        title = METRICS[spec.headline_metric].title
        entries.append(
            EvalResultEntry(
                dataset_id=spec.hub_id,
                task_id=task,
                value=_rounded(metrics[spec.headline_metric]),
                date=submission.created,
                source_url=submission.author.link or None,
                source_name=submission.author.name if submission.author.link else None,
                notes=f"{title}, {seeds}, {setting}",
            )
        )
    path.parent.mkdir(exist_ok=True)
    text = yaml.safe_dump(
        eval_result_entries_to_yaml(entries), sort_keys=False, allow_unicode=True, width=1000
    )
    write_text(path, text)
    return path
