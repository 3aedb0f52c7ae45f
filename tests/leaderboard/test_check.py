"""The validator on valid submissions, and on changes that someone might make by hand."""

import dataclasses
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from marsbench.data.sources.challenge import ChallengeSource
from marsbench.data.sources.demo import DemoSource
from marsbench.leaderboard import rescore
from marsbench.leaderboard.check import check_submission
from marsbench.leaderboard.schema import SUBMISSION, Badge, Check
from marsbench.metrics import scoring
from marsbench.results.record import RunRecord
from marsbench.results.store import PREDICTIONS, RECORD
from marsbench.tasks.catalog import TASKS
from marsbench.tasks.kinds import Kind
from tests.challenges import write_challenge
from tests.leaderboard.fabricated import (
    SIZES,
    change_predictions,
    change_record,
    collect,
    fold_digest,
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


def test_out_of_fold_predictions(tmp_path: Path) -> None:
    """Spectra: labels of the train split, instruments and folds."""
    root = write_challenge(tmp_path / "ega_ms", {"train": 48}, ("train",))
    source = ChallengeSource(TASKS["ega_ms"], root)
    folder = collect([source], tmp_path / "submission")
    check = check_submission(folder, root=tmp_path)
    assert errors(check) == ""
    assert {(run.split, run.badge) for run in check.runs} == {("oof", Badge.CONSISTENT)}
    assert {run.folds for run in check.runs} == {fold_digest(source)}
    change_record(run_folders(folder)[0], lambda r: r["data"].pop("folds_digest"))
    change_record(run_folders(folder)[1], lambda r: r["data"].update(folds_digest="0" * 16))
    instruments = {"commercial": "sam_testbed", "sam_testbed": "commercial"}
    change_predictions(
        run_folders(folder)[2], lambda f: f.assign(instrument=f["instrument"].map(instruments))
    )
    missing, first, second = check_submission(seal(folder), root=tmp_path).errors
    assert "its record has no digest of its folds" in missing.problem
    assert "has 3 folds that are not those of the labels" in first.problem
    assert "sample(s) with another instrument than the data" in second.problem


def test_a_run_out_of_fold_of_data_with_a_test_split(copied: Path, valid: Path) -> None:
    def change(record: Any) -> None:
        record["metrics"]["oof"] = record["metrics"].pop("test")
        record["data"].update(scored_split="oof", folds_digest="0" * 16)

    for run in run_folders(copied)[7:]:
        change_record(run, change)
        change_predictions(run, lambda frame: frame.assign(split="oof"))
    check = check_submission(seal(copied), root=valid / "data")
    assert re.search("is scored out of fold, but .* has a test split", errors(check))


def test_demo_data(tmp_path: Path) -> None:
    source = DemoSource(TASKS["frost_cls"], 0.1)
    vars(source)["spec"] = TASKS["frost_cls"]
    folder = collect([source], tmp_path / "submission")
    for run in run_folders(folder):
        change_record(run, lambda record: record["config"].update(size=0.1))
    check = check_submission(seal(folder))
    assert errors(check) == ""
    assert {run.badge for run in check.runs} == {Badge.CONSISTENT}
    assert any("demo data" in flag.problem for flag in check.findings)
    change_record(run_folders(folder)[0], lambda record: record["config"].update(size=1e12))
    check = check_submission(seal(folder))
    assert "demo data of size=1e+12; expected up to 4" in errors(check)


def flags(check: Check) -> str:
    return "\n".join(finding.problem for finding in check.findings if not finding.is_error)


def test_perfect_and_copied_predictions_are_flagged(copied: Path, valid: Path) -> None:
    others = [check_submission(copied, root=valid / "data")]
    assert flags(others[0]) == ""
    runs = run_folders(copied)

    def perfect(frame: Any) -> Any:
        return frame.assign(scores=list(np.eye(8, dtype=np.float32)[frame["target"]]))

    for run in runs[7:9]:
        change_predictions(run, perfect)
        record = RunRecord.from_json((run / RECORD).read_text(), "")
        frame = pd.read_parquet(run / PREDICTIONS)
        values = scoring.score(Kind.MULTICLASS, frame, record.data["classes"])
        record = dataclasses.replace(record, metrics={"test": values})
        (run / RECORD).write_text(record.to_json())
    check = check_submission(seal(copied), root=valid / "data", others=others)
    assert errors(check) == ""
    text = flags(check)
    assert text.count("All predictions equal the labels.") == 2
    assert "Seeds of landmark_cls have equal predictions: 0, 1." in text
    assert "12 run(s) have the predictions of resnet101 by Ada, or nearly so: frost_cls/" in text


def test_torch_is_not_loaded(valid: Path) -> None:
    """A small machine without a GPU, such as the Space, checks submissions."""
    code = (
        "import sys; from pathlib import Path\n"
        "from marsbench.leaderboard.check import check_submission\n"
        "folder, root = map(Path, sys.argv[1:])\n"
        "assert len(check_submission(folder, root=root).runs) == 14\n"
        "print([m for m in ('torch', 'sklearn', 'scipy', 'matplotlib') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(valid / "submission"), str(valid / "data")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "[]\n"


def test_archives(valid: Path, tmp_path: Path) -> None:
    for form in ("zip", "gztar"):
        archive = shutil.make_archive(str(tmp_path / "upload"), form, valid / "submission")
        check = check_submission(Path(archive), root=valid / "data")
        assert errors(check) == ""
        assert len(check.runs) == 14


def test_metrics_of_earlier_versions(tmp_path: Path) -> None:
    """Records may lack metrics, and may have the IoU over images as it was defined before."""
    folder = submit(tmp_path / "data", tmp_path / "submission", ("mars_seg_mer",))
    runs = run_folders(folder)
    counts = np.stack(list(pd.read_parquet(runs[0] / PREDICTIONS)["confusion"])).reshape(-1, 7, 7)
    hits = np.diagonal(counts, axis1=1, axis2=2)
    union = counts.sum(axis=1) + counts.sum(axis=2) - hits
    earlier = np.mean([(h[u > 0] / u[u > 0]).mean() for h, u in zip(hits, union, strict=True)])

    def change(record: Any) -> None:
        scores = record["metrics"]["test"]
        assert abs(scores["iou_per_image"] - earlier) > 1e-3
        scores["iou_per_image"] = float(earlier)
        del scores["dice"]

    change_record(runs[0], change)
    check = check_submission(seal(folder), root=tmp_path / "data")
    assert errors(check) == ""
    assert check.runs[0].metrics["iou_per_image"] != pytest.approx(float(earlier), abs=1e-3)
    assert "dice" in check.runs[0].metrics
    change_record(runs[1], lambda r: r["metrics"]["test"].update(iou_per_image=float(earlier)))
    check = check_submission(seal(folder), root=tmp_path / "data")
    assert "other scores than the record: iou_per_image" in errors(check)


def test_without_labels(valid: Path, tmp_path: Path) -> None:
    """Scores follow from the stored targets, but nothing says that these are the labels."""
    for options in ({"labels": False}, {"root": tmp_path}):
        check = check_submission(valid / "submission", **options)
        assert errors(check) == ""
        assert {run.badge for run in check.runs} == {Badge.NOT_RESCORED}
        assert "train samples of landmark_cls are not checked: its labels" in flags(check)
    assert "its labels are not on this machine" in check.findings[0].problem


def test_labels_of_another_revision(copied: Path, tmp_path: Path) -> None:
    write_data(TASKS["frost_cls"], tmp_path / "data")
    source = write_data(dataclasses.replace(TASKS["landmark_cls"]), tmp_path / "data")
    first = source.files("test", 0)[0]
    first.write_bytes(first.read_bytes() + b"\0")  # images enter the revision by their size
    check = check_submission(copied, root=tmp_path / "data")
    assert check.is_valid
    one, two = (flag.problem for flag in check.findings)
    assert re.search("landmark_cls is re-scored with labels of revision folder:", one)
    assert "The train samples of landmark_cls are not checked: its labels are of rev" in two


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
        (one_row, r"is missing 1 sample\(s\) of the test split of landmark_cls: test_0005\.png"),
        (one_seed, r"Runs are missing: landmark_cls seed 1\."),
        (one_id, r"1 sample\(s\) that are not in the test split .*: elsewhere\.png"),
        (another_task, r"scores that has 24 row\(s\) of 2 numbers; expected 8"),
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


def test_a_table_that_hangs_is_named(valid: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    late = "is not read within 20 minutes"
    monkeypatch.setattr(rescore, "limited", lambda *_: ["", "", late])
    check = check_submission(valid / "submission", root=valid / "data")
    (error,) = check.errors
    assert check.submission is not None
    assert error.where == f"runs/{check.submission.runs[2].run_id}/{PREDICTIONS}"
    assert error.problem == f"The file {late}; 11 further file(s) are not read."
    assert len(check.runs) == 2


def test_all_problems_are_found(copied: Path, valid: Path) -> None:
    one_score(copied)
    change_predictions(run_folders(copied)[2], lambda frame: frame.drop(index=5))
    (copied / "notes.txt").write_text("x")
    seal(copied, lambda content: content.update(created="today"))
    text = errors(check_submission(copied, root=valid / "data"))
    for part in ("accuracy", "is missing 1", "notes.txt", "'created' is 'today'"):
        assert part in text
    assert (copied / SUBMISSION).exists()
