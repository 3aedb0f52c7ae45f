"""Scenes for ``atmospheric_dust_cls_edr`` and ``_rdr``: ground seen through clear or dusty air.

Both classes show the same kinds of terrain, some nearly featureless, and differ in the optical
depth of the dust alone. Dust dims the sun on the ground, lights the shadows from the sky, hides
the ground's light and adds its own: after the stretch for display a soft veil remains, with the
detector's columns and noise. Depths leave a gap between the classes; brightness does not reveal the
class.

Raw images (EDR) come as sent: an offset per column, steps between the two halves of each
detector, lines lost in transmission, coarse grey levels. Processed images (RDR) are calibrated
and averaged to fewer pixels. Both after McEwen et al. 2007,
https://doi.org/10.1029/2005JE002605 (HiRISE).
"""

from collections.abc import Callable

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from marsbench.demo.art import terrain
from marsbench.demo.art.terrain import Field
from marsbench.demo.orbit import frost

DUSTY = "Dusty"

# Least and greatest optical depth; from some 2.5 the ground is hidden.
_CLEAR_DEPTH = (0.2, 1.5)
_DUSTY_DEPTH = (3.1, 6.0)


def render_edr(rng: Generator, label: str, side: int) -> NDArray[np.uint8]:
    """Draw a raw image, ``"Dusty"`` or ``"Non dusty"``, in grey values, (side, side, 1)."""
    return _raw(rng, _radiance(rng, label, side))[:, :, None]


def render_rdr(rng: Generator, label: str, side: int) -> NDArray[np.uint8]:
    """Draw a processed image, ``"Dusty"`` or ``"Non dusty"``, in grey values, (side, side, 1)."""
    return _processed(rng, _radiance(rng, label, side))[:, :, None]


# --- ground ----------------------------------------------------------------------------------


def _relief(kind: Callable[[Generator, int], frost.Ground]) -> "Landform":
    """Draw the ground of a terrain of the frost scenes, without frost."""

    def draw(rng: Generator, side: int) -> Field:
        ground = kind(rng, side)
        return ground.coarse + ground.fine

    return draw


def _smooth_plain(rng: Generator, side: int) -> Field:
    """Height of an almost featureless plain: faint swells, a few small craters and stones."""
    plain = rng.uniform(0.002, 0.006) * side * terrain.fractal(rng, side, 3.8)
    pits = terrain.craters(rng, side, int(rng.integers(2, 6)), 0.025 * side)
    stones = terrain.boulders(rng, side, int(rng.integers(4, side // 3)))
    return plain + pits + 0.5 * stones + 0.02 * terrain.fractal(rng, side, 1.8)


def _rippled_plain(rng: Generator, side: int) -> Field:
    """Height of a plain with low ripples all over."""
    wavelength = rng.uniform(0.05, 0.12) * side
    wind = rng.uniform(0.0, 360.0)
    waves = terrain.ripples(rng, side, wavelength, wind)
    plain = rng.uniform(0.002, 0.01) * side * terrain.fractal(rng, side, 3.6)
    patches = terrain.cover(terrain.fractal(rng, side, 3.0), rng.uniform(0.5, 1.0), 0.5)
    rough = 0.04 * terrain.fractal(rng, side, 1.7)
    return plain + rng.uniform(0.02, 0.05) * wavelength * waves * patches + rough


def _layered_slope(rng: Generator, side: int) -> Field:
    """Height of terraced beds cropping out along a slope."""
    downhill = rng.uniform(0.0, 360.0)
    bed = rng.uniform(0.08, 0.16) * side
    level = -0.3 * terrain.along(side, downhill) / bed * rng.uniform(2.0, 3.2)
    level = level + rng.uniform(0.3, 1.0) * terrain.fractal(rng, side, 3.2)
    step = np.floor(level) + terrain.smoothstep(level - np.floor(level), 0.55, 1.0)
    return rng.uniform(0.15, 0.35) * bed * step + 0.06 * terrain.fractal(rng, side, 1.7)


def _knobs(rng: Generator, side: int) -> Field:
    """Height of rounded hills over rough ground."""
    hills = terrain.fractal(rng, side, 3.2, longest=0.5 * side, shortest=0.1 * side)
    raised = terrain.smoothstep(hills, 0.2, 1.6)
    rough = rng.uniform(0.05, 0.12) * terrain.fractal(rng, side, 1.7)
    return rng.uniform(0.05, 0.1) * side * raised + rough


Landform = Callable[[Generator, int], Field]
"""Draw the height of one kind of ground in pixels, (side, side)."""

LANDFORMS: tuple[Landform, ...] = (
    *(_relief(kind) for kind in frost.TERRAINS),
    _smooth_plain,
    _smooth_plain,
    _rippled_plain,
    _layered_slope,
    _knobs,
)
"""Kinds of ground, alike in both classes; the plainest one twice."""


# --- air -------------------------------------------------------------------------------------


def _radiance(rng: Generator, label: str, side: int) -> Field:
    """Light reaching the camera, relative to its mean over the scene, (side, side)."""
    height = LANDFORMS[int(rng.integers(len(LANDFORMS)))](rng, side)
    mottle = terrain.fractal(rng, side, rng.uniform(2.0, 3.0))
    albedo = 1.0 + rng.uniform(0.01, 0.06) * mottle
    light = terrain.afternoon(rng)
    depth = rng.uniform(*(_DUSTY_DEPTH if label == DUSTY else _CLEAR_DEPTH))
    return _through_air(rng, height, albedo, light, depth)


def _through_air(
    rng: Generator, height: Field, albedo: Field, light: terrain.Light, depth: float
) -> Field:
    """View the ground through dust.

    Args:
        height: Elevation in pixels, (side, side).
        albedo: Brightness of the ground relative to its mean, (side, side).
        depth: Optical depth of the dust.

    Returns:
        Radiance relative to its mean, (side, side).
    """
    side = height.shape[0]
    sine = float(np.sin(np.deg2rad(light.elevation_deg)))
    shade = terrain.hillshade(height, light.azimuth_deg, light.elevation_deg) / sine
    # Dust scatters most light forward, so direct light passes twice the depth.
    direct = np.exp(-0.5 * depth / sine)
    sky = 0.1 + 0.9 * (1.0 - direct)
    ground = albedo * (direct * shade + sky) / (direct + sky)
    # Veils vary in thickness, smoothly and drawn out by the wind.
    wind = rng.uniform(0.0, 180.0)
    veil = terrain.fractal(
        rng, side, rng.uniform(3.4, 4.4), stretch=rng.uniform(1.0, 3.0), azimuth_deg=wind
    )
    slant = terrain.standardise(terrain.along(side, rng.uniform(0.0, 360.0)))
    uneven = rng.uniform(0.4, 1.0) * veil + rng.uniform(0.0, 1.0) * slant
    seen = np.exp(-depth * (1.0 + 0.03 * uneven))
    glow = 1.0 + rng.uniform(0.006, 0.03) * (1.0 - np.exp(-0.4 * depth)) * uneven
    radiance: Field = ground * seen + glow * (1.0 - seen)
    return radiance / float(radiance.mean())


# --- camera ----------------------------------------------------------------------------------


def _raw(rng: Generator, radiance: Field) -> NDArray[np.uint8]:
    """Grey values as sent by the detector, (side, side)."""
    side = radiance.shape[0]
    seen = terrain.blur(radiance, 0.4)
    offsets = rng.uniform(0.002, 0.007) * rng.standard_normal(side)
    seen = seen + offsets
    if rng.uniform() < 0.4:
        # The boundary between the detector's halves, whose amplifiers differ.
        second = np.arange(side) >= rng.uniform(0.1, 0.9) * side
        step = rng.uniform(0.005, 0.03) * rng.choice([-1.0, 1.0])
        seen = seen * np.where(second, rng.uniform(0.97, 1.03), 1.0) + step * second
    seen += rng.uniform(0.004, 0.01) * rng.standard_normal(seen.shape)
    step = rng.uniform(0.002, 0.008)
    grey = terrain.displayed(np.round(seen / step) * step, rng, 0.35)
    if rng.uniform() < 0.25:
        for _ in range(int(rng.integers(1, 4))):
            first = int(rng.integers(side))
            lost = slice(first, first + int(rng.integers(1, 4)))
            grey[lost, int(rng.integers(side)) if rng.uniform() < 0.5 else 0 :] = rng.choice(
                [0, 255]
            )
    return grey


def _processed(rng: Generator, radiance: Field) -> NDArray[np.uint8]:
    """Grey values after calibration and averaging, (side, side)."""
    side = radiance.shape[0]
    seen = terrain.blur(radiance, rng.uniform(0.4, 0.6))
    # Column noise left by calibration is wider than a pixel and faint.
    columns = terrain.standardise(
        terrain.fractal(rng, side, 1.0, shortest=2.0, stretch=60.0, azimuth_deg=0.0)
    )
    seen = seen + rng.uniform(0.0003, 0.0015) * columns
    seen += rng.uniform(0.0015, 0.004) * terrain.blur(rng.standard_normal(seen.shape), 0.35)
    return terrain.displayed(seen, rng, 0.35)
