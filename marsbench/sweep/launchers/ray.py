"""Ray: each unit a task that ray places, with a share of a GPU, and starts again if it dies.

A task carries out its unit in a process of its own, so that a crash or a kill ends that process
and not ray's worker, and the next unit begins with a fresh torch.
"""

import os
import subprocess
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from marsbench.base import environment
from marsbench.base.errors import ConfigError, NotAvailableError, some
from marsbench.base.progress import tell, track
from marsbench.sweep.launchers.remote import variables
from marsbench.sweep.launchers.settings import LauncherSettings
from marsbench.sweep.units import LOGS

_PATIENCE = 60.0
"""Seconds that a worker has, when it is told to stop, to leave its run as it may be resumed."""


class WorkerDiedError(RuntimeError):
    """A worker that did not come to the end of its unit; ray starts another."""


class RayLauncher:
    """Carries out units as tasks of a ray cluster, and waits for them.

    Args:
        settings: Address of the cluster; cores, GPUs (a fraction, for workers to share one) and
            memory of a worker; how often a unit is begun again.

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
        """Carry out units; returns when all are done or given up.

        Ctrl-C stops the workers; what they were at is resumed by the next sweep.

        Args:
            folder: The sweep's folder, ``STORE/.sweeps/NAME``.
            units: Its unit files, the most expensive first.

        Raises:
            NotAvailableError: If the cluster does not answer.
            ConfigError: If it cannot give what a worker asks for.
        """
        import ray

        is_ours = not ray.is_initialized()
        if is_ours:
            self._connect()
        try:
            options = self._options(ray.cluster_resources())
            task = ray.remote(**options)(carry_out)
            given_up = [unit.stem for unit in self._given_up(task, folder.absolute(), units)]
        finally:
            if is_ours:
                ray.shutdown()
        if given_up:
            tell(
                f"Given up: unit {some(given_up)}; {folder / LOGS} tells why. The same command "
                "later goes on with what is left."
            )

    def _connect(self) -> None:
        """Join the cluster at the address given, else start one on this machine."""
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
                f"No ray cluster can be had at {address or 'this machine'}: "
                f"{' '.join(str(error).split())}",
                "Start one (`ray start --head`) and name it with launcher.address, or leave "
                "launcher.address out.",
            ) from error

    def _options(self, resources: dict[str, float]) -> dict[str, Any]:
        """What a task asks of ray.

        Args:
            resources: What the cluster has.
        """
        settings = self.settings
        gpus = settings.gpus
        if gpus is None:
            gpus = 1.0 if resources.get("GPU") else 0.0
        cores = settings.cpus or 1
        # A cluster that others run may grow; one of our own does not, and would wait for ever.
        if settings.address is None:
            for key, name, asked in (("cpus", "CPU", cores), ("gpus", "GPU", gpus)):
                if asked > resources.get(name, 0):
                    raise ConfigError(
                        f"launcher.{key}={asked:g}: ray has {resources.get(name, 0):g} here.",
                        f"Lower launcher.{key}, or name a larger cluster with launcher.address.",
                    )
        return {
            "num_cpus": cores,
            "num_gpus": gpus,
            **({"memory": int(settings.mem_gb * 2**30)} if settings.mem_gb else {}),
            # ray's own retries are for workers and nodes of its own that are lost.
            "max_retries": settings.max_retries,
            "retry_exceptions": [WorkerDiedError],
        }

    def _given_up(self, task: Any, folder: Path, units: Sequence[Path]) -> Iterator[Path]:
        """Carry out units and yield those that failed more often than is allowed."""
        for unit, error in track(self._results(task, folder, units), "units", len(units)):
            if error is not None:
                tell(f"unit {unit.stem}: {error}")
                yield unit

    def _results(
        self, task: Any, folder: Path, units: Sequence[Path]
    ) -> Iterator[tuple[Path, str | None]]:
        """Carry out units and yield each, when it is done, with what was wrong if anything was."""
        import ray

        waiting, running = deque(units), dict[Any, Path]()
        most = self.settings.jobs or len(units)
        try:
            while waiting or running:
                while waiting and len(running) < most:
                    unit = waiting.popleft()
                    log = folder / LOGS / f"{unit.stem}.log"
                    started = task.remote(
                        str(unit.absolute()), str(log), str(Path.cwd()), self.settings.cpus or 1
                    )
                    running[started] = unit
                for ended in ray.wait(list(running), num_returns=1)[0]:
                    unit = running.pop(ended)
                    try:
                        code = ray.get(ended)
                    except ray.exceptions.RayError as error:
                        cause = getattr(error, "cause", None) or error
                        yield unit, " ".join(str(cause).split())
                    else:
                        yield unit, f"its worker ended with code {code}" if code else None
        except BaseException:
            for started in running:
                ray.cancel(started)
            if running:
                tell("Stopping; the same command goes on with what is left.")
                ray.wait(list(running), num_returns=len(running), timeout=_PATIENCE)
            raise


def carry_out(unit: str, log: str, directory: str, cores: int) -> int:
    """Carry out a unit in a process of its own; what ray runs.

    Args:
        unit: Path of the unit file.
        log: File to which the process's output is added.
        directory: Folder that relative paths in the unit start from.
        cores: Cores that the process may use; ray counts them, and binds it to none.

    Returns:
        The process's exit code: 0, or 2 if the unit cannot be read.

    Raises:
        WorkerDiedError: If the process was killed, crashed or was interrupted.
    """
    from marsbench.sweep.worker import INTERRUPTED

    command = [sys.executable, "-m", "marsbench.sweep.worker", unit]
    with Path(log).open("a") as output:
        worker = subprocess.Popen(  # noqa: S603
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=directory,
            env=os.environ | {environment.CORES: str(cores)},
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
    if code not in (0, 2):
        said = "was interrupted" if code == INTERRUPTED else f"ended with code {code}"
        raise WorkerDiedError(f"its worker {said}")
    return code


def _wait(worker: "subprocess.Popen[bytes]") -> int:
    """Wait for a process to end; ray's cancelling is noticed between two looks alone."""
    while True:
        try:
            return worker.wait(0.5)
        except subprocess.TimeoutExpired:
            continue
