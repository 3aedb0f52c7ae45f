"""Scenes of ``domars16k`` on slopes: gullies, mass wasting and slope streaks.

Gullies carve the slope: a hollow alcove, a narrow channel, a fan of debris below (Malin and
Edgett 2000, https://doi.org/10.1126/science.288.5475.2330). A landslide leaves an arcuate
headscarp and, below, a thick lobed deposit with hummocks and grooves along its flow. Slope
streaks have no relief: thin, sharp-edged fans of another tone running straight down a dusty
slope from a point (Sullivan et al. 2001, https://doi.org/10.1029/2000JE001296).
"""

import numpy as np
from numpy.random import Generator
from scipy import ndimage

from marsbench.demo.art import terrain
from marsbench.demo.art.terrain import Field, Light
from marsbench.demo.orbit.ground import Site
from marsbench.demo.orbit.landforms import base

# --- gullies ---------------------------------------------------------------------------------


def gullies(rng: Generator, side: int, light: Light) -> Site:
    """Alcoves below a rim, each with a channel to an apron."""
    # Lit along the slope, the walls of the channels would show no shade.
    downhill = light.azimuth_deg + rng.choice([-1.0, 1.0]) * rng.uniform(25.0, 125.0)
    rim = rng.uniform(-0.44, -0.26)
    foot = rng.uniform(0.26, 0.44)
    warp = terrain.fractal(rng, side, 3.2, shortest=0.1 * side)
    down = terrain.along(side, downhill) / side + rng.uniform(0.01, 0.03) * warp
    across = terrain.along(side, downhill + 90.0) / side
    across = across + rng.uniform(0.01, 0.025) * terrain.fractal(
        rng, side, 3.0, shortest=0.06 * side
    )
    s = (down - rim) / (foot - rim)
    fall = rng.uniform(0.25, 0.38) * (foot - rim) * side
    # Steepest below the rim, levelling out on the crater floor.
    descent = np.clip(s, 0.0, 1.3)
    ramp = -fall * (descent - 0.38 * descent * descent) + 0.3 * fall * np.minimum(s, 0.0)
    spacing = rng.uniform(0.15, 0.3)
    cut, fan = np.zeros((side, side)), np.zeros((side, side))
    first = -0.7 + rng.uniform(0.0, spacing)
    for place in np.arange(first, 0.7, spacing):
        _gully(rng, s, across - place - rng.uniform(-0.3, 0.3) * spacing, spacing, cut, fan)
    depth = rng.uniform(0.13, 0.2) * spacing * side
    apron = rng.uniform(0.07, 0.12) * spacing * side
    height = base.plain(rng, side, pitted=0.1) + terrain.blur(ramp - depth * cut + apron * fan, 0.6)
    slope = terrain.smoothstep(s, -0.05, 0.1) * (1.0 - terrain.smoothstep(s, 0.5, 0.9))
    height += (
        rng.uniform(0.05, 0.2)
        * slope
        * terrain.fractal(rng, side, 2.0, stretch=2.5, azimuth_deg=downhill, longest=0.2 * side)
    )
    albedo = base.soil(rng, side) * (1.0 + rng.uniform(-0.08, 0.08) * fan)
    return Site(height, albedo, np.clip(cut, 0.0, 1.0))


def _gully(rng: Generator, s: Field, aside: Field, spacing: float, cut: Field, fan: Field) -> None:
    """Add a gully to the depth of the cuts and to the relief of the fans.

    Args:
        s: Position down the slope, 0 at the rim and 1 at the foot, (side, side).
        aside: Distance from the gully's axis in sides, (side, side).
        spacing: Distance between gullies in sides.
        cut: Depth in [0, 1].
        fan: Relief in [0, 1].
    """
    head, neck = rng.uniform(-0.08, 0.1), rng.uniform(0.32, 0.48)
    end = rng.uniform(0.6, 0.8)
    reach = rng.uniform(0.25, 0.6) * spacing
    size = np.sqrt(reach / (0.5 * spacing))
    t = (s - head) / (neck - head)
    aside = np.abs(aside)
    # A funnel: widest a third of the way down, drawn out into the channel.
    funnel = np.maximum(np.sqrt(np.clip(3.0 * t, 0.0, 1.0)) * np.clip(1.25 - t, 0.0, 1.0), 0.02)
    alcove = np.maximum(1.0 - aside / (reach * funnel), 0.0) * np.clip(1.6 - t, 0.0, 1.0)
    alcove *= size * (t > 0)
    running = np.clip(4.0 * (s - head - 0.1), 0.0, 1.0) * np.clip((end - s) / 0.25, 0.0, 1.0)
    bed = np.maximum(1.0 - aside / rng.uniform(0.018, 0.026), 0.0) * running
    np.maximum(cut, np.maximum(alcove, 0.7 * bed), out=cut)
    u = (s - end + 0.15) / 0.55
    spread = 0.5 * spacing * np.sqrt(np.maximum(u, 0.02))
    lobe = np.maximum(1.0 - (aside / spread) ** 2, 0.0) * np.clip(3.0 * u, 0.0, 1.0)
    np.maximum(fan, lobe * (1.0 - terrain.smoothstep(u, 0.7, 1.1)), out=fan)


# --- mass wasting ----------------------------------------------------------------------------


def mass_wasting(rng: Generator, side: int, light: Light) -> Site:
    """Landslide: an arcuate scar in a slope's edge, a lobed hummocky deposit below."""
    downhill = rng.uniform(0.0, 360.0)
    ragged = terrain.fractal(rng, side, 2.8, longest=0.5 * side, shortest=0.03 * side)
    radius = rng.uniform(0.22, 0.34)
    down = terrain.along(side, downhill) / side - rng.uniform(-0.24, -0.08)
    across = terrain.along(side, downhill + 90.0) / side + rng.uniform(-0.12, 0.12)
    # The edge of the high ground, bitten into by one arc or several.
    edge = down - rng.uniform(0.0, 0.08)
    for bay in range(int(rng.integers(1, 4))):
        place = 0.0 if bay == 0 else rng.choice([-1.0, 1.0]) * rng.uniform(0.8, 1.3) * radius
        size = radius * (1.0 if bay == 0 else rng.uniform(0.35, 0.7))
        arc = size - np.hypot(across - place, rng.uniform(0.9, 1.15) * np.minimum(down - 0.06, 0.0))
        edge = np.maximum(edge, arc)
    wall = rng.uniform(0.08, 0.13)
    fallen = terrain.smoothstep(edge + rng.uniform(0.008, 0.02) * ragged, 0.0, wall)
    drop = rng.uniform(0.4, 0.65) * wall * side
    deposit = _deposit(rng, across + 0.015 * ragged, down + 0.02 * ragged, radius)
    height = base.plain(rng, side, pitted=0.0) - rng.uniform(0.0, 0.1) * side * down
    height += rng.uniform(0.012, 0.03) * side * deposit - drop * fallen
    rough = terrain.smoothstep(deposit, 0.1, 0.6)
    height += rough * _flow_texture(rng, side, across, down)
    albedo = base.soil(rng, side) * (1.0 + rng.uniform(-0.1, 0.1) * rough)
    return Site(height, albedo, rough)


def _deposit(rng: Generator, across: Field, down: Field, radius: float) -> Field:
    """Thickness of the tongues below a scar, about 1 at their steep fronts.

    Args:
        across: Distance from the slide's axis in sides, (side, side).
        down: Distance below the centre of the scar in sides, (side, side).
        radius: Radius of the scar in sides.
    """
    thickness = np.zeros_like(down)
    main = rng.uniform(0.45, 0.75)
    for tongue in range(int(rng.integers(2, 5))):
        run = main * (1.0 if tongue == 0 else rng.uniform(0.55, 0.95))
        half = radius * (rng.uniform(0.7, 0.95) if tongue == 0 else rng.uniform(0.35, 0.6))
        place = 0.0 if tongue == 0 else rng.uniform(-0.8, 0.8) * radius
        # Tongues spread out below the mouth of the scar and end in a round lobe.
        aside = (across - place * (1.0 + np.maximum(down, 0.0))) / half
        aside = aside / (0.7 + 0.8 * np.clip(down / run, 0.0, 1.0))
        ahead = np.maximum(down - run + half, 0.0) / half
        behind = np.minimum(down, 0.0) / (0.45 * radius)
        margin = np.sqrt(aside**2 + ahead**2 + behind**2)
        front = 1.0 - terrain.smoothstep(margin, 0.74, 1.0)
        front *= rng.uniform(0.8, 1.15) * (0.45 + 0.55 * np.clip(down / run, 0.0, 1.0))
        np.maximum(thickness, front, out=thickness)
    return thickness


def _flow_texture(rng: Generator, side: int, across: Field, down: Field) -> Field:
    """Height in pixels of hummocks and of grooves fanning out along the flow."""
    apex = rng.uniform(0.5, 1.2)
    angle = np.arctan2(across, np.maximum(down + apex, 0.05))
    noise = terrain.fractal(rng, side, 2.0, longest=0.16 * side, shortest=3.0)
    grooves = ndimage.map_coordinates(
        noise,
        [(angle * (apex + 0.3) + 0.5) * side, (0.16 * down + 0.5) * side],
        order=1,
        mode="reflect",
    )
    hummocks = terrain.fractal(rng, side, 2.0, longest=0.14 * side, shortest=3.0)
    # Blocks near the scarp, drawn out into grooves further down.
    share = rng.uniform(0.4, 1.0) * terrain.smoothstep(down, -0.1, 0.3)
    return base.steepened(share * grooves + (1.0 - share) * hummocks, rng.uniform(0.15, 0.26))


# --- slope streaks ---------------------------------------------------------------------------


def slope_streaks(rng: Generator, side: int, light: Light) -> Site:
    """Thin dark or bright fans straight down a dusty slope."""
    # A slope that faces away from the sun would hide its tones.
    downhill = light.azimuth_deg + rng.uniform(-110.0, 110.0)
    down, across = terrain.along(side, downhill), terrain.along(side, downhill + 90.0)
    spurs = terrain.fractal(rng, side, 3.6, stretch=2.0, azimuth_deg=downhill)
    height = -rng.uniform(0.12, 0.28) * down + base.steepened(spurs, rng.uniform(0.008, 0.024))
    height += rng.uniform(0.008, 0.025) * terrain.fractal(rng, side, 1.8)
    crest = rng.uniform(-0.42, -0.2) * side
    if rng.uniform() < 0.5:
        # Far side of the crest above the streaks.
        bent = down - crest + 0.025 * side * terrain.fractal(rng, side, 3.8)
        height -= rng.uniform(0.2, 0.42) * np.logaddexp(0.0, -bent)
        highest, lowest = crest + 0.05 * side, crest + 0.3 * side
    else:
        highest, lowest = -0.5 * side, 0.25 * side
    wavy = 0.006 * side * terrain.fractal(rng, side, 3.0)
    tongues = terrain.fractal(rng, side, 1.6, stretch=4.0, azimuth_deg=downhill)
    streaked = np.zeros((side, side))
    broadest = rng.uniform(0.014, 0.04) * side
    for _ in range(int(rng.integers(5, 17))):
        length = rng.uniform(0.2, 0.65) * side
        start = rng.uniform(highest, lowest)
        place = rng.uniform(-0.48, 0.48) * side
        tilt = rng.normal(0.0, 0.03)
        t = (down - start) / length
        aside = np.abs(across - place - tilt * (down - start) + wavy)
        half = broadest * rng.uniform(0.5, 1.0) * np.clip(t, 0.0, 1.0) ** rng.uniform(0.5, 1.0)
        within = terrain.smoothstep(half + 0.5 - aside, 0.0, 0.9)
        within *= (t > 0) * (1.0 - terrain.smoothstep(t - 0.07 * tongues, 0.95, 1.0))
        # Old streaks have faded under new dust.
        np.maximum(streaked, within * rng.uniform(0.55, 1.0), out=streaked)
    contrast = rng.uniform(0.15, 0.32) * (1.0 if rng.uniform() < 0.3 else -1.0)
    albedo = base.soil(rng, side) * (1.0 + contrast * streaked)
    return Site(height, albedo, streaked)
