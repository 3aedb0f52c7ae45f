"""Figures of a report's models beside the paper's."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.collections import PolyCollection
from matplotlib.colors import to_hex

from marsbench.report.analysis import Analysis, analyse, with_paper
from marsbench.report.figures import style
from marsbench.report.figures.spec import FAMILIES, FigureSpec
from marsbench.report.study.scores import open_study
from marsbench.results.record import RunRecord
from tests.report.fake_store import SHARES, SHOTS, Fake, fake_record, make_store, paper_record

TASKS = ("frost_cls", "landmark_cls")
SEEDS = (0, 1, 10, 42, 123)


def runs(make: Any, tasks: Any, models: Any, subsets: Any) -> list[RunRecord]:
    return [
        make(Fake(task, model, subset=subset, seed=seed))
        for task in tasks
        for model in models
        for subset in subsets
        for seed in SEEDS
    ]


PAPER = runs(paper_record, (*TASKS, "domars16k"), ("resnet101", "vit_l_16"), ("full", *SHARES))
OURS = runs(fake_record, TASKS, ("resnet101", "squeezenet1_1"), ("full", *SHARES[:2], *SHOTS))


def analysis_of(folder: Path, records: list[RunRecord], **options: Any) -> Analysis:
    store = make_store(folder / "runs", records)
    return with_paper(analyse(store, open_study(store), rounds=60), PAPER, **options)


@pytest.fixture(scope="module")
def analysis(tmp_path_factory: pytest.TempPathFactory) -> Analysis:
    return analysis_of(tmp_path_factory.mktemp("beside"), OURS)


@pytest.fixture(scope="module")
def planned(analysis: Analysis) -> dict[str, FigureSpec]:
    return {figure.name: figure for figure in FAMILIES["paper"].plan(analysis)}


VIOLINS = "paper-violins-classification-frozen-cached-full"
CURVES = "paper-curves-partition-classification-frozen-cached"


def test_violins_and_curves_of_shared_runs(planned: dict[str, FigureSpec]) -> None:
    assert list(planned) == [VIOLINS, CURVES]  # few-shot sets are not among the paper's here
    titles = [figure.title for figure in planned.values()]
    assert titles == [
        "Frozen classification models, full training split",
        "Frozen classification models: shares of the training split",
    ]


def test_captions_name_source_metrics_and_settings(planned: dict[str, FigureSpec]) -> None:
    for figure in planned.values():
        assert "Purohit et al. 2025, arXiv:2510.24010" in figure.caption
        assert "F1 of class 1 of frost_cls; weighted F1 of landmark_cls" in figure.caption
        assert "online augmentation, its own settings and its own code" in figure.caption
        assert "landmark_cls: 200 test images here, 1,793 published" in figure.caption


def test_a_model_has_one_colour_and_the_papers_is_hollow(
    analysis: Analysis, planned: dict[str, FigureSpec]
) -> None:
    mine = analysis.looks(analysis.beside[0].pairing.family)
    with style.drawing():
        figure = planned[VIOLINS].draw()
    over, frost, landmark = figure.axes
    assert [over.get_title(loc="left"), over.get_xlabel()] == ["All tasks", "normalised IQM ↑"]
    assert [axes.get_xlabel() for axes in (frost, landmark)] == ["F1 of class 1 ↑", "weighted F1 ↑"]
    names = [label.get_text() for label in over.get_yticklabels()]
    assert sorted(names) == [
        *("ResNet-101", "ResNet-101 (paper)", "SqueezeNet 1.1", "ViT-L/16 (paper)"),
    ]
    place = names.index("ResNet-101")
    assert names[place + 1] == "ResNet-101 (paper)"
    # Violins from top to bottom: filled without an outline, or an outline without a filling.
    violins = [c for c in landmark.collections if isinstance(c, PolyCollection)]
    bodies = dict(zip(names, violins, strict=True))
    filled, outlined = bodies["ResNet-101"], bodies["ResNet-101 (paper)"]
    colour = mine["resnet101"]["color"].lower()
    faces, edges = np.asarray(filled.get_facecolor()), np.asarray(outlined.get_edgecolor())
    assert to_hex(faces[0][:3]) == to_hex(edges[0]) == colour
    assert len(np.asarray(outlined.get_facecolor())) == 0
    (dots,) = [line for line in landmark.lines if line.get_marker() == "o"]
    assert np.size(dots.get_xdata()) == len(names)
    ticks = [line for line in landmark.lines if line.get_marker() == "|"]
    assert len(ticks) == len(names)
    assert np.size(ticks[0].get_xdata()) == len(SEEDS)


def test_curves_have_lines_of_both(analysis: Analysis, planned: dict[str, FigureSpec]) -> None:
    with style.drawing():
        figure = planned[CURVES].draw()
    axes = next(axes for axes in figure.axes if axes.get_title(loc="left") == "All tasks")
    lines = {str(line.get_label()): line for line in axes.lines}
    mine, its = lines["resnet101"], lines["resnet101 (paper)"]
    assert mine.get_color() == its.get_color()
    assert to_hex(str(its.get_markerfacecolor())) == "#ffffff"
    assert mine.get_linestyle() == "-"
    assert its.get_linestyle() == "--"
    # The paper's lines go through all its amounts.
    assert (np.size(mine.get_xdata()), np.size(its.get_xdata())) == (3, 5)
    assert "vit_l_16 (paper)" in lines
    # A model of the paper alone has a colour of its own.
    colours = [lines[name].get_color() for name in ("resnet101", "squeezenet1_1")]
    assert lines["vit_l_16 (paper)"].get_color() not in colours


def test_a_family_with_few_shots_alone_shows_each(tmp_path: Path) -> None:
    paper = runs(paper_record, TASKS, ("resnet101",), SHOTS)
    store = make_store(tmp_path, runs(fake_record, ("frost_cls",), ("resnet101",), SHOTS[:2]))
    found = with_paper(analyse(store, open_study(store), rounds=20), paper)
    names = [figure.name for figure in FAMILIES["paper"].plan(found)]
    assert names == [
        "paper-violins-classification-frozen-cached-few_shot_5",
        "paper-violins-classification-frozen-cached-few_shot_1",
        "paper-curves-few-shot-classification-frozen-cached",
    ]


def test_nothing_comparable_gives_no_figure(tmp_path: Path) -> None:
    found = analysis_of(tmp_path, [fake_record(Fake("ega_ms", "lightgbm"))])
    assert FAMILIES["paper"].plan(found) == []
    (problem,) = found.beside_problems
    assert problem in found.problems
    assert "ega_ms not among its 3 tasks" in problem.message


def test_incomplete_models_are_starred(tmp_path: Path) -> None:
    alone = runs(fake_record, ("frost_cls",), ("squeezenet1_1",), ("full",))
    both = runs(fake_record, TASKS, ("resnet101",), ("full",))
    (figure,) = FAMILIES["paper"].plan(analysis_of(tmp_path, [*alone, *both]))
    assert "* tasks are missing" in figure.caption
    with style.drawing():
        names = [label.get_text() for label in figure.draw().axes[0].get_yticklabels()]
    assert names[-1] == "SqueezeNet 1.1 *"
