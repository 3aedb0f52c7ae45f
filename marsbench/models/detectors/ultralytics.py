"""YOLO: ultralytics' modules and loss inside our own training loop.

Its package also has a trainer, which is not used. It owns everything a benchmark has to hold
still: reading and augmenting data, optimiser, schedule, the choice of a checkpoint, logging and
evaluation. Behind it our splits, seeds, records and evaluator would be translated and could only
be hoped to stay the same; it changes with nearly every release, and it reports to a server. The
module, its description in YAML and its loss have kept their shape over years: from 8.3 to 8.4
only the form of the head's raw output changed, and that goes from the module to its own loss
without us looking at it. Decoded predictions are (B, 4 + classes, anchors) in all of them;
suppression is torchvision's.

Ultralytics is licensed AGPL-3.0 (https://ultralytics.com/license), code and weights. It is
therefore an extra of its own, imported only when a YOLO is built. YOLO11:
https://docs.ultralytics.com/models/yolo11.
"""

import contextlib
import copy
import functools
import importlib
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

from marsbench.base.errors import NotAvailableError, WeightsError
from marsbench.base.progress import tell
from marsbench.models import weights
from marsbench.models.base import InputAdapter
from marsbench.models.detectors.base import (
    DETECTIONS_PER_IMAGE,
    SCORE_THRESHOLD,
    Detections,
    Detector,
    load_but,
)
from marsbench.models.spec import ModelSpec

OLDEST = "8.3.100"
"""The oldest version this is written for; tested with it and with 8.4.190."""

GAINS = {"box": 7.5, "cls": 0.5, "dfl": 1.5}
"""Weights of the loss's terms: ultralytics' defaults, held still over its versions."""

NMS_IOU = 0.7
"""Overlap above which the lower of two boxes of one class goes, as in ultralytics' validation."""

CANDIDATES = 3000
"""Boxes of an image that enter suppression, the highest scores first."""

_ASSETS = "https://github.com/ultralytics/assets/releases/download/v8.3.0"
_STRIDE = 32
_GREY = 114 / 255
"""What ultralytics pads images with."""


class UltralyticsDetector(Detector):
    """A YOLO11 of ultralytics.

    Args:
        spec: The zoo entry.
        num_classes: Number of classes.
    """

    def __init__(self, spec: ModelSpec, num_classes: int) -> None:
        library = _load_library()
        description = _description(Path(library.__file__).parent, spec.id, num_classes)
        from ultralytics.nn.tasks import DetectionModel
        from ultralytics.utils import DEFAULT_CFG

        model: Any = DetectionModel(description, ch=3, verbose=False)
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                # Measuring its own strides, an older version moved them.
                module.reset_running_stats()
        model.args = copy.copy(DEFAULT_CFG)
        for name, gain in GAINS.items():
            setattr(model.args, name, gain)
        # In the description the backbone ends where the neck begins.
        body = tuple(f"model.model.{i}." for i in range(len(description["backbone"])))
        super().__init__(InputAdapter(spec.mean, spec.std), model, body)
        self.num_classes = num_classes
        # By device, since a criterion keeps tensors of its own; not a module, so not in the state.
        self._criteria: dict[torch.device, Any] = {}

    def _switches(self) -> list[nn.Module]:
        return [self._head]

    @property
    def _head(self) -> nn.Module:
        head: nn.Module = self.model.get_submodule("model")[-1]  # type: ignore[index]
        return head

    def _detect(self, image: Tensor) -> list[Detections]:
        output: Any = self.model(_padded(image))
        decoded = output[0] if isinstance(output, tuple | list) else output
        if not isinstance(decoded, Tensor) or decoded.shape[1] != 4 + self.num_classes:
            raise NotAvailableError(
                "The installed version of ultralytics gives its predictions in an unknown form.",
                "Install one that is tested: pip install 'ultralytics==8.4.190'.",
            )
        height, width = image.shape[-2:]
        return [_suppress(image_output.float(), height, width) for image_output in decoded]

    def _loss(self, image: Tensor, boxes: list[Tensor], labels: list[Tensor]) -> Tensor:
        from torchvision.ops import box_convert

        padded = _padded(image)
        height, width = padded.shape[-2:]
        size = torch.tensor([width, height, width, height], device=image.device)
        counts = torch.tensor([len(b) for b in boxes], device=image.device)
        batch = {
            "batch_idx": torch.arange(len(boxes), device=image.device)
            .repeat_interleave(counts)
            .float(),
            "cls": torch.cat(labels).float(),
            "bboxes": box_convert(torch.cat(boxes), "xyxy", "cxcywh") / size,
        }
        if image.device not in self._criteria:
            model: Any = self.model
            self._criteria[image.device] = model.init_criterion()
        # Ultralytics multiplies by the size of the batch, for its sum over devices.
        terms: Tensor = self._criteria[image.device](self.model(padded), batch)[0]
        return terms.sum() / len(image)


def _padded(image: Tensor) -> Tensor:
    height, width = image.shape[-2:]
    if height % _STRIDE == 0 and width % _STRIDE == 0:
        return image
    return functional.pad(image, (0, -width % _STRIDE, 0, -height % _STRIDE), value=_GREY)


def _suppress(decoded: Tensor, height: int, width: int) -> Detections:
    """Turn decoded predictions of one image into detections.

    Args:
        decoded: Centre, width and height in pixels and a score per class, (4 + classes, anchors).
        height: Height of the image without padding.
        width: Its width.
    """
    from torchvision.ops import batched_nms, box_convert, clip_boxes_to_image

    all_boxes, all_scores = decoded[:4].T, decoded[4:].T
    # Each anchor may be of several classes, as in ultralytics' validation.
    anchors, labels = (all_scores > SCORE_THRESHOLD).nonzero(as_tuple=True)
    scores = all_scores[anchors, labels]
    order = scores.argsort(descending=True, stable=True)[:CANDIDATES]
    scores, labels = scores[order], labels[order]
    boxes = clip_boxes_to_image(
        box_convert(all_boxes[anchors[order]], "cxcywh", "xyxy"), (height, width)
    )
    kept = batched_nms(boxes, scores, labels, NMS_IOU)[:DETECTIONS_PER_IMAGE]
    return Detections(boxes[kept], scores[kept], labels[kept])


def build(
    spec: ModelSpec,
    num_classes: int,
    *,
    pretrained: bool,
    side: int,
    checkpoint: Path | None = None,
) -> UltralyticsDetector:
    """Build a YOLO, which takes any side; see `marsbench.models.modes.build_for_mode`."""
    detector = UltralyticsDetector(spec, num_classes)
    _name_licence()
    if checkpoint is not None:
        state, origin = _read(checkpoint), f"weights={checkpoint}"
    elif pretrained:
        state, origin = weights.download(spec), spec.name
    else:
        return detector
    own = detector.model.state_dict()
    state = weights.strip_prefix(state, own)
    # The last layers depend on the number of classes. In the smallest model so does the width of
    # the layers before them; where it differs, ultralytics starts these at random too.
    classifier = f"model.{len(detector.model.get_submodule('model')) - 1}.cv3."  # type: ignore[arg-type]

    def is_fresh(name: str) -> bool:
        if not name.startswith(classifier):
            return False
        is_last = name.removeprefix(classifier).split(".")[1] == "2"
        both = name in state and name in own
        return is_last or (both and state[name].shape != own[name].shape)

    load_but(detector.model, state, is_fresh, origin, keep_classes=checkpoint is not None)
    return detector


@functools.cache
def _name_licence() -> None:
    """Say once under which licence the user now is."""
    tell(
        f"ultralytics {_load_library().__version__} is used, code and weights of which are "
        "licensed AGPL-3.0 (https://ultralytics.com/license)."
    )


def _load_library() -> Any:
    """Import ultralytics, without what it does to a process.

    Raises:
        NotAvailableError: If it cannot be imported.
    """
    if "ultralytics" in sys.modules:  # somebody else's, with their settings
        return sys.modules["ultralytics"]
    try:
        with _undone():
            library = importlib.import_module("ultralytics")
            importlib.import_module("ultralytics.nn.tasks")
            utils: Any = importlib.import_module("ultralytics.utils")
            utils.SETTINGS.update({"sync": False})  # reports of usage
    except ImportError as error:
        sys.modules.pop("ultralytics", None)
        raise NotAvailableError(
            f"YOLO models need the Python package ultralytics, which is not installed ({error}).",
            "Install it: pip install 'marsbench[yolo]'. Note its licence, AGPL-3.0: who gives "
            "others a program built on it, also over a network, owes them the source code.",
        ) from error
    return library


@contextlib.contextmanager
def _undone() -> Iterator[None]:
    """Undo what importing ultralytics changes.

    It writes settings into the user's folder, looks for a network, installs what it misses, sets
    variables that child processes inherit, formats for printing, puts a `torch.load` in place
    that executes code by default (8.3), and an `Image.open` that asks for more packages.
    """
    before, load, save, open_image = dict(os.environ), torch.load, torch.save, Image.open
    printing = np.get_printoptions()
    with tempfile.TemporaryDirectory() as folder:
        os.environ.update(
            YOLO_CONFIG_DIR=folder,
            YOLO_OFFLINE="true",
            YOLO_AUTOINSTALL="false",
            YOLO_VERBOSE="false",
        )
        try:
            yield
        finally:
            os.environ.clear()
            os.environ.update(before)
            torch.load, torch.save, Image.open = load, save, open_image
            torch.set_printoptions(profile="default")  # type: ignore[no-untyped-call]
            np.set_printoptions(**printing)


def _description(package: Path, name: str, num_classes: int) -> dict[str, Any]:
    """Read the shipped description of a YOLO, such as yolo11n: the one of yolo11, at scale n.

    By path, since ultralytics would look for a file of that name in the current folder first.

    Raises:
        NotAvailableError: If this version has no such model.
    """
    version, scale = name[:-1], name[-1]
    path = package / "cfg" / "models" / version.removeprefix("yolo") / f"{version}.yaml"
    if not path.is_file():
        raise NotAvailableError(
            f"The installed version of ultralytics has no {version}.",
            f"Install a newer one: pip install 'ultralytics>={OLDEST}'.",
        )
    description: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return description | {"nc": num_classes, "scale": scale, "yaml_file": f"{name}.yaml"}


def fetch(spec: ModelSpec) -> weights.State:
    """Get the default weights from the cache or by download.

    Raises:
        WeightsError: If they are not in the cache and the download fails.
    """
    url = f"{_ASSETS}/{spec.id}.pt"
    path = weights.torch_cache(url)
    try:
        if not path.exists():
            weights.check_reachable(url)
            path.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(url, str(path), progress=False)
    except Exception as error:  # urllib and sockets raise different types
        raise weights.unavailable(spec, url, path.parent, error) from error
    return _read(path)


def _read(path: Path) -> weights.State:
    """Read the tensors of a checkpoint, also of those that ultralytics writes.

    Those are pickled modules. Torch's weights-only unpickler reads them once it is told their
    classes: modules of torch and ultralytics, and nothing else that a file may name.

    Raises:
        WeightsError: If it cannot be read or would execute other code.
    """
    try:
        names = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except Exception:  # no such file, no zip archive, safetensors: said by the common reader
        return weights.read_checkpoint(path)
    classes: list[Any] = [c for name in names if (c := _module_class(name)) is not None]
    if not classes or len(classes) < len(names):
        return weights.read_checkpoint(path)  # which refuses what it does not know
    with torch.serialization.safe_globals(classes):
        content: Any = torch.load(path, map_location="cpu", weights_only=True)
    # The averaged weights, where there are two sets.
    model = (content.get("ema") or content.get("model")) if isinstance(content, dict) else content
    if not isinstance(model, nn.Module):
        raise WeightsError(f"weights={path} holds no model.", "Is it a checkpoint of a YOLO?")
    return {name: tensor.float() for name, tensor in model.state_dict().items()}


def _module_class(name: str) -> type[nn.Module] | None:
    """The module class of a full name, if it is one of torch or ultralytics."""
    package, _, attribute = name.rpartition(".")
    if not package.startswith(("torch.nn.modules.", "ultralytics.nn.")):
        return None
    try:
        module = getattr(importlib.import_module(package), attribute, None)
    except ImportError:
        return None
    return module if isinstance(module, type) and issubclass(module, nn.Module) else None
