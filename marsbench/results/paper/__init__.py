"""Scores of the single runs behind the figures of the Mars-Bench paper.

Purohit et al. 2025, Mars-Bench, https://arxiv.org/abs/2510.24010. ``runs.csv`` holds the numbers of
six tables of https://github.com/kerner-lab/Mars-Bench at commit d1b1a9b, the last with the folder
``benchmark/data``: classification_filtered.csv, classification_partition_filtered.csv,
classification_few_shot_filtered.csv, segmentation_filtered.csv, segmentation_partition_filtered.csv
and earth_data.csv. ``scripts/paper_runs.py`` writes it from these files.

A row is a model, task, subset and series, with the printed score of each seed; an empty cell is a
missing run. All models are frozen. Metrics are those of `UpstreamRun.headline`.
"""

import csv
from functools import cache
from importlib import resources

from marsbench.config.schema import Mode
from marsbench.results.record import RunRecord
from marsbench.results.upstream.names import EARTH_MODELS, SEEDS
from marsbench.results.upstream.records import UpstreamRun
from marsbench.tasks.catalog import TASKS

_ORIGIN = {
    "repository": "https://github.com/kerner-lab/Mars-Bench",
    "commit": "d1b1a9b008db6f66e79bb72d6d492b9e568664a8",
    "folder": "benchmark/data",
}
_CREATED = "2025-05-21T05:34:48+00:00"
"""Time of the commit."""


def paper_records() -> list[RunRecord]:
    """Records of the paper's single runs, equal to an import of the public files.

    Only ``created`` and the origin (``data["imported"]``) differ. The records are made once and
    shared by all callers.
    """
    return list(_records())


@cache
def _records() -> tuple[RunRecord, ...]:
    table = resources.files(__name__).joinpath("runs.csv").read_text(encoding="utf-8")
    return tuple(
        run.record({run.headline: float(row[str(run.seed)])}, _ORIGIN, _CREATED)
        for row in csv.DictReader(table.splitlines())
        for run in _runs(row)
    )


def _runs(row: dict[str, str]) -> list[UpstreamRun]:
    """Runs of a row with a score."""
    return [
        UpstreamRun(
            task=TASKS[row["task"]],
            model=row["model"],
            mode=Mode.FROZEN,
            subset=row["subset"],
            seed=seed,
            is_earth=row["model"] in EARTH_MODELS.values(),
            series=int(row["series"]),
        )
        for seed in SEEDS
        if row[str(seed)]
    ]
