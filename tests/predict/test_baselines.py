"""Checkpoints as Mars-Bench releases them: Lightning files that name configuration classes.

Names of tensors and of the configuration are those of its public code: a LightningModule keeps the
network as `model`, and its hyperparameters are an omegaconf configuration.
"""

import sys
import typing
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest
import segmentation_models_pytorch as smp
import torch
from omegaconf import DictConfig, OmegaConf
from torch import nn
from torchvision import models
from torchvision.models import VisionTransformer

from marsbench.models.tensors import read_checkpoint
from marsbench.predict.load import load
from tests.models.foundation.checkpoints import saved
from tests.server import Repo, Server


def lightning_file(network: nn.Module) -> bytes:
    """File of Lightning's checkpoint callback for a module with this network."""
    config = OmegaConf.create(
        {"task": "x", "model": {"name": "VisionTransformer", "input_size": [3, 224, 224]}}
    )
    state = {f"model.{name}": tensor for name, tensor in network.state_dict().items()}
    content = {
        "epoch": 3,
        "pytorch-lightning_version": "2.5.1",
        "state_dict": state,
        "callbacks": {"ModelCheckpoint": {"best_model_path": "x.ckpt", "args": Namespace(a=1)}},
        "optimizer_states": [{"state": {0: {"exp_avg": torch.ones(3)}}, "param_groups": []}],
        "lr_schedulers": [],
        "hyper_parameters": config,
        "hparams_type": DictConfig,
        "annotation": typing.Any,
    }
    return saved(content)


def test_foreign_classes_are_held_and_not_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = nn.Linear(2, 3)
    (tmp_path / "model.ckpt").write_bytes(lightning_file(network))
    names = torch.serialization.get_unsafe_globals_in_checkpoint(tmp_path / "model.ckpt")
    assert "typing.Any" in names
    assert "argparse.Namespace" in names
    assert any(name.startswith("omegaconf.") for name in names)
    for module in [m for m in sys.modules if m.split(".")[0] == "omegaconf"]:
        monkeypatch.setitem(sys.modules, module, None)  # importing it is an error
    state = read_checkpoint(tmp_path / "model.ckpt")
    assert list(state) == ["model.weight", "model.bias"]
    assert torch.equal(state["model.weight"], network.weight)


def small_vit(name: str, **options: Any) -> VisionTransformer:
    assert name == "vit_l_16"
    return VisionTransformer(
        image_size=224, patch_size=32, num_layers=2, num_heads=2, hidden_dim=16, mlp_dim=32
    )


def test_the_vision_transformer_of_surface_classification(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    network = small_vit("vit_l_16")
    network.heads[-1] = nn.Linear(16, 36)
    network.eval()
    server.models["Mirali33/mars-bench-surface-classification"] = Repo(
        {"model.ckpt": lightning_file(network), "README.md": b"# A baseline"}
    )
    monkeypatch.setattr(models, "get_model", small_vit)
    model: Any = load(
        "hf://Mirali33/mars-bench-surface-classification", tmp_path, "surface_cls", "vit"
    ).model
    image = torch.rand(2, 3, 224, 224)
    with torch.inference_mode():
        adapted = model.adapter(image)
        torch.testing.assert_close(model(image), network(adapted))


def test_the_segmenter_of_binary_craters(server: Server, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network: Any = smp.Unet("tu-test_resnet", encoder_weights=None, in_channels=3, classes=2)
    network.eval()
    server.models["Mirali33/mars-bench-crater-binary-segmentation"] = Repo(
        {"model.ckpt": lightning_file(network)}
    )
    model: Any = load(
        "hf://Mirali33/mars-bench-crater-binary-segmentation",
        tmp_path,
        "crater_binary_seg",
        "smp:unet/tu-test_resnet",
    ).model
    image = torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(model(image), network(model.adapter(image)))
