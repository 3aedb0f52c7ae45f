"""Scratch, frozen, finetune: which weights a run starts from and which it trains."""

from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from torch import nn

from marsbench.config.schema import Mode
from marsbench.models.build import Classifier, build_classifier
from marsbench.models.spec import ModelSpec
from marsbench.tasks.kinds import Kind

if TYPE_CHECKING:
    from marsbench.models.detectors.base import Detector
    from marsbench.models.segmenters.smp import Segmenter

Model: TypeAlias = "Classifier | Segmenter | Detector"
"""What a run trains. All have `is_frozen`, `frozen_prefix` and `freeze_backbone`."""


def build_for_mode(
    spec: ModelSpec,
    kind: Kind,
    num_outputs: int,
    mode: Mode,
    *,
    side: int | None,
    colors: tuple[int | None, ...] | None = None,
    shape: tuple[int, int] | None = None,
    checkpoint: Path | None = None,
) -> Model:
    """Build a model as a mode wants it.

    - scratch: random weights, all trained.
    - frozen: a pre-trained backbone of which no parameter and no buffer moves; the head, decoder
      or detector's neck and heads train.
    - finetune: pre-trained weights, all trained.

    Args:
        spec: The zoo entry.
        kind: Kind of the task.
        num_outputs: Number of output nodes, or of classes.
        mode: The mode.
        side: Side of the input in pixels; None where images keep the size of their raster.
        colors: Of images of more than three bands, which colour each is: 0 red, 1 green, 2 blue,
            None another.
        shape: Rows and columns of rasterised spectra.
        checkpoint: Local weights in place of the entry's own.

    Raises:
        WeightsError: If the mode needs weights that cannot be had; random ones never stand in.
    """
    pretrained = mode is not Mode.SCRATCH
    model: Model
    if kind is Kind.SEGMENTATION:
        from marsbench.models.segmenters.smp import build_segmenter

        model = build_segmenter(
            spec,
            num_outputs,
            pretrained=pretrained,
            checkpoint=checkpoint,
            color_of_band=colors,
        )
    elif kind is Kind.DETECTION:
        from marsbench.models.detectors.build import build_detector

        model = build_detector(
            spec,
            num_outputs,
            pretrained=pretrained,
            side=side or spec.input_size,
            checkpoint=checkpoint,
        )
    else:
        model = build_classifier(
            spec, num_outputs, pretrained=pretrained, checkpoint=checkpoint, shape=shape
        )
    if mode is Mode.FROZEN:
        model.freeze_backbone()
    return model


def count_parameters(model: nn.Module) -> dict[str, int]:
    """Count parameters, all and those that train."""
    parameters = list(model.parameters())
    return {
        "total": sum(p.numel() for p in parameters),
        "trained": sum(p.numel() for p in parameters if p.requires_grad),
    }
