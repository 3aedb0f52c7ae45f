"""Build the networks of own encoders."""

from pathlib import Path
from typing import Any

import torch
from torch import nn

from marsbench.base.errors import ConfigError
from marsbench.models.encoders import timm
from marsbench.models.encoders.classifier import Backbone
from marsbench.models.encoders.maps import MapSource
from marsbench.models.own.calling import Place, call, place_of
from marsbench.models.own.checking import (
    dense_problems,
    maps_of,
    problems_of,
    weights_problems,
)
from marsbench.models.own.encoder import Encoder
from marsbench.models.spec import ModelSpec
from marsbench.models.tensors import State
from marsbench.models.weights import strip_prefix


def build(spec: ModelSpec, shape: tuple[int, int] | None) -> Backbone:
    """Build a backbone, with random weights if its function takes ``pretrained``.

    Raises:
        ConfigError: If the encoder does not keep its description.
    """
    encoder = call(_place(spec), pretrained=False)
    # Two images on the CPU take moments; a wrong encoder would fail after hours, or silently.
    if problems := problems_of(encoder, torch.device("cpu"), is_quick=True):
        raise _invalid(spec, problems[0])
    return Backbone(_On(encoder), encoder.num_features, set())


def _invalid(spec: ModelSpec, problem: str) -> ConfigError:
    return ConfigError(
        f"The encoder of {spec.word} is invalid: {problem}",
        f"Correct it; `marsbench model check {spec.word}` shows all problems.",
    )


def fetch(spec: ModelSpec) -> State:
    """Tensors of the pre-trained encoder.

    Raises:
        ConfigError: If they differ between calls, or are not all that decides its output.
    """
    place = _place(spec)
    encoder = call(place, pretrained=True)
    if problems := weights_problems(encoder, lambda p: call(place, pretrained=p)):
        raise _invalid(spec, problems[0])
    return dict(_On(encoder).state_dict())


def convert(spec: ModelSpec, module: nn.Module, state: State) -> State:
    """Name the tensors of a checkpoint of the user's module as those of the backbone.

    Args:
        spec: The own encoder.
        module: The backbone.
        state: Tensors by name.
    """
    if any(name in module.state_dict() for name in state):
        return state
    inner = strip_prefix(state, module.get_submodule("encoder").state_dict())
    return {f"encoder.{name}": tensor for name, tensor in inner.items()}


def maps(spec: ModelSpec, backbone: Any, side: int) -> MapSource:
    """Way to the feature maps: the function that the encoder states, or timm's.

    Raises:
        ConfigError: If the maps are invalid.
    """
    encoder: Encoder = backbone.facts
    if problems := dense_problems(encoder, torch.device("cpu"), is_quick=True):
        raise _invalid(spec, problems[0])
    if not encoder.any_size:
        return MapSource(_maps, encoder.size, computes_shapes=False)
    if encoder.dense is not None:
        return MapSource(_maps, computes_shapes=False)
    return timm.maps(spec, encoder.module, side)._replace(extract=_maps)


def _maps(backbone: Any, image: torch.Tensor) -> list[torch.Tensor]:
    return maps_of(backbone.facts, image)


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
        self.facts, self.encoder = encoder, encoder.module

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = self.encoder(image)
        return features
