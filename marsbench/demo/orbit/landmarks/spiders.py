"""Araneiforms for the class ``Spider``: troughs branching outwards from a centre.

Carbon dioxide gas escaping from under the seasonal ice of the south pole carves them. The arms
narrow and fork away from the centre, and dust carried by the gas may lie in dark fans. Shapes
follow Hansen et al., "HiRISE observations of gas sublimation-driven activity in Mars' southern
polar regions: I. Erosion of the surface", Icarus 205, 2010.
"""

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from marsbench.demo.art import terrain
from marsbench.demo.art.terrain import Field
from marsbench.demo.orbit import ground
from marsbench.demo.orbit.ground import Site

Points = NDArray[np.float64]
"""Column and row along troughs, (count, 2)."""


def araneiform(
    rng: Generator, east: float, south: float, radius: float, width: float
) -> tuple[Points, NDArray[np.float64]]:
    """Troughs of a spider, grown outwards from its centre.

    Args:
        east: Column of the centre.
        south: Row of the centre.
        radius: Length of the longest arms in pixels.
        width: Half width of the arms at the centre in pixels.

    Returns:
        Column and row of points along the troughs, (count, 2), and their half widths in
        pixels, (count,).
    """
    arms = int(rng.integers(5, 9))
    heading = 2.0 * np.pi * (np.arange(arms) + rng.uniform(-0.3, 0.3, arms)) / arms
    heading += rng.uniform(0.0, 6.28)
    position = np.tile([east, south], (arms, 1))
    # Remaining length and width of each tip.
    left = radius * rng.uniform(0.7, 1.0, arms)
    girth = np.full(arms, width)
    bend = rng.normal(0.0, 0.03, arms)
    forking = rng.uniform(2.0, 3.4) / radius
    points, widths = [np.array([[east, south]])], [np.array([1.7 * width])]
    while position.size:
        bend = 0.75 * bend + rng.normal(0.0, 0.09, bend.size)
        # Arms wander but keep leading away from the centre.
        outwards = np.arctan2(position[:, 1] - south, position[:, 0] - east)
        astray = np.angle(np.exp(1j * (heading - outwards)))
        far = np.hypot(position[:, 0] - east, position[:, 1] - south) > 2.0
        heading = heading + bend - 0.1 * astray * far
        position = position + np.stack([np.cos(heading), np.sin(heading)], axis=1)
        left = left - 1.0
        points.append(position)
        widths.append(girth * np.clip(0.35 + left / (0.5 * radius), 0.4, 1.0))
        fork = far & (rng.uniform(size=left.size) < forking) & (left > 3.0)
        turn = rng.uniform(0.4, 0.75, left.size) * rng.choice([-1.0, 1.0], left.size)
        heading = np.where(fork, heading - 0.35 * turn, heading)
        position = np.concatenate([position, position[fork]])
        heading = np.concatenate([heading, (heading + 1.35 * turn)[fork]])
        bend = np.concatenate([bend, bend[fork]])
        left = np.concatenate([left, (left * rng.uniform(0.6, 1.0, left.size))[fork]])
        girth = np.where(fork, 0.9 * girth, girth)
        girth = np.concatenate([girth, 0.8 * girth[fork]])
        alive = left > 0.0
        position, heading, bend = position[alive], heading[alive], bend[alive]
        left, girth = left[alive], girth[alive]
    return np.concatenate(points), np.concatenate(widths)


def spider_scene(rng: Generator, side: int) -> Site:
    """One to a few spiders in polar ground; the mark is the depth of the troughs."""
    centres = _centres(rng, side)
    width = rng.uniform(1.1, 1.8) * (side / 96.0) ** 0.5
    grown = [
        araneiform(rng, x, y, r, width * (1.0 if r > 0.2 * side else 0.85)) for x, y, r in centres
    ]
    points, widths = (np.concatenate(parts) for parts in zip(*grown, strict=True))
    # Finer bands would break up into dots between the pixels.
    widths = np.maximum(widths, 0.85)
    inside = ground.trails(side, points, widths)
    trough = terrain.smoothstep(inside, -0.7, width)
    # Erosion also lowers the ground around the centre.
    height = ground.plain(rng, side, rng.uniform(0.2, 0.6)) - rng.uniform(0.8, 1.2) * width * trough
    for x, y, radius in centres:
        distance, _angle = ground.polar(side, x, y)
        height -= 0.05 * radius * np.exp(-((distance / (0.35 * radius)) ** 2))
    albedo = ground.soil(rng, side, rng.uniform(0.02, 0.08))
    # Bare troughs are a little darker than the ground; frost lingers in others.
    albedo *= 1.0 + rng.choice([-1.0, -1.0, 1.0]) * rng.uniform(0.15, 0.4) * trough
    if rng.uniform() < 0.35:
        albedo *= 1.0 - rng.uniform(0.3, 0.5) * _fans(rng, side, points, widths)
    return Site(height, albedo, trough)


def _centres(rng: Generator, side: int) -> list[tuple[float, float, float]]:
    """Column, row and radius of the spiders in pixels."""
    radius = side * rng.uniform(0.3, 0.55)
    x, y = side * rng.uniform(0.36, 0.64, 2)
    centres = [(float(x), float(y), float(radius))]
    for _ in range(int(rng.integers(0, 12))):
        x, y = side * rng.uniform(0.02, 0.98, 2)
        r = side * rng.uniform(0.13, 0.3)
        if all(np.hypot(x - u, y - v) > 0.75 * (r + q) for u, v, q in centres):
            centres.append((float(x), float(y), float(r)))
    return centres


def _fans(rng: Generator, side: int, points: Points, widths: Points) -> Field:
    """Opacity of dark fans starting in the troughs, in [0, 1], (side, side)."""
    count = int(rng.integers(4, 14))
    starts = points[rng.choice(len(points), count, p=widths / widths.sum())]
    wind = rng.uniform(0.0, 360.0) + rng.normal(0.0, 12.0, count)
    lengths = side * rng.uniform(0.04, 0.13, count)
    return terrain.streaks(side, starts, rng.uniform(1.0, 2.0, count), lengths, wind)
