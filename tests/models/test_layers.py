"""Learning rates by layer, against timm's groups and computations by hand."""

from typing import Any

import pytest
import timm
import torch
from timm.optim._param_groups import param_groups_layer_decay
from torch import nn

from marsbench.base.errors import ConfigError, NotAvailableError
from marsbench.config.schema import Decoder, Mode, RunConfig
from marsbench.models.layers import rate_scales
from marsbench.models.modes import build_for_mode
from marsbench.models.zoo.catalog import get_model
from marsbench.plan.resolve import resolve
from marsbench.tasks.kinds import Kind
from marsbench.training.network import build_module

VIT = "timm:test_vit"  # six blocks


def built(name: str, kind: Kind = Kind.MULTICLASS, decoder: Decoder | None = None) -> Any:
    return build_for_mode(get_model(name), kind, 3, Mode.SCRATCH, side=64, decoder=decoder)


@pytest.mark.parametrize("name", [VIT, "timm:test_resnet", "timm:test_convnext"])
def test_scales_equal_timms_groups(name: str) -> None:
    full: nn.Module = timm.create_model(name.removeprefix("timm:"), num_classes=3)
    by_parameter = {id(p): n for n, p in full.named_parameters()}
    expected = {
        by_parameter[id(parameter)]: group["lr_scale"]
        for group in param_groups_layer_decay(full, layer_decay=0.5)
        for parameter in group["params"]
    }
    scales = rate_scales(built(name), 0.5, name)
    backbone = {
        n.removeprefix("backbone."): s for n, s in scales.items() if n.startswith("backbone.")
    }
    assert backbone == {n: expected[n] for n in backbone}
    assert scales["head.weight"] == scales["head.bias"] == 1.0


def test_scales_by_hand() -> None:
    scales = rate_scales(built(VIT), 0.75, VIT)
    depth = len({n.split(".")[2] for n in scales if n.startswith("backbone.blocks.")})
    assert scales["backbone.patch_embed.proj.weight"] == 0.75 ** (depth + 1)
    for block in range(depth):
        assert scales[f"backbone.blocks.{block}.mlp.fc1.weight"] == 0.75 ** (depth - block)


@pytest.mark.parametrize(
    ("kind", "decoder", "prefix", "new"),
    [
        (Kind.SEGMENTATION, Decoder.UPERNET, "model.encoder.backbone", "model.decoder.head.0.bias"),
        (
            Kind.DETECTION,
            Decoder.FASTER_RCNN,
            "model.backbone.body.backbone",
            "model.roi_heads.box_predictor.cls_score.bias",
        ),
    ],
)
def test_encoders_below_a_decoder(kind: Kind, decoder: Decoder, prefix: str, new: str) -> None:
    scales = rate_scales(built(VIT, kind, decoder), 0.5, VIT)
    labels = rate_scales(built(VIT), 0.5, VIT)
    for name, scale in labels.items():
        if name.startswith("backbone.") and name.replace("backbone", prefix) in scales:
            assert scales[name.replace("backbone", prefix)] == scale
    assert scales[new] == 1.0
    assert min(scales.values()) == scales[f"{prefix}.patch_embed.proj.weight"] < 0.1


def test_blocks_of_torchvision() -> None:
    from torchvision.models import VisionTransformer

    from marsbench.models.adapters import InputAdapter
    from marsbench.models.encoders.classifier import Classifier

    net: Any = VisionTransformer(32, 16, 3, 2, 16, 32)
    net.heads = nn.Identity()
    model = Classifier(InputAdapter((0.5,) * 3, (0.5,) * 3), net, nn.Linear(16, 2))
    scales = rate_scales(model, 0.5, "vit")
    assert scales["backbone.class_token"] == scales["backbone.conv_proj.weight"] == 0.5**4
    assert scales["backbone.encoder.layers.encoder_layer_0.mlp.0.weight"] == 0.5**3
    assert scales["backbone.encoder.layers.encoder_layer_2.mlp.0.weight"] == 0.5
    assert scales["backbone.encoder.ln.weight"] == 0.5
    assert scales["head.weight"] == 1


def test_unknown_layers_are_refused() -> None:
    with pytest.raises(NotAvailableError, match="unknown of squeezenet"):
        rate_scales(built("squeezenet"), 0.5, "squeezenet")


def test_groups_of_the_optimiser(toy: str) -> None:
    values = {"task": toy, "model": VIT, "mode": "scratch"}
    decayed = resolve(RunConfig.from_dict({**values, "optim.layer_decay": 0.5, "optim.lr": 0.1}))
    module = build_module(decayed)
    scales = rate_scales(module.model, 0.5, VIT)
    optimizer = module.configure_optimizers()["optimizer"]
    rates = {
        id(parameter): group["lr"]
        for group in optimizer.param_groups
        for parameter in group["params"]
    }
    for name, parameter in module.model.named_parameters():
        assert rates[id(parameter)] == pytest.approx(0.1 * scales[name])
    assert len(rates) == len(list(module.model.parameters()))
    assert isinstance(optimizer, torch.optim.AdamW)


def test_layer_decay_in_the_id(toy: str) -> None:
    values = {"task": toy, "model": VIT, "mode": "scratch"}
    before = resolve(RunConfig.from_dict(values))
    assert "layer_decay" not in before.identity["optim"]
    again = resolve(RunConfig.from_dict({**values, "optim.layer_decay": 1}))
    assert again.run_id == before.run_id
    other = resolve(RunConfig.from_dict({**values, "optim.layer_decay": 0.75}))
    assert other.identity["optim"]["layer_decay"] == 0.75


def test_frozen_encoders_refuse_layer_decay(toy: str, weights: str) -> None:
    values = {"task": toy, "model": "timm:test_resnet", "weights": weights, "mode": "frozen"}
    with pytest.raises(ConfigError, match="whose encoder does not train") as caught:
        resolve(RunConfig.from_dict({**values, "optim.layer_decay": 0.75}))
    assert "mode=finetune" in str(caught.value)
