"""Published scores.

Purohit et al. 2025, Mars-Bench, https://arxiv.org/abs/2510.24010.
"""

from dataclasses import dataclass

from marsbench.report.study.cells import FULL, NONE, REAL, GroupKey

PAPER = "Purohit et al. 2025, arXiv:2510.24010"

MEAN_OF_MODELS = "mean of the five classifiers"


@dataclass(frozen=True)
class Published:
    """A published number.

    Attributes:
        table: Table of the paper, such as "Table 6".
        task: Task.
        model: Name in the paper, also of models outside the zoo; or `MEAN_OF_MODELS`.
        mode: scratch, frozen, finetune or zero_shot.
        metric: Name of the metric as in records, as far as the source names it.
        value: The number, in the metric's own scale.
        imbalance: Method for unequal classes.
        note: Remark shown beside the number.
        counterpart: Metric of records beside which it stands, where the source leaves details of
            `metric` open; empty for `metric`.
    """

    table: str
    task: str
    model: str
    mode: str
    metric: str
    value: float
    imbalance: str = "none"
    note: str = ""
    counterpart: str = ""

    @property
    def compared(self) -> str:
        """Metric of the records that it is compared with."""
        return self.counterpart or self.metric

    def is_of(self, key: GroupKey) -> bool:
        """Whether a group has this mode and imbalance, on the full train split of real data."""
        alike = (self.mode, self.imbalance) == (key.mode, key.imbalance)
        return alike and key.subset == FULL and key.data == REAL and key.train_on == NONE


_SAMPLED = "500 stratified test images"
_RECAST = f"{_SAMPLED}, segmentation recast as labels of the image"

_UNNAMED = "; the table does not name the average of F1, here weighted"

_LABELS = ("domars16k", "surface_cls", "frost_cls", "atmospheric_dust_cls_edr")
_ZERO_SHOT = {
    ("Gemini 2.0 Flash", "accuracy"): (0.34, 0.43, 0.50, 0.43, 0.37, 0.86),
    ("Gemini 2.0 Flash", "f1"): (0.32, 0.44, 0.55, 0.50, 0.41, 0.84),
    ("GPT-4o mini", "accuracy"): (0.36, 0.42, 0.43, 0.68, 0.49, 0.79),
    ("GPT-4o mini", "f1"): (0.30, 0.41, 0.54, 0.56, 0.51, 0.70),
}
_UNEQUAL = ("landmark_cls", "surface_cls", "change_cls_ctx", "change_cls_hirise")
_IMBALANCE = {
    "none": (0.84, 0.77, 0.78, 0.86),
    "oversample": (0.60, 0.54, 0.54, 0.76),
    "undersample": (0.41, 0.34, 0.58, 0.79),
    "loss_weight": (0.68, 0.58, 0.68, 0.81),
}
_VISION_LANGUAGE = {
    "CLIP ViT-B/16": (0.53, 0.39, 0.96, 0.96),
    "SigLIP B/16-224": (0.49, 0.30, 0.95, 0.96),
    "SmolVLM-256M": (0.45, 0.27, 0.99, 0.99),
}


def published() -> tuple[Published, ...]:
    """List the published numbers; the values of the paper's violins are not published."""
    masks = ("crater_multi_seg", "mars_seg_msl")
    zero_shot = [
        Published(
            "Table 2",
            task,
            model,
            "zero_shot",
            metric,
            values[column],
            note=f"{note}{_UNNAMED if metric == 'f1' else ''}",
            counterpart="f1_weighted" if metric == "f1" else "",
        )
        for column, (task, note) in enumerate(
            [*((task, _SAMPLED) for task in _LABELS), *((task, _RECAST) for task in masks)]
        )
        for (model, metric), values in _ZERO_SHOT.items()
    ]
    note = "the caption names no metric; the text speaks of overall accuracy"
    imbalance = [
        Published("Table 5", task, MEAN_OF_MODELS, "frozen", "accuracy", value, way, note)
        for way, values in _IMBALANCE.items()
        for task, value in zip(_UNEQUAL, values, strict=True)
    ]
    tuned = [
        Published("Table 6", task, model, "finetune", "f1_weighted", value)
        for model, values in _VISION_LANGUAGE.items()
        for task, value in zip(_LABELS, values, strict=True)
    ]
    return (*zero_shot, *imbalance, *tuned)
