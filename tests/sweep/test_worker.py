import dataclasses
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from marsbench.base import environment
from marsbench.base.errors import (
    ConfigError,
    DataError,
    DataNotFoundError,
    DeviceLostError,
    GpuSharedError,
    MarsbenchError,
    StoreError,
    TrainingError,
)
from marsbench.config.schema import RunConfig
from marsbench.plan.resolve import Plan, Resolver
from marsbench.results.record import Outcome
from marsbench.results.store import Store
from marsbench.sweep.heartbeat import Heartbeat, heartbeats
from marsbench.sweep.status import disk_was_full
from marsbench.sweep.units import UnitFile, write_sweep
from marsbench.sweep.worker import (
    DISK_FULL,
    FAULT,
    INTERRUPTED,
    SIGNALS,
    interruptible,
    main,
    record_failure,
    run_unit,
)
from marsbench.training import runner
from marsbench.training.frozen import bank
from marsbench.training.loop.module import MarsModule
from tests.sweep.records import TINY, finish, record_of

ONLINE = {**TINY, "task": "frost_cls", "model": "resnet10t", "mode": "scratch"}
CACHED = {**TINY, "task": "frost_cls", "model": "efficientnet_lite0"}


def make_unit(store: Path, values: dict[str, Any], seeds: Sequence[int] = (0, 1, 2)) -> Path:
    """Write a sweep of one unit: the same run with several seeds."""
    resolver = Resolver()
    runs = [RunConfig.from_dict({**values, "seed": s, "store": str(store)}) for s in seeds]
    unit = UnitFile(tuple(runs), tuple(resolver.run_id(run) for run in runs))
    (path,) = write_sweep(store / ".sweeps" / "test", {"suite": "test"}, [unit])
    return path


def ids(unit: Path) -> list[str]:
    return list(json.loads(unit.read_text())["ids"])


class Runs:
    """Stands in for training: makes a record at once, or does what is asked for a seed."""

    def __init__(self, **asked: Any) -> None:
        self.asked = {int(key[1:]): what for key, what in asked.items()}
        self.seeds: list[int] = []
        self.beats: list[Heartbeat] = []

    def run(self, plan: Plan, *, force: bool = False) -> Outcome:
        self.seeds.append(plan.config.seed)
        self.beats += heartbeats(Path(plan.config.store))
        store = Store(plan.config.store)
        with store.claim(plan.run_id):
            if error := self.asked.get(plan.config.seed):
                if isinstance(error, Exception):
                    store.fail(plan.run_id, error)
                raise error
            record = record_of(plan.config, Resolver())
            store.finish(record)
        return Outcome(record, was_done=False)

    def run_bank(
        self, plans: Sequence[Plan], *, force: bool = False
    ) -> Iterator[tuple[Plan, Outcome | MarsbenchError]]:
        for plan in plans:
            try:
                outcome: Outcome | MarsbenchError = self.run(plan, force=force)
            except MarsbenchError as error:
                outcome = error
            yield plan, outcome


@pytest.fixture(params=["online", "cached"])
def keys(request: pytest.FixtureRequest) -> dict[str, Any]:
    return ONLINE if request.param == "online" else CACHED


def use(monkeypatch: pytest.MonkeyPatch, **asked: Any) -> Runs:
    runs = Runs(**asked)
    monkeypatch.setattr(runner, "run", runs.run)
    monkeypatch.setattr(bank, "run_bank", runs.run_bank)
    return runs


def test_a_unit_is_carried_out_once(
    keys: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unit, runs = make_unit(tmp_path, keys), use(monkeypatch)
    finish(Store(tmp_path), record_of(RunConfig.from_dict({**keys, "seed": 1}), Resolver()))
    assert run_unit(unit) == 0
    assert runs.seeds == [0, 2]
    assert run_unit(unit) == 0
    assert runs.seeds == [0, 2]
    beat = runs.beats[0]
    assert (beat.pid, beat.unit, list(beat.ids)) == (os.getpid(), "00000.json", ids(unit))
    assert beat.current == (ids(unit)[0] if keys is ONLINE else None)
    assert list(heartbeats(tmp_path)) == []


@pytest.mark.parametrize("content", ["[]", "{}", "5", '{"error":', "[" * 100_000])
def test_a_damaged_failure_of_an_earlier_attempt(content: str, tmp_path: Path) -> None:
    unit, error = make_unit(tmp_path, ONLINE), ConfigError("No such device.")
    failed = tmp_path / ids(unit)[1] / "failed.json"
    failed.parent.mkdir(parents=True)
    failed.write_text(content)
    record_failure(Store(tmp_path), ids(unit)[1], error)
    assert "No such device" in json.loads(failed.read_text())["error"]


@pytest.mark.parametrize(
    "error", [TrainingError("The loss became no number."), ConfigError("No such device.")]
)
def test_a_run_that_fails_stops_no_other(
    keys: dict[str, Any], error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unit, runs = make_unit(tmp_path, keys), use(monkeypatch, s1=error)
    assert run_unit(unit) == 0
    assert runs.seeds == [0, 1, 2]
    told = json.loads((tmp_path / ids(unit)[1] / "failed.json").read_text())
    assert str(error) in told["error"]
    assert len(Store(tmp_path).paths()) == 2
    # Started again, as after preemption, it leaves the failed one alone.
    assert run_unit(unit) == 0
    assert runs.seeds == [0, 1, 2]


def full() -> StoreError:
    """The error of a run on a full disk, as training explains it."""
    error = StoreError("The run cannot write into it.", "Free space.")
    error.__cause__ = OSError(28, "No space left on device")
    return error


def test_a_full_disk_stops_the_unit_and_fails_no_run(
    keys: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    unit, runs = make_unit(tmp_path, keys), use(monkeypatch, s1=full())
    assert main([str(unit), str(tmp_path / "another.json")]) == DISK_FULL
    assert runs.seeds == [0, 1]
    assert "Error: The run cannot write into it." in capsys.readouterr().err
    assert [path.parent.relative_to(tmp_path).as_posix() for path in Store(tmp_path).paths()] == [
        ids(unit)[0]
    ]
    assert not list(tmp_path.rglob("failed.json"))
    assert disk_was_full(Store(tmp_path)) == "test"
    use(monkeypatch)
    assert run_unit(unit) == 0
    assert len(Store(tmp_path).paths()) == 3


def test_a_lost_gpu_stops_every_unit_and_fails_no_run(
    keys: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    lost = DeviceLostError("The GPU failed.", "Give the same command again.")
    unit, runs = make_unit(tmp_path, keys), use(monkeypatch, s1=lost)
    assert main([str(unit), str(tmp_path / "another.json")]) == FAULT
    assert runs.seeds == [0, 1]
    assert capsys.readouterr().err.count("Error: The GPU failed.") == 1
    assert len(Store(tmp_path).paths()) == 1
    assert not list(tmp_path.rglob("failed.json"))
    assert list(heartbeats(tmp_path)) == []
    del runs.asked[1]
    assert main([str(unit)]) == 0
    assert runs.seeds == [0, 1, 1, 2]


def test_a_gpu_lost_in_training_is_lost_to_the_unit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    values = {**ONLINE, "model": "timm:test_resnet", "trainer.max_epochs": 1}
    unit, attempts = make_unit(tmp_path, values), list[int]()
    step = MarsModule.training_step

    def broken(self: MarsModule, batch: dict[str, Any], batch_idx: int) -> Any:
        attempts.append(self.config.seed)
        if self.config.seed == 1:
            raise torch.AcceleratorError("CUDA error: device-side assert triggered\nAdvice.")
        return step(self, batch, batch_idx)

    with monkeypatch.context() as patch:
        patch.setattr(MarsModule, "training_step", broken)
        assert main([str(unit)]) == FAULT
    assert attempts.count(1) == 1
    assert 2 not in attempts
    said = capsys.readouterr().err
    assert "Error: The GPU failed: CUDA error: device-side assert triggered." in said
    assert "Traceback" not in said
    assert not list(tmp_path.rglob("failed.json"))
    assert main([str(unit)]) == 0
    assert len(Store(tmp_path).paths()) == 3


@pytest.mark.parametrize(
    ("values", "module", "name"),
    [
        (
            {**ONLINE, "model": "timm:test_resnet", "trainer.max_epochs": 1},
            MarsModule,
            "training_step",
        ),
        (CACHED, bank, "fit_heads"),
    ],
    ids=["online", "cached"],
)
def test_too_little_memory_of_a_shared_gpu_fails_no_run(
    values: dict[str, Any],
    module: Any,
    name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    unit = make_unit(tmp_path, values, [0])

    def full(*_: Any, **__: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    monkeypatch.setenv(environment.SHARES, "1")
    with monkeypatch.context() as patch:
        patch.setattr(module, name, full)
        assert main([str(unit)]) == GpuSharedError.exit_code
    said = capsys.readouterr().err
    assert "Too little memory is left beside other workers: CUDA out of memory" in said
    assert "continuing with optim.batch_size" not in said
    assert not list(tmp_path.rglob("failed.json"))
    assert list(heartbeats(tmp_path)) == []


@pytest.mark.parametrize("values", [ONLINE, CACHED], ids=["data", "features"])
def test_a_full_cache_stops_the_unit(
    values: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unit = make_unit(tmp_path, values)

    def fill(*_: object, **__: object) -> None:
        error = DataError("The cache cannot be written.", "Free space.")
        raise error from OSError(122, "Disk quota exceeded")

    if values is CACHED:
        monkeypatch.setattr(bank, "run_bank", fill)
    else:
        monkeypatch.setattr(Resolver, "resolve", fill)
    assert run_unit(unit) == DISK_FULL
    assert not list(tmp_path.rglob("failed.json"))


def test_a_fault_of_ours_stops_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unit, runs = make_unit(tmp_path, ONLINE), use(monkeypatch, s0=ZeroDivisionError("ours"))
    assert run_unit(unit) == 0
    assert runs.seeds == [0, 1, 2]
    assert "ours" in (tmp_path / ids(unit)[0] / "failed.json").read_text()


def test_a_fault_of_ours_leaves_what_shares_features_to_be_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unit, runs = make_unit(tmp_path, CACHED), use(monkeypatch, s1=ZeroDivisionError("ours"))
    assert run_unit(unit) == FAULT
    assert runs.seeds == [0, 1]
    failed = [(tmp_path / run_id / "failed.json").exists() for run_id in ids(unit)]
    assert failed == [False, True, False]
    assert main([str(unit)]) == 0
    assert runs.seeds == [0, 1, 2]


def test_what_they_share_cannot_be_had(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unit = make_unit(tmp_path, CACHED)

    def nothing(*_: object, **__: object) -> None:
        raise DataNotFoundError("Far and wide nothing.")

    monkeypatch.setattr(bank, "run_bank", nothing)
    assert run_unit(unit) == 0
    assert all((tmp_path / run_id / "failed.json").exists() for run_id in ids(unit))


def test_a_run_that_is_told_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unit, runs = make_unit(tmp_path, CACHED), use(monkeypatch)

    def twice(plans: Sequence[Plan], *, force: bool = False) -> Iterator[Any]:
        for found in runs.run_bank(plans, force=force):
            yield found
            yield found

    monkeypatch.setattr(bank, "run_bank", twice)
    assert run_unit(unit) == 0
    assert len(Store(tmp_path).paths()) == 3


def test_a_run_of_another_process_is_left_to_it(
    keys: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unit = make_unit(tmp_path, keys)
    use(monkeypatch)
    with Store(tmp_path).claim(ids(unit)[1]):
        assert run_unit(unit) == 0
    assert len(Store(tmp_path).paths()) == 2
    assert not (tmp_path / ids(unit)[1] / "failed.json").exists()
    assert run_unit(unit) == 0
    assert len(Store(tmp_path).paths()) == 3


def test_data_that_lack_on_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unit, runs = make_unit(tmp_path, ONLINE), use(monkeypatch)
    content = json.loads(unit.read_text())
    content["runs"][0] |= {"source": "local", "root": str(tmp_path)}
    content["runs"][1]["size"] = 0.03
    unit.write_text(json.dumps(content))
    assert run_unit(unit) == 0
    assert runs.seeds == [2]
    told = [(tmp_path / run_id / "failed.json") for run_id in ids(unit)]
    assert "DataNotFoundError" in told[0].read_text()
    assert "data changed since the sweep was planned" in told[1].read_text()


def test_data_that_lack_are_searched_for_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unit, searched = make_unit(tmp_path, ONLINE), list[str]()

    def nothing(spec: Any, *_: object, **__: object) -> None:
        searched.append(spec.name)
        raise DataNotFoundError("Far and wide nothing.")

    monkeypatch.setattr("marsbench.plan.resolve.open_source", nothing)
    assert run_unit(unit) == 0
    assert searched == ["frost_cls"]
    assert len(list(tmp_path.rglob("failed.json"))) == 3


@pytest.mark.parametrize("stop", [KeyboardInterrupt(), SystemExit(143)], ids=["int", "term"])
def test_an_interrupted_unit_goes_on(
    stop: BaseException, keys: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unit, runs = make_unit(tmp_path, keys), use(monkeypatch, s1=stop)
    assert run_unit(unit) == INTERRUPTED
    assert list(heartbeats(tmp_path)) == []
    assert len(Store(tmp_path).paths()) == 1
    del runs.asked[1]
    assert run_unit(unit) == 0
    assert runs.seeds == [0, 1, 1, 2]


def test_what_is_no_unit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(StoreError, match="is invalid"):
        run_unit(tmp_path / "nothing.json")
    assert main([str(tmp_path / "nothing.json")]) == 2
    assert main([]) == 2
    assert "Usage" in capsys.readouterr().err


@pytest.mark.parametrize("how", SIGNALS, ids=lambda how: how.name)
def test_the_first_signal_alone_counts(how: signal.Signals) -> None:
    before = [signal.getsignal(one) for one in SIGNALS]

    def work() -> None:
        with interruptible():
            try:
                signal.raise_signal(how)
            finally:
                for one in SIGNALS:
                    # Python complains of one that is under way when it comes to be ignored.
                    assert callable(signal.getsignal(one))
                    signal.raise_signal(one)

    with pytest.raises(KeyboardInterrupt, match=how.name):
        work()
    assert [signal.getsignal(one) for one in SIGNALS] == before


WRITING = """
import sys
from marsbench.sweep.worker import main
from marsbench.training.loop import checkpoints
checkpoints.WRITE_EVERY = 0.0
sys.exit(main())
"""
"""A worker that writes checkpoints after every epoch."""


def test_a_stopped_process_ends_as_if_never_stopped(tmp_path: Path, python: str) -> None:
    """The real thing: a worker stopped in the midst of training, and started again."""
    values = {**ONLINE, "model": "timm:test_resnet", "trainer.max_epochs": 12}
    values |= {"trainer.patience": "null", "logger.csv": True}
    unit = make_unit(tmp_path / "cut", values, seeds=(0, 1))
    command = [python, "-c", WRITING, str(unit)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    folder = tmp_path / "cut" / ids(unit)[1]
    deadline = time.monotonic() + 120
    while not (folder / "checkpoints" / "last.ckpt").exists() and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    assert process.returncode == INTERRUPTED, said
    assert list(heartbeats(tmp_path / "cut")) == []
    assert len(Store(tmp_path / "cut").paths()) == 1
    assert run_unit(unit) == 0
    whole = make_unit(tmp_path / "whole", values, seeds=(0, 1))
    assert run_unit(whole) == 0
    for run_id in ids(whole):
        cut, not_cut = (Store(tmp_path / name).find(run_id) for name in ("cut", "whole"))
        assert cut is not None
        assert not_cut is not None
        assert cut.metrics == not_cut.metrics
        one, other = (Store(tmp_path / name).predictions(run_id) for name in ("cut", "whole"))
        pd.testing.assert_frame_equal(one, other)
    resumed = Store(tmp_path / "cut").find(ids(unit)[1])
    assert resumed is not None
    assert "resumed_from_epoch" in resumed.timing


def test_a_heartbeat_that_stopped_is_old() -> None:
    beat = Heartbeat(
        "h", 1, "u", (), None, "2026-01-01T00:00:00+00:00", "2026-01-01T00:00:00+00:00"
    )
    assert beat.age > 86400
    assert dataclasses.replace(beat, updated="2999-01-01T00:00:00+00:00").age < 0
