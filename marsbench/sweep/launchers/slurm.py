"""SLURM launcher: units as job arrays, submitted through submitit.

`SlurmLauncher.launch` returns when the arrays are queued. Records say which runs are done, so an
array task may be cancelled, killed or requeued at any time: the next task skips finished runs and
runs claimed by other processes, and resumes interrupted ones.
"""

import contextlib
import io
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from marsbench.base import environment
from marsbench.base.documents import parse_json
from marsbench.base.environment import CORES
from marsbench.base.errors import ConfigError, DeviceLostError, NotAvailableError, some
from marsbench.base.files import write_text
from marsbench.base.progress import tell
from marsbench.results.store import now
from marsbench.sweep.launchers.remote import variables
from marsbench.sweep.launchers.settings import LauncherSettings

if TYPE_CHECKING:
    import submitit

JOBS = "slurm.json"
"""File in a sweep's folder with the ids of its jobs."""

FOLDER = "slurm"
"""Folder in a sweep's folder with job scripts, pickled tasks and the tasks' output."""

_LEFT_BY_JOBS = ("SLURM_", "SLURMD_", "SRUN_", "SUBMITIT_")
_CLIENT = ("SLURM_CONF", "SLURM_CLUSTERS", "SUBMITIT_PREEMPT_SIGNAL")
"""Variables that locate the scheduler and name its signal, rather than identify a job."""


@dataclass(frozen=True)
class Task:
    """Array task: trains its units in sequence.

    Attributes:
        units: Paths of the unit files.
        directory: Working directory of the task, for relative paths in the units.
        max_restarts: Number of restarts after which a lost GPU requeues the task no more.
    """

    units: tuple[str, ...]
    directory: str
    max_restarts: int = 0

    def __call__(self) -> None:
        """Train the units.

        Raises:
            SystemExit: With 75 if interrupted, 73 if the disk is full, 2 if a unit file is invalid,
                and 70 if a bug or a lost GPU left runs undone.
        """
        from marsbench.sweep.worker import INTERRUPTED, run_units

        os.chdir(self.directory)
        # With this name Lightning leaves devices and signals to us; otherwise it expects one
        # scheduler task per device.
        os.environ["SLURM_JOB_NAME"] = "interactive"
        with _signals() as stop:
            try:
                code = run_units(map(Path, self.units), retry_faults=True)
                may_requeue = code == INTERRUPTED
            except DeviceLostError as error:
                # A new process may get another GPU.
                tell(f"Error: {error}")
                code, may_requeue = error.exit_code, _restarts() < self.max_restarts
        is_open = not stop.is_settled and not environment.helps_another()
        if may_requeue and is_open and _is_running():
            # A cancelled or timed-out job no longer counts as running; this one was preempted
            # and has not been requeued yet, or lost its GPU.
            tell("stopped; requeued")
            subprocess.run(["scontrol", "requeue", _job_id()], check=False)  # noqa: S603, S607
        if code:
            raise SystemExit(code)

    def checkpoint(self) -> "submitit.helpers.DelayedSubmission":
        """Resubmit the task itself; records say which runs are done."""
        import submitit

        return submitit.helpers.DelayedSubmission(self)


class _Stop:
    """State of a task's stop: begun, and settled once its requeueing is decided."""

    has_begun = False
    is_settled = False


@contextlib.contextmanager
def _signals() -> Iterator[_Stop]:
    """Handle the first signal of a task.

    SIGTERM and SIGUSR1 interrupt it. The signal before preemption and time limits (SIGUSR2, or
    SUBMITIT_PREEMPT_SIGNAL) goes to submitit, which requeues the task.
    """
    process, stop = os.getpid(), _Stop()
    preempted = signal.Signals[f"SIG{os.environ.get('SUBMITIT_PREEMPT_SIGNAL', 'USR2')}"]
    stops = [s for s in (signal.SIGTERM, signal.SIGUSR1) if s != preempted]
    theirs = signal.getsignal(preempted)

    def end(number: int, _: FrameType | None) -> None:
        # The scheduler signals every process of a task; data loaders are ended by their parent.
        if os.getpid() == process and not stop.has_begun:
            stop.has_begun = True
            raise KeyboardInterrupt(signal.Signals(number).name)

    def queue_again(number: int, frame: FrameType | None) -> None:
        # Of several processes that train one run, only the first requeues.
        if os.getpid() != process or stop.is_settled or environment.helps_another():
            return
        stop.has_begun = stop.is_settled = True
        try:
            if callable(theirs):
                theirs(number, frame)
        except Exception as error:
            # Too many time-outs, or the scheduler refuses. Raised here, the error would count as
            # a failure of the current run.
            tell(f"not requeued: {error}")
        raise SystemExit(128 + number)

    before = {number: signal.signal(number, end) for number in stops}
    before[preempted] = signal.signal(preempted, queue_again)
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _job_id() -> str:
    """Id of this task for scheduler commands: the array's id alone would mean all its tasks."""
    array = os.environ.get("SLURM_ARRAY_JOB_ID")
    if array is None:
        return os.environ.get("SLURM_JOB_ID", "")
    return f"{array}_{os.environ['SLURM_ARRAY_TASK_ID']}"


def _restarts() -> int:
    """Number of times that this task was requeued, for any reason."""
    count = os.environ.get("SLURM_RESTART_COUNT", "")
    return int(count) if count.isdecimal() else 0


def _is_running() -> bool:
    """Whether the scheduler lists this task as running."""
    return _squeue(f"--jobs={_job_id()}", "--format=%T") == ["RUNNING"]


def _squeue(*options: str) -> list[str]:
    """Output of squeue, a word per job; empty if squeue fails."""
    command = ["squeue", "--noheader", *options]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return []
    return done.stdout.split()


class SlurmLauncher:
    """Launcher for SLURM; returns after submitting the units.

    Args:
        settings: Partition, time, memory, cores and GPUs of a task; units per task, tasks per
            array, tasks at once.

    Raises:
        NotAvailableError: If submitit or SLURM is not installed.
        ConfigError: If SLURM cannot provide a setting.
    """

    def __init__(self, settings: LauncherSettings) -> None:
        try:
            import submitit  # noqa: F401
        except ModuleNotFoundError as error:
            raise NotAvailableError(
                f"launcher=slurm needs the package {error.name}, which is not installed.",
                "Install it: pip install 'marsbench[slurm]'.",
            ) from error
        for program in ("sbatch", "srun"):
            if shutil.which(program) is None:
                raise NotAvailableError(
                    f"launcher=slurm needs SLURM; {program} was not found on this machine.",
                    "Run the sweep on a login node of the cluster, or use launcher=local.",
                )
        if settings.gpus is not None and settings.gpus != int(settings.gpus):
            raise ConfigError(
                f"launcher.gpus is {settings.gpus:g}; SLURM expects a whole number.",
                "Set a whole number, or use launcher=ray inside an allocation.",
            )
        self.settings = settings

    def launch(self, folder: Path, units: Sequence[Path]) -> None:
        """Submit units as job arrays; returns once they are queued.

        Args:
            folder: The sweep's folder, ``STORE/.sweeps/NAME``.
            units: Its unit files.

        Raises:
            ConfigError: If the scheduler rejects a job.
        """
        import submitit

        folder = folder.absolute()
        arrays = make_arrays(units, self.settings)
        if not arrays:
            return
        self._tell_of_earlier(folder)
        executor = submitit.SlurmExecutor(
            # One folder for all jobs: a folder per job would have to exist before it starts.
            folder=folder / FOLDER,
            max_num_timeout=self.settings.max_retries,
        )
        jobs: dict[str, list[list[str]]] = {}
        shares = throttles(self.settings.throttle, [len(array) for array in arrays])
        for array, share in zip(arrays, shares, strict=True):
            try:
                with _as_outside_of_jobs(), contextlib.redirect_stderr(io.StringIO()):
                    executor.update_parameters(**parameters(folder.name, self.settings, share))
                    submitted = executor.submit_array(array)
            except RuntimeError as error:
                raise _refusal(error, list(jobs)) from error
            job = str(submitted[0].job_id).partition("_")[0]
            jobs[job] = [[Path(unit).name for unit in task.units] for task in array]
            said = {"submitted": now(), "jobs": list(jobs), "units": jobs}
            # After each array, so that the ids of earlier arrays are kept if an array is rejected.
            write_text(folder / JOBS, json.dumps(said) + "\n")
        tell(
            f"Submitted as SLURM {_named(list(jobs))}: {len(units)} units, array tasks "
            f"{sum(map(len, arrays))}. Output: {folder / FOLDER}. To cancel: "
            f"scancel {' '.join(jobs)}"
        )

    def _tell_of_earlier(self, folder: Path) -> None:
        """Name the queued jobs of earlier sweeps of this store."""
        queued = set(_squeue("--me", "--format=%F"))
        earlier = [job for path in folder.parent.glob(f"*/{JOBS}") for job in _jobs_of(path)]
        known = sorted(queued.intersection(earlier), key=int)
        if known:
            tell(
                f"Still queued from earlier sweeps of this store: {_named(known)}. No run is "
                f"trained twice; `scancel {' '.join(known)}` cancels them."
            )


def make_arrays(units: Sequence[Path], settings: LauncherSettings) -> list[list[Task]]:
    """Deal units to tasks and tasks to arrays, expensive and cheap ones evenly.

    Args:
        units: Unit files, most expensive first.
        settings: Units per task and tasks per array.
    """
    directory = str(Path.cwd())
    paths = [str(unit.absolute()) for unit in units]
    num_tasks = -(-len(paths) // settings.units_per_job)
    tasks = [
        Task(tuple(paths[i::num_tasks]), directory, settings.max_retries) for i in range(num_tasks)
    ]
    num_arrays = -(-num_tasks // settings.chunk)
    return [tasks[i::num_arrays] for i in range(num_arrays)]


def throttles(throttle: int | None, sizes: Sequence[int]) -> list[int]:
    """Split the limit of concurrent tasks among arrays, at least 1 each.

    Args:
        throttle: Limit of concurrent tasks; None for no limit.
        sizes: Tasks of each array.
    """
    if throttle is None:
        return list(sizes)
    share, rest = divmod(throttle, len(sizes))
    return [max(1, share + (i < rest)) for i in range(len(sizes))]


def parameters(name: str, settings: LauncherSettings, at_once: int) -> dict[str, Any]:
    """Parameters of an array for submitit.

    Args:
        name: Name of the sweep and its jobs.
        settings: Settings of the launcher.
        at_once: Limit of concurrent tasks.
    """
    asked: dict[str, Any] = {
        "job_name": name,
        "time": settings.time,
        "partition": settings.partition,
        "cpus_per_task": settings.cpus,
        "gpus_per_node": None if settings.gpus is None else int(settings.gpus),
        "mem": None if settings.mem_gb is None else f"{round(settings.mem_gb * 1024)}M",
        "array_parallelism": at_once,
        "setup": [
            *(f"export {key}={shlex.quote(value)}" for key, value in variables().items()),
            *_share(settings.cpus),
            *settings.setup_lines,
        ],
        "stderr_to_stdout": True,
        "wckey": None,  # submitit's own key may be rejected by a scheduler with accounting
        "additional_parameters": {"requeue": True},
        # Some clusters pass no variables to a job, and newer schedulers give a step one core.
        "srun_args": [
            "--export=ALL",
            *([f"--cpus-per-task={settings.cpus}"] if settings.cpus else []),
        ],
    }
    asked["gpus_per_node"] = asked["gpus_per_node"] or None
    return {key: value for key, value in asked.items() if value is not None or key == "wckey"}


def _share(cores: int | None) -> list[str]:
    """Shell lines to limit a worker to its cores on clusters without core binding."""
    if cores is None:
        return []
    threads = f"export OMP_NUM_THREADS=${{OMP_NUM_THREADS:-{cores}}}"
    return [f"export {CORES}={cores}", threads]


@contextlib.contextmanager
def _as_outside_of_jobs() -> Iterator[None]:
    """Hide the variables of an enclosing job; sbatch would read them as options.

    SBATCH_ACCOUNT, SBATCH_QOS and the like are set by the user and stay.
    """
    hidden = {
        key: os.environ.pop(key)
        for key in list(os.environ)
        if (key.startswith(_LEFT_BY_JOBS) and key not in _CLIENT) or key in environment.RANKS
    }
    try:
        yield
    finally:
        os.environ.update(hidden)


def _refusal(error: RuntimeError, submitted: list[str]) -> ConfigError:
    """Build the error for a rejected job, with the scheduler's message in a single line."""
    lines = [re.sub(r"^\w+: (error|fatal): ", "", line) for line in str(error).splitlines()]
    words = "; ".join(line.strip() for line in lines if line.strip()) or type(error).__name__
    running = (
        f" Already submitted: {_named(submitted)}; the same command submits the rest later."
        if submitted
        else ""
    )
    return ConfigError(
        f"SLURM rejected the job: {words}",
        "Change launcher.partition, time, mem_gb, cpus, gpus or chunk; SBATCH_ACCOUNT and "
        f"SBATCH_QOS are passed on.{running}",
    )


def _named(jobs: list[str]) -> str:
    return f"job{'s' if len(jobs) > 1 else ''} {some(jobs)}"


def _jobs_of(path: Path) -> list[str]:
    """Job ids of a sweep."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        return [str(job) for job in parse_json(path.read_text(encoding="utf-8"))["jobs"]]
    return []
