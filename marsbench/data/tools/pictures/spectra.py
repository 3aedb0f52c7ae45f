"""Contact sheets of spectra: ion curves beside their images."""

from collections.abc import Sequence
from textwrap import fill

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from marsbench.data.drawing import PALETTE, new_figure, short, spread
from marsbench.data.rows import Rows, Source
from marsbench.data.spectra import DirectSpectra, technique_of
from marsbench.spectra import raster as rasters
from marsbench.spectra.presets import HELIUM, PRESETS, Cell, RasterSpec, Scale
from marsbench.spectra.spectrum import Spectrum, Technique
from marsbench.tasks.spec import TaskSpec

SHOWN = 8
"""Samples of a sheet."""

RARE = 2
"""Least number of samples drawn of each instrument, or with and without derivatisation."""

OF_PRESETS = 5
"""Samples of a sheet of presets."""

IONS = 8
"""Number of ions with a curve."""

FAINTEST = 1e-5
"""Lower end of the curves, relative to the largest abundance."""

_LINES = tuple(color for color in PALETTE if color not in ("#F0E442", "#FFFFFF"))
"""Colours visible on white paper."""

_STEPS = {Technique.EGA: 4.0, Technique.GC: 0.05}
"""Bin width of the curves, in degrees C or minutes."""

_GAP = 10
"""Number of empty bins that break a curve."""

_PIXELS = 250
"""Approximate number of rows and columns of a drawn image."""

_AXES = {Technique.EGA: "temperature, degrees C", Technique.GC: "retention time, minutes"}

_SCALES = {
    Scale.SAMPLE: "of the image's largest",
    Scale.RUN: "of the run's largest",
    Scale.ROW: "of the row's largest",
    Scale.COLUMN: "of the column's sum",
    Scale.ROW_SUM: "of the row's sum$^{3/4}$",
}


def sheet(spec: TaskSpec, source: Source, rows: Rows, raster: RasterSpec) -> Figure:
    """Draw samples of a split: the curves of their strongest ions, and their images.

    Args:
        spec: The task.
        source: Its data, opened.
        rows: Index of the split.
        raster: Preset of the images.

    Raises:
        DataError: If a measurement cannot be read, or is empty in the raster.
    """
    technique = technique_of(spec)
    spectra = DirectSpectra(spec, source, rows)
    chosen = _chosen(rows, SHOWN)
    down = -(-len(chosen) // 2)
    figure = new_figure(19.0, 3.3 * down + 0.5)
    grid = figure.subplots(down, 4, squeeze=False, width_ratios=[1.5, 1.0] * 2)
    for axis in grid.ravel():
        axis.set_axis_off()
    for place, index in enumerate(chosen):
        spectrum = spectra[index]
        left, right = grid[place // 2, 2 * (place % 2) : 2 * (place % 2) + 2]
        show_curves(left, spectrum, technique)
        title = fill(_title(spec, source, rows, index, spectrum), 84)
        left.set_title(title, fontsize=8, loc="left")
        image = rasters.draw(
            rasters.prepare(spectrum, raster), raster, derivatized=spectrum.derivatized
        )
        _show_image(right, _intensities(image, raster)[0], spectrum, raster)
        right.set_title(f"{raster.name}\n{_meaning(raster, 0)}", fontsize=7, loc="left")
        ends = (*right.get_xlim(), spectrum.axis.min(), spectrum.axis.max())
        for axis in (left, right):
            axis.set_xlim(min(ends), max(ends))
    figure.suptitle(
        f"{spec.name}, {rows.split}: {len(rows)} samples ({source.revision})", fontsize=10
    )
    return figure


def preset_sheet(spec: TaskSpec, source: Source, rows: Rows) -> Figure:
    """Draw five samples in every preset of a task's technique.

    All intensity channels of a preset are shown, coordinate channels are not.

    Raises:
        DataError: If a measurement cannot be read, or is empty in a preset.
    """
    technique = technique_of(spec)
    spectra = DirectSpectra(spec, source, rows)
    presets = [preset for preset in PRESETS.values() if preset.technique is technique]
    panels = [(p, channel) for p in presets for channel in range(_count(p))]
    chosen = _chosen(rows, OF_PRESETS)
    figure = new_figure(3.6 * len(panels), 3.4 * len(chosen) + 0.5)
    grid = figure.subplots(len(chosen), len(panels), squeeze=False)
    for axes, index in zip(grid, chosen, strict=True):
        spectrum = spectra[index]
        images = {
            p.name: _intensities(
                rasters.draw(rasters.prepare(spectrum, p), p, derivatized=spectrum.derivatized), p
            )
            for p in presets
        }
        title = _title(spec, source, rows, index, spectrum)
        for axis, (preset, channel) in zip(axes, panels, strict=True):
            _show_image(axis, images[preset.name][channel], spectrum, preset)
            above = f"{title}\n" if axis is axes[0] else "\n"
            axis.set_title(
                f"{above}{preset.name}\n{_meaning(preset, channel)}", fontsize=8, loc="left"
            )
    figure.suptitle(f"{spec.name}, {rows.split}: every preset", fontsize=10)
    return figure


def _chosen(rows: Rows, count: int) -> list[int]:
    """Indices spread over the split, with samples of every instrument."""
    chosen = list(dict.fromkeys(spread(len(rows), count).tolist()))
    groups = rows.groups
    if groups is None:
        return chosen
    for group in sorted(set(groups)):
        of_group = [i for i, name in enumerate(groups) if name == group]
        members = [i for i in chosen if groups[i] == group]
        for i in (of_group[int(k)] for k in spread(len(of_group), RARE)):
            if len(members) < RARE and i not in chosen:
                # It replaces the nearest sample of a group with more than `RARE`.
                names = [groups[k] for k in chosen]
                others = [k for k in chosen if names.count(groups[k]) > RARE]
                if others:
                    chosen.remove(min(others, key=lambda k: abs(k - i)))
                    chosen.append(i)
                    members.append(i)
    return sorted(chosen)


def _title(spec: TaskSpec, source: Source, rows: Rows, index: int, spectrum: Spectrum) -> str:
    """Title of a sample: its id, instrument or derivatisation, and labels."""
    if spectrum.derivatized is None:
        how = str(spectrum.instrument)
    else:
        how = "derivatised" if spectrum.derivatized else "not derivatised"
    held = zip(source.class_names, rows.targets[index], strict=True)
    names = ", ".join(name for name, value in held if value) or "no label"
    return f"{short(rows.sample_ids[index])}, {how}: {names}"


def _curves(
    spectrum: Spectrum, technique: Technique
) -> tuple[NDArray[np.float64], dict[int, NDArray[np.float64]]]:
    """Centres of the bins, (B,), and mean abundance of the strongest ions in them, (B,) each."""
    ions = np.rint(spectrum.mz).astype(np.int64)
    kept = (ions != HELIUM) & (np.abs(spectrum.mz - ions) < 0.5)
    if technique is Technique.EGA:
        kept &= np.abs(spectrum.mz - ions) < 0.3
    step = _STEPS[technique]
    low = np.floor(spectrum.axis.min() / step)
    place = (np.floor(spectrum.axis / step) - low).astype(np.int64)
    length = int(place.max()) + 1
    strongest: dict[int, float] = {}
    for ion in np.unique(ions[kept]):
        strongest[int(ion)] = float(spectrum.abundance[kept & (ions == ion)].max())
    curves = {}
    for ion in sorted(strongest, key=lambda name: -strongest[name])[:IONS]:
        of_ion = kept & (ions == ion)
        counts = np.bincount(place[of_ion], minlength=length)
        sums = np.bincount(place[of_ion], spectrum.abundance[of_ion], minlength=length)
        curves[ion] = np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
    return (np.arange(length) + low + 0.5) * step, curves


def show_curves(axis: Axes, spectrum: Spectrum, technique: Technique) -> None:
    """Draw the curves of the strongest ions, relative to the largest of them."""
    places, curves = _curves(spectrum, technique)
    largest = max((float(np.nanmax(curve)) for curve in curves.values()), default=0.0)
    axis.set_axis_on()
    axis.set_yscale("log")
    axis.set_ylim(FAINTEST, 2.0)
    for color, (ion, curve) in zip(_LINES, curves.items(), strict=False):
        shown = curve / (largest if largest > 0 else 1.0)
        known = np.flatnonzero(~np.isnan(shown))
        # No line across a stretch in which the ion was not measured.
        gaps = np.flatnonzero(np.diff(known) > _GAP) + 1
        along = np.insert(places[known], gaps, np.nan)
        values = np.insert(np.maximum(shown[known], FAINTEST), gaps, np.nan)
        axis.plot(along, values, color=color, linewidth=0.9, marker=".", ms=1.2, label=f"{ion}")
    axis.legend(
        title="m/z", fontsize=6, title_fontsize=6, loc="center left", bbox_to_anchor=(1.0, 0.5)
    )
    axis.set_xlabel(_AXES[technique], fontsize=7)
    axis.set_ylabel("abundance over the largest", fontsize=7)
    axis.tick_params(labelsize=6)


def _show_image(
    axis: Axes, pixels: NDArray[np.float32], spectrum: Spectrum, raster: RasterSpec
) -> None:
    """Show a channel, m/z upwards."""
    left, right = raster.start, raster.start + raster.width * raster.columns
    if raster.is_relative:
        inside = (spectrum.axis > raster.low) & (spectrum.axis < raster.high)
        first, last = spectrum.axis[inside].min(), spectrum.axis[inside].max()
        left, right = first + left * (last - first), first + right * (last - first)
    axis.set_axis_on()
    # Cells of a large image share a pixel: the strongest is shown, so that no peak is lost.
    rows, columns = pixels.shape
    tall, wide = max(1, rows // _PIXELS), max(1, columns // _PIXELS)
    padded = np.pad(pixels, ((0, -rows % tall), (0, -columns % wide)))
    height, width = padded.shape
    axis.set_facecolor("0.85")  # outside the raster
    axis.imshow(
        padded.reshape(height // tall, tall, width // wide, wide).max(axis=(1, 3)),
        cmap="magma",
        vmin=0,
        vmax=1,
        origin="lower",
        aspect="auto",
        interpolation="nearest",
        extent=(left, left + (right - left) * width / columns, -0.5, height - 0.5),
    )
    axis.set_xlim(left, right)
    axis.set_ylim(-0.5, rows - 0.5)
    axis.set_xlabel(_AXES[raster.technique], fontsize=7)
    axis.set_ylabel("m/z", fontsize=7)
    axis.tick_params(labelsize=6)


def _intensities(image: NDArray[np.float32], raster: RasterSpec) -> Sequence[NDArray[np.float32]]:
    """Intensity channels; the two of derivatised and plain samples are joined."""
    if raster.derivatized:
        return [image[:2].max(axis=0)]
    return list(image[: _count(raster)])


def _count(raster: RasterSpec) -> int:
    return 1 if raster.derivatized else raster.channels - 2 * raster.coordinates


def _meaning(raster: RasterSpec, channel: int) -> str:
    """Meaning of a channel's values."""
    text = _SCALES[raster.scales[channel % len(raster.scales)]]
    power = raster.powers[channel % len(raster.powers)]
    if raster.floor:
        text = f"logarithm {text}, from {raster.floor:g}"
    elif power != 1.0:
        text = f"power {power:.2g} {text}"
    cell = {Cell.SCAN: "nearest scan"}.get(raster.cell, str(raster.cell))
    return f"{cell}, {text}"
