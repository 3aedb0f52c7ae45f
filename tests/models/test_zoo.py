from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from marsbench.base.errors import UnknownNameError, WeightsError
from marsbench.config.schema import Mode, RunConfig
from marsbench.models.base import has_batch_statistics
from marsbench.models.encoders.classifier import Classifier, build_classifier
from marsbench.models.libraries import LIBRARIES
from marsbench.models.modes import build_for_mode, count_parameters
from marsbench.models.spec import (
    ALWAYS,
    CLASSIFICATION,
    NEVER,
    UNLESS_FROZEN,
    Library,
    ModelSpec,
)
from marsbench.models.zoo import foundation
from marsbench.models.zoo.catalog import ALIASES, MODELS, get_model
from marsbench.plan.resolve import resolve
from marsbench.tasks.kinds import Kind

# Segmenters and detectors have tests of their own.
CLASSIFIERS = [name for name, spec in MODELS.items() if spec.kinds >= CLASSIFICATION]
FOUNDATION = [entry.name for entry in foundation.ENTRIES]
"""With tests of their own too, on tiny architectures."""
SMALL = [n for n in CLASSIFIERS if (MODELS[n].parameters or 0) < 40 and n not in FOUNDATION]
BIG = sorted(set(CLASSIFIERS) - set(SMALL))
EVERY = [*SMALL, *(pytest.param(name, marks=pytest.mark.slow) for name in BIG)]


@pytest.mark.parametrize("name", [n for n in CLASSIFIERS if LIBRARIES[MODELS[n].library].spec])
def test_entry_agrees_with_its_library(name: str) -> None:
    """The table repeats what the library says; here they are held together."""
    spec = MODELS[name]
    said = get_model(f"{spec.library}:{spec.id}")
    assert spec.architecture == said.architecture
    assert spec.input_size == said.input_size
    assert spec.resizing == said.resizing
    assert spec.weights is not None
    assert (spec.mean, spec.std) == (said.mean, said.std)
    if spec.weights.package is None:
        assert said.weights is not None
        assert spec.weights.name == said.weights.name
        assert spec.weights.licence.lower() == said.weights.licence.lower()


def test_names_and_aliases_are_unique() -> None:
    assert not set(MODELS) & set(ALIASES)
    assert len(ALIASES) == sum(len(spec.aliases) for spec in MODELS.values())


@pytest.mark.parametrize(
    ("alias", "name"),
    [
        ("resnet", "resnet101"),
        ("squeezenet", "squeezenet1_1"),
        ("inception", "inception_v3"),
        ("swin", "swinv2_b"),
        ("vit", "vit_l_16"),
    ],
)
def test_the_papers_five(alias: str, name: str) -> None:
    assert get_model(alias) is MODELS[name]


def skip_without_extra(spec: ModelSpec) -> None:
    """Skip a test of a model whose library comes with an extra, where it is not installed."""
    if spec.library in (Library.ULTRALYTICS, Library.TORCHGEO):
        pytest.importorskip(spec.library.value)


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("channels", [1, 3])
def test_logits_of_grey_and_colour_images(name: str, channels: int) -> None:
    spec = get_model(name)
    skip_without_extra(spec)
    model = build_classifier(spec, 5, pretrained=False).eval()
    if channels == 3:
        channels = spec.in_channels
    image = torch.rand(2, channels, spec.input_size, spec.input_size)
    with torch.inference_mode():
        logits, features = model(image), model.features(image)
        assert logits.shape == (2, 5)
        assert torch.isfinite(logits).all()
        assert features.ndim == 2
        assert torch.allclose(model.head(features), logits)
    published = (spec.parameters or 0) * 1e6
    assert 0.5 * published < count_parameters(model)["total"] < 1.01 * published


NETWORKS = [name for name, spec in MODELS.items() if LIBRARIES[spec.library].trainer == "network"]


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(n, marks=pytest.mark.slow)
        if (MODELS[n].parameters or 0) > 30 or n in FOUNDATION
        else n
        for n in NETWORKS
    ],
)
def test_batch_statistics_are_those_of_the_built_model(name: str, tmp_path: Path) -> None:
    """The plan reads from the table, without torch, whether the trained part has any."""
    spec = MODELS[name]
    skip_without_extra(spec)
    kind = sorted(spec.kinds)[0]
    build = partial(build_for_mode, spec, kind, 3, side=spec.input_size, shape=(100, 50))
    model = build(Mode.SCRATCH)
    assert has_batch_statistics(model) == (Mode.SCRATCH in spec.batch_statistics)
    others = [mode for mode in Mode if mode in ALWAYS and mode is not Mode.SCRATCH]
    if spec.weights is None:
        assert not set(others) & set(spec.batch_statistics)
        return
    path = tmp_path / "weights.safetensors"
    save_file({key: tensor.clone() for key, tensor in model.state_dict().items()}, path)
    for mode in others:
        model = build(mode, checkpoint=path)
        assert has_batch_statistics(model) == (mode in spec.batch_statistics), mode


@pytest.mark.parametrize(
    ("name", "modes"),
    [
        ("timm:test_resnet", UNLESS_FROZEN),
        ("timm:test_vit", NEVER),
        ("torchvision:mobilenet_v3_small", UNLESS_FROZEN),
        ("torchvision:regnet_y_400mf", UNLESS_FROZEN),
        ("torchvision:squeezenet1_1", NEVER),
        ("smp:unet/tu-test_vit", NEVER),
        ("smp:fpn/resnet18", UNLESS_FROZEN),
        ("smp:unet/resnet18", ALWAYS),
    ],
)
def test_batch_statistics_of_models_beyond_the_zoo(name: str, modes: frozenset[Mode]) -> None:
    assert get_model(name).batch_statistics == modes


def snapshot(module: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def one_step(model: Classifier, side: int) -> None:
    model.train()
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    loss = model(torch.rand(4, 1, side, side)).square().mean()
    loss.backward()
    optimizer.step()


@pytest.mark.parametrize("name", EVERY)
def test_frozen_means_frozen(name: str) -> None:
    spec = get_model(name)
    skip_without_extra(spec)
    # Random weights do here: what is frozen does not depend on where weights came from.
    model = build_classifier(spec, 3, pretrained=False)
    model.freeze_backbone()
    before = snapshot(model)
    assert (
        any("running_mean" in k for k in before)
        or "vit" in name
        or "swin" in name
        or ("squeezenet" in name)
        or spec.patch is not None
    )
    one_step(model, spec.input_size)
    for key, tensor in model.state_dict().items():
        if key.startswith("backbone."):
            assert torch.equal(tensor, before[key]), key
    assert not torch.equal(model.state_dict()["head.weight"], before["head.weight"])
    assert count_parameters(model)["trained"] == sum(p.numel() for p in model.head.parameters())


@pytest.mark.parametrize("mode", [Mode.SCRATCH, Mode.FINETUNE])
def test_other_modes_train_everything(mode: Mode) -> None:
    spec = get_model("efficientnet_lite0")
    model = _build(spec, mode)
    before = snapshot(model)
    one_step(model, 64)
    counts = count_parameters(model)
    assert counts["trained"] == counts["total"]
    moved = [k for k, v in model.state_dict().items() if not torch.equal(v, before[k])]
    assert any("running_mean" in k for k in moved)
    assert any("conv_stem" in k for k in moved)


def _build(spec: ModelSpec, mode: Mode) -> Classifier:
    model = build_for_mode(spec, Kind.MULTICLASS, 3, mode, side=spec.input_size)
    assert isinstance(model, Classifier)
    return model


def test_modes_start_from_the_right_weights() -> None:
    spec = get_model("efficientnet_lite0")
    first = _build(spec, Mode.FROZEN).backbone.state_dict()
    second = _build(spec, Mode.FINETUNE).backbone.state_dict()
    random = _build(spec, Mode.SCRATCH).backbone.state_dict()
    assert all(torch.equal(first[k], second[k]) for k in first)
    assert not torch.equal(first["conv_stem.weight"], random["conv_stem.weight"])


@pytest.mark.parametrize("name", ["timm:test_resnet", "torchvision:mobilenet_v3_small"])
def test_any_model_of_a_library(name: str) -> None:
    spec = get_model(name)
    model = build_classifier(spec, 4, pretrained=False).eval()
    with torch.inference_mode():
        assert model(torch.rand(2, 1, spec.input_size, spec.input_size)).shape == (2, 4)


# One of each way torchvision names its classifier.
@pytest.mark.parametrize(
    "model_id", ["alexnet", "densenet121", "efficientnet_b0", "shufflenet_v2_x0_5", "googlenet"]
)
def test_torchvision_classifiers_are_found(model_id: str) -> None:
    spec = get_model(f"torchvision:{model_id}")
    model = build_classifier(spec, 4, pretrained=False).eval()
    with torch.inference_mode():
        assert model(torch.rand(1, 3, 224, 224)).shape == (1, 4)


def test_timm_tag_is_spelt_out() -> None:
    assert get_model("timm:resnet18").id == "resnet18.a1_in1k"
    weights = get_model("timm:resnet18.a2_in1k").weights
    assert weights is not None
    assert weights.name == "timm/resnet18.a2_in1k"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("vitt", ["vitt", "vit"]),
        ("ResNet101", ["resnet101"]),
        ("timm:resnet_18", ["resnet_18", "resnet18"]),
        ("timm:resnet18.nope", ["resnet18.nope"]),
        ("torchvision:vit_l16", ["vit_l_16"]),
        ("torchvison:vit_l_16", ["torchvison", "torchvision"]),
        ("torchvision:maskrcnn_resnet50_fpn", ["maskrcnn"]),
    ],
)
def test_unknown_names_get_suggestions(name: str, words: list[str]) -> None:
    with pytest.raises(UnknownNameError) as caught:
        get_model(name)
    for word in words:
        assert word in str(caught.value)


def test_random_weights_never_stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(WeightsError) as caught:
        _build(get_model("efficientnet_lite0"), Mode.FROZEN)
    assert "offline-weights" in str(caught.value)


@pytest.mark.parametrize("name", ["vit", "vit_tiny"])
def test_weights_that_cannot_be_had_say_where_it_looked(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))

    def no_network(*_: Any) -> None:
        raise OSError("Name or service not known")

    monkeypatch.setattr("marsbench.base.network.check_reachable", no_network)
    with pytest.raises(WeightsError) as caught:
        _build(get_model(name), Mode.FROZEN)
    weights = get_model(name).weights
    assert weights is not None
    for word in (weights.name, str(tmp_path), "mode=scratch", "weights=PATH"):
        assert word in str(caught.value)


@pytest.mark.parametrize("name", ["timm:vit_tiny_patch16_224", "torchvision:vit_b_16", "vit_tiny"])
def test_transformers_of_one_size_are_given_it_on_spectra(name: str) -> None:
    values = {"task": "ega_ms", "model": name, "mode": "scratch", "source": "demo"}
    assert resolve(RunConfig.from_dict(values)).side == 224
