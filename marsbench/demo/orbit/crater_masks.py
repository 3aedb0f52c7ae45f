"""Scenes for ``crater_binary_seg`` and ``crater_multi_seg``: craters of four kinds.

Craters are ellipses on rolling THEMIS ground. Other: bowls or flat floors inside a raised rim.
Layered: amid one or two lobed sheets of ejecta ending in a rampart. Buried: filled to the level
of the plain, leaving a broken ring. Secondary: small, shallow, drawn out towards their source, in
chains and clusters. Hills, ridges and patches of other tone distract.

Kinds after Lagain et al., "Mars Crater Database", GSA Special Paper 550, 2021, and Barlow et al.,
"Standardizing the nomenclature of Martian impact crater ejecta morphologies", JGR Planets 105,
2000.
"""

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from marsbench.demo.art import terrain
from marsbench.demo.art.terrain import Field
from marsbench.demo.orbit import ground
from marsbench.demo.orbit.placement import placed, shows, window
from marsbench.demo.scene import Scene

OTHER, LAYERED, BURIED, SECONDARY = 1, 2, 3, 4

EMPTY = 0.06
"""Share of the pictures without craters."""

_SHARES = {OTHER: 0.4, LAYERED: 0.3, BURIED: 0.3}
_SECONDARIES = 0.45
_REACH = {OTHER: 1.15, LAYERED: 1.7, BURIED: 1.15, SECONDARY: 1.0}


@dataclass(frozen=True)
class Ellipse:
    """Place and outline of a crater.

    Attributes:
        column: Column of its centre.
        row: Row of its centre.
        radius: Greatest distance from the centre to the rim in pixels.
        squash: Least distance to the rim as a share of ``radius``.
        turn: Angle of the long axis in radians, clockwise from east.
    """

    column: float
    row: float
    radius: float
    squash: float
    turn: float


@dataclass(frozen=True)
class Canvas:
    """Ground and mask under construction; arrays of (side, side), changed in place.

    Attributes:
        height: Elevation in pixels.
        albedo: Share of the light reflected by the ground.
        mask: Kind of crater inside its rim, 0 elsewhere.
    """

    height: Field
    albedo: Field
    mask: NDArray[np.uint8]


# --- pictures --------------------------------------------------------------------------------


def draw_binary(rng: Generator, side: int) -> Scene:
    """Craters of all kinds in grey values, (side, side, 1), and their mask: 1 inside the rim."""
    image, mask = _draw(rng, side)
    return Scene(image, mask=(mask > 0).astype(np.uint8))


def draw_multi(rng: Generator, side: int) -> Scene:
    """Craters and the mask of their kinds: 1 Other, 2 Layered, 3 Buried, 4 Secondary."""
    return Scene(*_draw(rng, side))


def _draw(rng: Generator, side: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Grey values, (side, side, 1), and the kind of crater in every pixel, (side, side)."""
    kinds, radii = _company(rng, side)
    reach = np.array([_REACH[kind] for kind in kinds])
    where = placed(rng, side, radii * reach, overhang=0.25)
    rolling = ground.plain(rng, side, rng.uniform(0.5, 1.2))
    canvas = Canvas(
        0.7 * rolling,
        ground.soil(rng, side, rng.uniform(0.02, 0.07)),
        np.zeros((side, side), np.uint8),
    )
    _distractions(rng, canvas)
    # Old craters first: young ones lie on top.
    for i in np.argsort([(BURIED, OTHER, LAYERED, SECONDARY).index(k) for k in kinds]):
        (column, row), radius, kind = where[i], float(radii[i]), kinds[i]
        if not np.isfinite(column):
            continue
        if kind == SECONDARY:
            _secondaries(rng, canvas, float(column), float(row), radius)
            continue
        squash, turn = 1.0 - abs(rng.normal(0.0, 0.09)), rng.uniform(0.0, np.pi)
        crater = Ellipse(float(column), float(row), radius, float(max(squash, 0.75)), turn)
        if kind == BURIED:
            _buried(rng, canvas, crater)
        else:
            _fresh(rng, canvas, crater, kind)
    light = ground.sun(rng)
    return ground.photograph_shadows(rng, canvas.height, canvas.albedo, light), canvas.mask


def _company(rng: Generator, side: int) -> tuple[list[int], NDArray[np.float64]]:
    """Kinds and radii in pixels of a picture's craters, (count,); for secondaries, of the field.

    Small craters are more numerous; a buried one must be wide to leave a trace.
    """
    if rng.uniform() < EMPTY:
        return [], np.zeros(0)
    count = 1 + int(rng.poisson(2.2))
    kinds = [int(k) for k in rng.choice(list(_SHARES), count, p=list(_SHARES.values()))]
    least = {OTHER: 0.055, LAYERED: 0.065, BURIED: 0.08}
    radii = [
        side * min(least[kind] * float(rng.uniform(0.05, 1.0)) ** (-1.0 / 2.0), 0.28)
        for kind in kinds
    ]
    if rng.uniform() < _SECONDARIES:
        kinds.append(SECONDARY)
        radii.append(side * float(rng.uniform(0.16, 0.3)))
    return kinds, np.array(radii)


# --- craters ---------------------------------------------------------------------------------


def _frame(crater: Ellipse, x: Field, y: Field) -> tuple[Field, Field]:
    """Distance from a crater's centre, 1 on its rim, and angle in radians around it."""
    c, s = np.cos(crater.turn), np.sin(crater.turn)
    u, v = x * c + y * s, (y * c - x * s) / crater.squash
    return np.hypot(u, v) / crater.radius, np.arctan2(v, u)


def _fresh(rng: Generator, canvas: Canvas, crater: Ellipse, kind: int) -> None:
    """Draw a crater with a rim and, for the layered kind, sheets of ejecta."""
    reach = 3.4 if kind == LAYERED else 2.4
    part, x, y = window(len(canvas.mask), crater.column, crater.row, reach * crater.radius)
    rho, angle = _frame(crater, x, y)
    if not shows(rho < 1.0, 0.8 * crater.radius):
        return
    radius, height = crater.radius, canvas.height[part]
    freshness = rng.uniform(0.6, 1.0) if kind == LAYERED else rng.uniform(0.4, 1.0)
    spokes = ground.polar_noise(rng, rho * radius, angle, rng.uniform(12.0, 24.0), 0.5 * radius)
    inside = 1.0 - terrain.smoothstep(rho, 0.94, 1.06)
    # An impact removes the ground inside and buries the ground around.
    height *= 1.0 - 0.85 * inside - 0.5 * np.exp(-(((rho - 1.0) / 0.3) ** 2)) * (1.0 - inside)
    if kind == LAYERED:
        sheets = _sheets(rng, rho, angle, radius, spokes)
        covered = terrain.smoothstep(sheets, 0.0, 0.3 * float(sheets.max()))
        height *= 1.0 - 0.6 * covered * (1.0 - inside)
        height += sheets
        canvas.albedo[part] *= 1.0 + rng.uniform(-0.12, 0.12) * covered
    floor = rng.uniform(0.3, 0.65) if rng.uniform() < 0.7 else 0.0
    t = np.maximum(rho - floor, 0.0) / (1.0 - floor)
    depth, rim = rng.uniform(0.26, 0.38) * freshness * radius, 0.1 * freshness**0.7 * radius
    bowl = (depth + rim) * (0.4 * t + 0.6 * t * t) - depth
    blanket = rim * np.maximum(rho, 0.5) ** -4.0
    height += np.minimum(bowl, rim) * inside + np.minimum(blanket, rim) * (1.0 - inside)
    wall = np.exp(-(((rho - 0.8) / 0.15) ** 2))
    height += 0.06 * depth * wall * spokes
    if floor > 0.4 and radius > 9.0 and rng.uniform() < 0.5:
        height += 0.45 * depth * np.exp(-((rho / rng.uniform(0.1, 0.18)) ** 2))
    if rng.uniform() < 0.3:
        canvas.albedo[part] *= 1.0 + rng.uniform(-0.3, 0.25) * (rho < floor)
    canvas.mask[part][rho < 1.0] = kind


def _sheets(rng: Generator, rho: Field, angle: Field, radius: float, spokes: Field) -> Field:
    """Thickness in pixels of flowing ejecta: lobes, grooves, a rampart along the edge.

    Args:
        rho: Distance from the centre, 1 on the rim, (rows, columns).
        angle: Angle around the centre in radians, the same shape.
        radius: Radius of the crater in pixels.
        spokes: Noise drawn out along the radius, the same shape.
    """
    thickness = np.zeros_like(rho)
    extent = rng.uniform(1.8, 2.5)
    layers = (1.0, 0.72) if extent > 2.1 and rng.uniform() < 0.45 else (1.0,)
    for share in layers:
        edge = extent * share * _tongues(rng, angle)
        t = rho / np.maximum(edge, 1.25)
        rampart = np.exp(-(((t - 0.92) / 0.07) ** 2))
        top = max(0.06 * radius, 0.7) * rng.uniform(0.9, 1.3)
        body = top * (0.5 + 0.7 * rampart + 0.12 * spokes * terrain.smoothstep(t, 0.4, 0.6))
        thickness += body * (1.0 - terrain.smoothstep(t, 0.96, 1.02))
    return thickness * terrain.smoothstep(rho, 0.95, 1.1)


def _tongues(rng: Generator, angle: Field) -> Field:
    """Reach of overlapping rounded tongues of unlike width, about 1, shaped like ``angle``."""
    count = int(rng.integers(7, 12))
    turn = np.linspace(-np.pi, np.pi, 181)
    middles = (np.arange(count) + rng.uniform(-0.35, 0.35, count)) * 2.0 * np.pi / count
    away = (turn[:, None] - middles + rng.uniform(0.0, 6.28) + np.pi) % (2.0 * np.pi) - np.pi
    half = rng.uniform(0.9, 2.2, count) * np.pi / count
    reach = rng.uniform(0.8, 1.1, count) * (1.0 - 0.2 * (away / half) ** 2)
    tongues: Field = np.interp(angle, turn, np.maximum(reach.max(axis=1), 0.76))
    return tongues


def _buried(rng: Generator, canvas: Canvas, crater: Ellipse) -> None:
    """Draw the remains of a filled crater: a low, broken ring around a shallow floor."""
    part, x, y = window(len(canvas.mask), crater.column, crater.row, 1.8 * crater.radius)
    rho, angle = _frame(crater, x, y)
    if not shows(rho < 1.0, 0.8 * crater.radius):
        return
    turn = np.linspace(-np.pi, np.pi, 65)
    gaps = sum(rng.normal() / k**0.5 * np.cos(k * turn + rng.uniform(0.0, 6.28)) for k in (1, 2, 3))
    kept = np.interp(angle, turn, np.clip(0.75 + 0.35 * np.asarray(gaps), 0.15, 1.0))
    rim = max(rng.uniform(0.04, 0.065) * crater.radius, 0.45)
    width = 0.09 + 0.5 / crater.radius
    ring = np.exp(-(((rho - 1.0) / width) ** 2)) * kept
    sunken = rng.uniform(0.3, 1.0) * rim * (1.0 - terrain.smoothstep(rho, 0.72, 1.0))
    inside = rho < 1.0
    # The fill is smoother than the plain.
    calm = 1.0 - rng.uniform(0.2, 0.7) * (1.0 - terrain.smoothstep(rho, 0.75, 1.0))
    height = canvas.height[part]
    level = float(height[inside].mean())
    height[:] = level + (height - level) * calm + rim * ring - sunken
    canvas.mask[part][inside] = BURIED


def _secondaries(rng: Generator, canvas: Canvas, column: float, row: float, reach: float) -> None:
    """Draw a chain or a cluster of small, shallow craters, elongated in a common direction."""
    side = len(canvas.mask)
    turn = rng.uniform(0.0, np.pi)
    typical = max(rng.uniform(0.018, 0.034) * side, 2.6)
    if rng.uniform() < 0.5:
        count = int(np.clip(2.0 * reach / (rng.uniform(1.8, 2.6) * typical), 4, 12))
        ahead = np.linspace(-reach, reach, count) + rng.normal(0.0, 0.3 * typical, count)
        aside = rng.normal(0.0, 0.5 * typical, count) + 0.15 * reach * (ahead / reach) ** 2
    else:
        count = int(rng.integers(7, 17))
        ahead, aside = rng.normal(0.0, (0.5 * reach, 0.3 * reach), (count, 2)).T
    radii = np.clip(typical * np.exp(rng.normal(0.0, 0.22, count)), 2.5, 0.045 * side)
    columns = column + ahead * np.cos(turn) - aside * np.sin(turn)
    rows = row + ahead * np.sin(turn) + aside * np.cos(turn)
    for x, y, radius in zip(columns, rows, radii, strict=True):
        squash = float(rng.uniform(0.62, 0.88))
        _secondary(
            rng,
            canvas,
            Ellipse(float(x), float(y), float(radius) / squash**0.5, squash, turn),
        )


def _secondary(rng: Generator, canvas: Canvas, crater: Ellipse) -> None:
    """Draw a secondary crater; its low rim is highest on the far side of the source."""
    part, x, y = window(len(canvas.mask), crater.column, crater.row, 2.2 * crater.radius)
    rho, angle = _frame(crater, x, y)
    if not shows(rho < 1.0, 0.8 * crater.radius):
        return
    depth = rng.uniform(0.28, 0.4) * crater.radius
    rim = 0.1 * crater.radius * (1.0 + 0.5 * np.cos(angle))
    inside = 1.0 - terrain.smoothstep(rho, 0.88, 1.12)
    height = canvas.height[part]
    height *= 1.0 - 0.7 * inside
    bowl = (depth + rim) * rho * rho - depth
    height += np.minimum(bowl, rim) * inside
    height += rim * np.maximum(rho, 0.8) ** -4.0 * (1.0 - inside)
    canvas.mask[part][rho < 1.0] = SECONDARY


# --- no craters ------------------------------------------------------------------------------


def _distractions(rng: Generator, canvas: Canvas) -> None:
    """Add hills, wrinkle ridges and patches of other tone."""
    side = len(canvas.mask)
    for _ in range(int(rng.integers(0, 5))):
        column, row = rng.uniform(0.0, side, 2)
        long, short = side * rng.uniform(0.03, 0.09), side * rng.uniform(0.02, 0.05)
        part, x, y = window(side, column, row, 2.6 * long)
        turn = rng.uniform(0.0, np.pi)
        u, v = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
        canvas.height[part] += 0.5 * short * np.exp(-((u / long) ** 2) - (v / short) ** 2)
    if rng.uniform() < 0.35:
        bend = 0.07 * side * terrain.fractal(rng, side, 3.6, shortest=0.1 * side)
        away = terrain.along(side, rng.uniform(0.0, 360.0)) - rng.uniform(-0.4, 0.4) * side + bend
        canvas.height[...] += rng.uniform(0.8, 2.0) * np.exp(-((away / (0.025 * side)) ** 2))
    if rng.uniform() < 0.5:
        shapes = terrain.fractal(rng, side, 2.8, longest=0.7 * side, shortest=0.04 * side)
        patch = terrain.cover(shapes, rng.uniform(0.1, 0.6), rng.uniform(0.3, 1.0))
        canvas.albedo[...] *= 1.0 + rng.uniform(-0.2, 0.25) * patch
