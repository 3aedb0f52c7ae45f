"""Marks that figures share: estimates, intervals, titles of models, legends."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from marsbench.report.figures.style import INK, legend, shorten, tip
from marsbench.report.names import model_title

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import FigureBase

Floats = NDArray[np.float64]
Looks = Mapping[str, Mapping[str, Any]]

ACROSS = 4
"""Largest number of panels side by side."""


@dataclass(frozen=True)
class Row:
    """An estimate with its spread.

    Attributes:
        value: Estimate.
        low: Lower end of the interval; NaN without an interval.
        high: Upper end.
        draws: Bootstrap distribution, (R,), may be empty.
        runs: Single scores, (N,), may be empty.
    """

    value: float
    low: float = math.nan
    high: float = math.nan
    draws: Floats = field(default_factory=lambda: np.empty(0))
    runs: Floats = field(default_factory=lambda: np.empty(0))


def short_title(name: str, length: int = 26) -> str:
    """Title of a model, shortened to fit beside a panel."""
    return shorten(model_title(name), length)


def words(row: Row) -> str:
    """An estimate with its interval."""
    ends = f" [{row.low:.3f}, {row.high:.3f}]" if math.isfinite(row.low) else ""
    return f"{row.value:.3f}{ends}"


def hide(panels: Iterable["Axes"]) -> None:
    """Hide the panels of a grid that stay empty."""
    for axes in panels:
        axes.set_visible(False)


def intervals(
    axes: "Axes",
    rows: Iterable[tuple[float, Row]],
    colour: str,
    *,
    vertical: bool,
    width: float = 1.0,
) -> None:
    """Draw the intervals of estimates as lines, all at once; none for a single run.

    Args:
        axes: Panel.
        rows: Places and estimates.
        colour: Colour of all lines.
        vertical: Whether scores are on the vertical axis.
        width: Width in points.
    """
    shown = [(at, r) for at, r in rows if math.isfinite(r.low) and math.isfinite(r.high)]
    if shown:
        draw = axes.vlines if vertical else axes.hlines
        places, low, high = zip(*((at, r.low, r.high) for at, r in shown), strict=True)
        draw(places, low, high, colors=colour, linewidth=width, zorder=1.9)


def point(
    axes: "Axes", x: float, y: float, look: Mapping[str, Any], text: str, size: float = 5
) -> None:
    """Draw an estimate by its model's marker, with a tip."""
    (mark,) = axes.plot(
        x, y, look["marker"], color=look["color"], markeredgecolor=INK, mew=0.5, markersize=size
    )
    tip(mark, text)


def models_key(figure: "FigureBase", names: Sequence[str], look: Looks, across: int) -> None:
    """Draw a legend of models."""
    from matplotlib.lines import Line2D

    legend(
        figure, [Line2D([], [], **look[n]) for n in names], [short_title(n) for n in names], across
    )
