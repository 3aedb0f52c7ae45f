"""Estimates of a report's models beside the paper's."""

from pathlib import Path

import numpy as np
import pytest

from marsbench.report.statistics.paper import Beside, in_paper, summarise_beside
from marsbench.report.statistics.ranges import OBSERVED, REFERENCE
from marsbench.report.statistics.summary import summarise
from marsbench.report.study.paper import Pairing, beside_paper
from marsbench.report.study.rescoring import study_by_metric
from marsbench.report.study.scores import study_of
from marsbench.results.record import RunRecord
from tests.report.fake_store import Fake, fake_record, make_store, paper_record

TASKS = ("frost_cls", "landmark_cls")
AMOUNTS = ("partition_0.05", "partition_0.20", "full")
PAPER = [
    paper_record(Fake(task, model, subset=subset, seed=seed))
    for task in (*TASKS, "domars16k")
    for model in ("resnet101", "vit_l_16")
    for subset in (*AMOUNTS, "few_shot_1", "few_shot_5")
    for seed in (0, 1, 10)
]
OURS = [
    fake_record(Fake(task, model, subset=subset, seed=seed))
    for task, model, subset in (
        ("frost_cls", "resnet101", "full"),
        ("landmark_cls", "resnet101", "full"),
        ("landmark_cls", "squeezenet1_1", "full"),
        ("landmark_cls", "resnet101", "partition_0.05"),
    )
    for seed in (0, 1, 42)
]


def pairing_of(folder: Path, records: list[RunRecord]) -> Pairing:
    (pairing,), _ = beside_paper(make_store(folder, records), records, PAPER)
    return pairing


@pytest.fixture(scope="module")
def pairing(tmp_path_factory: pytest.TempPathFactory) -> Pairing:
    return pairing_of(tmp_path_factory.mktemp("store"), OURS)


@pytest.fixture(scope="module")
def beside(pairing: Pairing) -> Beside:
    return summarise_beside(pairing, rounds=60)


def test_both_sides_have_their_own_estimates(pairing: Pairing, beside: Beside) -> None:
    assert list(beside.by_subset) == ["full", "partition_0.05"]
    group, summary = beside.by_subset["full"]
    assert beside.headline == [beside.by_subset["full"]]
    assert set(group.models) == {
        *("resnet101", "squeezenet1_1"),
        *("resnet101 (paper)", "vit_l_16 (paper)"),
    }
    (ranges,) = beside.ranges.values()
    mine = summarise(pairing.ours["full"], ranges=ranges, rounds=60)
    assert summary.models["resnet101"].iqm == mine.models["resnet101"].iqm
    # As in a report of the paper's runs alone.
    runs = [r for r in PAPER if r.subset == "full" and r.task in TASKS]
    (alone,) = study_of(runs).groups.values()
    its = summarise(alone, ranges=ranges, rounds=60).models["vit_l_16"]
    assert summary.models[in_paper("vit_l_16")].iqm == its.iqm
    assert summary.ranked_tasks == ()


def test_pairs_follow_each_other_and_incomplete_models_are_last(beside: Beside) -> None:
    summary = beside.by_subset["full"].summary
    assert list(summary.models) == [
        "resnet101",
        "resnet101 (paper)",
        "vit_l_16 (paper)",
        "squeezenet1_1",
    ]
    values = [model.iqm.value for model in summary.models.values()]
    assert values[1] < values[2] < values[0]
    missing = {name: model.missing_tasks for name, model in summary.models.items()}
    assert missing.pop("squeezenet1_1") == ("frost_cls",)
    assert set(missing.values()) == {()}


def test_a_partition_has_the_tasks_of_both(beside: Beside) -> None:
    group, summary = beside.by_subset["partition_0.05"]
    assert group.tasks == ("landmark_cls",)
    assert summary.tasks["landmark_cls", "resnet101 (paper)"].cell.key.subset == "partition_0.05"


def test_curves_have_all_amounts_of_the_paper(beside: Beside) -> None:
    (curve,) = beside.curves  # no few-shot set is shared
    assert (curve.what, curve.tasks) == ("partition", ("landmark_cls",))
    assert [key.subset for key in curve.keys] == list(AMOUNTS)
    lines = curve.by_task["landmark_cls"]
    subsets = {model: [key.subset for key in line] for model, line in lines.items()}
    assert subsets["resnet101"] == ["partition_0.05", "full"]
    assert subsets["resnet101 (paper)"] == subsets["vit_l_16 (paper)"] == list(AMOUNTS)
    assert subsets["squeezenet1_1"] == ["full"]


def test_only_shared_tasks_and_amounts_are_summarised(beside: Beside) -> None:
    (ranges,) = beside.ranges.values()
    pairs = set(ranges.low)
    assert pairs == {("frost_cls", "f1_positive"), ("landmark_cls", "f1_weighted")}
    assert beside.metrics == dict(sorted(pairs))


def test_reference_ranges_are_shared_by_all_subsets(pairing: Pairing, beside: Beside) -> None:
    (ranges,) = beside.ranges.values()
    assert ranges.low["frost_cls", "f1_positive"] == 0
    assert ranges.high["frost_cls", "f1_positive"] == 1
    assert all(both.summary.ranges == ranges for both in beside.by_subset.values())
    again = summarise_beside(pairing, rounds=5, normalise=REFERENCE)
    assert again.ranges == beside.ranges


def test_observed_ranges_are_those_of_a_report(tmp_path: Path, pairing: Pairing) -> None:
    """The full split alone, and partitions with the full split, of the runs of both."""
    observed = summarise_beside(pairing, rounds=5, normalise=OBSERVED)
    ours = study_by_metric(make_store(tmp_path, OURS), OURS).records
    pair = ("landmark_cls", "f1_weighted")

    def ends(*subsets: str) -> tuple[float, float]:
        """Each run counts once."""
        runs = [r for r in (*ours, *PAPER) if r.task == "landmark_cls" and r.subset in subsets]
        scores = [r.score or 0.0 for r in runs]
        return min(scores), max(scores)

    ranges = {key.subset: (r.low[pair], r.high[pair]) for key, r in observed.ranges.items()}
    assert ranges == {"full": ends("full"), "partition": ends(*AMOUNTS)}
    assert ranges["full"] != ranges["partition"]
    full, part = (observed.by_subset[name].summary for name in ("full", "partition_0.05"))
    assert (full.ranges.low[pair], full.ranges.high[pair]) == ranges["full"]
    assert (part.ranges.low[pair], part.ranges.high[pair]) == ranges["partition"]
    # The full split is on the scale of partitions at the end of their curve.
    low, high = ranges["partition"]
    (curve,) = observed.curves
    assert observed.ranges_of(curve) == part.ranges
    for model, line in curve.by_task["landmark_cls"].items():
        raw = full.tasks["landmark_cls", model].iqm.value
        assert line[curve.keys[-1]].value == pytest.approx((raw - low) / (high - low))
    titles = [title for title, *_ in observed.scales]
    assert titles == [
        f"Frozen classification models, {amount} beside the paper"
        for amount in ("shares of the training split", "full training split")
    ]
    assert all(f"runs ({subset})" in observed.source for subset in ranges)


def test_equal_seeds_give_equal_estimates(pairing: Pairing, beside: Beside) -> None:
    again = summarise_beside(pairing, rounds=60)
    name = ("landmark_cls", "resnet101 (paper)")
    first, second = (b.by_subset["full"].summary.tasks[name] for b in (beside, again))
    np.testing.assert_array_equal(first.distribution, second.distribution)
