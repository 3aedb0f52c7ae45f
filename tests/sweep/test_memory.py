from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from marsbench.config.schema import RunConfig
from marsbench.plan.resolve import Resolver
from marsbench.results.record import RunRecord
from marsbench.results.store import Store
from marsbench.sweep.cost import Measured
from marsbench.sweep.memory import CONTEXT, Need, device_bytes, joint, like_of
from marsbench.sweep.planner import plan_sweep
from tests.sweep.records import TINY, finish, record_of

GIB = 2**30
ONLINE = {**TINY, "task": "frost_cls", "model": "resnet10t", "mode": "scratch"}


def config(**changes: Any) -> RunConfig:
    return RunConfig.from_dict({**ONLINE, **changes})


def measured(run: RunRecord, gib: int, **peaks: int) -> RunRecord:
    return replace(run, peak_memory={"host": 1, "device_reserved": gib * GIB, "device": 1, **peaks})


@pytest.mark.parametrize(
    ("changes", "is_like"),
    [
        ({"seed": 3}, True),
        ({"task": "landmark_cls"}, True),
        ({"subset": "few_shot_1"}, True),
        ({"optim.lr": 0.5}, True),
        ({"trainer.max_epochs": 1}, True),
        ({"optim.batch_size": 8}, False),
        ({"model": "resnet18"}, False),
        ({"mode": "finetune", "model": "efficientnet_lite0"}, False),
        ({"trainer.precision": "bf16-mixed"}, False),
        ({"optim.name": "sgd"}, False),
        ({"task": "conequest_seg", "model": "unet"}, False),
    ],
    ids=str,
)
def test_which_runs_are_alike(changes: dict[str, Any], is_like: bool) -> None:
    resolver = Resolver()
    plan, other = resolver.resolve(config()), resolver.resolve(config(**changes))
    assert (like_of(plan) == like_of(other)) is is_like
    # A run is like its own record.
    assert like_of(record_of(other.config, resolver)) == like_of(other)


def test_other_inputs_are_not_alike() -> None:
    record = record_of(config(), Resolver())
    for changes in ({"input_size": 64}, {"bands": "all"}, {"decoder": "linear"}):
        other = replace(record, identity={**record.identity, **changes})
        assert like_of(other) != like_of(record)


def test_heads_on_cached_features_are_alike_whatever_their_training() -> None:
    frozen = {"mode": "frozen", "model": "efficientnet_lite0", "optim.batch_size": 8}
    resolver = Resolver()
    likes = {
        like_of(resolver.resolve(config(**{**frozen, **changes})))
        for changes in ({}, {"optim.batch_size": 64}, {"optim.name": "sgd"})
    }
    assert likes == {"efficientnet_lite0 frozen labels, cached features, 224 px, 32-true"}


def test_memory_of_a_process() -> None:
    assert device_bytes({"host": 5}) is None
    assert device_bytes({"host": 5, "device": GIB, "device_reserved": 3 * GIB}) == 3 * GIB + CONTEXT
    # Records of earlier versions.
    assert device_bytes({"host": 5, "device": 4 * GIB}) == 5 * GIB + CONTEXT


def test_memory_of_a_unit() -> None:
    assert joint([Need("a", 3, 2), Need("a", 5, 1)]).bytes == 5
    assert joint([Need("a", 3, 2), Need("a")]).bytes is None


def test_estimates_are_those_of_like_records(tmp_path: Path) -> None:
    store, resolver = Store(tmp_path), Resolver()
    runs = [config(seed=seed) for seed in range(4)]
    other_task, other_batch = config(task="landmark_cls"), config(**{"optim.batch_size": 8})

    def needs() -> list[Need | None]:
        return [run.need for run in plan_sweep(dict.fromkeys(runs, "x"), store).runs]

    like = like_of(resolver.resolve(runs[0]))
    assert needs() == [Need(like)] * 4
    finish(store, measured(record_of(other_batch, resolver), 50))
    # Trained on a CPU.
    finish(store, record_of(runs[3], resolver))
    assert needs() == [Need(like)] * 4
    # Another task serves until the task itself has been measured.
    finish(store, measured(record_of(other_task, resolver), 7))
    assert needs() == [Need(like, 7 * GIB + CONTEXT, 1)] * 4
    finish(store, measured(record_of(runs[0], resolver), 3))
    finish(store, measured(record_of(runs[1], resolver), 4))
    assert needs() == [Need(like, 4 * GIB + CONTEXT, 2)] * 4
    assert Measured(tmp_path).need("landmark_cls", "resnet10t", other_task, like).records == 1
