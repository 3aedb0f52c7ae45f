"""Masked autoencoders: MOMO, SatMAE, and checkpoints for transformers of timm."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

import marsbench
from marsbench.base.errors import ConfigError, WeightsError
from marsbench.base.files import file_digest
from marsbench.config.schema import Pooling, RunConfig
from marsbench.models.encoders.classifier import build_classifier
from marsbench.models.pretraining import UNKNOWN
from marsbench.models.zoo.catalog import MODELS, get_model
from marsbench.plan.resolve import resolve
from tests.models.foundation.checkpoints import (
    WIDTH,
    State,
    built,
    decoder_state,
    encoder_state,
    mae_file,
    mean_of,
    repo_and_file,
    saved,
    shrink,
    tokens_of,
)
from tests.server import Repo, Server

LOSS = {
    "lpips_fn.lin0.model.1.weight": torch.ones(1, 4, 1, 1),
    "lpips_fn.net.slice1.0.bias": torch.ones(3),
}


@pytest.fixture
def momo(server: Server, monkeypatch: pytest.MonkeyPatch) -> State:
    """Tiny MOMO on the hub; its tensors."""
    torch.manual_seed(0)
    shrink(monkeypatch, "momo_b")
    state = encoder_state() | decoder_state() | LOSS
    repo, file = repo_and_file("momo_b")
    server.models[repo] = Repo({file: mae_file(state)})
    return state


def adapted(image: Tensor, mean: Any, std: Any) -> Tensor:
    return (image - torch.tensor(mean).view(1, -1, 1, 1)) / torch.tensor(std).view(1, -1, 1, 1)


def test_momo_scales_each_image_and_averages_its_patches(momo: State) -> None:
    image = torch.rand(2, 1, 224, 224) * 0.5 + 0.2
    low, high = image.amin((2, 3), keepdim=True), image.amax((2, 3), keepdim=True)
    colours = ((image - low) / (high - low)).expand(-1, 3, -1, -1)
    normal = adapted(colours, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    with torch.no_grad():
        features = built("momo_b").features(image)
    expected = mean_of(tokens_of(momo, normal, momo["pos_embed"]))
    torch.testing.assert_close(features, expected, rtol=1e-4, atol=1e-4)


def test_the_class_token_of_momo(momo: State) -> None:
    image = torch.rand(1, 3, 224, 224)
    model = built("momo_b", pooling=Pooling.CLS)
    with torch.no_grad():
        features = model.features(image)
        tokens = tokens_of(momo, model.adapter(image), momo["pos_embed"])
    expected = functional.layer_norm(tokens[:, 0], (WIDTH,), eps=1e-6)
    torch.testing.assert_close(features, expected, rtol=1e-4, atol=1e-4)


def test_positions_are_interpolated_to_the_side_of_a_run(momo: State) -> None:
    model = built("momo_b")
    image = torch.rand(1, 3, 96, 96)
    grid = momo["pos_embed"][0, 1:].reshape(14, 14, -1).permute(2, 0, 1)[None]
    grid = functional.interpolate(grid, (6, 6), mode="bicubic", antialias=True)
    positions = torch.cat([momo["pos_embed"][:, :1], grid.flatten(2).transpose(1, 2)], dim=1)
    with torch.no_grad():
        features = model.features(image)
        expected = mean_of(tokens_of(momo, model.adapter(image), positions))
    torch.testing.assert_close(features, expected, rtol=1e-4, atol=1e-4)


def test_every_tensor_left_over_or_missing_is_named(momo: State, tmp_path: Path) -> None:
    odd = {k: v for k, v in momo.items() if k not in ("cls_token", "blocks.1.norm2.bias")}
    (tmp_path / "odd.pth").write_bytes(mae_file({**odd, "teacher.weight": torch.ones(2)}))
    with pytest.raises(WeightsError) as caught:
        built("momo_b", checkpoint=tmp_path / "odd.pth")
    for word in ("odd.pth", "cls_token", "blocks.1.norm2.bias", "teacher.weight"):
        assert word in str(caught.value)
    assert "decoder" not in str(caught.value)


def test_satmae_has_statistics_of_its_own(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    from safetensors.torch import save

    torch.manual_seed(1)
    shrink(monkeypatch, "satmae")
    state = encoder_state() | decoder_state()
    repo, file = repo_and_file("satmae")
    server.models[repo] = Repo({file: save(state)})
    image = torch.rand(2, 3, 224, 224)
    normal = adapted(
        image,
        (0.4182007312774658, 0.4214799106121063, 0.3991275727748871),
        (0.28774282336235046, 0.27541765570640564, 0.2764017581939697),
    )
    with torch.no_grad():
        features = built("satmae").features(image)
    expected = mean_of(tokens_of(state, normal, state["pos_embed"]))
    torch.testing.assert_close(features, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("prefix", ["", "module."])
def test_transformers_of_timm_take_masked_autoencoders(tmp_path: Path, prefix: str) -> None:
    import timm

    spec = get_model("timm:test_vit")
    model: Any = timm.create_model("test_vit", num_classes=0)
    width = model.embed_dim
    wanted = {k: torch.randn_like(v) for k, v in model.state_dict().items()}
    decoder = {
        "mask_token": torch.ones(1, 1, 8),
        "decoder_embed.weight": torch.ones(8, width),
        "decoder_pred.bias": torch.ones(3),
    }
    file = tmp_path / "mae.pth"
    file.write_bytes(saved({"model": {prefix + k: v for k, v in (wanted | decoder).items()}}))
    backbone = build_classifier(spec, 2, pretrained=True, checkpoint=file).backbone
    assert all(torch.equal(v, wanted[k]) for k, v in backbone.state_dict().items())
    del decoder["decoder_embed.weight"]  # no masked autoencoder: nothing is left out
    file.write_bytes(saved({"model": wanted | decoder}))
    with pytest.raises(WeightsError, match=r"also has 2 tensor\(s\): mask_token, decoder_pred"):
        build_classifier(spec, 2, pretrained=True, checkpoint=file)


def test_positions_of_another_grid_are_interpolated_when_loading(tmp_path: Path) -> None:
    import timm

    spec = get_model("timm:test_vit")
    model = timm.create_model("test_vit", num_classes=0, img_size=64)
    state = model.state_dict() | {"decoder_embed.weight": torch.ones(1)}
    (tmp_path / "mae.pth").write_bytes(saved({"model": state}))
    backbone = build_classifier(
        spec, 2, pretrained=True, checkpoint=tmp_path / "mae.pth"
    ).backbone.state_dict()["pos_embed"]
    prefix = backbone.shape[1] - round((spec.input_size / 16) ** 2)
    assert torch.equal(backbone[:, :prefix], state["pos_embed"][:, :prefix])
    grid = state["pos_embed"][0, prefix:].reshape(4, 4, -1).permute(2, 0, 1)[None]
    side = round((backbone.shape[1] - prefix) ** 0.5)
    grid = functional.interpolate(grid, (side, side), mode="bicubic", antialias=True)
    torch.testing.assert_close(backbone[:, prefix:], grid.flatten(2).transpose(1, 2))


def config(task: str, **more: Any) -> dict[str, Any]:
    return {
        "task": task,
        "model": "momo_b",
        "side": 32,
        "trainer.max_epochs": 1,
        "workers": 0,
        **more,
    }


def test_weights_of_single_sensors_keep_their_facts(
    momo: State, server: Server, toy: str, tmp_path: Path
) -> None:
    repo = server.models["Mirali33/MOMO"]
    content = repo.files["vit-b-16/ctx.pth"] = mae_file({k: v + 1 for k, v in momo.items()})
    given = "hf://Mirali33/MOMO/vit-b-16/ctx.pth"
    record = marsbench.run(**config(toy, weights=given), store=str(tmp_path / "runs"))
    default = marsbench.run(**config(toy), store=str(tmp_path / "runs"))
    assert default.identity["weights"] == "hf://Mirali33/MOMO/vit-b-16/momo.pth"
    assert default.pretraining is not None
    assert "frost_cls" in (default.pretraining.overlaps or ())
    (tmp_path / "ctx.pth").write_bytes(content)
    assert record.identity["weights"] == file_digest(tmp_path / "ctx.pth")
    assert record.pretraining is not None
    assert record.pretraining.data == "MOMO pre-training data (CTX)"
    assert record.pretraining.overlaps is not None
    assert "domars16k" in record.pretraining.overlaps
    assert "frost_cls" not in record.pretraining.overlaps
    own = config(toy, weights=str(tmp_path / "ctx.pth"))
    assert resolve(RunConfig.from_dict(own)).pretraining == UNKNOWN


@pytest.mark.parametrize("mode", ["frozen", "finetune", "scratch"])
def test_every_mode_ends_in_a_record(momo: State, toy: str, tmp_path: Path, mode: str) -> None:
    record = marsbench.run(**config(toy, mode=mode), store=str(tmp_path / "runs"))
    assert record.identity["architecture"] == "foundation:momo_b"
    assert record.identity["input_size"] == 32
    assert np.isfinite(record.metrics["test"]["f1_weighted"])


@pytest.mark.parametrize(
    ("more", "part"),
    [
        ({"side": 40}, "side=40 is not a multiple of 16"),
        ({"side": 96, "model": "satmae", "resize": "pretraining"}, "gives images of 224 pixels"),
        ({"side": 96, "model": "vit"}, "side=96 cannot be chosen"),
    ],
)
def test_sides_that_do_not_fit(toy: str, more: dict[str, Any], part: str) -> None:
    with pytest.raises(ConfigError, match=part):
        resolve(RunConfig.from_dict(config(toy) | more))


def test_overlaps_are_tasks_of_the_sensors() -> None:
    facts = MODELS["momo_s"].pretraining
    assert facts.overlaps is not None
    assert {"landmark_cls", "domars16k", "crater_multi_seg", "mmls"} <= set(facts.overlaps)
    assert not {"surface_cls", "mars_seg_mer", "ega_ms"} & set(facts.overlaps)
