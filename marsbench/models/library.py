"""Any classifier of timm or torchvision as a zoo entry, from what the library says of it."""

from typing import Any

from marsbench.base.errors import NotAvailableError, unknown_name
from marsbench.models.spec import HALF, Library, ModelSpec, WeightSpec


def library_spec(library: Library, model_id: str) -> ModelSpec:
    """Describe a library's model.

    Args:
        library: timm or torchvision.
        model_id: The model's name there; for timm with or without the tag of its weights.

    Raises:
        UnknownNameError: If the library has no such model; suggests close matches.
        NotAvailableError: If it does not take an RGB image of a square size.
    """
    return _timm(model_id) if library is Library.TIMM else _torchvision(model_id)


def _timm(model_id: str) -> ModelSpec:
    import timm

    architecture, _, tag = model_id.partition(".")
    if not timm.is_model(architecture):
        raise unknown_name("timm model", model_id, timm.list_models())
    tags = [name.partition(".")[2] for name in timm.list_pretrained(f"{architecture}.*")]
    if tag and tag not in tags:
        raise unknown_name("timm weights", model_id, [f"{architecture}.{t}" for t in tags])
    cfg: Any = timm.get_pretrained_cfg(model_id)
    bands, height, width = cfg.input_size
    if bands != 3 or height != width:
        raise NotAvailableError(
            f"timm:{model_id} takes inputs of {bands} x {height} x {width}; "
            "this version feeds square images of three channels.",
            "Choose another model.",
        )
    weights = None
    if cfg.has_weights:
        weights = WeightSpec(
            name=f"timm/{architecture}.{cfg.tag}",
            data=cfg.tag or "not stated",
            images=None,
            licence=cfg.license or "",
        )
    return ModelSpec(
        name=f"timm:{model_id}",
        library=Library.TIMM,
        # With the tag spelt out, so that the id of a run does not depend on timm's default.
        id=f"{architecture}.{cfg.tag}" if cfg.tag else architecture,
        weights=weights,
        mean=cfg.mean,
        std=cfg.std,
        input_size=height,
    )


def _torchvision(model_id: str) -> ModelSpec:
    from torchvision import models

    # Detection, segmentation and video models live in modules of their own.
    names = [n for n in models.list_models(module=models) if not n.startswith("quantized")]
    if model_id not in names:
        raise unknown_name("torchvision model", model_id, names)
    default = models.get_model_weights(model_id).DEFAULT
    preset = default.transforms()
    # Trained on inputs in [-1, 1]; with weights torchvision rescales the preset's output there
    # itself, which a model built without them does not.
    is_half = model_id in ("inception_v3", "googlenet")
    return ModelSpec(
        name=f"torchvision:{model_id}",
        library=Library.TORCHVISION,
        id=model_id,
        weights=WeightSpec(
            name=f"torchvision/{model_id}.{default.name}",
            data=default.name.lower(),
            images=None,
            licence="BSD-3-Clause",
        ),
        mean=HALF if is_half else tuple(preset.mean),
        std=HALF if is_half else tuple(preset.std),
        input_size=preset.crop_size[0],
        parameters=default.meta["num_params"] / 1e6,
    )
