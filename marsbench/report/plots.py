"""Pictures of scores and their intervals: violins, curves, profiles, ranks, cost.

Every function takes plain numbers and gives a matplotlib figure; what has no number is left out
of the picture, and one seed is drawn as a point. Call them within `style.drawing`.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from marsbench.report.style import COLUMN, FAINT, GRID, INK, PAGE, canvas, looks, shorten

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Floats = NDArray[np.float64]
Looks = Mapping[str, Mapping[str, Any]]

_ACROSS = 4
"""Panels side by side at most."""


@dataclass(frozen=True)
class Estimate:
    """A number and what is known of its spread.

    Attributes:
        value: The estimate.
        low: Lower end of its interval; NaN where there is none.
        high: Upper end.
        draws: Its bootstrap distribution, (R,); empty where there is none.
        runs: The single scores behind it, (N,).
    """

    value: float
    low: float = math.nan
    high: float = math.nan
    draws: Floats = field(default_factory=lambda: np.empty(0))
    runs: Floats = field(default_factory=lambda: np.empty(0))


@dataclass(frozen=True)
class Panel:
    """One part of a figure.

    Attributes:
        title: What it shows.
        axis: What its scores are.
        rows: Estimate of each model; models may lack.
    """

    title: str
    axis: str
    rows: Mapping[str, Estimate]


@dataclass(frozen=True)
class CurvePanel:
    """One part of a figure of curves.

    Attributes:
        title: What it shows.
        lines: Of each model, estimates by position on the axis.
    """

    title: str
    lines: Mapping[str, Mapping[float, Estimate]]


def violins(panels: Sequence[Panel], models: Sequence[str], look: Looks | None = None) -> "Figure":
    """Draw the distribution of each model's estimate in each panel, models from top to bottom.

    A violin is the bootstrap distribution, the dot the estimate, the line its interval, and the
    ticks below are single runs. Without a distribution there is no violin.

    Args:
        panels: The first, for all tasks, is set apart by its title's weight.
        models: The best first.
        look: As `style.looks` gives.
    """
    look = look or looks(models)
    across = min(_ACROSS, len(panels))
    down = math.ceil(len(panels) / across)
    width = PAGE if across > 1 else COLUMN
    figure = canvas(width, down * (0.62 + 0.19 * max(len(models), 2)) + 0.1)
    grid = figure.subplots(down, across, sharey=True, squeeze=False)
    for axes, panel in zip(grid.flat, panels, strict=False):
        for place, model in enumerate(models):
            if model in panel.rows:
                _violin(axes, place, panel.rows[model], look[model]["color"])
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
        axes.set_title(panel.title, fontweight="bold" if panel is panels[0] else "normal")
        axes.set_xlabel(panel.axis)
        axes.set_yticks(range(len(models)), [shorten(model) for model in models])
        axes.set_ylim(len(models) - 0.4, -0.6)
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="x")
        axes.locator_params(axis="x", nbins=4)
        _leave_room(axes)
    for axes in list(grid.flat)[len(panels) :]:
        axes.set_visible(False)
    return figure


def _violin(axes: "Axes", place: float, row: Estimate, colour: str) -> None:
    shape = _density(row.draws)
    if shape is not None:
        at, height = shape
        axes.fill_between(
            at, place - 0.36 * height, place + 0.36 * height, color=colour, alpha=0.35, linewidth=0
        )
    _interval(axes, row, place, INK, vertical=False)
    axes.plot(row.value, place, "o", color=colour, markeredgecolor=INK, markersize=4, mew=0.5)
    if len(row.runs) > 1:
        at = row.runs[np.isfinite(row.runs)]
        axes.plot(at, np.full(len(at), place + 0.4), "|", color=colour, markersize=3.5, mew=0.7)


def _density(draws: Floats) -> tuple[Floats, Floats] | None:
    """Smooth draws into a shape of height 1 over their range; None of too few different ones."""
    draws = draws[np.isfinite(draws)]
    if len(draws) < 10 or len(np.unique(draws)) < 4 or np.ptp(draws) <= 1e-9:
        return None
    from scipy.stats import gaussian_kde

    at = np.linspace(draws.min(), draws.max(), 120)
    height = gaussian_kde(draws)(at)
    return at, height / height.max()


def _interval(
    axes: "Axes", row: Estimate, place: float, colour: str, *, vertical: bool, width: float = 1.0
) -> None:
    if not (math.isfinite(row.low) and math.isfinite(row.high)):
        return
    ends, fixed = [row.low, row.high], [place, place]
    x, y = (fixed, ends) if vertical else (ends, fixed)
    axes.plot(x, y, "-", color=colour, linewidth=width, solid_capstyle="butt", zorder=1.9)


def _leave_room(axes: "Axes") -> None:
    """Keep panels without spread from an axis of no length, and ticks of many digits."""
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
        panels: The first is for all tasks together and larger than the others.
        ticks: Positions on the axis, and what stands there.
        label: What the axis shows.
        axis: What the scores are.
        look: As `style.looks` gives; lends the order of the legend.
    """
    shown = [name for name in look if any(name in panel.lines for panel in panels)]
    first, *others = panels
    rows = math.ceil(len(others) / _ACROSS)
    width = PAGE if others or len(shown) > 6 else COLUMN
    tall = 2.4 if others else 2.6
    figure = canvas(width, tall + 0.28 * math.ceil(len(shown) / 3) + 1.55 * rows)
    head, tail = (
        figure.subfigures(2, 1, height_ratios=[tall, 1.55 * rows]) if rows else (figure, None)
    )
    _curve_axes(head.subplots(), first, ticks, look)
    head.axes[0].set_title(first.title, fontweight="bold")
    head.axes[0].set_xlabel(label)
    head.axes[0].set_ylabel(axis)
    handles, labels = head.axes[0].get_legend_handles_labels()
    ordered = sorted(zip(labels, handles, strict=True), key=lambda pair: shown.index(pair[0]))
    figure_legend = {"loc": "outside lower center", "ncols": 3 if width == PAGE else 2}
    head.legend(
        [handle for _, handle in ordered], [shorten(name) for name, _ in ordered], **figure_legend
    )
    if tail is not None:
        grid = tail.subplots(rows, min(_ACROSS, len(others)), squeeze=False)
        for axes, panel in zip(grid.flat, others, strict=False):
            _curve_axes(axes, panel, _thinned(ticks), look)
            axes.set_title(panel.title)
        for axes in list(grid.flat)[len(others) :]:
            axes.set_visible(False)
    return figure


def _curve_axes(axes: "Axes", panel: CurvePanel, ticks: Mapping[float, str], look: Looks) -> None:
    names = [name for name in look if name in panel.lines]
    for number, name in enumerate(names):
        line = dict(sorted(panel.lines[name].items()))
        # Side by side, so that intervals of models at one place can be told apart.
        shift = 1.0 + 0.035 * (number - (len(names) - 1) / 2)
        at = [place * shift for place in line]
        axes.plot(at, [row.value for row in line.values()], label=name, **look[name])
        for place, row in zip(at, line.values(), strict=True):
            _interval(axes, row, place, look[name]["color"], vertical=True, width=0.9)
    axes.set_xscale("log")
    axes.set_xticks(list(ticks), list(ticks.values()))
    axes.minorticks_off()
    axes.grid(axis="y")
    low, high = min(ticks), max(ticks)
    axes.set_xlim(low / 1.35, high * 1.35)


def _thinned(ticks: Mapping[float, str]) -> dict[float, str]:
    """Leave out labels that would touch in a small panel; the ticks stay."""
    kept: dict[float, str] = {}
    last = -math.inf
    whole = math.log(max(ticks) / min(ticks)) or 1.0
    for place, text in sorted(ticks.items()):
        at = math.log(place / min(ticks)) / whole
        kept[place] = text if at - last > 0.16 else ""
        last = at if kept[place] else last
    return kept


def profiles(taus: Floats, shares: Mapping[str, tuple[Floats, Floats, Floats]]) -> "Figure":
    """Draw which share of runs scores above each threshold.

    Args:
        taus: Thresholds on the normalised score, (T,).
        shares: Of each model the share above each and the ends of its interval, (T,) each.
    """
    figure = canvas(COLUMN, 2.5 + 0.14 * math.ceil(len(shares) / 2))
    axes = figure.subplots()
    for name, look in looks(shares).items():
        share, low, high = shares[name]
        line = {key: look[key] for key in ("color", "linestyle")}
        axes.step(taus, share, where="post", label=shorten(name), **line)
        axes.fill_between(
            taus, low, high, step="post", color=look["color"], alpha=0.13, linewidth=0
        )
    axes.set_xlabel("normalised score \N{GREEK SMALL LETTER TAU}")
    axes.set_ylabel("share of runs above \N{GREEK SMALL LETTER TAU}")
    axes.set_ylim(-0.02, 1.02)
    axes.set_xlim(float(taus.min()), float(taus.max()))
    axes.grid(axis="both")
    figure.legend(loc="outside lower center", ncols=2)
    return figure


def ranks(
    rows: Mapping[str, Estimate],
    alike: Sequence[Sequence[str]],
    label: str = "mean rank over tasks (1 is best)",
) -> "Figure":
    """Draw mean ranks with intervals; bars at the right join models that no test tells apart.

    Args:
        rows: Mean rank of each model, the best first.
        alike: Groups of names that stand beside each other.
        label: What the axis shows.
    """
    names = list(rows)
    figure = canvas(COLUMN, 0.75 + 0.2 * len(names))
    axes = figure.subplots()
    for place, (name, look) in enumerate(looks(names).items()):
        _interval(axes, rows[name], place, look["color"], vertical=False, width=2.2)
        axes.plot(
            rows[name].value, place, look["marker"], color=look["color"], markeredgecolor=INK,
            mew=0.5, markersize=5,
        )  # fmt: skip
    axes.set_yticks(range(len(names)), [shorten(name) for name in names])
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.set_xlim(0.8, max(len(names), 2) + 0.2)
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


def cost(panels: Sequence[tuple[str, str, Mapping[str, tuple[float, Estimate]]]]) -> "Figure":
    """Draw scores against the seconds of training, on a logarithmic axis.

    Args:
        panels: Title, what the scores are, and of each model its seconds and its estimate.
    """
    names = list(dict.fromkeys(name for *_, rows in panels for name in rows))
    look = looks(names)
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
            style = look[name]
            _interval(axes, row, seconds, style["color"], vertical=True)
            axes.plot(
                seconds, row.value, style["marker"], color=style["color"], label=shorten(name),
                markeredgecolor=INK, mew=0.4, markersize=5,
            )  # fmt: skip
        axes.set_title(title)
        axes.set_ylabel(axis)
        axes.set_xlabel("training time")
        _time_axis(axes, [seconds for seconds, _ in rows.values()])
        axes.grid(axis="both", color=GRID)
    for axes in list(grid.flat)[len(panels) :]:
        axes.set_visible(False)
    found = {
        label: handle
        for axes in grid.flat
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    figure.legend(list(found.values()), list(found), loc="outside lower center", ncols=columns)
    return figure


_TIMES = {0.01: "10 ms", 0.1: "0.1 s", 1: "1 s", 10: "10 s", 60: "1 min", 600: "10 min"}
_TIMES |= {3600: "1 h", 36000: "10 h", 360000: "100 h"}


def _time_axis(axes: "Axes", seconds: Sequence[float]) -> None:
    low, high = min(seconds), max(seconds)
    axes.set_xscale("log")
    axes.set_xlim(low / 2, high * 2)
    shown = {at: text for at, text in _TIMES.items() if low / 2 <= at <= high * 2}
    if not shown:
        nearest = min(_TIMES, key=lambda at: abs(math.log(at / low)))
        shown = {nearest: _TIMES[nearest]}
        axes.set_xlim(min(low, nearest) / 1.5, max(high, nearest) * 1.5)
    axes.set_xticks(list(shown), list(shown.values()))
    axes.minorticks_off()
