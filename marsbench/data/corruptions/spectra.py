"""Corruptions of mass spectra: of the points, before any image or feature is made of them."""

import dataclasses

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from marsbench.spectra.presets import HELIUM
from marsbench.spectra.spectrum import Floats, Spectrum

SEGMENTS = 100
"""Number of equal parts of a run's time, each kept or dropped."""

NUM_IONS = 1000
"""Number of ions with a drawing of their own; m/z beyond share them."""

BACKGROUND = {
    2: 0.15,  # hydrogen
    12: 0.03,
    14: 0.06,
    15: 0.04,
    16: 0.08,
    17: 0.23,  # water
    18: 1.0,  # water
    28: 0.5,  # nitrogen and carbon monoxide
    29: 0.03,
    32: 0.08,  # oxygen
    40: 0.03,  # argon
    41: 0.04,
    43: 0.06,  # hydrocarbons
    44: 0.35,  # carbon dioxide
    55: 0.04,
    57: 0.05,
    73: 0.1,
    75: 0.25,  # silylated water of the derivatisation agent
    127: 0.05,
    147: 0.2,  # twice silylated water
}
"""Abundances of the instrument's own ions by m/z, relative to water.

The ions of residual air and water, and of the products of the derivatisation agent MTBSTFA that
leaked in SAM; the numbers are rounded and ours."""


def baseline_drift(spectrum: Spectrum, rng: Generator, *, level: float) -> Spectrum:
    """Add to each ion a slow curve over the run, up to `level` times its largest abundance.

    Args:
        spectrum: The measurement.
        rng: Draws the curves: half a wave to a wave and a half, with a trend.
        level: Height of the curve.
    """
    draws = rng.random((3, NUM_IONS))
    ion = _ions(spectrum)
    place = _places(spectrum.time)
    waves, phase, trend = 0.5 + draws[0, ion], draws[1, ion], draws[2, ion]
    wave = 0.5 + 0.5 * np.sin(2 * np.pi * (waves * place + phase))
    curve = 0.5 * wave + 0.5 * np.where(trend < 0.5, place, 1.0 - place)
    return _with(spectrum, spectrum.abundance + level * _largest(spectrum)[ion] * curve)


def mass_shift(spectrum: Spectrum, rng: Generator, *, share: float) -> Spectrum:
    """Count a share of each ion as the next ion, up or down: the mass scale has shifted.

    Files list whole masses; a shift of the scale moves part of a peak over the border between two.
    Helium, the carrier gas, stays.

    Args:
        spectrum: The measurement.
        rng: Draws the direction of the measurement.
        share: Share that moves.
    """
    direction = 1.0 if rng.random() < 0.5 else -1.0
    # A thousandth of the carrier gas would outshine the sample.
    moving = np.where(_ions(spectrum) == HELIUM, 0.0, share)
    time = np.tile(spectrum.time, 2)
    axis = np.tile(spectrum.axis, 2)
    mz = np.concatenate([spectrum.mz, np.maximum(spectrum.mz + direction, 0.0)])
    value = np.concatenate([(1.0 - moving) * spectrum.abundance, moving * spectrum.abundance])
    order = np.lexsort((mz, axis, time))
    time, axis, mz, value = time[order], axis[order], mz[order], value[order]
    # Points of the same ion at the same time add up.
    first = np.r_[True, (np.diff(time) != 0) | (np.diff(axis) != 0) | (np.diff(mz) != 0)]
    starts = np.flatnonzero(first)
    return dataclasses.replace(
        spectrum,
        time=time[starts],
        axis=axis[starts],
        mz=mz[starts],
        abundance=np.add.reduceat(value, starts),
    )


def row_gain(spectrum: Spectrum, rng: Generator, *, stops: float) -> Spectrum:
    """Multiply each ion by 2^n, n normal with a standard deviation of `stops`."""
    factors = 2.0 ** (stops * rng.standard_normal(NUM_IONS))
    return _with(spectrum, spectrum.abundance * factors[_ions(spectrum)])


def dropped_scans(spectrum: Spectrum, rng: Generator, *, share: float) -> Spectrum:
    """Drop the points of a share of `SEGMENTS` equal parts of the run's time.

    Args:
        spectrum: The measurement.
        rng: Draws the parts; those of a severity are among those of the stronger ones.
        share: Share of the parts that hold points.
    """
    segment = np.minimum(SEGMENTS * _places(spectrum.time), SEGMENTS - 1).astype(np.int64)
    order = rng.permutation(SEGMENTS)
    order = order[np.isin(order, segment)]
    dropped = order[: min(round(share * len(order)), len(order) - 1)]
    kept = ~np.isin(segment, dropped)
    return dataclasses.replace(
        spectrum,
        time=spectrum.time[kept],
        axis=spectrum.axis[kept],
        mz=spectrum.mz[kept],
        abundance=spectrum.abundance[kept],
    )


def instrument_background(spectrum: Spectrum, rng: Generator, *, level: float) -> Spectrum:
    """Add the ions of `BACKGROUND` to the measured ones, up to `level` of the run's largest.

    Args:
        spectrum: The measurement.
        rng: Draws when in the run the background falls, as the instrument is flushed and heated.
        level: Abundance of water in the background, relative to the largest of the run
            without helium, the carrier gas.
    """
    relative = np.zeros(NUM_IONS)
    relative[list(BACKGROUND)] = list(BACKGROUND.values())
    start, end = rng.uniform(0.5, 1.0, 2)
    place = _places(spectrum.time)
    curve = start + (end - start) * place
    measured = np.where(_ions(spectrum) == HELIUM, 0.0, np.abs(spectrum.abundance))
    height = level * measured.max(initial=0.0)
    added = height * relative[_ions(spectrum)] * curve
    return _with(spectrum, spectrum.abundance + added)


def _with(spectrum: Spectrum, abundance: Floats) -> Spectrum:
    return dataclasses.replace(spectrum, abundance=abundance)


def _ions(spectrum: Spectrum) -> NDArray[np.int64]:
    """Nearest whole m/z of each point, (P,), at most `NUM_IONS` - 1."""
    return np.clip(np.rint(spectrum.mz), 0, NUM_IONS - 1).astype(np.int64)


def _places(time: Floats) -> Floats:
    """Times as shares of the run, (P,)."""
    places: Floats = (time - time[0]) / ((time[-1] - time[0]) or 1.0)
    return places


def _largest(spectrum: Spectrum) -> Floats:
    """Largest magnitude of each ion, (NUM_IONS,); 0 of ions without points."""
    largest = np.zeros(NUM_IONS)
    np.maximum.at(largest, _ions(spectrum), np.abs(spectrum.abundance))
    return largest
