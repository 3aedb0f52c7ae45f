"""The validator on valid submissions, and on changes that someone might make by hand."""

import dataclasses
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from marsbench.leaderboard.check import check_submission
from marsbench.leaderboard.schema import SUBMISSION, Badge, Check
from marsbench.results.record import RunRecord
from marsbench.results.store import PREDICTIONS, RECORD
from marsbench.tasks.catalog import TASKS
from tests.leaderboard.fabricated import (
    SIZES,
    change_predictions,
    change_record,
    run_folders,
    seal,
    submit,
    write_data,
)

KINDS = ("frost_cls", "landmark_cls", "surface_multi_label_cls", "mars_seg_mer", "conequest_det")


@pytest.fixture(scope="module")
def valid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data below ``data`` and a valid submission in ``submission``."""
    place = tmp_path_factory.mktemp("valid")
    submit(place / "data", place / "submission", ("frost_cls", "landmark_cls"))
    return place


@pytest.fixture
def copied(valid: Path, tmp_path: Path) -> Path:
    """A copy of the valid submission."""
    return shutil.copytree(valid / "submission", tmp_path / "submission")


def errors(check: Check) -> str:
    return "\n".join(f"{finding.where}: {finding.problem}" for finding in check.errors)


@pytest.mark.parametrize("task", KINDS)
def test_valid_submissions(task: str, tmp_path: Path) -> None:
    folder = submit(tmp_path / "data", tmp_path / "submission", (task,))
    check = check_submission(folder, root=tmp_path / "data")
    assert errors(check) == ""
    assert check.is_valid
    assert [run.badge for run in check.runs] == [Badge.CONSISTENT] * 7
    assert {run.num_samples for run in check.runs} == {SIZES["test"]}
    for run, place in zip(check.runs, run_folders(folder), strict=True):
        record = RunRecord.from_json((place / RECORD).read_text(), "")
        assert run.metrics == pytest.approx({k: v for k, v in record.scores.items() if k != "loss"})
    assert Check.from_json(check.to_json(), "check.json").runs == check.runs


def test_archives(valid: Path, tmp_path: Path) -> None:
    for form in ("zip", "gztar"):
        archive = shutil.make_archive(str(tmp_path / "upload"), form, valid / "submission")
        check = check_submission(Path(archive), root=valid / "data")
        assert errors(check) == ""
        assert len(check.runs) == 14


def test_without_labels(valid: Path, tmp_path: Path) -> None:
    """Scores follow from the stored targets, but nothing says that these are the labels."""
    for options in ({"labels": False}, {"root": tmp_path}):
        check = check_submission(valid / "submission", **options)
        assert errors(check) == ""
        assert {run.badge for run in check.runs} == {Badge.NOT_RESCORED}
    assert "its labels are not on this machine" in check.findings[0].problem


def test_labels_of_another_revision(copied: Path, tmp_path: Path) -> None:
    write_data(TASKS["frost_cls"], tmp_path / "data")
    source = write_data(dataclasses.replace(TASKS["landmark_cls"]), tmp_path / "data")
    first = source.files("test", 0)[0]
    first.write_bytes(first.read_bytes() + b"\0")  # images enter the revision by their size
    check = check_submission(copied, root=tmp_path / "data")
    assert check.is_valid
    (flag,) = check.findings
    assert re.search("landmark_cls is re-scored with labels of revision folder:", flag.problem)


def one_score(submission: Path) -> None:
    def change(record: dict[str, dict[str, dict[str, float]]]) -> None:
        record["metrics"]["test"]["accuracy"] += 0.001

    change_record(run_folders(submission)[8], change)


def one_row(submission: Path) -> None:
    change_predictions(run_folders(submission)[8], lambda frame: frame.drop(index=5))


def one_seed(submission: Path) -> None:
    shutil.rmtree(run_folders(submission)[8])
    seal(submission, lambda content: content["runs"].pop(8))


def one_id(submission: Path) -> None:
    def change(frame: Any) -> Any:
        frame.loc[3, "sample_id"] = "elsewhere.png"
        return frame

    change_predictions(run_folders(submission)[8], change)


def another_task(submission: Path) -> None:
    runs = run_folders(submission)
    shutil.copy(runs[0] / PREDICTIONS, runs[8] / PREDICTIONS)


def one_probability(submission: Path) -> None:
    """Swap the scores of two classes of a sample, so that the targets stay as they are."""

    def change(frame: Any) -> Any:
        frame.at[4, "scores"] = np.roll(frame.at[4, "scores"], 1)
        return frame

    change_predictions(run_folders(submission)[8], change)


def one_target(submission: Path) -> None:
    def change(frame: Any) -> Any:
        frame.at[4, "target"] = (frame.at[4, "target"] + 1) % 8
        return frame

    change_predictions(run_folders(submission)[8], change)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (one_score, r"other scores than the record: accuracy is 0\.\d+, in the record 0\.\d+"),
        (one_row, r"lacks 1 sample\(s\) of the test split of landmark_cls: test_0005\.png"),
        (one_seed, r"Runs are missing: landmark_cls seed 1\."),
        (one_id, r"1 sample\(s\) that are not in the test split .*: elsewhere\.png"),
        (another_task, "scores has 24 row"),
        (one_probability, "gives other scores than the record"),
        (one_target, r"1 sample\(s\) with targets that differ from the labels: test_0004\.png"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_changes_by_hand(
    change: Callable[[Path], None], reason: str, copied: Path, valid: Path
) -> None:
    change(copied)
    check = check_submission(seal(copied), root=valid / "data")
    assert re.search(reason, errors(check)), errors(check)
    if change is not one_seed:
        assert len(check.errors) == 1 + (change is one_id)
        bad = run_folders(copied)[8].relative_to(copied / "runs").as_posix()
        assert bad not in [run.run_id for run in check.runs]
        assert len(check.runs) == 13
    assert not check.is_valid


def test_files_changed_after_collection(copied: Path, valid: Path) -> None:
    path = run_folders(copied)[0] / PREDICTIONS
    path.write_bytes(path.read_bytes() + b"\0")
    check = check_submission(copied, root=valid / "data")
    assert "1 file(s) differ from their SHA-256 in submission.json" in errors(check)


def test_all_problems_are_found(copied: Path, valid: Path) -> None:
    one_score(copied)
    change_predictions(run_folders(copied)[2], lambda frame: frame.drop(index=5))
    (copied / "notes.txt").write_text("x")
    seal(copied, lambda content: content.update(created="today"))
    text = errors(check_submission(copied, root=valid / "data"))
    for part in ("accuracy", "lacks 1", "notes.txt", "'created' is 'today'"):
        assert part in text
    assert (copied / SUBMISSION).exists()
