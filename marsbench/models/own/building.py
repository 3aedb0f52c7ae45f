"""Build the networks of own encoders."""

from pathlib import Path

import torch
from torch import nn

from marsbench.base.errors import ConfigError
from marsbench.models.encoders.classifier import Backbone
from marsbench.models.own.calling import Place, call, place_of
from marsbench.models.own.checking import problems_of
from marsbench.models.own.encoder import Encoder
from marsbench.models.spec import ModelSpec
from marsbench.models.tensors import State


def build(spec: ModelSpec, shape: tuple[int, int] | None) -> Backbone:
    """Build a backbone, with random weights if its function takes ``pretrained``.

    Raises:
        ConfigError: If the encoder does not keep its description.
    """
    encoder = call(_place(spec), pretrained=False)
    # Two images on the CPU take moments; a wrong encoder would fail after hours, or silently.
    if problems := problems_of(encoder, torch.device("cpu"), is_quick=True):
        raise ConfigError(
            f"The encoder of {spec.word} is invalid: {problems[0]}",
            f"Correct it; `marsbench model check {spec.word}` shows all problems.",
        )
    return Backbone(_On(encoder), encoder.num_features, set())


def fetch(spec: ModelSpec) -> State:
    """Tensors of the pre-trained encoder."""
    encoder = call(_place(spec), pretrained=True)
    return dict(_On(encoder).state_dict())


def cached_file(spec: ModelSpec) -> Path | None:
    """None: the content of its files is in the name of its weights."""
    return None


def _place(spec: ModelSpec) -> Place:
    place = place_of(spec.word)
    if place is None:
        raise ConfigError(f"{spec.name} names no function.", "Give model= again.")
    return place


class _On(nn.Module):
    """The user's module by a name of its own, so that any module has a backbone's interface."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder.module

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = self.encoder(image)
        return features
