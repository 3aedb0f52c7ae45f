"""Scenes for ``change_cls_ctx`` and ``_hirise``: a place at two dates.

Both classes show the same places under the same skies. Between the dates the sun moves, the
season changes the contrast of the ground, haze, noise and stretch differ, and the two pictures
are registered to within a pixel. In "Change" something on the ground is new as well. Old
impacts, streaks, spots and tracks, equal at both dates, are as frequent in either class, so that
only the comparison reveals the class.

New marks follow Daubar et al. 2013, https://doi.org/10.1016/j.icarus.2013.04.009 (impacts
with dark halos in dusty plains), Sullivan et al. 2001, https://doi.org/10.1029/2000JE001296
(slope streaks), Hansen et al. 2013, https://doi.org/10.1016/j.icarus.2012.09.024 (spots and fans
on defrosting dunes), Malin et al. 2006, https://doi.org/10.1126/science.1135156 (bright gully
deposits), and Bridges et al. 2012, https://doi.org/10.1038/nature11022 (moving dunes).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy import ndimage

from marsbench.demo.art import terrain
from marsbench.demo.art.terrain import Field, Light
from marsbench.demo.orbit import ground

CHANGE = "Change"

MARGIN = 3
"""Pixels drawn around the picture, to be cropped by the misregistration."""

_LEAST = 1.0 / 16.0
"""Least width of a change as a share of the side: 6 pixels of 96."""

_APART = 0.8
"""Least share of a new mark beside an old one."""


@dataclass(frozen=True)
class Surface:
    """Ground at a date.

    Attributes:
        height: Elevation in pixels, (size, size).
        tone: Albedo relative to bare soil, (size, size).
    """

    height: Field
    tone: Field


@dataclass(frozen=True)
class Place:
    """Ground open to change.

    Attributes:
        surface: Ground before.
        downhill_deg: Azimuth of the steepest descent, or of the wind where the ground is level.
        later: Ground after the dunes have moved; None if nothing moves.
    """

    surface: Surface
    downhill_deg: float
    later: Surface | None = None


@dataclass(frozen=True)
class Mark:
    """Mark left on the ground.

    Attributes:
        relief: Height added, in pixels, (size, size).
        factor: Factor on the tone, (size, size); 1 outside the mark.
    """

    relief: Field
    factor: Field


@dataclass(frozen=True)
class Weather:
    """Conditions of a picture.

    Attributes:
        light: Direction of the light.
        season: Exponent on the ground's tone: above 1 stains stand out, below 1 dust mutes them.
        haze: Light added by the air, as a share of the ground's.
        glow: Uneven brightness of the air, relative, (size, size).
        softness: Standard deviation of the blur in pixels.
        shift: Misregistration of the picture, rows and columns in pixels.
    """

    light: Light
    season: float
    haze: float
    glow: Field
    softness: float
    shift: tuple[float, float]


def render_ctx(rng: Generator, label: str, side: int) -> NDArray[np.uint8]:
    """Draw a pair at the scale of the Context Camera, six metres a pixel.

    Args:
        label: ``"Change"`` or ``"No change"``.

    Returns:
        Grey values, (side, side, 2): before and after.
    """
    return _pair(rng, label, side, CTX)


def render_hirise(rng: Generator, label: str, side: int) -> NDArray[np.uint8]:
    """Draw a pair at the scale of HiRISE, some decimetres a pixel; see `render_ctx`."""
    return _pair(rng, label, side, HIRISE)


# --- marks -----------------------------------------------------------------------------------


def _somewhere(rng: Generator, size: int) -> tuple[float, float]:
    """Column and row of a point well inside the picture."""
    column, row = rng.uniform(0.15, 0.85, 2) * size
    return float(column), float(row)


def _impact(rng: Generator, size: int, _azimuth_deg: float) -> Mark:
    """Small fresh crater in a blast halo with rays, mostly dark."""
    column, row = _somewhere(rng, size)
    halo = rng.uniform(0.9, 1.8) * _LEAST * size
    radius = max(rng.uniform(0.16, 0.3) * halo, 1.2)
    x, y = terrain.offsets(size, column, row)
    rho = np.hypot(x, y) / halo
    bearing = np.arctan2(x, -y)
    rays = np.zeros((size, size))
    for lobes in rng.integers(2, 13, 4):
        rays += rng.uniform(0.4, 1.0) * np.cos(lobes * bearing + rng.uniform(0.0, 2.0 * np.pi))
    reach = np.exp(rng.uniform(0.12, 0.3) * rays)
    stain = 1.0 - terrain.smoothstep(rho / reach, rng.uniform(0.3, 0.7), rng.uniform(1.1, 1.9))
    strength = rng.uniform(0.46, 0.6) if rng.uniform() < 0.8 else -rng.uniform(0.7, 1.0)
    relief = terrain.crater(size, column, row, float(radius))
    return Mark(relief, 1.0 - strength * stain)


def _streak(rng: Generator, size: int, azimuth_deg: float) -> Mark:
    """One to three thin fans running straight down the slope from a point."""
    factor = np.ones((size, size))
    strength = rng.uniform(0.5, 0.65) if rng.uniform() < 0.8 else -rng.uniform(0.65, 0.9)
    meander = terrain.fractal(rng, size, 3.0, longest=0.6 * size, shortest=0.08 * size)
    for _ in range(int(rng.integers(1, 4))):
        column, row = _somewhere(rng, size)
        length = rng.uniform(0.22, 0.5) * size
        width = rng.uniform(0.6, 1.0) * _LEAST * size
        ahead, aside = _frame(size, column, row, azimuth_deg)
        aside = aside + 0.012 * size * meander
        # The point lies up the slope, to keep the middle of the streak inside.
        t = ahead / length + 0.5
        spread = width * (0.12 + 0.88 * np.clip(t, 0.0, 1.0) ** 0.8)
        edge = 1.0 - terrain.smoothstep(np.abs(aside) - spread, -0.6, 0.8)
        ends = terrain.smoothstep(t, -0.02, 0.04) * (1.0 - terrain.smoothstep(t, 0.88, 1.05))
        factor = np.minimum(factor, 1.0 - abs(strength) * edge * ends)
    return Mark(np.zeros((size, size)), factor if strength > 0 else 2.0 - factor)


def _spots(rng: Generator, size: int, azimuth_deg: float) -> Mark:
    """Group of dark spots or fans where ice gave way."""
    count = int(rng.integers(7, 18))
    centre = np.array(_somewhere(rng, size))
    centres = centre + rng.normal(0.0, rng.uniform(0.1, 0.2) * size, (count, 2))
    widths = rng.uniform(0.4, 0.8, count) * _LEAST * size
    longest = 0.0 if rng.uniform() < 0.4 else rng.uniform(1.5, 3.0) * _LEAST * size
    centres = np.clip(centres, 0.0, size - 1.0)
    centres[0], widths[0] = centre, 0.75 * _LEAST * size
    opacity = terrain.streaks(
        size,
        centres,
        widths,
        longest * rng.uniform(0.5, 1.0, count),
        azimuth_deg + rng.normal(0.0, 10.0, count),
    )
    return Mark(np.zeros((size, size)), 1.0 - rng.uniform(0.65, 0.8) * opacity)


def _tracks(rng: Generator, size: int, azimuth_deg: float) -> Mark:
    """Dark, winding paths of dust devils across the whole picture."""
    factor = np.ones((size, size))
    strength = rng.uniform(0.38, 0.52)
    for _ in range(int(rng.integers(2, 6))):
        column, row = _somewhere(rng, size)
        ahead, aside = _frame(size, column, row, azimuth_deg + rng.normal(0.0, 25.0))
        t = ahead / size
        for waves in (rng.uniform(0.4, 1.2), rng.uniform(1.2, 3.0)):
            bend = 0.06 / waves * size
            aside = aside + rng.normal(0.0, bend) * np.sin(
                2.0 * np.pi * waves * t + rng.uniform(0.0, 6.3)
            )
        width = rng.uniform(0.2, 0.42) * _LEAST * size
        path = np.exp(-((aside / width) ** 2))
        factor = np.minimum(factor, 1.0 - strength * rng.uniform(0.7, 1.0) * path)
    return Mark(np.zeros((size, size)), factor)


def _deposit(rng: Generator, size: int, azimuth_deg: float) -> Mark:
    """Bright or dark flow in a gully: a thin channel, then an apron ending in fingers."""
    column, row = _somewhere(rng, size)
    ahead, aside = _frame(size, column, row, azimuth_deg)
    length = rng.uniform(0.3, 0.5) * size
    bends = terrain.fractal(rng, size, 3.2, longest=0.5 * size, shortest=0.1 * size)
    aside = aside + 0.015 * size * bends
    t = ahead / length + 0.55
    fan = terrain.smoothstep(t, 0.35, 0.9)
    spread = _LEAST * size * (0.14 + rng.uniform(0.7, 1.1) * fan)
    fingers = terrain.fractal(
        rng, size, 2.6, longest=0.25 * size, stretch=3.0, azimuth_deg=azimuth_deg
    )
    end = 1.0 - terrain.smoothstep(t + 0.1 * fingers, 0.95, 1.02)
    body = 1.0 - terrain.smoothstep(np.abs(aside) - spread * (1.0 + 0.2 * fingers), -0.7, 0.7)
    cover = body * end * terrain.smoothstep(t, 0.0, 0.05)
    strength = rng.uniform(0.6, 0.85) if rng.uniform() < 0.75 else -rng.uniform(0.4, 0.52)
    return Mark(0.35 * terrain.blur(cover, 0.7), 1.0 + strength * cover)


def _frame(size: int, column: float, row: float, azimuth_deg: float) -> tuple[Field, Field]:
    """Distances from a point, ahead towards an azimuth and to the right, in pixels."""
    east, north = terrain.coordinates(size)
    x, y = terrain.direction(azimuth_deg)
    right, up = east - column, north + row
    return right * x + up * y, right * y - up * x


# --- places ----------------------------------------------------------------------------------


def _tone(rng: Generator, size: int) -> Field:
    """Tone of bare soil with faint patches."""
    return 1.0 + rng.uniform(0.01, 0.05) * terrain.fractal(rng, size, 2.6)


def _plain(rng: Generator, size: int) -> Place:
    """Plain with craters of all sizes."""
    height = rng.uniform(0.002, 0.008) * size * terrain.fractal(rng, size, rng.uniform(3.4, 4.0))
    height = height + terrain.craters(rng, size, int(rng.integers(3, 14)), 0.025 * size)
    height += rng.uniform(0.03, 0.06) * terrain.fractal(rng, size, 1.7)
    return Place(Surface(height, _tone(rng, size)), float(rng.uniform(0.0, 360.0)))


def _slope(rng: Generator, size: int) -> Place:
    """Long slope with faint ridges down it, such as a crater's wall."""
    downhill = float(rng.uniform(0.0, 360.0))
    ridges = terrain.fractal(
        rng, size, 3.2, longest=0.5 * size, stretch=rng.uniform(2.0, 4.0), azimuth_deg=downhill
    )
    height = -rng.uniform(0.05, 0.16) * terrain.along(size, downhill)
    height = height + rng.uniform(0.002, 0.006) * size * ridges
    height += rng.uniform(0.03, 0.06) * terrain.fractal(rng, size, 1.8)
    return Place(Surface(height, _tone(rng, size)), downhill)


def _gullied(rng: Generator, size: int) -> Place:
    """Slope cut by gullies."""
    downhill = float(rng.uniform(0.0, 360.0))
    height = 0.3 * terrain.gullies(rng, size, rng.uniform(0.2, 0.36) * size, downhill)
    height += 0.04 * terrain.fractal(rng, size, 1.7)
    return Place(Surface(height, _tone(rng, size)), downhill)


def _polygonal(rng: Generator, size: int) -> Place:
    """Level ground in polygons."""
    cell = rng.uniform(0.08, 0.16) * size
    height = rng.uniform(0.004, 0.01) * size * terrain.fractal(rng, size, 3.8)
    height -= rng.uniform(0.03, 0.06) * cell * terrain.polygons(rng, size, cell)
    height += 0.03 * terrain.fractal(rng, size, 1.6)
    return Place(Surface(height, _tone(rng, size)), float(rng.uniform(0.0, 360.0)))


def _stony(rng: Generator, size: int) -> Place:
    """Stony ground with patches of ripples."""
    wind = float(rng.uniform(0.0, 360.0))
    height = rng.uniform(0.002, 0.006) * size * terrain.fractal(rng, size, 3.5)
    waves = terrain.ripples(rng, size, rng.uniform(0.05, 0.09) * size, wind)
    patches = terrain.cover(terrain.fractal(rng, size, 3.0), rng.uniform(0.1, 0.7), 0.4)
    height = height + 0.15 * waves * patches + 0.04 * terrain.fractal(rng, size, 1.7)
    height += 0.8 * terrain.boulders(rng, size, int(rng.integers(10, size)))
    return Place(Surface(height, _tone(rng, size)), wind)


def _dunes(rng: Generator, size: int) -> Place:
    """Dunes on stony ground, displaced downwind by the second date."""
    wind = float(rng.uniform(0.0, 360.0))
    wavelength = rng.uniform(0.25, 0.4) * size
    floor = rng.uniform(0.004, 0.01) * size * terrain.fractal(rng, size, 3.6)
    floor = floor + 0.07 * terrain.fractal(rng, size, 1.7)
    floor += 0.8 * terrain.boulders(rng, size, int(rng.integers(10, size // 2)))
    reach = int(0.15 * size) + 1
    field = 1.2 * terrain.dunes(rng, size + 2 * reach, wavelength, wind)
    tone, dark = _tone(rng, size), rng.uniform(0.1, 0.4)
    x, y = terrain.direction(wind)
    # No dune moves less than the least change, and low ones move further.
    uneven = terrain.smoothstep(terrain.fractal(rng, size, 3.4), -1.5, 1.5)
    moved = size * (_LEAST + rng.uniform(0.02, 0.06) * uneven)
    row, column = np.mgrid[0:size, 0:size] + float(reach)

    def at(distance: Field) -> Surface:
        place = [row + distance * y, column - distance * x]
        sand = ndimage.map_coordinates(field, place, order=1, mode="nearest")
        on_sand = terrain.smoothstep(sand, 0.15, 1.0)
        return Surface(floor * (1.0 - on_sand) + sand, tone * (1.0 - dark * on_sand))

    return Place(at(np.zeros((size, size))), wind, at(moved))


Draw = Callable[[Generator, int], Place]
Event = Callable[[Generator, int, float], Mark]

CTX: tuple[tuple[Draw, Event], ...] = (
    (_plain, _impact),
    (_plain, _impact),
    (_plain, _tracks),
    (_slope, _streak),
    (_slope, _streak),
    (_slope, _impact),
    (_polygonal, _tracks),
    (_gullied, _deposit),
    (_dunes, _spots),
)
"""Places and their possible changes at the resolution of the Context Camera."""


def _moved(_rng: Generator, size: int, _azimuth_deg: float) -> Mark:
    """Empty mark: the dunes themselves move."""
    return Mark(np.zeros((size, size)), np.ones((size, size)))


HIRISE: tuple[tuple[Draw, Event], ...] = (
    (_plain, _impact),
    (_stony, _impact),
    (_slope, _streak),
    (_gullied, _deposit),
    (_gullied, _deposit),
    (_polygonal, _spots),
    (_stony, _tracks),
    (_dunes, _spots),
    (_dunes, _moved),
)
"""Places and their possible changes at the scale of HiRISE."""


# --- pair ------------------------------------------------------------------------------------


def _pair(
    rng: Generator, label: str, side: int, kinds: tuple[tuple[Draw, Event], ...]
) -> NDArray[np.uint8]:
    """Draw both pictures of a place, (side, side, 2)."""
    size = side + 2 * MARGIN
    before, after = _dates(rng, label, size, kinds)
    first = _weather(rng, size)
    second = _next_visit(rng, first, size)
    views = [_view(before, first), _view(after, second)]
    return np.stack([terrain.sensor(view, rng) for view in views], axis=-1)


def _dates(
    rng: Generator, label: str, size: int, kinds: tuple[tuple[Draw, Event], ...]
) -> tuple[Surface, Surface]:
    """Ground at both dates; equal for the label "No change"."""
    draw, event = kinds[int(rng.integers(len(kinds)))]
    place = draw(rng, size)
    surface, later = place.surface, place.later
    old = event(rng, size, place.downhill_deg) if rng.uniform() < 0.3 else None
    if old is not None:
        surface = _marked(surface, old)
        later = None if later is None else _marked(later, old)
    if label != CHANGE:
        return surface, surface
    if event is _moved and later is not None:
        return surface, later
    return surface, _marked(surface, _beside(rng, event, size, place.downhill_deg, old))


def _beside(rng: Generator, event: Event, size: int, azimuth_deg: float, old: Mark | None) -> Mark:
    """New mark mostly beside the old mark, so that the two are distinguishable."""
    mark = event(rng, size, azimuth_deg)
    if old is None:
        return mark
    share = _share_beside(mark, old)
    for _ in range(30):
        if share >= _APART:
            break
        other = event(rng, size, azimuth_deg)
        if _share_beside(other, old) > share:
            mark, share = other, _share_beside(other, old)
    return mark


def _share_beside(mark: Mark, old: Mark) -> float:
    """Share of a mark's changes more than two pixels away from another mark."""
    change = np.abs(mark.factor - 1.0)
    free = ndimage.maximum_filter(np.abs(old.factor - 1.0), 5) < 0.05
    return float(change[free].sum() / change.sum())


def _marked(surface: Surface, mark: Mark) -> Surface:
    """Ground with a mark."""
    return Surface(surface.height + mark.relief, surface.tone * mark.factor)


def _weather(rng: Generator, size: int) -> Weather:
    """Conditions of a first visit."""
    return Weather(
        light=terrain.afternoon(rng),
        season=float(rng.uniform(0.85, 1.15)),
        haze=float(rng.uniform(0.0, 0.5)),
        glow=rng.uniform(0.0, 0.02) * terrain.fractal(rng, size, 4.0),
        softness=float(rng.uniform(0.0, 0.4)),
        shift=(0.0, 0.0),
    )


def _next_visit(rng: Generator, first: Weather, size: int) -> Weather:
    """Conditions of another visit: another season, another sun, a slight misregistration."""
    light = replace(
        first.light,
        azimuth_deg=first.light.azimuth_deg + float(rng.uniform(-20.0, 20.0)),
        elevation_deg=float(
            np.clip(first.light.elevation_deg + rng.uniform(-8.0, 8.0), 25.0, 60.0)
        ),
    )
    rows, columns = rng.uniform(-0.6, 0.6, 2)
    return replace(_weather(rng, size), light=light, shift=(float(rows), float(columns)))


def _view(surface: Surface, weather: Weather) -> Field:
    """Radiance of the ground under the weather, without the margin, (side, side)."""
    radiance = ground.radiance(surface.height, surface.tone**weather.season, weather.light)
    radiance = radiance + float(radiance.mean()) * (weather.haze + weather.glow)
    if weather.softness > 0:
        radiance = terrain.blur(radiance, weather.softness)
    if any(weather.shift):
        radiance = ndimage.shift(radiance, weather.shift, order=3, mode="nearest")
    return radiance[MARGIN:-MARGIN, MARGIN:-MARGIN]
