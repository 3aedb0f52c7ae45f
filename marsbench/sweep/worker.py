"""Worker process of a sweep: ``python -m marsbench.sweep.worker UNIT.json ...``.

Records alone say which runs are done, so a worker may be stopped and restarted anywhere, and
several workers may share a unit.
"""

import contextlib
import os
import signal
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Hashable, Iterable, Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from marsbench.base import environment
from marsbench.base.documents import parse_json
from marsbench.base.errors import (
    BusyError,
    DataError,
    DataNotFoundError,
    DeviceLostError,
    MarsbenchError,
    is_disk_full,
)
from marsbench.base.progress import tell
from marsbench.base.reading import read_text
from marsbench.config.schema import RunConfig
from marsbench.plan.resolve import Resolver
from marsbench.plan.sharing import place_of
from marsbench.results.store import FAILED, RECORD, Store
from marsbench.sweep.heartbeat import Beating, beating
from marsbench.sweep.units import WAS_FULL, read_unit, sweep_of

if TYPE_CHECKING:
    from marsbench.plan.resolve import Plan
    from marsbench.results.record import Outcome

INTERRUPTED = 75
"""Exit code of an interrupted worker: EX_TEMPFAIL, retry."""

FAULT = DeviceLostError.exit_code
"""Exit code of a worker that left runs undone because of a bug or a lost GPU."""

DISK_FULL = 73
"""Exit code of a worker that cannot write: EX_CANTCREAT. Its runs stay unfinished."""

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
"""Signals that stop a worker; schedulers send the first and last before a time limit."""


def run_unit(path: Path) -> int:
    """Train the runs of a unit without a record or failure.

    A failed run leaves ``failed.json`` and the others continue. A run claimed by another process
    is skipped. An interrupted run resumes after its last saved epoch.

    Args:
        path: Unit file below a sweep's folder.

    Returns:
        0 if every run is done, failed or claimed elsewhere; 75 if interrupted; 73 if the disk is
        full; 70 if a bug left runs with shared features undone.

    Raises:
        DeviceLostError: If the GPU fails; this process can train no further run, and the runs
            left are unfinished.
        StoreError: If the unit file is invalid.
    """
    unit = read_unit(path)
    # Of several processes that train one run, only the first reports.
    beat = None if environment.helps_another() else beating(sweep_of(path), path, unit.ids)
    with beat or contextlib.nullcontext():
        work = _UnitWork(unit.force, beat)
        try:
            return 0 if work.carry_out(unit.runs, unit.ids) else FAULT
        except _DiskFullError as full:
            tell(f"Error: {full.__cause__}")
            with contextlib.suppress(OSError):
                (sweep_of(path) / WAS_FULL).touch()
            return DISK_FULL
        except KeyboardInterrupt:
            return INTERRUPTED
        except SystemExit as ended:
            # Training turns a signal into its exit code; the first process reports for the others.
            if environment.helps_another() or ended.code in (0, None):
                raise
            return INTERRUPTED


class _DiskFullError(Exception):
    """No further run of a unit can be written."""


def _check(error: Exception) -> None:
    """Stop the unit if its disk is full or its GPU is lost; otherwise an error belongs to a run."""
    if is_disk_full(error):
        raise _DiskFullError from error
    if isinstance(error, DeviceLostError):
        raise error


class _UnitWork:
    """Runs of a unit: trained singly, or together if they share features."""

    def __init__(self, force: bool, beat: Beating | None) -> None:
        self.force = force
        self.beat = beat
        self.resolver = Resolver()
        self._lacking: dict[Hashable, DataNotFoundError] = {}

    def carry_out(self, runs: Sequence[RunConfig], ids: Sequence[str]) -> bool:
        """Train runs; returns whether all were attempted."""
        together: list[Plan] = []
        for config, run_id in zip(runs, ids, strict=True):
            store = Store(config.store)
            if not self.force and _is_settled(store, run_id):
                continue
            plan = self._resolve(config, run_id, store)
            if plan is None:
                continue
            if is_cached(plan):
                together.append(plan)
            else:
                self._alone(plan, store)
        return self._together(together)

    def _resolve(self, config: RunConfig, run_id: str, store: Store) -> "Plan | None":
        """Resolve a run; a failure is recorded in the run's folder and None returned.

        Data or weights present at planning time may be missing on this machine.
        """
        place = place_of(config)
        try:
            if place in self._lacking:
                raise self._lacking[place]
            plan = self.resolver.resolve(config)
            if plan.run_id != run_id:
                raise DataError(
                    f"The data changed since the sweep was planned: {run_id} is now {plan.run_id}.",
                    "Run the sweep again to plan it anew.",
                )
        except MarsbenchError as error:
            _check(error)
            if isinstance(error, DataNotFoundError):
                # Each lookup may wait for a network timeout.
                self._lacking[place] = error
            record_failure(store, run_id, error)
            return None
        return plan

    def _alone(self, plan: "Plan", store: Store) -> None:
        """Train a run."""
        from marsbench.training import runner

        self._at(plan.run_id)
        started = time.perf_counter()
        try:
            outcome = runner.run(plan, force=self.force)
        except BusyError as error:
            tell(f"skipped     {error.problem}")
        except MarsbenchError as error:
            _check(error)
            record_failure(store, plan.run_id, error)
        except Exception as error:
            _check(error)
            # A bug of ours; the run's failed.json holds the traceback.
            traceback.print_exc()
            record_failure(store, plan.run_id, error)
        else:
            _told(outcome, time.perf_counter() - started)

    def _together(self, plans: "Sequence[Plan]") -> bool:
        """Train runs with shared features; returns whether all were attempted."""
        if not plans:
            return True
        from marsbench.training.frozen import bank

        left = {plan.run_id: Store(plan.config.store) for plan in plans}
        started = time.perf_counter()
        try:
            for plan, outcome in bank.run_bank(plans, force=self.force):
                store = left.pop(plan.run_id, None)
                if store is None:
                    continue  # reported before
                if isinstance(outcome, BusyError):
                    tell(f"skipped     {outcome.problem}")
                elif isinstance(outcome, MarsbenchError):
                    _check(outcome)
                    record_failure(store, plan.run_id, outcome)
                else:
                    _told(outcome, time.perf_counter() - started)
        except _DiskFullError:
            raise
        except MarsbenchError as error:
            _check(error)
            # The shared features are not available.
            for run_id, store in left.items():
                record_failure(store, run_id, error)
        except Exception as error:
            _check(error)
            # A bug of ours. If one run caused it, the store holds its failure and the others can
            # be retried.
            traceback.print_exc()
            return all(_is_settled(store, run_id) for run_id, store in left.items())
        return True

    def _at(self, run_id: str) -> None:
        if self.beat is not None:
            self.beat.at(run_id)


def _is_settled(store: Store, run_id: str) -> bool:
    """Whether a run has a record or a failure; retries delete the failure first."""
    folder = store.folder(run_id)
    return (folder / RECORD).exists() or (folder / FAILED).exists()


def is_cached(plan: "Plan") -> bool:
    """Whether a run's head is fitted to cached vectors, with those of other runs."""
    return plan.fits_heads


def record_failure(store: Store, run_id: str, error: Exception) -> None:
    """Report a failed run in the log and, once, in the run's folder."""
    tell(f"failed      {run_id}: {str(error) or type(error).__name__}")
    folder = store.folder(run_id)
    if (folder / RECORD).exists():
        return
    said = (folder / FAILED).exists() and _said(folder / FAILED, error)
    if not said:
        with contextlib.suppress(MarsbenchError), store.claim(run_id):
            store.fail(run_id, error)


def _said(path: Path, error: Exception) -> bool:
    """Whether ``failed.json`` holds this very error."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        return bool(parse_json(read_text(path))["error"] == f"{type(error).__name__}: {error}")
    return False


def _told(outcome: "Outcome", seconds: float) -> None:
    record = outcome.record
    score = "-" if record.score is None else f"{record.score:.4f}"
    was = "was done" if outcome.was_done else "done"
    tell(f"{was:<11} {record.run_id}: {record.headline} {score}, after {seconds:.1f} s")


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Turn the first signal of `SIGNALS` into KeyboardInterrupt.

    Outside the main thread nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    process, has_begun = os.getpid(), False

    def stop(number: int, _: FrameType | None) -> None:
        nonlocal has_begun
        if os.getpid() != process:
            # A forked data loader has nothing to save.
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        # A second signal must not interrupt the clean-up. A flag, since Python reports on stderr
        # a pending signal whose handler has become SIG_IGN.
        if not has_begun:
            has_begun = True
            raise KeyboardInterrupt(signal.Signals(number).name)

    before = {number: signal.signal(number, stop) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def run_units(units: Iterable[Path], *, retry_faults: bool = False) -> int:
    """Train units in sequence.

    Args:
        units: Unit files.
        retry_faults: Whether a unit that ends in `FAULT` is tried once more, without the runs
            that have failed meanwhile.

    Returns:
        The largest exit code of `run_unit`, or 2 for an invalid unit file; 75 if interrupted, and
        73 if the disk is full, without trying further units.

    Raises:
        DeviceLostError: If the GPU fails, without trying further units.
    """
    worst = 0
    try:
        for unit in units:
            try:
                code = run_unit(unit)
                if code == FAULT and retry_faults:
                    code = run_unit(unit)
            except DeviceLostError:
                raise
            except MarsbenchError as error:
                tell(f"Error: {error}")
                code = 2
            if code in (INTERRUPTED, DISK_FULL):
                return code
            worst = max(worst, code)
    except KeyboardInterrupt:
        return INTERRUPTED
    return worst


def main(arguments: Sequence[str] | None = None) -> int:
    """Train the units named on the command line."""
    units = [Path(word) for word in (sys.argv[1:] if arguments is None else arguments)]
    if not units:
        tell("Usage: python -m marsbench.sweep.worker UNIT.json ...")
        return 2
    # Lightning's advice for interactive use.
    warnings.filterwarnings("ignore", message="The `srun` command is available")
    with interruptible():
        try:
            return run_units(units)
        except DeviceLostError as error:
            tell(f"Error: {error}")
            return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
