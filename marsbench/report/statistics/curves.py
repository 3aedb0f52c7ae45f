"""Curves of scores over the amount of training data."""

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from marsbench.base.errors import some
from marsbench.base.names import file_stem
from marsbench.report.statistics.summary import Estimate, GroupSummary, summarise
from marsbench.report.study.cells import (
    FEW_SHOT,
    FULL,
    PARTITION,
    Group,
    GroupKey,
    StudyProblem,
    Trouble,
)

Line = Mapping[GroupKey, Estimate]
"""Estimates of a model by amount of training data, ascending."""


@dataclass(frozen=True)
class Curve:
    """Normalised interquartile means over the amount of training data.

    Attributes:
        family: Key of the family.
        what: partition or few_shot.
        keys: Amounts of the curve over tasks, ascending.
        tasks: Tasks with scores at all these amounts; a changing set of tasks would shift the mean.
        over_tasks: Estimates over these tasks, by model, the best at most data first. Each amount
            has only models with all of the tasks.
        by_task: All estimates of each task with two amounts or more, by model.
        left_out: Tasks not in `over_tasks`.
        left_out_keys: Amounts not in `over_tasks`.
    """

    family: GroupKey
    what: str
    keys: tuple[GroupKey, ...]
    tasks: tuple[str, ...]
    over_tasks: Mapping[str, Line]
    by_task: Mapping[str, Mapping[str, Line]]
    left_out: tuple[str, ...]
    left_out_keys: tuple[GroupKey, ...]

    @property
    def title(self) -> str:
        """Title of the family."""
        return self.family.family_title

    @property
    def slug(self) -> str:
        """Name for files."""
        return f"{self.what.replace('_', '-')}-{file_stem(self.family.family_words)}"

    @property
    def problem(self) -> StudyProblem | None:
        """Problem naming the left out tasks and amounts; None if complete."""
        subsets = [key.subset for key in self.left_out_keys]
        if not self.left_out and not subsets:
            return None
        text = (
            f"{self.title}: the curve over {self.what.replace('_', ' ')}s covers "
            f"{some(self.tasks)} at {', '.join(key.subset for key in self.keys)}, the choice with "
            f"the most shared cells. Left out: {some([*self.left_out, *subsets])}."
        )
        alone = [task for task in self.left_out if task not in self.by_task]
        more = f" No curve for a single amount of data: {some(alone)}." if alone else ""
        return StudyProblem(Trouble.MISSING, f"{text}{more}")


def curves_of(
    families: Mapping[GroupKey, Sequence[Group]],
    summaries: Mapping[GroupKey, GroupSummary],
    seed: int,
) -> tuple[Curve, ...]:
    """Build the curves of some families.

    Args:
        families: Groups of each family, by ascending amount of data.
        summaries: Estimates of every group.
        seed: Seed of the bootstrap, for estimates over fewer tasks than a group has.
    """
    curves = []
    for family, groups in families.items():
        for what in (PARTITION, FEW_SHOT):
            members = [group for group in groups if group.key.subset.startswith(what)]
            if members and what == PARTITION:
                members += [group for group in groups if group.key.subset == FULL]
            curve = _curve(family, what, members, summaries, seed)
            curves += [curve] if curve else []
    return tuple(curves)


def _curve(
    family: GroupKey,
    what: str,
    members: Sequence[Group],
    summaries: Mapping[GroupKey, GroupSummary],
    seed: int,
) -> Curve | None:
    amounts = _amounts(members, summaries)
    if not amounts:
        return None
    keys, tasks = _widest(members, amounts)
    kept = [group for group in members if group.key in keys]
    over_tasks: defaultdict[str, dict[GroupKey, Estimate]] = defaultdict(dict)
    for group in reversed(kept):
        estimates = _over(group, summaries[group.key], tasks, seed)
        for model in sorted(estimates, key=lambda name: -estimates[name].value):
            over_tasks[model][group.key] = estimates[model]
    return Curve(
        family=family,
        what=what,
        keys=tuple(group.key for group in kept),
        tasks=tasks,
        over_tasks={model: dict(reversed(line.items())) for model, line in over_tasks.items()},
        by_task={
            task: _line(task, [summaries[g.key] for g in members if g.key in amounts[task]])
            for task in sorted(amounts)
            if len(amounts[task]) >= min(2, len(keys))
        },
        left_out=tuple(sorted(set(amounts) - set(tasks))),
        left_out_keys=tuple(group.key for group in members if group not in kept),
    )


def _amounts(
    members: Sequence[Group], summaries: Mapping[GroupKey, GroupSummary]
) -> dict[str, frozenset[GroupKey]]:
    """Find the amounts with normalisable scores of each task, all of the same metric."""
    amounts: dict[str, frozenset[GroupKey]] = {}
    for task in sorted({task for group in members for task in group.tasks}):
        having = [group for group in members if task in group.metrics]
        (metric, _), *_ = Counter(group.metrics[task] for group in having).most_common(1)
        keys = frozenset(
            group.key
            for group in having
            if group.metrics[task] == metric and summaries[group.key].ranges.has(task, metric)
        )
        if keys:
            amounts[task] = keys
    return amounts


def _widest(
    members: Sequence[Group], amounts: Mapping[str, frozenset[GroupKey]]
) -> tuple[frozenset[GroupKey], tuple[str, ...]]:
    """Choose amounts and tasks for the curve over tasks, with as many shared cells as possible.

    Candidates are the amounts of each task and the shared amounts of every two tasks, so that a
    single odd run removes no amount from all tasks. Two or more amounts are preferred to a single
    amount with more cells, and more amounts among candidates with equally many cells.
    """
    cells = Counter((group.key, task) for group in members for task, _ in group.cells)
    tried = dict.fromkeys(
        first & second for first in amounts.values() for second in amounts.values()
    )

    def tasks_at(keys: frozenset[GroupKey]) -> tuple[str, ...]:
        return tuple(task for task, known in amounts.items() if keys <= known)

    def worth(keys: frozenset[GroupKey]) -> tuple[bool, int, int]:
        tasks = tasks_at(keys)
        shared = sum(cells[key, task] for key in keys for task in tasks)
        return len(keys) > 1, shared, len(keys)

    best = max(filter(None, tried), key=worth)
    return best, tasks_at(best)


def _over(
    group: Group, summary: GroupSummary, tasks: Sequence[str], seed: int
) -> dict[str, Estimate]:
    """Estimates over some tasks for models with all of them, from the summary if possible."""
    if len(tasks) == 1:
        return {model: line[group.key] for model, line in _line(tasks[0], [summary]).items()}
    models = [m.model for m in summary.models.values() if set(tasks) <= set(m.tasks)]
    over = summary
    if any(len(summary.models[model].tasks) > len(tasks) for model in models):
        over = summarise(
            group.of_tasks(tasks),
            ranges=summary.ranges,
            rounds=summary.rounds,
            seed=seed,
        )
    return {model: over.models[model].iqm for model in models}


def _line(task: str, summaries: Sequence[GroupSummary]) -> dict[str, dict[GroupKey, Estimate]]:
    """Normalised estimates of a task by model and amount."""
    lines: defaultdict[str, dict[GroupKey, Estimate]] = defaultdict(dict)
    for summary in summaries:
        for (name, model), result in summary.tasks.items():
            if name == task and math.isfinite(result.normalised_iqm.value):
                lines[model][summary.key] = result.normalised_iqm
    return dict(lines)
