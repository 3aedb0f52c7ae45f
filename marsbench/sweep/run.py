"""A sweep from its words to its end."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from marsbench.results.store import FAILED, RECORD
from marsbench.sweep import cost
from marsbench.sweep.launchers.gpus import visible_gpus
from marsbench.sweep.launchers.settings import get_launcher
from marsbench.sweep.planner import State, SweepPlan, plan_sweep
from marsbench.sweep.units import SWEEPS, write_plan
from marsbench.sweep.words import Asked


@dataclass(frozen=True)
class SweepResult:
    """Runs of a sweep after its launcher has returned.

    Attributes:
        suite: Name of the suite.
        runs: Number of runs.
        done: Number of runs with a record.
        failed: Number of failed runs; ``failed.json`` in their folders holds the errors.
        left: Number of other runs, such as those submitted to slurm.
        lacking: Number of runs without data or weights.
        store: Folder of the records.
        folder: Folder of the sweep with its logs; None if no run was to do.
    """

    suite: str
    runs: int
    done: int
    failed: int
    left: int
    lacking: int
    store: Path
    folder: Path | None


def plan_of(
    asked: Asked,
    *,
    download: bool = True,
    retry_failed: bool = False,
    shard: tuple[int, int] = (1, 1),
    report: Callable[[str], None],
) -> SweepPlan:
    """Plan a sweep; the arguments are those of `plan_sweep`."""
    settings = asked.settings
    has_gpus = bool(visible_gpus()) if settings.gpus is None else settings.gpus > 0
    return plan_sweep(
        asked.runs,
        asked.store,
        download=download,
        retry_failed=retry_failed,
        shard=shard,
        speed=cost.SPEED["gpu" if has_gpus else "cpu"],
        report=report,
    )


def carry_out(
    plan: SweepPlan, asked: Asked, started: Callable[[Path, int], None] = lambda *_: None
) -> SweepResult:
    """Train the units of a plan, or submit them to a scheduler.

    Args:
        plan: The plan.
        asked: The sweep.
        started: Called with the folder of the sweep and the number of units before the launch.

    Raises:
        MarsbenchError: If the launcher is not available or rejects a unit.
    """
    folder = None
    if plan.units:
        launcher = get_launcher(asked.settings.name, asked.settings)
        folder, files = write_plan(
            plan, asked.store.root / SWEEPS, asked.suite.name, asked.settings.name, asked.words
        )
        started(folder, len(files))
        launcher.launch(folder, files)
    ids = [run.run_id for run in plan.runs if run.state is not State.LACKING]
    folders = [asked.store.folder(run_id) for run_id in ids]
    done = sum((place / RECORD).exists() for place in folders)
    failed = sum((p / FAILED).exists() and not (p / RECORD).exists() for p in folders)
    return SweepResult(
        suite=asked.suite.name,
        runs=len(plan.runs),
        done=done,
        failed=failed,
        left=len(ids) - done - failed,
        lacking=plan.count(State.LACKING),
        store=asked.store.root,
        folder=folder,
    )
