"""Scenes for ``domars16k``: fifteen landforms as the Context Camera sees them.

The classes differ in the shape or texture of the relief, never in grey value: the sun's position,
the orientation and scale of the scene and the contrast stretch are random. Isolated landforms are
in `lines`, landforms on slopes in `slopes`, and ground filling the view in `ground`.

The classes are those of Wilhelm et al. 2020, https://doi.org/10.3390/rs12233981.
"""

from collections.abc import Callable

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from marsbench.demo.art.terrain import Light
from marsbench.demo.orbit.ground import Site, photograph_shadows
from marsbench.demo.orbit.landforms import base, ground, lines, slopes

SCENES: dict[str, Callable[[Generator, int, Light], Site]] = {
    "Aeolian Curved": ground.aeolian_curved,
    "Aeolian Straight": ground.aeolian_straight,
    "Channel": lines.channel,
    "Cliff": lines.cliff,
    "Mounds": lines.mounds,
    "Ridge": lines.ridge,
    "Gullies": slopes.gullies,
    "Mass Wasting": slopes.mass_wasting,
    "Slope Streaks": slopes.slope_streaks,
    "Crater": lines.crater,
    "Crater Field": lines.crater_field,
    "Mixed Terrain": ground.mixed,
    "Rough Terrain": ground.rough,
    "Smooth Terrain": ground.smooth,
    "Textured Terrain": ground.textured,
}
"""Class name to the function ``(rng, side, light) -> site`` that builds its scene."""


def render(rng: Generator, label: str, side: int) -> NDArray[np.uint8]:
    """Draw an image of a class in grey values, (side, side, 1)."""
    light = base.low_sun(rng)
    site = SCENES[label](rng, side, light)
    return photograph_shadows(rng, site.height, site.albedo, light)
