"""YOLO: ultralytics' modules and loss in our own training loop.

The trainer of ultralytics is not used. It controls everything that a benchmark must hold fixed:
reading and augmenting data, optimiser, schedule, choice of a checkpoint, logging and evaluation.
It also changes with nearly every release and reports to a server. The module, its YAML description
and its loss have been stable for years: from 8.3 to 8.4 only the raw output of the head changed,
which the module passes to its own loss. Decoded predictions are (B, 4 + classes, anchors) in all
versions; non-maximum suppression is torchvision's.

Code and weights of ultralytics are licensed AGPL-3.0 (https://ultralytics.com/license). The package
is therefore a separate extra, imported only to build a YOLO. YOLO11:
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
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from marsbench.base import network
from marsbench.base.documents import read_yaml
from marsbench.base.errors import NotAvailableError, WeightsError
from marsbench.base.files import once, replacing
from marsbench.base.progress import tell
from marsbench.models import weights
from marsbench.models.adapters import build_adapter
from marsbench.models.detectors.base import (
    DETECTIONS_PER_IMAGE,
    SCORE_THRESHOLD,
    Detections,
    Detector,
    load_but,
)
from marsbench.models.spec import ModelSpec
from marsbench.models.tensors import State, read_checkpoint

OLDEST = "8.3.100"
"""Oldest supported version; tested together with 8.4.190."""

GAINS = {"box": 7.5, "cls": 0.5, "dfl": 1.5}
"""Weights of the terms of the loss: ultralytics' defaults, fixed for all versions."""

NMS_IOU = 0.7
"""IoU threshold of non-maximum suppression per class, as in ultralytics' validation."""

CANDIDATES = 3000
"""Number of highest-scoring boxes of an image that enter suppression."""

_ASSETS = "https://github.com/ultralytics/assets/releases/download/v8.3.0"
_STRIDE = 32
_GREY = 114 / 255
"""Padding value, as in ultralytics."""


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
                # Older versions change them while measuring strides.
                module.reset_running_stats()
        model.args = copy.copy(DEFAULT_CFG)
        for name, gain in GAINS.items():
            setattr(model.args, name, gain)
        # The description lists backbone and neck apart.
        body = tuple(f"model.model.{i}." for i in range(len(description["backbone"])))
        super().__init__(build_adapter(spec), model, body)
        self.num_classes = num_classes
        # By device: a criterion has tensors of its own. A dict keeps it out of the state.
        self._criteria: dict[torch.device, Any] = {}

    def _switches(self) -> list[nn.Module]:
        return [self._head]

    def _shared(self) -> list[nn.Module]:
        layers: Any = self.model.get_submodule("model")
        head: Any = self._head
        return [*list(layers)[:-1], *head.cv2, *head.cv3]

    def _run_shared(self, image: Tensor) -> None:
        self.model(_padded(image))

    @property
    def _head(self) -> nn.Module:
        head: nn.Module = self.model.get_submodule("model")[-1]  # type: ignore[index]
        return head

    def _detect(self, image: Tensor) -> list[Detections]:
        output: Any = self.model(_padded(image))
        decoded = output[0] if isinstance(output, tuple | list) else output
        if not isinstance(decoded, Tensor) or decoded.shape[1] != 4 + self.num_classes:
            raise NotAvailableError(
                "The installed version of ultralytics returns predictions in an unknown format.",
                "Install a tested version: pip install 'ultralytics==8.4.190'.",
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
        # Ultralytics multiplies by the batch size, for its sum over devices.
        terms: Tensor = self._criteria[image.device](self.model(padded), batch)[0]
        return terms.sum() / len(image)


def _padded(image: Tensor) -> Tensor:
    height, width = image.shape[-2:]
    if height % _STRIDE == 0 and width % _STRIDE == 0:
        return image
    return functional.pad(image, (0, -width % _STRIDE, 0, -height % _STRIDE), value=_GREY)


def _suppress(decoded: Tensor, height: int, width: int) -> Detections:
    """Convert decoded predictions of an image into detections.

    Args:
        decoded: Centre, width and height in pixels and a score per class, (4 + classes, anchors).
        height: Height of the image without padding.
        width: Width of the image without padding.
    """
    from torchvision.ops import batched_nms, box_convert, clip_boxes_to_image

    all_boxes, all_scores = decoded[:4].T, decoded[4:].T
    # An anchor may have several classes, as in ultralytics' validation.
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
    """Build a YOLO for any side; other arguments as in `marsbench.models.modes.build_for_mode`."""
    detector = UltralyticsDetector(spec, num_classes)
    _name_licence()
    if checkpoint is not None:
        state, origin = read_checkpoint(checkpoint), f"weights={checkpoint}"
    elif pretrained:
        state, origin = weights.download(spec), spec.name
    else:
        return detector
    own = detector.model.state_dict()
    state = weights.strip_prefix(state, own)
    # The last layers depend on the number of classes, and in the smallest model also the width of
    # the layers before. If the widths differ, ultralytics starts them at random too.
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
    """Print the licence of ultralytics, once."""
    tell(
        f"Using ultralytics {_load_library().__version__}: code and weights are licensed AGPL-3.0 "
        "(https://ultralytics.com/license)."
    )


def _load_library() -> Any:
    """Import ultralytics without its side effects.

    Raises:
        NotAvailableError: If it cannot be imported.
    """
    if "ultralytics" in sys.modules:  # imported by the caller with other settings
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
            "Install it: pip install 'marsbench[yolo]'. Its licence is AGPL-3.0: if you give "
            "others a program built on it, even over a network, you must give them its source.",
        ) from error
    return library


@contextlib.contextmanager
def _undone() -> Iterator[None]:
    """Undo the side effects of importing ultralytics.

    The import writes settings into the user's folder, looks for a network, installs missing
    packages, sets environment variables and print options, and replaces `torch.load` by a version
    that executes code by default (8.3) and `Image.open` by one that asks for more packages.
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
    """Read ultralytics' YAML description of a YOLO; for yolo11n, yolo11 at scale n.

    Read by path: ultralytics would first look for a file of this name in the current folder.

    Raises:
        NotAvailableError: If the installed version has no such model.
    """
    version, scale = name[:-1], name[-1]
    path = package / "cfg" / "models" / version.removeprefix("yolo") / f"{version}.yaml"
    if not path.is_file():
        raise NotAvailableError(
            f"The installed version of ultralytics has no {version}.",
            f"Install a newer one: pip install 'ultralytics>={OLDEST}'.",
        )
    description: dict[str, Any] = read_yaml(path).values
    return description | {"nc": num_classes, "scale": scale, "yaml_file": f"{name}.yaml"}


def _places(spec: ModelSpec) -> tuple[Path, Path]:
    """Paths of our tensors and of the published file in the cache of torch."""
    published = weights.torch_cache(f"{_ASSETS}/{spec.id}.pt")
    return published.with_suffix(".safetensors"), published


def cached_file(spec: ModelSpec) -> Path | None:
    """File of the default weights in the cache of torch, or None."""
    return next((path for path in _places(spec) if path.exists()), None)


def fetch(spec: ModelSpec) -> State:
    """Get the default weights from the cache or by download.

    Ultralytics publishes pickled modules; the cache keeps their tensors alone, as safetensors. A
    published file that is in the cache already serves too.

    Raises:
        WeightsError: If they are not in the cache and the download fails.
    """
    url = f"{_ASSETS}/{spec.id}.pt"
    kept, published = _places(spec)

    def cached() -> State | None:
        path = cached_file(spec)
        return None if path is None else read_checkpoint(path)

    def download() -> State:
        network.check_reachable(url)
        with tempfile.TemporaryDirectory(dir=kept.parent) as folder:
            path = Path(folder) / published.name
            torch.hub.download_url_to_file(url, str(path), progress=False)
            state = read_checkpoint(path)
        with replacing(kept) as partial:
            save_file({name: tensor.clone() for name, tensor in state.items()}, partial)
        return state

    try:
        return once(kept, cached, download)
    except WeightsError:
        raise
    except Exception as error:  # urllib and sockets raise different types
        raise weights.unavailable(spec, url, kept.parent, error) from error
