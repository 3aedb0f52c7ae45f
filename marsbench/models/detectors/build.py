"""Detectors built from zoo entries, and their weights."""

import re
from pathlib import Path

from marsbench.models import weights
from marsbench.models.detectors.base import (
    Detector,
    download,
    load_but,
)
from marsbench.models.detectors.torchvision import TorchvisionDetector, present_name
from marsbench.models.spec import Library, ModelSpec


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
