"""Workers that share GPUs of simulated memory; processes are simulated too."""

import json
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from marsbench.base import environment
from marsbench.base.errors import GpuSharedError
from marsbench.cli import app
from marsbench.plan.resolve import Resolver
from marsbench.results.store import Store
from marsbench.sweep.launchers import forecast, local
from marsbench.sweep.launchers.packing import Memory
from marsbench.sweep.units import read_unit
from marsbench.sweep.worker import FAULT
from tests.sweep.records import finish, record_of, write_suite

GIB = 2**30
SMALL = {"task": "frost_cls", "model": "resnet10t", "mode": "scratch"}
LARGE = {**SMALL, "model": "resnet18"}


class Machine:
    """Workers in the order of their start; a worker ends after two polls."""

    def __init__(self, root: Path) -> None:
        self.store, self.resolver = Store(root), Resolver()
        self.running: list[Process] = []
        self.started: list[str] = []
        self.together: list[int] = []
        self.cores: set[str] = set()
        self.codes: dict[str, list[int]] = {}
        self.broken: set[str] = set()  # GPUs whose workers end with a fault
        self.polls: dict[str, int] = {}  # of workers that take longer
        # Reserved memory of a worker in GiB, beside 1 GiB of its context.
        self.peaks = {"resnet10t": 9, "resnet18": 49}

    def popen(self, command: list[str], env: dict[str, str], **_: Any) -> "Process":
        process = Process(self, Path(command[-1]), env["CUDA_VISIBLE_DEVICES"])
        self.running.append(process)
        shares = "shared" if environment.SHARES in env else "alone"
        self.started.append(f"{process.name} {env['CUDA_VISIBLE_DEVICES']} {shares}")
        self.together.append(len(self.running))
        self.cores.add(env[environment.CORES])
        return process


class Process:
    """Worker that trains nothing."""

    pid = -1

    def __init__(self, machine: Machine, unit: Path, gpu: str) -> None:
        self.machine, self.unit, self.gpu = machine, read_unit(unit), gpu
        self.name = f"{self.unit.runs[0].model}-{self.unit.runs[0].seed}"
        self.returncode: int | None = None
        self.polls = 0

    def poll(self) -> int | None:
        self.polls += 1
        if self.polls < self.machine.polls.get(self.name, 3):
            return None
        machine = self.machine
        machine.running.remove(self)
        codes = machine.codes.get(self.name, [])
        self.returncode = codes.pop(0) if codes else FAULT if self.gpu in machine.broken else 0
        for run in self.unit.runs if self.returncode == 0 else ():
            gib = machine.peaks[run.model]
            record = record_of(run, machine.resolver)
            peaks = {"device": 1, "device_reserved": gib * GIB}
            finish(machine.store, replace(record, peak_memory=peaks))
        return self.returncode

    def terminate(self) -> None:
        self.machine.running.remove(self)

    def wait(self, timeout: float | None = None) -> int:
        return 0


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """One GPU of 140 GiB, 126 of them for workers, and eight cores."""
    machine = Machine(tmp_path / "runs")
    monkeypatch.setattr(subprocess, "Popen", machine.popen)
    monkeypatch.setattr(local, "_kill_group", lambda worker: None)
    monkeypatch.setattr(local, "_POLL", 0)
    for module in (local, forecast):
        monkeypatch.setattr(module, "visible_gpus", lambda: ["0"])
        monkeypatch.setattr(module, "memory_of", lambda sets: [Memory(140 * GIB, 140 * GIB)])
    monkeypatch.setattr(environment, "usable_cores", lambda: 8)
    return machine


def sweep(tmp_path: Path, *grids: dict[str, Any], words: tuple[str, ...]) -> tuple[Any, str]:
    """Carry out a sweep; returns the first line of its output, and its messages."""
    # Folders of sweeps are named by suite and second.
    number = len(list(tmp_path.glob("*.yaml")))
    suite = write_suite(tmp_path / f"s{number}.yaml", *grids)
    words = (f"suite={suite}", f"store={tmp_path / 'runs'}", *words)
    done = CliRunner().invoke(app, ["sweep", *words])
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout.splitlines()[0]), done.stderr


def test_the_first_unit_of_a_kind_is_measured(machine: Machine, tmp_path: Path) -> None:
    grid = {**SMALL, "seed": [0, 1, 2, 3, 4, 5]}
    summary, said = sweep(tmp_path, grid, words=("launcher.per_gpu=4",))
    assert summary["done"] == 6
    assert machine.started[0] == "resnet10t-0 0 alone"
    assert machine.started[1:] == [f"resnet10t-{i} 0 shared" for i in range(1, 6)]
    assert machine.together == [1, 1, 2, 3, 4, 1]
    assert machine.cores == {"2"}
    like = "resnet10t scratch labels, batch 32, adamw, 176 px, 32-true"
    assert f"Measured    {like}: 10.0 GiB of a GPU" in said


def test_two_units_that_do_not_fit_together_run_in_turn(machine: Machine, tmp_path: Path) -> None:
    machine.peaks["resnet10t"] = 79
    sweep(tmp_path, {**SMALL, "seed": [0, 1, 2]}, words=("launcher.per_gpu=4",))
    assert machine.together == [1, 1, 1]


def test_units_of_two_sizes(machine: Machine, tmp_path: Path) -> None:
    """50 + 50 + 10 + 10 GiB."""
    for grid in (SMALL, LARGE):
        sweep(tmp_path, {**grid, "seed": 9}, words=("launcher.per_gpu=8",))
    machine.started.clear()
    machine.together.clear()
    grids = [{**LARGE, "seed": [0, 1, 2]}, {**SMALL, "seed": [0, 1]}]
    sweep(tmp_path, *grids, words=("launcher.per_gpu=8",))
    names = [line.split()[0] for line in machine.started]
    assert names == ["resnet18-0", "resnet18-1", "resnet10t-0", "resnet10t-1", "resnet18-2"]
    assert machine.together == [1, 2, 3, 4, 1]
    assert all(line.endswith("shared") for line in machine.started)


@pytest.mark.parametrize("code", [GpuSharedError.exit_code, FAULT], ids=["memory", "fault"])
def test_a_unit_without_enough_memory_starts_again_alone(
    code: int, machine: Machine, tmp_path: Path
) -> None:
    sweep(tmp_path, {**SMALL, "seed": 9}, words=("launcher.per_gpu=3",))
    machine.started.clear()
    machine.codes["resnet10t-1"] = [code]
    grid = {**SMALL, "seed": [0, 1, 2]}
    summary, said = sweep(tmp_path, grid, words=("launcher.per_gpu=3",))
    assert (summary["done"], summary["failed"]) == (3, 0)
    assert machine.started == [
        *(f"resnet10t-{i} 0 shared" for i in range(3)),
        "resnet10t-1 0 alone",
    ]
    assert machine.together[-1] == 1
    assert ("Unit 00001 needs more of its shared GPU's memory" in said) == (code != FAULT)


def test_a_place_is_filled_as_soon_as_a_worker_ends(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "visible_gpus", lambda: ["0", "1"])
    machine.polls["resnet10t-0"] = 20
    sweep(tmp_path, {**SMALL, "seed": [0, 1, 2, 3]}, words=())
    assert machine.started == [
        f"resnet10t-{i} {gpu} alone" for i, gpu in enumerate(("0", "1", "1", "1"))
    ]
    assert machine.together == [1, 2, 2, 2]


def test_a_broken_gpu_costs_no_run(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "visible_gpus", lambda: ["0", "1"])
    machine.broken.add("0")
    summary, said = sweep(tmp_path, {**SMALL, "seed": list(range(8))}, words=())
    assert (summary["done"], summary["failed"]) == (8, 0)
    on_broken = [line for line in machine.started if line.split()[1] == "0"]
    assert len(on_broken) == 3
    assert "Warning: 3 workers in a row on GPU 0 ended with exit code 70; other GPUs" in said


def test_an_error_of_the_launcher_leaves_no_worker(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any) -> None:
        raise OSError("no")

    monkeypatch.setattr(local, "visible_gpus", lambda: ["0", "1"])
    monkeypatch.setattr(local, "peaks_of", fails)
    monkeypatch.setattr(local, "memory_of", lambda sets: [Memory(140 * GIB, 140 * GIB)] * 2)
    machine.polls["resnet18-0"] = 20
    grids = [{**SMALL, "seed": [0]}, {**LARGE, "seed": [0]}]
    suite = write_suite(tmp_path / "s.yaml", *grids)
    words = ["sweep", f"suite={suite}", f"store={tmp_path / 'runs'}", "launcher.per_gpu=2"]
    done = CliRunner().invoke(app, words)
    assert isinstance(done.exception, OSError)
    assert len(machine.started) == 2
    assert machine.running == []


@pytest.mark.parametrize(
    ("words", "most", "cores"),
    [
        ((), 1, "8"),
        (("launcher.jobs=8",), 1, "8"),
        (("launcher.per_gpu=4", "launcher.jobs=2"), 2, "4"),
        # Two cores each.
        (("launcher.per_gpu=auto",), 4, "2"),
        (("launcher.per_gpu=2", "launcher.cpus=1"), 2, "1"),
    ],
    ids=["default", "jobs", "fewer-jobs", "auto", "cpus"],
)
def test_limits_of_the_number(
    words: tuple[str, ...], most: int, cores: str, machine: Machine, tmp_path: Path
) -> None:
    sweep(tmp_path, {**SMALL, "seed": [0, 1, 2, 3, 4, 5]}, words=words)
    assert max(machine.together) == most
    assert machine.cores == {cores}


def test_dry_run(machine: Machine, tmp_path: Path) -> None:
    words = ("launcher.per_gpu=8",)
    sweep(tmp_path, {**LARGE, "seed": 9}, words=words)
    grids = [{**LARGE, "seed": [0, 1, 2]}, {**SMALL, "seed": [0, 1]}]
    (summary, _) = sweep(tmp_path, *grids, words=(*words, "--dry-run"))
    px = "batch 32, adamw, 176 px, 32-true"
    assert summary["packing"]["gpus"] == [{"gpu": "0", "room_gib": 126.0}]
    assert summary["packing"]["per_gpu"] == 8
    large, small = sorted(summary["packing"]["units"], key=lambda row: -row["records"])
    assert large.pop("like").startswith("resnet18 scratch labels, batch 32")
    assert large == {"units": 3, "gib": 50.0, "records": 1, "at_once": 2}
    like = f"resnet10t scratch labels, {px}"
    assert small == {"like": like, "units": 2, "gib": None, "records": 0, "at_once": 1}
    assert "packing" not in sweep(tmp_path, *grids, words=("--dry-run",))[0]


def test_dry_run_as_a_table(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    suite = write_suite(tmp_path / "s.yaml", {**SMALL, "seed": [0, 1]})
    words = ["sweep", f"suite={suite}", f"store={tmp_path / 'runs'}", "launcher.per_gpu=auto"]
    shown = CliRunner().invoke(app, [*words, "--dry-run", "--format=table"]).stdout
    assert "Up to 4 workers share a GPU; memory for them: 0: 126.0 GiB" in shown
    assert "its first unit, alone" in shown
    monkeypatch.setattr(forecast, "visible_gpus", list)
    shown = CliRunner().invoke(app, [*words, "--dry-run", "--format=table"]).stdout
    assert "no GPU is visible: launcher.per_gpu has no effect" in shown
