"""Rows of a submission for the public Space, and results for the model's page."""

import csv
from pathlib import Path

import pytest
import yaml
from huggingface_hub import parse_eval_result_entries

from marsbench.leaderboard.rows import means_of, write_rows
from marsbench.leaderboard.schema import Author, Badge, Check, CheckedRun, Data, Submission
from tests.leaderboard.test_schema import make_submission

AUTHOR = Author(name="=1+1", organisation="Lab, Ltd", link="https://ada.org")
SUBMISSION = make_submission(author=AUTHOR)


def checked(task: str, seed: int, **metrics: float) -> CheckedRun:
    return CheckedRun(
        run_id=f"{task}/vit/frozen/full/{seed}-0123456789",
        task=task,
        seed=seed,
        split="test",
        badge=Badge.CONSISTENT,
        metrics=metrics,
        num_samples=12,
    )


def check_of(*runs: CheckedRun, submission: Submission = SUBMISSION) -> Check:
    return Check(checked="2026-01-01T00:00:00+00:00", submission=submission, runs=runs)


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_each_kind_has_the_columns_and_metrics_of_the_space(tmp_path: Path) -> None:
    labels = {"accuracy": 0.5, "f1_weighted": 0.6, "f1_macro": 0.1}
    check = check_of(
        checked("frost_cls", 0, f1_positive=0.7, **labels),
        checked("frost_cls", 1, f1_positive=0.8, **labels),
        checked("domars16k", 0, **labels),
        checked("surface_multi_label_cls", 0, **labels),
        checked("boulder_det", 0, map=0.12345678, map50=0.9),
        checked("mmls", 0, dice=0.3, miou=0.4, iou_per_image=0.5),
        checked("ega_ms", 0, log_loss=0.1),
        checked("hirise_landmark_v1", 0, **labels),
    )
    written = write_rows(check, tmp_path)
    assert sorted(path.relative_to(tmp_path).as_posix() for path in written) == [
        ".eval_results/marsbench.yaml",
        "rows/classification.csv",
        "rows/detection.csv",
        "rows/segmentation.csv",
    ]
    rows = rows_of(tmp_path / "rows" / "classification.csv")
    assert rows[1] == {
        "Model": "vit",
        "Organization": "Lab, Ltd",
        "Dataset": "mb-frost_cls",
        "Accuracy": "0.5",
        "F1-Score": "0.75",  # of class 1, mean over the seeds
        "Author": "'=1+1",
        "Author Link": "https://ada.org",
    }
    assert {row["Dataset"]: row["F1-Score"] for row in rows} == {
        "mb-domars16k": "0.6",
        "mb-frost_cls": "0.75",
        "mb-surface_multi_label_cls": "0.6",
    }
    (row,) = rows_of(tmp_path / "rows" / "segmentation.csv")
    assert list(row)[3:5] == ["Dice Score", "IoU"]
    assert (row["Dataset"], row["Dice Score"], row["IoU"]) == ("mb-mmls", "0.3", "0.5")
    (row,) = rows_of(tmp_path / "rows" / "detection.csv")
    assert list(row) == ["Model", "Organization", "Dataset", "mAP", "Author", "Author Link"]
    assert row["mAP"] == "0.1235"


def test_results_are_read_by_the_hubs_client(tmp_path: Path) -> None:
    runs = [checked("frost_cls", seed, f1_weighted=0.6 + seed / 10) for seed in range(3)]
    write_rows(check_of(*runs), tmp_path)
    text = (tmp_path / ".eval_results" / "marsbench.yaml").read_text()
    (entry,) = parse_eval_result_entries(yaml.safe_load(text))
    assert (entry.dataset_id, entry.task_id) == ("Mirali33/mb-frost_cls", "frost_cls")
    assert entry.value == 0.7
    assert entry.date == SUBMISSION.created
    assert (entry.source_name, entry.source_url) == ("=1+1", "https://ada.org")
    assert entry.notes == "weighted F1, mean of 3 seeds, mode=frozen protocol=cached subset=full"


def test_authors_without_a_page_are_no_source(tmp_path: Path) -> None:
    submission = make_submission(author=Author(name="Ada"))
    write_rows(check_of(checked("mmls", 0, miou=0.1), submission=submission), tmp_path)
    text = (tmp_path / ".eval_results" / "marsbench.yaml").read_text()
    assert "source" not in yaml.safe_load(text)[0]


def test_a_link_cannot_leave_its_cell(tmp_path: Path) -> None:
    author = Author(name="Ada", link="https://a.b/)[x](javascript:1)|")
    write_rows(
        check_of(checked("mmls", 0, miou=0.1), submission=make_submission(author=author)), tmp_path
    )
    (row,) = rows_of(tmp_path / "rows" / "segmentation.csv")
    assert row["Author Link"] == "https://a.b/%29%5Bx%5D%28javascript:1%29%7C"
    (entry,) = yaml.safe_load((tmp_path / ".eval_results" / "marsbench.yaml").read_text())
    assert entry["source"]["url"] == row["Author Link"]


def test_metrics_of_some_seeds_have_no_mean(tmp_path: Path) -> None:
    check = check_of(
        checked("frost_cls", 0, accuracy=0.5, f1_positive=0.5), checked("frost_cls", 1, accuracy=1)
    )
    assert means_of(check)["frost_cls"].metrics == {"accuracy": 0.75}
    write_rows(check, tmp_path)
    (row,) = rows_of(tmp_path / "rows" / "classification.csv")
    assert (row["Accuracy"], row["F1-Score"]) == ("0.75", "")


@pytest.mark.parametrize("task", ["ega_ms", "hirise_landmark_v1"])
def test_other_tasks_have_no_rows(tmp_path: Path, task: str) -> None:
    assert write_rows(check_of(checked(task, 0, log_loss=0.1)), tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def test_demo_data_have_no_rows(tmp_path: Path) -> None:
    submission = make_submission(author=AUTHOR, data=Data.DEMO)
    check = check_of(checked("frost_cls", 0, f1_weighted=0.5), submission=submission)
    assert write_rows(check, tmp_path) == []
    assert list(tmp_path.iterdir()) == []
