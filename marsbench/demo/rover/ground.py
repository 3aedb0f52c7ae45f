"""Ground as a rover's cameras see it, and the colour camera.

Ground is drawn from above as a plan of heights and colours, lit with cast shadows, and then
projected into the view from the mast: finer and flatter towards the horizon. All light is linear
up to the camera, whose white balance is random, so that hue and brightness carry no information
across images. `outdoors` adds rocks, hills and sky.

Plans keep the conventions of `terrain`: heights in pixels, the first row farthest away, azimuths
clockwise from straight ahead. They wrap around, so that ground never ends. Light is linear RGB;
1 is a white sheet in full sun.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy import ndimage

from marsbench.demo.art import terrain
from marsbench.demo.art.terrain import Field

Colour = NDArray[np.float64]
"""Linear RGB, (3,)."""

Picture = NDArray[np.float64]
"""Linear RGB over the scene, (rows, columns, 3)."""

BASALT: Colour = np.array([1.0, 0.9, 0.8])
DUST: Colour = np.array([1.0, 0.58, 0.32])
SKYLIGHT: Colour = np.array([0.34, 0.26, 0.2])
"""Light from the dusty sky, the only light in the shade."""


@dataclass(frozen=True)
class Sun:
    """Direction of the light: azimuth clockwise from straight ahead and elevation, degrees."""

    azimuth_deg: float
    elevation_deg: float


@dataclass(frozen=True)
class View:
    """Perspective of a picture.

    Attributes:
        horizon: Row of the horizon in sides from the top; negative if above the picture.
        stretch: Foreshortening of the ground at the bottom of the picture.
        tilt: Rise of the horizon towards the left, as rise over run.
    """

    horizon: float
    stretch: float
    tilt: float = 0.0


@dataclass(frozen=True)
class Frame:
    """Position of the ground in every pixel of a picture.

    Attributes:
        view: Horizon, foreshortening and tilt.
        sun: Direction of the light.
        depth: Distance of every pixel as a multiple of the bottom edge's, (side, side).
        row: Rows in sides from the top along the camera's vertical, (side, side).
        x: Position on the ground to the right of the middle in pixels, (side, side).
        y: Position on the ground ahead of the bottom edge in pixels, (side, side).
    """

    view: View
    sun: Sun
    depth: Field
    row: Field
    x: Field
    y: Field

    @property
    def side(self) -> int:
        """Side of the picture in pixels."""
        return len(self.depth)

    @property
    def ground(self) -> NDArray[np.bool_]:
        """Pixels below the horizon, (side, side)."""
        below: NDArray[np.bool_] = self.row > self.view.horizon
        return below

    def squeeze(self, row: int, column: int) -> float:
        """Foreshortening of the ground at a pixel: 1 from above, 0 at the horizon."""
        flat = 1.0 / (self.view.stretch * float(self.depth[row, column]))
        return min(max(flat, 0.12), 0.95)


@dataclass(frozen=True)
class ColourPlan:
    """Piece of ground from above.

    Attributes:
        height: Elevation in pixels, (n, n).
        colour: Reflectance, (n, n, 3).
    """

    height: Field
    colour: Picture


# --- light and views -------------------------------------------------------------------------


def sunlight(rng: Generator) -> Sun:
    """Sun at any azimuth, from low to high."""
    return Sun(float(rng.uniform(0.0, 360.0)), float(rng.uniform(18.0, 62.0)))


def from_above(rng: Generator) -> View:
    """View down onto a target, hardly foreshortened."""
    return View(-float(rng.uniform(3.0, 12.0)), float(rng.uniform(1.0, 1.35)))


def from_mast(rng: Generator) -> View:
    """View of ground some metres away, the horizon well above the picture."""
    return View(-float(rng.uniform(0.25, 1.5)), float(rng.uniform(1.2, 2.2)))


def stone_colour(rng: Generator, dusty: float | None = None) -> Colour:
    """Reflectance of rock or soil.

    Args:
        dusty: 0 for grey basalt to 1 for rust-red dust all over; None for a random value.
    """
    dust = rng.uniform() if dusty is None else dusty
    colour: Colour = (BASALT + (DUST - BASALT) * dust) * rng.uniform(0.13, 0.34)
    return colour


def kindred(rng: Generator, colour: Colour, spread: float = 1.0) -> Colour:
    """Reflectance close to another, like its weathered or dustier parts."""
    redder = np.array([1.0, 0.9, 0.78]) ** (spread * rng.normal(0.0, 1.0))
    near: Colour = np.clip(colour * redder * np.exp(spread * rng.normal(0.0, 0.28)), 0.03, 0.6)
    return near


def noise(
    rng: Generator, n: int, beta: float, longest: float = np.inf, shortest: float = 0.0
) -> Field:
    """Wrapping fractal noise, see `terrain.fractal`, (n, n)."""
    return terrain.fractal(rng, n, beta, longest=longest, shortest=shortest, wraps=True)


def mix(first: Colour | Picture, second: Colour | Picture, share: Field) -> Picture:
    """Blend two colours or pictures by the share of the second, (rows, columns)."""
    mixed: Picture = first + (second - first) * share[..., None]
    return mixed


def shade(height: Field, sun: Sun) -> Field:
    """Direct sunlight on ground relative to a surface facing the sun, shadows included.

    Args:
        height: Elevation in pixels, (n, n).

    Returns:
        Share of the light in [0, 1], (n, n).
    """
    around = np.pad(height, 1, mode="wrap")
    lit = terrain.hillshade(around, sun.azimuth_deg, sun.elevation_deg)[1:-1, 1:-1]
    x, y = terrain.direction(sun.azimuth_deg)
    rise = np.tan(np.deg2rad(sun.elevation_deg))
    shadow = np.zeros_like(height)
    for step in (2.0, 3.5, 5.5, 8.0):
        rows, columns = round(-y * step), round(x * step)
        blocked = np.roll(height, (-rows, -columns), (0, 1)) - height
        np.maximum(shadow, blocked - rise * np.hypot(rows, columns), out=shadow)
    return lit * (1.0 - terrain.blur(np.clip(shadow, 0.0, 1.0), 0.5))


def lit(plan: ColourPlan, sun: Sun) -> Picture:
    """Light reflected upwards by a plan, (n, n, 3)."""
    direct = shade(plan.height, sun)
    return plan.colour * (direct[..., None] + SKYLIGHT)


def magnification(view: View, side: int) -> tuple[Field, Field]:
    """Depth of every pixel relative to the bottom edge.

    Returns:
        Pixels of plan per pixel of picture sideways, and the row measured along the camera's
        own vertical in sides, each (side, side). The first is capped above the horizon.
    """
    east, north = terrain.coordinates(side)
    row = -north / side + view.tilt * (east / side - 0.5)
    return (1.0 - view.horizon) / np.maximum(row - view.horizon, 0.004), row


def ground_places(view: View, side: int) -> tuple[Field, Field, Field]:
    """Position of every pixel on the ground.

    Returns:
        Depth as `magnification`, and distances to the right of the middle and away from the
        bottom edge in pixels of plan, each (side, side).
    """
    depth, _row = magnification(view, side)
    across = (terrain.coordinates(side)[0] - side / 2) * depth
    return depth, across, view.stretch * (1.0 - view.horizon) * side * (depth - 1.0)


def framed(view: View, sun: Sun, side: int) -> Frame:
    """Frame of a view."""
    _depth, row = magnification(view, side)
    depth, x, y = ground_places(view, side)
    return Frame(view, sun, depth, row, x, y)


def project(ground: Picture, view: View, side: int, turn_deg: float = 0.0) -> Picture:
    """Project a plan into perspective.

    Args:
        ground: Light from the ground, (n, n, 3); repeats endlessly.
        view: Perspective.
        turn_deg: Azimuth of the camera on the plan.

    Returns:
        Light in the picture, (side, side, 3); meaningless above the horizon.
    """
    n = ground.shape[0]
    depth, right, beyond = ground_places(view, side)
    x, y = terrain.direction(turn_deg)
    across, away = n / 2 + y * right + x * beyond, n - 1 - (y * beyond - x * right)
    # Far pixels cover more ground, so they look up a blurred copy.
    footprint = depth * np.sqrt(view.stretch * depth)
    level = np.clip(np.log2(footprint / 1.6), 0.0, 3.0)
    levels = [ground]
    for k in range(int(np.ceil(level.max()))):
        sigma = 0.9 * 2.0**k
        levels.append(
            ndimage.gaussian_filter(
                ground, (1.5 * sigma, sigma, 0.0), mode=("wrap", "wrap", "nearest"), truncate=2.5
            )
        )
    channels = [look_up([x[..., c] for x in levels], level, away, across) for c in range(3)]
    return np.stack(channels, axis=-1)


def look_up(levels: list[Field], level: Field, row: Field, column: Field) -> Field:
    """Values of a plan at places between its pixels and between its levels of blur.

    Args:
        levels: Ever more blurred copies of the plan, (n, n) each; repeat endlessly.
        level: Level of blur, fractional, any shape.
        row: Row on the plan, of the same shape.
        column: Column on the plan, of the same shape.
    """
    n = levels[0].shape[0]
    # One more row and column, since wrapped places lie in [0, n).
    stack = np.pad(np.stack(levels), ((0, 0), (0, 1), (0, 1)), mode="wrap")
    places = np.stack([level, row % n, column % n])
    if len(levels) == 1:
        stack, places = stack[0], places[1:]
    values: Field = ndimage.map_coordinates(stack, places, order=1, mode="nearest")
    return values


# --- ground ----------------------------------------------------------------------------------


def soil(rng: Generator, n: int, roughness: float | None = None) -> ColourPlan:
    """Fine-grained soil with crumbs and a patchy hue.

    Args:
        roughness: Standard deviation of the texture in pixels; None for a random value.
    """
    rough = float(rng.uniform(0.1, 0.3)) if roughness is None else roughness
    texture = noise(rng, n, rng.uniform(1.5, 2.3))
    rolling = noise(rng, n, 3.6)
    height = rough * texture + rng.uniform(0.005, 0.02) * n * rolling
    base = stone_colour(rng)
    share = np.clip(0.5 + 0.3 * rolling + 0.15 * texture, 0.0, 1.0)
    return ColourPlan(height, mix(base, kindred(rng, base), share))


def clasts(
    rng: Generator, n: int, count: int, smallest: float, largest: float
) -> tuple[Field, Field]:
    """Angular to rounded stones from above, small ones more numerous.

    Args:
        count: Number of stones.
        smallest: Least radius in pixels.
        largest: Greatest radius in pixels.

    Returns:
        Height above the ground in pixels and cover in [0, 1], each (n, n).
    """
    height = np.zeros((n, n))
    cover = np.zeros((n, n))
    radii = np.minimum(smallest * (1.0 - rng.uniform(0.0, 0.99, count)) ** -0.45, largest)
    places = rng.uniform(0.0, n, (count, 2))
    turns, phases = rng.uniform(0.0, np.pi, (2, count))
    for radius, (row, column), turn, phase in zip(radii, places, turns, phases, strict=True):
        reach = int(1.5 * radius) + 2
        span = np.arange(-reach, reach + 1)
        rows, columns = int(row) + span, int(column) + span
        window = (rows[:, None] % n, columns[None, :] % n)
        y, x = (rows - row)[:, None], (columns - column)[None, :]
        c, s = np.cos(turn), np.sin(turn)
        u, v = (c * x + s * y) / radius, (c * y - s * x) / (0.72 * radius)
        # Corners: the rounded square of a superellipse, skewed by the phase.
        rho = np.sqrt(np.abs(u) ** 2.6 + np.abs(v + 0.35 * np.sin(2.0 * phase) * u) ** 2.6)
        dome = 0.8 * radius * np.sqrt(np.clip(1.0 - rho * rho, 0.0, 1.0))
        dome = np.minimum(dome, 0.55 * radius * (1.0 + 0.5 * np.cos(phase) * u))
        height[window] = np.maximum(height[window], dome)
        opaque = np.clip((1.0 - rho) * radius + 0.5, 0.0, 1.0)
        cover[window] = np.maximum(cover[window], opaque)
    return height, cover


def strewn(rng: Generator, plan: ColourPlan, count: int, largest: float) -> ColourPlan:
    """Strew stones of another colour over a plan, ``largest`` pixels in radius."""
    n = plan.height.shape[0]
    height, cover = clasts(rng, n, count, 0.012 * n, largest)
    texture = 1.0 + 0.12 * noise(rng, n, 1.4)
    base = kindred(rng, plan.colour.mean((0, 1)), 1.2)
    stones = np.clip(base * texture[..., None], 0.02, 0.9)
    return ColourPlan(plan.height + height, mix(plan.colour, stones, cover))


def fractured(rng: Generator, n: int, cell: float) -> tuple[Field, Field]:
    """Blocks between joints.

    Args:
        cell: Typical width of a block in pixels.

    Returns:
        Depth of the joints in [0, 1], and tilt and level of every block of about unit
        variance, each (n, n).
    """
    east, north = terrain.coordinates(n)
    count = max(round(n / cell), 3)
    unit = n / count
    warp = [0.16 * noise(rng, n, 2.6, 4.0 * cell, 0.5 * cell) for _ in range(2)]
    u, v = east / unit + warp[0], -north / unit + warp[1]
    jitter = rng.uniform(0.08, 0.92, (2, count, count))
    levels = rng.standard_normal((count, count))
    column, row = np.floor(u).astype(np.int64), np.floor(v).astype(np.int64)
    nearest = np.full((n, n), np.inf)
    second = np.full((n, n), np.inf)
    block = np.zeros((n, n))
    for dr in (-1, 0, 1):
        for dc in (-1, 0, 1):
            r, c = (row + dr) % count, (column + dc) % count
            x, y = u - column - dc - jitter[0, r, c], v - row - dr - jitter[1, r, c]
            distance = x * x + y * y
            closer = distance < nearest
            np.minimum(second, np.maximum(nearest, distance), out=second)
            np.minimum(nearest, distance, out=nearest)
            block = np.where(closer, levels[r, c] * (1.0 + 0.8 * x), block)
    gap = np.sqrt(second) - np.sqrt(nearest)
    return 1.0 - terrain.smoothstep(gap, 0.0, rng.uniform(0.1, 0.28)), block


def waves(rng: Generator, n: int, wavelength: float) -> Field:
    """Ripples of unit amplitude across a random wind, forking and wavy, (n, n)."""
    azimuth = rng.uniform(0.0, 2.0 * np.pi)
    # Whole numbers of waves, so that they wrap around.
    across, ahead = np.rint(n / wavelength * np.array([np.sin(azimuth), np.cos(azimuth)]))
    east, north = terrain.coordinates(n)
    bend = noise(rng, n, 2.8, 10.0 * wavelength, 2.0 * wavelength)
    phase = (across * east + ahead * north) / n + rng.uniform(0.15, 0.45) * bend
    wave: Field = np.sin(2.0 * np.pi * (phase + rng.uniform()))
    return wave


def outcrop(rng: Generator, n: int) -> ColourPlan:
    """Fractured flat bedrock, its cracks and low parts filled with sand."""
    cell = rng.uniform(0.14, 0.36) * n
    cracks, blocks = fractured(rng, n, cell)
    swell = rng.uniform(0.2, 0.8) * noise(rng, n, 3.2, 3.0 * cell) + 0.8 * blocks
    texture = noise(rng, n, rng.uniform(1.7, 2.4))
    level = rng.uniform(0.03, 0.07) * cell * swell - rng.uniform(0.06, 0.14) * cell * cracks
    rock = level + rng.uniform(0.15, 0.4) * texture
    filled = float(np.quantile(level, rng.uniform(0.08, 0.5)))
    bare = terrain.smoothstep(level, filled - 0.35, filled + 0.35)
    sand = filled + 0.06 * texture
    base = stone_colour(rng)
    stone = base * (1.0 + 0.09 * texture + 0.08 * swell)[..., None]
    fill = kindred(rng, base, 1.4)
    return ColourPlan(sand + (rock - sand) * bare, mix(fill, np.clip(stone, 0.03, 0.9), bare))


def rippled(rng: Generator, n: int) -> ColourPlan:
    """Wind-rippled sand; the crests often carry coarser, brighter or darker grains."""
    wavelength = rng.uniform(0.05, 0.16) * n
    crest = 0.5 + 0.5 * waves(rng, n, wavelength)
    swell = noise(rng, n, 3.8, shortest=0.15 * n)
    steep = rng.uniform(0.09, 0.16) * wavelength
    vigour = np.clip(1.0 + 0.25 * swell, 0.3, 1.6)
    height = steep * vigour * crest**1.4 + rng.uniform(0.004, 0.016) * n * swell
    height += 0.05 * noise(rng, n, 1.2)
    base = stone_colour(rng)
    grains = base * rng.uniform(0.75, 1.3)
    return ColourPlan(height, mix(base, grains, crest**2))


def smooth_sand(rng: Generator, n: int) -> ColourPlan:
    """Even sand in gentle undulations, without stones."""
    swell = noise(rng, n, 4.2, shortest=0.2 * n)
    drift = noise(rng, n, 3.4, shortest=0.05 * n)
    height = rng.uniform(0.01, 0.03) * n * swell + 0.001 * n * drift
    height += rng.uniform(0.08, 0.2) * noise(rng, n, 0.8)
    base = stone_colour(rng)
    return ColourPlan(
        height, mix(base, base * rng.uniform(0.7, 1.35), np.clip(0.5 + 0.3 * drift, 0, 1))
    )


def plain_ground(rng: Generator, n: int) -> ColourPlan:
    """Ground of any common kind: soil, pebbles, rubble, bedrock, or stones on bedrock."""
    kind = rng.uniform()
    if kind < 0.4:
        plan = outcrop(rng, n)
        if rng.uniform() < 0.5:
            plan = strewn(rng, plan, int(rng.integers(8, 40)), 0.035 * n)
        return plan
    plan = soil(rng, n)
    if kind < 0.75:
        return strewn(rng, plan, int(rng.integers(25, 90)), rng.uniform(0.025, 0.05) * n)
    return strewn(rng, plan, int(rng.integers(60, 130)), rng.uniform(0.045, 0.07) * n)


# --- pictures --------------------------------------------------------------------------------


def seen(
    rng: Generator, side: int, draw: Callable[[Generator, int], ColourPlan], view: View, sun: Sun
) -> Picture:
    """Light of ground drawn as a plan, lit and projected, (side, side, 3)."""
    # At an angle, to keep the repeats from lining up in depth.
    turn = rng.uniform(12.0, 78.0)
    on_plan = Sun(sun.azimuth_deg + turn, sun.elevation_deg)
    return project(lit(draw(rng, side + side // 2), on_plan), view, side, turn)


def off_axis(side: int) -> Field:
    """Squared distance from the middle, 1 in the corners, for vignetting, (side, side)."""
    centre = (side - 1) / 2
    x, y = terrain.offsets(side, centre, centre)
    return (x**2 + y**2) / (2.0 * centre * centre)


def camera(light: Picture, rng: Generator, exposure: float | None = None) -> NDArray[np.uint8]:
    """Take a colour picture: white balance, exposure, vignetting, blur, noise and gamma.

    The white balance lies anywhere between raw, balanced on the scene, and tinted; some
    pictures are nearly or wholly grey.

    Args:
        light: Linear light, (side, side, 3).
        exposure: Factor on the light; None exposes for the brighter part of the scene.

    Returns:
        Colour values, (side, side, 3).
    """
    side = light.shape[0]
    mean = light.mean((0, 1)) + 1e-6
    balance = (mean.mean() / mean) ** rng.uniform(0.0, 0.95)
    warm, green = rng.normal(0.0, 0.09), rng.normal(0.0, 0.025)
    gains = balance * np.exp([warm, green, -warm])
    sigma = rng.uniform(0.25, 0.6)
    image = ndimage.gaussian_filter(light, (sigma, sigma, 0.0), truncate=2.5) * gains
    if rng.uniform() < 0.2:
        grey = image.mean(-1, keepdims=True)
        image = image + (grey - image) * (1.0 if rng.uniform() < 0.5 else rng.uniform(0.6, 1.0))
    if exposure is None:
        bright = float(np.percentile(image, rng.uniform(94.0, 99.0)))
        # Scenes that are mostly dark stay so: exposure follows brightness only in part.
        exposure = rng.uniform(0.6, 1.0) / max(bright, 0.02)
    image = image * exposure * (1.0 - rng.uniform(0.0, 0.25) * off_axis(side))[..., None]
    image = image + rng.uniform(0.0, 0.025)
    noise = rng.uniform(0.004, 0.015)
    image = image + noise * np.sqrt(np.abs(image) + 0.02) * rng.standard_normal(image.shape)
    values = np.clip(image, 0.0, 1.0) ** (1.0 / rng.uniform(1.7, 2.4))
    taken: NDArray[np.uint8] = np.rint(255.0 * values).astype(np.uint8)
    return taken
