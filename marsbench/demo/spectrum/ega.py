"""Demo spectra of evolved gas analysis: a mass spectrometer watches a heated powder.

Each mineral releases its own gases at its own temperatures (`RELEASES`), each gas breaks into its
own ions (`GASES`), and two kinds of instrument record them over a background (`AMBIENT`).

Temperatures and gases follow the reviews of the Sample Analysis at Mars results: Leshin et al.
2013 (doi:10.1126/science.1238937), Ming et al. 2014 (doi:10.1126/science.1245267) and Sutter
et al. 2017 (doi:10.1002/2016JE005225); yields are ours, of the order of the published challenge
data's. Abundances of ions are rounded from electron-impact mass spectra at 70 eV in the NIST
Chemistry WebBook (https://webbook.nist.gov/chemistry/), with the natural isotopes; m/z 16 of
oxygen is as in residual gas analysers.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from marsbench.demo.spectrum.peaks import patterns, peak
from marsbench.spectra.spectrum import Floats, Instrument, Spectrum

GASES: Mapping[str, Mapping[int, float]] = MappingProxyType(
    {
        "H2": {2: 1.0, 1: 0.02},
        "H2O": {18: 1.0, 17: 0.22, 16: 0.01, 20: 0.002, 19: 0.001},
        "N2": {28: 1.0, 14: 0.10, 29: 0.007},
        "CO": {28: 1.0, 12: 0.05, 16: 0.02, 29: 0.012, 14: 0.006, 30: 0.002},
        "NO": {30: 1.0, 14: 0.075, 15: 0.024, 16: 0.015, 31: 0.004},
        "O2": {32: 1.0, 16: 0.11, 34: 0.004, 33: 0.0008},
        "H2S": {34: 1.0, 33: 0.42, 32: 0.44, 35: 0.025, 36: 0.042},
        "HCl": {36: 1.0, 38: 0.32, 35: 0.17, 37: 0.055},
        "Ar": {40: 1.0, 20: 0.15, 36: 0.003},
        "CO2": {44: 1.0, 28: 0.10, 16: 0.10, 12: 0.09, 22: 0.019, 45: 0.012, 46: 0.004},
        "SO2": {64: 1.0, 48: 0.49, 32: 0.10, 16: 0.05, 66: 0.049, 50: 0.023, 65: 0.009},
        # Residues of solvents and reagents: ions common to saturated and unsaturated chains and
        # rings.
        "organics": {
            15: 0.5,
            27: 0.6,
            29: 0.6,
            39: 0.5,
            41: 0.9,
            43: 1.0,
            55: 0.6,
            57: 0.6,
            69: 0.3,
            71: 0.25,
            78: 0.3,
            85: 0.1,
            91: 0.12,
        },
    }
)
"""Relative abundance by gas and m/z; the most abundant ion is 1."""


@dataclass(frozen=True)
class Release:
    """Release of a gas from a warming sample.

    Attributes:
        gas: A key of `GASES`.
        peak_c: Temperature of the most rapid release, degrees C.
        varies_c: Standard deviation of `peak_c` between samples.
        spread_c: Width of the release around its peak.
        amount: log10 of the height over the helium peak's.
        skew: Length of the tail as a multiple of `spread_c`; negative for a slow rise and a sharp
            end, as of a solid decomposing completely.
        chance: Share of the samples with this release.
    """

    gas: str
    peak_c: float
    varies_c: float
    spread_c: float
    amount: float
    skew: float = 0.0
    chance: float = 1.0


RELEASES: Mapping[str, tuple[Release, ...]] = MappingProxyType(
    {
        "basalt": (
            Release("CO2", 430, 50, 90, -2.5),
            Release("H2O", 290, 50, 90, -1.9, 0.8),
            Release("H2O", 820, 40, 35, -2.3, chance=0.5),
            Release("NO", 330, 60, 70, -3.8),
            Release("SO2", 1020, 60, 80, -3.6),
        ),
        "carbonate": (
            # Siderite near 500, magnesite near 600, calcite above 700.
            Release("CO2", 640, 70, 55, -1.1, -0.5),
            Release("CO2", 790, 40, 35, -1.9, -0.4, chance=0.4),
            Release("CO", 520, 40, 40, -2.4, chance=0.3),
        ),
        "chloride": (
            Release("HCl", 560, 70, 90, -2.7, 0.5),
            Release("HCl", 930, 60, 80, -2.9, chance=0.7),
            Release("H2O", 215, 30, 40, -1.5, 0.6, chance=0.8),
        ),
        "iron_oxide": (
            # Goethite and ferrihydrite lose their hydroxyl; hematite gives up oxygen when hot.
            Release("H2O", 265, 25, 32, -1.1, 0.5),
            Release("O2", 940, 60, 110, -2.4),
            Release("H2O", 380, 40, 60, -2.2, chance=0.4),
        ),
        "oxalate": (
            Release("H2O", 155, 12, 22, -0.8, 0.6),
            Release("CO", 430, 45, 24, -0.8),
            Release("CO2", 435, 45, 28, -0.9),
            Release("CO2", 680, 30, 38, -0.9, -0.3, chance=0.7),
        ),
        "oxychlorine": (
            # Hydrated magnesium and calcium perchlorates at the lower, potassium at the higher
            # temperatures.
            Release("O2", 430, 70, 30, -1.0, 0.5),
            Release("HCl", 480, 70, 50, -2.8, 0.8),
            Release("H2O", 160, 25, 30, -1.3, 0.7, chance=0.8),
        ),
        "phyllosilicate": (
            Release("H2O", 110, 20, 35, -1.7, 0.9),
            Release("H2O", 510, 60, 70, -1.6, 0.4),
            Release("H2O", 760, 45, 40, -2.1, chance=0.4),
        ),
        "silicate": (
            Release("O2", 900, 110, 170, -2.9),
            Release("CO", 880, 70, 110, -3.0),
            Release("H2O", 250, 50, 90, -2.6, 0.5),
        ),
        "sulfate": (
            Release("H2O", 180, 40, 35, -0.8, 0.9, chance=0.85),
            # Iron and aluminium sulfates, and the hotter ones of calcium and magnesium.
            Release("SO2", 640, 45, 38, -1.9, 0.3),
            Release("O2", 645, 45, 40, -2.4, 0.3),
            Release("SO2", 960, 60, 70, -2.4, chance=0.5),
        ),
        "sulfide": (
            Release("SO2", 490, 35, 35, -2.2, 0.3),
            Release("H2S", 470, 50, 45, -3.0),
            Release("CO2", 480, 60, 60, -3.3, chance=0.4),
        ),
    }
)
"""Gas releases by class."""

_EVERY_SAMPLE = (
    Release("H2O", 130, 30, 50, -2.6, 0.9),
    Release("CO2", 500, 110, 110, -3.7),
    Release("O2", 230, 100, 60, -3.5, chance=0.4),
    Release("HCl", 800, 160, 130, -4.4),
    Release("SO2", 1150, 80, 120, -4.2),
    Release("organics", 400, 90, 90, -4.6, 0.3, chance=0.5),
    Release("CO2", 330, 50, 45, -2.9, 0.2, chance=0.12),
)
"""Releases of adsorbed gases from any powder or crucible."""

AMBIENT: Mapping[Instrument, Mapping[str, float]] = MappingProxyType(
    {
        Instrument.COMMERCIAL: {
            "H2O": -1.9,
            "N2": -2.2,
            "O2": -2.3,
            "Ar": -3.9,
            "CO2": -4.3,
            "H2": -2.4,
            "HCl": -5.3,
            "SO2": -5.7,
        },
        # Flight-like plumbing keeps water, reagents and residues of earlier samples.
        Instrument.SAM_TESTBED: {
            "H2O": -0.8,
            "H2": -1.3,
            "N2": -1.5,
            "CO2": -1.5,
            "O2": -2.2,
            "SO2": -2.4,
            "organics": -2.5,
            "NO": -2.9,
            "HCl": -3.5,
            "Ar": -3.5,
        },
    }
)
"""Background by gas: log10 over the height of the commercial instrument's helium."""

_COUNTS = 1e7
"""Counts per second of the testbed for the commercial instrument's helium height."""

_DWELL_S = 0.017
"""Dwell time of the testbed per ion in seconds; its abundances are multiples of 1 / 0.017."""

_TESTBED_SHARE = 0.05
_HELIUM_SKIRT = {0: -1.9, 1: -1.7, 2: -2.2, 3: -1.9, 5: -3.0}
"""log10 of the helium peak's leak into its neighbours, in the worst tuned instruments."""


def draw(rng: Generator, names: tuple[str, ...]) -> Spectrum:
    """Draw a run of the given classes.

    Returns:
        Mostly the commercial instrument's grid of 110 to 200 scans; in one run of twenty the
        testbed's 8,000 to 12,000 ions one after the other.
    """
    if _instrument(rng) is Instrument.SAM_TESTBED:
        return _testbed(rng, names)
    return _commercial(rng, names)


def fields(rng: Generator) -> dict[str, str]:
    """Instrument of the run that `draw` draws from the same stream."""
    return {"instrument": str(_instrument(rng))}


def _instrument(rng: Generator) -> Instrument:
    """Instrument of a run, by the first number of its stream."""
    is_testbed = rng.random() < _TESTBED_SHARE
    return Instrument.SAM_TESTBED if is_testbed else Instrument.COMMERCIAL


def _commercial(rng: Generator, names: tuple[str, ...]) -> Spectrum:
    scans = int(rng.integers(110, 201))
    channels = int(rng.choice([60, 100, 200], p=[0.07, 0.83, 0.10]))
    time = np.round(np.arange(scans) * rng.uniform(9.5, 11.5) + rng.uniform(0, 2), 3)
    temp = _ramp(rng, scans, end_c=float(rng.choice([1000, 1200, 600], p=[0.8, 0.15, 0.05])))
    if rng.random() < 0.3:
        # A thermocouple jittering by about the warming from scan to scan.
        temp = temp + rng.normal(0, 3.5, scans)
    temp = np.round(temp, int(rng.integers(0, 2)))

    helium = 10 ** rng.normal(-7, 0.25)
    gases, curves = _gas_curves(rng, names, temp, Instrument.COMMERCIAL)
    ions = _tuned(rng, gases, channels)
    current = helium * (curves @ ions)
    # Adsorbed gas on the sample takes a little of the carrier's place.
    current[:, 4] += helium * (1 - np.clip(curves.sum(axis=1), 0, 3) * 0.03) * _wander(rng, scans)
    leak = 10 ** rng.uniform(-1.2, 0)
    for mz, log_share in _HELIUM_SKIRT.items():
        current[:, mz] += current[:, 4] * leak * 10**log_share
    # The amplifier's zero, a little different on each m/z and drifting with the run.
    zero = 1.7e-13 * 10 ** rng.normal(0, 0.08, channels)
    current += zero * (1 + 0.05 * (_waves(scans) @ rng.normal(0, 1, (3, channels))))
    variance = (5e-15 * current + (0.004 * current) ** 2) * 10 ** rng.normal(0, 0.15)
    current += np.sqrt(variance) * rng.standard_normal(current.shape)
    if rng.random() < 0.13:
        current -= zero * rng.uniform(0.9, 1.4)
    return Spectrum(
        time=np.repeat(time, channels),
        axis=np.repeat(temp, channels),
        mz=np.tile(np.arange(channels, dtype=np.float64), scans),
        abundance=current.ravel(),
        instrument=Instrument.COMMERCIAL,
    )


def _testbed(rng: Generator, names: tuple[str, ...]) -> Spectrum:
    channels = _testbed_channels(rng)
    # Ions of interest are revisited in every cycle, others only now and then.
    period = np.where(rng.random(len(channels)) < 0.25, rng.integers(3, 40, len(channels)), 1)
    rows = int(rng.integers(8_000, 12_001))
    cycles = int(rows / (1 / period).sum()) + 1
    _, which = np.nonzero(np.arange(cycles)[:, None] % period == 0)
    which = which[:rows]
    rows = len(which)
    time = np.round(np.cumsum(rng.choice([0.2, 0.22, 0.4], rows, p=[0.6, 0.3, 0.1])), 2)
    temp = _ramp(rng, rows, end_c=1050)
    temp = np.round(np.maximum(temp - temp[0] + rng.normal(0, 0.08, rows), 0), 1)

    nominal = np.round(channels).astype(int)
    gases, curves = _gas_curves(rng, names, temp, Instrument.SAM_TESTBED)
    ions = _tuned(rng, gases, int(nominal.max()) + 1)[:, nominal]
    # A quadrupole's peaks are flat on top: a tenth of a unit off the centre loses little.
    ions *= np.exp(-((np.abs(channels - nominal) / 0.4) ** 4))
    rate = _COUNTS * np.einsum("pg,gp->p", curves, ions[:, which])
    # Heavy reagent fragments give every ion above the lightest some counts.
    chemical = np.where(channels > 11, 10 ** rng.normal(2.0, 0.6, len(channels)), 3.0)
    rate += (chemical * np.exp(-channels / 150))[which]
    rate *= 1 + 0.01 * rng.standard_normal(rows)
    counts = rng.poisson(np.maximum(rate, 0) * _DWELL_S)
    return Spectrum(
        time=time,
        axis=temp,
        mz=channels[which],
        abundance=np.round(counts / _DWELL_S, 1),
        instrument=Instrument.SAM_TESTBED,
    )


def _testbed_channels(rng: Generator) -> Floats:
    """m/z measured by the testbed in a run: no helium; in half of the runs tenths of a unit."""
    integers = np.setdiff1d(np.arange(2, int(rng.integers(90, 151))), (3, 4)).astype(np.float64)
    if rng.random() < 0.5:
        return integers
    tenths = np.array([1.9, 11.1, 12.1, 31.9, 43.9, 63.8, 63.9, 64.1])
    # Always the first, so that the run has at least one.
    chosen = tenths[(rng.random(len(tenths)) < 0.7) | (tenths == tenths[0])]
    return np.sort(np.concatenate([integers, chosen]))


def _ramp(rng: Generator, steps: int, end_c: float) -> Floats:
    """Temperature at equal steps of time: the oven lags at first, then warms evenly."""
    start = float(rng.choice([30, -50], p=[0.95, 0.05])) + rng.uniform(0, 10)
    end = end_c + rng.normal(0, 8)
    x = np.linspace(0, 1, steps)
    lag = rng.uniform(0.01, 0.04)
    warmed = x - lag * (1 - np.exp(-x / lag))
    warmed += rng.normal(0, 0.006) * np.sin(2 * np.pi * x)
    temp: Floats = start + (end - start) * warmed / warmed[-1]
    return temp


def _gas_curves(
    rng: Generator, names: tuple[str, ...], temp: Floats, instrument: Instrument
) -> tuple[list[str], Floats]:
    """Amount of each gas at each temperature, relative to helium's peak.

    Args:
        names: The classes in the sample.
        temp: Degrees C in order of time, (P,).
        instrument: The instrument, which decides the background.

    Returns:
        Names of G gases, and their curves (P, G).
    """
    # A mixture shares one crucible: the more kinds in it, the less of each.
    total = rng.normal(0, 0.25) - 0.25 * np.log10(max(len(names), 1))
    held: list[Release] = []
    heights: list[float] = []
    centres: list[float] = []
    for name in (*names, None):
        family = rng.normal(0, 0.25) + (total if name else 0.0)
        for release in RELEASES[name] if name else _EVERY_SAMPLE:
            if rng.random() >= release.chance:
                continue
            height = 10 ** (release.amount + family + rng.normal(0, 0.2))
            centre = release.peak_c + rng.normal(0, release.varies_c)
            # Grains and phases differ, so that an apparent release is often several.
            for share in rng.dirichlet(np.full(rng.integers(1, 5), 1.5)):
                held.append(release)
                heights.append(height * share)
                centres.append(centre + rng.normal(0, 0.6) * release.spread_c)
    spread = np.array([release.spread_c * 10 ** rng.normal(-0.08, 0.12) for release in held])
    skew = np.array([release.skew + rng.normal(0, 0.15) for release in held])
    released = peak(temp, np.array(centres), spread, skew * spread) * np.array(heights)
    if instrument is Instrument.SAM_TESTBED:
        # Its background is a hundred times higher, and its signals are only a few times higher.
        released *= 0.5

    gases = list(GASES)
    source = np.array([gases.index(release.gas) for release in held])
    curves = released @ np.eye(len(gases))[source]
    curves *= _flicker(rng, *curves.shape)
    for gas, level in AMBIENT[instrument].items():
        # Gas still to be pumped off fades during the run.
        fading = 1 + rng.uniform(0, 0.5) * np.exp(-np.linspace(0, 1, len(temp)) / 0.3)
        height = 10 ** (level + rng.normal(0, 0.3))
        curves[:, gases.index(gas)] += height * fading * _wander(rng, len(temp))
    return gases, curves


def _tuned(rng: Generator, gases: list[str], mz_end: int) -> Floats:
    """Fragment patterns as recorded by an instrument, (G, mz_end)."""
    ions = patterns([GASES[gas] for gas in gases], mz_end)
    # Tuning tilts transmission over the mass range; sources differ in how they break a gas.
    tilt = np.exp(rng.normal(0, 0.2) * (np.arange(mz_end) - 40) / 40)
    tuned: Floats = ions * tilt * 10 ** rng.normal(0, 0.06, ions.shape)
    return tuned


def _waves(steps: int) -> NDArray[np.float64]:
    """Slow changes over a run, the slowest with the largest amplitude, (steps, 3)."""
    order = np.arange(1, 4)
    return np.cos(np.pi * np.linspace(0, 1, steps)[:, None] * order) / order


def _flicker(rng: Generator, steps: int, curves: int) -> Floats:
    """Quick ups and downs around 1 from gas leaving in small bursts, (steps, curves)."""
    knots = np.exp(0.05 * rng.standard_normal((70, curves)))
    at = np.linspace(0, 69, steps)
    before = np.minimum(at.astype(int), 68)
    part = (at - before)[:, None]
    flicker: Floats = knots[before] * (1 - part) + knots[before + 1] * part
    return flicker


def _wander(rng: Generator, steps: int) -> Floats:
    """Slow drift around 1, (steps,)."""
    drift: Floats = np.exp(0.05 * (_waves(steps) @ rng.normal(0, 1, 3)))
    return drift
