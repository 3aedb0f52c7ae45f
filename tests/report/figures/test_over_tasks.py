"""Curves, profiles and ranks: what is drawn, and what is said of it."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from marsbench.report.analysis import Analysis, analyse
from marsbench.report.figures import style
from marsbench.report.figures.over_tasks import alike_groups
from marsbench.report.figures.plots import scores as plots
from marsbench.report.figures.plots.marks import Row
from marsbench.report.figures.plots.scores import CurvePanel
from marsbench.report.figures.spec import FAMILIES
from marsbench.report.statistics.summary import Comparison, Estimate
from marsbench.report.study.scores import study_of
from marsbench.results.record import RunRecord
from marsbench.results.store import Store
from tests.report.fake_store import CLASSIFIERS, Fake, fake_record


def analysis_of(records: Sequence[RunRecord]) -> Analysis:
    return analyse(Store(Path("nowhere")), study_of(records), rounds=50)


def runs(models: Sequence[str], seeds: int, tasks: Sequence[str]) -> list[RunRecord]:
    return [
        fake_record(Fake(task, model, seed=seed))
        for task in tasks
        for model in models
        for seed in range(seeds)
    ]


@pytest.mark.parametrize("count", [1, 2, 12, 40])
@pytest.mark.parametrize("places", [(0.01, 0.20, 0.25, 1.0), (1, 15, 20), (0.5,)])
def test_points_stay_near_their_amount(count: int, places: tuple[float, ...]) -> None:
    models = [f"model {number:02}" for number in range(count)]
    line = {place: Row(0.5, 0.4, 0.6) for place in places}
    with style.drawing():
        figure = plots.curves(
            [CurvePanel("t", dict.fromkeys(models, line))],
            {place: f"{place:g}" for place in places},
            "amount",
            "score",
            style.looks(models),
        )
    (axes,) = figure.axes
    drawn = [line for line in axes.lines if line.get_label() in models]
    at = np.log([np.asarray(line.get_xdata(), dtype=np.float64) for line in drawn])
    assert at.shape == (count, len(places))
    assert np.allclose(at.mean(axis=0), np.log(places))
    spread = np.ptp(at, axis=0)
    if len(places) > 1:
        assert (spread <= np.diff(np.log(places)).min() / 3 + 1e-12).all()
    # Few models stand apart, whatever room there is.
    if count == 2:
        assert np.allclose(np.exp(spread), 1.035)


def compared(first: str, second: str, p: float, is_tested: bool = True) -> Comparison:
    return Comparison(first, second, ("t",), Estimate(0.5, 0.4, 0.6), 7, p, p, is_tested)


def test_bars_join_models_that_tests_do_not_tell_apart() -> None:
    found = [
        compared("a", "b", 0.5),
        compared("a", "c", 0.01),
        compared("b", "c", 0.2),
        compared("a", "d", 0.001),
        compared("b", "d", 0.001),
        compared("c", "d", 0.06),
    ]
    assert alike_groups(["a", "b", "c", "d"], found) == [["a", "b"], ["b", "c"], ["c", "d"]]
    assert alike_groups(["a", "b"], [compared("a", "b", 0.0)]) == []
    # Nothing is known of a pair without a test, or of one that could not have differed.
    for lost in (math.nan, 1.0):
        untested = compared("b", "c", lost, is_tested=False)
        assert alike_groups(["a", "b", "c"], [found[0], untested, compared("a", "c", 1.0)]) == [
            ["a", "b"]
        ]
    assert alike_groups(["a", "b", "c"], found[:1]) == [["a", "b"]]


def ranks_of(records: list[RunRecord]) -> tuple[str, Any]:
    (picture,) = FAMILIES["ranks"].plan(analysis_of(records))
    with style.drawing():
        return picture.caption, picture.draw()


def bars(figure: Any) -> int:
    """How many lines stand right of the axes: those that join models."""
    (axes,) = figure.axes
    return sum(not line.get_clip_on() for line in axes.lines)


def test_no_bar_where_nothing_was_tested() -> None:
    two = ("vit_l_16", "swin_v2_b")
    caption, figure = ranks_of(runs(two, 2, ("frost_cls", "mmls")[:1]))
    assert "No pair of models has enough runs" in caption
    assert bars(figure) == 0
    same = [
        fake_record(Fake("frost_cls", model, seed=seed), metrics={"test": {"f1_weighted": 0.5}})
        for model in two
        for seed in range(7)
    ]
    caption, figure = ranks_of(same)
    assert "Bars at the right join models without a significant difference" in caption
    assert "too few" not in caption
    assert bars(figure) == 1
    few = [
        r for r in runs(CLASSIFIERS[:3], 8, ("frost_cls",)) if r.model != "resnet101" or not r.seed
    ]
    caption, _ = ranks_of(few)
    assert "2 of 3 pairs have too few runs for the test; not joined" in caption


def test_another_model_moves_no_band() -> None:
    def band(models: Sequence[str]) -> np.ndarray[Any, np.dtype[np.float64]]:
        records = runs(models, 4, ("frost_cls", "landmark_cls"))
        (picture,) = FAMILIES["profiles"].plan(analysis_of(records))
        with style.drawing():
            (axes,) = picture.draw().axes
        names = [line.get_label() for line in axes.lines]
        shape = axes.collections[names.index("ResNet-101")]
        return np.asarray(shape.get_paths()[0].vertices)

    assert np.array_equal(band(CLASSIFIERS[1:3]), band(CLASSIFIERS[:4]))


def test_captions_say_what_normalises() -> None:
    records = runs(CLASSIFIERS[:2], 2, ("frost_cls",))
    (picture,) = FAMILIES["profiles"].plan(analysis_of(records))
    words = "normalised by the bounds of each metric (0 to 1), which leaves them as they are."
    assert words in picture.caption


def test_a_curve_over_some_tasks_says_so() -> None:
    records = [
        fake_record(Fake(task, model, subset=subset, seed=seed))
        for task, subsets in {
            "frost_cls": ("partition_0.01", "partition_0.10", "full"),
            "landmark_cls": ("partition_0.01", "partition_0.10", "full"),
            "domars16k": ("partition_0.10", "full"),
        }.items()
        for subset in subsets
        for model in CLASSIFIERS[:2]
        for seed in (0, 1)
    ]
    (picture,) = FAMILIES["curves"].plan(analysis_of(records))
    with style.drawing():
        figure = picture.draw()
    titles = [axes.get_title("left") for axes in figure.axes if axes.get_visible()]
    assert sorted(titles) == ["2 of 3 tasks", "domars16k", "frost_cls", "landmark_cls"]
    assert "The first panel is over frost_cls, landmark_cls" in picture.caption
    assert [key.subset for key in picture.keys] == ["partition_0.01", "partition_0.10", "full"]
