"""What a group of cells says: interquartile means with intervals, per task and over tasks."""

import hashlib
import itertools
import math
from collections import defaultdict
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from marsbench.report.statistics import aggregate as agg
from marsbench.report.study.cells import Cell, Group, GroupKey, metric_is_up

ROUNDS = 1_000

LEVEL = "95 %"
"""Coverage of every interval, as `aggregate.percentile_interval` takes it by default."""

Pair = tuple[str, str]
"""A task and the metric it is judged by: what a range is of."""


class Estimate(NamedTuple):
    """A number and its interval.

    Attributes:
        value: The estimate of all runs; NaN if there are none.
        low: Lower end of the interval.
        high: Upper end. NaN, as `low`, where one run per task leaves nothing to resample.
    """

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Ranges:
    """What scores are normalised by: `low` becomes 0 and `high` 1, or 1 and 0 if lower is better.

    Attributes:
        source: Where the ranges are from, in words that go on from "normalised by".
        low: Lower end by task and metric, on the metric's scale.
        high: Upper end by task and metric.
    """

    source: str
    low: Mapping[Pair, float]
    high: Mapping[Pair, float]

    def has(self, task: str, metric: str) -> bool:
        """Whether a task has a range of a metric that is not empty."""
        pair = (task, metric)
        return pair in self.low and self.low[pair] < self.high[pair]

    def is_raw(self, pairs: Iterable[Pair]) -> bool:
        """Whether normalising changes nothing: all ranges are 0 to 1, and higher is better."""
        return all(
            (self.low.get(pair), self.high.get(pair)) == (0.0, 1.0) and metric_is_up(pair[1])
            for pair in pairs
        )

    def words(self, pairs: Iterable[Pair]) -> str:
        """Say what normalises the scores of these pairs, and whether that changes anything."""
        return f"{self.source}{', which leaves them as they are' if self.is_raw(pairs) else ''}"

    def scale(self, pairs: Sequence[Pair]) -> Callable[[NDArray[np.float64]], NDArray[np.float64]]:
        """Make the function that normalises scores whose last axis is these tasks and metrics.

        It gives NaN for a task without a range.
        """
        low = np.array([self.low.get(pair, np.nan) for pair in pairs])
        high = np.array([self.high.get(pair, np.nan) for pair in pairs])
        up = np.array([metric_is_up(metric) for _, metric in pairs], dtype=bool)
        return lambda scores: agg.normalise(scores, low, high, up)


@dataclass(frozen=True)
class TaskSummary:
    """One model on one task.

    Attributes:
        cell: The runs.
        iqm: Interquartile mean of the raw scores.
        mean: Mean of the raw scores.
        std: Standard deviation over the seeds (n - 1); NaN for one seed.
        distribution: Bootstrap distribution of the raw interquartile mean, shape (rounds,).
        normalised_iqm: Interquartile mean of the normalised scores; NaN without a range.
        normalised_distribution: Its bootstrap distribution, shape (rounds,).
    """

    cell: Cell
    iqm: Estimate
    mean: Estimate
    std: float
    distribution: NDArray[np.float64]
    normalised_iqm: Estimate
    normalised_distribution: NDArray[np.float64]


@dataclass(frozen=True)
class ModelSummary:
    """One model over the tasks of a group, in normalised scores (1 is best).

    Attributes:
        model: Its name.
        iqm: Interquartile mean over seeds and tasks.
        median: Median over tasks of the mean over seeds.
        mean: Mean over tasks of the mean over seeds.
        optimality_gap: How far scores fall short of 1, on average.
        distribution: Bootstrap distribution of the interquartile mean, shape (rounds,).
        tasks: Tasks it is aggregated over.
        lacks: Tasks of the group that it lacks; not comparable with models that have them.
        num_runs: Runs it is aggregated over.
        rank: Mean rank over the tasks that are ranked, 1 is best; None if it is not ranked.
    """

    model: str
    iqm: Estimate
    median: Estimate
    mean: Estimate
    optimality_gap: Estimate
    distribution: NDArray[np.float64]
    tasks: tuple[str, ...]
    lacks: tuple[str, ...]
    num_runs: int
    rank: Estimate | None


@dataclass(frozen=True)
class Summary:
    """What a group says.

    Attributes:
        key: The group.
        ranges: What normalised it.
        tasks: By (task, model).
        models: By model, the best interquartile mean first, those that lack tasks last.
        ranked_tasks: Tasks that the ranks are over; empty where no model is ranked.
        rounds: Rounds of the bootstrap.
    """

    key: GroupKey
    ranges: Ranges
    tasks: Mapping[tuple[str, str], TaskSummary]
    models: Mapping[str, ModelSummary]
    ranked_tasks: tuple[str, ...]
    rounds: int


@dataclass(frozen=True)
class Comparison:
    """Two models of a group, over the tasks that both have.

    Attributes:
        first: A model.
        second: Another.
        tasks: The tasks.
        probability: That a run of `first` beats one of `second`, ties half; mean of tasks.
        num_pairs: Runs of equal task and seed, of which the test is made.
        p_value: Wilcoxon's signed rank test of the pairs' normalised differences, two-sided; NaN
            where they are so few that it could not fall below `aggregate.ALPHA`.
        p_holm: The same, by Holm's correction for all pairs of models of the group that have one.
        is_tested: Whether `p_holm` could have been below `aggregate.ALPHA`, by the number of pairs
            that differ, or where none does; where it could not, that it is not says nothing.
    """

    first: str
    second: str
    tasks: tuple[str, ...]
    probability: Estimate
    num_pairs: int
    p_value: float
    p_holm: float
    is_tested: bool


def observed_ranges(groups: Iterable[Group], pairs: Container[Pair] | None = None) -> Ranges:
    """Take the lowest and the highest score of each task and metric in some groups.

    The paper does so for each way of training apart: give the groups of one family, so that those
    of several subsets share a scale. A task of a single cell has no range: it would be that of its
    seeds.

    Args:
        groups: Whose scores to look at.
        pairs: Tasks and metrics that need a range; None for all.
    """
    scores: defaultdict[Pair, list[NDArray[np.float64]]] = defaultdict(list)
    for group in groups:
        for (task, _), cell in group.cells.items():
            if pairs is None or (task, cell.metric) in pairs:
                scores[task, cell.metric].append(cell.scores)
    known = {pair: np.concatenate(values) for pair, values in scores.items() if len(values) > 1}
    runs = sorted({len(values) for values in known.values()})
    among = f" among its {' to '.join(map(str, dict.fromkeys([*runs[:1], *runs[-1:]])))} runs"
    return Ranges(
        f"the lowest and highest score of each task{among if runs else ''}",
        {pair: float(values.min()) for pair, values in known.items()},
        {pair: float(values.max()) for pair, values in known.items()},
    )


def summarise(
    group: Group,
    *,
    ranges: Ranges | None = None,
    rounds: int = ROUNDS,
    seed: int = 0,
) -> Summary:
    """Estimate everything of a group.

    Args:
        group: Its cells.
        ranges: What to normalise by; None for `observed_ranges` of this group. Reference ranges are
            `marsbench.report.statistics.reference.reference_ranges()`.
        rounds: Rounds of the bootstrap.
        seed: Seed of the bootstrap; each model draws from its own stream, so that another model in
            the store moves no interval of raw scores.
    """
    used = observed_ranges([group]) if ranges is None else ranges
    task_summaries: dict[tuple[str, str], TaskSummary] = {}
    over_tasks: dict[str, ModelSummary] = {}
    for model in group.models:
        mine, over_tasks[model] = _model(group, model, used, rounds, seed)
        task_summaries |= {(task, model): result for task, result in mine.items()}
    ranked, ranked_tasks = _ranked(group)
    if ranked:
        over_tasks |= _with_ranks(over_tasks, task_summaries, ranked, ranked_tasks)

    def order(model: ModelSummary) -> tuple[bool, bool, float, str]:
        unknown = math.isnan(model.iqm.value)
        return bool(model.lacks), unknown, 0.0 if unknown else -model.iqm.value, model.model

    ordered = sorted(over_tasks.values(), key=order)
    return Summary(
        key=group.key,
        ranges=used,
        tasks=task_summaries,
        models={model.model: model for model in ordered},
        ranked_tasks=ranked_tasks if ranked else (),
        rounds=rounds,
    )


def _model(
    group: Group, model: str, ranges: Ranges, rounds: int, seed: int
) -> tuple[dict[str, TaskSummary], ModelSummary]:
    """Estimate a model on each of its tasks and over those that have a range."""
    tasks = tuple(task for task in group.tasks if (task, model) in group.cells)
    cells = [group.cells[task, model] for task in tasks]
    scores = group.matrix(model, tasks)
    scale = ranges.scale([(cell.task, cell.metric) for cell in cells])
    usable = np.flatnonzero([ranges.has(cell.task, cell.metric) for cell in cells])

    def statistic(samples: NDArray[np.float64]) -> NDArray[np.float64]:
        normal = scale(samples)[..., usable]
        over = [f(normal) for f in (agg.iqm, agg.median, agg.mean, agg.optimality_gap)]
        per_task = (agg.iqm_per_task(samples), agg.mean_per_task(samples))
        return np.concatenate([np.stack(over, axis=-1), *per_task], axis=-1)

    drawn = agg.stratified_bootstrap(
        scores, stream(seed, group.key.title, model), rounds, statistic
    )
    value = statistic(scores[None])[0]
    low, high = agg.percentile_interval(drawn)
    # One run is drawn as itself again and again, which says nothing of how sure it is.
    alone = np.array([len(cell.runs) == 1 for cell in cells])
    over_alone = bool(alone[usable].all())
    unsure = np.concatenate([np.full(4, over_alone), alone, alone])
    low, high = np.where(unsure, np.nan, low), np.where(unsure, np.nan, high)
    estimates = [Estimate(*map(float, ends)) for ends in zip(value, low, high, strict=True)]
    iqms = slice(4, 4 + len(tasks))
    normal_drawn = scale(drawn[:, iqms])
    normal_value = scale(value[None, iqms])[0]
    # Where less is better the ends change places.
    ends = np.sort(scale(np.stack([low[iqms], high[iqms]])), axis=0)
    summaries = {
        cell.task: TaskSummary(
            cell=cell,
            iqm=estimates[4 + column],
            mean=estimates[4 + len(tasks) + column],
            std=float(cell.scores.std(ddof=1)) if len(cell.runs) > 1 else math.nan,
            distribution=drawn[:, 4 + column],
            normalised_iqm=Estimate(float(normal_value[column]), *map(float, ends[:, column])),
            normalised_distribution=normal_drawn[:, column],
        )
        for column, cell in enumerate(cells)
    }
    return summaries, ModelSummary(
        model=model,
        iqm=estimates[0],
        median=estimates[1],
        mean=estimates[2],
        optimality_gap=estimates[3],
        distribution=drawn[:, 0],
        tasks=tuple(tasks[column] for column in usable),
        lacks=tuple(task for task in group.tasks if task not in tasks),
        num_runs=sum(len(cells[column].runs) for column in usable),
        rank=None,
    )


def _ranked(group: Group) -> tuple[list[str], tuple[str, ...]]:
    """Choose whom to rank over which tasks: every model must have every one of them."""
    complete = [m for m in group.models if all((task, m) in group.cells for task in group.tasks)]
    if len(complete) > 1:
        return complete, group.tasks
    shared = tuple(t for t in group.tasks if all((t, m) in group.cells for m in group.models))
    return (list(group.models), shared) if shared and len(group.models) > 1 else ([], ())


def _with_ranks(
    models: Mapping[str, ModelSummary],
    tasks: Mapping[tuple[str, str], TaskSummary],
    ranked: Sequence[str],
    ranked_tasks: Sequence[str],
) -> dict[str, ModelSummary]:
    """Add mean ranks by the tasks' interquartile means; each round ranks all models anew."""
    rows = [[tasks[task, model] for task in ranked_tasks] for model in ranked]
    sign = np.array([1.0 if result.cell.higher_is_better else -1.0 for result in rows[0]])
    values = agg.ranks(np.array([[result.iqm.value for result in row] for row in rows]) * sign)
    drawn = np.array(
        [[result.distribution for result in row] for row in rows]
    )  # models, tasks, rounds
    low, high = agg.percentile_interval(agg.ranks(np.moveaxis(drawn, 2, 0) * sign))
    # Where every cell is one run, what moves in a model's rank is others alone.
    alone = np.array([all(len(result.cell.runs) == 1 for result in row) for row in rows])
    low, high = np.where(alone, np.nan, low), np.where(alone, np.nan, high)
    return {
        model: replace(models[model], rank=Estimate(*map(float, ends)))
        for model, *ends in zip(ranked, values, low, high, strict=True)
    }


def compare(
    group: Group,
    *,
    ranges: Ranges | None = None,
    rounds: int = ROUNDS,
    seed: int = 0,
) -> list[Comparison]:
    """Compare every pair of models of a group, over the tasks that both have and that have a range.

    Args:
        group: Its cells.
        ranges: What to normalise the differences by that are tested; None for `observed_ranges`.
        rounds: Rounds of the bootstrap.
        seed: Seed of the bootstrap.

    Returns:
        A comparison per pair that shares a task, the names of each in alphabetical order.
    """
    used = observed_ranges([group]) if ranges is None else ranges
    # Drawn once for each model, whatever it is compared with.
    drawn = {
        model: agg.draw_counts(
            group.matrix(model), stream(seed, group.key.title, "pairs", model), rounds
        )
        for model in group.models
    }
    comparisons: list[Comparison] = []
    least: list[float] = []
    for first, second in itertools.combinations(group.models, 2):
        tasks = tuple(
            task
            for task in group.tasks
            if used.has(task, group.metrics[task])
            and (task, first) in group.cells
            and (task, second) in group.cells
        )
        if not tasks:
            continue
        scale = used.scale([(task, group.metrics[task]) for task in tasks])
        ours, theirs = (scale(group.matrix(model, tasks)) for model in (first, second))
        columns = [group.tasks.index(task) for task in tasks]
        wins = agg.improvement_bootstrap(
            ours, theirs, drawn[first][columns], drawn[second][columns]
        )
        low, high = agg.percentile_interval(wins)
        value = agg.probability_of_improvement(ours, theirs)
        # A model of one run per task is drawn as itself again and again.
        if any((~np.isnan(scores)).sum(axis=0).max() == 1 for scores in (ours, theirs)):
            low, high = np.array(np.nan), np.array(np.nan)
        p_value, pairs = agg.paired_test(ours, theirs)
        estimate = Estimate(float(value), float(low), float(high))
        made = Comparison(first, second, tasks, estimate, pairs, p_value, math.nan, False)
        comparisons.append(made)
        # The test drops pairs that do not differ, so they make no p-value lower; where not one
        # differs, models are alike by any test.
        differing = int(np.count_nonzero(np.nan_to_num(ours - theirs))) or pairs
        least.append(math.nan if math.isnan(p_value) else agg.least_p_value(differing))
    corrected = agg.holm([comparison.p_value for comparison in comparisons])
    # By Holm's method no p-value falls where another rises, so these are the least there can be.
    return [
        replace(comparison, p_holm=float(p), is_tested=bool(low < agg.ALPHA))
        for comparison, p, low in zip(comparisons, corrected, agg.holm(least), strict=True)
    ]


def stream(seed: int, *names: str) -> np.random.Generator:
    """Random numbers that depend on a seed and some names alone."""
    spread = hashlib.sha256("\0".join(names).encode()).digest()
    return np.random.default_rng([seed, *np.frombuffer(spread, dtype=np.uint32).tolist()])
