"""Libraries of models: functions to look up, build and initialise their models.

Functions are named as ``"module:name"``, so looking up a zoo entry imports no library.
"""

from dataclasses import dataclass

from marsbench.models.spec import Library


@dataclass(frozen=True, kw_only=True)
class LibraryInfo:
    """Functions of a library; empty for kinds of models without support.

    Attributes:
        spec: ``(model_id) -> ModelSpec``, for models called ``LIBRARY:MODEL_ID``.
        backbone: ``(spec, shape) -> Backbone``, the feature extractor of a classifier.
        classifier: ``(spec, num_classes, *, pretrained, checkpoint) -> Model``, of classifiers that
            are not a backbone with a head.
        maps: ``(spec, module, side) -> MapSource``, the feature maps of a backbone.
        segmenter: ``(spec, num_classes, *, pretrained, checkpoint, color_of_band) -> Segmenter``.
        detector: ``(spec, num_classes, *, pretrained, checkpoint, side) -> Detector``.
        weights: ``(spec) -> State``, the default weights.
        convert: ``(spec, module, state) -> State``, from the tensors of a published checkpoint to
            those of the backbone; empty if their names are equal.
        file: ``(spec) -> Path | None``, the file of the default weights in the library's cache;
            None if it is not there.
        package: Package whose version features depend on; empty for the library's name.
        extra: Extra of this package that installs it, for sweeps to check in time; empty for none.
        trainer: Entry of `marsbench.training.trainers.TRAINERS` that trains its models.
    """

    spec: str = ""
    backbone: str = ""
    classifier: str = ""
    maps: str = ""
    segmenter: str = ""
    detector: str = ""
    weights: str = ""
    convert: str = ""
    file: str = ""
    package: str = ""
    extra: str = ""
    trainer: str = "network"


_MODELS = "marsbench.models"

LIBRARIES: dict[Library, LibraryInfo] = {
    Library.TIMM: LibraryInfo(
        spec=f"{_MODELS}.encoders.timm:describe",
        backbone=f"{_MODELS}.encoders.timm:build",
        maps=f"{_MODELS}.encoders.timm:maps",
        weights=f"{_MODELS}.encoders.timm:fetch",
        convert=f"{_MODELS}.foundation.keys:without_decoder",
        file=f"{_MODELS}.encoders.timm:cached_file",
    ),
    Library.TORCHVISION: LibraryInfo(
        spec=f"{_MODELS}.encoders.torchvision:describe",
        backbone=f"{_MODELS}.encoders.torchvision:build",
        maps=f"{_MODELS}.encoders.torchvision:maps",
        detector=f"{_MODELS}.detectors.torchvision:build",
        weights=f"{_MODELS}.encoders.torchvision:fetch",
        file=f"{_MODELS}.encoders.torchvision:cached_file",
    ),
    Library.SMP: LibraryInfo(
        spec=f"{_MODELS}.segmenters.spec:describe",
        segmenter=f"{_MODELS}.segmenters.smp:build_segmenter",
        weights=f"{_MODELS}.segmenters.weights:fetch",
        file=f"{_MODELS}.segmenters.weights:cached_file",
    ),
    Library.ULTRALYTICS: LibraryInfo(
        detector=f"{_MODELS}.detectors.ultralytics:build",
        weights=f"{_MODELS}.detectors.ultralytics:fetch",
        file=f"{_MODELS}.detectors.ultralytics:cached_file",
    ),
    Library.SPECTRAL: LibraryInfo(backbone=f"{_MODELS}.encoders.spectral:build"),
    Library.VLM: LibraryInfo(
        classifier=f"{_MODELS}.answering.idefics:build",
        weights=f"{_MODELS}.answering.files:fetch",
        file=f"{_MODELS}.answering.files:cached_file",
    ),
    Library.OWN: LibraryInfo(
        backbone=f"{_MODELS}.own.building:build",
        maps=f"{_MODELS}.own.building:maps",
        weights=f"{_MODELS}.own.building:fetch",
        convert=f"{_MODELS}.own.building:convert",
        file=f"{_MODELS}.own.building:cached_file",
    ),
    Library.FOUNDATION: LibraryInfo(
        backbone=f"{_MODELS}.foundation.building:build",
        maps=f"{_MODELS}.foundation.building:maps",
        weights=f"{_MODELS}.foundation.building:fetch",
        convert=f"{_MODELS}.foundation.building:convert",
        file=f"{_MODELS}.foundation.building:cached_file",
        package="timm",
    ),
    Library.TORCHGEO: LibraryInfo(
        backbone=f"{_MODELS}.foundation.torchgeo:build",
        maps=f"{_MODELS}.foundation.building:maps",
        weights=f"{_MODELS}.foundation.building:fetch",
        convert=f"{_MODELS}.foundation.building:convert",
        file=f"{_MODELS}.foundation.building:cached_file",
        extra="eo",
    ),
    Library.TABULAR: LibraryInfo(trainer="table"),
    Library.TOWERS: LibraryInfo(
        weights=f"{_MODELS}.towers.building:fetch",
        file=f"{_MODELS}.towers.building:cached_file",
        package="transformers",
        extra="vlm",
        trainer="zero_shot",
    ),
    Library.API: LibraryInfo(
        spec=f"{_MODELS}.answering.remote:describe",
        package="openai",
        extra="vlm",
        trainer="zero_shot",
    ),
}
"""Every library. Adding a library takes an entry here, a name in `Library`, and a module."""
