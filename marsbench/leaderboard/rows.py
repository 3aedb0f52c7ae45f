"""Scores of a submission for other boards: CSVs of the public Space, results for the model's page.

Values are means over the seeds of a task, of re-scored metrics where labels are at hand. Only tasks
of Mars-Bench have rows, and none on demo data: a row names the published data set.
"""

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

import yaml

from marsbench.base.files import write_text
from marsbench.base.text import closed_address, spreadsheet_csv
from marsbench.leaderboard.schema import EVAL_RESULTS, ROWS, Check, Data, Submission
from marsbench.tasks.catalog import PREFIX, TASKS
from marsbench.tasks.kinds import METRICS, Kind

COLLECTION = "mars_bench"

EVAL_FILE = "marsbench.yaml"

DIGITS = 4
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


class Mean(NamedTuple):
    """Mean scores of a task.

    Attributes:
        runs: Number of runs.
        metrics: Mean over the runs of each metric that all runs have.
    """

    runs: int
    metrics: Mapping[str, float]


def means_of(check: Check) -> dict[str, Mean]:
    """Mean scores of each task."""
    by_task: defaultdict[str, list[Mapping[str, float]]] = defaultdict(list)
    for run in check.runs:
        by_task[run.task].append(run.metrics)
    return {
        task: Mean(
            len(runs),
            {
                name: fmean(m[name] for m in runs)
                for name in runs[0]
                if all(name in m for m in runs)
            },
        )
        for task, runs in sorted(by_task.items())
    }


def write_rows(check: Check, folder: Path) -> list[Path]:
    """Write ``rows/`` and ``.eval_results/`` of a submission.

    Args:
        check: Result of the submission's check.
        folder: The submission.

    Returns:
        The written files; none on demo data, or if no task is one of Mars-Bench.
    """
    submission = check.submission
    means = {
        task: mean
        for task, mean in means_of(check).items()
        if task in TASKS and TASKS[task].collection == COLLECTION
    }
    if submission is None or submission.data is not Data.REAL or not means:
        return []
    sheets: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for task, mean in means.items():
        sheet = SHEETS[TASKS[task].kind]
        sheets[sheet.name].append(_row(submission, task, sheet, mean.metrics))
    written = [_write_sheet(folder / ROWS / name, rows) for name, rows in sorted(sheets.items())]
    return [*written, _write_results(submission, means, folder / EVAL_RESULTS / EVAL_FILE)]


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
        "Author Link": closed_address(author.link),
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, DIGITS)


def _write_sheet(path: Path, rows: list[dict[str, Any]]) -> Path:
    import pandas as pd

    path.parent.mkdir(exist_ok=True)
    write_text(path, spreadsheet_csv(pd.DataFrame(rows)))
    return path


def _write_results(submission: Submission, means: Mapping[str, Mean], path: Path) -> Path:
    """Write the results for the model's page on the hub.

    The format of https://huggingface.co/docs/hub/eval-results, to be copied into the model's
    repository. The public data sets declare no task ids, so our name of the task is the id.
    """
    from huggingface_hub import EvalResultEntry, eval_result_entries_to_yaml

    author = submission.author
    setting = f"mode={submission.mode} protocol={submission.protocol} subset={submission.subset}"
    entries = [
        EvalResultEntry(
            dataset_id=str(TASKS[task].hub_id),
            task_id=task,
            value=_rounded(metrics[metric]),
            date=submission.created,
            source_url=closed_address(author.link) or None,
            source_name=author.name if author.link else None,
            notes=f"{METRICS[metric].title}, mean of {runs} seeds, {setting}",
        )
        for task, (runs, metrics) in means.items()
        if (metric := TASKS[task].headline_metric) in metrics
    ]
    path.parent.mkdir(exist_ok=True)
    plain = eval_result_entries_to_yaml(entries)
    write_text(path, yaml.safe_dump(plain, sort_keys=False, allow_unicode=True, width=1000))
    return path
