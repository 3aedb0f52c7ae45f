"""Fixed ranges by which a board normalises scores: never those of the entries it shows."""

from collections.abc import Sequence
from functools import cache

from marsbench.leaderboard.board.tasksets import Choice, TaskSet, metric_of
from marsbench.report.statistics.ranges import (
    Pair,
    Ranges,
    observed_ranges,
    reference_ranges,
    reference_version,
)
from marsbench.report.study.cells import FULL, Group
from marsbench.report.study.scores import study_of
from marsbench.results.paper import paper_records
from marsbench.tasks.catalog import TASKS

PAPER_VERSION = "1"
"""Version of the ranges from the paper's runs: a change of these ranges needs a new version."""


@cache
def ranges_of(choice: Choice) -> Ranges:
    """Ranges of all tasks by their metric.

    The headline metric has the reference ranges of reports. The paper metric has those of the
    paper's figures: the lowest and highest score of each task among its runs on the full train
    split, of the models with all tasks of a category. Tasks without such runs have reference
    ranges; a task with equal scores in all runs has none.
    """
    pairs = TaskSet("", tuple(TASKS)).pairs(choice)
    others = [pair for pair in pairs if pair not in _papers(choice)]
    reference = reference_ranges(others)
    own = observed_ranges(_groups()) if choice is Choice.PAPER else Ranges("", {}, {})
    return Ranges(
        source_of(pairs, choice), {**reference.low, **own.low}, {**reference.high, **own.high}
    )


def source_of(pairs: Sequence[Pair], choice: Choice) -> str:
    """Origin of the ranges of some tasks, to be read after "normalised by"."""
    others = [pair for pair in pairs if pair not in _papers(choice)]
    words = []
    if len(others) < len(pairs):
        words.append(
            "the lowest and highest score of each task among the paper's runs on the full train "
            "split"
        )
    if others:
        words.append(reference_ranges(others).source)
    return "; ".join(words)


def version_of(pairs: Sequence[Pair], choice: Choice) -> str:
    """Versions of the ranges of some tasks: of the paper's ranges, and of the reference ranges."""
    papers = _papers(choice)
    versions = []
    if any(pair in papers for pair in pairs):
        versions.append(f"paper {PAPER_VERSION}")
    if any(pair not in papers for pair in pairs):
        versions.append(f"reference {reference_version()}")
    return ", ".join(versions)


def _papers(choice: Choice) -> frozenset[Pair]:
    """Tasks and metrics with ranges from the paper's runs."""
    if choice is Choice.HEADLINE:
        return frozenset()
    return frozenset(pair for group in _groups() for pair in group.metrics.items())


@cache
def _groups() -> tuple[Group, ...]:
    """The paper's runs behind its figures."""
    records = [
        record
        for record in paper_records()
        if record.subset == FULL and record.headline == metric_of(record.task, Choice.PAPER)
    ]
    return tuple(_complete(group) for group in study_of(records).groups.values())


def _complete(group: Group) -> Group:
    """Keep the models with all tasks of a group."""
    kept = [m for m in group.models if all((task, m) in group.cells for task in group.tasks)]
    return Group(group.key, {n: cell for n, cell in group.cells.items() if n[1] in kept})


@cache
def normalisable(tasks: TaskSet, choice: Choice) -> TaskSet:
    """Keep the tasks with a range; scores of others cannot be aggregated."""
    ranges = ranges_of(choice)
    kept = tuple(task for task, metric in tasks.pairs(choice) if ranges.has(task, metric))
    return TaskSet(tasks.title, kept)
