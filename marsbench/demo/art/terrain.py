"""Building blocks of procedural Martian scenes: noise, light, relief, spots and camera.

Pure functions over square arrays. Heights and distances are in pixels, so slopes are rise over
run. Rows run from north (first) to south, columns from west to east; azimuths are degrees
clockwise from north. Equal generators give equal arrays, for any number of threads.

Spectral synthesis after Saupe, "Algorithms for random fractals", in The Science of Fractal
Images, 1988.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy import ndimage

Field = NDArray[np.float64]
"""Values over a square scene, (size, size)."""


# --- fields ----------------------------------------------------------------------------------


@lru_cache(maxsize=16)
def coordinates(size: int) -> tuple[Field, Field]:
    """Distance of every pixel east and north of the north-west corner, in pixels.

    Returns:
        Two read-only arrays, (size, size) each, shared between callers; the second is never
        positive.
    """
    south, east = np.mgrid[0:size, 0:size].astype(np.float64)
    north = -south
    east.flags.writeable = north.flags.writeable = False
    return east, north


def offsets(size: int, column: float, row: float) -> tuple[Field, Field]:
    """Distance of every pixel to the right of a point and below it, in pixels."""
    east, north = coordinates(size)
    return east - column, -north - row


def direction(azimuth_deg: float) -> tuple[float, float]:
    """Unit vector (east, north) of an azimuth in degrees clockwise from north."""
    azimuth = np.deg2rad(azimuth_deg)
    return float(np.sin(azimuth)), float(np.cos(azimuth))


def along(size: int, azimuth_deg: float) -> Field:
    """Distance of every pixel from the scene's centre towards an azimuth, in pixels."""
    east, north = coordinates(size)
    x, y = direction(azimuth_deg)
    centre = (size - 1) / 2
    return (east - centre) * x + (north + centre) * y


def standardise(field: Field) -> Field:
    """Shift and scale a field to mean 0 and variance 1; a constant field becomes 0."""
    centred: Field = field - field.mean()
    deviation = float(centred.std())
    return centred / deviation if deviation > 0 else centred


def smoothstep(field: Field, low: float, high: float) -> Field:
    """Rise smoothly from 0 at or below ``low`` to 1 at or above ``high``."""
    t = np.clip((field - low) / (high - low), 0.0, 1.0)
    return t * t * (3.0 - 2.0 * t)


def cover(field: Field, fraction: float, feather: float) -> Field:
    """Cover the highest part of a field, with a soft edge.

    Args:
        field: Suitability of every pixel, any shape.
        fraction: Share of the pixels to cover, in [0, 1].
        feather: Half width of the edge, in units of the field.

    Returns:
        Opacity in [0, 1], 0.5 along the contour around ``fraction`` of the pixels.
    """
    level = float(np.quantile(field, 1.0 - fraction))
    return smoothstep(field, level - feather, level + feather)


def blur(field: Field, sigma: float) -> Field:
    """Gaussian blur with a standard deviation in pixels, reflecting at the borders."""
    blurred: Field = ndimage.gaussian_filter(field, sigma, mode="reflect", truncate=3.0)
    return blurred


def fractal(
    rng: Generator,
    size: int,
    beta: float,
    *,
    longest: float | None = None,
    shortest: float = 0.0,
    stretch: float = 1.0,
    azimuth_deg: float = 0.0,
    wraps: bool = False,
) -> Field:
    """Fractal noise by spectral synthesis: power falls with frequency as ``f ** -beta``.

    Args:
        beta: Spectral exponent: 0 is white noise, about 2 a rough surface, above 3 rolling
            hills.
        longest: Longest wavelength in pixels; None keeps all.
        shortest: Wavelength in pixels below which power fades; 0 keeps all.
        stretch: Length over width of the features.
        azimuth_deg: Direction of the stretching.
        wraps: Whether opposite borders match.

    Returns:
        Field of mean 0 and variance 1, (size, size).
    """
    # Drawn on a torus, whose opposite borders match; without `wraps` larger, then cropped.
    torus = size if wraps else size + max(size // 4, 2)
    fy = np.fft.fftfreq(torus)[:, None]
    fx = np.fft.rfftfreq(torus)[None, :]
    if stretch != 1.0:
        x, y = direction(azimuth_deg)
        fx, fy = (fx * x - fy * y) * stretch, fx * y + fy * x
    frequency = np.sqrt(fx * fx + fy * fy)
    frequency[0, 0] = np.inf
    amplitude = frequency ** (-beta / 2.0)
    if longest is not None:
        amplitude *= frequency >= 1.0 / longest
    if shortest > 0:
        amplitude *= np.exp(-((frequency * shortest) ** 2))
    amplitude[0, 0] = 0.0
    parts = rng.standard_normal((2, *amplitude.shape))
    spectrum = (parts[0] + 1j * parts[1]) * amplitude
    noise = np.fft.irfft2(spectrum, s=(torus, torus))
    return standardise(noise[:size, :size])


# --- light -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Light:
    """Direction of the sun and of the pole.

    Attributes:
        azimuth_deg: Azimuth of the sun.
        elevation_deg: Height of the sun above the horizon.
        pole_deg: Azimuth of the nearer pole: 0 in the north, 180 in the south.
    """

    azimuth_deg: float
    elevation_deg: float
    pole_deg: float


def afternoon(rng: Generator) -> Light:
    """Light of a mid-latitude scene on a map with north up, from a sun-synchronous orbit.

    Mars Reconnaissance Orbiter passes at about three in the afternoon, so the sun stands in
    the west and towards the equator.
    """
    pole_deg = float(rng.choice([0.0, 180.0]))
    towards_equator = rng.uniform(15.0, 65.0)
    azimuth_deg = 270.0 - towards_equator if pole_deg == 0.0 else 270.0 + towards_equator
    return Light(float(azimuth_deg), float(rng.uniform(26.0, 50.0)), pole_deg)


def gradient(height: Field) -> tuple[Field, Field]:
    """Rise over run towards the east and towards the north, each (size, size)."""
    east: Field = np.gradient(height, axis=1)
    south: Field = np.gradient(height, axis=0)
    return east, -south


def slope_deg(height: Field) -> Field:
    """Steepness of every pixel in degrees."""
    east, north = gradient(height)
    return np.rad2deg(np.arctan(np.hypot(east, north)))


def facing(height: Field, azimuth_deg: float) -> Field:
    """Descent towards an azimuth as rise over run; negative where the ground rises."""
    east, north = gradient(height)
    x, y = direction(azimuth_deg)
    return -(east * x + north * y)


def hollows(height: Field, scale: float) -> Field:
    """Depth of the ground below its surroundings, in units of the height.

    Args:
        height: Elevation, (size, size).
        scale: Radius of the surroundings in pixels.
    """
    return blur(height, scale) - height


def hillshade(height: Field, azimuth_deg: float, elevation_deg: float) -> Field:
    """Lambertian shading: cosine of the angle between the ground's normal and the sun.

    Args:
        height: Elevation, (size, size).
        azimuth_deg: Azimuth of the sun.
        elevation_deg: Height of the sun above the horizon.

    Returns:
        Shading in [0, 1], (size, size); 0 where the ground faces away from the sun.
    """
    east, north = gradient(height)
    x, y = direction(azimuth_deg)
    elevation = np.deg2rad(elevation_deg)
    towards_sun = np.sin(elevation) - np.cos(elevation) * (east * x + north * y)
    shaded: Field = np.maximum(towards_sun, 0.0) / np.sqrt(1.0 + east * east + north * north)
    return shaded


# --- relief ----------------------------------------------------------------------------------


def dunes(rng: Generator, size: int, wavelength: float, wind_deg: float) -> Field:
    """Transverse dunes breaking up into barchans: gentle windward side, steep slip face.

    Args:
        wavelength: Distance from crest to crest in pixels.
        wind_deg: Azimuth the wind blows towards, as slip faces do.

    Returns:
        Height in pixels, (size, size); 0 on the flats between the dunes.
    """
    sinuosity = rng.uniform(0.12, 0.3)
    bend = fractal(rng, size, 3.4, longest=4.0 * wavelength, shortest=0.8 * wavelength)
    phase = along(size, wind_deg) / wavelength + sinuosity * bend + rng.uniform()
    t = phase - np.floor(phase)
    crest = rng.uniform(0.62, 0.76)
    windward = np.sin(0.5 * np.pi * t / crest) ** 2
    slip = 1.0 - (t - crest) / (1.0 - crest)
    profile = np.where(t < crest, windward, slip)
    # Crests rise and fall along their length; ground below the level of the flats is bare.
    vigour = 1.0 + rng.uniform(0.15, 0.45) * fractal(
        rng, size, 3.0, longest=5.0 * wavelength, shortest=wavelength
    )
    flats = rng.uniform(0.0, 0.35)
    body = np.maximum(profile * np.clip(vigour, 0.0, 2.0) - flats, 0.0)
    # Sand rests at some 30 degrees on the slip face.
    repose = 0.46 * (1.0 - crest) * wavelength
    return blur(body * repose, 0.6)


def ripples(rng: Generator, size: int, wavelength: float, wind_deg: float) -> Field:
    """Ripples of unit amplitude with forking, slightly wavy crests across the wind.

    Args:
        wavelength: Distance from crest to crest in pixels.
        wind_deg: Azimuth the wind blows towards.
    """
    bend = fractal(rng, size, 2.6, longest=8.0 * wavelength, shortest=2.0 * wavelength)
    phase = along(size, wind_deg) / wavelength + 0.45 * bend + rng.uniform()
    return np.sin(2.0 * np.pi * phase)


def gullies(rng: Generator, size: int, spacing: float, downhill_deg: float) -> Field:
    """Height of a slope cut by gullies: alcoves at the top, channels between spurs, aprons below.

    Args:
        spacing: Distance between neighbouring channels in pixels.
        downhill_deg: Azimuth the slope falls towards.
    """
    down = along(size, downhill_deg) / size + 0.5
    stretch = rng.uniform(2.2, 3.6)

    def drawn_out(beta: float, longest: float, shortest: float) -> Field:
        return fractal(
            rng,
            size,
            beta,
            longest=longest * spacing,
            shortest=shortest * spacing,
            stretch=stretch,
            azimuth_deg=downhill_deg,
        )

    noise, minor = drawn_out(3.6, 2.2, 0.35), drawn_out(3.0, 0.9, 0.2)
    # |noise| is sharp along its zeros, which run downhill: channels between rounded spurs.
    spurs = np.abs(noise) + 0.3 * np.abs(minor)
    depth = rng.uniform(0.08, 0.14) * spacing
    top = rng.uniform(-0.1, 0.1)
    cut = smoothstep(down, top - 0.05, top + 0.2) * (1.0 - 0.8 * smoothstep(down, 0.6, 1.0))
    rolling = fractal(rng, size, 3.4)
    fall = rng.uniform(0.12, 0.25)
    ramp = -fall * size * (down - 0.22 * down * down)
    return ramp + depth * spurs * (0.12 + cut) + 0.02 * size * rolling


def polygons(rng: Generator, size: int, cell: float) -> Field:
    """Network of troughs between thermal-contraction polygons.

    Args:
        cell: Typical diameter of a polygon in pixels.

    Returns:
        Depth of the troughs in [0, 1], (size, size): 0 on the polygons, 1 along the cracks.
    """
    east, north = coordinates(size)
    warp = 0.16
    u = east / cell + warp * fractal(rng, size, 2.6, longest=4.0 * cell, shortest=0.5 * cell) + 2.0
    v = (
        -north / cell
        + warp * fractal(rng, size, 2.6, longest=4.0 * cell, shortest=0.5 * cell)
        + 2.0
    )
    count = int(size / cell) + 6
    jitter = rng.uniform(0.08, 0.92, (2, count, count))
    column = np.clip(np.floor(u).astype(np.int64), 1, count - 2)
    row = np.clip(np.floor(v).astype(np.int64), 1, count - 2)
    # Every cell of a square lattice holds one seed, so the two nearest are among the nine
    # cells around; their distances are equal along the crack between them.
    nearest = np.full((size, size), np.inf)
    second = np.full((size, size), np.inf)
    for dr in (-1, 0, 1):
        for dc in (-1, 0, 1):
            r, c = row + dr, column + dc
            distance = np.hypot(u - c - jitter[0, r, c], v - r - jitter[1, r, c])
            second = np.minimum(second, np.maximum(nearest, distance))
            nearest = np.minimum(nearest, distance)
    width = rng.uniform(0.22, 0.34)
    return 1.0 - smoothstep(second - nearest, 0.0, width)


def crater(size: int, east: float, south: float, radius: float, *, freshness: float = 1.0) -> Field:
    """Height of a simple crater above the plain: bowl, raised rim, ejecta thinning outwards.

    Args:
        east: Column of the centre, may lie outside.
        south: Row of the centre, may lie outside.
        radius: Distance from the centre to the rim in pixels.
        freshness: 1 for a fresh crater a fifth as deep as wide; less is shallower and softer.
    """
    rho = np.hypot(*offsets(size, east, south)) / radius
    depth, rim = 0.4 * freshness * radius, 0.08 * freshness * radius
    bowl = (depth + rim) * rho * rho - depth
    ejecta = rim * np.maximum(rho, 1e-3) ** -3.0
    sharpness = 0.04 + 0.12 * (1.0 - freshness)
    outside = smoothstep(rho, 1.0 - sharpness, 1.0 + sharpness)
    return bowl * (1.0 - outside) + np.minimum(ejecta, 4.0 * rim) * outside


def craters(rng: Generator, size: int, count: int, smallest: float) -> Field:
    """Height of several craters, each of its own freshness.

    Args:
        count: Number of craters.
        smallest: Least radius in pixels; the number above a radius falls with its square.
    """
    height = np.zeros((size, size))
    for _ in range(count):
        radius = min(smallest / np.sqrt(1.0 - rng.uniform(0.0, 0.99)), 0.3 * size)
        east, south = rng.uniform(-0.05, 1.05, 2) * size
        height += crater(size, east, south, radius, freshness=rng.uniform(0.3, 0.95))
    return height


def boulders(rng: Generator, size: int, count: int) -> Field:
    """Height of scattered boulders one to three pixels across."""
    height = np.zeros((size, size))
    rows, columns = rng.integers(0, size, (2, count))
    np.maximum.at(height, (rows, columns), rng.uniform(0.6, 2.6, count))
    return blur(height, 0.7)


# --- surface ---------------------------------------------------------------------------------


def scattered(rng: Generator, chance: Field, count: int) -> NDArray[np.float64]:
    """Column and row of distinct pixels drawn in proportion to their chance, (count, 2)."""
    side = chance.shape[0]
    weights = chance.ravel() + 1e-9
    places = rng.choice(weights.size, count, replace=False, p=weights / weights.sum())
    return np.stack([places % side, places // side], axis=1).astype(np.float64)


def streaks(
    size: int,
    centres: NDArray[np.float64],
    widths: NDArray[np.float64],
    lengths: NDArray[np.float64],
    azimuths_deg: NDArray[np.float64],
) -> Field:
    """Opacity of soft spots, each drawn out to one side into a widening, fading fan.

    Args:
        centres: Column and row of the spots, (count, 2).
        widths: Radii of the spots in pixels, (count,).
        lengths: Lengths of the fans in pixels, (count,); 0 leaves a round spot.
        azimuths_deg: Directions of the fans, (count,).
    """
    opacity = np.zeros((size, size))
    for (column, row), width, length, azimuth in zip(
        centres, widths, lengths, azimuths_deg, strict=True
    ):
        reach = int(3.0 * width + 1.3 * length) + 1
        top, left = max(int(row) - reach, 0), max(int(column) - reach, 0)
        window = (slice(top, int(row) + reach + 1), slice(left, int(column) + reach + 1))
        south, east = np.mgrid[window]
        if not south.size:
            continue
        x, y = direction(float(azimuth))
        ahead = (east - column) * x - (south - row) * y
        aside = (east - column) * y + (south - row) * x
        spot = np.exp(-((ahead * ahead + aside * aside) / (width * width)))
        if length > 0:
            t = np.maximum(ahead, 0.0) / length
            spread = width * (0.6 + 0.9 * t)
            fan = np.exp(-((aside / spread) ** 2)) * (1.0 - smoothstep(t, 0.3, 1.2))
            spot = np.maximum(spot, 0.85 * np.where(ahead > 0, fan, 0.0))
        inside = opacity[window]
        rows, columns = inside.shape
        np.maximum(inside, spot[:rows, :columns], out=inside)
    return opacity


# --- camera ----------------------------------------------------------------------------------


def sensor(image: Field, rng: Generator) -> NDArray[np.uint8]:
    """Grey values of a HiRISE picture, stretched for display, (size, size).

    Blur of the optics, noise, faint column striping of the line detectors, then a random
    contrast stretch and gamma. Absolute grey values carry no information across images.

    Args:
        image: Radiance in any unit, (size, size).
    """
    size = image.shape[0]
    radiance = standardise(blur(image, 0.45))
    striping = ndimage.gaussian_filter1d(rng.standard_normal(size), 0.6, mode="reflect")
    radiance = radiance + rng.uniform(0.01, 0.05) * striping
    radiance += rng.uniform(0.03, 0.09) * rng.standard_normal(image.shape)
    return displayed(radiance, rng, 0.3)


def displayed(radiance: Field, rng: Generator, gamma_spread: float) -> NDArray[np.uint8]:
    """Grey values after a random contrast stretch and gamma, (size, size).

    Args:
        radiance: Light in any unit, (size, size).
        gamma_spread: Standard deviation of the logarithm of gamma.
    """
    clip = rng.uniform(0.1, 2.0, 2)
    low, high = np.percentile(radiance, [clip[0], 100.0 - clip[1]])
    stretched = np.clip((radiance - low) / max(high - low, 1e-9), 0.0, 1.0)
    stretched = stretched ** np.exp(rng.normal(0.0, gamma_spread))
    black, white = rng.uniform(0.0, 60.0), rng.uniform(170.0, 255.0)
    grey: NDArray[np.uint8] = np.rint(black + (white - black) * stretched).astype(np.uint8)
    return grey
