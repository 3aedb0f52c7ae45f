"""Scenes for ``boulder_seg`` and ``boulder_det``: boulders on HiRISE ground.

A boulder is a ragged block a few pixels wide: bright on the side of the sun, dark on the other,
casting a shadow outside its mask. Small pits have their dark side where a boulder is bright;
spots of other tone have no shadow.

Size distribution and look after Prieur et al., "Automatic characterization of boulders on
planetary surfaces from high-resolution satellite images", JGR Planets 128, 2023.
"""

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from marsbench.demo.art import terrain
from marsbench.demo.art.terrain import Field
from marsbench.demo.orbit import craters, ground
from marsbench.demo.orbit.placement import SMALLEST, detected, placed, segmented, shows, window
from marsbench.demo.scene import Scene


def draw_seg(rng: Generator, side: int) -> Scene:
    """Boulders and their mask: 1 on the boulders, 0 on their shadows."""
    return segmented(*draw(rng, side))


def draw_det(rng: Generator, side: int) -> Scene:
    """Boulders and their boxes, without the shadows."""
    return detected(*draw(rng, side))


def draw(rng: Generator, side: int) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
    """Ground strewn with at least one boulder.

    Returns:
        Grey values, (side, side, 1), and the number of the boulder in every pixel, from 1,
        (side, side); 0 elsewhere.
    """
    # Count in proportion to the area, since a boulder's size is in pixels.
    count = 3 + int(rng.poisson(rng.choice([8.0, 22.0, 40.0]) * (side / 128.0) ** 2))
    smallest = rng.uniform(2.5, 3.0)
    radii = np.minimum(smallest * rng.uniform(0.02, 1.0, count) ** (-1.0 / 2.6), 0.1 * side)
    height = 0.7 * ground.plain(rng, side, rng.uniform(0.5, 1.1))
    albedo = ground.soil(rng, side, rng.uniform(0.02, 0.1))
    clear = _pits(rng, height)
    _spots(rng, albedo)
    # Boulders lie in patches, for instance below an outcrop or around a crater.
    patches = terrain.fractal(rng, side, 2.8, shortest=0.1 * side)
    chance = clear * np.exp(rng.uniform(0.0, 1.6) * patches)
    where = placed(rng, side, 1.25 * radii, chance=chance)
    owner = np.zeros((side, side), np.int32)
    tone, blocky = rng.uniform(0.85, 1.45), rng.uniform(0.5, 0.85)
    for number, (radius, (column, row)) in enumerate(zip(radii, where, strict=True), 1):
        if np.isfinite(column):
            own = tone * np.exp(rng.normal(0.0, 0.1))
            _boulder(rng, height, albedo, owner, number, (column, row, radius), blocky, own)
    if not owner.any():
        middle = (*(side * rng.uniform(0.3, 0.7, 2)).tolist(), 2.0 + SMALLEST / 2)
        _boulder(rng, height, albedo, owner, 1, middle, blocky, tone)
    light = ground.sun(rng)
    return ground.photograph_shadows(rng, height, albedo, light), owner


def _boulder(
    rng: Generator,
    height: Field,
    albedo: Field,
    owner: NDArray[np.int32],
    number: int,
    disc: tuple[float, float, float],
    blocky: float,
    tone: float,
) -> None:
    """Put a boulder on the ground, unless the border leaves too little.

    Args:
        height: Elevation in pixels, (side, side).
        albedo: Albedo, (side, side).
        owner: Number of the boulder in every pixel, (side, side).
        number: Its number.
        disc: Its column, row and radius in pixels.
        blocky: Height as a share of its radius.
        tone: Albedo relative to the ground.
    """
    column, row, radius = disc
    part, x, y = window(height.shape[0], column, row, 1.5 * radius)
    rho = _facets(rng, x, y) / radius
    inside = rho < 1.0
    if not shows(inside, 0.8 * radius):
        return
    top = blocky * radius * rng.uniform(0.85, 1.2)
    tilt = rng.uniform(-0.25, 0.25, 2)
    body = top * np.maximum(1.0 - rho**2.4, 0.0) * (1.0 + (tilt[0] * x + tilt[1] * y) / radius)
    level = height[part][inside].mean()
    standing = 0.5 * (height[part] + level) + np.maximum(body, 0.0)
    height[part] = np.where(inside, standing, height[part])
    albedo[part] = np.where(inside, albedo[part] * tone, albedo[part])
    owner[part][inside] = number


def _facets(rng: Generator, x: Field, y: Field) -> Field:
    """Distance from a boulder's middle, 1 along a polygon with rounded corners.

    Args:
        x: Position to the right of the middle, (1, columns).
        y: Position below it, (rows, 1).

    Returns:
        Relative distance, (rows, columns).
    """
    corners = int(rng.integers(5, 9))
    angles = (np.arange(corners) + rng.uniform(-0.3, 0.3, corners)) * 2.0 * np.pi / corners
    angles += rng.uniform(0.0, 2.0 * np.pi)
    reach = rng.uniform(0.75, 1.0, corners)
    squash, turn = rng.uniform(0.7, 1.0), rng.uniform(0.0, np.pi)
    u, v = x * np.cos(turn) + y * np.sin(turn), (y * np.cos(turn) - x * np.sin(turn)) / squash
    sides = (u[None] * np.cos(angles)[:, None, None] + v[None] * np.sin(angles)[:, None, None]) / (
        reach[:, None, None]
    )
    # A high norm instead of the maximum rounds the corners.
    norm: Field = (np.maximum(sides, 0.0) ** 8).sum(0) ** 0.125
    return norm


def _pits(rng: Generator, height: Field) -> Field:
    """Add craters as small as boulders, and at times a larger crater.

    Args:
        height: Elevation in pixels, changed in place, (side, side).

    Returns:
        0 in the craters, in whose shade no boulder would show, 1 elsewhere; (side, side).
    """
    side = height.shape[0]
    clear = np.ones((side, side))
    count = int(rng.integers(0, 8))
    radii = rng.uniform(2.5, 7.0, count)
    if rng.uniform() < 0.25:
        radii = np.append(radii, rng.uniform(0.1, 0.25) * side)
    for radius in radii:
        column, row = rng.uniform(0.0, side, 2)
        craters.dig(rng, height, column, row, radius)
        part, x, y = window(side, column, row, 1.2 * radius)
        clear[part] *= x * x + y * y > (1.1 * radius) ** 2
    return clear


def _spots(rng: Generator, albedo: Field) -> None:
    """Add spots of other tone, as small as boulders and without relief."""
    side = albedo.shape[0]
    count = int(rng.integers(0, 12))
    spots = terrain.streaks(
        side,
        rng.uniform(0.0, side, (count, 2)),
        rng.uniform(1.5, 4.0, count),
        np.where(rng.uniform(size=count) < 0.5, 0.0, rng.uniform(3.0, 10.0, count)),
        np.full(count, rng.uniform(0.0, 360.0)),
    )
    albedo *= 1.0 + rng.choice([-0.5, 0.6]) * rng.uniform(0.5, 1.0) * spots
