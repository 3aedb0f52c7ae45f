"""Zoo entries of classifiers."""

from typing import Any

from marsbench.config.resizing import Interpolation, Resizing
from marsbench.models.spec import (
    HALF,
    IMAGENET_1K,
    IMAGENET_21K,
    LITE0_WEIGHTS,
    NO_MARS,
    UNLESS_FROZEN,
    Library,
    ModelSpec,
    WeightSpec,
)


def _torchvision(
    name: str, weights: str, parameters: float, model_id: str | None = None, **more: Any
) -> ModelSpec:
    model_id = model_id or name
    published = WeightSpec(
        name=f"torchvision/{model_id}.{weights}",
        data="ImageNet-1k",
        images=IMAGENET_1K,
        licence="BSD-3-Clause",
        overlaps=NO_MARS,
    )
    return ModelSpec(
        name=name,
        library=Library.TORCHVISION,
        id=model_id,
        weights=published,
        parameters=parameters,
        **more,
    )


def _timm(
    name: str,
    model_id: str,
    parameters: float,
    data: str = "ImageNet-1k",
    images: int = IMAGENET_1K,
    **more: Any,
) -> ModelSpec:
    published = WeightSpec(
        name=f"timm/{model_id}",
        data=data,
        images=images,
        licence="Apache-2.0",
        overlaps=NO_MARS,
    )
    facts: dict[str, Any] = {"weights": published} | more
    return ModelSpec(name=name, library=Library.TIMM, id=model_id, parameters=parameters, **facts)


ENTRIES: tuple[ModelSpec, ...] = (
    # The five models of the paper (section 4), with torchvision's DEFAULT weights.
    _torchvision(
        "resnet101",
        "IMAGENET1K_V2",
        44.5,
        aliases=("resnet",),
        resizing=Resizing(Interpolation.BILINEAR, 232),
        batch_statistics=UNLESS_FROZEN,
    ),
    _torchvision(
        "squeezenet1_1",
        "IMAGENET1K_V1",
        1.2,
        aliases=("squeezenet",),
        resizing=Resizing(Interpolation.BILINEAR, 256),
    ),
    _torchvision(
        "inception_v3",
        "IMAGENET1K_V1",
        27.2,
        aliases=("inception",),
        # The weights were trained on inputs in [-1, 1]; torchvision's own transform rescales
        # twice to reach this range.
        mean=HALF,
        std=HALF,
        input_size=299,
        resizing=Resizing(Interpolation.BILINEAR, 342),
        batch_statistics=UNLESS_FROZEN,
    ),
    _torchvision(
        "swinv2_b",
        "IMAGENET1K_V1",
        87.9,
        "swin_v2_b",
        aliases=("swin", "swin_v2_b"),
        fixed_size=True,
        input_size=256,
        resizing=Resizing(Interpolation.BICUBIC, 272),
    ),
    _torchvision(
        "vit_l_16",
        "IMAGENET1K_V1",
        304.3,
        aliases=("vit",),
        fixed_size=True,
        resizing=Resizing(Interpolation.BILINEAR, 242),
    ),
    # Small models, for laptops and tests.
    _timm(
        "efficientnet_lite0",
        "tf_efficientnet_lite0.in1k",
        4.7,
        weights=LITE0_WEIGHTS,
        mean=HALF,
        std=HALF,
        resizing=Resizing(Interpolation.BICUBIC, 256),
        batch_statistics=UNLESS_FROZEN,
    ),
    _timm(
        "vit_tiny",
        "vit_tiny_patch16_224.augreg_in21k_ft_in1k",
        5.7,
        "ImageNet-21k, then ImageNet-1k",
        IMAGENET_21K,
        fixed_size=True,
        mean=HALF,
        std=HALF,
        resizing=Resizing(Interpolation.BICUBIC, 248),
    ),
    _timm(
        "resnet10t",
        "resnet10t.c3_in1k",
        5.4,
        input_size=176,
        resizing=Resizing(Interpolation.BICUBIC, 201),
        batch_statistics=UNLESS_FROZEN,
    ),
    _timm(
        "resnet18",
        "resnet18.a1_in1k",
        11.7,
        resizing=Resizing(Interpolation.BICUBIC, 235),
        batch_statistics=UNLESS_FROZEN,
    ),
    _timm(
        "resnet34",
        "resnet34.a1_in1k",
        21.8,
        resizing=Resizing(Interpolation.BICUBIC, 235),
        batch_statistics=UNLESS_FROZEN,
    ),
)
"""Classifiers of images."""
