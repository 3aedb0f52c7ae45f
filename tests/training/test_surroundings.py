"""Variables of schedulers around a run: tasks of an allocation are not the processes of a run."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from marsbench.api import run_config
from marsbench.base import environment
from marsbench.base.errors import ConfigError
from marsbench.cli.compose import compose
from marsbench.config.schema import RunConfig
from marsbench.training.loop.trainer import check_tasks

SLURM = {
    "SLURM_JOB_ID": "4242",
    "SLURM_NTASKS": "4",
    "SLURM_NPROCS": "4",
    "SLURM_NNODES": "1",
    "SLURM_NODELIST": "localhost",
    "SLURM_JOB_NAME": "train",
    "SLURM_TASKS_PER_NODE": "4",
    "SLURM_PROCID": "3",
    "SLURM_LOCALID": "3",
    "SLURM_NODEID": "0",
}
TORCHRUN = {
    "RANK": "3",
    "LOCAL_RANK": "3",
    "WORLD_SIZE": "4",
    "GROUP_RANK": "0",
    "LOCAL_WORLD_SIZE": "4",
    "MASTER_ADDR": "127.0.0.1",
    "MASTER_PORT": "29400",
    "TORCHELASTIC_RUN_ID": "x",
}


def words(toy: str, store: Path, **more: Any) -> list[str]:
    keys = {
        "task": toy,
        "model": "timm:test_resnet",
        "mode": "scratch",
        "store": str(store),
        "workers": 0,
        "optim.batch_size": 8,
        "trainer.max_epochs": 2,
        "trainer.accelerator": "cpu",
        **more,
    }
    return [f"{key}={value}" for key, value in keys.items()]


def run_within(
    python: str, variables: dict[str, str], arguments: list[str]
) -> "subprocess.CompletedProcess[str]":
    command = [python, "-m", "marsbench", "run", *arguments]
    surroundings = {**environment.without_ranks(), **variables}
    return subprocess.run(command, env=surroundings, capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def plain(toy: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], str]:
    """Metrics and curves of a run outside of any job."""
    store = tmp_path_factory.mktemp("plain")
    record = run_config(compose(words(toy, store))).record
    return record.metrics, (store / record.run_id / "logs/attempt_1/metrics.csv").read_text()


@pytest.mark.parametrize(
    "variables",
    [
        pytest.param(SLURM, marks=pytest.mark.slow),
        {**SLURM, "SLURM_NTASKS_PER_NODE": "4"},
        pytest.param(TORCHRUN, marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_a_run_in_one_of_several_tasks(
    toy: str,
    tmp_path: Path,
    python: str,
    plain: tuple[dict[str, Any], str],
    variables: dict[str, str],
) -> None:
    done = run_within(python, variables, words(toy, tmp_path, **{"logger.tensorboard": True}))
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert summary["metrics"] == plain[0]
    folder = tmp_path / summary["run_id"]
    assert (folder / "logs/attempt_1/metrics.csv").read_text() == plain[1]
    assert list(folder.glob("logs/tensorboard/attempt_1/events*"))
    assert (folder / "model.safetensors").exists()


def test_a_local_worker_is_no_task_of_the_job(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {**SLURM, **TORCHRUN}.items():
        monkeypatch.setenv(name, value)
    kept = environment.without_ranks()
    assert kept["SLURM_JOB_ID"] == "4242"
    assert not {"SLURM_NTASKS", "SLURM_PROCID", "LOCAL_RANK", "RANK", "MASTER_PORT"} & set(kept)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        pytest.param(
            {"SLURM_NTASKS": "1"}, "SLURM_NTASKS is 1, expected 2", marks=pytest.mark.slow
        ),
        pytest.param({}, "SLURM_NTASKS is 4, expected 2", marks=pytest.mark.slow),
        ({"SLURM_NTASKS": "2", "SLURM_NNODES": "2"}, "SLURM_NNODES is 2, expected 1"),
    ],
)
def test_tasks_that_do_not_fit_a_run_on_two_devices(
    toy: str, tmp_path: Path, python: str, changes: dict[str, str], said: str
) -> None:
    arguments = words(toy, tmp_path, **{"trainer.devices": 2})
    done = run_within(python, {**SLURM, "SLURM_PROCID": "0", **changes}, arguments)
    assert done.returncode == 2
    problem, remedy = done.stderr.splitlines()
    assert problem.startswith("Error: The tasks of this SLURM job do not fit trainer.devices=2")
    assert said in problem
    assert "--ntasks-per-node=2" in remedy
    # The other tasks leave the message to the first.
    other = run_within(python, {**SLURM, **changes, "SLURM_PROCID": "1"}, arguments)
    assert (other.returncode, other.stdout, other.stderr) == (2, "", "")


def test_tasks_that_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    two = RunConfig.from_dict({"task": "t", "model": "m", "trainer": {"devices": 2}})
    for name in ("SLURM_NTASKS", "SLURM_NTASKS_PER_NODE", "SLURM_JOB_NAME"):
        monkeypatch.delenv(name, raising=False)
    check_tasks(two)
    monkeypatch.setenv("SLURM_NTASKS", "2")
    monkeypatch.setenv("SLURM_STEP_ID", "0")
    check_tasks(two)
    monkeypatch.delenv("SLURM_STEP_ID")
    monkeypatch.setenv("SLURM_PROCID", "0")
    with pytest.raises(ConfigError, match="the run was not started by srun"):
        check_tasks(two)
    monkeypatch.setenv("SLURM_NTASKS", "1")
    monkeypatch.setenv("SLURM_PROCID", "0")
    check_tasks(RunConfig.from_dict({"task": "t", "model": "m"}))
    with pytest.raises(ConfigError):
        check_tasks(two)
    # A task per node, in which torchrun starts the processes.
    with monkeypatch.context() as torchrun:
        torchrun.setenv("TORCHELASTIC_RUN_ID", "x")
        check_tasks(two)
    monkeypatch.setenv("SLURM_JOB_NAME", "interactive")
    check_tasks(two)


def test_a_rank_is_not_a_helper(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_RANK", "3")
    assert not environment.helps_another()
    assert not environment.helps_another(1)
    assert environment.helps_another(4)
    monkeypatch.setenv(environment.HELPER, "1")
    assert environment.helps_another()


def test_the_surroundings_are_restored(
    toy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pytorch_lightning import utilities

    rank_zero_only: Any = utilities.rank_zero_only

    for name, value in SLURM.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(rank_zero_only, "rank", 3)
    before = dict(os.environ)
    run_config(compose(words(toy, tmp_path)))
    assert rank_zero_only.rank == 3
    assert dict(os.environ) == before
