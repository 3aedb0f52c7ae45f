"""Scratch, frozen, finetune: which weights a run starts from and which it trains."""

from pathlib import Path

from marsbench.config.schema import Mode
from marsbench.models.base import Bands, Model
from marsbench.models.build import build_model
from marsbench.models.spec import ModelSpec
from marsbench.tasks.kinds import Kind


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
) -> Model:
    """Build a model for a mode; arguments and errors as in `build_model`.

    - scratch: random weights, all trained.
    - frozen: a pre-trained backbone of which no parameter and no buffer moves; the head, decoder
      or detector's neck and heads train.
    - finetune: pre-trained weights, all trained.
    """
    model = build_model(
        spec,
        kind,
        num_outputs,
        pretrained=mode is not Mode.SCRATCH,
        side=side,
        colors=colors,
        shape=shape,
        checkpoint=checkpoint,
    )
    if mode is Mode.FROZEN:
        model.freeze_backbone()
    return model
