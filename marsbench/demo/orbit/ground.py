"""Ground of orbital scenes: relief and albedo, light and photograph, plain ground.

Landmarks lie on this plain ground, so that the ground itself says little about the class.
"""

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

from marsbench.demo.art import terrain
from marsbench.demo.art.terrain import Field, Light

SKY = 0.2
"""Light from the dusty sky as a share of the sun's; the only light in the shade."""

_SHADOW_SKY = 0.18
"""The same, for pictures with cast shadows."""

_NOISE = 0.005
"""Camera noise of pictures with cast shadows, as a share of the radiance of flat ground."""

SOIL = 0.2
"""Typical albedo of bare ground."""


@dataclass(frozen=True)
class Site:
    """Relief and albedo of a scene, with the mark of its class.

    Attributes:
        height: Elevation in pixels, (side, side).
        albedo: Share of the light reflected by the ground, (side, side).
        mark: Opacity of the labelled feature in [0, 1], (side, side); 0 without one.
    """

    height: Field
    albedo: Field
    mark: Field


def sun(rng: Generator) -> Light:
    """Afternoon light at any latitude: the sun somewhere in the western half of the sky."""
    azimuth = float(rng.uniform(190.0, 350.0))
    return Light(azimuth, float(rng.uniform(24.0, 48.0)), 0.0 if azimuth < 270.0 else 180.0)


def photograph(rng: Generator, scene: Site, light: Light) -> NDArray[np.uint8]:
    """Grey values of a lit site, (side, side, 1)."""
    return terrain.sensor(radiance(scene.height, scene.albedo, light), rng)[:, :, None]


def radiance(height: Field, albedo: Field, light: Light) -> Field:
    """Light reflected by the ground under the sun and the sky, (size, size)."""
    return albedo * (terrain.hillshade(height, light.azimuth_deg, light.elevation_deg) + SKY)


def sunlit(height: Field, light: Light) -> Field:
    """Share of the sun left by cast shadows, in [0, 1].

    Args:
        height: Elevation in pixels, (size, size).
    """
    size = height.shape[0]
    x, y = terrain.direction(light.azimuth_deg)
    rise = float(np.tan(np.deg2rad(light.elevation_deg)))
    reach = min(int(np.ptp(height) / rise) + 1, size // 3)
    padded = np.pad(height, reach, mode="edge")
    horizon = np.full_like(height, -np.inf)
    for step in range(1, reach + 1):
        row, column = reach - round(step * y), reach + round(step * x)
        ray = padded[row : row + size, column : column + size] - step * rise
        np.maximum(horizon, ray, out=horizon)
    return 1.0 - terrain.smoothstep(horizon - height, 0.0, 0.8)


def photograph_shadows(
    rng: Generator, height: Field, albedo: Field, light: Light
) -> NDArray[np.uint8]:
    """Grey values of ground with cast shadows, (side, side, 1)."""
    sunlight = terrain.hillshade(height, light.azimuth_deg, light.elevation_deg)
    east, north = terrain.gradient(height)
    # A tilted surface sees less of the sky, the only light in the shadows.
    sky = _SHADOW_SKY / (1.0 + east * east + north * north)
    seen = albedo * (sunlight * sunlit(height, light) + sky)
    flat = float(albedo.mean()) * (np.sin(np.deg2rad(light.elevation_deg)) + _SHADOW_SKY)
    seen += _NOISE * flat * rng.standard_normal(seen.shape)
    return terrain.sensor(seen, rng)[:, :, None]


# --- plain ground ----------------------------------------------------------------------------


def soil(rng: Generator, side: int, mottling: float = 0.05) -> Field:
    """Albedo of bare ground with patches, (side, side).

    Args:
        mottling: Relative standard deviation of the albedo.
    """
    mottle = terrain.fractal(rng, side, rng.uniform(2.2, 2.9))
    return SOIL * rng.uniform(0.85, 1.2) * np.clip(1.0 + mottling * mottle, 0.5, 1.6)


def plain(rng: Generator, side: int, roughness: float = 1.0) -> Field:
    """Height of gently rolling ground with a random texture, in pixels, (side, side).

    Args:
        roughness: Factor on the texture.
    """
    hills = terrain.fractal(
        rng, side, rng.uniform(3.6, 4.4), shortest=rng.uniform(0.0, 0.12) * side
    )
    rolling = rng.uniform(0.003, 0.014) * side * hills
    kind = rng.uniform()
    if kind < 0.55:
        fine = rng.uniform(0.03, 0.14) * terrain.fractal(rng, side, rng.uniform(1.2, 2.2))
    elif kind < 0.75:
        grain = terrain.fractal(
            rng,
            side,
            2.2,
            longest=0.15 * side,
            stretch=rng.uniform(1.5, 2.6),
            azimuth_deg=rng.uniform(0.0, 180.0),
        )
        fine = rng.uniform(0.05, 0.16) * grain
    elif kind < 0.88:
        fine = 0.06 * terrain.fractal(rng, side, 1.7)
        fine += 0.5 * terrain.boulders(rng, side, int(rng.integers(side // 2, 2 * side)))
    else:
        cell = rng.uniform(0.07, 0.13) * side
        fine = 0.05 * terrain.fractal(rng, side, 1.7)
        fine -= rng.uniform(0.03, 0.07) * cell * terrain.polygons(rng, side, cell)
    return rolling + roughness * fine


def pitting(rng: Generator, side: int, most: int) -> Field:
    """Height of up to ``most`` craters too small to be landmarks, in pixels, (side, side)."""
    height = np.zeros((side, side))
    for _ in range(int(rng.integers(0, most + 1))):
        east, south = rng.uniform(0.0, side, 2)
        radius = rng.uniform(0.008, 0.022) * side
        height += terrain.crater(side, east, south, radius, freshness=rng.uniform(0.3, 0.8))
    return height


# --- geometry --------------------------------------------------------------------------------


def polar(size: int, east: float, south: float) -> tuple[Field, Field]:
    """Distance in pixels and angle in radians, clockwise from east, around a point."""
    x, y = terrain.offsets(size, east, south)
    return np.hypot(x, y), np.arctan2(y, x)


def polar_noise(
    rng: Generator, distance: Field, angle: Field, spokes: float, radial: float
) -> Field:
    """Noise drawn out along the radius, seamless around the centre.

    Args:
        distance: Distance from the centre in pixels, any shape.
        angle: Angle around the centre in radians, the same shape.
        spokes: Approximate number of bright and dark spokes around the circle.
        radial: Length in pixels over which a spoke changes.

    Returns:
        Noise of about mean 0 and variance 1, the shape of ``distance``.
    """
    columns = max(int(3.0 * spokes), 12)
    rows = int(float(distance.max()) / radial * 2.0) + 4
    table = rng.standard_normal((rows, columns))
    table = terrain.standardise(ndimage.gaussian_filter(table, (0.9, 0.8), mode="wrap"))
    where = np.stack([2.0 * distance / radial, (angle / (2.0 * np.pi) + 0.5) * columns])
    noise: Field = ndimage.map_coordinates(table, where, order=1, mode="grid-wrap")
    return noise


def outline(rng: Generator, angle: Field, amount: float) -> Field:
    """Radius of an irregular closed curve around its centre, 1 on average, shaped like ``angle``.

    Args:
        angle: Angle around the centre in radians, any shape.
        amount: Relative departure from a circle.
    """
    radius = np.ones_like(angle)
    for order in range(2, 8):
        radius += amount / order * rng.normal() * np.cos(order * angle + rng.uniform(0.0, 6.28))
    return radius


def trails(size: int, points: NDArray[np.float64], widths: NDArray[np.float64]) -> Field:
    """Depth of every pixel inside bands around densely spaced points.

    Args:
        points: Column and row along the bands, (count, 2), at least one, closer than the widths.
        widths: Half widths of the bands at these points in pixels, (count,).

    Returns:
        Distance from the bands' edges in pixels, positive inside, (size, size); at least
        minus twice the greatest half width.
    """
    east, north = terrain.coordinates(size)
    pixels = np.stack([east.ravel(), -north.ravel()], axis=1)
    reach = 2.0 * float(widths.max())
    distance, nearest = cKDTree(points).query(pixels, distance_upper_bound=reach)
    # Pixels out of reach carry an index past the end.
    width = np.append(widths, 1.0)[nearest]
    inside: Field = np.maximum(width - distance, -reach).reshape(size, size)
    return inside
