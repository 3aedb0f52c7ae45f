"""SLURM: units as job arrays, submitted through submitit; the scheduler does the rest.

`SlurmLauncher.launch` returns when the arrays are in the queue. What is done is known by the
records, so an array task may be cancelled, killed or queued again at any time: the next one skips
what has a record, leaves alone what another process is at, and resumes what was interrupted.
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
from marsbench.base.environment import CORES
from marsbench.base.errors import ConfigError, MarsbenchError, NotAvailableError, some
from marsbench.base.files import write_text
from marsbench.base.progress import tell
from marsbench.results.store import now
from marsbench.sweep.launchers.remote import variables
from marsbench.sweep.launchers.settings import LauncherSettings

if TYPE_CHECKING:
    import submitit

JOBS = "slurm.json"
"""In a sweep's folder: the jobs it was handed to."""

FOLDER = "slurm"
"""In a sweep's folder: job scripts, pickled tasks and the output of each task."""

_LEFT_BY_JOBS = ("SLURM_", "SLURMD_", "SRUN_", "SUBMITIT_")
_LEFT_BY_LIGHTNING = ("MASTER_ADDR", "MASTER_PORT", "RANK", "WORLD_SIZE", "LOCAL_RANK")
_CLIENT = ("SLURM_CONF", "SLURM_CLUSTERS", "SUBMITIT_PREEMPT_SIGNAL")
"""Variables that say where the scheduler is and how it signals, not what job this is."""


@dataclass(frozen=True)
class Task:
    """What one array task does: the units given, one after the other.

    Attributes:
        units: Paths of the unit files.
        directory: Folder that relative paths in the units start from.
    """

    units: tuple[str, ...]
    directory: str

    def __call__(self) -> None:
        """Carry out the units.

        Raises:
            SystemExit: With 75 if it was stopped, 2 if a unit could not be read, and 70 if a fault
                of ours left runs undone.
        """
        from marsbench.sweep.worker import INTERRUPTED

        os.chdir(self.directory)
        # By this name Lightning leaves devices and signals to us; else it takes each of the
        # scheduler's tasks, of which there is one, for a device.
        os.environ["SLURM_JOB_NAME"] = "interactive"
        with _signals() as stop:
            code = _carry_out(self.units)
        is_open = not stop.is_settled and not environment.helps_another()
        if code == INTERRUPTED and is_open and _is_running():
            # A job that is cancelled or out of time is no longer said to run: this one is to
            # make room for another, and has not been queued again yet.
            tell("stopped; it is queued again")
            subprocess.run(["scontrol", "requeue", _job_id()], check=False)  # noqa: S603, S607
        if code:
            raise SystemExit(code)

    def checkpoint(self) -> "submitit.helpers.DelayedSubmission":
        """What to run when the task is queued again: itself, since records say what is done."""
        import submitit

        return submitit.helpers.DelayedSubmission(self)


def _carry_out(units: Sequence[str]) -> int:
    """Carry out units; gives 0, or the exit code that tells what was in the way."""
    from marsbench.sweep.worker import FAULT, INTERRUPTED, run_unit

    worst = 0
    try:
        for unit in units:
            try:
                code = run_unit(Path(unit))
                if code == FAULT:
                    code = run_unit(Path(unit))  # without the runs of which there is word now
            except MarsbenchError as error:
                tell(f"Error: {error}")
                code = 2
            if code == INTERRUPTED:
                return code
            worst = max(worst, code)
    except KeyboardInterrupt:
        return INTERRUPTED
    return worst


class _Stop:
    """Whether a task is being stopped, and whether it is settled what then becomes of it."""

    has_begun = False
    is_settled = False


@contextlib.contextmanager
def _signals() -> Iterator[_Stop]:
    """Stop work at a signal, where it is safe to do so; the first signal alone counts.

    SIGTERM and SIGUSR1 stop. The signal that precedes preemption and time limits (SIGUSR2, or
    as SUBMITIT_PREEMPT_SIGNAL says) goes to submitit, which queues the task again.
    """
    process, stop = os.getpid(), _Stop()
    preempted = signal.Signals[f"SIG{os.environ.get('SUBMITIT_PREEMPT_SIGNAL', 'USR2')}"]
    stops = [s for s in (signal.SIGTERM, signal.SIGUSR1) if s != preempted]
    theirs = signal.getsignal(preempted)

    def end(number: int, _: FrameType | None) -> None:
        # The scheduler signals every process of a task; those that load data are ours to end.
        if os.getpid() == process and not stop.has_begun:
            stop.has_begun = True
            raise KeyboardInterrupt(signal.Signals(number).name)

    def queue_again(number: int, frame: FrameType | None) -> None:
        # Of the processes that train a run on several devices the first speaks for all.
        if os.getpid() != process or stop.is_settled or environment.helps_another():
            return
        stop.has_begun = stop.is_settled = True
        try:
            if callable(theirs):
                theirs(number, frame)
        except Exception as error:
            # Out of time once too often, or the scheduler refuses. Raised as it is, it would
            # look like a fault of the run that is being carried out.
            tell(f"not queued again: {error}")
        raise SystemExit(128 + number)

    before = {one: signal.signal(one, end) for one in stops}
    before[preempted] = signal.signal(preempted, queue_again)
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _job_id() -> str:
    """Id of this task as the scheduler's commands take it; an array's own would mean all tasks."""
    array = os.environ.get("SLURM_ARRAY_JOB_ID")
    if array is None:
        return os.environ.get("SLURM_JOB_ID", "")
    return f"{array}_{os.environ['SLURM_ARRAY_TASK_ID']}"


def _is_running() -> bool:
    """Whether the scheduler still says that this task runs."""
    return _squeue(f"--jobs={_job_id()}", "--format=%T") == ["RUNNING"]


def _squeue(*options: str) -> list[str]:
    """Words of squeue, one a job; none where it cannot be asked or knows of none."""
    command = ["squeue", "--noheader", *options]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return []
    return done.stdout.split()


class SlurmLauncher:
    """Hands units to SLURM and returns.

    Args:
        settings: Partition, time, memory, cores and GPUs of a task; how many units a task takes,
            how many tasks an array holds, and how many run at once.

    Raises:
        NotAvailableError: If submitit or SLURM is not installed.
        ConfigError: If a setting is nothing that SLURM can give.
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
                    f"launcher=slurm needs SLURM: there is no {program} on this machine.",
                    "Start the sweep on a login node of the cluster, or choose launcher=local.",
                )
        if settings.gpus is not None and settings.gpus != int(settings.gpus):
            raise ConfigError(
                f"launcher.gpus={settings.gpus:g}: SLURM gives whole GPUs.",
                "Give a whole number, or choose launcher=ray on the nodes that you get.",
            )
        self.settings = settings

    def launch(self, folder: Path, units: Sequence[Path]) -> None:
        """Submit units as job arrays; returns when they are in the queue.

        Args:
            folder: The sweep's folder, ``STORE/.sweeps/NAME``.
            units: Its unit files.

        Raises:
            ConfigError: If the scheduler refuses a job.
        """
        import submitit

        folder = folder.absolute()
        arrays = make_arrays(units, self.settings)
        if not arrays:
            return
        self._tell_of_earlier(folder)
        executor = submitit.SlurmExecutor(
            # No folder for each job: it would have to be there before the job starts.
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
            # After each array: if the next is refused, it is known what runs.
            write_text(folder / JOBS, json.dumps(said) + "\n")
        tell(
            f"Submitted as SLURM {_named(list(jobs))}: {len(units)} units, array tasks "
            f"{sum(map(len, arrays))}. Output: {folder / FOLDER}. To end it: "
            f"scancel {' '.join(jobs)}"
        )

    def _tell_of_earlier(self, folder: Path) -> None:
        """Say which jobs of this store's sweeps are still in the queue."""
        queued = set(_squeue("--me", "--format=%F"))
        earlier = [job for path in folder.parent.glob(f"*/{JOBS}") for job in _jobs_of(path)]
        known = sorted(queued.intersection(earlier), key=int)
        if known:
            tell(
                f"Still in the queue from earlier sweeps into this store: {_named(known)}. They "
                f"do no run twice; `scancel {' '.join(known)}` ends them."
            )


def make_arrays(units: Sequence[Path], settings: LauncherSettings) -> list[list[Task]]:
    """Deal units out to tasks, and tasks to arrays, so that each gets of the expensive and cheap.

    Args:
        units: The unit files, the most expensive first.
        settings: Units of a task, and most tasks of an array.
    """
    directory = str(Path.cwd())
    paths = [str(unit.absolute()) for unit in units]
    num_tasks = -(-len(paths) // settings.units_per_job)
    tasks = [Task(tuple(paths[i::num_tasks]), directory) for i in range(num_tasks)]
    num_arrays = -(-num_tasks // settings.chunk)
    return [tasks[i::num_arrays] for i in range(num_arrays)]


def throttles(throttle: int | None, sizes: Sequence[int]) -> list[int]:
    """Share out the tasks that may run at once among arrays; each gets one at least.

    Args:
        throttle: Tasks that may run at once; None for all.
        sizes: Tasks of each array.
    """
    if throttle is None:
        return list(sizes)
    share, rest = divmod(throttle, len(sizes))
    return [max(1, share + (i < rest)) for i in range(len(sizes))]


def parameters(name: str, settings: LauncherSettings, at_once: int) -> dict[str, Any]:
    """What submitit is told of an array.

    Args:
        name: Name of the sweep, and so of its jobs.
        settings: The settings.
        at_once: Most tasks that run at once.
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
        "wckey": None,  # else submitit's own, which a scheduler that keeps account may refuse
        "additional_parameters": {"requeue": True},
        # Some clusters give a job no variables, and newer schedulers a step but one core.
        "srun_args": [
            "--export=ALL",
            *([f"--cpus-per-task={settings.cpus}"] if settings.cpus else []),
        ],
    }
    asked["gpus_per_node"] = asked["gpus_per_node"] or None
    return {key: value for key, value in asked.items() if value is not None or key == "wckey"}


def _share(cores: int | None) -> list[str]:
    """Shell lines that keep a worker to its cores, where the scheduler does not bind it to them."""
    if cores is None:
        return []
    threads = f"export OMP_NUM_THREADS=${{OMP_NUM_THREADS:-{cores}}}"
    return [f"export {CORES}={cores}", threads]


@contextlib.contextmanager
def _as_outside_of_jobs() -> Iterator[None]:
    """Hide the variables of a job around us, which sbatch would take for options.

    SBATCH_ACCOUNT, SBATCH_QOS and their like are wishes of the user, and stay.
    """
    hidden = {
        key: os.environ.pop(key)
        for key in list(os.environ)
        if (key.startswith(_LEFT_BY_JOBS) and key not in _CLIENT) or key in _LEFT_BY_LIGHTNING
    }
    try:
        yield
    finally:
        os.environ.update(hidden)


def _refusal(error: RuntimeError, submitted: list[str]) -> ConfigError:
    """The error for a job that the scheduler refuses, in its words, on one line."""
    lines = [re.sub(r"^\w+: (error|fatal): ", "", line) for line in str(error).splitlines()]
    words = "; ".join(line.strip() for line in lines if line.strip()) or type(error).__name__
    running = (
        f" Already submitted: {_named(submitted)}; the same command later submits what is left."
        if submitted
        else ""
    )
    return ConfigError(
        f"SLURM refuses the job: {words}",
        "Change launcher.partition, time, mem_gb, cpus, gpus or chunk; SBATCH_ACCOUNT and "
        f"SBATCH_QOS are heeded.{running}",
    )


def _named(jobs: list[str]) -> str:
    return f"job{'s' if len(jobs) > 1 else ''} {some(jobs)}"


def _jobs_of(path: Path) -> list[str]:
    """Job ids that a sweep was handed to."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        return [str(job) for job in json.loads(path.read_text(encoding="utf-8"))["jobs"]]
    return []
