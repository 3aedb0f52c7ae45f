"""Dunes and ripples for the classes ``Bright Dune`` and ``Dark Dune``.

Bright dunes are dust-coated ripples and transverse aeolian ridges: closely spaced, symmetrical,
sharp-crested, simple or crossing, on darker ground. Dark dunes are of basaltic sand: barchans,
transverse dunes and domes with slip faces on brighter ground, near the pole with defrosting
spots. Bright and dark are relative to the ground in the same picture.

Ridges follow Zimbelman, "Transverse Aeolian Ridges on Mars: First results from HiRISE images",
Geomorphology 121, 2010; dark dunes Hayward et al., "Mars Global Digital Dune Database and initial
science results", Journal of Geophysical Research 112, 2007.
"""

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from marsbench.demo.art import terrain
from marsbench.demo.art.terrain import Field
from marsbench.demo.orbit import ground
from marsbench.demo.orbit.ground import Site

# --- shapes ----------------------------------------------------------------------------------


def ridges(rng: Generator, size: int, wavelength: float, wind_deg: float) -> Field:
    """Symmetrical, sharp-crested ridges across the wind with forks and ends.

    Args:
        wavelength: Distance from crest to crest in pixels.
        wind_deg: Azimuth the wind blows towards.

    Returns:
        Profile in [0, 1], (size, size): 1 on the highest crests, 0 on the ground between.
    """
    bend = terrain.fractal(rng, size, 2.8, longest=6.0 * wavelength, shortest=1.3 * wavelength)
    phase = terrain.along(size, wind_deg) / wavelength + rng.uniform(0.1, 0.3) * bend
    phase += rng.uniform()
    wave = 1.0 - 2.0 * np.abs(phase - np.floor(phase) - 0.5)
    ends = terrain.fractal(rng, size, 2.6, longest=5.0 * wavelength, shortest=wavelength)
    vigour = np.clip(1.0 + rng.uniform(0.1, 0.25) * ends, 0.0, 1.25)
    flats = rng.uniform(0.25, 0.5)
    return np.clip((wave * vigour - flats) / (1.0 - flats), 0.0, 1.0)


def network(rng: Generator, size: int, wavelength: float, wind_deg: float) -> Field:
    """Ridges crossed by weaker ones from a second wind; like `ridges`."""
    first = ridges(rng, size, wavelength, wind_deg)
    second = ridges(rng, size, wavelength * rng.uniform(1.0, 1.5), wind_deg + rng.uniform(60, 120))
    return np.maximum(first, rng.uniform(0.6, 0.95) * second)


def barchans(rng: Generator, size: int, length: float, wind_deg: float) -> Field:
    """Height of crescent dunes with horns downwind and a steep slip face between, in pixels.

    Args:
        length: Typical distance from a dune's middle to either horn in pixels.
        wind_deg: Azimuth the wind blows towards.

    Returns:
        Height, (size, size); 0 on the flats between the dunes.
    """
    centre = (size - 1) / 2
    downwind, across = terrain.along(size, wind_deg), terrain.along(size, wind_deg + 90.0)
    warp = 0.12 * length
    downwind = downwind + warp * terrain.fractal(
        rng, size, 3.2, longest=4.0 * length, shortest=0.8 * length
    )
    across = across + warp * terrain.fractal(
        rng, size, 3.2, longest=4.0 * length, shortest=0.8 * length
    )
    x, y = terrain.direction(wind_deg)
    height = np.zeros((size, size))
    for east, south in _spread(rng, size, 1.9 * length):
        half = length * np.exp(rng.normal(0.0, 0.22))
        # Position of the dune's middle in the rotated frame.
        ahead = (east - centre) * x - (south - centre) * y
        aside = (east - centre) * y + (south - centre) * x
        s, t = (downwind - ahead) / half, (across - aside) / half
        body = np.maximum(1.0 - t * t, 0.0)
        horns = rng.uniform(0.8, 1.4)
        brink = horns * t * t - 0.1
        toe = brink - rng.uniform(0.9, 1.3) * np.sqrt(body)
        foot = brink + 0.35 * body + 1e-6
        windward = np.sin(0.5 * np.pi * np.clip((s - toe) / (brink - toe + 1e-6), 0.0, 1.0)) ** 2
        slip = np.clip((foot - s) / (foot - brink), 0.0, 1.0)
        profile = np.where(s < brink, windward, slip) * body
        height = np.maximum(height, 0.2 * half * profile)
    return terrain.blur(height, 0.6)


def domes(rng: Generator, size: int, length: float) -> Field:
    """Height of rounded piles of sand without slip faces, like `barchans`."""
    shape = terrain.fractal(rng, size, 3.6, longest=3.2 * length, shortest=0.9 * length)
    piles = np.maximum(shape - rng.uniform(-0.2, 0.35), 0.0)
    return terrain.blur(0.19 * length * piles, 0.6)


def _spread(rng: Generator, size: int, spacing: float) -> NDArray[np.float64]:
    """Column and row of points on a jittered lattice with gaps, (count, 2)."""
    count = int(size / spacing) + 2
    lattice = np.stack(np.meshgrid(np.arange(count), np.arange(count)), axis=-1).reshape(-1, 2)
    points = (lattice + rng.uniform(-0.35, 0.35, lattice.shape) - 0.5 * (count - 1)) * spacing
    kept = rng.uniform(size=len(points)) < rng.uniform(0.65, 1.0)
    # The middle is never bare.
    kept[np.argsort(np.hypot(*points.T), kind="stable")[:2]] = True
    spread: NDArray[np.float64] = (
        points[kept] + (size - 1) / 2 + rng.uniform(-0.3, 0.3, 2) * spacing
    )
    return spread


# --- scenes ----------------------------------------------------------------------------------


def bright_scene(rng: Generator, side: int) -> Site:
    """Dunes or ripples brighter than the ground between; the mark is the opacity of the sand."""
    wind = rng.uniform(0.0, 360.0)
    wavelength = side * np.exp(rng.uniform(np.log(0.075), np.log(0.2)))
    shape = network if rng.uniform() < 0.25 else ridges
    profile = shape(rng, side, wavelength, wind)
    if rng.uniform() < 0.5:
        # Ridges gather in hollows and leave part of the ground bare.
        patches = terrain.fractal(rng, side, 3.2, shortest=0.8 * wavelength)
        profile = profile * terrain.cover(patches, rng.uniform(0.6, 0.9), rng.uniform(0.2, 0.5))
    sand = terrain.smoothstep(profile, 0.02, rng.uniform(0.3, 0.5))
    body = profile * wavelength * rng.uniform(0.1, 0.17)
    floor = ground.plain(rng, side, rng.uniform(0.8, 1.4)) + ground.pitting(rng, side, 3)
    height = floor * (1.0 - 0.7 * sand) + terrain.blur(body, 0.5)
    albedo = ground.soil(rng, side, rng.uniform(0.02, 0.1))
    albedo *= 1.0 + rng.uniform(0.7, 1.4) * sand
    return Site(height, albedo, sand)


def dark_scene(rng: Generator, side: int) -> Site:
    """Dunes of dark sand, some with defrosting spots; the mark is the opacity of the sand."""
    wind = rng.uniform(0.0, 360.0)
    kind = rng.uniform()
    if kind < 0.45:
        sandy = barchans(rng, side, rng.uniform(0.13, 0.3) * side, wind)
    elif kind < 0.88:
        sandy = _transverse(rng, side, wind)
    else:
        sandy = domes(rng, side, rng.uniform(0.15, 0.3) * side)
    top = max(float(np.quantile(sandy, 0.98)), 0.5)
    sand = terrain.smoothstep(sandy, 0.03 * top, 0.2 * top)
    floor = ground.plain(rng, side, rng.uniform(0.8, 1.5)) + ground.pitting(rng, side, 3)
    height = sandy * rng.uniform(0.7, 1.0) + floor * (1.0 - 0.8 * sand)
    if rng.uniform() < 0.6:
        wave = terrain.ripples(rng, side, rng.uniform(3.0, 4.5), wind + rng.uniform(-40.0, 40.0))
        height += rng.uniform(0.04, 0.12) * wave * sand
    albedo = ground.soil(rng, side, rng.uniform(0.02, 0.1))
    if rng.uniform() < 0.3:
        # Frost still brightens the sand a little; where the frost has gone, spots are black.
        tone, spots = rng.uniform(0.45, 0.62), _spots(rng, side, sandy, sand)
    else:
        tone, spots = rng.uniform(0.25, 0.5), np.zeros((side, side))
    albedo *= 1.0 + (tone - 1.0) * sand
    albedo *= 1.0 - 0.75 * spots
    return Site(height, albedo, sand)


def _transverse(rng: Generator, side: int, wind_deg: float) -> Field:
    """Height of transverse dunes with bare ground between them, in pixels."""
    height = terrain.dunes(rng, side, rng.uniform(0.2, 0.42) * side, wind_deg)
    bare = float(np.quantile(height, rng.uniform(0.2, 0.4)))
    return np.maximum(height - bare, 0.0)


def _spots(rng: Generator, side: int, sandy: Field, sand: Field) -> Field:
    """Opacity of defrosting spots on the dunes in [0, 1], (side, side), more along crests."""
    count = int(rng.integers(15, 60))
    centres = terrain.scattered(rng, sand**2 * (0.2 + sandy / sandy.max()), count)
    return terrain.streaks(
        side, centres, rng.uniform(1.0, 2.2, count), np.zeros(count), np.zeros(count)
    )
