"""Evaluations in reports: robustness, shift between tasks, temperature scaling."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from marsbench.base.errors import StoreError
from marsbench.config.identity import run_id
from marsbench.report.analysis import Analysis, analyse, with_evaluations
from marsbench.report.build import write_report
from marsbench.report.figures import style
from marsbench.report.figures.evaluations import robustness, shifts
from marsbench.report.study.scores import open_study
from marsbench.report.tables.evaluations import evaluation_tables
from marsbench.report.tables.forms import Score, Table
from marsbench.results.record import RunRecord
from marsbench.results.store import Store
from tests.report.fake_store import Fake, fake_evaluation, fake_record, make_store

SEEDS = (0, 1, 10)
SEVERITIES = (1, 3, 5)


def parents(*tasks: str, models: tuple[str, ...] = ("vit_l_16", "resnet101")) -> list[RunRecord]:
    return [fake_record(Fake(t, m, seed=s)) for t in tasks for m in models for s in SEEDS]


def own(record: RunRecord) -> float:
    return record.scores[record.headline]


def damaged(record: RunRecord, corruption: str, severity: int, factor: float) -> RunRecord:
    facts = {"corruption": corruption, "severity": severity, "clean": own(record)}
    return fake_evaluation(record, record.task, own(record) * factor, **facts)


def analysed(folder: Path, records: list[RunRecord]) -> Analysis:
    store = make_store(folder, records)
    return with_evaluations(analyse(store, open_study(store), rounds=50))


def column(table: Table, name: str) -> list[Any]:
    place = [c.name for c in table.columns].index(name)
    return [row[place] for row in table.rows]


def test_robustness(tmp_path: Path) -> None:
    runs = parents("landmark_cls")
    # A tenth is lost per severity of dust, and nothing by noise; one evaluation is missing.
    losses = {"dust": 0.1, "noise": 0.0}
    records = [
        damaged(run, name, severity, 1 - loss * severity)
        for run in runs
        for name, loss in losses.items()
        for severity in SEVERITIES
        if (run.model, run.seed, name, severity) != ("resnet101", 0, "noise", 5)
    ]
    analysis = analysed(tmp_path, [*runs, *records])
    scores, drops = evaluation_tables(analysis)
    assert [c.name for c in drops.columns] == ["model", "dust", "noise"]
    for model, dust, noise in drops.rows:
        assert isinstance(dust, Score)
        assert isinstance(noise, Score)
        assert dust.value == pytest.approx(0.3), model
        assert noise.value == pytest.approx(0), model
    for model, clean, mean, drop in zip(
        column(scores, "model"),
        column(scores, "without corruption"),
        column(scores, "all corruptions"),
        column(scores, "relative drop"),
        strict=True,
    ):
        seeds = [run for run in runs if run.model == model]
        # Three seeds: the interquartile mean leaves none out.
        assert clean.value == pytest.approx(np.mean([own(run) for run in seeds]))
        complete = [run for run in seeds if (model, run.seed) != ("resnet101", 0)]
        assert mean.value == pytest.approx(np.mean([0.85 * own(run) for run in complete]))
        assert drop.value == pytest.approx(0.15)
    curves, pictures = robustness(analysis)
    assert curves.name.startswith("robustness-landmark_cls-")
    assert pictures.name == "corruptions-landmark_cls"
    with style.drawing():
        drawn = curves.draw()
        images = pictures.draw()
    assert [axes.get_title("left") for axes in drawn.axes] == ["dust", "noise"]
    line = np.asarray(drawn.axes[0].lines[0].get_ydata(), dtype=np.float64)
    np.testing.assert_allclose(line / line[0], [1, 0.9, 0.7, 0.5])
    assert len(images.axes[0].images) == 2 * (1 + len(SEVERITIES))


def test_means_are_over_common_severities(tmp_path: Path) -> None:
    runs = parents("landmark_cls", models=("vit_l_16",))
    losses = {("dust", 1): 0.1, ("dust", 3): 0.2, ("jpeg", 3): 0.4, ("jpeg", 5): 0.5}
    records = [damaged(run, *point, 1 - loss) for run in runs for point, loss in losses.items()]
    scores, drops = evaluation_tables(analysed(tmp_path, [*runs, *records]))
    assert "mean over the severities 3," in drops.caption
    assert [column(drops, name)[0].value for name in ("dust", "jpeg")] == pytest.approx([0.2, 0.4])
    assert column(scores, "relative drop")[0].value == pytest.approx(0.3)


def test_losses_drop_upwards(tmp_path: Path) -> None:
    runs = parents("ega_ms", models=("lightgbm",))
    records = [damaged(run, "baseline_drift", s, 1 + 0.1 * s) for run in runs for s in SEVERITIES]
    analysis = analysed(tmp_path, [*runs, *records])
    _, drops = evaluation_tables(analysis)
    (entry,) = column(drops, "baseline drift")
    assert entry.value == pytest.approx(0.3)
    # Pictures are of images.
    assert len(list(robustness(analysis))) == 1


def test_shift(tmp_path: Path) -> None:
    runs = parents("frost_cls", "landmark_cls")
    ceiling = {"run_id": "x", "score": 0.9}
    records = [
        fake_evaluation(run, "domars16k", 0.5 * own(run), ceiling=ceiling, ignored={"ridge": 7})
        for run in runs
        if run.task == "landmark_cls"
    ]
    records += [
        fake_evaluation(run, "landmark_cls", 0.2) for run in runs if run.task == "frost_cls"
    ]
    # On the run's own test split there is no shift.
    records += [fake_evaluation(runs[0], runs[0].task, 0.1)]
    analysis = analysed(tmp_path, [*runs, *records])
    (table,) = evaluation_tables(analysis)
    assert len(table.rows) == 4
    for row in table.rows:
        named = dict(zip([c.name for c in table.columns], row, strict=True))
        trained = [r for r in runs if (r.task, r.model) == (named["trained on"], named["model"])]
        mean = np.mean([own(run) for run in trained])
        assert isinstance(named["gap"], Score)
        assert isinstance(named["in domain"], Score)
        assert named["in domain"].value == pytest.approx(mean)
        if named["tested on"] == "domars16k":
            assert named["gap"].value == pytest.approx(mean / 2)
            assert isinstance(named["ceiling"], Score)
            assert named["ceiling"].value == pytest.approx(0.9)
            assert named["not scored"] == 7
        else:
            assert named["gap"].value == pytest.approx(mean - 0.2)
            assert named["ceiling"] is None
    figures = list(shifts(analysis))
    assert [f.name.partition("-classification")[0] for f in figures] == [
        "shift-resnet101",
        "shift-vit_l_16",
    ]
    with style.drawing():
        axes = figures[1].draw().axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["frost_cls", "landmark_cls"]
    tested = [label.get_text() for label in axes.get_xticklabels()]
    assert tested == ["domars16k", "frost_cls", "landmark_cls"]
    texts = [text.get_text() for text in axes.texts]
    frost, landmark = (
        np.mean([own(r) for r in runs if (r.task, r.model) == (task, "vit_l_16")])
        for task in ("frost_cls", "landmark_cls")
    )
    expected: list[Any] = [math.nan, frost, 0.2, landmark / 2, math.nan, landmark]
    assert texts == ["\N{EN DASH}" if math.isnan(float(v)) else f"{v:.3f}" for v in expected]


def test_gaps_of_losses_are_their_rise(tmp_path: Path) -> None:
    runs = parents("ega_ms", models=("lightgbm",))
    ceiling = {"run_id": "x", "score": 0.05}
    records = [
        fake_evaluation(r, r.task, own(r) + 0.3, test_on="instrument:sam_testbed", ceiling=ceiling)
        for r in runs
    ]
    (table,) = evaluation_tables(analysed(tmp_path, [*runs, *records]))
    (gap,), (below,) = column(table, "gap"), column(table, "below the ceiling")
    mean = np.mean([own(r) for r in runs])
    assert gap.value == pytest.approx(0.3)
    assert below.value == pytest.approx(mean + 0.3 - 0.05)


def test_other_classes_and_data_are_not_mixed(tmp_path: Path) -> None:
    runs = parents("landmark_cls", models=("vit_l_16",))

    def chosen(record: RunRecord, **choices: str) -> RunRecord:
        identity = {**record.identity, **choices}
        given = (record.task, record.model, record.mode, record.subset, record.seed)
        return replace(record, run_id=run_id(*given, identity), identity=identity)

    def matched(run: RunRecord, classes: str, score: float, **facts: Any) -> RunRecord:
        record = fake_evaluation(run, facts.pop("task", "domars16k"), score, **facts)
        return chosen(record, classes=classes)

    shipped = [matched(run, "a", 0.5) for run in runs]
    # The same file, changed since, and another file.
    other = matched(runs[-1], "b", 0.9)
    named = [matched(run, "c", 0.7, class_map="maps/mine.yaml") for run in runs]
    dust = {"corruption": "dust", "severity": 1}
    mine = [
        matched(run, "d", 0.1, task=run.task, class_map="own.yaml", clean=0.2, **dust)
        for run in runs
    ]
    plain = [chosen(damaged(run, "dust", 1, 0.5), reading="luminance") for run in runs]
    # Read no image, so their identity has no reading of its bands.
    calibrated = fake_evaluation(runs[0], runs[0].task, own(runs[0]), temperature=1.5)
    records = [*shipped, other, *named, *mine, *plain, calibrated]
    analysis = analysed(tmp_path, [*runs, *records])
    tables = {table.name: table for table in evaluation_tables(analysis)}
    (shift,) = [table for name, table in tables.items() if name.startswith("shift-")]
    scores = [entry.value for entry in column(shift, "score")]
    assert dict(zip(column(shift, "tested on"), scores, strict=True)) == pytest.approx(
        {"domars16k": 0.5, "domars16k class_map=mine.yaml": 0.7}
    )
    drops = [t for name, t in tables.items() if name.startswith("robustness-")]
    assert [column(t, "relative drop")[0].value for t in drops] == pytest.approx([0.5, 0.5])
    assert [column(t, "all corruptions")[0].value for t in drops] == pytest.approx(
        [np.mean([own(run) for run in runs]) / 2, 0.1]
    )
    (problem,) = analysis.evaluation_problems
    assert problem.run_ids == (other.run_id,)


def test_temperature(tmp_path: Path) -> None:
    runs = parents("frost_cls", models=("vit_l_16",))
    records = [
        fake_evaluation(
            run,
            run.task,
            own(run),
            temperature=1.5,
            before={"ece": 0.2, "brier": 0.3, "log_loss": "odd"},
            after={"ece": 0.1, "brier": 0.25},
        )
        for run in runs
    ]
    (table,) = evaluation_tables(analysed(tmp_path, [*runs, *records]))
    ((task, model, *entries),) = table.rows
    assert (task, model) == ("frost_cls", "vit_l_16")
    values = [entry.value if isinstance(entry, Score) else math.nan for entry in entries]
    assert values == pytest.approx([1.5, 0.2, 0.1, 0.3, 0.25, math.nan, math.nan], nan_ok=True)


def test_evaluations_that_do_not_belong(tmp_path: Path) -> None:
    runs = parents("frost_cls")
    replaced = fake_evaluation(
        runs[0], "domars16k", 0.5, parent_created="2020-01-01T00:00:00+00:00"
    )
    orphan = fake_evaluation(parents("landmark_cls")[0], "domars16k", 0.5)
    analysis = analysed(tmp_path, [*runs, replaced, orphan])
    assert list(evaluation_tables(analysis)) == []
    (problem,) = analysis.evaluation_problems
    assert problem.run_ids == (replaced.run_id,)
    assert "their runs were replaced since" in problem.message


def test_page_with_and_without_evaluations(tmp_path: Path) -> None:
    runs = parents("frost_cls", "landmark_cls")
    store = make_store(tmp_path / "without", runs)
    plain = write_report(store.root, tmp_path / "a", rounds=20, only=("tables", "shift"))
    assert "Beyond the test split" not in plain.index.read_text()
    records = [fake_evaluation(run, "domars16k", 0.5) for run in runs]
    store = make_store(tmp_path / "with", [*runs, *records])
    report = write_report(store.root, tmp_path / "b", rounds=20, only=("tables", "shift"))
    page = report.index.read_text()
    assert '<a href="#evaluations">Beyond the test split</a>' in page
    assert {p.name for p in report.figures} >= {
        "shift-vit_l_16-classification-frozen-cached-full.png"
    }
    # Evaluations are no runs of the report.
    assert report.num_runs == len(runs)


def test_a_store_of_evaluations_alone(tmp_path: Path) -> None:
    make_store(tmp_path, [fake_evaluation(parents("frost_cls")[0], "domars16k", 0.5)])
    with pytest.raises(StoreError, match="has no finished run"):
        open_study(Store(tmp_path))
