"""Backbones of timm."""

import math
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import nn

from marsbench.base import hub
from marsbench.base.errors import NotAvailableError, unknown_name
from marsbench.config.resizing import Interpolation, Resizing
from marsbench.models import weights
from marsbench.models.base import has_batch_statistics
from marsbench.models.encoders.classifier import Backbone
from marsbench.models.spec import NEVER, UNLESS_FROZEN, Library, ModelSpec, WeightSpec
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
        batch_statistics=UNLESS_FROZEN if _has_batch_statistics(name) else NEVER,
    )


def _resizing(cfg: Any) -> Resizing | None:
    """Resizing of timm's own evaluation, rounded as there; None for other interpolations."""
    if cfg.interpolation not in list(Interpolation):
        return None
    return Resizing(Interpolation(cfg.interpolation), math.floor(cfg.input_size[-1] / cfg.crop_pct))


@lru_cache
def _has_batch_statistics(name: str) -> bool:
    return has_batch_statistics(without_memory(name.partition(".")[0]))


def without_memory(name: str, **options: Any) -> nn.Module:
    """Build a timm model, if possible on the meta device, without memory for weights."""
    import timm

    try:
        with torch.device("meta"):
            model: nn.Module = timm.create_model(name, **options)
    except (
        NotImplementedError,
        RuntimeError,
    ):  # some models compute with weights while being built
        model = timm.create_model(name, **options)
    return model


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
        if cached_file(spec) is None:
            hub.check_reachable(host)
        # timm's own loader knows how to rename the tensors of each file.
        model: nn.Module = timm.create_model(spec.id, pretrained=True)
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
