"""Means of finished runs, and submissions to the challenges."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import marsbench
from marsbench.base.errors import ConfigError, DataError, StoreError, UnknownNameError
from marsbench.cli import app
from marsbench.metrics import scoring
from marsbench.models.pretraining import RANDOM
from marsbench.predict.submissions import score_submission, write_submission
from marsbench.results.ensemble.combine import make_ensemble
from marsbench.results.ensemble.weights import combine, cross_fitted
from marsbench.results.store import Store
from marsbench.tasks.kinds import Kind
from tests.challenges import NAMES, keys, stored

pytestmark = pytest.mark.usefixtures("spectra_home")


@pytest.fixture(scope="module")
def runs(
    challenge: Path, spectra_home: None, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, list[str]]:
    """A store with three runs of the same folds."""
    store = tmp_path_factory.mktemp("store")
    common = {"root": str(challenge), "folds": 2}
    models: list[dict[str, Any]] = [
        {"model": "kernel_logistic"},
        {"model": "logistic_regression"},
        {"model": "gru_net", "draws": 2, "trainer.checkpoint": "last"},
    ]
    return store, [marsbench.run(**keys(store, **common, **one)).run_id for one in models]


def test_an_ensemble_is_the_mean_of_its_runs(runs: tuple[Path, list[str]]) -> None:
    store, ids = runs
    record, was_done = make_ensemble([ids[0], ids[1].rpartition("-")[2]], store)
    assert not was_done
    assert record.record_type == "ensemble"
    assert record.parents == sorted(ids[:2])
    assert record.pretraining == RANDOM
    assert record.run_id.startswith("ega_ms/ensemble/scratch/full/0-")
    mean = np.mean(
        [np.stack(list(stored(store, run_id, "oof")["scores"])) for run_id in ids[:2]], axis=0
    )
    table = stored(store, record.run_id, "oof")
    np.testing.assert_allclose(np.stack(list(table["scores"])), mean, rtol=1e-6)
    assert record.score is not None
    assert record.score == scoring.score(Kind.MULTILABEL, table, NAMES)["log_loss"]
    again, was_done = make_ensemble([ids[1], ids[0]], store)
    assert was_done
    assert again == record


def test_weights_are_fitted_to_the_other_folds(runs: tuple[Path, list[str]]) -> None:
    store, ids = runs
    record, _ = make_ensemble(ids, store, weights="fitted")
    assert record.run_id != make_ensemble(ids, store)[0].run_id
    weights = record.checkpoint["weights"]
    assert set(weights) == set(ids)
    parts = [stored(store, run_id, "oof") for run_id in sorted(ids)]
    scores = np.stack([np.stack(list(part["scores"])).astype(np.float64) for part in parts])
    targets = np.stack(list(parts[0]["target"]))
    instruments = list(parts[0]["instrument"])
    expected = cross_fitted(Kind.MULTILABEL, scores, targets, instruments, 2)
    found = np.stack(list(stored(store, record.run_id, "oof")["scores"]))
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_weights_have_a_name(runs: tuple[Path, list[str]]) -> None:
    store, ids = runs
    with pytest.raises(UnknownNameError, match="fited"):
        make_ensemble(ids, store, weights="fited")


def test_runs_that_differ_are_not_averaged(runs: tuple[Path, list[str]], tmp_path: Path) -> None:
    store, ids = runs
    with pytest.raises(ConfigError, match="at least two runs"):
        make_ensemble([ids[0], ids[0]], store)
    with pytest.raises(ConfigError, match="Unknown run"):
        make_ensemble([ids[0], "ega_ms/nothing"], store)
    other = marsbench.run(**keys(store, model="kernel_logistic", source="demo", size=0.05))
    with pytest.raises(ConfigError, match="differ in data"):
        make_ensemble([ids[0], other.run_id], store)


def test_a_run_named_twice_counts_once(runs: tuple[Path, list[str]]) -> None:
    store, ids = runs
    twice, _ = make_ensemble([ids[0], ids[1], ids[0]], store)
    once, was_done = make_ensemble(ids[:2], store)
    assert was_done
    assert twice == once


def test_members_are_of_one_store(runs: tuple[Path, list[str]], tmp_path: Path) -> None:
    store, ids = runs
    folders = [str(Store(store).folder(run_id)) for run_id in ids[:2]]
    with pytest.raises(ConfigError, match="is outside of the store"):
        make_ensemble(folders, tmp_path)


def test_a_submission_of_every_kind_of_model(
    runs: tuple[Path, list[str]], challenge: Path, tmp_path: Path
) -> None:
    store, ids = runs
    ensemble, _ = make_ensemble(ids, store)
    tables = []
    for run in (*ids, ensemble.run_id):
        out = tmp_path / "out.csv"
        assert write_submission(run, str(challenge), out, store=store) == 8
        tables.append(pd.read_csv(out))
    for table in tables:
        assert list(table.columns) == ["sample_id", *NAMES]
        assert table[NAMES].to_numpy().min() >= 0
        assert table[NAMES].to_numpy().max() <= 1
    mean = np.mean([table[NAMES].to_numpy() for table in tables[:3]], axis=0)
    np.testing.assert_allclose(tables[3][NAMES].to_numpy(), mean, rtol=1e-6, atol=1e-9)
    fitted, _ = make_ensemble(ids, store, weights="fitted")
    write_submission(fitted.run_id, str(challenge), tmp_path / "fitted.csv", store=store)
    weights = np.array([fitted.checkpoint["weights"][run_id] for run_id in ids])
    stacked = np.stack([table[NAMES].to_numpy() for table in tables[:3]])
    np.testing.assert_allclose(
        pd.read_csv(tmp_path / "fitted.csv")[NAMES].to_numpy(),
        combine(Kind.MULTILABEL, stacked, weights),
        rtol=1e-4,
    )


def test_a_saved_model_predicts_what_the_run_did(
    runs: tuple[Path, list[str]], challenge: Path, tmp_path: Path
) -> None:
    """Each fold's model, on the samples of its own fold."""
    store, ids = runs
    folder = Store(store).folder(ids[2])
    out = tmp_path / "train.csv"
    write_submission(ids[2], str(challenge), out, split="train", store=store)
    both = pd.read_csv(out).set_index("sample_id")[NAMES]
    assert len(both) == 48
    parts = [pd.read_parquet(folder / f"fold_{k}" / "predictions.parquet") for k in range(2)]
    oof = pd.concat(p[p["split"] == "oof"] for p in parts).set_index("sample_id")["scores"]
    # The mean of two models lies within half of either's distance to 0 and 1.
    for sample_id, scores in oof.items():
        twice = 2 * both.loc[str(sample_id)].to_numpy() - scores
        assert (twice > -1e-5).all()
        assert (twice < 1 + 1e-5).all()


def test_the_format_file_sets_samples_and_columns(
    runs: tuple[Path, list[str]], challenge: Path, tmp_path: Path
) -> None:
    store, ids = runs
    wanted = pd.DataFrame(0.0, index=range(2), columns=NAMES[::-1])
    wanted.insert(0, "sample_id", ["S0055", "S0050"])
    wanted.to_csv(tmp_path / "format.csv", index=False)
    out = tmp_path / "out.csv"
    write_submission(ids[0], str(challenge), out, template=tmp_path / "format.csv", store=store)
    assert list(pd.read_csv(out).columns) == list(wanted.columns)
    assert list(pd.read_csv(out)["sample_id"]) == ["S0055", "S0050"]
    wanted.assign(sample_id=["S9999", "S0050"]).to_csv(tmp_path / "format.csv", index=False)
    with pytest.raises(DataError, match=r"1 sample\(s\) .* S9999"):
        write_submission(ids[0], str(challenge), out, template=tmp_path / "format.csv", store=store)


def test_models_that_were_not_kept(challenge: Path, tmp_path: Path) -> None:
    values = keys(tmp_path, root=str(challenge), folds=2, model="kernel_logistic")
    record = marsbench.run(**values, save_model=False)
    with pytest.raises(StoreError, match="were not saved"):
        write_submission(record.run_id, str(challenge), tmp_path / "x.csv", store=tmp_path)


def test_scoring_a_submission(tmp_path: Path) -> None:
    from sklearn.metrics import log_loss

    rng = np.random.default_rng(0)
    ids = [f"S{i}" for i in range(20)]
    truth = pd.DataFrame(rng.integers(2, size=(20, 10)), columns=NAMES)
    truth.iloc[0], truth.iloc[1] = 0, 1
    scores = pd.DataFrame(rng.random((20, 10)), columns=NAMES)
    for name, table in (("truth", truth), ("scores", scores)):
        table.insert(0, "sample_id", ids)
        table.to_csv(tmp_path / f"{name}.csv", index=False)
    scores.sample(frac=1, random_state=0).to_csv(tmp_path / "scores.csv", index=False)
    found = score_submission(tmp_path / "scores.csv", tmp_path / "truth.csv")
    wanted = np.mean([log_loss(truth[n], scores[n], labels=[0, 1]) for n in NAMES])
    assert found["log_loss"] == pytest.approx(wanted, rel=1e-9)
    result = CliRunner().invoke(
        app,
        ["spectra", "score", str(tmp_path / "scores.csv"), str(tmp_path / "truth.csv")],
    )
    assert result.exit_code == 0
    assert "log_loss" in result.output
    scores.iloc[:19].to_csv(tmp_path / "scores.csv", index=False)
    with pytest.raises(DataError, match="S19"):
        score_submission(tmp_path / "scores.csv", tmp_path / "truth.csv")


@pytest.mark.parametrize(
    ("cell", "message"), [("often", "invalid probabilities"), ("", "invalid probabilities")]
)
def test_bad_submissions(cell: str, message: str, tmp_path: Path) -> None:
    table = pd.DataFrame("0.5", index=range(3), columns=NAMES)
    table.insert(0, "sample_id", ["a", "b", "c"])
    truth = table.replace("0.5", "1")
    truth.to_csv(tmp_path / "truth.csv", index=False)
    table.loc[1, NAMES[2]] = cell
    table.to_csv(tmp_path / "scores.csv", index=False)
    with pytest.raises(DataError, match=message):
        score_submission(tmp_path / "scores.csv", tmp_path / "truth.csv")
    truth.loc[0, NAMES[0]] = "2"
    truth.to_csv(tmp_path / "truth.csv", index=False)
    with pytest.raises(DataError, match="labels other than 0 and 1"):
        score_submission(tmp_path / "scores.csv", tmp_path / "truth.csv")
