"""Layers of networks, for learning rates that decay from the head to the first layer."""

from typing import Any

from torch import nn

from marsbench.base.errors import NotAvailableError
from marsbench.models.base import Model

_TORCHVISION: dict[str, dict[str, Any]] = {
    "VisionTransformer": {
        "stem": r"^class_token|^conv_proj|^encoder\.pos_embedding",
        "blocks": [
            (r"^encoder\.layers\.encoder_layer_(\d+)", None),
            (r"^encoder\.ln", (99999,)),  # of the last block, as in timm
        ],
    },
}
"""Layers of torchvision's networks in the form of timm's ``group_matcher``."""


def rate_scales(model: Model, decay: float, name: str) -> dict[str, float]:
    """Factor of the learning rate of each parameter.

    Layers are those of timm's ``group_matcher``: of a transformer the embedding of patches, then
    each block. The last layer has `decay`, the one before `decay` squared, and so on; head, decoder
    and normalisation of pooled features have 1. This is the decay of BEiT (Bao et al. 2021,
    https://arxiv.org/abs/2106.08254), as in `timm.optim.param_groups_layer_decay`.

    Args:
        model: A network.
        decay: Factor from a layer to the one before.
        name: Name of the model, for messages.

    Returns:
        Factors by the name of a parameter.

    Raises:
        NotAvailableError: If the layers of its encoder are unknown.
    """
    from timm.models._manipulate import group_with_matcher

    prefix, encoder, matcher = _grouped(model, name)
    # The name of a head makes it the last layer, as in a network with its classifier.
    names = [name for name, _ in encoder.named_parameters()]
    layers = group_with_matcher(((n, None) for n in (*names, _HEAD)), matcher, reverse=True)
    last = int(layers[_HEAD])
    scales = {name: 1.0 for name, _ in model.named_parameters()}
    return scales | {f"{prefix}{n}": float(decay ** (last - int(layers[n]))) for n in names}


_HEAD = "marsbench_head"


def _grouped(model: Model, name: str) -> tuple[str, nn.Module, dict[str, Any]]:
    """Prefix and module of the encoder with known layers, and their patterns."""
    frozen = (model.frozen_prefix,) if isinstance(model.frozen_prefix, str) else model.frozen_prefix
    for prefix in frozen:
        for inner, module in model.get_submodule(prefix.rstrip(".")).named_modules():
            place = f"{prefix}{inner}." if inner else prefix
            if hasattr(module, "group_matcher"):
                return place, module, module.group_matcher(coarse=False)
            kind = type(module)
            if kind.__module__.startswith("torchvision.") and kind.__name__ in _TORCHVISION:
                return place, module, _TORCHVISION[kind.__name__]
    raise NotAvailableError(
        f"optim.layer_decay needs the order of the layers, which is unknown of {name}.",
        "Leave optim.layer_decay out, or choose a model of timm (model=timm:NAME) or vit.",
    )
