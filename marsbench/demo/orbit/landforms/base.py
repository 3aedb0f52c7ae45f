"""Common parts of the ``domars16k`` scenes: light, plain ground, crests and paths.

Context Camera pictures are taken in the afternoon at six metres per pixel (Malin et al. 2007,
https://doi.org/10.1029/2006JE002808). After the stretch for display, flat ground shows mostly the
noise of the camera.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.random import Generator
from scipy import ndimage

from marsbench.demo.art import terrain
from marsbench.demo.art.terrain import Field, Light

# --- light and camera ------------------------------------------------------------------------


def low_sun(rng: Generator) -> Light:
    """Afternoon light, low enough to bring out relief."""
    return replace(terrain.afternoon(rng), elevation_deg=float(rng.uniform(22.0, 42.0)))


# --- ground ----------------------------------------------------------------------------------


def soil(rng: Generator, side: int) -> Field:
    """Albedo of bare ground with its faint, patchy variation, (side, side)."""
    mottle = terrain.fractal(rng, side, 2.4)
    return rng.uniform(0.16, 0.26) * (1.0 + rng.uniform(0.005, 0.035) * mottle)


def plain(rng: Generator, side: int, *, pitted: float = 0.5) -> Field:
    """Height of ordinary ground in pixels: rolling, finely rough, perhaps a crater or two.

    Args:
        pitted: Chance of some small craters.
    """
    height = steepened(terrain.fractal(rng, side, rng.uniform(2.8, 3.8)), rng.uniform(0.02, 0.08))
    height += rng.uniform(0.01, 0.06) * terrain.fractal(rng, side, 1.7)
    if rng.uniform() < pitted:
        count = int(rng.integers(1, 5))
        height += small_craters(rng, side, count, 0.018 * side, 0.06 * side, 0.4)[0]
    return height


def small_craters(
    rng: Generator, side: int, count: int, smallest: float, largest: float, freshness: float
) -> tuple[Field, Field]:
    """Scattered craters; the number above a radius falls with its square.

    Args:
        count: Number of craters.
        smallest: Least radius in pixels.
        largest: Greatest radius in pixels.
        freshness: Freshness of the most worn crater, in (0, 1].

    Returns:
        Height in pixels, and opacity in [0, 1] of the ground inside the rims; (side, side) each.
    """
    height, inside = np.zeros((side, side)), np.zeros((side, side))
    x, north = terrain.coordinates(side)
    rarest = 1.0 - (smallest / largest) ** 2
    for _ in range(count):
        radius = smallest / float(np.sqrt(1.0 - rng.uniform(0.0, rarest)))
        east, south = rng.uniform(0.0, side, 2).tolist()
        # Two radii beyond the rim the ejecta are too thin to see.
        reach = int(3.0 * radius) + 1
        top, left = max(int(south) - reach, 0), max(int(east) - reach, 0)
        window = (slice(top, int(south) + reach + 1), slice(left, int(east) + reach + 1))
        rows, columns = height[window].shape
        relief = terrain.crater(
            2 * reach + 1, east - left, south - top, radius, freshness=rng.uniform(freshness, 1.0)
        )
        height[window] += relief[:rows, :columns]
        rho = np.hypot(x[window] - east, north[window] + south) / radius
        np.maximum(inside[window], 1.0 - terrain.smoothstep(rho, 0.8, 1.1), out=inside[window])
    return height, inside


def steepened(height: Field, slope: float) -> Field:
    """Relief scaled to a root mean square slope, rise over run."""
    east, north = terrain.gradient(height)
    return height * (slope / max(float(np.sqrt(np.mean(east * east + north * north))), 1e-9))


# --- crests ----------------------------------------------------------------------------------


def wave_train(
    rng: Generator,
    size: int,
    wavelength: float,
    azimuth_deg: float,
    spread_deg: float,
    bandwidth: float,
) -> tuple[Field, Field]:
    """Waves of nearly one length and of scattered directions.

    The scatter of directions decides the plan: a few degrees leave straight parallel crests
    with a rare fork, tens of degrees make them bend, branch and end.

    Args:
        wavelength: Mean distance from crest to crest in pixels.
        azimuth_deg: Mean direction across the crests.
        spread_deg: Standard deviation of the directions in degrees.
        bandwidth: Standard deviation of the frequencies as a share of their mean.

    Returns:
        Phase in [0, 1) growing towards the azimuth, and amplitude of mean 1; each (size, size).
    """
    torus = size + max(size // 4, 2)
    frequency_south = np.fft.fftfreq(torus)[:, None]
    frequency_east = np.fft.fftfreq(torus)[None, :]
    x, y = terrain.direction(azimuth_deg)
    forward = frequency_east * x - frequency_south * y
    aside = frequency_east * y + frequency_south * x
    off = np.rad2deg(np.arctan2(aside, forward)) / spread_deg
    pitch = (np.hypot(forward, aside) * wavelength - 1.0) / bandwidth
    amplitude = np.exp(-0.5 * (off * off + pitch * pitch))
    parts = rng.standard_normal((2, torus, torus))
    wave = np.fft.ifft2((parts[0] + 1j * parts[1]) * amplitude)[:size, :size]
    strength = np.abs(wave)
    phase = np.angle(wave) / (2.0 * np.pi)
    return phase - np.floor(phase), strength / max(float(strength.mean()), 1e-30)


def crest_profile(rng: Generator, phase: Field) -> Field:
    """Cross section of aeolian bedforms in [0, 1]: symmetric ripples or dunes with slip faces."""
    if rng.uniform() < 0.5:
        return (0.5 - 0.5 * np.cos(2.0 * np.pi * phase)) ** rng.uniform(1.0, 2.2)
    crest = rng.uniform(0.58, 0.74)
    windward = np.sin(0.5 * np.pi * np.minimum(phase / crest, 1.0)) ** 2
    slip = (1.0 - phase) / (1.0 - crest)
    return np.where(phase < crest, windward, slip)


# --- paths -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Path:
    """Position of every pixel in relation to a line across the scene.

    Attributes:
        aside: Distance from the line in pixels, positive to its right, (side, side).
        along: Position of the nearest point of the line in pixels, (side, side).
        bend: Smooth random number of deviation 1 at the nearest point, (side, side).
    """

    aside: Field
    along: Field
    bend: Field


def near_middle(rng: Generator, side: int) -> tuple[float, float]:
    """Column and row of a random point near the middle of the scene."""
    column, row = (side - 1) / 2 + rng.uniform(-0.14, 0.14, 2) * side
    return float(column), float(row)


def winding_path(
    rng: Generator,
    side: int,
    swing: float,
    wavelength: float,
    azimuth_deg: float,
    through: tuple[float, float],
    *,
    start: float = -1.2,
) -> Path:
    """Line winding across the scene.

    Its heading swings irregularly, after the sine-generated curve of Langbein and Leopold, River
    meanders, U.S. Geological Survey Professional Paper 422-H, 1966.

    Args:
        swing: Standard deviation of the heading in radians.
        wavelength: Distance between swings to the same side, in pixels.
        azimuth_deg: Mean direction of the line.
        through: Column and row of a point on the line.
        start: Beginning of the line, in sides from that point; below -1 beyond the scene.
    """
    step = 0.5
    count = int(2.0 * 1.3 * side / step)
    sway, bend = (
        terrain.standardise(
            ndimage.gaussian_filter1d(rng.standard_normal(count), 0.22 * wavelength / step)
        )
        for _ in range(2)
    )
    heading = np.deg2rad(azimuth_deg - 90.0) + swing * sway
    column, row = np.cumsum(np.cos(heading)) * step, np.cumsum(np.sin(heading)) * step
    middle = count // 2
    column += through[0] - column[middle]
    row += through[1] - row[middle]
    kept = slice(max(middle + int(start * side / step), 0), None)
    return _path(side, column[kept], row[kept], heading[kept], bend[kept], step)


def _path(side: int, column: Field, row: Field, heading: Field, bend: Field, step: float) -> Path:
    """Relate every pixel to the nearest point of a line."""
    # Parts of the line outside the scene are near pixels at its border.
    margin = side // 3
    wide = side + 2 * margin
    cell_row = np.rint(row).astype(np.int64) + margin
    cell_column = np.rint(column).astype(np.int64) + margin
    inside = np.flatnonzero(
        (cell_row >= 0) & (cell_row < wide) & (cell_column >= 0) & (cell_column < wide)
    )
    point = np.full((wide, wide), -1)
    point[cell_row[inside], cell_column[inside]] = inside
    rows, columns = ndimage.distance_transform_edt(
        point < 0, return_distances=False, return_indices=True
    )
    centre = slice(margin, margin + side)
    nearest = point[rows[centre, centre], columns[centre, centre]]
    south, east = np.mgrid[0:side, 0:side].astype(np.float64)
    dx, dy = east - column[nearest], south - row[nearest]
    right = dy * np.cos(heading[nearest]) - dx * np.sin(heading[nearest])
    distance = np.copysign(np.hypot(dx, dy), right)
    return Path(distance, nearest * step, bend[nearest])
