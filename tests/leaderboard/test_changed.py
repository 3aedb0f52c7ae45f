"""The validator on records and submissions changed so that their ids and digests still fit."""

import dataclasses
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from marsbench.config.schema import parse_subset
from marsbench.data.sources.local import LocalSource
from marsbench.data.subsets import select
from marsbench.leaderboard.check import check_submission
from marsbench.leaderboard.schema import Check
from marsbench.metrics import scoring
from marsbench.results.record import RunRecord
from marsbench.results.store import PREDICTIONS
from marsbench.tasks.catalog import TASKS
from marsbench.tasks.kinds import Kind
from tests.leaderboard.fabricated import (
    change_predictions,
    change_record,
    rename_run,
    run_folders,
    seal,
    submit,
)


@pytest.fixture(scope="module")
def valid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data below ``data`` and a partial submission in ``submission``."""
    place = tmp_path_factory.mktemp("valid")
    folder = submit(place / "data", place / "submission", ("frost_cls",), seeds=(0,))
    seal(folder, lambda content: content.update(partial=True))
    return place


@pytest.fixture
def copied(valid: Path, tmp_path: Path) -> Path:
    return shutil.copytree(valid / "submission", tmp_path / "submission")


def renamed(submission: Path, subset: str, **identity: Any) -> Path:
    """Change the subset and the identity of the record, and its run id with them."""

    def change(record: RunRecord) -> RunRecord:
        choices = {**record.identity, **identity}
        data = {**record.data, "subset_digest": choices["subset_digest"]}
        return dataclasses.replace(record, subset=subset, identity=choices, data=data)

    rename_run(submission, run_folders(submission)[0], change)
    return seal(submission, lambda content: content.update(subset=subset))


def test_train_samples_are_those_of_the_subset(copied: Path, valid: Path) -> None:
    source = LocalSource(TASKS["frost_cls"], valid / "data" / "mb-frost_cls")
    half = select(source, parse_subset("partition_0.50")).digest
    folder = renamed(copied, "partition_0.50", subset_digest=half)
    check = check_submission(folder, root=valid / "data")
    assert errors(check) == ""
    assert check.runs
    check = check_submission(renamed(folder, "few_shot_1"), root=valid / "data")
    text = "was trained on other samples than few_shot_1 of frost_cls: their digest is "
    assert f"{text}'{half}'; expected " in errors(check)
    assert check.runs == ()
    folder = renamed(folder, "few_shot_1", negatives="exclude")
    check = check_submission(folder, root=valid / "data")
    assert errors(check) == ""
    assert "train samples of 1 run(s) of frost_cls are not checked: images" in flags(check)
    check = check_submission(renamed(folder, "few_shot_500"), root=valid / "data")
    assert "frost_cls has no few_shot_500: few_shot_500 needs 500 train samples" in errors(check)


def flags(check: Check) -> str:
    return "\n".join(finding.problem for finding in check.findings if not finding.is_error)


def errors(check: Check) -> str:
    return "\n".join(finding.problem for finding in check.errors)


BEYOND = 10**400


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda r: r["metrics"]["test"].update(accuracy=BEYOND), "'metrics.test.accuracy' is 1000"),
        (lambda r: r["metrics"].update(val={"a/b": -BEYOND}), "'metrics.val.a/b' is -1000"),
        (lambda r: r["timing"].update(train=BEYOND), "'timing.train' is 1000"),
        (lambda r: r["config"].update(subset="few_shot_5"), "has subset 'full', its config 'few"),
        (lambda r: r["config"].update(seed=3), "has seed '0', its config 3"),
        (lambda r: r["data"].update(subset_digest="x"), "its digest of train samples is not in"),
        (lambda r: r["config"].update(mode="finetune"), "has mode 'frozen', its config 'finetune'"),
    ],
)
def test_changed_records(
    change: Callable[[Any], object], reason: str, copied: Path, valid: Path
) -> None:
    change_record(run_folders(copied)[0], change)
    check = check_submission(seal(copied), root=valid / "data")
    assert re.search(reason, errors(check)), errors(check)
    assert len(check.errors) == 1


def test_records_of_earlier_versions_lack_metrics(copied: Path, valid: Path) -> None:
    (run,) = run_folders(copied)

    def without_calibration(record: Any) -> None:
        for metrics in record["metrics"].values():
            del metrics["ece"], metrics["brier"]

    change_record(run, without_calibration)
    check = check_submission(seal(copied), root=valid / "data")
    assert errors(check) == ""
    assert {"ece", "brier"} <= check.runs[0].metrics.keys()


def test_f1_of_class_1_is_of_the_class_1_of_the_data(copied: Path, valid: Path) -> None:
    """Classes, targets and scores in the other order are the same predictions."""
    (run,) = run_folders(copied)

    def swapped(frame: pd.DataFrame) -> pd.DataFrame:
        scores = [s[::-1] for s in frame["scores"]]
        return frame.assign(target=1 - frame["target"], scores=scores)

    def change(record: Any) -> None:
        names = record["data"]["classes"][::-1]
        record["data"]["classes"] = names
        record["metrics"]["test"] = scoring.score(
            Kind.BINARY, pd.read_parquet(run / PREDICTIONS), names
        )

    before = check_submission(copied, root=valid / "data").runs[0].metrics
    change_predictions(run, swapped)
    change_record(run, change)
    seal(copied)
    after = check_submission(copied, labels=False).runs[0].metrics
    assert after["f1_weighted"] == pytest.approx(before["f1_weighted"])
    assert after["f1_positive"] != pytest.approx(before["f1_positive"])
    check = check_submission(copied, root=valid / "data")
    assert "F1 of class 1 is of another class" in errors(check)


def test_tasks_and_seeds_without_end(copied: Path, valid: Path) -> None:
    """Neither is compared with each of the other."""
    tasks = [f"task_{number:05d}" for number in range(2000)]
    seal(copied, lambda content: content.update(tasks=tasks, seeds=list(range(2000))))
    check = check_submission(copied, root=valid / "data")
    assert "'seeds' has 2,000 seeds; expected up to 1,000" in errors(check)
    assert "tasks that are not in the catalogue: task_00000" in errors(check)
    assert "Missing" not in "".join(finding.problem for finding in check.findings)


def test_parameters_without_end(copied: Path, valid: Path) -> None:
    change_record(run_folders(copied)[0], lambda r: r["parameters"].update(total=BEYOND))
    seal(copied, lambda content: content["model"].update(parameters=BEYOND))
    check = check_submission(copied, root=valid / "data")
    assert "'model.parameters' is 1000" in errors(check)
