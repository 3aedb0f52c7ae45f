"""Detectors of any encoder: Faster R-CNN over a pyramid of its feature maps."""

from collections import OrderedDict
from pathlib import Path

from torch import Tensor, nn

from marsbench.config.schema import Decoder
from marsbench.models.adapters import build_adapter
from marsbench.models.detectors.torchvision import RCNN, Batch, TorchvisionDetector
from marsbench.models.encoders.maps import FeatureMaps, Pyramid, build_maps
from marsbench.models.spec import ModelSpec

WIDTH = 256
"""Channels of the feature pyramid, as in torchvision's detectors."""

ANCHORS = (32, 64, 128, 256, 512)
"""Sides of the anchors of each level in pixels, as in torchvision's Faster R-CNN."""

RATIOS = (0.5, 1.0, 2.0)
"""Heights of the anchors by their widths."""


class PyramidBackbone(nn.Module):
    """An encoder, its maps of the strides 4 to 32, and a feature pyramid network.

    The network is that of torchvision, with a further level by pooling.

    Args:
        body: The encoder.
    """

    def __init__(self, body: FeatureMaps) -> None:
        from torchvision.ops.feature_pyramid_network import (
            FeaturePyramidNetwork,
            LastLevelMaxPool,
        )

        super().__init__()
        self.body = body
        self.pyramid = Pyramid(body.num_channels, body.strides)
        self.fpn = FeaturePyramidNetwork(self.pyramid.num_channels, WIDTH, LastLevelMaxPool())
        self.out_channels = WIDTH

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Maps (B, WIDTH, h, w) by name, finest first, of images (B, C, H, W)."""
        height, width = image.shape[-2:]
        levels = self.pyramid(self.body(image), (height, width))
        maps: dict[str, Tensor] = self.fpn(OrderedDict((str(i), m) for i, m in enumerate(levels)))
        return maps


def build(
    spec: ModelSpec,
    num_classes: int,
    *,
    decoder: Decoder,
    side: int,
    pretrained: bool,
    checkpoint: Path | None = None,
) -> TorchvisionDetector:
    """Build a detector from the entry of an encoder; all but the encoder starts at random.

    Args:
        spec: The zoo entry.
        num_classes: Number of classes without the background.
        decoder: faster_rcnn.
        side: Side in pixels of the images to come.
        pretrained: Whether the encoder starts from weights.
        checkpoint: Local weights instead of the default ones.

    Raises:
        WeightsError: If the weights are missing or do not fit.
        NotAvailableError: If the encoder has no feature maps.
    """
    from torchvision.models.detection import FasterRCNN
    from torchvision.models.detection.anchor_utils import AnchorGenerator

    if decoder is not Decoder.FASTER_RCNN:
        raise ValueError(f"{decoder} does not detect")
    padded = -(-side // RCNN.divisible) * RCNN.divisible
    body = build_maps(spec, padded, pretrained=pretrained, checkpoint=checkpoint)
    anchors = AnchorGenerator(tuple((size,) for size in ANCHORS), tuple(RATIOS for _ in ANCHORS))
    model = FasterRCNN(
        PyramidBackbone(body),
        num_classes + RCNN.first_label,
        rpn_anchor_generator=anchors,
        **RCNN.options,
    )
    model.transform = Batch(RCNN.divisible)
    return TorchvisionDetector(build_adapter(spec), model, RCNN)
