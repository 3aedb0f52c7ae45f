"""Every corruption, with its parameters at each severity and the source of its model.

Names and parameters are plain facts, without torch; `corruptions.applying` runs the functions. The
mildest severity is one of ordinary operation; at the strongest, a person still recognises most
objects, as in ImageNet-C (Hendrycks and Dietterich 2019).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from marsbench.base.errors import ConfigError, unknown_name

VERSION = 1
"""Part of an evaluation's id. Raise after any change of a corrupted value."""

SEVERITIES = (1, 2, 3, 4, 5)


class Subject(StrEnum):
    """Data that a corruption applies to."""

    IMAGES = "images"
    SPECTRA = "spectra"


@dataclass(frozen=True, kw_only=True)
class Corruption:
    """A corruption.

    Attributes:
        name: Name in commands and records.
        title: Short description for people.
        applies_to: Images or spectra.
        apply: ``"module:function"``. Of images ``(images, seeds, **parameters) -> images``, of
            spectra ``(spectrum, rng, **parameters) -> spectrum``.
        parameters: Five values of each parameter, from the mildest severity to the strongest.
        source: Publication behind the model and its parameters.
    """

    name: str
    title: str
    applies_to: Subject
    apply: str
    parameters: Mapping[str, tuple[float, float, float, float, float]]
    source: str

    def at(self, severity: int) -> dict[str, float]:
        """Parameters at a severity.

        Raises:
            ConfigError: If the severity is not one of `SEVERITIES`.
        """
        if severity not in SEVERITIES:
            raise ConfigError(
                f"severity={severity} is unknown; expected 1 (mild) to 5 (strong).",
                "Choose severities such as severity=1,3,5.",
            )
        return {name: values[severity - 1] for name, values in self.parameters.items()}


_HD19 = (
    "Hendrycks and Dietterich (2019), Benchmarking Neural Network Robustness to Common Corruptions "
    "and Perturbations, ICLR"
)
_HIRISE = (
    "McEwen et al. (2007), Mars Reconnaissance Orbiter's High Resolution Imaging Science "
    "Experiment (HiRISE), JGR Planets 112, E05S02"
)
_CTX = (
    "Malin et al. (2007), Context Camera Investigation on board the Mars Reconnaissance Orbiter, "
    "JGR Planets 112, E05S04"
)
_PANCAM = (
    "Bell et al. (2006), In-flight calibration and performance of the Mars Exploration Rover "
    "Panoramic Camera (Pancam) instruments, JGR Planets 111, E02S03"
)
_ICER = (
    "Kiely and Klimesh (2003), The ICER Progressive Wavelet Image Compressor, IPN Progress Report "
    "42-155"
)
_DUST = (
    "Lemmon et al. (2015), Dust aerosol, clouds, and the atmospheric optical depth record over 5 "
    "Mars years of the Mars Exploration Rover mission, Icarus 251, 96-111; colour after Tomasko et "
    "al. (1999), Properties of dust in the Martian atmosphere from the Imager on Mars Pathfinder, "
    "JGR Planets 104, 8987-9007"
)
_PHOTOMETRY = (
    "McEwen (1991), Photometric functions for photoclinometry and other applications, Icarus 92, "
    "298-311"
)
_MASTCAM = (
    "Malin et al. (2017), The Mars Science Laboratory (MSL) Mast cameras and Descent imager: "
    "Investigation and instrument descriptions, Earth and Space Science 4, 506-539"
)
_MAHLI = (
    "Edgett et al. (2012), Curiosity's Mars Hand Lens Imager (MAHLI) Investigation, Space Science "
    "Reviews 170, 259-317"
)
_SAM = (
    "Mahaffy et al. (2012), The Sample Analysis at Mars Investigation and Instrument Suite, Space "
    "Science Reviews 170, 401-478"
)
_SAM_BACKGROUND = (
    "Glavin et al. (2013), Evidence for perchlorates and the origin of chlorinated hydrocarbons "
    "detected by SAM at the Rocknest aeolian deposit in Gale Crater, JGR Planets 118, 1955-1973"
)
_EGA = (
    "Shah and Qi (2022), Meet the winners of the Mars Spectrometry Challenge, DrivenData (changes "
    "of rows that make models robust to the instrument)"
)

_PACKAGE = "marsbench.data.corruptions"
_IMAGES, _SPECTRA = Subject.IMAGES, Subject.SPECTRA

CORRUPTIONS: dict[str, Corruption] = {
    entry.name: entry
    for entry in (
        Corruption(
            name="dust",
            title="Atmospheric dust: contrast falls, a veil rises",
            applies_to=_IMAGES,
            apply=f"{_PACKAGE}.atmosphere:dust",
            # Added to the clear season's 0.3 to 0.5; regional storms reach 1 to 2.
            parameters={"optical_depth": (0.3, 0.6, 1.0, 1.5, 2.2)},
            source=_DUST,
        ),
        Corruption(
            name="low_sun",
            title="Low sun: shading gains contrast, shadows fill",
            applies_to=_IMAGES,
            apply=f"{_PACKAGE}.atmosphere:low_sun",
            # In degrees from the zenith; images from the afternoon orbit have about 45 to 60.
            parameters={"incidence": (55.0, 62.0, 68.0, 74.0, 79.0)},
            source=_PHOTOMETRY,
        ),
        Corruption(
            name="noise",
            title="Detector: shot and read noise",
            applies_to=_IMAGES,
            apply=f"{_PACKAGE}.detector:noise",
            # Electrons at white, and the standard deviation of reading in electrons.
            parameters={
                "electrons": (150.0, 80.0, 40.0, 20.0, 12.0),
                "read_noise": (5.0, 5.0, 4.0, 3.0, 3.0),
            },
            source=f"{_PANCAM}; severities after {_HD19}",
        ),
        Corruption(
            name="striping",
            title="Striping: gain and offset of columns and channels",
            applies_to=_IMAGES,
            apply=f"{_PACKAGE}.detector:striping",
            parameters={
                "gain": (0.03, 0.06, 0.1, 0.15, 0.22),
                "offset": (0.01, 0.02, 0.03, 0.045, 0.065),
            },
            source=f"{_HIRISE}; {_CTX}",
        ),
        Corruption(
            name="missing_lines",
            title="Telemetry: missing lines and blocks",
            applies_to=_IMAGES,
            apply=f"{_PACKAGE}.telemetry:missing_lines",
            parameters={
                "lines": (0.02, 0.05, 0.1, 0.17, 0.27),
                "blocks": (0.02, 0.04, 0.08, 0.14, 0.22),
            },
            source=f"{_ICER} (segments, which contain a loss); {_HIRISE}",
        ),
        Corruption(
            name="jpeg",
            title="Compression: JPEG",
            applies_to=_IMAGES,
            apply=f"{_PACKAGE}.telemetry:jpeg",
            parameters={"quality": (25, 18, 15, 10, 7)},
            source=f"{_MASTCAM}; qualities of {_HD19}",
        ),
        Corruption(
            name="wavelet",
            title="Compression: wavelets, as ICER and JPEG 2000",
            applies_to=_IMAGES,
            apply=f"{_PACKAGE}.wavelet:wavelet",
            # Bits of 8-bit pixels over the bits kept.
            parameters={"ratio": (16, 40, 80, 150, 300)},
            source=f"{_ICER}; wavelet of JPEG 2000 (ISO 15444-1)",
        ),
        Corruption(
            name="defocus",
            title="Optics: defocus",
            applies_to=_IMAGES,
            apply=f"{_PACKAGE}.optics:defocus",
            # Of the blur disc, in pixels.
            parameters={"radius": (1.5, 2.5, 3.5, 5.0, 7.0)},
            source=f"{_MAHLI}; blur disc of {_HD19}",
        ),
        Corruption(
            name="smear",
            title="Optics: smear by motion and jitter",
            applies_to=_IMAGES,
            apply=f"{_PACKAGE}.optics:smear",
            # Odd numbers of pixels, so that the image stays where it is.
            parameters={"length": (5, 9, 13, 19, 27)},
            source=f"{_HIRISE} (smear and jitter of the spacecraft)",
        ),
        Corruption(
            name="resolution",
            title="Resolution: coarser by 2 to 8",
            applies_to=_IMAGES,
            apply=f"{_PACKAGE}.optics:resolution",
            # From HiRISE's 0.25 m to CTX's 6 m a pixel are 24 times.
            parameters={"factor": (2, 3, 4, 6, 8)},
            source=f"{_HIRISE}; {_CTX}",
        ),
        Corruption(
            name="gain",
            title="Photometry: gain, brighter or darker",
            applies_to=_IMAGES,
            apply=f"{_PACKAGE}.detector:gain",
            parameters={"stops": (0.2, 0.4, 0.6, 0.9, 1.3)},
            source=f"{_PANCAM}; severities after {_HD19}",
        ),
        Corruption(
            name="bit_depth",
            title="Quantisation: fewer bits",
            applies_to=_IMAGES,
            apply=f"{_PACKAGE}.detector:bit_depth",
            parameters={"bits": (6, 5, 4, 3, 2)},
            source=f"{_HIRISE} (look-up tables from 14 to 8 bits); {_CTX} (12 to 8 bits)",
        ),
        Corruption(
            name="dead_pixels",
            title="Detector: dead and hot pixels",
            applies_to=_IMAGES,
            apply=f"{_PACKAGE}.detector:dead_pixels",
            parameters={"share": (0.003, 0.01, 0.03, 0.07, 0.14)},
            source=f"{_PANCAM} (hot pixels); severities after {_HD19} (impulse noise)",
        ),
        Corruption(
            name="baseline_drift",
            title="Baseline drifts over the run",
            applies_to=_SPECTRA,
            apply=f"{_PACKAGE}.spectra:baseline_drift",
            # Of each ion's largest abundance.
            parameters={"level": (0.05, 0.1, 0.2, 0.4, 0.8)},
            source=_SAM,
        ),
        Corruption(
            name="mass_shift",
            title="Mass scale shifts: part of each ion counts as its neighbour",
            applies_to=_SPECTRA,
            apply=f"{_PACKAGE}.spectra:mass_shift",
            parameters={"share": (0.03, 0.08, 0.16, 0.3, 0.5)},
            source=_SAM,
        ),
        Corruption(
            name="row_gain",
            title="Gain of ions: each by its own factor",
            applies_to=_SPECTRA,
            apply=f"{_PACKAGE}.spectra:row_gain",
            # Standard deviation of the factor's binary logarithm.
            parameters={"stops": (0.25, 0.5, 1.0, 1.6, 2.4)},
            source=_EGA,
        ),
        Corruption(
            name="dropped_scans",
            title="Dropped scans: gaps in the run",
            applies_to=_SPECTRA,
            apply=f"{_PACKAGE}.spectra:dropped_scans",
            parameters={"share": (0.05, 0.1, 0.2, 0.4, 0.6)},
            source=f"{_SAM}; gaps as in images after {_ICER}",
        ),
        Corruption(
            name="instrument_background",
            title="Instrument background: air, water and derivatisation agent",
            applies_to=_SPECTRA,
            apply=f"{_PACKAGE}.spectra:instrument_background",
            # Of the run's largest abundance.
            parameters={"level": (0.02, 0.05, 0.12, 0.3, 0.7)},
            source=_SAM_BACKGROUND,
        ),
    )
}
"""Every corruption. Adding one takes an entry here and a function."""


def names_of(subject: Subject) -> tuple[str, ...]:
    """Names of the corruptions of images or of spectra, in the table's order."""
    return tuple(name for name, entry in CORRUPTIONS.items() if entry.applies_to is subject)


def get_corruption(name: str, subject: Subject | None = None) -> Corruption:
    """Look up a corruption.

    Args:
        name: Its name.
        subject: Images or spectra, if the corruption has to apply to them.

    Raises:
        UnknownNameError: If it is not in the table, or does not apply to the subject.
    """
    choices = CORRUPTIONS if subject is None else names_of(subject)
    if name not in choices:
        what = "corruption" if subject is None else f"corruption of {subject}"
        raise unknown_name(what, name, choices, f"All: {', '.join(choices)}.")
    return CORRUPTIONS[name]


def parse_severities(text: str) -> tuple[int, ...]:
    """Read severities separated by commas, in rising order.

    Raises:
        ConfigError: If one of them is not a severity.
    """
    words = [word.strip() for word in text.split(",") if word.strip()]
    known = {str(severity): severity for severity in SEVERITIES}
    unknown = [word for word in words if word not in known]
    if unknown or not words:
        raise ConfigError(
            f"severity={text} is not valid; expected numbers from 1 (mild) to 5 (strong).",
            "Choose severities such as severity=1,3,5.",
        )
    return tuple(sorted({known[word] for word in words}))


def parse_names(text: str, subject: Subject) -> tuple[str, ...]:
    """Read names of corruptions separated by commas, in the table's order; ``all`` is every one.

    Args:
        text: The names.
        subject: Images or spectra, to which they have to apply.

    Raises:
        UnknownNameError: If a name is not that of a corruption of the subject.
        ConfigError: If there is no name.
    """
    words = {word.strip() for word in text.split(",") if word.strip()}
    if not words:
        raise ConfigError(
            "corruption= is empty; expected names of corruptions, or all.",
            f"Choose from: all, {', '.join(names_of(subject))}.",
        )
    every = names_of(subject)
    chosen = every if "all" in words else [get_corruption(word, subject).name for word in words]
    return tuple(name for name in every if name in chosen)
