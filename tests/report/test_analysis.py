"""What normalises the scores of which groups, and which curves can be drawn."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from marsbench.report.analysis import Analysis, analyse
from marsbench.report.statistics.ranges import OBSERVED, REFERENCE, Ranges, family_ranges
from marsbench.report.study.cells import GroupKey, Trouble
from marsbench.report.study.scores import study_of
from marsbench.results.record import RunRecord
from marsbench.results.store import Store
from tests.report.fake_store import Fake, fake_record

SEGMENTATION = GroupKey("segmentation", "frozen", "online")
CLASSIFICATION = GroupKey("classification", "frozen", "cached")


def analysis_of(records: Iterable[RunRecord], **choices: Any) -> Analysis:
    return analyse(Store(Path("nowhere")), study_of(records), **{"rounds": 20, **choices})


def runs(
    task: str, *models: str, seeds: int = 2, mode: str = "frozen", subset: str = "full"
) -> list[RunRecord]:
    return [
        fake_record(Fake(task, model, mode, subset, seed))
        for model in models
        for seed in range(seeds)
    ]


def scored(record: RunRecord, metric: str, value: float, **fields: Any) -> RunRecord:
    return replace(
        record,
        run_id=f"{record.run_id}{metric}",
        headline=metric,
        metrics={"val": {}, "test": {metric: value}},
        **fields,
    )


def iqms(analysis: Analysis, key: GroupKey) -> dict[str, float]:
    return {name: model.iqm.value for name, model in analysis.summaries[key].models.items()}


@pytest.mark.parametrize("normalise", [REFERENCE, OBSERVED])
@pytest.mark.parametrize("other", [{"protocol": "upstream"}, {"subset": "partition_0.10"}])
def test_another_metric_of_a_task_moves_no_normalised_score(
    normalise: str, other: dict[str, str]
) -> None:
    own = runs("mmls", "unet", "segformer")
    more = [scored(record, "iou_per_image", 0.01, **other) for record in own]
    alone = analysis_of(own, normalise=normalise)
    both = analysis_of([*own, *more], normalise=normalise)
    assert iqms(alone, SEGMENTATION) == iqms(both, SEGMENTATION)


def ends(ranges: Ranges) -> tuple[float, float]:
    pair = ("frost_cls", "f1_weighted")
    return ranges.low[pair], ranges.high[pair]


def of_all(*groups: list[RunRecord]) -> tuple[float, float]:
    scores = [record.score or 0 for records in groups for record in records]
    return min(scores), max(scores)


def test_observed_ranges_are_those_of_the_figures_of_the_paper() -> None:
    """The full split alone, partitions with the full split, few-shot subsets alone."""
    models = ("vit_l_16", "resnet101")
    frozen = runs("frost_cls", *models)
    scratch = runs("frost_cls", *models, mode="scratch")
    few, some, half = (
        runs("frost_cls", *models, subset=subset)
        for subset in ("few_shot_1", "partition_0.05", "partition_0.50")
    )
    alone = analysis_of(frozen, normalise=OBSERVED)
    whole = analysis_of([*frozen, *scratch, *few, *some, *half], normalise=OBSERVED)
    assert iqms(alone, CLASSIFICATION) == iqms(whole, CLASSIFICATION)
    assert {key.subset: ends(r) for key, r in whole.ranges.items() if key.mode == "frozen"} == {
        "full": of_all(frozen),
        "partition": of_all(frozen, some, half),
        "few_shot": of_all(few),
    }
    titles = {title for title, *_ in whole.scales}
    assert titles == {
        "Classification models trained from scratch",
        *(
            f"Frozen classification models, {amount}"
            for amount in ("full training split", "shares of the training split", "few shots")
        ),
    }
    assert all(pairs == {("frost_cls", "f1_weighted")} for *_, pairs in whole.scales)
    # The full split is on the scale of partitions at the end of their curve.
    partitions = next(curve for curve in whole.curves if curve.what == "partition")
    low, high = of_all(frozen, some, half)
    for model, line in partitions.by_task["frost_cls"].items():
        raw = whole.summaries[CLASSIFICATION].tasks["frost_cls", model].iqm.value
        assert line[CLASSIFICATION].value == pytest.approx((raw - low) / (high - low))
    # So are two stores that are compared.
    others = study_of([*some, *scratch]).groups.values()
    shared = analysis_of([*frozen, *half], normalise=OBSERVED, others=others)
    assert {key.subset: ends(r) for key, r in shared.ranges.items()} == {
        "full": of_all(frozen),
        "partition": of_all(frozen, some, half),
    }


def test_the_ranges_say_where_they_are_from() -> None:
    records = [
        *runs("frost_cls", "vit_l_16", "resnet101", seeds=3),
        *runs("ega_ms", "lightgbm", "cnn_1d"),
        *(replace(r, task="gcms") for r in runs("ega_ms", "lightgbm", "cnn_1d", seeds=1)),
    ]
    analysis = analysis_of(records)
    spectra = next(key for key in analysis.ranges if key.category == "spectra")
    seen = "the lowest and highest score of each task among its"
    assert (
        analysis.ranges[spectra].source
        == f"reference ranges, version 1 (ega_ms); {seen} 2 runs (gcms)"
    )
    bounds = "Scores of frozen classification models are normalised by the bounds of each metric"
    assert f"{bounds} (0 to 1)." in analysis.normalisation
    observed = family_ranges(analysis.study.groups.values(), OBSERVED)
    assert observed[CLASSIFICATION].source == f"{seen} 6 runs"
    assert observed[spectra].source == f"{seen} 2 to 4 runs"


def test_ranges_that_change_nothing() -> None:
    up, loss = ("a", "f1_weighted"), ("b", "log_loss")
    whole = Ranges("x", {up: 0.0, loss: 0.0}, {up: 1.0, loss: 1.0})
    assert whole.is_raw([up])
    assert whole.words([up]) == "x, which leaves them as they are"
    assert not whole.is_raw([up, loss])
    assert whole.words([up, loss]) == "x"
    assert not whole.is_raw([("a", "accuracy")])
    assert not Ranges("x", {up: 0.1}, {up: 1.0}).is_raw([up])


def curve_of(records: Iterable[RunRecord]) -> tuple[Analysis, Any]:
    analysis = analysis_of(records)
    (curve,) = analysis.curves
    return analysis, curve


def partitions(*tasks: str, subsets: Iterable[str]) -> list[RunRecord]:
    return [
        record
        for task in tasks
        for subset in subsets
        for record in runs(task, "vit_l_16", "resnet101", subset=subset)
    ]


SOME = ("full", "partition_0.01", "partition_0.10")


def test_one_stray_run_removes_no_curve() -> None:
    usual = partitions("frost_cls", "landmark_cls", subsets=SOME)
    before, expected = curve_of(usual)
    assert not any(problem.trouble is Trouble.MISSING for problem in before.problems)
    stray = runs("domars16k", "vit_l_16", seeds=1, subset="partition_0.02")
    analysis, curve = curve_of([*usual, *stray])
    assert curve.tasks == expected.tasks == ("frost_cls", "landmark_cls")
    assert [key.subset for key in curve.keys] == ["partition_0.01", "partition_0.10", "full"]
    assert set(curve.by_task) == set(curve.tasks)
    (problem,) = [p for p in analysis.problems if "curve" in p.message]
    assert problem.trouble is Trouble.MISSING
    assert "Left out: domars16k, partition_0.02." in problem.message
    assert "No curve for a single amount of data: domars16k" in problem.message


def test_tasks_without_a_common_amount_have_curves_of_their_own() -> None:
    records = [
        *partitions("frost_cls", subsets=("few_shot_1", "few_shot_5", "few_shot_20")),
        *partitions("landmark_cls", subsets=("few_shot_2", "few_shot_10")),
    ]
    analysis, curve = curve_of(records)
    assert curve.tasks == ("frost_cls",)
    assert {task: len(lines["vit_l_16"]) for task, lines in curve.by_task.items()} == {
        "frost_cls": 3,
        "landmark_cls": 2,
    }
    assert any(
        "Left out: landmark_cls, few_shot_2, few_shot_10" in p.message for p in analysis.problems
    )


def test_a_curve_holds_the_numbers_of_its_groups() -> None:
    """And where it is over fewer tasks than a group has, those of these tasks."""
    records = partitions("frost_cls", "landmark_cls", subsets=SOME)
    analysis, curve = curve_of(records)
    for key in curve.keys:
        summary = analysis.summaries[key]
        for model, line in curve.over_tasks.items():
            assert line[key] == summary.models[model].iqm
            assert curve.by_task["frost_cls"][model][key] == (
                summary.tasks["frost_cls", model].normalised_iqm
            )
    more, wider = curve_of([*records, *runs("domars16k", "vit_l_16", "resnet101")])
    full = curve.keys[-1]
    for model, line in wider.over_tasks.items():
        assert line[full].value == pytest.approx(curve.over_tasks[model][full].value)
        assert line[full] != more.summaries[full].models[model].iqm


def test_a_curve_over_one_task_is_that_of_the_task() -> None:
    records = [
        record
        for subset in ("partition_0.10", "full")
        for record in runs("frost_cls", "vit_l_16", seeds=6, subset=subset)
    ]
    # Drawn beside another task, and before it, runs are drawn otherwise than alone.
    beside = runs("domars16k", "vit_l_16", seeds=6)
    analysis, curve = curve_of([*records, *beside])
    assert curve.tasks == ("frost_cls",)
    assert curve.over_tasks == curve.by_task["frost_cls"]
    assert analysis.summaries[curve.keys[-1]].models["vit_l_16"].tasks == (
        "domars16k",
        "frost_cls",
    )


def test_a_model_that_lacks_a_task_lacks_the_point() -> None:
    records = partitions("frost_cls", "landmark_cls", subsets=SOME)
    gone = ("landmark_cls", "resnet101", "partition_0.01")
    _, curve = curve_of([r for r in records if (r.task, r.model, r.subset) != gone])
    assert [key.subset for key in curve.over_tasks["resnet101"]] == ["partition_0.10", "full"]
    assert len(curve.over_tasks["vit_l_16"]) == len(curve.by_task["frost_cls"]["resnet101"]) == 3


def test_problems_of_a_family_are_one() -> None:
    records = [
        record
        for subset in ("full", "partition_0.10")
        for record in runs("frost_cls", "vit_l_16", "resnet101", subset=subset)
    ]
    alone = runs("mmls", "unet", seeds=1)
    problems = analysis_of([*alone, *records], normalise=OBSERVED).problems
    assert {Trouble.UNTESTED, Trouble.RANGE, Trouble.ONE_SEED} <= {p.trouble for p in problems}
    (untested,) = [p for p in problems if p.trouble is Trouble.UNTESTED]
    # Of subsets, which are points of curves, no pairs are shown.
    assert untested.message.endswith(
        ": Frozen classification models, full training split (1 of 1 pairs)."
    )
    places = [list(Trouble).index(problem.trouble) for problem in problems]
    assert places == sorted(places)
