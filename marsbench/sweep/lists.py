"""Named lists that suites are written with, each a fact of the paper stated once."""

from marsbench.config.schema import PUBLISHED_PARTITIONS, PUBLISHED_SHOTS, Mode
from marsbench.tasks.tables import classification, detection, segmentation

LISTS: dict[str, dict[str, tuple[str | int, ...]]] = {
    "task": {
        # Paper, Table 1.
        "classification": tuple(spec.name for spec in classification.TASKS),
        "segmentation": tuple(spec.name for spec in segmentation.TASKS),
        "detection": tuple(spec.name for spec in detection.TASKS),
        # Paper, D.1.1.
        "imbalanced": ("landmark_cls", "surface_cls", "change_cls_ctx", "change_cls_hirise"),
    },
    # Paper, section 4.
    "model": {
        "classifiers": ("resnet101", "squeezenet1_1", "inception_v3", "swinv2_b", "vit_l_16"),
        "segmenters": ("unet", "deeplabv3plus", "segformer", "dpt"),
        "detectors": ("yolo11n", "ssd", "retinanet", "faster_rcnn"),
    },
    "mode": {"all": tuple(mode.value for mode in Mode)},
    "subset": {
        "partitions": tuple(f"partition_{share}" for share in PUBLISHED_PARTITIONS),
        "few_shot": tuple(f"few_shot_{shots}" for shots in PUBLISHED_SHOTS),
    },
    # Paper, C.4: seven seeds; the numbers are those of its code.
    "seed": {"paper": (0, 1, 10, 42, 123, 1000, 1234)},
}
"""By axis and name."""
