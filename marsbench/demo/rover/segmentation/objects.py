"""Stones, shadows and parts of the rover for the rover segmentation tasks.

A stone is a convex body bounded by random planes, drawn facet by facet into a window; its mask is
its visible outline. The rover's shadow is the outline of deck, wheels, mast and head laid along
the ground away from the sun. Parts of the rover are drawn with `shapes`.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.random import Generator

from marsbench.demo.art import shapes, terrain
from marsbench.demo.art.shapes import Canvas
from marsbench.demo.art.terrain import Field
from marsbench.demo.rover import ground, outdoors
from marsbench.demo.rover.curiosity import hardware
from marsbench.demo.rover.ground import SKYLIGHT, Colour, Frame, Sun
from marsbench.demo.rover.segmentation.ground import Kind, Surface

# --- stones ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Stone:
    """Place and size of a stone.

    Attributes:
        row: Row of its middle.
        column: Column of its middle.
        radius: Half its width in pixels.
        tall: Its height as a multiple of the radius.
        squeeze: Foreshortening of the ground at its foot.
    """

    row: float
    column: float
    radius: float
    tall: float
    squeeze: float

    @property
    def flat(self) -> float:
        """Half its height in the picture as a multiple of the radius."""
        return self.tall * (1.0 - 0.45 * self.squeeze)


def strewn(rng: Generator, frame: Frame, count: int) -> list[Stone]:
    """Stones of varied size on the ground, farthest first."""
    side = frame.side
    top = max(frame.view.horizon, 0.0) + 0.05
    largest = rng.uniform(0.05, 0.15)
    stones = []
    for _ in range(count):
        row, column = rng.uniform(top, 1.02), rng.uniform(0.0, 1.0)
        i, j = min(int(row * side), side - 1), int(column * side)
        size = min(0.03 * (1.0 - rng.uniform(0.0, 0.98)) ** -0.6, largest)
        radius = max(size * 1.5 / float(frame.depth[i, j]) ** 0.5, 0.026) * side
        tall = rng.uniform(0.6, 1.0)
        stones.append(Stone(row * side, column * side, radius, tall, frame.squeeze(i, j)))
    return sorted(stones, key=lambda stone: stone.row)


def _window(side: int, stone: Stone, reach: float) -> tuple[slice, slice, Field, Field]:
    """Rows and columns around a stone, and positions there to its right and above."""
    east, north = terrain.coordinates(side)
    far = int(reach * stone.radius) + 2
    rows = slice(max(int(stone.row) - far, 0), max(int(stone.row) + far, 0))
    columns = slice(max(int(stone.column) - far, 0), max(int(stone.column) + far, 0))
    x = (east[rows, columns] - stone.column) / stone.radius
    up = (north[rows, columns] + stone.row) / stone.radius
    return rows, columns, x, up


def cast_shadows(surface: Surface, frame: Frame, stones: list[Stone]) -> None:
    """Darken the ground behind stones, in place: a tapering band away from the sun."""
    sun = frame.sun
    for stone in stones:
        (sx, sy), _towards = outdoors.towards_sun(sun, stone.squeeze)
        # The cosine of the tangent is already in `towards_sun`.
        length = 1.1 * stone.tall / max(np.sin(np.deg2rad(sun.elevation_deg)), 0.4)
        rows, columns, x, up = _window(frame.side, stone, 1.2 + length)
        if not x.size:
            continue
        # On the ground, ellipses are circles.
        thick = 0.16 * stone.flat + 0.5 * stone.squeeze
        place = (x, (up + 0.55 * stone.flat) / thick)
        end = (-sx * length, -sy * length * stone.squeeze / thick)
        gap = shapes.rod(place, (0.0, 0.0), end, 0.95, 0.5) * min(1.0, thick)
        dark = np.clip(0.5 - gap * stone.radius, 0.0, 1.0)
        shade = surface.shadow[rows, columns]
        np.maximum(shade, dark, out=shade)


def set_stones(
    rng: Generator,
    surface: Surface,
    frame: Frame,
    stones: list[Stone],
    colour: Colour,
    shade: Field,
) -> None:
    """Draw stones over the lit ground, in place.

    Args:
        stones: The stones, farthest first.
        colour: Their mean reflectance.
        shade: Share of the sun blocked by a large object, (side, side).
    """
    side = frame.side
    relief = ground.noise(rng, side, 1.9, longest=0.2 * side)
    for stone in stones:
        rows, columns, x, up = _window(side, stone, 1.1)
        if not x.size:
            continue
        _flat, towards = outdoors.towards_sun(frame.sun, stone.squeeze)
        normals, offsets = outdoors.stone_body(rng, (7, 13), 6)
        face, front = outdoors.front_faces(normals, offsets, x, up / stone.flat)
        shift = rng.integers(0, side - np.array(x.shape) + 1)
        grain = relief[shift[0] : shift[0] + x.shape[0], shift[1] : shift[1] + x.shape[1]]
        # The foot is buried, along a line bulging towards the camera.
        buried = up + stone.flat * (0.75 - 0.35 * x * x + 0.05 * grain)
        inside = np.minimum(0.25 * front, buried) * stone.radius
        opacity = np.clip(inside + 0.5, 0.0, 1.0)[..., None]
        south, east = np.gradient(grain)
        rough = rng.uniform(0.1, 0.3) * (east * towards[0] - south * towards[1])
        # A stone is shaded by a large object as a whole or not at all.
        foot = min(int(stone.row + 0.5 * stone.flat * stone.radius), side - 1)
        in_shade = shade[foot, min(int(stone.column), side - 1)] > 0.5
        sunlit = np.clip((normals @ towards)[face] - rough, 0.0, 1.0) * (0.05 if in_shade else 1.35)
        own = ground.kindred(rng, colour, 0.4)
        tone = 1.0 + rng.uniform(0.04, 0.12) * grain
        light = surface.light[rows, columns]
        body = own * (sunlit[..., None] + 0.7 * SKYLIGHT) * np.maximum(tone, 0.2)[..., None]
        light += (body - light) * opacity
        surface.kind[rows, columns][inside > 0.0] = Kind.ROCK
        surface.shadow[rows, columns][inside > 0.0] = 0.0


# --- the rover's shadow ----------------------------------------------------------------------


def behind(rng: Generator) -> Sun:
    """Low sun behind the camera, casting the rover's shadow into the view."""
    return Sun(180.0 + float(rng.uniform(-50.0, 50.0)), float(rng.uniform(16.0, 38.0)))


def rover_shadow(rng: Generator, frame: Frame) -> Field:
    """Share of the sun blocked by the rover, (side, side)."""
    side = frame.side
    horizon = max(frame.view.horizon, 0.0)
    column = rng.uniform(0.25, 0.75)
    ends = horizon + (1.0 - horizon) * np.array([rng.uniform(0.5, 0.8), rng.uniform(0.15, 0.42)])
    i, k = (int(row * side) for row in ends)
    j = int(column * side)
    x, y = terrain.direction(frame.sun.azimuth_deg)
    x0, y0 = float(frame.x[i, j]), float(frame.y[i, j])
    # Forward is away from the sun; the deck's front edge is at 0, its end is out of view.
    forward = -(frame.x - x0) * x - (frame.y - y0) * y
    aside = (frame.x - x0) * y - (frame.y - y0) * x
    reach = max((float(frame.y[k, j]) - y0) / max(-y, 0.5), 0.3 * side)
    wide = rng.uniform(0.28, 0.5) * side
    deck = np.maximum(np.abs(aside) - wide, forward)
    wheels = np.maximum(np.abs(np.abs(aside) - 1.12 * wide) - 0.2 * wide, forward + 0.35 * wide)
    lean = rng.uniform(-0.6, 0.6) * wide
    thin = rng.uniform(0.08, 0.13) * wide
    mast = np.maximum(np.abs(aside - lean) - thin, np.abs(forward - 0.5 * reach) - 0.5 * reach)
    # The low sun lengthens the head's shadow.
    head = np.maximum(
        np.abs(aside - lean) - rng.uniform(0.26, 0.42) * wide,
        np.abs(forward - reach) - rng.uniform(0.16, 0.26) * reach,
    )
    outline = np.minimum(np.minimum(deck, wheels), np.minimum(mast, head))
    if rng.uniform() < 0.5:
        dish = shapes.length(aside + 0.6 * np.sign(lean) * wide, 0.6 * (forward - 0.1 * wide))
        outline = np.minimum(outline, dish - 0.3 * wide)
    dark: Field = np.clip(0.5 - outline / frame.depth, 0.0, 1.0)
    return dark


def darken(rng: Generator, surface: Surface, frame: Frame) -> None:
    """Remove the direct light in the shadows, in place."""
    direct = float(np.sin(np.deg2rad(frame.sun.elevation_deg)))
    left = rng.uniform(0.45, 0.8) * SKYLIGHT / (direct + SKYLIGHT)
    surface.light[:] *= 1.0 - (1.0 - left) * np.clip(surface.shadow, 0.0, 1.0)[..., None]


# --- parts of the rover ----------------------------------------------------------------------


def rover(rng: Generator, surface: Surface, *, panels: bool = False) -> None:
    """Put a part of the rover before the scene, in place.

    Args:
        panels: True for a deck of solar panels; False for a random wheel, deck or arm.
    """
    side = surface.kind.shape[0]
    draw = _panels if panels else _PARTS[int(rng.integers(len(_PARTS)))]
    canvas = draw(rng, side)
    layer = shapes.lit(canvas, rng, dust=0.8)
    light = layer[..., :3] * rng.uniform(0.9, 1.5)
    surface.light[:] += (light - surface.light) * canvas.alpha[..., None]
    hidden = canvas.alpha > 0.5
    surface.kind[hidden] = Kind.ROVER
    surface.shadow[hidden] = 0.0


def _empty(rng: Generator, side: int, size: float, at: tuple[float, float]) -> Canvas:
    """Empty canvas with its origin at a row and column, in sides, hardly turned."""
    canvas = shapes.view(rng, side, size, turn=0.0, drift=0.0, squash=0.9)
    drow, dcolumn = (at[0] - 0.5) * side / canvas.unit, (at[1] - 0.5) * side / canvas.unit
    return replace(canvas, u=canvas.u - dcolumn, v=canvas.v - drow)


def _wheel(rng: Generator, side: int) -> Canvas:
    """Wheel in a lower corner, and the strut above."""
    column = rng.uniform(-0.02, 0.25)
    if rng.uniform() < 0.5:
        column = 1.0 - column
    canvas = _empty(rng, side, rng.uniform(0.5, 0.8), (rng.uniform(0.6, 0.85), column))
    strut = rng.uniform(-0.5, 0.5)
    tube = shapes.rod(canvas.at(), (0.0, 0.0), (2.0 * np.sign(column - 0.5), -0.9 + strut), 0.2)
    canvas.paint(tube, shapes.grey(rng, 0.35, 0.6), -0.3, bevel=0.2, gloss=0.4)
    hardware.paint_wheel(canvas, rng)
    return canvas


def _edge(rng: Generator, canvas: Canvas) -> tuple[Field, float]:
    """Distance to a plate filling the bottom of the picture, and the turn of its edge."""
    turn = float(rng.normal(0.0, 14.0))
    p = canvas.at(turn=turn)
    edge = -p[1]
    if rng.uniform() < 0.6:
        corner = rng.choice([-1.0, 1.0]) * (p[0] - rng.uniform(-0.4, 0.4)) + 0.3 * p[1]
        edge = np.maximum(edge, corner)
    return edge, turn


def _deck(rng: Generator, side: int) -> Canvas:
    """Deck from above: plates, seams, screws, boxes and a cable."""
    canvas = _empty(rng, side, 1.0, (rng.uniform(0.64, 0.82), 0.5))
    edge, turn = _edge(rng, canvas)
    plate = shapes.white(rng) if rng.uniform() < 0.5 else shapes.grey(rng, 0.2, 0.55)
    lip = rng.uniform(0.03, 0.08)
    canvas.paint(edge - lip, shapes.darker(plate, 0.5), -0.1, bevel=0.03)
    canvas.paint(edge, plate, 0.05, bevel=0.03, gloss=0.25)
    p = canvas.at(turn=turn)
    on = edge + 0.06
    for offset in rng.uniform(-1.0, 1.0, int(rng.integers(1, 4))):
        seam = np.maximum(np.abs(p[0] - offset) - 0.014, on)
        canvas.paint(seam, shapes.darker(plate, 0.25), 0.02)
    for _ in range(int(rng.integers(1, 4))):
        x, y = rng.uniform(-0.9, 0.9), rng.uniform(0.15, 0.6)
        tone = shapes.grey(rng, 0.05, 0.6)
        size = rng.uniform(0.08, 0.24, 2)
        box = shapes.box((p[0] - x, p[1] - y), float(size[0]), float(size[1]), 0.03)
        canvas.paint(np.maximum(box, on), tone, 0.2, bevel=0.05, gloss=0.3)
    bow = p[1] - 0.3 - 0.1 * np.sin(4.0 * p[0] + rng.uniform(0.0, 6.3))
    canvas.paint(np.maximum(np.abs(bow) - 0.03, on), (0.6, 0.57, 0.5), 0.1, bevel=0.03, gloss=0.0)
    _screws(rng, canvas, turn, edge)
    return canvas


def _panels(rng: Generator, side: int) -> Canvas:
    """Deck of solar panels: dark cells in a pale grid."""
    canvas = _empty(rng, side, 1.0, (rng.uniform(0.76, 0.9), 0.5))
    edge, turn = _edge(rng, canvas)
    frame = shapes.grey(rng, 0.4, 0.65)
    canvas.paint(edge, frame, 0.0, bevel=0.03, gloss=0.3)
    p = canvas.at(turn=turn)
    wide, high = rng.uniform(0.12, 0.2), rng.uniform(0.08, 0.13)
    u, v = (np.abs((q / s) % 1.0 - 0.5) * s for q, s in zip(p, (wide, high), strict=True))
    cell = np.maximum(u - 0.44 * wide, v - 0.42 * high)
    canvas.paint(np.maximum(cell, edge + 0.05), (0.06, 0.055, 0.06), 0.0, gloss=0.2)
    return canvas


def _arm(rng: Generator, side: int) -> Canvas:
    """Arm reaching in from the side: two links, a joint and the turret."""
    sign = float(rng.choice([-1.0, 1.0]))
    canvas = _empty(rng, side, 1.0, (rng.uniform(0.5, 0.8), 0.5))
    p = canvas.at()
    coat = shapes.white(rng) if rng.uniform() < 0.6 else shapes.metal(rng)
    thick = rng.uniform(0.09, 0.15)
    root = (1.4 * sign, float(rng.uniform(0.2, 1.0)))
    elbow = (float(rng.uniform(0.35, 0.75)) * sign, float(rng.uniform(-0.5, -0.1)))
    wrist = (float(rng.uniform(-0.35, 0.1)) * sign, float(rng.uniform(-0.1, 0.4)))
    canvas.paint(shapes.rod(p, root, elbow, 1.2 * thick), coat, 0.0, bevel=1.2 * thick, gloss=0.3)
    canvas.paint(
        shapes.rod(p, elbow, wrist, thick), shapes.darker(coat, 0.85), 0.1, bevel=thick, gloss=0.3
    )
    for x, y in (elbow, wrist):
        joint = canvas.at(x, y)
        canvas.paint(shapes.disc(joint, 1.6 * thick), shapes.metal(rng), 0.2, bevel=0.06, gloss=0.6)
        canvas.paint(shapes.disc(joint, 0.8 * thick), shapes.grey(rng, 0.1, 0.4), 0.3, bevel=0.04)
    for angle in rng.uniform(0.0, 360.0) + np.array([0.0, 110.0, 230.0]):
        q = canvas.at(*wrist, turn=float(angle + rng.normal(0.0, 15.0)))
        tool = shapes.box((q[0] - 0.22, q[1]), rng.uniform(0.1, 0.2), rng.uniform(0.06, 0.11), 0.02)
        canvas.paint(tool, shapes.grey(rng, 0.08, 0.6), 0.25, bevel=0.04, gloss=0.4)
    _screws(rng, canvas, 0.0, shapes.disc(canvas.at(*elbow), 1.5 * thick))
    return canvas


def _screws(rng: Generator, canvas: Canvas, turn: float, edge: Field) -> None:
    """Paint screws at random places well inside a shape."""
    inside = np.argwhere(edge < -0.08)
    if not len(inside):
        return
    for row, column in inside[rng.integers(0, len(inside), int(rng.integers(2, 6)))]:
        canvas.screw(float(canvas.u[row, column]), float(canvas.v[row, column]), 0.035)


_PARTS: tuple[Callable[[Generator, int], Canvas], ...] = (_wheel, _deck, _arm)
