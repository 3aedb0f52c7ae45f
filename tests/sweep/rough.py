"""Sweeps that are disturbed while they run, and what must hold when all is over."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import yaml

from marsbench.results.store import Store
from marsbench.sweep.heartbeat import Heartbeat, heartbeats

LONGEST = 900.0
"""Seconds after which a sweep that makes no end is a failure."""


def write_suite(path: Path, *, online: int, cached: int) -> Path:
    """Write a suite of tiny runs on demo data.

    Args:
        path: Where.
        online: Runs that train a small network, each a unit.
        cached: Runs that fit heads on shared features, in a unit for each of two tasks.
    """
    rates = [0.001, 0.01]
    grids = [
        {
            "name": "online",
            "task": "frost_cls",
            "model": "timm:test_efficientnet",
            "mode": "scratch",
            "seed": list(range(online // 2)),
            "optim.lr": rates,
        },
        {
            "name": "cached",
            "task": ["frost_cls", "landmark_cls"],
            "model": "efficientnet_lite0",  # its weights travel as a package
            "mode": "frozen",
            "seed": list(range(cached // 4)),
            "optim.lr": rates,
        },
    ]
    suite = {
        "description": "Runs of a second, to be disturbed.",
        "set": {
            "source": "demo",
            "size": 0.05,
            "workers": 0,
            "save_model": False,
            "trainer.max_epochs": 3,
            "trainer.patience": None,
        },
        "grids": [grid for grid, count in zip(grids, (online, cached), strict=True) if count],
    }
    path.write_text(yaml.safe_dump(suite, sort_keys=False))
    return path


class Sweep:
    """The same sweep command, as often as it takes.

    Args:
        suite: Path of the suite.
        store: Where its records go.
        words: Further words of the command, such as the launcher.
        home: MARSBENCH_HOME, with its caches.
    """

    def __init__(self, suite: Path, store: Path, *words: str, home: Path) -> None:
        self.store = store
        self.command = [sys.executable, "-m", "marsbench", "sweep", f"suite={suite}"]
        self.command += [f"store={store}", *words, "--format", "json"]
        alone = {"MARSBENCH_HOME": str(home), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
        self.variables = os.environ | alone

    def start(self) -> "subprocess.Popen[str]":
        """Start the command and go on; in a session of its own, as in a terminal of its own."""
        return subprocess.Popen(
            self.command, env=self.variables, start_new_session=True, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def run(self) -> dict[str, int]:
        """Give the command once, to its end; returns its counts of done, failed and left."""
        done = subprocess.run(
            self.command, env=self.variables, capture_output=True, text=True, timeout=LONGEST
        )
        assert done.returncode in (0, 2), done.stderr
        assert done.stdout, done.stderr
        counts: dict[str, int] = json.loads(done.stdout.splitlines()[-1])
        return counts

    def finish(self) -> int:
        """Give the command until nothing is left; returns how often that was."""
        for count in range(1, 9):
            counts = self.run()
            if not counts["left"]:
                assert counts["failed"] == counts["lacking"] == 0, counts
                return count
        raise AssertionError(f"runs are left after {count} times: {counts}")

    @property
    def done(self) -> int:
        """Number of records."""
        return len(Store(self.store).paths()) if self.store.exists() else 0

    def wait_for_done(self, count: int) -> None:
        """Wait until there are so many records."""
        wait_until(lambda: self.done >= count, f"{count} records")

    def worker(self) -> Heartbeat:
        """Wait for a worker in the midst of a run; of several, the youngest."""
        found: list[Heartbeat] = []

        def is_there() -> bool:
            alive = [b for b in heartbeats(self.store) if b.current and is_alive(b.pid)]
            found[:] = sorted(alive, key=lambda b: b.started)
            return bool(found)

        wait_until(is_there, "a worker at a run")
        return found[-1]

    def kill_worker(self, number: signal.Signals = signal.SIGKILL) -> int:
        """Send a worker in the midst of a run a signal; returns its process id."""
        while True:
            pid = self.worker().pid
            # It may have ended since it was seen.
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
                return pid

    def has_workers(self) -> bool:
        """Whether any worker of this sweep is at work."""
        return any(is_alive(beat.pid) for beat in heartbeats(self.store))

    def log(self) -> str:
        """All that workers said."""
        files = sorted((self.store / ".sweeps").glob("*/logs/*.log"))
        files += sorted((self.store / ".sweeps").glob("*/slurm/*.out"))
        return "".join(path.read_text(errors="replace") for path in files)


def parent(pid: int) -> int:
    """Process id of a process's parent."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def is_alive(pid: int) -> bool:
    """Whether a process runs."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def wait_until(is_so: Callable[[], bool], what: str, seconds: float = 300.0) -> None:
    """Wait for something."""
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, f"waited {seconds:.0f} s in vain for {what}"
        time.sleep(0.2)


@contextlib.contextmanager
def ended(process: "subprocess.Popen[str]") -> Iterator["subprocess.Popen[str]"]:
    """End a process, and what it started, however the test goes."""
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def check_same(rough: Sweep, calm: Sweep, count: int) -> None:
    """Require one record of every run, and the very numbers of a sweep that nobody disturbed."""
    stores = [Store(sweep.store) for sweep in (rough, calm)]
    records, expected = ({r.run_id: r for r in store.records()[0]} for store in stores)
    assert not stores[0].records()[1]
    assert len(stores[0].paths()) == len(records) == count
    assert records.keys() == expected.keys()
    assert stores[0].unfinished() == ([], [])
    for run_id, record in records.items():
        other = expected[run_id]
        assert record.metrics == other.metrics, run_id
        assert record.checkpoint == other.checkpoint, run_id
        mine, theirs = (store.predictions(run_id) for store in stores)
        pd.testing.assert_frame_equal(mine, theirs, check_exact=True)
    # No run came to its end twice, nor was a finished one moved aside.
    log = rough.log()
    for run_id in records:
        assert log.count(f"done        {run_id}:") - log.count(f"was done    {run_id}:") <= 1
    assert not (rough.store / ".replaced").exists()
    assert not rough.has_workers()
