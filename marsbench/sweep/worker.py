"""A process that carries out one unit: ``python -m marsbench.sweep.worker UNIT.json ...``.

What it did is known by the records it leaves, so it may be stopped and started anywhere, any
number of times, and several of them may meet at the same unit.
"""

import contextlib
import json
import os
import signal
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Hashable, Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from marsbench.base import environment
from marsbench.base.errors import BusyError, DataError, DataNotFoundError, MarsbenchError
from marsbench.base.progress import tell
from marsbench.config.schema import Protocol, RunConfig
from marsbench.plan.resolve import Resolver
from marsbench.plan.sharing import place_of
from marsbench.results.store import FAILED, RECORD, Store
from marsbench.sweep.heartbeat import Beating, beating
from marsbench.sweep.units import read_unit, sweep_of

if TYPE_CHECKING:
    from marsbench.plan.resolve import Plan
    from marsbench.results.record import Outcome

INTERRUPTED = 75
"""Exit code of a worker that was stopped: EX_TEMPFAIL, try again."""

FAULT = 70
"""Exit code of a worker that met a fault of ours and left runs: EX_SOFTWARE."""

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
"""What stops a worker; schedulers send the first and last before a time limit."""


def run_unit(path: Path) -> int:
    """Carry out the runs of a unit that have neither a record nor failed.

    A run that fails leaves word in its folder and the others go on; one that another process is
    at is left to it. An interrupted run resumes from its last whole epoch.

    Args:
        path: The unit file, below a sweep's folder.

    Returns:
        0 when every run is done, failed or another process's, 75 when interrupted, 70 when a
        fault of ours left runs that share features undone.

    Raises:
        StoreError: If the unit cannot be read.
    """
    unit = read_unit(path)
    # A process that helps another to train on several devices does not speak for it.
    beat = None if environment.helps_another() else beating(sweep_of(path), path, unit.ids)
    with beat or contextlib.nullcontext():
        work = _Work(unit.force, beat)
        try:
            return 0 if work.carry_out(unit.runs, unit.ids) else FAULT
        except KeyboardInterrupt:
            return INTERRUPTED
        except SystemExit as ended:
            # Training turns a signal into its exit code; that of a helper is told to the first.
            if environment.helps_another() or ended.code in (0, None):
                raise
            return INTERRUPTED


class _Work:
    """The runs of one unit, one after the other or, where they share features, together."""

    def __init__(self, force: bool, beat: Beating | None) -> None:
        self.force = force
        self.beat = beat
        self.resolver = Resolver()
        self._lacking: dict[Hashable, DataNotFoundError] = {}

    def carry_out(self, runs: Sequence[RunConfig], ids: Sequence[str]) -> bool:
        """Carry out runs; says whether it came to their end."""
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
        """Find what a run needs; None, and word of it in the run's folder, where it cannot be had.

        Data or weights that were there when the sweep was planned may be lacking on this machine.
        """
        place = place_of(config)
        try:
            if place in self._lacking:
                raise self._lacking[place]
            plan = self.resolver.resolve(config)
            if plan.run_id != run_id:
                raise DataError(
                    f"The data are no longer those the sweep was planned for: {run_id} would now "
                    f"be {plan.run_id}.",
                    "Start the sweep again: it plans anew.",
                )
        except MarsbenchError as error:
            if isinstance(error, DataNotFoundError):
                # Each search may wait for a network that is not there.
                self._lacking[place] = error
            leave_word(store, run_id, error)
            return None
        return plan

    def _alone(self, plan: "Plan", store: Store) -> None:
        """Carry out one run."""
        from marsbench.training import runner

        self._at(plan.run_id)
        started = time.perf_counter()
        try:
            outcome = runner.run(plan, force=self.force)
        except BusyError as error:
            tell(f"left alone  {error.problem}")
        except MarsbenchError as error:
            leave_word(store, plan.run_id, error)
        except Exception as error:
            # A fault of ours, which the run's failed.json tells in full.
            traceback.print_exc()
            leave_word(store, plan.run_id, error)
        else:
            _told(outcome, time.perf_counter() - started)

    def _together(self, plans: "Sequence[Plan]") -> bool:
        """Carry out runs that share features; says whether it came to their end."""
        if not plans:
            return True
        from marsbench.training.frozen import bank

        left = {plan.run_id: Store(plan.config.store) for plan in plans}
        started = time.perf_counter()
        try:
            for plan, outcome in bank.run_bank(plans, force=self.force):
                store = left.pop(plan.run_id, None)
                if store is None:
                    continue  # told before
                if isinstance(outcome, BusyError):
                    tell(f"left alone  {outcome.problem}")
                elif isinstance(outcome, MarsbenchError):
                    leave_word(store, plan.run_id, outcome)
                else:
                    _told(outcome, time.perf_counter() - started)
        except MarsbenchError as error:
            # What they share cannot be had.
            for run_id, store in left.items():
                leave_word(store, run_id, error)
        except Exception:
            # A fault of ours, which may be of one run alone: then the store has word of it, and
            # the others can be tried again.
            traceback.print_exc()
            return all(_is_settled(store, run_id) for run_id, store in left.items())
        return True

    def _at(self, run_id: str) -> None:
        if self.beat is not None:
            self.beat.at(run_id)


def _is_settled(store: Store, run_id: str) -> bool:
    """Whether a run has a record, or failed: then a sweep that retries it took the word away."""
    folder = store.folder(run_id)
    return (folder / RECORD).exists() or (folder / FAILED).exists()


def is_cached(plan: "Plan") -> bool:
    """Whether a run is carried out on features that others share."""
    return plan.protocol is Protocol.CACHED


def leave_word(store: Store, run_id: str, error: Exception) -> None:
    """Say in the log and, unless it is said there already, in its folder, why a run failed."""
    tell(f"failed      {run_id}: {str(error) or type(error).__name__}")
    folder = store.folder(run_id)
    if (folder / RECORD).exists():
        return
    said = (folder / FAILED).exists() and _said(folder / FAILED, error)
    if not said:
        with contextlib.suppress(MarsbenchError), store.claim(run_id):
            store.fail(run_id, error)


def _said(path: Path, error: Exception) -> bool:
    """Whether a run's folder tells of this very error."""
    with contextlib.suppress(OSError, ValueError):
        return bool(json.loads(path.read_text())["error"] == f"{type(error).__name__}: {error}")
    return False


def _told(outcome: "Outcome", seconds: float) -> None:
    record = outcome.record
    score = "-" if record.score is None else f"{record.score:.4f}"
    was = "was done" if outcome.was_done else "done"
    tell(f"{was:<11} {record.run_id}: {record.headline} {score}, after {seconds:.1f} s")


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Turn the signals that stop a worker into KeyboardInterrupt, the first of them alone.

    Only the main thread may: elsewhere nothing is changed.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    process, has_begun = os.getpid(), False

    def stop(number: int, _: FrameType | None) -> None:
        nonlocal has_begun
        if os.getpid() != process:
            # A forked process that loads data, which knows nothing worth keeping.
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        # A second signal while the first is heeded must not leave half a clean-up. Python says
        # so on stderr where one arrives that was set to be ignored meanwhile; hence a flag.
        if not has_begun:
            has_begun = True
            raise KeyboardInterrupt(signal.Signals(number).name)

    before = {number: signal.signal(number, stop) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def main(arguments: Sequence[str] | None = None) -> int:
    """Carry out the units whose files are given, one after the other."""
    units = [Path(word) for word in (sys.argv[1:] if arguments is None else arguments)]
    if not units:
        tell("Usage: python -m marsbench.sweep.worker UNIT.json ...")
        return 2
    # Advice of Lightning to those who start it by hand.
    warnings.filterwarnings("ignore", message="The `srun` command is available")
    worst = 0
    with interruptible():
        try:
            for unit in units:
                code = run_unit(unit)
                if code == INTERRUPTED:
                    return code
                worst = max(worst, code)
        except KeyboardInterrupt:
            return INTERRUPTED
        except MarsbenchError as error:
            tell(f"Error: {error}")
            return 2
    return worst


if __name__ == "__main__":
    sys.exit(main())
