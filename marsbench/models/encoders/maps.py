"""Feature maps of encoders, and their pyramid, for tasks of masks and boxes.

A transformer with tokens of a single stride, or a network with maps of several, gives maps of the
strides 4, 8, 16 and 32.
"""

import copy
from collections.abc import Callable, Iterator, Sequence
from math import ceil, log2
from typing import Any, NamedTuple

import torch
from timm.layers.norm import LayerNorm2d
from torch import Tensor, nn
from torch.nn import functional

from marsbench.base import lazy
from marsbench.base.errors import NotAvailableError
from marsbench.models.encoders.classifier import build_classifier
from marsbench.models.libraries import LIBRARIES
from marsbench.models.spec import ModelSpec

STRIDES = (4, 8, 16, 32)
"""Strides of a pyramid in pixels."""

TAKEN = 4
"""Blocks of a plain transformer whose tokens are taken, evenly spaced and the last included."""

Size = tuple[int, int]
"""Height and width in pixels."""


class MapSource(NamedTuple):
    """Way from a backbone to its feature maps.

    Attributes:
        extract: From the backbone and normalised images (B, C, H, W) to maps (B, F, h, w), finest
            first; F, h and w differ between maps.
        side: Side of the only images that it takes, in pixels; None for any.
        computes_shapes: Whether a copy of the backbone may compute shapes alone.
    """

    extract: Callable[[Any, Tensor], Sequence[Tensor]]
    side: int | None = None
    computes_shapes: bool = True


class FeatureMaps(nn.Module):
    """An encoder with feature maps as output.

    Args:
        backbone: Module of its library.
        source: Way to its maps.
        channels: Number of input channels.
        side: Side in pixels of the images to come.

    Attributes:
        num_channels: Channels of each map.
        strides: Stride of each map, rounded to a power of two.
        shapes: Channels, height and width of each map of such an image.

    Raises:
        Exception: If an image cannot be encoded, as the backbone raises it.
    """

    def __init__(self, backbone: nn.Module, source: MapSource, channels: int, side: int) -> None:
        super().__init__()
        self.backbone, self.source = backbone, source
        image = torch.zeros(1, channels, side, side)
        maps, unused = _probe(self, image)
        self.shapes = [tuple(m.shape[1:]) for m in maps]
        self.num_channels = tuple(int(m.shape[1]) for m in maps)
        self.strides = tuple(2 ** round(log2(side / m.shape[2])) for m in maps)
        # Such as a pooling by attention: several devices would wait for their gradients.
        for name in unused:
            self.get_parameter(name).requires_grad_(False)

    def forward(self, image: Tensor) -> list[Tensor]:
        """Encode normalised images (B, C, H, W), resized if the encoder takes a single size."""
        side = self.source.side
        if side is not None and image.shape[-2:] != (side, side):
            image = functional.interpolate(image, (side, side), mode="bilinear", antialias=True)
        return list(self.source.extract(self.backbone, image))


def build_maps(
    spec: ModelSpec, side: int, *, pretrained: bool, checkpoint: Any = None
) -> FeatureMaps:
    """Build an encoder with feature maps; arguments and errors as in `build_classifier`.

    Args:
        spec: The zoo entry.
        side: Side in pixels of the images to come; positions are interpolated to it.
        pretrained: Whether the encoder starts from weights.
        checkpoint: Local weights instead of the default ones.

    Raises:
        NotAvailableError: If the encoder has no feature maps.
    """
    path = LIBRARIES[spec.library].maps
    if not path:
        raise without_maps(spec)
    classifier = build_classifier(spec, 1, pretrained=pretrained, checkpoint=checkpoint)
    source = lazy.load(path)(spec, classifier.backbone, side)
    try:
        return FeatureMaps(classifier.backbone, source, spec.in_channels, side)
    except Exception as error:  # libraries raise many types for sizes that do not fit
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise NotAvailableError(
            f"{spec.name} cannot encode images of {side} pixels: {reason}",
            f"Give another side=, best a multiple of {spec.input_size}, or choose another model.",
        ) from error


def without_maps(spec: ModelSpec) -> NotAvailableError:
    """Build the error for an encoder that gives feature vectors alone."""
    return NotAvailableError(
        f"{spec.name} has no feature maps, which tasks of masks and boxes need.",
        "Choose another model, such as vit or resnet101.",
    )


def _probe(model: FeatureMaps, image: Tensor) -> tuple[list[Tensor], list[str]]:
    """Encode an image; returns the maps and the names of the parameters without an effect on them.

    If possible on the meta device, which computes shapes alone.
    """
    was_training = model.training
    model.eval()
    try:
        shadow = _shadow(model) if model.source.computes_shapes else model
        try:
            maps = _encoded(shadow, image)
        except Exception:  # networks that compute with values, or keep tensors aside
            if shadow is model:
                raise
            shadow = model
            maps = _encoded(model, image)
    finally:
        model.train(was_training)
    given = {id(parameter): name for name, parameter in shadow.named_parameters()}
    used = {id(leaf) for leaf in _leaves(maps)}
    return maps, [name for key, name in given.items() if key not in used]


def _shadow(model: FeatureMaps) -> FeatureMaps:
    """Copy of a network on the meta device, without memory for its tensors."""
    copies: dict[int, Any] = {id(b): b.to("meta") for b in model.buffers()}
    copies |= {id(p): nn.Parameter(p.detach().to("meta")) for p in model.parameters()}
    return copy.deepcopy(model, copies)


def _encoded(model: FeatureMaps, image: Tensor) -> list[Tensor]:
    place = next(model.parameters(), image).device
    with torch.enable_grad():
        maps: list[Tensor] = model(image.to(place))
    return maps


def _leaves(outputs: Sequence[Tensor]) -> Iterator[Tensor]:
    """Tensors from which outputs were computed, read off the graph of their gradients."""
    waiting: list[Any] = [output.grad_fn for output in outputs]
    seen = set(waiting)
    while waiting:
        node = waiting.pop()
        if node is None:
            continue
        if hasattr(node, "variable"):
            yield node.variable
        for parent, _ in node.next_functions:
            if parent not in seen:
                seen.add(parent)
                waiting.append(parent)


def taken_blocks(count: int) -> list[int]:
    """Indices of `TAKEN` of `count` blocks, evenly spaced and the last included.

    Fewer blocks are repeated, so that there is always one for each level.
    """
    return [ceil((k + 1) * count / TAKEN) - 1 for k in range(TAKEN)]


def nearest(strides: Sequence[int]) -> list[int]:
    """Index of the map for each of `STRIDES`.

    Maps of a single stride are taken as in `taken_blocks`; otherwise the nearest stride, and the
    deepest of several maps of it.
    """
    if len(set(strides)) == 1:
        return taken_blocks(len(strides))
    return [
        min(range(len(strides)), key=lambda i: (abs(log2(strides[i] / target)), -i))
        for target in STRIDES
    ]


class Pyramid(nn.Module):
    """Maps of the strides 4, 8, 16 and 32.

    A map of the stride is used as it is. Others are enlarged by transposed convolutions, which
    halve the channels, or pooled, as in the simple feature pyramid of ViTDet (Li et al. 2022,
    https://arxiv.org/abs/2203.16527).

    Args:
        num_channels: Channels of each map of an encoder.
        strides: Stride of each.

    Attributes:
        num_channels: Channels of each level.
    """

    def __init__(self, num_channels: Sequence[int], strides: Sequence[int]) -> None:
        super().__init__()
        self.sources = nearest(strides)
        self.levels = nn.ModuleList()
        self.num_channels: list[int] = []
        for k, target in zip(self.sources, STRIDES, strict=True):
            level, channels = _scaling(num_channels[k], strides[k] / target)
            self.levels.append(level)
            self.num_channels.append(channels)

    def forward(self, maps: Sequence[Tensor], size: Size) -> list[Tensor]:
        """Build the levels.

        Args:
            maps: Maps of an encoder.
            size: Height and width of its input.

        Returns:
            For each stride s a map (B, F_s, ceil(H / s), ceil(W / s)). Maps of other sizes, such as
            those of patches of 14 pixels, are interpolated to it.
        """
        levels = []
        for k, level, stride in zip(self.sources, self.levels, STRIDES, strict=True):
            exact = (-(-size[0] // stride), -(-size[1] // stride))
            built = level(maps[k])
            if built.shape[-2:] != exact:
                built = functional.interpolate(built, exact, mode="bilinear")
            levels.append(built)
        return levels


def _scaling(channels: int, factor: float) -> tuple[nn.Module, int]:
    """Module that enlarges a map by a power of two, and the channels of its output."""
    if factor < 1:
        return nn.MaxPool2d(round(1 / factor), ceil_mode=True), channels
    layers: list[nn.Module] = []
    for step in range(round(log2(factor))):
        if step:
            layers += [LayerNorm2d(channels), nn.GELU()]
        layers.append(nn.ConvTranspose2d(channels, max(channels // 2, 1), 2, stride=2))
        channels = max(channels // 2, 1)
    return (nn.Sequential(*layers) if layers else nn.Identity()), channels
