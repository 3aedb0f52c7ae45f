"""Scratch, frozen, finetune: which weights a run starts from and which it trains."""

from pathlib import Path

from torch import nn

from marsbench.config import Mode
from marsbench.models.build import Classifier, build_classifier
from marsbench.models.spec import ModelSpec


def build_for_mode(
    spec: ModelSpec, num_classes: int, mode: Mode, checkpoint: Path | None = None
) -> Classifier:
    """Build a classifier as a mode wants it.

    - scratch: random weights, all trained.
    - frozen: a pre-trained backbone of which no parameter and no buffer moves; the head trains.
    - finetune: a pre-trained backbone, all trained.

    Args:
        spec: The zoo entry.
        num_classes: Number of outputs.
        mode: The mode.
        checkpoint: Local weights in place of the entry's own.

    Raises:
        WeightsError: If the mode needs weights that cannot be had; random ones never stand in.
    """
    model = build_classifier(
        spec, num_classes, pretrained=mode is not Mode.SCRATCH, checkpoint=checkpoint
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
