"""Sheets of corruptions: samples beside their corrupted copies."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from marsbench.base.errors import unknown_name
from marsbench.data.cache import DirectSamples
from marsbench.data.corruptions.applying import corrupt_images, corrupt_pairs, corrupt_spectrum
from marsbench.data.corruptions.randomness import sample_seed
from marsbench.data.corruptions.table import Subject, get_corruption, names_of
from marsbench.data.drawing import RGB, Panel, new_figure, save, sheet, short, spread, to_rgb
from marsbench.data.rows import Rows, Source
from marsbench.data.spectra import DirectSpectra, technique_of
from marsbench.data.tools.pictures.spectra import show_curves
from marsbench.data.transforms import resize, to_float
from marsbench.spectra.spectrum import Spectrum
from marsbench.tasks.spec import SPLITS, TaskSpec

SIDE = 224
"""Side of the corrupted images in pixels, the input of most models."""

SHOWN = (1, 3, 5)
"""Severities drawn by default."""

_SAMPLES = 2
"""Number of samples of a sheet of images."""


def draw_corruptions(
    spec: TaskSpec,
    source: Source,
    split: str,
    path: Path,
    severities: Sequence[int] = SHOWN,
    seed: int = 0,
) -> None:
    """Draw a sheet of a task's samples with a row per corruption: clean, then by severity.

    Args:
        spec: The task.
        source: Its data, opened.
        split: train, val or test.
        path: PNG to write.
        severities: Severities to draw.
        seed: Seed of the corruptions.

    Raises:
        ConfigError: If a severity is unknown.
        DataError: If a sample cannot be read or the picture cannot be written.
    """
    if split not in SPLITS:
        raise unknown_name("split", split, SPLITS)
    rows = source.rows(split)
    drawn = _sheet_of_spectra if spec.is_spectra else _sheet_of_images
    figure = drawn(spec, source, rows, severities, seed)
    figure.suptitle(f"{spec.name}, {split} ({source.revision}), seed {seed}", fontsize=10)
    save(figure, path)


def image_panels(
    image: Tensor,
    sample_id: str,
    name: str,
    severities: Sequence[int],
    seed: int = 0,
    *,
    is_pair: bool = False,
) -> list[Panel]:
    """An image and its corrupted copies, by severity.

    Args:
        image: (C, H, W), floats in [0, 1], at the size of a model's input.
        sample_id: Id of the sample.
        name: A corruption of images.
        severities: Severities, a panel each.
        seed: Seed of the corruption.
        is_pair: Whether the image is a composite of two.
    """
    seeds = [sample_seed(seed, sample_id, name)]
    corrupted = corrupt_pairs if is_pair else corrupt_images
    panels = [Panel(_pixels(image), f"{name}: {short(sample_id, 14)}")]
    for severity in severities:
        pixels = _pixels(corrupted(image[None], name, severity, seeds)[0])
        panels.append(Panel(pixels, f"{severity}: {_values(name, severity)}"))
    return panels


def _sheet_of_images(
    spec: TaskSpec, source: Source, rows: Rows, severities: Sequence[int], seed: int
) -> Figure:
    samples = DirectSamples(spec, source, rows)
    # Not the ends of a split, which are often of one class.
    chosen = np.unique(spread(len(rows), _SAMPLES + 2)[1:-1]).tolist() or [0]
    groups = []
    for name in names_of(Subject.IMAGES):
        panels = []
        for i in chosen:
            pixels = torch.from_numpy(samples[i].pixels.transpose(2, 0, 1).copy())
            image = resize(to_float(pixels), SIDE)
            panels += image_panels(
                image, rows.sample_ids[i], name, severities, seed, is_pair=spec.is_pairs
            )
        groups.append(panels)
    figure = new_figure(1.7 * len(groups[0]), 1.85 * len(groups) + 0.4)
    sheet(figure, groups, source.class_names, 1)
    return figure


def _sheet_of_spectra(
    spec: TaskSpec, source: Source, rows: Rows, severities: Sequence[int], seed: int
) -> Figure:
    technique = technique_of(spec)
    index = len(rows) // 2
    spectrum, sample_id = DirectSpectra(spec, source, rows)[index], rows.sample_ids[index]
    names = names_of(Subject.SPECTRA)
    figure = new_figure(4.6 * (1 + len(severities)), 2.6 * len(names) + 0.4)
    grid = figure.subplots(len(names), 1 + len(severities), squeeze=False, sharex=True)
    for axes, name in zip(grid, names, strict=True):
        drawn: list[tuple[str, Spectrum]] = [(f"{name}: {short(sample_id)}", spectrum)]
        for severity in severities:
            corrupted = corrupt_spectrum(
                spectrum, name, severity, sample_seed(seed, sample_id, name)
            )
            drawn.append((f"{severity}: {_values(name, severity)}", corrupted))
        for axis, (title, shown) in zip(axes, drawn, strict=True):
            show_curves(axis, shown, technique)
            axis.set_title(title, fontsize=8, loc="left")
    return figure


def _values(name: str, severity: int) -> str:
    """Parameters of a severity, for people."""
    values = get_corruption(name).at(severity)
    return ", ".join(f"{key.replace('_', ' ')} {value:g}" for key, value in values.items())


def _pixels(image: Tensor) -> RGB:
    return to_rgb(image.permute(1, 2, 0).numpy())
