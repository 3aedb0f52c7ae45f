"""CROMA, DOFA and Scale-MAE of torchgeo, through our interface."""

import math
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

import marsbench
from marsbench.base.errors import NotAvailableError, WeightsError
from marsbench.config.schema import Pooling
from marsbench.models import weights
from marsbench.models.encoders.classifier import build_classifier
from marsbench.models.foundation import recipes
from marsbench.models.zoo.catalog import MODELS
from marsbench.plan.derived import image_side
from marsbench.tasks.catalog import get_task
from tests.models.foundation.checkpoints import State, built, random, repo_and_file, saved
from tests.server import Repo, Server

TINY: dict[str, tuple[str, dict[str, Any]]] = {
    "croma": ("CROMA", {"encoder_dim": 32, "encoder_depth": 2}),
    "dofa_b": ("DOFA", {"embed_dim": 32, "depth": 2, "num_heads": 2}),
    "scalemae_l": ("ScaleMAE", {"embed_dim": 32, "depth": 2, "num_heads": 2}),
}


def test_a_missing_package_is_one_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchgeo.models", None)
    with pytest.raises(NotAvailableError, match=r"torchgeo, which is not installed") as caught:
        build_classifier(MODELS["dofa_b"], 2, pretrained=False)
    assert "pip install 'marsbench[eo]'" in str(caught.value)


@pytest.fixture
def library() -> Any:
    return pytest.importorskip("torchgeo.models")


def tiny(name: str, library: Any, monkeypatch: pytest.MonkeyPatch, **more: Any) -> Any:
    """Make an entry tiny; returns torchgeo's own model of its size, at random."""
    architecture, options = TINY[name]
    recipe = recipes.RECIPES[name]
    small = replace(recipe, architecture=architecture, options={**recipe.options, **options})
    monkeypatch.setitem(recipes.RECIPES, name, small)
    torch.manual_seed(0)
    model = getattr(library, architecture)(**{**small.options, **more})
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return model.eval()


def publish(name: str, content: Any, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    repo, file = repo_and_file(name)
    commit = str(MODELS[name].weights).split("@")[1][:40]
    server.models[repo] = Repo({file: saved(content)}, commit=commit)
    monkeypatch.setattr(weights, "check_published", lambda path, digest: None)


def croma_by_hand(state: State, image: torch.Tensor) -> torch.Tensor:
    """Pooled encoding of CROMA (Fuller et al. 2023), from its published tensors alone."""
    side, heads = image.shape[-1] // 8, 16
    x = image.reshape(len(image), 12, side, 8, side, 8).permute(0, 2, 4, 1, 3, 5)
    x = x.reshape(len(image), side * side, 12 * 64)
    at = [(r, c) for r in range(side) for c in range(side)]
    distances = torch.tensor([[math.dist(p, q) for q in at] for p in at])
    slopes = torch.tensor([2 ** (-(i + 1) / 2) for i in range(heads)])
    bias = -slopes.view(1, heads, 1, 1) * distances

    def linear(x: torch.Tensor, name: str, bias: bool = True) -> torch.Tensor:
        return functional.linear(
            x, state[f"{name}.weight"], state[f"{name}.bias"] if bias else None
        )

    def norm(x: torch.Tensor, name: str) -> torch.Tensor:
        return functional.layer_norm(
            x, (x.shape[-1],), state[f"{name}.weight"], state[f"{name}.bias"]
        )

    x = linear(x, "s2_encoder.linear_input")
    for i in range(2):
        layer = f"s2_encoder.transformer.layers.{i}"
        qkv = linear(norm(x, f"{layer}.0.input_norm"), f"{layer}.0.to_qkv", bias=False)
        q, k, v = (t.reshape(*t.shape[:2], heads, -1).transpose(1, 2) for t in qkv.chunk(3, dim=-1))
        scores = q @ k.transpose(2, 3) / q.shape[-1] ** 0.5 + bias
        y = (scores.softmax(-1) @ v).transpose(1, 2).flatten(2)
        x = x + linear(y, f"{layer}.0.to_out")
        y = linear(norm(x, f"{layer}.1.input_norm"), f"{layer}.1.net.0")
        x = x + linear(functional.gelu(y), f"{layer}.1.net.3")
    x = norm(x, "s2_encoder.transformer.norm_out").mean(dim=1)
    y = functional.gelu(linear(norm(x, "s2_GAP_FFN.0"), "s2_GAP_FFN.1"))
    return linear(y, "s2_GAP_FFN.3")


@pytest.mark.parametrize("side", [120, 64])
def test_croma_of_normalised_images(
    side: int, library: Any, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    net = tiny("croma", library, monkeypatch, image_size=side)
    parts = {n: dict(getattr(net, n).state_dict()) for n in ("s2_encoder", "s2_GAP_FFN")}
    publish(
        "croma",
        {
            **parts,
            "s1_encoder": {"linear_input.weight": random(2, 2)},
            "joint_encoder": {"x": random(2)},
        },
        server,
        monkeypatch,
    )
    model = built("croma")
    image = torch.rand(2, 12, side, side) ** 4
    pixels = image.double().numpy()
    mean, std = pixels.mean((2, 3), keepdims=True), pixels.std((2, 3), ddof=1, keepdims=True)
    clipped = np.clip((pixels - (mean - 2 * std)) / (4 * std), 0, 1)
    assert (clipped == 1).any()
    normal = torch.from_numpy(clipped).float()
    state = {f"{part}.{k}": v for part, tensors in parts.items() for k, v in tensors.items()}
    with torch.no_grad():
        features = model.features(image)
        torch.testing.assert_close(features, croma_by_hand(state, normal), rtol=1e-3, atol=1e-3)
        theirs = net(x_optical=normal)
        torch.testing.assert_close(features, theirs["optical_GAP"], rtol=1e-3, atol=1e-3)
        mean_tokens = built("croma", pooling=Pooling.MEAN).features(image)
        expected = theirs["optical_encodings"].mean(dim=1)
        torch.testing.assert_close(mean_tokens, expected, rtol=1e-3, atol=1e-3)


def test_dofa_has_the_wavelengths_of_colours(
    library: Any, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    net = tiny("dofa_b", library, monkeypatch)
    state = {k: v for k, v in net.state_dict().items() if not k.startswith(("head", "fc_norm"))}
    torch.nn.init.ones_(net.fc_norm.weight)
    torch.nn.init.zeros_(net.fc_norm.bias)
    publish("dofa_b", state, server, monkeypatch)
    model = built("dofa_b")
    image = torch.rand(2, 3, 224, 224)
    with torch.no_grad():
        expected = net.forward_features(model.adapter(image), [0.665, 0.56, 0.49])
        torch.testing.assert_close(model.features(image), expected, rtol=1e-4, atol=1e-4)


def test_scale_mae_takes_the_class_token(
    library: Any, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    net = tiny("scalemae_l", library, monkeypatch)
    publish("scalemae_l", net.state_dict() | {"mask_token": random(1)}, server, monkeypatch)
    model = built("scalemae_l")
    image = torch.rand(1, 3, 224, 224)
    with torch.no_grad():
        expected = net.forward_features(model.adapter(image))[:, 0]
        torch.testing.assert_close(model.features(image), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["croma", "dofa_b"])
def test_maps_of_blocks_are_the_tokens_of_the_last(
    name: str, library: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny(name, library, monkeypatch)
    backbone: Any = build_classifier(MODELS[name], 2, pretrained=False).backbone.eval()
    patch, channels = MODELS[name].patch or 0, MODELS[name].in_channels
    image = torch.rand(1, channels, 4 * patch, 4 * patch)
    with torch.no_grad():
        maps = backbone.forward_intermediates(image, indices=[0, 1], norm=name == "croma")
        tokens = backbone.forward_features(image)[:, backbone.num_prefix_tokens :]
    assert [m.shape for m in maps] == [(1, 32, 4, 4)] * 2
    torch.testing.assert_close(maps[1].flatten(2).transpose(1, 2), tokens)
    assert not torch.allclose(maps[0], maps[1])


def test_a_replaced_file_is_refused(
    library: Any, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    net = tiny("dofa_b", library, monkeypatch)
    with monkeypatch.context() as patch:
        publish("dofa_b", net.state_dict(), server, patch)
    with pytest.raises(WeightsError, match="is not the published file"):
        built("dofa_b")


@pytest.mark.parametrize("name", TINY)
def test_entries_end_in_a_record(
    name: str,
    library: Any,
    toy: str,
    tmp_path: Path,
    server: Server,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    net = tiny(name, library, monkeypatch)
    state = dict(net.state_dict())
    if name == "croma":
        state.pop("attn_bias")
    state = {k: v for k, v in state.items() if not k.startswith("head")}
    publish(name, state, server, monkeypatch)
    side = {} if MODELS[name].patch is None else {"side": 48}
    keys: dict[str, Any] = {"task": toy, "model": name, "workers": 0, **side}
    record = marsbench.run(**keys, store=str(tmp_path / "runs"))
    assert math.isfinite(record.metrics["test"]["f1_weighted"])
    assert record.pretraining == MODELS[name].pretraining


@pytest.mark.parametrize(
    ("task", "model", "side"),
    [
        ("boulder_det", "croma", 320),
        ("boulder_det", "dofa_b", 640),
        ("conequest_seg", "croma", 320),
        ("conequest_seg", "dofa_b", 512),
    ],
)
def test_default_side_of_masks_and_boxes(task: str, model: str, side: int) -> None:
    """CROMA's attention holds a number for every pair of patches, which limits its side."""
    assert image_side(get_task(task), MODELS[model], lambda: 1024) == side
