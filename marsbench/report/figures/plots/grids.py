"""Plots of cells: heat map, confusion matrix, unequal classes."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from marsbench.report.figures.style import COLUMN, FAINT, INK, PAGE, canvas, looks, shorten

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Floats = NDArray[np.float64]

_NUMBERED = 16
"""Largest number of classes of a confusion matrix with numbers in its cells."""

_CLASSES = 20
"""Number of classes shown in the plot of unequal classes; the table holds all."""


def heat_map(
    values: Floats, shades: Floats, models: Sequence[str], tasks: Sequence[str], label: str
) -> "Figure":
    """Draw a heat map of models x tasks with the score in each cell.

    Args:
        values: Scores, (M, T); NaN without runs.
        shades: Values of the colour map, 0 to 1 with 1 best, (M, T).
        models: M names, the best first.
        tasks: T names.
        label: Label of the colour bar.
    """
    width = min(PAGE, 1.9 + 0.46 * len(tasks))
    figure = canvas(max(width, COLUMN), 1.35 + 0.21 * len(models))
    axes = figure.subplots()
    from matplotlib import colormaps

    colours = colormaps["cividis"].with_extremes(bad="#f4f4f4")
    image = axes.imshow(np.ma.masked_invalid(shades), cmap=colours, vmin=0, vmax=1, aspect="auto")
    size = 6.5 if len(tasks) <= 12 else 5
    for row, column in np.ndindex(*values.shape):
        known = math.isfinite(values[row, column])
        dark = known and shades[row, column] < 0.55
        axes.text(
            column,
            row,
            f"{values[row, column]:.2f}" if known else "\N{EN DASH}",
            ha="center",
            va="center",
            fontsize=size,
            color="white" if dark else INK if known else FAINT,
        )
    axes.set_xticks(
        range(len(tasks)), [shorten(task, 24) for task in tasks], rotation=40, ha="right",
        rotation_mode="anchor",
    )  # fmt: skip
    axes.set_yticks(range(len(models)), [shorten(model) for model in models])
    bare(axes)
    bar = figure.colorbar(image, ax=axes, fraction=0.04, pad=0.02, label=label)
    bar.outline.set_visible(False)
    bar.ax.tick_params(length=0)
    return figure


def confusion(shares: Floats, classes: Sequence[str], title: str) -> "Figure":
    """Draw a confusion matrix with rows of true classes adding up to 1.

    Args:
        shares: (K, K); rows without samples are NaN.
        classes: K names.
        title: Title.
    """
    count = len(classes)
    written = count <= _NUMBERED
    side = min(PAGE, max(COLUMN, 1.5 + 0.3 * count if written else 2.0 + 0.17 * count))
    figure = canvas(side, side * 0.94)
    axes = figure.subplots()
    from matplotlib import colormaps

    colours = colormaps["Blues"].with_extremes(bad="#f4f4f4")
    image = axes.imshow(np.ma.masked_invalid(shares), cmap=colours, vmin=0, vmax=1)
    for row, column in np.ndindex(*shares.shape) if written else ():
        share = shares[row, column]
        if math.isfinite(share) and share >= 0.005:
            axes.text(
                column,
                row,
                f"{100 * share:.0f}",
                ha="center",
                va="center",
                fontsize=6.5 if count <= 12 else 5.5,
                color="white" if share > 0.55 else INK,
            )
    names = [shorten(name, 20) for name in classes]
    size = 7 if count <= 20 else max(4.0, 130 / count)
    axes.set_xticks(
        range(count), names, rotation=45, ha="right", rotation_mode="anchor", fontsize=size
    )
    axes.set_yticks(range(count), names, fontsize=size)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    axes.set_title(shorten(title, 60))
    bare(axes)
    bar = figure.colorbar(image, ax=axes, fraction=0.04, pad=0.02)
    bar.set_ticks([0, 0.5, 1], labels=["0 %", "50 %", "100 %"])
    bar.outline.set_visible(False)
    bar.ax.tick_params(length=0)
    return figure


def bare(axes: "Axes") -> None:
    """Remove ticks and frame."""
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)


def imbalance(
    counts: Mapping[str, int], scores: Mapping[str, Mapping[str, float | None]], axis: str
) -> "Figure":
    """Draw the score of every class by method for unequal classes, the rarest at the top.

    Args:
        counts: Train samples of each class, the rarest first.
        scores: Scores by method and class; None if undefined.
        axis: Label of the axis.
    """
    names = list(counts)
    if len(names) > _CLASSES:
        half = _CLASSES // 2
        names = names[:half] + names[-half:]
    figure = canvas(COLUMN, 1.0 + 0.19 * len(names) + 0.14 * math.ceil(len(scores) / 2))
    axes = figure.subplots()
    for number, (way, look) in enumerate(looks(scores).items()):
        values = [scores[way].get(name) for name in names]
        at = [value if value is not None else math.nan for value in values]
        shift = 0.2 * (number - (len(scores) - 1) / 2)
        axes.plot(
            at, np.arange(len(names)) + shift, look["marker"], color=look["color"],
            label=shorten(way), markeredgecolor=INK, mew=0.3, markersize=4.5,
        )  # fmt: skip
    labels = [f"{shorten(name, 20)} ({counts[name]})" for name in names]
    axes.set_yticks(range(len(names)), labels)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.set_xlim(-0.02, 1.02)
    axes.set_xlabel(axis)
    axes.grid(axis="both")
    figure.legend(loc="outside lower center", ncols=2)
    return figure
