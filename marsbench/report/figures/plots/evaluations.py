"""Plots of evaluations: scores over severities, pictures of corruptions."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from marsbench.report.figures.plots.marks import (
    ACROSS,
    Looks,
    Row,
    hide,
    intervals,
    models_key,
    short_title,
    words,
)
from marsbench.report.figures.style import COLUMN, PAGE, SMALLEST, canvas, shorten, tip

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_GAP = 0.15
"""Width of the gap between two corruptions side by side, in widths of an image."""

_TITLE = 0.16
"""Height of the line above an image, in inches."""

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
    across = min(ACROSS, len(panels))
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
            (marks,) = axes.plot(at, [row.value for row in line.values()], **look[model])
            tip(marks, *(f"{short_title(model)}, {s}: {words(r)}" for s, r in line.items()))
            rows = zip(at, line.values(), strict=True)
            intervals(axes, rows, look[model]["color"], vertical=True, width=0.9)
        axes.set_title(shorten(name.replace("_", " "), 24))
        axes.set_xticks(severities)
        axes.set_xlim(severities[0] - 0.4, severities[-1] + 0.4)
        axes.grid(axis="y")
        # Below the last panel of each column.
        if number + across >= len(panels):
            axes.tick_params(labelbottom=True)
            axes.set_xlabel("severity")
    hide(grid.flat[len(panels) :])
    figure.supylabel(axis)
    models_key(figure, shown, look, columns)
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
    page = PAGE if across > 1 else COLUMN
    side = page / (width * across + _GAP * (across - 1))
    figure = canvas(page, (side + _TITLE) * down)
    figure.set_layout_engine("none")
    # Panels of their own would take seconds to lay out: all pictures share one, in inches.
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    for number, (name, images) in enumerate(strips.items()):
        row, column = divmod(number, across)
        top = row * (side + _TITLE) + _TITLE
        for place, image in enumerate(images):
            left = side * (column * (width + _GAP) + place)
            extent = (left, left + 0.97 * side, top + 0.97 * side, top)
            axes.imshow(image, extent=extent, interpolation="none")
            title = name.replace("_", " ") if place == 0 else str(severities[place - 1])
            middle = left + 0.485 * side
            axes.text(
                middle, top - 0.03, shorten(title, 18), ha="center", va="bottom", fontsize=SMALLEST
            )
    axes.set_xlim(0, page)
    axes.set_ylim((side + _TITLE) * down, 0)
    return figure
