"""Grey ground for ``surface_multi_label_cls``: soil and rock, with their features and prints.

Every function draws one thing and nothing else, so that a picture shows exactly its labels.
Textures are drawn from above as plans that wrap around, lit, and projected; prints in the soil and
marks on rock are drawn in the picture, as functions of the position on the ground. Light is
linear and grey; ground in full sun sends about 0.3.

Rocks differ in form: an outcrop is slabs between joints; a close-up is facets and grain without
joints; a float rock is angular and casts a shadow; linear features are parallel beds or straight
veins; round features are hollows or nodules several times as wide as spherules, which are all
alike, round and dark. Squyres et al. 2004, https://doi.org/10.1126/science.1104559, show the
spherules and the outcrop of Eagle crater.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from scipy import ndimage

from marsbench.demo.art import terrain
from marsbench.demo.art.terrain import Field
from marsbench.demo.rover import ground
from marsbench.demo.rover.ground import Frame, Sun, View

SKY = 0.28
"""Light from the dusty sky as a share of the sun's."""

Relief = Callable[[Field, Field], Field]
"""Height in pixels as a function of the position on the ground: to the right and ahead."""


@dataclass(frozen=True)
class GreyPlan:
    """Piece of ground from above.

    Attributes:
        height: Elevation in pixels, (n, n).
        albedo: Share of the light reflected, (n, n).
    """

    height: Field
    albedo: Field


# --- views -----------------------------------------------------------------------------------


def frame(rng: Generator, side: int, horizon: float, stretch: float) -> Frame:
    """View of the ground.

    Args:
        horizon: Row of the horizon in sides from the top; negative if above the picture.
        stretch: Foreshortening of the ground at the bottom edge.
    """
    view = View(horizon, stretch, float(rng.normal(0.0, 0.02)) if horizon > 0 else 0.0)
    # Pictures are mostly taken with the sun behind the camera or beside it.
    sun = Sun(float(rng.uniform(80.0, 280.0)), float(rng.uniform(28.0, 55.0)))
    return ground.framed(view, sun, side)


def from_above(rng: Generator, side: int) -> Frame:
    """View down, hardly foreshortened."""
    return frame(rng, side, -float(rng.uniform(4.0, 12.0)), float(rng.uniform(1.0, 1.3)))


def from_mast(rng: Generator, side: int) -> Frame:
    """View of ground some metres away."""
    return frame(rng, side, -float(rng.uniform(0.6, 1.8)), float(rng.uniform(1.1, 1.7)))


def on_ground(frame: Frame, row: float, column: float) -> tuple[float, float]:
    """Position on the ground of a picture's pixel, to the right and ahead in pixels."""
    return float(frame.x[int(row), int(column)]), float(frame.y[int(row), int(column)])


def project(light: Field, frame: Frame) -> Field:
    """Project an endlessly repeated plan into perspective: light, (side, side)."""
    n = light.shape[0]
    footprint = frame.depth * np.sqrt(frame.view.stretch * frame.depth)
    level = np.clip(np.log2(footprint / 1.4), 0.0, 3.0)
    levels = [light]
    for k in range(int(np.ceil(level.max()))):
        levels.append(ndimage.gaussian_filter(light, 0.8 * 2.0**k, mode="wrap", truncate=2.5))
    return ground.look_up(levels, level, n - 1 - frame.y, n / 2 + frame.x)


def lit(plan: GreyPlan, sun: Sun) -> Field:
    """Light reflected by a plan, (n, n)."""
    return plan.albedo * (ground.shade(plan.height, sun) + SKY)


def press(picture: Field, frame: Frame, relief: Relief) -> None:
    """Shade a picture of ground by a relief pressed into it, in place."""
    step = 0.7 * frame.depth
    right = (relief(frame.x + step, frame.y) - relief(frame.x - step, frame.y)) / (2.0 * step)
    ahead = (relief(frame.x, frame.y + step) - relief(frame.x, frame.y - step)) / (2.0 * step)
    x, y = terrain.direction(frame.sun.azimuth_deg)
    # Real pictures of prints show them even under a high sun.
    elevation = np.deg2rad(min(frame.sun.elevation_deg, 42.0))
    towards = np.sin(elevation) - np.cos(elevation) * (right * x + ahead * y)
    shaded = np.maximum(towards, 0.0) / np.sqrt(1.0 + right * right + ahead * ahead)
    picture *= (shaded / np.sin(elevation) + SKY) / (1.0 + SKY)


# --- plans -----------------------------------------------------------------------------------


def soil(rng: Generator, n: int) -> GreyPlan:
    """Fine-grained soil, smooth but for crumbs."""
    rolling = ground.noise(rng, n, 3.6)
    height = rng.uniform(0.05, 0.12) * ground.noise(rng, n, rng.uniform(1.4, 2.0))
    height += rng.uniform(0.004, 0.012) * n * rolling
    return GreyPlan(height, rng.uniform(0.22, 0.3) * (1.0 + rng.uniform(0.02, 0.06) * rolling))


def bedrock(rng: Generator, n: int, *, sandy: bool) -> tuple[GreyPlan, Field]:
    """Slabs between joints, with or without sand in the low parts.

    Args:
        sandy: Whether sand fills the joints and covers part of the slabs.

    Returns:
        The plan, and the share of bare rock, (n, n).
    """
    cell = rng.uniform(0.2, 0.36) * n
    cracks, blocks = ground.fractured(rng, n, cell)
    texture = ground.noise(rng, n, rng.uniform(1.6, 2.2))
    level = rng.uniform(0.04, 0.07) * cell * blocks - rng.uniform(0.12, 0.18) * cell * cracks
    rock = level + rng.uniform(0.15, 0.3) * texture
    tone = rng.uniform(0.28, 0.38)
    albedo = tone * (1.0 + 0.07 * texture + 0.08 * blocks) * (1.0 - 0.55 * cracks**2)
    if not sandy:
        return GreyPlan(rock, np.maximum(albedo, 0.02)), np.ones((n, n))
    drift = level + 0.03 * cell * ground.noise(rng, n, 3.0, longest=2.0 * cell)
    filled = float(np.quantile(drift, rng.uniform(0.3, 0.6)))
    bare = terrain.smoothstep(drift, filled - 0.4, filled + 0.4)
    sand = filled + 0.1 * ground.noise(rng, n, 1.6)
    fill = tone * (rng.uniform(0.5, 0.72) if rng.uniform() < 0.7 else rng.uniform(1.25, 1.5))
    return GreyPlan(sand + (rock - sand) * bare, fill + (albedo - fill) * bare), bare


def close_up(rng: Generator, n: int) -> GreyPlan:
    """Rock filling the view: a few broad facets with grain and pits all over."""
    facets = np.full((n, n), np.inf)
    for _ in range(int(rng.integers(3, 7))):
        tilt = rng.uniform(0.2, 0.7) * terrain.along(n, float(rng.uniform(0.0, 360.0)))
        facets = np.minimum(facets, tilt + rng.normal(0.0, 0.05) * n)
    facets = 0.8 * facets + 0.012 * n * ground.noise(rng, n, 3.2)
    grain = ground.noise(rng, n, rng.uniform(0.6, 1.5), longest=0.12 * n, shortest=1.5)
    pits = np.minimum(grain + 0.8, 0.0)
    height = facets + rng.uniform(0.15, 0.4) * grain + rng.uniform(0.2, 0.9) * pits
    speckle = ground.noise(rng, n, 1.0, longest=0.1 * n)
    return GreyPlan(height, rng.uniform(0.26, 0.36) * np.clip(1.0 + 0.12 * speckle, 0.3, 1.7))


def rippled(rng: Generator, plan: GreyPlan) -> GreyPlan:
    """Wind ripples all over a plan."""
    n = plan.height.shape[0]
    wavelength = rng.uniform(0.11, 0.19) * n
    crest = (0.5 + 0.5 * ground.waves(rng, n, wavelength)) ** 1.5
    height = plan.height + rng.uniform(0.15, 0.22) * wavelength * crest
    tone = 1.0 + rng.uniform(-0.12, 0.2) * crest
    return GreyPlan(height, plan.albedo * tone)


def with_clasts(rng: Generator, plan: GreyPlan) -> GreyPlan:
    """Angular fragments of all sizes strewn over a plan."""
    n = plan.height.shape[0]
    count = int(rng.integers(60, 95))
    height, cover = ground.clasts(rng, n, count, 0.024 * n, 0.07 * n)
    tone = rng.uniform(1.35, 1.75)
    stones = plan.albedo.mean() * tone * (1.0 + 0.12 * ground.noise(rng, n, 1.2))
    return GreyPlan(
        plan.height + 1.3 * height, plan.albedo + (np.maximum(stones, 0.03) - plan.albedo) * cover
    )


def with_spherules(rng: Generator, plan: GreyPlan) -> GreyPlan:
    """Round grains of nearly one size, loose or set in rock."""
    n = plan.height.shape[0]
    radius = rng.uniform(0.016, 0.022) * n
    count = int(rng.uniform(0.16, 0.28) * n * n / (np.pi * radius * radius))
    # Spherules gather here and there.
    chance = np.exp(0.7 * ground.noise(rng, n, 2.6)).ravel()
    places = rng.choice(n * n, count, p=chance / chance.sum())
    radii = radius * rng.uniform(0.85, 1.15, count)[:, None, None]
    reach = int(1.2 * radius) + 2
    offset = np.arange(-reach, reach + 1)
    rho = np.hypot(offset[None, :, None], offset[None, None, :]) / radii
    dome = radii * np.sqrt(np.clip(1.0 - rho * rho, 0.0, 1.0))
    opaque = np.clip((1.0 - rho) * radii + 0.5, 0.0, 1.0)
    rows = (places // n)[:, None, None] + offset[None, :, None]
    columns = (places % n)[:, None, None] + offset[None, None, :]
    rows, columns = np.broadcast_arrays(rows % n, columns % n)
    height, cover = np.zeros((n, n)), np.zeros((n, n))
    np.maximum.at(height, (rows, columns), 1.1 * dome)
    np.maximum.at(cover, (rows, columns), opaque)
    tone = plan.albedo.mean() * rng.uniform(0.22, 0.36)
    return GreyPlan(
        plan.height * (1.0 - cover) + terrain.blur(plan.height, 2.0) * cover + height,
        plan.albedo + (tone - plan.albedo) * cover,
    )


def with_lines(rng: Generator, plan: GreyPlan, bare: Field) -> GreyPlan:
    """Parallel beds, or straight veins or fractures, in the bare rock of a plan."""
    n = plan.height.shape[0]
    azimuth = float(rng.uniform(0.0, 180.0))
    bend = ground.noise(rng, n, 3.4, shortest=0.2 * n)
    if rng.uniform() < 0.75:
        spacing = rng.uniform(0.045, 0.07) * n
        phase = terrain.along(n, azimuth) / spacing + rng.uniform(0.1, 0.35) * bend
        # Beds differ in thickness and hardness.
        phase = phase + 0.12 * np.sin(phase) + 0.2 * np.sin(0.37 * phase + rng.uniform(0.0, 6.3))
        bed = terrain.smoothstep(np.sin(2.0 * np.pi * phase), -0.5, 0.5)
        height = plan.height + rng.uniform(0.16, 0.26) * spacing * bed * bare
        return GreyPlan(height, plan.albedo * (1.0 + bare * rng.uniform(0.45, 0.75) * (bed - 0.5)))
    raised = rng.uniform() < 0.6
    height, albedo = plan.height.copy(), plan.albedo.copy()
    for _ in range(int(rng.integers(3, 7))):
        across = terrain.along(n, azimuth + float(rng.normal(0.0, 9.0)))
        across = across - rng.uniform(-0.5, 0.5) * n + 0.008 * n * bend
        line = np.exp(-((across / rng.uniform(0.009, 0.016) / n) ** 2)) * bare
        height += (0.9 if raised else -1.6) * line
        albedo *= 1.0 + (1.3 if raised else -0.6) * line
    return GreyPlan(height, albedo)


def with_round_forms(rng: Generator, plan: GreyPlan, bare: Field) -> GreyPlan:
    """Hollows or nodules of several sizes in the bare rock of a plan."""
    n = plan.height.shape[0]
    east, north = terrain.coordinates(n)
    sign = 1.0 if rng.uniform() < 0.2 else -1.0
    bumps = np.zeros((n, n))
    for _ in range(int(rng.integers(12, 20))):
        radius = rng.uniform(0.055, 0.1) * n
        # Shortest way round, since plans wrap around.
        x = (east - rng.uniform(0.0, n) + n / 2) % n - n / 2
        y = (north + rng.uniform(0.0, n) + n / 2) % n - n / 2
        rho = np.hypot(x, y * rng.uniform(0.8, 1.2)) / radius
        np.maximum(bumps, 0.75 * radius * np.sqrt(np.clip(1.0 - rho * rho, 0.0, 1.0)), out=bumps)
    cover = bare * np.clip(bumps, 0.0, 1.0)
    smooth = terrain.blur(plan.height, 1.5)
    height = plan.height + (smooth - plan.height) * cover + sign * bumps * bare
    return GreyPlan(height, plan.albedo * (1.0 - (0.45 if sign < 0 else -0.2) * cover))


# --- prints and marks ------------------------------------------------------------------------


def tracks(rng: Generator, picture: Field, frame: Frame) -> Field:
    """Press one or two wheel tracks with their cleats into soil, in place.

    Returns:
        Share of every pixel inside a track, (side, side).
    """
    side = picture.shape[0]
    angle = float(rng.uniform(-45.0, 45.0))
    width = rng.uniform(0.11, 0.16) * side
    x0, y0 = on_ground(frame, 0.7 * side, rng.uniform(0.3, 0.7) * side)
    gauge = width * rng.uniform(1.5, 2.4)
    centres = (0.0,) if rng.uniform() < 0.4 else (-gauge, gauge)
    curve = rng.uniform(-0.3, 0.3) / side / 3.0
    spacing, phase = width * rng.uniform(0.5, 0.62), rng.uniform(0.0, 6.3, 2)
    right, forward = terrain.direction(angle)

    def off(x: Field, y: Field) -> tuple[Field, Field]:
        ahead = (x - x0) * right + (y - y0) * forward
        aside = (x - x0) * forward - (y - y0) * right
        return ahead, aside + curve * np.clip(ahead, -2.0 * side, 2.0 * side) ** 2

    def relief(x: Field, y: Field) -> Field:
        ahead, aside = off(x, y)
        height = np.zeros_like(x)
        for centre, start in zip(centres, phase, strict=False):
            t = np.abs(aside - centre) / width
            inside = 1.0 - terrain.smoothstep(t, 0.8, 1.05)
            cleats = np.clip(1.5 * np.sin(2.0 * np.pi * ahead / spacing + start), -1.0, 1.0)
            bank = np.exp(-(((t - 1.15) / 0.2) ** 2))
            height += width * ((-0.16 + 0.12 * cleats) * inside + 0.1 * bank)
        return height

    press(picture, frame, relief)
    _ahead, aside = off(frame.x, frame.y)
    inside = np.zeros_like(picture)
    for centre in centres:
        t = np.abs(aside - centre) / width
        np.maximum(inside, 1.0 - terrain.smoothstep(t, 0.85, 1.1), out=inside)
    picture *= 1.0 - rng.uniform(0.35, 0.5) * inside
    return inside


def trench(rng: Generator, picture: Field, frame: Frame) -> Field:
    """Dig a furrow with heaps beside it into soil, in place.

    Returns:
        Share of dug-up soil in every pixel, (side, side).
    """
    side = picture.shape[0]
    row, column = rng.uniform(0.4, 0.6, 2) * side
    x0, y0 = on_ground(frame, row, column)
    scale = float(frame.depth[int(row), int(column)]) * side
    right, forward = terrain.direction(float(rng.uniform(0.0, 360.0)))
    half, width = rng.uniform(0.28, 0.4) * scale, rng.uniform(0.11, 0.15) * scale
    spacing = 0.6 * width
    bumpy = ground.noise(rng, side, 2.2, longest=0.25 * side)
    ragged = 0.12 * terrain.blur(bumpy, 1.0)
    scraped = rng.uniform(0.0, 0.06)

    def places(x: Field, y: Field) -> tuple[Field, Field]:
        ahead = (x - x0) * right + (y - y0) * forward
        aside = (x - x0) * forward - (y - y0) * right
        # From the middle line of a bar with round ends: 1 at its edge.
        return ahead, np.hypot(np.maximum(np.abs(ahead) - half, 0.0), aside) / width + ragged

    def relief(x: Field, y: Field) -> Field:
        ahead, gap = places(x, y)
        floor = 1.0 - terrain.smoothstep(gap, 0.35, 1.0)
        heap = np.exp(-(((gap - 1.35) / 0.3) ** 2))
        scrapes = scraped * np.sin(2.0 * np.pi * ahead / spacing) * floor
        height: Field = width * (-0.85 * floor + 0.35 * heap + scrapes)
        return height

    press(picture, frame, relief)
    _ahead, gap = places(frame.x, frame.y)
    heaped = terrain.smoothstep(gap, 0.9, 1.1) * (1.0 - terrain.smoothstep(gap, 1.5, 2.1))
    picture *= 1.0 - 0.6 * (1.0 - terrain.smoothstep(gap, 0.5, 1.0))
    picture *= 1.0 + 0.18 * bumpy * heaped
    return heaped


def bright_soil(rng: Generator, picture: Field, frame: Frame, where: Field | None) -> None:
    """Churn up bright, cloddy soil, in place: in patches, or along ``where`` if given."""
    side = picture.shape[0]
    patchy = ground.noise(rng, side, 2.6, longest=0.6 * side)
    if where is None:
        row, column = rng.uniform(0.3, 0.7, 2) * side
        east, north = terrain.coordinates(side)
        gap = np.hypot((east - column) / rng.uniform(0.34, 0.5), (north + row) / 0.32) / side
        share = terrain.smoothstep(1.0 - gap + 0.3 * patchy, 0.0, 0.25)
    else:
        share = where * terrain.smoothstep(patchy, -0.9, -0.4)
    clods = ground.noise(rng, side, 2.0, longest=0.12 * side)
    level = float(np.median(picture)) * rng.uniform(2.0, 2.7)
    x, y = terrain.direction(frame.sun.azimuth_deg)
    slopes = np.gradient(clods)
    light = 1.0 + 0.22 * (slopes[0] * y - slopes[1] * x)
    # Prints below still show through their shading.
    shading = picture / np.maximum(terrain.blur(picture, 0.05 * side), 1e-6)
    picture += (level * light * np.clip(shading, 0.5, 1.3) - picture) * share


def abraded(rng: Generator, picture: Field, frame: Frame, row: float, column: float) -> None:
    """Grind a shallow round hole with a flat floor into rock, in place."""
    side = picture.shape[0]
    radius = rng.uniform(0.15, 0.22) * side
    x0, y0 = on_ground(frame, row, column)
    rho = np.hypot(frame.x - x0, frame.y - y0) / radius
    level = float(np.median(picture))
    # Cuttings lie around it, thinner here and thicker there.
    patchy = ground.noise(rng, side, 2.4, longest=0.3 * side)
    cuttings = 1.0 - terrain.smoothstep(rho + 0.1 * patchy, 1.12, rng.uniform(1.45, 1.65))
    powder = rng.uniform(1.4, 1.65) * level * (1.0 + 0.06 * patchy)
    picture += (powder - picture) * rng.uniform(0.75, 0.95) * cuttings
    floor = 1.0 - terrain.smoothstep((rho - 1.0) * radius, -0.8, 0.8)
    marks = 1.0 + 0.035 * np.sin(rng.uniform(22.0, 30.0) * rho + rng.uniform(0.0, 6.3))
    picture += (rng.uniform(1.05, 1.18) * level * marks - picture) * 0.9 * floor
    deep = rng.uniform(0.2, 0.28)

    def relief(x: Field, y: Field) -> Field:
        out = np.hypot(x - x0, y - y0) / radius
        height: Field = -deep * radius * (1.0 - terrain.smoothstep(out, 0.84, 1.0))
        return height

    # The far wall is lit, the one towards the sun throws its shadow on the floor.
    press(picture, frame, relief)
    x, y = terrain.direction(frame.sun.azimuth_deg)
    facing = -((frame.x - x0) * x + (frame.y - y0) * y) / radius
    wall = floor * terrain.smoothstep(rho, 0.84, 0.94) * terrain.smoothstep(facing, 0.3, 0.8)
    picture *= 1.0 + 0.3 * wall
    shift = deep / np.tan(np.deg2rad(min(frame.sun.elevation_deg, 42.0))) * radius
    moved = np.hypot(frame.x - x0 + shift * x, frame.y - y0 + shift * y) / radius
    shadow = floor * terrain.smoothstep((moved - 1.0) * radius, -0.8, 0.8)
    np.minimum(picture, picture + (0.25 * level - picture) * shadow, out=picture)


def brushed(rng: Generator, picture: Field, frame: Frame, row: float, column: float) -> None:
    """Sweep a round patch, or a rosette of them, clean of dust, in place."""
    side = picture.shape[0]
    x0, y0 = on_ground(frame, row, column)
    radius = rng.uniform(0.17, 0.24) * side
    centres = [(0.0, 0.0)]
    if rng.uniform() < 0.35:
        count = int(rng.integers(3, 7))
        turn = rng.uniform(0.0, 6.3) + 2.0 * np.pi / count * np.arange(count)
        centres += [(0.75 * radius * np.cos(a), 0.75 * radius * np.sin(a)) for a in turn]
        radius *= 0.7
    share = np.zeros_like(picture)
    for dx, dy in centres:
        rho = np.hypot(frame.x - x0 - dx, frame.y - y0 - dy) / radius
        np.maximum(share, 1.0 - terrain.smoothstep(rho, 0.88, 1.08), out=share)
    grain = picture / np.maximum(terrain.blur(picture, 0.06 * side), 1e-6)
    level = float(np.median(picture)) * rng.uniform(0.25, 0.38)
    picture += (level * grain - picture) * 0.95 * share
