"""Curiosity's hardware as layers to lay over a scene.

`arm` draws the arm's tools and `deck` the parts on the deck; here are the others:

- Mastcam: the white head on its neck, a big round window above two square hoods.
- Wheel: a cylinder with zigzag treads, often torn, and the spokes inside its rim.
- Wheel joint: tubes meeting in a hub with a circle of bolts.
"""

from collections.abc import Callable

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from marsbench.demo.art import shapes, terrain
from marsbench.demo.art.shapes import BLACK, Canvas, Place
from marsbench.demo.art.terrain import Field
from marsbench.demo.rover.curiosity import arm, deck

LEAST = 0.17
"""Least share of the frame covered by a part."""

HIDDEN = 0.1
"""Share of the pictures with a margin hidden by something in front."""


def part(rng: Generator, name: str, side: int) -> NDArray[np.float64]:
    """Draw a part from a random point of view under a random sun.

    Args:
        name: Class name, one of `HARDWARE`.

    Returns:
        Red, green and blue in linear light and opacity, each in [0, 1], (side, side, 4).
    """
    for _ in range(6):
        layer = _DRAW[name](rng, side)
        # Reject views that miss the part.
        if layer[..., 3].mean() >= LEAST:
            break
    if rng.uniform() < HIDDEN:
        _hide(layer, rng)
    return layer


def _hide(layer: NDArray[np.float64], rng: Generator) -> None:
    """Hide a margin or a corner behind a near object out of focus."""
    side = layer.shape[0]
    depth = terrain.along(side, rng.uniform(0.0, 360.0)) / side - rng.uniform(0.3, 0.42)
    opacity = terrain.smoothstep(depth, -0.02, rng.uniform(0.01, 0.06))[..., None]
    level = float(layer[..., :3].mean()) * rng.uniform(0.3, 2.0)
    layer[..., :3] += opacity * (np.array(shapes.grey(rng, 0.9, 1.1)) * level - layer[..., :3])
    layer[..., 3:] += opacity * (1.0 - layer[..., 3:])


# --- mast and wheels -------------------------------------------------------------------------


def _mastcam(rng: Generator, side: int) -> NDArray[np.float64]:
    canvas = shapes.view(rng, side, rng.uniform(0.75, 1.1), turn=25.0, drift=0.08, squash=0.85)
    coat = shapes.white(rng)
    neck = shapes.box(canvas.at(0.0, 1.3), 0.2, 0.9)
    canvas.paint(neck, shapes.darker(coat, 0.9), -0.2, bevel=0.2, gloss=0.1)
    collar = shapes.box(canvas.at(0.0, 0.62), 0.32, 0.12, 0.03)
    canvas.paint(collar, shapes.grey(rng, 0.08, 0.3), 0.0, bevel=0.1)

    def head(p: Place) -> Field:
        return shapes.box((p[0], p[1] + 0.32), 0.72, 0.44, 0.08)

    canvas.wall(head, -0.5, 0.0, shapes.darker(coat, 0.6))
    canvas.paint(head(canvas.at()), coat, 0.0, bevel=0.06, gloss=0.1)
    window = canvas.at(0.0, -0.4)
    canvas.paint(shapes.disc(window, 0.3), shapes.darker(coat, 0.6), 0.05, bevel=0.05)
    canvas.paint(shapes.disc(window, 0.22), (0.012, 0.012, 0.02), 0.0, gloss=0.3)
    glass = shapes.disc((window[0] - rng.uniform(-0.08, 0.08), window[1] + 0.06), 0.06)
    canvas.paint(glass, (0.3, 0.33, 0.45), gloss=0.9)
    bar = shapes.box(canvas.at(0.0, 0.28, z=0.1), 0.92, 0.2, 0.03)
    canvas.paint(bar, shapes.darker(coat, 0.75), 0.1, bevel=0.05, gloss=0.1)
    for x, wide, hole in ((-0.38, 0.19, 0.13), (0.4, 0.16, 0.09)):
        q = canvas.at(x, 0.28, z=0.3)
        canvas.paint(shapes.box(q, wide, wide, 0.02), BLACK, 0.3, bevel=0.03)
        canvas.paint(shapes.box(q, hole, hole), (0.3, 0.29, 0.28), 0.2)
        canvas.paint(shapes.disc(q, 0.8 * hole), (0.01, 0.01, 0.014), 0.2)
        canvas.paint(shapes.disc((q[0] + 0.03, q[1] + 0.03), 0.03), (0.5, 0.5, 0.6), gloss=1.0)
    for x in (-0.8, -0.66, 0.66, 0.8):
        q = canvas.at(x, 0.28, z=0.15)
        canvas.paint(shapes.disc(q, 0.055), BLACK, 0.2, bevel=0.02)
    return shapes.lit(canvas, rng, dust=0.7)


def _wheel(rng: Generator, side: int) -> NDArray[np.float64]:
    canvas = shapes.view(rng, side, rng.uniform(0.8, 1.3), turn=30.0, squash=0.85)
    paint_wheel(canvas, rng)
    return shapes.lit(canvas, rng, dust=1.4, shadow=0.6)


def paint_wheel(canvas: Canvas, rng: Generator) -> None:
    """Paint a wheel around the origin of a canvas, its axle to the right and its radius 1."""
    skin = shapes.grey(rng, 0.22, 0.42)
    aside = 1.0 if rng.uniform() < 0.5 else -1.0
    bulge = rng.uniform(0.08, 0.38)
    p = canvas.at()
    v = np.clip(p[1], -0.999, 0.999)
    round_off = bulge * np.sqrt(1.0 - v * v)
    x = p[0] * aside
    # The far side curves away behind; the near side shows the inside of the rim.
    tread = np.maximum(np.abs(p[1]) - 1.0, np.maximum(x - 0.72, -x - 0.72 - round_off))
    across = x + round_off
    theta = np.arcsin(v)
    zigzag = np.abs((across * 1.4) - np.floor(across * 1.4 + 0.5)) * 2.0
    ridged = (theta * 12.0 / np.pi * 1.05 + 0.55 * zigzag + rng.uniform()) % 1.0
    ridge = np.clip(1.0 - np.abs(ridged - 0.5) / 0.17, 0.0, 1.0)
    slope = np.sqrt(1.0 - v * v)
    tone = 0.7 + 0.55 * np.minimum(2.0 * ridge, 1.0)
    colour = np.stack([c * tone for c in skin])
    canvas.paint(tread, colour, 0.55 * slope + 0.09 * ridge, gloss=0.45)
    for _ in range(int(rng.integers(0, 6))):
        a, b = rng.uniform(-0.6, 0.5) * aside, rng.uniform(-0.6, 0.6)
        hole = canvas.near(a, b, 0.14)
        q = hole.at(a, b, turn=rng.uniform(0.0, 90.0))
        torn = shapes.ngon((q[0], 1.7 * q[1]), rng.uniform(0.04, 0.1), 4)
        hole.paint(torn, (0.012, 0.011, 0.01), 0.3, gloss=0.0)
    rim = ((x - 0.72) / bulge, p[1])
    outer = (shapes.length(*rim) - 1.0) * bulge
    canvas.paint(outer, shapes.darker(skin, 1.3), 0.55, gloss=0.5)
    canvas.paint(outer + 0.06 * (bulge + 0.1) / 0.3, (0.03, 0.027, 0.025), 0.2, gloss=0.0)
    bore = shapes.length(*rim)
    angle = np.arctan2(rim[1], rim[0]) + 0.7 * bore
    spokes = np.abs(np.sin(3.0 * angle)) * bore * bulge / 3.0 - 0.03
    spokes = np.maximum(np.maximum(spokes, outer + 0.04), (0.25 - bore) * bulge)
    canvas.paint(spokes, shapes.darker(skin, 0.9), 0.4, gloss=0.7)
    canvas.paint((bore - 0.28) * bulge, shapes.darker(skin, 0.8), 0.5, bevel=0.05, gloss=0.5)


def _wheel_joint(rng: Generator, side: int) -> NDArray[np.float64]:
    canvas = shapes.view(rng, side, rng.uniform(0.95, 1.2), turn=20.0, drift=0.08, squash=0.8)
    tube = shapes.grey(rng, 0.35, 0.65)
    sign = 1.0 if rng.uniform() < 0.5 else -1.0
    p = canvas.at()
    far = (2.4 * sign, -rng.uniform(1.1, 1.5))
    canvas.paint(shapes.rod(p, (0.0, 0.0), far, 0.27), tube, -0.2, bevel=0.27, gloss=0.4)
    down = (rng.uniform(-0.35, 0.05) * sign, 2.4)
    canvas.paint(shapes.rod(p, (0.0, 0.1), down, 0.24), shapes.darker(tube, 0.9), -0.1, bevel=0.24)
    cuff = canvas.at(0.2 * down[0], 0.75)
    canvas.paint(shapes.box(cuff, 0.34, 0.12, 0.04), shapes.grey(rng, 0.1, 0.4), 0.1, bevel=0.1)
    q = canvas.at(turn=float(np.rad2deg(np.arctan2(far[1], far[0]))))
    canvas.paint(shapes.box((q[0] - 0.8, q[1]), 0.1, 0.36, 0.04), shapes.metal(rng), 0.0, bevel=0.1)
    steel = shapes.metal(rng)
    canvas.wall(lambda s: shapes.disc(s, 0.58), 0.0, 0.35, shapes.darker(steel, 0.5))
    hub = canvas.at(z=0.35)
    canvas.paint(shapes.disc(hub, 0.58), steel, 0.35, bevel=0.08, gloss=0.6)
    canvas.paint(shapes.disc(hub, 0.3), shapes.darker(steel, 0.7), 0.45, bevel=0.1, gloss=0.6)
    for x, y in shapes.around(10, 0.45, rng.uniform(0.0, 36.0)):
        canvas.screw(x, y, 0.06, 0.43)
    bow = canvas.at(-0.5 * sign, 0.2)
    loop = np.maximum(shapes.ring(bow, rng.uniform(0.5, 0.65), 0.09), sign * bow[0] - 0.2)
    canvas.paint(loop, (0.55, 0.52, 0.46), 0.1, bevel=0.045, gloss=0.1)
    return shapes.lit(canvas, rng, dust=1.0)


_DRAW: dict[str, Callable[[Generator, int], NDArray[np.float64]]] = {
    "Wheel": _wheel,
    "Mastcam Calibration Target": deck.mastcam_target,
    "MAHLI Calibration Target": deck.mahli_target,
    "Observation Tray": deck.observation_tray,
    "ChemCam Calibration Target": deck.chemcam_target,
    "Portion Box": arm.portion_box,
    "Rover Rear Deck": deck.rear_deck,
    "Inlet": deck.inlet,
    "Turret": arm.turret,
    "Alpha Particle X-Ray Spectrometer (APXS)": arm.apxs,
    "Portion Tube": arm.portion_tube,
    "MAHLI": arm.mahli,
    "Wheel Joint": _wheel_joint,
    "Drill": arm.drill,
    "REMS-UV": deck.rems_uv,
    "APXS Calibration Target": deck.apxs_target,
    "CheMin Inlet Open": deck.chemin_inlet,
    "Dust Removal Tool (DRT)": arm.brush,
    "Scoop": arm.scoop,
    "Mastcam": _mastcam,
    "Portion Tube Opening": arm.tube_opening,
    "Arm Cover": arm.arm_cover,
}

HARDWARE: tuple[str, ...] = tuple(_DRAW)
"""Names of the hardware classes, from most to least frequent."""
