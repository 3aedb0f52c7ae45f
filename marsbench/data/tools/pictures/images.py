"""Contact sheets of labelled samples."""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure, SubFigure

from marsbench.base.errors import unknown_name
from marsbench.base.progress import track
from marsbench.config.schema import Bands
from marsbench.data.cache import DirectSamples
from marsbench.data.decode import is_negative
from marsbench.data.drawing import Panel, grid, new_figure, save, sheet, short, spread, to_rgb
from marsbench.data.rendering import rendering_for
from marsbench.data.rows import Rows, Source
from marsbench.data.samples import Decoded
from marsbench.metrics.masks import IGNORE
from marsbench.tasks.spec import SPLITS, TaskSpec

COLUMNS = 8

SHOWN = 12
"""Number of samples drawn of a segmentation or detection task."""

NEGATIVES = 2
"""Number of drawn samples without an object, if the split has any."""

LOOKED_AT = 1000
"""Number of samples, spread over the split, searched for samples without an object."""


def draw_samples(
    spec: TaskSpec,
    source: Source,
    split: str,
    path: Path,
    columns: int = COLUMNS,
    raster: str | None = None,
) -> None:
    """Draw a contact sheet of samples, evenly spread over the split.

    A classification task has a row per class. Masks are drawn beside their image, boxes on it; for
    images of more than three bands, every band of a sample follows. Spectra are drawn as ion
    curves beside their image.

    Args:
        spec: The task.
        source: Its data, opened.
        split: train, val or test.
        path: PNG to write.
        columns: Samples per class of a classification task.
        raster: Preset that turns spectra into images; None takes the task's default.

    Raises:
        DataError: If an image cannot be read or the picture cannot be written.
    """
    if split not in SPLITS:
        raise unknown_name("split", split, SPLITS)
    rows = source.rows(split)
    if spec.is_spectra:
        from marsbench.data.tools.pictures.spectra import sheet

        save(sheet(spec, source, rows, rendering_for(spec, raster).raster), path)
        return
    title = f"{spec.name}, {split}: {len(rows)} samples ({source.revision})"
    if spec.kind.is_classification:
        figure = _sheet_of_classes(spec, source, rows, columns)
    else:
        figure = _sheet_of_objects(spec, source, rows)
    figure.suptitle(title, fontsize=10)
    save(figure, path)


def _sheet_of_classes(spec: TaskSpec, source: Source, rows: Rows, columns: int) -> Figure:
    samples = DirectSamples(spec, source, rows)
    names = source.class_names
    figure = new_figure(1.6 * columns, 1.75 * len(names) + 0.4)
    axes = grid(figure, len(names), columns)
    for class_id, name in enumerate(names):
        of_class = np.flatnonzero(rows.of_class(class_id))
        chosen = of_class[spread(len(of_class), columns)]
        axes[class_id, 0].set_title(f"{name} ({len(of_class)})", loc="left", fontsize=9)
        for axis, index in zip(axes[class_id], chosen, strict=False):
            pixels = samples[int(index)].pixels
            axis.imshow(
                pixels[:, :, 0] if pixels.shape[2] == 1 else pixels, cmap="gray", vmin=0, vmax=255
            )
    return figure


def _sheet_of_objects(spec: TaskSpec, source: Source, rows: Rows) -> Figure:
    samples = DirectSamples(spec, source, rows, Bands.ALL)
    chosen = _chosen(spec, source, rows)
    decoded = [samples[i] for i in chosen]
    ids = [rows.sample_ids[i] for i in chosen]
    panels = [_panels(spec, *item) for item in zip(decoded, ids, strict=True)]
    is_masks = spec.has_masks
    across = 3 if is_masks else 4
    down = -(-len(decoded) // across)
    width, height = (12.0, 2.2 * down) if is_masks else (10.8, 2.9 * down)
    if spec.channels <= 3:
        figure = new_figure(width, height + 0.8)
        sheet(figure, panels, source.class_names, across)
        return figure
    of_bands = 1.35 * width / spec.channels
    figure = new_figure(width, height + of_bands + 0.8)
    parts = figure.subfigures(2, 1, squeeze=False, height_ratios=[height + 0.5, of_bands])
    upper, lower = parts[:, 0]
    sheet(upper, panels, source.class_names, across)
    _show_bands(spec, lower, decoded, ids)
    return figure


def _panels(spec: TaskSpec, sample: Decoded, sample_id: str) -> list[Panel]:
    """Panels of a sample: its image and mask, or its image with boxes."""
    image = to_rgb(sample.pixels, spec.rgb_bands)
    title = short(sample_id)
    if sample.mask is not None:
        has_object = bool(((sample.mask != 0) & (sample.mask != IGNORE)).any())
        return [Panel(image, title), Panel(image, "" if has_object else "no object", sample.mask)]
    count = 0 if sample.boxes is None else len(sample.boxes)
    number = "no object" if count == 0 else f"{count} box{'es' * (count > 1)}"
    return [Panel(image, f"{title}: {number}", sample.boxes)]


def _chosen(spec: TaskSpec, source: Source, rows: Rows) -> list[int]:
    """Indices of the samples to draw, spread over the split, some without an object."""
    chosen = spread(len(rows), SHOWN).tolist()
    looked_at = np.unique(spread(len(rows), LOOKED_AT))
    if rows.reading_order is not None:
        # A published file is a sequence: jumping about in it is slow.
        looked_at = rows.reading_order[np.isin(rows.reading_order, looked_at)]
    else:
        # In random order, so that the first matches come from all over the split.
        looked_at = np.random.default_rng(0).permutation(looked_at)
    negatives = [i for i in chosen if is_negative(spec, source.read(rows.split, i))]
    added: list[int] = []
    if len(negatives) < NEGATIVES and len(chosen) < len(rows):
        for i in track(looked_at.tolist(), "Looking for samples without an object", len(looked_at)):
            if i not in chosen and is_negative(spec, source.read(rows.split, i)):
                added.append(i)
            if len(negatives) + len(added) == NEGATIVES:
                break
    # They replace their nearest neighbours.
    for i in added:
        others = [k for k in chosen if k not in negatives and k not in added]
        chosen.remove(min(others, key=lambda k: abs(k - i)))
        chosen.append(i)
    return sorted(chosen)


def _show_bands(spec: TaskSpec, figure: SubFigure, decoded: list[Decoded], ids: list[str]) -> None:
    """Show each band of the first sample with an object, stretched to its own range."""
    index = next((i for i, sample in enumerate(decoded) if not sample.is_negative), 0)
    colors = dict(zip(spec.rgb_bands or (), ("red", "green", "blue"), strict=False))
    for band, axis in enumerate(grid(figure, 1, spec.channels)[0]):
        values = decoded[index].pixels[:, :, band].astype(np.float64)
        low, high = np.percentile(values, (1, 99))
        axis.imshow(values, cmap="gray", vmin=low, vmax=max(high, low + 1e-6))
        name = f" ({colors[band]})" if band in colors else ""
        scale = 255 if decoded[index].pixels.dtype == np.uint8 else 1
        axis.set_title(
            f"band {band + 1}{name}\n{low / scale:.2f} to {high / scale:.2f}", fontsize=7, pad=2
        )
    figure.suptitle(f"bands of {short(ids[index])}, each stretched", fontsize=8)
