"""The kinds of task and the metrics they are judged by: plain data."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any


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
        return self in LABELS


class Technique(StrEnum):
    """How a mass spectrometer measured a sample: evolved gas analysis, or gas chromatography."""

    EGA = "ega"
    GC = "gc"


LABELS = (Kind.BINARY, Kind.MULTICLASS, Kind.MULTILABEL)
MASKS = (Kind.SEGMENTATION,)
BOXES = (Kind.DETECTION,)


@dataclass(frozen=True)
class MetricInfo:
    """Meaning of a metric's numbers.

    Attributes:
        title: Name for tables and figures.
        kinds: Kinds of task that have it, and may name it as headline.
        higher_is_better: Its direction.
        low: Smallest possible value.
        high: Largest possible value; infinite for a loss.
        function: ``module:name`` of the function that computes it from the arguments of
            `marsbench.metrics.scoring.Scorer.score`; empty for metrics that are computed together.
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
    "f1_positive": MetricInfo("F1 of class 1"),
    "accuracy": MetricInfo("accuracy", LABELS),
    "auroc": MetricInfo("AUROC", LABELS),
    "average_precision": MetricInfo("average precision", LABELS),
    "ap_micro": MetricInfo("micro AP", (Kind.MULTILABEL,)),
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
"""Every metric of a record by its name there; per class ``f1/CLASS`` and ``recall/CLASS``."""


def metrics_of(kind: Kind) -> tuple[str, ...]:
    """Names of the metrics that tasks of a kind may be judged by."""
    return tuple(name for name, info in METRICS.items() if kind in info.kinds)


@dataclass(frozen=True)
class KindInfo:
    """Training and judging of tasks of one kind.

    Attributes:
        headline: Metric that a task of this kind is judged by, unless the task names another.
        losses: Losses that serve the kind; the first is the default.
        num_classes: Smallest and largest number of classes; None is no limit.
    """

    headline: str
    losses: tuple[str, ...]
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
    Kind.BINARY: KindInfo("f1_weighted", ("cross_entropy", "binary_cross_entropy"), (2, 2)),
    Kind.MULTICLASS: KindInfo("f1_weighted", ("cross_entropy", "binary_cross_entropy")),
    Kind.MULTILABEL: KindInfo("f1_weighted", ("binary_cross_entropy",)),
    Kind.SEGMENTATION: KindInfo("miou", _MASK_LOSSES),
    Kind.DETECTION: KindInfo("map", ("model",), (1, None)),
}
