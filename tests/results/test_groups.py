"""Scores per group from the stored predictions of a run."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from sklearn import metrics as sk
from typer.testing import CliRunner

from marsbench.base.errors import StoreError, UnknownNameError
from marsbench.cli import app
from marsbench.results.groups import groups_of
from marsbench.results.record import RunRecord
from marsbench.results.store import PREDICTIONS, Store
from tests.report.fake_store import Fake, fake_record
from tests.results.test_metrics import labels, stored

RUNNER = CliRunner()


def run_with(folder: Path, meta: list[dict[str, Any]]) -> tuple[Store, RunRecord]:
    record = fake_record(Fake("frost_cls", "resnet101"))
    record = dataclasses.replace(record, data={**record.data, "classes": ["no", "yes"]})
    return stored(folder, record, labels().assign(meta=list(map(json.dumps, meta)))), record


def test_regions_of_the_scored_split(tmp_path: Path) -> None:
    meta = [{"region": "south" if i % 3 else "north", "sol": str(i)} for i in range(60)]
    store, record = run_with(tmp_path, meta)
    frame = store.predictions(record.run_id)
    test = frame[frame["split"] == "test"]
    groups = groups_of(record, store.folder(record.run_id), "region")
    assert list(groups) == ["region:north", "region:south"]
    for name, scores in groups.items():
        part = test[[json.loads(m)["region"] == name[7:] for m in test["meta"]]]
        guess = [row[1] > 0.5 for row in part["scores"]]
        assert scores["n"] == len(part)
        assert scores["metrics"]["f1_positive"] == pytest.approx(sk.f1_score(part["target"], guess))
    # All sols are in one bin, which groups nothing.
    assert groups_of(record, store.folder(record.run_id)) == groups
    with pytest.raises(UnknownNameError, match="Unknown field of the samples"):
        groups_of(record, store.folder(record.run_id), "place")
    done = RUNNER.invoke(
        app, ["results", "groups", record.run_id, "--by", "region", "--store", str(tmp_path)]
    )
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["group"] for line in lines] == list(groups)
    assert lines[0]["metrics"] == groups["region:north"]["metrics"]
    table = [*("results", "groups", record.run_id, "--store", str(tmp_path), "--format", "table")]
    done = RUNNER.invoke(app, [*table, "--metrics", "accuracy,f1_positive"])
    assert done.exit_code == 0
    assert f"{groups['region:south']['metrics']['accuracy']:.4f}" in done.stdout
    done = RUNNER.invoke(app, [*table, "--metrics", "accuracy", "--rounds", "20"])
    assert f"{groups['region:south']['metrics']['accuracy']:.4f} [0." in done.stdout
    assert RUNNER.invoke(app, [*table, "--metrics", "miou"]).exit_code == 2


def test_undefined_scores_are_counted(tmp_path: Path) -> None:
    targets = labels()["target"]
    meta = [{"region": "a" if i < 30 or target else "b"} for i, target in enumerate(targets)]
    _, record = run_with(tmp_path, meta)
    words = ["results", "groups", record.run_id, "--store", str(tmp_path), "--format", "table"]
    done = RUNNER.invoke(app, [*words, "--metrics", "f1_positive"])
    assert "n/a" in done.stdout
    assert "1 of 2 scores are n/a" in done.stderr


def test_damaged_metadata(tmp_path: Path) -> None:
    store, record = run_with(tmp_path, [{"region": "a"}] * 60)
    path = store.folder(record.run_id) / PREDICTIONS
    pd.read_parquet(path).assign(meta="{").to_parquet(path, index=False)
    with pytest.raises(StoreError, match="give no scores per group"):
        groups_of(record, path.parent)
