"""Scenes of ``domars16k`` with an isolated landform: channel, cliff, mounds, ridge, craters.

A channel is a winding trough with two walls and a floor; a cliff has a single wall between a
high and a low side; a ridge is a narrow crest falling to both sides; mounds are rounded and
stand apart. A crater has a raised rim around a bowl; a crater field has many.

Wrinkle ridges are a broad arch with a narrow, wandering crest (Plescia and Golombek, Origin of
planetary wrinkle ridges based on the study of terrestrial analogs, Geological Society of America
Bulletin 97, 1986).
"""

import numpy as np
from numpy.random import Generator
from scipy import ndimage

from marsbench.demo.art import terrain
from marsbench.demo.art.terrain import Field, Light
from marsbench.demo.orbit.ground import Site
from marsbench.demo.orbit.landforms import base

# --- channel ---------------------------------------------------------------------------------


def channel(rng: Generator, side: int, light: Light) -> Site:
    """Winding trough with a floor between two walls, sometimes with a tributary."""
    wavelength = rng.uniform(0.4, 0.8) * side
    half = rng.uniform(0.05, 0.11) * side
    course, middle = rng.uniform(0.0, 360.0), base.near_middle(rng, side)
    main = base.winding_path(rng, side, rng.uniform(0.65, 1.0), wavelength, course, middle)
    cut = _trough(rng, main, half)
    if rng.uniform() < 0.35:
        upstream = course + rng.choice([-1.0, 1.0]) * rng.uniform(40.0, 100.0)
        branch = base.winding_path(rng, side, 0.4, wavelength, upstream, middle, start=0.0)
        cut = np.maximum(cut, 0.8 * _trough(rng, branch, 0.6 * half))
    wall = rng.uniform(0.5, 0.8) * half
    depth = rng.uniform(0.45, 0.75) * wall
    height = base.plain(rng, side)
    # The floor is smoother than the plain, or filled with ripples.
    height = height * (1.0 - 0.6 * cut) - depth * cut
    if rng.uniform() < 0.3:
        phase, _ = base.wave_train(rng, side, rng.uniform(3.5, 5.0), rng.uniform(0, 360), 25, 0.2)
        height += 0.35 * np.sin(2.0 * np.pi * phase) * terrain.smoothstep(cut, 0.8, 1.0)
    albedo = base.soil(rng, side) * (1.0 + rng.uniform(-0.12, 0.12) * cut)
    return Site(height, albedo, cut)


def _trough(rng: Generator, path: base.Path, half: float) -> Field:
    """Depth of a flat-floored trough in [0, 1] along a path, from its half width in pixels."""
    width = half * (1.0 + rng.uniform(0.05, 0.2) * np.clip(path.bend, -2.0, 2.0))
    floor = rng.uniform(0.25, 0.55)
    return terrain.blur(1.0 - terrain.smoothstep(np.abs(path.aside) / width, floor, 1.15), 0.6)


# --- cliff -----------------------------------------------------------------------------------


def cliff(rng: Generator, side: int, light: Light) -> Site:
    """Scarp across the view, in shadow or in the sun, between high and low ground."""
    towards = light.azimuth_deg + (180.0 if rng.uniform() < 0.5 else 0.0)
    downhill = towards + rng.uniform(-50.0, 50.0)
    winding = rng.uniform(0.02, 0.07) * terrain.fractal(rng, side, 3.4, shortest=0.04 * side)
    notched = rng.uniform(0.003, 0.016) * terrain.fractal(
        rng, side, 2.4, longest=0.3 * side, shortest=0.03 * side
    )
    down = terrain.along(side, downhill) / side + winding + notched + rng.uniform(-0.16, 0.16)
    width = rng.uniform(0.08, 0.18)
    t = down / width + 0.5
    drop = rng.uniform(0.5, 0.8) * width * side
    # A steep face, then flattening talus.
    face = 0.7 * np.clip(t / 0.6, 0.0, 1.0) + 0.3 * terrain.smoothstep(t, 0.4, 1.6)
    if rng.uniform() < 0.5:
        layers = rng.uniform(2.0, 4.0)
        face += 0.45 * np.sin(2.0 * np.pi * layers * face) / (2.0 * np.pi * layers)
    wall = terrain.smoothstep(t, -0.15, 0.1) * (1.0 - terrain.smoothstep(t, 0.8, 1.5))
    low = terrain.smoothstep(t, 0.7, 1.3)
    height = base.plain(rng, side) - terrain.blur(drop * face, 0.5)
    debris = rng.uniform(0.0, 0.14) * np.exp(-np.maximum(t - 0.8, 0.0) / 1.5) * low
    height += debris * terrain.fractal(rng, side, 1.4)
    # High and low ground differ in age, so in roughness and tone.
    rougher = low if rng.uniform() < 0.5 else 1.0 - low
    height += rougher * base.steepened(terrain.fractal(rng, side, 2.6), rng.uniform(0.02, 0.14))
    albedo = base.soil(rng, side) * (1.0 + rng.uniform(-0.15, 0.15) * wall)
    albedo *= 1.0 + rng.choice([-1.0, 1.0]) * rng.uniform(0.02, 0.12) * low
    return Site(height, albedo, wall)


# --- mounds ----------------------------------------------------------------------------------


def mounds(rng: Generator, side: int, light: Light) -> Site:
    """Rounded knobs standing apart on a plain."""
    largest = rng.uniform(0.07, 0.16)
    wanted = int(rng.uniform(0.18, 0.34) / (largest * largest * 2.2)) + 2
    places: list[tuple[float, float, float]] = []
    for _ in range(6 * wanted):
        x, y = rng.uniform(0.02, 0.98, 2)
        radius = largest * rng.uniform(0.3, 1.0)
        if all(np.hypot(x - u, y - v) > 1.15 * (radius + r) for u, v, r in places):
            places.append((float(x), float(y), float(radius)))
        if len(places) == wanted:
            break
    warp = rng.uniform(0.06, 0.16) * largest * side
    u, v = (
        axis + warp * terrain.fractal(rng, side, 2.6, shortest=0.9 * largest * side)
        for axis in terrain.coordinates(side)
    )
    domes = np.zeros((side, side))
    power = rng.uniform(1.2, 2.0)
    steep = rng.uniform(0.4, 0.6)
    for x, y, radius in places:
        longer = np.exp(rng.normal(0.0, 0.15))
        dx, dy = (u - x * side) * longer, (v + y * side) / longer
        rho = (dx * dx + dy * dy) / (radius * side) ** 2
        dome = np.maximum(1.0 - rho, 0.0) ** power
        np.maximum(domes, steep * rng.uniform(0.7, 1.1) * radius * side * dome, out=domes)
    knobs = terrain.smoothstep(domes, 0.2, 1.2)
    height = base.plain(rng, side, pitted=0.15) + terrain.blur(domes, 0.7)
    height += rng.uniform(0.03, 0.14) * knobs * terrain.fractal(rng, side, 1.8)
    albedo = base.soil(rng, side) * (1.0 + rng.uniform(-0.12, 0.12) * knobs)
    return Site(height, albedo, knobs)


# --- ridge -----------------------------------------------------------------------------------


def ridge(rng: Generator, side: int, light: Light) -> Site:
    """Narrow crest across the view: a wrinkle ridge, or a sharp crest with spurs."""
    # A crest that points at the sun has no shaded side.
    course = light.azimuth_deg + 90.0 + rng.uniform(-60.0, 60.0)
    swing, wavelength = rng.uniform(0.06, 0.2), rng.uniform(0.4, 1.0) * side
    path = base.winding_path(rng, side, swing, wavelength, course, base.near_middle(rng, side))
    rise = 1.0 + 0.25 * np.clip(path.bend, -2.0, 2.0)
    if rng.uniform() < 0.6:
        arch_width = rng.uniform(0.08, 0.16) * side
        lean = rng.uniform(0.5, 1.0)
        side_width = np.where(path.aside > 0, arch_width, lean * arch_width)
        arch = np.maximum(1.0 - (path.aside / side_width) ** 2, 0.0) ** 1.3
        wrinkles = terrain.fractal(rng, side, 2.4, longest=0.3 * side, shortest=0.05 * side)
        wander = rng.uniform(0.15, 0.35) * arch_width * path.bend + 0.012 * side * wrinkles
        crest_width = rng.uniform(0.025, 0.045) * side
        crest = np.maximum(1.0 - np.abs(path.aside - wander) / crest_width, 0.0)
        relief = rng.uniform(0.08, 0.17) * arch_width * arch
        relief += rng.uniform(0.5, 0.75) * crest_width * rise * crest
    else:
        width = rng.uniform(0.045, 0.085) * side
        spurs = terrain.fractal(rng, side, 2.6, longest=2.5 * width, shortest=0.5 * width)
        flank = np.abs(path.aside) / (width * np.clip(rise, 0.5, 1.5)) * (1.0 + 0.2 * spurs)
        crest = np.maximum(1.0 - flank, 0.0) ** rng.uniform(0.9, 1.3)
        relief = rng.uniform(0.5, 0.75) * width * crest
    raised = terrain.smoothstep(relief, 0.05 * relief.max(), 0.4 * relief.max())
    height = base.plain(rng, side) + terrain.blur(relief, 0.6)
    height += rng.uniform(0.02, 0.1) * raised * terrain.fractal(rng, side, 1.8)
    albedo = base.soil(rng, side) * (1.0 + rng.uniform(-0.08, 0.08) * raised)
    return Site(height, albedo, raised)


# --- craters ---------------------------------------------------------------------------------


def crater(rng: Generator, side: int, light: Light) -> Site:
    """Crater filling much of the view: fresh, flat-floored or worn."""
    radius = rng.uniform(0.25, 0.44) * side
    east, south = ((side - 1) / 2 + rng.uniform(-0.12, 0.12, 2) * side).tolist()
    freshness = rng.uniform(0.45, 0.95)
    relief = terrain.crater(side, east, south, radius, freshness=freshness)
    rho = np.hypot(*terrain.offsets(side, east, south)) / radius
    if rng.uniform() < 0.6:
        # Fill: dust and slumps level the bowl; larger craters keep a peak in it.
        level = rng.uniform(0.4, 0.8) * float(relief.min())
        relief = level + np.logaddexp(0.0, 2.5 * (relief - level)) / 2.5
        if rng.uniform() < 0.3:
            relief += 0.12 * radius * np.exp(-((rho / rng.uniform(0.1, 0.2)) ** 2))
    relief = _warped(rng, relief, rng.uniform(0.02, 0.07) * radius, 0.5 * radius)
    wall = terrain.smoothstep(rho, 0.35, 0.7) * (1.0 - terrain.smoothstep(rho, 1.1, 1.6))
    slumps = terrain.fractal(rng, side, 2.6, longest=0.5 * radius)
    height = base.plain(rng, side) + relief + rng.uniform(0.003, 0.012) * radius * wall * slumps
    inside = 1.0 - terrain.smoothstep(rho, 0.9, 1.1)
    albedo = base.soil(rng, side) * (1.0 + rng.uniform(-0.1, 0.1) * inside)
    return Site(height, albedo, inside)


def crater_field(rng: Generator, side: int, light: Light) -> Site:
    """Many small craters."""
    count, smallest = int(rng.integers(24, 50)), rng.uniform(0.02, 0.03) * side
    relief, inside = base.small_craters(
        rng, side, count, smallest, 0.1 * side, rng.uniform(0.35, 0.8)
    )
    height = base.plain(rng, side, pitted=0.0) + relief
    return Site(height, base.soil(rng, side), inside)


def _warped(rng: Generator, field: Field, amount: float, scale: float) -> Field:
    """Displace a field by some pixels, varying over a ``scale``."""
    side = field.shape[0]
    south, east = np.mgrid[0:side, 0:side].astype(np.float64)
    shifts = [amount * terrain.fractal(rng, side, 2.4, shortest=scale) for _ in range(2)]
    moved: Field = ndimage.map_coordinates(
        field, [south + shifts[0], east + shifts[1]], order=1, mode="nearest"
    )
    return moved
