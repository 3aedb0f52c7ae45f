"""Tables of a report's models beside the paper's."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from marsbench.report.analysis import Analysis, analyse, with_paper
from marsbench.report.statistics.aggregate import iqm, percentile_interval
from marsbench.report.study.scores import open_study
from marsbench.report.tables.build import ranges_table
from marsbench.report.tables.forms import Score, Table
from marsbench.report.tables.paper import paper_tables
from marsbench.report.tables.runs import paper_runs_table
from marsbench.results.record import RunRecord
from tests.report.fake_store import Fake, fake_record, make_store, paper_record

SEEDS = (0, 1, 10)
TASKS = ("frost_cls", "landmark_cls")
PAPER = [
    paper_record(Fake(task, model, subset=subset, seed=seed))
    for task in TASKS
    for model in ("resnet101", "vit_l_16")
    for subset in ("full", "few_shot_5")
    for seed in SEEDS
]
OURS = [
    fake_record(Fake(task, model, subset=subset, seed=seed))
    for task, model, subset in (
        ("frost_cls", "resnet101", "full"),
        ("landmark_cls", "resnet101", "full"),
        ("landmark_cls", "squeezenet1_1", "full"),
        ("landmark_cls", "resnet101", "few_shot_5"),
    )
    for seed in SEEDS
]


def analysis_of(
    folder: Path, records: list[RunRecord], paper: list[RunRecord] | None = None
) -> Analysis:
    store = make_store(folder, records)
    found = analyse(store, open_study(store), rounds=80)
    return with_paper(found, PAPER if paper is None else paper)


@pytest.fixture(scope="module")
def analysis(tmp_path_factory: pytest.TempPathFactory) -> Analysis:
    return analysis_of(tmp_path_factory.mktemp("runs"), OURS)


def rows(table: Table) -> dict[tuple[Any, ...], dict[str, Any]]:
    """Rows by subset, task and model."""
    names = [column.name for column in table.columns]
    return {tuple(row[:3]): dict(zip(names, row, strict=True)) for row in table.rows}


def test_both_numbers_and_their_difference(analysis: Analysis) -> None:
    (table,) = paper_tables(analysis)
    assert table.name == "paper-classification-frozen-cached"
    assert "here minus paper" in table.caption
    assert "Over tasks, scores are normalised by the bounds of each metric" in table.caption
    assert "arXiv:2510.24010" in table.caption
    row = rows(table)["full", "landmark_cls", "resnet101"]
    mine, its = ([r.score or 0.0 for r in of if _is(r)] for of in (OURS, PAPER))
    expected = [float(iqm([[score] for score in scores])) for scores in (mine, its)]
    assert (row["here"].value, row["paper"].value) == (
        pytest.approx(expected[0]),
        pytest.approx(expected[1]),
    )
    summary = analysis.beside[0].by_subset["full"].summary
    drawn = [summary.tasks["landmark_cls", n].distribution for n in _BOTH]
    low, high = percentile_interval(drawn[0] - drawn[1])
    assert row["difference"] == Score(expected[0] - expected[1], float(low), float(high))
    assert low < row["difference"].value < high
    assert (row["metric"], row["runs"]) == ("weighted F1 ↑", "3 and 3")


_BOTH = ("resnet101", "resnet101 (paper)")


def _is(record: RunRecord) -> bool:
    return (record.task, record.model, record.subset) == ("landmark_cls", "resnet101", "full")


def test_over_tasks_only_models_with_all(analysis: Analysis) -> None:
    found = rows(paper_tables(analysis)[0])
    over = {name[2]: row for name, row in found.items() if name[1] == "all 2 tasks"}
    assert {name: row["runs"] for name, row in over.items()} == {
        "resnet101": "6 and 6",
        "vit_l_16": "0 and 6",
    }
    assert over["vit_l_16"]["here"] is over["vit_l_16"]["difference"] is None
    summary = analysis.beside[0].by_subset["full"].summary
    assert over["resnet101"]["here"].value == summary.models["resnet101"].iqm.value
    drawn = [summary.models[name].distribution for name in _BOTH]
    ends = np.asarray(percentile_interval(drawn[0] - drawn[1]))
    difference = over["resnet101"]["difference"]
    assert [difference.low, difference.high] == ends.tolist()


def test_models_of_one_side_have_no_difference(analysis: Analysis) -> None:
    found = rows(paper_tables(analysis)[0])
    mine = found["full", "landmark_cls", "squeezenet1_1"]
    assert (mine["paper"], mine["difference"], mine["runs"]) == (None, None, "3 and 0")
    its = found["full", "frost_cls", "vit_l_16"]
    assert (its["here"], its["difference"], its["runs"]) == (None, None, "0 and 3")
    assert ("full", "frost_cls", "squeezenet1_1") not in found
    subsets = list(dict.fromkeys(name[0] for name in found))
    assert subsets == ["full", "few_shot_5"]
    assert not any(name[:2] == ("few_shot_5", "frost_cls") for name in found)


def test_notes_name_differences(tmp_path: Path) -> None:
    data = {"source": "local", "classes": ["a", "b"], "num_test": 200, "subset_origin": "generated"}
    few = [fake_record(Fake("landmark_cls", "vit_l_16", subset="few_shot_5"), data=data)]
    more = [
        paper_record(
            Fake("landmark_cls", "vit_l_16", subset="few_shot_5", seed=seed),
            run_id=f"landmark_cls/vit_l_16/frozen/few_shot_5/{seed}-0123456789",
        )
        for seed in SEEDS
    ]
    (table,) = paper_tables(analysis_of(tmp_path, few, [*PAPER, *more]))
    assert "Over tasks" not in table.caption
    assert rows(table)["few_shot_5", "landmark_cls", "vit_l_16"]["note"] == (
        "other data: 200 test images here, 1,793 published; generated subset; the paper's is "
        "published; the paper has 2 series of runs; one is shown"
    )


def test_nothing_comparable_is_a_sentence(tmp_path: Path) -> None:
    found = analysis_of(tmp_path, [fake_record(Fake("mmls", "unet"))])
    (table,) = paper_tables(found)
    assert table.rows == []
    assert table.text == found.beside_problems[0].message
    assert "No run of this report stands beside the 24 runs of the paper" in table.text


def test_every_run_of_both_is_listed(analysis: Analysis) -> None:
    listed = {row[0]: row for row in paper_runs_table(analysis).rows}
    # Of few-shot sets the task that both have.
    alone = {r.run_id for r in PAPER if (r.task, r.subset) == ("frost_cls", "few_shot_5")}
    assert set(listed) == {record.run_id for record in (*OURS, *PAPER)} - alone
    binary = next(record for record in OURS if record.task == "frost_cls")
    row = listed[binary.run_id]
    assert row[5] == "f1_positive"
    assert isinstance(row[6], Score)
    assert row[6].value != binary.score
    assert listed[PAPER[0].run_id][1] == "classification frozen upstream full"


def test_ranges_are_listed(analysis: Analysis) -> None:
    listed = {(row[0], row[2]): row[1] for row in ranges_table(analysis).rows}
    title = "Frozen classification models beside the paper"
    assert listed["frost_cls", "F1 of class 1 ↑"] == title
    assert listed["landmark_cls", "weighted F1 ↑"] == f"Frozen classification models, {title}"
