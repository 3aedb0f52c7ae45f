"""The eight segmentation tasks of Mars-Bench.

Counts are Table 1, class names appendix B.2 of the Mars-Bench paper
(https://arxiv.org/abs/2510.24010). Class 0 of a mask is the background.
"""

from marsbench.tasks.kinds import Decode, Kind
from marsbench.tasks.spec import BandInfo, ClassInfo, Landform, Platform, TaskSpec

_MMLS_BANDS = ("blue", "green", "red", "elevation", "thermal inertia", "slope", "grey")

_BACKGROUND = ClassInfo("background", "Everything that belongs to no other class.")

_MARS_SEG_CLASSES = (
    _BACKGROUND,
    ClassInfo("Bedrock", "Flat or layered rock in place, part of the ground."),
    ClassInfo("Gravel/Sand/Soil", "Loose material from dust and sand to small stones."),
    ClassInfo("Rock", "A single stone large enough to stand out from the ground."),
    ClassInfo("Shadow", "Ground darkened by the rover or by terrain."),
    ClassInfo("Sky/Distant Mountains", "The sky and hills near the horizon."),
    ClassInfo("Track", "Imprints that the wheels left in the ground."),
)

_MARS_SEG_CITATION = (
    "Li et al. (2022), A stepwise domain adaptive segmentation network with covariate shift "
    "alleviation for remote sensing imagery, IEEE TGRS 60"
)
_MARS_SEG_NOTES = ("Sand and soil of the source were merged into one class.",)

_CRATER_NOTE = (
    "Outlines are ellipses rather than the usual circles; the splits are separated by longitude."
)

TASKS: tuple[TaskSpec, ...] = (
    TaskSpec(
        name="boulder_seg",
        collection="mars_bench",
        title="Boulders in HiRISE images",
        kind=Kind.SEGMENTATION,
        decode=Decode.IMAGE_MASK,
        classes=(
            _BACKGROUND,
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
        notes=("Tens of images only: partitions start at 0.10.",),
    ),
    TaskSpec(
        name="conequest_seg",
        collection="mars_bench",
        title="Volcanic cones in CTX images",
        kind=Kind.SEGMENTATION,
        decode=Decode.IMAGE_MASK,
        classes=(
            _BACKGROUND,
            ClassInfo("cone", "A small volcanic or mud cone, often with a pit at its summit."),
        ),
        sizes={"train": 2236, "val": 319, "test": 643},
        image_size=(512, 512),
        mission="Mars Reconnaissance Orbiter",
        sensor="CTX",
        landforms=(Landform.CONES,),
        few_shot=False,
        citation=(
            "Purohit et al. (2024), ConeQuest: a benchmark for cone segmentation on Mars, WACV"
        ),
        notes=("Holds negative images, which show no cone, balanced against positives by region.",),
    ),
    TaskSpec(
        name="crater_binary_seg",
        collection="mars_bench",
        title="Craters in THEMIS images",
        kind=Kind.SEGMENTATION,
        decode=Decode.IMAGE_MASK,
        classes=(
            _BACKGROUND,
            ClassInfo("crater", "The inside of an impact crater, up to its rim."),
        ),
        sizes={"train": 3600, "val": 900, "test": 900},
        mission="Mars Odyssey",
        sensor="THEMIS",
        landforms=(Landform.CRATERS,),
        few_shot=False,
        citation=(
            "Robbins and Hynek (2012), A new global database of Mars impact craters >= 1 km: 1. "
            "Database creation, properties, and parameters, JGR Planets 117(E5)"
        ),
        notes=(_CRATER_NOTE,),
    ),
    TaskSpec(
        name="crater_multi_seg",
        collection="mars_bench",
        title="Four kinds of crater in THEMIS images",
        kind=Kind.SEGMENTATION,
        decode=Decode.IMAGE_MASK,
        classes=(
            _BACKGROUND,
            ClassInfo("Other", "A crater of none of the three special kinds."),
            ClassInfo("Layered", "A crater whose ejecta lie in one or more lobed sheets."),
            ClassInfo("Buried", "A crater filled or covered, so that only traces of it show."),
            ClassInfo(
                "Secondary",
                "A crater made by debris of a larger impact, often in chains or clusters.",
            ),
        ),
        sizes={"train": 3600, "val": 900, "test": 900},
        mission="Mars Odyssey",
        sensor="THEMIS",
        landforms=(Landform.CRATERS,),
        few_shot=False,
        citation=(
            "Lagain et al. (2021), Mars Crater Database: a participative project for the "
            "classification of the morphological characteristics of large Martian craters, "
            "Large Meteorite Impacts and Planetary Evolution VI"
        ),
        notes=(_CRATER_NOTE,),
    ),
    TaskSpec(
        name="mars_seg_mer",
        collection="mars_bench",
        title="Terrain in Opportunity and Spirit images",
        kind=Kind.SEGMENTATION,
        decode=Decode.IMAGE_MASK,
        classes=_MARS_SEG_CLASSES,
        sizes={"train": 744, "val": 106, "test": 214},
        platform=Platform.ROVER,
        mission="Mars Exploration Rovers (Opportunity, Spirit)",
        sensor="Navcam, Pancam",
        landforms=(Landform.ROCKS, Landform.SOIL),
        few_shot=False,
        citation=_MARS_SEG_CITATION,
        notes=_MARS_SEG_NOTES,
    ),
    TaskSpec(
        name="mars_seg_msl",
        collection="mars_bench",
        title="Terrain in Curiosity images",
        kind=Kind.SEGMENTATION,
        decode=Decode.IMAGE_MASK,
        classes=_MARS_SEG_CLASSES,
        sizes={"train": 2893, "val": 413, "test": 828},
        channels=3,
        platform=Platform.ROVER,
        mission="Mars Science Laboratory (Curiosity)",
        sensor="Mastcam",
        landforms=(Landform.ROCKS, Landform.SOIL),
        few_shot=False,
        citation=_MARS_SEG_CITATION,
        notes=_MARS_SEG_NOTES,
    ),
    TaskSpec(
        name="mmls",
        collection="mars_bench",
        title="Landslides in seven bands over Valles Marineris",
        kind=Kind.SEGMENTATION,
        decode=Decode.IMAGE_MASK,
        classes=(
            _BACKGROUND,
            ClassInfo(
                "landslide",
                "A slope that failed: a scar above, hummocky or streaked debris below.",
            ),
        ),
        sizes={"train": 275, "val": 31, "test": 256},
        channels=7,
        rgb_bands=(2, 1, 0),
        bands=tuple(map(BandInfo, _MMLS_BANDS)),
        image_size=(128, 128),
        mission="Mars Reconnaissance Orbiter",
        sensor="CTX, with elevation, thermal inertia and slope",
        landforms=(Landform.SLOPES,),
        few_shot=False,
        citation=(
            "Paheding et al. (2024), MarsLS-Net: Martian landslides segmentation network and "
            "benchmark dataset, WACV"
        ),
        notes=(
            (
                f"Bands: {', '.join(_MMLS_BANDS)}. The order is from looking at the data, as the "
                "source does not state it; the paper uses RGB, which is bands=rgb, the default."
            ),
            (
                "Float TIFFs already in [0, 1]: tifffile reads them, PIL does not, and a cast to "
                "8 bits destroys them."
            ),
            (
                "Six train images (14_24, 15_24, 19_23, 21_44, 24_44, 25_42) are in test too, with "
                "other masks, because each mask marks only its own region's landslides."
            ),
        ),
    ),
    TaskSpec(
        name="s5mars",
        collection="mars_bench",
        title="Eight terrain classes in Curiosity images",
        kind=Kind.SEGMENTATION,
        decode=Decode.IMAGE_MASK,
        classes=(
            _BACKGROUND,
            ClassInfo("Bedrock", "Flat or layered rock in place, part of the ground."),
            ClassInfo("Hole", "A hole in rock or ground, such as one made by the drill."),
            ClassInfo("Ridge", "A distant hill or mountain crest below the sky."),
            ClassInfo("Rock", "A single stone large enough to stand out from the ground."),
            ClassInfo("Rover", "Any part of the rover in the view."),
            ClassInfo("Sand/Soil", "Loose material: sand, soil and gravel."),
            ClassInfo("Sky", "The sky above the horizon."),
            ClassInfo("Track", "Imprints that the wheels left in the ground."),
        ),
        sizes={"train": 4997, "val": 200, "test": 800},
        channels=3,
        platform=Platform.ROVER,
        mission="Mars Science Laboratory (Curiosity)",
        sensor="Mastcam",
        landforms=(Landform.ROCKS, Landform.ROVER, Landform.SOIL),
        few_shot=False,
        citation=(
            "Zhang et al. (2022), S5Mars: semi-supervised learning for Mars semantic "
            "segmentation, IEEE TGRS 62"
        ),
        notes=(
            (
                "The paper's Table 1 counts 10 classes; its appendix names 8, which are 9 with the "
                "background, as are listed here. Sand, soil and gravel of the source were merged. "
                "The data's own mapping decides."
            ),
        ),
    ),
)
