"""Scenes for ``mmls``: landslides on the walls of a canyon, in seven bands.

A plateau ends in a wall of spurs and gullies above a floor. A landslide leaves an arcuate scar in
the plateau's edge and, on the floor below, a lobed apron of hummocks and of grooves along the
flow. Intact walls are as steep, grooved and bright; craters and troughs are steep as well.

All bands show one surface: elevation is its height from a stereo model, blurred; slope is the
rise over run of the elevation band; grey is the surface under the sun; colour is the same at
another hour, coarser and reddened by dust; thermal inertia falls with the dust on level and high
ground.

Look after Quantin et al., "Morphology and geometry of Valles Marineris landslides", Planetary and
Space Science 52, 2004; bands and their ranges as in Paheding et al., "MarsLS-Net: Martian
landslides segmentation network and benchmark dataset", WACV 2024.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy import ndimage

from marsbench.demo.art import terrain
from marsbench.demo.art.terrain import Field
from marsbench.demo.orbit import craters, ground
from marsbench.demo.scene import Scene

BANDS = ("blue", "green", "red", "elevation", "thermal inertia", "slope", "grey")

RELIEF = 0.5
"""Unit of the elevation band, as a share of the picture's side."""

STEEPNESS = 0.36
"""Ratio of the slope band to the gradient of the elevation band, as a share of the picture's side.

At 128 pixels slope is 46 times the gradient, as measured in the real data.
"""


@dataclass(frozen=True)
class Surface:
    """Ground of a scene; arrays of (side, side).

    Attributes:
        height: Elevation in pixels.
        slide: Whether a pixel lies in a landslide.
        dust: Share of the ground covered with dust, in [0, 1].
    """

    height: Field
    slide: NDArray[np.bool_]
    dust: Field


def draw(rng: Generator, side: int) -> Scene:
    """Canyon wall with one landslide or several, and their mask.

    Returns:
        The bands of `BANDS` in [0, 1], float32 (side, side, 7), and the mask, 1 from the scar's
        upper edge to the end of the debris.
    """
    surface = _canyon(rng, side)
    return Scene(_bands(rng, surface), mask=surface.slide.astype(np.uint8))


# --- ground ----------------------------------------------------------------------------------


def _canyon(rng: Generator, side: int) -> Surface:
    """Plateau, wall and floor with landslides."""
    downhill = rng.uniform(0.0, 360.0)
    down, across = terrain.along(side, downhill) / side, terrain.along(side, downhill + 90) / side
    warp = terrain.fractal(rng, side, 3.4, shortest=0.05 * side)
    ragged = terrain.fractal(rng, side, 3.0, longest=0.3 * side, shortest=0.03 * side)
    edge = rng.uniform(-0.36, -0.04)
    below = down - edge + rng.uniform(0.01, 0.04) * warp
    wall = rng.uniform(0.18, 0.36)
    drop = wall * rng.uniform(0.28, 0.42)
    height = -drop * _profile(below / wall)
    on_wall = terrain.smoothstep(below / wall, 0.0, 0.15) * (
        1.0 - terrain.smoothstep(below / wall, 0.8, 1.25)
    )
    height -= rng.uniform(0.3, 0.5) * drop * on_wall * _spurs(rng, side, downhill, wall)
    slide = np.zeros((side, side), np.bool_)
    rough = np.zeros((side, side))
    lumps = terrain.fractal(rng, side, 2.4, longest=0.16 * side, shortest=0.035 * side)
    frame = below + 0.008 * ragged, across + 0.01 * ragged
    for place in _bays(rng):
        region, level, texture = _landslide(rng, frame, place, wall, drop, lumps)
        # Later slides take earlier ground with them.
        height = np.where(region, level, height)
        slide |= region
        rough = np.where(region, texture, rough)
    height = terrain.blur(height * side, 0.5)
    height -= rng.uniform(-0.02, 0.05) * side * down
    height += 0.012 * side * terrain.fractal(rng, side, 3.8, shortest=0.08 * side)
    calm = 1.0 - slide
    for _ in range(int(rng.integers(0, 5))):
        column, row = rng.uniform(0.0, side, 2)
        before = height.copy()
        craters.dig(rng, height, column, row, side * rng.uniform(0.015, 0.06))
        height = before + (height - before) * (calm * (1.0 - 0.8 * on_wall))
    if rng.uniform() < 0.4:
        # A trough on the plateau along its edge, like a graben: steep, but no landslide.
        away = (below + rng.uniform(0.1, 0.3)) / rng.uniform(0.015, 0.035)
        height -= rng.uniform(0.02, 0.05) * side * np.exp(-(away**4)) * calm
    patches = terrain.fractal(rng, side, 2.8, shortest=0.03 * side)
    if rng.uniform() < 0.5:
        # Rough ground of another origin: knobs and ripples on floor and plateau.
        knobs = terrain.smoothstep(patches, *rng.choice([(-0.4, 0.4), (0.3, 0.9)])) * calm
        height += rng.uniform(0.003, 0.006) * side * knobs * np.maximum(lumps.T, -0.5)
    height += rough * side
    height += rng.uniform(0.02, 0.07) * terrain.fractal(rng, side, 1.6)
    steep = terrain.slope_deg(terrain.blur(height, 1.5)) / 30.0
    dust = np.clip(0.75 - 0.55 * steep + 0.2 * patches - 0.15 * rough / 0.01 * slide, 0.0, 1.0)
    return Surface(height, slide, dust)


def _profile(t: Field) -> Field:
    """Depth below the plateau as a share of the wall's: a cliff above, gentler to the foot."""
    t = np.clip(t, 0.0, 1.0)
    return 1.0 - (1.0 - t) ** 2 * (1.0 + 0.3 * t)


def _spurs(rng: Generator, side: int, downhill_deg: float, wall: float) -> Field:
    """Depth of gullies between spurs down a wall, in about [0, 1]."""
    noise = terrain.fractal(
        rng,
        side,
        3.4,
        longest=rng.uniform(1.0, 1.7) * wall * side,
        shortest=0.05 * side,
        stretch=rng.uniform(1.4, 2.2),
        azimuth_deg=downhill_deg,
    )
    minor = terrain.fractal(
        rng,
        side,
        2.8,
        longest=0.5 * wall * side,
        shortest=0.03 * side,
        stretch=1.6,
        azimuth_deg=downhill_deg,
    )
    # |noise| is sharp along its zeros: gullies between rounded spurs, smaller ones upon these.
    return 1.0 - np.minimum(np.abs(noise) + 0.25 * np.abs(minor), 1.6) / 1.6


def _bays(rng: Generator) -> list[tuple[float, float]]:
    """Places along the wall and half widths of landslides in sides, without much overlap."""
    bays: list[tuple[float, float]] = []
    for _ in range(1 + int(rng.poisson(1.3))):
        half = float(rng.uniform(0.15, 0.38))
        place = float(rng.uniform(-0.5, 0.5))
        if all(abs(place - other) > 0.8 * (half + width) for other, width in bays):
            bays.append((place, half))
    return bays


def _landslide(
    rng: Generator,
    frame: tuple[Field, Field],
    bay: tuple[float, float],
    wall: float,
    drop: float,
    lumps: Field,
) -> tuple[NDArray[np.bool_], Field, Field]:
    """Shape a landslide; all lengths and heights in sides of the picture.

    Args:
        frame: Distance below the plateau's edge and position along it, (side, side) each.
        bay: Its place along the edge and its half width.
        wall: Width of the wall.
        drop: Height of the wall.
        lumps: Noise for the relief of the debris, (side, side).

    Returns:
        Its pixels, the new height of the ground and the relief of the debris, (side, side) each.
    """
    below, across = frame
    place, half = bay
    depth = rng.uniform(0.35, 0.8) * half
    run = wall + rng.uniform(0.12, 0.4)
    lean = rng.uniform(-0.25, 0.25)
    aside = (across - place - lean * np.maximum(below, 0.0)) / half
    # The debris leaves the scar's mouth and spreads on the floor.
    spread = 1.0 + rng.uniform(0.15, 0.5) * terrain.smoothstep(below, 0.3 * wall, run)
    arc = depth * np.sqrt(np.clip(1.0 - aside**2, 0.0, 1.0))
    lobes = ground.outline(rng, 1.6 * np.clip(aside, -2.0, 2.0), 0.12)
    end = run * lobes * np.sqrt(np.clip(1.0 - (aside / spread) ** 2, 0.0, 1.0))
    upper = below + arc
    inside = (upper > 0.0) & (below < end) & (np.abs(aside) < spread)
    scar = rng.uniform(0.3, 0.5)
    steep = _profile(upper / (scar * wall + 0.03))
    t = np.clip(upper / np.maximum(end + arc, 1e-3), 0.0, 1.0)
    # A scarp, then debris thinning out to a steep toe.
    level = -drop * (0.72 * steep + 0.28 * terrain.smoothstep(t, 0.15, 0.9))
    toe = rng.uniform(0.012, 0.024) * (1.0 - terrain.smoothstep(t, 0.93, 1.0))
    sides = 1.0 - terrain.smoothstep(np.abs(aside) / spread, 0.85, 1.0)
    level = level + toe * sides * terrain.smoothstep(t, 0.3, 0.6)
    debris = terrain.smoothstep(upper, 0.4 * wall, 0.9 * wall)
    return inside, level, debris * _texture(rng, lumps, aside / spread, t)


def _texture(rng: Generator, lumps: Field, aside: Field, t: Field) -> Field:
    """Relief in sides of hummocks near the scar and of grooves along the flow beyond.

    Args:
        lumps: Noise for both, (side, side).
        aside: Position across the flow, from -1 to 1, (side, side).
        t: Position down the flow, from 0 to 1, (side, side).
    """
    side = len(t)
    # Drawn out: a strip of noise as wide as the flow, but short.
    top = rng.uniform(0.05, 0.85)
    grooves: Field = ndimage.map_coordinates(
        lumps, [(0.1 * t + top) * side, (0.35 * aside + 0.5) * side], order=1, mode="reflect"
    )
    share = terrain.smoothstep(t, *((0.2, 0.6) if rng.uniform() < 0.6 else (0.6, 1.2)))
    relief = share * grooves + (1.0 - share) * np.maximum(lumps, -0.5)
    return relief * rng.uniform(0.004, 0.007)


# --- bands -----------------------------------------------------------------------------------


def _bands(rng: Generator, surface: Surface) -> NDArray[np.float32]:
    """Measurements of a surface in the order of `BANDS`, (side, side, 7)."""
    side = len(surface.height)
    # As coarse as a stereo model, with gentler slopes than the ground's.
    model = terrain.blur(surface.height, 0.01 * side)
    middle = rng.uniform(0.33, 0.67) * RELIEF * side - 0.5 * float(model.max() + model.min())
    # Elevation is clipped to [0, 1] before its slope is taken.
    elevation = np.clip((model + middle) / (RELIEF * side), 0.0, 1.0)
    slope = np.clip(STEEPNESS * side * np.hypot(*terrain.gradient(elevation)), 0.0, 1.0)
    inertia = 0.93 - 0.03 * surface.dust - 0.03 * elevation
    inertia += 0.002 * terrain.fractal(rng, side, 1.8) + rng.uniform(-0.015, 0.02)
    light = replace(ground.sun(rng), elevation_deg=float(rng.uniform(30.0, 52.0)))
    bright = 0.8 + 0.35 * surface.dust + 0.04 * terrain.fractal(rng, side, 2.4)
    shade = ground.sunlit(surface.height, light)
    grey = bright * (
        terrain.hillshade(surface.height, light.azimuth_deg, light.elevation_deg) * shade + 0.15
    )
    grey = terrain.blur(grey, 0.45) + rng.uniform(0.004, 0.012) * rng.standard_normal(grey.shape)
    seam = terrain.along(side, rng.uniform(75.0, 105.0)) > rng.uniform(-0.45, 0.45) * side
    if rng.uniform() < 0.35:
        # Strips of a mosaic differ in brightness and in inertia where they meet.
        grey *= 1.0 + rng.uniform(-0.15, 0.15) * seam
        inertia += rng.uniform(-0.006, 0.006) * seam
    low, high = np.percentile(grey, [0.5, 99.5])
    black, white = rng.uniform(0.05, 0.3), rng.uniform(0.65, 0.95)
    grey = black + (white - black) * (grey - low) / max(float(high - low), 1e-9)
    bands = [*_colours(rng, surface), elevation, inertia, slope, _eight_bits(grey)]
    stacked: NDArray[np.float32] = np.clip(np.stack(bands, axis=2), 0.0, 1.0).astype(np.float32)
    return stacked


def _colours(rng: Generator, surface: Surface) -> list[Field]:
    """Blue, green and red under another sun, sharp to two pixels."""
    light = ground.sun(rng)
    lit = terrain.hillshade(
        terrain.blur(surface.height, 0.9), light.azimuth_deg, light.elevation_deg
    )
    # In steps of eight bits, with the contrast stretched per picture.
    level = terrain.standardise(lit * (0.85 + 0.25 * surface.dust))
    exposure, contrast = rng.uniform(-0.15, 0.15), rng.uniform(0.5, 0.9)
    level = np.clip(0.95 + exposure + 0.6 * contrast * level, 0.05, 2.6)
    red = 0.1 + 0.37 * level**0.8 * (1.0 + 0.12 * (surface.dust - 0.5))
    green = 0.1 + 0.25 * level**1.3 * (1.0 + 0.05 * (surface.dust - 0.5))
    blue = 0.1 + 0.22 * level**1.7 * (1.0 - 0.12 * (surface.dust - 0.5))
    ends = (blue, 1.0), (green, 0.91), (red, 0.81)
    noise = 0.008 * rng.standard_normal(lit.shape)
    return [_eight_bits(np.clip(band + noise, 0.07, end)) for band, end in ends]


def _eight_bits(band: Field) -> Field:
    """Band in steps of 1/255, as in pictures."""
    return np.rint(np.clip(band, 0.0, 1.0) * 255.0) / 255.0
