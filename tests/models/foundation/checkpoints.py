"""Tiny checkpoints with the published names and shapes, and transformers to compare with."""

import io
from argparse import Namespace
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from marsbench.models.encoders.classifier import Classifier, build_classifier
from marsbench.models.foundation import building, recipes
from marsbench.models.zoo.catalog import MODELS

State = dict[str, Tensor]

WIDTH, DEPTH, HEADS = 32, 2, 2


def shrink(monkeypatch: pytest.MonkeyPatch, *names: str, **more: Any) -> None:
    """Make the architectures of entries tiny."""
    small = {"embed_dim": WIDTH, "depth": DEPTH, "num_heads": HEADS, **more}
    for name in names:
        recipe = recipes.RECIPES[name]
        monkeypatch.setitem(
            recipes.RECIPES, name, replace(recipe, options={**recipe.options, **small})
        )


def random(*shape: int) -> Tensor:
    return torch.randn(shape) * 0.3


def block(prefix: str, width: int = WIDTH) -> State:
    """A block of a transformer, by the names of timm, which MAE and Prithvi share."""
    shapes = {
        "norm1.weight": (width,),
        "norm1.bias": (width,),
        "attn.qkv.weight": (3 * width, width),
        "attn.qkv.bias": (3 * width,),
        "attn.proj.weight": (width, width),
        "attn.proj.bias": (width,),
        "norm2.weight": (width,),
        "norm2.bias": (width,),
        "mlp.fc1.weight": (4 * width, width),
        "mlp.fc1.bias": (4 * width,),
        "mlp.fc2.weight": (width, 4 * width),
        "mlp.fc2.bias": (width,),
    }
    return {f"{prefix}.{name}": random(*shape) for name, shape in shapes.items()}


def encoder_state(patches: int = 196, kernel: tuple[int, ...] = (3, 16, 16)) -> State:
    """Encoder of a masked autoencoder."""
    state = {
        "cls_token": random(1, 1, WIDTH),
        "pos_embed": random(1, patches + 1, WIDTH),
        "patch_embed.proj.weight": random(WIDTH, *kernel),
        "patch_embed.proj.bias": random(WIDTH),
        "norm.weight": random(WIDTH),
        "norm.bias": random(WIDTH),
    }
    for i in range(DEPTH):
        state |= block(f"blocks.{i}")
    return state


def decoder_state(patches: int = 196, outputs: int = 768) -> State:
    """Decoder of a masked autoencoder."""
    return {
        "mask_token": random(1, 1, 16),
        "decoder_pos_embed": random(1, patches + 1, 16),
        "decoder_embed.weight": random(16, WIDTH),
        "decoder_embed.bias": random(16),
        **block("decoder_blocks.0", 16),
        "decoder_norm.weight": random(16),
        "decoder_norm.bias": random(16),
        "decoder_pred.weight": random(outputs, 16),
        "decoder_pred.bias": random(outputs),
    }


def saved(content: Any) -> bytes:
    out = io.BytesIO()
    torch.save(content, out)
    return out.getvalue()


def mae_file(state: Mapping[str, Tensor]) -> bytes:
    """File of MAE's training script: tensors beside a pickled namespace of its arguments."""
    return saved({"model": dict(state), "args": Namespace(lr=1e-4, model="mae_vit")})


def normalised(x: Tensor, state: Mapping[str, Tensor], name: str, eps: float) -> Tensor:
    return functional.layer_norm(
        x, (x.shape[-1],), state[f"{name}.weight"], state[f"{name}.bias"], eps
    )


def tokens_of(
    state: Mapping[str, Tensor], image: Tensor, positions: Tensor, eps: float = 1e-6
) -> Tensor:
    """Tokens (B, 1 + N, D) after the last block, from tensors by MAE's names, without timm."""
    kernel = state["patch_embed.proj.weight"]
    x = functional.conv2d(image, kernel, state["patch_embed.proj.bias"], stride=kernel.shape[-1])
    x = x.flatten(2).transpose(1, 2) + positions[:, 1:]
    first = (state["cls_token"] + positions[:, :1]).expand(len(x), -1, -1)
    x = torch.cat([first, x], dim=1)
    for i in range(DEPTH):
        at = f"blocks.{i}"
        y = normalised(x, state, f"{at}.norm1", eps)
        qkv = functional.linear(y, state[f"{at}.attn.qkv.weight"], state[f"{at}.attn.qkv.bias"])
        q, k, v = (t.reshape(*t.shape[:2], HEADS, -1).transpose(1, 2) for t in qkv.chunk(3, dim=2))
        weights = (q @ k.transpose(2, 3) / q.shape[-1] ** 0.5).softmax(dim=3)
        y = (weights @ v).transpose(1, 2).flatten(2)
        x = x + functional.linear(y, state[f"{at}.attn.proj.weight"], state[f"{at}.attn.proj.bias"])
        y = normalised(x, state, f"{at}.norm2", eps)
        y = functional.linear(y, state[f"{at}.mlp.fc1.weight"], state[f"{at}.mlp.fc1.bias"])
        y = functional.gelu(y)
        x = x + functional.linear(y, state[f"{at}.mlp.fc2.weight"], state[f"{at}.mlp.fc2.bias"])
    return x


def mean_of(tokens: Tensor, eps: float = 1e-6) -> Tensor:
    """Mean of the patches, normalised with scale 1 and shift 0."""
    mean = tokens[:, 1:].mean(dim=1)
    return functional.layer_norm(mean, (mean.shape[-1],), eps=eps)


def built(name: str, **more: Any) -> Classifier:
    """Entry with its published weights."""
    return build_classifier(MODELS[name], 3, pretrained=True, **more).eval()


def repo_and_file(name: str) -> tuple[str, str]:
    """Repository and file of an entry's published weights."""
    address = building.address_of(MODELS[name])
    assert address is not None
    return address.repo, address.path
