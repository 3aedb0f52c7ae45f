"""Dot plots of models in several modes."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from marsbench.report.figures.plots.marks import (
    ACROSS,
    Looks,
    Row,
    hide,
    intervals,
    models_key,
    point,
    short_title,
    words,
)
from marsbench.report.figures.style import COLUMN, PAGE, canvas, shorten

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_STEP = 0.22
"""Distance of the modes of a model, in rows."""


class ModePanel(NamedTuple):
    """A panel of a figure.

    Attributes:
        title: Title.
        axis: Label of the axis of scores.
        rows: Estimates by model and mode.
    """

    title: str
    axis: str
    rows: Mapping[str, Mapping[str, Row]]


def modes(panels: Sequence[ModePanel], models: Sequence[str], look: Looks) -> "Figure":
    """Draw the estimates of each model in every mode below each other.

    Args:
        panels: Panels; the title of the first is bold.
        models: Models, the best first; further models of single panels are left out.
        look: Colours and markers of the modes from `style.looks`.
    """
    across = min(ACROSS, len(panels))
    down = math.ceil(len(panels) / across)
    width = PAGE if across > 1 else COLUMN
    step = min(_STEP, 0.8 / len(look))
    figure = canvas(width, down * (0.62 + 0.27 * max(len(models), 2)) + 0.3)
    grid = figure.subplots(down, across, squeeze=False)
    for number, (axes, panel) in enumerate(zip(grid.flat, panels, strict=False)):
        for place, model in enumerate(models):
            for mode, row in panel.rows.get(model, {}).items():
                at = place + step * (list(look).index(mode) - (len(look) - 1) / 2)
                intervals(axes, [(at, row)], look[mode]["color"], vertical=False, width=1.3)
                text = f"{short_title(model)}, {mode}: {words(row)}"
                point(axes, row.value, at, look[mode], text, size=4.2)
        for place in range(len(models) - 1):
            axes.axhline(place + 0.5, color="#ececec", linewidth=0.6, zorder=0)
        axes.set_yticks(range(len(models)), [short_title(model) for model in models])
        axes.set_ylim(len(models) - 0.5, -0.5)
        axes.tick_params(axis="y", length=0, labelleft=number % across == 0)
        axes.set_title(
            shorten(panel.title, 25 if across == ACROSS else 40),
            fontweight="bold" if panel is panels[0] else "normal",
        )
        axes.set_xlabel(shorten(panel.axis, 40))
        axes.grid(axis="x")
        axes.locator_params(axis="x", nbins=4)
    hide(grid.flat[len(panels) :])
    plain = {mode: {**mine, "linestyle": ""} for mode, mine in look.items()}
    models_key(figure, list(look), plain, 4 if width == PAGE else 2)
    return figure
