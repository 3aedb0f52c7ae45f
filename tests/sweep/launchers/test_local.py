import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from marsbench.base import environment
from marsbench.base.errors import ConfigError, MarsbenchError
from marsbench.cli import app
from marsbench.results.store import Store
from marsbench.sweep import units
from marsbench.sweep.heartbeat import beating, heartbeats
from marsbench.sweep.launchers import local
from marsbench.sweep.launchers.local import LocalLauncher, _Worker
from marsbench.sweep.launchers.settings import LauncherSettings, get_launcher, load_settings
from marsbench.sweep.units import SWEEPS
from tests.sweep.records import write_suite

TOP = Path(__file__).parents[3]
FROZEN = {"task": "frost_cls", "model": "efficientnet_lite0"}
SCRATCH = {"task": "frost_cls", "model": "resnet10t", "mode": "scratch"}


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch, python: str) -> None:
    """Workers that train nothing, and start at once."""
    monkeypatch.setenv("PYTHONPATH", str(TOP))
    monkeypatch.setattr(local, "WORKER", (python, "-m", "tests.sweep.fake_worker"))


@pytest.fixture
def mortal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Such workers whose process ids are those of the processes that the launcher started."""
    monkeypatch.setenv("PYTHONPATH", str(TOP))
    monkeypatch.setattr(local, "WORKER", (sys.executable, "-m", "tests.sweep.fake_worker"))


def sweep(suite: str, store: Path, *words: str) -> tuple[int, dict[str, Any], str]:
    done = CliRunner().invoke(app, ["sweep", f"suite={suite}", f"store={store}", *words])
    lines = done.stdout.splitlines()
    return done.exit_code, json.loads(lines[-1]) if lines else {}, done.stderr


def test_a_sweep_and_again(fake: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Sweeps of one second have folders of their own.
    monkeypatch.setattr(units, "time", SimpleNamespace(strftime=lambda *_: "x", gmtime=time.gmtime))
    suite = write_suite(
        tmp_path / "s.yaml", {**FROZEN, "seed": [0, 1]}, {**SCRATCH, "seed": [0, 13]}
    )
    store = tmp_path / "runs"
    code, summary, said = sweep(suite, store, "launcher.jobs=2")
    assert (code, summary["done"], summary["failed"], summary["left"]) == (2, 3, 1, 0)
    assert "1 runs failed" in said
    assert "--retry-failed" in said
    (folder,) = (store / ".sweeps").iterdir()
    content = json.loads((folder / "sweep.json").read_text())
    assert len(content["ids"]) == 4
    assert content["words"][0] == f"suite={suite}"
    assert len(list((folder / "units").iterdir())) == 3
    assert len(list((folder / "logs").iterdir())) == 3
    assert list(heartbeats(store)) == []
    # The failed run is left, so there is nothing to start.
    assert sweep(suite, store)[0] == 2
    assert len(list((store / ".sweeps").iterdir())) == 1
    code, summary, said = sweep(suite, store, "--retry-failed")
    assert (code, summary.get("failed")) == (2, 1), said
    assert len(list((store / ".sweeps").iterdir())) == 2
    assert sweep(suite, store, "seed=0,1")[0] == 0


def test_processes_of_a_failed_worker_end_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rank that waits for the first one must not keep its GPU."""
    ready, alive = tmp_path / "ready", tmp_path / "alive"
    rank = f"from pathlib import Path; import time; Path({str(ready)!r}).touch(); time.sleep(300)"
    code = (
        "import subprocess, sys, time\n"
        "from pathlib import Path\n"
        f"rank = subprocess.Popen([sys.executable, '-c', {rank!r}])\n"
        f"Path({str(alive)!r}).write_text(str(rank.pid))\n"
        f"while not Path({str(ready)!r}).exists(): time.sleep(0.02)\n"
        "sys.exit(3)\n"
    )
    monkeypatch.setattr(local, "WORKER", (sys.executable, "-c", code))
    suite = write_suite(tmp_path / "s.yaml", {**FROZEN, "seed": [0]})
    assert sweep(suite, tmp_path / "runs")[0] != 0
    pid = int(alive.read_text())
    for _ in range(200):
        state = Path(f"/proc/{pid}/stat")
        # Killed, and perhaps not yet reaped by the init process.
        if not state.exists() or state.read_text().rpartition(")")[2].split()[0] in "ZX":
            break
        time.sleep(0.05)
    else:
        os.kill(pid, signal.SIGKILL)
        pytest.fail("the rank outlived its worker")


def test_a_worker_that_is_killed_is_started_once_more(mortal: None, tmp_path: Path) -> None:
    suite = write_suite(tmp_path / "s.yaml", {**FROZEN, "seed": [0, 1, 2]}, size=0.03)
    code, summary, said = sweep(suite, tmp_path / "runs")
    assert (code, summary["done"]) == (0, 3)
    assert "killed by signal 9; retrying once" in said
    assert list(heartbeats(tmp_path / "runs")) == []


def test_a_worker_that_is_killed_again_leaves_word(mortal: None, tmp_path: Path) -> None:
    suite = write_suite(tmp_path / "s.yaml", {**FROZEN, "seed": [0, 1, 2]}, size=0.04)
    code, summary, said = sweep(suite, tmp_path / "runs")
    assert (code, summary["done"], summary["failed"]) == (2, 2, 1)
    (told,) = (tmp_path / "runs").rglob("failed.json")
    assert "killed by signal 9 twice" in told.read_text()
    assert "--retry-failed" in said


def test_a_worker_with_a_fault_is_started_once_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, python: str
) -> None:
    code = "import sys; sys.exit(70)"
    monkeypatch.setattr(local, "WORKER", (python, "-c", code))
    suite = write_suite(tmp_path / "s.yaml", {**FROZEN, "seed": [0, 1]})
    code_of_sweep, summary, said = sweep(suite, tmp_path / "runs")
    assert (code_of_sweep, summary["failed"], summary["left"]) == (2, 0, 2)
    assert "ended with exit code 70; retrying once" in said
    assert "2 runs are left (" in said


LOST = """
import sys
from marsbench.base.errors import DeviceLostError
from marsbench.sweep import worker
from tests.sweep import fake_worker
def run_unit(path):
    marker = path.with_suffix(".lost")
    if not marker.exists():
        marker.touch()
        raise DeviceLostError("The GPU failed.", "Again.")
    return fake_worker.main(path)
worker.run_unit = run_unit
sys.exit(worker.main(sys.argv[1:]))
"""


def test_a_unit_that_lost_its_gpu_goes_on_in_a_new_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(TOP))
    monkeypatch.setattr(local, "WORKER", (sys.executable, "-c", LOST))
    suite = write_suite(tmp_path / "s.yaml", {**FROZEN, "seed": [0, 1]})
    store = tmp_path / "runs"
    code, summary, said = sweep(suite, store)
    assert (code, summary["done"], summary["failed"]) == (0, 2, 0)
    assert "ended with exit code 70; retrying once" in said
    (log,) = store.glob(".sweeps/*/logs/*")
    assert log.read_text().count("Error: The GPU failed.\nAgain.") == 1


FULL = """
import sys
from pathlib import Path
from marsbench.sweep import worker
from marsbench.sweep.units import read_unit
def full(self, *_):
    raise worker._DiskFullError from OSError(28, "No space left on device")
worker._UnitWork.carry_out = full
sys.exit(worker.main(sys.argv[1:]))
"""


def test_a_full_disk_ends_the_sweep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, python: str
) -> None:
    monkeypatch.setattr(local, "WORKER", (python, "-c", FULL))
    suite = write_suite(tmp_path / "s.yaml", {**SCRATCH, "seed": [0, 1, 2]})
    store = tmp_path / "runs"
    code, summary, said = sweep(suite, store, "launcher.jobs=1")
    assert (code, summary["done"], summary["failed"], summary["left"]) == (2, 0, 0, 3)
    assert said.count("Error: The disk is full, or a quota is exceeded (store ") == 1
    assert "exit code" not in said
    assert "the same command continues" in said
    (folder,) = (store / ".sweeps").iterdir()
    assert len(list((folder / "logs").iterdir())) == 1
    assert "No space left" in next((folder / "logs").iterdir()).read_text()
    done = CliRunner().invoke(app, ["status", f"suite={suite}", f"store={store}", "--format=table"])
    assert f"disk    full in sweep {folder.name}" in done.stdout


def test_a_worker_that_cannot_say_that_the_disk_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "WORKER", (sys.executable, "-c", "import sys; sys.exit(120)"))
    monkeypatch.setattr(local, "has_room", lambda folder: False)
    suite = write_suite(tmp_path / "s.yaml", {**SCRATCH, "seed": [0, 1]})
    code, summary, said = sweep(suite, tmp_path / "runs", "launcher.jobs=1")
    assert (code, summary["failed"], summary["left"]) == (2, 0, 2)
    assert said.count("Error: The disk is full") == 1


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "term"])
def test_a_sweep_that_is_stopped_goes_on(how: signal.Signals, tmp_path: Path, python: str) -> None:
    suite = write_suite(tmp_path / "s.yaml", {**FROZEN, "seed": [0, 1]}, size=0.05)
    store = tmp_path / "runs"
    words = ["sweep", f"suite={suite}", f"store={store}"]
    code = (
        # Where tests run in the background of a shell, SIGINT is ignored from the start.
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from marsbench.sweep.launchers import local\n"
        "local.WORKER = (sys.executable, '-m', 'tests.sweep.fake_worker')\n"
        f"sys.argv = ['marsbench', *{words}]\n"
        "from marsbench.cli import main; main()"
    )
    process = subprocess.Popen(
        [python, "-c", code],
        cwd=TOP,
        env={**os.environ, "PYTHONPATH": str(TOP)},
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 60
    while not (store.is_dir() and Store(store).paths()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(how)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 130, said
    assert "the same command continues" in said
    assert len(Store(store).paths()) == 1
    assert list(heartbeats(store)) == []


def test_where_workers_run(fake: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[dict[str, str]] = []

    start = subprocess.Popen

    def remembered(command: Any, **options: Any) -> Any:
        started.append(options["env"])
        return start(command, **options)

    monkeypatch.setattr(subprocess, "Popen", remembered)
    monkeypatch.setattr(local, "visible_gpus", lambda: ["4", "5"])
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(environment, "usable_cores", lambda: 8)
    suite = write_suite(tmp_path / "s.yaml", {**SCRATCH, "seed": [0, 1]})
    code, *_ = sweep(suite, tmp_path / "runs")
    assert code == 0
    assert [env["CUDA_VISIBLE_DEVICES"] for env in started] == ["4", "5"]
    assert {env["OMP_NUM_THREADS"] for env in started} == {"4"}
    assert {env["MARSBENCH_CORES"] for env in started} == {"4"}
    assert not any(environment.SHARES in env for env in started)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5")
    started.clear()
    sweep(suite, tmp_path / "others", "launcher.gpus=0", "seed=0")
    assert [env["CUDA_VISIBLE_DEVICES"] for env in started] == [""]


def test_settings(tmp_path: Path) -> None:
    assert load_settings("local", {}) == LauncherSettings()
    own = tmp_path / "mine.yaml"
    own.write_text("name: local\njobs: 3\nsetup: |\n  module load cuda\n\n  hostname\n")
    settings = load_settings(str(own), {"jobs": "4"})
    assert settings.jobs == 4
    assert settings.setup_lines == ["module load cuda", "hostname"]
    assert LocalLauncher(settings).jobs == 4
    assert isinstance(get_launcher("local", settings), LocalLauncher)


@pytest.mark.parametrize(
    ("choice", "changes", "match"),
    [
        ("loacl", {}, "Did you mean local"),
        ("local", {"job": "2"}, "launcher.job"),
        ("local", {"jobs": "0"}, "at least 1"),
        ("local", {"jobs": "two"}, "whole number"),
        ("local", {"name": "pbs"}, "Unknown launcher.name 'pbs'"),
        ("local", {"mem_gb": "-1"}, "above 0"),
        ("./nothing.yaml", {}, "cannot be read"),
    ],
)
def test_settings_that_cannot_be_used(choice: str, changes: dict[str, str], match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        load_settings(choice, changes)


def test_an_engine_that_does_not_exist() -> None:
    with pytest.raises(MarsbenchError, match="Unknown launcher"):
        get_launcher("pbs", LauncherSettings())


def test_the_real_thing(tmp_path: Path, workers: None) -> None:
    """Online and cached runs, in processes of their own, on demo data."""
    suite = write_suite(
        tmp_path / "s.yaml",
        {**FROZEN, "seed": [0, 1]},
        {**SCRATCH, "model": "timm:test_resnet", "optim.lr": [0.001, 1e30]},
        **{"trainer.max_epochs": 2},
    )
    store = tmp_path / "runs"
    code, summary, said = sweep(suite, store, "launcher.jobs=2")
    log = "".join(path.read_text() for path in store.glob(".sweeps/*/logs/*"))
    # A learning rate that no loss survives: a user's error, which stops no other run.
    assert (code, summary["done"], summary["failed"]) == (2, 3, 1), log
    assert "--retry-failed" in said
    table, bad = Store(store).table()
    assert bad == []
    assert sorted(table["protocol"]) == ["cached", "cached", "online"]


@pytest.mark.parametrize("current", ["frost_cls/vit/frozen/full/0-0123456789", None])
def test_the_bar_names_the_current_run(current: str | None, tmp_path: Path) -> None:
    folder, run = tmp_path / SWEEPS / "one", "frost_cls/vit/frozen/full/0-0123456789"
    unit = folder / "0001.json"
    process: Any = SimpleNamespace(pid=os.getpid())
    workers = [_Worker(unit, False, process)] * 3
    launcher = LocalLauncher(LauncherSettings(jobs=1))
    assert launcher._title(folder, [], {}) == "runs"
    with beating(folder, unit, [run]) as beat:
        beat.at(current)
        title = launcher._title(folder, workers, {unit: [run]})
    assert title == f"runs, now {current or 'frost_cls/vit/frozen'} and 2 more"
