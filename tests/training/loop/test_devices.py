"""One step is one step, however its samples are spread over batches, devices and layouts."""

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pytorch_lightning.strategies import DDPStrategy
from torch.distributed.constants import default_pg_timeout

import marsbench
from marsbench.config.schema import RunConfig
from marsbench.results.record import RunRecord
from marsbench.results.store import Store
from marsbench.training.loop.checkpoints import HeldCheckpoints
from marsbench.training.loop.trainer import WAIT, make_trainer, restored
from tests.fakes import make_spec, write_folder, write_spec

# Without batch normalisation, whose statistics are those of one device's batch.
MODEL = "timm:test_vit"


def keys(toy: str, store: Path, **more: Any) -> dict[str, Any]:
    return {
        "task": toy,
        "model": MODEL,
        "mode": "scratch",
        "store": str(store),
        "workers": 0,
        "optim.batch_size": 10,
        "trainer.max_epochs": 2,
        "trainer.accelerator": "cpu",
        **more,
    }


@pytest.fixture(scope="module")
def whole(toy: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[RunRecord, Path]:
    """A run whose steps are single batches."""
    store = tmp_path_factory.mktemp("whole")
    return marsbench.run(**keys(toy, store)), store


def scores(record: RunRecord, store: Path) -> np.ndarray:
    return np.stack(list(Store(store).predictions(record.run_id)["scores"]))


def check_equal(
    record: RunRecord, store: Path, whole: tuple[RunRecord, Path], tolerance: float = 2e-5
) -> None:
    expected, place = whole
    assert record.run_id == expected.run_id
    assert scores(record, store) == pytest.approx(scores(expected, place), abs=tolerance)
    assert record.checkpoint["value"] == pytest.approx(expected.checkpoint["value"], abs=1e-4)


def test_accumulated_batches_are_one_step(
    toy: str, whole: tuple[RunRecord, Path], tmp_path: Path
) -> None:
    more = {"optim.batch_size": 2, "trainer.accumulate_grad_batches": 5}
    check_equal(marsbench.run(**keys(toy, tmp_path, **more)), tmp_path, whole)


def run_command(python: str, values: dict[str, Any]) -> subprocess.CompletedProcess[str]:
    words = [f"{key}={value}" for key, value in values.items()]
    command = [python, "-m", "marsbench", "run", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


@pytest.mark.parametrize("batch_size", [5, pytest.param(4, marks=pytest.mark.slow)])
def test_two_devices_are_one_step(
    batch_size: int, toy: str, whole: tuple[RunRecord, Path], tmp_path: Path, python: str
) -> None:
    """With two processes on the CPU; of the last step's four samples each has two."""
    more = {"optim.batch_size": batch_size, "trainer.devices": 2}
    done = run_command(python, keys(toy, tmp_path / "two", **more))
    assert done.returncode == 0, done.stderr
    # One summary: the second process says nothing.
    summary = json.loads(done.stdout)
    record = Store(tmp_path / "two").find(summary["run_id"])
    assert record is not None
    if batch_size == 4:
        one = tmp_path / "one"
        whole = marsbench.run(**keys(toy, one, **{"optim.batch_size": 8})), one
    check_equal(record, tmp_path / "two", whole)
    again = run_command(python, keys(toy, tmp_path / "two", **more))
    assert json.loads(again.stdout)["status"] == "done already"


@pytest.mark.parametrize(
    ("devices", "strategy", "expected"),
    [(2, "auto", WAIT), (2, "ddp", WAIT), (2, "ddp_fork", default_pg_timeout), (1, "auto", None)],
)
def test_a_process_waits_minutes_for_a_lost_one(
    devices: int, strategy: str, expected: Any, tmp_path: Path
) -> None:
    more = {"trainer.devices": devices, "trainer.strategy": strategy}
    config = RunConfig.from_dict(keys("frost_cls", tmp_path, **more))
    with restored():
        trainer = make_trainer(config, tmp_path)
    # Lightning passes it to torch's process group.
    assert getattr(trainer.strategy, "_timeout", None) == expected
    assert isinstance(trainer.strategy, DDPStrategy) == (devices == 2)
    assert isinstance(trainer.strategy.checkpoint_io, HeldCheckpoints)


def test_a_failure_on_two_devices_is_one_message(toy: str, tmp_path: Path, python: str) -> None:
    more = {"optim.batch_size": 5, "trainer.devices": 2, "optim.lr": 1e30, "optim.name": "sgd"}
    done = run_command(python, keys(toy, tmp_path, **more))
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert done.stderr.count("loss became") == 1


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_what_one_device_meets_is_said_once(seed: int, tmp_path: Path, python: str) -> None:
    """The damaged image falls to the first with one seed, to the second with another."""
    folder = write_folder(make_spec(), tmp_path)
    task = str(write_spec(make_spec(), folder / "task.yaml"))
    next(folder.rglob("train_0007.png")).write_bytes(b"")
    more = {"optim.batch_size": 12, "trainer.devices": 2, "cache": "false", "seed": seed}
    done = run_command(python, keys(task, tmp_path / "runs", **more))
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.count("train_0007.png is empty") == 1
    (failed,) = (tmp_path / "runs").rglob("failed.json")
    assert "train_0007.png is empty" in failed.read_text()


@pytest.mark.parametrize("model", ["timm:test_resnet", MODEL])
def test_the_memory_layout_changes_nothing(model: str, toy: str, tmp_path: Path) -> None:
    first, second = (
        marsbench.run(**keys(toy, tmp_path / str(last), model=model, channels_last=last))
        for last in (True, False)
    )
    check_equal(second, tmp_path / "False", (first, tmp_path / "True"), tolerance=1e-3)


@pytest.mark.slow
def test_a_script_that_is_executed_twice_repeats_no_other_run(
    toy: str, tmp_path: Path, python: str
) -> None:
    values = keys(toy, tmp_path / "runs", **{"trainer.max_epochs": 1, "optim.batch_size": 5})
    script = tmp_path / "script.py"
    script.write_text(
        "import marsbench\n"
        f"print(marsbench.run(**{values!r}, force=True).created)\n"
        f"marsbench.run(**{ {**values, 'trainer.devices': 2}!r}, force=True)\n"
    )
    done = subprocess.run([python, str(script)], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert len(set(done.stdout.split())) == 1
    assert len(list((tmp_path / "runs").glob("toy/**/record.json"))) == 2


@pytest.mark.slow
def test_compiling_changes_nothing(toy: str, whole: tuple[RunRecord, Path], tmp_path: Path) -> None:
    check_equal(marsbench.run(**keys(toy, tmp_path, compile=True)), tmp_path, whole, 1e-4)
