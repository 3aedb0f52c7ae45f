"""Sweeps on a real scheduler, disturbed in every way it knows: `make test-slurm`."""

import contextlib
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.sweep.rough import Sweep, check_same, wait_until, write_suite

pytest.importorskip("submitit")

CLUSTER = Path(__file__).with_name("cluster.sh")

ONLINE, CACHED = 32, 168

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(2400)]


@pytest.fixture(autouse=True)
def _cluster() -> None:
    if shutil.which("sbatch") is None or not _asked("sinfo", "--noheader"):
        pytest.fail("There is no SLURM controller here: run `make test-slurm`.")


def _asked(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True).stdout.strip()


def _queue() -> list[str]:
    return _asked("squeue", "--noheader", "--array", "--format=%i %T").splitlines()


def _job_of(pid: int) -> str:
    """Id of the array task that a process belongs to."""
    content = Path(f"/proc/{pid}/environ").read_bytes().decode().split("\0")
    variables = dict(line.split("=", 1) for line in content if "=" in line)
    return f"{variables['SLURM_ARRAY_JOB_ID']}_{variables['SLURM_ARRAY_TASK_ID']}"


def _restarts(job: str) -> int:
    words = _asked("scontrol", "show", "job", job).split()
    return int(next((w for w in words if w.startswith("Restarts=")), "Restarts=0")[9:])


def _task_at_work(sweep: Sweep) -> str:
    """Id of an array task that is in the midst of a run."""
    while True:
        # A task of seconds may end between two looks at it.
        with contextlib.suppress(OSError, KeyError):
            return _job_of(sweep.worker().pid)


def _given_notice(sweep: Sweep) -> bool:
    """Signal a task as before a time limit; says whether it is queued again, or was just done."""
    job = _task_at_work(sweep)
    # It delivers the signal at once, but with some versions asks again for half a minute.
    with contextlib.suppress(subprocess.TimeoutExpired):
        subprocess.run(["scancel", "--signal=USR2", job], timeout=2)
    wait_until(lambda: _restarts(job) > 0 or f"{job} RUNNING" not in _queue(), f"{job} to stop")
    return _restarts(job) > 0


def _preempted() -> bool:
    """Claim the whole node for a moment; says whether a task was queued again for that."""
    running = [line.split()[0] for line in _queue() if line.endswith("RUNNING")]
    if not running:
        return False  # else the claims would leave it none
    before = {job: _restarts(job) for job in running}
    subprocess.run(["srun", "--partition=urgent", "--exclusive", "true"], check=True, timeout=300)
    return any(_restarts(job) > count for job, count in before.items())


def _drained() -> None:
    wait_until(lambda: not _queue(), "an empty queue", 900)


def test_disturbed(tmp_path: Path) -> None:
    """Preempted, cancelled, killed, submitted twice, its node lost: no run lacks or is doubled."""
    suite = write_suite(tmp_path / "suite.yaml", online=ONLINE, cached=CACHED)
    home = tmp_path / "home"
    calm = Sweep(suite, tmp_path / "calm", "launcher=local", "launcher.jobs=2", home=home)
    started = time.monotonic()
    calm.finish()
    _say(f"undisturbed, local: {time.monotonic() - started:.0f} s")

    started = time.monotonic()
    words = (
        "launcher=slurm",
        "launcher.units_per_job=2",
        "launcher.chunk=8",
        "launcher.cpus=1",
        "launcher.gpus=0",
    )
    rough = Sweep(suite, tmp_path / "rough", *words, "launcher.throttle=4", home=home)
    counts = rough.run()
    assert counts["left"] == ONLINE + CACHED - counts["done"]
    rough.wait_for_done(3)

    # The notice before a time limit: the task is queued again, and later starts anew.
    wait_until(lambda: _given_notice(rough), "a task that is queued again")
    # What is urgent takes the node: whatever runs makes room, and later starts anew.
    wait_until(_preempted, "a task that makes room")

    done = rough.done
    cancelled = _task_at_work(rough)
    _asked("scancel", cancelled)
    wait_until(
        lambda: not any(line.startswith(f"{cancelled} ") for line in _queue()),
        f"{cancelled} to be gone",
    )
    rough.kill_worker(signal.SIGKILL)
    _say(f"disturbed four times after {done} runs, {time.monotonic() - started:.0f} s")

    # Submitted again while the first is at work: two tasks meet at the same runs.
    rough.wait_for_done(done + 3)
    rough.run()
    rough.wait_for_done(done + 6)

    # The node is lost for longer than the scheduler waits for it: its tasks are queued again.
    subprocess.run([CLUSTER, "node-stop"], check=True)
    wait_until(lambda: "down" in _asked("sinfo", "--noheader", "--format=%T"), "a lost node")
    subprocess.run([CLUSTER, "node-start"], check=True)
    _say(f"the node is back, {rough.done} runs done, {time.monotonic() - started:.0f} s")

    times = 2
    _drained()
    while rough.run()["left"]:
        times += 1
        assert times < 8
        _drained()
    _say(f"all done, submitted {times} times, {time.monotonic() - started:.0f} s")
    check_same(rough, calm, ONLINE + CACHED)
    assert "Traceback" not in rough.log()


def _say(text: str) -> None:
    """Tell what took how long, to whoever watches with -s or reads the report."""
    print(text)  # noqa: T201


def test_refused(tmp_path: Path) -> None:
    suite = write_suite(tmp_path / "suite.yaml", online=2, cached=0)
    words = ("launcher=slurm", "launcher.partition=nowhere", "launcher.gpus=0")
    sweep = Sweep(suite, tmp_path / "runs", *words, home=tmp_path / "home")
    done = subprocess.run(sweep.command, env=sweep.variables, capture_output=True, text=True)
    assert done.returncode == 2
    assert "SLURM rejected the job: " in done.stderr
    assert "Invalid partition name specified" in done.stderr
    assert "Traceback" not in done.stderr
