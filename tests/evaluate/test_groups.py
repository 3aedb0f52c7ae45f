"""Runs evaluated on a group of samples, and scores per group in records of evaluations."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn import metrics as sk

import marsbench
from marsbench.base.errors import ConfigError, DataError
from marsbench.results.groups import groups_of
from marsbench.results.record import RunRecord
from marsbench.results.store import Store
from tests.challenges import NAMES, keys, write_challenge
from tests.fakes import add_column, make_spec, write_folder, write_spec

SAM = "instrument:sam_testbed"


@pytest.fixture(scope="module")
def challenge(tmp_path_factory: pytest.TempPathFactory, home: None) -> Path:
    """A folder without a labelled test split."""
    folder = tmp_path_factory.mktemp("ega_ms")
    return write_challenge(folder, {"train": 48, "test": 8}, ("train",))


@pytest.fixture(scope="module")
def spectra(challenge: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, RunRecord]:
    """A store with a run on the commercial instruments alone."""
    store = tmp_path_factory.mktemp("spectra")
    values = {**keys(store, root=str(challenge), folds=2), "model": "kernel_logistic"}
    return store, marsbench.run(**values, train_on="commercial")


def sam_samples(challenge: Path) -> list[str]:
    with (challenge / "metadata.csv").open() as file:
        rows = list(csv.DictReader(file))
    chosen = [r for r in rows if (r["split"], r["instrument_type"]) == ("train", "sam_testbed")]
    return sorted(row["sample_id"] for row in chosen)


def test_samples_that_the_run_never_saw(spectra: tuple[Path, RunRecord], challenge: Path) -> None:
    store, parent = spectra
    (record,) = marsbench.run_evaluate(parent.run_id, test_on="sam_testbed", store=str(store))
    assert record.identity["test_on"] == SAM
    assert record.scored_split == "unseen"
    facts = record.data["evaluation"]
    assert (facts["split"], facts["without"]) == ("train", "instrument:commercial")
    table = Store(store).predictions(record.run_id)
    assert list(table["sample_id"]) == sam_samples(challenge)
    targets, scores = (np.stack(list(table[name])) for name in ("target", "scores"))
    losses = [sk.log_loss(targets[:, k], scores[:, k], labels=[0, 1]) for k in range(len(NAMES))]
    assert record.score == pytest.approx(np.mean(losses), abs=1e-6)
    micro = sk.average_precision_score(targets.ravel(), scores.ravel())
    assert record.scores["ap_micro"] == pytest.approx(micro)
    absent = [name for k, name in enumerate(NAMES) if not targets[:, k].any()]
    assert absent
    assert facts["groups"] == {
        SAM: {"n": len(table), "metrics": facts["groups"][SAM]["metrics"], "absent": absent}
    }
    assert not {f"f1/{name}" for name in absent} & record.scores.keys()
    assert facts["in_domain"] == pytest.approx(parent.score, abs=1e-9)
    # Of a loss, so higher is worse.
    assert facts["gap"] == pytest.approx(record.score - facts["in_domain"])
    assert facts["ceiling"] is None
    (again,) = marsbench.run_evaluate(parent.run_id, test_on=SAM, store=str(store))
    assert again == record


def test_a_run_on_all_samples_is_the_ceiling(
    spectra: tuple[Path, RunRecord], challenge: Path
) -> None:
    store, parent = spectra
    values = {**keys(store, root=str(challenge), folds=2), "model": "kernel_logistic"}
    ordinary = marsbench.run(**values)
    (record,) = marsbench.run_evaluate(parent.run_id, test_on=SAM, store=str(store), force=True)
    table = Store(store).predictions(ordinary.run_id)
    held = table[table["instrument"] == "sam_testbed"]
    targets, scores = (np.stack(list(held[name])) for name in ("target", "scores"))
    losses = [sk.log_loss(targets[:, k], scores[:, k], labels=[0, 1]) for k in range(len(NAMES))]
    assert record.data["evaluation"]["ceiling"] == {
        "run_id": ordinary.run_id,
        "score": pytest.approx(np.mean(losses), abs=1e-6),
    }
    with pytest.raises(ConfigError, match=r"was trained on every train sample: its score"):
        marsbench.run_evaluate(ordinary.run_id, test_on=SAM, store=str(store))


def test_refusals(spectra: tuple[Path, RunRecord], tmp_path: Path) -> None:
    store, parent = spectra
    with pytest.raises(ConfigError, match="was trained on the samples of instrument:commercial"):
        marsbench.run_evaluate(parent.run_id, test_on="commercial", store=str(store))
    with pytest.raises(ConfigError, match="test_on=orbiter is not a group"):
        marsbench.run_evaluate(parent.run_id, test_on="orbiter", store=str(store))
    with pytest.raises(DataError, match="no labelled samples of the test split"):
        marsbench.run_evaluate(parent.run_id, store=str(store))
    other = write_challenge(tmp_path / "other", {"train": 40}, ("train",))
    with pytest.raises(DataError, match="is not the data of"):
        marsbench.run_evaluate(parent.run_id, root=str(other), test_on=SAM, store=str(store))


def test_a_group_of_the_test_split(tmp_path: Path, home: None) -> None:
    folder = write_folder(make_spec(), tmp_path)
    add_column(folder, "region", ["Isidis", "Isidis", "Utopia", "Isidis"])
    task = str(write_spec(make_spec(), folder / "task.yaml"))
    values: dict[str, Any] = {"task": task, "model": "timm:test_resnet", "mode": "scratch"}
    values |= {"workers": 0, "trainer.max_epochs": 1, "train_on": "Isidis"}
    store = tmp_path / "runs"
    parent = marsbench.run(**values, store=str(store))
    regions = groups_of(parent, store / parent.run_id, "region")
    (whole,) = marsbench.run_evaluate(parent.run_id, store=str(store))
    (part,) = marsbench.run_evaluate(parent.run_id, test_on="Utopia", store=str(store))
    assert part.run_id != whole.run_id
    assert "test_on" not in whole.identity
    assert part.scored_split == "test"
    utopia = regions["region:Utopia"]
    assert part.data["num_test"] == utopia["n"] == 3
    scores = {name: value for name, value in part.scores.items() if name != "loss"}
    assert scores == pytest.approx(utopia["metrics"], abs=1e-6)
    assert whole.data["evaluation"]["groups"].keys() == regions.keys()
    for name, group in whole.data["evaluation"]["groups"].items():
        assert group["n"] == regions[name]["n"]
        assert group["metrics"] == pytest.approx(regions[name]["metrics"], abs=1e-6)
    # In domain is the group that the run was trained within.
    in_domain = regions["region:Isidis"]["metrics"]["f1_weighted"]
    assert part.data["evaluation"]["in_domain"] == pytest.approx(in_domain)
