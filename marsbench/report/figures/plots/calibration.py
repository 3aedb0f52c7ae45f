"""Reliability diagrams."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from marsbench.metrics.calibration import NUM_BINS, Bins
from marsbench.report.figures.plots.marks import ACROSS, hide, short_title
from marsbench.report.figures.style import COLUMN, FAINT, GRID, INK, PAGE, SMALLEST, canvas

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_STRIP = 0.2
"""Height of the highest bar below the diagram."""


class Panel(NamedTuple):
    """Reliability of a model.

    Attributes:
        title: Model.
        bins: Sums over its runs, (1, NUM_BINS).
        error: Calibration error, mean over its runs.
        colour: Colour of the model.
    """

    title: str
    bins: Bins
    error: float
    colour: str


def reliability(panels: Sequence[Panel], axis: str) -> "Figure":
    """Draw the share of right predictions over their probability, a panel for each model.

    Bars below the diagram are the numbers of predictions in each bin.

    Args:
        panels: Panels, the best model first.
        axis: Label of the axis of shares.
    """
    across = min(ACROSS, len(panels))
    down = math.ceil(len(panels) / across)
    width = COLUMN if across <= 2 else PAGE
    figure = canvas(width, 0.35 + (0.35 + min(width / across, 2.4)) * down)
    grid = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False)
    for number, (axes, panel) in enumerate(zip(grid.flat, panels, strict=False)):
        _panel(axes, panel)
        # Below the last panel of each column.
        axes.tick_params(labelbottom=number + across >= len(panels))
    hide(grid.flat[len(panels) :])
    figure.supxlabel("predicted probability")
    figure.supylabel(axis)
    return figure


def _panel(axes: "Axes", panel: Panel) -> None:
    counts, probability, right = (sums[0] for sums in panel.bins)
    used = counts > 0
    mean, share = probability[used] / counts[used], right[used] / counts[used]
    axes.plot([0, 1], [0, 1], ":", color=FAINT, linewidth=0.9)
    axes.vlines(mean, mean, share, color=panel.colour, alpha=0.35, linewidth=2.2)
    axes.plot(
        mean, share, "-o", color=panel.colour, markeredgecolor=INK, mew=0.4, markersize=3.2,
        linewidth=1,
    )  # fmt: skip
    middles = (np.arange(NUM_BINS) + 0.5) / NUM_BINS
    axes.bar(
        middles, _STRIP * counts / counts.max(), 0.9 / NUM_BINS, -0.06 - _STRIP,
        color=panel.colour, alpha=0.45, linewidth=0,
    )  # fmt: skip
    axes.axhline(-0.06 - _STRIP, color=GRID, linewidth=0.6)
    axes.text(
        0.03, 0.97, f"error {panel.error:.3f}", ha="left", va="top", fontsize=SMALLEST,
        transform=axes.get_yaxis_transform(),
    )  # fmt: skip
    axes.set_title(short_title(panel.title, 22))
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(-0.08 - _STRIP, 1.04)
    axes.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
    axes.set_yticks([0, 0.5, 1], ["0", "0.5", "1"])
