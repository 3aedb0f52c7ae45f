"""Hardware on Curiosity's deck as layers: calibration targets, inlets, tray, sensors.

Seen from the mast: upright within some 30 degrees, mostly with deck around. The parts differ in
layout rather than in colour, which dust and light take away:

- Mastcam target: a sundial, concentric rings with a gnomon, a chip in each corner.
- MAHLI target: an upright plate with rows of chips, ever finer bars, a penny.
- ChemCam target: a wide plate with ten discs in staggered rows.
- APXS target: one dark, speckled disc in a bright ring held by three ears.
- REMS-UV: a plate with two rows of three photodiodes, each in the dust its magnet holds.
- Inlet: a domed cover on a hinge arm. CheMin inlet open: a funnel with a mesh, its lid aside.
- Observation tray: one plain bright disc on a stem over bare ground.
- Rear deck: fins of the power source, a hexagonal antenna, a helix, panels, the ground beyond.

Bell et al. 2017, https://doi.org/10.1002/2016EA000219, show the Mastcam target and deck;
Edgett et al. 2012, https://doi.org/10.1007/s11214-012-9910-4, the MAHLI target.
"""

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy import ndimage

from marsbench.demo.art import shapes
from marsbench.demo.art.shapes import BLACK, BLUE, DUST, GREEN, KAPTON, RED, YELLOW, Canvas
from marsbench.demo.art.terrain import Field

UPRIGHT = 30.0
"""Greatest turn of the parts on the deck, in degrees."""


def deck(canvas: Canvas, rng: Generator, clear: float) -> None:
    """Paint deck around the origin with seams, screws and neighbours.

    Args:
        canvas: The canvas to paint.
        clear: Distance from the origin kept free.
    """
    plate = shapes.grey(rng, 0.22, 0.6)
    side = 90.0 * float(rng.integers(4)) + rng.normal(0.0, 4.0)
    reach = clear + (rng.uniform(0.1, 0.5) if rng.uniform() < 0.5 else 4.0)
    edge = canvas.at(turn=side)[0] - reach
    canvas.paint(edge, plate, 0.0, gloss=0.25)
    p = canvas.at(turn=side)
    for offset in rng.uniform(clear, clear + 0.5, 2) * np.array([-1.0, 1.0]):
        canvas.paint(np.abs(p[1] - offset) - 0.012, shapes.darker(plate, 0.3), -0.03)
    if rng.uniform() < 0.6:
        _neighbour(canvas, rng, clear, side + 90.0 * float(rng.integers(1, 4)))
    if rng.uniform() < 0.5:
        x = -clear - rng.uniform(0.08, 0.2)
        bow = 0.08 * np.sin(2.5 * p[1] + rng.uniform(0.0, 6.0))
        cable = np.abs(p[0] - x - bow) - 0.045
        canvas.paint(cable, (0.6, 0.57, 0.5), 0.02, bevel=0.045, gloss=0.0)
    for angle in rng.uniform(0.0, 360.0, int(rng.integers(2, 7))):
        (x, y), *_ = shapes.around(1, clear + rng.uniform(0.1, 0.45), float(angle))
        if edge.size:
            canvas.screw(x, y, 0.045)


def _neighbour(canvas: Canvas, rng: Generator, clear: float, turn: float) -> None:
    """Paint a box or bracket beside the part."""
    x = clear + rng.uniform(0.3, 0.6)
    y = rng.uniform(-0.7, 0.7)
    half = rng.uniform(0.15, 0.35, 2)
    colour = shapes.white(rng) if rng.uniform() < 0.5 else shapes.grey(rng, 0.08, 0.4)

    def shape(p: shapes.Place) -> Field:
        q = shapes.turned(p, turn)
        return shapes.box((q[0] - x, q[1] - y), float(half[0]), float(half[1]), 0.03)

    canvas.wall(shape, 0.0, 0.2, shapes.darker(colour, 0.6))
    canvas.paint(shape(canvas.at(z=0.2)), colour, 0.2, bevel=0.03)


# --- calibration targets ---------------------------------------------------------------------


def mastcam_target(rng: Generator, side: int) -> NDArray[np.float64]:
    """Sundial: grey rings around a gnomon, colour chips in the corners of a square."""
    canvas = shapes.view(rng, side, rng.uniform(0.7, 1.15), turn=UPRIGHT, drift=0.1)
    deck(canvas, rng, 1.0)
    frame = shapes.grey(rng, 0.3, 0.5)
    canvas.wall(lambda p: shapes.box(p, 0.88, 0.88, 0.12), 0.0, 0.15, shapes.darker(frame, 0.5))
    canvas.paint(shapes.box(canvas.at(z=0.15), 0.88, 0.88, 0.12), frame, 0.15, bevel=0.04)
    chips = (BLUE, GREEN, RED, YELLOW)
    for chip, (x, y) in zip(chips, shapes.around(4, 0.95, 45.0), strict=True):
        spot = canvas.near(x, y, 0.25, 0.15)
        p = spot.at(x, y, z=0.15)
        spot.paint(shapes.disc(p, 0.2), (0.55, 0.54, 0.52), 0.17, bevel=0.03, gloss=0.6)
        spot.paint(shapes.disc(p, 0.155), shapes.darker(chip, 1.5), 0.17, gloss=0.0)
    p = canvas.at(z=0.15)
    rings = ((0.66, 0.5), (0.62, 0.1), (0.52, 0.72), (0.36, 0.25), (0.2, 0.045))
    for radius, level in rings:
        tone = (level, level * 0.99, level * 0.97)
        canvas.paint(shapes.disc(p, radius), tone, 0.17 if level == 0.5 else 0.15, gloss=0.05)
    for x, y in shapes.around(6, 0.44, rng.uniform(0.0, 60.0)):
        spot = canvas.near(x, y, 0.06, 0.15)
        spot.paint(shapes.ring(spot.at(x, y, z=0.15), 0.05, 0.03), DUST, gloss=0.0, opacity=0.8)
    for x, y in shapes.around(14, 0.57, rng.uniform(0.0, 25.0)):
        spot = canvas.near(x, y, 0.05, 0.15)
        spot.paint(shapes.box(spot.at(x, y, z=0.15), 0.03, 0.02), (0.5, 0.5, 0.5), opacity=0.8)
    # The gnomon leans as the view does, and at least enough to be seen.
    lean = np.array(canvas.lean) + 1e-3
    tip = 0.6 * lean / max(float(np.hypot(*lean)), 0.55)
    end = (float(tip[0]), float(tip[1]))
    azimuth = float(rng.uniform(0.0, 2.0 * np.pi))
    cast = (0.5 * float(np.cos(azimuth)), 0.5 * float(np.sin(azimuth)))
    shade = shapes.rod(p, (0.0, 0.0), cast, 0.05, 0.03)
    canvas.paint(shade, BLACK, gloss=0.0, opacity=0.75)
    canvas.paint(shapes.disc((p[0] - cast[0], p[1] - cast[1]), 0.07), BLACK, opacity=0.75)
    canvas.paint(shapes.rod(p, (0.0, 0.0), end, 0.05, 0.03), (0.45, 0.44, 0.42), 0.2, bevel=0.04)
    ball = shapes.disc((p[0] - end[0], p[1] - end[1]), 0.09)
    canvas.paint(ball, (0.6, 0.58, 0.55), 0.2, bevel=0.09)
    return shapes.lit(canvas, rng, dust=0.7)


def mahli_target(rng: Generator, side: int) -> NDArray[np.float64]:
    """Upright plate: colour chips above, ever finer bars, a penny below."""
    canvas = shapes.view(rng, side, rng.uniform(0.85, 1.25), turn=UPRIGHT, squash=0.8)
    if rng.uniform() < 0.5:
        deck(canvas, rng, 1.05)
    frame = shapes.grey(rng, 0.2, 0.42)
    canvas.wall(lambda p: shapes.box(p, 0.56, 1.0, 0.06), 0.0, 0.1, shapes.darker(frame, 0.4))
    canvas.paint(shapes.box(canvas.at(z=0.1), 0.56, 1.0, 0.06), frame, 0.1, bevel=0.03)
    for x, y in ((-0.48, -0.92), (0.48, -0.92), (-0.48, 0.92), (0.48, 0.92)):
        canvas.screw(x, y, 0.05, 0.1)
    chips = (RED, GREEN, BLUE, (0.16, 0.16, 0.16), (0.4, 0.4, 0.4), (0.75, 0.5, 0.45))
    for i, chip in enumerate(chips):
        x, y = -0.3 + 0.3 * (i % 3), -0.75 + 0.3 * (i // 3)
        spot = canvas.near(x, y, 0.15, 0.1)
        spot.paint(shapes.box(spot.at(x, y, z=0.1), 0.13, 0.13, 0.01), (0.05, 0.05, 0.05), 0.1)
        p = spot.at(x, y, z=0.1)
        spot.paint(shapes.box(p, 0.115, 0.115), shapes.darker(chip, 1.4), 0.12, gloss=0.0)
    panel = canvas.near(0.0, 0.0, 0.5, 0.1)
    p = panel.at(0.0, 0.02, z=0.1)
    panel.paint(shapes.box(p, 0.44, 0.25), (0.78, 0.77, 0.74), 0.11, gloss=0.0)
    # Widths fall by half from left to right, as on a resolution chart.
    for left, width, pitch in ((-0.4, 0.28, 0.14), (-0.1, 0.22, 0.09), (0.14, 0.26, 0.055)):
        cells = np.abs((p[0] - left) / pitch - np.floor((p[0] - left) / pitch) - 0.5) * pitch
        bars = np.maximum(cells - 0.25 * pitch, np.abs(p[1] + 0.1) - 0.1)
        inside = np.abs(p[0] - left - 0.5 * width) - 0.5 * width
        panel.paint(np.maximum(bars, inside), (0.02, 0.02, 0.02), gloss=0.0)
        rows = np.abs(p[1] / pitch - np.floor(p[1] / pitch) - 0.5) * pitch
        lying = np.maximum(rows - 0.25 * pitch, np.abs(p[1] - 0.13) - 0.07)
        panel.paint(np.maximum(lying, inside + 0.02), (0.02, 0.02, 0.02), gloss=0.0)
    penny = canvas.near(-0.1, 0.58, 0.3, 0.1)
    p = penny.at(-0.1, 0.58, z=0.1)
    copper = (0.42, 0.17, 0.07)
    penny.paint(shapes.disc(p, 0.27), (0.08, 0.08, 0.08), 0.08)
    penny.paint(shapes.disc(p, 0.25), copper, 0.13, bevel=0.03, gloss=0.6)
    head = shapes.rod(p, (0.0, 0.1), (0.01, -0.07), 0.1, 0.09)
    penny.paint(head, shapes.darker(copper, 1.35), 0.16, bevel=0.05, gloss=0.6)
    for i in range(4):
        spot = canvas.near(0.34, 0.4 + 0.13 * i, 0.1, 0.1)
        p = spot.at(0.34, 0.4 + 0.13 * i, z=0.1)
        spot.paint(shapes.box(p, 0.1, 0.055), (0.6, 0.6, 0.58), 0.1 + 0.04 * i, gloss=0.1)
    return shapes.lit(canvas, rng, dust=0.8)


def chemcam_target(rng: Generator, side: int) -> NDArray[np.float64]:
    """Wide plate with ten discs in staggered rows, pitted by the laser."""
    canvas = shapes.view(rng, side, rng.uniform(0.8, 1.2), turn=UPRIGHT, drift=0.1)
    deck(canvas, rng, 1.05)
    plate = shapes.grey(rng, 0.3, 0.55)
    canvas.wall(lambda p: shapes.box(p, 1.0, 0.68, 0.1), 0.0, 0.12, shapes.darker(plate, 0.5))
    canvas.paint(shapes.box(canvas.at(z=0.12), 1.0, 0.68, 0.1), plate, 0.12, bevel=0.04, gloss=0.6)
    places = [(-0.5 + 0.5 * i, y) for y in (-0.42, 0.42) for i in range(3)]
    places += [(-0.75 + 0.5 * i, 0.0) for i in range(4)]
    tones = rng.permutation([0.03, 0.05, 0.09, 0.16, 0.3, 0.5, 0.65, 0.12, 0.07, 0.4])
    for (x, y), tone in zip(places, tones, strict=True):
        spot = canvas.near(x, y, 0.2, 0.12)
        p = spot.at(x, y, z=0.12)
        spot.paint(shapes.disc(p, 0.2), (0.5, 0.49, 0.47), 0.12, bevel=0.03, gloss=0.8)
        sample = (tone * rng.uniform(0.9, 1.15), tone, tone * rng.uniform(0.85, 1.1))
        spot.paint(shapes.disc(p, 0.15), shapes.speckled(rng, spot, sample, 0.15), 0.09, gloss=0.05)
        pits = int(rng.integers(0, 5))
        for i in range(pits):
            pit = shapes.disc((p[0] + 0.05 * (i - 1.5), p[1] - rng.uniform(-0.04, 0.04)), 0.02)
            spot.paint(pit, shapes.darker(sample, 0.3), gloss=0.0)
    for x, y in ((-0.88, -0.55), (0.88, -0.55), (-0.88, 0.55), (0.88, 0.55)):
        canvas.screw(x, y, 0.06, 0.12)
    return shapes.lit(canvas, rng, dust=0.7)


def apxs_target(rng: Generator, side: int) -> NDArray[np.float64]:
    """Slab of dark basalt in a bright ring, held to the deck by three ears."""
    canvas = shapes.view(rng, side, rng.uniform(0.7, 1.1), turn=UPRIGHT, squash=0.75)
    deck(canvas, rng, 1.05)
    bright = shapes.grey(rng, 0.5, 0.65)
    for x, y in shapes.around(3, 0.86, rng.uniform(0.0, 120.0)):
        arm = shapes.rod(canvas.at(z=0.05), (0.0, 0.0), (x, y), 0.17)
        canvas.paint(arm, shapes.darker(bright, 0.8), 0.05, bevel=0.03, gloss=0.7)
        canvas.screw(x, y, 0.09, 0.05)
    canvas.wall(lambda p: shapes.disc(p, 0.76), 0.0, 0.2, shapes.darker(bright, 0.5))
    p = canvas.at(z=0.2)
    canvas.paint(shapes.disc(p, 0.76), bright, 0.2, bevel=0.06, gloss=0.9)
    basalt = shapes.speckled(rng, canvas, shapes.grey(rng, 0.05, 0.1), 0.5)
    canvas.paint(shapes.disc(p, 0.6), basalt, 0.17, gloss=0.0)
    return shapes.lit(canvas, rng, dust=0.5)


def rems_uv(rng: Generator, side: int) -> NDArray[np.float64]:
    """Plate with two rows of three photodiodes, each in a ring of dust held by its magnet."""
    canvas = shapes.view(rng, side, rng.uniform(0.75, 1.15), turn=UPRIGHT, drift=0.1)
    deck(canvas, rng, 1.05)
    plate = shapes.grey(rng, 0.4, 0.65)
    canvas.wall(lambda p: shapes.box(p, 0.86, 0.7, 0.04), 0.0, 0.2, shapes.darker(plate, 0.5))
    canvas.paint(shapes.box(canvas.at(z=0.2), 0.86, 0.7, 0.04), plate, 0.2, bevel=0.04)
    for x, y in [(-0.52 + 0.52 * i, y) for y in (-0.32, 0.32) for i in range(3)]:
        spot = canvas.near(x, y, 0.3, 0.2)
        p = spot.at(x, y, z=0.2)
        rho = shapes.length(*p)
        halo = np.exp(-(((rho - 0.19) / 0.07) ** 2)) * rng.uniform(0.6, 0.95)
        spot.paint(shapes.disc(p, 0.29), shapes.darker(DUST, 0.8), gloss=0.0, opacity=halo)
        spot.paint(shapes.ring(p, 0.13, 0.05), (0.6, 0.59, 0.56), 0.22, bevel=0.02, gloss=0.8)
        spot.paint(shapes.disc(p, 0.11), BLACK, 0.2, gloss=0.3)
        glass = (0.3, 0.32, 0.4)
        spot.paint(shapes.disc((p[0] + 0.03, p[1] + 0.03), 0.04), glass, gloss=0.8)
    for x in (-0.78, 0.78):
        canvas.screw(x, 0.0, 0.06, 0.2)
    return shapes.lit(canvas, rng, dust=0.7)


# --- inlets and tray -------------------------------------------------------------------------


def inlet(rng: Generator, side: int) -> NDArray[np.float64]:
    """Domed round cover on a hinge arm reaching from a motor block."""
    canvas = shapes.view(rng, side, rng.uniform(0.7, 1.1), turn=UPRIGHT)
    deck(canvas, rng, 1.1)
    cover = shapes.grey(rng, 0.35, 0.65)
    aside = 1.0 if rng.uniform() < 0.5 else -1.0
    base = shapes.grey(rng, 0.2, 0.4)
    canvas.paint(shapes.disc(canvas.at(-0.2 * aside), 0.78), base, 0.04, bevel=0.04)
    for x, y in shapes.around(8, 0.7, rng.uniform(0.0, 45.0)):
        canvas.screw(x - 0.2 * aside, y, 0.055, 0.04)
    canvas.wall(lambda p: shapes.disc((p[0] + 0.2 * aside, p[1]), 0.58), 0.0, 0.2, base)
    p = canvas.at(-0.2 * aside, z=0.2)
    canvas.paint(shapes.disc(p, 0.58), cover, 0.16, bevel=0.06, gloss=0.5)
    canvas.paint(shapes.disc(p, 0.44), cover, 0.2, bevel=0.3, gloss=0.5)
    arm = shapes.rod(canvas.at(z=0.3), (-0.2 * aside, 0.0), (0.75 * aside, 0.0), 0.1, 0.16)
    canvas.paint(arm, shapes.darker(cover, 0.8), 0.5, bevel=0.08, gloss=0.5)
    canvas.screw(-0.2 * aside, 0.0, 0.13, 0.58)
    block = shapes.grey(rng, 0.15, 0.4)

    def motor(q: shapes.Place) -> Field:
        return shapes.box((q[0] - 0.78 * aside, q[1]), 0.22, 0.5, 0.06)

    canvas.wall(motor, 0.0, 0.35, shapes.darker(block, 0.5))
    canvas.paint(motor(canvas.at(z=0.35)), block, 0.35, bevel=0.2)
    return shapes.lit(canvas, rng, dust=0.9)


def chemin_inlet(rng: Generator, side: int) -> NDArray[np.float64]:
    """Funnel closed by a mesh, and its lid swung aside with the seal showing."""
    canvas = shapes.view(rng, side, rng.uniform(0.9, 1.2), turn=UPRIGHT, drift=0.09)
    deck(canvas, rng, 1.2)
    bright = shapes.grey(rng, 0.4, 0.65)
    aside = 1.0 if rng.uniform() < 0.5 else -1.0
    x = 0.42 * aside
    canvas.wall(lambda p: shapes.disc((p[0] + x, p[1]), 0.6), 0.0, 0.15, shapes.darker(bright, 0.5))
    funnel = canvas.near(-x, 0.0, 0.62, 0.15)
    p = funnel.at(-x, z=0.15)
    funnel.paint(shapes.disc(p, 0.6), bright, 0.15, bevel=0.04, gloss=0.7)
    funnel.paint(shapes.disc(p, 0.53), shapes.darker(bright, 0.75), 0.1, bevel=-0.4, gloss=0.6)
    funnel.paint(shapes.disc(p, 0.45), (0.02, 0.02, 0.02), -0.3, gloss=0.0)
    pitch = 0.15
    grid = shapes.turned(p, rng.uniform(0.0, 90.0))
    cells = [np.abs(g / pitch - np.floor(g / pitch) - 0.5) * pitch for g in grid]
    wires = np.maximum(0.5 * pitch - np.maximum(*cells) - 0.022, shapes.disc(p, 0.45))
    funnel.paint(wires, (0.6, 0.58, 0.54), gloss=0.6)
    # The lid stands open beyond the hinge, its sealed face up.
    hinge = shapes.box(canvas.at(0.2 * aside, z=0.15), 0.12, 0.24, 0.03)
    canvas.paint(hinge, shapes.grey(rng, 0.12, 0.3), 0.2, bevel=0.05)
    canvas.wall(lambda q: shapes.disc((q[0] - 1.5 * x, q[1]), 0.46), 0.1, 0.3, BLACK)
    lid = canvas.near(1.5 * x, 0.0, 0.5, 0.3)
    q = lid.at(1.5 * x, z=0.3)
    lid.paint(shapes.disc(q, 0.46), bright, 0.3, bevel=0.03, gloss=0.5)
    lid.paint(shapes.ring(q, 0.34, 0.08), BLACK, 0.33, bevel=0.03, gloss=0.0)
    lid.paint(shapes.disc(q, 0.12), shapes.darker(bright, 0.7), 0.32, bevel=0.05, gloss=0.6)
    return shapes.lit(canvas, rng, dust=0.7)


def observation_tray(rng: Generator, side: int) -> NDArray[np.float64]:
    """Plain bright disc on a stem, often with a pinch of sample, over bare ground."""
    canvas = shapes.view(rng, side, rng.uniform(0.75, 1.1), turn=UPRIGHT, drift=0.12, squash=0.7)
    bright = shapes.grey(rng, 0.5, 0.7)
    sign = 1.0 if rng.uniform() < 0.5 else -1.0
    stem = shapes.rod(canvas.at(), (0.0, 0.1), (sign * rng.uniform(0.1, 0.6), 3.0), 0.1)
    canvas.paint(stem, shapes.darker(bright, 0.6), 0.0, bevel=0.1, gloss=0.5)
    collar = shapes.box(canvas.at(0.0, 0.72, z=0.05), 0.18, 0.22, 0.04)
    canvas.paint(collar, shapes.darker(bright, 0.45), 0.1, bevel=0.08, gloss=0.5)
    canvas.wall(lambda p: shapes.disc(p, 0.7), 0.15, 0.25, shapes.darker(bright, 0.4))
    p = canvas.at(z=0.25)
    canvas.paint(shapes.disc(p, 0.7), bright, 0.25, bevel=0.03, gloss=0.6)
    if rng.uniform() < 0.7:
        x, y = rng.uniform(-0.25, 0.25, 2)
        pile = canvas.near(x, y, 0.45, 0.25)
        q = pile.at(x, y, z=0.25)
        lumpy = (
            rng.standard_normal(q[0].shape) * 0.35
            - shapes.length(*q) / rng.uniform(0.1, 0.22)
            + 1.2
        )
        cover = np.clip(ndimage.gaussian_filter(lumpy, 0.6), 0.0, 1.0)
        pile.paint(shapes.disc(q, 0.45), shapes.darker(DUST, 0.7), gloss=0.0, opacity=cover)
    return shapes.lit(canvas, rng, dust=0.5)


# --- rear deck -------------------------------------------------------------------------------


def rear_deck(rng: Generator, side: int) -> NDArray[np.float64]:
    """Back of the deck from the mast: panels, antennas, the fins of the power source."""
    canvas = shapes.view(rng, side, rng.uniform(0.95, 1.15), turn=14.0, drift=0.06, squash=0.85)
    mirror = 1.0 if rng.uniform() < 0.5 else -1.0
    p = canvas.at()
    plate = shapes.grey(rng, 0.3, 0.6)
    top = rng.uniform(-0.5, -0.35)
    body = shapes.trapezium(canvas.at(0.0, top + 1.2), 0.8, 1.7, 1.2)
    canvas.paint(body, plate, 0.0, gloss=0.2)
    for offset in rng.uniform(-0.1, 0.9, 3):
        canvas.paint(np.maximum(np.abs(p[1] - offset) - 0.012, body), shapes.darker(plate, 0.3))
    for fan in rng.uniform(-0.6, 0.6, 3):
        seam = np.abs(p[0] - fan * (1.0 + 0.4 * p[1])) - 0.012
        canvas.paint(np.maximum(seam, body), shapes.darker(plate, 0.3))
    _power_source(canvas, rng, 0.12 * mirror, top)
    _antennas(canvas, rng, mirror, top)
    for _ in range(int(rng.integers(2, 5))):
        x, y = rng.uniform(-0.6, 0.6), rng.uniform(0.15, 0.95)
        colour = shapes.white(rng) if rng.uniform() < 0.4 else shapes.grey(rng, 0.08, 0.4)
        half = rng.uniform(0.06, 0.2, 2)
        thing = shapes.box(canvas.at(x, y), float(half[0]), float(half[1]), 0.03)
        canvas.paint(thing, colour, 0.12, bevel=0.04)
    bow = 0.1 * np.sin(3.0 * p[1] + rng.uniform(0.0, 6.0)) + rng.uniform(-0.4, 0.4)
    cable = np.maximum(np.abs(p[0] - bow) - 0.035, body)
    canvas.paint(cable, KAPTON if rng.uniform() < 0.4 else (0.6, 0.58, 0.54), 0.03, bevel=0.035)
    for _ in range(8):
        canvas.screw(rng.uniform(-0.7, 0.7), rng.uniform(0.0, 1.0), 0.025)
    return shapes.lit(canvas, rng, dust=1.0)


def _power_source(canvas: Canvas, rng: Generator, x: float, top: float) -> None:
    """Radioisotope generator behind the deck: a finned cylinder leaning away."""
    y = top - 0.02
    tone = shapes.grey(rng, 0.45, 0.7)
    unit = canvas.near(x, y, 0.5)
    p = unit.at(x, y)
    unit.paint(shapes.trapezium(p, 0.36, 0.46, 0.34), (0.05, 0.05, 0.05), 0.05, gloss=0.0)
    for i in range(8):
        q = unit.at(x + 0.115 * (i - 3.5), y, turn=-1.5 * (i - 3.5))
        unit.paint(shapes.box(q, 0.026, 0.34), tone, 0.25, bevel=0.02, gloss=0.1)
    unit.paint(shapes.box(unit.at(x, y + 0.3), 0.46, 0.05), shapes.darker(tone, 0.5), 0.2)


def _antennas(canvas: Canvas, rng: Generator, mirror: float, top: float) -> None:
    """Hexagonal high-gain dish, helix in its can, and small low-gain antenna."""
    x, y = -0.62 * mirror, top + rng.uniform(0.05, 0.25)
    spot = canvas.near(x, y, 0.6)
    spot.paint(shapes.rod(spot.at(), (x, y), (x, y + 0.5), 0.05), (0.2, 0.2, 0.2), 0.2, bevel=0.05)
    p = spot.at(x, y, turn=rng.uniform(0.0, 60.0))
    flat = p[0], p[1] * rng.uniform(1.0, 1.4)
    spot.paint(shapes.ngon(flat, 0.27, 6), shapes.grey(rng, 0.4, 0.7), 0.45, bevel=0.03, gloss=0.1)
    spot.paint(np.abs(shapes.ngon(flat, 0.17, 6)) - 0.015, (0.15, 0.15, 0.15), gloss=0.1)
    for offset, bottom, tall, wide, colour in (
        (0.68, top + 0.25, 0.5, 0.1, shapes.white(rng)),
        (0.46, top + 0.35, 0.3, 0.05, shapes.grey(rng, 0.1, 0.6)),
    ):
        x, y = offset * mirror, bottom - tall
        spot = canvas.near(x, y + 0.5 * tall, tall)
        radii = (0.6 * wide, wide, wide, 1.3 * wide, 1.3 * wide)
        places = (0.0, 0.15 * tall, 0.9 * tall, 0.91 * tall, tall)
        can, high = shapes.lathe(spot.at(x, y), places, radii)
        spot.paint(can, colour, 0.1 + high, gloss=0.1)
