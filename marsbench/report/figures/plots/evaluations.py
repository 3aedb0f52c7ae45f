"""Plots of evaluations: scores over severities, pictures of corruptions, train x test matrices."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from marsbench.report.figures.plots.grids import Floats, bare
from marsbench.report.figures.plots.scores import Looks, Row, interval
from marsbench.report.figures.style import COLUMN, FAINT, INK, PAGE, canvas, shorten

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_ACROSS = 4
"""Largest number of panels side by side."""

_GAP = 0.15
"""Width of the gap between two corruptions side by side, in widths of an image."""

_STEP = 0.06
"""Offset between neighbouring models at a severity."""


def severity_curves(
    panels: Mapping[str, Mapping[str, Mapping[int, Row]]], axis: str, look: Looks
) -> "Figure":
    """Draw scores over severities, a panel for each corruption; severity 0 is without corruption.

    Args:
        panels: Estimates by corruption, model and severity.
        axis: Label of the axis of scores.
        look: Colours and markers from `style.looks`, in the order of the legend.
    """
    shown = [name for name in look if any(name in lines for lines in panels.values())]
    across = min(_ACROSS, len(panels))
    down = math.ceil(len(panels) / across)
    width = COLUMN if across <= 2 else PAGE
    columns = 2 if width == COLUMN else 4
    figure = canvas(width, 0.35 + 1.45 * down + 0.16 * math.ceil(len(shown) / columns))
    grid = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False)
    severities = sorted({s for lines in panels.values() for line in lines.values() for s in line})
    for number, (axes, (name, lines)) in enumerate(zip(grid.flat, panels.items(), strict=False)):
        models = [model for model in shown if model in lines]
        for place, model in enumerate(models):
            line = dict(sorted(lines[model].items()))
            shift = _STEP * (place - (len(models) - 1) / 2)
            at = [severity + shift for severity in line]
            axes.plot(at, [row.value for row in line.values()], **look[model])
            for x, row in zip(at, line.values(), strict=True):
                interval(axes, row, x, look[model]["color"], vertical=True, width=0.9)
        axes.set_title(shorten(name.replace("_", " "), 24))
        axes.set_xticks(severities)
        axes.set_xlim(severities[0] - 0.4, severities[-1] + 0.4)
        axes.grid(axis="y")
        # Below the last panel of each column.
        if number + across >= len(panels):
            axes.tick_params(labelbottom=True)
            axes.set_xlabel("severity")
    for axes in list(grid.flat)[len(panels) :]:
        axes.set_visible(False)
    from matplotlib.lines import Line2D

    figure.supylabel(axis, fontsize=7.5)
    handles = [Line2D([], [], **look[name]) for name in shown]
    figure.legend(handles, list(map(shorten, shown)), loc="outside lower center", ncols=columns)
    return figure


def corruption_strips(
    strips: Mapping[str, Sequence[NDArray[np.uint8]]], severities: Sequence[int]
) -> "Figure":
    """Draw an image and its corrupted copies, two corruptions a row.

    Args:
        strips: By corruption, RGB images (H, W, 3): the image itself, then one per severity.
        severities: Severities.
    """
    width = len(severities) + 1
    across = 2 if len(strips) > 1 else 1
    down = math.ceil(len(strips) / across)
    side = PAGE / (2 * width + _GAP)
    figure = canvas(side * (width * across + _GAP * (across - 1)), (side + 0.16) * down + 0.05)
    # An empty column between the two.
    ratios = ([1.0] * width + [_GAP]) * across
    shape = {"width_ratios": ratios[:-1]}
    grid = figure.subplots(down, len(ratios) - 1, squeeze=False, gridspec_kw=shape)
    for axes in grid.flat:
        axes.set_axis_off()
    for number, (name, images) in enumerate(strips.items()):
        row, column = divmod(number, across)
        for place, image in enumerate(images):
            axes = grid[row, column * (width + 1) + place]
            axes.imshow(image)
            title = name.replace("_", " ") if place == 0 else str(severities[place - 1])
            axes.set_title(shorten(title, 18), fontsize=6.5, pad=2)
    layout: Any = figure.get_layout_engine()
    layout.set(w_pad=0.01, h_pad=0.02, wspace=0.01, hspace=0.01)
    return figure


def shift_matrix(
    values: Floats, shades: Floats, rows: Sequence[str], columns: Sequence[str], label: str
) -> "Figure":
    """Draw scores by training task (row) and tested task, with frames around equal tasks.

    Args:
        values: Scores, (R, C); NaN without one.
        shades: Values of the colour map, 0 to 1 with 1 best, (R, C).
        rows: Training tasks.
        columns: Tested tasks.
        label: Label of the colour bar.
    """
    from matplotlib import colormaps
    from matplotlib.patches import Rectangle

    figure = canvas(min(PAGE, max(COLUMN, 2.3 + 0.5 * len(columns))), 1.6 + 0.3 * len(rows))
    axes = figure.subplots()
    colours = colormaps["cividis"].with_extremes(bad="#f4f4f4")
    image = axes.imshow(np.ma.masked_invalid(shades), cmap=colours, vmin=0, vmax=1, aspect="auto")
    for row, column in np.ndindex(*values.shape):
        known = math.isfinite(values[row, column])
        dark = known and shades[row, column] < 0.55
        axes.text(
            column, row, f"{values[row, column]:.2f}" if known else "\N{EN DASH}",
            ha="center", va="center", fontsize=6.5,
            color="white" if dark else INK if known else FAINT,
        )  # fmt: skip
        if rows[row] == columns[column]:
            frame = Rectangle(
                (column - 0.46, row - 0.46), 0.92, 0.92, fill=False, edgecolor="#D55E00",
                linewidth=1.4,
            )  # fmt: skip
            axes.add_patch(frame)
    axes.set_xticks(
        range(len(columns)), [shorten(name, 30) for name in columns], rotation=40, ha="right",
        rotation_mode="anchor",
    )  # fmt: skip
    axes.set_yticks(range(len(rows)), [shorten(name, 30) for name in rows])
    axes.set_xlabel("tested on")
    axes.set_ylabel("trained on")
    bare(axes)
    bar = figure.colorbar(image, ax=axes, fraction=0.05, pad=0.02, label=label)
    bar.outline.set_visible(False)
    bar.ax.tick_params(length=0)
    return figure
