"""Kinds of task and their metrics."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Kind(StrEnum):
    """Kind of a task's target."""

    BINARY = "binary"
    MULTICLASS = "multiclass"
    MULTILABEL = "multilabel"
    SEGMENTATION = "segmentation"
    DETECTION = "detection"

    @property
    def is_classification(self) -> bool:
        """Whether images have labels, not masks or boxes."""
        return self in LABELS


class Decode(StrEnum):
    """Decoding of a sample's raw files; the functions are in `data.decode`."""

    IMAGE_LABEL = "image_label"
    PAIR_LABEL = "pair_label"
    IMAGE_MASK = "image_mask"
    IMAGE_BOXES = "image_boxes"
    SPECTRUM = "spectrum"


@dataclass(frozen=True)
class DecodeInfo:
    """Files and target of the samples of a decoding.

    Attributes:
        target: The target in messages.
        apart: File of the target beside the image, in messages; empty for labels.
        second: Field of `marsbench.data.rows.Raw` for the second file of a sample.
    """

    target: str = "labels"
    apart: str = ""
    second: str = ""


DECODES: dict[Decode, DecodeInfo] = {
    Decode.IMAGE_LABEL: DecodeInfo(),
    Decode.PAIR_LABEL: DecodeInfo(second="after"),
    Decode.IMAGE_MASK: DecodeInfo("masks", "mask", second="mask"),
    Decode.IMAGE_BOXES: DecodeInfo("boxes", "label file"),
    Decode.SPECTRUM: DecodeInfo(),
}


class Technique(StrEnum):
    """Technique of a mass spectrometer: evolved gas analysis or gas chromatography."""

    EGA = "ega"
    GC = "gc"


LABELS = (Kind.BINARY, Kind.MULTICLASS, Kind.MULTILABEL)
MASKS = (Kind.SEGMENTATION,)
BOXES = (Kind.DETECTION,)


@dataclass(frozen=True)
class MetricInfo:
    """Properties of a metric.

    Attributes:
        title: Name in tables and figures.
        kinds: Kinds of task with this metric.
        higher_is_better: Direction of the metric.
        low: Smallest possible value.
        high: Largest possible value; infinite for a loss.
        function: ``module:name`` of its function, with the arguments of
            `marsbench.metrics.scoring.Scorer.score`; empty for metrics computed together.
    """

    title: str
    kinds: tuple[Kind, ...] = ()
    higher_is_better: bool = True
    low: float = 0.0
    high: float = 1.0
    function: str = ""


_LOSS: dict[str, Any] = {"higher_is_better": False, "high": float("inf")}

METRICS: dict[str, MetricInfo] = {
    "f1_weighted": MetricInfo("weighted F1", LABELS),
    "f1_macro": MetricInfo("macro F1", LABELS),
    "f1_positive": MetricInfo(
        "F1 of class 1", (Kind.BINARY,), function="marsbench.metrics.labels:f1_positive"
    ),
    "accuracy": MetricInfo("accuracy", LABELS),
    "auroc": MetricInfo("AUROC", LABELS),
    "average_precision": MetricInfo("average precision", LABELS),
    "ap_micro": MetricInfo("micro AP", (Kind.MULTILABEL,)),
    "ece": MetricInfo(
        "calibration error",
        LABELS,
        higher_is_better=False,
        function="marsbench.metrics.calibration:ece",
    ),
    "brier": MetricInfo(
        "Brier score",
        LABELS,
        higher_is_better=False,
        high=2.0,
        function="marsbench.metrics.calibration:brier",
    ),
    "miou": MetricInfo("mean IoU", MASKS),
    "miou_foreground": MetricInfo("mean IoU without background", MASKS),
    "iou_per_image": MetricInfo("IoU, mean over images", MASKS),
    "dice": MetricInfo("Dice", MASKS),
    "pixel_accuracy": MetricInfo("pixel accuracy", MASKS),
    "precision": MetricInfo("precision", MASKS),
    "recall": MetricInfo("recall", (*MASKS, *BOXES)),
    "map": MetricInfo("mAP@[.5:.95]", BOXES),
    "map50": MetricInfo("mAP@.5", BOXES),
    "map75": MetricInfo("mAP@.75", BOXES),
    "map_small": MetricInfo("mAP, small objects", BOXES),
    "map_medium": MetricInfo("mAP, medium objects", BOXES),
    "map_large": MetricInfo("mAP, large objects", BOXES),
    "object_precision": MetricInfo("precision of objects", BOXES),
    "object_recall": MetricInfo("recall of objects", BOXES),
    "object_f1": MetricInfo("F1 of objects", BOXES),
    "log_loss": MetricInfo("log loss", (Kind.MULTILABEL,), **_LOSS),
    "loss": MetricInfo("loss", **_LOSS),
}
"""Metrics by their names in records; values per class are named ``f1/CLASS``, ``recall/CLASS``."""


def metrics_of(kind: Kind) -> tuple[str, ...]:
    """Names of the metrics of a kind of task."""
    return tuple(name for name, info in METRICS.items() if kind in info.kinds)


@dataclass(frozen=True)
class KindInfo:
    """Losses, headline metric and decoders of a kind of task.

    Attributes:
        headline: Default headline metric.
        losses: Valid losses; the first is the default.
        decoders: Valid decoders; the first is the default.
        num_classes: Smallest and largest number of classes, None for no limit.
    """

    headline: str
    losses: tuple[str, ...]
    decoders: tuple[Decode, ...] = (Decode.IMAGE_LABEL, Decode.PAIR_LABEL, Decode.SPECTRUM)
    num_classes: tuple[int, int | None] = (2, None)

    @property
    def loss(self) -> str:
        """Default loss."""
        return self.losses[0]


_MASK_LOSSES = (
    "generalized_dice",
    "generalized_dice_simple",
    "generalized_dice_linear",
    "cross_entropy",
    "combined",
)

KINDS: dict[Kind, KindInfo] = {
    Kind.BINARY: KindInfo(
        "f1_weighted", ("cross_entropy", "binary_cross_entropy"), num_classes=(2, 2)
    ),
    Kind.MULTICLASS: KindInfo("f1_weighted", ("cross_entropy", "binary_cross_entropy")),
    Kind.MULTILABEL: KindInfo("f1_weighted", ("binary_cross_entropy",)),
    Kind.SEGMENTATION: KindInfo("miou", _MASK_LOSSES, (Decode.IMAGE_MASK,)),
    Kind.DETECTION: KindInfo("map", ("model",), (Decode.IMAGE_BOXES,), (1, None)),
}
