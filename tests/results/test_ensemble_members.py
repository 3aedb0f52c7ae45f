"""Members of an ensemble: their predictions give the metrics of their records."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from marsbench.base.errors import ConfigError, StoreError
from marsbench.config.identity import run_id
from marsbench.metrics import scoring
from marsbench.results.ensemble.combine import make_ensemble
from marsbench.results.record import IMPORTED, RunRecord
from marsbench.results.store import PREDICTIONS, Store
from marsbench.tasks.kinds import Kind

CLASSES = ["dune", "crater", "plain"]
N = 40


def predictions(seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    targets = np.arange(N) % 3
    scores = rng.dirichlet(np.ones(3), N) + 0.7 * np.eye(3)[targets]
    scores = (scores / scores.sum(axis=1, keepdims=True)).astype(np.float32)
    ids = [f"{i:03d}" for i in range(N)]
    return pd.DataFrame(
        {"split": "test", "sample_id": ids, "target": targets, "scores": list(scores)}
    )


def write(store: Path, seed: int, **fields: Any) -> str:
    """Write a finished run with predictions; returns its id."""
    table, identity = predictions(seed), {"kind": "multiclass"}
    name = run_id("toy", "m", "frozen", "full", seed, identity)
    values: dict[str, Any] = {
        "run_id": name,
        "task": "toy",
        "kind": "multiclass",
        "model": "m",
        "mode": "frozen",
        "subset": "full",
        "seed": seed,
        "protocol": "cached",
        "headline": "f1_weighted",
        "metrics": {"test": scoring.score(Kind.MULTICLASS, table, CLASSES)},
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
        "created": "now",
    }
    opened = Store(store)
    with opened.claim(name) as folder:
        table.to_parquet(folder / PREDICTIONS)
        opened.finish(RunRecord(**values | fields))
    return name


def change(store: Path, name: str, edit: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    path = store / name / PREDICTIONS
    edit(pd.read_parquet(path)).to_parquet(path)


def with_scores(*values: Any) -> Callable[[pd.DataFrame], pd.DataFrame]:
    """Replace the first scores."""

    def edit(table: pd.DataFrame) -> pd.DataFrame:
        return table.assign(scores=[*values, *table["scores"][len(values) :]])

    return edit


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda t: t.assign(scores=[5 * s for s in t["scores"]]), "expected probabilities"),
        (lambda t: t.assign(scores=[s / 2 for s in t["scores"]]), "do not add up to 1"),
        (lambda t: t.assign(scores=[s[::-1] for s in t["scores"]]), "its record has"),
        (lambda t: t.assign(target=0), "its record has"),
        (lambda t: t.iloc[1:], "its record has|invalid"),
        (with_scores([np.nan, 0.5, 0.5]), "1 rows hold NaN"),
        (with_scores([0.5, 0.5]), "invalid"),
        (with_scores(None), "invalid"),
        (lambda t: t.drop(columns="scores"), "missing the column.s. scores"),
        (lambda t: t.assign(split="train"), "invalid"),
    ],
    ids=[
        "times 5",
        "halved",
        "swapped",
        "targets",
        "a row less",
        "NaN",
        "ragged",
        "none",
        "no scores",
        "no split",
    ],
)
def test_other_predictions_are_one_message(
    edit: Callable[[pd.DataFrame], pd.DataFrame], words: str, tmp_path: Path
) -> None:
    names = [write(tmp_path, seed) for seed in (0, 1)]
    change(tmp_path, names[1], edit)
    with pytest.raises(StoreError, match=words) as caught:
        make_ensemble(names, tmp_path)
    assert f"{names[1]}/{PREDICTIONS}" in str(caught.value)
    assert len(Store(tmp_path).records()[0]) == 2


def test_members_of_earlier_versions_lack_metrics(tmp_path: Path) -> None:
    known = scoring.score(Kind.MULTICLASS, predictions(1), CLASSES)
    earlier = {name: value for name, value in known.items() if name not in ("ece", "brier")}
    names = [write(tmp_path, 0), write(tmp_path, 1, metrics={"test": earlier})]
    record, _ = make_ensemble(names, tmp_path)
    assert record.scores.keys() == known.keys()


def test_a_changed_member_is_noticed(tmp_path: Path) -> None:
    names = [write(tmp_path, seed) for seed in (0, 1)]
    record, _ = make_ensemble(names, tmp_path)
    assert set(record.data["predictions"]) == set(names)
    assert make_ensemble(names, tmp_path).was_done
    # The order of rows is no change; other scores with equal metrics are.
    change(tmp_path, names[0], lambda t: t.iloc[::-1])
    assert make_ensemble(names, tmp_path).was_done
    change(
        tmp_path,
        names[0],
        lambda t: t.assign(scores=[np.nextafter(s, s[::-1]) for s in t["scores"]]),
    )
    with pytest.raises(StoreError, match=f"made of other predictions of {names[0]}"):
        make_ensemble(names, tmp_path)


def test_imported_runs_have_no_predictions(tmp_path: Path) -> None:
    names = [write(tmp_path, 0), write(tmp_path, 1, record_type=IMPORTED, data={})]
    with pytest.raises(ConfigError, match="is imported and has no predictions"):
        make_ensemble(names, tmp_path)
