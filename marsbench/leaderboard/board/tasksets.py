"""Sets of tasks that a board aggregates over, and the metric of each task."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache

from marsbench.report.statistics.ranges import Pair
from marsbench.report.study.coverage import category_of
from marsbench.results.upstream.names import HEADLINES
from marsbench.tasks.catalog import TASKS
from marsbench.tasks.kinds import Kind
from marsbench.tasks.spec import TaskSpec


class Choice(StrEnum):
    """Metric of each task of a board; scores of two choices are never aggregated together."""

    HEADLINE = "headline metric"
    """The headline metric of the task."""
    PAPER = "paper metric"
    """The metric of the paper's runs: F1 of class 1 in binary tasks, IoU by class over images."""


def metric_of(task: str, choice: Choice) -> str:
    """Metric of a task of the catalogue."""
    spec = TASKS[task]
    headline = spec.headline_metric
    return HEADLINES.get(spec.kind, headline) if choice is Choice.PAPER else headline


@dataclass(frozen=True)
class TaskSet:
    """Tasks of an aggregate.

    Attributes:
        title: Title.
        tasks: Tasks, sorted.
    """

    title: str
    tasks: tuple[str, ...]

    def pairs(self, choice: Choice) -> tuple[Pair, ...]:
        """Its tasks with their metrics."""
        return _pairs(self.tasks, choice)


@cache
def _pairs(tasks: tuple[str, ...], choice: Choice) -> tuple[Pair, ...]:
    return tuple((task, metric_of(task, choice)) for task in tasks)


def _set_of(title: str, specs: Iterable[TaskSpec]) -> TaskSet:
    return TaskSet(title, tuple(sorted(spec.name for spec in specs)))


def _by(specs: Iterable[TaskSpec], words: Callable[[TaskSpec], Iterable[str]]) -> list[TaskSet]:
    members: defaultdict[str, list[TaskSpec]] = defaultdict(list)
    for spec in specs:
        for word in words(spec):
            members[word].append(spec)
    return [_set_of(word, members[word]) for word in members]


@cache
def categories() -> dict[str, TaskSet]:
    """All tasks of each category, in the order of the catalogue; no model is in two of them."""
    sets = _by(TASKS.values(), lambda spec: [category_of(spec.name)])
    return {tasks.title: tasks for tasks in sets}


_KIND_TITLES = {
    Kind.BINARY: "binary classification",
    Kind.MULTICLASS: "multiclass classification",
    Kind.MULTILABEL: "multilabel classification",
}


def _kind_title(spec: TaskSpec) -> str:
    category = category_of(spec.name)
    return _KIND_TITLES[spec.kind] if category == "classification" else category


@cache
def kinds() -> dict[str, TaskSet]:
    """All tasks of each kind; spectra are apart from images with several labels."""
    sets = _by(TASKS.values(), lambda spec: [_kind_title(spec)])
    return {tasks.title: tasks for tasks in sets}


CAPABILITIES: dict[str, Callable[[TaskSpec], Sequence[str]]] = {
    "sensor": lambda spec: spec.sensors,
    "mission": lambda spec: [spec.mission],
    "landform": lambda spec: spec.landforms,
    "rover or orbit": lambda spec: [spec.platform],
}
"""Groupings of tasks, by the facts of their specifications; a task may be in several groups."""


@cache
def capabilities(grouping: str, category: str) -> tuple[TaskSet, ...]:
    """Groups of the tasks of a category.

    Args:
        grouping: Key of `CAPABILITIES`.
        category: Key of `categories`.
    """
    specs = [TASKS[task] for task in categories()[category].tasks]
    return tuple(sorted(_by(specs, CAPABILITIES[grouping]), key=lambda tasks: tasks.title))


@cache
def all_sets(category: str) -> tuple[TaskSet, ...]:
    """Every set of tasks of a category that a board shows an aggregate of."""
    groups = [capabilities(grouping, category) for grouping in CAPABILITIES]
    own = [kind for kind in kinds().values() if category_of(kind.tasks[0]) == category]
    sets = [categories()[category], *own, *(tasks for group in groups for tasks in group)]
    return tuple({tasks.tasks: tasks for tasks in sets}.values())
