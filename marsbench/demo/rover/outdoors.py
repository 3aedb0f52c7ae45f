"""Things on the ground or far behind: tracks, loose rocks, hills and the sky.

Wheel tracks are pressed into projected ground along lines of constant width on the ground.
Loose rocks are convex bodies bounded by random planes, lit facet by facet, and set into the
picture. Hills are painted ridge before ridge through thickening air.

All light is linear, in the conventions of `ground`.
"""

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy import ndimage

from marsbench.demo.art import terrain
from marsbench.demo.art.terrain import Field
from marsbench.demo.rover.ground import (
    SKYLIGHT,
    Colour,
    Picture,
    Sun,
    View,
    from_mast,
    ground_places,
    kindred,
    magnification,
    mix,
    noise,
    plain_ground,
    rippled,
    seen,
    soil,
    stone_colour,
    sunlight,
)

# --- tracks ----------------------------------------------------------------------------------


def press_tracks(rng: Generator, picture: Picture, view: View, sun: Sun) -> Field:
    """Press one or two wheel tracks with cleat marks into projected ground, in place.

    Args:
        picture: Light from the ground, (side, side, 3).
        view: Perspective of the ground.

    Returns:
        Cover by the tracks in [0, 1], (side, side).
    """
    side = picture.shape[0]
    depth, across, away = ground_places(view, side)
    width = rng.uniform(0.07, 0.15) * side
    spacing = width * rng.uniform(0.5, 0.8)
    gauge = width * rng.uniform(2.0, 3.4)
    centres = (0.0,) if rng.uniform() < 0.4 else (-gauge, gauge)
    # Through a point in the lower half of the picture, to see the track close by.
    row, column = int(rng.uniform(0.45, 0.95) * side), int(rng.uniform(0.25, 0.75) * side)
    across, away = across - across[row, column], away - away[row, column]
    s, c = terrain.direction(rng.uniform(-60.0, 60.0))
    bend = rng.uniform(-0.12, 0.12) / side
    slant, chevron = rng.uniform(-0.4, 0.4), rng.choice([0.0, rng.uniform(0.3, 0.8)])
    phase = rng.uniform(0.0, 1.0)
    edge = 0.1 * noise(rng, side, 2.0)

    def relief(u: Field, v: Field) -> tuple[Field, Field]:
        ahead = c * v + s * u
        aside = c * u - s * v
        aside = aside + bend * ahead * ahead / (1.0 + np.abs(ahead) / (2.0 * side))
        cover = np.zeros_like(u)
        height = np.zeros_like(u)
        for centre in centres:
            off = np.abs((aside - centre) / width)
            inside = 1.0 - terrain.smoothstep(off + edge, 0.8, 1.1)
            wave = ahead + width * (slant * (aside - centre) / width + chevron * off)
            cleat = np.clip(1.8 * np.cos(2.0 * np.pi * (wave / spacing + phase)), -1.0, 1.0)
            bank = np.exp(-(((off - 1.2) / 0.2) ** 2))
            height += inside * (0.14 * spacing * cleat - 0.12 * width) + 0.07 * width * bank
            cover = np.maximum(cover, inside)
        return cover, height

    x, y = terrain.direction(sun.azimuth_deg)
    cover, height = relief(across, away)
    _cover, sunward = relief(across + x, away + y)
    # Ground that rises towards the sun faces away from it.
    slope = (height - sunward) / np.tan(np.deg2rad(sun.elevation_deg))
    slope /= 1.0 + (depth * np.sqrt(view.stretch * depth) / (0.35 * spacing)) ** 2
    smooth = ndimage.gaussian_filter(picture, (1.5, 1.5, 0.0))
    churned = kindred(rng, np.array([1.0, 1.0, 1.0])) / 0.6 + 0.1
    picture += (smooth * np.clip(churned, 0.6, 1.2) - picture) * (0.75 * cover)[..., None]
    picture *= np.clip(1.0 + rng.uniform(0.9, 1.3) * slope, 0.25, 1.7)[..., None]
    return cover


# --- loose rocks -----------------------------------------------------------------------------


def towards_sun(sun: Sun, squeeze: float) -> tuple[tuple[float, float], NDArray[np.float64]]:
    """Direction of the sun along the ground and in the camera's axes.

    Args:
        squeeze: Foreshortening of the ground: 1 from above, 0 at the horizon.

    Returns:
        Components to the right and straight ahead along the ground; and the unit vector in the
        camera's axes: right, up in the picture and towards the camera, (3,).
    """
    right, ahead = terrain.direction(sun.azimuth_deg)
    elevation = np.deg2rad(sun.elevation_deg)
    flat, high = float(np.cos(elevation)), float(np.sin(elevation))
    right, ahead = right * flat, ahead * flat
    level = float(np.sqrt(1.0 - squeeze * squeeze))
    seen = np.array([right, ahead * squeeze + high * level, high * squeeze - ahead * level])
    return (right, ahead), seen


def stone_body(
    rng: Generator, faces: tuple[int, int], walls: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Draw the sides of a convex stone.

    Args:
        faces: Range of the number of free sides, end excluded.
        walls: Number of steep sides all round, so that every line of sight ends somewhere.

    Returns:
        Normals, (count, 3), and distances from the middle, (count,), of all sides, the foot last.
    """
    count = int(rng.integers(*faces))
    normals = rng.standard_normal((count, 3))
    normals[:, 2] = np.abs(normals[:, 2]) + 0.12
    # Widest at the foot.
    turn = rng.uniform(0.0, 2.0 * np.pi) + np.arange(walls) * (2.0 * np.pi / walls)
    turn += rng.uniform(-0.3, 0.3, walls)
    around = np.stack([np.cos(turn), np.sin(turn), np.full(walls, 0.12)], axis=1)
    normals = np.concatenate([normals, around, [[0.0, -1.0, 0.1]]])
    below = normals[:-1, 1] < 0.0
    normals[:-1, 1][below] *= 0.35
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    offsets = rng.uniform(0.72, 0.98, len(normals))
    offsets[-1] = 0.85
    return normals, offsets


def front_faces(
    normals: NDArray[np.float64], offsets: NDArray[np.float64], x: Field, y: Field
) -> tuple[NDArray[np.int64], Field]:
    """Visible side of a convex body in every pixel.

    Args:
        normals: Normals of its sides in the camera's axes, (count, 3).
        offsets: Distances of its sides from its middle, (count,).
        x: Position to the right of its middle, (rows, columns).
        y: Position above its middle, (rows, columns).

    Returns:
        Index of the side, and its position towards the camera; negative off the body.
    """
    nx, ny, nz = (normals[:, k, None, None] for k in range(3))
    depth = (offsets[:, None, None] - nx * x - ny * y) / nz
    face = depth.argmin(0)
    return face, np.take_along_axis(depth, face[None], 0)[0]


def set_rock(
    rng: Generator,
    picture: Picture,
    sun: Sun,
    centre: tuple[float, float],
    radius: float,
    squeeze: float,
    colour: Colour,
) -> NDArray[np.float64]:
    """Set an angular rock and its shadow into a picture, in place.

    Args:
        picture: Light, (side, side, 3).
        centre: Row and column of the middle of the rock.
        radius: Half its width in pixels.
        squeeze: Foreshortening of the ground there: 1 from above, 0 at the horizon.
        colour: Reflectance.

    Returns:
        Opacity of the rock in [0, 1], (side, side).
    """
    side = picture.shape[0]
    covered = np.zeros((side, side))
    reach = int(2.3 * radius) + 2
    rows, columns = (slice(max(int(c) - reach, 0), max(int(c) + reach, 0)) for c in centre)
    picture, opacity = picture[rows, columns], covered[rows, columns]
    east, north = terrain.coordinates(side)
    x = (east[rows, columns] - centre[1]) / radius
    up = (north[rows, columns] + centre[0]) / radius
    (sx, sy), towards = towards_sun(sun, squeeze)
    tall = rng.uniform(0.55, 0.95)
    length = 0.8 * tall / max(np.tan(np.deg2rad(sun.elevation_deg)), 0.45)
    flat = tall * (1.0 - 0.5 * squeeze)
    foot = -0.55 * flat
    for k in (0.0, 0.35, 0.7, 1.0):
        du, dv = -sx * length * k, foot - sy * length * k * squeeze
        gap = np.hypot((x - du) / (1.0 - 0.3 * k), (up - dv) / (0.16 * flat + 0.48 * squeeze))
        dark = 0.7 * (1.0 - terrain.smoothstep(gap, 0.75, 1.0))
        picture *= (1.0 - dark / (1.0 + k))[..., None]
    normals, offsets = stone_body(rng, (11, 20), 7)
    grain = noise(rng, 2 * reach, rng.uniform(1.5, 2.2))[: x.shape[0], : x.shape[1]]
    face, front = front_faces(normals, offsets, x, up / flat)
    opacity[:] = np.clip(front * radius * 0.25 + 0.5, 0.0, 1.0)
    # The foot is buried, along a line bulging towards the camera.
    buried = up + flat * (0.75 - 0.35 * x * x + 0.05 * grain)
    opacity *= np.clip(buried * radius + 0.5, 0.0, 1.0)
    bumps = np.gradient(grain, axis=(0, 1))
    strength = rng.uniform(0.1, 0.3)
    light = normals @ towards
    shaded = light[face] - strength * (bumps[1] * towards[0] - bumps[0] * towards[1])
    tone = 1.0 + rng.uniform(0.03, 0.12) * grain
    surface = colour * (np.clip(shaded, 0.0, 1.0)[..., None] + SKYLIGHT) * tone[..., None]
    picture += (np.maximum(surface, 0.0) - picture) * opacity[..., None]
    return covered


# --- far away --------------------------------------------------------------------------------


def skyline(rng: Generator, side: int, beta: float) -> NDArray[np.float64]:
    """Profile of hills of mean 0 and variance 1, (side,); smoother with the exponent."""
    n = 2 * side
    frequency = np.fft.rfftfreq(n)
    frequency[0] = np.inf
    parts = rng.standard_normal((2, frequency.size))
    wave = np.fft.irfft((parts[0] + 1j * parts[1]) * frequency ** (-beta / 2.0), n)[:side]
    profile: NDArray[np.float64] = (wave - wave.mean()) / max(float(wave.std()), 1e-9)
    return profile


def hazy_sky(rng: Generator, side: int, view: View) -> Picture:
    """Dusty sky, usually brighter towards the horizon, (side, side, 3)."""
    _depth, row = magnification(view, side)
    low = np.array([0.52, 0.42, 0.32]) * rng.uniform(0.55, 1.2)
    high = low * rng.uniform(0.55, 1.1)
    height = np.clip((view.horizon - row) / 0.8, 0.0, 1.0)
    glow = 1.0 + rng.uniform(-0.12, 0.12) * (terrain.coordinates(side)[0] / side - 0.5)
    return mix(low, high, height) * glow[..., None]


def hills(
    rng: Generator, picture: Picture, sun: Sun, view: View, bottom: float, count: int, steep: float
) -> None:
    """Paint ridges behind each other, hazier with distance, in place.

    Args:
        picture: Light, (side, side, 3), with sky or haze.
        view: Perspective, whose horizon is the mean row of the farthest ridge.
        bottom: Row in sides of the foot of the nearest ridge.
        count: Number of ridges.
        steep: Standard deviation of the ridges' heights in sides.
    """
    side = picture.shape[0]
    _depth, row = magnification(view, side)
    # Ravines run down the slopes.
    relief = noise(rng, side, 3.0, longest=0.5 * side, shortest=2.5)
    base = stone_colour(rng)
    # Lit dust in the air outshines the ground, so that every ridge stands against paler ones.
    haze = np.array([1.25, 1.0, 0.75]) * base.mean() * rng.uniform(1.4, 2.6)
    thick = rng.uniform(0.5, 0.85)
    banding = rng.choice([0.0, rng.uniform(0.1, 0.3)])
    beds = rng.uniform(90.0, 220.0)
    rough = rng.uniform(2.7, 3.6)
    for k in range(count):
        near = (k + 1) / count
        mean = view.horizon + (bottom - view.horizon) * (k / count) ** 1.3
        line = mean + steep * (0.5 + near) * skyline(rng, side, rough)[None, :]
        texture = np.roll(relief, int(rng.integers(side)), 1)
        below = row - line
        mound = 0.015 * side * (0.5 + near) * texture - 0.3 * side * (row - 0.25 * line)
        direct = terrain.hillshade(mound, sun.azimuth_deg, sun.elevation_deg)
        strata = np.sin((row + 0.006 * texture) * beds) * np.exp(-np.maximum(below, 0.0) / 0.15)
        ground = kindred(rng, base, 0.6) * (1.0 + banding * strata)[..., None]
        ground = ground * (direct[..., None] + SKYLIGHT)
        # Air thickens towards the foot of every ridge, behind the next ridge.
        veil = thick * (1.0 - near) ** 0.5 + 0.6 * (1.0 - near) * below
        ground = mix(ground, haze, np.clip(veil, 0.0, 0.92))
        mask = terrain.smoothstep(below * side, -0.7, 0.7)
        picture += (ground - picture) * mask[..., None]


# --- scenes ----------------------------------------------------------------------------------


def background(rng: Generator, side: int) -> Picture:
    """Linear light of ground, sand, or a view to the horizon, (side, side, 3)."""
    sun = sunlight(rng)
    draw = plain_ground if rng.uniform() < 0.7 else soil if rng.uniform() < 0.6 else rippled
    if rng.uniform() < 0.75:
        return seen(rng, side, draw, from_mast(rng), sun)
    view = View(float(rng.uniform(0.05, 0.5)), float(rng.uniform(1.5, 3.0)))
    return under_sky(rng, seen(rng, side, draw, view, sun), view, sun)


def under_sky(rng: Generator, ground: Picture, view: View, sun: Sun) -> Picture:
    """Put a sky above projected ground, often with hills between: light, (side, side, 3)."""
    side = ground.shape[0]
    picture = hazy_sky(rng, side, view)
    if rng.uniform() < 0.7:
        raised = View(view.horizon - rng.uniform(0.02, 0.08), view.stretch, view.tilt)
        count = int(rng.integers(1, 4))
        hills(rng, picture, sun, raised, view.horizon, count, rng.uniform(0.012, 0.04))
    _depth, row = magnification(view, side)
    line = view.horizon + rng.uniform(0.003, 0.012) * skyline(rng, side, 2.4)[None, :]
    far = np.exp(-np.clip(row - view.horizon, 0.0, None) / 0.05)
    haze = np.array([0.4, 0.32, 0.24]) * rng.uniform(0.5, 1.0)
    veiled = mix(ground, haze, rng.uniform(0.1, 0.5) * far)
    return mix(picture, veiled, terrain.smoothstep((row - line) * side, -0.7, 0.7))
