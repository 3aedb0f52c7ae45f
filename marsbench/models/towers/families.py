"""Families of two towers: their networks in transformers, and their texts."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Annotated, Any

from torch import nn

from marsbench.base.documents import parse_json
from marsbench.base.values import Limit, Problem, Text, check
from marsbench.models.towers import tokens

_Size = Annotated[int, Limit(low=1, high=1_000_000)]
_Name = Annotated[str, Text(40, "[a-z0-9_]+", "a name")]


@dataclass(frozen=True, kw_only=True)
class _Tower:
    """Fields of a tower's configuration that are read; missing ones keep transformers' defaults."""

    hidden_size: _Size | None = None
    intermediate_size: _Size | None = None
    num_hidden_layers: _Size | None = None
    num_attention_heads: _Size | None = None
    hidden_act: _Name | None = None
    layer_norm_eps: Annotated[float, Limit(above=0, high=1)] | None = None
    projection_dim: _Size | None = None


@dataclass(frozen=True, kw_only=True)
class _TextTower(_Tower):
    vocab_size: _Size | None = None
    max_position_embeddings: _Size | None = None
    eos_token_id: _Size | None = None
    projection_size: _Size | None = None


@dataclass(frozen=True, kw_only=True)
class _ImageTower(_Tower):
    image_size: _Size | None = None
    patch_size: _Size | None = None


@dataclass(frozen=True, kw_only=True)
class _Both:
    projection_dim: _Size | None = None


_TOWERS = {"text_config": _TextTower, "vision_config": _ImageTower}


@dataclass(frozen=True, kw_only=True)
class Family:
    """Properties of a family.

    Attributes:
        config: Configuration in transformers.
        network: Model in transformers.
        tokens: ``(tokenizer, texts, length) -> Tokens``.
        has_bias: Whether logits are those of independent pairs, with a bias, for a sigmoid.
    """

    config: str
    network: str
    tokens: Callable[[Any, Sequence[str], int], tokens.Tokens]
    has_bias: bool = False


FAMILIES: dict[str, Family] = {
    "clip": Family(config="CLIPConfig", network="CLIPModel", tokens=tokens.of_clip),
    "siglip": Family(
        config="SiglipConfig", network="SiglipModel", tokens=tokens.of_siglip, has_bias=True
    ),
}
"""Families by the ``model_type`` of their configuration."""


def network_of(text: str, library: Any) -> tuple[Family, nn.Module]:
    """Build a network with random weights from its configuration, of which sizes alone are read.

    Args:
        text: The ``config.json`` of its repository.
        library: The package transformers.

    Raises:
        ValueError: If the configuration is invalid, or of another family.
    """
    content = parse_json(text)
    kind = content.get("model_type") if isinstance(content, dict) else None
    if kind not in FAMILIES:
        raise ValueError(f"model_type is {kind}; expected {' or '.join(FAMILIES)}")
    family = FAMILIES[kind]
    sizes: dict[str, Any] = _sizes(_Both, content)
    towers = {name: _sizes(cls, content.get(name) or {}) for name, cls in _TOWERS.items()}
    config = getattr(library, family.config)(**sizes, **towers)
    network: nn.Module = getattr(library, family.network)(config)
    return family, network


def _sizes(cls: type, content: Any) -> dict[str, Any]:
    """Given values of the fields of a dataclass.

    Raises:
        ValueError: If a value is invalid.
    """
    if not isinstance(content, dict):
        raise ValueError("a tower's configuration is not a mapping")
    problems: list[Problem] = []
    known = {item.name: content[item.name] for item in fields(cls) if item.name in content}
    sizes = check(cls, known, problems, strict=True)
    if problems:
        raise ValueError(problems[0].message)
    return {name: value for name, value in sizes.items() if value is not None}
