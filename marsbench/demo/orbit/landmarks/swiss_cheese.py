"""Pitted carbon dioxide ice for the class ``Swiss Cheese``.

Rounded, flat-floored pits with steep scarps in the bright residual cap of the south pole. Unlike
craters they have no raised rim; they merge into scalloped depressions, and the ice between them
is smooth or faintly cracked. Shapes follow Byrne and Ingersoll 2003,
https://doi.org/10.1126/science.1080148.
"""

import numpy as np
from numpy.random import Generator

from marsbench.demo.art import terrain
from marsbench.demo.art.terrain import Field
from marsbench.demo.orbit import ground
from marsbench.demo.orbit.ground import Site


def pits(rng: Generator, side: int) -> Field:
    """Distance from the pits' edges in pixels, positive inside, (side, side).

    Between 20 and 70 % of the field is inside.
    """
    warp = 0.012 * side * terrain.fractal(rng, side, 3.0, longest=0.6 * side, shortest=0.18 * side)
    typical = rng.uniform(0.07, 0.17) * side
    wanted = rng.uniform(0.35, 0.62)
    inside = np.full((side, side), -np.inf)
    for _ in range(60):
        radius = typical * np.exp(rng.normal(0.0, 0.3))
        east, south = rng.uniform(-0.08, 1.08, 2) * side
        distance, angle = ground.polar(side, east, south)
        edge = radius * (1.0 + 0.06 * np.cos(2.0 * angle + rng.uniform(0.0, 6.28)))
        grown = np.maximum(inside, edge - distance)
        if np.mean(grown > 0.0) > 0.7:
            continue
        inside = grown
        if np.mean(inside > 0.0) > wanted:
            break
    return inside + warp


def swiss_cheese_scene(rng: Generator, side: int) -> Site:
    """Bright ice with rounded pits; the mark is the inside of the pits."""
    inside = pits(rng, side)
    scale = side / 96.0
    scarp = rng.uniform(1.6, 3.2) * scale
    depth = rng.uniform(0.7, 1.2) * scarp
    floor = terrain.smoothstep(inside, -0.5 * scarp, 0.5 * scarp)
    drop = floor.copy()
    if rng.uniform() < 0.4:
        # A second layer of ice retreats less far and leaves a terrace.
        step = rng.uniform(2.5, 4.5) * scale
        drop += 0.6 * terrain.smoothstep(inside, step, step + 0.7 * scarp)
    if rng.uniform() < 0.35:
        # Moats: the floor rises again away from the scarp.
        drop -= 0.35 * terrain.smoothstep(inside, 2.5 * scale, 8.0 * scale)
    rolling = rng.uniform(0.002, 0.008) * side * terrain.fractal(rng, side, 4.2)
    fine = rng.uniform(0.02, 0.06) * terrain.fractal(rng, side, 1.8)
    if rng.uniform() < 0.5:
        cell = rng.uniform(0.07, 0.12) * side
        fine -= 0.025 * cell * terrain.polygons(rng, side, cell) * (1.0 - floor)
    ice = rng.uniform(0.45, 0.6) * (1.0 + 0.03 * terrain.fractal(rng, side, 2.6))
    # Water ice and dust on the floors and in the scarps are darker than the upper ice.
    albedo = ice * (1.0 - rng.uniform(0.05, 0.35) * floor)
    wall = np.exp(-((inside / scarp) ** 2))
    albedo *= 1.0 - rng.uniform(0.0, 0.3) * wall
    return Site(rolling + fine - depth * drop, albedo, floor)
