"""Backbones of torchvision."""

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
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
    HALF,
    NEVER,
    UNLESS_FROZEN,
    Library,
    ModelSpec,
    WeightSpec,
)
from marsbench.models.tensors import State

_AUXILIARY = ("inception_v3", "googlenet")
"""Models with auxiliary classifiers, which are removed, and with inputs in [-1, 1]."""

_WITHOUT_MAPS = ("maxvit_t",)
"""Transformers whose positions are of a single size."""


def describe(model_id: str) -> ModelSpec:
    """Describe a classifier of torchvision by its name.

    Raises:
        UnknownNameError: If torchvision has no such model; suggests close matches.
    """
    from torchvision import models

    # Detection, segmentation and video models live in modules of their own.
    names = [n for n in models.list_models(module=models) if not n.startswith("quantized")]
    if model_id not in names:
        raise unknown_name("torchvision model", model_id, names)
    default = models.get_model_weights(model_id).DEFAULT
    preset = default.transforms()
    # With weights torchvision rescales the preset's output to [-1, 1] inside the model, which a
    # model built without them does not.
    is_half = model_id in _AUXILIARY
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
        resizing=Resizing(Interpolation(preset.interpolation.value), preset.resize_size[0]),
        fixed_size=model_id in _WITHOUT_MAPS or model_id.startswith("vit_"),
        kinds=CLASSIFICATION if model_id in _WITHOUT_MAPS else EVERY,
        batch_statistics=UNLESS_FROZEN if _has_batch_statistics(model_id) else NEVER,
        parameters=default.meta["num_params"] / 1e6,
    )


@lru_cache
def _has_batch_statistics(model_id: str) -> bool:
    return has_batch_statistics(_without_memory(model_id))


def _without_memory(model_id: str) -> nn.Module:
    """Build the full model, with auxiliary classifiers, without memory for weights."""
    from torchvision import models

    options = {"init_weights": False} if model_id in _AUXILIARY else {}
    return on_meta(lambda: models.get_model(model_id, weights=None, **options))


def build(spec: ModelSpec, shape: tuple[int, int] | None) -> Backbone:
    """Build a backbone with random weights.

    Raises:
        NotAvailableError: If the model has no linear classifier.
    """
    from torchvision import models

    # Names of all tensors of the full model: checkpoints hold auxiliary classifiers too.
    names = set(_without_memory(spec.id).state_dict())
    options = {"aux_logits": False, "init_weights": True} if spec.id in _AUXILIARY else {}
    model: Any = models.get_model(spec.id, weights=None, **options)
    if spec.id.startswith("squeezenet"):
        # The classifier is a convolution, ReLU and average. Averaging before a linear head gives
        # the same but for the ReLU, which would clip the logits at zero.
        num_features = int(model.classifier[1].in_channels)
        model.classifier = nn.AdaptiveAvgPool2d(1)
        return Backbone(model, num_features, names - set(model.state_dict()))
    # The classifier of all other models is their last linear layer.
    linear = [(n, m) for n, m in model.named_modules() if isinstance(m, nn.Linear)]
    if not linear:
        raise NotAvailableError(
            f"{spec.name} has no linear classifier to replace.", "Choose another model."
        )
    name, layer = linear[-1]
    parent, _, child = name.rpartition(".")
    setattr(model.get_submodule(parent), child, nn.Identity())
    return Backbone(model, layer.in_features, names - set(model.state_dict()))


def maps(spec: ModelSpec, backbone: Any, side: int) -> MapSource:
    """Way to the feature maps of a model of torchvision.

    Of ViT the tokens of evenly spaced blocks after the last normalisation, with positions
    interpolated to the size; of other networks the last map of each size.

    Raises:
        NotAvailableError: If its positions are of a single size.
    """
    from torchvision.models import SwinTransformer, VisionTransformer

    if isinstance(backbone, VisionTransformer):
        return MapSource(_tokens, _at_side(backbone, side))
    if spec.id in _WITHOUT_MAPS:
        raise without_maps(spec)
    return MapSource(_swin_maps if isinstance(backbone, SwinTransformer) else _stage_maps)


def _at_side(vit: Any, side: int) -> int:
    """Interpolate the positions of a ViT; returns the side of its input, a multiple of a patch."""
    from torchvision.models.vision_transformer import interpolate_embeddings

    fitting = -(-side // vit.patch_size) * vit.patch_size
    if fitting != vit.image_size:
        name = "encoder.pos_embedding"
        before = vit.encoder.pos_embedding
        state = interpolate_embeddings(fitting, vit.patch_size, {name: before.detach()})
        vit.encoder.pos_embedding = nn.Parameter(state[name], before.requires_grad)
        vit.image_size, vit.seq_length = fitting, state[name].shape[1]
    return int(fitting)


def _tokens(vit: Any, image: Tensor) -> list[Tensor]:
    """Tokens (B, F, h, w) of the taken blocks of a ViT."""
    height, width = (side // vit.patch_size for side in image.shape[-2:])
    tokens = vit._process_input(image)
    start = vit.class_token.expand(len(tokens), -1, -1)
    hidden = vit.encoder.dropout(torch.cat([start, tokens], dim=1) + vit.encoder.pos_embedding)
    taken = set(taken_blocks(len(vit.encoder.layers)))
    output = []
    for i, block in enumerate(vit.encoder.layers):
        hidden = block(hidden)
        if i in taken:
            patches = vit.encoder.ln(hidden)[:, 1:]
            output.append(patches.transpose(1, 2).reshape(len(image), -1, height, width))
    return output


def _swin_maps(swin: Any, image: Tensor) -> list[Tensor]:
    """Maps of the stages of a Swin transformer, each before patches are merged."""
    output = []
    for i, part in enumerate(swin.features):
        image = part(image)
        if i % 2:
            output.append(image.permute(0, 3, 1, 2))
    # The last normalisation belongs to the last stage.
    output[-1] = swin.norm(image).permute(0, 3, 1, 2)
    return output


def _stage_maps(net: Any, image: Tensor) -> list[Tensor]:
    """Last map of each size of a convolutional network."""
    output = []
    for i, part in enumerate(_chain(net)):
        following = part(image)
        if i and following.shape[-1] < image.shape[-1]:
            output.append(image)
        image = following
    return [*output, image]


_ENDS = ("avgpool", "classifier", "dropout", "fc")
"""Parts of networks after the last map."""


def _chain(net: Any) -> Iterator[nn.Module]:
    """Parts of a convolutional network, in the order of their execution."""
    trunk = next((getattr(net, n) for n in ("features", "layers") if hasattr(net, n)), net)
    for name, part in trunk.named_children():
        if trunk is net and name in _ENDS:
            return
        yield from part.children() if name == "trunk_output" else (part,)


def fetch(spec: ModelSpec) -> State:
    """Get the default weights, of classifiers and detectors, from the cache or by download.

    Raises:
        WeightsError: If they are in no cache and the download fails, or if the cached file is not
            the published one.
    """
    from torch.hub import HASH_REGEX
    from torchvision import models

    default = models.get_model_weights(spec.id).DEFAULT
    if (path := cached_file(spec)) is not None and (match := HASH_REGEX.search(path.name)):
        weights.check_published(path, match[1])  # torchvision checks downloads alone
    try:
        if path is None:
            network.check_reachable(default.url)
        return dict(default.get_state_dict(progress=False, check_hash=True, weights_only=True))
    except Exception as error:  # urllib, sockets and a wrong hash raise different types
        cache = weights.torch_cache(default.url).parent
        raise weights.unavailable(spec, default.url, cache, error) from error


def cached_file(spec: ModelSpec) -> Path | None:
    """File of the default weights in the cache of torch, or None."""
    from torchvision import models

    path = weights.torch_cache(models.get_model_weights(spec.id).DEFAULT.url)
    return path if path.exists() else None
