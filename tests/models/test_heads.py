"""Heads of classifiers beyond a linear layer."""

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional

import marsbench
from marsbench.base.errors import MarsbenchError
from marsbench.config.schema import HeadName
from marsbench.models.encoders.classifier import build_classifier
from marsbench.models.encoders.heads import HEADS, last_layer
from marsbench.models.zoo.catalog import get_model
from marsbench.tasks.catalog import get_task
from marsbench.training.trained import rebuild
from tests.training.frozen.banks import config


@pytest.fixture(scope="module")
def vit_weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("vit") / "w.safetensors"
    save_file(timm.create_model("test_vit").state_dict(), path)
    return str(path)


def test_attention_is_that_of_a_query_over_the_tokens() -> None:
    torch.manual_seed(0)
    head: Any = HEADS[HeadName.ATTENTION](128, 3)
    tokens = torch.randn(2, 7, 128)
    pool = head[0]
    key, value = pool.kv(tokens).view(2, 7, 2, 2, 64).permute(2, 0, 3, 1, 4)
    query = pool.q(pool.latent).view(1, 1, 2, 64).transpose(1, 2)
    weights = (query @ key.transpose(2, 3) / 8).softmax(dim=3)
    pooled = pool.proj((weights @ value).transpose(1, 2).reshape(2, 1, 128))
    pooled = (pooled + pool.mlp(pool.norm(pooled)))[:, 0]
    expected = functional.linear(pooled, head[1].weight, head[1].bias)
    torch.testing.assert_close(head(tokens), expected)


@pytest.mark.parametrize("head", HeadName)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_heads_compute_in_single_precision_at_least(head: HeadName, dtype: torch.dtype) -> None:
    model = build_classifier(get_model("timm:test_vit"), 3, pretrained=False, head=head).eval()
    images, is_double = torch.rand(5, 1, 160, 160), dtype is torch.float64
    if is_double:
        model, images = model.double(), images.double()
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16, enabled=not is_double):
        features, logits = model.features(images), model(images)
    assert logits.dtype == (torch.float64 if is_double else torch.float32)
    assert torch.equal(logits, model.head(features.to(logits.dtype)))


def test_two_layers_are_those_of_the_paper() -> None:
    head = HEADS[HeadName.MLP](768, 5)
    layers = [module for module in head.modules() if isinstance(module, nn.Linear)]
    assert [(layer.in_features, layer.out_features) for layer in layers] == [(768, 384), (384, 5)]
    assert last_layer(head) is layers[1]


@pytest.mark.parametrize("head", [HeadName.MLP, HeadName.ATTENTION])
def test_runs_keep_their_backbone_and_come_back(
    head: HeadName, toy: str, vit_weights: str, tmp_path: Path
) -> None:
    more = {"model": "timm:test_vit", "head": head, "trainer.max_epochs": 1}
    record = marsbench.run(**config(toy, tmp_path, vit_weights, **more).to_dict())
    assert record.protocol == "online"  # the bank fits linear heads
    assert record.identity["head"] == head
    task = get_task(toy)
    model = rebuild(record, tmp_path / record.run_id, task)
    assert model(torch.rand(2, 1, 160, 160)).shape == (2, 3)
    assert record.parameters["trained"] == sum(p.numel() for p in model.head.parameters())


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"head": "attention", "pooling": "mean"}, "head=attention pools the tokens itself"),
        ({"head": "attention", "model": "timm:test_resnet"}, "is for transformers of timm"),
        ({"head": "mlp", "protocol": "cached"}, "head=mlp is not linear"),
    ],
)
def test_invalid_choices(
    toy: str, vit_weights: str, tmp_path: Path, more: dict[str, Any], message: str
) -> None:
    keys = {"model": "timm:test_vit", "mode": "scratch"} | more
    if more["head"] == "mlp":
        keys |= {"mode": "frozen", "weights": vit_weights}
    with pytest.raises(MarsbenchError, match=message):
        marsbench.run(task=toy, store=str(tmp_path), **keys)
