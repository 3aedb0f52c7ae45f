"""Violins: bootstrap distributions of estimates, a panel for each task."""

import math
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from marsbench.report.figures.plots.marks import (
    ACROSS,
    Looks,
    Row,
    hide,
    intervals,
    short_title,
    words,
)
from marsbench.report.figures.style import (
    COLUMN,
    FAINT,
    INK,
    PAGE,
    QUIET,
    SMALLEST,
    canvas,
    legend,
    shorten,
    tip,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class ScorePanel:
    """A panel of a figure.

    Attributes:
        title: Title.
        axis: Label of the axis of scores.
        rows: Row by model; some models may be missing.
        lines: Published numbers, drawn as dotted lines.
        note: Sentence in the panel, such as the reason for a panel without rows.
    """

    title: str
    axis: str
    rows: Mapping[str, Row]
    lines: tuple[float, ...] = ()
    note: str = ""


def violins(
    panels: Sequence[ScorePanel],
    models: Sequence[str],
    look: Looks,
    starred: Container[str] = (),
    is_shared: bool = False,
) -> "Figure":
    """Draw the distribution of each model's estimate in each panel, models from top to bottom.

    Violins are bootstrap distributions, dots estimates, lines intervals, and the ticks below single
    runs.

    Args:
        panels: Panels; the title of the first is bold.
        models: Models, the best first.
        look: Colours and markers from `style.looks`; violins of `style.hollow` looks are outlines.
        starred: Models marked by a star, explained in the caption.
        is_shared: Whether all panels have the same axis of scores.
    """
    labels = [short_title(model) + (" *" if model in starred else "") for model in models]
    across = min(ACROSS, len(panels))
    down = math.ceil(len(panels) / across)
    figure = canvas(
        PAGE if across > 1 else COLUMN, down * (0.62 + 0.27 * max(len(models), 2)) + 0.3
    )
    grid = figure.subplots(down, across, sharex=is_shared, squeeze=False)
    for number, (axes, panel) in enumerate(zip(grid.flat, panels, strict=False)):
        _score_axes(axes, panel, models, look)
        axes.set_yticks(range(len(models)), labels)
        axes.set_ylim(len(models) - 0.3, -0.6)
        # Labels of models stand at the left of a row alone.
        axes.tick_params(axis="y", length=0, labelleft=number % across == 0)
        axes.set_title(
            shorten(panel.title, 25 if across == ACROSS else 40),
            fontweight="bold" if panel is panels[0] else "normal",
        )
        axes.tick_params(axis="x", labelbottom=True)
        axes.set_xlabel(shorten(panel.axis, 40))
        axes.grid(axis="x")
        axes.locator_params(axis="x", nbins=4)
        if not is_shared:
            _leave_room(axes)
    hide(grid.flat[len(panels) :])
    _violin_key(figure, panels)
    return figure


def _score_axes(axes: "Axes", panel: ScorePanel, models: Sequence[str], look: Looks) -> None:
    rows = {place: panel.rows[m] for place, m in enumerate(models) if m in panel.rows}
    looks = [look[models[place]] for place in rows]
    _bodies(axes, rows, looks)
    intervals(axes, rows.items(), INK, vertical=False, width=1.3)
    for (place, row), mine in zip(rows.items(), looks, strict=True):
        if len(row.runs) > 1:
            at = row.runs[np.isfinite(row.runs)]
            (ticks,) = axes.plot(
                at, np.full(len(at), place + 0.46), "|", color=mine["color"], markersize=4, mew=0.9
            )
            tip(ticks, *(f"{score:.4f}" for score in at))
    if rows:
        (dots,) = axes.plot(
            [row.value for row in rows.values()], list(rows), "o",
            color=INK, markerfacecolor="white", markersize=3.8, mew=1,
        )  # fmt: skip
        tip(dots, *(f"{short_title(models[place])}: {words(row)}" for place, row in rows.items()))
    for number in panel.lines:
        axes.axvline(number, color=INK, linestyle=":", linewidth=0.9, zorder=0.5)
    gaps = [place for place, model in enumerate(models) if model not in panel.rows]
    for place in gaps if panel.rows else ():
        _say(axes, place, "no runs", QUIET)
    if panel.note:
        _say(axes, -0.45 if panel.rows else (len(models) - 1) / 2, panel.note)


def _say(axes: "Axes", place: float, text: str, colour: str = INK) -> None:
    axes.text(
        0.5, place, text, transform=axes.get_yaxis_transform(), ha="center", va="center",
        color=colour, fontsize=SMALLEST,
    )  # fmt: skip


def _bodies(axes: "Axes", rows: Mapping[int, Row], looks: Sequence[Mapping[str, Any]]) -> None:
    """Draw all violins of a panel; too few different draws have no density."""
    draws = [row.draws[np.isfinite(row.draws)] for row in rows.values()]
    shown = [
        n for n, each in enumerate(draws) if len(np.unique(each)) >= 20 and np.ptp(each) > 1e-9
    ]
    if not shown:
        return
    places = list(rows)
    shapes: Any = axes.violinplot(
        [draws[n] for n in shown], [places[n] for n in shown], orientation="horizontal",
        widths=0.84, showextrema=False, points=60,
    )  # fmt: skip
    for n, body in zip(shown, shapes["bodies"], strict=True):
        colour = looks[n]["color"]
        if "markerfacecolor" in looks[n]:
            body.set(facecolor="none", edgecolor=colour, alpha=1, linewidth=1)
        else:
            body.set(facecolor=colour, edgecolor=colour, alpha=0.75, linewidth=0.5)


def _violin_key(figure: "Figure", panels: Sequence[ScorePanel]) -> None:
    """Explain the marks in a legend."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    every = [row for panel in panels for row in panel.rows.values()]
    dot: dict[str, Any] = {
        "marker": "o",
        "markerfacecolor": "white",
        "markeredgecolor": INK,
        "markersize": 3.8,
    }
    keys: dict[str, Any] = {"IQM": Line2D([], [], linestyle="", **dot)}
    if any(math.isfinite(row.low) for row in every):
        keys["95 % interval"] = Line2D([], [], color=INK, linewidth=1.3)
    if any(len(row.draws) > 1 for row in every):
        keys["bootstrap distribution"] = Patch(facecolor=FAINT, alpha=0.75)
    if any(len(row.runs) > 1 for row in every):
        keys["single runs"] = Line2D(
            [], [], linestyle="", marker="|", color=FAINT, markersize=5, mew=0.9
        )
    if any(panel.lines for panel in panels):
        keys["published"] = Line2D([], [], color=INK, linestyle=":", linewidth=0.9)
    width, _ = figure.get_size_inches()
    legend(figure, list(keys.values()), list(keys), 5 if width > COLUMN else 2)


def _leave_room(axes: "Axes") -> None:
    """Widen axes of panels without spread, to avoid empty axes and ticks of many digits."""
    low, high = axes.get_xlim()
    if high - low < 0.02:
        middle = (low + high) / 2
        axes.set_xlim(middle - 0.01, middle + 0.01)
