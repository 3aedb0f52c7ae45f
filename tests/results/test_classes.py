import dataclasses
import json
from typing import Any

import pytest
from typer.testing import CliRunner

from marsbench.cli import app
from marsbench.config.identity import run_id
from marsbench.results.classes import class_tables
from marsbench.results.record import RunRecord
from marsbench.results.store import Store
from tests.results.test_store import make_record


def record(imbalance: str, seed: int, recalls: dict[str, float], **identity: Any) -> RunRecord:
    """A record of a run on three classes, of which spider is the rarest."""
    choices: dict[str, Any] = dict(identity)
    if imbalance != "none":
        choices["imbalance"] = imbalance
    test = {"f1_weighted": 0.5, "accuracy": 0.6, "f1_macro": 0.4}
    base = make_record()
    return dataclasses.replace(
        base,
        run_id=run_id(base.task, base.model, base.mode, base.subset, seed, choices),
        seed=seed,
        identity=choices,
        data={**base.data, "train_counts": {"other": 90, "spider": 3, "dune": 20}},
        metrics={"val": test, "test": test | {f"recall/{k}": v for k, v in recalls.items()}},
    )


RECORDS = [
    record("none", 0, {"other": 0.9, "spider": 0.0, "dune": 0.5}),
    record("none", 1, {"other": 0.8, "spider": 0.2, "dune": 0.5}),
    record("loss_weight", 0, {"other": 0.7, "spider": 0.6}),
]


def test_rarest_class_first_and_strategies_side_by_side() -> None:
    (table,) = class_tables(RECORDS)
    assert table.per_class("recall") == [
        {"class": "spider", "train": 3, "none": pytest.approx(0.1), "loss_weight": 0.6},
        {"class": "dune", "train": 20, "none": 0.5, "loss_weight": None},
        {"class": "other", "train": 90, "none": pytest.approx(0.85), "loss_weight": 0.7},
    ]
    none, weighted = table.summary("recall")
    assert (none["imbalance"], none["seeds"], none["accuracy"]) == ("none", 2, 0.6)
    assert weighted["minority: spider"] == 0.6
    assert weighted["majority: other"] == 0.7


def test_runs_that_differ_in_more_are_kept_apart() -> None:
    assert len(class_tables([*RECORDS, record("none", 0, {}, lr=0.1)])) == 2


def test_strategies_of_a_later_version_come_last() -> None:
    (table,) = class_tables([record("focal", 0, {}), *RECORDS])
    assert list(table.runs) == ["none", "loss_weight", "focal"]


def test_records_that_count_no_classes_are_left_out() -> None:
    silent = dataclasses.replace(RECORDS[0], data={"train_counts": None})
    assert class_tables([silent]) == []


def test_command(tmp_path_factory: pytest.TempPathFactory) -> None:
    store = Store(tmp_path_factory.mktemp("runs"))
    for one in RECORDS:
        with store.claim(one.run_id):
            store.finish(one)
    done = CliRunner().invoke(app, ["results", str(store.root), "--per-class", "recall"])
    assert done.exit_code == 0
    rows = [json.loads(line) for line in done.output.splitlines()]
    assert [r["class"] for r in rows if "class" in r] == ["spider", "dune", "other"]
    assert [r["imbalance"] for r in rows if "imbalance" in r] == ["none", "loss_weight"]
    shown = CliRunner().invoke(
        app, ["results", str(store.root), "--per-class", "recall", "--format", "table"]
    )
    assert "minority: spider" in shown.output
    bad = CliRunner().invoke(app, ["results", str(store.root), "--task", "nothing"])
    assert bad.exit_code == 2
    assert "nothing" in bad.output
