"""Names of the Mars-Bench code base (https://github.com/kerner-lab/Mars-Bench) and our names."""

from collections.abc import Collection

from marsbench.config.schema import Mode
from marsbench.tasks.kinds import BOXES, LABELS, MASKS, Kind

PROTOCOL = "upstream"

MODES = {str(mode): mode for mode in Mode} | {
    "scratch_training": Mode.SCRATCH,
    "feature_extraction": Mode.FROZEN,
    "transfer_learning": Mode.FINETUNE,
}
"""Modes by upstream name and by our name."""

SEEDS = (0, 1, 10, 42, 123, 1000, 1234)
"""Seeds of the paper, C.4, with the numbers of its code."""

TASK_NAMES = {
    "atmospheric_dust_classification_edr": "atmospheric_dust_cls_edr",
    "atmospheric_dust_classification_rdr": "atmospheric_dust_cls_rdr",
    "change_classification_ctx": "change_cls_ctx",
    "change_classification_hirise": "change_cls_hirise",
    "frost_classification": "frost_cls",
    "landmark_classification": "landmark_cls",
    "surface_classification": "surface_cls",
    "multi_label_mer": "surface_multi_label_cls",
    "boulder_segmentation": "boulder_seg",
    "conequest_segmentation": "conequest_seg",
    "crater_binary_segmentation": "crater_binary_seg",
    "crater_multi_segmentation": "crater_multi_seg",
    "boulder_detection": "boulder_det",
    "conequest_detection": "conequest_det",
    "dust_devil_detection": "dust_devil_det",
}
"""Our tasks by upstream name, except for names that equal ours after the prefix ``mb-``."""

EARTH_MODELS = {
    "satmae_vit-l/16": "satmae",
    "croma_vit-l/16": "croma",
    "prithvi_eo_v1_100": "prithvi",
}
"""Earth observation models of ``earth_data.csv`` by lower-case upstream name.

Their runs differ from all others (``benchmark/earth_data_prep.py``): the script writes `EARTH_SEED`
for every run, whatever its seed, and takes an F1-Score whose average it does not state. It is no F1
of class 1: constant predictions score 0.1756 on frost_cls, whose classes are balanced (paper, B.2).
"""

EARTH_SEED = 42

MODEL_NAMES = {
    "resnet101": "resnet101",
    "squeezenet": "squeezenet1_1",
    "squeezenet1.1": "squeezenet1_1",
    "inceptionv3": "inception_v3",
    "swin_transformer": "swinv2_b",
    "swintransformer": "swinv2_b",
    "swinv2-b": "swinv2_b",
    "vit": "vit_l_16",
    "vit-l/16": "vit_l_16",
    "unet": "unet",
    "deeplab": "deeplabv3plus",
    "deeplabv3+": "deeplabv3plus",
    "segformer": "segformer",
    "dpt": "dpt",
    "fasterrcnn": "faster_rcnn",
    "retinanet": "retinanet",
    "ssd": "ssd",
    **EARTH_MODELS,
}
"""Our models by lower-case upstream name, from its configurations and figures."""

METRIC_NAMES: dict[str, tuple[Collection[Kind], str]] = {
    "test/F1Score_weighted": (LABELS, "f1_weighted"),  # of a binary task `POSITIVE`
    "test/F1Score_macro": (LABELS, "f1_macro"),  # likewise
    "test/Accuracy_weighted": ((Kind.MULTICLASS,), "accuracy"),  # weighted recall is accuracy
    "test/Accuracy_macro": ((Kind.BINARY,), "accuracy"),  # a binary task has no average
    "test/AUROC_macro": (LABELS, "auroc"),
    "test/iou": (MASKS, "iou_per_image"),
    "test/dice": (MASKS, "dice"),
    "test/prec": (MASKS, "precision"),
    "test/rec": (MASKS, "recall"),
    "mean_average_precision": (BOXES, "map"),
    "test/map": (BOXES, "map"),
    "object_precision_mean": (BOXES, "object_precision"),
    "object_recall_mean": (BOXES, "object_recall"),
}
"""Kinds of task and our metric for each upstream column."""

POSITIVE = "f1_positive"
"""Upstream F1 of binary tasks, which is the F1 of class 1 for any average."""

HEADLINES = {Kind.SEGMENTATION: "iou_per_image", Kind.BINARY: POSITIVE}
"""Upstream headline metrics that differ from ours."""

HEADLINE_COLUMN = "test metric"
"""Column of the headline metric in the tables of upstream figures."""
