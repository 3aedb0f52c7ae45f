"""Scenes for ``conequest_seg`` and ``conequest_det``: fields of small volcanic or mud cones.

A cone stands on a plain: straight flanks between a sharp foot and a summit pit, lit on one side,
shaded on the other and casting a shadow. Hills without foot or pit, craters and patches of other
tone look alike in brightness, with or without cones beside them.

Shapes after Purohit, Adler and Kerner, "ConeQuest: a benchmark for cone segmentation on Mars",
WACV 2024, and Fagents and Thordarson, "Rootless volcanic cones in Iceland and on Mars", in The
Geology of Mars, 2007.
"""

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from marsbench.demo.art import terrain
from marsbench.demo.art.terrain import Field
from marsbench.demo.orbit import craters, ground
from marsbench.demo.orbit.placement import detected, placed, segmented, shows, window
from marsbench.demo.scene import Scene

EMPTY = 1.0 / 3.0
"""Share of the segmentation's pictures without cones."""


def draw_seg(rng: Generator, side: int) -> Scene:
    """Cones and their mask: 1 from the foot inwards; a third of the pictures is empty."""
    return segmented(*draw(rng, side, empty=EMPTY))


def draw_det(rng: Generator, side: int) -> Scene:
    """Cones and their boxes, from foot to foot; as published, no picture is empty."""
    return detected(*draw(rng, side, empty=0.0))


def draw(rng: Generator, side: int, *, empty: float) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
    """Plain with cones and similar hills and craters.

    Args:
        empty: Chance of a picture without cones.

    Returns:
        Grey values, (side, side, 1), and the number of the cone in every pixel, from 1,
        (side, side); 0 elsewhere.
    """
    count = 0 if rng.uniform() < empty else 1 + int(rng.poisson(rng.choice([1.0, 4.0, 9.0])))
    # The cones of a field are of similar size.
    typical = side * np.exp(rng.uniform(np.log(0.05), np.log(0.13)))
    radii = np.clip(typical * np.exp(rng.normal(0.0, 0.25, count)), 3.6, 0.2 * side)
    alike = rng.integers(1, 5) + (0 if count else 3)
    others = np.clip(typical * np.exp(rng.normal(0.1, 0.4, alike)), 3.0, 0.25 * side)
    where = placed(rng, side, np.concatenate([1.2 * radii, 1.2 * others]), overhang=0.2)
    height = 0.6 * ground.plain(rng, side, rng.uniform(0.5, 1.2))
    albedo = ground.soil(rng, side, rng.uniform(0.02, 0.08))
    _patches(rng, albedo)
    owner = np.zeros((side, side), np.int32)
    tone, steepness = rng.uniform(0.85, 1.2), rng.uniform(0.4, 0.75)
    for (column, row), radius in zip(where[count:], others, strict=True):
        if np.isfinite(column):
            look_alike = _hill if rng.uniform() < 0.55 else craters.dig
            look_alike(rng, height, column, row, radius)
    for number, (radius, (column, row)) in enumerate(zip(radii, where[:count], strict=True), 1):
        if np.isfinite(column):
            _cone(rng, height, albedo, owner, number, (column, row, radius), steepness, tone)
    if count and not owner.any():
        # The border left too little of each.
        middle = (*(side * rng.uniform(0.3, 0.7, 2)).tolist(), float(radii[0]))
        _cone(rng, height, albedo, owner, 1, middle, steepness, tone)
    light = ground.sun(rng)
    return ground.photograph_shadows(rng, height, albedo, light), owner


def _cone(
    rng: Generator,
    height: Field,
    albedo: Field,
    owner: NDArray[np.int32],
    number: int,
    disc: tuple[float, float, float],
    steepness: float,
    tone: float,
) -> None:
    """Add a cone to a scene, unless the border leaves too little.

    Args:
        height: Elevation in pixels, (side, side).
        albedo: Albedo, (side, side).
        owner: Number of the cone in every pixel, (side, side).
        number: Its number.
        disc: Its column, row and radius in pixels.
        steepness: Rise over run of the flanks.
        tone: Albedo of the cones relative to the plain.
    """
    column, row, radius = disc
    part, x, y = window(height.shape[0], column, row, 1.4 * radius)
    squash, turn = rng.uniform(0.85, 1.0), rng.uniform(0.0, np.pi)
    u, v = x * np.cos(turn) + y * np.sin(turn), (y * np.cos(turn) - x * np.sin(turn)) / squash
    angle = np.arctan2(v, u)
    rho = np.hypot(u, v) / (radius * ground.outline(rng, angle, 0.05))
    inside = rho < 1.0
    if not shows(inside, radius):
        return
    steep = steepness * rng.uniform(0.85, 1.15)
    # Room for a pit that is more than a pixel wide; a few cones have none.
    pit = max(rng.uniform(0.25, 0.48), min(1.6 / radius, 0.5)) if rng.uniform() < 0.92 else 0.12
    flank = steep * radius * np.maximum(1.0 - rho, 0.0) ** rng.uniform(0.95, 1.2)
    rim = steep * radius * (1.0 - pit)
    depth = rim * rng.uniform(0.55, 0.95)
    bowl = rim - depth * (1.0 - (rho / pit) ** 2)
    body = np.where(rho < pit, np.minimum(bowl, flank + rim), flank)
    if radius > 6.0:
        furrows = ground.polar_noise(rng, rho * radius, angle, rng.uniform(8.0, 18.0), radius)
        body *= 1.0 + 0.06 * furrows * (rho > pit)
    # Lava and mud bury the plain they stand on.
    height[part] = np.where(inside, 0.5 * height[part] + 0.5 * height[part].mean(), height[part])
    height[part] += body
    albedo[part] *= 1.0 + (tone - 1.0) * inside
    if rng.uniform() < 0.2:
        albedo[part] *= 1.0 + rng.uniform(-0.25, 0.25) * (rho < pit)
    owner[part][inside] = number


def _hill(rng: Generator, height: Field, column: float, row: float, radius: float) -> None:
    """Add a rounded knob of several humps fading into the plain."""
    humps = int(rng.integers(2, 5))
    turn, steep = rng.uniform(0.0, 2.0 * np.pi), rng.uniform(0.25, 0.45)
    away = radius * rng.uniform(-0.7, 0.7, humps)
    for distance, size in zip(away, radius * rng.uniform(0.4, 0.75, humps), strict=True):
        east, south = column + distance * np.cos(turn), row + distance * np.sin(turn)
        part, x, y = window(height.shape[0], east, south, 2.6 * size)
        height[part] += steep * size * np.exp(-(x * x + y * y) / (size * size))


def _patches(rng: Generator, albedo: Field) -> None:
    """Add patches of another tone, unrelated to the relief, to half of the scenes."""
    if rng.uniform() < 0.5:
        side = albedo.shape[0]
        shapes = terrain.fractal(
            rng, side, rng.uniform(2.4, 3.2), longest=0.6 * side, shortest=0.04 * side
        )
        patch = terrain.cover(shapes, rng.uniform(0.1, 0.5), rng.uniform(0.3, 1.0))
        albedo *= 1.0 + rng.uniform(-0.25, 0.35) * patch
