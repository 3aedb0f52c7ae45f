"""Ways of dealing with unequal classes, side by side."""

import dataclasses

import pytest

from marsbench.config.identity import run_id
from marsbench.report.analysis import Analysis, analyse
from marsbench.report.study.cells import DOWN, UP
from marsbench.report.study.imbalance import compared_ways
from marsbench.report.study.scores import study_of
from marsbench.report.tables.build import make_tables
from marsbench.report.tables.forms import Score, Table
from marsbench.report.tables.runs import runs_table
from marsbench.results.record import RunRecord
from marsbench.results.store import Store
from tests.report.fake_store import Fake, fake_record


def analysis_of(records: list[RunRecord]) -> Analysis:
    return analyse(Store("nowhere"), study_of(records), rounds=100)


def tables_of(records: list[RunRecord]) -> list[Table]:
    return [t for t in make_tables(analysis_of(records)).groups if t.name.startswith("imbalance")]


def trained(way: str, seed: int, score: float, task: str = "ega_ms") -> RunRecord:
    model = "lightgbm" if task == "ega_ms" else "vit_l_16"
    one = fake_record(Fake(task, model, "scratch", "full", seed, way))
    test = {**one.metrics["test"], one.headline: score}
    return dataclasses.replace(one, metrics={**one.metrics, "test": test})


def test_less_is_better_of_a_loss() -> None:
    records = [trained("none", seed, 0.2 + seed / 100) for seed in (0, 1)]
    records += [trained("oversample", seed, 0.4 + seed / 100) for seed in (0, 1)]
    (table,) = tables_of(records)
    assert table.columns[2].title == f"log loss {DOWN}"
    assert table.columns[3].title == f"accuracy {UP}"
    less, more = (row[2] for row in table.rows)
    assert isinstance(less, Score)
    assert isinstance(more, Score)
    assert (less.best, more.best) == (True, False)
    assert less.value == pytest.approx(0.205)
    # With two seeds, a mean over two draws lies between their scores, and often at either.
    assert [less.low, less.high] == pytest.approx([0.2, 0.21])


def test_ways_are_compared_over_the_seeds_that_all_have() -> None:
    records = [trained("none", seed, 0.8 - 0.1 * (seed > 1), "frost_cls") for seed in (0, 1, 2, 3)]
    records += [trained("oversample", seed, 0.75, "frost_cls") for seed in (0, 1, 9)]
    (ways,) = compared_ways(analysis_of(records))
    assert ways.seeds == (0, 1)
    (table,) = tables_of(records)
    assert [(row[0], row[1]) for row in table.rows] == [("none", 2), ("oversample", 2)]
    kept = table.rows[0][2]
    assert isinstance(kept, Score)
    assert kept.value == pytest.approx(0.8)  # without the worse seeds that one way alone has
    assert "over the seeds shared by all methods (0, 1)" in table.caption


def test_ways_without_a_common_seed_are_said_to_be() -> None:
    records = [trained("none", 0, 0.8, "frost_cls"), trained("oversample", 1, 0.7, "frost_cls")]
    (table,) = tables_of(records)
    assert [row[1] for row in table.rows] == [1, 1]
    assert "since no seed is shared (none: 1, oversample: 1)" in table.caption
    # One run says nothing of how sure its number is.
    assert [e.interval for row in table.rows for e in row if isinstance(e, Score)] == [""] * 8


def test_titles_tell_protocols_and_settings_apart() -> None:
    records = []
    for way in ("none", "oversample"):
        for rate in (0.1, 0.2):
            one = trained(way, 0, 0.8, "frost_cls")
            identity = {**one.identity, "optim": {"lr": rate}}
            name = run_id(one.task, one.model, one.mode, one.subset, 0, identity)
            records.append(dataclasses.replace(one, identity=identity, run_id=name))
        one = trained(way, 0, 0.8, "frost_cls")
        identity = {**one.identity, "views": "d4"}
        name = run_id(one.task, one.model, one.mode, one.subset, 0, identity)
        records.append(dataclasses.replace(one, identity=identity, run_id=name))
    titles = sorted(table.title for table in tables_of(records))
    start = "Unequal classes: ViT-L/16 on frost_cls, classification models trained from scratch, "
    start += "full training split"
    assert titles[0] == f"{start}, augment=d4"
    assert titles[1] != titles[2]
    assert all(title.startswith(f"{start}, setting ") for title in titles[1:])
    # All that a number is made of is listed, also where another setting stands for the cell.
    listed = {row[0] for row in runs_table(analysis_of(records)).rows}
    assert listed == {record.run_id for record in records}
