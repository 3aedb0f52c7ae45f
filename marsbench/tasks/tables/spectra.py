"""The two mass-spectrometry challenges: spectra in, several labels out.

The labels are in the order of the challenges' files. A sample may have none.
"""

from marsbench.tasks.kinds import Decode, Kind, Technique
from marsbench.tasks.spec import ClassInfo, Platform, TaskSpec

TASKS: tuple[TaskSpec, ...] = (
    TaskSpec(
        name="ega_ms",
        collection="ms_challenges",
        title="Minerals in evolved-gas mass spectra",
        kind=Kind.MULTILABEL,
        decode=Decode.SPECTRUM,
        technique=Technique.EGA,
        classes=(
            ClassInfo("basalt", "Dark volcanic rock, poor in silica, rich in iron and magnesium."),
            ClassInfo("carbonate", "Salt of the carbonate ion; gives off CO2 (m/z 44) on heating."),
            ClassInfo("chloride", "Salt of the chloride ion, such as halite."),
            ClassInfo("iron_oxide", "Compound of iron and oxygen, such as hematite or magnetite."),
            ClassInfo("oxalate", "Salt of the oxalate ion; breaks down to CO and CO2."),
            ClassInfo(
                "oxychlorine",
                "Oxidising chlorine salt such as perchlorate; gives off O2 (m/z 32).",
            ),
            ClassInfo("phyllosilicate", "Sheet silicate or clay; gives off water when heated."),
            ClassInfo("silicate", "Mineral built on silicon bonded to oxygen."),
            ClassInfo("sulfate", "Salt of the sulfate ion; gives off SO2 (m/z 64) when hot."),
            ClassInfo("sulfide", "Compound of sulfur with a metal, such as pyrite."),
        ),
        sizes={"train": 766, "val": 293, "test": 511},
        platform=Platform.LABORATORY,
        mission="Sample Analysis at Mars (Curiosity), testbed and laboratory analogues",
        sensor="evolved gas analysis mass spectrometer",
        folder="ega_ms",
        headline="log_loss",
        citation=(
            "NASA and DrivenData (2022), Mars Spectrometry: Detect Evidence for Past Habitability"
        ),
        notes=(
            (
                "Two instruments: commercial, and the flight-like SAM testbed (12 of the train and "
                "64 of the test samples), whose abundances differ by many orders of magnitude. "
                "Scale each sample by itself."
            ),
            "m/z 4 is helium, the carrier gas; the challenge's benchmark drops it.",
            "Temperature is not monotonic in every run.",
        ),
    ),
    TaskSpec(
        name="gcms",
        collection="ms_challenges",
        title="Organic compounds in gas-chromatography mass spectra",
        kind=Kind.MULTILABEL,
        decode=Decode.SPECTRUM,
        technique=Technique.GC,
        classes=(
            ClassInfo("aromatic", "Unsaturated compound with one or more flat rings of atoms."),
            ClassInfo("hydrocarbon", "Straight or branched chain of carbon and hydrogen only."),
            ClassInfo("carboxylic_acid", "Compound with a -COOH group, such as a fatty acid."),
            ClassInfo("nitrogen_bearing_compound", "Compound with nitrogen: amine or nitrile."),
            ClassInfo(
                "chlorine_bearing_compound", "Compound with chlorine, as perchlorates yield."
            ),
            ClassInfo("sulfur_bearing_compound", "Compound with sulfur, as sulfates yield."),
            ClassInfo("alcohol", "Compound with a hydroxyl group on a carbon chain."),
            ClassInfo(
                "other_oxygen_bearing_compound",
                "Compound with oxygen that is neither acid nor alcohol: ester or ether.",
            ),
            ClassInfo("mineral", "Natural inorganic solid with an ordered crystal structure."),
        ),
        platform=Platform.LABORATORY,
        mission="Sample Analysis at Mars (Curiosity), laboratory analogues",
        sensor="gas chromatograph mass spectrometer",
        folder="gcms",
        headline="log_loss",
        citation="NASA and DrivenData (2022), Mars Spectrometry 2: Gas Chromatography",
        notes=(
            (
                "The paper on the challenges gives time in seconds, the challenge's own page and "
                "users of the files in minutes: the reader detects and records the unit."
            ),
            "An empty 'derivatized' in the metadata means 0.",
            "Split sizes are not known here, so they are not checked.",
        ),
    ),
)
