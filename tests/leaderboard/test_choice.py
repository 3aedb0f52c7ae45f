"""Choice of the records of a submission among those of a store."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from marsbench.base.errors import ConfigError, MarsbenchError, StoreError
from marsbench.config.identity import run_id
from marsbench.leaderboard.choice import choose
from marsbench.leaderboard.schema import Data
from marsbench.results.record import RunRecord
from marsbench.results.store import Store
from tests.report.fake_store import SEEDS, Fake, fake_record, make_store

TASKS = ("domars16k", "frost_cls")


def with_setting(record: RunRecord, **identity: Any) -> RunRecord:
    """The same run with other hyperparameters."""
    choices = record.identity | identity
    name = run_id(record.task, record.model, record.mode, record.subset, record.seed, choices)
    return replace(record, run_id=name, identity=choices)


def of_model(model: str = "vit_l_16", **fields: Any) -> list[RunRecord]:
    return [fake_record(Fake(task, model, **fields, seed=seed)) for task in TASKS for seed in SEEDS]


def demo(record: RunRecord) -> RunRecord:
    return replace(record, data=record.data | {"source": "demo"})


def test_all_tasks_and_seeds_of_a_model(tmp_path: Path) -> None:
    records = [*of_model(), *of_model("resnet101"), *of_model(mode="finetune")]
    store = make_store(tmp_path, records)
    choice = choose(store, {"model": "vit", "mode": "frozen"})  # an alias
    assert [r.run_id for r in choice.records] == [r.run_id for r in of_model()]
    assert (choice.tasks, choice.seeds, choice.partial) == (TASKS, SEEDS, False)
    assert choice.settings["model"] == "vit_l_16"
    assert choice.settings["protocol"] == "cached"
    assert (choice.data, choice.notes) == (Data.REAL, ())
    one = choose(store, {"model": "vit", "mode": "frozen", "task": "mb-frost_cls"})
    assert one.tasks == ("frost_cls",)
    assert not one.partial


def test_several_models_and_modes_are_listed(tmp_path: Path) -> None:
    store = make_store(tmp_path, [*of_model(), *of_model("resnet101"), *of_model(mode="finetune")])
    with pytest.raises(ConfigError) as caught:
        choose(store, {})
    assert str(caught.value).splitlines() == [
        "A submission has one model, mode and protocol; these runs have:",
        "  model=resnet101 mode=frozen protocol=cached (14 runs)",
        "  model=vit_l_16 mode=finetune protocol=online (14 runs)",
        "  model=vit_l_16 mode=frozen protocol=cached (14 runs)",
        "Narrow them, for example: model=resnet101 mode=frozen protocol=cached",
    ]


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda r: replace(with_setting(r, weights="other"), weights={"name": "other"}), "weights"),
        (lambda r: with_setting(r, imbalance="oversample"), "imbalance"),
        (lambda r: with_setting(r, views="d4"), "views"),
    ],
)
def test_runs_of_several_ways_are_told_apart_by_a_word(
    tmp_path: Path, change: Any, word: str
) -> None:
    store = make_store(tmp_path, [*of_model(), *map(change, of_model())])
    with pytest.raises(ConfigError, match=f"A submission has one {word}; these runs have") as hint:
        choose(store, {})
    (key, value) = hint.value.remedy.rpartition(" ")[2].split("=")
    assert key == word
    assert len(choose(store, {key: value}).records) == 14


def test_several_settings_of_a_task_are_listed_with_their_differences(tmp_path: Path) -> None:
    others = [with_setting(r, optim={"lr": 0.01, "name": "sgd"}) for r in of_model()[7:10]]
    store = make_store(tmp_path, [*of_model(), *others])
    (kept,) = {r.run_id.rpartition("-")[2] for r in of_model()[7:]}
    with pytest.raises(ConfigError) as caught:
        choose(store, {})
    text = str(caught.value)
    assert "frost_cls has runs of 2:" in text
    assert f"setting={kept} (7 runs): optim.lr=0.001, optim.name=null" in text
    assert "(3 runs): optim.lr=0.01, optim.name=sgd" in text
    assert f"for example: optim.lr=0.001 or setting={kept}" in text
    assert len(choose(store, {"optim.lr": "1e-3"}).records) == 14
    assert len(choose(store, {"setting": kept, "task": "frost_cls"}).records) == 7
    three = choose(store, {"optim.lr": "0.01"}, partial=True)
    assert [r.run_id for r in three.records] == sorted((o.run_id for o in others), key=len)


def test_the_proposed_word_leaves_one_setting(tmp_path: Path) -> None:
    optims = ({"lr": 0.01, "name": "sgd"}, {"lr": 0.01, "name": "adam"})
    records = [with_setting(r, optim=optim) for optim in optims for r in of_model()[7:]]
    store = make_store(tmp_path, [*of_model()[7:10], *records])
    with pytest.raises(ConfigError) as caught:
        choose(store, {})
    word = caught.value.remedy.split()[4]
    assert word.startswith("optim.name=")
    assert len(choose(store, dict([word.split("=")])).records) == 7


def test_missing_seeds_are_named_with_the_command(tmp_path: Path) -> None:
    config = {"task": "frost_cls", "model": "vit_l_16", "root": "/data/mars", "store": "elsewhere"}
    records = [replace(r, config=config | {"task": r.task}) for r in of_model()[:-2]]
    store = make_store(tmp_path, records)
    with pytest.raises(StoreError) as caught:
        choose(store, {})
    assert (
        caught.value.problem == "The submission is incomplete. Missing: frost_cls seeds 1000, 1234."
    )
    (command,) = caught.value.remedy.splitlines()[1:]
    assert command == (
        "  for seed in 1000 1234; do marsbench run task=frost_cls model=vit_l_16 mode=frozen "
        f"subset=full seed=$seed root=/data/mars store={tmp_path}; done"
    )
    partial = choose(store, {}, partial=True)
    assert partial.partial
    assert len(partial.records) == 12
    assert partial.seeds == SEEDS
    assert not choose(store, {"task": "domars16k"}, partial=True).partial  # nothing is missing


def test_few_seeds_are_incomplete(tmp_path: Path) -> None:
    store = make_store(
        tmp_path, [fake_record(Fake("frost_cls", "vit_l_16", seed=s)) for s in (3, 4)]
    )
    with pytest.raises(StoreError, match=r"Missing: frost_cls seeds 0, 1, 2, 5, 6\."):
        choose(store, {})
    assert choose(store, {}, partial=True).seeds == (3, 4)


def test_named_seeds(tmp_path: Path) -> None:
    store = make_store(tmp_path, of_model())
    assert len(choose(store, {"seed": "paper"}).records) == 14
    with pytest.raises(ConfigError, match="seed=0,1 names 2 of at least 7 seeds"):
        choose(store, {"seed": "0,1"})
    few = choose(store, {"seed": "0,1"}, partial=True)
    assert (few.seeds, few.partial, len(few.records)) == ((0, 1), True, 4)
    with pytest.raises(StoreError, match="Missing: domars16k seed 5; frost_cls seed 5"):
        choose(store, {"seed": "0,1,5,10,42,123,1000,1234"})


def test_tasks_without_a_run_are_missing(tmp_path: Path) -> None:
    store = make_store(tmp_path, of_model())
    words = {"task": "frost_cls,surface_cls"}
    with pytest.raises(
        StoreError, match="Missing: surface_cls seeds 0, 1, 10, 42, 123, 1000, 1234"
    ):
        choose(store, words)
    partial = choose(store, words, partial=True)
    assert (partial.tasks, partial.partial) == (("frost_cls",), True)
    assert partial.notes == ("Left out: surface_cls, without a run.",)


def test_demo_data_are_asked_for(tmp_path: Path) -> None:
    store = make_store(tmp_path, [*map(demo, of_model()), *of_model("resnet101")])
    assert choose(store, {}).settings["model"] == "resnet101"
    choice = choose(store, {"source": "demo"})
    assert (choice.data, choice.settings["model"]) == (Data.DEMO, "vit_l_16")
    drawn = make_store(tmp_path / "drawn", map(demo, of_model()))
    with pytest.raises(StoreError, match="has no run on real data with model=vit; 14 are on demo"):
        choose(drawn, {"model": "vit"})


def test_single_runs_only(tmp_path: Path) -> None:
    made = with_setting(of_model()[0], members=[])
    ensemble = replace(made, record_type="ensemble")
    store = make_store(tmp_path, [*of_model(), ensemble])
    (folder,) = tmp_path.glob("frost_cls/*/*/*/1000-*")
    (folder / "record.json").write_text("{")
    choice = choose(store, {}, partial=True)
    assert len(choice.records) == 13
    assert choice.notes[0].startswith(
        f"Left out: {folder / 'record.json'} is not a complete record"
    )
    assert choice.notes[1:] == (
        "Left out: 1 record of type ensemble; a submission holds single runs.",
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"model": "vitt"}, "Unknown model in .* 'vitt'"),
        ({"model": "resnet101"}, "Unknown model in"),
        ({"task": "frost"}, "Unknown task in .* 'frost'"),
        ({"mode": "zero"}, "Unknown mode 'zero'"),
        ({"mode": "finetune"}, "Unknown mode in"),
        ({"optim.rl": "1"}, "Unknown key 'optim.rl'"),
        ({"seed": "x"}, "'seed' is 'x'"),
        ({"seed": "7"}, "has no run with seed=7"),
        ({"setting": "0123456789"}, "Unknown setting in"),
        ({"subset": "few_shot_0"}, "Unknown subset"),
    ],
)
def test_invalid_words(tmp_path: Path, words: dict[str, str], message: str) -> None:
    with pytest.raises(MarsbenchError, match=message):
        choose(make_store(tmp_path, of_model()), words)


def test_missing_store(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="is missing"):
        choose(Store(tmp_path / "none"), {})
