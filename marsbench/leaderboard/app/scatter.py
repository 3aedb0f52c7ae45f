"""Score against cost as inline SVG, quick to draw and in the colours of the page."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from marsbench.leaderboard.app.words import cut, safe
from marsbench.report.statistics.summary import Estimate

WIDTH, HEIGHT = 560, 320
LEFT, RIGHT, TOP, BOTTOM = 52, 24, 12, 46

LABELLED = 12
"""Largest number of labelled points."""

CHARACTER, LINE = 6, 13
"""Width of a character and height of a line of a label, in pixels."""


class Point(NamedTuple):
    """An entry.

    Attributes:
        cost: Cost, above 0.
        estimate: Score.
        label: Name.
    """

    cost: float
    estimate: Estimate
    label: str


def scatter(points: Sequence[Point], title: str, axis: str) -> str:
    """Draw scores with intervals over cost on a logarithmic axis.

    A line joins the points without a better point of equal or lower cost, which are labelled.

    Args:
        points: Points, at least one.
        title: Title.
        axis: Label of the axis of costs.
    """
    costs = [point.cost for point in points]
    ends = [end for point in points for end in point.estimate if math.isfinite(end)]
    x_axis = _Axis(math.log10(min(costs) / 1.5), math.log10(max(costs) * 1.5), LEFT, WIDTH - RIGHT)
    room = 0.06 * (max(ends) - min(ends)) or 0.05
    y_axis = _Axis(min(ends) - room, max(ends) + room, HEIGHT - BOTTOM, TOP)
    front = front_of(points)
    parts = [_grid(x_axis, y_axis, axis)]
    for point in points:
        x, (value, low, high) = x_axis.at(math.log10(point.cost)), point.estimate
        if math.isfinite(low):
            ends_at = f'y1="{y_axis.at(low):.1f}" y2="{y_axis.at(high):.1f}"'
            parts.append(f'<line class="range" x1="{x:.1f}" x2="{x:.1f}" {ends_at}/>')
        hint = safe(f"{point.label}: IQM {value:.3f}, {axis} {point.cost:,.4g}")
        place = f'cx="{x:.1f}" cy="{y_axis.at(value):.1f}"'
        parts.append(f'<circle {place} r="3.5"><title>{hint}</title></circle>')
    parts.append(_steps(front, x_axis, y_axis))
    parts += _labels(front[-LABELLED:], x_axis, y_axis)
    text = safe(f"{title}: IQM over {axis}, {len(points)} entries.")
    return (
        f'<figure class="scatter"><figcaption>{safe(title)}</figcaption>'
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{text}">'
        f"{''.join(parts)}</svg></figure>"
    )


def front_of(points: Sequence[Point]) -> list[Point]:
    """Points without a better one of equal or lower cost, by ascending cost."""
    front: list[Point] = []
    for point in sorted(points, key=lambda point: (point.cost, -point.estimate.value)):
        if not front or point.estimate.value > front[-1].estimate.value:
            front.append(point)
    return front


class _Axis(NamedTuple):
    """Linear map from values to pixels."""

    low: float
    high: float
    start: float
    end: float

    def at(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)

    def ticks(self) -> list[float]:
        """About five round values."""
        step = 10 ** math.floor(math.log10((self.high - self.low) / 3))
        step *= next(f for f in (1, 2, 5, 10) if (self.high - self.low) / (step * f) <= 6)
        first = math.ceil(self.low / step)
        return [step * number for number in range(first, math.floor(self.high / step) + 1)]


def _grid(x_axis: _Axis, y_axis: _Axis, label: str) -> str:
    parts = []
    for value in y_axis.ticks():
        y = f"{y_axis.at(value):.1f}"
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y}" y2="{y}"/>')
        parts.append(_text(LEFT - 6, y_axis.at(value) + 4, f"{value:.4g}", "end"))
    bottom = HEIGHT - BOTTOM
    for value in _log_ticks(x_axis):
        x = f"{x_axis.at(math.log10(value)):.1f}"
        parts.append(f'<line class="grid" x1="{x}" x2="{x}" y1="{TOP}" y2="{bottom}"/>')
        parts.append(_text(x_axis.at(math.log10(value)), bottom + 16, _round(value), "middle"))
    parts.append(_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 8, label, "middle"))
    return "".join(parts)


def _text(x: float, y: float, text: str, anchor: str, kind: str = "tick") -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"'
    return f'<text class="{kind}" {place}>{safe(text, 40)}</text>'


def _log_ticks(axis: _Axis) -> list[float]:
    """Powers of ten, and their multiples if there are few."""
    for factors in ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 4, 5, 6, 7, 8, 9)):
        powers = range(math.floor(axis.low), math.ceil(axis.high) + 1)
        values = [factor * 10.0**power for power in powers for factor in factors]
        ticks = [value for value in values if axis.low <= math.log10(value) <= axis.high]
        if len(ticks) > 2:
            return ticks
    return ticks


def _steps(front: Sequence[Point], x_axis: _Axis, y_axis: _Axis) -> str:
    path = []
    for number, point in enumerate(front):
        x, y = x_axis.at(math.log10(point.cost)), y_axis.at(point.estimate.value)
        path.append(f"M{x:.1f} {y:.1f}" if number == 0 else f"H{x:.1f}V{y:.1f}")
    return f'<path class="front" d="{"".join(path)}H{WIDTH - RIGHT}"/>'


def _labels(points: Sequence[Point], x_axis: _Axis, y_axis: _Axis) -> list[str]:
    """Names beside their points; the better of two that would overlap is kept."""
    parts: list[str] = []
    boxes: list[tuple[float, float]] = []
    for point in sorted(points, key=lambda point: -point.estimate.value):
        x, y = x_axis.at(math.log10(point.cost)), y_axis.at(point.estimate.value)
        text = cut(point.label, 24)
        # Text of the right half ends at its point.
        anchor, shift = ("end", -6) if x > WIDTH * 0.7 else ("start", 6)
        left = x + shift - (len(text) * CHARACTER if anchor == "end" else 0)
        if any(abs(y - b) < LINE and abs(left - a) < 24 * CHARACTER for a, b in boxes):
            continue
        boxes.append((left, y))
        parts.append(_text(x + shift, y - 5, text, anchor, "name"))
    return parts


def _round(value: float) -> str:
    """Number of a tick, never with an exponent."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.4g}"
