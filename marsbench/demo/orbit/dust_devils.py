"""Scenes for ``dust_devil_det``: whirlwinds of dust on CTX ground.

A dust devil is a column of dust leaning with the wind: bright, narrow at its foot, wider and
fainter above. From its foot a dark, diffuse shadow, outside the box, points away from the sun.
Bright streaks behind craters, dark tracks of earlier dust devils and spots of other tone lie flat
on the ground: none has bright and dark side by side.

Look after Guo et al., "Martian dust devil detection based on improved Faster R-CNN", IEEE JSTARS
17, 2024, and Fenton and Lorenz, "Dust devil height and spacing with relation to the Martian
planetary boundary layer thickness", Icarus 260, 2015.
"""

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from marsbench.demo.art import terrain
from marsbench.demo.art.terrain import Field, Light
from marsbench.demo.orbit import craters, ground
from marsbench.demo.orbit.placement import Window, detected, placed, shows, window
from marsbench.demo.scene import Scene

EMPTY = 0.2
"""Share of the pictures without dust devils."""

FAINTEST = 0.2
"""Least opacity of the pixels that belong to a dust devil."""


@dataclass(frozen=True)
class Devil:
    """Dust devil in the part of the picture touched by its column and shadow, (rows, columns).

    Attributes:
        part: Rows and columns of the part.
        dust: Opacity of its column, in [0, 1].
        lit: Position across the column: from -1 away from the sun to 1 towards the sun.
        shade: Opacity of its shadow, in [0, 1].
    """

    part: Window
    dust: Field
    lit: Field
    shade: Field


def draw(rng: Generator, side: int) -> Scene:
    """Dust devils in grey values, (side, side, 1), and boxes around their columns."""
    light = ground.sun(rng)
    wind = rng.uniform(0.0, 360.0)
    relief = 0.5 * ground.plain(rng, side, rng.uniform(0.4, 1.0))
    albedo = ground.soil(rng, side, rng.uniform(0.03, 0.09))
    _marks(rng, relief, albedo, wind)
    radiance = ground.radiance(relief, albedo, light)
    owner = np.zeros((side, side), np.int32)
    count = 0 if rng.uniform() < EMPTY else 1 + int(rng.poisson(0.8))
    lengths = np.maximum(side * np.exp(rng.uniform(np.log(0.08), np.log(0.24), count)), 9.0)
    where = placed(rng, side, 0.75 * lengths, overhang=-0.3)
    devils = [
        _devil(rng, side, (float(column), float(row), float(length)), wind, light)
        for length, (column, row) in zip(lengths, where, strict=True)
        if np.isfinite(column)
    ]
    devils = [devil for devil in devils if shows(devil.dust > FAINTEST)]
    # All shadows first: they lie on the ground, below the dust of every column.
    for devil in devils:
        radiance[devil.part] *= 1.0 - rng.uniform(0.55, 0.8) * devil.shade
    level = float(radiance.mean())
    for number, devil in enumerate(devils, 1):
        bright = level * rng.uniform(1.3, 1.65) * (1.0 + 0.25 * devil.lit)
        radiance[devil.part] += devil.dust * (bright - radiance[devil.part])
        owner[devil.part][devil.dust > FAINTEST] = number
    return detected(terrain.sensor(radiance, rng)[:, :, None], owner)


def _devil(
    rng: Generator, side: int, middle: tuple[float, float, float], wind_deg: float, light: Light
) -> Devil:
    """Shape a dust devil and its shadow.

    Args:
        middle: Column and row of the middle of its column, and the column's length, in pixels.
        wind_deg: Azimuth the wind blows towards.
    """
    column, row, length = middle
    x, y = terrain.direction(wind_deg + rng.normal(0.0, 15.0))
    t = np.linspace(0.0, 1.0, 22)
    sway = np.cumsum(rng.normal(0.0, 0.035, t.size)) * length * t
    east = column + (t - 0.5) * length * x + sway * y
    south = row - (t - 0.5) * length * y + sway * x
    broad = length * rng.uniform(0.1, 0.2)
    radius = np.maximum(broad * (0.45 + 0.75 * t ** rng.uniform(0.7, 1.4)), 1.2)
    density = rng.uniform(0.65, 1.0) * (1.0 - 0.45 * t)
    # Higher dust casts its shadow further away from the sun.
    sun_x, sun_y = terrain.direction(light.azimuth_deg)
    height = length * rng.uniform(0.6, 1.1)
    fall = height * t / np.tan(np.deg2rad(light.elevation_deg))
    reach = 0.75 * length + 3.0 * float(radius.max()) + float(fall.max())
    part, right, below = window(side, column, row, reach)
    puffs = np.stack([east - column, south - row, radius, density])
    dust, lit = _column(puffs, right, below, (sun_x, -sun_y))
    ragged = 1.0 + rng.uniform(0.15, 0.35) * terrain.fractal(
        rng, max(dust.shape), 2.6, longest=max(4.0 * broad, 6.0), shortest=2.5
    )
    dust = np.clip(dust * ragged[: dust.shape[0], : dust.shape[1]].clip(0.3, 1.5), 0.0, 0.95)
    puffs[0] -= fall * sun_x
    puffs[1] += fall * sun_y
    # The edge of the shadow blurs with distance.
    puffs[2] *= 1.0 + 0.6 * t
    puffs[3] *= 1.25 - 0.45 * t
    shade, _ = _column(puffs, right, below, (0.0, 0.0))
    return Devil(part, dust, lit, shade)


def _column(
    puffs: NDArray[np.float64], right: Field, below: Field, sun: tuple[float, float]
) -> tuple[Field, Field]:
    """Opacity of a row of puffs of dust.

    Args:
        puffs: Per puff the place right of and below the middle, radius and opacity, (4, count).
        right: Distance of the pixels to the right of the middle, (1, columns).
        below: Distance of the pixels below the middle, (rows, 1).
        sun: Direction towards the sun, right and down.

    Returns:
        Opacity in [0, 1], and position across the column from -1 on the side away from the sun
        to 1 on the sunlit side; (rows, columns) each.
    """
    x, y, radius, density = puffs[:, :, None]
    u, v = (right - x) / radius, (below.T - y) / radius
    # Gaussians are separable into a column and a row factor.
    across, down = np.exp(-u * u), density * np.exp(-v * v)
    opacity = down.T @ across
    weight = np.maximum(opacity, 1e-9)
    towards = (down.T @ (across * u) * sun[0] + (down * v).T @ across * sun[1]) / weight
    # Puffs overlap, without becoming more opaque than dust.
    spacing = float(np.hypot(np.diff(puffs[0]), np.diff(puffs[1])).mean())
    overlap = np.sqrt(np.pi) * float(puffs[2].mean()) / max(spacing, 0.3)
    return 1.0 - np.exp(-1.6 * opacity / overlap), np.clip(towards, -1.0, 1.0)


def _marks(rng: Generator, relief: Field, albedo: Field, wind_deg: float) -> None:
    """Add craters, some with a tail, tracks of earlier dust devils, and spots of other tone."""
    side = len(relief)
    count = int(rng.integers(0, 5))
    radii = side * np.exp(rng.uniform(np.log(0.015), np.log(0.07), count))
    places = rng.uniform(0.0, side, (count, 2))
    for (column, row), radius in zip(places, radii, strict=True):
        craters.dig(rng, relief, column, row, radius)
    tails = terrain.streaks(
        side,
        places,
        radii,
        np.where(rng.uniform(size=count) < 0.6, radii * rng.uniform(3.0, 7.0, count), 0.0),
        wind_deg + rng.normal(0.0, 8.0, count),
    )
    albedo *= 1.0 + rng.choice([-0.4, 0.5]) * rng.uniform(0.4, 1.0) * tails
    spots = int(rng.integers(0, 7))
    flat = terrain.streaks(
        side,
        rng.uniform(0.0, side, (spots, 2)),
        side * rng.uniform(0.015, 0.04, spots),
        side * rng.uniform(0.0, 0.12, spots),
        rng.uniform(0.0, 360.0, spots),
    )
    albedo *= 1.0 + rng.choice([-0.45, 0.6]) * rng.uniform(0.4, 1.0) * flat
    tracks = rng.integers(0, 7) if rng.uniform() < 0.5 else 0
    for _ in range(int(tracks)):
        away = terrain.along(side, wind_deg + 90.0 + rng.normal(0.0, 25.0))
        bend = side * rng.uniform(0.01, 0.05) * terrain.fractal(rng, side, 4.0, shortest=6.0)
        line = (away + bend - rng.uniform(-0.6, 0.6) * side) / rng.uniform(0.7, 1.8)
        albedo *= 1.0 - rng.uniform(0.1, 0.35) * np.exp(-(line**2))
