"""Grey skies, far hills and the camera for ``surface_multi_label_cls``."""

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy import ndimage

from marsbench.demo.art import terrain
from marsbench.demo.art.terrain import Field
from marsbench.demo.rover import ground, outdoors
from marsbench.demo.rover.ground import Frame

# --- far away --------------------------------------------------------------------------------


def day_sky(rng: Generator, side: int) -> Field:
    """Light of a dusty sky, often a little brighter below, sometimes with thin clouds."""
    _east, north = terrain.coordinates(side)
    low, high = rng.uniform(0.24, 0.38), rng.uniform(0.75, 1.15)
    sky = low * (1.0 + (high - 1.0) * (1.0 + north / side))
    if rng.uniform() < 0.3:
        clouds = terrain.fractal(rng, side, 3.4, stretch=3.0, azimuth_deg=rng.uniform(60.0, 120.0))
        sky = sky * (1.0 + rng.uniform(0.01, 0.04) * clouds)
    return sky


def hills(
    rng: Generator, picture: Field, frame: Frame, top: float, bottom: float, count: int
) -> None:
    """Paint ridges behind each other, hazier with distance, in place.

    Args:
        picture: Light, (side, side).
        frame: Frame of the picture, with the sun.
        top: Mean row of the farthest skyline in sides.
        bottom: Row in sides of the foot of the nearest ridge.
        count: Number of ridges.
    """
    side = picture.shape[0]
    haze = rng.uniform(0.2, 0.3)
    relief = ground.noise(rng, side, 3.0)
    tone = rng.uniform(0.14, 0.24)
    strata = rng.uniform(0.0, 0.15)
    for k in range(count):
        near = (k + 1) / count
        mean = top + (bottom - top) * (k / count) ** 1.3
        beta = rng.uniform(2.4, 3.4)
        steep = rng.uniform(0.02, 0.045)
        line = mean + steep * outdoors.skyline(rng, side, beta)[None, :]
        # Far slopes look smooth.
        texture = terrain.blur(
            np.roll(relief, int(rng.integers(side)), 1), 0.4 + 2.0 * (1.0 - near)
        )
        below = frame.row - line
        mound = (0.7 + near) * texture - 8.0 * below
        light = terrain.hillshade(mound, frame.sun.azimuth_deg, frame.sun.elevation_deg)
        bands = 1.0 + strata * np.sin(below * rng.uniform(60.0, 120.0) + texture)
        slope = tone * bands * (1.2 * light + 0.45)
        veil = np.clip(0.7 * (1.0 - near) + np.maximum(below, 0.0), 0.0, 0.68)
        slope += (haze - slope) * veil
        picture += (slope - picture) * terrain.smoothstep(below * side, -0.7, 0.7)


def night(rng: Generator, side: int) -> Field:
    """Light of a night sky: stars as points or trails, and often a moon."""
    sky = np.full((side, side), 0.008)
    count = int(rng.integers(20, 70))
    rows, columns = rng.integers(0, side, (2, count))
    np.add.at(sky, (rows, columns), 0.3 * (1.0 - rng.uniform(0.0, 0.97, count)) ** -0.8)
    sky = terrain.blur(sky, rng.uniform(0.5, 0.8))
    if rng.uniform() < 0.3:
        trail = int(rng.integers(3, 8))
        steps = [ndimage.shift(sky, (0.4 * k, 0.9 * k), order=1) for k in range(trail)]
        sky = np.maximum.reduce(steps)
    if rng.uniform() < 0.5:
        x, below = terrain.offsets(side, *rng.uniform(0.2, 0.8, 2) * side)
        y = -below * rng.uniform(1.0, 1.35)
        radius = rng.uniform(0.05, 0.12) * side
        bumpy = 1.0 + 0.08 * np.sin(3.0 * np.arctan2(y, x) + rng.uniform(0.0, 6.3))
        disc = 1.0 - terrain.smoothstep(np.hypot(x, y) - radius * bumpy, -0.8, 0.8)
        phase = terrain.smoothstep(x / radius, *sorted(rng.uniform(-1.2, 0.6) + np.array([0, 0.4])))
        sky = np.maximum(sky, 0.6 * disc * phase)
    return sky


def sun_disc(rng: Generator, sky: Field, *, filtered: bool) -> Field:
    """Add the sun to a sky: a blinding disc in its aureole, or a plain one through a filter."""
    side = sky.shape[0]
    x, y = terrain.offsets(side, *rng.uniform(0.25, 0.75, 2) * side)
    rho = np.hypot(x, y)
    radius = rng.uniform(0.08, 0.18) * side if filtered else rng.uniform(0.045, 0.08) * side
    disc = 1.0 - terrain.smoothstep(rho - radius, -0.8, 0.8)
    if not filtered:
        glare: Field = sky * (1.0 + 0.9 * np.exp(-rho / (0.15 * side)))
        return glare + (1.2 - glare) * disc
    disc = disc * (1.0 - 0.35 * np.clip(rho / radius, 0.0, 1.0) ** 3)
    if rng.uniform() < 0.4:
        # A moon in transit.
        dx, dy = rng.uniform(-0.8, 0.8, 2) * radius
        moon = np.hypot(x - dx, y + dy) - rng.uniform(0.2, 0.4) * radius
        disc = disc * terrain.smoothstep(moon, -0.8, 0.8)
    through: Field = 0.006 + 0.7 * disc
    return through


# --- camera ----------------------------------------------------------------------------------


def camera(light: Field, rng: Generator) -> NDArray[np.uint8]:
    """Grey values of a picture with noise and a random exposure and stretch, (side, side).

    Args:
        light: Linear light, (side, side).
    """
    image = np.clip(terrain.blur(light, rng.uniform(0.35, 0.55)), 0.0, 1.5)
    image = image * (1.0 - rng.uniform(0.0, 0.15) * ground.off_axis(light.shape[0]))
    # Calibrated radiance, so the exposure is constant within a tolerance.
    stretched = image * 1.7 * np.exp(rng.normal(0.0, 0.12))
    stretched += rng.uniform(0.004, 0.015) * rng.standard_normal(image.shape)
    stretched = np.clip(stretched, 0.0, 1.0) ** np.exp(rng.normal(-0.25, 0.1))
    black, white = rng.uniform(0.0, 35.0), rng.uniform(200.0, 255.0)
    grey: NDArray[np.uint8] = np.rint(black + (white - black) * stretched).astype(np.uint8)
    return grey
