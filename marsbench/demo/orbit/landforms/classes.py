"""Scenes for ``domars16k``: fifteen landforms as the Context Camera sees them.

What tells the classes apart is the shape of the relief or its texture, never the grey value:
where the sun stands, how the scene lies, its scale and the contrast stretch are random. The
isolated landforms are in `landforms_lines`, those on slopes in `landforms_slopes`, and those
that fill the view in `landforms_ground`.

The classes are those of Wilhelm et al. 2020, https://doi.org/10.3390/rs12233981.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from marsbench.demo.art.ground import Site
from marsbench.demo.art.terrain import Light
from marsbench.demo.orbit.landforms import base, lines, slopes
from marsbench.demo.orbit.landforms import ground as landforms_ground

SCENES: dict[str, Callable[[np.random.Generator, int, Light], Site]] = {
    "Aeolian Curved": landforms_ground.aeolian_curved,
    "Aeolian Straight": landforms_ground.aeolian_straight,
    "Channel": lines.channel,
    "Cliff": lines.cliff,
    "Mounds": lines.mounds,
    "Ridge": lines.ridge,
    "Gullies": slopes.gullies,
    "Mass Wasting": slopes.mass_wasting,
    "Slope Streaks": slopes.slope_streaks,
    "Crater": lines.crater,
    "Crater Field": lines.crater_field,
    "Mixed Terrain": landforms_ground.mixed,
    "Rough Terrain": landforms_ground.rough,
    "Smooth Terrain": landforms_ground.smooth,
    "Textured Terrain": landforms_ground.textured,
}
"""Every class and the function ``(rng, side, light) -> scene`` that builds its scene."""


def render(rng: np.random.Generator, label: str, side: int) -> NDArray[np.uint8]:
    """Draw one image.

    Args:
        rng: Source of randomness.
        label: Name of the landform, a key of `SCENES`.
        side: Side of the image in pixels.

    Returns:
        Grey values, (side, side, 1).
    """
    light = base.low_sun(rng)
    return base.photograph(rng, SCENES[label](rng, side, light), light)
