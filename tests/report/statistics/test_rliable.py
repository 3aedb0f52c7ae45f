"""Equal to rliable: to numbers taken from it, and to itself where it can be imported.

It needs old versions of others, so an environment of its own:

    python -m venv rliable && rliable/bin/pip install rliable "pandas<3" "arch<8" pytest pyyaml
    PYTHONPATH=. rliable/bin/python -m pytest --noconftest -c /dev/null \
        tests/report/statistics/test_rliable.py
"""

from functools import partial

import numpy as np
import pytest
from numpy.typing import ArrayLike, NDArray

from marsbench.report.statistics import aggregate
from marsbench.report.statistics.aggregate import Statistic

Floats = NDArray[np.float64]

X = np.array(
    [
        [0.965, 0.914, 0.709, 0.652, 0.593, 0.427],
        [0.773, 0.744, 0.793, 0.584, 0.831, 0.927],
        [0.592, 0.642, 0.462, 0.735, 0.791, 0.839],
        [0.826, 0.893, 0.696, 0.900, 0.892, 0.807],
        [0.502, 0.444, 0.718, 0.858, 0.861, 0.779],
        [0.771, 0.702, 0.873, 0.576, 0.879, 0.781],
        [0.683, 0.840, 0.701, 0.642, 0.880, 0.787],
    ]
)
Y = np.array(
    [
        [0.826, 1.000, 0.750, 0.611, 0.482, 0.459],
        [0.829, 0.743, 0.845, 0.537, 0.931, 0.735],
        [0.726, 0.629, 0.398, 0.788, 0.961, 0.850],
        [0.681, 0.936, 0.894, 1.000, 0.986, 0.808],
        [0.644, 0.419, 0.837, 0.895, 0.841, 0.730],
        [0.857, 0.810, 0.834, 0.550, 0.990, 0.925],
        [0.636, 0.950, 0.639, 0.565, 1.000, 0.837],
    ]
)
THRESHOLDS = (0.4, 0.5, 0.6, 0.7, 0.8)
STATISTICS: dict[str, Statistic] = {
    "iqm": aggregate.iqm,
    "median": aggregate.median,
    "mean": aggregate.mean,
    "optimality_gap": aggregate.optimality_gap,
    "profile": partial(aggregate.performance_profile, thresholds=THRESHOLDS),
}

# rliable 1.2.0 with arch 7.2.0, 20,000 rounds of X (and Y): value, low, high.
KNOWN: dict[str, tuple[ArrayLike, ArrayLike, ArrayLike]] = {
    "iqm": (0.7643636363636365, 0.7166363636363638, 0.8052272727272727),
    "median": (0.7350714285714286, 0.6892142857142858, 0.7920714285714285),
    "mean": (0.7443809523809524, 0.7034041666666667, 0.7831690476190474),
    "optimality_gap": (0.25561904761904763, 0.2168309523809524, 0.2965958333333332),
    "profile": (
        (1.0, 0.9285714285714286, 0.8095238095238095, 0.6904761904761905, 0.38095238095238093),
        (1.0, 0.8333333333333334, 0.6904761904761905, 0.5476190476190477, 0.238095238095238),
        (1.0, 1.0, 0.9285714285714286, 0.8095238095238095, 0.5),
    ),
}
IMPROVEMENT = (0.42346939, 0.29591836734693877, 0.5527210884353742)

ROUNDS = 20_000
TOLERANCE = dict.fromkeys(KNOWN, 0.004) | {"profile": 1 / X.size + 1e-9}
"""Some five standard errors of an end of these intervals in two runs of 20,000 rounds; of a
profile, whose ends are whole numbers of runs, one run."""


def interval(scores: Floats, statistic: Statistic) -> Floats:
    """Ends of the interval, the first axis of two."""
    drawn = aggregate.stratified_bootstrap(
        scores, np.random.default_rng(3), ROUNDS, statistic, chunk_bytes=2**22
    )
    return np.stack(aggregate.percentile_interval(drawn))


@pytest.mark.parametrize("name", KNOWN)
def test_numbers_taken_from_rliable(name: str) -> None:
    value, *ends = KNOWN[name]
    assert STATISTICS[name](X) == pytest.approx(np.array(value), rel=1e-12)
    for ours, theirs in zip(interval(X, STATISTICS[name]), ends, strict=True):
        assert np.allclose(ours, theirs, atol=TOLERANCE[name])


def test_improvement_taken_from_rliable() -> None:
    value, *ends = IMPROVEMENT
    assert aggregate.probability_of_improvement(X, Y) == pytest.approx(value, abs=1e-8)
    rng = np.random.default_rng(3)
    counts = [aggregate.draw_counts(scores, rng, ROUNDS) for scores in (X, Y)]
    drawn = aggregate.improvement_bootstrap(X, Y, *counts)
    assert np.allclose(aggregate.percentile_interval(drawn), ends, atol=0.008)


@pytest.mark.parametrize("shape", [(7, 6), (3, 2), (1, 4), (11, 1), (10, 22)])
def test_side_by_side(shape: tuple[int, int]) -> None:
    metrics = pytest.importorskip("rliable.metrics")
    library = pytest.importorskip("rliable.library")
    rng = np.random.default_rng(3)
    scores, others = rng.beta(2, 2, shape), rng.beta(2, 2, shape)
    theirs = {
        "iqm": metrics.aggregate_iqm(scores),
        "median": metrics.aggregate_median(scores),
        "mean": metrics.aggregate_mean(scores),
        "optimality_gap": metrics.aggregate_optimality_gap(scores),
        "profile": np.array([library.run_score_deviation(scores, tau) for tau in THRESHOLDS]),
    }
    for name, value in theirs.items():
        assert STATISTICS[name](scores) == pytest.approx(value, rel=1e-12), name
    improvement = aggregate.probability_of_improvement(scores, others)
    assert improvement == pytest.approx(
        metrics.probability_of_improvement(scores, others), rel=1e-12
    )
    np.random.seed(0)  # noqa: NPY002 - rliable draws from the global state
    _, ends = library.get_interval_estimates(
        {"model": scores}, lambda s: np.array([metrics.aggregate_iqm(s)]), reps=4_000
    )
    # An end of an interval of 4,000 rounds is known to some 5 % of the distribution's width.
    width = float(aggregate.stratified_bootstrap(scores, rng, 1_000).std())
    ours = interval(scores, aggregate.iqm)
    assert np.allclose(ends["model"][:, 0], ours, atol=0.15 * width + 1e-12)
