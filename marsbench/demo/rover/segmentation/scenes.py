"""Scenes with exact masks for ``mars_seg_mer``, ``mars_seg_msl`` and ``s5mars``.

A scene is ground in perspective, with or without sky, with patches of bedrock, stones and wheel
tracks. MarsSeg adds the rover's own shadow; S5Mars adds parts of the rover and drill holes. The
same fields draw the picture and decide the mask: a pixel belongs to the thing hiding more than
half of its area.

- Shadow is ground shaded by the rover or a stone. A stone's own dark side is Rock.
- Stones large enough to be drawn singly are Rock; smaller stones are gravel, so soil.
- Background is the black margin of many products, a far plain in thick air, and in MarsSeg,
  which has no class for them, the rover's parts: solar panels on Spirit and Opportunity.

Brightness, tint, light, horizon and the order of bright and dark materials are random; only form
is constant.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy import ndimage

from marsbench.demo.art.terrain import Field
from marsbench.demo.rover import ground as rover_ground
from marsbench.demo.rover.ground import SKYLIGHT, Frame, Picture, Sun
from marsbench.demo.rover.segmentation import ground, horizon, objects
from marsbench.demo.rover.segmentation.ground import Kind, Surface
from marsbench.demo.scene import Scene
from marsbench.tasks.catalog import get_task

_MARGIN = 0.22
"""Share of the images with a black margin."""

_SHADOW = len(Kind)
"""Row for shaded ground in the tables below, besides the rows of `Kind`."""


def _table(task: str, names: Mapping[int, str]) -> NDArray[np.uint8]:
    """Class id in a task per kind and for shade; kinds without a name are background."""
    ids = get_task(task).class_names
    table = np.zeros(_SHADOW + 1, np.uint8)
    for kind, name in names.items():
        table[kind] = ids.index(name)
    return table


_MARS_SEG: dict[int, str] = {
    Kind.BEDROCK: "Bedrock",
    Kind.SOIL: "Gravel/Sand/Soil",
    Kind.ROCK: "Rock",
    Kind.TRACK: "Track",
    Kind.SKY: "Sky/Distant Mountains",
    Kind.RIDGE: "Sky/Distant Mountains",
    _SHADOW: "Shadow",
}
_S5MARS: dict[int, str] = {
    Kind.BEDROCK: "Bedrock",
    Kind.SOIL: "Sand/Soil",
    Kind.ROCK: "Rock",
    Kind.TRACK: "Track",
    Kind.HOLE: "Hole",
    Kind.SKY: "Sky",
    Kind.RIDGE: "Ridge",
    Kind.ROVER: "Rover",
}


@dataclass(frozen=True)
class _Chances:
    """Chances of the elements of a task's scenes, each in [0, 1].

    Attributes:
        sky: The horizon and everything above; rarer with drill holes.
        tracks: Wheel tracks.
        shadow: The rover's shadow.
        deck: A deck of solar panels.
        rover: A wheel, a deck or the arm; never with drill holes.
        holes: Drill holes.
    """

    sky: float = 0.7
    tracks: float = 0.45
    shadow: float = 0.0
    deck: float = 0.0
    rover: float = 0.0
    holes: float = 0.0


def draw_mer(rng: Generator, side: int) -> Scene:
    """Draw a grey view of the navigation camera of Spirit or Opportunity, (side, side, 1)."""
    surface = _scene(rng, side, _Chances(shadow=0.4, deck=0.15))
    grey = _navcam(rng, surface.light)
    return _finish(rng, surface, grey, _table("mars_seg_mer", _MARS_SEG))


def draw_msl(rng: Generator, side: int) -> Scene:
    """Draw a Mastcam view from Curiosity in colour, (side, side, 3)."""
    surface = _scene(rng, side, _Chances(shadow=0.4, rover=0.12))
    colour = _mastcam(rng, surface.light)
    return _finish(rng, surface, colour, _table("mars_seg_msl", _MARS_SEG))


def draw_s5mars(rng: Generator, side: int) -> Scene:
    """Draw a Mastcam view from Curiosity with parts of the rover and drill holes."""
    surface = _scene(rng, side, _Chances(rover=0.45, holes=0.2))
    colour = _mastcam(rng, surface.light)
    return _finish(rng, surface, colour, _table("s5mars", _S5MARS))


# --- scenes ----------------------------------------------------------------------------------


def _scene(rng: Generator, side: int, chances: _Chances) -> Surface:
    """Scene before the camera."""
    drilled = bool(rng.uniform() < chances.holes)
    shaded = bool(rng.uniform() < chances.shadow)
    # Targets of the drill are close by, so the horizon is seldom in view.
    sky = bool(rng.uniform() < (0.3 if drilled else chances.sky))
    sun = objects.behind(rng) if shaded else _sun(rng)
    frame = ground.frame(rng, side, sun, sky=sky)
    share = _bedrock_share(rng, least=0.5 if drilled else 0.0)
    surface = ground.bare_ground(rng, frame, share)
    if share < 0.8 and rng.uniform() < chances.tracks:
        ground.tracks(rng, surface, frame)
    if drilled:
        ground.holes(rng, surface, frame)
    colour = rover_ground.kindred(rng, surface.light.mean((0, 1)), 1.0)
    # Either clearly paler than the ground or clearly darker.
    tone = rng.uniform(1.1, 1.5) if rng.uniform() < 0.6 else rng.uniform(0.45, 0.7)
    colour *= tone * _reflectance(surface, frame) / float(colour.mean())
    stones = objects.strewn(rng, frame, int(rng.choice([0, 2, 5, 9, 14, 20])))
    if drilled:
        stones = [stone for stone in stones if stone.row < 0.5 * side]
    objects.cast_shadows(surface, frame, stones)
    shade = objects.rover_shadow(rng, frame) if shaded else np.zeros((side, side))
    np.maximum(surface.shadow, shade, out=surface.shadow)
    objects.darken(rng, surface, frame)
    if sky:
        horizon.far_away(rng, surface, frame)
    objects.set_stones(rng, surface, frame, stones, colour, shade)
    if not drilled and rng.uniform() < chances.rover:
        objects.rover(rng, surface)
    if rng.uniform() < chances.deck:
        objects.rover(rng, surface, panels=True)
    return surface


def _sun(rng: Generator) -> Sun:
    """Sun mostly behind or beside the camera."""
    return Sun(float(rng.uniform(70.0, 290.0)), float(rng.uniform(22.0, 58.0)))


def _bedrock_share(rng: Generator, least: float) -> float:
    """Share of bedrock in the ground: none, some or all."""
    kind = rng.uniform()
    if kind < 0.2 and least == 0.0:
        return 0.0
    if kind > 0.92:
        return 1.0
    return float(rng.uniform(max(least, 0.15), max(0.7, least + 0.3)))


def _reflectance(surface: Surface, frame: Frame) -> float:
    """Mean reflectance of the sunlit ground."""
    direct = float(np.sin(np.deg2rad(frame.sun.elevation_deg))) + float(SKYLIGHT.mean())
    return float(surface.light[frame.ground].mean()) / direct


def _finish(
    rng: Generator, surface: Surface, image: NDArray[np.uint8], table: NDArray[np.uint8]
) -> Scene:
    """Map kinds to class ids, and at times put a black margin around part of the image.

    Args:
        image: Its picture, (side, side, channels).
        table: Class id of every kind and of shade.
    """
    side = image.shape[0]
    mask = table[surface.kind]
    if table[_SHADOW]:
        on_ground = np.isin(surface.kind, (Kind.BEDROCK, Kind.SOIL, Kind.TRACK))
        mask[on_ground & (surface.shadow > 0.5)] = table[_SHADOW]
    if rng.uniform() < _MARGIN:
        black = np.zeros((side, side), np.bool_)
        for turns in rng.choice(4, int(rng.integers(1, 3)), replace=False):
            wide = int(rng.uniform(0.03, 0.09) * side)
            np.rot90(black, int(turns))[:wide] = True
        image[black] = rng.integers(0, 12)
        mask[black] = 0
    return Scene(image, mask)


# --- cameras ---------------------------------------------------------------------------------


def _exposed(rng: Generator, light: Field | Picture) -> Field | Picture:
    """Light after exposure on the brighter part of the scene, and vignetting."""
    bright = float(np.percentile(light, rng.uniform(93.0, 99.0)))
    exposure = rng.uniform(0.6, 1.0) / max(bright, 0.02)
    fall = 1.0 - rng.uniform(0.0, 0.22) * rover_ground.off_axis(light.shape[0])
    return light * exposure * (fall if light.ndim == 2 else fall[..., None])


def _navcam(rng: Generator, light: Picture) -> NDArray[np.uint8]:
    """Take a grey picture, (side, side, 1)."""
    image = light @ rng.dirichlet([8.0, 8.0, 4.0])
    image = _exposed(rng, ndimage.gaussian_filter(image, rng.uniform(0.3, 0.55), truncate=2.5))
    noise = rng.uniform(0.004, 0.016)
    image = image + noise * rng.standard_normal(image.shape)
    image = image - rng.uniform(0.0, 0.7) * float(np.percentile(image, 1.0))
    image = np.clip(image, 0.0, 1.0) ** (1.0 / rng.uniform(1.4, 2.3))
    black, white = rng.uniform(0.0, 30.0), rng.uniform(190.0, 255.0)
    grey: NDArray[np.uint8] = np.rint(black + (white - black) * image).astype(np.uint8)
    return grey[..., None]


def _mastcam(rng: Generator, light: Picture) -> NDArray[np.uint8]:
    """Take a colour picture with a white balance between raw and nearly grey, (side, side, 3)."""
    mean = light.mean((0, 1)) + 1e-6
    balance = (mean.mean() / mean) ** rng.uniform(0.0, 0.6)
    warm, green = rng.normal(0.0, 0.05), rng.normal(0.0, 0.015)
    sigma = rng.uniform(0.25, 0.55)
    image = ndimage.gaussian_filter(light, (sigma, sigma, 0.0), truncate=2.5)
    image = _exposed(rng, image * balance * np.exp([warm, green, -warm]))
    noise = rng.uniform(0.004, 0.015)
    image = image + noise * np.sqrt(np.abs(image) + 0.02) * rng.standard_normal(image.shape)
    values = np.clip(image, 0.0, 1.0) ** (1.0 / rng.uniform(1.7, 2.3))
    colour: NDArray[np.uint8] = np.rint(255.0 * values).astype(np.uint8)
    return colour
