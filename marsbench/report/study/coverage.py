"""Groups of cells of a store, expected runs and missing runs."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

from marsbench.config.schema import Mode, RunConfig
from marsbench.report.study.cells import ENSEMBLE, NONE, Group, GroupKey, StudyProblem
from marsbench.results.record import RunRecord
from marsbench.tasks.catalog import TASKS, get_task
from marsbench.tasks.kinds import Kind

ANY = "any"
"""Protocol shown for expected runs without a record."""


CellName = tuple[str, str, str, str, str, str, str]
"""A cell: task, model, mode, subset, imbalance, views, value of train_on."""


class ExpectedRun(NamedTuple):
    """An expected run, with the settings of a report's cells."""

    task: str
    model: str
    mode: str
    subset: str
    seed: int
    imbalance: str = NONE
    views: str = NONE
    train_on: str = NONE


@dataclass(frozen=True)
class ExpectedRuns:
    """Expected runs.

    Attributes:
        name: Their origin, such as ``suite paper_cls``.
        runs: Runs.
    """

    name: str
    runs: frozenset[ExpectedRun]

    @classmethod
    def of_suite(cls, name: str, configs: Iterable[RunConfig]) -> "ExpectedRuns":
        """Expect the runs of a suite.

        Args:
            name: Name of the suite.
            configs: Runs of the suite, as listed by `marsbench.sweep.suites.expand`.
        """
        configs = list(configs)
        tasks = {task: get_task(task).name for task in {config.task for config in configs}}
        runs = (
            ExpectedRun(
                tasks[config.task],
                config.model,
                str(config.mode),
                str(config.subset),
                config.seed,
                str(config.imbalance),
                NONE if config.views is None else str(config.views),
                config.train_on or NONE,
            )
            for config in configs
        )
        return cls(f"suite {name}", frozenset(runs))

    def only(
        self, tasks: Sequence[str] = (), models: Sequence[str] = (), modes: Sequence[str] = ()
    ) -> "ExpectedRuns":
        """Keep the runs of some tasks, models and modes; an empty sequence keeps all."""
        kept = (
            run
            for run in self.runs
            for named in [((run.task, tasks), (run.model, models), (run.mode, modes))]
            if all(name in wanted or not wanted for name, wanted in named)
        )
        return ExpectedRuns(self.name, frozenset(kept))

    @cached_property
    def seeds(self) -> "Mapping[CellName, set[int]]":
        """Seeds of each cell."""
        seeds: defaultdict[CellName, set[int]] = defaultdict(set)
        for run in self.runs:
            seeds[_cell_of(run)].add(run.seed)
        return dict(seeds)


@dataclass(frozen=True)
class Missing:
    """Missing runs of a cell.

    Attributes:
        key: The group.
        task: Task.
        model: Model.
        seeds: Missing seeds.
        present: Seeds in the store.
    """

    key: GroupKey
    task: str
    model: str
    seeds: tuple[int, ...]
    present: tuple[int, ...]


@dataclass(frozen=True)
class Study:
    """Records of a store in groups.

    Attributes:
        groups: Groups by key, the largest first within a category.
        problems: All problems, the most severe first.
        num_records: Number of records.
        records: Records.
        plan: Expected runs; None expects every seed of a group for each of its tasks and models.
        evaluations: Records of evaluations in the store.
    """

    groups: Mapping[GroupKey, Group]
    problems: tuple[StudyProblem, ...] = ()
    num_records: int = 0
    records: tuple[RunRecord, ...] = field(default=(), repr=False)
    plan: ExpectedRuns | None = None
    evaluations: tuple[RunRecord, ...] = field(default=(), repr=False)

    @cached_property
    def missing(self) -> list[Missing]:
        """Missing runs. Expected runs of a group without any record have the protocol ``any``."""
        if self.plan is None:
            return [gap for group in self.groups.values() for gap in _gaps(group)]
        return _lacking(self.plan, self.groups)

    def coverage(self, key: GroupKey) -> dict[tuple[str, str], str]:
        """Count the expected runs of each task and model of a group.

        Returns:
            By (task, model): ``2/3``, or ``2/3, 4 more`` with further, unexpected runs; the number
            of runs if none is expected; ``ensemble`` for ensembles, which have no seeds; empty text
            if no run is expected or present.
        """
        group = self.groups[key]
        wanted = self.plan.seeds if self.plan else {}
        ways = (key.mode, key.subset, key.imbalance, key.views, group_value(key.train_on))
        ensembles = {model for (_, model), cell in group.cells.items() if cell.is_ensemble}
        entries = {}
        for name in ((task, model) for task in group.tasks for model in group.models):
            cell = group.cells.get(name)
            seeds = set(cell.seeds) if cell else set()
            asked = wanted.get((*name, *ways), set()) if self.plan else set(group.seeds)
            more = len(seeds - asked)
            if name[1] in ensembles:
                entries[name] = ENSEMBLE if cell else ""
            elif asked:
                entries[name] = (
                    f"{len(seeds & asked)}/{len(asked)}{f', {more} more' if more else ''}"
                )
            else:
                entries[name] = str(more or "")
        return entries


def _cell_of(run: ExpectedRun) -> CellName:
    ways = (run.mode, run.subset, run.imbalance, run.views, group_value(run.train_on))
    return run.task, run.model, *ways


def group_value(train_on: str) -> str:
    """Value of a group, written ``VALUE`` or ``FIELD:VALUE``."""
    return train_on.partition(":")[2] or train_on


def _gaps(group: Group) -> Iterable[Missing]:
    for task in group.tasks:
        for model in group.models:
            cell = group.cells.get((task, model))
            present = cell.seeds if cell else ()
            if any(c.is_ensemble for (_, name), c in group.cells.items() if name == model):
                continue
            if lack := tuple(seed for seed in group.seeds if seed not in present):
                yield Missing(group.key, task, model, lack, present)


def _lacking(plan: ExpectedRuns, groups: Mapping[GroupKey, Group]) -> list[Missing]:
    have: defaultdict[CellName, set[int]] = defaultdict(set)
    keys: dict[CellName, GroupKey] = {}
    categories: dict[str, str] = {}
    # Models that are not trained have labels for masks, so other modes say more about a task.
    for key, group in sorted(groups.items(), key=lambda item: item[0].mode != Mode.ZERO_SHOT):
        categories |= dict.fromkeys(group.tasks, key.category)
        for (task, model), cell in group.cells.items():
            ways = (key.mode, key.subset, key.imbalance, key.views, group_value(key.train_on))
            name = (task, model, *ways)
            have[name].update(cell.seeds)
            keys[name] = key
    return [
        Missing(
            keys.get(name) or GroupKey(_category(task, mode, categories), mode, ANY, *ways),
            task,
            model,
            tuple(sorted(seeds - have[name])),
            tuple(sorted(seeds & have[name])),
        )
        for name, seeds in sorted(plan.seeds.items())
        for task, model, mode, *ways in [name]
        if seeds - have[name]
    ]


def _category(task: str, mode: str, known: Mapping[str, str]) -> str:
    """Category of an expected run without a record."""
    category = known.get(task) or category_of(task)
    is_recast = mode == Mode.ZERO_SHOT and category == Kind.SEGMENTATION
    return "classification" if is_recast else category


def category_of(task: str, kind: str | None = None, headline: str = "") -> str:
    """Category of a task.

    Args:
        task: Name.
        kind: Kind; None to look it up in the catalogue.
        headline: Headline metric, which identifies custom tasks of spectra.

    Returns:
        classification, segmentation, detection or spectra.
    """
    spec = TASKS.get(task)
    if (spec and spec.technique is not None) or headline == "log_loss":
        return "spectra"
    resolved = kind or (spec.kind if spec else "")
    return str(resolved) if resolved in (Kind.SEGMENTATION, Kind.DETECTION) else "classification"
