"""Plots of cells: heat map, confusion matrix, unequal classes."""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from marsbench.report.figures.style import (
    COLUMN,
    INK,
    PAGE,
    SMALLEST,
    canvas,
    looks,
    shorten,
    tip,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import QuadMesh
    from matplotlib.figure import Figure

Floats = NDArray[np.float64]

_NUMBERED = 16
"""Largest number of classes of a confusion matrix with numbers in its cells."""

_CLASSES = 20
"""Number of classes shown in the plot of unequal classes; the table holds all."""


def heat_map(
    values: Floats,
    shades: Floats,
    models: Sequence[str],
    tasks: Sequence[str],
    label: str,
    framed: Collection[tuple[int, int]] = (),
) -> "Figure":
    """Draw a heat map of models x tasks with the score in each cell.

    More tasks than fit beside each other continue in a further panel below.

    Args:
        values: Scores, (M, T); NaN without runs.
        shades: Values of the colour map, 0 to 1 with 1 best, (M, T).
        models: M titles, the best first.
        tasks: T names.
        label: Label of the colour bar.
        framed: Rows and columns of cells with a frame.
    """
    left, cell = 0.45 + _LETTER * max(map(len, models)), 0.44
    width = COLUMN if left + cell * len(tasks) + 0.6 <= COLUMN else PAGE
    across = max(1, min(len(tasks), int((width - left - 0.6) / cell)))
    down = math.ceil(len(tasks) / across)
    high = 0.35 + 0.21 * len(models) + 0.7 * _LETTER * max(map(len, tasks))
    figure = canvas(width, 0.2 + high * down)
    grid = figure.subplots(down, 1, squeeze=False)[:, 0]
    for number, axes in enumerate(grid):
        part = slice(number * across, (number + 1) * across)
        image = _cells(axes, values[:, part], shades[:, part], "cividis", 0.55, _three)
        tips = [
            f"{models[row]}, {tasks[part][column]}: {_three(float(values[:, part][row, column]))}"
            for row, column in np.ndindex(values[:, part].shape)
        ]
        tip(image, *tips)
        axes.set_xlim(-0.5, across - 0.5)
        shown = tasks[part]
        axes.set_xticks(range(len(shown)), shown, rotation=40, ha="right", rotation_mode="anchor")
        axes.set_yticks(range(len(models)), models)
        for row, column in framed if down == 1 else ():
            _frame(axes, row, column)
    bar = figure.colorbar(image, ax=list(grid), fraction=0.04, pad=0.02, label=label)
    bar.outline.set_visible(False)
    bar.ax.tick_params(length=0)
    return figure


_LETTER = 0.066
"""Width of a letter of the smallest text, in inches."""


def _three(value: float) -> str:
    return f"{value:.3f}" if math.isfinite(value) else "\N{EN DASH}"


def _frame(axes: "Axes", row: int, column: int) -> None:
    from matplotlib.patches import Rectangle

    axes.add_patch(
        Rectangle(
            (column - 0.46, row - 0.46), 0.92, 0.92, fill=False, edgecolor="#D55E00", linewidth=1.4
        )
    )


def _cells(
    axes: "Axes",
    values: Floats,
    shades: Floats,
    colours: str,
    turn: float,
    text: Callable[[float], str],
) -> "QuadMesh":
    """Draw coloured cells with their values, the first row on top.

    Args:
        axes: Panel.
        values: Values, (R, C).
        shades: Values of the colour map, (R, C); NaN is grey.
        colours: Name of the colour map.
        turn: Shade between white and dark text; of `cividis` darker cells are those below.
        text: Text of a value; empty for none.
    """
    from matplotlib import colormaps

    colour_map = colormaps[colours].with_extremes(bad="#f4f4f4")
    rows, columns = values.shape
    image = axes.pcolormesh(
        np.arange(columns + 1) - 0.5, np.arange(rows + 1) - 0.5, np.ma.masked_invalid(shades),
        cmap=colour_map, vmin=0, vmax=1, edgecolor="white", linewidth=0.4,
    )  # fmt: skip
    axes.set_ylim(rows - 0.5, -0.5)
    dark_below = colours == "cividis"
    for row, column in np.ndindex(rows, columns):
        if shown := text(float(values[row, column])):
            shade = shades[row, column]
            is_dark = math.isfinite(shade) and (shade < turn) == dark_below
            axes.text(
                column, row, shown, ha="center", va="center", fontsize=SMALLEST,
                color="white" if is_dark else INK,
            )  # fmt: skip
    bare(axes)
    return image


def confusion(shares: Floats, classes: Sequence[str], title: str) -> "Figure":
    """Draw a confusion matrix with rows of true classes adding up to 1.

    Args:
        shares: (K, K); rows without samples are NaN.
        classes: K names.
        title: Title.
    """
    count = len(classes)
    names = [shorten(name, 20) for name in classes]
    left = 0.75 + _LETTER * max(map(len, names))
    width = COLUMN if left + 0.27 * count + 0.5 <= COLUMN else PAGE
    side = min((width - left - 0.5) / count, 0.45)
    figure = canvas(width, left + side * count)
    axes = figure.subplots()

    def percent(share: float) -> str:
        is_shown = count <= _NUMBERED and math.isfinite(share) and share >= 0.005
        return f"{100 * share:.0f}" if is_shown else ""

    image = _cells(axes, shares, shares, "Blues", 0.55, percent)
    tips = [
        f"{classes[row]} as {classes[column]}: {100 * shares[row, column]:.1f} %"
        for row, column in np.ndindex(*shares.shape)
    ]
    tip(image, *tips)
    axes.set_aspect("equal")
    every = math.ceil(0.11 / side)  # class names need room
    shown = range(0, count, every)
    axes.set_xticks(shown, names[::every], rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(shown, names[::every])
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    axes.set_title(shorten(title, 60 if width == PAGE else 44))
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
        (marks,) = axes.plot(
            at, np.arange(len(names)) + shift, look["marker"], color=look["color"],
            label=shorten(way), markeredgecolor=INK, mew=0.3, markersize=4.5,
        )  # fmt: skip
        tip(marks, *(f"{name}, {way}: {v:.3f}" for name, v in zip(names, at, strict=True)))
    labels = [f"{shorten(name, 20)} ({counts[name]})" for name in names]
    axes.set_yticks(range(len(names)), labels)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.set_xlim(-0.02, 1.02)
    axes.set_xlabel(axis)
    axes.grid(axis="both")
    figure.legend(loc="outside lower center", ncols=2)
    return figure
