"""Backbones of timm."""

import math
from collections.abc import Callable
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from marsbench.base import network
from marsbench.base.errors import NotAvailableError, unknown_name
from marsbench.config.resizing import Interpolation, Resizing
from marsbench.models import weights
from marsbench.models.base import has_batch_statistics, on_meta
from marsbench.models.encoders.classifier import Backbone
from marsbench.models.encoders.maps import MapSource, taken_blocks, without_maps
from marsbench.models.spec import (
    CLASSIFICATION,
    EVERY,
    NEVER,
    UNLESS_FROZEN,
    Library,
    ModelSpec,
    WeightSpec,
)
from marsbench.models.tensors import State


def describe(model_id: str) -> ModelSpec:
    """Describe a model of timm by its name, with or without the tag of its weights.

    Raises:
        UnknownNameError: If timm has no such model; suggests close matches.
        NotAvailableError: If its input is not a square image of three channels.
    """
    name, weight_spec, cfg = published(model_id, "timm model", "timm weights")
    bands, height, width = cfg.input_size
    if bands != 3 or height != width:
        raise NotAvailableError(
            f"The input of timm:{model_id} is {bands} x {height} x {width}; expected a square "
            "image of three channels.",
            "Choose another model.",
        )
    return ModelSpec(
        name=f"timm:{model_id}",
        library=Library.TIMM,
        id=name,
        weights=weight_spec,
        mean=cfg.mean,
        std=cfg.std,
        input_size=height,
        resizing=_resizing(cfg),
        fixed_size=bool(cfg.fixed_input_size),
        **_facts(name),
    )


def _resizing(cfg: Any) -> Resizing | None:
    """Resizing of timm's own evaluation, rounded as there; None for other interpolations."""
    if cfg.interpolation not in list(Interpolation):
        return None
    return Resizing(Interpolation(cfg.interpolation), math.floor(cfg.input_size[-1] / cfg.crop_pct))


@lru_cache
def _facts(name: str) -> dict[str, Any]:
    """Fields of an entry that the network itself shows."""
    model: Any = without_memory(name.partition(".")[0])
    return {
        "kinds": EVERY if has_maps(model) else CLASSIFICATION,
        "any_dense_size": hasattr(model, "set_input_size") or _own_side(model) is None,
        "batch_statistics": UNLESS_FROZEN if has_batch_statistics(model) else NEVER,
    }


def has_maps(model: Any) -> bool:
    """Whether a module has timm's interface of feature maps."""
    return hasattr(model, "forward_intermediates") and bool(getattr(model, "feature_info", None))


def _own_side(model: Any) -> int | None:
    """Side in pixels of the only images that a model takes; None for any."""
    cfg: Any = getattr(model, "pretrained_cfg", {})
    if not cfg.get("fixed_input_size") or getattr(model, "dynamic_img_size", False):
        return None
    return int(cfg["input_size"][-1])


def without_memory(name: str, **options: Any) -> nn.Module:
    """Build a timm model, if possible on the meta device, without memory for weights."""
    import timm

    return on_meta(lambda: timm.create_model(name, **options))


def published(
    model_id: str, kind: str, kind_of_weights: str, prefix: str = ""
) -> tuple[str, WeightSpec | None, Any]:
    """Look up a model of timm.

    Args:
        model_id: Its name, with or without the tag of its weights.
        kind: Description of the model, for messages.
        kind_of_weights: Description of its weights, for messages.
        prefix: Prefix of names in messages.

    Returns:
        Its name with the tag of its weights, so that run ids do not depend on timm's default tag;
        its weights; timm's pre-training configuration.
    """
    import timm

    architecture, _, tag = model_id.partition(".")
    if not timm.is_model(architecture):
        raise unknown_name(kind, prefix + model_id, [prefix + n for n in timm.list_models()])
    tags = [name.partition(".")[2] for name in timm.list_pretrained(f"{architecture}.*")]
    if tag and tag not in tags:
        known = [f"{prefix}{architecture}.{t}" for t in tags]
        raise unknown_name(kind_of_weights, prefix + model_id, known)
    cfg: Any = timm.get_pretrained_cfg(model_id)
    name = f"{architecture}.{cfg.tag}" if cfg.tag else architecture
    if not cfg.has_weights:
        return name, None, cfg
    weight_spec = WeightSpec(
        name=f"timm/{architecture}.{cfg.tag}",
        data=cfg.tag or "not stated",
        images=None,
        licence=cfg.license or "",
    )
    return name, weight_spec, cfg


def build(spec: ModelSpec, shape: tuple[int, int] | None) -> Backbone:
    """Build a backbone with random weights."""
    import timm

    model: Any = timm.create_model(spec.id.partition(".")[0], pretrained=False)
    names = set(model.state_dict())
    model.reset_classifier(0)
    num_features = getattr(model, "head_hidden_size", None) or model.num_features
    return Backbone(model, int(num_features), names - set(model.state_dict()))


def maps(spec: ModelSpec, backbone: Any, side: int) -> MapSource:
    """Way to the feature maps of a model of timm, whose positions are interpolated to a size.

    Raises:
        NotAvailableError: If timm has no feature maps of it.
    """
    if not has_maps(backbone):
        raise without_maps(spec)
    extract = intermediates_of(backbone)
    strides = {int(item["reduction"]) for item in backbone.feature_info}
    fitting = -(-side // max(strides)) * max(strides)
    if hasattr(backbone, "set_input_size"):
        backbone.set_input_size(img_size=(fitting, fitting))
        return MapSource(extract, fitting)
    only = _own_side(backbone)
    return MapSource(extract, fitting if only is None and len(strides) == 1 else only)


def intermediates_of(backbone: Any) -> Callable[[Any, Tensor], list[Tensor]]:
    """Function from a model of timm and images to its feature maps.

    Of a plain transformer the tokens of evenly spaced blocks, each after the last normalisation; of
    other networks the maps of all stages.
    """
    strides = [int(item["reduction"]) for item in backbone.feature_info]
    taken = None
    if len(strides) > 1 and len(set(strides)) == 1:
        taken = tuple(dict.fromkeys(taken_blocks(len(strides))))
    return partial(_intermediates, taken=taken)


def _intermediates(backbone: Any, image: Tensor, taken: tuple[int, ...] | None) -> list[Tensor]:
    output: list[Tensor] = backbone.forward_intermediates(
        image,
        indices=None if taken is None else list(taken),
        norm=taken is not None,
        intermediates_only=True,
    )
    return output


def fetch(spec: ModelSpec) -> State:
    """Get the default weights from the cache or the hub.

    Raises:
        WeightsError: If they are in no cache and the download fails.
    """
    import timm
    from huggingface_hub import constants

    cfg: Any = timm.get_pretrained_cfg(spec.id)
    origin, host = cfg.url, cfg.url
    if cfg.hf_hub_id:
        origin, host = f"the Hugging Face hub ({cfg.hf_hub_id})", constants.ENDPOINT
    try:
        if (path := cached_file(spec)) is None:
            network.check_reachable(host)
        # timm would ask the hub about a cached file, too.
        known = None if path is None else {"file": str(path)}
        # timm's own loader knows how to rename the tensors of each file.
        model: nn.Module = timm.create_model(spec.id, pretrained=True, pretrained_cfg_overlay=known)
    except Exception as error:  # the hub's client raises errors of several libraries
        cache = constants.HF_HUB_CACHE if cfg.hf_hub_id else weights.torch_cache(cfg.url).parent
        raise weights.unavailable(spec, origin, cache, error) from error
    return dict(model.state_dict())


def cached_file(spec: ModelSpec) -> Path | None:
    """File of the default weights in the cache of the hub or of torch, or None."""
    import timm
    from huggingface_hub import try_to_load_from_cache

    cfg: Any = timm.get_pretrained_cfg(spec.id)
    if cfg.hf_hub_id:
        for name in (cfg.hf_hub_filename or "model.safetensors", "pytorch_model.bin"):
            if isinstance(path := try_to_load_from_cache(cfg.hf_hub_id, name), str):
                return Path(path)
        return None
    path = weights.torch_cache(cfg.url) if cfg.url else None
    return path if path is not None and path.exists() else None
