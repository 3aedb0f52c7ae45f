import os
from pathlib import Path

import pytest
import pytorch_lightning as pl

from marsbench.base import environment
from marsbench.config.schema import RunConfig, TrainerConfig
from marsbench.data.datamodule import default_workers, processes_on_cores
from marsbench.training.loop.trainer import make_trainer, quiet, restored

SRUN = {
    "SLURM_JOB_ID": "7",
    "SLURM_JOB_NAME": "train",
    "SLURM_JOB_NODELIST": "node1",
    "SLURM_LOCALID": "2",
    "SLURM_NODEID": "0",
    "SLURM_NTASKS": "4",
    "SLURM_NTASKS_PER_NODE": "4",
    "SLURM_PROCID": "2",
    "SLURM_STEP_ID": "0",
}
INTERACTIVE = {**SRUN, "SLURM_JOB_NAME": "interactive"}
TORCHRUN = {
    "TORCHELASTIC_RUN_ID": "a",
    "MASTER_ADDR": "127.0.0.1",
    "MASTER_PORT": "29500",
    "LOCAL_RANK": "1",
    "RANK": "1",
    "GROUP_RANK": "0",
    "WORLD_SIZE": "4",
    "LOCAL_WORLD_SIZE": "4",
}


def workers(trainer: pl.Trainer | None) -> int:
    return default_workers(processes_on_cores(trainer))


@pytest.mark.parametrize(
    ("variables", "cores", "expected"),
    [
        # srun binds each task to its own 8 cores of 32.
        (SRUN, 8, 7),
        ({}, 8, 1),
        ({}, 32, 7),
        (INTERACTIVE, 32, 7),
        (TORCHRUN, 32, 7),
        ({}, 64, 8),
        (SRUN, 2, 0),
    ],
    ids=["srun", "few-cores", "lightning", "in-a-task", "torchrun", "most", "srun-few-cores"],
)
def test_workers_of_a_run_on_four_devices(
    variables: dict[str, str],
    cores: int,
    expected: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in (*SRUN, *TORCHRUN, environment.CORES, environment.HELPER):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)), raising=False)
    monkeypatch.setattr(environment, "_groups", list)
    options = TrainerConfig(accelerator="cpu", devices=4)
    config = RunConfig(trainer=options)
    with restored(), quiet():
        assert workers(make_trainer(config, tmp_path)) == expected
        # The other processes have ended when the first tests.
        alone = workers(make_trainer(config, tmp_path, alone=True))
    assert alone == workers(None) == (0 if cores <= 2 else min(8, cores - 1))
