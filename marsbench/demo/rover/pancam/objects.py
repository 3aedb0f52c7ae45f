"""Stones and hardware in the grey scenes for ``surface_multi_label_cls``.

Each function paints one thing over a picture in place. Hardware is smooth and straight-edged with
deep shadows, unlike anything natural. The calibration target is a sundial of concentric grey
rings with a chip in each corner; the deck is solar cells in rows; the arm is tubes with a joint
and a cluster of tools; the other parts are a wheel on its strut and the antenna mast; off the
rover lie a lander with its airbags, or a heat shield. Bell et al. 2003,
https://doi.org/10.1029/2003JE002070, describe Pancam and its target.
"""

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from marsbench.demo.art import shapes, terrain
from marsbench.demo.art.terrain import Field
from marsbench.demo.rover import ground, outdoors
from marsbench.demo.rover.ground import Sun


def paint(picture: Field, distance: Field, value: float | Field, opacity: float = 1.0) -> None:
    """Lay light over a picture where a distance in pixels is negative, in place."""
    picture += (value - picture) * (opacity * np.clip(0.5 - distance, 0.0, 1.0))


def about(side: int, column: float, row: float, angle_deg: float = 0.0) -> shapes.Place:
    """Coordinates around a point in pixels, turned clockwise by an angle."""
    return shapes.turned(terrain.offsets(side, column, row), angle_deg)


def tube(
    picture: Field,
    start: tuple[float, float],
    end: tuple[float, float],
    radius: float,
    tone: float,
    light: float,
) -> None:
    """Paint a round tube between two points.

    Args:
        picture: Light, (side, side).
        start: Column and row of one end.
        end: Column and row of the other end.
        radius: Half its width in pixels.
        tone: Reflectance.
        light: Position of the brightest line across the tube, in [-1, 1].
    """
    side = picture.shape[0]
    x, y = about(side, *start)
    dx, dy = end[0] - start[0], end[1] - start[1]
    length = max(float(np.hypot(dx, dy)), 1e-6)
    across = (x * dy - y * dx) / length / radius
    distance = shapes.rod((x, y), (0.0, 0.0), (dx, dy), radius)
    curve = np.clip(1.0 - (0.8 * (across - light)) ** 2, 0.0, 1.0)
    paint(picture, distance - 1.2, 0.05 * tone)
    paint(picture, distance, tone * (0.12 + 1.0 * curve))


# --- stones ----------------------------------------------------------------------------------


def float_rock(
    rng: Generator,
    picture: Field,
    sun: Sun,
    centre: tuple[float, float],
    radius: float,
    squeeze: float,
) -> None:
    """Set an angular rock and its shadow into a picture.

    Args:
        picture: Light, (side, side).
        centre: Row and column of its middle.
        radius: Half its width in pixels.
        squeeze: Foreshortening of the ground there: 1 from above, 0 at the horizon.
    """
    reach = int(2.3 * radius) + 2
    top, left = max(int(centre[0]) - reach, 0), max(int(centre[1]) - reach, 0)
    window = picture[top : int(centre[0]) + reach, left : int(centre[1]) + reach]
    south, east = np.mgrid[0 : window.shape[0], 0 : window.shape[1]].astype(np.float64)
    x, up = (east + left - centre[1]) / radius, (centre[0] - south - top) / radius
    (right, ahead), towards = outdoors.towards_sun(sun, squeeze)
    tall = rng.uniform(0.6, 0.95)
    flat = tall * (1.0 - 0.4 * squeeze)
    length = min(tall / max(float(np.tan(np.deg2rad(sun.elevation_deg))), 0.5), 1.5)
    for k in (0.35, 0.7, 1.0):
        du, dv = -right * length * k, -0.5 * flat - ahead * length * k * max(squeeze, 0.25)
        gap = np.hypot((x - du) / (1.0 - 0.25 * k), (up - dv) / (0.35 + 0.5 * squeeze))
        window *= 1.0 - 0.32 * (1.0 - terrain.smoothstep(gap, 0.75, 1.0))
    faces = int(rng.integers(8, 15))
    normals = rng.standard_normal((faces, 3))
    normals[:, 2] = np.abs(normals[:, 2]) + 0.15
    # Walls all round, so that every line of sight ends somewhere.
    turn = rng.uniform(0.0, 6.3) + np.arange(6) * (np.pi / 3.0) + rng.uniform(-0.35, 0.35, 6)
    walls = np.stack([np.cos(turn), np.sin(turn), np.full(6, 0.15)], axis=1)
    normals = np.concatenate([normals, walls])
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    offsets = rng.uniform(0.68, 0.98, len(normals))
    face, front = outdoors.front_faces(normals, offsets, x, up / flat)
    grain = rng.standard_normal(window.shape)
    tone = float(np.median(picture)) * (
        rng.uniform(0.8, 1.0) if rng.uniform() < 0.15 else rng.uniform(1.4, 2.0)
    )
    light = (0.85 * np.clip(normals @ towards, 0.0, 1.0) + 0.28 + 0.16 * normals[:, 1])[face]
    surface = np.maximum(tone * light * (1.0 + 0.07 * terrain.blur(grain, 0.6)), 0.0)
    window += (surface - window) * np.clip(front * radius * 0.3 + 0.5, 0.0, 1.0)


def odd_rock(rng: Generator, picture: Field, sun: Sun) -> None:
    """Set a big, smooth, lumpy and glossy stone such as a meteorite into a picture."""
    side = picture.shape[0]
    column, row = rng.uniform(0.35, 0.65, 2) * side
    radius = rng.uniform(0.22, 0.32) * side
    x, y = (offset / radius for offset in terrain.offsets(side, column, row))
    right, ahead = terrain.direction(sun.azimuth_deg)
    shade = np.hypot(x + 0.5 * right, (y - 0.45 + 0.3 * ahead) / 0.6)
    picture *= 1.0 - 0.75 * (1.0 - terrain.smoothstep(shade, 0.9, 1.25))
    field = np.zeros((side, side))
    for _ in range(int(rng.integers(4, 8))):
        dx, dy = rng.normal(0.0, 0.36, 2)
        size = rng.uniform(0.5, 0.75)
        field += np.exp(-((x - dx) ** 2 + ((y - 0.8 * dy) * 1.15) ** 2) / size**2)
    dome = np.sqrt(np.clip(field - 0.55, 0.0, 1.6))
    for _ in range(int(rng.integers(8, 16))):
        dx, dy = rng.uniform(-0.8, 0.8, 2)
        dent = rng.uniform(0.14, 0.26)
        dome -= 0.3 * dent * np.exp(-((x - dx) ** 2 + (y - dy) ** 2) / dent**2) * (dome > 0.2)
    south_slope, east_slope = np.gradient(dome * radius * 0.8)
    facing = 1.0 / np.sqrt(1.0 + south_slope**2 + east_slope**2)
    # Lit from above the camera's shoulder, independent of the scene's sun.
    lx, ly = 0.6 * right, 0.55
    diffuse = np.clip((0.6 - east_slope * lx + south_slope * ly) * facing, 0.0, 1.0)
    gloss = np.clip((0.85 - 0.4 * east_slope * lx + 0.4 * south_slope * ly) * facing, 0.0, 1.0)
    tone = float(np.median(picture)) * rng.uniform(0.35, 0.6)
    value = tone * (0.3 + 1.1 * diffuse) + 2.6 * tone * gloss**18
    paint(picture, (0.55 - field) * radius, value)


# --- on the rover ----------------------------------------------------------------------------


def deck(rng: Generator, picture: Field, edge: float) -> None:
    """Paint the deck's solar panels over the lower part of a picture.

    Args:
        picture: Light, (side, side).
        edge: Row in sides of the deck's far edge; negative if the deck fills the picture.
    """
    side = picture.shape[0]
    east, north = terrain.coordinates(side)
    column, row = east / side - 0.5, -north / side
    horizon = min(edge, 0.0) - rng.uniform(0.25, 0.9)
    depth = (1.0 - horizon) / (row - horizon)
    turn = float(rng.uniform(-50.0, 50.0))
    u, v = shapes.turned((column * depth, (depth - 1.0) * (1.0 - horizon)), turn)
    width = rng.uniform(0.1, 0.17)
    ratio = rng.uniform(1.4, 2.2)
    u, v = u / width + rng.uniform(), v / (ratio * width) + rng.uniform()
    pixel = depth / (width * side)
    # Cells differ a little; thin bright lines run between them, broad gaps between panels.
    cell = np.sin(12.9 * np.floor(u) + 78.2 * np.floor(v)) * 43758.5
    tone = rng.uniform(0.06, 0.16)
    dust = ground.noise(rng, side, 2.4)
    value = tone * (1.0 + 0.25 * (cell - np.floor(cell) - 0.5)) * (1.0 + 0.15 * dust)
    to_line = np.minimum(np.abs(u - np.round(u)), ratio * np.abs(v - np.round(v)))
    line = np.clip(1.2 - to_line / np.maximum(pixel, 0.02), 0.0, 1.0)
    value = value + (rng.uniform(2.0, 3.5) * tone - value) * line
    wide = rng.integers(3, 6)
    to_gap = np.abs(u / wide - np.round(u / wide)) * wide
    value = value * (1.0 - 0.85 * np.clip(0.14 / np.maximum(pixel, 0.1) - to_gap / pixel, 0.0, 1.0))
    slant = rng.uniform(-0.25, 0.25) if edge > 0 else 0.0
    rim = (edge - row + slant * column) * side
    paint(picture, rim - 2.5, 0.45)
    paint(picture, rim, value)
    for _ in range(int(rng.integers(1, 4))):
        _fitting(rng, picture, edge)


def _fitting(rng: Generator, picture: Field, edge: float) -> None:
    """Paint a cable, a hinge or a box on the deck."""
    side = picture.shape[0]
    low = max(edge, 0.0)
    column, row = rng.uniform(0.1, 0.9) * side, rng.uniform(low + 0.12, 1.0) * side
    kind = rng.uniform()
    tone = rng.uniform(0.3, 0.6)
    if kind < 0.45:
        other = (column + rng.normal(0.0, 0.4) * side, row + rng.uniform(0.1, 0.5) * side)
        tube(picture, (column, row), other, rng.uniform(0.012, 0.03) * side, tone, -0.3)
        return
    half = rng.uniform(0.05, 0.1) * side
    p = about(side, column, row, float(rng.uniform(-30.0, 30.0)))
    paint(picture, shapes.box((p[0] + 0.4 * half, p[1] - 0.5 * half), half, half), 0.01, 0.8)
    if kind < 0.75:
        paint(picture, shapes.box(p, half, 0.7 * half, 2.0), tone)
        paint(picture, shapes.box((p[0], p[1] + 0.25 * half), 0.8 * half, 0.3 * half), 1.3 * tone)
    else:
        paint(picture, shapes.disc(p, 0.8 * half), tone)
        paint(picture, shapes.disc(p, 0.45 * half), 0.4 * tone)


def sundial(rng: Generator, picture: Field, largest: float = 0.5) -> None:
    """Paint Pancam's calibration target: rings around a post, chips in the corners.

    Args:
        picture: Light, (side, side).
        largest: Greatest half width of the target as a share of the side.
    """
    side = picture.shape[0]
    column, row = side * rng.uniform(0.4, 0.6, 2)
    unit = rng.uniform(0.72, 1.0) * largest * side
    x, y = about(side, float(column), float(row), float(rng.uniform(0.0, 360.0)))
    # Seen from the mast, so foreshortened along one direction.
    short, tilt = rng.uniform(0.7, 1.0), float(rng.uniform(0.0, 180.0))
    p = shapes.turned((x / unit, y / unit), tilt)
    p = shapes.turned((p[0], p[1] / short), -tilt)
    plate = rng.uniform(0.25, 0.5)

    def lay(distance: Field, value: float | Field, opacity: float = 1.0) -> None:
        paint(picture, distance * unit, value, opacity)

    lay(shapes.box((p[0] + 0.06, p[1] - 0.08), 0.92, 0.92, 0.1), 0.02, 0.8)
    lay(shapes.box(p, 0.9, 0.9, 0.1), plate)
    lay(shapes.box(p, 0.84, 0.84, 0.08), 0.8 * plate)
    for (cx, cy), tone in zip(
        shapes.around(4, 0.97, 45.0), rng.permutation([0.08, 0.2, 0.32, 0.5]), strict=True
    ):
        q = (p[0] - cx, p[1] - cy)
        lay(shapes.disc(q, 0.19), 0.05)
        lay(shapes.disc(q, 0.15), float(tone))
    for radius, tone in ((0.72, 0.04), (0.69, 0.62), (0.52, 0.28), (0.36, 0.09), (0.2, 0.35)):
        lay(shapes.disc(p, radius), tone)
    dust = ground.noise(rng, side, 2.2)
    picture *= 1.0 + 0.06 * dust
    azimuth = rng.uniform(0.0, 6.3)
    for angle, tone, reach in ((azimuth, 0.02, 0.66), (azimuth + rng.uniform(1.0, 5.0), 0.5, 0.5)):
        end = (float(reach * np.cos(angle)), float(reach * np.sin(angle)))
        lay(shapes.rod(p, (0.0, 0.0), end, 0.045, 0.03), tone, 0.9)
        lay(shapes.disc((p[0] - end[0], p[1] - end[1]), 0.085), tone, 0.9)


def arm(rng: Generator, picture: Field) -> None:
    """Paint the arm reaching in from an edge, with its elbow and tools."""
    side = picture.shape[0]
    light = float(rng.uniform(-0.5, 0.5))
    tone = rng.uniform(0.55, 0.8)
    mirror = bool(rng.uniform() < 0.5)
    start = (-0.12 * side, rng.uniform(0.3, 1.0) * side)
    elbow = (rng.uniform(0.2, 0.42) * side, rng.uniform(0.15, 0.5) * side)
    hand = (rng.uniform(0.55, 0.75) * side, rng.uniform(0.45, 0.72) * side)
    if mirror:
        start, elbow, hand = ((side - c, r) for c, r in (start, elbow, hand))
    thick = rng.uniform(0.05, 0.075) * side
    cast = rng.uniform(0.05, 0.12) * side
    x, y = about(side, 0.0, cast)
    dark = np.minimum(
        shapes.rod((x, y), start, elbow, thick), shapes.rod((x, y), elbow, hand, thick)
    )
    paint(
        picture, np.minimum(dark, shapes.disc((x - hand[0], y - hand[1]), 2.4 * thick)), 0.02, 0.75
    )
    tube(picture, start, elbow, thick, tone, light)
    tube(picture, elbow, hand, 0.8 * thick, tone, light)
    p = about(side, *elbow)
    paint(picture, shapes.disc(p, 1.6 * thick), 0.3 * tone)
    paint(picture, shapes.disc(p, 1.4 * thick), 1.1 * tone)
    paint(picture, shapes.disc(p, 0.6 * thick), 0.4 * tone)
    first = float(rng.uniform(0.0, 360.0))
    for k, (dx, dy) in enumerate(shapes.around(4, 2.1 * thick, first)):
        tip = (hand[0] + dx, hand[1] + dy)
        tube(
            picture,
            hand,
            tip,
            rng.uniform(0.7, 1.0) * thick,
            tone * (0.6, 1.1, 0.4, 0.85)[k],
            light,
        )
        q = about(side, *tip)
        paint(picture, shapes.disc(q, 0.72 * thick), 0.04)
        paint(picture, shapes.ring(q, 0.6 * thick, 0.25 * thick), 0.9 * tone)
    paint(picture, shapes.disc(about(side, *hand), 1.2 * thick), 0.75 * tone)
    paint(picture, shapes.disc(about(side, *hand), 0.5 * thick), 0.08)


def wheel(rng: Generator, picture: Field) -> None:
    """Paint a wheel with its cleats and spokes, and its strut."""
    side = picture.shape[0]
    radius = rng.uniform(0.27, 0.38) * side
    column = rng.uniform(0.25, 0.75) * side
    row = rng.uniform(0.4, 0.7) * side
    short = rng.uniform(0.7, 1.0)
    light = rng.uniform(0.0, 6.3)
    tone = rng.uniform(0.4, 0.6)
    x, y = about(side, column, row)
    x = x / short
    rho, angle = np.hypot(x, y), np.arctan2(y, x)
    paint(
        picture, np.hypot(x + 0.15 * radius, (y - 0.95 * radius) * 3.0) - 0.95 * radius, 0.02, 0.7
    )
    cleats = int(rng.integers(30, 42))
    wave = np.clip(2.0 * np.sin(cleats * angle), -1.0, 1.0)
    paint(picture, rho - radius * (1.0 + 0.02 * wave), tone * (0.55 + 0.3 * wave))
    bright = 1.0 + 0.5 * np.cos(angle - light)
    paint(picture, rho - 0.86 * radius, 0.8 * tone * bright)
    paint(picture, rho - 0.76 * radius, 0.04)
    spokes = int(rng.integers(5, 8))
    twist = spokes * (angle + 0.9 * rho / radius + light)
    spoke = (np.abs(np.sin(0.5 * twist)) - 0.3) * rho * 0.5
    paint(picture, np.maximum(spoke, rho - 0.78 * radius), 0.7 * tone * bright)
    paint(picture, rho - 0.3 * radius, 0.9 * tone)
    paint(picture, rho - 0.16 * radius, 0.12)
    lean = rng.uniform(-0.5, 0.5) * side
    tube(picture, (column, row), (column + lean, -0.1 * side), 0.11 * radius, 1.3 * tone, 0.3)


def mast(rng: Generator, picture: Field) -> None:
    """Paint an antenna mast: a pole with a round dish and a whip."""
    side = picture.shape[0]
    column = rng.uniform(0.3, 0.7) * side
    head = rng.uniform(0.25, 0.45) * side
    tone = rng.uniform(0.18, 0.4)
    light = float(rng.uniform(-0.7, 0.7))
    foot = (column + rng.normal(0.0, 0.05) * side, 1.1 * side)
    tube(picture, (column, head), foot, rng.uniform(0.03, 0.05) * side, tone, light)
    radius = rng.uniform(0.17, 0.26) * side
    x, y = about(side, column, head, float(rng.uniform(-40.0, 40.0)))
    rho = np.hypot(x / rng.uniform(0.6, 1.0), y)
    paint(picture, rho - 1.05 * radius, 0.3 * tone)
    paint(picture, rho - radius, tone * (1.1 + 0.35 * x / radius))
    paint(picture, np.abs(rho - 0.8 * radius) - 0.02 * side, 0.45 * tone)
    paint(picture, rho - 0.3 * radius, 0.4 * tone)
    whip = column + rng.choice([-1.0, 1.0]) * rng.uniform(0.22, 0.3) * side
    tube(
        picture,
        (whip, rng.uniform(0.05, 0.3) * side),
        (whip, 1.1 * side),
        0.017 * side,
        tone,
        light,
    )
    x, y = about(side, column, rng.uniform(0.75, 0.9) * side)
    paint(picture, shapes.box((x, y), 0.4 * side, 0.035 * side, 1.0), 0.7 * tone)


# --- off the rover ---------------------------------------------------------------------------


def wreck(rng: Generator, picture: Field, row: float) -> None:
    """Paint a lander with deflated airbags, or the remains of a heat shield.

    Args:
        picture: Light, (side, side).
        row: Row of its foot in sides.
    """
    side = picture.shape[0]
    column = rng.uniform(0.4, 0.6) * side
    size = rng.uniform(0.24, 0.36) * side
    x, y = about(side, column, row * side)
    paint(picture, np.hypot(x, (y - 0.1 * size) * 4.0) - 1.25 * size, 0.03, 0.7)
    if rng.uniform() < 0.55:
        _lander(rng, picture, x, y, size)
    else:
        _shield(rng, picture, x, y, size)


def _lander(rng: Generator, picture: Field, x: Field, y: Field, size: float) -> None:
    """Paint open petals on crumpled airbags, one petal standing up behind."""
    tone = rng.uniform(0.45, 0.7)
    crumpled = ground.noise(rng, picture.shape[0], 2.6, longest=0.6 * size, shortest=0.25 * size)
    folds = np.gradient(crumpled, axis=0)
    back = shapes.trapezium(
        (x + rng.normal(0.0, 0.1) * size, y + 0.55 * size), 0.1 * size, 0.5 * size, 0.4 * size
    )
    paint(picture, back - 1.0, 0.03)
    paint(picture, back, 0.6 * tone)
    paint(picture, np.maximum(np.abs(np.abs(x) - 0.2 * size) - 0.04 * size, back + 2.0), 0.08)
    for _ in range(int(rng.integers(6, 10))):
        radius = rng.uniform(0.25, 0.42) * size
        dx, dy = rng.uniform(-1.0, 1.0) * size, rng.uniform(-0.25, 0.15) * size
        q = (x - dx, (y - dy) * 1.7)
        light = np.clip(0.8 - 0.5 * q[1] / radius + 0.04 * size * folds, 0.15, 1.3)
        bag = shapes.disc(q, radius * 1.0) + 0.12 * radius * crumpled
        paint(picture, bag - 0.06 * radius, 0.08)
        paint(picture, bag, 1.1 * tone * light)
    for lean in (-1.0, 1.0):
        p = shapes.turned((x - 0.55 * lean * size, y - 0.02 * size), 14.0 * lean)
        petal = shapes.box(p, 0.5 * size, 0.12 * size, 1.0)
        paint(picture, petal - 1.0, 0.03)
        paint(picture, petal, 0.28 * tone)
        cells = np.minimum(np.abs(np.sin(9.0 * p[0] / size)) - 0.15, np.abs(p[1]) / size - 0.015)
        paint(picture, np.maximum(cells * size * 0.2, petal + 1.0), 1.2 * tone)


def _shield(rng: Generator, picture: Field, x: Field, y: Field, size: float) -> None:
    """Paint a broken cone from aside, its bright inner side showing, and debris."""
    p = shapes.turned((x, y + 0.45 * size), float(rng.uniform(-35.0, 35.0)))
    tone = rng.uniform(0.5, 0.75)
    cone = shapes.trapezium(p, 0.3 * size, 1.0 * size, 0.5 * size)
    shade = 0.12 + 0.25 * np.clip(0.5 - p[0] / size, 0.0, 1.0)
    paint(picture, cone, shade)
    seams = np.abs(np.sin(4.5 * np.arctan2(p[0], p[1] + 1.1 * size))) - 0.06
    paint(picture, np.maximum(seams * size, cone + 1.0), 0.03)
    mouth = np.hypot(p[0], (p[1] - 0.5 * size) * 3.2) - size
    paint(picture, mouth - 1.5, 0.04)
    paint(picture, mouth, tone * (0.8 + 0.5 * p[0] / size))
    paint(picture, np.abs(mouth + 0.2 * size) - 0.05 * size, 0.1)
    for _ in range(int(rng.integers(3, 7))):
        dx, dy = rng.uniform(-1.5, 1.5) * size, rng.uniform(0.0, 0.5) * size
        q = shapes.turned((x - dx, y - dy), float(rng.uniform(0.0, 180.0)))
        half: NDArray[np.float64] = rng.uniform(0.04, 0.12, 2) * size
        paint(picture, shapes.box((q[0] + 1.5, q[1] + 1.5), half[0], half[1]), 0.03, 0.8)
        paint(picture, shapes.box(q, half[0], half[1]), tone * rng.uniform(0.6, 1.1))
