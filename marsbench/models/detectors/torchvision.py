"""Detectors behind one batch contract: torchvision's here, ultralytics' in a file beside it.

Every library has its own idea of a batch, of class ids, of when a loss is given and of what it
does to the images first. A `Detector` hides that: images come in as our samples hold them, boxes
in pixels and classes from 0, and both the detections and the loss can be had in training and in
evaluation alike.

Torchvision's models: https://docs.pytorch.org/vision/stable/models.html#object-detection.
"""

import contextlib
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from marsbench.base.errors import NotAvailableError, WeightsError
from marsbench.models import weights
from marsbench.models.build import InputAdapter
from marsbench.models.norms import without_lone_statistics
from marsbench.models.spec import Library, ModelSpec

SCORE_THRESHOLD = 0.001
"""Detections that score less are dropped. Average precision wants them low: a threshold cuts the
curve off. The same for every model, so that none is judged on more of its curve than another."""

DETECTIONS_PER_IMAGE = 100
"""How many of an image are kept: as many as COCO's evaluation looks at."""


class Detections(NamedTuple):
    """What was found in one image, the highest score first.

    Attributes:
        boxes: Left, top, right and bottom in pixels of the model's input, float (M, 4).
        scores: Confidence in [0, 1], float (M,).
        labels: Class ids from 0, background not counted, int64 (M,).
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor


class Detector(nn.Module, ABC):
    """A library's detector as the rest of the package sees it.

    Args:
        adapter: Replicates grey images and normalises.
        model: The library's module.
        frozen_prefix: What the names of the backbone's tensors in `state_dict` begin with, for
            ``name.startswith(frozen_prefix)``. It is the body alone: feature pyramid, proposal
            network and heads train in every mode.
    """

    def __init__(
        self, adapter: InputAdapter, model: nn.Module, frozen_prefix: tuple[str, ...]
    ) -> None:
        super().__init__()
        self.adapter, self.model = adapter, model
        self.frozen_prefix = frozen_prefix
        self.is_frozen = False

    def forward(self, image: Tensor) -> list[Detections]:
        """Detect objects, also when the module is in training mode.

        Args:
            image: float (B, 1 or 3, S, S) in [0, 1].

        Returns:
            One `Detections` per image, of at most `DETECTIONS_PER_IMAGE` objects.
        """
        with self._switched(False):
            return self._detect(self.adapter(image))

    def losses(self, image: Tensor, boxes: Sequence[Tensor], labels: Sequence[Tensor]) -> Tensor:
        """Compute the model's own loss, in training and evaluation mode alike.

        Detectors weigh an image's terms by what the whole batch holds, such as its number of
        objects, so there is no loss of one image: **every sample's share is the loss of the
        batch**, and the mean over the samples is what the model's authors minimise.

        In evaluation mode nothing moves: normalisation and dropout stay in evaluation, each
        module's ``training`` is afterwards what it was, and what the model samples at random is
        drawn from a fixed seed, without a trace in the global generators. So the same batch gives
        the same loss.

        Args:
            image: float (B, 1 or 3, S, S) in [0, 1].
            boxes: Of each image, its boxes: float (N, 4), left, top, right and bottom in pixels.
                An image without objects has N = 0.
            labels: Of each image, its boxes' class ids from 0, int64 (N,).

        Returns:
            float (B,), all equal.
        """
        boxes = [b.reshape(-1, 4).float() for b in boxes]
        labels = [ids.reshape(-1).long() for ids in labels]
        chance = contextlib.nullcontext() if self.training else _fixed_seed(image.device)
        lone = without_lone_statistics(self) if len(image) == 1 else contextlib.nullcontext()
        with self._switched(True), chance, lone:
            loss = self._loss(self.adapter(image), boxes, labels)
        return loss.expand(len(image))

    def freeze_backbone(self) -> None:
        """Keep every tensor of the backbone's body as it is, running statistics included."""
        self.is_frozen = True
        for module in self._frozen():
            module.requires_grad_(False)
            module.eval()

    def train(self, mode: bool = True) -> "Detector":
        """Switch to training; a frozen body stays in evaluation, so nothing in it moves."""
        super().train(mode)
        if self.is_frozen:
            for module in self._frozen():
                module.eval()
        return self

    def _frozen(self) -> Iterator[nn.Module]:
        return (self.get_submodule(prefix.rstrip(".")) for prefix in self.frozen_prefix)

    @contextlib.contextmanager
    def _switched(self, training: bool) -> Iterator[None]:
        """Let the model give losses or detections, whatever mode it is in.

        Libraries read that off the ``training`` of a few modules. Setting only theirs, and not
        what is below them, leaves normalisation and dropout alone.
        """
        switches = self._switches()
        before = [module.training for module in switches]
        try:
            for module in switches:
                module.training = training
            yield
        finally:
            for module, flag in zip(switches, before, strict=True):
                module.training = flag

    @abstractmethod
    def _switches(self) -> list[nn.Module]:
        """Modules whose ``training`` says whether losses or detections come out."""

    @abstractmethod
    def _detect(self, image: Tensor) -> list[Detections]:
        """Detect objects in normalised images (B, 3, S, S)."""

    @abstractmethod
    def _loss(self, image: Tensor, boxes: list[Tensor], labels: list[Tensor]) -> Tensor:
        """Loss () of normalised images (B, 3, S, S): the mean over the batch."""


@contextlib.contextmanager
def _fixed_seed(device: torch.device) -> Iterator[None]:
    """Draw from a fixed seed on the CPU and the device, and leave both generators as they were.

    `torch.manual_seed` would also seed every other device, whose states are not kept.
    """
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.default_generator.manual_seed(0)
        if devices:
            with torch.cuda.device(device):
                torch.cuda.manual_seed(0)
        yield


class _Batch(nn.Module):
    """In place of torchvision's transform, which would resize, normalise and copy once more.

    Args:
        divisible: Images are padded at the right and at the bottom to multiples of it, as
            torchvision does: anchors are laid out by the ratio of image to feature map.
    """

    def __init__(self, divisible: int) -> None:
        super().__init__()
        self.divisible = divisible

    def forward(self, images: Tensor, targets: Any = None) -> tuple[Any, Any]:
        """Wrap a batch (B, 3, H, W), padded with zeros; the targets stay."""
        from torchvision.models.detection.image_list import ImageList

        height, width = images.shape[-2:]
        padded = functional.pad(images, (0, -width % self.divisible, 0, -height % self.divisible))
        return ImageList(padded, [(height, width)] * len(images)), targets

    def postprocess(self, detections: Any, *_sizes: Any) -> Any:
        """Leave the boxes: nothing was resized."""
        return detections


class _Family(NamedTuple):
    """What torchvision's detectors of one family have in common.

    Attributes:
        options: Arguments that set the thresholds.
        body: Submodules that are the backbone's body.
        predictor: Pattern of the tensors whose shape depends on the number of classes; they start
            at random in every mode.
        first_label: Id of our class 0: 1 where 0 is the background.
        divisible: See `_Batch`.
        switches: Submodules whose ``training`` matters, the model itself aside.
    """

    options: dict[str, Any]
    body: tuple[str, ...]
    predictor: str
    first_label: int
    divisible: int
    switches: tuple[str, ...] = ()


_LIMITS = {"score_thresh": SCORE_THRESHOLD, "detections_per_img": DETECTIONS_PER_IMAGE}
_RCNN = _Family(
    options={f"box_{name}": value for name, value in _LIMITS.items()},
    body=("backbone.body",),
    predictor=r"roi_heads\.box_predictor\.",
    first_label=1,
    divisible=32,
    switches=("rpn", "roi_heads"),
)
_FAMILIES: dict[str, _Family] = {
    "fasterrcnn_resnet50_fpn": _RCNN,
    # Torchvision's defaults trade recall for speed: 150 proposals that score 0.05 or more. An
    # image of ours may hold more objects, and a network that starts at random scores none so high.
    "fasterrcnn_mobilenet_v3_large_320_fpn": _RCNN._replace(
        options=_RCNN.options
        | {
            "rpn_pre_nms_top_n_test": 300,
            "rpn_post_nms_top_n_test": 300,
            "rpn_score_thresh": 0.0,
        }
    ),
    # RetinaNet has a sigmoid per class and uses labels as given: no class is the background.
    "retinanet_resnet50_fpn": _Family(
        options=_LIMITS,
        body=("backbone.body",),
        predictor=r"head\.classification_head\.cls_logits\.",
        first_label=0,
        divisible=32,
    ),
    # VGG's last three convolutions stand in `extra`, behind the pooling that ends `features`.
    "ssd300_vgg16": _Family(
        options=_LIMITS,
        body=("backbone.features", *(f"backbone.extra.0.{i}" for i in (1, 3, 5))),
        predictor=r"head\.classification_head\.",
        first_label=1,
        divisible=1,
    ),
    # The depthwise half of each predictor knows no classes.
    "ssdlite320_mobilenet_v3_large": _Family(
        options=_LIMITS,
        body=("backbone.features",),
        predictor=r"head\.classification_head\.module_list\.\d+\.1\.",
        first_label=1,
        divisible=1,
    ),
}

_HALVES = (torch.float16, torch.bfloat16)

_ZERO_EPS = ("fasterrcnn_resnet50_fpn", "retinanet_resnet50_fpn")
"""Models whose COCO weights torchvision uses with an epsilon of 0 in normalisation."""


class TorchvisionDetector(Detector):
    """A detector of torchvision.

    Args:
        spec: The zoo entry.
        num_classes: Number of classes, background not counted.
        pretrained: Whether the model is built for weights: then the statistics of ordinary
            backbones are constants, as in torchvision; from scratch they train.
        side: Side of the images in pixels.
    """

    def __init__(self, spec: ModelSpec, num_classes: int, *, pretrained: bool, side: int) -> None:
        if spec.id not in _FAMILIES:
            raise NotAvailableError(
                f"torchvision's detector {spec.id} is not in the zoo.",
                f"Choose one of: {', '.join(sorted(_FAMILIES))}.",
            )
        family = _FAMILIES[spec.id]
        super().__init__(
            InputAdapter(spec.mean, spec.std),
            _torchvision_model(spec.id, num_classes + family.first_label, pretrained, side),
            tuple(f"model.{name}." for name in family.body),
        )
        self.family = family
        backbone: Any = self.model.backbone
        self._encode = backbone.forward
        # An attribute hides the method, and the names of the tensors stay.
        backbone.forward = self._features
        self._mixed: torch.dtype | None = None

    def _features(self, image: Tensor) -> dict[str, Tensor]:
        """Encode in half precision where that is asked for; what follows is exact."""
        mixed = self._mixed
        with torch.autocast(image.device.type, dtype=mixed, enabled=mixed is not None):
            maps: dict[str, Tensor] = self._encode(image)
        return {k: v.float() if v.dtype in _HALVES else v for k, v in maps.items()}

    @contextlib.contextmanager
    def _exact(self, device: str) -> Iterator[None]:
        """Keep half precision to the backbone: coordinates of 8 bits would be off by pixels.

        Torchvision makes anchors and boxes in the precision of the feature maps.
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

    def _detect(self, image: Tensor) -> list[Detections]:
        first = self.family.first_label
        with self._exact(image.device.type):
            output = self.model(image)
        return [
            Detections(found["boxes"], found["scores"], found["labels"] - first) for found in output
        ]

    def _loss(self, image: Tensor, boxes: list[Tensor], labels: list[Tensor]) -> Tensor:
        targets = [
            {"boxes": b, "labels": ids + self.family.first_label}
            for b, ids in zip(boxes, labels, strict=True)
        ]
        with self._exact(image.device.type):
            terms: dict[str, Tensor] = self.model(image, targets)
        return torch.stack(list(terms.values())).sum()


def _torchvision_model(name: str, num_classes: int, pretrained: bool, side: int) -> nn.Module:
    from torchvision.models import get_model
    from torchvision.models.detection.anchor_utils import DefaultBoxGenerator
    from torchvision.ops import FrozenBatchNorm2d

    family = _FAMILIES[name]
    # Without weights torchvision builds ordinary normalisation and lets every layer train.
    model: Any = get_model(
        name, weights=None, weights_backbone=None, num_classes=num_classes, **family.options
    )
    model.transform = _Batch(family.divisible)
    if pretrained and not name.startswith("ssd"):
        eps = 0.0 if name in _ZERO_EPS else 1e-5
        for path, module in list(model.backbone.body.named_modules()):
            if isinstance(module, nn.BatchNorm2d):
                parent, _, child = path.rpartition(".")
                frozen = FrozenBatchNorm2d(module.num_features, eps=eps)
                setattr(model.backbone.body.get_submodule(parent), child, frozen)
    if name.startswith("ssdlite") and not pretrained:
        # Torchvision's 0.03 is for batches of hundreds: in short runs on few images the running
        # statistics would stay near where they began, and evaluation would see another network.
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

    The last two maps come from convolutions without padding, whose cells the authors spread over
    the whole image: at a side of 300, 100 and 300 pixels apart. The zoo entry says from which
    side on there are six maps.
    """
    cells = -(-(side // 4) // 2) // 2  # after three poolings, of which the last rounds up, a fourth
    for _ in range(2):
        cells = -(-cells // 2)
    return [8, 16, 32, 64, side / (cells - 2), side / (cells - 4)]


def build_detector(
    spec: ModelSpec,
    num_classes: int,
    *,
    pretrained: bool,
    side: int,
    checkpoint: Path | None = None,
) -> Detector:
    """Build a detector.

    Args:
        spec: The zoo entry.
        num_classes: Number of classes, background not counted.
        pretrained: Whether it starts from weights, COCO's unless a checkpoint is given. Layers
            that depend on the number of classes start at random all the same.
        side: Side of the images in pixels.
        checkpoint: Local weights in place of the entry's own, of any number of classes.

    Raises:
        WeightsError: If weights are wanted and cannot be had or do not fit.
        NotAvailableError: If the model's library is not installed.
    """
    if spec.library is Library.ULTRALYTICS:
        from marsbench.models.detectors.ultralytics import build_ultralytics

        return build_ultralytics(spec, num_classes, pretrained=pretrained, checkpoint=checkpoint)
    detector = TorchvisionDetector(spec, num_classes, pretrained=pretrained, side=side)
    if checkpoint is None and not pretrained:
        return detector
    if checkpoint is not None:
        state, origin = weights.read_checkpoint(checkpoint), f"weights={checkpoint}"
    else:
        state, origin = download(weights.download, spec), spec.name
    state = {present_name(name): tensor for name, tensor in state.items()}
    predictor = re.compile(detector.family.predictor)
    is_own = checkpoint is not None  # COCO's classes are none of a task's, whatever their number
    load_but(detector.model, state, lambda n: predictor.match(n) is not None, origin, is_own)
    return detector


def present_name(name: str) -> str:
    """A tensor's name in torchvision today; its published COCO weights bear older ones."""
    name = re.sub(r"(fpn\.(?:inner|layer)_blocks\.\d+)\.(weight|bias)$", r"\1.0.\2", name)
    name = re.sub(r"(rpn\.head\.conv)\.(weight|bias)$", r"\1.0.0.\2", name)
    return re.sub(
        r"(_head\.conv)\.(\d+)\.(weight|bias)$",  # RetinaNet's, whose ReLUs were counted
        lambda found: f"{found[1]}.{int(found[2]) // 2}.0.{found[3]}",
        name,
    )


def download(fetch: Callable[[ModelSpec], weights.State], spec: ModelSpec) -> weights.State:
    """Get a detector's weights, or say what to do without them.

    Raises:
        WeightsError: If they cannot be had.
    """
    try:
        return fetch(spec)
    except WeightsError as error:
        raise WeightsError(
            error.problem,
            "Ways out:\n"
            "- run once where there is a network, and copy that cache here;\n"
            "- add weights=PATH, a local checkpoint of this model;\n"
            "- or add mode=scratch, to train from random weights.",
        ) from error


def load_but(
    model: nn.Module,
    state: weights.State,
    is_fresh: Callable[[str], bool],
    origin: str,
    keep_classes: bool,
) -> None:
    """Load every tensor but those that depend on the number of classes.

    Args:
        model: The library's module.
        state: Tensors by name; what training wrappers put before the names is removed.
        is_fresh: Whether the tensor of this name depends on the classes.
        origin: The checkpoint, for messages.
        keep_classes: Whether those are loaded too if all of them fit; else they start at random.

    Raises:
        WeightsError: If another tensor lacks, is left over or has another shape.
    """
    own = model.state_dict()
    state = weights._strip_prefix(state, own)
    fresh = [name for name in own if is_fresh(name)]
    if keep_classes:
        if all(n in state and state[n].shape == own[n].shape for n in fresh):
            fresh = []
        weights.tell_fresh(fresh, origin)
    # A model trained from scratch counts its batches; one with constant statistics does not.
    kept = {
        name: tensor
        for name, tensor in state.items()
        if (not fresh or not is_fresh(name))
        and (name in own or not name.endswith("num_batches_tracked"))
    }
    weights.load_checkpoint(model, kept | {name: own[name] for name in fresh}, (), origin)
