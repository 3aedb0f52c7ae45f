"""The validator on real data: landmarks, landslides and evolved gases."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from marsbench.config.schema import SourceName
from marsbench.data.sources import open_source
from marsbench.leaderboard.check import check_submission
from marsbench.leaderboard.schema import Badge
from marsbench.tasks.catalog import known_task
from tests.leaderboard.fabricated import (
    change_predictions,
    change_record,
    collect,
    run_folders,
    seal,
)

pytestmark = pytest.mark.realdata

SAMPLES = {"hirise_landmark_v1": 755, "mmls": 256, "ega_ms": 763}


def changed_score(run: Path) -> None:
    def change(record: Any) -> None:
        (scores,) = record["metrics"].values()
        scores["f1_macro" if "f1_macro" in scores else "miou"] += 0.001

    change_record(run, change)


def removed_row(run: Path) -> None:
    change_predictions(run, lambda frame: frame.drop(index=17))


def foreign_id(run: Path) -> None:
    def change(frame: Any) -> Any:
        return frame.assign(sample_id=np.where(frame.index == 9, "other", frame["sample_id"]))

    change_predictions(run, change)


@pytest.mark.parametrize(("task", "count"), SAMPLES.items())
def test_submissions(task: str, count: int, real_data: Path, tmp_path: Path) -> None:
    spec = known_task(task)
    assert spec is not None
    source = open_source(spec, SourceName.LOCAL, real_data)
    folder = collect([source], tmp_path / "submission", range(7))
    check = check_submission(folder, root=real_data)
    assert check.errors == ()
    assert [run.badge for run in check.runs] == [Badge.CONSISTENT] * 7
    assert {run.num_samples for run in check.runs} == {count}
    assert {run.labels for run in check.runs} == {source.revision}
    for run, change in zip(
        run_folders(folder), (changed_score, removed_row, foreign_id), strict=False
    ):
        change(run)
    check = check_submission(seal(folder), root=real_data)
    problems = [finding.problem for finding in check.errors]
    assert len(check.runs) == 4
    for part in (
        "gives other scores than the record",
        "is missing 1 sample(s)",
        "1 sample(s) that are",
    ):
        assert any(part in problem for problem in problems)
