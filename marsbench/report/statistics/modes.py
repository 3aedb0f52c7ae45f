"""Modes side by side: the same models on the same tasks, frozen, fine-tuned and from scratch."""

import itertools
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from marsbench.report.names import SHORT_MODES, protocol_title, subset_title, usual_protocol
from marsbench.report.statistics.ranges import Ranges, shared_ranges
from marsbench.report.statistics.summary import Estimate, GroupSummary, TaskSummary, summarise
from marsbench.report.study.cells import FULL, Basis, Group, GroupKey


@dataclass(frozen=True)
class Modes:
    """Estimates of models in several modes, on the full train split.

    Attributes:
        keys: Keys of the groups, by mode.
        tasks: Tasks that all of them have, with equal data and metric.
        ranges: Ranges of the normalisation, the same for all modes.
        over_tasks: Normalised interquartile means over these tasks by model and group, the best
            model first. Each group has only models with all of the tasks.
        by_task: Raw estimates of each task by model and group.
    """

    keys: tuple[GroupKey, ...]
    tasks: tuple[str, ...]
    ranges: Ranges
    over_tasks: Mapping[str, Mapping[GroupKey, Estimate]]
    by_task: Mapping[str, Mapping[str, Mapping[GroupKey, TaskSummary]]]

    @property
    def metrics(self) -> dict[str, str]:
        """Metric of each task."""
        return {
            task: result.cell.metric
            for task in self.tasks
            for by_key in self.by_task[task].values()
            for result in by_key.values()
        }

    @property
    def title(self) -> str:
        """Title of the category and common settings."""
        key = self.keys[0]
        words = [f"{key.category[:1].upper()}{key.category[1:]}", subset_title(key.subset)]
        return ", ".join([*words, *key.unusual])

    @property
    def slug(self) -> str:
        """Name for files."""
        key = self.keys[0]
        return replace(key, mode="modes", protocol="all").slug

    def label(self, key: GroupKey) -> str:
        """Mode of a group, with its protocol where that is unusual."""
        mode = SHORT_MODES.get(key.mode, key.mode)
        is_usual = key.protocol == usual_protocol(key.category, key.mode)
        return mode if is_usual else f"{mode}, {protocol_title(key.protocol)}"


def modes_of(
    groups: Iterable[Group],
    summaries: Mapping[GroupKey, GroupSummary],
    *,
    normalise: str,
    rounds: int,
    seed: int,
) -> tuple[Modes, ...]:
    """Put the modes of each category side by side, where a model has two.

    Args:
        groups: Groups, those of the full train split in the order of their modes.
        summaries: Their estimates.
        normalise: As in `marsbench.report.statistics.ranges.family_ranges`.
        rounds: Rounds of the bootstrap.
        seed: Seed of the bootstrap.
    """
    alike: defaultdict[GroupKey, list[Group]] = defaultdict(list)
    for group in groups:
        if group.key.subset == FULL:
            alike[replace(group.key, mode="", protocol="")].append(group)
    made = []
    for members in alike.values():
        chosen, tasks = _widest(members)
        if not tasks:
            continue
        kept = [group.of_tasks(tasks) for group in chosen]
        ranges = shared_ranges(kept, normalise)
        over: defaultdict[str, dict[GroupKey, Estimate]] = defaultdict(dict)
        for group in kept:
            own = summaries[group.key]
            if not _is_same(own, group, ranges):
                own = summarise(group, ranges=ranges, rounds=rounds, seed=seed)
            for model in own.models.values():
                if not model.missing_tasks and math.isfinite(model.iqm.value):
                    over[model.model][group.key] = model.iqm
        if not any(len(line) > 1 for line in over.values()):
            continue
        by_task = {
            task: _by_model(task, [summaries[group.key] for group in chosen]) for task in tasks
        }
        best = sorted(over, key=lambda name: (-max(e.value for e in over[name].values()), name))
        keys = tuple(group.key for group in chosen)
        made.append(Modes(keys, tasks, ranges, {name: over[name] for name in best}, by_task))
    return tuple(made)


_MOST = 10
"""Largest number of groups whose combinations are compared."""


def _widest(groups: Sequence[Group]) -> tuple[Sequence[Group], tuple[str, ...]]:
    """Choose two modes or more and their shared tasks, with as many cells as possible.

    Of more than `_MOST` groups, as of records with odd modes, those with the most tasks count.
    """
    data = list(map(_data_of, groups))
    largest = sorted(range(len(groups)), key=lambda number: -len(data[number]))[:_MOST]
    choices = [
        choice
        for count in range(2, len(largest) + 1)
        for choice in itertools.combinations(sorted(largest), count)
        if len({groups[number].key.mode for number in choice}) > 1
    ]
    shared = [(choice, _shared([data[number] for number in choice])) for choice in choices]
    chosen, tasks = max(shared, key=lambda item: len(item[0]) * len(item[1]), default=((), ()))
    return [groups[number] for number in chosen], tasks


def _shared(data: Sequence[Mapping[str, Basis]]) -> tuple[str, ...]:
    """Tasks of all groups with equal data, split and metric."""
    return tuple(
        task for task, basis in data[0].items() if all(d.get(task) == basis for d in data[1:])
    )


def _data_of(group: Group) -> dict[str, Basis]:
    return {task: cell.runs[0].data for (task, _), cell in sorted(group.cells.items())}


def _is_same(own: GroupSummary, group: Group, ranges: Ranges) -> bool:
    """Whether estimates of a group are those over these tasks with these ranges."""
    pairs = set(group.metrics.items())
    return {task for task, _ in own.tasks} == set(group.tasks) and all(
        own.ranges.low.get(pair) == ranges.low.get(pair)
        and own.ranges.high.get(pair) == ranges.high.get(pair)
        for pair in pairs
    )


def _by_model(
    task: str, summaries: Sequence[GroupSummary]
) -> dict[str, dict[GroupKey, TaskSummary]]:
    lines: defaultdict[str, dict[GroupKey, TaskSummary]] = defaultdict(dict)
    for summary in summaries:
        for (name, model), result in summary.tasks.items():
            if name == task and math.isfinite(result.iqm.value):
                lines[model][summary.key] = result
    return dict(lines)
