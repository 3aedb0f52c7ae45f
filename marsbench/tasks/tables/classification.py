"""The nine image classification tasks of Mars-Bench.

Counts are Table 1, class names appendix B.2 of the Mars-Bench paper
(https://arxiv.org/abs/2510.24010).
"""

from marsbench.tasks.kinds import Decode, Kind
from marsbench.tasks.spec import ClassInfo, Landform, Platform, TaskSpec

_DUST_CLASSES = (
    ClassInfo(
        "Dusty", "Airborne dust hides the ground: low contrast and few or no surface details."
    ),
    ClassInfo("Non dusty", "Clear air: landforms on the ground are sharp.", ("Not dusty",)),
)

_CHANGE_CLASSES = (
    ClassInfo(
        "Change",
        "Something on the ground differs between the two dates, such as a new impact or streak.",
    ),
    ClassInfo(
        "No change",
        "Both dates show the same ground; only light, season or noise may differ.",
    ),
)

# No alias for the two Aeolian classes: `ael` and `aec` are used both ways by different users.
_DOMARS_CLASSES = (
    ClassInfo("Aeolian Curved", "Wind-built ripples or dunes with bent, branching or wavy crests."),
    ClassInfo("Aeolian Straight", "Wind-built ripples or dunes with straight, parallel crests."),
    ClassInfo("Channel", "A long, winding trough such as a dry valley or lava channel.", ("fsf",)),
    ClassInfo(
        "Cliff", "A steep scarp seen as a sharp line with one bright or dark side.", ("cli",)
    ),
    ClassInfo("Mounds", "Rounded, isolated hills or knobs rising from flatter ground.", ("sfe",)),
    ClassInfo("Ridge", "A narrow, elongated crest such as a wrinkle ridge.", ("rid",)),
    ClassInfo(
        "Gullies",
        "Narrow ravines cut into a slope, with an alcove above and an apron below.",
        ("fsg",),
    ),
    ClassInfo(
        "Mass Wasting", "Material that slid or fell down a slope: lobes and debris.", ("fss",)
    ),
    ClassInfo("Slope Streaks", "Dark or bright thin fans running straight downslope.", ("fse",)),
    ClassInfo("Crater", "A single round impact hollow that fills much of the view.", ("cra",)),
    ClassInfo("Crater Field", "Many small impact craters close together.", ("sfx",)),
    ClassInfo("Mixed Terrain", "Several kinds of ground in one view, none prevailing.", ("mix",)),
    ClassInfo("Rough Terrain", "Rugged ground with strong, irregular relief.", ("rou",)),
    ClassInfo("Smooth Terrain", "Even ground with hardly any relief or texture.", ("smo",)),
    ClassInfo("Textured Terrain", "Ground with a fine pattern repeated all over.", ("tex",)),
)

_FROST_CLASSES = (
    ClassInfo(
        "Frost",
        "Seasonal ice on the ground: bright deposits, defrosting spots or polygon cracks.",
    ),
    ClassInfo("Non Frost", "Ground free of visible ice: bare rock, sand or dust."),
)

_LANDMARK_CLASSES = (
    ClassInfo("Bright Dune", "Dunes or ripples brighter than the ground between them.", ("bri",)),
    ClassInfo("Crater", "An impact crater wide enough to show its rim.", ("cra",)),
    ClassInfo("Dark Dune", "Dunes of dark sand, often defrosting near the pole.", ("dar",)),
    ClassInfo("Impact Ejecta", "Material thrown out around a fresh impact, in rays or a halo."),
    ClassInfo("Slope Streak", "A dark or bright thin mark running down a dusty slope.", ("slo",)),
    ClassInfo("Spider", "Troughs that branch out from a centre, carved by escaping gas under ice."),
    ClassInfo("Swiss Cheese", "Rounded pits in the bright carbon dioxide ice of the south pole."),
    ClassInfo("Other", "None of the named landmarks; most images are of this class.", ("oth",)),
)

_SURFACE_CLASSES = (
    ClassInfo(
        "Alpha Particle X-Ray Spectrometer (APXS)",
        "The round, palm-sized head of the X-ray spectrometer on the arm's turret.",
        ("APXS", "Alpha Particle X-Ray Spectrometer"),
    ),
    ClassInfo(
        "APXS Calibration Target",
        "The small rock disc on the rover that the X-ray spectrometer is checked against.",
        ("APXS Cal Target",),
    ),
    ClassInfo("Arm Cover", "The protective cover of a joint or part of the robotic arm."),
    ClassInfo("Artifact", "An image spoiled by transmission loss, blur or wrong exposure."),
    ClassInfo(
        "ChemCam Calibration Target",
        "The plate of round samples on the deck that the laser spectrometer is checked against.",
        ("ChemCam Cal Target",),
    ),
    ClassInfo(
        "CheMin Inlet Open",
        "The funnel of the mineralogy instrument on the deck with its lid open.",
    ),
    ClassInfo(
        "Close-Up Rock", "Rock that fills the view from close by, grains and texture visible."
    ),
    ClassInfo("Distant Landscape", "Hills, crater rims or plains far away, without the skyline."),
    ClassInfo("Drill", "The drill on the arm's turret, with its bit and prongs."),
    ClassInfo("Drill Holes", "One or more round holes in rock, ringed by fresh powder."),
    ClassInfo(
        "Dust Removal Tool (DRT)",
        "The wire brush on the arm's turret that sweeps dust from rock.",
        ("DRT", "Dust Removal Tool"),
    ),
    ClassInfo("DRT Spot", "A patch of rock brushed clean, darker or greyer than its dusty rim."),
    ClassInfo("Float Rock", "A loose stone lying on the ground, away from its bedrock."),
    ClassInfo(
        "Ground", "Plain ground near the rover: soil, pebbles or bedrock; the largest class."
    ),
    ClassInfo("Horizon", "The line where land meets sky."),
    ClassInfo("Inlet", "A sample inlet on the deck with its cover, seen from above."),
    ClassInfo("Layered Rock", "Rock with visible parallel layers or laminae."),
    ClassInfo(
        "Light-Toned Veins", "Thin bright mineral fillings, mostly sulfate, that cut the rock."
    ),
    ClassInfo("MAHLI", "The close-up camera on the arm's turret, often its lens or dust cover."),
    ClassInfo(
        "MAHLI Calibration Target",
        "The plate with colour chips, bar chart and penny that the close-up camera is checked on.",
        ("MAHLI Cal Target",),
    ),
    ClassInfo("Mastcam", "The rover's mast head with its cameras."),
    ClassInfo(
        "Mastcam Calibration Target",
        "The sundial-like disc with grey rings and colour chips on the deck.",
        ("Mastcam Cal Target",),
    ),
    ClassInfo("Night Sky", "A dark sky with stars, moons or only noise."),
    ClassInfo(
        "Observation Tray", "The small round tray on the rover onto which a sample is dropped."
    ),
    ClassInfo("Portion Box", "The chamber of the sample handler that measures out powder."),
    ClassInfo("Portion Tube", "The tube through which a measured portion of sample is dropped."),
    ClassInfo("Portion Tube Opening", "The mouth of the portion tube, seen end on."),
    ClassInfo(
        "REMS-UV",
        "The weather station's ultraviolet sensor: photodiodes set in a small plate on the deck.",
        ("REMS UV Sensor",),
    ),
    ClassInfo("Rover Rear Deck", "The back of the rover's top with antennas and power source."),
    ClassInfo("Sand", "Loose fine grains, smooth or rippled by wind."),
    ClassInfo("Scoop", "The small shovel on the arm's turret, empty or with soil."),
    ClassInfo("Sun", "The solar disc, mostly through a filter on black."),
    ClassInfo("Turret", "The cluster of tools at the end of the robotic arm."),
    ClassInfo("Wheel", "A rover wheel with its treads, sometimes punctured."),
    ClassInfo("Wheel Joint", "The strut or hub that joins a wheel to the suspension."),
    ClassInfo("Wheel Tracks", "Imprints that the wheels left in soil or sand.", ("Wheel Track",)),
)

_MULTI_LABEL_CLASSES = (
    ClassInfo(
        "RAT Hole",
        "A shallow round hole ground into rock by the Rock Abrasion Tool.",
        ("rah", "Rock Abrasion Tool (RAT) Hole"),
    ),
    ClassInfo("Clasts", "Scattered fragments from granules to pebbles.", ("cla",)),
    ClassInfo("Dunes/Ripples", "Sand shaped by wind into crests.", ("dur",)),
    ClassInfo("Soil", "Loose, fine surface material.", ("soi",)),
    ClassInfo("Rock Outcrops", "Bedrock exposed at the surface.", ("roc",)),
    ClassInfo("Close-Up Rock", "Rock seen from close by, filling much of the view.", ("clr",)),
    ClassInfo(
        "RAT Brushed Target",
        "A round patch of rock swept clean of dust by the Rock Abrasion Tool's brush.",
        ("rab", "Rock Abrasion Tool (RAT) Brushed Target"),
    ),
    ClassInfo("Distant Vista", "A far view of hills, crater walls or plains.", ("div",)),
    ClassInfo("Rover Deck", "The top of the rover with its solar panels.", ("rod",)),
    ClassInfo(
        "Bright Soil", "Soil markedly lighter than usual, as where wheels dug up salts.", ("bso",)
    ),
    ClassInfo("Float Rocks", "Loose stones away from their bedrock.", ("flr", "Float Rock")),
    ClassInfo(
        "Artifacts", "Flaws of the image: lost data, glare, saturation.", ("art", "Artifact")
    ),
    ClassInfo(
        "Pancam Calibration Target",
        "The sundial on the deck with grey rings and colour corners.",
        ("pct",),
    ),
    ClassInfo("Arm Hardware", "The robotic arm or an instrument on it.", ("arh",)),
    ClassInfo(
        "Round Rock Features",
        "Rounded forms within rock, such as nodules, hollows or vugs.",
        ("rrf", "Rock (Round Features)"),
    ),
    ClassInfo("Spherules", "Small round grains, loose or in rock: the 'blueberries'.", ("sph",)),
    ClassInfo(
        "Other Hardware", "Man-made things off the rover, such as lander or shield.", ("ohw",)
    ),
    ClassInfo("Astronomy", "Sun, moons, planets or stars in the sky.", ("ast",)),
    ClassInfo("Nearby Surface", "Ground within a few metres of the rover.", ("nbs",)),
    ClassInfo(
        "Miscellaneous Rocks",
        "Rocks that fit none of the other rock labels.",
        ("rmi", "Rocks (Misc)"),
    ),
    ClassInfo("Rover Tracks", "Imprints that the wheels left in the ground.", ("rtr",)),
    ClassInfo("Sky", "The Martian sky, above or without a skyline."),
    ClassInfo("Rover Parts", "Parts of the rover other than deck and arm.", ("rpa",)),
    ClassInfo(
        "Linear Rock Features",
        "Straight forms within rock, such as layers, fractures or veins.",
        ("rlf", "Rock (Linear Features)"),
    ),
    ClassInfo("Soil Trench", "A furrow dug into soil by a wheel on purpose.", ("sot",)),
)

_DUST_CITATION = (
    "Doran (2019), HiRISE image patches obscured by atmospheric dust, Zenodo, "
    "doi:10.5281/zenodo.3495068"
)
_CHANGE_CITATION = (
    "Kerner et al. (2019), Toward generalized change detection on planetary surfaces with "
    "convolutional autoencoders and transfer learning, IEEE JSTARS 12(10)"
)
_WAGSTAFF_2018 = (
    "Wagstaff et al. (2018), Deep Mars: CNN classification of Mars imagery for the PDS Imaging "
    "Atlas, AAAI"
)
_WAGSTAFF_2021 = (
    "Wagstaff et al. (2021), Mars image content classification: three years of NASA deployment "
    "and recent advances, AAAI"
)

_PAIR_NOTE = (
    "A sample is two grey images of one place; the composite has blue = before, green = after, "
    "red = 0. The second file's name is the first's with 'before' replaced by 'after'."
)

TASKS: tuple[TaskSpec, ...] = (
    TaskSpec(
        name="atmospheric_dust_cls_edr",
        collection="mars_bench",
        title="Atmospheric dust in raw HiRISE images",
        kind=Kind.BINARY,
        classes=_DUST_CLASSES,
        sizes={"train": 9817, "val": 4969, "test": 5214},
        mission="Mars Reconnaissance Orbiter",
        sensor="HiRISE",
        landforms=(Landform.DUST,),
        citation=_DUST_CITATION,
        notes=("EDR: raw data as sent, not calibrated and not stitched.",),
    ),
    TaskSpec(
        name="atmospheric_dust_cls_rdr",
        collection="mars_bench",
        title="Atmospheric dust in processed HiRISE images",
        kind=Kind.BINARY,
        classes=_DUST_CLASSES,
        sizes={"train": 9817, "val": 4969, "test": 5214},
        mission="Mars Reconnaissance Orbiter",
        sensor="HiRISE",
        landforms=(Landform.DUST,),
        citation=_DUST_CITATION,
        notes=("RDR: processed, reduced-resolution version of the raw data (EDR).",),
    ),
    TaskSpec(
        name="change_cls_ctx",
        collection="mars_bench",
        title="Surface change between two CTX images",
        kind=Kind.BINARY,
        decode=Decode.PAIR_LABEL,
        classes=_CHANGE_CLASSES,
        sizes={"train": 36, "val": 10, "test": 10},
        mission="Mars Reconnaissance Orbiter",
        sensor="CTX",
        landforms=(Landform.CHANGE,),
        min_partition=0.10,
        few_shot=False,
        citation=_CHANGE_CITATION,
        notes=(
            _PAIR_NOTE,
            (
                "The smallest task: partitions start at 0.10 and few-shot sets do not exist. The "
                "paper's count of 54 few-shot sets is nine tasks by six sizes; without this task, "
                "as the same paper says, they are 48."
            ),
        ),
    ),
    TaskSpec(
        name="change_cls_hirise",
        collection="mars_bench",
        title="Surface change between two HiRISE images",
        kind=Kind.BINARY,
        decode=Decode.PAIR_LABEL,
        classes=_CHANGE_CLASSES,
        sizes={"train": 3103, "val": 670, "test": 670},
        mission="Mars Reconnaissance Orbiter",
        sensor="HiRISE",
        landforms=(Landform.CHANGE,),
        citation=_CHANGE_CITATION,
        notes=(_PAIR_NOTE,),
    ),
    TaskSpec(
        name="domars16k",
        collection="mars_bench",
        title="Fifteen landforms in CTX images",
        kind=Kind.MULTICLASS,
        classes=_DOMARS_CLASSES,
        sizes={"train": 11305, "val": 3231, "test": 1614},
        mission="Mars Reconnaissance Orbiter",
        sensor="CTX",
        landforms=(Landform.AEOLIAN, Landform.CRATERS, Landform.RELIEF, Landform.SLOPES),
        citation=(
            "Wilhelm et al. (2020), DoMars16k: a diverse dataset for weakly supervised "
            "geomorphologic analysis on Mars, Remote Sensing 12(23), 3981"
        ),
        notes=(
            (
                "The codes 'ael' and 'aec' stand for Aeolian Curved with some users and for "
                "Aeolian Straight with others, so neither is an alias: the data's own names decide."
            ),
        ),
    ),
    TaskSpec(
        name="frost_cls",
        collection="mars_bench",
        title="Surface frost in HiRISE images",
        kind=Kind.BINARY,
        classes=_FROST_CLASSES,
        sizes={"train": 30124, "val": 11415, "test": 12249},
        mission="Mars Reconnaissance Orbiter",
        sensor="HiRISE",
        landforms=(Landform.ICE,),
        citation=(
            "Doran et al. (2024), Evaluating terrain-dependent performance for Martian frost "
            "detection in visible satellite observations, arXiv:2403.12080"
        ),
        notes=("The largest task by number of images.",),
    ),
    TaskSpec(
        name="landmark_cls",
        collection="mars_bench",
        title="Eight landmarks in HiRISE images",
        kind=Kind.MULTICLASS,
        classes=_LANDMARK_CLASSES,
        sizes={"train": 6997, "val": 2025, "test": 1793},
        mission="Mars Reconnaissance Orbiter",
        sensor="HiRISE",
        landforms=(Landform.AEOLIAN, Landform.CRATERS, Landform.ICE, Landform.SLOPES),
        citation=_WAGSTAFF_2021,
        notes=(
            "Strongly imbalanced: Other is the majority, Impact Ejecta the rarest class.",
            (
                "Version 1 of these data (six classes, other splits) also goes by the folder name "
                "mb-landmark_cls; it is the task configs/tasks/hirise_landmark_v1.yaml, and its "
                "scores do not compare with this one's."
            ),
        ),
    ),
    TaskSpec(
        name="surface_cls",
        collection="mars_bench",
        title="Rover parts and terrain in Curiosity images",
        kind=Kind.MULTICLASS,
        classes=_SURFACE_CLASSES,
        sizes={"train": 6580, "val": 1293, "test": 1594},
        channels=3,
        platform=Platform.ROVER,
        mission="Mars Science Laboratory (Curiosity)",
        sensor="Mastcam, MAHLI",
        landforms=(Landform.ROCKS, Landform.ROVER, Landform.SOIL),
        citation=f"{_WAGSTAFF_2018}; {_WAGSTAFF_2021}",
        notes=("Two published versions merged; strongly imbalanced, most images are Ground.",),
    ),
    TaskSpec(
        name="surface_multi_label_cls",
        collection="mars_bench",
        title="Contents of Opportunity and Spirit images",
        kind=Kind.MULTILABEL,
        classes=_MULTI_LABEL_CLASSES,
        sizes={"train": 1762, "val": 443, "test": 739},
        platform=Platform.ROVER,
        mission="Mars Exploration Rovers (Opportunity, Spirit)",
        sensor="Pancam",
        landforms=(Landform.ROCKS, Landform.ROVER, Landform.SOIL),
        citation=(
            "Cole et al. (2020), Identifying community needs for a Mars Exploration Rovers (MER) "
            "data catalog, LPSC 51, 1709"
        ),
        notes=(
            (
                "In a k-shot set every class appears at least k times; images with several labels "
                "count for each of them."
            ),
        ),
    ),
)
