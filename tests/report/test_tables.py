import csv
import dataclasses
import io
import math
from pathlib import Path

import pytest

from marsbench.report.analysis import Analysis, analyse
from marsbench.report.beside import compared_tables, published_table
from marsbench.report.scores import GroupKey, study_of
from marsbench.report.table_forms import CLOSE, DOWN, UP, Column, Score, Table, escape_latex, mark
from marsbench.report.tables import (
    coverage_tables,
    missing_table,
    overall_table,
    ranges_table,
    runs_table,
    scores_table,
    tables,
)
from marsbench.results.record import RunRecord
from marsbench.results.store import Store
from tests.report.fake_store import Fake, everything, fake_record

FROZEN = GroupKey("classification", "frozen", "cached")


def analysis_of(records: list[RunRecord], seed: int = 0) -> Analysis:
    return analyse(Store("nowhere"), study_of(records), rounds=100, seed=seed)


@pytest.fixture(scope="module")
def analysis() -> Analysis:
    return analysis_of(everything(seeds=(0, 1, 10, 42)))


TABLE = Table(
    "scores",
    "Scores of frost_cls",
    "100 % of it & more",
    (Column("model"), Column("frost_cls", UP), Column("runs")),
    (
        ("vit_l_16|x", Score(0.91234, 0.9, 0.92, best=True), 7),
        ("resnet", Score(0.9, 0.89, 0.905, close=True), 6),
        ("none", Score(math.nan), 0),
        ("absent", None, 0),
    ),
)


def test_csv_has_every_digit_and_the_ends_of_intervals() -> None:
    rows = list(csv.DictReader(io.StringIO(TABLE.csv())))
    assert rows[0] == {
        "model": "vit_l_16|x",
        "frost_cls": "0.91234",
        "frost_cls low": "0.9",
        "frost_cls high": "0.92",
        "runs": "7",
    }
    assert rows[2]["frost_cls"] == rows[3]["frost_cls"] == rows[3]["frost_cls low"] == ""


def test_markdown() -> None:
    lines = TABLE.markdown().splitlines()
    assert lines[2] == f"| model | frost\\_cls {UP} | runs |"
    assert lines[3] == "| --- | ---: | ---: |"
    assert lines[4] == "| vit\\_l\\_16\\|x | **0.912** \\[0.900, 0.920\\] | 7 |"
    assert lines[5] == f"| resnet | 0.900{CLOSE} \\[0.890, 0.905\\] | 6 |"
    assert lines[6] == "| none | \N{EN DASH} | 0 |"


def test_latex() -> None:
    text = TABLE.latex()
    for part in (r"\toprule", r"\midrule", r"\bottomrule", r"\begin{tabular}{lrr}"):
        assert part in text
    assert r"\caption{Scores of frost\_cls. 100 \% of it \& more}" in text
    assert r"vit\_l\_16|x & \textbf{0.912} {\scriptsize [0.900, 0.920]} & 7 \\" in text
    assert r"resnet & 0.900$^\dagger$ {\scriptsize [0.890, 0.905]} & 6 \\" in text
    assert r"frost\_cls $\uparrow$" in text
    assert escape_latex("a\\b{c}#$~^<>") == (
        r"a\textbackslash{}b\{c\}\#\$\textasciitilde{}\textasciicircum{}\textless{}\textgreater{}"
    )
    assert text.isascii()


def test_the_best_is_marked_and_what_overlaps_with_it() -> None:
    scores = [Score(0.9, 0.88, 0.92), Score(0.87, 0.85, 0.89), Score(0.5, 0.4, 0.6), None]
    marked = mark(scores, UP)
    assert [s and (s.best, s.close) for s in marked] == [
        (True, False),
        (False, True),
        (False, False),
        None,
    ]
    lowest = mark(scores, DOWN)[2]
    assert lowest is not None
    assert lowest.best
    # Nothing is the best of one, and what has no number takes no part.
    alone = mark([Score(0.5), Score(math.nan), None], UP)[0]
    assert alone is not None
    assert not alone.best


def test_scores_of_a_group(analysis: Analysis) -> None:
    group = analysis.study.groups[FROZEN]
    table = scores_table(group, analysis.summaries[FROZEN])
    assert [column.title for column in table.columns] == [
        "model",
        "domars16k \N{UPWARDS ARROW}",
        "frost_cls \N{UPWARDS ARROW}",
        "landmark_cls \N{UPWARDS ARROW}",
    ]
    rows = {str(row[0]): row for row in table.rows}
    assert rows["squeezenet1_1"][1] is None
    best = rows["vit_l_16"][2]
    assert isinstance(best, Score)
    assert best.best
    assert best.low <= best.value <= best.high
    assert best.anchor == "cell-classification-frozen-cached-full-frost_cls-vit_l_16"


def test_less_is_better_of_a_loss(analysis: Analysis) -> None:
    key = GroupKey("spectra", "frozen", "online")
    table = scores_table(analysis.study.groups[key], analysis.summaries[key])
    assert table.columns[1].better == DOWN
    found = {row[0]: row[1] for row in table.rows}
    first, second = found["lightgbm"], found["cnn_1d"]
    assert isinstance(first, Score)
    assert isinstance(second, Score)
    assert first.value < second.value
    assert first.best
    assert not second.best


def test_a_model_that_lacks_tasks_wins_nothing(analysis: Analysis) -> None:
    table = overall_table(analysis.summaries[FROZEN])
    assert table.rows[-1][0] == "squeezenet1_1"
    assert table.rows[-1][-1] == "domars16k"
    assert not any(isinstance(e, Score) and (e.best or e.close) for e in table.rows[-1])
    assert any(isinstance(e, Score) and e.best for e in table.rows[0])


def test_curves_are_over_the_tasks_that_every_amount_has(analysis: Analysis) -> None:
    shares, shots = (curve for curve in analysis.curves if curve.family == FROZEN)
    assert shares.tasks == shots.tasks == ("frost_cls", "landmark_cls")
    assert [s.key.subset for s in shares.summaries][-1] == "full"
    assert [s.key.subset for s in shots.summaries] == ["few_shot_1", "few_shot_5", "few_shot_20"]
    full = shares.summaries[-1].models["vit_l_16"]
    assert full.num_runs == 8  # of two tasks, though the group has three
    (table,) = (
        t for t in tables(analysis) if t.name == "curves-few-shot-classification-frozen-cached"
    )
    assert [column.name for column in table.columns] == [
        "model",
        "few_shot_1",
        "few_shot_5",
        "few_shot_20",
    ]


def test_coverage_and_provenance(analysis: Analysis) -> None:
    (coverage,) = (t for t in coverage_tables(analysis) if t.keys == (FROZEN,))
    rows = {row[0]: row[1:] for row in coverage.rows}
    assert rows["resnet101"] == ("4/4", "3/4", "4/4")
    assert rows["squeezenet1_1"] == ("0/4", "4/4", "4/4")
    gaps = {
        (row[1], row[2]): row[4] for row in missing_table(analysis).rows if "frozen" in str(row[0])
    }
    assert gaps["frost_cls", "resnet101"] == "42"
    assert gaps["domars16k", "squeezenet1_1"] == "0, 1, 10, 42"
    listed = {row[0] for row in runs_table(analysis).rows}
    assert listed == {record.run_id for record in everything(seeds=(0, 1, 10, 42))}


def test_ranges_are_listed(analysis: Analysis) -> None:
    rows = {row[0]: row for row in ranges_table(analysis).rows}
    assert len(rows) == 7
    low, high = rows["frost_cls"][3:]
    assert isinstance(low, Score)
    assert isinstance(high, Score)
    assert (low.value, high.value) == (0.0, 1.0)


def test_unequal_classes(analysis: Analysis) -> None:
    (table,) = (t for t in tables(analysis) if t.name.startswith("imbalance"))
    assert [row[0] for row in table.rows] == ["none", "undersample", "oversample", "loss_weight"]
    assert table.columns[4].name == "minority: swiss cheese"


def test_two_stores_side_by_side() -> None:
    models = ("vit_l_16", "resnet101")
    ours = [fake_record(Fake("frost_cls", m, seed=s)) for m in models for s in (0, 1, 10)]
    theirs = [
        dataclasses.replace(r, metrics={"val": {}, "test": {"f1_weighted": (r.score or 0) - 0.2}})
        for r in ours[:3]
    ]
    here, there = analysis_of(ours), analysis_of(theirs, seed=1)
    (table,) = compared_tables(here, there, "others")
    rows = {row[1]: row for row in table.rows}
    difference = rows["vit_l_16"][4]
    assert isinstance(difference, Score)
    assert difference.value == pytest.approx(0.2)
    assert difference.low <= 0.2 <= difference.high
    assert rows["vit_l_16"][5] == "3 and 3"
    assert rows["vit_l_16"][6] == "the same runs"
    assert rows["resnet101"][3:5] == (None, None)
    assert rows["resnet101"][6] == "only here"


def test_other_data_are_not_compared_in_silence() -> None:
    ours = [fake_record(Fake("frost_cls", "vit_l_16", seed=s)) for s in (0, 1)]
    theirs = [dataclasses.replace(r, data={**r.data, "revision": "other"}) for r in ours]
    (table,) = compared_tables(analysis_of(ours), analysis_of(theirs), "others")
    assert "not comparable" in str(table.rows[0][6])


def test_published_numbers_beside_ours() -> None:
    records = [fake_record(Fake("frost_cls", "vit_l_16", "finetune", seed=s)) for s in (0, 1)]
    table = published_table(analysis_of(records))
    clip = next(row for row in table.rows if row[2] == "CLIP ViT-B/16")
    published, ours = clip[6], clip[7]
    assert isinstance(published, Score)
    assert isinstance(ours, Score)
    assert published.value == 0.96
    assert clip[8] == "vit_l_16"
    assert {row[1] for row in table.rows} == {"frost_cls"}
    # Ours are set beside the same metric and mode alone.
    assert all(row[7] is None for row in table.rows if row[3] != "finetune")


def test_files(tmp_path: Path) -> None:
    written = TABLE.write(tmp_path / "new")
    assert [path.name for path in written] == ["scores.csv", "scores.md", "scores.tex"]
    assert all(path.read_text() for path in written)
