"""The kinds of task and the metrics they are judged by: plain data."""

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """What a task asks for."""

    BINARY = "binary"
    MULTICLASS = "multiclass"
    MULTILABEL = "multilabel"
    SEGMENTATION = "segmentation"
    DETECTION = "detection"

    @property
    def is_classification(self) -> bool:
        """Whether one image gets labels, rather than pixels or boxes."""
        return self in (Kind.BINARY, Kind.MULTICLASS, Kind.MULTILABEL)


class Technique(StrEnum):
    """How a mass spectrometer measured a sample: evolved gas analysis, or gas chromatography."""

    EGA = "ega"
    GC = "gc"


@dataclass(frozen=True)
class MetricInfo:
    """What a metric's numbers mean.

    Attributes:
        title: Name for tables and figures.
        higher_is_better: Its direction.
        low: Smallest possible value.
        high: Largest possible value; infinite for a loss.
    """

    title: str
    higher_is_better: bool = True
    low: float = 0.0
    high: float = 1.0


METRICS: dict[str, MetricInfo] = {
    "f1_weighted": MetricInfo("weighted F1"),
    "f1_macro": MetricInfo("macro F1"),
    "f1_positive": MetricInfo("F1 of class 1"),
    "accuracy": MetricInfo("accuracy"),
    "auroc": MetricInfo("AUROC"),
    "average_precision": MetricInfo("average precision"),
    "ap_micro": MetricInfo("micro AP"),
    "miou": MetricInfo("mean IoU"),
    "miou_foreground": MetricInfo("mean IoU without background"),
    "iou_per_image": MetricInfo("IoU, mean over images"),
    "dice": MetricInfo("Dice"),
    "pixel_accuracy": MetricInfo("pixel accuracy"),
    "precision": MetricInfo("precision"),
    "recall": MetricInfo("recall"),
    "map": MetricInfo("mAP@[.5:.95]"),
    "map50": MetricInfo("mAP@.5"),
    "map75": MetricInfo("mAP@.75"),
    "map_small": MetricInfo("mAP, small objects"),
    "map_medium": MetricInfo("mAP, medium objects"),
    "map_large": MetricInfo("mAP, large objects"),
    "object_precision": MetricInfo("precision of objects"),
    "object_recall": MetricInfo("recall of objects"),
    "object_f1": MetricInfo("F1 of objects"),
    "log_loss": MetricInfo("log loss", higher_is_better=False, high=float("inf")),
    "loss": MetricInfo("loss", higher_is_better=False, high=float("inf")),
}
"""Every metric of a record by its name there; per class ``f1/CLASS`` and ``recall/CLASS``."""


@dataclass(frozen=True)
class KindInfo:
    """How tasks of one kind are trained and judged.

    Attributes:
        loss: Name of the loss in `marsbench.training.loop.losses.labels`.
        headline: The metric a task of this kind is judged by, unless the task names another.
        metrics: Every metric of the kind, those per class aside.
    """

    loss: str
    headline: str
    metrics: tuple[str, ...]


_SINGLE_LABEL = ("f1_weighted", "f1_macro", "accuracy", "auroc", "average_precision")
_SEGMENTATION: tuple[str, ...] = (
    "miou",
    "miou_foreground",
    "iou_per_image",
    "dice",
    "pixel_accuracy",
)
_SEGMENTATION += ("precision", "recall")
_DETECTION: tuple[str, ...] = (
    "map",
    "map50",
    "map75",
    "map_small",
    "map_medium",
    "map_large",
    "recall",
)
_DETECTION += ("object_precision", "object_recall", "object_f1")


KINDS: dict[Kind, KindInfo] = {
    Kind.BINARY: KindInfo("cross_entropy", "f1_weighted", _SINGLE_LABEL),
    Kind.MULTICLASS: KindInfo("cross_entropy", "f1_weighted", _SINGLE_LABEL),
    Kind.MULTILABEL: KindInfo(
        "binary_cross_entropy", "f1_weighted", (*_SINGLE_LABEL, "ap_micro", "log_loss")
    ),
    Kind.SEGMENTATION: KindInfo("generalized_dice", "miou", _SEGMENTATION),
    Kind.DETECTION: KindInfo("model", "map", _DETECTION),
}
