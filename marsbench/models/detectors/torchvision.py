"""Detectors of torchvision.

https://docs.pytorch.org/vision/stable/models.html#object-detection
"""

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from marsbench.base.errors import NotAvailableError
from marsbench.models import weights
from marsbench.models.adapters import InputAdapter, build_adapter
from marsbench.models.base import plain_kernels
from marsbench.models.detectors.base import (
    DETECTIONS_PER_IMAGE,
    SCORE_THRESHOLD,
    Detections,
    Detector,
    load_but,
)
from marsbench.models.spec import ModelSpec
from marsbench.models.tensors import read_checkpoint


class Batch(nn.Module):
    """Replacement of torchvision's transform, to avoid a second resize, normalisation and copy.

    Args:
        divisible: Sides are padded at the right and bottom to multiples of this number, as in
            torchvision, which places anchors by the ratio of image to feature map.
    """

    def __init__(self, divisible: int) -> None:
        super().__init__()
        self.divisible = divisible

    def forward(self, images: Tensor, targets: Any = None) -> tuple[Any, Any]:
        """Pad and wrap a batch (B, 3, H, W); targets are returned unchanged."""
        from torchvision.models.detection.image_list import ImageList

        height, width = images.shape[-2:]
        padded = functional.pad(images, (0, -width % self.divisible, 0, -height % self.divisible))
        return ImageList(padded, [(height, width)] * len(images)), targets

    def postprocess(self, detections: Any, *_sizes: Any) -> Any:
        """Return the boxes unchanged: images are not resized here."""
        return detections


class Family(NamedTuple):
    """Facts shared by a family of torchvision's detectors.

    Attributes:
        options: Arguments for the thresholds.
        body: Submodules of the backbone's body.
        predictor: Pattern of tensors whose shape depends on the number of classes; they start at
            random in every mode.
        first_label: Torchvision's id of our class 0: 1 if 0 is the background.
        divisible: See `Batch`.
        switches: Submodules, besides the model, whose ``training`` flag selects losses.
        head: Submodule with dense predictions for the anchors.
    """

    options: dict[str, Any]
    body: tuple[str, ...]
    predictor: str
    first_label: int
    divisible: int
    switches: tuple[str, ...] = ()
    head: str = "head"


_LIMITS = {"score_thresh": SCORE_THRESHOLD, "detections_per_img": DETECTIONS_PER_IMAGE}
RCNN = Family(
    options={f"box_{name}": value for name, value in _LIMITS.items()},
    body=("backbone.body",),
    predictor=r"roi_heads\.box_predictor\.",
    first_label=1,
    divisible=32,
    switches=("rpn", "roi_heads"),
    head="rpn.head",
)
_FAMILIES: dict[str, Family] = {
    "fasterrcnn_resnet50_fpn": RCNN,
    # Torchvision's defaults trade recall for speed: 150 proposals with scores of 0.05 or more. Our
    # images may show more objects, and a network that starts at random has no such scores.
    "fasterrcnn_mobilenet_v3_large_320_fpn": RCNN._replace(
        options=RCNN.options
        | {
            "rpn_pre_nms_top_n_test": 300,
            "rpn_post_nms_top_n_test": 300,
            "rpn_score_thresh": 0.0,
        }
    ),
    # RetinaNet has a sigmoid per class and no background class.
    "retinanet_resnet50_fpn": Family(
        options=_LIMITS,
        body=("backbone.body",),
        predictor=r"head\.classification_head\.cls_logits\.",
        first_label=0,
        divisible=32,
    ),
    # VGG's last three convolutions are in `extra`, after the last pooling of `features`.
    "ssd300_vgg16": Family(
        options=_LIMITS,
        body=("backbone.features", *(f"backbone.extra.0.{i}" for i in (1, 3, 5))),
        predictor=r"head\.classification_head\.",
        first_label=1,
        divisible=1,
    ),
    # The depthwise half of each predictor does not depend on the classes.
    "ssdlite320_mobilenet_v3_large": Family(
        options=_LIMITS,
        body=("backbone.features",),
        predictor=r"head\.classification_head\.module_list\.\d+\.1\.",
        first_label=1,
        divisible=1,
    ),
}

_HALVES = (torch.float16, torch.bfloat16)

_ZERO_EPS = ("fasterrcnn_resnet50_fpn", "retinanet_resnet50_fpn")
"""Models whose COCO weights need an epsilon of 0 in normalisation, as in torchvision."""


class TorchvisionDetector(Detector):
    """A detector of torchvision.

    Args:
        adapter: Normalises images in [0, 1].
        model: The module of torchvision, with `Batch` as its transform.
        family: Facts of its family.
    """

    def __init__(self, adapter: InputAdapter, model: nn.Module, family: Family) -> None:
        from torchvision.ops import MultiScaleRoIAlign

        super().__init__(adapter, model, tuple(f"model.{name}." for name in family.body))
        self.family = family
        backbone: Any = self.model.backbone
        self._encode = backbone.forward
        # Replaces the method by an attribute, which keeps the names of the tensors.
        backbone.forward = self._features
        self._mixed: torch.dtype | None = None
        for module in self.modules():
            if isinstance(module, MultiScaleRoIAlign):
                # In deterministic mode torchvision compiles it from Python, for every new shape.
                module.forward = plain_kernels()(module.forward)

    def _features(self, image: Tensor) -> dict[str, Tensor]:
        """Encode in half precision if requested, and return float32 feature maps."""
        mixed = self._mixed
        with torch.autocast(image.device.type, dtype=mixed, enabled=mixed is not None):
            maps: dict[str, Tensor] = self._encode(image)
        return {k: v.float() if v.dtype in _HALVES else v for k, v in maps.items()}

    @contextlib.contextmanager
    def _exact(self, device: str) -> Iterator[None]:
        """Limit half precision to the backbone: 8-bit coordinates would be off by pixels.

        Torchvision computes anchors and boxes in the precision of the feature maps.
        """
        if torch.is_autocast_enabled(device):
            self._mixed = torch.get_autocast_dtype(device)
        try:
            with torch.autocast(device, enabled=False):
                yield
        finally:
            self._mixed = None

    def _switches(self) -> list[nn.Module]:
        return [self.model, *(self.model.get_submodule(name) for name in self.family.switches)]

    def _shared(self) -> list[nn.Module]:
        return [self.model.get_submodule(name) for name in ("backbone", self.family.head)]

    def _run_shared(self, image: Tensor) -> None:
        model: Any = self.model
        with self._exact(image.device.type):
            images, _ = model.transform(image)
            maps = model.backbone(images.tensors)
            model.get_submodule(self.family.head)(list(maps.values()))

    def _detect(self, image: Tensor) -> list[Detections]:
        first = self.family.first_label
        with self._exact(image.device.type):
            output = self.model(image)
        return [
            Detections(fields["boxes"], fields["scores"], fields["labels"] - first)
            for fields in output
        ]

    def _loss(self, image: Tensor, boxes: list[Tensor], labels: list[Tensor]) -> Tensor:
        targets = [
            {"boxes": b, "labels": ids + self.family.first_label}
            for b, ids in zip(boxes, labels, strict=True)
        ]
        with self._exact(image.device.type):
            terms: dict[str, Tensor] = self.model(image, targets)
        return torch.stack(list(terms.values())).sum()


def build(
    spec: ModelSpec,
    num_classes: int,
    *,
    pretrained: bool,
    side: int,
    checkpoint: Path | None = None,
) -> TorchvisionDetector:
    """Build a detector; arguments and errors as in `marsbench.models.modes.build_for_mode`.

    If it is built for weights, the normalisation statistics of backbones other than SSD's are
    constant, as in torchvision; from scratch they train.
    """
    if spec.id not in _FAMILIES:
        raise NotAvailableError(
            f"torchvision's detector {spec.id} is not supported.",
            f"Choose one of: {', '.join(sorted(_FAMILIES))}.",
        )
    family = _FAMILIES[spec.id]
    model = _torchvision_model(spec.id, num_classes + family.first_label, pretrained, side)
    detector = TorchvisionDetector(build_adapter(spec), model, family)
    if checkpoint is not None:
        state, origin = read_checkpoint(checkpoint), f"weights={checkpoint}"
    elif pretrained:
        state, origin = weights.download(spec), spec.name
    else:
        return detector
    state = {present_name(name): tensor for name, tensor in state.items()}
    predictor = re.compile(detector.family.predictor)
    is_own = checkpoint is not None  # COCO's classes differ from every task's
    load_but(detector.model, state, lambda n: predictor.match(n) is not None, origin, is_own)
    return detector


def _torchvision_model(name: str, num_classes: int, pretrained: bool, side: int) -> nn.Module:
    from torchvision.models import get_model
    from torchvision.models.detection.anchor_utils import DefaultBoxGenerator
    from torchvision.ops import FrozenBatchNorm2d

    family = _FAMILIES[name]
    # Without weights torchvision builds trainable normalisation and trains every layer.
    model: Any = get_model(
        name, weights=None, weights_backbone=None, num_classes=num_classes, **family.options
    )
    model.transform = Batch(family.divisible)
    if pretrained and not name.startswith("ssd"):
        eps = 0.0 if name in _ZERO_EPS else 1e-5
        for path, module in list(model.backbone.body.named_modules()):
            if isinstance(module, nn.BatchNorm2d):
                parent, _, child = path.rpartition(".")
                frozen = FrozenBatchNorm2d(module.num_features, eps=eps)
                setattr(model.backbone.body.get_submodule(parent), child, frozen)
    if name.startswith("ssdlite") and not pretrained:
        # Torchvision's 0.03 is for batches of hundreds. In short runs on few images the running
        # statistics would stay near their start, and evaluation would use another network.
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = 0.1
    if name == "ssd300_vgg16":
        old = model.anchor_generator
        model.anchor_generator = DefaultBoxGenerator(
            old.aspect_ratios, scales=old.scales, steps=_ssd_steps(side)
        )
    result: nn.Module = model
    return result


def _ssd_steps(side: int) -> list[float]:
    """Distances in pixels between the default boxes of SSD's six feature maps.

    The last two maps come from convolutions without padding. The authors spread their cells over
    the whole image: for a side of 300 pixels, 100 and 300 pixels apart. Smaller sides than the
    zoo entry's `smallest` have fewer than six maps.
    """
    # After three poolings, of which the last rounds up, and a fourth.
    cells = -(-(side // 4) // 2) // 2
    for _ in range(2):
        cells = -(-cells // 2)
    return [8, 16, 32, 64, side / (cells - 2), side / (cells - 4)]


def present_name(name: str) -> str:
    """Current name of a tensor in torchvision; published COCO weights have older names."""
    name = re.sub(r"(fpn\.(?:inner|layer)_blocks\.\d+)\.(weight|bias)$", r"\1.0.\2", name)
    name = re.sub(r"(rpn\.head\.conv)\.(weight|bias)$", r"\1.0.0.\2", name)
    return re.sub(
        r"(_head\.conv)\.(\d+)\.(weight|bias)$",  # RetinaNet's old indices count the ReLUs
        lambda match: f"{match[1]}.{int(match[2]) // 2}.0.{match[3]}",
        name,
    )
