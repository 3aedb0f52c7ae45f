import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from marsbench.base import paths
from marsbench.base.documents import read_yaml
from marsbench.base.errors import ConfigError, MarsbenchError
from marsbench.base.keys import flatten
from marsbench.cli import app
from marsbench.config.schema import RunConfig
from marsbench.models.zoo.foundation import ENTRIES as FOUNDATION
from marsbench.sweep.lists import LISTS
from marsbench.sweep.suites import canonical, expand, load_suite, narrowed, suite_names
from tests.sweep.records import write_suite

PAPER = {
    "paper_cls": 945,
    "paper_seg": 672,
    "paper_det": 252,
    "paper_partitions": 6300 + 4452,
    "paper_few_shot": 5040,
    "paper_imbalance": 560,
    "paper_earth_observation": 672,
    "paper_vlm": 84,
    "paper_zero_shot": 18,
    "foundation": 20 * len(FOUNDATION) * 7,
}


@pytest.mark.parametrize(("suite", "count"), PAPER.items())
def test_the_counts_of_the_paper(suite: str, count: int, tmp_path: Path) -> None:
    """C.3: also where no data are at hand, which a dry run says once of every task."""
    words = [f"suite={suite}", f"store={tmp_path}", f"root={tmp_path}"]
    shown = CliRunner().invoke(app, ["sweep", *words, "--dry-run"])
    assert shown.exit_code == 0, shown.output
    summary, *rows = [json.loads(line) for line in shown.stdout.splitlines()]
    assert summary["runs"] == summary["lacking"] == count
    assert sum(row["runs"] for row in rows) == count
    for row in rows:
        (reason,) = row["reasons"]
        assert reason.startswith(f"No data of {row['task']} found")
    assert summary["units_lacking"] <= count
    assert summary["worker_hours_lacking"] > 0
    if suite == "paper_partitions":
        assert summary["grids"] == {"classification": 6300, "segmentation": 4452}


def test_suites_name_what_exists() -> None:
    for key, lists in LISTS.items():
        for name, values in lists.items():
            assert tuple(v for value in values for v in canonical(key, value)) == values, name
    ours = {
        "smoke",
        "frozen_demo",
        "frozen_landmarks",
        "cross_domain",
        "robustness",
        "cross_instrument",
    }
    assert set(PAPER) | ours == set(suite_names())


def test_oversampling_can_be_resolved() -> None:
    from marsbench.plan.resolve import resolve

    runs = expand(load_suite("paper_imbalance"), {"source": "demo", "size": 0.02})
    protocols = {resolve(run).protocol for run in runs if run.seed == 0 and run.model == "vit_l_16"}
    assert [str(protocol) for protocol in protocols] == ["online"]


def words(**wanted: str) -> dict[str, list[str]]:
    return {key: value.split(",") for key, value in wanted.items()}


def test_narrowing() -> None:
    suite = load_suite("paper_cls")
    one = narrowed(suite, words(task="mb-frost_cls,landmark_cls", model="vit", seed="0,1"))
    runs = expand(one, {"trainer.max_epochs": "2"})
    assert len(runs) == 2 * 1 * 3 * 2
    assert {run.task for run in runs} == {"frost_cls", "landmark_cls"}
    assert {run.model for run in runs} == {"vit_l_16"}
    assert {run.trainer.max_epochs for run in runs} == {2}
    few = narrowed(load_suite("paper_few_shot"), words(subset="few_shot_5", mode="frozen"))
    assert len(expand(few, {})) == 8 * 5 * 7
    assert (
        len(expand(narrowed(load_suite("paper_partitions"), words(task="segmentation")), {}))
        == 4452
    )


@pytest.mark.parametrize(
    ("wanted", "match"),
    [
        (words(task="frost_clss"), "Did you mean frost_cls"),
        (words(task="boulder_seg"), "has no task=boulder_seg"),
        (words(seed="5"), "has no seed=5; it has 0, 1, 10, 42"),
        (words(mode="froze"), "Did you mean frozen"),
        (words(subset="few_shot_5"), "has no subset=few_shot_5; it has full"),
        (words(model="nothing_like_it", seed="7"), "nothing_like_it.*\n.*seed=7"),
    ],
)
def test_what_a_suite_does_not_have(wanted: dict[str, list[str]], match: str) -> None:
    with pytest.raises(MarsbenchError, match=match):
        narrowed(load_suite("paper_cls"), wanted)


def test_a_suite_of_ones_own(tmp_path: Path) -> None:
    path = write_suite(
        tmp_path / "mine.yaml",
        {
            "task": ["frost_cls", "landmark_cls"],
            "model": "resnet10t",
            "mode": "scratch",
            "seed": [0, 1],
            "optim.lr": [0.1, 0.01],
            "exclude": {"task": "frost_cls", "optim.lr": 0.1},
        },
        {"name": "again", "task": "frost_cls", "model": "resnet10t", "mode": "scratch"},
        **{"optim.lr": 0.01},
    )
    suite = load_suite(path)
    runs = expand(suite, {})
    assert suite.name == "mine"
    assert len(runs) == 4 + 2  # the second grid is a part of the first
    assert set(runs.values()) == {"mine"}
    assert {run.size for run in runs} == {0.02}
    assert len(expand(narrowed(suite, {"optim.lr": ["1e-2"]}), {})) == 4
    (tmp_path / "both.yaml").write_text(f"description: Two.\ninclude: [{path}, smoke]\n")
    both = load_suite(str(tmp_path / "both.yaml"))
    assert len(expand(both, {"source": "demo"})) == 6 + 6


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ({"grids": [{"task": "frost_cls"}]}, "has no model"),
        ({"grids": [{"task": "frost_clss", "model": "vit"}]}, "Did you mean frost_cls"),
        ({"grids": [{"task": "frost_cls", "model": "vit", "sed": 1}]}, "Unknown key 'sed'"),
        (
            {"grids": [{"task": "frost_cls", "model": "vit", "seed": "x"}]},
            "'seed' is 'x'",
        ),
        (
            {"grids": [{"task": "frost_cls", "model": "vit", "exclude": {"a": 1}}]},
            "expected keys of the grid",
        ),
        ({"grids": [], "sets": {}}, "Unknown key 'sets'"),
        ({"set": {"store": "x"}, "grids": [{"task": "frost_cls", "model": "vit"}]}, "whole sweep"),
        ({"description": "Nothing."}, "Both grids and include are missing"),
        ("text", "holds no keys"),
        ({"include": "mine.yaml"}, "includes itself"),
        ({"include": "paper_clss"}, "Did you mean paper_cls"),
        ({"include": "smoke", "evaluate": {"target": "frost_cls"}}, "a mapping with the key task"),
        ({"include": "smoke", "evaluate": {"task": "mmls"}}, "mmls, which no grid trains"),
        (
            {"include": "smoke", "evaluate": {"task": "frost_cls", "onto": "mmls"}},
            "Unknown key 'onto'",
        ),
        (
            {"include": "smoke", "evaluate": {"task": "frost_cls", "store": "x"}},
            "evaluate sets store",
        ),
        (None, "cannot be read"),
    ],
)
def test_a_suite_that_cannot_be_used(
    content: Any, match: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    if content is not None:
        Path("mine.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(ConfigError, match=match):
        load_suite("mine.yaml")


def test_runs_are_what_their_words_say() -> None:
    """Built by replacing fields, they equal those that are built of text."""
    for run in expand(load_suite("paper_imbalance"), {}):
        values = {"task": run.task, "model": run.model, "imbalance": str(run.imbalance)}
        values |= {"protocol": "online", "seed": str(run.seed)}
        assert run == RunConfig.from_dict(values)


def test_tuned_hyperparameters_are_those_of_the_task_and_model(tmp_path: Path) -> None:
    for task, lr in (("frost_cls", 0.1), ("landmark_cls", 0.2)):
        for mode in ("frozen", "finetune", "scratch"):
            path = tmp_path / task / f"vit_l_16-{mode}.yaml"
            path.parent.mkdir(exist_ok=True)
            path.write_text(yaml.safe_dump({"set": {"optim.lr": lr, "optim.name": "sgd"}}))
    suite = narrowed(load_suite("paper_cls"), words(task="frost_cls,landmark_cls", model="vit"))
    runs = expand(suite, {"hparams": str(tmp_path), "optim.name": "adam"})
    assert {(run.task, run.optim.lr) for run in runs} == {("frost_cls", 0.1), ("landmark_cls", 0.2)}
    assert {str(run.optim.name) for run in runs} == {"adam"}
    other = narrowed(load_suite("paper_cls"), words(task="frost_cls", model="resnet"))
    with pytest.raises(ConfigError, match="no tuned hyperparameters of frost_cls, resnet101"):
        expand(other, {"hparams": str(tmp_path)})


def test_custom_tasks_are_relative_to_the_suite(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "study"
    folder.mkdir()
    (folder / "rocks.yaml").write_text("name: rocks\nkind: binary\nclasses: [igneous, layered]\n")
    grid = {"name": "g", "task": ["./rocks.yaml"], "model": ["vit_tiny"]}
    (folder / "suite.yaml").write_text(yaml.safe_dump({"grids": [grid]}))
    monkeypatch.chdir(tmp_path)
    (run,) = {config.task for config in expand(load_suite("study/suite.yaml"), {})}
    assert run == str(folder / "rocks.yaml")


@pytest.mark.parametrize(
    ("grid", "preset"), [("image encoders", "paper_vlm"), ("answers", "paper_smolvlm")]
)
def test_presets_of_table_6_are_those_of_its_suite(grid: str, preset: str) -> None:
    (found,) = (g for g in load_suite("paper_vlm").grids if g.name == grid)
    content = flatten(read_yaml(paths.configs() / "preset" / f"{preset}.yaml").values)
    chosen = {key: value for key, value in content.items() if key not in ("mode", "model")}
    assert {key: str(value) for key, value in found.fixed.items()} == {
        key: str(value) for key, value in chosen.items()
    }
