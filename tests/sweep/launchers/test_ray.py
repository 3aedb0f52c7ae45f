"""Units as tasks of ray. The tests marked slow need ray itself:

pip install 'marsbench[ray]'; pytest -m slow tests/sweep/launchers/test_ray.py
"""

import os
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from marsbench.base.errors import ConfigError, NotAvailableError
from marsbench.sweep.launchers.ray import (
    RayLauncher,
    WorkerDiedError,
    carry_out,
    share_of_cores,
)
from marsbench.sweep.launchers.settings import LauncherSettings, get_launcher, load_settings
from tests.sweep.rough import Sweep, check_same, ended, parent, wait_until, write_suite

SETTINGS = LauncherSettings(name="ray")


class FakeRay(ModuleType):
    """As much of ray as is used, carrying out tasks at once."""

    class exceptions(ModuleType):  # noqa: N801
        class RayError(Exception):
            pass

    def __init__(self, resources: dict[str, float]) -> None:
        super().__init__("ray")
        self.resources = resources
        self.init_with: dict[str, Any] | None = None
        self.options: dict[str, Any] = {}
        self.cores: list[int] = []
        self.started: list[str] = []
        self.cancelled: list[object] = []
        self.at_once = 0
        self.interrupts = False

    def is_initialized(self) -> bool:
        return self.init_with is not None

    def init(self, **options: Any) -> None:
        if options.get("address") == "nowhere:1":
            raise ConnectionError("no GCS\nat nowhere:1")
        self.init_with = options

    def shutdown(self) -> None:
        self.init_with = None

    def cluster_resources(self) -> dict[str, float]:
        return self.resources

    def nodes(self) -> list[dict[str, Any]]:
        return [{"Alive": True, "Resources": self.resources}]

    def remote(self, **options: Any) -> Callable[[object], Any]:
        self.options = options
        ray = self

        class Task:
            def remote(self, unit: str, log: str, directory: str, cores: int) -> str:
                ray.started.append(unit)
                ray.cores.append(cores)
                return unit

        return lambda _: Task()

    def wait(self, refs: list[str], **_: Any) -> tuple[list[str], list[str]]:
        self.at_once = max(self.at_once, len(refs))
        if self.interrupts:
            self.interrupts = False
            raise KeyboardInterrupt
        return refs[:1], refs[1:]

    def get(self, ref: str) -> int:
        if ref.endswith("2.json"):
            raise self.exceptions.RayError("worker\ndied")
        return 0

    def cancel(self, ref: str) -> None:
        self.cancelled.append(ref)


@pytest.fixture
def ray(monkeypatch: pytest.MonkeyPatch) -> FakeRay:
    fake = FakeRay({"CPU": 4.0})
    monkeypatch.setitem(sys.modules, "ray", fake)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    return fake


def make_units(folder: Path, count: int) -> list[Path]:
    return [folder / "units" / f"{i}.json" for i in range(count)]


def test_settings() -> None:
    """The file that is shipped names what the engine heeds, and can be overridden."""
    settings = load_settings("ray", {"max_retries": "3"})
    assert (settings.name, settings.max_retries) == ("ray", 3)


def test_without_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(NotAvailableError, match=r"ray.*\n.*pip install 'marsbench\[ray\]'"):
        get_launcher("ray", SETTINGS)


def test_all_units(tmp_path: Path, ray: FakeRay, capsys: pytest.CaptureFixture[str]) -> None:
    settings = replace(SETTINGS, jobs=2, cpus=2, mem_gb=1.5, max_retries=4)
    get_launcher("ray", settings).launch(tmp_path, make_units(tmp_path, 5))
    assert ray.started == [str(unit) for unit in make_units(tmp_path, 5)]
    assert ray.at_once == 2
    assert not ray.is_initialized()
    assert ray.options == {
        "num_cpus": 2,
        "num_gpus": 0.0,
        "memory": int(1.5 * 2**30),
        "max_retries": 4,
        "retry_exceptions": [WorkerDiedError],
    }
    told = capsys.readouterr().err
    assert "unit 2: worker died" in told
    assert "Given up: unit 2;" in told


@pytest.mark.parametrize(
    ("settings", "has", "gpus", "cpus", "cores"),
    [
        (SETTINGS, {"CPU": 16.0}, 0.0, 1, 1),
        (SETTINGS, {"CPU": 16.0, "GPU": 2.0}, 1.0, 8, 8),
        (replace(SETTINGS, gpus=0.25), {"CPU": 16.0, "GPU": 2.0}, 0.25, 2, 2),
        (replace(SETTINGS, gpus=2), {"CPU": 15.0, "GPU": 2.0}, 2, 15, 15),
        (replace(SETTINGS, gpus=0), {"CPU": 16.0, "GPU": 2.0}, 0, 1, 1),
        # Four workers are to fit though they have less than a core each.
        (replace(SETTINGS, gpus=0.25), {"CPU": 2.0, "GPU": 1.0}, 0.25, 0.5, 1),
        (replace(SETTINGS, cpus=3), {"CPU": 16.0, "GPU": 2.0}, 1.0, 3, 3),
    ],
    ids=["no-gpu", "one", "quarter", "two", "none", "few-cores", "given"],
)
def test_gpus_and_their_share_of_the_cores(
    tmp_path: Path,
    ray: FakeRay,
    settings: LauncherSettings,
    has: dict[str, float],
    gpus: float,
    cpus: float,
    cores: int,
) -> None:
    ray.resources = has
    RayLauncher(settings).launch(tmp_path, make_units(tmp_path, 1))
    assert (ray.options["num_gpus"], ray.options["num_cpus"]) == (gpus, cpus)
    assert ray.cores == [cores]


def test_cores_of_unequal_nodes() -> None:
    nodes = [
        {"Alive": True, "Resources": {"CPU": 64.0, "GPU": 4.0}},
        {"Alive": True, "Resources": {"CPU": 24.0, "GPU": 2.0}},
        {"Alive": True, "Resources": {"CPU": 8.0}},
        {"Alive": False, "Resources": {"CPU": 1.0, "GPU": 1.0}},
    ]
    assert share_of_cores(nodes, 1) == 12
    assert share_of_cores(nodes, 0) == 1
    assert share_of_cores(nodes[2:], 1) == 1


@pytest.mark.parametrize(
    ("settings", "named"),
    [(replace(SETTINGS, gpus=0.5), "gpus is 0.5"), (replace(SETTINGS, cpus=5), "cpus is 5")],
)
def test_more_than_there_is(
    tmp_path: Path, ray: FakeRay, settings: LauncherSettings, named: str
) -> None:
    with pytest.raises(ConfigError, match=rf"launcher\.{named}; ray has"):
        RayLauncher(settings).launch(tmp_path, [])
    assert not ray.is_initialized()


def test_cluster(tmp_path: Path, ray: FakeRay, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MARSBENCH_HOME", "/data")
    kept: dict[str, Any] = {}
    monkeypatch.setattr(ray, "shutdown", lambda: kept.update(ray.init_with or {}))
    RayLauncher(replace(SETTINGS, address="auto", cpus=64)).launch(tmp_path, [])
    assert kept["address"] == "auto"
    assert kept["runtime_env"]["env_vars"]["MARSBENCH_HOME"] == "/data"
    ray.init_with = None
    with pytest.raises(NotAvailableError, match="at nowhere:1: no GCS at nowhere:1"):
        RayLauncher(replace(SETTINGS, address="nowhere:1")).launch(tmp_path, [])


def test_interrupted(tmp_path: Path, ray: FakeRay) -> None:
    ray.interrupts = True
    with pytest.raises(KeyboardInterrupt):
        RayLauncher(SETTINGS).launch(tmp_path, make_units(tmp_path, 3))
    assert ray.cancelled == [str(unit) for unit in make_units(tmp_path, 3)]
    assert not ray.is_initialized()


@pytest.mark.parametrize(
    ("does", "raises"),
    [
        ("exit 0", None),
        ("exit 2", None),
        ("exit 75", "its worker was interrupted"),
        ("exit 3", "its worker ended with code 3"),
        ("exit 70", "its worker ended with code 70"),
        ("kill -9 $$", "its worker was ended by signal 9"),
    ],
)
def test_a_worker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, does: str, raises: str | None
) -> None:
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\necho "$PWD" "$MARSBENCH_CORES" "$@"\n{does}\n')
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    arguments = ("unit.json", str(tmp_path / "log"), str(tmp_path), 3)
    if raises is None:
        assert carry_out(*arguments) == int(does[-1])
    else:
        with pytest.raises(WorkerDiedError, match=raises):
            carry_out(*arguments)
    assert (tmp_path / "log").read_text() == (f"{tmp_path} 3 -m marsbench.sweep.worker unit.json\n")


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_disturbed(tmp_path: Path) -> None:
    """Workers killed, ray's own too, and Ctrl-C: in the end all is as if nothing had been."""
    pytest.importorskip("ray")
    online, cached = 12, 12
    suite = write_suite(tmp_path / "suite.yaml", online=online, cached=cached)
    home = tmp_path / "home"
    calm = Sweep(suite, tmp_path / "calm", "launcher=local", "launcher.jobs=2", home=home)
    assert calm.finish() == 1

    rough = Sweep(suite, tmp_path / "rough", "launcher=ray", "launcher.jobs=2", home=home)
    with ended(rough.start()) as launcher:
        rough.wait_for_done(1)
        rough.kill_worker()
        rough.wait_for_done(rough.done + 2)
        rough.worker()
        os.killpg(launcher.pid, signal.SIGINT)
        said, _ = launcher.communicate(timeout=180)
        assert launcher.returncode == 130, said
        assert "The sweep has stopped" in said
        assert "Traceback" not in said
    wait_until(lambda: not rough.has_workers(), "the workers to end")
    assert rough.done < online + cached

    with ended(rough.start()) as launcher:
        worker = rough.worker().pid
        os.kill(parent(worker), signal.SIGKILL)  # ray's own process
        said, _ = launcher.communicate(timeout=600)
        assert launcher.returncode in (0, 2), said
    wait_until(lambda: not rough.has_workers(), "the workers to end")
    rough.finish()
    check_same(rough, calm, online + cached)
