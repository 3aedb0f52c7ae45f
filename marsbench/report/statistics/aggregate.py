"""Statistics over runs and tasks: pure functions on arrays.

Scores have the shape (num_runs, num_tasks), NaN for missing runs. Every statistic accepts leading
axes, so that a thousand resamples are a single call. Tasks without a run are left out; all others
have equal weight: each of a task's n runs weighs 1/n.

Aggregates and bootstrap follow Agarwal et al. 2021, https://arxiv.org/abs/2108.13264, and are equal
to theirs if all tasks have the same number of runs.
"""

import math
from collections.abc import Callable
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Statistic = Callable[[Floats], Floats]

ALPHA = 0.05
"""Significance level of tests."""

CHUNK_BYTES = 32 * 2**20
"""Memory limit of the resamples in memory at a time."""


def normalise(
    scores: ArrayLike, low: ArrayLike, high: ArrayLike, higher_is_better: ArrayLike = True
) -> Floats:
    """Map each task's range to 0 (worst) to 1 (best).

    Args:
        scores: Shape (..., num_runs, num_tasks).
        low: Lower end of each task's range, shape (num_tasks,), in the task's own metric.
        high: Upper end, shape (num_tasks,).
        higher_is_better: Direction of each task's metric, shape (num_tasks,); if False, `low`
            becomes 1.

    Returns:
        Same shape; not clipped. NaN in tasks whose range is empty or not finite.
    """
    low, high = np.asarray(low, dtype=np.float64), np.asarray(high, dtype=np.float64)
    width = np.where(np.isfinite(high - low) & (high > low), high - low, np.nan)
    share: Floats = (np.asarray(scores, dtype=np.float64) - low) / width
    return np.where(higher_is_better, share, 1 - share)


def iqm(scores: ArrayLike) -> Floats:
    """Interquartile mean: the mean of the middle half of all runs of all tasks.

    Of n runs, the lowest and highest share ``(n // 4) / n`` of the total weight is cut; runs on the
    border are cut in part. With the same number of runs for all tasks this equals
    ``scipy.stats.trim_mean(scores, 0.25, axis=None)``.

    Args:
        scores: Shape (..., num_runs, num_tasks).

    Returns:
        Shape (...); NaN without a run.
    """
    values = np.asarray(scores, dtype=np.float64)
    *lead, num_runs, num_tasks = values.shape
    values = values.reshape(math.prod(lead), num_runs, num_tasks)
    flat = values.reshape(len(values), num_runs * num_tasks)
    counts = num_runs - np.isnan(values).sum(axis=1)
    totals = counts.sum(axis=1)
    most = counts.max(axis=1, initial=0, keepdims=True)
    equal = ((counts == 0) | (counts == most)).all(axis=1)
    means = np.full(len(values), np.nan)
    for total in np.unique(totals[equal]):
        rows = equal & (totals == total)
        if total:
            means[rows] = _trimmed_mean(flat if rows.all() else flat[rows], total)
    if not equal.all():
        weights = 1 / np.maximum(counts[~equal], 1)
        means[~equal] = _weighted_trimmed_mean(
            flat[~equal], np.tile(weights, num_runs), totals[~equal, None]
        )
    return means.reshape(lead)


def _trimmed_mean(flat: Floats, count: int) -> Floats:
    """Mean of the middle half of each row's `count` scores, ignoring NaN."""
    ordered = np.sort(flat, axis=1)  # NaN come last
    cut = count // 4
    means: Floats = ordered[:, cut : count - cut].mean(axis=1)
    return means


def _weighted_trimmed_mean(flat: Floats, weights: Floats, counts: NDArray[np.intp]) -> Floats:
    """Mean of the middle half of the weight of each row's scores, ignoring NaN."""
    order = np.argsort(flat, axis=1)
    ordered = np.take_along_axis(flat, order, axis=1)
    weight = np.take_along_axis(weights, order, axis=1)
    weight[np.isnan(ordered)] = 0.0
    upper = np.cumsum(weight, axis=1)
    total = upper[:, -1:]
    cut = total * (counts // 4) / counts
    # Weight of each score between the cuts.
    kept = np.minimum(upper, total - cut) - np.maximum(upper - weight, cut)
    kept = np.where(weight > 0, np.maximum(kept, 0.0), 0.0)
    means: Floats = (kept * np.nan_to_num(ordered)).sum(axis=1) / kept.sum(axis=1)
    return means


def iqm_per_task(scores: ArrayLike) -> Floats:
    """Interquartile mean of each task's runs, shape (..., num_tasks)."""
    return iqm(np.swapaxes(np.asarray(scores, dtype=np.float64), -1, -2)[..., None])


def mean_per_task(scores: ArrayLike) -> Floats:
    """Mean of each task's runs, shape (..., num_tasks); NaN for a task without runs."""
    values = np.asarray(scores, dtype=np.float64)
    is_known = ~np.isnan(values)
    counts = is_known.sum(axis=-2)
    total = np.where(is_known, values, 0.0).sum(axis=-2)
    return np.where(counts > 0, total / np.maximum(counts, 1), np.nan)


def mean(scores: ArrayLike) -> Floats:
    """Mean over tasks of the mean over runs, shape (...)."""
    return mean_per_task(mean_per_task(scores)[..., None])[..., 0]


def median(scores: ArrayLike) -> Floats:
    """Median over tasks of the mean over runs, shape (...)."""
    ordered = np.sort(mean_per_task(scores), axis=-1)
    if not ordered.shape[-1]:
        return np.full(ordered.shape[:-1], np.nan)
    counts = ordered.shape[-1] - np.isnan(ordered).sum(axis=-1)
    places = np.stack([(counts - 1) // 2, counts // 2], axis=-1)
    # Without a task both places hold NaN.
    pair = np.take_along_axis(ordered, np.clip(places, 0, ordered.shape[-1] - 1), axis=-1)
    middle: Floats = pair.mean(axis=-1)
    return middle


def optimality_gap(scores: ArrayLike, gamma: float = 1.0) -> Floats:
    """Mean shortfall of runs below `gamma`, averaged over tasks; higher scores count as `gamma`.

    Args:
        scores: Normalised scores, shape (..., num_runs, num_tasks).
        gamma: Target score.

    Returns:
        Shape (...), lower is better.
    """
    return mean(gamma - np.minimum(np.asarray(scores, dtype=np.float64), gamma))


def performance_profile(scores: ArrayLike, thresholds: ArrayLike) -> Floats:
    """Share of a task's runs above each threshold, mean over tasks.

    Args:
        scores: Normalised scores, shape (..., num_runs, num_tasks).
        thresholds: Shape (num_thresholds,).

    Returns:
        Shape (..., num_thresholds).
    """
    values = np.asarray(scores, dtype=np.float64)
    counts = (~np.isnan(values)).sum(axis=-2)
    num_tasks = (counts > 0).sum(axis=-1, keepdims=True)
    weights = 1 / np.where(counts > 0, counts * num_tasks, np.inf)
    weights = np.where(num_tasks > 0, weights, np.nan)
    # Loop over thresholds, so that intermediate arrays are as large as the scores.
    above = [((values > tau).sum(axis=-2) * weights).sum(axis=-1) for tau in np.asarray(thresholds)]
    return np.stack(above, axis=-1)


def probability_of_improvement(first: ArrayLike, second: ArrayLike) -> Floats:
    """Probability that a run of `first` beats a run of `second` on the same task; ties count half.

    Args:
        first: Scores, higher is better, shape (..., num_runs, num_tasks).
        second: Shape (..., num_other_runs, num_tasks).

    Returns:
        Mean over shared tasks, shape (...); NaN without a shared task.
    """
    x, y = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    pairs = (~np.isnan(x)).sum(axis=-2) * (~np.isnan(y)).sum(axis=-2)
    wins = np.zeros(np.broadcast_shapes(x.shape[:-2], y.shape[:-2]) + x.shape[-1:])
    for run in range(x.shape[-2]):
        mine = x[..., run : run + 1, :]
        wins += (mine > y).sum(axis=-2) + 0.5 * (mine == y).sum(axis=-2)
    shares = np.where(pairs > 0, wins / np.maximum(pairs, 1), np.nan)
    return mean_per_task(shares[..., None])[..., 0]


def ranks(task_scores: ArrayLike) -> Floats:
    """Rank models within each task and average over tasks; equal scores share their mean rank.

    Args:
        task_scores: A score per model and task, higher is better, shape
            (..., num_models, num_tasks).

    Returns:
        Shape (..., num_models), 1 is best.

    Raises:
        ValueError: If a task of a model is missing: ranks among different numbers of models cannot
            be averaged.
    """
    values = np.asarray(task_scores, dtype=np.float64)
    if np.isnan(values).any():
        raise ValueError("ranks need every model to have every task")
    mean_ranks = np.empty(values.shape[:-1])
    for model in range(values.shape[-2]):
        mine = values[..., model : model + 1, :]
        better, equal = (values > mine).sum(axis=-2), (values == mine).sum(axis=-2)
        mean_ranks[..., model] = (better + (equal + 1) / 2).mean(axis=-1)
    return mean_ranks


def resample(scores: ArrayLike, rng: np.random.Generator, rounds: int) -> Floats:
    """Resample the runs of each task with replacement, keeping their number.

    Args:
        scores: Shape (num_runs, num_tasks).
        rng: Source of randomness.
        rounds: Number of resamples.

    Returns:
        Shape (rounds, num_runs, num_tasks), independent of the order of the runs in `scores`.
    """
    ordered = np.sort(np.asarray(scores, dtype=np.float64), axis=0)  # NaN come last
    num_runs, num_tasks = ordered.shape
    counts = num_runs - np.isnan(ordered).sum(axis=0)
    drawn = (rng.random((rounds, num_runs, num_tasks)) * counts).astype(np.intp)
    samples: Floats = ordered[drawn, np.arange(num_tasks)]
    if (counts < num_runs).any():
        samples[:, np.arange(num_runs)[:, None] >= counts] = np.nan
    return samples


def stratified_bootstrap(
    scores: ArrayLike,
    rng: np.random.Generator,
    reps: int = 1_000,
    statistic: Statistic = iqm,
    chunk_bytes: int = CHUNK_BYTES,
) -> Floats:
    """Bootstrap distribution of a statistic, resampling runs within each task.

    Tasks are fixed. Equal generators give equal distributions for any chunk size.

    Args:
        scores: Shape (num_runs, num_tasks).
        rng: Source of randomness.
        reps: Rounds.
        statistic: Function from shape (rounds, num_runs, num_tasks) to (rounds, ...).
        chunk_bytes: Memory limit of the resamples in memory at a time.

    Returns:
        Shape (reps, ...).
    """
    values = np.asarray(scores, dtype=np.float64)
    rounds = max(1, min(reps, chunk_bytes // max(1, values.nbytes)))
    done = range(0, reps, rounds)
    parts = [statistic(resample(values, rng, min(rounds, reps - start))) for start in done]
    return np.concatenate(parts)


def draw_counts(scores: ArrayLike, rng: np.random.Generator, reps: int) -> NDArray[np.float32]:
    """Count how often each run is drawn in bootstrap resamples of each task's runs.

    Args:
        scores: Shape (num_runs, num_tasks).
        rng: Source of randomness.
        reps: Rounds.

    Returns:
        Whole numbers, shape (num_tasks, reps, num_runs); 0 for missing runs. The counts of a task
        add up to its number of runs.
    """
    lacks = np.isnan(np.asarray(scores, dtype=np.float64))
    num_runs, num_tasks = lacks.shape
    sizes = num_runs - lacks.sum(axis=0)
    counts = np.zeros((num_tasks, reps, num_runs), dtype=np.float32)
    for task, size in enumerate(sizes):
        drawn = (rng.random((reps, size)) * size).astype(np.intp)
        places = drawn + size * np.arange(reps)[:, None]
        times = np.bincount(places.ravel(), minlength=size * reps).reshape(reps, size)
        counts[task][:, ~lacks[:, task]] = times
    return counts


def improvement_bootstrap(
    first: ArrayLike,
    second: ArrayLike,
    first_counts: NDArray[np.float32],
    second_counts: NDArray[np.float32],
) -> Floats:
    """Bootstrap distribution of `probability_of_improvement`, resampling the runs of both models.

    Args:
        first: Scores, higher is better, shape (num_runs, num_tasks).
        second: Shape (num_other_runs, num_tasks).
        first_counts: `draw_counts` of `first`, shape (num_tasks, reps, num_runs). The counts
            of a model may be shared by all its pairs.
        second_counts: `draw_counts` of `second`, shape (num_tasks, reps, num_other_runs).

    Returns:
        Shape (reps,).
    """
    x = np.asarray(first, dtype=np.float64).T[:, :, None]
    y = np.asarray(second, dtype=np.float64).T[:, None, :]
    wins = (x > y) + 0.5 * (x == y)
    pairs = first_counts[:, :1].sum(axis=2) * second_counts[:, :1].sum(axis=2)  # tasks, 1
    # Won pairs, weighted by the counts of both runs.
    won = ((first_counts @ wins.astype(np.float32)) * second_counts).sum(axis=2)
    # Whole and half numbers are exact in single precision; shares are not.
    shares: Floats = won.astype(np.float64) / np.where(pairs > 0, pairs, np.nan)
    return mean_per_task(shares.T[..., None])[..., 0]


def percentile_interval(distribution: ArrayLike, level: float = 0.95) -> tuple[Floats, Floats]:
    """Central percentile interval of a bootstrap distribution.

    Args:
        distribution: Shape (rounds, ...).
        level: Coverage of the interval.

    Returns:
        Lower and upper ends, each of shape (...).
    """
    tail = (1 - level) / 2
    low, high = np.quantile(np.asarray(distribution, dtype=np.float64), [tail, 1 - tail], axis=0)
    return low, high


def least_p_value(num_pairs: int) -> float:
    """Smallest two-sided p-value of `paired_test`: all pairs differ in the same direction."""
    return 2.0 ** (1 - num_pairs)


def paired_test(
    first: ArrayLike,
    second: ArrayLike,
    over: Literal["runs", "tasks"] = "runs",
    alpha: float = ALPHA,
) -> tuple[float, int]:
    """Wilcoxon's signed rank test of paired scores, two-sided.

    Args:
        first: Normalised scores, shape (num_runs, num_tasks); rows are seeds, the same in both.
        second: Same shape.
        over: ``runs`` pairs every shared (seed, task) and tests for a difference on these tasks;
            ``tasks`` pairs the means over shared seeds of each task and tests for a difference on
            similar tasks, with only as many pairs as tasks.
        alpha: Significance level.

    Returns:
        The p-value and the number of pairs. NaN with too few pairs for any p-value below `alpha`
        (fewer than 6 for 0.05). 1 if no pair differs; otherwise pairs without a difference are
        dropped. Exact for few pairs without ties.
    """
    from scipy.stats import wilcoxon

    differences = np.asarray(first, dtype=np.float64) - np.asarray(second, dtype=np.float64)
    if over == "tasks":
        differences = mean_per_task(differences)
    pairs = differences[~np.isnan(differences)]
    if least_p_value(len(pairs)) >= alpha:
        return float("nan"), len(pairs)
    if not pairs.any():
        return 1.0, len(pairs)
    return float(wilcoxon(pairs).pvalue), len(pairs)


def holm(p_values: ArrayLike) -> Floats:
    """Correct p-values for multiple testing by Holm's step-down method.

    Args:
        p_values: Shape (num_tests,); NaN for tests not made, which are not counted.

    Returns:
        Adjusted p-values, at most 1. Rejecting p-values below alpha keeps the family-wise error
        rate below alpha.
    """
    values = np.asarray(p_values, dtype=np.float64)
    adjusted = np.full(values.shape, np.nan)
    tests = np.flatnonzero(~np.isnan(values))
    order = tests[np.argsort(values[tests], kind="stable")]
    steps = values[order] * np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return adjusted
