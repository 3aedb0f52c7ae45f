"""Statistics: by hand, against scipy, and by what must always hold."""

import math
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from marsbench.report.statistics import aggregate as agg

Floats = NDArray[np.float64]
Statistic = Callable[[Floats], Floats]

NAN = float("nan")
STATISTICS: dict[str, Statistic] = {
    "iqm": agg.iqm,
    "median": agg.median,
    "mean": agg.mean,
    "gap": agg.optimality_gap,
}


def matrices(low: float = 0.0, high: float = 1.0) -> st.SearchStrategy[Floats]:
    """Scores of 1 to 8 runs of 1 to 6 tasks, some of which lack runs, none all."""
    shapes = hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=8)
    values = st.integers(0, 1000).map(lambda k: low + (high - low) * k / 1000)

    def with_gaps(scores: Floats) -> st.SearchStrategy[Floats]:
        def gap(counts: list[int]) -> Floats:
            rows = np.arange(len(scores))[:, None]
            return np.where(rows < np.array(counts), scores, NAN)

        number = st.integers(1, len(scores))
        return st.lists(number, min_size=scores.shape[1], max_size=scores.shape[1]).map(gap)

    return hnp.arrays(np.float64, shapes, elements=values).flatmap(with_gaps)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_iqm_by_hand() -> None:
    # Eight scores: two are cut from either end, the mean of 3, 4, 5, 6 stays.
    assert agg.iqm(np.array([[1, 8], [2, 7], [3, 6], [4, 5]])) == 4.5
    # Five scores: one is cut from either end.
    assert agg.iqm(np.array([[0.0], [1.0], [2.0], [3.0], [100.0]])) == 2.0
    # Three: none.
    assert agg.iqm(np.array([[0.0, 1.0, 5.0]])) == 2.0
    assert agg.iqm(np.array([[NAN, 1.0], [3.0, NAN]])) == 2.0
    assert np.isnan(agg.iqm(np.array([[NAN]])))
    assert agg.iqm(np.empty((3, 0, 2))).shape == agg.iqm(np.empty((3, 2, 0))).shape == (3,)


def test_iqm_of_unequal_numbers_of_runs_by_hand() -> None:
    scores = np.array([[1.0, 10.0], [2.0, NAN], [3.0, NAN], [4.0, NAN]])
    # Runs weigh 1/4 and 1. Of five one is cut from either end: a fifth of the weight 2, which is
    # all of 1 and 0.15 of 2, and 0.4 of 10.
    kept = {2: 0.1, 3: 0.25, 4: 0.25, 10: 0.6}
    by_hand = sum(score * weight for score, weight in kept.items()) / 1.2
    assert agg.iqm(scores) == pytest.approx(by_hand, rel=1e-12)
    # Rows of other counts beside it change nothing.
    stack = np.stack([scores, scores[::-1], np.arange(8.0).reshape(4, 2), np.full((4, 2), NAN)])
    assert np.allclose(agg.iqm(stack), [by_hand, by_hand, 3.5, NAN], equal_nan=True)


def test_others_by_hand() -> None:
    scores = np.array([[0.0, 0.5, 1.0, 0.2], [1.0, 0.7, 2.0, NAN]])
    assert np.allclose(agg.mean_per_task(scores), [0.5, 0.6, 1.5, 0.2])
    assert agg.mean(scores) == pytest.approx(0.7)
    assert agg.median(scores) == pytest.approx(0.55)
    # Short of 1 by 1 and 0, 0.5 and 0.3, 0 and 0, and 0.8: what is above 1 makes up for nothing.
    assert agg.optimality_gap(scores) == pytest.approx((0.5 + 0.4 + 0.0 + 0.8) / 4)
    shares = [(0.5 + 1 + 1 + 1) / 4, (0.5 + 0.5 + 1 + 0) / 4, (0.5 + 0 + 1 + 0) / 4]
    assert np.allclose(agg.performance_profile(scores, [0.0, 0.5, 0.99]), shares)
    assert np.isnan(agg.median(np.empty((2, 0))))


def test_normalise_by_hand() -> None:
    scores = np.array([[0.5, 0.1, 3.0], [1.0, 0.4, 3.0]])
    normal = agg.normalise(scores, [0.0, 0.0, 3.0], [1.0, 0.4, 3.0], [True, False, True])
    assert np.allclose(normal, [[0.5, 0.75, NAN], [1.0, 0.0, NAN]], equal_nan=True)


def test_improvement_by_hand() -> None:
    ours, theirs = np.array([[1.0, 2.0], [3.0, 2.0]]), np.array([[2.0, 2.0]])
    # Task one: one of two pairs is won; task two: two ties.
    assert agg.probability_of_improvement(ours, theirs) == 0.5
    assert agg.probability_of_improvement([[1.0], [3.0]], [[0.0], [2.0], [NAN]]) == 0.75
    # Only tasks that both have count.
    assert agg.probability_of_improvement([[1.0, 5.0]], [[0.0, NAN]]) == 1.0
    assert np.isnan(agg.probability_of_improvement([[1.0, NAN]], [[NAN, 1.0]]))


def test_ranks_by_hand() -> None:
    scores = np.array([[0.9, 0.5], [0.8, 0.5], [0.1, 0.7]])
    assert np.allclose(agg.ranks(scores), [(1 + 2.5) / 2, (2 + 2.5) / 2, (3 + 1) / 2])
    with pytest.raises(ValueError, match="every task"):
        agg.ranks(np.array([[0.1, NAN]]))


def test_holm_by_hand() -> None:
    # Sorted 0.01, 0.02, 0.03, 0.04 times 4, 3, 2, 1, never falling.
    assert np.allclose(agg.holm([0.04, 0.01, 0.03, 0.02]), [0.06, 0.04, 0.06, 0.06])
    assert np.allclose(agg.holm([0.5, NAN, 0.6]), [1.0, NAN, 1.0], equal_nan=True)
    assert agg.holm([]).shape == (0,)


def test_paired_test() -> None:
    first = np.arange(1.0, 7).reshape(3, 2) / 10
    # Six differences of one sign: the exact p is 2 / 2^6.
    assert agg.paired_test(first, np.zeros((3, 2))) == pytest.approx((2 / 64, 6))
    assert agg.paired_test(first, first) == (1.0, 6)
    by_task = agg.paired_test(first, np.zeros((3, 2)), over="tasks", alpha=0.6)
    assert by_task == pytest.approx((0.5, 2))


def test_too_few_pairs_are_not_tested() -> None:
    ours = np.arange(1.0, 11)[:, None]
    for pairs in range(11):
        p_value, found = agg.paired_test(ours[:pairs], np.zeros((pairs, 1)))
        assert found == pairs
        if pairs < 6:
            assert np.isnan(p_value)
        else:
            assert p_value == pytest.approx(agg.least_p_value(pairs))
    # Not even where all are equal: that five pairs do not differ says nothing.
    assert np.isnan(agg.paired_test(np.ones((5, 1)), np.ones((5, 1)))[0])
    assert agg.paired_test([[NAN]], [[1.0]])[1] == 0
    gaps = np.array([[0.0, NAN], [0.0, 0.0], [NAN, NAN]])
    assert agg.paired_test(np.ones((3, 2)), gaps)[1] == 3


def test_equal_seeds_give_equal_intervals() -> None:
    scores = rng().random((7, 5))
    first, second, other = (agg.stratified_bootstrap(scores, rng(seed)) for seed in (1, 1, 2))
    assert np.array_equal(first, second)
    assert not np.array_equal(first, other)


def test_chunks_change_nothing() -> None:
    scores = rng().random((7, 5))
    whole = agg.stratified_bootstrap(scores, rng(), 101)
    assert np.array_equal(whole, agg.stratified_bootstrap(scores, rng(), 101, chunk_bytes=1))
    assert np.array_equal(whole, agg.stratified_bootstrap(scores, rng(), 101, chunk_bytes=3000))


def test_each_task_draws_its_own_runs_and_as_many() -> None:
    scores = np.array([[1.0, 10.0], [2.0, NAN], [3.0, 30.0]])
    drawn = agg.resample(scores, rng(), 500)
    assert drawn.shape == (500, 3, 2)
    assert set(np.unique(drawn[:, :, 0])) == {1.0, 2.0, 3.0}
    assert set(np.unique(drawn[:, :2, 1])) == {10.0, 30.0}
    assert np.isnan(drawn[:, 2, 1]).all()
    # Every run as often as any other, and independently in each task.
    assert np.allclose((drawn[:, :, 0] == 2.0).mean(), 1 / 3, atol=0.03)
    assert abs(np.corrcoef(drawn[:, 0, 0], drawn[:, 0, 1])[0, 1]) < 0.15


def test_counts_are_of_the_same_bootstrap() -> None:
    first, second = rng(1).random((7, 4)), rng(2).random((5, 4)) + 0.1
    first[5:, 2] = NAN
    source = rng(3)
    counts = [agg.draw_counts(scores, source, 4000) for scores in (first, second)]
    assert (counts[0].sum(axis=2) == np.array([7, 7, 5, 7])[:, None]).all()
    assert not counts[0][2, :, 5:].any()
    fast = agg.improvement_bootstrap(first, second, *counts)
    slow = agg.probability_of_improvement(
        agg.resample(first, rng(4), 4000), agg.resample(second, rng(5), 4000)
    )
    ends = [agg.percentile_interval(drawn) for drawn in (fast, slow)]
    assert np.allclose(ends[0], ends[1], atol=0.02)
    once = [np.ones((4, 1, len(s)), np.float32) * ~np.isnan(s.T[:, None]) for s in (first, second)]
    exact = agg.improvement_bootstrap(first, second, *once)
    # To the last digit but one: 2/3 is 0.666666666666667, and no 0.66666669.
    expected = float(agg.probability_of_improvement(first, second))
    assert exact[0] == pytest.approx(expected, abs=1e-15)


def test_coverage() -> None:
    """An interval of 95 % of a mean of many runs holds the truth in about 95 of 100 studies."""
    held = 0
    for study in range(200):
        scores = rng(study).normal(0.5, 0.1, (20, 5))
        drawn = agg.stratified_bootstrap(scores, rng(study), 400, agg.mean)
        low, high = agg.percentile_interval(drawn)
        held += bool(low <= 0.5 <= high)
    assert 0.88 <= held / 200 <= 0.99


def weighted_by_repeating(scores: Floats) -> float:
    """The same number, of every run as often as makes all tasks equally long."""
    tasks = [scores[~np.isnan(scores[:, task]), task] for task in range(scores.shape[1])]
    length = math.lcm(*map(len, tasks))
    repeated = np.sort(np.concatenate([np.repeat(t, length // len(t)) for t in tasks]))
    count, size = sum(map(len, tasks)), len(repeated)
    cut = Fraction(count // 4 * size, count)
    # Of each what lies between the cuts, all of it or a part.
    kept = [
        float(max(Fraction(0), min(Fraction(k + 1), size - cut) - max(Fraction(k), cut)))
        for k in range(size)
    ]
    return float(np.average(repeated, weights=kept))


@settings(deadline=None)
@given(matrices())
def test_iqm_is_the_trimmed_mean(scores: Floats) -> None:
    assert agg.iqm(scores) == pytest.approx(weighted_by_repeating(scores), abs=1e-12)
    whole = scores[~np.isnan(scores).any(axis=1)]  # a row at least
    expected = scipy.stats.trim_mean(whole, 0.25, axis=None)
    assert agg.iqm(whole) == pytest.approx(expected, rel=1e-12)
    for task, value in enumerate(agg.iqm_per_task(scores)):
        mine = scores[:, task][~np.isnan(scores[:, task])]
        assert value == pytest.approx(scipy.stats.trim_mean(mine, 0.25))


@pytest.mark.parametrize("name", STATISTICS)
@settings(deadline=None)
@given(scores=matrices(), seed=st.integers(0, 10))
def test_order_of_runs_and_tasks_is_nothing(name: str, scores: Floats, seed: int) -> None:
    statistic = STATISTICS[name]
    shuffled = rng(seed).permuted(scores, axis=0)
    assert statistic(shuffled) == pytest.approx(statistic(scores))
    tasks = rng(seed).permutation(scores.shape[1])
    assert statistic(scores[:, tasks]) == pytest.approx(statistic(scores))
    first, second = (
        agg.stratified_bootstrap(s, rng(seed), 20, statistic) for s in (scores, shuffled)
    )
    assert np.allclose(first, second)


def profile(scores: Floats) -> Floats:
    return agg.performance_profile(scores, [0.2, 0.5, 0.8])


@pytest.mark.parametrize("name", [*STATISTICS, "profile"])
@settings(deadline=None)
@given(
    scores=hnp.arrays(
        np.float64,
        st.tuples(st.sampled_from([4, 8]), st.integers(1, 6)),
        elements=st.integers(0, 1000).map(lambda k: k / 1000),
    ),
    times=st.integers(2, 4),
    data=st.data(),
)
def test_a_task_counts_for_no_more_by_being_run_more_often(
    name: str, scores: Floats, times: int, data: st.DataObject
) -> None:
    statistic = STATISTICS.get(name, profile)
    task = data.draw(st.integers(0, scores.shape[1] - 1))
    more = np.full((times * len(scores), scores.shape[1]), NAN)
    more[: len(scores)] = scores
    more[:, task] = np.tile(scores[:, task], times)
    assert statistic(more) == pytest.approx(statistic(scores), abs=1e-12)


@pytest.mark.parametrize("name", ["iqm", "median", "mean"])
@settings(deadline=None)
@given(
    scores=matrices(),
    scale=st.floats(-5, 5).filter(lambda k: abs(k) > 0.01),
    shift=st.floats(-5, 5),
)
def test_affine(name: str, scores: Floats, scale: float, shift: float) -> None:
    statistic = STATISTICS[name]
    moved = statistic(scores * scale + shift)
    assert moved == pytest.approx(float(statistic(scores)) * scale + shift, abs=1e-9)


@pytest.mark.parametrize("name", STATISTICS)
@settings(deadline=None)
@given(scores=matrices(), data=st.data())
def test_a_better_run_never_harms(name: str, scores: Floats, data: st.DataObject) -> None:
    there = np.argwhere(~np.isnan(scores))
    run, task = data.draw(st.sampled_from(there.tolist()))
    better = scores.copy()
    better[run, task] += data.draw(st.floats(0, 2))
    gain = STATISTICS[name](better) - STATISTICS[name](scores)
    assert (-gain if name == "gap" else gain) >= -1e-12


@pytest.mark.parametrize("name", STATISTICS)
@settings(max_examples=40, deadline=None)
@given(scores=matrices(), seed=st.integers(0, 3))
def test_what_is_drawn_stays_within_the_scores(name: str, scores: Floats, seed: int) -> None:
    drawn = agg.stratified_bootstrap(scores, rng(seed), 50, STATISTICS[name])
    ends = np.nanmin(scores), np.nanmax(scores)
    low, high = sorted(1 - np.array(ends)) if name == "gap" else ends
    assert drawn.shape == (50,)
    assert (drawn >= low - 1e-12).all()
    assert (drawn <= high + 1e-12).all()
    inner, outer = (agg.percentile_interval(drawn, level) for level in (0.5, 0.95))
    assert outer[0] <= inner[0] <= inner[1] <= outer[1]


@settings(deadline=None)
@given(
    half=hnp.arrays(
        np.float64, st.tuples(st.integers(2, 5), st.integers(1, 5)), elements=st.floats(0, 1)
    )
)
def test_interval_holds_the_estimate_of_symmetric_scores(half: Floats) -> None:
    scores = np.concatenate([half, -half])
    low, high = agg.percentile_interval(agg.stratified_bootstrap(scores, rng(), 500))
    assert low <= agg.iqm(scores) + 1e-9
    assert agg.iqm(scores) <= high + 1e-9


@settings(deadline=None)
@given(first=matrices(), data=st.data())
def test_improvement_and_its_reverse_are_one(first: Floats, data: st.DataObject) -> None:
    second = data.draw(matrices().filter(lambda s: s.shape[1] == first.shape[1]))
    there, back = (
        agg.probability_of_improvement(*pair) for pair in ((first, second), (second, first))
    )
    assert there + back == pytest.approx(1)
    assert agg.probability_of_improvement(first, first) == pytest.approx(0.5)


@settings(deadline=None)
@given(
    hnp.arrays(
        np.float64, st.tuples(st.integers(1, 6), st.integers(1, 5)), elements=st.floats(0, 1)
    )
)
def test_ranks_add_up(scores: Floats) -> None:
    found = agg.ranks(scores)
    assert found.sum() == pytest.approx(len(scores) * (len(scores) + 1) / 2)
    assert np.allclose(found, scipy.stats.rankdata(-scores, axis=0).mean(axis=1))


@settings(deadline=None)
@given(st.lists(st.floats(0, 1), max_size=8))
def test_holm_never_lowers_and_keeps_the_order(values: list[float]) -> None:
    adjusted = agg.holm(values)
    assert (adjusted >= np.array(values) - 1e-12).all()
    assert (adjusted <= 1).all()
    order = np.argsort(values, kind="stable")
    assert (np.diff(adjusted[order]) >= 0).all()
