"""Local launcher: a process per unit, several at once, on this machine's GPUs in turn."""

import contextlib
import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from marsbench.base import environment
from marsbench.base.errors import BusyError, GpuSharedError, TrainingError
from marsbench.base.progress import steps, tell
from marsbench.results.store import Store
from marsbench.sweep.heartbeat import heartbeats
from marsbench.sweep.launchers.gpus import (
    GPUS,
    memory_of,
    most_per_gpu,
    sets_of,
    visible_gpus,
)
from marsbench.sweep.launchers.packing import MOST_FAULTS, Packing, Start
from marsbench.sweep.launchers.settings import LauncherSettings
from marsbench.sweep.units import (
    LOGS,
    WORKERS,
    disk_full,
    has_room,
    left_of,
    peaks_of,
    unit_ids,
    unit_need,
)
from marsbench.sweep.worker import DISK_FULL, FAULT, INTERRUPTED

WORKER = (sys.executable, "-m", "marsbench.sweep.worker")
"""Command of a worker, followed by its unit file."""

NO_GPU = ""
"""Value of `GPUS` for workers on the CPU."""

PATIENCE = 60.0
"""Seconds granted to workers of a stopped sweep before they are killed."""

_POLL = 0.1
_COUNT = 2.0
"""Seconds between polls of the processes, and of the records."""


@dataclass
class _Worker:
    """Process of a unit."""

    unit: Path
    shares: bool
    process: subprocess.Popen[bytes]


class LocalLauncher:
    """Launcher for this machine; waits for the units.

    Args:
        settings: Settings; ``jobs``, ``per_gpu``, ``gpus`` and ``cpus`` are used.

    Raises:
        ConfigError: If ``gpus`` is a fraction or exceeds the visible GPUs.
        NotAvailableError: If the memory of GPUs to be shared is unknown.
    """

    def __init__(self, settings: LauncherSettings) -> None:
        self.sets = sets_of(settings, visible_gpus())
        self.most = most_per_gpu(settings, self.sets)
        places = len(self.sets) * self.most or max(1, environment.usable_cores() // 2)
        self.jobs = settings.jobs or places
        if self.sets:
            self.jobs = min(self.jobs, places)
        self.cores = settings.cpus or max(1, environment.usable_cores() // self.jobs)
        self.memory = memory_of(self.sets) if self.sets and self.most > 1 else None
        self._packing = Packing([], 0)
        self._again: set[Path] = set()
        self._is_full = False

    def _pack(self, units: Sequence[Path]) -> Packing:
        """Prepare the places of units."""
        if not self.sets:
            return Packing([NO_GPU], self.jobs)
        if self.memory is None:
            return Packing(self.sets, self.most)
        needs = {unit: unit_need(unit) for unit in units}
        return Packing(self.sets, self.most, self.memory, needs)

    def launch(self, folder: Path, units: Sequence[Path]) -> None:
        """Train units; returns when they are done.

        The unit of a killed worker is started once more, and a unit for which a shared GPU has too
        little memory is started again alone. After a full disk no unit is started. On an error the
        workers are stopped.

        Args:
            folder: The sweep's folder.
            units: Its unit files.

        Raises:
            KeyboardInterrupt: When interrupted, after the workers have ended.
        """
        waiting, at_work = list(units), list[_Worker]()
        self._packing = self._pack(units)
        ids = {unit: unit_ids(unit) for unit in units}
        looked, has_place = 0.0, True

        def count() -> int:
            """Count finished and failed runs."""
            started = sum(map(len, ids.values())) - sum(len(ids[unit]) for unit in waiting)
            return started - sum(len(left_of(w.unit, ids[w.unit])) for w in at_work)

        with _terminated(), steps("runs", sum(map(len, ids.values()))) as advance:
            shown = 0
            try:
                while waiting or at_work:
                    while has_place and len(at_work) < self.jobs:
                        if (start := self._packing.start(waiting)) is None:
                            break
                        waiting.remove(start.unit)
                        at_work.append(self._start(folder, start))
                    has_place = not at_work
                    for worker in [w for w in at_work if w.process.poll() is not None]:
                        at_work.remove(worker)
                        has_place = True
                        self._free(worker)
                        self._measure(worker.unit)
                        if self._ended(folder, worker):
                            waiting.insert(0, worker.unit)
                    if self._is_full:
                        waiting.clear()
                    if time.monotonic() - looked > _COUNT:
                        advance((over := count()) - shown)
                        advance.describe(self._title(folder, at_work, ids))
                        shown, looked = over, time.monotonic()
                    time.sleep(_POLL)
                advance(count() - shown)
                if self._is_full:
                    tell(f"Error: {disk_full(folder)}")
            except BaseException:
                # Also on an error of this process, which workers in sessions of their own survive.
                _stop(folder, at_work)
                raise

    def _title(
        self, folder: Path, at_work: Sequence[_Worker], ids: Mapping[Path, Sequence[str]]
    ) -> str:
        """Text before the bar: the run of the first worker, and the number of the others."""
        if not at_work:
            return "runs"
        unit, pid = at_work[0].unit, at_work[0].process.pid
        beats = heartbeats(folder.parent.parent)
        current = next((b.current for b in beats if (b.unit, b.pid) == (unit.name, pid)), None)
        # A bank trains several runs at once, of a task, model and mode.
        name = current or "/".join(ids[unit][0].split("/")[:3])
        others = f" and {len(at_work) - 1} more" if len(at_work) > 1 else ""
        return f"runs, now {name}{others}"

    def _start(self, folder: Path, start: Start) -> _Worker:
        variables = environment.without_ranks()
        variables[environment.CORES] = str(self.cores)
        # Otherwise every worker would use all cores.
        variables.setdefault("OMP_NUM_THREADS", str(self.cores))
        variables[GPUS] = start.gpu
        variables.pop(environment.SHARES, None)
        if start.shares:
            variables[environment.SHARES] = "1"
        logs = folder / LOGS
        logs.mkdir(parents=True, exist_ok=True)
        with (logs / f"{start.unit.stem}.log").open("ab") as log:
            # A session of its own: Ctrl-C reaches this process alone, which then stops the workers.
            process = subprocess.Popen(  # noqa: S603
                [*WORKER, str(start.unit)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=variables,
                start_new_session=True,
            )
        return _Worker(start.unit, start.shares, process)

    def _free(self, worker: _Worker) -> None:
        """Free the place of an ended worker."""
        gpu = self._packing.end(worker.unit, is_fault=worker.process.returncode == FAULT)
        if gpu is not None:
            tell(
                f"Warning: {MOST_FAULTS} workers in a row on GPU {gpu} ended with exit code "
                f"{FAULT}; other GPUs get its units. See nvidia-smi -q -i {gpu}."
            )

    def _measure(self, unit: Path) -> None:
        """Take the memory of like units from the records of an ended unit."""
        peaks = peaks_of(unit) if self._packing.by_memory else []
        if peaks and (need := self._packing.measure(unit, max(peaks))) is not None:
            tell(f"Measured    {need.like}: {max(peaks) / 2**30:.1f} GiB of a GPU")

    def _ended(self, folder: Path, worker: _Worker) -> bool:
        """Handle an ended worker; returns whether to retry its unit."""
        code = worker.process.returncode
        _kill_group(worker)
        _forget(folder, worker)
        if code == 0:
            return False
        left = left_of(worker.unit)
        # A worker that cannot even write its log may end in other ways.
        if code == DISK_FULL or (left and not has_room(folder)):
            self._is_full = True
            return False
        log = folder / LOGS / f"{worker.unit.stem}.log"
        if not left:
            return False
        if worker.shares and code in (GpuSharedError.exit_code, FAULT):
            self._packing.isolate(worker.unit)
        if worker.shares and code == GpuSharedError.exit_code:
            tell(
                f"Unit {worker.unit.stem} needs more of its shared GPU's memory; it will run alone."
            )
            return True
        if code < 0:
            how = f"was killed by signal {-code}"
        else:
            how = "was interrupted" if code == INTERRUPTED else f"ended with exit code {code}"
        if worker.unit not in self._again and (code < 0 or code in (INTERRUPTED, FAULT)):
            self._again.add(worker.unit)
            tell(f"The worker of unit {worker.unit.stem} {how}; retrying once.")
            return True
        tell(f"The worker of unit {worker.unit.stem} {how}; {len(left)} runs are left ({log}).")
        if len(left) == 1:
            # Only one run can be the cause; with several, the next sweep narrows them down.
            store = Store(folder.parent.parent)
            with contextlib.suppress(BusyError), store.claim(left[0]):
                store.fail(
                    left[0],
                    TrainingError(
                        f"The worker {how} twice.",
                        f"Check the machine's memory; the worker's output is in {log}.",
                    ),
                )
        return False


def _forget(folder: Path, worker: _Worker) -> None:
    """Remove the heartbeat of a killed worker."""
    path = folder / WORKERS / f"{platform.node()}-{worker.process.pid}.json"
    with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)


def _stop(folder: Path, workers: Sequence[_Worker]) -> None:
    """Stop workers and wait until they have saved their progress."""
    # A second Ctrl-C must not orphan them.
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        for worker in workers:
            worker.process.terminate()
        deadline = time.monotonic() + PATIENCE
        for worker in workers:
            try:
                worker.process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                _kill_group(worker)
                worker.process.wait()
            _forget(folder, worker)
    finally:
        signal.signal(signal.SIGINT, before)


def _kill_group(worker: _Worker) -> None:
    """Kill the processes of a worker: its data loaders, and the other ranks of its run.

    A rank whose first rank failed waits for a collective, on GPUs of the next unit.
    """
    with contextlib.suppress(OSError):
        os.killpg(worker.process.pid, signal.SIGKILL)


@contextlib.contextmanager
def _terminated() -> Iterator[None]:
    """Handle SIGTERM like Ctrl-C, so that workers do not outlive a terminated sweep."""
    try:
        before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    except ValueError:
        yield  # not the main thread
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
