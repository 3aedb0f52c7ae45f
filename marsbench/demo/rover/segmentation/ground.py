"""Ground for the rover segmentation tasks: the kind of every pixel, and its light.

Soil and bedrock are drawn from above as plans that wrap around, lit, and looked up in
perspective. Distances are compressed a little, so that a plan repeats less often before the
horizon. One field decides which pixels are bedrock, for the blending of the light and for the
mask; tracks and holes likewise.

Soil and rock differ in form, since either may be the brighter one: soil is grainy, rippled or
strewn with gravel; bedrock is smooth slabs between dark joints or thin parallel beds, with edges
along the joints.
"""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy import ndimage

from marsbench.demo.art import terrain
from marsbench.demo.art.terrain import Field
from marsbench.demo.rover import ground
from marsbench.demo.rover.ground import SKYLIGHT, Colour, Frame, Picture, Sun, View

PLAN = 112
"""Side of the plans in pixels: about as fine as a picture of 128 px."""


class Kind(IntEnum):
    """Kind of surface in a pixel, in any of the tasks."""

    NOTHING = 0
    BEDROCK = 1
    SOIL = 2
    ROCK = 3
    TRACK = 4
    HOLE = 5
    SKY = 6
    RIDGE = 7
    ROVER = 8


Kinds = NDArray[np.uint8]
"""A `Kind` for every pixel, (side, side)."""

Places = tuple[Field, Field, Field]
"""Row, column and level of blur in a plan for every pixel, each (side, side)."""


@dataclass(frozen=True)
class Surface:
    """Scene under construction, changed in place.

    Attributes:
        light: Linear light, (side, side, 3).
        kind: Kind of every pixel, (side, side).
        shadow: Share of the direct light blocked, (side, side).
    """

    light: Picture
    kind: Kinds
    shadow: Field


def frame(rng: Generator, side: int, sun: Sun, *, sky: bool) -> Frame:
    """View of the ground, up to the horizon or below.

    Args:
        sky: Whether the horizon is in view.
    """
    if sky:
        view = View(
            float(rng.uniform(0.12, 0.42)),
            float(rng.uniform(1.3, 2.4)),
            float(np.clip(rng.normal(0.0, 0.03), -0.08, 0.08)),
        )
    else:
        view = View(-float(rng.uniform(0.15, 1.6)), float(rng.uniform(1.1, 1.7)))
    return ground.framed(view, sun, side)


# --- looking into plans ----------------------------------------------------------------------


def places(frame: Frame, n: int, zoom: float, compress: float, elongate: float = 1.0) -> Places:
    """Places in a plan looked up by every pixel.

    Args:
        zoom: Pixels of plan per pixel of picture at the bottom edge.
        compress: 0 for true perspective; towards 1 the far ground is drawn ever coarser.
        elongate: Length over width, on the ground, of round things of the plan.
    """
    power = 1.0 - compress
    grown = frame.depth**power
    # Measured from the middle of the picture; the bottom edge is row n of the plan.
    column = n / 2 + zoom * frame.x / frame.depth * grown
    stretch = frame.view.stretch
    ahead = stretch * (1.0 - frame.view.horizon) * frame.side * (grown - 1.0) / power / elongate
    footprint = zoom * grown * np.sqrt(stretch * frame.depth)
    return n - 1 - zoom * ahead, column, np.clip(np.log2(footprint / 1.3), 0.0, 2.0)


def look(plan: Field, where: Places) -> Field:
    """Project an endlessly repeated plan into perspective, (side, side)."""
    levels = [plan]
    for sigma in (1.0, 2.2):
        levels.append(ndimage.gaussian_filter(plan, sigma, mode="wrap", truncate=2.0))
    return ground.look_up(levels, where[2], where[0], where[1])


# --- materials -------------------------------------------------------------------------------


def soil(rng: Generator, n: int, sun: Sun, *, ripples: bool) -> Field:
    """Grainy, gravelly or rippled ground from above: its light in full sun, (n, n)."""
    texture = ground.noise(rng, n, rng.uniform(1.0, 2.0))
    height = rng.uniform(0.16, 0.34) * texture
    rolling = ground.noise(rng, n, 3.4)
    height += rng.uniform(0.004, 0.012) * n * rolling
    tone = 1.0 + 0.05 * rolling + rng.uniform(0.03, 0.08) * texture
    style = rng.uniform()
    if style < 0.3 and ripples:
        wavelength = rng.uniform(0.07, 0.15) * n
        crest = (0.5 + 0.5 * ground.waves(rng, n, wavelength)) ** 1.4
        height += rng.uniform(0.13, 0.2) * wavelength * crest
        tone = tone * (1.0 + rng.uniform(-0.12, 0.15) * crest)
    elif style < 0.7:
        grains = ground.noise(rng, n, 0.8, longest=9.0, shortest=2.2)
        gravel = terrain.smoothstep(grains, rng.uniform(0.7, 1.3), 2.1)
        height += rng.uniform(1.0, 1.8) * gravel
        tone = tone * (1.0 + rng.uniform(-0.3, 0.35) * gravel)
    lit: Field = tone * ground.shade(height, sun)
    return lit


def bedrock(rng: Generator, n: int, sun: Sun, *, beds: bool) -> tuple[Field, Field]:
    """Slabs between joints, with or without beds, from above.

    Args:
        beds: Whether the edges of thin, parallel beds show.

    Returns:
        Light in full sun, and the level of the slabs, of about unit variance, each (n, n).
    """
    cell = rng.uniform(0.17, 0.36) * n
    joints, blocks = ground.fractured(rng, n, cell)
    # Narrow, or the slabs would look like cobbles.
    cracks = terrain.smoothstep(joints, rng.uniform(0.3, 0.6), 1.0)
    texture = ground.noise(rng, n, rng.uniform(1.8, 2.6))
    height = rng.uniform(0.02, 0.05) * cell * blocks - rng.uniform(0.06, 0.11) * cell * cracks
    height += rng.uniform(0.06, 0.16) * texture
    tone = 1.0 + rng.uniform(0.05, 0.12) * blocks + 0.03 * texture
    if beds:
        count = int(rng.integers(7, 13))
        across = rng.integers(-3, 4)
        east, north = terrain.coordinates(n)
        bend = ground.noise(rng, n, 3.4, shortest=0.12 * n)
        phase = (across * east + count * north) / n + rng.uniform(0.2, 0.5) * bend
        bed = phase - np.floor(phase)
        # Every bed ends in a lit or shaded ledge, and has its own tone.
        height += rng.uniform(0.14, 0.24) * n / count * terrain.smoothstep(bed, 0.1, 0.95)
        tones = rng.uniform(-0.14, 0.14, count)
        tone = tone + tones[np.floor(phase).astype(np.int64) % count]
    tone = tone * (1.0 - rng.uniform(0.4, 0.7) * cracks)
    lit: Field = np.maximum(tone, 0.1) * ground.shade(height, sun)
    return lit, blocks


def bare_ground(rng: Generator, frame: Frame, share: float) -> Surface:
    """Soil with patches of bedrock; the light is meaningless above the horizon.

    Args:
        share: Share of the ground that is bedrock, in [0, 1].
    """
    side, n = frame.side, PLAN
    dust = rng.uniform(0.45, 1.0)
    loose = ground.stone_colour(rng, dust) * 1.1
    fine = places(frame, n, n / side, 0.35)
    sky = SKYLIGHT * rng.uniform(0.8, 1.3)
    # Ripples and beds are both parallel lines, so a scene has either or neither.
    beds = bool(share > 0.0 and rng.uniform() < 0.45)
    soft = look(soil(rng, n, frame.sun, ripples=not beds), fine)
    light = loose * (soft[..., None] + sky)
    kind = np.full((side, side), Kind.SOIL, np.uint8)
    if share > 0.0:
        colour = bedrock_colour(rng, loose, dust)
        lit, level = bedrock(rng, n, frame.sun, beds=beds)
        hard = look(lit, fine)
        patches = ground.noise(rng, 64, 3.8, longest=44.0)
        field = look(patches, places(frame, 64, 28.0 / side, 0.65, 2.0))
        # Edges follow the slabs where these are resolved.
        field += 0.3 * look(level, fine) / np.maximum(frame.depth, 1.0)
        seen = field[frame.ground]
        edge = float(np.quantile(seen, 1.0 - share)) if share < 1.0 else float(seen.min()) - 1.0
        bare = terrain.smoothstep(field, edge - 0.12, edge + 0.12)
        # Slabs stand up from the soil: their rims catch the light or shade the ground below.
        x, y = terrain.direction(frame.sun.azimuth_deg)
        south, east = np.gradient(bare)
        rim = np.clip(rng.uniform(0.4, 0.9) * (south * y - east * x), -0.4, 0.4)
        rock = colour * (hard[..., None] + sky)
        light += (rock - light) * bare[..., None]
        light *= (1.0 + rim)[..., None]
        kind[field > edge] = Kind.BEDROCK
    # Far ground loses contrast to the air.
    if frame.view.horizon > 0.0:
        far = np.exp(-np.clip(frame.row - frame.view.horizon, 0.0, None) / 0.06)
        haze = light[frame.ground].mean(0) * rng.uniform(0.9, 1.5)
        light += (haze - light) * (rng.uniform(0.1, 0.4) * far)[..., None]
    return Surface(light, kind, np.zeros((side, side)))


def bedrock_colour(rng: Generator, loose: Colour, dust: float) -> Colour:
    """Reflectance of bedrock beside soil of a colour: often paler, at times darker."""
    less = ground.stone_colour(rng, dust * rng.uniform(0.4, 0.9))
    # Never equally bright, or far bedrock without visible joints could not be recognised.
    sign = 1.0 if rng.uniform() < 0.65 else -1.0
    level = float(loose.mean()) * np.exp(sign * rng.uniform(0.2, 0.5))
    colour: Colour = less * (level / float(less.mean()))
    return colour


# --- tracks and holes ------------------------------------------------------------------------


def tracks(rng: Generator, surface: Surface, frame: Frame) -> None:
    """Press one or two ribbed wheel tracks into the soil, in place; bedrock stays unmarked."""
    side = frame.side
    horizon = max(frame.view.horizon, 0.0)
    row = int((horizon + (1.0 - horizon) * rng.uniform(0.55, 0.95)) * side)
    column = int(rng.uniform(0.25, 0.75) * side)
    width = rng.uniform(0.06, 0.1) * side * float(frame.depth[row, column]) ** 0.5
    spacing = width * rng.uniform(0.55, 0.8)
    gauge = width * rng.uniform(1.8, 3.0)
    centres = (0.0,) if rng.uniform() < 0.4 else (-gauge, gauge)
    s, c = terrain.direction(float(rng.uniform(-42.0, 42.0)))
    bend = rng.uniform(-0.12, 0.12) / side
    slant, chevron = rng.uniform(-0.4, 0.4), rng.choice([0.0, rng.uniform(0.3, 0.8)])
    ragged = 0.04 * ground.noise(rng, side, 2.0)

    def across(x: Field, y: Field) -> tuple[Field, Field]:
        x, y = x - frame.x[row, column], y - frame.y[row, column]
        ahead, aside = c * y + s * x, c * x - s * y
        bow = ahead * ahead / (1.0 + np.abs(ahead) / (2.0 * side))
        aside = aside + bend * bow
        middle = np.where(aside < 0.0, centres[0], centres[-1])
        return ahead, (aside - middle) / width

    def relief(x: Field, y: Field) -> tuple[Field, Field]:
        ahead, off = across(x, y)
        inside = 1.0 - terrain.smoothstep(np.abs(off) + ragged, 0.88, 1.12)
        wave = ahead + width * (slant * off + chevron * np.abs(off))
        rib = np.clip(1.8 * np.sin(2.0 * np.pi * wave / spacing), -1.0, 1.0)
        bank = np.exp(-(((np.abs(off) - 1.2) / 0.2) ** 2))
        height: Field = inside * (0.14 * spacing * rib - 0.12 * width) + 0.07 * width * bank
        return inside, height

    cover, height = relief(frame.x, frame.y)
    x, y = terrain.direction(frame.sun.azimuth_deg)
    _cover, sunward = relief(frame.x + x, frame.y + y)
    # Ground that rises towards the sun faces away from it.
    slope = (height - sunward) / np.tan(np.deg2rad(max(frame.sun.elevation_deg, 28.0)))
    blurred = frame.depth * np.sqrt(frame.view.stretch * frame.depth) / (0.35 * spacing)
    slope *= rng.uniform(0.9, 1.4) / (1.0 + blurred * blurred)
    # Bands up to three pixels wide do not count as tracks.
    near = 1.0 - terrain.smoothstep(frame.depth / width, 0.5, 0.75)
    cover *= near
    # Turned-up soil is less dusty, so tracks are darker or, at times, brighter; and the wheels
    # flatten the ground.
    tone = rng.uniform(0.6, 0.76) if rng.uniform() < 0.7 else rng.uniform(1.2, 1.35)
    smooth = ndimage.gaussian_filter(surface.light, (1.5, 1.5, 0.0), truncate=2.0)
    pressed = surface.light + (tone * smooth - surface.light) * (0.85 * cover)[..., None]
    pressed *= np.clip(1.0 + slope * near, 0.3, 1.7)[..., None]
    soft = surface.kind == Kind.SOIL
    surface.light[soft] = pressed[soft]
    surface.kind[soft & (cover > 0.5)] = Kind.TRACK


def holes(rng: Generator, surface: Surface, frame: Frame) -> None:
    """Drill one to three holes near by, each in a ring of powder."""
    side = frame.side
    powder = ground.stone_colour(rng, float(rng.uniform(0.25, 0.6)))
    level = float(surface.light[side // 2 :].mean())
    powder = powder * (level * rng.uniform(1.4, 1.9) / float(powder.mean()))
    patchy = ground.noise(rng, side, 2.2, longest=0.3 * side)
    count = int(rng.choice([1, 1, 2, 3]))
    rows, columns = rng.uniform(0.55, 0.88, count), rng.uniform(0.15, 0.85, count)
    wide = rng.uniform(0.045, 0.075)
    east, north = terrain.coordinates(side)
    sun_x, sun_y = terrain.direction(frame.sun.azimuth_deg)
    for row, column in zip(rows * side, columns * side, strict=True):
        squeeze = max(frame.squeeze(int(row), int(column)), 0.45)
        radius = wide * side / float(frame.depth[int(row), int(column)]) ** 0.5
        x, y = (east - column) / radius, (north + row) / (radius * squeeze)
        rho = np.sqrt(x * x + y * y)
        reach = rng.uniform(1.9, 2.7)
        heap = 1.0 - terrain.smoothstep(rho + 0.25 * patchy, reach - 0.5, reach + 0.2)
        lump = (1.0 + 0.08 * patchy + 0.12 * (x * sun_x + y * sun_y) / reach)[..., None]
        surface.light[:] += (powder * lump - surface.light) * (0.9 * heap)[..., None]
        # The wall across from the sun is lit near its top, the floor is not.
        inside = np.clip((1.0 - rho) * radius * squeeze + 0.5, 0.0, 1.0)
        lit = terrain.smoothstep(-(x * sun_x + y * sun_y), 0.45, 0.95) * (rho > 0.7)
        depth = (0.06 + 0.3 * lit)[..., None] * powder
        surface.light[:] += (depth - surface.light) * inside[..., None]
        surface.kind[rho < 1.0] = Kind.HOLE
