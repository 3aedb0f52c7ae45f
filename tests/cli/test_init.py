"""``marsbench data init``: from a folder of images to predictions, and its outputs."""

from pathlib import Path

import pytest

from tests.cli.test_commands import RUN, lines, marsbench, place  # noqa: F401
from tests.data.tools.init.test_folder import class_folders


@pytest.fixture
def rocks(place: Path) -> Path:  # noqa: F811
    return class_folders(place / "rocks", {"layered": 8, "round": 8})


def test_from_a_folder_to_predictions(rocks: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(rocks.parent)
    done = marsbench("run", "task=rocks", "model=resnet18")
    assert done.returncode == 2
    assert "`marsbench data init rocks` makes it" in done.stderr
    (made,) = lines(marsbench("data", "init", "rocks"))
    assert made["task"] == "rocks"
    assert made["sizes"] == {"train": 11, "val": 3, "test": 2}
    verify, info, run = (command.split()[1:] for command in made["next"])
    (report,) = lines(marsbench(*verify))
    assert report["problems"] == []
    marsbench(*info)
    assert (rocks.parent / "samples.png").stat().st_size > 1000
    (record,) = lines(marsbench(run[0], run[1], *RUN))
    assert record["run_id"].startswith("rocks/")
    done = marsbench("predict", record["run_id"], "rocks/layered", "--out", "out")
    assert len(lines(done)) == 8


def test_the_text_says_what_to_look_at(rocks: Path) -> None:
    done = marsbench("data", "init", str(rocks), "--dry-run", "--format", "table")
    assert done.returncode == 0
    for text in (
        "rocks: binary, from 2 class folders",
        "--kind",
        "note: splits: drawn with seed 0: train 0.7, val 0.15, test 0.15",
        "note: classes with fewer than 20 train images: layered (6), round (5)",
        "nothing written (--dry-run)",
        f"marsbench data verify {rocks}/",
    ):
        assert text in done.stdout
    assert sorted(path.name for path in rocks.iterdir()) == ["layered", "round"]


def test_options_reach_the_task(rocks: Path) -> None:
    words = ["--name", "stones", "--classes", "round, layered", "--splits", "0.5,0.25,0.25"]
    words += ["--seed", "3", "--group-by", r"(\w+_\d+)_\d", "--kind", "classification"]
    (made,) = lines(marsbench("data", "init", str(rocks), *words))
    assert (made["task"], [*made["classes"]]) == ("stones", ["round", "layered"])
    assert made["sizes"] == {"train": 8, "val": 4, "test": 4}
    assert made["notes"][0].endswith(
        "seed 3: train 0.5, val 0.25, test 0.25; 8 groups stay together"
    )
    done = marsbench("data", "init", str(rocks))
    assert done.returncode == 2
    assert "--update" in done.stderr
    (again,) = lines(marsbench("data", "init", str(rocks), "--force"))
    assert again["task"] == "rocks"
    (updated,) = lines(marsbench("data", "init", str(rocks), "--update"))
    assert updated["sizes"] == again["sizes"]
    assert "0 new image(s)" in updated["notes"][0]


def test_a_wrong_root_names_the_tasks_of_the_folder(rocks: Path) -> None:
    marsbench("data", "init", str(rocks))
    (rocks.parent / "mb-landmark_cls").mkdir()
    (rocks.parent / "mb-landmark_cls" / "annotation.csv").write_text("file_id,split\n")
    (rocks.parent / "others").mkdir()
    (rocks.parent / "others" / "annotation.csv").write_text("")
    done = marsbench("run", "task=frost_cls", "model=resnet18", f"root={rocks.parent}")
    assert done.returncode == 2
    assert f"{rocks.parent} holds the data of: landmark_cls, others/ (no task" in done.stderr
    assert str(rocks) in done.stderr
    assert "marsbench data init FOLDER" in done.stderr
    done = marsbench(
        "run", "task=frost_cls", "model=resnet18", f"root={rocks.parent / 'mb-landmark_cls'}"
    )
    assert done.returncode == 2
    assert "seems to hold another task, landmark_cls" in done.stderr
    done = marsbench("run", f"task={rocks.parent}", "model=resnet18")
    assert f"marsbench data init {rocks.parent}" in done.stderr
