"""Units on this machine: a process each, several at once, on its GPUs in turn."""

import contextlib
import os
import platform
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from marsbench.base import environment
from marsbench.base.errors import BusyError, ConfigError, TrainingError
from marsbench.base.progress import steps, tell
from marsbench.results.store import Store
from marsbench.sweep.launchers.settings import LauncherSettings
from marsbench.sweep.units import LOGS, WORKERS, left_of, unit_ids
from marsbench.sweep.worker import FAULT, INTERRUPTED

GPUS = "CUDA_VISIBLE_DEVICES"

WORKER = (sys.executable, "-m", "marsbench.sweep.worker")
"""Command of a worker, to which its unit is added."""

PATIENCE = 60.0
"""Seconds that workers have to end when the sweep is stopped, before they are killed."""

_POLL = 0.1
_COUNT = 2.0
"""Seconds between two looks at the processes, and at the records."""


@dataclass
class _Worker:
    """A process at work on a unit."""

    unit: Path
    slot: int
    process: subprocess.Popen[bytes]


class LocalLauncher:
    """Carries out units on this machine and waits for them.

    Args:
        settings: ``jobs``, ``per_gpu``, ``gpus`` and ``cpus`` count.
    """

    def __init__(self, settings: LauncherSettings) -> None:
        self.devices = slots(settings, visible_gpus())
        self.jobs = settings.jobs or (
            len(self.devices) if self.devices else max(1, environment.usable_cores() // 2)
        )
        self.cores = settings.cpus or max(1, environment.usable_cores() // self.jobs)
        self._again: set[Path] = set()

    def launch(self, folder: Path, units: Sequence[Path]) -> None:
        """Carry out units; returns when they are done.

        A worker that was killed is started once more on what it left.

        Args:
            folder: The sweep's folder.
            units: Its unit files.

        Raises:
            KeyboardInterrupt: When interrupted, after the workers have ended.
        """
        waiting, at_work = list(units), list[_Worker]()
        free = list(range(self.jobs))
        ids = {unit: unit_ids(unit) for unit in units}
        looked = 0.0

        def count() -> int:
            """Count the runs that are over: all but those waiting and those left of the rest."""
            over = sum(map(len, ids.values())) - sum(len(ids[unit]) for unit in waiting)
            return over - sum(len(left_of(w.unit, ids[w.unit])) for w in at_work)

        with _terminated(), steps("runs", sum(map(len, ids.values()))) as advance:
            shown = 0
            try:
                while waiting or at_work:
                    while waiting and free:
                        at_work.append(self._start(folder, waiting.pop(0), free.pop(0)))
                    for worker in [w for w in at_work if w.process.poll() is not None]:
                        at_work.remove(worker)
                        free.append(worker.slot)
                        if self._ended(folder, worker):
                            waiting.insert(0, worker.unit)
                    if time.monotonic() - looked > _COUNT:
                        advance((over := count()) - shown)
                        shown, looked = over, time.monotonic()
                    time.sleep(_POLL)
                advance(count() - shown)
            except KeyboardInterrupt:
                _stop(folder, at_work)
                raise

    def _start(self, folder: Path, unit: Path, slot: int) -> _Worker:
        variables = dict(os.environ)
        variables[environment.CORES] = str(self.cores)
        # Where nobody said otherwise: each worker would take all cores, and wait for the others.
        variables.setdefault("OMP_NUM_THREADS", str(self.cores))
        if self.devices:
            variables[GPUS] = self.devices[slot % len(self.devices)]
        elif GPUS not in variables:
            variables[GPUS] = ""
        logs = folder / LOGS
        logs.mkdir(parents=True, exist_ok=True)
        with (logs / f"{unit.stem}.log").open("ab") as log:
            # In a session of its own, so that Ctrl-C reaches this process alone, which then tells
            # the workers.
            process = subprocess.Popen(  # noqa: S603
                [*WORKER, str(unit)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=variables,
                start_new_session=True,
            )
        return _Worker(unit, slot, process)

    def _ended(self, folder: Path, worker: _Worker) -> bool:
        """See how a worker ended; says whether its unit is to be tried again."""
        code = worker.process.returncode
        _forget(folder, worker)
        if code == 0:
            return False
        left = left_of(worker.unit)
        log = folder / LOGS / f"{worker.unit.stem}.log"
        if not left:
            return False
        if code < 0:
            how = f"was killed by signal {-code}"
        else:
            how = "was stopped" if code == INTERRUPTED else f"ended with exit code {code}"
        if worker.unit not in self._again and (code < 0 or code in (INTERRUPTED, FAULT)):
            self._again.add(worker.unit)
            tell(f"The worker of unit {worker.unit.stem} {how}; it is started once more.")
            return True
        tell(f"The worker of unit {worker.unit.stem} {how}; {len(left)} runs are left ({log}).")
        if len(left) == 1:
            # No doubt which run it was; of several the next sweep finds out.
            store = Store(folder.parent.parent)
            with contextlib.suppress(BusyError), store.claim(left[0]):
                store.fail(
                    left[0],
                    TrainingError(
                        f"The worker {how}, and so it was when tried before.",
                        f"Perhaps the machine has too little memory; its output is in {log}.",
                    ),
                )
        return False


def visible_gpus() -> list[str]:
    """Names of the GPUs this process may use, without loading torch."""
    if (given := os.environ.get(GPUS)) is not None:
        return [name for name in given.split(",") if name.strip() and name.strip() != "-1"]
    if (program := shutil.which("nvidia-smi")) is None:
        return []
    try:
        command = [program, "--query-gpu=index", "--format=csv,noheader"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return []
    return [line.strip() for line in done.stdout.splitlines() if line.strip().isdecimal()]


def slots(settings: LauncherSettings, gpus: Sequence[str]) -> list[str]:
    """Say which GPUs each worker sees, in the order in which workers are started.

    Args:
        settings: ``gpus`` is how many a worker takes, ``per_gpu`` how many workers share them.
        gpus: Names of those there are.

    Returns:
        A value of CUDA_VISIBLE_DEVICES for each worker; empty where they use none.

    Raises:
        ConfigError: If a worker is to take a part of a GPU, or more of them than there are.
    """
    each = 1 if settings.gpus is None else int(settings.gpus)
    if settings.gpus is not None and each != settings.gpus:
        raise ConfigError(
            f"launcher.gpus={settings.gpus:g}: launcher=local gives whole GPUs.",
            "Give a whole number; launcher.per_gpu=2 lets two workers share a GPU.",
        )
    if settings.gpus is not None and each > len(gpus):
        raise ConfigError(
            f"launcher.gpus={each}: this process sees {len(gpus)} of them.",
            f"Lower launcher.gpus (0 is the CPU), or see what {GPUS} says.",
        )
    if each == 0:
        return []
    sets = [",".join(gpus[i : i + each]) for i in range(0, len(gpus) - each + 1, each)]
    # In turn, so that the second of a GPU comes after the first of every other.
    return sets * settings.per_gpu


def _forget(folder: Path, worker: _Worker) -> None:
    """Remove what a worker that was killed could not."""
    path = folder / WORKERS / f"{platform.node()}-{worker.process.pid}.json"
    with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)


def _stop(folder: Path, workers: Sequence[_Worker]) -> None:
    """Stop workers, and wait until they have put away what they have."""
    # A second Ctrl-C must not leave them behind.
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        for worker in workers:
            worker.process.terminate()
        deadline = time.monotonic() + PATIENCE
        for worker in workers:
            try:
                worker.process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                with contextlib.suppress(OSError):
                    # With the processes that load its data.
                    os.killpg(worker.process.pid, signal.SIGKILL)
                worker.process.wait()
            _forget(folder, worker)
    finally:
        signal.signal(signal.SIGINT, before)


@contextlib.contextmanager
def _terminated() -> Iterator[None]:
    """Take SIGTERM for Ctrl-C, so that workers do not outlive a sweep that is told to end."""
    try:
        before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    except ValueError:
        yield  # not the main thread
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
