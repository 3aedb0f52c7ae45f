"""Slope streaks for the class ``Slope Streak``: thin marks down dusty slopes.

A streak begins at a point, widens a little along the steepest descent, may part around obstacles
and ends in fingers. Dust slides off without carving the ground, so a streak is a sharp-edged
tone, mostly darker than the slope, without relief. Appearance follows Sullivan et al., "Mass
movement slope streaks imaged by the Mars Orbiter Camera", Journal of Geophysical Research 106,
2001.
"""

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from marsbench.demo.art import terrain
from marsbench.demo.art.terrain import Field, Light
from marsbench.demo.orbit import ground
from marsbench.demo.orbit.ground import Site


def slope(rng: Generator, side: int, downhill_deg: float) -> Field:
    """Height of a long dusty slope with spurs, sometimes below a crest or a scarp, in pixels.

    Args:
        downhill_deg: Azimuth the slope falls towards.
    """
    down = terrain.along(side, downhill_deg)
    fall = rng.uniform(0.22, 0.4)
    spurs = terrain.fractal(
        rng,
        side,
        3.8,
        longest=0.7 * side,
        shortest=0.08 * side,
        stretch=rng.uniform(1.5, 3.0),
        azimuth_deg=downhill_deg,
    )
    height = -fall * down + rng.uniform(0.003, 0.011) * side * spurs
    kind = rng.uniform()
    bend = 0.06 * side * terrain.fractal(rng, side, 3.8, shortest=0.12 * side)
    if kind < 0.4:
        # A crest: the far side of the ridge falls the other way.
        top = rng.uniform(-0.45, -0.2) * side
        above = np.maximum(top - (down + bend), 0.0)
        height -= rng.uniform(0.8, 1.6) * fall * above
    elif kind < 0.6:
        # A plain at the foot.
        foot = rng.uniform(0.25, 0.45) * side
        height += 0.85 * fall * np.maximum(down + bend - foot, 0.0)
    return height


def descents(
    rng: Generator,
    height: Field,
    starts: NDArray[np.float64],
    lengths: NDArray[np.float64],
    widths: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Follow the steepest descent from every start.

    Args:
        height: Elevation in pixels, (side, side).
        starts: Column and row of the starts, (count, 2).
        lengths: Lengths of the streaks in pixels, (count,).
        widths: Their greatest half widths in pixels, (count,).

    Returns:
        Column and row of points along the streaks, (points, 2), and the half widths there in
        pixels, (points,).
    """
    side = height.shape[0]
    east, north = terrain.gradient(terrain.blur(height, 0.04 * side + 1.0))
    position, heading = starts.copy(), np.zeros_like(starts)
    finger = rng.uniform(0.08, 0.35, len(starts))
    spreading = rng.uniform(0.4, 1.1, len(starts))
    points, halves = [], []
    pace = 0.7
    for step in range(int(float(lengths.max()) / pace)):
        t = step * pace / lengths
        points.append(position[t < 1.0])
        # A pointed head, a slowly widening body, and a tail ending in a finger.
        body = np.minimum(0.1 + t / spreading, 1.0)
        taper = np.minimum((1.0 - t) / finger, 1.0).clip(0.0) ** 0.6
        halves.append((0.45 + (widths - 0.45).clip(0.0) * body * taper)[t < 1.0])
        column, row = np.clip(np.rint(position), 0, side - 1).astype(np.int64).T
        fall = np.stack([-east[row, column], north[row, column]], axis=1)
        downhill = fall / (np.hypot(*fall.T)[:, None] + 1e-9)
        heading = 0.85 * heading + 0.15 * downhill + rng.normal(0.0, 0.03, heading.shape)
        heading /= np.hypot(*heading.T)[:, None] + 1e-9
        # The streak ends where the slope is too gentle for dust to slide.
        sliding = (fall * heading).sum(axis=1, keepdims=True) > 0.03
        position = position + pace * sliding * heading
    return np.concatenate(points), np.concatenate(halves)


def streaks(
    rng: Generator, height: Field, downhill_deg: float
) -> tuple[Field, NDArray[np.float64], NDArray[np.float64]]:
    """Group of streaks on a slope.

    Args:
        height: Elevation in pixels, (side, side).
        downhill_deg: Azimuth the slope falls towards.

    Returns:
        Opacity in [0, 1], (side, side); start of every streak, column and row, (count, 2); and
        their lengths in pixels, (count,).
    """
    side = height.shape[0]
    count = int(rng.integers(1, 4)) if rng.uniform() < 0.45 else int(rng.integers(4, 13))
    x, y = terrain.direction(downhill_deg)
    starts = _starts(rng, height, downhill_deg, count)
    longest = rng.uniform(0.5, 1.0) * side
    lengths = longest * rng.uniform(0.4 if count > 3 else 0.75, 1.0, count)
    widths = side / 96.0 * np.exp(rng.uniform(np.log(0.9), np.log(3.4), count))
    points, halves = descents(rng, height, starts, lengths, widths)
    parted = rng.uniform(size=count) < 0.4
    if parted.any():
        # A second branch leaves partway and keeps to one side.
        chosen = np.flatnonzero(parted)
        nearby = starts[chosen] + rng.uniform(1.5, 3.0, (len(chosen), 1)) * widths[chosen, None] * (
            np.array([y, x]) * rng.choice([-1.0, 1.0], (len(chosen), 1))
        )
        nearby += np.array([x, -y]) * rng.uniform(0.15, 0.4, (len(chosen), 1)) * longest
        more, thin = descents(rng, height, nearby, 0.5 * lengths[chosen], 0.7 * widths[chosen])
        points, halves = np.concatenate([points, more]), np.concatenate([halves, thin])
    inside = ground.trails(side, points, np.maximum(halves, 0.7))
    return terrain.smoothstep(inside, -0.6, 0.6), starts, lengths


def _starts(rng: Generator, height: Field, downhill_deg: float, count: int) -> NDArray[np.float64]:
    """Column and row of places on the upper slope steep enough for dust to slide, (count, 2)."""
    side = height.shape[0]
    x, y = terrain.direction(downhill_deg)
    tries = 6 * count
    across = rng.uniform(-0.45, 0.45, tries) * side * (0.5 if count < 4 else 0.9)
    # Along a line, for instance below a crest, or anywhere on the upper slope.
    scatter = rng.choice([0.04, 0.2])
    down = side * np.clip(rng.uniform(-0.36, -0.12) + scatter * rng.normal(size=tries), -0.38, 0.1)
    middle = (side - 1) / 2
    places = np.stack([middle + down * x + across * y, middle - down * y + across * x], axis=1)
    column, row = np.clip(np.rint(places), 0, side - 1).astype(np.int64).T
    falls = terrain.facing(terrain.blur(height, 0.02 * side), downhill_deg)[row, column]
    fitting = np.argsort(falls < 0.12, kind="stable")
    return places[fitting[:count]]


def slope_streak_scene(rng: Generator, side: int, light: Light) -> Site:
    """Streaks on a sunlit slope; the mark is their opacity. In the shade none would show."""
    downhill = light.azimuth_deg + rng.uniform(-100.0, 100.0)
    height = slope(rng, side, downhill)
    opacity, _starts, _lengths = streaks(rng, height, downhill)
    fine = rng.uniform(0.4, 1.0) * (
        0.06 * terrain.fractal(rng, side, 1.6)
        + rng.uniform(0.01, 0.1)
        * terrain.fractal(rng, side, 2.4, longest=0.2 * side, stretch=3.0, azimuth_deg=downhill)
    )
    if rng.uniform() < 0.3:
        fine += 0.4 * terrain.boulders(rng, side, int(rng.integers(0, side)))
    albedo = ground.soil(rng, side, rng.uniform(0.02, 0.06))
    fresh = rng.uniform(0.75, 1.0)
    if rng.uniform() < 0.8:
        albedo *= 1.0 - rng.uniform(0.45, 0.65) * fresh * opacity
    else:
        albedo *= 1.0 + rng.uniform(0.6, 0.9) * fresh * opacity
    return Site(height + fine, albedo, opacity)
