"""Estimates of a group: by hand, their intervals, and what cannot be estimated."""

import math

import numpy as np
import pytest
import scipy.stats

from marsbench.report.statistics import aggregate
from marsbench.report.statistics.problems import of_comparisons, of_summaries
from marsbench.report.statistics.ranges import Ranges, observed_ranges, reference_ranges
from marsbench.report.statistics.reference import published
from marsbench.report.statistics.summary import (
    Comparison,
    compare,
    summarise,
)
from marsbench.report.study.cells import Group, Trouble
from marsbench.report.study.scores import study_of
from marsbench.results.record import RunRecord
from tests.report.study.test_scores import record, whole


def group_of(records: list[RunRecord]) -> Group:
    (group,) = study_of(records).groups.values()
    return group


def random_group(seed: int = 0, models: str = "wxyz", tasks: str = "abc", runs: int = 5) -> Group:
    rng = np.random.default_rng(seed)
    return group_of(
        [
            record(f"task_{t}", m, s, float(rng.normal(0.5 + 0.1 * i, 0.05)))
            for t in tasks
            for i, m in enumerate(models)
            for s in range(runs)
        ]
    )


def test_by_hand() -> None:
    summary = summarise(group_of(whole()))
    # Of x 0, 0.01, 0.02, of y 0.1 more, of z 0.2 more, in both tasks: observed from 0 to 0.22.
    pairs = [("task_a", "f1_weighted"), ("task_b", "f1_weighted")]
    assert summary.ranges.low == dict.fromkeys(pairs, 0.0)
    assert summary.ranges.high == dict.fromkeys(pairs, 0.22)
    assert list(summary.models) == ["z", "y", "x"]
    y = summary.models["y"]
    assert y.iqm.value == y.median.value == y.mean.value == pytest.approx(0.5)
    assert y.optimality_gap.value == pytest.approx(0.5)
    assert y.num_runs == 6
    assert y.rank is not None
    assert (y.rank.value, y.rank.low, y.rank.high) == (2, 2, 2)
    one = summary.tasks["task_a", "y"]
    assert one.iqm.value == one.mean.value == pytest.approx(0.11)
    assert one.std == pytest.approx(0.01)
    assert one.normalised_iqm.value == pytest.approx(0.5)
    assert one.distribution.shape == (1000,)
    assert np.allclose(one.normalised_distribution * 0.22, one.distribution)


def test_aggregates_are_those_of_the_normalised_matrix() -> None:
    group = random_group()
    pairs = list(group.metrics.items())
    ranges = Ranges("mine", dict.fromkeys(pairs, 0.2), dict.fromkeys(pairs, 1.0))
    found = summarise(group, ranges=ranges).models["x"]
    normal = (group.matrix("x") - 0.2) / 0.8
    assert found.iqm.value == pytest.approx(scipy.stats.trim_mean(normal, 0.25, axis=None))
    assert found.mean.value == pytest.approx(normal.mean())
    drawn = aggregate.stratified_bootstrap(normal, np.random.default_rng(9), 20_000)
    low, high = aggregate.percentile_interval(drawn)
    assert (found.iqm.low, found.iqm.high) == pytest.approx((low, high), abs=0.01)


def test_equal_seeds_and_no_effect_of_other_models() -> None:
    group, fewer = random_group(), random_group(models="wxyz")
    ranges = reference_ranges(group.metrics.items())
    first, second = (summarise(g, ranges=ranges).models["x"] for g in (group, fewer))
    assert first.iqm == second.iqm
    assert first.iqm != summarise(group, ranges=ranges, seed=1).models["x"].iqm
    cells = {name: cell for name, cell in group.cells.items() if name[1] in "xy"}
    alone = summarise(Group(group.key, cells), ranges=ranges)
    assert alone.models["x"].iqm == first.iqm
    assert compare(group) == compare(group)


def test_lower_is_better() -> None:
    def losses(model: str, values: list[float]) -> list[RunRecord]:
        return [
            record(
                "ega_ms",
                model,
                seed,
                kind="multilabel",
                headline="log_loss",
                metrics={"test": {"log_loss": value}},
            )
            for seed, value in enumerate(values)
        ]

    group = group_of([*losses("good", [0.1, 0.12, 0.14]), *losses("bad", [0.3, 0.32, 0.34])])
    summary = summarise(group, ranges=reference_ranges())
    assert list(summary.models) == ["good", "bad"]
    assert summary.models["good"].iqm.value == pytest.approx(1 - 0.12 / 0.41)
    one = summary.tasks["ega_ms", "good"]
    assert one.iqm.low <= one.iqm.value <= one.iqm.high
    assert one.normalised_iqm.low <= one.normalised_iqm.value <= one.normalised_iqm.high
    best = summary.models["good"].rank
    assert best is not None
    assert best.value == 1
    (pair,) = compare(group, ranges=reference_ranges())
    assert (pair.first, pair.probability.value) == ("bad", 0)


def test_one_seed_has_no_interval() -> None:
    summary = summarise(group_of([r for r in whole() if r.seed == 0]))
    model = summary.models["y"]
    assert math.isfinite(model.iqm.value)
    assert math.isnan(model.iqm.low)
    assert math.isnan(summary.tasks["task_a", "y"].std)
    assert model.rank is not None
    assert math.isnan(model.rank.high)


def test_a_model_of_single_runs_has_no_interval_beside_others_that_have() -> None:
    group = group_of([r for r in whole() if r.model != "y" or r.seed == 0])
    models = summarise(group).models
    ranks = {name: model.rank for name, model in models.items() if model.rank}
    assert [math.isnan(ranks[name].low) for name in "xyz"] == [False, True, False]
    assert ranks["y"].value == 2
    pairs = {(pair.first, pair.second): pair.probability for pair in compare(group)}
    assert math.isnan(pairs["x", "y"].low)
    assert math.isnan(pairs["y", "z"].high)
    assert (pairs["x", "z"].low, pairs["x", "z"].high) == (0, 0)


def test_few_runs_of_a_hard_task_win_nothing() -> None:
    def runs(model: str, easy: float, hard: float, seeds_of_hard: int) -> list[RunRecord]:
        return [
            *(record("easy", model, seed, easy + 0.001 * seed) for seed in range(7)),
            *(record("hard", model, seed, hard + 0.001 * seed) for seed in range(seeds_of_hard)),
        ]

    group = group_of([*runs("worse", 0.90, 0.30, 1), *runs("better", 0.91, 0.31, 7)])
    summary = summarise(group, ranges=reference_ranges(group.metrics.items()))
    assert list(summary.models) == ["better", "worse"]
    better, worse = summary.models.values()
    for one in (better, worse):
        assert one.iqm.value == pytest.approx(one.mean.value, abs=0.01)
        assert one.optimality_gap.value == pytest.approx(1 - one.mean.value)
    assert better.iqm.low > worse.iqm.high


def test_a_model_that_lacks_a_task_comes_last_and_is_not_ranked() -> None:
    records = [r for r in whole("abc") if (r.task, r.model) != ("task_c", "z")]
    summary = summarise(group_of(records))
    assert list(summary.models) == ["y", "x", "z"]
    z = summary.models["z"]
    assert (z.missing_tasks, z.tasks, z.rank) == (("task_c",), ("task_a", "task_b"), None)
    assert summary.ranked_tasks == ("task_a", "task_b", "task_c")
    pairs = {(pair.first, pair.second): pair for pair in compare(group_of(records))}
    assert pairs["x", "z"].tasks == ("task_a", "task_b")


def test_ranks_over_what_all_share() -> None:
    kept = [r for r in whole("abc") if (r.task, r.model) not in {("task_c", "x"), ("task_b", "z")}]
    summary = summarise(group_of([r for r in kept if r.model != "y"]))
    assert summary.ranked_tasks == ("task_a",)
    none = summarise(group_of([r for r in whole() if (r.task == "task_a") == (r.model == "x")]))
    assert none.ranked_tasks == ()
    (problem,) = [p for p in of_summaries([none]) if p.trouble is Trouble.MISSING]
    assert "no ranks in full" in problem.message


def test_a_task_of_one_model_has_no_observed_range() -> None:
    summary = summarise(group_of([*whole(), *(record("task_c", "x", s, 0.5) for s in range(3))]))
    assert not summary.ranges.has("task_c", "f1_weighted")
    assert summary.models["x"].tasks == ("task_a", "task_b")
    assert math.isnan(summary.tasks["task_c", "x"].normalised_iqm.value)
    assert summary.tasks["task_c", "x"].iqm.value == 0.5
    (problem,) = of_summaries([summary])
    assert problem.trouble is Trouble.RANGE
    assert "task_c" in problem.message


def test_one_model_alone() -> None:
    summary = summarise(group_of(whole(models="x")))
    assert math.isnan(summary.models["x"].iqm.value)
    assert summary.models["x"].rank is None
    assert compare(group_of(whole(models="x"))) == []


def test_ranges_over_several_groups() -> None:
    small = [record("task_a", "x", s, 0.05, subset="few_shot_1") for s in range(3)]
    big = [record("task_a", "x", s, 0.85) for s in range(3)]
    ranges = observed_ranges(study_of([*small, *big]).groups.values())
    pair = ("task_a", "f1_weighted")
    assert (ranges.low, ranges.high) == ({pair: 0.05}, {pair: 0.85})


def test_comparisons() -> None:
    group = random_group(runs=7)
    pairs = compare(group)
    assert len(pairs) == 6
    for pair in pairs:
        assert pair.num_pairs == 21
        assert pair.p_holm >= pair.p_value
        assert pair.probability.low <= pair.probability.value <= pair.probability.high
    clear = next(p for p in pairs if (p.first, p.second) == ("w", "z"))
    assert clear.probability.value < 0.01
    assert clear.p_holm < 0.001
    assert all(pair.is_tested for pair in pairs)
    assert of_comparisons({group.key: pairs}) == []


def test_pairs_of_too_few_runs_are_not_tested() -> None:
    few = random_group(models="xyz", tasks="a", runs=5)
    assert all(math.isnan(pair.p_value) and not pair.is_tested for pair in compare(few))
    # One pair too few to test leaves Holm's correction to the other two.
    group = random_group(models="xyz", tasks="a", runs=7)
    cells = {**group.cells, ("task_a", "z"): few.cells["task_a", "z"]}
    found = {(p.first, p.second): p for p in compare(Group(group.key, cells))}
    tested = found["x", "y"]
    assert tested.is_tested
    assert tested.p_holm == tested.p_value
    assert [pair.num_pairs for pair in found.values()] == [7, 5, 5]
    (problem,) = of_comparisons({group.key: list(found.values())})
    assert problem.trouble is Trouble.UNTESTED
    assert f"{group.key.title} (2 of 3 pairs)" in problem.message


def test_pairs_that_do_not_differ_test_nothing() -> None:
    def compared(equal: int) -> Comparison:
        ours = [record("task_a", "x", seed, 0.5 + seed / 100) for seed in range(7)]
        theirs = [
            record("task_a", "y", seed, 0.5 + seed / 100 + (seed >= equal) * (0.1 + seed / 50))
            for seed in range(7)
        ]
        (found,) = compare(group_of([*ours, *theirs]))
        return found

    # Six pairs that differ can have a p-value below 0.05, whatever is beside them; two cannot.
    assert compared(equal=1).is_tested
    few = compared(equal=5)
    assert (few.num_pairs, few.is_tested) == (7, False)
    assert few.p_value > 0.05
    # Models that are equal in every pair are alike.
    assert compared(equal=7).is_tested


def test_a_test_that_its_correction_leaves_no_chance_is_none() -> None:
    # The least p-value of seven pairs is 1 / 64: four times it is above 0.05, three times is not.
    three, four = (
        compare(random_group(models=models, tasks="a", runs=7)) for models in ("xyz", "wxyz")
    )
    assert len(three) == 3
    assert all(pair.is_tested for pair in three)
    assert len(four) == 6
    assert not any(pair.is_tested for pair in four)
    assert all(math.isfinite(pair.p_holm) for pair in four)


def test_published_numbers_and_ranges() -> None:
    numbers = published()
    assert len(numbers) == 24 + 16 + 12
    tuned = [n for n in numbers if n.table == "Table 6" and n.task == "frost_cls"]
    assert [n.value for n in tuned] == [0.96, 0.95, 0.99]
    assert all(0 < n.value < 1 for n in numbers)
    recast = {n.task for n in numbers if "recast" in n.note}
    assert recast == {"crater_multi_seg", "mars_seg_msl"}
    ranges = reference_ranges()
    assert (
        ranges.source == "the bounds of each metric (0 to 1); reference ranges, version 1 (ega_ms)"
    )
    assert not ranges.has("gcms", "log_loss")
    assert (ranges.low["mmls", "miou"], ranges.high["mmls", "miou"]) == (0, 1)
    assert ranges.high["ega_ms", "log_loss"] == 0.41
    mine = reference_ranges([("mine", "map"), ("odd", "loss"), ("ega_ms", "log_loss")], demo=True)
    assert mine.high == {("mine", "map"): 1.0}
