"""``calibrate=temperature``: from stored predictions, without a model."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from marsbench.base.errors import ConfigError, MarsbenchError
from marsbench.cli import app
from marsbench.config.identity import run_id
from marsbench.evaluate.run import evaluate
from marsbench.evaluate.settings import Settings
from marsbench.metrics import scoring
from marsbench.results.record import Outcome, RunRecord
from marsbench.results.store import PREDICTIONS, Store
from marsbench.tasks.kinds import Kind

CLASSES = ["dune", "crater", "plain"]
SIZES = {"val": 400, "test": 300}


def predictions(kind: Kind, sharper: float) -> pd.DataFrame:
    """Predictions of val and test whose logits are too sharp."""
    rng = np.random.default_rng(2)
    parts = []
    for split, n in SIZES.items():
        logits = 1.5 * rng.normal(size=(n, 3))
        if kind is Kind.MULTILABEL:
            chance = 1 / (1 + np.exp(-logits))
            targets: list[Any] = list((rng.random(chance.shape) < chance).astype(np.uint8))
            scores = 1 / (1 + np.exp(-sharper * logits))
        else:
            e = np.exp(logits)
            targets = [rng.choice(3, p=row / row.sum()) for row in e]
            e = np.exp(sharper * logits)
            scores = e / e.sum(axis=1, keepdims=True)
        ids = [f"{split}{i:03d}" for i in range(n)]
        columns = {"sample_id": ids, "target": targets, "scores": list(scores.astype(np.float32))}
        parts.append(pd.DataFrame({"split": split, **columns, "meta": "{}"}))
    return pd.concat(parts, ignore_index=True)


def write(store: Path, table: pd.DataFrame, kind: Kind, **fields: Any) -> RunRecord:
    """Write a finished run of a model that does not exist."""
    identity = {"kind": str(kind)}
    values: dict[str, Any] = {
        "run_id": run_id("toy", "m", "frozen", "full", 0, identity),
        "task": "toy",
        "kind": kind,
        "model": "m",
        "mode": "frozen",
        "subset": "full",
        "seed": 0,
        "protocol": "cached",
        "headline": "f1_weighted",
        "metrics": {
            split: scoring.score(kind, table[table["split"] == split], CLASSES) for split in SIZES
        }
        if kind in (Kind.MULTICLASS, Kind.MULTILABEL)
        else {"val": {"miou": 0.5}, "test": {"miou": 0.5}},
        "config": {"task": "toy"},
        "identity": identity,
        "data": {"revision": "r", "classes": CLASSES, "source": "local"},
        "weights": None,
        "checkpoint": {},
        "timing": {},
        "peak_memory": {},
        "parameters": {},
        "device": "cpu",
        "environment": {},
        "git": None,
        "created": "2026-01-01T00:00:00+00:00",
    }
    record = RunRecord(**values | fields)
    opened = Store(store)
    with opened.claim(record.run_id) as folder:
        table.to_parquet(folder / PREDICTIONS)
        opened.finish(record)
    return record


def calibrated(store: Path, run: str, **keys: Any) -> Outcome:
    settings = Settings.from_dict({"calibrate": "temperature", "store": str(store), **keys})
    ((_, outcome),) = evaluate([run], settings)
    if isinstance(outcome, MarsbenchError):
        raise outcome
    return outcome


@pytest.mark.parametrize("kind", [Kind.MULTICLASS, Kind.MULTILABEL])
def test_test_predictions_are_scaled_by_the_temperature_of_val(kind: Kind, tmp_path: Path) -> None:
    table = predictions(kind, 3.0)
    parent = write(tmp_path, table, kind)
    record, was_done = calibrated(tmp_path, parent.run_id)
    assert not was_done
    assert (record.record_type, record.parents) == ("evaluation", [parent.run_id])
    facts = record.data["evaluation"]
    assert facts["temperature"] == pytest.approx(3, rel=0.25)
    for name in ("ece", "brier", "log_loss"):
        assert facts["after"][name] < facts["before"][name]
    for name in ("ece", "brier"):
        assert facts["before"][name] == pytest.approx(parent.scores[name], abs=1e-12)
        assert facts["after"][name] == pytest.approx(record.scores[name], abs=1e-12)
    # The order of classes stays, and so do all metrics of the chosen class.
    assert record.scores["f1_weighted"] == pytest.approx(parent.scores["f1_weighted"])
    stored = Store(tmp_path).predictions(record.run_id)
    assert set(stored["split"]) == {"test"}
    assert list(stored["meta"]) == ["{}"] * SIZES["test"]
    before = np.stack(list(table[table["split"] == "test"]["scores"])).astype(np.float64)
    after = np.stack(list(stored["scores"])).astype(np.float64)
    temperature = facts["temperature"]
    if kind is Kind.MULTILABEL:
        odds = np.log(after / (1 - after)) * temperature
        np.testing.assert_allclose(odds, np.log(before / (1 - before)), rtol=1e-2, atol=1e-3)
    else:
        ratio = np.log(after[:, 1] / after[:, 0]) * temperature
        np.testing.assert_allclose(ratio, np.log(before[:, 1] / before[:, 0]), atol=1e-3)
    assert calibrated(tmp_path, parent.run_id).was_done
    assert [r.run_id for r in Store(tmp_path).records()[0]] == [parent.run_id]
    # A run's folder in another store.
    moved, _ = calibrated(tmp_path / "new", str(tmp_path / parent.run_id))
    assert moved.run_id == record.run_id
    assert moved.scores == record.scores


def test_refusals(tmp_path: Path) -> None:
    table = predictions(Kind.MULTICLASS, 2.0)
    run = write(tmp_path / "a", table, Kind.MULTICLASS)
    with pytest.raises(ConfigError, match="not task=landmark_cls"):
        calibrated(tmp_path / "a", run.run_id, task="landmark_cls")
    (tmp_path / "a" / run.run_id / PREDICTIONS).unlink()
    with pytest.raises(MarsbenchError, match=r"has no predictions\.parquet"):
        calibrated(tmp_path / "a", run.run_id)
    run = write(tmp_path / "b", table, Kind.MULTICLASS, metrics={"test": {"accuracy": 0.5}})
    with pytest.raises(ConfigError, match="has no predictions of val"):
        calibrated(tmp_path / "b", run.run_id)
    run = write(tmp_path / "c", table, Kind.SEGMENTATION)
    with pytest.raises(ConfigError, match="Runs of segmentation tasks"):
        calibrated(tmp_path / "c", run.run_id)
    answers = [np.eye(3, dtype=np.float32)[row.argmax()] for row in table["scores"]]
    run = write(tmp_path / "d", table.assign(scores=answers), Kind.MULTICLASS)
    with pytest.raises(ConfigError, match="answers with classes"):
        calibrated(tmp_path / "d", run.run_id)
    edited = table.assign(scores=[row[::-1] for row in table["scores"]])
    edited.to_parquet(tmp_path / "b" / "other.parquet")
    run = write(tmp_path / "e", table, Kind.MULTICLASS)
    edited.to_parquet(tmp_path / "e" / run.run_id / PREDICTIONS)
    with pytest.raises(MarsbenchError, match="its record has"):
        calibrated(tmp_path / "e", run.run_id)


def test_command(tmp_path: Path) -> None:
    run = write(tmp_path, predictions(Kind.MULTICLASS, 3.0), Kind.MULTICLASS)
    words = ["evaluate", run.run_id, "calibrate=temperature", f"store={tmp_path}"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    line = json.loads(done.stdout)
    assert line["after"]["ece"] < line["before"]["ece"]
    table = CliRunner().invoke(app, [*words, "--format", "table"], env={"COLUMNS": "200"})
    assert f"{line['before']['ece']:.4f} → {line['after']['ece']:.4f}" in table.output
    assert CliRunner().invoke(app, [*words[:2], "calibrate=heat", words[3]]).exit_code == 2
