"""Evaluations are no runs: everything that reads a store leaves them out unless asked."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from typer.testing import CliRunner

import marsbench
from marsbench.base.errors import ConfigError
from marsbench.cli import app
from marsbench.config.identity import run_id
from marsbench.leaderboard.choice import choose
from marsbench.predict.load import load
from marsbench.predict.submissions import write_submission
from marsbench.report.study.scores import load_study
from marsbench.results.ensemble.combine import make_ensemble
from marsbench.results.record import RunRecord
from marsbench.results.store import Store
from marsbench.sweep.cost import Measured
from marsbench.sweep.status import ids_on_disk
from tests.report.fake_store import Fake, fake_record, write

TASKS = ("frost_cls", "landmark_cls")
SEEDS = (0, 1, 10, 42, 123, 1000, 1234)


def evaluation_of(parent: RunRecord, task: str) -> RunRecord:
    """Record of a run's evaluation on a task, with a score that no mean could hide."""
    identity: dict[str, Any] = {"parent": parent.run_id, "task": task, "data_revision": "abc123"}
    facts = {"trained_on": parent.task, "in_domain": parent.score, "gap": 0.5, "ceiling": None}
    return dataclasses.replace(
        parent,
        run_id=run_id(task, parent.model, parent.mode, parent.subset, parent.seed, identity),
        task=task,
        metrics={"test": {parent.headline: 0.0078125}},
        identity=identity,
        data={**parent.data, "evaluation": facts},
        record_type="evaluation",
        parents=[parent.run_id],
    )


@pytest.fixture(scope="module")
def runs() -> list[RunRecord]:
    return [fake_record(Fake(task, "vit_l_16", seed=seed)) for task in TASKS for seed in SEEDS]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, runs: list[RunRecord]) -> Store:
    store = Store(tmp_path_factory.mktemp("runs"))
    write(store, runs)
    for run in runs:
        (store.folder(run.run_id) / "config.yaml").write_text("task: x\n")
    write(store, [evaluation_of(run, task) for run in runs for task in TASKS], predictions=False)
    return store


def test_store_lists_them_apart(store: Store, runs: list[RunRecord]) -> None:
    records, bad = store.records()
    assert sorted(r.run_id for r in records) == sorted(r.run_id for r in runs)
    assert bad == []
    assert len(store.evaluations()) == 2 * len(runs)
    assert all(r.record_type == "evaluation" for r in store.evaluations())


def test_tables(store: Store, runs: list[RunRecord], tmp_path: Path) -> None:
    assert len(marsbench.load_records(store.root)) == len(runs)
    table = marsbench.load_records(store.root, evaluations=True)
    assert len(table) == 2 * len(runs)
    assert set(table["parent"]) == {run.run_id for run in runs}
    assert (table["gap"] == 0.5).all()
    for more, count in (([], len(runs)), (["--evaluations"], 2 * len(runs))):
        words = ["results", "export", str(store.root), "--out", str(tmp_path / f"{count}.csv")]
        assert CliRunner().invoke(app, [*words, *more]).exit_code == 0
        assert len(pd.read_csv(tmp_path / f"{count}.csv")) == count
        listed = CliRunner().invoke(app, ["results", str(store.root), *more])
        rows = [json.loads(line) for line in listed.stdout.splitlines()]
        assert len(rows) == count
        assert all(("parent" in row) == bool(more) for row in rows)
    shown = CliRunner().invoke(
        app, ["results", str(store.root), "--evaluations", "--format", "table"]
    )
    assert "trained_on" in shown.stdout
    assert "severity" not in shown.stdout


def test_reports_leaderboard_and_estimates(store: Store, runs: list[RunRecord]) -> None:
    study = load_study(store.root)
    cells = [cell for group in study.groups.values() for cell in group.cells.values()]
    assert sorted(i for cell in cells for i in cell.run_ids) == sorted(r.run_id for r in runs)
    assert {cell.model for cell in cells} == {"vit_l_16"}
    choice = choose(store, {"model": "vit", "mode": "frozen"})
    assert sorted(r.run_id for r in choice.records) == sorted(r.run_id for r in runs)
    assert ids_on_disk(store) == {run.run_id for run in runs}
    seen = Measured(store.root)._read(store.root / "frost_cls" / "vit_l_16" / "frozen")
    assert all(item.train > 0 for item in seen)


def test_they_have_no_model(store: Store, runs: list[RunRecord], tmp_path: Path) -> None:
    one, other = store.evaluations()[:2]
    with pytest.raises(ConfigError, match="is the evaluation of a run"):
        load(one.run_id, store.root)
    with pytest.raises(ConfigError, match="is the evaluation of a run"):
        make_ensemble([one.run_id, other.run_id], store.root)
    with pytest.raises(ConfigError, match="is the evaluation of a run"):
        write_submission(one.run_id, str(tmp_path), tmp_path / "out.csv", store=store.root)
    card = CliRunner().invoke(app, ["card", one.run_id, "--store", str(store.root)])
    assert card.exit_code == 2
    assert "is of type evaluation" in card.stderr
