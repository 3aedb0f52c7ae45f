"""DINOv2, DINOv3, CLIP and SigLIP: transformers of timm with the pooling of their authors."""

from typing import Any

import pytest
import timm
import torch
from timm.models.vision_transformer import checkpoint_filter_fn

from marsbench.config.schema import Pooling
from marsbench.models.encoders.classifier import build_classifier
from marsbench.models.foundation import building
from marsbench.models.foundation.recipes import RECIPES
from marsbench.models.zoo.catalog import MODELS, get_model
from tests.models.foundation.checkpoints import DEPTH, HEADS, WIDTH, built, shrink

TOWERS = [name for name in RECIPES if building.address_of(MODELS[name]) is None]
SMALL: dict[str, Any] = {"embed_dim": WIDTH, "depth": DEPTH, "num_heads": HEADS}


def tiny(name: str, **more: Any) -> Any:
    """Model of timm, tiny and at random, without our options."""
    torch.manual_seed(0)
    model: Any = timm.create_model(RECIPES[name].architecture.partition(".")[0], **SMALL, **more)
    for parameter in model.parameters():  # some start at zero, where differences do not show
        torch.nn.init.normal_(parameter, std=0.2)
    return model.eval()


@pytest.mark.parametrize("name", TOWERS)
def test_entry_agrees_with_timm(name: str) -> None:
    spec, timms = MODELS[name], get_model(f"timm:{RECIPES[name].architecture}")
    assert spec.weights is not None
    assert timms.weights is not None
    assert spec.weights.name == timms.weights.name
    assert spec.weights.licence.lower() == timms.weights.licence.lower()
    assert (spec.mean, spec.std) == (timms.mean, timms.std)
    if "dinov2" not in name:
        assert (spec.input_size, spec.resizing) == (timms.input_size, timms.resizing)


@pytest.mark.parametrize("name", ["dinov2_b", "dinov3_b", "clip_b_16", "siglip_b_16"])
def test_every_tensor_lands_and_the_authors_pooling_is_taken(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shrink(monkeypatch, name)
    donor = tiny(name)
    monkeypatch.setattr(building, "fetch", lambda spec: donor.state_dict())
    side = MODELS[name].input_size
    reference = tiny(name, img_size=side, num_classes=0)
    state = donor.state_dict()
    if "dinov3" not in name:
        state = checkpoint_filter_fn(state, reference)
    wanted = reference.state_dict()
    reference.load_state_dict({k: v for k, v in state.items() if k in wanted})
    image = torch.rand(2, 3, side, side)
    model = built(name)
    with torch.no_grad():
        tokens = reference.forward_features(model.adapter(image))
        expected = reference.forward_head(tokens, pre_logits=True)
        if name != "siglip_b_16":
            expected = tokens[:, 0]
        torch.testing.assert_close(model.features(image), expected, rtol=1e-4, atol=1e-4)
        mean = built(name, pooling=Pooling.MEAN).features(image)
        torch.testing.assert_close(mean, tokens[:, reference.num_prefix_tokens :].mean(1))


def test_clip_has_quick_gelu() -> None:
    spec = MODELS["clip_b_16"]
    with torch.device("meta"):
        backbone: Any = build_classifier(spec, 2, pretrained=False).backbone
    act = backbone.blocks[0].mlp.act
    x = torch.linspace(-3, 3, 7)
    torch.testing.assert_close(act(x), x * torch.sigmoid(1.702 * x))
