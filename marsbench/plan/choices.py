"""The choices of a run that follow from others: weights, loss, size, augmentation, protocol."""

from collections.abc import Callable
from typing import Any

import numpy as np

from marsbench.base.errors import ConfigError, DataError, WeightsError
from marsbench.config.identity import digest
from marsbench.config.schema import (
    Augment,
    Imbalance,
    LossName,
    Mode,
    OptimName,
    Protocol,
    RunConfig,
    Views,
)
from marsbench.data.cache import DirectSamples, cached_samples
from marsbench.data.imbalance import Balance, balance, class_counts
from marsbench.data.rendering import Rendering, rendering_for
from marsbench.data.rows import Source
from marsbench.data.spectra import VERSION as POINTS_VERSION
from marsbench.data.subsets import Selection
from marsbench.models.spec import Library, ModelSpec
from marsbench.spectra.features import VERSION as FEATURES_VERSION
from marsbench.spectra.raster import VERSION as RASTER_VERSION
from marsbench.tasks.kinds import KINDS, Kind
from marsbench.tasks.spec import BACKGROUND, Decode, Platform, TaskSpec, normalise

SEGMENTATION_LOSSES = (
    LossName.CROSS_ENTROPY,
    LossName.GENERALIZED_DICE,
    LossName.GENERALIZED_DICE_SIMPLE,
    LossName.GENERALIZED_DICE_LINEAR,
    LossName.COMBINED,
)

HALVED = 32
"""Sides of segmentation inputs are multiples of this."""


def protocol_of(config: RunConfig, task: TaskSpec) -> Protocol:
    """Choose how a run meets its data.

    Frozen classification encodes every image once, unless it asks for what needs every image
    anew: augmentation, several devices, spectra that are drawn at random.

    Raises:
        ConfigError: If cached features are asked for and cannot serve, or other keys need them.
    """
    reasons = {
        f"mode={config.mode} trains the backbone": config.mode is not Mode.FROZEN,
        f"{task.name} is {task.kind}": not task.kind.is_classification,
        f"augment={config.augment} changes images at random (views=d4 caches the eight flips and "
        "turns)": config.augment not in (Augment.AUTO, Augment.NONE),
        "it fits heads on one device": config.world_size > 1,
    }
    if config.protocol is Protocol.CACHED:
        reasons |= {
            f"views={config.views} draws spectra at random": config.num_views > 1,
            "spectra are not turned": task.decode is Decode.SPECTRUM and config.views == Views.D4,
        }
        if stands := [reason for reason, holds in reasons.items() if holds]:
            raise ConfigError(
                f"protocol=cached fits the head of a frozen classifier on features, and "
                f"{stands[0]}.",
                "Leave out one of the two, or set protocol=online.",
            )
        _check_cached(config)
        return Protocol.CACHED
    is_cached = (
        config.protocol is Protocol.AUTO
        and not any(reasons.values())
        and task.decode is not Decode.SPECTRUM
        and (config.imbalance is not Imbalance.OVERSAMPLE or config.views == Views.D4)
    )
    if not is_cached:
        for key, wanted, given in (
            ("views", Views.D4, config.views),
            ("optim.name", OptimName.LBFGS, config.optim.name),
        ):
            if given == wanted:
                raise ConfigError(
                    f"{key}={wanted} is for heads on cached features (protocol=cached).",
                    f"Choose another {key}, or mode=frozen on a task of labels.",
                )
        return Protocol.ONLINE
    _check_cached(config)
    return Protocol.CACHED


def _check_cached(config: RunConfig) -> None:
    """Refuse what cached features, or one of their optimisers, would not heed."""
    for name in ("wandb", "tensorboard"):
        if getattr(config.logger, name):
            raise ConfigError(
                f"logger.{name}=true: heads on cached features write their curves as CSV alone.",
                "Leave it out, or set protocol=online.",
            )
    if config.optim.name is OptimName.LBFGS:
        for key, is_given in (
            ("views", config.views != "1"),
            ("optim.lr", config.optim.lr is not None),
            ("trainer.gradient_clip_val", config.trainer.gradient_clip_val is not None),
        ):
            if is_given:
                raise ConfigError(
                    f"{key} has no meaning for optim.name=lbfgs, which finds the optimum over "
                    "all samples at once.",
                    f"Leave {key} out.",
                )


def check_model(config: RunConfig, task: TaskSpec, model: ModelSpec) -> None:
    """Refuse what a model would not heed, and would stand in the run's id all the same."""
    ours = model.library in (Library.SPECTRAL, Library.TABULAR)
    if ours and config.side is not None:
        raise ConfigError(
            f"side={config.side}: {model.name} takes spectra as they are drawn.", "Leave side out."
        )
    if model.library is Library.TABULAR:
        for key, value, kept in (
            ("mode", config.mode, Mode.SCRATCH),
            ("imbalance", config.imbalance, config.imbalance),
            ("trainer.devices", config.world_size, 1),
        ):
            if value != kept or value is Imbalance.LOSS_WEIGHT:
                raise ConfigError(
                    f"{key}={value} has no meaning for {model.name}, which is fitted at once.",
                    "Add mode=scratch." if key == "mode" else f"Leave {key} out.",
                )
    if config.pictures and (task.decode is Decode.SPECTRUM or config.folds is not None):
        raise ConfigError(
            "pictures=true draws the test images of a run without folds.",
            f"Leave pictures out; `marsbench data info {task.word} --samples FILE` draws samples.",
        )


def rendered_by(rendering: Rendering | None) -> dict[str, Any]:
    """Say what makes of spectra what a model sees: engineered features where nothing is drawn."""
    versions: dict[str, Any] = {"points": POINTS_VERSION}
    if rendering is None:
        return versions | {"features": FEATURES_VERSION}
    raster = {k: v for k, v in rendering.raster.choices.items() if k != "name"}
    return versions | {"raster": digest(raster)[:16], "raster_version": RASTER_VERSION}


def rendering_of(
    config: RunConfig, task: TaskSpec, model: ModelSpec, augment: Augment
) -> Rendering | None:
    """Choose how spectra become images: as the run says, else the model, else as is usual."""
    if task.decode is not Decode.SPECTRUM:
        views = None if config.num_views == 1 else config.views
        for key, value in (("raster", config.raster), ("views", views)):
            if value is not None:
                raise ConfigError(
                    f"{key}={value} is for spectra; the samples of {task.name} are images.",
                    f"Leave {key} out.",
                )
        return None
    if model.library is Library.TABULAR and config.num_views > 1:
        raise ConfigError(
            f"views={config.views}: {model.name} draws nothing at random.", "Leave views out."
        )
    if model.library is Library.TABULAR and not model.rasters:
        if config.raster is not None:
            raise ConfigError(
                f"raster={config.raster}: {model.name} takes engineered features, not images.",
                "Leave raster out.",
            )
        return None
    change = augment is Augment.SPECTRAL
    return rendering_for(task, config.raster, model.rasters, change=change)


def balance_of(config: RunConfig, task: TaskSpec, source: Source, selection: Selection) -> Balance:
    """Say how samples are drawn and weighed."""
    if task.kind.is_classification:
        targets = source.rows("train").targets[selection.indices]
        return balance(targets, config.imbalance, config.seed, source.class_names)
    if config.imbalance is not Imbalance.NONE:
        raise ConfigError(
            f"imbalance={config.imbalance} is for tasks with one label per image or several; "
            f"{task.name} is {task.kind}.",
            "Leave imbalance out.",
        )
    return Balance(np.arange(len(selection.indices)), None)


def without_negatives(
    config: RunConfig, task: TaskSpec, source: Source, selection: Selection
) -> Selection:
    """Leave out train samples that show no object; val and test never change."""
    if task.kind.is_classification:
        raise ConfigError(
            f"negatives=exclude is for masks and boxes; {task.name} is {task.kind}.",
            "Leave negatives out.",
        )
    if task.kind is Kind.SEGMENTATION and normalise(source.class_names[0]) != BACKGROUND:
        raise ConfigError(
            f"negatives=exclude needs a class {BACKGROUND}, which {task.name} does not have.",
            "Leave negatives out.",
        )
    rows = source.rows("train")
    opened = cached_samples if config.cache else DirectSamples
    samples = opened(task, source, rows, config.bands)
    kept = [i for i in selection.indices.tolist() if not samples[i].is_negative]
    if not kept:
        raise DataError(
            f"No train sample of {task.name} shows an object.", "Leave negatives=exclude out."
        )
    ids = [rows.sample_ids[i] for i in kept]
    return Selection(np.array(kept), selection.origin, digest(ids)[:16])


def side_of(
    config: RunConfig,
    task: TaskSpec,
    model: ModelSpec,
    rendering: Rendering | None,
    largest: Callable[[], int],
) -> int | None:
    """Choose the side to which images are resized: the one given, else the model's.

    A segmentation model takes any: that of the images, up to its own, in whole multiples of what
    its encoder halves five times. `largest` reads that of the first image in pixels.
    """
    is_spectra = task.decode is Decode.SPECTRUM
    if config.side is None and is_spectra and not model.fixed_size:
        raster = None if rendering is None else rendering.raster
        if raster is not None and not model.spectra_only:
            least = min(raster.rows, raster.columns)
            if least < model.smallest:
                raise ConfigError(
                    f"The raster {raster.name} gives images of {raster.rows} x {raster.columns}, "
                    f"and {model.name} takes {model.smallest} at least.",
                    f"Add side={model.input_size}, or choose another raster.",
                )
        return None
    if config.side is not None:
        if (task.kind.is_classification and not is_spectra) or model.fixed_size:
            raise ConfigError(
                f"side={config.side} cannot be chosen: {model.name} takes images of "
                f"{model.input_size} x {model.input_size} pixels.",
                "Leave side out.",
            )
        if config.side < model.smallest:
            raise ConfigError(
                f"side={config.side} is too small: {model.name} takes images of at least "
                f"{model.smallest} pixels.",
                f"Give a side of at least {model.smallest}, best {model.input_size}.",
            )
        return config.side
    if task.kind is not Kind.SEGMENTATION or model.fixed_size:
        return model.input_size
    return min(model.input_size, -(-largest() // HALVED) * HALVED)


def check_classes(source: Source) -> None:
    """Refuse a train split that lacks a class: no model can learn it, and its score counts."""
    train = source.rows("train")
    counts = class_counts(train.targets, len(source.class_names))
    if absent := [source.class_names[int(k)] for k in np.flatnonzero(counts == 0)]:
        raise DataError(
            f"{source.where} has no train sample of: {', '.join(absent)}.",
            "Add train samples of these classes, or leave the classes out of a task of your own.",
        )


def loss_of(config: RunConfig, task: TaskSpec) -> tuple[LossName, int]:
    """Resolve the loss and the number of output nodes."""
    if not task.kind.is_classification:
        return _loss_of_pixels(config, task), len(task.classes)
    cross_entropy, binary = LossName.CROSS_ENTROPY, LossName.BINARY_CROSS_ENTROPY
    loss, outputs = config.loss, config.outputs
    if loss is LossName.AUTO:
        loss = binary if outputs == 1 else LossName(KINDS[task.kind].loss)
    if outputs is not None and task.kind is not Kind.BINARY:
        raise ConfigError(
            f"outputs={outputs} is for binary tasks; {task.name} is {task.kind}, with one output "
            f"for each of its {len(task.classes)} classes.",
            "Leave outputs out.",
        )
    if loss not in (cross_entropy, binary):
        raise ConfigError(
            f"loss={loss} is for masks or boxes; {task.name} is {task.kind}.",
            f"Choose {cross_entropy} or {binary}, or leave loss out.",
        )
    if loss is cross_entropy and task.kind is Kind.MULTILABEL:
        raise ConfigError(
            f"loss=cross_entropy allows one label per sample; {task.name} is multilabel.",
            "Leave loss out: it is then binary_cross_entropy.",
        )
    if loss is cross_entropy and outputs == 1:
        raise ConfigError(
            "loss=cross_entropy compares the outputs of two nodes; outputs=1 gives one.",
            "Set outputs=2, or loss=binary_cross_entropy.",
        )
    if task.kind is Kind.BINARY and outputs is None:
        outputs = 1 if loss is binary else 2
    return loss, outputs or len(task.classes)


def _loss_of_pixels(config: RunConfig, task: TaskSpec) -> LossName:
    """Resolve the loss of a segmentation or detection task."""
    default = LossName(KINDS[task.kind].loss)
    allowed = {Kind.SEGMENTATION: SEGMENTATION_LOSSES, Kind.DETECTION: (LossName.MODEL,)}
    loss = default if config.loss is LossName.AUTO else config.loss
    if loss not in allowed[task.kind]:
        raise ConfigError(
            f"loss={loss} is not for {task.kind} tasks such as {task.name}.",
            f"Choose one of: {', '.join(allowed[task.kind])}.",
        )
    if config.outputs is not None:
        raise ConfigError(
            f"outputs={config.outputs} is for binary tasks; {task.name} is {task.kind}.",
            "Leave outputs out.",
        )
    return loss


def weights_of(config: RunConfig, model: ModelSpec, digest_of: Callable[[str], str]) -> str | None:
    """Name the weights a run starts from; None for random ones."""
    if config.mode is Mode.SCRATCH:
        return None
    if config.weights is not None:
        return digest_of(config.weights)
    if model.weights is None:
        raise WeightsError(
            f"There are no pre-trained weights of {model.name}, which mode={config.mode} needs.",
            "Add mode=scratch, or weights=PATH.",
        )
    return model.weights.name


def augment_of(
    augment: Augment,
    task: TaskSpec,
    model: ModelSpec,
    protocol: Protocol = Protocol.ONLINE,
    views: str = "1",
) -> Augment:
    """Choose changes that leave the label alone: an orbital view has no up, a rover's has."""
    if protocol is Protocol.CACHED:
        return Augment.D4 if views == Views.D4 else Augment.NONE
    is_spectra = task.decode is Decode.SPECTRUM
    if augment is Augment.AUTO:
        if is_spectra:
            return Augment.NONE if model.library is Library.TABULAR else Augment.SPECTRAL
        choices = {Platform.ORBITER: Augment.D4, Platform.ROVER: Augment.HFLIP}
        return choices.get(task.platform, Augment.NONE)
    fits = (Augment.NONE, Augment.SPECTRAL) if is_spectra else set(Augment) - {Augment.SPECTRAL}
    if augment not in fits or (augment is not Augment.NONE and model.library is Library.TABULAR):
        raise ConfigError(
            f"augment={augment} has no meaning for {task.name} with {model.name}.",
            "Leave augment out, or set augment=none.",
        )
    return augment
