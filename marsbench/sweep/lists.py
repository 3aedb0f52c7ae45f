"""Named lists of values for suites: tasks, models, modes, subsets and seeds of the paper."""

from collections.abc import Iterable

from marsbench.config.schema import PUBLISHED_PARTITIONS, PUBLISHED_SHOTS, Mode
from marsbench.models.zoo import foundation
from marsbench.results.upstream.names import SEEDS
from marsbench.tasks.catalog import TASKS
from marsbench.tasks.kinds import Kind
from marsbench.tasks.spec import TaskSpec

Lists = dict[str, dict[str, tuple[str | int, ...]]]
"""Values by axis and name of the list."""


_FOUR = ("domars16k", "surface_cls", "frost_cls", "atmospheric_dust_cls_edr")


def paper_lists(specs: Iterable[TaskSpec]) -> Lists:
    """Named lists of the paper by axis.

    Args:
        specs: Tasks; only the collection mars_bench enters the lists.
    """
    paper = [spec for spec in specs if spec.collection == "mars_bench"]
    return {
        "task": {
            # Paper, Table 1.
            "classification": tuple(s.name for s in paper if s.kind.is_classification),
            "segmentation": tuple(s.name for s in paper if s.kind is Kind.SEGMENTATION),
            "detection": tuple(s.name for s in paper if s.kind is Kind.DETECTION),
            # Paper, D.1.1.
            "imbalanced": ("landmark_cls", "surface_cls", "change_cls_ctx", "change_cls_hirise"),
            # Paper, figure 7 and table 6.
            "foundation_four": _FOUR,
            # Paper, table 2.
            "zero_shot": (*_FOUR, "crater_multi_seg", "mars_seg_msl"),
        },
        # Paper, section 4.
        "model": {
            "classifiers": ("resnet101", "squeezenet1_1", "inception_v3", "swinv2_b", "vit_l_16"),
            "segmenters": ("unet", "deeplabv3plus", "segformer", "dpt"),
            "detectors": ("yolo11n", "ssd", "retinanet", "faster_rcnn"),
            "earth_observation": ("satmae", "croma", "prithvi"),
            "foundation": tuple(entry.name for entry in foundation.ENTRIES),
        },
        "mode": {"all": (Mode.SCRATCH, Mode.FROZEN, Mode.FINETUNE)},
        "subset": {
            "partitions": tuple(f"partition_{share}" for share in PUBLISHED_PARTITIONS),
            "few_shot": tuple(f"few_shot_{shots}" for shots in PUBLISHED_SHOTS),
        },
        "seed": {"paper": SEEDS},
    }


LISTS = paper_lists(TASKS.values())
