"""Zoo entries of segmentation models."""

from typing import Any

from marsbench.models.spec import (
    ALWAYS,
    HALF,
    IMAGENET_1K,
    IMAGENET_21K,
    LITE0_WEIGHTS,
    NO_MARS,
    SEGMENTATION,
    Library,
    ModelSpec,
    WeightSpec,
)

INPUT_SIZE = 512
"""Largest side of the input in pixels; convolutional models take any size."""

LITE0_ENCODER = "tu-tf_efficientnet_lite0"

# smp's copy of torchvision's IMAGENET1K_V1, hence torchvision's licence.
_RESNET34 = WeightSpec(
    name="smp/resnet34.imagenet",
    data="ImageNet-1k",
    images=IMAGENET_1K,
    licence="BSD-3-Clause",
    overlaps=NO_MARS,
)


def _convolutional(
    name: str, parameters: float, *, encoder: str = "resnet34", **more: Any
) -> ModelSpec:
    """Describe a model for inputs of any size, by default with smp's ResNet-34."""
    facts: dict[str, Any] = {"id": name, "weights": _RESNET34} | more
    return ModelSpec(
        name=name,
        library=Library.SMP,
        encoder=encoder,
        input_size=INPUT_SIZE,
        kinds=SEGMENTATION,
        batch_statistics=ALWAYS,
        parameters=parameters,
        **facts,
    )


ENTRIES: tuple[ModelSpec, ...] = (
    # The four models of the paper (section 4). ResNet34 is the encoder of its published code.
    _convolutional("unet", 24.4),
    _convolutional("deeplabv3plus", 22.4, aliases=("deeplab", "deeplabv3+")),
    _convolutional("segformer", 21.9),
    ModelSpec(
        name="dpt",
        library=Library.SMP,
        id="dpt",
        encoder="tu-vit_base_patch16_224.augreg_in21k",
        weights=WeightSpec(
            name="timm/vit_base_patch16_224.augreg_in21k",
            data="ImageNet-21k",
            images=IMAGENET_21K,
            licence="Apache-2.0",
            overlaps=NO_MARS,
        ),
        mean=HALF,
        std=HALF,
        # Positions are embedded for 14 x 14 patches; for other sizes they are resampled.
        input_size=224,
        kinds=SEGMENTATION,
        batch_statistics=ALWAYS,
        parameters=121.0,
    ),
    # For laptops and tests.
    _convolutional(
        "unet_lite0",
        5.2,
        id="unet",
        encoder=LITE0_ENCODER,
        weights=LITE0_WEIGHTS,
        mean=HALF,
        std=HALF,
    ),
)
"""Segmentation models."""
