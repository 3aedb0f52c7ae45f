"""Ray launcher: a task per unit, placed by ray with a share of a GPU, and retried after a crash.

A task trains its unit in a child process: a crash ends the child and not ray's worker, and every
unit starts with a fresh torch.
"""

import os
import subprocess
import sys
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from marsbench.base import environment
from marsbench.base.errors import ConfigError, NotAvailableError, some
from marsbench.base.progress import tell, track
from marsbench.sweep.launchers.remote import variables
from marsbench.sweep.launchers.settings import LauncherSettings
from marsbench.sweep.units import LOGS, disk_full
from marsbench.sweep.worker import DISK_FULL, INTERRUPTED

_PATIENCE = 60.0
"""Seconds granted to a stopped worker to save its run for resuming."""


class WorkerDiedError(RuntimeError):
    """Worker died before the end of its unit; ray retries the task."""


class RayLauncher:
    """Launcher of units as tasks of a ray cluster; waits for them.

    Args:
        settings: Address of the cluster; cores, GPUs (a fraction if workers share one) and memory
            of a worker; retries of a unit.

    Raises:
        NotAvailableError: If ray is not installed.
    """

    def __init__(self, settings: LauncherSettings) -> None:
        try:
            import ray  # noqa: F401
        except ModuleNotFoundError as error:
            raise NotAvailableError(
                f"launcher=ray needs the package {error.name}, which is not installed.",
                "Install it: pip install 'marsbench[ray]'.",
            ) from error
        self.settings = settings

    def launch(self, folder: Path, units: Sequence[Path]) -> None:
        """Train units; returns when all are done or given up.

        Ctrl-C stops the workers; the next sweep resumes their runs.

        Args:
            folder: The sweep's folder, ``STORE/.sweeps/NAME``.
            units: Its unit files, most expensive first.

        Raises:
            NotAvailableError: If the cluster does not answer.
            ConfigError: If the cluster is too small for a worker.
        """
        import ray

        is_ours = not ray.is_initialized()
        if is_ours:
            self._connect()
        try:
            options = self._options(ray.cluster_resources(), ray.nodes())
            task = ray.remote(**options)(carry_out)
            cores = max(1, int(options["num_cpus"]))
            given_up = [unit.stem for unit in self._given_up(task, cores, folder.absolute(), units)]
        finally:
            if is_ours:
                ray.shutdown()
        if given_up:
            tell(
                f"Given up: unit {some(given_up)}; see {folder / LOGS}. The same command "
                "continues with the remaining runs."
            )

    def _connect(self) -> None:
        """Join the cluster at the given address, or start a cluster on this machine."""
        import ray

        address = self.settings.address or os.environ.get("RAY_ADDRESS")
        quiet = {"log_to_driver": False, "logging_level": "ERROR"}
        try:
            if address is None:
                cores = environment.usable_cores()
                ray.init(address="local", num_cpus=cores, include_dashboard=False, **quiet)
            else:
                ray.init(address=address, runtime_env={"env_vars": variables()}, **quiet)
        except (ConnectionError, OSError, RuntimeError, ValueError) as error:
            raise NotAvailableError(
                f"No ray cluster answers at {address or 'this machine'}: "
                f"{' '.join(str(error).split())}",
                "Start one (`ray start --head`) and name it with launcher.address, or leave "
                "launcher.address out.",
            ) from error

    def _options(
        self, resources: dict[str, float], nodes: Sequence[Mapping[str, Any]]
    ) -> dict[str, Any]:
        """Options of a ray task.

        Args:
            resources: Resources of the cluster.
            nodes: Nodes of the cluster, as `ray.nodes` describes them.
        """
        settings = self.settings
        gpus = settings.gpus
        if gpus is None:
            gpus = 1.0 if resources.get("GPU") else 0.0
        cores = settings.cpus or share_of_cores(nodes, gpus)
        # A cluster run by others may grow; our own does not, and the task would wait for ever.
        if settings.address is None:
            for key, name, asked in (("cpus", "CPU", cores), ("gpus", "GPU", gpus)):
                if asked > resources.get(name, 0):
                    raise ConfigError(
                        f"launcher.{key} is {asked:g}; ray has {resources.get(name, 0):g} here.",
                        f"Lower launcher.{key}, or set launcher.address to a larger cluster.",
                    )
        return {
            "num_cpus": cores,
            "num_gpus": gpus,
            **({"memory": int(settings.mem_gb * 2**30)} if settings.mem_gb else {}),
            # Without these, ray retries only after the loss of its own workers and nodes.
            "max_retries": settings.max_retries,
            "retry_exceptions": [WorkerDiedError],
        }

    def _given_up(
        self, task: Any, cores: int, folder: Path, units: Sequence[Path]
    ) -> Iterator[Path]:
        """Train units and yield the units out of retries."""
        for unit, error in track(self._results(task, cores, folder, units), "units", len(units)):
            if error is not None:
                tell(f"unit {unit.stem}: {error}")
                yield unit

    def _results(
        self, task: Any, cores: int, folder: Path, units: Sequence[Path]
    ) -> Iterator[tuple[Path, str | None]]:
        """Train units and yield each finished unit with its error, or None."""
        import ray

        waiting, running = deque(units), dict[Any, Path]()
        most = self.settings.jobs or len(units)
        try:
            while waiting or running:
                while waiting and len(running) < most:
                    unit = waiting.popleft()
                    log = folder / LOGS / f"{unit.stem}.log"
                    started = task.remote(str(unit.absolute()), str(log), str(Path.cwd()), cores)
                    running[started] = unit
                for ended in ray.wait(list(running), num_returns=1)[0]:
                    unit = running.pop(ended)
                    try:
                        code = ray.get(ended)
                    except ray.exceptions.RayError as error:
                        cause = getattr(error, "cause", None) or error
                        yield unit, " ".join(str(cause).split())
                    else:
                        if code == DISK_FULL:
                            waiting.clear()
                            yield unit, disk_full(folder)
                        else:
                            yield unit, f"its worker ended with code {code}" if code else None
        except BaseException:
            for started in running:
                ray.cancel(started)
            if running:
                tell("Stopping; the same command continues with the remaining runs.")
                ray.wait(list(running), num_returns=len(running), timeout=_PATIENCE)
            raise


def share_of_cores(nodes: Sequence[Mapping[str, Any]], gpus: float) -> float:
    """Cores of a worker by default: the cores per GPU of the node with the fewest, times its GPUs.

    Args:
        nodes: Nodes of the cluster, as `ray.nodes` describes them.
        gpus: GPUs of a worker; without any, a worker has one core.

    Returns:
        Whole cores, or a fraction below 1, which ray counts, so that all GPUs are used.
    """
    alive = [node["Resources"] for node in nodes if node["Alive"]]
    per_gpu = [has["CPU"] / has["GPU"] for has in alive if has.get("GPU") and has.get("CPU")]
    if not (gpus and per_gpu):
        return 1
    share = min(per_gpu) * gpus
    return int(share) if share >= 1 else share


def carry_out(unit: str, log: str, directory: str, cores: int) -> int:
    """Train a unit in a child process; the body of a ray task.

    Args:
        unit: Path of the unit file.
        log: File to which the output is appended.
        directory: Working directory, for relative paths in the unit.
        cores: Cores of the process; ray counts them but does not bind.

    Returns:
        Exit code: 0, 73 if the disk is full, or 2 if the unit file is invalid.

    Raises:
        WorkerDiedError: If the process was killed, crashed or was interrupted.
    """
    command = [sys.executable, "-m", "marsbench.sweep.worker", unit]
    with Path(log).open("a") as output:
        worker = subprocess.Popen(  # noqa: S603
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=directory,
            env=environment.without_ranks() | {environment.CORES: str(cores)},
        )
        try:
            code = _wait(worker)
        finally:
            if worker.poll() is None:  # cancelled, or ray ends
                worker.terminate()
                try:
                    worker.wait(_PATIENCE / 2)
                except subprocess.TimeoutExpired:
                    worker.kill()
    if code < 0:
        raise WorkerDiedError(f"its worker was ended by signal {-code}")
    if code not in (0, 2, DISK_FULL):
        said = "was interrupted" if code == INTERRUPTED else f"ended with code {code}"
        raise WorkerDiedError(f"its worker {said}")
    return code


def _wait(worker: "subprocess.Popen[bytes]") -> int:
    """Wait for a process in short steps, so that ray can cancel the task in between."""
    while True:
        try:
            return worker.wait(0.5)
        except subprocess.TimeoutExpired:
            continue
