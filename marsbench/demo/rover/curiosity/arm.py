"""Tools and sample hardware on Curiosity's arm, as layers.

The arm shows its tools to the cameras in a few taught poses: each tool strays by some 25 degrees
from its habitual turn, round tools are seen at any. Behind is ground far below or a piece of the
arm. The tools differ in outline and layout:

- APXS: a round head end on, six sources in a dark recess inside a contact ring with three pads.
- MAHLI: a boxy head around a lens with pairs of lamps, its dust cover swung aside.
- Drill: a fluted bit from a stepped chuck between two prongs.
- DRT: two fans of bristles on a spindle before a round housing.
- Scoop: a rounded shovel with a rim, holding soil. Turret: many tools around one hub.
- Portion box: nested rectangular walls down to a hole. Portion tube: a thin tapering tube.
- Portion tube opening: the same end on, a thick ring with clods, a threaded dark bore.
- Arm cover: a smooth white dome with a flange of bolts over a gold bellows.

Anderson et al. 2012, https://doi.org/10.1007/s11214-012-9898-9, describe the sample hardware.
"""

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy import ndimage

from marsbench.demo.art import shapes
from marsbench.demo.art.shapes import BLACK, DUST, KAPTON, Canvas, Place
from marsbench.demo.art.terrain import Field

POSE = 25.0
"""Greatest turn from the habitual pose of a tool, in degrees."""


def _tool(
    rng: Generator, side: int, low: float, high: float, squash: float = 0.8, turn: float = POSE
) -> Canvas:
    """View of a tool on the arm."""
    return shapes.view(rng, side, rng.uniform(low, high), turn=turn, drift=0.07, squash=squash)


def _backdrop(canvas: Canvas, rng: Generator, clear: float) -> None:
    """Sometimes paint a piece of the arm behind, out to the frame's border."""
    if rng.uniform() < 0.5:
        return
    turn = rng.uniform(0.0, 360.0)
    tone = shapes.grey(rng, 0.08, 0.5)
    p = canvas.at(turn=turn)
    wide = rng.uniform(0.2, 0.4)
    piece = np.maximum(np.abs(p[1] - rng.uniform(-0.5, 0.5)) - wide, 0.3 * clear - p[0])
    canvas.paint(piece, tone, -0.6, bevel=wide, gloss=0.3)


# --- tools of the arm ------------------------------------------------------------------------


def apxs(rng: Generator, side: int) -> NDArray[np.float64]:
    """Round head end on: contact ring with three pads, six sources in the recess."""
    canvas = _tool(rng, side, 0.75, 1.15, turn=180.0)
    _backdrop(canvas, rng, 0.8)
    bright = shapes.grey(rng, 0.4, 0.65)
    turn = rng.uniform(0.0, 120.0)
    canvas.wall(lambda p: shapes.disc(p, 0.72), -0.9, 0.0, shapes.darker(bright, 0.5))
    for x, y in shapes.around(3, 0.78, turn):
        pad = shapes.rod(canvas.at(), (0.0, 0.0), (x, y), 0.17)
        canvas.paint(pad, shapes.darker(bright, 0.8), -0.05, bevel=0.05, gloss=0.7)
    canvas.paint(shapes.disc(canvas.at(), 0.76), bright, -0.03, bevel=0.05, gloss=0.8)
    for x, y in shapes.around(3, 0.8, turn):
        spot = canvas.near(x, y, 0.12)
        p = spot.at(x, y)
        spot.paint(shapes.disc(p, 0.11), (0.06, 0.06, 0.06), 0.08, bevel=0.05, gloss=0.0)
    p = canvas.at()
    canvas.paint(shapes.disc(p, 0.54), BLACK, -0.2, bevel=-0.08, gloss=0.1)
    for x, y in shapes.around(6, 0.36, turn + 30.0):
        spot = canvas.near(x, y, 0.13)
        q = spot.at(x, y)
        spot.paint(shapes.disc(q, 0.125), shapes.darker(KAPTON, 1.2), -0.16, bevel=0.05, gloss=0.9)
        spot.paint(shapes.disc(q, 0.05), (0.02, 0.02, 0.02), gloss=0.0)
    canvas.paint(shapes.disc(p, 0.15), shapes.metal(rng), -0.12, bevel=0.05, gloss=0.9)
    canvas.paint(shapes.disc(p, 0.07), (0.1, 0.1, 0.1), gloss=0.3)
    return shapes.lit(canvas, rng, dust=0.7)


def mahli(rng: Generator, side: int) -> NDArray[np.float64]:
    """Camera head: lens ring, pairs of lamps, the dust cover swung aside."""
    canvas = _tool(rng, side, 0.75, 1.1)
    _backdrop(canvas, rng, 0.8)
    body = shapes.grey(rng, 0.12, 0.4)

    def head(p: Place) -> Field:
        return shapes.box(p, 0.85, 0.62, 0.18)

    canvas.wall(head, -0.5, 0.0, shapes.darker(body, 0.5))
    canvas.paint(head(canvas.at()), body, 0.0, bevel=0.06, gloss=0.3)
    # The dust cover on its arm, open: a dish with a window in it.
    sign = 1.0 if rng.uniform() < 0.5 else -1.0
    arm = shapes.rod(canvas.at(), (0.6 * sign, 0.45), (0.75 * sign, 1.0), 0.12)
    canvas.paint(arm, shapes.darker(body, 0.8), 0.05, bevel=0.1)
    q = canvas.at(0.7 * sign, 1.12)
    canvas.paint(shapes.disc(q, 0.4), shapes.metal(rng), 0.1, bevel=0.05, gloss=0.6)
    canvas.paint(shapes.disc(q, 0.3), (0.4, 0.2, 0.06), 0.1, bevel=0.1, gloss=0.4)
    for x in (-0.66, 0.66):
        for y in (-0.2, 0.2):
            lamp = canvas.near(x, y, 0.14)
            p = lamp.at(x, y)
            lamp.paint(shapes.disc(p, 0.13), (0.5, 0.5, 0.5), 0.02, bevel=0.03, gloss=0.6)
            lamp.paint(shapes.disc(p, 0.095), (0.85, 0.8, 0.5), 0.02, gloss=0.4)
    p = canvas.at()
    canvas.wall(lambda q: shapes.disc(q, 0.5), 0.0, 0.3, shapes.darker(body, 0.4))
    p = canvas.at(z=0.3)
    for radius, level, z in ((0.5, 0.5, 0.3), (0.42, 0.05, 0.25), (0.34, 0.35, 0.28)):
        canvas.paint(shapes.disc(p, radius), (level, level, level), z, bevel=0.04, gloss=0.7)
    canvas.paint(shapes.disc(p, 0.27), (0.012, 0.012, 0.018), 0.1, bevel=0.1, gloss=0.2)
    canvas.paint(shapes.ring(p, 0.18, 0.015), (0.1, 0.1, 0.14), gloss=0.2)
    x, y = rng.uniform(-0.1, 0.1, 2)
    canvas.paint(shapes.disc((p[0] - x, p[1] - y), 0.05), (0.6, 0.62, 0.7), gloss=1.0)
    return shapes.lit(canvas, rng, dust=0.7)


def drill(rng: Generator, side: int) -> NDArray[np.float64]:
    """Fluted bit from a stepped chuck between two prongs."""
    canvas = _tool(rng, side, 0.85, 1.2, 0.85)
    body, steel = shapes.grey(rng, 0.2, 0.5), shapes.metal(rng)
    canvas.paint(shapes.box(canvas.at(0.0, -1.15), 0.62, 0.5, 0.1), body, -0.3, bevel=0.4)
    canvas.paint(shapes.box(canvas.at(0.0, -0.72), 0.72, 0.12, 0.03), steel, 0.2, bevel=0.06)
    for x in (-0.5, -0.2, 0.2, 0.5):
        canvas.screw(x, -0.72, 0.06, 0.26)
    for x in (-0.52, 0.52):
        prong = shapes.rod(canvas.at(), (x, -0.7), (0.92 * x, 0.72), 0.1, 0.075)
        canvas.paint(prong, steel, 0.0, bevel=0.1, gloss=0.8)
        foot = shapes.box(canvas.at(0.92 * x, 0.76), 0.1, 0.1, 0.04)
        canvas.paint(foot, (0.08, 0.08, 0.08), 0.1, bevel=0.05)
    places = (-0.62, -0.4, -0.38, -0.22, -0.2, -0.06, 0.02, 0.22)
    chuck, high = shapes.lathe(canvas.at(), places, (0.34, 0.34, 0.27, 0.27, 0.32, 0.32, 0.2, 0.14))
    canvas.paint(chuck, shapes.darker(steel, 0.8), high, gloss=0.8)
    for y in (-0.39, -0.21):
        groove = np.maximum(chuck, np.abs(canvas.v - y) - 0.02)
        canvas.paint(groove, (0.08, 0.08, 0.08), gloss=0.2)
    bit = canvas.near(0.0, 0.55, 0.5)
    p = bit.at()
    shaft = np.maximum(np.abs(p[0]) - np.clip(2.2 * (0.95 - p[1]), 0.0, 0.115), 0.2 - p[1])
    shaft = np.maximum(shaft, p[1] - 0.94)
    # Flutes climb around the bit.
    phase = 9.0 * (p[1] + 0.9 * p[0]) + rng.uniform()
    flute = 0.5 + 0.5 * np.sin(2.0 * np.pi * phase * 0.55)
    tone = 0.08 + 0.5 * flute
    bit.paint(shaft, np.stack([tone, tone, 0.98 * tone]), 0.1 + 0.06 * flute, bevel=0.11, gloss=0.8)
    return shapes.lit(canvas, rng, dust=0.8)


def brush(rng: Generator, side: int) -> NDArray[np.float64]:
    """Dust removal tool: two fans of bristles on a spindle before a round housing."""
    canvas = _tool(rng, side, 0.95, 1.2, 0.85)
    _backdrop(canvas, rng, 0.7)
    housing = shapes.metal(rng)
    canvas.wall(lambda p: shapes.disc(p, 0.5), -1.0, 0.0, shapes.darker(housing, 0.5))
    canvas.paint(shapes.disc(canvas.at(), 0.52), housing, 0.0, bevel=0.05, gloss=0.8)
    canvas.paint(shapes.ring(canvas.at(), 0.44, 0.04), BLACK, -0.03, gloss=0.1)
    turn = rng.uniform(-12.0, 12.0)
    spread = np.deg2rad(rng.uniform(26.0, 36.0))
    strands = rng.uniform(0.4, 1.0, 64)
    reach = 1.02 + 0.05 * rng.standard_normal(64)
    for half in (0.0, 180.0):
        p = canvas.at(z=0.25, turn=turn + half)
        rho, angle = shapes.length(*p), np.arctan2(p[1], p[0])
        # Wires fan out from the spindle, each of its own tone and length.
        wire = (angle + spread) / (2.0 * spread) * 13.0 + (4.0 if half else 32.0)
        index = np.clip(wire, 0, 63).astype(np.int64)
        between = np.abs(wire - np.floor(wire) - 0.5)
        tone = 0.7 * strands[index] * (1.0 - 1.7 * between)
        fan = np.maximum(np.maximum((np.abs(angle) - spread) * rho, rho - reach[index]), 0.2 - rho)
        height = 0.25 + 0.12 * (0.5 - between)
        canvas.paint(fan, np.stack([tone * 1.08, tone, 0.9 * tone]), height, gloss=0.5)
        clamp = shapes.box((p[0] - 0.3, p[1]), 0.1, 0.22, 0.03)
        canvas.paint(clamp, shapes.darker(housing, 0.8), 0.35, bevel=0.06, gloss=0.8)
    spindle = canvas.at(z=0.3)
    canvas.paint(shapes.disc(spindle, 0.2), housing, 0.35, bevel=0.06, gloss=0.9)
    canvas.paint(shapes.ngon(spindle, 0.09, 6), BLACK, 0.4, gloss=0.2)
    return shapes.lit(canvas, rng, dust=0.6)


def scoop(rng: Generator, side: int) -> NDArray[np.float64]:
    """Rounded shovel with a rim, partly filled with soil."""
    canvas = _tool(rng, side, 0.9, 1.15)
    steel = shapes.metal(rng)
    canvas.paint(
        shapes.box(canvas.at(0.0, -1.1), 0.4, 0.6, 0.1), shapes.darker(steel, 0.7), 0.0, bevel=0.3
    )
    hinge = shapes.rod(canvas.at(), (-0.66, -0.55), (0.66, -0.55), 0.17)
    canvas.paint(hinge, shapes.darker(steel, 0.85), 0.1, bevel=0.17, gloss=0.7)
    canvas.screw(-0.7, -0.55, 0.08, 0.27)
    canvas.screw(0.7, -0.55, 0.08, 0.27)

    def shovel(p: Place, inset: float) -> Field:
        rounded = shapes.length(p[0] / 0.68, np.maximum(p[1] - 0.1, 0.0) / 0.82)
        return np.maximum((rounded - 1.0) * 0.7 + inset, -0.45 - p[1] + inset)

    canvas.wall(lambda p: shovel(p, 0.0), -0.4, 0.1, shapes.darker(steel, 0.5))
    p = canvas.at(z=0.1)
    canvas.paint(shovel(p, 0.0), steel, 0.1, bevel=0.03, gloss=0.8)
    canvas.paint(shovel(p, 0.075), shapes.darker(steel, 0.5), 0.0, bevel=-0.4, gloss=0.6)
    soil = shapes.speckled(rng, canvas, shapes.darker(DUST, rng.uniform(0.45, 0.8)), 0.3)
    lumps = ndimage.gaussian_filter(rng.standard_normal(p[0].shape), 2.0) * 4.0
    edge = rng.uniform(-0.3, 0.0) - p[1] * np.sign(rng.uniform(-0.3, 1.0)) + 0.12 * lumps
    canvas.paint(np.maximum(shovel(p, 0.1), edge), soil, -0.25 + 0.06 * lumps, gloss=0.0)
    return shapes.lit(canvas, rng, dust=0.8)


def turret(rng: Generator, side: int) -> NDArray[np.float64]:
    """Cluster of tools around one hub at the end of the arm."""
    canvas = _tool(rng, side, 0.95, 1.2, 0.88)
    tones = [shapes.grey(rng, 0.8 * t, 1.2 * t) for t in (0.4, 0.3, 0.1, 0.2, 0.5, 0.3)]
    arm = rng.uniform(-110.0, -70.0)
    p = canvas.at(turn=arm)
    canvas.paint(np.maximum(np.abs(p[1]) - 0.2, -p[0]), shapes.white(rng), -0.5, bevel=0.2)
    turn = arm + rng.uniform(50.0, 70.0)
    # Drill: a long stepped cone with a prong on either side.
    q = canvas.at(turn=turn - 90.0)
    canvas.paint(shapes.rod(q, (0.0, 0.2), (0.0, 0.6), 0.24), tones[0], 0.0, bevel=0.24, gloss=0.5)
    canvas.paint(shapes.rod(q, (0.0, 0.6), (0.0, 1.05), 0.12, 0.03), tones[1], 0.1, bevel=0.1)
    for x in (-0.2, 0.2):
        canvas.paint(shapes.rod(q, (x, 0.5), (x, 1.0), 0.04), (0.5, 0.5, 0.5), 0.0, bevel=0.04)
    # Sample handler: stacked blocks.
    q = canvas.at(turn=turn + 60.0)
    for x, wide, tall, z in (
        (0.55, 0.34, 0.3, 0.0),
        (0.68, 0.22, 0.2, 0.25),
        (0.4, 0.1, 0.24, 0.3),
    ):
        shape = shapes.box((q[0] - x, q[1]), wide, tall, 0.03)
        canvas.paint(shape, tones[2] if z else tones[3], z, bevel=0.05, gloss=0.5)
    # Brush and camera: a can and a box with a lens.
    (x, y), (a, b), (c, d) = shapes.around(3, 0.62, turn + 105.0)[:3]
    canvas.paint(shapes.disc(canvas.at(x, y), 0.27), tones[4], 0.1, bevel=0.12, gloss=0.7)
    canvas.paint(shapes.ring(canvas.at(x, y), 0.17, 0.06), BLACK, 0.1)
    canvas.paint(
        shapes.box(canvas.at(a, b, turn=turn), 0.28, 0.24, 0.06), tones[5], 0.1, bevel=0.06
    )
    canvas.paint(shapes.disc(canvas.at(a, b), 0.17), (0.5, 0.49, 0.47), 0.25, bevel=0.05, gloss=0.7)
    canvas.paint(shapes.disc(canvas.at(a, b), 0.11), (0.015, 0.015, 0.02), 0.2)
    canvas.paint(shapes.disc(canvas.at(0.9 * c, 0.9 * d), 0.25), KAPTON, 0.15, bevel=0.1, gloss=0.6)
    canvas.paint(shapes.disc(canvas.at(0.9 * c, 0.9 * d), 0.14), BLACK, 0.1)
    hub = canvas.at()
    canvas.paint(shapes.disc(hub, 0.36), shapes.metal(rng), 0.3, bevel=0.08, gloss=0.7)
    canvas.paint(shapes.disc(hub, 0.18), (0.12, 0.12, 0.12), 0.42, bevel=0.08)
    for x, y in shapes.around(8, 0.28, turn):
        canvas.screw(x, y, 0.04, 0.38)
    for radius, first in ((0.5, 0.0), (0.66, 130.0)):
        q = canvas.at(0.1, -0.1, turn=turn + first)
        bow = np.maximum(shapes.ring(q, radius, 0.08), 0.5 * np.abs(q[1]) - q[0])
        canvas.paint(bow, (0.25, 0.24, 0.22), 0.35, bevel=0.04, gloss=0.1)
    return shapes.lit(canvas, rng, dust=0.8)


# --- sample handling -------------------------------------------------------------------------


def portion_box(rng: Generator, side: int) -> NDArray[np.float64]:
    """Rectangular chamber whose walls step down to a hole in powder."""
    canvas = _tool(rng, side, 0.85, 1.2, 0.8)
    steel = shapes.metal(rng)
    canvas.wall(lambda p: shapes.box(p, 0.98, 0.78, 0.06), -0.3, 0.0, shapes.darker(steel, 0.5))
    canvas.paint(shapes.box(canvas.at(), 0.98, 0.78, 0.06), steel, 0.0, bevel=0.04, gloss=0.7)
    for x in (-0.86, 0.0, 0.86):
        for y in (-0.66, 0.66):
            canvas.screw(x, y, 0.065)
    # Each wall steps further down towards the hole.
    for half, tall, z, level in (
        (0.74, 0.54, -0.2, 0.5),
        (0.55, 0.38, -0.4, 0.75),
        (0.36, 0.22, -0.6, 0.45),
    ):
        p = canvas.at(z=0.4 * z)
        canvas.paint(
            shapes.box(p, half, tall, 0.02), shapes.darker(steel, level), z, bevel=-0.1, gloss=0.5
        )
    p = canvas.at(rng.uniform(-0.15, 0.15), z=-0.24)
    powder = shapes.speckled(rng, canvas, shapes.darker(DUST, rng.uniform(0.6, 1.1)), 0.25)
    lumps = ndimage.gaussian_filter(rng.standard_normal(p[0].shape), 1.6) * 3.0
    rim = shapes.box(canvas.at(z=-0.16), 0.54, 0.37, 0.1)
    heap = rim + 0.04 * lumps + rng.uniform(-0.02, 0.12)
    canvas.paint(heap, powder, -0.5 + 0.04 * lumps, gloss=0.0)
    canvas.paint(shapes.disc(p, 0.14), (0.012, 0.012, 0.012), -0.9, gloss=0.0)
    return shapes.lit(canvas, rng, dust=0.8)


def portion_tube(rng: Generator, side: int) -> NDArray[np.float64]:
    """Thin tapering tube with bands, from its flange to its mouth."""
    canvas = _tool(rng, side, 0.85, 1.1, 0.85)
    steel = shapes.grey(rng, 0.4, 0.65)
    canvas.paint(
        shapes.box(canvas.at(0.0, -1.25), 1.1, 0.5, 0.08),
        shapes.grey(rng, 0.1, 0.4),
        -0.1,
        bevel=0.1,
    )
    canvas.paint(
        shapes.box(canvas.at(0.0, -0.72), 0.42, 0.1, 0.03),
        shapes.darker(steel, 0.7),
        0.1,
        bevel=0.08,
    )
    canvas.screw(-0.3, -0.72, 0.06, 0.15)
    canvas.screw(0.3, -0.72, 0.06, 0.15)
    places = (-0.7, -0.6, -0.45, -0.44, -0.36, -0.35, 0.1, 0.11, 0.19, 0.2, 0.9, 0.91, 1.0)
    radii = (0.3, 0.28, 0.2, 0.25, 0.25, 0.185, 0.165, 0.21, 0.21, 0.16, 0.135, 0.165, 0.165)
    tube, high = shapes.lathe(canvas.at(), places, radii)
    canvas.paint(tube, steel, high, gloss=0.8)
    mouth = canvas.at(0.0, 1.0)
    canvas.paint(shapes.length(mouth[0], 2.2 * mouth[1]) - 0.15, steel, 0.1, bevel=0.03)
    canvas.paint(shapes.length(mouth[0], 2.2 * mouth[1]) - 0.1, BLACK, 0.0, gloss=0.0)
    return shapes.lit(canvas, rng, dust=0.7)


def tube_opening(rng: Generator, side: int) -> NDArray[np.float64]:
    """Mouth of the tube end on: a thick ring, clods, a threaded dark bore."""
    canvas = _tool(rng, side, 0.9, 1.2, 0.85, turn=180.0)
    steel = shapes.grey(rng, 0.4, 0.65)
    plate = shapes.grey(rng, 0.1, 0.35)
    canvas.paint(shapes.box(canvas.at(z=-0.9), 1.3, 0.4, 0.05), plate, -0.9, bevel=0.06)
    canvas.wall(lambda p: shapes.disc(p, 0.78), -0.9, 0.0, shapes.darker(steel, 0.55))
    p = canvas.at()
    canvas.paint(shapes.disc(p, 0.8), steel, 0.0, bevel=0.1, gloss=0.8)
    canvas.paint(shapes.disc(p, 0.56), shapes.darker(steel, 0.7), 0.0, bevel=-0.5, gloss=0.5)
    # The thread of the bore, each turn deeper than the one before.
    for i, radius in enumerate((0.56, 0.5, 0.44, 0.38)):
        turn = canvas.at(z=-0.05 - 0.07 * i)
        canvas.paint(shapes.disc(turn, radius), shapes.darker(steel, 0.85), -0.1 * i, gloss=0.7)
        canvas.paint(shapes.disc(turn, radius - 0.03), BLACK, -0.15 - 0.1 * i, gloss=0.1)
    # The far end of the bore, displaced by the view along it.
    canvas.paint(shapes.disc(canvas.at(z=-0.33), 0.32), (0.015, 0.014, 0.013), -1.2, gloss=0.0)
    # Clods of powder stick to the rim.
    clods = ndimage.gaussian_filter(rng.standard_normal(p[0].shape), 1.3) * 4.0
    at_rim = np.exp(-(((shapes.length(*p) - 0.55) / 0.12) ** 2))
    share = np.clip(clods * 2.0 - rng.uniform(0.2, 1.4), 0.0, 1.0) * at_rim
    canvas.paint(shapes.disc(p, 0.8), shapes.darker(DUST, 0.9), gloss=0.0, opacity=share)
    return shapes.lit(canvas, rng, dust=0.6)


def arm_cover(rng: Generator, side: int) -> NDArray[np.float64]:
    """White dome over a joint, a flange of bolts, a gold bellows."""
    canvas = _tool(rng, side, 0.9, 1.15, 0.85)
    shell = shapes.white(rng)
    # Folds of the sleeve: a cylinder whose radius swings.
    folds = tuple(float(y) for y in np.arange(0.1, 2.6, 0.09))
    swing = tuple(0.5 if i % 2 else 0.4 for i in range(len(folds)))
    sleeve, high = shapes.lathe(canvas.at(), folds, swing)
    canvas.paint(sleeve, KAPTON, high - 0.35, gloss=0.7)
    crease = np.abs(canvas.v / 0.18 - np.floor(canvas.v / 0.18) - 0.55) * 0.18 - 0.035
    canvas.paint(np.maximum(crease, sleeve), shapes.darker(KAPTON, 0.2), gloss=0.3)
    canvas.paint(
        shapes.box(canvas.at(0.0, 0.12), 0.86, 0.17, 0.05), shapes.metal(rng), 0.2, bevel=0.06
    )
    for x in np.linspace(-0.72, 0.72, 7):
        canvas.screw(float(x), 0.15, 0.07, 0.26)
    p = canvas.at(0.0, -0.66)
    places = (-0.74, -0.72, -0.66, -0.55, -0.38, -0.15, 0.1, 0.62, 0.66)
    radii = (0.05, 0.16, 0.29, 0.44, 0.58, 0.67, 0.7, 0.7, 0.66)
    dome, high = shapes.lathe(p, places, radii)
    canvas.paint(dome, shell, high, gloss=0.1)
    canvas.paint(np.maximum(np.abs(p[1] - 0.12) - 0.02, dome), shapes.darker(shell, 0.5), gloss=0.1)
    return shapes.lit(canvas, rng, dust=0.9)
