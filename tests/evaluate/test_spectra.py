"""Runs on spectra evaluated on their own and other spectra, folds and fitted tables too."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import marsbench
from marsbench.base.errors import ConfigError, StoreError
from marsbench.results.store import Store
from tests.challenges import keys, write_challenge

CASES: dict[str, dict[str, Any]] = {
    "network": {"draws": 2},
    "folds": {"folds": 2},
    "table": {"model": "kernel_logistic"},
    "rows": {"model": "logistic_regression", "folds": 2},
}


@pytest.fixture(scope="module")
def challenge(tmp_path_factory: pytest.TempPathFactory, home: None) -> Path:
    folder = tmp_path_factory.mktemp("ega_ms")
    return write_challenge(folder, {"train": 24, "val": 8, "test": 12}, ("train", "val", "test"))


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory, home: None) -> Path:
    folder = tmp_path_factory.mktemp("other") / "ega_ms"
    return write_challenge(folder, {"train": 4, "val": 4, "test": 9}, ("train", "val", "test"))


@pytest.mark.parametrize("case", CASES)
def test_own_and_other_spectra(case: str, challenge: Path, elsewhere: Path, tmp_path: Path) -> None:
    more = {"trainer.max_epochs": 1, **CASES[case]}
    run = marsbench.run(**keys(tmp_path, root=str(challenge), **more))
    (record,) = marsbench.run_evaluate(run.run_id, store=str(tmp_path))
    assert record.metrics["test"] == run.metrics["test"]
    assert record.headline == "log_loss"
    frame = Store(tmp_path).predictions(run.run_id)
    theirs = frame[frame["split"] == "test"].sort_values("sample_id")
    ours = Store(tmp_path).predictions(record.run_id).sort_values("sample_id")
    np.testing.assert_array_equal(np.stack(list(ours["scores"])), np.stack(list(theirs["scores"])))
    assert list(ours["instrument"]) == list(theirs["instrument"])
    # Other spectra of the same task are other data.
    (other,) = marsbench.run_evaluate(
        run.run_id, task="ega_ms", root=str(elsewhere), store=str(tmp_path)
    )
    assert other.run_id != record.run_id
    assert other.data["num_test"] == 9
    assert other.data["evaluation"]["ceiling"] is None
    with pytest.raises(ConfigError, match=r"technique gc; the run .* expects ega"):
        marsbench.run_evaluate(run.run_id, task="gcms", source="demo", store=str(tmp_path))


def test_models_that_were_not_saved_are_refused(challenge: Path, tmp_path: Path) -> None:
    values = keys(tmp_path, root=str(challenge), model="logistic_regression", save_model=False)
    run = marsbench.run(**values)
    with pytest.raises(StoreError, match="were not saved"):
        marsbench.run_evaluate(run.run_id, store=str(tmp_path))
    assert Store(tmp_path).evaluations() == []
