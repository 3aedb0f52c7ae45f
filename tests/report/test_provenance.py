"""Every number of a report leads to the runs it is made of."""

import dataclasses
from pathlib import Path

import pytest

from marsbench.report.analysis import Analysis, analyse
from marsbench.report.study.scores import study_of
from marsbench.report.tables.build import coverage_tables, make_tables
from marsbench.report.tables.entries import anchor_of
from marsbench.report.tables.forms import Link, Score, Table
from marsbench.results.record import RunRecord
from marsbench.results.store import Store
from tests.report.fake_store import Fake, everything, fake_record


def analysis_of(records: list[RunRecord]) -> Analysis:
    return analyse(Store("nowhere"), study_of(records), rounds=50)


@pytest.fixture(scope="module")
def analysis() -> Analysis:
    return analysis_of(everything(seeds=(0, 1, 10)))


def anchors_in(table: Table) -> list[str]:
    return [
        entry.anchor
        for row in table.rows
        for entry in row
        if isinstance(entry, Score | Link) and entry.anchor
    ]


def test_what_goes_over_tasks_leads_to_the_cells_of_its_model(analysis: Analysis) -> None:
    coverage = coverage_tables(analysis)
    places = [anchor for table in coverage for anchor in table.anchors]
    assert len(set(places)) == len(places)
    found = {table.name: table for table in make_tables(analysis).groups}
    for name in ("overall", "comparisons"):
        table = found[f"{name}-classification-frozen-cached-full"]
        (listed,) = (t for t in coverage if t.keys == table.keys)
        assert set(anchors_in(table)) == set(listed.anchors)
    curve = found["curves-few-shot-classification-frozen-cached"]
    assert len(anchors_in(curve)) == 12  # four models at three amounts
    assert set(anchors_in(curve)) <= set(places)
    cells = {
        anchor_of(cell) for group in analysis.study.groups.values() for cell in group.cells.values()
    }
    assert {anchor for table in coverage for anchor in anchors_in(table)} == cells


def test_every_table_says_which_groups_it_is_about(analysis: Analysis) -> None:
    found = make_tables(analysis).groups
    assert {table.name.partition("-")[0] for table in found} == {
        "scores", "overall", "comparisons", "modes", "curves", "imbalance",
    }  # fmt: skip
    assert [table.name for table in found if not table.keys] == []
    (ways,) = (table for table in found if table.name.startswith("imbalance"))
    assert {key.imbalance for key in ways.keys} == {
        "none", "undersample", "oversample", "loss_weight",
    }  # fmt: skip
    titles = [table.title for table in found]
    assert len(set(titles)) == len(titles)


def test_models_whose_names_look_alike_have_places_of_their_own() -> None:
    one = fake_record(Fake("frost_cls", "vit_l_16"))
    start = one.run_id.rpartition("/")[0].replace("vit_l_16", "a-b")
    digest = one.run_id.rpartition("-")[2]
    # Both are a-b in a run id; only their seeds differ.
    records = [
        dataclasses.replace(one, model=model, seed=seed, run_id=f"{start}/{seed}-{digest}")
        for seed, model in enumerate(("a/b", "a-b"))
    ]
    analysis = analysis_of(records)
    (group,) = analysis.study.groups.values()
    assert {cell.model for cell in group.cells.values()} == {"a/b", "a-b"}
    assert len({anchor_of(cell) for cell in group.cells.values()}) == 2
    (table,) = coverage_tables(analysis)
    assert len(set(table.anchors)) == 2


def test_an_anchor_is_one_word(analysis: Analysis, tmp_path: Path) -> None:
    anchors = [a for table in make_tables(analysis).groups for a in anchors_in(table)]
    assert anchors
    assert not any(set(anchor) & set(" \t\n\"'<>%#") for anchor in anchors)
