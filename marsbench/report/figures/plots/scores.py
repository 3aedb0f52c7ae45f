"""Plots of scores and their intervals: violins, curves, profiles, ranks, cost.

Functions take plain numbers and return a matplotlib figure; call them within `style.drawing`.
Missing numbers are left out, and single seeds are drawn as points.
"""

import math
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from marsbench.report.figures.style import COLUMN, FAINT, GRID, INK, PAGE, canvas, shorten

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, FigureBase

Floats = NDArray[np.float64]
Looks = Mapping[str, Mapping[str, Any]]

_ACROSS = 4
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


@dataclass(frozen=True)
class ScorePanel:
    """A panel of a figure.

    Attributes:
        title: Title.
        axis: Label of the axis of scores.
        rows: Row by model; some models may be missing.
        lines: Published numbers, drawn as dotted lines.
    """

    title: str
    axis: str
    rows: Mapping[str, Row]
    lines: tuple[float, ...] = ()


@dataclass(frozen=True)
class CurvePanel:
    """A panel of a figure of curves.

    Attributes:
        title: Title.
        lines: Estimates by model and position on the axis.
    """

    title: str
    lines: Mapping[str, Mapping[float, Row]]


def violins(
    panels: Sequence[ScorePanel], models: Sequence[str], look: Looks, starred: Container[str] = ()
) -> "Figure":
    """Draw the distribution of each model's estimate in each panel, models from top to bottom.

    Violins are bootstrap distributions, dots estimates, lines intervals, and the ticks below single
    runs.

    Args:
        panels: Panels; the title of the first is bold.
        models: Models, the best first.
        look: Colours and markers from `style.looks`; violins of `style.hollow` looks are outlines.
        starred: Models marked by a star, explained in the caption.
    """
    labels = [shorten(model) + (" *" if model in starred else "") for model in models]
    across = min(_ACROSS, len(panels))
    down = math.ceil(len(panels) / across)
    width = PAGE if across > 1 else COLUMN
    figure = canvas(width, down * (0.62 + 0.19 * max(len(models), 2)) + 0.1)
    grid = figure.subplots(down, across, sharey=True, squeeze=False)
    for axes, panel in zip(grid.flat, panels, strict=False):
        for place, model in enumerate(models):
            if model in panel.rows:
                _violin(axes, place, panel.rows[model], look[model])
            else:
                axes.text(
                    0.5,
                    place,
                    "no runs",
                    transform=axes.get_yaxis_transform(),
                    ha="center",
                    va="center",
                    color=FAINT,
                    fontsize=6,
                )
        for number in panel.lines:
            axes.axvline(number, color=INK, linestyle=":", linewidth=0.8, zorder=0.5)
        # Titles of four panels side by side have little room.
        axes.set_title(
            shorten(panel.title, 22 if across == _ACROSS else 40),
            fontweight="bold" if panel is panels[0] else "normal",
        )
        axes.set_xlabel(shorten(panel.axis, 40))
        axes.set_yticks(range(len(models)), labels)
        axes.set_ylim(len(models) - 0.4, -0.6)
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="x")
        axes.locator_params(axis="x", nbins=4)
        _leave_room(axes)
    for axes in list(grid.flat)[len(panels) :]:
        axes.set_visible(False)
    return figure


def _violin(axes: "Axes", place: float, row: Row, look: Mapping[str, Any]) -> None:
    colour, is_hollow = look["color"], "markerfacecolor" in look
    draws = row.draws[np.isfinite(row.draws)]
    size = 4.0
    # Too few different draws for a density.
    if len(np.unique(draws)) >= 20 and np.ptp(draws) > 1e-9:
        size = 2.8
        shapes: Any = axes.violinplot(
            draws, [place], orientation="horizontal", widths=0.72, showextrema=False, points=120
        )
        body = shapes["bodies"][0]
        if is_hollow:
            body.set(facecolor="none", edgecolor=colour, alpha=1, linewidth=0.7)
        else:
            body.set(facecolor=colour, alpha=0.35, linewidth=0)
    interval(axes, row, place, INK, vertical=False)
    face = "white" if is_hollow else colour
    axes.plot(row.value, place, "o", color=face, markeredgecolor=INK, markersize=size, mew=0.5)
    if len(row.runs) > 1:
        at = row.runs[np.isfinite(row.runs)]
        axes.plot(at, np.full(len(at), place + 0.4), "|", color=colour, markersize=3.5, mew=0.7)


def interval(
    axes: "Axes", row: Row, place: float, colour: str, *, vertical: bool, width: float = 1.0
) -> None:
    """Draw the interval of an estimate as a line; none for a single run."""
    if not (math.isfinite(row.low) and math.isfinite(row.high)):
        return
    ends, fixed = [row.low, row.high], [place, place]
    x, y = (fixed, ends) if vertical else (ends, fixed)
    axes.plot(x, y, "-", color=colour, linewidth=width, solid_capstyle="butt", zorder=1.9)


def _leave_room(axes: "Axes") -> None:
    """Widen axes of panels without spread, to avoid empty axes and ticks of many digits."""
    low, high = axes.get_xlim()
    if high - low < 0.02:
        middle = (low + high) / 2
        axes.set_xlim(middle - 0.01, middle + 0.01)


def curves(
    panels: Sequence[CurvePanel],
    ticks: Mapping[float, str],
    label: str,
    axis: str,
    look: Looks,
) -> "Figure":
    """Draw scores over the amount of training data on a logarithmic axis.

    Args:
        panels: Panels; the first, of all tasks, is larger.
        ticks: Labels by position on the axis.
        label: Label of the axis of amounts.
        axis: Label of the axis of scores.
        look: Colours and markers from `style.looks`, in the order of the legend.
    """
    shown = [name for name in look if any(name in panel.lines for panel in panels)]
    first, *others = panels
    rows = math.ceil(len(others) / _ACROSS)
    width = PAGE if others or len(shown) > 6 else COLUMN
    columns = 4 if width == PAGE else 2
    tall = 2.3 + 0.16 * math.ceil(len(shown) / columns)
    figure = canvas(width, tall + 1.5 * rows)
    head: FigureBase = figure
    if others:
        parts: Any = figure.subfigures(2, 1, height_ratios=[tall, 1.5 * rows])
        head, tail = parts
        grid = tail.subplots(rows, min(_ACROSS, len(others)), squeeze=False)
        for axes, panel in zip(grid.flat, others, strict=False):
            _curve_axes(axes, panel, _thinned(ticks, 0.24), look)
            axes.set_title(shorten(panel.title, 40))
        for axes in list(grid.flat)[len(others) :]:
            axes.set_visible(False)
    axes = head.subplots()
    _curve_axes(axes, first, _thinned(ticks, 0.04 if width == PAGE else 0.11), look)
    axes.set_title(shorten(first.title, 60), fontweight="bold")
    axes.set_xlabel(label)
    axes.set_ylabel(axis)
    # The legend lists all models, including models with a single task.
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], **look[name]) for name in shown]
    head.legend(handles, list(map(shorten, shown)), loc="outside lower center", ncols=columns)
    return figure


_STEP = math.log(1.035)
"""Offset between neighbouring models on the logarithmic axis of a curve, if there is room."""


def _curve_axes(axes: "Axes", panel: CurvePanel, ticks: Mapping[float, str], look: Looks) -> None:
    names = [name for name in look if name in panel.lines]
    # Models at the same place are drawn side by side, within a third of the distance to the next.
    places = np.log(sorted(ticks))
    room = np.diff(places).min() / 3 if len(places) > 1 else math.inf
    step = min(_STEP, room / max(1, len(names) - 1))
    for number, name in enumerate(names):
        line = dict(sorted(panel.lines[name].items()))
        shift = math.exp(step * (number - (len(names) - 1) / 2))
        at = [place * shift for place in line]
        axes.plot(at, [row.value for row in line.values()], label=name, **look[name])
        for place, row in zip(at, line.values(), strict=True):
            interval(axes, row, place, look[name]["color"], vertical=True, width=0.9)
    axes.set_xscale("log")
    axes.set_xticks(list(ticks), list(ticks.values()))
    axes.minorticks_off()
    axes.grid(axis="y")
    low, high = min(ticks), max(ticks)
    axes.set_xlim(low / 1.35, high * 1.35)


def _thinned(ticks: Mapping[float, str], room: float) -> dict[float, str]:
    """Remove the text of labels too close to the next; ticks and the last label stay.

    Args:
        ticks: Positions and labels.
        room: Smallest distance of two labels, as a share of the axis.
    """
    length = math.log(max(ticks) / min(ticks)) or 1.0
    kept: dict[float, str] = {}
    last = math.inf
    for place, text in sorted(ticks.items(), reverse=True):
        at = math.log(place / min(ticks)) / length
        kept[place] = text if last - at > room else ""
        last = at if kept[place] else last
    return kept


def profiles(
    taus: Floats, shares: Mapping[str, tuple[Floats, Floats, Floats]], look: Looks
) -> "Figure":
    """Draw the share of runs above each threshold.

    Args:
        taus: Thresholds on the normalised score, (T,).
        shares: Share of runs and ends of its interval by model, (T,) each.
        look: Colours and line styles from `style.looks`.
    """
    figure = canvas(COLUMN, 2.5 + 0.14 * math.ceil(len(shares) / 2))
    axes = figure.subplots()
    for name, (share, low, high) in shares.items():
        line = {key: look[name][key] for key in ("color", "linestyle")}
        axes.step(taus, share, where="post", label=shorten(name), **line)
        axes.fill_between(
            taus, low, high, step="post", color=look[name]["color"], alpha=0.13, linewidth=0
        )
    axes.set_xlabel("normalised score \N{GREEK SMALL LETTER TAU}")
    axes.set_ylabel("share of runs above \N{GREEK SMALL LETTER TAU}")
    axes.set_ylim(-0.02, 1.02)
    axes.set_xlim(float(taus.min()), float(taus.max()))
    axes.grid(axis="both")
    figure.legend(loc="outside lower center", ncols=2)
    return figure


def ranks(
    rows: Mapping[str, Row],
    alike: Sequence[Sequence[str]],
    look: Looks,
    label: str = "mean rank over tasks (1 is best)",
) -> "Figure":
    """Draw mean ranks with intervals; bars join models without a significant difference.

    Args:
        rows: Mean rank of each model, the best first.
        alike: Groups of neighbouring models to join.
        look: Colours and markers from `style.looks`.
        label: Label of the axis.
    """
    from matplotlib.ticker import MaxNLocator

    names = list(rows)
    figure = canvas(COLUMN, 0.75 + 0.2 * len(names))
    axes = figure.subplots()
    for place, name in enumerate(names):
        interval(axes, rows[name], place, look[name]["color"], vertical=False, width=2.2)
        _point(axes, rows[name].value, place, look[name])
    axes.set_yticks(range(len(names)), [shorten(name) for name in names])
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.set_xlim(0.8, max(len(names), 2) + 0.2)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True))
    axes.set_xlabel(label)
    axes.grid(axis="x")
    for column, group in enumerate(alike):
        places = [names.index(name) for name in group]
        axes.plot(
            [1.03 + 0.035 * column] * 2,
            [min(places) - 0.25, max(places) + 0.25],
            color=INK,
            linewidth=2.2,
            solid_capstyle="butt",
            transform=axes.get_yaxis_transform(),
            clip_on=False,
        )
    return figure


def cost(
    panels: Sequence[tuple[str, str, Mapping[str, tuple[float, Row]]]], look: Looks
) -> "Figure":
    """Draw scores against the seconds of training, on a logarithmic axis.

    Args:
        panels: Title, label of the axis of scores, and seconds and estimate by model.
        look: Colours and markers from `style.looks`.
    """
    names = [name for name in look if any(name in rows for *_, rows in panels)]
    across = min(3, len(panels))
    down = math.ceil(len(panels) / across)
    width = COLUMN if across == 1 else PAGE
    columns = 2 if across == 1 else 4
    figure = canvas(
        width, 1.85 * down + 0.6 * (across == 1) + 0.14 * math.ceil(len(names) / columns)
    )
    grid = figure.subplots(down, across, squeeze=False)
    for axes, (title, axis, rows) in zip(grid.flat, panels, strict=False):
        for name, (seconds, row) in rows.items():
            interval(axes, row, seconds, look[name]["color"], vertical=True)
            _point(axes, seconds, row.value, look[name])
        axes.set_title(shorten(title, 40))
        axes.set_ylabel(axis)
        axes.set_xlabel("training time")
        _time_axis(axes, [seconds for seconds, _ in rows.values()])
        axes.grid(axis="both", color=GRID)
    for axes in list(grid.flat)[len(panels) :]:
        axes.set_visible(False)
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], **{**look[name], "linestyle": ""}) for name in names]
    figure.legend(handles, list(map(shorten, names)), loc="outside lower center", ncols=columns)
    return figure


def _point(axes: "Axes", x: float, y: float, look: Mapping[str, Any]) -> None:
    axes.plot(x, y, look["marker"], color=look["color"], markeredgecolor=INK, mew=0.5, markersize=5)


_TIMES = {0.01: "10 ms", 0.1: "0.1 s", 1: "1 s", 10: "10 s", 60: "1 min", 600: "10 min"}
_TIMES |= {3600: "1 h", 36000: "10 h", 360000: "100 h"}
_BETWEEN = {0.03: "30 ms", 0.3: "0.3 s", 3: "3 s", 30: "30 s", 120: "2 min", 300: "5 min"}
_BETWEEN |= {1200: "20 min", 1800: "30 min", 7200: "2 h", 18000: "5 h", 72000: "20 h"}


def _time_axis(axes: "Axes", seconds: Sequence[float]) -> None:
    low, high = min(seconds) / 1.6, max(seconds) * 1.6
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    shown = {at: text for at, text in _TIMES.items() if low <= at <= high}
    if len(shown) < 3:
        shown |= {at: text for at, text in _BETWEEN.items() if low <= at <= high}
    if not shown:
        middle = math.sqrt(low * high)
        shown = {middle: f"{middle:.3g} s"}
    shown = _thinned(shown, 0.3) if len(shown) > 1 else shown
    axes.set_xticks(list(shown), list(shown.values()))
    axes.minorticks_off()
