"""Build foundation models, and load their published checkpoints."""

import re
from pathlib import Path
from typing import Any

from torch import nn

from marsbench.base import hub, lazy
from marsbench.models import weights
from marsbench.models.encoders import timm as encoders
from marsbench.models.encoders.classifier import Backbone
from marsbench.models.encoders.maps import MapSource
from marsbench.models.foundation.keys import at_grid
from marsbench.models.foundation.recipes import RECIPES, Recipe
from marsbench.models.spec import ModelSpec
from marsbench.models.tensors import State, read_checkpoint

_HASH = re.compile(r"-([0-9a-f]{8,})\.\w+")
"""End of the name of a file that states its SHA-256."""


def build(spec: ModelSpec, shape: tuple[int, int] | None) -> Backbone:
    """Build a backbone with random weights, for images of any multiple of its patches."""
    import timm

    recipe = RECIPES[spec.id]
    options: dict[str, Any] = {"in_chans": spec.in_channels, "dynamic_img_size": True}
    model: Any = timm.create_model(
        recipe.architecture.partition(".")[0], pretrained=False, **options | dict(recipe.options)
    )
    names = set(model.state_dict())
    model.reset_classifier(0)
    if recipe.prepare:
        lazy.load(recipe.prepare)(model)
    return Backbone(model, int(model.num_features), names - set(model.state_dict()))


def maps(spec: ModelSpec, backbone: Any, side: int) -> MapSource:
    """Way to the feature maps, as timm's, with positions that stay fixed if they were."""
    positions = getattr(backbone, "pos_embed", None)
    source = encoders.maps(spec, backbone, side)
    if positions is not None:
        backbone.pos_embed.requires_grad_(positions.requires_grad)
    return source


def fetch(spec: ModelSpec) -> State:
    """Get the default weights from the cache or the hub.

    Raises:
        WeightsError: If they are in no cache and the download fails.
    """
    address = address_of(spec)
    if address is None:
        return encoders.fetch(_of_timm(spec))
    path = hub.fetch(address)
    if (match := _HASH.search(path.name)) is not None:
        weights.check_published(path, match[1])
    return read_checkpoint(path)


def cached_file(spec: ModelSpec) -> Path | None:
    """File of the default weights in the cache of the hub, or None."""
    from huggingface_hub import try_to_load_from_cache

    address = address_of(spec)
    if address is None:
        return encoders.cached_file(_of_timm(spec))
    path = try_to_load_from_cache(address.repo, address.path, revision=address.revision)
    return Path(path) if isinstance(path, str) else None


def convert(spec: ModelSpec, module: nn.Module, state: State) -> State:
    """Turn the tensors of a published checkpoint into those of the backbone.

    Tensors beyond the recipe's lists stay, and missing ones are missing: loading names them.

    Args:
        spec: The zoo entry.
        module: The backbone.
        state: Tensors of the checkpoint, without prefixes.
    """
    return converted(RECIPES[spec.id], module, state)


def converted(recipe: Recipe, module: nn.Module, state: State) -> State:
    """Apply a recipe, as `convert`."""
    wanted = module.state_dict()
    if recipe.keys:
        state = lazy.load(recipe.keys)(module, state)
    kept = {k: v for k, v in state.items() if k in wanted or not k.startswith(recipe.dropped)}
    fresh = {k: v for k, v in wanted.items() if k.startswith(recipe.fresh) and k not in kept}
    return at_grid(module, kept | fresh)


def address_of(spec: ModelSpec) -> hub.HubAddress | None:
    """Address of the default weights; None if timm knows it."""
    name = "" if spec.weights is None else spec.weights.name
    return hub.parse_address(name) if hub.is_address(name) else None


def _of_timm(spec: ModelSpec) -> ModelSpec:
    """Entry of timm with the same weights."""
    return encoders.describe(RECIPES[spec.id].architecture)
