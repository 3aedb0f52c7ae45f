import csv
import dataclasses
import io
import math
import shutil
import subprocess
from pathlib import Path

import pytest

from marsbench.report.analysis import Analysis, analyse
from marsbench.report.study.cells import DOWN, UP, GroupKey
from marsbench.report.study.scores import study_of
from marsbench.report.tables.beside import compared_tables, published_table
from marsbench.report.tables.build import (
    coverage_tables,
    make_tables,
    missing_table,
    overall_table,
    ranges_table,
    scores_table,
)
from marsbench.report.tables.files import write_table
from marsbench.report.tables.forms import (
    CLOSE,
    Column,
    Link,
    Score,
    Table,
    mark,
)
from marsbench.report.tables.latex import escape_latex, latex
from marsbench.report.tables.runs import runs_table
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
        ("resnet101", Score(0.9, 0.89, 0.905, close=True), 6),
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
    assert lines[5] == f"| ResNet-101 | 0.900{CLOSE} \\[0.890, 0.905\\] | 6 |"
    assert lines[6] == "| none | \N{EN DASH} | 0 |"


def test_latex() -> None:
    text = latex(TABLE)
    for part in (r"\toprule", r"\midrule", r"\bottomrule", r"\begin{tabular}{lrr}"):
        assert part in text
    assert r"\caption{Scores of frost\_cls. 100 \% of it \& more}" in text
    score = r"\shortstack[r]{\textbf{0.912}\\{\scriptsize [0.900, 0.920]}}"
    assert rf"vit\_l\_16|x & {score} & 7 \\" in text
    score = r"\shortstack[r]{0.900$^\dagger$\\{\scriptsize [0.890, 0.905]}}"
    assert rf"ResNet-101 & {score} & 6 \\" in text
    assert r"frost\_cls $\uparrow$" in text
    assert escape_latex("a\\b{c}#$~^<>") == (
        r"a\textbackslash{}b\{c\}\#\$\textasciitilde{}\textasciicircum{}\textless{}\textgreater{}"
    )
    assert text.isascii()


LATEX = shutil.which("pdflatex")


@pytest.mark.skipif(LATEX is None, reason="no pdflatex: apt-get install texlive-latex-recommended")
def test_every_table_compiles(analysis: Analysis, tmp_path: Path) -> None:
    strange = "50 % of {A_B} & C#1 \\ ~^$x$ <y> \N{MULTIPLICATION SIGN} \N{HORIZONTAL ELLIPSIS}"
    lone = Table("strange", strange, strange, (Column(strange, UP),), ((strange,), (strange * 4,)))
    found = [TABLE, dataclasses.replace(TABLE, rows=()), lone, *make_tables(analysis).groups]
    found += [missing_table(analysis), ranges_table(analysis), *coverage_tables(analysis)]
    lines = [r"\documentclass{article}", r"\usepackage{booktabs,graphicx}", r"\extrafloats{200}"]
    lines += [r"\begin{document}", *(latex(table) for table in found), r"\end{document}"]
    (tmp_path / "all.tex").write_text("\n".join(lines))
    command = [str(LATEX), "-interaction=nonstopmode", "-halt-on-error", "all.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, errors="replace")
    assert done.returncode == 0, done.stdout[-3000:]
    assert "Overfull" not in done.stdout  # every table fits its line


def test_long_text_is_broken_into_lines_in_latex() -> None:
    name = "ensemble of own_boosted_stack + own_conv1d_net + own_efficientnet + own_gru"
    text = latex(Table("one", "t", "c", (Column("model"),), ((name,), ("vit_l_16",))))
    assert rf"\parbox[t]{{6cm}}{{\raggedright {escape_latex(name)}\strut}} \\" in text
    assert "\nViT-L/16 \\\\\n" in text


def wide(columns: int, rows: int) -> Table:
    names = [f"task number {number}" for number in range(columns)]
    scores = [[Score(0.5, 0.45, 0.56)] * columns for _ in range(rows)]
    return Table(
        "wide", "t", "c", [Column("model"), *map(Column, names)],
        [[f"m{number}", *row] for number, row in enumerate(scores)],
    )  # fmt: skip


def test_wide_tables_in_latex_are_transposed_or_have_half_widths() -> None:
    assert latex(wide(3, 12)).count(" & ") == 3 * 13
    assert r"\begin{table}" in latex(wide(2, 12))
    turned = latex(wide(12, 3))
    assert r" & m0 & m1 & m2 \\" in turned
    assert turned.count(r"\shortstack") == 36
    assert "task number 11 & " in turned
    half = latex(wide(12, 12))
    assert r"{\scriptsize $\pm$0.055}" in half
    assert "half of the width of the interval" in half
    assert "0.450" not in half
    # Further columns continue below, with the first of each row.
    parts = latex(wide(40, 40))
    assert parts.count(r"\begin{tabular}") > 1
    assert all(parts.count(f"task number {number} ") or number for number in range(40))
    assert latex(wide(2, 120)).count(", continued}") == 2


def test_a_number_may_be_shown_in_words_and_keeps_its_value() -> None:
    table = Table(
        "pairs", "t", "c", (Column("p"),), ((Score(3.2e-5, words="< 0.001"),), (Score(0.0421),))
    )
    assert table.csv() == "p\n3.2e-05\n0.0421\n"
    assert table.is_number(0)
    assert table.markdown().splitlines()[4:] == ["| \\< 0.001 |", "| 0.042 |"]
    assert r"\textless{} 0.001 \\" in latex(table)


def test_links_are_text_in_files() -> None:
    table = Table("one", "t", "c", (Column("m"),), ((Link("a_b", "model-a"),),))
    assert table.csv() == "m\na_b\n"
    assert table.markdown().splitlines()[-1] == "| a\\_b |"
    assert "\na\\_b \\\\\n" in latex(table)


def test_a_table_without_rows_says_so() -> None:
    empty = dataclasses.replace(TABLE, rows=(), nothing="No run is & none was.")
    assert "No run is & none was." in empty.markdown()
    assert r"No run is \& none was." in latex(empty)
    assert TABLE.caption not in empty.markdown()


def test_p_values_are_numbers(analysis: Analysis) -> None:
    (table,) = (t for t in make_tables(analysis).groups if t.name == f"comparisons-{FROZEN.slug}")
    found = [row[5] for row in table.rows if row[5] is not None]
    assert found
    for one in found:
        assert isinstance(one, Score)
        assert one.text == ("< 0.001" if one.value < 0.001 else f"{one.value:.3f}")


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
    assert best.anchor == f"cell-{group.cells['frost_cls', 'vit_l_16'].run_ids[0]}"


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
    table = overall_table(analysis.study.groups[FROZEN], analysis.summaries[FROZEN])
    assert table.rows[-1][0] == "squeezenet1_1"
    assert table.rows[-1][-1] == "domars16k"
    assert not any(isinstance(e, Score) and (e.best or e.close) for e in table.rows[-1])
    assert any(isinstance(e, Score) and e.best for e in table.rows[0])


def test_what_is_rounded_to_nothing_has_no_sign() -> None:
    score = Score(-0.0001, -0.0002, 0.0)
    assert (score.text, score.interval) == ("0.000", "[0.000, 0.000]")
    assert Score(-0.001).text == "-0.001"


def test_curves_are_over_the_tasks_that_every_amount_has(analysis: Analysis) -> None:
    shares, shots = (curve for curve in analysis.curves if curve.family == FROZEN)
    assert shares.tasks == shots.tasks == ("frost_cls", "landmark_cls")
    assert [key.subset for key in shares.keys][-1] == "full"
    assert [key.subset for key in shots.keys] == ["few_shot_1", "few_shot_5", "few_shot_20"]
    (table,) = (
        t
        for t in make_tables(analysis).groups
        if t.name == "curves-few-shot-classification-frozen-cached"
    )
    assert [column.name for column in table.columns] == [
        "model",
        "few_shot_1",
        "few_shot_5",
        "few_shot_20",
    ]


def test_coverage_and_provenance(analysis: Analysis) -> None:
    (coverage,) = (t for t in coverage_tables(analysis) if t.keys == [FROZEN])
    rows = {row[0]: tuple(map(str, row[1:])) for row in coverage.rows}
    assert rows["resnet101"] == ("4/4", "3/4", "4/4")
    assert rows["squeezenet1_1"] == ("0/4", "4/4", "4/4")
    gaps = {
        (row[1], row[2]): row[4] for row in missing_table(analysis).rows if "Frozen" in str(row[0])
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
    (table,) = (t for t in make_tables(analysis).groups if t.name.startswith("imbalance"))
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
    assert rows["vit_l_16"][6] == "the same run ids, other scores"
    assert rows["resnet101"][3:5] == (None, None)
    assert rows["resnet101"][6] == "only here"


def test_the_same_runs_do_not_differ() -> None:
    ours = [fake_record(Fake("frost_cls", "vit_l_16", seed=s)) for s in (0, 1, 10)]
    (table,) = compared_tables(analysis_of(ours), analysis_of(ours, seed=1), "others")
    assert table.rows[0][4:] == (None, "3 and 3", "the same runs")


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


def test_published_numbers_of_other_metrics_than_the_headline() -> None:
    def scored(model: str, seed: int, accuracy: float, way: str = "none") -> RunRecord:
        one = fake_record(Fake("landmark_cls", model, "frozen", "full", seed, way))
        return dataclasses.replace(one, metrics={"test": {**one.scores, "accuracy": accuracy}})

    kept = [scored("vit_l_16", s, 0.8) for s in (0, 1)] + [scored("resnet101", 0, 0.6)]
    more = [scored("vit_l_16", 0, 0.9, "oversample")]
    table = published_table(analysis_of(kept + more))
    found = {row[4]: row[6:9] for row in table.rows if row[0] == "Table 5"}
    assert set(found) == {"none", "oversample", "undersample", "loss_weight"}
    published, ours, model = found["none"]
    assert isinstance(published, Score)
    assert isinstance(ours, Score)
    assert published.value == 0.84
    assert ours.value == pytest.approx(0.7)
    assert model == "mean of 2 models: resnet101, vit_l_16"
    assert found["oversample"][1] == Score(0.9)
    assert found["undersample"][1:] == (None, "")


def test_published_zero_shot_numbers() -> None:
    from marsbench.config.identity import run_id

    one = fake_record(Fake("domars16k", "vit_l_16"))
    name = run_id(one.task, one.model, "zero_shot", "full", 0, one.identity)
    record = dataclasses.replace(one, mode="zero_shot", run_id=name)
    table = published_table(analysis_of([record]))
    rows = {row[5]: (row[6], row[7], row[9]) for row in table.rows if row[2] == "GPT-4o mini"}
    for metric, ours, value in (("accuracy", "accuracy", 0.36), ("f1", "f1_weighted", 0.30)):
        published, here, note = rows[metric]
        assert isinstance(published, Score)
        assert isinstance(here, Score)
        assert published.value == value
        assert here.value == pytest.approx(record.scores[ours])
        assert ("does not name the average" in str(note)) == (metric == "f1")


def test_published_zero_shot_numbers_are_lines_in_the_figures() -> None:
    from marsbench.config.identity import run_id
    from marsbench.report.analysis import matching

    one = fake_record(Fake("domars16k", "vit_l_16"))
    name = run_id(one.task, one.model, "zero_shot", "full", 0, one.identity)
    analysis = analysis_of([dataclasses.replace(one, mode="zero_shot", run_id=name)])
    (group,) = analysis.study.groups.values()
    lines = {number.model: number.value for number in matching(group, "domars16k")}
    assert lines == {"Gemini 2.0 Flash": 0.32, "GPT-4o mini": 0.30}


def test_files(tmp_path: Path) -> None:
    written = write_table(TABLE, tmp_path / "new")
    assert [path.name for path in written] == ["scores.csv", "scores.md", "scores.tex"]
    assert all(path.read_text() for path in written)
