"""Rasteriser: from a spectrum to an image whose rows are ions.

`prepare` runs the deterministic part once per sample, to be cached: it selects the ions, subtracts
backgrounds, and returns the cells of the image or, for images drawn scan by scan, all scans with
their background. `draw` makes an image from the result: the same image in evaluation, a new one at
every visit in training.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from marsbench.base.errors import DataError
from marsbench.spectra import background
from marsbench.spectra.presets import HELIUM, Cell, RasterSpec, Scale
from marsbench.spectra.spectrum import Floats, Spectrum

Image = NDArray[Any]
"""float32 array."""

VERSION = 1
"""Part of the cache's key. Raise after any change of the values from `prepare` or `draw`."""

SWEPT = 0.5
"""Share of distinct times among the points above which ions are measured one after the other."""

SWEEP = 4.0
"""Width in degrees C over which the points of such a run are averaged, as in the first place."""

QUANTILES = (0.001, 0.05, 0.1, 0.2)
"""Quantiles of a row mixed by `Change.backgrounds`."""

_FAINTEST = 1e-12

_DEEPEST = -1e30
"""Least intensity of a run whose largest is 1: float32 and its sums stay finite."""


@dataclass(frozen=True)
class Ions:
    """Points of a spectrum inside the image's rows, in the order of the file.

    Attributes:
        row: Row of each point, int64 (P,).
        axis: Position along the columns, (P,).
        time: Time, (P,).
        value: Abundance, (P,).
    """

    row: NDArray[np.int64]
    axis: Floats
    time: Floats
    value: Floats


def ions(spectrum: Spectrum, spec: RasterSpec) -> Ions:
    """Select the points close to an integer m/z with a row.

    Points with the same time and row, such as m/z 17.9 and 18.1, are averaged.

    Raises:
        DataError: If no point remains.
    """
    nearest = np.rint(spectrum.mz)
    kept = (nearest < spec.rows) & ~np.isin(nearest, spec.ignored)
    if spec.tolerance == 0:
        kept &= spectrum.mz == nearest
    elif spec.tolerance < 0.5:
        kept &= np.abs(spectrum.mz - nearest) < spec.tolerance
    kept &= (spectrum.axis > spec.low) & (spectrum.axis < spec.high)
    if not kept.any():
        raise DataError(
            f"{spectrum.where} has no point inside the raster {spec.name} (m/z below "
            f"{spec.rows}, {spec.low:g} to {spec.high:g}).",
            "Remove the sample, or choose another raster.",
        )
    row = nearest[kept].astype(np.int64)
    points = Ions(row, spectrum.axis[kept], spectrum.time[kept], spectrum.abundance[kept])
    same_time = np.diff(points.time) == 0
    if (np.diff(row)[same_time] > 0).all():  # a scan lists each ion once, in rising order
        return points
    order = np.lexsort((points.row, points.time))
    row, time = points.row[order], points.time[order]
    starts = np.flatnonzero(np.concatenate([[True], (np.diff(row) != 0) | (np.diff(time) != 0)]))
    if len(starts) == len(row):
        return points
    counts = np.diff(np.append(starts, len(row)))
    value = np.add.reduceat(points.value[order], starts) / counts
    return Ions(row[starts], points.axis[order][starts], time[starts], value)


def prepare(spectrum: Spectrum, spec: RasterSpec) -> Image:
    """Run the deterministic part: selection, binning, background, scaling.

    Args:
        spectrum: The spectrum.
        spec: The raster.

    Returns:
        For `Cell.SCAN`, float32 (1 + 2 M, S): the axis of the S scans, the intensities of the M
        ions, and their backgrounds. Otherwise float32 (M, T): the cells, or the parts of cells (NaN
        without points), half a column more on either side. The largest intensity of the run is 1.
        Empty cells and unmeasured ions are 0.
    """
    points = ions(spectrum, spec)
    value = points.value
    if spec.minimum:
        least = np.full(spec.rows, np.inf)
        np.minimum.at(least, points.row, value)
        value = value - least[points.row]
    largest = value.max()
    with np.errstate(over="ignore"):
        value = np.maximum(value / (largest if largest > 0 else 1.0), _DEEPEST)
    axis = points.axis
    if spec.is_relative:
        span = axis.max() - axis.min()
        axis = (axis - axis.min()) / (span or 1.0)
    if spec.cell is Cell.SCAN:
        places, curves = _scans(points.row, axis, points.time, value, spec.rows)
        base = background.estimate(curves) if spec.background else np.zeros_like(curves)
        return np.concatenate([places[None], curves, base]).astype(np.float32)
    # Half a column more on either side, for edges that move.
    beside = spec.fine // 2
    columns = spec.columns * spec.fine + 2 * beside
    edges = spec.start + spec.width / spec.fine * (np.arange(columns + 1) - beside)
    column = np.searchsorted(edges, axis, side="left" if spec.ends else "right") - 1
    if spec.is_relative:
        column = np.minimum(column, columns - 1)  # the right edge belongs to the last column
    inside = (column >= 0) & (column < columns)
    cell = points.row[inside] * columns + column[inside]
    number = spec.rows * columns
    cells: NDArray[Any] = np.zeros(number)
    if spec.cell is Cell.MAXIMUM:
        np.maximum.at(cells, cell, value[inside])
    else:
        cells = np.bincount(cell, weights=value[inside], minlength=number)
        if spec.cell is Cell.MEAN:
            counts = np.bincount(cell, minlength=number)
            cells = cells / np.maximum(counts, 1)
            if spec.fine > 1:
                cells[counts == 0] = np.nan
    return cells.reshape(spec.rows, columns).astype(np.float32)


def _scans(
    row: NDArray[np.int64], axis: Floats, time: Floats, value: Floats, num_rows: int
) -> tuple[Floats, Floats]:
    """Group points into scans: their positions (S,), and intensities by ion (M, S)."""
    times, scan = np.unique(time, return_inverse=True)
    if len(times) > SWEPT * len(time):
        # Ions measured in turn: points near in temperature form a scan.
        _, scan = np.unique(np.floor(axis / SWEEP), return_inverse=True)
    num_scans = int(scan.max()) + 1
    cell = row * num_scans + scan
    shape = (num_rows, num_scans)
    counts = np.bincount(cell, minlength=num_rows * num_scans).reshape(shape)
    sums = np.bincount(cell, weights=value, minlength=num_rows * num_scans).reshape(shape)
    places = np.bincount(scan, weights=axis) / np.bincount(scan)
    curves = sums / np.maximum(counts, 1)
    gaps = (counts == 0) & (counts > 0).any(axis=1, keepdims=True)
    order = np.argsort(places, kind="stable")
    for i in np.flatnonzero(gaps.any(axis=1)):
        known = order[counts[i, order] > 0]
        curves[i, gaps[i]] = np.interp(places[gaps[i]], places[known], curves[i, known])
    return places, curves


def draw(
    prepared: Image,
    spec: RasterSpec,
    rng: Generator | None = None,
    other: Image | None = None,
    *,
    derivatized: bool | None = None,
) -> Image:
    """Make an image from a prepared sample.

    Args:
        prepared: Result of `prepare`.
        spec: The raster.
        rng: Source of the random scans and changes; None for the deterministic image.
        other: Result of `prepare` for a sample to be mixed in.
        derivatized: Whether a derivatisation agent was added (GC-MS only).

    Returns:
        float32 (C, M, T) in [0, 1].
    """
    intensity = _intensity(prepared, spec, rng)
    if other is not None and rng is not None:
        second = _intensity(other, spec, rng)
        both = (_of_maximum(intensity), _of_maximum(second))
        intensity = np.maximum(*both) if rng.random() < 0.5 else (both[0] + both[1]) / 2
    if rng is not None and spec.change.noise:
        scale = spec.change.noise * intensity.max(initial=0.0)
        noise = rng.normal(0.0, scale, intensity.shape).astype(np.float32)
        intensity = np.maximum(intensity + noise, 0.0)
    count = max(len(spec.scales), len(spec.powers))
    scales = spec.scales * (count // len(spec.scales))
    powers = spec.powers * (count // len(spec.powers))
    channels = []
    for scale_by, power in zip(scales, powers, strict=True):
        channel = _scaled(intensity, scale_by)
        if spec.floor:
            logarithms = np.log10(np.maximum(channel, spec.floor)) / np.log10(spec.floor)
            channel = np.maximum(1.0 - logarithms, 0.0)  # rounding may give less than 0
        channels.append(channel if power == 1.0 else channel**power)
    rows, columns = intensity.shape
    across = np.broadcast_to(np.linspace(0.0, 1.0, columns), (rows, columns))
    if spec.derivatized:
        empty = np.zeros_like(intensity)
        pair = [empty, channels[0]] if derivatized else [channels[0], empty]
        channels = [*pair, across]
    elif spec.coordinates:
        down = np.broadcast_to(np.linspace(0.0, 1.0, rows)[:, None], (rows, columns))
        channels += [across, down]
    return np.stack(channels).astype(np.float32)


def _intensity(prepared: Image, spec: RasterSpec, rng: Generator | None) -> Image:
    """Choose columns, subtract the background and change the rows: (M, T), 0 or more."""
    change = spec.change
    if spec.cell is Cell.SCAN:
        places, scans = prepared[0], prepared[1:]
        chosen, shown = _choose(places, spec, rng)
        columns = scans[:, chosen]
        intensity, base = columns[: spec.rows], columns[spec.rows :]
        # The background is zero if the raster estimates none.
        if rng is None or not change.backgrounds or rng.random() < 0.5:
            intensity = intensity - base
        intensity = intensity - _floor_of(intensity, rng if change.backgrounds else None)
        intensity = np.maximum(intensity, 0.0) * shown
    else:
        intensity = prepared if spec.fine == 1 else _merged(prepared, spec, rng)
        if rng is not None and change.narrow < 1.0:
            intensity = _narrowed(intensity, rng.uniform(change.narrow, 1.0))
        if rng is not None and change.shift:
            intensity = _shifted(intensity, int(rng.integers(-change.shift, change.shift + 1)))
    if spec.helium != 1.0:
        intensity = intensity.copy()
        intensity[HELIUM] *= spec.helium
    if rng is not None and change.gain:
        gains = np.exp2(rng.normal(0.0, change.gain, (len(intensity), 1)))
        intensity = intensity * gains.astype(np.float32)
    return np.asarray(intensity, dtype=np.float32)


def _merged(cells: Image, spec: RasterSpec, rng: Generator | None) -> Image:
    """Average parts of columns from a random edge; (M, T)."""
    beside = spec.fine // 2
    start = beside if rng is None else int(rng.integers(2 * beside + 1))
    parts = cells[:, start : start + spec.columns * spec.fine]
    parts = parts.reshape(len(cells), spec.columns, spec.fine)
    known = ~np.isnan(parts)
    return np.asarray(
        np.where(known, parts, 0).sum(axis=2) / np.maximum(known.sum(axis=2), 1), dtype=np.float32
    )


def _choose(
    places: Image, spec: RasterSpec, rng: Generator | None
) -> tuple[NDArray[np.int64], Image]:
    """Choose a scan for every column, nearer scans likelier; and flag columns with any scan."""
    centres = spec.start + (np.arange(spec.columns) + 0.5) * spec.width
    distance = np.abs(places[None, :] - centres[:, None])
    near = distance <= spec.reach
    shown: Image = near.any(axis=1).astype(np.float32)
    if rng is None:
        return distance.argmin(axis=1), shown
    chances = np.cumsum(near / (spec.width + distance), axis=1)
    drawn = rng.random(spec.columns) * chances[:, -1]
    chosen = (chances <= drawn[:, None]).sum(axis=1)
    return np.minimum(chosen, len(places) - 1), shown


def _floor_of(intensity: Image, rng: Generator | None) -> Image:
    """Low level of every row, (M, 1): a mix of its quantiles."""
    ordered = np.sort(intensity, axis=1)
    at = [round(q * (ordered.shape[1] - 1)) for q in QUANTILES]
    share = np.full(len(at), 1 / len(at)) if rng is None else rng.dirichlet(np.ones(len(at)))
    return np.asarray(ordered[:, at] @ share.astype(np.float32), dtype=np.float32)[:, None]


def _of_maximum(intensity: Image) -> Image:
    largest = intensity.max(initial=0.0)
    return intensity / largest if largest > 0 else intensity


def _scaled(intensity: Image, scale: Scale) -> Image:
    """Divide so that the largest value is at most 1."""
    match scale:
        case Scale.SAMPLE:
            return _of_maximum(intensity)
        case Scale.RUN:
            return np.minimum(intensity, 1.0)  # scaled by `prepare`; changes may exceed 1
        case Scale.ROW:
            divisor: Image = intensity.max(axis=1, keepdims=True)
        case Scale.COLUMN:
            divisor = intensity.sum(axis=0, keepdims=True)
        case Scale.ROW_SUM:
            divisor = intensity.sum(axis=1, keepdims=True) ** 0.75
    divided: Image = intensity / np.maximum(divisor, _FAINTEST)
    return _of_maximum(divided) if scale is Scale.ROW_SUM else divided


def _shifted(intensity: Image, columns: int) -> Image:
    """Shift an image to the right, or the left if negative, and fill with zeros."""
    moved = np.zeros_like(intensity)
    width = intensity.shape[1]
    if columns >= 0:
        moved[:, columns:] = intensity[:, : width - columns]
    else:
        moved[:, :columns] = intensity[:, -columns:]
    return moved


def _narrowed(intensity: Image, share: float) -> Image:
    """Squeeze an image to a share of its width, and fill with zeros."""
    width = intensity.shape[1]
    target = max(1, round(width * share))
    column = np.arange(width) * target // width
    starts = np.searchsorted(column, np.arange(target))
    narrow = np.zeros_like(intensity)
    narrow[:, :target] = np.add.reduceat(intensity, starts, axis=1)
    return narrow
