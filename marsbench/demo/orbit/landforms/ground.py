"""Scenes of ``domars16k`` filling the view: aeolian bedforms and kinds of ground.

Straight and curved bedforms differ in plan alone: their crests stay parallel, or bend, branch or
close into crescents. Rough ground is steep and irregular at all scales, smooth ground shows
hardly more than noise, textured ground repeats one fine pattern everywhere, and mixed ground
shows several of these side by side.
"""

from collections.abc import Callable

import numpy as np
from numpy.random import Generator

from marsbench.demo.art import terrain
from marsbench.demo.art.terrain import Field, Light
from marsbench.demo.orbit.ground import Site
from marsbench.demo.orbit.landforms import base

# --- aeolian ---------------------------------------------------------------------------------


def aeolian_straight(rng: Generator, side: int, light: Light) -> Site:
    """Straight parallel crests of ripples or dunes."""
    wind = _across_light(rng, light)
    wavelength = rng.uniform(0.055, 0.13) * side
    phase, vigour = base.wave_train(
        rng, side, wavelength, wind, rng.uniform(3.0, 6.5), rng.uniform(0.08, 0.18)
    )
    return _bedforms(rng, side, wavelength, base.crest_profile(rng, phase), vigour)


def aeolian_curved(rng: Generator, side: int, light: Light) -> Site:
    """Bent and branching crests, or crescents apart from each other."""
    if rng.uniform() < 0.4:
        return _barchans(rng, side, rng.uniform(0.0, 360.0))
    wind = _across_light(rng, light)
    wavelength = rng.uniform(0.075, 0.15) * side
    phase, vigour = base.wave_train(
        rng, side, wavelength, wind, rng.uniform(30.0, 48.0), rng.uniform(0.14, 0.25)
    )
    return _bedforms(rng, side, wavelength, base.crest_profile(rng, phase), vigour)


def _across_light(rng: Generator, light: Light) -> float:
    """Wind towards or away from the sun, since crests pointing at the sun show no shade."""
    return float(light.azimuth_deg + rng.uniform(-60.0, 60.0) + rng.choice([0.0, 180.0]))


def _bedforms(rng: Generator, side: int, wavelength: float, profile: Field, vigour: Field) -> Site:
    """Sand with the given profile on a plain, all over the view or over most of the view."""
    sand = terrain.smoothstep(vigour, 0.0, 0.7)
    if rng.uniform() < 0.4:
        sand *= terrain.cover(terrain.fractal(rng, side, 3.0), rng.uniform(0.65, 0.9), 0.4)
    body = base.steepened(profile, rng.uniform(0.17, 0.36)) * sand
    height = base.plain(rng, side, pitted=0.2) + terrain.blur(body, 0.5)
    albedo = base.soil(rng, side) * (1.0 + rng.uniform(-0.12, 0.12) * sand * profile)
    return Site(height, albedo, sand * profile)


def _barchans(rng: Generator, side: int, wind: float) -> Site:
    """Crescentic dunes whose horns point downwind, apart from or touching each other."""
    ahead, aside = terrain.along(side, wind), terrain.along(side, wind + 90.0)
    wobble = 0.012 * side
    u = ahead + wobble * terrain.fractal(rng, side, 3.0)
    v = aside + wobble * terrain.fractal(rng, side, 3.0)
    half = rng.uniform(0.09, 0.16) * side
    horns = rng.uniform(0.6, 0.95)
    sand = np.zeros((side, side))
    for row in np.arange(-0.75 * side, 0.75 * side, rng.uniform(1.5, 2.2) * half):
        gap = rng.uniform(1.9, 2.6) * half
        for column in np.arange(-0.75 * side + rng.uniform(0.0, gap), 0.75 * side, gap):
            width = half * rng.uniform(0.65, 1.1)
            centre = row + rng.normal(0.0, 0.3) * half, column + rng.normal(0.0, 0.15) * gap
            reach = 1.5 * width + 4.0 * wobble
            near = (np.abs(ahead - centre[0]) < reach) & (np.abs(aside - centre[1]) < reach)
            x, y = (u[near] - centre[0]) / width, (v[near] - centre[1]) / width
            sand[near] = np.maximum(sand[near], width * _barchan(x, y, horns))
    body = terrain.smoothstep(sand, 0.0, 0.8)
    height = base.plain(rng, side, pitted=0.2) + terrain.blur(sand, 0.6)
    albedo = base.soil(rng, side) * (1.0 + rng.uniform(-0.25, 0.1) * body)
    return Site(height, albedo, body)


def _barchan(x: Field, y: Field, horns: float) -> Field:
    """Height of a barchan at places downwind and across the wind, in its half widths.

    Args:
        x: Distance downwind of the middle of the crest, any shape.
        y: Distance across the wind, of the same shape.
        horns: Distance of the horns' tips downwind of the middle.
    """
    from_crest = x - horns * y * y
    # Low towards the horns; gentle and rounded upwind, at rest on the slip face.
    crown = np.maximum(1.0 - y * y, 0.0) ** 0.7
    windward = 1.0 - (np.minimum(from_crest, 0.0) / (0.3 + 0.8 * crown)) ** 2
    slip = 1.0 - np.maximum(from_crest, 0.0) / (0.5 * crown + 0.02)
    return 0.27 * np.maximum(np.minimum(windward, slip), 0.0) * crown


# --- patterns --------------------------------------------------------------------------------

Pattern = Callable[[Generator, int, float], Field]


def _polygons(rng: Generator, side: int, cell: float) -> Field:
    """Troughs around polygons, wider than other cells, to resolve the troughs."""
    return -terrain.blur(terrain.polygons(rng, side, 1.5 * cell), 0.5)


def _bumps(rng: Generator, side: int, cell: float) -> Field:
    """Evenly spaced blobs of noise with a narrow band of wavelengths."""
    return terrain.fractal(rng, side, 0.0, longest=1.35 * cell, shortest=0.75 * cell)


def _knobs(rng: Generator, side: int, cell: float) -> Field:
    """Rounded knobs with flat ground between."""
    return np.maximum(_bumps(rng, side, cell) - 0.3, 0.0)


def _pits(rng: Generator, side: int, cell: float) -> Field:
    """Pits with flat ground between."""
    return np.minimum(_bumps(rng, side, cell) + 0.6, 0.0)


def _dimples(rng: Generator, side: int, cell: float) -> Field:
    """Closely packed hollows, six around each, in rows of short range."""
    azimuth = rng.uniform(0.0, 60.0)
    bend = [terrain.fractal(rng, side, 2.4, longest=12.0 * cell, shortest=cell) for _ in range(2)]
    waves = np.zeros((side, side))
    for turn, weights in ((0.0, (1.0, 0.0)), (120.0, (-0.5, 0.87)), (240.0, (-0.5, -0.87))):
        phase = terrain.along(side, azimuth + turn) / (0.87 * cell)
        waves += np.cos(2.0 * np.pi * (phase + 0.3 * (weights[0] * bend[0] + weights[1] * bend[1])))
    return -np.maximum(waves + 0.3, 0.0)


PATTERNS: tuple[Pattern, ...] = (_polygons, _knobs, _pits, _dimples)
"""Patterns of textured ground: ``(rng, side, cell) -> height`` in any unit."""


# --- ground ----------------------------------------------------------------------------------


def textured(rng: Generator, side: int, light: Light) -> Site:
    """Fine pattern of cells all over the view."""
    pattern = PATTERNS[int(rng.integers(len(PATTERNS)))]
    cell = rng.uniform(0.055, 0.105) * side
    relief = base.steepened(pattern(rng, side, cell), rng.uniform(0.14, 0.3))
    height = base.plain(rng, side, pitted=0.15) + relief
    return Site(height, base.soil(rng, side), np.ones((side, side)))


def smooth(rng: Generator, side: int, light: Light) -> Site:
    """Even ground: faint undulation, hardly more than the noise of the camera."""
    waves = terrain.fractal(rng, side, 3.6, shortest=rng.uniform(0.05, 0.2) * side)
    height = base.steepened(waves, rng.uniform(0.002, 0.012))
    height += rng.uniform(0.0, 0.004) * terrain.fractal(rng, side, 1.5)
    if rng.uniform() < 0.3:
        count = int(rng.integers(1, 3))
        height += 0.15 * base.small_craters(rng, side, count, 0.015 * side, 0.03 * side, 0.3)[0]
    albedo = base.soil(rng, side)
    albedo = albedo.mean() + 0.15 * (albedo - albedo.mean())
    return Site(height, albedo, np.ones((side, side)))


def rough(rng: Generator, side: int, light: Light) -> Site:
    """Rugged ground: steep, irregular relief at all scales."""
    height = _rugged(rng, side) + base.plain(rng, side, pitted=0.2)
    return Site(height, base.soil(rng, side), np.ones((side, side)))


def _rugged(rng: Generator, side: int) -> Field:
    """Height in pixels of steep hills with sharp crests or sharp valleys."""
    widest, finest = rng.uniform(0.5, 1.2) * side, rng.uniform(0.0, 0.05) * side
    hills = terrain.fractal(rng, side, rng.uniform(3.2, 4.2), longest=widest, shortest=finest)
    crests = np.abs(terrain.fractal(rng, side, 3.8, longest=0.8 * widest, shortest=finest))
    sharp = rng.choice([-1.0, 1.0]) * rng.uniform(0.5, 1.5)
    return base.steepened(hills + sharp * crests, rng.uniform(0.35, 0.55))


# --- mixed -----------------------------------------------------------------------------------


def _rippled_part(rng: Generator, side: int) -> Field:
    wavelength = rng.uniform(0.05, 0.09) * side
    phase, _ = base.wave_train(
        rng, side, wavelength, rng.uniform(0.0, 360.0), rng.uniform(4.0, 30.0), 0.15
    )
    return base.steepened(base.crest_profile(rng, phase), rng.uniform(0.25, 0.4))


def _patterned_part(rng: Generator, side: int) -> Field:
    pattern = PATTERNS[int(rng.integers(len(PATTERNS)))]
    return base.steepened(pattern(rng, side, rng.uniform(0.05, 0.1) * side), rng.uniform(0.2, 0.3))


def _cratered_part(rng: Generator, side: int) -> Field:
    count = int(rng.integers(20, 32))
    return base.small_craters(rng, side, count, 0.024 * side, 0.08 * side, 0.5)[0]


def _even_part(rng: Generator, side: int) -> Field:
    return 0.03 * terrain.fractal(rng, side, 1.8)


PARTS: tuple[Callable[[Generator, int], Field], ...] = (
    _rippled_part,
    _patterned_part,
    _cratered_part,
    _even_part,
    _rugged,
)
"""Kinds of ground placed side by side in mixed terrain: ``(rng, side) -> height`` in pixels."""


def mixed(rng: Generator, side: int, light: Light) -> Site:
    """Three kinds of ground in one view, each filling at least a fifth."""
    shares = parts_of_view(rng, side)
    kinds = rng.permutation(len(PARTS))[: len(shares)]
    height = base.plain(rng, side, pitted=0.0)
    albedo = base.soil(rng, side)
    tones = rng.permutation([-1.0, 0.0, 1.0]) * rng.uniform(0.03, 0.12)
    for kind, share, tone in zip(kinds, shares, tones, strict=True):
        part = PARTS[kind](rng, side)
        # Level with each other, so that no scarp runs between the parts.
        height = height + share * (part - float(np.average(part, weights=share)))
        albedo = albedo * (1.0 + tone * share)
    return Site(height, albedo, shares[0])


def parts_of_view(rng: Generator, side: int) -> tuple[Field, Field, Field]:
    """Divide the view into three irregular parts.

    Returns:
        Opacity of each part in [0, 1], (side, side); they sum to 1.
    """
    first = terrain.cover(_divide(rng, side), rng.uniform(0.3, 0.4), 0.1)
    remainder = 1.0 - first
    other = _divide(rng, side)
    # Halve the remainder of the view.
    level = float(np.median(other[remainder > 0.5]))
    second = remainder * terrain.smoothstep(other, level - 0.1, level + 0.1)
    return first, second, remainder - second


def _divide(rng: Generator, side: int) -> Field:
    """Field with irregular contours across the view."""
    slant = terrain.standardise(terrain.along(side, rng.uniform(0.0, 360.0)))
    return terrain.standardise(slant + rng.uniform(0.5, 0.9) * terrain.fractal(rng, side, 3.8))
