"""Demo spectra of gas chromatography: a column separates, a mass spectrometer breaks up.

A compound leaves the column after a time linear in its retention index (100 per carbon atom of
the straight alkane leaving with it; Kovats 1958, Helv. Chim. Acta 41, 1915) and shows the ions of
its family. Indices, for a column separating by boiling point, and abundances of ions are rounded
from or modelled on the electron-impact spectra at 70 eV of the NIST Chemistry WebBook
(https://webbook.nist.gov/chemistry/); chlorine and sulfur show their isotopes. Silylated acids,
alcohols and amines carry trimethylsilyl groups (TMS, 72 units more each), visible in m/z 73 and
75 and in the loss of a methyl group.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.random import Generator

from marsbench.demo.spectrum.peaks import patterns, peak
from marsbench.spectra.spectrum import Floats, Spectrum

Ions = Mapping[int, float]


@dataclass(frozen=True)
class Compound:
    """Substance on the column.

    Attributes:
        index: Kovats retention index.
        ions: m/z to abundance, the most abundant about 1.
        width: Width of its peak as a multiple of an ordinary peak's.
    """

    index: float
    ions: Ions
    width: float = 1.0


def _alkane(carbons: int, derivatized: bool) -> Compound:
    """Straight alkane: C3H7+ and its CH2 homologues, with falling abundance."""
    ions = {29: 0.3, 41: 0.4, 55: 0.25, 69: 0.1, 83: 0.05, 14 * carbons + 2: 0.05}
    for n, share in zip(range(3, carbons - 1), (0.85, 1.0, 0.65, 0.42, 0.15), strict=False):
        ions[14 * n + 1] = share
    for n in range(8, carbons - 1):
        ions[14 * n + 1] = 0.1 * 0.85 ** (n - 8)
    return Compound(100.0 * carbons, ions)


def _acid(carbons: int, derivatized: bool) -> Compound:
    """Fatty acid: m/z 60 by rearrangement; its TMS ester M-15 and 117."""
    if derivatized:
        mass = 14 * carbons + 104
        ions = {73: 0.9, 75: 0.7, 117: 0.75, 129: 0.35, 132: 0.3, 145: 0.2, 55: 0.3, 43: 0.3}
        return Compound(100.0 * carbons + 250, {**ions, mass - 15: 1.0, mass: 0.06})
    mass = 14 * carbons + 32
    ions = {60: 0.9, 73: 1.0, 43: 0.7, 41: 0.6, 55: 0.5, 57: 0.4, 129: 0.25, mass: 0.15}
    return Compound(100.0 * carbons + 370, ions, width=1.7)


def _alcohol(carbons: int, derivatized: bool) -> Compound:
    """Primary or secondary alcohol: m/z 31 or 45, loss of water; its TMS ether M-15."""
    mass = 14 * carbons + 18
    if derivatized:
        ions = {75: 0.9, 73: 0.5, 103: 0.35, 89: 0.12, 55: 0.2, 43: 0.2, mass + 57: 1.0}
        return Compound(100.0 * carbons + 290, ions)
    head = 31 if carbons % 2 else 45
    ions = {head: 1.0, 41: 0.6, 43: 0.6, 55: 0.6, 56: 0.6, 69: 0.4, 27: 0.3}
    return Compound(100.0 * carbons + 270, {**ions, mass - 18: 0.12}, width=1.4)


def _amine_or_nitrile(carbons: int, derivatized: bool) -> Compound:
    """Amine: m/z 30 and 44, silylated twice 174; every second compound is a nitrile.

    One nitrogen turns the usual parity of fragments around, hence many even masses.
    """
    if carbons % 2:
        ions = {41: 1.0, 43: 0.6, 54: 0.4, 55: 0.5, 82: 0.4, 96: 0.4, 97: 0.6, 110: 0.4, 124: 0.2}
        return Compound(100.0 * carbons + 290, ions)
    mass = 14 * carbons + 17
    if derivatized:
        ions = {174: 1.0, 73: 0.4, 86: 0.25, 100: 0.1, 59: 0.1, mass + 129: 0.15}
        return Compound(100.0 * carbons + 500, ions)
    ions = {30: 1.0, 44: 0.3, 28: 0.15, 41: 0.15, 72: 0.08, 86: 0.08, mass: 0.03}
    return Compound(100.0 * carbons + 180, ions, width=1.8)


def _chloroalkane(carbons: int, derivatized: bool) -> Compound:
    """Chloroalkane; long chains form a ring with the chlorine: m/z 91, and 93 a third as high."""
    ions = {91: 1.0, 93: 0.32, 43: 0.6, 55: 0.6, 41: 0.6, 57: 0.35, 69: 0.4, 105: 0.1, 107: 0.03}
    return Compound(100.0 * carbons + 260, ions)


def _thiol(carbons: int, derivatized: bool) -> Compound:
    """Thiol: CH2SH+ at m/z 47, loss of H2S; one sulfur atom in 23 is two units heavier."""
    mass = 14 * carbons + 34
    ions = {47: 0.5, 61: 0.35, 41: 0.8, 43: 0.7, 55: 0.9, 56: 0.9, 69: 0.4, mass - 34: 0.4}
    return Compound(100.0 * carbons + 230, {**ions, mass: 0.35, mass + 2: 0.0155})


def _ketone_or_ester(carbons: int, derivatized: bool) -> Compound:
    """2-Ketone: m/z 43 and 58; every second compound is a methyl ester: 74 and 87."""
    mass = 14 * carbons + 16
    if carbons % 2:
        ions = {43: 0.9, 58: 1.0, 59: 0.25, 71: 0.25, 41: 0.3, 85: 0.08, mass: 0.06}
        return Compound(100.0 * carbons + 190, ions)
    ions = {74: 1.0, 87: 0.6, 43: 0.35, 55: 0.3, 41: 0.3, 59: 0.2, mass - 15: 0.08, mass + 16: 0.06}
    return Compound(100.0 * carbons + 220, ions)


@dataclass(frozen=True)
class CompoundFamily:
    """Compounds of a class.

    Attributes:
        single: Compounds that occur alone.
        series: For homologous series, a function of carbon count and silylation to compound.
        carbons: Fewest and most carbon atoms of the series.
        in_series: Share of the samples with a series.
    """

    single: tuple[Compound, ...] = ()
    series: Callable[[int, bool], Compound] | None = None
    carbons: tuple[int, int] = (8, 18)
    in_series: float = 0.7


FAMILIES: Mapping[str, CompoundFamily] = MappingProxyType(
    {
        "aromatic": CompoundFamily(
            single=(
                Compound(654, {78: 1, 77: 0.25, 52: 0.19, 51: 0.18, 50: 0.15, 39: 0.1}),
                Compound(763, {91: 1, 92: 0.62, 65: 0.12, 39: 0.11, 63: 0.07, 51: 0.07}),
                Compound(866, {91: 1, 106: 0.55, 105: 0.25, 77: 0.12, 51: 0.08, 39: 0.08}),
                Compound(890, {104: 1, 103: 0.48, 78: 0.48, 51: 0.27, 77: 0.2, 50: 0.12}),
                Compound(990, {105: 1, 120: 0.5, 119: 0.12, 77: 0.12, 91: 0.1, 39: 0.08}),
                Compound(1182, {128: 1, 127: 0.13, 129: 0.11, 102: 0.08, 51: 0.08, 64: 0.07}),
                Compound(1380, {154: 1, 153: 0.4, 152: 0.28, 76: 0.18, 77: 0.1}),
                Compound(1780, {178: 1, 176: 0.19, 179: 0.15, 152: 0.09, 76: 0.09, 89: 0.08}),
            ),
        ),
        "hydrocarbon": CompoundFamily(series=_alkane, carbons=(7, 22), in_series=1.0),
        "carboxylic_acid": CompoundFamily(series=_acid, carbons=(5, 17), in_series=1.0),
        "nitrogen_bearing_compound": CompoundFamily(
            single=(
                Compound(740, {79: 1, 52: 0.7, 51: 0.33, 50: 0.22, 78: 0.11}, width=1.5),
                Compound(750, {67: 1, 39: 0.5, 41: 0.45, 40: 0.4, 38: 0.15}),
                Compound(500, {41: 1, 40: 0.52, 39: 0.19, 38: 0.1, 42: 0.03}),
                Compound(770, {73: 1, 44: 0.88, 42: 0.35, 30: 0.25, 28: 0.2}, width=1.5),
            ),
            series=_amine_or_nitrile,
            carbons=(6, 15),
        ),
        "chlorine_bearing_compound": CompoundFamily(
            single=(
                Compound(345, {50: 1, 52: 0.32, 15: 0.6, 49: 0.1, 47: 0.07, 51: 0.03}),
                Compound(515, {49: 1, 51: 0.32, 84: 0.64, 86: 0.41, 88: 0.07, 47: 0.15}),
                Compound(612, {83: 1, 85: 0.64, 87: 0.1, 47: 0.3, 48: 0.1, 118: 0.02}),
                Compound(665, {117: 1, 119: 0.96, 121: 0.31, 82: 0.24, 84: 0.16, 47: 0.2}),
                Compound(812, {166: 1, 164: 0.78, 168: 0.48, 129: 0.7, 131: 0.68, 94: 0.4}),
            ),
            series=_chloroalkane,
            carbons=(6, 14),
            in_series=0.4,
        ),
        "sulfur_bearing_compound": CompoundFamily(
            single=(
                Compound(420, {47: 1, 48: 0.93, 45: 0.6, 46: 0.15, 50: 0.041}),
                Compound(540, {76: 1, 78: 0.09, 44: 0.17, 32: 0.2}),
                Compound(670, {84: 1, 86: 0.044, 58: 0.6, 45: 0.5, 39: 0.25}),
                Compound(740, {94: 1, 96: 0.09, 79: 0.6, 45: 0.65, 47: 0.25, 46: 0.25}),
                Compound(970, {126: 1, 128: 0.13, 79: 0.55, 45: 0.4, 47: 0.25, 64: 0.15}),
                Compound(
                    2030, {64: 1, 66: 0.09, 160: 0.6, 128: 0.5, 192: 0.35, 256: 0.3, 96: 0.15}
                ),
            ),
            series=_thiol,
            carbons=(5, 13),
            in_series=0.3,
        ),
        "alcohol": CompoundFamily(series=_alcohol, carbons=(4, 16), in_series=1.0),
        "other_oxygen_bearing_compound": CompoundFamily(
            single=(
                Compound(490, {43: 1, 58: 0.4, 42: 0.07, 27: 0.08}),
                Compound(500, {68: 1, 39: 0.65, 40: 0.1, 29: 0.1}),
                Compound(625, {42: 1, 41: 0.5, 72: 0.35, 71: 0.3, 43: 0.2}),
            ),
            series=_ketone_or_ester,
            carbons=(5, 17),
        ),
        # Inorganic gases pass the column almost unheld, in broad, tailing bands.
        "mineral": CompoundFamily(
            single=(
                Compound(150, {44: 1, 28: 0.1, 16: 0.1, 12: 0.09, 22: 0.02, 45: 0.012}, width=4),
                Compound(230, {64: 1, 48: 0.49, 32: 0.1, 16: 0.05, 66: 0.049, 50: 0.023}, width=4),
                Compound(280, {18: 1, 17: 0.22, 16: 0.01}, width=8),
                Compound(200, {36: 1, 38: 0.32, 35: 0.17, 37: 0.055}, width=5),
                Compound(120, {30: 1, 14: 0.075, 15: 0.024}, width=4),
            ),
        ),
    }
)
"""Compounds by class."""

_STRAY = (
    # Plasticiser of tubes and septa, and rings that the column itself sheds.
    Compound(1870, {149: 1, 150: 0.09, 57: 0.2, 223: 0.06, 205: 0.05}),
    Compound(820, {207: 1, 208: 0.2, 96: 0.1, 191: 0.08}),
    Compound(995, {281: 1, 282: 0.25, 73: 0.4, 265: 0.1}),
    Compound(1160, {73: 1, 355: 0.6, 267: 0.5, 356: 0.2}),
    Compound(140, {44: 1, 28: 0.12, 16: 0.1, 12: 0.09}, width=3),
)
"""Stray compounds of any run, whatever the sample."""

_REAGENT = (
    Compound(790, {147: 1, 73: 0.7, 66: 0.2, 148: 0.15, 131: 0.1}, width=3),
    Compound(880, {73: 0.8, 75: 0.4, 147: 1, 77: 0.3, 59: 0.2}, width=3),
    Compound(690, {73: 0.6, 184: 0.5, 77: 1, 69: 0.3, 110: 0.3}, width=3),
)
"""Residues of a silylating agent."""

_BLEED: Ions = {207: 1.0, 281: 0.35, 73: 0.3, 208: 0.2, 209: 0.14, 96: 0.12, 133: 0.1, 355: 0.06}
"""Siloxanes of the column, released as the oven gets hot."""

_AIR: Ions = {28: 1.0, 32: 0.25, 18: 0.6, 17: 0.13, 14: 0.1, 40: 0.02, 44: 0.03, 16: 0.05}

_DERIVATIZED_SHARE = 0.3
_MINUTES = 25.0
_DETECTED = 60.0
"""Detection limit in counts; smaller points are not written."""


def draw(rng: Generator, names: tuple[str, ...]) -> Spectrum:
    """Draw a run of the given classes.

    Returns:
        About 25 minutes in 260 to 340 scans, with only the points above the detection limit;
        time and axis are both in minutes.
    """
    derivatized = bool(rng.random() < _DERIVATIZED_SHARE)
    scans = int(rng.integers(260, 341))
    mz_end = int(rng.choice([301, 351, 401]))
    # A random point in every interval: time rises unevenly.
    end = _MINUTES - rng.uniform(0, 1)
    time = np.round((np.arange(scans) + rng.uniform(0.3, 0.7, scans)) / scans * end, 4)

    compounds, heights = _mixture(rng, names, derivatized)
    counts = _eluted(rng, time, compounds, heights, mz_end)
    counts += _carrier(rng, time, mz_end)
    counts *= 1 + 0.03 * rng.standard_normal((scans, 1))
    counts += np.sqrt(20 * counts + 15.0**2) * rng.standard_normal(counts.shape)

    scan, mz = np.nonzero(counts > _DETECTED)
    mass = mz.astype(np.float64)
    if rng.random() < 0.25:
        # Some files write tenths: organic ions are heavier than whole by half a unit in 1,000.
        mass = np.round(mass * 1.0005 + rng.normal(0, 0.04), 1).clip(0)
    return Spectrum(
        time=time[scan],
        axis=time[scan],
        mz=mass,
        abundance=np.round(counts[scan, mz]),
        derivatized=derivatized,
    )


def _mixture(
    rng: Generator, names: tuple[str, ...], derivatized: bool
) -> tuple[list[Compound], list[float]]:
    """Compounds on the column, and the heights of their peaks in counts."""
    compounds: list[Compound] = []
    heights: list[float] = []

    def add(chosen: list[Compound], level: float) -> None:
        compounds.extend(chosen)
        heights.extend(10 ** rng.normal(level, 0.35, len(chosen)))

    for name in names:
        # A class may be present and still be faint.
        add(_members(rng, FAMILIES[name], derivatized), rng.normal(5.4, 0.4))
    for name, family in FAMILIES.items():
        # Traces too faint for an analyst to name.
        if name not in names and rng.random() < 0.12:
            add(_members(rng, family, derivatized)[:2], rng.normal(3.7, 0.3))
    add([compound for compound in _STRAY if rng.random() < 0.6], 4.0)
    if derivatized:
        add(list(_REAGENT), 5.6)
    return compounds, heights


def _members(rng: Generator, family: CompoundFamily, derivatized: bool) -> list[Compound]:
    """Compounds of a family in a sample."""
    members: list[Compound] = []
    if family.series and rng.random() < family.in_series:
        fewest, most = family.carbons
        length = int(rng.integers(2, 7))
        first = int(rng.integers(fewest, most - length + 2))
        members += [family.series(first + n, derivatized) for n in range(length)]
    if family.single:
        count = int(rng.integers(0 if members else 1, min(4, len(family.single) + 1)))
        members += [
            family.single[which]
            for which in rng.choice(len(family.single), size=count, replace=False)
        ]
    return members


def _eluted(
    rng: Generator, time: Floats, compounds: list[Compound], heights: list[float], mz_end: int
) -> Floats:
    """Counts of the eluted compounds, (scans, mz_end)."""
    index = np.array([compound.index for compound in compounds])
    width = np.array([compound.width for compound in compounds])
    # Ovens differ in where they start and how fast they heat.
    per_carbon = rng.normal(1.02, 0.05)
    start = rng.normal(1.3, 0.2)
    centre = start + per_carbon * (index + rng.normal(0, 12, len(index))) / 100
    spread = (0.05 + 0.0025 * centre) * width * 10 ** rng.normal(0, 0.08, len(index))
    tail = spread * np.abs(rng.normal(0.6, 0.4, len(index)))
    profiles = peak(time, centre, spread, tail) * np.array(heights)
    ions = patterns([compound.ions for compound in compounds], mz_end)
    ions *= 10 ** rng.normal(0, 0.08, ions.shape)
    # Of every hundred carbon atoms one is heavier: each ion has a shadow at one unit more.
    ions[:, 1:] += ions[:, :-1] * (0.0007 * np.arange(mz_end - 1))
    eluted: Floats = profiles @ ions
    return eluted


def _carrier(rng: Generator, time: Floats, mz_end: int) -> Floats:
    """Counts of helium, leaked air and column bleed, (scans, mz_end)."""
    part = time / time[-1]
    air = 10 ** rng.normal(3.6, 0.3) * (1 + 3 * np.exp(-time / rng.uniform(0.5, 2)))
    hot = 10 ** rng.normal(3.6, 0.4) / (1 + np.exp(-(part - 0.85) / 0.06))
    organic = 10 ** rng.normal(1.6, 0.2) * (0.4 + part**2)
    chain = np.exp(-np.arange(mz_end) / 80) * (np.arange(mz_end) > 11)
    helium = np.full(len(time), 10 ** rng.normal(5.7, 0.15))
    shapes = patterns([{4: 1.0, 5: 0.002}, _AIR, _BLEED], mz_end)
    carrier: Floats = np.stack([helium, air, hot], axis=1) @ shapes
    carrier += organic[:, None] * chain * rng.gamma(4.0, 0.25, mz_end)
    return carrier
