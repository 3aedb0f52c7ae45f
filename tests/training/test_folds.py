"""Folds: nothing is seen before it is scored, and what is finished stays."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import marsbench
from marsbench.base.errors import ConfigError, DataError
from marsbench.config.schema import RunConfig
from marsbench.data.folds import assign_folds, folds_digest, strata_of
from marsbench.data.sources.challenge import ChallengeSource
from marsbench.metrics import scoring
from marsbench.plan.resolve import resolve
from marsbench.results.store import Store
from marsbench.tasks.kinds import Kind
from marsbench.training import trained
from marsbench.training.loop import evaluation
from marsbench.training.loop.callbacks import ProgressBar
from marsbench.training.parts import parts_of
from tests.challenges import NAMES, TASK, keys, stored, write_challenge

pytestmark = pytest.mark.usefixtures("spectra_home")


def test_folds_are_stratified_and_cover_every_sample() -> None:
    rng = np.random.default_rng(0)
    targets = (rng.random((203, 3)) < [0.5, 0.1, 0.02]).astype(np.uint8)
    groups = ["sam" if i % 17 == 0 else "com" for i in range(203)]
    strata = strata_of(targets, groups)
    parts = assign_folds(strata, 4)
    assert np.bincount(parts).tolist() == [51, 51, 51, 50]
    for stratum in set(strata):
        counts = np.bincount(
            [p for p, s in zip(parts, strata, strict=True) if s == stratum], minlength=4
        )
        assert counts.max() - counts.min() <= 1
    np.testing.assert_array_equal(parts, assign_folds(strata, 4))
    with pytest.raises(ConfigError, match="folds=4 needs at least as many"):
        assign_folds(strata[:3], 4)


@pytest.mark.parametrize("checkpoint", ["best", "last"])
@pytest.mark.parametrize("subset", ["full", "partition_0.50"])
def test_no_model_has_seen_what_it_is_scored_on(
    checkpoint: str, subset: str, challenge: Path, tmp_path: Path
) -> None:
    more = {"trainer.checkpoint": checkpoint}
    values = keys(tmp_path, root=str(challenge), folds=4, subset=subset, **more)
    plan = resolve(RunConfig.from_dict(values))
    scored = []
    for part in parts_of(plan):
        assert part.train.indices is not None
        held = part.scored["oof"].indices
        assert held is not None
        seen = set(part.train.indices.tolist())
        assert not seen & set(held.tolist())
        assert seen <= set(plan.selection.indices.tolist())
        if checkpoint == "best":
            assert part.val is not None
            assert part.val.indices is not None
            chooses = set(part.val.indices.tolist())
            assert chooses
            assert not chooses & (seen | set(held.tolist()))
        else:
            assert part.val is None
        scored += held.tolist()
    assert sorted(scored) == list(range(48))


def test_out_of_fold_predictions_are_the_scored_split(challenge: Path, tmp_path: Path) -> None:
    record = marsbench.run(**keys(tmp_path, root=str(challenge), folds=3, draws=2))
    assert record.scored_split == "oof"
    assert record.score == record.metrics["oof"]["log_loss"]
    assert len(record.checkpoint["folds"]) == 3
    rows = ChallengeSource(TASK, challenge).rows("train")
    fold_of = assign_folds(strata_of(rows.targets, rows.groups), 3)
    ids = np.array(rows.sample_ids)
    assert record.data["folds_digest"] == folds_digest(ids[fold_of == k] for k in range(3))
    table = stored(tmp_path, record.run_id, "oof")
    labels = pd.read_csv(challenge / "train_labels.csv").sort_values("sample_id")
    assert list(table["sample_id"]) == list(labels["sample_id"])
    np.testing.assert_array_equal(np.stack(list(table["target"])), labels[NAMES].to_numpy())
    again = scoring.score(Kind.MULTILABEL, table, NAMES)
    found = {k: v for k, v in record.metrics["oof"].items() if k != "loss"}
    assert again == found
    if len(set(table["instrument"])) > 1:
        assert "log_loss/instrument=commercial" in found


def test_a_split_that_every_fold_predicts_is_averaged(tmp_path: Path) -> None:
    folder = write_challenge(tmp_path / "ega_ms", {"train": 32, "val": 6}, ("train", "val"))
    values = keys(tmp_path / "runs", root=str(folder), folds=2, model="kernel_logistic")
    record = marsbench.run(**values)
    assert set(record.metrics) == {"oof", "val"}
    assert record.scored_split == "oof"
    place = Store(tmp_path / "runs").folder(record.run_id)
    parts = [pd.read_parquet(place / f"fold_{k}" / "predictions.parquet") for k in range(2)]
    mean = np.mean([np.stack(list(p[p["split"] == "val"]["scores"])) for p in parts], axis=0)
    found = stored(tmp_path / "runs", record.run_id, "val")
    np.testing.assert_allclose(np.stack(list(found["scores"])), mean, rtol=1e-6)


def test_finished_folds_are_not_trained_again(
    challenge: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = keys(tmp_path / "a", root=str(challenge), folds=3)
    whole = marsbench.run(**values)

    class StoppedError(Exception):
        pass

    calls = []
    real = evaluation.save_predictions

    def stopping(folder: Path, scored: Any) -> None:
        calls.append(folder.name)
        if len(calls) == 2:
            raise StoppedError
        real(folder, scored)

    values["store"] = str(tmp_path / "b")
    with monkeypatch.context() as patch:
        patch.setattr(trained, "save_predictions", stopping)
        with pytest.raises(StoppedError):
            marsbench.run(**values)
    epochs: list[int] = []
    with monkeypatch.context() as patch:
        patch.setattr(ProgressBar, "on_train_epoch_end", lambda *_: epochs.append(1))
        resumed = marsbench.run(**values)
    assert len(epochs) == 2  # of the last fold alone; the second only evaluates again
    assert resumed.run_id == whole.run_id
    assert resumed.metrics == whole.metrics
    assert not list(tmp_path.glob("b/**/checkpoints"))


def test_folds_of_images(tmp_path: Path) -> None:
    values = keys(tmp_path, task="frost_cls", model="timm:test_resnet", source="demo", size=0.05)
    record = marsbench.run(**values, folds=2)
    assert record.scored_split == "test"
    assert {"oof", "val", "test"} == set(record.metrics)
    # Class 1 by the data's own order of classes.
    _, first = record.data["classes"]
    assert all(m["f1_positive"] == m[f"f1/{first}"] for m in record.metrics.values())


def test_a_missing_split_asks_for_folds(challenge: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no samples of the val split") as caught:
        marsbench.run(**keys(tmp_path, root=str(challenge)))
    assert "folds=4" in caught.value.remedy


def test_bad_measurements_are_left_out_if_that_is_asked_for(tmp_path: Path) -> None:
    folder = write_challenge(tmp_path / "ega_ms", {"train": 24}, ("train",))
    (folder / "train_features" / "S0003.csv").unlink()
    (folder / "train_features" / "S0005.csv").write_text("time,temp,m/z,abundance\n")
    with (folder / "train_labels.csv").open("a") as file:
        file.write("S0999" + ",0" * 10 + "\n")
    values = keys(tmp_path / "runs", root=str(folder), folds=2, model="kernel_logistic")
    with pytest.raises(DataError, match=r"S0003\.csv"):
        marsbench.run(**values)
    record = marsbench.run(**values, strict=False)
    assert record.data["num_train"] == 22
    told = " ".join(record.data["notes"])
    for name in ("S0003", "S0005", "S0999"):
        assert name in told
