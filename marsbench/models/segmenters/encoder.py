"""Segmentation models of any encoder, with a decoder over its feature maps."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from marsbench.config.schema import Decoder
from marsbench.models.adapters import build_adapter
from marsbench.models.base import without_lone_statistics
from marsbench.models.encoders.maps import STRIDES, FeatureMaps, Pyramid, Size, build_maps, nearest
from marsbench.models.segmenters.smp import Segmenter
from marsbench.models.spec import ModelSpec

WIDTH = 256
"""Channels of UPerNet's decoder."""

SMALLEST = 64
"""Least side of a padded input: two strides, so that the coarsest level has more than one value."""


class UPerNet(nn.Module):
    """UPerNet (Xiao et al. 2018, https://arxiv.org/abs/1807.10221) over a feature pyramid.

    The decoder is that of segmentation-models-pytorch.

    Args:
        encoder: The encoder.
        num_classes: K.
    """

    def __init__(self, encoder: FeatureMaps, num_classes: int) -> None:
        from segmentation_models_pytorch.base import SegmentationHead
        from segmentation_models_pytorch.base.initialization import initialize_decoder
        from segmentation_models_pytorch.decoders.upernet.decoder import UPerNetDecoder

        super().__init__()
        self.pyramid = Pyramid(encoder.num_channels, encoder.strides)
        # smp's encoders begin with maps of the strides 1 and 2, which this decoder leaves out.
        channels = (0, 0, *self.pyramid.num_channels)
        self.fusion: Any = UPerNetDecoder(channels, len(channels) - 1, WIDTH)
        initialize_decoder(self.fusion)
        self.head: Any = SegmentationHead(WIDTH, num_classes, kernel_size=1)

    def forward(self, maps: Sequence[Tensor], size: Size) -> Tensor:
        """Logits (B, K, H / 4, W / 4) from the maps of images of a size."""
        levels = self.pyramid(maps, size)
        logits: Tensor = self.head(self.fusion([levels[0], levels[0], *levels]))
        return logits


class Linear(nn.Module):
    """A linear classifier of pixels.

    Its input is the concatenation of maps, each standardised over the channels of a pixel. A linear
    layer commutes with interpolation, so it is applied to every map at the map's own size, and the
    logits are added up.

    Args:
        encoder: The encoder.
        num_classes: K.
    """

    def __init__(self, encoder: FeatureMaps, num_classes: int) -> None:
        super().__init__()
        self.sources = sorted(set(nearest(encoder.strides)))
        self.layers = nn.ModuleList(
            nn.Conv2d(encoder.num_channels[k], num_classes, 1) for k in self.sources
        )

    def forward(self, maps: Sequence[Tensor], size: Size) -> Tensor:
        """Logits (B, K, H / 4, W / 4) from the maps of images of a size."""
        finest = (size[0] // STRIDES[0], size[1] // STRIDES[0])
        logits = [
            functional.interpolate(layer(standardised(maps[k])), finest, mode="bilinear")
            for k, layer in zip(self.sources, self.layers, strict=True)
        ]
        total = logits[0]
        for more in logits[1:]:
            total = total + more
        return total


def standardised(image: Tensor) -> Tensor:
    """Scale the channels of each pixel of a map (B, F, H, W) to mean 0 and variance 1."""
    last = image.movedim(1, -1)
    return functional.layer_norm(last, last.shape[-1:]).movedim(-1, 1)


DECODERS: dict[Decoder, Callable[[FeatureMaps, int], nn.Module]] = {
    Decoder.UPERNET: UPerNet,
    Decoder.LINEAR: Linear,
}
"""Decoders of masks."""


class EncoderSegmenter(nn.Module):
    """An encoder and a decoder.

    Args:
        encoder: The encoder.
        decoder: From its maps, and the size of its input, to logits.
    """

    def __init__(self, encoder: FeatureMaps, decoder: nn.Module) -> None:
        super().__init__()
        self.encoder, self.decoder = encoder, decoder

    def forward(self, image: Tensor) -> Tensor:
        """Logits (B, K, H, W) of normalised images (B, C, H, W) of multiples of 32 pixels."""
        height, width = image.shape[-2:]
        return self.decode(self.encoder(image), (height, width))

    def decode(self, maps: Sequence[Tensor], size: Size) -> Tensor:
        """Logits (B, K, H, W) from the maps of images of a size."""
        return functional.interpolate(self.decoder(maps, size), size, mode="bilinear")


class MapSegmenter(Segmenter):
    """A segmenter over an encoder; it also starts from maps that were encoded before.

    Args:
        adapter: Normalises images in [0, 1].
        model: Encoder and decoder.
        side: Side in pixels of the images to come.
        padded: The same after padding.

    Attributes:
        num_features: F, the numbers in all maps of an image that a decoder uses.
    """

    def __init__(self, adapter: nn.Module, model: EncoderSegmenter, side: int, padded: int) -> None:
        super().__init__(adapter, model, STRIDES[-1], SMALLEST)
        self.side, self.padded = side, padded
        encoder = model.encoder
        self.sources = sorted(set(nearest(encoder.strides)))
        self.shapes = encoder.shapes
        self.num_features = sum(prod(self.shapes[k]) for k in self.sources)

    def features(self, image: Tensor) -> Tensor:
        """Encode images (B, C, side, side) in [0, 1]; returns their maps, flat, (B, F)."""
        maps = self.model.encoder(self.adapter(self._padded(image)))
        return torch.cat([maps[k].flatten(1) for k in self.sources], dim=1)

    def forward(self, image: Tensor) -> Tensor:
        """Segment images (B, C, H, W) in [0, 1], or maps (B, F) of images of the side.

        Returns:
            Logits (B, K, H, W).
        """
        if image.ndim > 2:
            return super().forward(image)
        # Decoders read the maps in `sources` alone.
        maps = [image.new_empty(0)] * len(self.shapes)
        parts = torch.split_with_sizes(image, [prod(self.shapes[k]) for k in self.sources], dim=1)
        for k, part in zip(self.sources, parts, strict=True):
            maps[k] = part.reshape(-1, *self.shapes[k])
        is_lone = self.training and len(image) == 1
        with without_lone_statistics(self.model) if is_lone else nullcontext():
            logits: Tensor = self.model.decode(maps, (self.padded, self.padded))
        return logits[..., : self.side, : self.side]


def build(
    spec: ModelSpec,
    num_classes: int,
    *,
    decoder: Decoder,
    side: int,
    pretrained: bool,
    checkpoint: Path | None = None,
) -> MapSegmenter:
    """Build a segmenter from the entry of an encoder; the decoder always starts at random.

    Args:
        spec: The zoo entry.
        num_classes: K, the number of outputs per pixel.
        decoder: upernet or linear.
        side: Side in pixels of the images to come.
        pretrained: Whether the encoder starts from weights.
        checkpoint: Local weights instead of the default ones.

    Raises:
        WeightsError: If the weights are missing or do not fit.
        NotAvailableError: If the encoder has no feature maps.
    """
    multiple = STRIDES[-1]
    padded = max(-(-side // multiple) * multiple, SMALLEST)
    encoder = build_maps(spec, padded, pretrained=pretrained, checkpoint=checkpoint)
    network = EncoderSegmenter(encoder, DECODERS[decoder](encoder, num_classes))
    return MapSegmenter(build_adapter(spec), network, side, padded)
