"""Scenes for ``landmark_cls``: seven landmarks in HiRISE images, and ground without any.

``Other`` is ground without a landmark: plains, rough, patterned or bouldery ground, hills,
channels, gullies, layers. Its tones vary as much as those of the landmarks, so that only shape
and texture tell.
"""

from collections.abc import Callable

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from marsbench.demo.art import terrain
from marsbench.demo.art.terrain import Field, Light
from marsbench.demo.orbit import craters, ground
from marsbench.demo.orbit.ground import Site
from marsbench.demo.orbit.landmarks import dunes, slope_streaks, spiders, swiss_cheese

Draw = Callable[[Generator, int], Site]


def render(rng: Generator, label: str, side: int) -> NDArray[np.uint8]:
    """Draw an image of a class in grey values, (side, side, 1)."""
    drawn, light = scene(rng, label, side)
    return ground.photograph(rng, drawn, light)


def scene(rng: Generator, label: str, side: int) -> tuple[Site, Light]:
    """Lay out an image of a class, before light and camera; the mark is the landmark."""
    light = ground.sun(rng)
    if label == "Slope Streak":
        return slope_streaks.slope_streak_scene(rng, side, light), light
    return SCENES[label](rng, side), light


# --- grounds without a landmark --------------------------------------------------------------


def _steep(relief: Field, slope: float) -> Field:
    """Scale relief to a typical slope, rise over run."""
    scaled: Field = relief * (slope / float(np.hypot(*terrain.gradient(relief)).mean()))
    return scaled


def _plains(rng: Generator, side: int) -> Field:
    return ground.plain(rng, side, rng.uniform(0.3, 1.5)) + ground.pitting(rng, side, 8)


def _rough(rng: Generator, side: int) -> Field:
    return _steep(terrain.fractal(rng, side, rng.uniform(1.8, 3.0)), rng.uniform(0.12, 0.32))


def _hills(rng: Generator, side: int) -> Field:
    relief = terrain.fractal(
        rng,
        side,
        rng.uniform(3.0, 4.2),
        longest=rng.uniform(0.3, 0.9) * side,
        shortest=rng.uniform(2.0, 12.0),
    )
    return _steep(relief, rng.uniform(0.1, 0.3)) + rng.uniform(0.03, 0.1) * terrain.fractal(
        rng, side, 1.7
    )


def _knobs(rng: Generator, side: int) -> Field:
    """Mesas and knobs with steep sides."""
    shapes = terrain.fractal(
        rng, side, 3.2, longest=rng.uniform(0.3, 0.7) * side, shortest=rng.uniform(3.0, 9.0)
    )
    level = rng.uniform(0.2, 1.0)
    tops = terrain.smoothstep(shapes, level, level + rng.uniform(0.25, 0.7))
    return rng.uniform(0.02, 0.06) * side * tops + 0.12 * terrain.fractal(rng, side, 1.9)


def _polygons(rng: Generator, side: int) -> Field:
    cell = rng.uniform(0.07, 0.28) * side
    troughs = terrain.polygons(rng, side, cell)
    rolling = rng.uniform(0.005, 0.02) * side * terrain.fractal(rng, side, 3.8)
    return (
        rolling - rng.uniform(0.06, 0.14) * cell * troughs + 0.07 * terrain.fractal(rng, side, 1.6)
    )


def _boulders(rng: Generator, side: int) -> Field:
    blocks = terrain.boulders(rng, side, int(rng.integers(side, 5 * side)))
    return ground.plain(rng, side, 0.6) + rng.uniform(0.6, 1.2) * blocks


def _channel(rng: Generator, side: int) -> Field:
    """Winding channel, or an inverted ridge left by a channel."""
    azimuth = rng.uniform(0.0, 360.0)
    bend = terrain.fractal(rng, side, 3.8, longest=side, shortest=0.2 * side)
    aside = terrain.along(side, azimuth) + rng.uniform(0.04, 0.1) * side * bend
    aside = aside + rng.uniform(-0.15, 0.15) * side
    half = rng.uniform(0.06, 0.16) * side
    bed = 1.0 - terrain.smoothstep(np.abs(aside), 0.5 * half, half)
    sign = 1.0 if rng.uniform() < 0.3 else -1.0
    return sign * rng.uniform(0.25, 0.45) * half * bed + ground.plain(rng, side)


def _gullies(rng: Generator, side: int) -> Field:
    relief = terrain.gullies(rng, side, rng.uniform(0.15, 0.35) * side, rng.uniform(0.0, 360.0))
    return relief + 0.08 * terrain.fractal(rng, side, 1.7)


def _layers(rng: Generator, side: int) -> Field:
    """Ground falling in steps, as weathered layered rock does."""
    azimuth = rng.uniform(0.0, 360.0)
    count = rng.uniform(4.0, 9.0)
    bend = terrain.fractal(rng, side, 4.2, shortest=rng.uniform(0.05, 0.12) * side)
    rise = count * (0.6 * terrain.along(side, azimuth) / side + rng.uniform(0.08, 0.2) * bend)
    # Beds differ in thickness, which also sets outcrops apart from ripples.
    tops = np.cumsum(rng.uniform(0.3, 1.7, 30)) - 15.0
    bed: Field = np.interp(rise, tops, np.arange(30.0))
    step = np.floor(bed) + terrain.smoothstep(bed - np.floor(bed), 0.75, 0.95)
    relief = rng.uniform(0.12, 0.25) * side / count * step
    return relief + rng.uniform(0.04, 0.1) * terrain.fractal(rng, side, 1.8)


def _fractures(rng: Generator, side: int) -> Field:
    """Bedrock cut by two sets of straight joints."""
    relief = ground.plain(rng, side)
    azimuth = rng.uniform(0.0, 180.0)
    for turn in (0.0, rng.uniform(50.0, 130.0)):
        spacing = rng.uniform(0.08, 0.2) * side
        across = terrain.along(side, azimuth + turn) / spacing + 0.25 * terrain.fractal(
            rng, side, 3.0
        )
        gap = np.abs(across - np.rint(across + rng.uniform(-0.2, 0.2))) * spacing
        kept = terrain.smoothstep(terrain.fractal(rng, side, 2.8), -0.3, 0.5)
        relief = relief - rng.uniform(0.6, 1.3) * np.exp(-((gap / 1.2) ** 2)) * kept
    return relief


GROUNDS: tuple[tuple[float, Callable[[Generator, int], Field]], ...] = (
    (3.0, _plains),
    (2.0, _rough),
    (2.0, _hills),
    (1.5, _knobs),
    (1.5, _polygons),
    (1.5, _boulders),
    (1.5, _channel),
    (1.0, _gullies),
    (1.5, _layers),
    (1.5, _fractures),
)
"""Kinds of ground of the class Other and their relative frequencies."""


def other_scene(rng: Generator, side: int) -> Site:
    """Ground without any of the landmarks; the mark is 0."""
    weights = np.array([weight for weight, _ in GROUNDS])
    _, relief = GROUNDS[int(rng.choice(len(GROUNDS), p=weights / weights.sum()))]
    height = relief(rng, side)
    albedo = ground.soil(rng, side, rng.uniform(0.02, 0.15))
    if rng.uniform() < 0.35:
        # Dust or bedrock of another tone, in patches unrelated to the relief.
        shapes = terrain.fractal(rng, side, rng.uniform(2.6, 3.4))
        patch = terrain.cover(shapes, rng.uniform(0.1, 0.9), rng.uniform(0.05, 0.9))
        albedo *= 1.0 + rng.uniform(-0.5, 0.9) * patch
    return Site(height, albedo, np.zeros((side, side)))


SCENES: dict[str, Draw] = {
    "Bright Dune": dunes.bright_scene,
    "Crater": craters.crater_scene,
    "Dark Dune": dunes.dark_scene,
    "Impact Ejecta": craters.impact_scene,
    "Spider": spiders.spider_scene,
    "Swiss Cheese": swiss_cheese.swiss_cheese_scene,
    "Other": other_scene,
}
"""Functions that draw the classes, except slope streaks, which need the sun."""
