"""Scenes for ``frost_cls``: seasonal frost on the ground, or bright ground without frost.

Both classes show the same four kinds of terrain under the same sun. Frost follows the
topography: pole-facing slopes, hollows, polygon troughs and slip faces. Its edges are feathered,
fine texture below is muted, and dark spots and fans appear where the frost sublimes. Bright dust
and outcrop ignore the topography. Brightness alone does not reveal the class.

The patterns follow Dundas et al. 2019, https://doi.org/10.1144/SP467.5 (frosted gullies), and
Hansen et al. 2013, https://doi.org/10.1016/j.icarus.2012.09.024 (defrosting dunes).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from marsbench.demo.art import terrain
from marsbench.demo.art.terrain import Field, Light
from marsbench.demo.orbit.ground import Site, photograph

FROST = "Frost"


@dataclass(frozen=True)
class Ground:
    """Terrain without frost.

    Attributes:
        coarse: Height of the landforms in pixels, (side, side).
        fine: Height of the texture upon them in pixels, (side, side).
        pole: Weight of pole-facing slopes in the settling of frost.
        hollow: Weight of hollows in the same.
        shelter: Radius of a hollow's surroundings in pixels.
        venting: Chance of defrosting spots in the frost.
        fans: Azimuth of the fans: downwind or downhill.
    """

    coarse: Field
    fine: Field
    pole: float
    hollow: float
    shelter: float
    venting: float
    fans: float


def render(rng: Generator, label: str, side: int) -> NDArray[np.uint8]:
    """Draw an image, ``"Frost"`` or ``"Non Frost"``, in grey values, (side, side, 1)."""
    light = terrain.afternoon(rng)
    ground = TERRAINS[int(rng.integers(len(TERRAINS)))](rng, side)
    scene = _frosted(rng, ground, light) if label == FROST else _bare(rng, ground)
    return photograph(rng, scene, light)


# --- terrain ---------------------------------------------------------------------------------


def _dune_field(rng: Generator, side: int) -> Ground:
    wind = rng.uniform(0.0, 360.0)
    wavelength = rng.uniform(0.15, 0.32) * side
    sand = terrain.dunes(rng, side, wavelength, wind)
    base = 0.012 * side * terrain.fractal(rng, side, 3.6)
    ripple = terrain.ripples(rng, side, rng.uniform(3.5, 6.0), wind + rng.uniform(-40.0, 40.0))
    on_sand = terrain.smoothstep(sand, 0.2, 1.2)
    rough = 0.07 * terrain.fractal(rng, side, 1.6)
    fine = on_sand * rng.uniform(0.03, 0.09) * ripple + (0.35 + 0.65 * (1.0 - on_sand)) * rough
    return Ground(sand + base, fine, 1.0, 0.45, 0.25 * wavelength, 0.85, wind)


def _gullied_slope(rng: Generator, side: int) -> Ground:
    downhill = rng.uniform(0.0, 360.0)
    spacing = rng.uniform(0.2, 0.36) * side
    coarse = terrain.gullies(rng, side, spacing, downhill)
    fine = 0.07 * terrain.fractal(rng, side, 1.7)
    fine += 0.3 * terrain.boulders(rng, side, int(rng.integers(0, side // 2)))
    return Ground(coarse, fine, 0.75, 0.9, 0.3 * spacing, 0.2, downhill)


def _polygonal_ground(rng: Generator, side: int) -> Ground:
    cell = rng.uniform(0.1, 0.2) * side
    troughs = terrain.polygons(rng, side, cell)
    rolling = rng.uniform(0.01, 0.03) * side * terrain.fractal(rng, side, 3.8)
    coarse = rolling - rng.uniform(0.09, 0.15) * cell * troughs
    fine = 0.06 * terrain.fractal(rng, side, 1.6)
    return Ground(coarse, fine, 0.35, 1.2, 0.35 * cell, 0.3, rng.uniform(0.0, 360.0))


def _cratered_plain(rng: Generator, side: int) -> Ground:
    plain = rng.uniform(0.008, 0.02) * side * terrain.fractal(rng, side, rng.uniform(3.6, 4.2))
    pits = terrain.craters(rng, side, int(rng.integers(5, 14)), 0.05 * side)
    fine = rng.uniform(0.05, 0.09) * terrain.fractal(rng, side, 1.7)
    fine += 0.5 * terrain.boulders(rng, side, int(rng.integers(0, side)))
    return Ground(plain + pits, fine, 1.0, 0.6, 0.1 * side, 0.35, rng.uniform(0.0, 360.0))


TERRAINS: tuple[Callable[[Generator, int], Ground], ...] = (
    _dune_field,
    _gullied_slope,
    _polygonal_ground,
    _cratered_plain,
)
"""Kinds of terrain, equally frequent in both classes."""


# --- surface ---------------------------------------------------------------------------------


def _soil(rng: Generator, side: int) -> Field:
    """Albedo of bare ground with its faint, patchy variation."""
    mottle = terrain.fractal(rng, side, 2.4)
    return rng.uniform(0.16, 0.24) * (1.0 + rng.uniform(0.02, 0.08) * mottle)


def _frosted(rng: Generator, ground: Ground, light: Light) -> Site:
    """Ground covered with frost."""
    side = ground.coarse.shape[0]
    venting = rng.uniform() < ground.venting
    # Only a cover that seals the ground vents through spots.
    fraction = (0.45 if venting else 0.16) + (0.4 if venting else 0.7) * rng.beta(1.2, 1.3)
    frost = _frost_cover(rng, ground, light, fraction)
    # A few centimetres of ice bury the texture, not the landforms.
    height = ground.coarse + ground.fine * (1.0 - 0.6 * frost)
    ice = rng.uniform(0.42, 0.6) * (1.0 + 0.04 * terrain.fractal(rng, side, 2.4))
    soil = _soil(rng, side)
    albedo = soil + (ice - soil) * frost
    if venting:
        vents = _vents(rng, ground, frost)
        albedo += (0.8 * soil - albedo) * 0.95 * vents
    return Site(height, albedo, frost)


def _frost_cover(rng: Generator, ground: Ground, light: Light, fraction: float) -> Field:
    """Opacity of frost over a share of the ground, in [0, 1], (side, side)."""
    side = ground.coarse.shape[0]
    relief = terrain.blur(ground.coarse, 1.0)
    # Bounded, so that a few steep walls do not leave the plains to noise.
    away = np.tanh(terrain.standardise(terrain.facing(relief, light.pole_deg)))
    shelter = np.tanh(terrain.standardise(terrain.hollows(relief, ground.shelter)))
    patchy = terrain.fractal(rng, side, 2.6)
    suitability = terrain.standardise(
        ground.pole * away + ground.hollow * shelter + rng.uniform(0.12, 0.25) * patchy
    )
    return terrain.cover(suitability, fraction, rng.uniform(0.35, 0.8))


def _vents(rng: Generator, ground: Ground, frost: Field) -> Field:
    """Opacity of dark defrosting spots and fans in [0, 1], (side, side)."""
    side = frost.shape[0]
    count = int(rng.integers(12, 44))
    # Frost opens first where thin and steep, along crests and the edges of the cover.
    steep = terrain.smoothstep(terrain.slope_deg(terrain.blur(ground.coarse, 1.0)), 2.0, 25.0)
    centres = terrain.scattered(rng, frost**4 * (0.25 + steep), count)
    widths = rng.uniform(1.2, 2.4, count)
    longest = 0.0 if rng.uniform() < 0.3 else rng.uniform(6.0, 12.0)
    lengths = longest * rng.uniform(0.5, 1.0, count)
    return terrain.streaks(
        side, centres, widths, lengths, ground.fans + rng.normal(0.0, 12.0, count)
    )


def _bare(rng: Generator, ground: Ground) -> Site:
    """Ground without frost: soil, mostly with a bright feature such as dust or an outcrop."""
    side = ground.coarse.shape[0]
    albedo = _soil(rng, side)
    kind = rng.uniform()
    if kind < 0.45:
        bright = _dust(rng, side)
    elif kind < 0.75:
        bright = _outcrop(rng, side)
    else:
        bright = np.zeros((side, side))
    albedo += (rng.uniform(0.34, 0.54) - albedo) * bright
    return Site(ground.coarse + ground.fine, albedo, np.zeros((side, side)))


def _dust(rng: Generator, side: int) -> Field:
    """Opacity of bright dust: diffuse patches unrelated to the relief."""
    shapes = terrain.fractal(
        rng, side, 2.8, stretch=rng.uniform(1.0, 2.5), azimuth_deg=rng.uniform(0.0, 180.0)
    )
    return terrain.cover(shapes, 0.12 + 0.76 * rng.beta(1.2, 1.3), rng.uniform(0.3, 0.9))


def _outcrop(rng: Generator, side: int) -> Field:
    """Opacity of bright bedrock: blocky, sharp-edged, banded exposures."""
    shapes = terrain.fractal(rng, side, 2.7)
    exposed = terrain.cover(shapes, 0.12 + 0.6 * rng.beta(1.3, 1.5), 0.06)
    dip = terrain.along(side, rng.uniform(0.0, 360.0)) / rng.uniform(5.0, 11.0)
    bands = 0.5 + 0.5 * np.sin(2.0 * np.pi * (dip + 0.5 * terrain.fractal(rng, side, 3.2)))
    return exposed * (0.6 + 0.4 * bands)
