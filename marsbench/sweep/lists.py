"""Named lists that suites are written with, each a fact of the paper stated once."""

from marsbench.config.schema import PUBLISHED_PARTITIONS, PUBLISHED_SHOTS, Mode
from marsbench.tasks.catalog import TASKS
from marsbench.tasks.kinds import Kind


def _of_paper(*kinds: Kind) -> tuple[str, ...]:
    """Names of the tasks of Mars-Bench; tasks of other collections never enter its suites."""
    specs = TASKS.values()
    return tuple(s.name for s in specs if s.collection == "mars_bench" and s.kind in kinds)


LISTS: dict[str, dict[str, tuple[str | int, ...]]] = {
    "task": {
        # Paper, Table 1.
        "classification": _of_paper(Kind.BINARY, Kind.MULTICLASS, Kind.MULTILABEL),
        "segmentation": _of_paper(Kind.SEGMENTATION),
        "detection": _of_paper(Kind.DETECTION),
        # Paper, D.1.1.
        "imbalanced": ("landmark_cls", "surface_cls", "change_cls_ctx", "change_cls_hirise"),
    },
    # Paper, section 4.
    "model": {
        "classifiers": ("resnet101", "squeezenet1_1", "inception_v3", "swinv2_b", "vit_l_16"),
        "segmenters": ("unet", "deeplabv3plus", "segformer", "dpt"),
        "detectors": ("yolo11n", "ssd", "retinanet", "faster_rcnn"),
    },
    "mode": {"all": (Mode.SCRATCH.value, Mode.FROZEN.value, Mode.FINETUNE.value)},
    "subset": {
        "partitions": tuple(f"partition_{share}" for share in PUBLISHED_PARTITIONS),
        "few_shot": tuple(f"few_shot_{shots}" for shots in PUBLISHED_SHOTS),
    },
    # Paper, C.4: seven seeds; the numbers are those of its code.
    "seed": {"paper": (0, 1, 10, 42, 123, 1000, 1234)},
}
"""By axis and name."""
