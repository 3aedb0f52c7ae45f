"""Entries for any architecture of segmentation-models-pytorch (smp) with any encoder."""

from dataclasses import replace
from functools import lru_cache
from typing import Any

import torch

from marsbench.base.errors import ConfigError, NotAvailableError, unknown_name
from marsbench.config.schema import Mode
from marsbench.models.base import has_batch_statistics
from marsbench.models.encoders.timm import published
from marsbench.models.segmenters.smp import create
from marsbench.models.spec import (
    ALWAYS,
    HALF,
    IMAGENET_1K,
    IMAGENET_MEAN,
    IMAGENET_STD,
    LITE0_WEIGHTS,
    NEVER,
    NO_MARS,
    SEGMENTATION,
    UNLESS_FROZEN,
    Library,
    ModelSpec,
    WeightSpec,
)
from marsbench.models.zoo.segmentation import INPUT_SIZE, LITE0_ENCODER

# Mean and standard deviation of smp's own encoders by the start of their names, if they are not
# those of ImageNet. From _legacy_pretrained_settings.py of smp 0.4; later versions keep them beside
# the weights on the hub.
_DPN = ((124 / 255, 117 / 255, 104 / 255), (1 / (0.0167 * 255),) * 3)
_NORMALISATION = {
    "dpn": _DPN,
    "inception": (HALF, HALF),
    "timm-tf_efficientnet_lite": (HALF, HALF),
    "xception": (HALF, HALF),
}


def describe(model_id: str) -> ModelSpec:
    """Describe any architecture of smp with any of its encoders.

    Args:
        model_id: ``ARCH/ENCODER``, such as ``unet/resnet18`` or ``fpn/tu-convnext_tiny``,
            optionally after ``smp:``.

    Returns:
        An entry named ``smp:ARCH/ENCODER``. `encoder` includes the tag of a timm encoder's
        weights, so that run ids do not depend on timm's default.

    Raises:
        ConfigError: If the encoder is missing.
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
            f"The encoder of smp:{model_id} is missing.",
            f"Write smp:{architecture}/ENCODER, such as smp:{architecture}/resnet34 or "
            f"smp:{architecture}/tu-resnet18, where tu- precedes the name of a timm model.",
        )
    facts = _timm_encoder(encoder) if encoder.startswith("tu-") else _smp_encoder(encoder)
    spec = ModelSpec(
        name=f"smp:{model_id}",
        library=Library.SMP,
        id=architecture,
        kinds=SEGMENTATION,
        **facts,
    )
    return replace(spec, batch_statistics=_batch_statistics(spec))


@lru_cache
def _batch_statistics(spec: ModelSpec) -> frozenset[Mode]:
    """Modes in which the trained part, decoder or all, normalises by statistics of a batch."""
    try:
        try:
            with torch.device("meta"):  # without memory for weights
                model, _ = create(spec, 2)
        except NotAvailableError:  # some encoders compute with weights while being built
            model, _ = create(spec, 2)
    except NotAvailableError:
        return NEVER  # building the model raises the error, too
    if has_batch_statistics(model.decoder) or has_batch_statistics(model.segmentation_head):
        return ALWAYS
    return UNLESS_FROZEN if has_batch_statistics(model) else NEVER


def _timm_encoder(encoder: str) -> dict[str, Any]:
    """Fields of an entry with an encoder of timm."""
    if encoder == LITE0_ENCODER:
        return {
            "encoder": encoder,
            "weights": LITE0_WEIGHTS,
            "mean": HALF,
            "std": HALF,
            "input_size": INPUT_SIZE,
        }
    name, weights, cfg = published(encoder.removeprefix("tu-"), "encoder", "encoder", "tu-")
    return {
        "encoder": f"tu-{name}",
        "weights": weights,
        "mean": tuple(cfg.mean),
        "std": tuple(cfg.std),
        "input_size": cfg.input_size[-1] if cfg.fixed_input_size else INPUT_SIZE,
    }


def _smp_encoder(encoder: str) -> dict[str, Any]:
    """Fields of an entry with an encoder of smp's own."""
    import timm
    from segmentation_models_pytorch.encoders import encoders

    if encoder not in encoders:
        is_timm = timm.is_model(encoder.partition(".")[0])
        raise unknown_name(
            "encoder",
            encoder,
            # Suggests timm's models too, in case tu- was forgotten.
            [*encoders, f"tu-{encoder}"] if is_timm else encoders,
            "Any timm model is an encoder too: tu-NAME.",
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
            images=IMAGENET_1K if chosen == "imagenet" else None,
            licence="",
            overlaps=NO_MARS if chosen == "imagenet" else None,
        ),
        "mean": mean,
        "std": std,
        "input_size": INPUT_SIZE,
    }
