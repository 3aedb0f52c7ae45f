"""Craters for the classes ``Crater`` and ``Impact Ejecta``.

A crater shows by its relief: a bowl or a filled floor inside a raised rim, lit on one wall and
shaded on the other. A fresh impact, a crater a few pixels wide or a cluster, shows by its ejecta:
a halo with rays, darker than the dusty ground or, from ice or bright rock, brighter.

Proportions of simple craters follow Melosh, Impact Cratering: A Geologic Process, 1989; fresh
impacts look as in Daubar et al. 2013, https://doi.org/10.1016/j.icarus.2013.04.009.
"""

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from marsbench.demo.art import terrain
from marsbench.demo.art.terrain import Field
from marsbench.demo.orbit import ground
from marsbench.demo.orbit.ground import Site
from marsbench.demo.orbit.placement import window


@dataclass(frozen=True)
class Shape:
    """Proportions of a crater.

    Attributes:
        depth: Depth below the plain as a share of the radius, 0.4 when fresh.
        rim: Height of the rim above the plain as a share of the radius, 0.08 when fresh.
        floor: Radius of the flat floor as a share of the crater's, 0 for a bowl.
        sharpness: Crispness of the rim in (0, 1].
        raggedness: Departure of the rim from a circle, about 0.1 at most.
    """

    depth: float
    rim: float
    floor: float
    sharpness: float
    raggedness: float


def random_shape(rng: Generator) -> Shape:
    """Proportions between fresh and half buried."""
    freshness = rng.uniform(0.45, 1.0)
    filled = rng.uniform() < 0.6
    return Shape(
        depth=0.45 * freshness * (0.8 if filled else 1.0),
        rim=0.11 * freshness**0.7,
        floor=rng.uniform(0.25, 0.65) if filled else 0.0,
        sharpness=0.25 + 0.75 * freshness,
        raggedness=rng.uniform(0.02, 0.1),
    )


def relief(
    rng: Generator, size: int, east: float, south: float, radius: float, shape: Shape
) -> tuple[Field, Field]:
    """Relief of a crater with spurs on its walls and lumpy ejecta around.

    Args:
        east: Column of the centre.
        south: Row of the centre.
        radius: Mean distance from the centre to the rim in pixels.
        shape: Its proportions.

    Returns:
        Height above the plain in pixels, and the distance from the centre as a share of the
        rim's, each (size, size).
    """
    distance, angle = ground.polar(size, east, south)
    rho = distance / (radius * ground.outline(rng, angle, shape.raggedness))
    # Parabola between floor and rim; the floor of a bowl is a point.
    t = np.maximum(rho - shape.floor, 0.0) / (1.0 - shape.floor)
    depth, rim = shape.depth * radius, shape.rim * radius
    bowl = (depth + rim) * (t * t if shape.floor == 0.0 else 0.5 * t + 0.5 * t * t) - depth
    blanket = rim * np.maximum(rho, 0.3) ** -3.2
    width = 0.03 + 0.12 * (1.0 - shape.sharpness)
    outside = terrain.smoothstep(rho, 1.0 - width, 1.0 + width)
    height = np.minimum(bowl, 1.5 * rim) * (1.0 - outside) + np.minimum(blanket, rim) * outside
    if radius > 5.0:
        spurs = ground.polar_noise(rng, distance, angle, rng.uniform(12.0, 26.0), 0.5 * radius)
        wall = np.exp(-(((rho - 0.8) / 0.16) ** 2)) * min(shape.floor + 0.5, 1.0)
        lumps = np.exp(-(((rho - 1.25) / 0.25) ** 2))
        height += (0.07 * depth * wall + 0.3 * rim * lumps) * spurs * shape.sharpness
    return height, rho


def dig(rng: Generator, height: Field, column: float, row: float, radius: float) -> None:
    """Add a crater of random freshness to a relief.

    Args:
        height: Elevation in pixels, (side, side).
        column: Column of the centre, may lie outside.
        row: Row of the centre, may lie outside.
        radius: Mean distance from the centre to the rim in pixels.
    """
    part, x, y = window(height.shape[0], column, row, 3.0 * radius)
    rows, columns = height[part].shape
    shape = random_shape(rng)
    if rows and columns:
        size = max(rows, columns)
        bowl, _ = relief(rng, size, -float(x[0, 0]), -float(y[0, 0]), radius, shape)
        height[part] += bowl[:rows, :columns]


def crater_scene(rng: Generator, side: int) -> Site:
    """Crater wide enough to show its rim, perhaps among small ones; the mark is its inside."""
    radius = side * np.exp(rng.uniform(np.log(0.12), np.log(0.4)))
    # Landmarks are cut out with a margin, so the rim mostly lies inside the picture.
    room = max(0.5 - 0.85 * radius / side, 0.06)
    east, south = side * (0.5 + room * rng.uniform(-1.0, 1.0, 2))
    shape = random_shape(rng)
    bowl, rho = relief(rng, side, east, south, radius, shape)
    inside = 1.0 - terrain.smoothstep(rho, 0.95, 1.05)
    # Impacts bury the texture under their blanket, and fill smooths the floor.
    smooth = 1.0 - 0.5 * np.exp(-(((rho - 1.0) / 0.4) ** 2)) * shape.sharpness
    plain = ground.plain(rng, side, rng.uniform(0.6, 1.3)) * smooth * (1.0 - 0.6 * inside)
    # Not too rough for the crater to stand out.
    plain *= min(1.0, 0.5 * shape.depth * radius / float(plain.std() + 1e-9), radius / 14.0)
    height = bowl + plain + ground.pitting(rng, side, 5)
    if shape.floor > 0.0 and rng.uniform() < 0.4:
        wave = terrain.ripples(rng, side, rng.uniform(3.5, 6.0), rng.uniform(0.0, 360.0))
        height += rng.uniform(0.1, 0.3) * wave * (1.0 - terrain.smoothstep(rho, 0.4, 0.75))
    for _ in range(int(rng.poisson(0.8))):
        x, y = rng.uniform(0.0, side, 2)
        height += terrain.crater(
            side, x, y, rng.uniform(0.03, 0.07) * side, freshness=rng.uniform(0.3, 0.9)
        )
    albedo = ground.soil(rng, side, rng.uniform(0.02, 0.08))
    albedo *= 1.0 + rng.uniform(-0.2, 0.2) * (1.0 - terrain.smoothstep(rho, 0.3, 0.9))
    return Site(height, albedo, inside)


# --- fresh impacts ---------------------------------------------------------------------------


def rays(rng: Generator, size: int, east: float, south: float, halo: float, reach: float) -> Field:
    """Opacity of fresh ejecta in [0, 1]: a ragged halo breaking up into feathery rays.

    Args:
        east: Column of the impact.
        south: Row of the impact.
        halo: Radius of the halo in pixels.
        reach: Length of the longest rays in pixels.
    """
    distance, angle = ground.polar(size, east, south)
    length = _ray_lengths(rng, halo, reach)
    position = (angle / (2.0 * np.pi) + 0.5) * length.size
    end: Field = np.interp(position, np.arange(length.size + 1), np.append(length, length[0]))
    feather = ground.polar_noise(rng, distance, angle, rng.uniform(30.0, 55.0), 0.45 * halo)
    t = distance / (end * (1.0 + 0.12 * feather).clip(0.6))
    body = 1.0 - terrain.smoothstep(t, 0.25, 1.05)
    core = 1.0 - terrain.smoothstep(distance / halo, 0.6, 1.4)
    broken = np.clip(0.78 + 0.3 * feather, 0.0, 1.0)
    return np.clip(np.maximum(body * broken, 0.9 * core * np.clip(broken + 0.2, 0, 1)), 0.0, 1.0)


def _ray_lengths(rng: Generator, halo: float, reach: float) -> NDArray[np.float64]:
    """Distance reached by the ejecta in each of 360 directions, in pixels."""
    turn = np.arange(360.0)
    length = halo * ground.outline(rng, np.deg2rad(turn), 0.35).clip(0.5)
    # An oblique impact throws little backwards.
    from_deg, oblique = rng.uniform(0.0, 360.0), rng.choice([0.0, 0.6])
    count = int(rng.integers(16, 44))
    # A few long rays, among many of any length.
    shares = np.concatenate([rng.uniform(0.6, 1.0, 8), rng.beta(1.3, 1.3, count - 8)])
    for centre, share in zip(rng.uniform(0.0, 360.0, count), shares, strict=True):
        away = np.abs((turn - centre + 180.0) % 360.0 - 180.0)
        backwards = 0.5 + 0.5 * np.cos(np.deg2rad(centre - from_deg))
        extent = (reach - halo) * share * (1.0 - oblique * backwards)
        spike = np.maximum(1.0 - away / rng.uniform(3.0, 9.0), 0.0)
        length = np.maximum(length, halo * 0.8 + extent * spike**0.8)
    return length


def impact_scene(rng: Generator, side: int) -> Site:
    """Fresh impact on dusty ground; the mark is the opacity of its ejecta."""
    height = ground.plain(rng, side, rng.uniform(0.4, 1.0)) + ground.pitting(rng, side, 3)
    east, south = side * rng.uniform(0.32, 0.68, 2)
    halo = rng.uniform(0.12, 0.21) * side
    reach = halo * rng.uniform(2.4, 4.2)
    ejecta = rays(rng, side, east, south, halo, reach)
    craters = [(east, south, max(rng.uniform(0.022, 0.05) * side, 1.6))]
    # Some bodies break up in the air and strike as a cluster.
    for _ in range(int(rng.integers(2, 7)) if rng.uniform() < 0.3 else 0):
        x, y = np.array([east, south]) + rng.normal(0.0, 0.6 * halo, 2)
        craters.append((x, y, max(rng.uniform(0.012, 0.028) * side, 1.2)))
        own = rays(rng, side, x, y, rng.uniform(0.25, 0.45) * halo, halo)
        ejecta = np.maximum(ejecta, own)
    pits = np.zeros((side, side))
    for x, y, radius in craters:
        pits += terrain.crater(side, x, y, radius, freshness=1.0)
    albedo = ground.soil(rng, side, rng.uniform(0.02, 0.07))
    dark = rng.uniform() < 0.8
    tone = rng.uniform(0.3, 0.5) if dark else rng.uniform(1.7, 2.3)
    if rng.uniform() < 0.3:
        # The blast also scours dust off a wider zone with a diffuse edge.
        distance, _angle = ground.polar(side, east, south)
        albedo *= 1.0 + 0.35 * (tone - 1.0) * np.exp(-((distance / (1.6 * halo)) ** 2))
    albedo *= 1.0 + (tone - 1.0) * ejecta
    return Site(height * (1.0 - 0.5 * ejecta) + pits, albedo, ejecta)
