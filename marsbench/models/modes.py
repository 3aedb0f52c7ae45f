"""Build networks for the modes scratch, frozen and finetune."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import nn

from marsbench.base import lazy
from marsbench.config.schema import Decoder, HeadName, Mode, Pooling
from marsbench.models.adapters import Bands, build_adapter
from marsbench.models.base import Model
from marsbench.models.encoders.classifier import build_classifier
from marsbench.models.inputs import DEFAULT, Inputs
from marsbench.models.libraries import LIBRARIES
from marsbench.models.spec import ModelSpec
from marsbench.tasks.kinds import BOXES, LABELS, MASKS, Kind


def _classifier(spec: ModelSpec, num_outputs: int, inputs: dict[str, Any], **weights: Any) -> Model:
    if path := LIBRARIES[spec.library].classifier:
        model: Model = lazy.load(path)(spec, num_outputs, **weights)
        return model
    how = {key: inputs[key] for key in ("shape", "pooling", "head")}
    return build_classifier(spec, num_outputs, **how, **weights)


def _over_encoder(
    path: str, spec: ModelSpec, num_outputs: int, inputs: dict[str, Any], **weights: Any
) -> Model:
    how = {"decoder": inputs["decoder"], "side": inputs["side"] or spec.input_size}
    model: Model = lazy.load(path)(spec, num_outputs, **how, **weights)
    return model


def _segmenter(spec: ModelSpec, num_outputs: int, inputs: dict[str, Any], **weights: Any) -> Model:
    if spec.is_encoder:
        path = "marsbench.models.segmenters.encoder:build"
        return _over_encoder(path, spec, num_outputs, inputs, **weights)
    build = lazy.load(LIBRARIES[spec.library].segmenter)
    model: Model = build(spec, num_outputs, color_of_band=inputs["colors"], **weights)
    return model


def _detector(spec: ModelSpec, num_outputs: int, inputs: dict[str, Any], **weights: Any) -> Model:
    if spec.is_encoder:
        path = "marsbench.models.detectors.encoder:build"
        return _over_encoder(path, spec, num_outputs, inputs, **weights)
    build = lazy.load(LIBRARIES[spec.library].detector)
    model: Model = build(spec, num_outputs, side=inputs["side"] or spec.input_size, **weights)
    return model


_BUILDERS: dict[Kind, Callable[..., Model]] = {
    **dict.fromkeys(LABELS, _classifier),
    **dict.fromkeys(MASKS, _segmenter),
    **dict.fromkeys(BOXES, _detector),
}
"""Builders of networks by kind of task."""


def build_for_mode(
    spec: ModelSpec,
    kind: Kind,
    num_outputs: int,
    mode: Mode,
    *,
    side: int | None,
    colors: Bands | None = None,
    shape: tuple[int, int] | None = None,
    checkpoint: Path | None = None,
    inputs: Inputs = DEFAULT,
    pooling: Pooling = Pooling.AUTO,
    head: HeadName = HeadName.LINEAR,
    decoder: Decoder | None = None,
) -> Model:
    """Build the network of an entry for a kind of task and a mode.

    - scratch: random weights, all trained.
    - frozen: a pre-trained backbone of which no parameter and no buffer moves; the head, decoder
      or detector's neck and heads train.
    - finetune: pre-trained weights, all trained.

    A classifier's head, a decoder and layers that depend on the number of classes start at random
    in every mode.

    Args:
        spec: The zoo entry.
        kind: Kind of the task.
        num_outputs: Number of output nodes, or of classes without the background.
        mode: The mode.
        side: Side of the input in pixels; None takes the entry's.
        colors: Colour of each band, for segmenters of images of more than three bands.
        shape: Rows and columns of rasterised spectra.
        checkpoint: Local weights instead of the entry's default weights.
        inputs: Bands and normalisation of the images.
        pooling: Pooling of a classifier's tokens.
        head: Head of a classifier.
        decoder: Decoder of an encoder, for masks and boxes.

    Raises:
        WeightsError: If the mode needs weights and they are missing or do not fit. Random weights
            are never used instead.
        NotAvailableError: If the model's library is not installed.
    """
    model = _BUILDERS[kind](
        spec,
        num_outputs,
        {
            "side": side,
            "colors": colors,
            "shape": shape,
            "pooling": pooling,
            "head": head,
            "decoder": decoder,
        },
        pretrained=mode is not Mode.SCRATCH,
        checkpoint=checkpoint,
    )
    if inputs != DEFAULT:
        # Outside of the backbone: a trained first layer trains in every mode.
        has_colors = kind in MASKS and not spec.is_encoder
        model.adapter = build_adapter(spec, inputs, colors if has_colors else None)
    if mode is Mode.FROZEN:
        model.freeze_backbone()
    return model


def count_parameters(model: nn.Module) -> dict[str, int]:
    """Count all parameters (``total``) and the trainable ones (``trained``)."""
    parameters = list(model.parameters())
    return {
        "total": sum(p.numel() for p in parameters),
        "trained": sum(p.numel() for p in parameters if p.requires_grad),
    }
