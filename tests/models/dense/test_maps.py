"""Feature maps of encoders and their pyramid, against independent computations."""

from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn
from torch.nn import functional

from marsbench.base.errors import NotAvailableError
from marsbench.models.encoders import maps as dense
from marsbench.models.encoders import timm as timm_models
from marsbench.models.encoders import torchvision as torchvision_models
from marsbench.models.encoders.maps import FeatureMaps, MapSource, Pyramid, nearest, taken_blocks
from marsbench.models.libraries import LIBRARIES
from marsbench.models.spec import EVERY, Library, ModelSpec
from marsbench.models.zoo.catalog import MODELS


def small_vit(**more: Any) -> Any:
    """A transformer of 2 blocks and 32 channels for images of 64 pixels."""
    torch.manual_seed(0)
    options = {"img_size": 64, "patch_size": 16, "embed_dim": 32, "depth": 2, "num_heads": 2}
    return timm.models.VisionTransformer(**{**options, "num_classes": 0, **more}).eval()


@pytest.mark.parametrize("name", [n for n, s in MODELS.items() if s.kinds >= EVERY])
def test_entries_of_every_kind_have_maps(name: str) -> None:
    assert LIBRARIES[MODELS[name].library].maps


def maps_of(net: Any, side: int, library: Library = Library.TIMM) -> FeatureMaps:
    spec = ModelSpec(name="small", library=library, id="small")
    source = {Library.TIMM: timm_models.maps, Library.TORCHVISION: torchvision_models.maps}
    return FeatureMaps(net, source[library](spec, net, side), 3, side).eval()


@pytest.mark.parametrize(
    ("count", "expected"),
    [(1, [0, 0, 0, 0]), (2, [0, 0, 1, 1]), (12, [2, 5, 8, 11]), (24, [5, 11, 17, 23])],
)
def test_taken_blocks(count: int, expected: list[int]) -> None:
    assert taken_blocks(count) == expected


@pytest.mark.parametrize(
    ("strides", "expected"),
    [
        ((2, 4, 8, 16, 32), [1, 2, 3, 4]),
        ((4, 8, 16, 16), [0, 1, 3, 3]),
        ((16, 32, 64), [0, 0, 0, 1]),
        ((16,), [0, 0, 0, 0]),
    ],
)
def test_nearest_strides(strides: tuple[int, ...], expected: list[int]) -> None:
    assert nearest(strides) == expected


def test_tokens_are_those_of_the_blocks() -> None:
    net = small_vit()
    image = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        maps = maps_of(net, 64)(image)
        hidden = net.patch_embed(image)
        hidden = torch.cat([net.cls_token.expand(2, -1, -1), hidden], 1) + net.pos_embed
        expected = []
        for block in net.blocks:
            hidden = block(hidden)
            expected.append(net.norm(hidden)[:, 1:].transpose(1, 2).reshape(2, 32, 4, 4))
    assert len(maps) == 2
    for got, wanted in zip(maps, expected, strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-5)


def test_positions_are_interpolated() -> None:
    net = small_vit()
    before = net.pos_embed.detach()[:, 1:].reshape(1, 4, 4, 32).permute(0, 3, 1, 2)
    maps = maps_of(net, 96)
    wanted = functional.interpolate(
        before, (6, 6), mode="bicubic", antialias=True, align_corners=False
    )
    after = net.pos_embed.detach()[:, 1:].reshape(1, 6, 6, 32).permute(0, 3, 1, 2)
    torch.testing.assert_close(after, wanted)
    with torch.no_grad():
        assert [m.shape[-1] for m in maps(torch.rand(1, 3, 96, 96))] == [6, 6]


def test_levels_equal_their_layers() -> None:
    """Strides 4 to 32 of a stride of 16: transposed convolutions, as it is, and the maximum."""
    torch.manual_seed(0)
    pyramid = Pyramid((32, 32), (16, 16))
    first, last = torch.rand(2, 32, 4, 4), torch.rand(2, 32, 4, 4)
    levels = pyramid([first, last], (64, 64))
    assert [tuple(level.shape) for level in levels] == [
        (2, 8, 16, 16),
        (2, 16, 8, 8),
        (2, 32, 4, 4),
        (2, 32, 2, 2),
    ]
    finest: Any = pyramid.levels[0]

    def enlarged(image: Tensor, layer: Any) -> Tensor:
        # Of stride 2 and size 2, every pixel gives a block of its own.
        blocks = torch.einsum("bchw,cokl->bohkwl", image, layer.weight)
        larger = blocks.reshape(len(image), -1, 2 * image.shape[2], 2 * image.shape[3])
        output: Tensor = larger + layer.bias[:, None, None]
        return output

    middle = enlarged(first, finest[0])
    mean, variance = middle.mean(1, keepdim=True), middle.var(1, keepdim=True, unbiased=False)
    normed = (middle - mean) / (variance + finest[1].eps).sqrt()
    normed = normed * finest[1].weight[:, None, None] + finest[1].bias[:, None, None]
    active = normed * 0.5 * (1 + torch.erf(normed / 2**0.5))
    torch.testing.assert_close(levels[0], enlarged(active, finest[3]), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(levels[2], last)
    torch.testing.assert_close(levels[3], last.reshape(2, 32, 2, 2, 2, 2).amax((3, 5)))


def test_maps_of_a_hierarchy_are_used_as_they_are() -> None:
    net: Any = timm.create_model("test_resnet", num_classes=0).eval()
    maps = maps_of(net, 64)
    pyramid = Pyramid(maps.num_channels, maps.strides)
    image = torch.rand(1, 3, 64, 64)
    assert not list(pyramid.parameters())
    with torch.no_grad():
        levels = pyramid(maps(image), (64, 64))
        expected = net.forward_intermediates(image, intermediates_only=True)
    assert maps.strides == (2, 4, 8, 16, 32)
    for level, wanted in zip(levels, expected[1:], strict=True):
        assert torch.equal(level, wanted)


def test_patches_that_do_not_divide_the_side() -> None:
    """Images are resized to 98 = 7 x 14 pixels, and levels to their exact strides."""
    maps = maps_of(small_vit(patch_size=14, img_size=56), 96)
    assert maps.source.side == 98
    assert maps.strides == (16, 16)
    pyramid = Pyramid(maps.num_channels, maps.strides)
    with torch.no_grad():
        levels = pyramid(maps(torch.rand(1, 3, 96, 96)), (96, 96))
    assert [level.shape[-1] for level in levels] == [24, 12, 6, 3]


def test_tokens_of_torchvision_with_interpolated_positions() -> None:
    from torchvision.models import VisionTransformer

    torch.manual_seed(0)
    net: Any = VisionTransformer(64, 16, 4, 2, 32, 64)
    nn.init.normal_(net.encoder.pos_embedding)
    net.heads = nn.Identity()
    net.eval()
    image = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        cls = net(image)
        maps = maps_of(net, 64, Library.TORCHVISION)
        assert maps.strides == (16, 16, 16, 16)
        hidden = torch.cat([net.class_token.expand(2, -1, -1), net._process_input(image)], 1)
        whole = net.encoder(hidden)
        torch.testing.assert_close(whole[:, 0], cls)
        last = maps(image)[-1]
        torch.testing.assert_close(last, whole[:, 1:].transpose(1, 2).reshape(2, 32, 4, 4))
    larger = maps_of(net, 96, Library.TORCHVISION)
    assert net.encoder.pos_embedding.shape == (1, 37, 32)
    with torch.no_grad():
        assert larger(torch.rand(1, 3, 96, 96))[0].shape == (1, 32, 6, 6)


@pytest.mark.parametrize(
    ("name", "channels"),
    [
        ("resnet18", (64, 64, 128, 256, 512)),
        ("squeezenet1_1", (64, 128, 256, 512)),
        ("mobilenet_v3_small", (16, 16, 24, 48, 576)),
        ("convnext_tiny", (96, 192, 384, 768)),
    ],
)
def test_stages_of_torchvision(name: str, channels: tuple[int, ...]) -> None:
    spec = torchvision_models.describe(name)
    net = torchvision_models.build(spec, None).module
    maps = maps_of(net, 64, Library.TORCHVISION)
    assert maps.num_channels == channels
    if name == "resnet18":
        with torch.no_grad():
            image = torch.rand(1, 3, 64, 64)
            pooled = maps(image)[-1].mean((2, 3))
            torch.testing.assert_close(pooled, net.eval()(image))


def test_swin_of_torchvision_gives_channels_first() -> None:
    from torchvision.models.swin_transformer import SwinTransformer

    net: Any = SwinTransformer([4, 4], 16, [2, 2], [2, 2], [4, 4])
    net.head = nn.Identity()
    maps = maps_of(net, 64, Library.TORCHVISION)
    assert (maps.num_channels, maps.strides) == ((16, 32), (4, 8))
    with torch.no_grad():
        image = torch.rand(1, 3, 64, 64)
        pooled = maps(image)[-1].mean((2, 3))
        torch.testing.assert_close(pooled, net.eval()(image), rtol=1e-4, atol=1e-5)


def test_unused_parameters_do_not_train() -> None:
    """A normalisation of pooled features has no effect on maps."""
    net = small_vit(global_pool="avg", fc_norm=True)
    maps = maps_of(net, 64)
    idle = {name for name, p in maps.named_parameters() if not p.requires_grad}
    assert idle == {"backbone.fc_norm.weight", "backbone.fc_norm.bias"}
    total = torch.stack([m.sum() for m in maps(torch.rand(2, 3, 64, 64))]).sum()
    torch.autograd.backward(total)
    for name, parameter in maps.named_parameters():
        assert (parameter.grad is None) == (name in idle), name


def test_networks_that_compute_with_values_are_tried_on_the_device() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Conv2d(3, 5, 8, stride=8)

        def forward(self, image: Tensor) -> Tensor:
            assert image.sum().item() == 0  # impossible without values
            output: Tensor = self.layer(image)
            return output

    maps = FeatureMaps(Net(), MapSource(lambda net, image: [net(image)]), 3, 64)
    assert (maps.num_channels, maps.strides) == ((5,), (8,))


def test_sizes_that_fail_have_a_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any) -> MapSource:
        return MapSource(lambda net, image: net.missing(image))

    monkeypatch.setattr(timm_models, "maps", fails)
    with pytest.raises(NotAvailableError, match="cannot encode images of 64 pixels") as caught:
        dense.build_maps(timm_models.describe("test_vit"), 64, pretrained=False)
    assert "side=" in str(caught.value)
