"""From a zoo entry to a network: one builder per library and kind of task."""

from pathlib import Path
from typing import Any

from torch import nn

from marsbench.base import lazy
from marsbench.models.base import Bands, Model
from marsbench.models.encoders.classifier import build_classifier
from marsbench.models.libraries import LIBRARIES
from marsbench.models.spec import ModelSpec
from marsbench.tasks.kinds import Kind


def build_model(
    spec: ModelSpec,
    kind: Kind,
    num_outputs: int,
    *,
    pretrained: bool,
    side: int | None = None,
    colors: Bands | None = None,
    shape: tuple[int, int] | None = None,
    checkpoint: Path | None = None,
) -> Model:
    """Build the model of an entry for a kind of task.

    Args:
        spec: The zoo entry.
        kind: Kind of the task.
        num_outputs: Number of output nodes, or of classes without the background.
        pretrained: Whether it starts from weights. A classifier's head, a decoder and layers that
            depend on the number of classes start at random all the same.
        side: Side of the input in pixels; None takes the entry's.
        colors: Colour of each band, for images of more than three bands.
        shape: Rows and columns of rasterised spectra.
        checkpoint: Local weights in place of the entry's own.

    Raises:
        WeightsError: If weights are wanted but missing, or do not fit; random ones never stand in.
        NotAvailableError: If the model's library is not installed.
    """
    library = LIBRARIES[spec.library]
    weights: dict[str, Any] = {"pretrained": pretrained, "checkpoint": checkpoint}
    model: Model
    if kind is Kind.SEGMENTATION:
        build = lazy.load(str(library.segmenter))
        model = build(spec, num_outputs, color_of_band=colors, **weights)
    elif kind is Kind.DETECTION:
        build = lazy.load(str(library.detector))
        model = build(spec, num_outputs, side=side or spec.input_size, **weights)
    else:
        model = build_classifier(spec, num_outputs, shape=shape, **weights)
    return model


def count_parameters(model: nn.Module) -> dict[str, int]:
    """Count all parameters (total) and those that train (trained)."""
    parameters = list(model.parameters())
    return {
        "total": sum(p.numel() for p in parameters),
        "trained": sum(p.numel() for p in parameters if p.requires_grad),
    }
