"""Choices of a run that follow from its config, task and model."""

from collections.abc import Callable
from typing import Any

from marsbench.config.identity import digest
from marsbench.config.schema import (
    ApiConfig,
    Bands,
    Channels,
    Decoder,
    LossName,
    Mode,
    RunConfig,
)
from marsbench.data.rendering import Rendering
from marsbench.data.spectra import VERSION as POINTS_VERSION
from marsbench.models.inputs import DEFAULT, Inputs
from marsbench.models.libraries import LIBRARIES
from marsbench.models.spec import Library, ModelSpec
from marsbench.spectra.features import VERSION as FEATURES_VERSION
from marsbench.spectra.raster import VERSION as RASTER_VERSION
from marsbench.tasks.kinds import KINDS, Kind
from marsbench.tasks.spec import TaskSpec, recast

HALVED = 32
"""Sides of segmentation inputs are multiples of this."""

DENSE_SIDES = {Kind.SEGMENTATION: 512, Kind.DETECTION: 640}
"""Input size of an encoder in pixels: on masks the largest, as of the zoo's segmentation models; on
boxes that of the zoo's Faster R-CNN."""

DECODERS: dict[Kind, tuple[Decoder, ...]] = {
    Kind.SEGMENTATION: (Decoder.UPERNET, Decoder.LINEAR),
    Kind.DETECTION: (Decoder.FASTER_RCNN,),
}
"""Decoders of encoders by kind of task, the default one first."""


def asked_task(config: RunConfig, task: TaskSpec) -> TaskSpec:
    """Task as its samples are scored: of ``mode=zero_shot`` with masks recast as labels."""
    return recast(task) if config.mode is Mode.ZERO_SHOT else task


def answers_of(config: RunConfig, model: ModelSpec) -> dict[str, Any] | None:
    """Choices for the answers of an endpoint's model, as far as they are not the default."""
    if model.library is not Library.API:
        return None
    default = ApiConfig()
    names = ("structured", "temperature", "max_tokens")
    # Without a temperature the endpoint chooses, which is another choice than any number.
    chosen = {name: getattr(config.api, name) for name in names}
    return {
        name: "none" if value is None else value
        for name, value in chosen.items()
        if value != getattr(default, name)
    } or None


def is_table(model: ModelSpec) -> bool:
    """Whether a model is fitted to a table of features at once."""
    return LIBRARIES[model.library].trainer == "table"


def rendered_by(rendering: Rendering | None) -> dict[str, Any]:
    """Versions and raster of the rendering of spectra, for the run id."""
    versions: dict[str, Any] = {"points": POINTS_VERSION}
    if rendering is None:
        return versions | {"features": FEATURES_VERSION}
    raster = {k: v for k, v in rendering.raster.choices.items() if k != "name"}
    return versions | {"raster": digest(raster)[:16], "raster_version": RASTER_VERSION}


def image_side(task: TaskSpec, model: ModelSpec, largest: Callable[[], int]) -> int:
    """Default input size of images in pixels.

    Segmentation models take any multiple of `HALVED`: by default the side of the images, up to the
    model's input size, or that of `DENSE_SIDES` or the entry for encoders.
    """
    most = model.input_size
    if model.is_encoder and task.kind in DENSE_SIDES:
        if not model.any_dense_size:
            return most
        most = max(DENSE_SIDES[task.kind], model.smallest)
        if model.dense_side is not None:
            most = min(most, model.dense_side)
    elif model.fixed_size:
        return most
    if task.kind is not Kind.SEGMENTATION:
        return most
    return min(most, -(-largest() // HALVED) * HALVED)


def decoder_of(config: RunConfig, task: TaskSpec, model: ModelSpec) -> Decoder | None:
    """Resolve the decoder of an encoder; None for labels, and for models with one of their own."""
    if not model.is_encoder or task.kind not in DECODERS:
        return None
    return DECODERS[task.kind][0] if config.decoder is Decoder.AUTO else config.decoder


def selected_bands(config: RunConfig, task: TaskSpec, model: ModelSpec) -> tuple[int, ...] | None:
    """Positions of a model's bands among a task's, if the task names all of them; else None."""
    names = [band.name for band in task.bands]
    if config.bands is not Bands.ALL or not model.bands or not set(model.bands) <= set(names):
        return None
    chosen = tuple(names.index(name) for name in model.bands)
    return None if chosen == tuple(range(len(names))) else chosen


def num_bands(config: RunConfig, task: TaskSpec, model: ModelSpec) -> int:
    """Number of bands of an image that reach a model; those of spectra fit every model."""
    if task.is_spectra:
        return model.in_channels
    if task.is_pairs:
        return 3
    if (selected := selected_bands(config, task, model)) is not None:
        return len(selected)
    is_rgb = task.channels > 3 and config.bands is Bands.RGB and task.rgb_bands is not None
    return 3 if is_rgb else task.channels


def is_spread(config: RunConfig, task: TaskSpec, model: ModelSpec) -> bool:
    """Whether a segmenter's filters of three colours are distributed to more bands."""
    is_smp = task.kind is Kind.SEGMENTATION and model.library is Library.SMP
    return is_smp and num_bands(config, task, model) > model.in_channels == 3


def inputs_of(config: RunConfig, task: TaskSpec, model: ModelSpec) -> Inputs:
    """Resolve the way from the bands of an image to the channels of a model.

    Statistics of the data, with ``normalisation=data``, are added before training.
    """
    if task.is_spectra:
        return DEFAULT
    count = num_bands(config, task, model)
    is_same = count == model.in_channels or is_spread(config, task, model)
    if is_same or (count == 1 and config.channels is Channels.REPLICATE):
        return Inputs(
            select=selected_bands(config, task, model), normalisation=config.normalisation
        )
    return Inputs(
        bands=count,
        select=selected_bands(config, task, model),
        channels=config.channels,
        normalisation=config.normalisation,
    )


def loss_of(config: RunConfig, task: TaskSpec) -> LossName:
    """Resolve the loss."""
    if config.loss is not LossName.AUTO:
        return config.loss
    if task.kind.is_classification and config.outputs == 1:
        return LossName.BINARY_CROSS_ENTROPY
    return LossName(KINDS[task.kind].loss)


def outputs_of(config: RunConfig, task: TaskSpec, loss: LossName) -> int:
    """Resolve the number of output nodes."""
    if config.outputs is not None:
        return config.outputs
    is_one = task.kind is Kind.BINARY and loss is LossName.BINARY_CROSS_ENTROPY
    return 1 if is_one else len(task.classes)


def weights_of(config: RunConfig, model: ModelSpec, digest_of: Callable[[str], str]) -> str | None:
    """Name of the initial weights, or None for random weights."""
    if config.mode is Mode.SCRATCH:
        return None
    if config.weights is not None:
        return digest_of(config.weights)
    if model.weights is None:
        return None
    # Weights of a package are a file that is at hand without torch, and may have been replaced.
    path = model.weights.packaged
    if path is None or not path.is_file():
        return model.weights.name
    return model.weights.named(digest_of(str(path)))
