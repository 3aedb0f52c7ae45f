import dataclasses
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from marsbench.base.errors import StoreError
from marsbench.report.analysis import (
    Analysis,
    analyse,
    with_calibration,
    with_evaluations,
    with_paper,
)
from marsbench.report.figures import style
from marsbench.report.figures.plots import grids
from marsbench.report.figures.plots import violins as plots
from marsbench.report.figures.plots.marks import Row
from marsbench.report.figures.plots.violins import ScorePanel
from marsbench.report.figures.spec import FAMILIES, FigureSpec
from marsbench.report.study.confusions import confusion_shares
from marsbench.report.study.scores import open_study
from marsbench.report.tables.build import make_tables
from marsbench.results.record import RunRecord
from tests.report.fake_store import (
    Fake,
    everything,
    fake_evaluation,
    fake_record,
    make_store,
    paper_record,
)

PAPER = [
    paper_record(Fake("landmark_cls", model, subset=subset, seed=seed))
    for model in ("resnet101", "vit_l_16")
    for subset in ("full", "partition_0.05")
    for seed in (0, 1, 10)
]


def analysis_of(folder: Path, records: list[RunRecord]) -> Analysis:
    store = make_store(folder / "runs", [*records, *evaluations_of(records)])
    analysis = with_evaluations(analyse(store, open_study(store), rounds=50))
    return with_paper(with_calibration(analysis), PAPER)


def evaluations_of(records: list[RunRecord]) -> list[RunRecord]:
    """Evaluations of frozen runs: on another task, and under dust."""
    frozen = [
        r
        for r in records
        if (r.task, r.mode, r.subset) == ("frost_cls", "frozen", "full") and r.record_type == "run"
    ]
    elsewhere = [fake_evaluation(r, "landmark_cls", 0.5) for r in frozen]
    facts = {"corruption": "dust", "clean": 0.9}
    return elsewhere + [
        fake_evaluation(r, "frost_cls", 0.9 - 0.1 * s, severity=s, **facts)
        for r in frozen
        for s in (1, 3)
    ]


@pytest.fixture(scope="module")
def analysis(tmp_path_factory: pytest.TempPathFactory) -> Analysis:
    return analysis_of(tmp_path_factory.mktemp("study"), everything(seeds=(0, 1, 10)))


@pytest.mark.parametrize("family", FAMILIES)
def test_every_figure_is_drawn_the_same_twice(
    family: str, analysis: Analysis, tmp_path: Path
) -> None:
    planned = FAMILIES[family].plan(analysis)
    assert planned
    names = [picture.name for picture in planned]
    assert len(set(names)) == len(names)
    picture = planned[0]
    files = []
    for folder in (tmp_path / "a", tmp_path / "b"):
        with style.drawing():
            files.append(style.save(picture.draw(), folder, picture.name))
    contents = [[path.with_suffix(".pdf").read_bytes(), path.read_bytes()] for path in files]
    assert contents[0] == contents[1]
    pdf, png = contents[0]
    assert pdf.startswith(b"%PDF")
    assert b"CreationDate" not in pdf
    assert b"/FontFile2" in pdf  # TrueType, embedded
    assert png.startswith(b"\x89PNG")


def test_frozen_comes_first_and_no_violins_are_drawn_twice(analysis: Analysis) -> None:
    planned = FAMILIES["violins"].plan(analysis)
    names = [picture.name for picture in planned]
    assert names[0] == "violins-raw-classification-frozen-cached-full"
    assert "Normalised scores equal raw scores" in planned[0].caption
    for mode in ("frozen", "finetune", "scratch"):
        assert f"violins-raw-segmentation-{mode}-online-full" in names
    # Of F1 and IoU normalising changes nothing; of a loss of one task it is another scale alone.
    assert not any("normalised" in name for name in names)


def test_violins_of_observed_ranges_are_normalised_and_raw(tmp_path: Path) -> None:
    tasks, models = ("frost_cls", "landmark_cls"), ("vit_l_16", "resnet101")
    records = [fake_record(Fake(t, m, seed=s)) for t in tasks for m in models for s in (0, 1)]
    store = make_store(tmp_path, records)
    found = analyse(store, open_study(store), rounds=50, normalise="observed")
    names = [picture.name for picture in FAMILIES["violins"].plan(found)]
    key = "classification-frozen-cached-full"
    assert names == [f"violins-normalised-{key}", f"violins-raw-{key}"]
    assert "equal" not in "".join(p.caption for p in FAMILIES["violins"].plan(found))


def drawn(picture: FigureSpec) -> Figure:
    with style.drawing():
        return picture.draw()


def test_a_task_of_equal_scores_has_no_normalised_violins(tmp_path: Path) -> None:
    records = [
        fake_record(Fake(task, model, seed=seed))
        for task in ("frost_cls", "landmark_cls", "domars16k")
        for model in ("vit_l_16", "resnet101")
        for seed in (0, 1)
    ]
    records = [
        dataclasses.replace(r, metrics={"test": {"f1_weighted": 0.7}})
        if r.task == "frost_cls"
        else r
        for r in records
    ]
    store = make_store(tmp_path, records)
    found = analyse(store, open_study(store), rounds=50, normalise="observed")
    normalised, raw = FAMILIES["violins"].plan(found)
    assert "Without a range: frost_cls (all runs are equal)." in normalised.caption
    assert "Without a range" not in raw.caption
    for picture in (normalised, raw):
        axes = {a.get_title("left"): a for a in drawn(picture).axes}
        assert list(axes) == ["All tasks", "domars16k", "frost_cls", "landmark_cls"]
        assert [t.get_text() for t in axes["frost_cls"].texts] == ["all runs equal: 0.700"]
    # Normalised scores have one axis.
    assert len({a.get_xlim() for a in drawn(normalised).axes}) == 1
    (overall,) = (t for t in make_tables(found).groups if t.name.startswith("overall"))
    assert "in no column: frost_cls (all runs are equal)." in overall.caption
    summary = found.summaries[next(iter(found.summaries))]
    assert summary.ranked_tasks == summary.models["vit_l_16"].tasks == ("domars16k", "landmark_cls")


def test_runs_that_were_resumed_have_no_training_time(tmp_path: Path) -> None:
    models = ("vit_l_16", "resnet101")
    times: list[dict[str, float]] = [
        {"train": 100.0},
        {"train": 200.0},
        {"train": 1.0, "resumed_from_epoch": 4.0},
    ]
    records = [
        fake_record(Fake("frost_cls", model, seed=seed), timing=timing)
        for model in models
        for seed, timing in enumerate(times)
    ]
    found = analysis_of(tmp_path, records)
    (picture,) = FAMILIES["cost"].plan(found)
    with style.drawing():
        (axes,) = picture.draw().axes
    drawn = [line for line in axes.lines if line.get_marker() in ("o", "s")]
    assert [np.asarray(line.get_xdata()).tolist() for line in drawn] == [[150.0], [150.0]]
    assert "exclude 2 resumed runs" in picture.caption
    (problem,) = (p for p in found.problems if "resumed" in p.message)
    assert set(problem.run_ids) == {r.run_id for r in records if r.seed == 2}
    # Nothing is said where there are none.
    whole = analysis_of(tmp_path / "whole", [r for r in records if r.seed != 2])
    assert "resumed" not in FAMILIES["cost"].plan(whole)[0].caption
    assert not any("resumed" in problem.message for problem in whole.problems)


ONE = Fake("frost_cls", "vit_l_16")
PERFECT = {"val": {}, "test": {"f1_weighted": 1.0}}


@pytest.mark.parametrize(
    "records",
    [
        [fake_record(ONE)],
        [fake_record(Fake("frost_cls", "vit_l_16", seed=seed)) for seed in (0, 1)],
        [fake_record(Fake("frost_cls", m)) for m in ("vit_l_16", "resnet101")],
        [fake_record(Fake(t, "vit_l_16")) for t in ("frost_cls", "landmark_cls")],
        [fake_record(Fake("frost_cls", "vit_l_16", subset="few_shot_5"))],
        [fake_record(Fake("frost_cls", "vit_l_16", subset="partition_0.10"))],
        [fake_record(Fake("ega_ms", "lightgbm"))],
        [fake_record(ONE, timing={})],
        [fake_record(ONE, timing={"train": 0.0})],
        [
            fake_record(Fake("frost_cls", "vit_l_16", seed=seed), metrics=PERFECT)
            for seed in (0, 1, 10)
        ],
    ],
    ids=[
        "one run",
        "two seeds",
        "two models",
        "two tasks",
        "few shots",
        "a part",
        "a loss",
        "no time",
        "no seconds",
        "equal scores",
    ],
)  # fmt: skip
@pytest.mark.usefixtures("quick_figures")
def test_little_gives_pictures_too(records: list[RunRecord], tmp_path: Path) -> None:
    found = analysis_of(tmp_path, records)
    # A single run is a number, not a figure.
    assert bool(FAMILIES["violins"].plan(found)) == (len(records) > 1)
    with style.drawing():
        for picture in (p for family in FAMILIES.values() for p in family.plan(found)):
            style.save(picture.draw(), tmp_path, picture.name)


def test_one_seed_is_a_point(analysis: Analysis) -> None:
    with style.drawing():
        figure = plots.violins(
            [ScorePanel("frost_cls", "F1", {"vit": Row(0.9, runs=np.array([0.9]))})],
            ["vit"],
            style.looks(["vit"]),
        )
    (axes,) = figure.axes
    assert not axes.collections  # no shape
    assert [np.asarray(line.get_xdata()).tolist() for line in axes.lines] == [[0.9]]


def test_models_without_runs_are_said_to_be() -> None:
    panels = [ScorePanel("a", "F1", {"x": Row(0.5)}), ScorePanel("b", "F1", {}, note="no range")]
    with style.drawing():
        figure = plots.violins(panels, ["x", "y"], style.looks(["x", "y"]), starred={"y"})
    assert [text.get_text() for text in figure.axes[0].texts] == ["no runs"]
    assert [text.get_text() for text in figure.axes[1].texts] == ["no range"]
    assert [text.get_text() for text in figure.axes[0].get_yticklabels()] == ["x", "y *"]


def test_names_are_not_mathematics(tmp_path: Path) -> None:
    strange = ["a$b_c$d", "$\\frac{$", "Ünïcode \N{GREEK SMALL LETTER ALPHA}"]
    with style.drawing():
        figure = grids.confusion(np.eye(3), strange, "$x")
        style.save(figure, tmp_path, "strange")


def test_users_settings_change_nothing_and_are_left_alone() -> None:
    import matplotlib as mpl

    with mpl.rc_context({"font.size": 40}):
        with style.drawing():
            assert mpl.rcParams["font.size"] < 10
        assert mpl.rcParams["font.size"] == 40


def test_looks_tell_many_models_apart() -> None:
    found = style.looks(f"model {number}" for number in range(40))
    assert len({(look["color"], look["marker"]) for look in found.values()}) == 40


def test_confusion_matrices_are_means_over_seeds(tmp_path: Path) -> None:
    import pandas as pd

    records = [fake_record(Fake("frost_cls", "vit_l_16", seed=seed)) for seed in (0, 1)]
    store = make_store(tmp_path, records)
    answers = ([0, 0, 0, 1], [0, 1, 1, 1])  # to targets 0, 0, 1, 1
    for record, given in zip(records, answers, strict=True):
        frame = pd.DataFrame(
            {
                "split": ["test"] * 4 + ["val"],
                "target": [0, 0, 1, 1, 1],
                "scores": list(np.eye(2)[[*given, 0]]),
            }
        )
        frame.to_parquet(store.folder(record.run_id) / "predictions.parquet")
    shares, classes = confusion_shares(store, records)
    np.testing.assert_allclose(shares, [[0.75, 0.25], [0.25, 0.75]])
    assert classes == ["non_frost", "frost"]


def test_masks_have_confusion_matrices_too(tmp_path: Path) -> None:
    records = [fake_record(Fake("mmls", "unet"))]
    shares, _ = confusion_shares(make_store(tmp_path, records), records)
    np.testing.assert_allclose(shares.sum(axis=1), 1)


@pytest.mark.parametrize("damage", ["absent", "garbage", "columns"])
def test_predictions_that_cannot_be_read(damage: str, tmp_path: Path) -> None:
    import pandas as pd

    records = [fake_record(ONE)]
    store = make_store(tmp_path, records)
    path = store.folder(records[0].run_id) / "predictions.parquet"
    if damage == "absent":
        path.unlink()
    elif damage == "garbage":
        path.write_bytes(b"no parquet")
    else:
        pd.DataFrame({"split": ["test"]}).to_parquet(path)
    with pytest.raises(StoreError, match="predictions"):
        confusion_shares(store, records)
