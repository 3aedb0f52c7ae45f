"""The real HiRISE landmark set, version 1, as a custom task, and the spectra of ega_ms."""

from pathlib import Path
from typing import Any

import pytest

import marsbench
import marsbench.base.errors
from marsbench.base.paths import configs
from marsbench.config.schema import RunConfig
from marsbench.data.tools.verify.folder import verify_folder
from marsbench.leaderboard.schema import SEEDS, Badge
from marsbench.leaderboard.submission import submit
from marsbench.plan.resolve import resolve
from marsbench.tasks.catalog import get_task

pytestmark = pytest.mark.realdata

TASK = str(configs() / "tasks" / "hirise_landmark_v1.yaml")


@pytest.fixture
def root(real_data: Path) -> Path:
    if not (real_data / "mb-landmark_cls").is_dir():
        pytest.skip(f"{real_data} has no mb-landmark_cls")
    return real_data


def test_the_folder_has_no_problems(root: Path) -> None:
    report = verify_folder(get_task(TASK), root)
    assert report.problems == []
    assert report.num_files == 3820
    assert "image sizes (height x width): 227 x 227: 3820" in report.notes
    assert not any("NOT nested" in note for note in report.notes)


@pytest.mark.parametrize(
    ("subset", "num_train"),
    [("full", 2310), ("few_shot_1", 6), ("few_shot_5", 30), ("few_shot_20", 120)]
    + [(f"partition_0.{p}", n) for p, n in (("01", 24), ("10", 231), ("25", 577), ("50", 1156))],
)
def test_published_subsets(root: Path, subset: str, num_train: int) -> None:
    keys = {"task": TASK, "model": "vit", "root": str(root), "subset": subset}
    plan = resolve(RunConfig.from_dict(keys))
    assert plan.num_samples == {"train": num_train, "val": 755, "test": 755}
    assert plan.selection.origin == ("full" if subset == "full" else "published")
    classes = ("other", "crater", "dark dune", "slope streak", "bright dune", "edge")
    assert plan.source.class_names == classes


def test_it_is_not_the_catalogues_task(root: Path) -> None:
    with pytest.raises(marsbench.base.errors.DataError, match="custom task"):
        marsbench.load_dataset("landmark_cls", root=root)


def test_a_short_run_beats_chance(root: Path, tmp_path: Path) -> None:
    """Twenty shots per class: far above always saying the majority class (weighted F1 0.38)."""
    record = marsbench.run(
        task=TASK,
        root=str(root),
        model="efficientnet_lite0",
        subset="few_shot_20",
        store=str(tmp_path),
        trainer={"max_epochs": 3},
    )
    assert record.metrics["test"]["f1_weighted"] > 0.5


@pytest.mark.parametrize(
    ("task", "keys", "split", "num_samples"),
    [
        (TASK, {"model": "efficientnet_lite0", "subset": "few_shot_5"}, "test", 755),
        ("ega_ms", {"model": "kernel_logistic", "mode": "scratch", "folds": 4}, "oof", 763),
    ],
    ids=["landmarks", "ega_ms"],
)
def test_a_submission_of_real_runs_validates(
    root: Path, tmp_path: Path, task: str, keys: dict[str, Any], split: str, num_samples: int
) -> None:
    scores = [
        marsbench.run(
            task=task, root=str(root), source="local", store=str(tmp_path / "runs"), seed=s, **keys
        ).score
        for s in range(SEEDS)
    ]
    made = submit(tmp_path / "runs", {}, tmp_path / "out", author={"name": "Ada"})
    assert made.check.errors == ()
    assert {run.badge for run in made.check.runs} == {Badge.CONSISTENT}
    assert {(run.split, run.num_samples) for run in made.check.runs} == {(split, num_samples)}
    metric = get_task(task).headline_metric
    assert [run.metrics[metric] for run in made.check.runs] == pytest.approx(scores)
    assert made.check.submission is not None
    assert made.check.submission.is_complete
