"""Engineered features of a spectrum, for tabular models.

The features follow the second and third place of the EGA-MS challenge (area, peak, width, jitter,
the three largest peaks and the temperatures of the largest abundances of each ion; every ion's
curve resampled to a fixed length), with ratios of ions suggested by chemistry. Source: J. Qi and
I. Shah (2022), "Meet the winners of the Mars Spectrometry Challenge", DrivenData.

Each ion's low quantile is subtracted as its background, and abundances are in units of the
sample's largest, helium excluded: the two instruments differ by some thirteen orders of magnitude.

Missing measurements give NaN: all features of an ion without points, a curve outside the
temperatures of the run, a second peak of an ion with a single peak. Trees take NaN; for other
models see
`numpy.nan_to_num`.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from marsbench.spectra.presets import HELIUM
from marsbench.spectra.spectrum import Floats, Instrument, Spectrum, Technique

VERSION = 1
"""Part of a run's id. Raise after any change of a feature's value."""

TOLERANCE = 0.3
"""Greatest distance of an m/z from the whole number of its ion (EGA first place)."""

BACKGROUND = 0.02
"""Quantile of an ion's abundances taken as background; unlike the minimum, robust to an outlier."""

FLOOR = 1e-5
"""Relative abundance below which the commercial instrument shows only noise."""

TOP_SHARES = (0.01, 0.05, 0.2)
"""Shares of an ion's largest abundances whose temperatures are features (EGA third place)."""

PEAKS = 3


@dataclass(frozen=True)
class _Layout:
    """Ions and axis range covered by a technique's features.

    Attributes:
        ions: Whole m/z, ascending.
        start: Start of the curves: degrees C (EGA) or minutes (GC).
        step: Width of one bin of a curve.
        bins: Number of bins of a curve.
        windows: Ranges of bins for the ratios of ions.
        ratios: Pairs of ions for ratios of areas.
        related: Ions for correlations of curves.
    """

    ions: tuple[int, ...]
    start: float
    step: float
    bins: int
    windows: tuple[tuple[int, int], ...]
    ratios: tuple[tuple[int, int], ...]
    related: tuple[int, ...]


_EGA_RATIOS = (
    (64, 48),  # SO2 and its fragment SO
    (64, 66),  # the two common isotopes of sulfur
    (64, 34),  # SO2 and H2S: oxidised and reduced sulfur
    (64, 32),  # SO2, which oxygen accompanies where sulfates break down
    (44, 28),  # CO2 and CO: oxalates give off both
    (44, 12),  # CO2 and carbon
    (44, 22),  # CO2 and its doubly charged ion
    (44, 64),  # CO2 and SO2: carbonate or sulfur
    (44, 18),  # CO2 and water
    (18, 17),  # water and OH; ammonia raises 17
    (18, 2),  # water and hydrogen
    (36, 38),  # HCl of the two isotopes of chlorine; argon disturbs both
    (36, 35),  # HCl and chlorine
    (32, 16),  # oxygen molecules and atoms; methane raises 16
    (32, 28),  # oxygen and nitrogen: leaked air or a source of oxygen
    (32, 36),  # oxygen and HCl: perchlorates give off both
    (30, 46),  # NO and NO2: nitrates
    (60, 44),  # COS and CO2
    (76, 64),  # CS2 and SO2
    (28, 14),  # nitrogen molecules and atoms; CO does not raise 14
    (15, 16),  # methane and oxygen
)

_LAYOUTS = {
    Technique.EGA: _Layout(
        ions=tuple(i for i in range(100) if i != HELIUM),
        start=0.0,
        step=50.0,
        bins=24,
        windows=((0, 6), (6, 10), (10, 14), (14, 20), (0, 24)),
        ratios=_EGA_RATIOS,
        related=(2, 12, 16, 17, 18, 28, 30, 32, 34, 36, 44, 48, 64),
    ),
    Technique.GC: _Layout(
        ions=tuple(i for i in range(250) if i != HELIUM),
        start=0.0,
        step=1.0,
        bins=30,
        windows=((0, 8), (8, 16), (16, 30), (0, 30)),
        # Carbon dioxide and water, silyl derivatives, alkyl and aromatic fragments, phthalates.
        ratios=((44, 18), (73, 147), (43, 57), (57, 71), (77, 91), (78, 91), (149, 57), (64, 48)),
        related=(18, 28, 32, 43, 44, 57, 64, 73, 78, 91, 147, 149),
    ),
}

_ION_STATISTICS = (
    "background",
    "area",
    "rank",
    "peak",
    "peak_at",
    "width",
    "centroid",
    "spread",
    "skew",
    "jitter",
    "peak_to_average",
    "rise",
    *(f"top{share:.0%}_{what}" for share in TOP_SHARES for what in ("mean", "at", "at_std")),
    *(f"peak{n}_{what}" for n in range(1, PEAKS + 1) for what in ("height", "at")),
)

_CURVES = ("of_sample", "of_ion", "of_bin")

_SAMPLE_STATISTICS = (
    "axis_first",
    "axis_last",
    "axis_range",
    "axis_falls",
    "scans",
    "channels",
    "highest_mz",
    "seconds_per_scan",
    "axis_per_second",
    "negative_share",
    "helium",
    "testbed",
    "derivatized",
    "largest_at",
    "largest_ion",
)


def feature_names(technique: Technique) -> list[str]:
    """Names of the F features of `engineered`, in order; ions are named by their m/z."""
    layout = _LAYOUTS[technique]
    edges = [f"{layout.start + b * layout.step:g}" for b in range(layout.bins)]
    names = [f"sample_{what}" for what in _SAMPLE_STATISTICS]
    names += [f"mz{ion}_{what}" for what in _ION_STATISTICS for ion in layout.ions]
    names += [
        f"mz{ion}_{curve}_{edge}" for curve in _CURVES for ion in layout.ions for edge in edges
    ]
    names += [f"total_{edge}" for edge in edges]
    edges.append(f"{layout.start + layout.bins * layout.step:g}")
    names += [
        f"ratio_{a}_{b}_{edges[first]}_{edges[last]}"
        for a, b in layout.ratios
        for first, last in layout.windows
    ]
    names += [f"together_{a}_{b}" for a, b in _pairs(layout)]
    return names


def engineered(spectrum: Spectrum, technique: Technique) -> NDArray[np.float32]:
    """Fixed-length features of a spectrum.

    Args:
        spectrum: The measurement; points in any order, on a grid or not.
        technique: Technique, which decides the ions and the axis.

    Returns:
        Features float32 (F,), named by `feature_names`; NaN for missing measurements.
    """
    layout = _LAYOUTS[technique]
    ions = _sort(spectrum, layout)
    if not len(ions.row):
        return np.full(len(feature_names(technique)), np.nan, dtype=np.float32)
    curves = _curves(ions, layout)
    parts = [
        _sample_statistics(spectrum, ions, layout),
        *_ion_statistics(ions, curves, layout),
        *_resampled(curves),
        _ratios(curves, layout),
        _together(curves, layout),
    ]
    return np.concatenate([part.ravel() for part in parts]).astype(np.float32)


@dataclass(frozen=True)
class _Ions:
    """Kept points, sorted by ion and, within an ion, by axis.

    Attributes:
        row: Position of the point's ion among the layout's, (P,).
        axis: Degrees C or minutes, (P,).
        abundance: Above the ion's background, in units of the sample's largest, (P,).
        starts: First point of each of the I ions, (I,).
        counts: Number of points of each ion, (I,); 0 for an ion missing from the run.
        descending: Points sorted by ion and, within an ion, by falling abundance, (P,).
        background: In units of the sample's largest abundance, (I,); NaN without points.
        helium: Helium's largest abundance in the same unit; NaN if not recorded.
    """

    row: NDArray[np.intp]
    axis: Floats
    abundance: Floats
    starts: NDArray[np.intp]
    counts: NDArray[np.intp]
    descending: NDArray[np.intp]
    background: Floats
    helium: float

    def sums(self, weights: Floats) -> Floats:
        """Sum of a value of the points over each ion, (I,)."""
        return np.bincount(self.row, weights, len(self.counts)).astype(np.float64, copy=False)


def _sort(spectrum: Spectrum, layout: _Layout) -> _Ions:
    nominal = np.rint(spectrum.mz)
    near = np.abs(spectrum.mz - nominal) < TOLERANCE
    # An extra row collects points outside the layout, to be dropped.
    row_of = np.full(max(layout.ions) + 2, len(layout.ions), dtype=np.int16)
    row_of[list(layout.ions)] = np.arange(len(layout.ions), dtype=np.int16)
    row = row_of[np.where(near, nominal, -1).clip(-1, max(layout.ions) + 1).astype(np.intp)]
    is_helium = near & (nominal == HELIUM)
    kept = np.flatnonzero(row < len(layout.ions))
    # Stable sorts, least important key first: sorting small integers is a fast radix sort.
    kept = kept[np.argsort(spectrum.axis[kept], kind="stable")]
    kept = kept[np.argsort(row[kept], kind="stable")]
    row, axis, raw = row[kept], spectrum.axis[kept], spectrum.abundance[kept]
    counts = np.bincount(row, minlength=len(layout.ions))
    starts = np.cumsum(counts) - counts
    descending = np.argsort(-raw, kind="stable")
    descending = descending[np.argsort(row[descending], kind="stable")]
    background = np.full(len(layout.ions), np.nan)
    has = counts > 0
    low = starts + counts - 1 - np.floor(BACKGROUND * (counts - 1)).astype(np.intp)
    background[has] = raw[descending[low[has]]]
    above = raw - background[row]
    unit = above.max(initial=0.0) or 1.0
    helium = spectrum.abundance[is_helium].max() / unit if is_helium.any() else np.nan
    wide = row.astype(np.intp)
    return _Ions(
        wide, axis, above / unit, starts, counts, descending, background / unit, float(helium)
    )


def _curves(ions: _Ions, layout: _Layout) -> Floats:
    """Mean abundance per ion and bin, (I, B).

    Empty bins within the run are interpolated; bins outside are NaN.
    """
    rows, bins = len(layout.ions), layout.bins
    column = np.floor((ions.axis - layout.start) / layout.step).astype(np.intp)
    inside = (column >= 0) & (column < bins)
    cell = (ions.row * bins + column)[inside]
    number = np.bincount(cell, minlength=rows * bins).reshape(rows, bins)
    sums = np.bincount(cell, ions.abundance[inside], rows * bins).reshape(rows, bins)
    with np.errstate(invalid="ignore"):
        curves = sums / number
    filled = number > 0
    later = np.logical_or.accumulate(filled[:, ::-1], axis=1)[:, ::-1]
    gap = ~filled & np.logical_or.accumulate(filled, axis=1) & later
    for i in np.flatnonzero(gap.any(axis=1)):
        known = np.flatnonzero(filled[i])
        empty = np.flatnonzero(gap[i])
        curves[i, empty] = np.interp(empty, known, curves[i, known])
    return curves


def _log(values: Floats) -> Floats:
    """Logarithm of relative abundances; NaN stays NaN."""
    return np.log10(np.maximum(values, FLOOR))


def _ion_statistics(ions: _Ions, curves: Floats, layout: _Layout) -> list[Floats]:
    """Statistics of each ion, each (I,), in the order of `_ION_STATISTICS`."""
    has = ions.counts > 0
    number = np.where(has, ions.counts, np.nan)
    positive = np.maximum(ions.abundance, 0.0)
    total = ions.sums(positive)
    # An ion without points borrows a place; its statistics become NaN below.
    summit = ions.descending[np.minimum(ions.starts, len(ions.row) - 1)]
    peak = np.where(has, ions.abundance[summit], np.nan)
    # Moments of the abundance over the axis.
    with np.errstate(divide="ignore", invalid="ignore"):
        centroid = ions.sums(positive * ions.axis) / total
        away = ions.axis - centroid[ions.row]
        spread = np.sqrt(ions.sums(positive * away**2) / total)
        skew = ions.sums(positive * away**3) / total / spread**3
        peak_to_average = np.log10(np.maximum(peak * number / total, 1.0))
        jumps = np.abs(np.diff(ions.abundance, append=0.0))
        last = ions.starts + ions.counts - 1
        jumps[last[has]] = 0.0  # the step to the next ion does not count
        jitter = ions.sums(jumps) / number / peak
        highest = np.fmax.reduce(curves, axis=1)
        width = layout.step * (curves > highest[:, None] / 2).sum(axis=1)
    half = layout.bins // 2
    rise = _log(_mean(curves[:, half:])) - _log(_mean(curves[:, :half]))
    area = _mean(curves)
    statistics = {
        "background": _log(ions.background),
        "area": _log(area),
        "rank": np.where(has, np.argsort(np.argsort(np.nan_to_num(area))), np.nan),
        "peak": _log(peak),
        "peak_at": ions.axis[summit],
        "width": width,
        "centroid": centroid,
        "spread": spread,
        "skew": skew,
        "jitter": jitter,
        "peak_to_average": peak_to_average,
        "rise": rise,
        **_top_shares(ions, peak),
        **_peaks(curves, highest, layout),
    }
    return [np.where(has, statistics[what], np.nan) for what in _ION_STATISTICS]


def _mean(curves: Floats) -> Floats:
    """Mean over the non-empty bins, (I,); NaN without any."""
    number = (~np.isnan(curves)).sum(axis=1)
    with np.errstate(invalid="ignore"):
        mean: Floats = np.nansum(curves, axis=1) / number
    return mean


def _top_shares(ions: _Ions, peak: Floats) -> dict[str, Floats]:
    """Positions on the axis of each ion's largest abundances."""
    row = ions.row  # sorted, so that it also numbers the ions of the descending order
    rank = np.arange(len(row)) - ions.starts[row]
    axis, abundance = ions.axis[ions.descending], ions.abundance[ions.descending]
    statistics = {}
    for share in TOP_SHARES:
        number = np.ceil(share * ions.counts)
        top = rank < number[row]
        weights = [np.where(top, values, 0.0) for values in (abundance, axis, axis**2)]
        with np.errstate(divide="ignore", invalid="ignore"):
            mean, at, square = (ions.sums(values) / number for values in weights)
            statistics[f"top{share:.0%}_mean"] = _log(mean / peak)
        statistics[f"top{share:.0%}_at"] = at
        statistics[f"top{share:.0%}_at_std"] = np.sqrt(np.maximum(square - at**2, 0.0))
    return statistics


def _peaks(curves: Floats, highest: Floats, layout: _Layout) -> dict[str, Floats]:
    """Height (log of the share of the ion's largest) and position of the largest local maxima."""
    padded = np.pad(np.nan_to_num(curves, nan=-np.inf), ((0, 0), (1, 1)), constant_values=-np.inf)
    middle = padded[:, 1:-1]
    summit = (middle > padded[:, :-2]) & (middle >= padded[:, 2:]) & (middle > 0)
    heights = np.where(summit, middle, -np.inf)
    order = np.argsort(-heights, axis=1, kind="stable")[:, :PEAKS]
    statistics = {}
    for n in range(PEAKS):
        height = np.take_along_axis(heights, order[:, n : n + 1], axis=1)[:, 0]
        present = np.isfinite(height)
        with np.errstate(divide="ignore", invalid="ignore"):
            relative = _log(height / highest)
        statistics[f"peak{n + 1}_height"] = np.where(present, relative, np.nan)
        at = layout.start + (order[:, n] + 0.5) * layout.step
        statistics[f"peak{n + 1}_at"] = np.where(present, at, np.nan)
    return statistics


def _resampled(curves: Floats) -> list[Floats]:
    """Curves as logarithms of shares, each (I, B), in the order of `_CURVES`; the total (B,)."""
    positive = np.maximum(curves, 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        of_ion = positive / np.fmax.reduce(positive, axis=1, keepdims=True)
        total = np.nansum(positive, axis=0)
        of_bin = positive / total
    total = np.where(np.isnan(curves).all(axis=0), np.nan, total)
    return [_log(positive), _log(of_ion), _log(of_bin), _log(total)]


def _ratios(curves: Floats, layout: _Layout) -> Floats:
    """Logarithms of ratios of areas, per pair and window, (pairs, windows)."""
    row = {ion: i for i, ion in enumerate(layout.ions)}
    areas = np.stack(
        [_log(_mean(np.maximum(curves[:, a:b], 0.0))) for a, b in layout.windows], axis=1
    )
    return np.stack([areas[row[a]] - areas[row[b]] for a, b in layout.ratios])


def _pairs(layout: _Layout) -> list[tuple[int, int]]:
    related = layout.related
    return [(a, b) for i, a in enumerate(related) for b in related[i + 1 :]]


def _together(curves: Floats, layout: _Layout) -> Floats:
    """Correlation of the curves of related ions, often released together by a compound."""
    row = {ion: i for i, ion in enumerate(layout.ions)}
    some = curves[[row[ion] for ion in layout.related]]
    centred = np.nan_to_num(some - _mean(some)[:, None])
    size = np.sqrt((centred**2).sum(axis=1))
    with np.errstate(divide="ignore", invalid="ignore"):
        unit = centred / size[:, None]
    matrix: Floats = unit @ unit.T
    return matrix[np.triu_indices(len(some), k=1)]


def _sample_statistics(spectrum: Spectrum, ions: _Ions, layout: _Layout) -> Floats:
    """Statistics of the whole run, in the order of `_SAMPLE_STATISTICS`."""
    first, last = spectrum.axis.min(), spectrum.axis.max()
    seconds = np.ptp(spectrum.time)
    scans = float(np.median(ions.counts[ions.counts > 0]))
    summit = int(ions.abundance.argmax())
    derivatized = np.nan if spectrum.derivatized is None else float(spectrum.derivatized)
    return np.array(
        [
            first,
            last,
            last - first,
            np.count_nonzero(np.diff(spectrum.axis) < 0) / len(spectrum),
            scans,
            np.count_nonzero(ions.counts),
            spectrum.mz.max(),
            seconds / scans,
            (last - first) / seconds if seconds > 0 else np.nan,
            float((spectrum.abundance < 0).mean()),
            np.log10(max(ions.helium, FLOOR)) if np.isfinite(ions.helium) else np.nan,
            spectrum.instrument is Instrument.SAM_TESTBED,
            derivatized,
            ions.axis[summit],
            layout.ions[ions.row[summit]],
        ],
        dtype=np.float64,
    )
