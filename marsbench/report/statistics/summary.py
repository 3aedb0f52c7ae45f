"""Estimates of a group of cells: interquartile means with intervals, per task and over tasks."""

import hashlib
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from marsbench.report.statistics import aggregate as agg
from marsbench.report.statistics.ranges import Ranges, observed_ranges
from marsbench.report.study.cells import Cell, Group, GroupKey

ROUNDS = 1_000

LEVEL = "95 %"
"""Coverage of every interval, the default of `aggregate.percentile_interval`."""


class Estimate(NamedTuple):
    """A number and its interval.

    Attributes:
        value: Estimate; NaN without runs.
        low: Lower end of the interval; NaN with a single run per task, which cannot be resampled.
        high: Upper end, likewise.
    """

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class TaskSummary:
    """Estimates of a model on a task.

    Attributes:
        cell: Runs.
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
    """Estimates of a model over the tasks of a group, in normalised scores (1 is best).

    Attributes:
        model: Name.
        iqm: Interquartile mean over seeds and tasks.
        median: Median over tasks of the mean over seeds.
        mean: Mean over tasks of the mean over seeds.
        optimality_gap: Mean shortfall of scores below 1.
        distribution: Bootstrap distribution of the interquartile mean, shape (rounds,).
        tasks: Tasks in the aggregate.
        missing_tasks: Missing tasks of the group. If there are any, aggregates are not comparable
            with other models.
        num_runs: Number of runs in the aggregate.
        rank: Mean rank over the ranked tasks, 1 is best; None for models without a rank.
    """

    model: str
    iqm: Estimate
    median: Estimate
    mean: Estimate
    optimality_gap: Estimate
    distribution: NDArray[np.float64]
    tasks: tuple[str, ...]
    missing_tasks: tuple[str, ...]
    num_runs: int
    rank: Estimate | None


@dataclass(frozen=True)
class GroupSummary:
    """Estimates of a group.

    Attributes:
        key: The group.
        ranges: Ranges of the normalisation.
        tasks: Estimates by (task, model).
        models: Estimates by model, the best interquartile mean first, incomplete models last.
        ranked_tasks: Tasks of the ranks; empty without ranks.
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
    """Comparison of two models of a group over their shared tasks.

    Attributes:
        first: First model.
        second: Second model.
        tasks: Shared tasks.
        probability: Probability that a run of `first` beats a run of `second`, ties half, mean over
            tasks.
        num_pairs: Number of runs of equal task and seed in the test.
        p_value: Two-sided p-value of Wilcoxon's signed rank test of normalised differences; NaN
            with too few pairs for any p-value below `aggregate.ALPHA`.
        p_holm: The p-value with Holm's correction for all tested pairs of models of the group.
        is_tested: Whether `p_holm` could fall below `aggregate.ALPHA` with this number of pairs. If
            not, a high p-value is no evidence of equal models.
    """

    first: str
    second: str
    tasks: tuple[str, ...]
    probability: Estimate
    num_pairs: int
    p_value: float
    p_holm: float
    is_tested: bool


def estimate_of(
    scores: NDArray[np.float64],
    rng: np.random.Generator,
    rounds: int = ROUNDS,
    statistic: Callable[[NDArray[np.float64]], NDArray[np.float64]] = agg.iqm,
) -> Estimate:
    """Estimate a single number from the scores of runs.

    Args:
        scores: Scores of the runs that differ in their seed alone, (num_runs,).
        rng: Source of the bootstrap.
        rounds: Rounds of the bootstrap.
        statistic: Function of scores (num_runs, 1), such as of `aggregate`.
    """
    if not len(scores):
        return Estimate(math.nan, math.nan, math.nan)
    value = float(statistic(scores[:, None]))
    if len(scores) == 1:
        return Estimate(value, math.nan, math.nan)
    drawn = agg.stratified_bootstrap(scores[:, None], rng, rounds, statistic)
    low, high = agg.percentile_interval(drawn)
    return Estimate(value, float(low), float(high))


def summarise(
    group: Group,
    *,
    ranges: Ranges | None = None,
    rounds: int = ROUNDS,
    seed: int = 0,
) -> GroupSummary:
    """Compute all estimates of a group.

    Args:
        group: Cells.
        ranges: Ranges of the normalisation; None for `observed_ranges` of this group. For fixed
            ranges see `marsbench.report.statistics.ranges.reference_ranges`.
        rounds: Rounds of the bootstrap.
        seed: Seed of the bootstrap. Each model has its own random stream, so that intervals of raw
            scores do not depend on other models.
    """
    used = observed_ranges([group]) if ranges is None else ranges
    task_summaries: dict[tuple[str, str], TaskSummary] = {}
    over_tasks: dict[str, ModelSummary] = {}
    for model in group.models:
        mine, over_tasks[model] = _model(group, model, used, rounds, seed)
        task_summaries |= {(task, model): result for task, result in mine.items()}
    # A task whose runs are all equal has no observed range, and is in no column of the aggregates.
    differing = [task for task in group.tasks if not _is_equal(group, task, used)]
    ranked, ranked_tasks = _ranked(group.of_tasks(differing))
    if ranked:
        over_tasks |= _with_ranks(over_tasks, task_summaries, ranked, ranked_tasks)

    def order(model: ModelSummary) -> tuple[bool, bool, float, str]:
        unknown = math.isnan(model.iqm.value)
        return bool(model.missing_tasks), unknown, 0.0 if unknown else -model.iqm.value, model.model

    ordered = sorted(over_tasks.values(), key=order)
    return GroupSummary(
        key=group.key,
        ranges=used,
        tasks=task_summaries,
        models={model.model: model for model in ordered},
        ranked_tasks=ranked_tasks if ranked else (),
        rounds=rounds,
    )


def _is_equal(group: Group, task: str, ranges: Ranges) -> bool:
    """Whether a task has no range since the runs of its models are all equal."""
    cells = sum(name == task for name, _ in group.cells)
    return cells > 1 and not ranges.has(task, group.metrics[task])


def _model(
    group: Group, model: str, ranges: Ranges, rounds: int, seed: int
) -> tuple[dict[str, TaskSummary], ModelSummary]:
    """Estimate a model on each of its tasks, and over all tasks with a range."""
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
        scores, stream(seed, group.key.words, model), rounds, statistic
    )
    value = statistic(scores[None])[0]
    low, high = agg.percentile_interval(drawn)
    # Resampling a single run gives no interval.
    alone = np.array([len(cell.runs) == 1 for cell in cells])
    over_alone = bool(alone[usable].all())
    unsure = np.concatenate([np.full(4, over_alone), alone, alone])
    low, high = np.where(unsure, np.nan, low), np.where(unsure, np.nan, high)
    estimates = [Estimate(*map(float, ends)) for ends in zip(value, low, high, strict=True)]
    iqms = slice(4, 4 + len(tasks))
    normal_drawn = scale(drawn[:, iqms])
    normal_value = scale(value[None, iqms])[0]
    # Sorted, since a metric with lower values better swaps the ends.
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
        missing_tasks=tuple(task for task in group.tasks if task not in tasks),
        num_runs=sum(len(cells[column].runs) for column in usable),
        rank=None,
    )


def _ranked(group: Group) -> tuple[list[str], tuple[str, ...]]:
    """Choose models and tasks to rank: every chosen model has every chosen task."""
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
    """Add mean ranks by interquartile means, with intervals from the ranks of each round."""
    rows = [[tasks[task, model] for task in ranked_tasks] for model in ranked]
    sign = np.array([1.0 if result.cell.higher_is_better else -1.0 for result in rows[0]])
    values = agg.ranks(np.array([[result.iqm.value for result in row] for row in rows]) * sign)
    drawn = np.array(
        [[result.distribution for result in row] for row in rows]
    )  # models, tasks, rounds
    low, high = agg.percentile_interval(agg.ranks(np.moveaxis(drawn, 2, 0) * sign))
    # With single runs only, a rank varies by other models' resamples alone.
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
    """Compare every pair of models of a group over their shared tasks with a range.

    Args:
        group: Its cells.
        ranges: Ranges to normalise the tested differences; None for `observed_ranges`.
        rounds: Rounds of the bootstrap.
        seed: Seed of the bootstrap.

    Returns:
        A comparison per pair with a shared task; models in alphabetical order.
    """
    used = observed_ranges([group]) if ranges is None else ranges
    # Drawn once for each model, for all its comparisons.
    drawn = {
        model: agg.draw_counts(
            group.matrix(model), stream(seed, group.key.words, "pairs", model), rounds
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
        # Resampling single runs gives no interval.
        if any((~np.isnan(scores)).sum(axis=0).max() == 1 for scores in (ours, theirs)):
            low, high = np.array(np.nan), np.array(np.nan)
        p_value, pairs = agg.paired_test(ours, theirs)
        estimate = Estimate(float(value), float(low), float(high))
        made = Comparison(first, second, tasks, estimate, pairs, p_value, math.nan, False)
        comparisons.append(made)
        # The test drops pairs without a difference, which can lower no p-value. If no pair
        # differs, any test finds no difference.
        differing = int(np.count_nonzero(np.nan_to_num(ours - theirs))) or pairs
        least.append(math.nan if math.isnan(p_value) else agg.least_p_value(differing))
    corrected = agg.holm([comparison.p_value for comparison in comparisons])
    # Holm's method is monotonic, so these are lower bounds of the corrected p-values.
    return [
        replace(comparison, p_holm=float(p), is_tested=bool(low < agg.ALPHA))
        for comparison, p, low in zip(comparisons, corrected, agg.holm(least), strict=True)
    ]


def stream(seed: int, *names: str) -> np.random.Generator:
    """Random generator determined by a seed and some names."""
    spread = hashlib.sha256("\0".join(names).encode()).digest()
    return np.random.default_rng([seed, *np.frombuffer(spread, dtype=np.uint32).tolist()])
