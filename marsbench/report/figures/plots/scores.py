"""Plots of scores and their intervals: curves, profiles, ranks, cost.

Functions take plain numbers and return a matplotlib figure; call them within `style.drawing`.
Missing numbers are left out, and single seeds are drawn as points.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from marsbench.report.figures.plots.marks import (
    ACROSS,
    Floats,
    Looks,
    Row,
    hide,
    intervals,
    models_key,
    point,
    short_title,
    words,
)
from marsbench.report.figures.style import COLUMN, GRID, INK, PAGE, canvas, shorten, tip

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, FigureBase


@dataclass(frozen=True)
class CurvePanel:
    """A panel of a figure of curves.

    Attributes:
        title: Title.
        lines: Estimates by model and position on the axis.
    """

    title: str
    lines: Mapping[str, Mapping[float, Row]]


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
    rows = math.ceil(len(others) / ACROSS)
    width = PAGE if others or len(shown) > 6 else COLUMN
    columns = 4 if width == PAGE else 2
    tall = 2.3 + 0.16 * math.ceil(len(shown) / columns)
    figure = canvas(width, tall + 1.5 * rows)
    head: FigureBase = figure
    if others:
        parts: Any = figure.subfigures(2, 1, height_ratios=[tall, 1.5 * rows])
        head, tail = parts
        grid = tail.subplots(rows, min(ACROSS, len(others)), sharey=True, squeeze=False)
        for axes, panel in zip(grid.flat, others, strict=False):
            _curve_axes(axes, panel, _thinned(ticks, 0.24), look)
            axes.set_title(shorten(panel.title, 40))
        tail.supylabel(axis)
        hide(grid.flat[len(others) :])
    axes = head.subplots()
    _curve_axes(axes, first, _thinned(ticks, 0.04 if width == PAGE else 0.11), look)
    axes.set_title(shorten(first.title, 60), fontweight="bold")
    axes.set_xlabel(label)
    axes.set_ylabel(axis)
    # The legend lists all models, including models with a single task.
    models_key(head, shown, look, columns)
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
        (marks,) = axes.plot(at, [row.value for row in line.values()], label=name, **look[name])
        tip(marks, *(f"{short_title(name)}, {ticks[p] or p}: {words(r)}" for p, r in line.items()))
        rows = zip(at, line.values(), strict=True)
        intervals(axes, rows, look[name]["color"], vertical=True, width=0.9)
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
        axes.step(taus, share, where="post", label=short_title(name), **line)
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
        intervals(axes, [(place, rows[name])], look[name]["color"], vertical=False, width=2.2)
        point(
            axes, rows[name].value, place, look[name], f"{short_title(name)}: {words(rows[name])}"
        )
    axes.set_yticks(range(len(names)), [short_title(name) for name in names])
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
            intervals(axes, [(seconds, row)], look[name]["color"], vertical=True)
            point(
                axes,
                seconds,
                row.value,
                look[name],
                f"{short_title(name)}, {seconds:.3g} s: {words(row)}",
            )
        axes.set_title(shorten(title, 40))
        axes.set_ylabel(axis)
        axes.set_xlabel("training time")
        _time_axis(axes, [seconds for seconds, _ in rows.values()])
        axes.grid(axis="both", color=GRID)
    hide(grid.flat[len(panels) :])
    models_key(figure, names, {n: {**look[n], "linestyle": ""} for n in names}, columns)
    return figure


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
