"""The three detection tasks of Mars-Bench.

Counts are Table 1 of the Mars-Bench paper (https://arxiv.org/abs/2510.24010). Classes leave out
the background: class i here is i in YOLO files and i + 1 in COCO and Pascal VOC files.
"""

from marsbench.tasks.kinds import Decode, Kind
from marsbench.tasks.spec import ClassInfo, Landform, TaskSpec

TASKS: tuple[TaskSpec, ...] = (
    TaskSpec(
        name="boulder_det",
        collection="mars_bench",
        title="Boulders in HiRISE images",
        kind=Kind.DETECTION,
        decode=Decode.IMAGE_BOXES,
        classes=(
            ClassInfo("boulder", "A block of rock, metres wide, with a bright side and a shadow."),
        ),
        sizes={"train": 39, "val": 6, "test": 4},
        mission="Mars Reconnaissance Orbiter",
        sensor="HiRISE",
        landforms=(Landform.ROCKS,),
        min_partition=0.10,
        few_shot=False,
        citation=(
            "Prieur et al. (2023), Automatic characterization of boulders on planetary surfaces "
            "from high-resolution satellite images, JGR Planets 128(11), e2023JE008013"
        ),
        notes=("Tens of images only: partitions start at 0.10. Objects are small.",),
    ),
    TaskSpec(
        name="conequest_det",
        collection="mars_bench",
        title="Volcanic cones in CTX images",
        kind=Kind.DETECTION,
        decode=Decode.IMAGE_BOXES,
        classes=(
            ClassInfo("cone", "A small volcanic or mud cone, often with a pit at its summit."),
        ),
        sizes={"train": 1158, "val": 167, "test": 333},
        mission="Mars Reconnaissance Orbiter",
        sensor="CTX",
        landforms=(Landform.CONES,),
        few_shot=False,
        citation=(
            "Purohit et al. (2024), ConeQuest: a benchmark for cone segmentation on Mars, WACV"
        ),
        notes=("Images without cones were removed, unlike in conequest_seg.",),
    ),
    TaskSpec(
        name="dust_devil_det",
        collection="mars_bench",
        title="Dust devils in CTX images",
        kind=Kind.DETECTION,
        decode=Decode.IMAGE_BOXES,
        classes=(
            ClassInfo(
                "dust devil",
                "A whirlwind of dust: a faint bright plume, often with a shadow beside it.",
            ),
        ),
        sizes={"train": 1404, "val": 201, "test": 402},
        mission="Mars Reconnaissance Orbiter",
        sensor="CTX",
        landforms=(Landform.DUST,),
        few_shot=False,
        citation=(
            "Guo et al. (2024), Martian dust devil detection based on improved Faster R-CNN, "
            "IEEE JSTARS"
        ),
    ),
)
