"""Scenes for ``surface_cls``: pictures of Curiosity's Mastcam and MAHLI.

Natural classes are drawn here on the ground of `rover.ground`. Hardware is a layer from
`hardware`, set before a natural scene or a blurred deck. Natural classes differ in form:

- Close-Up Rock: a facetted or grainy rock fills the view. Float Rock: one stone with its shadow.
- Layered Rock: parallel ledges. Light-Toned Veins: bright lines across the rock.
- Drill Holes: a round hole in a ring of powder. DRT Spot: a round patch of circular scratches.
- Wheel Tracks: cleat marks between parallel edges. Sand: sand without stones.
- Distant Landscape: ridges without the sky. Horizon: a line between land and sky.
- Sun: a disc. Night Sky: points of light.
- Artifact: any scene in a spoiled picture. Ground: everything else.

White balance, exposure and light are random. Holes, brushed spots and veins follow the pictures
in Grotzinger et al. 2014, https://doi.org/10.1126/science.1242777.
"""

from collections.abc import Callable

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy import ndimage

from marsbench.demo.art import terrain
from marsbench.demo.art.terrain import Field
from marsbench.demo.rover import ground, outdoors
from marsbench.demo.rover.curiosity import hardware
from marsbench.demo.rover.ground import ColourPlan, Picture, Sun, View

BORDER = 10
"""Pixels drawn around a plan seen from straight above, whose shadows wrap around."""


def render(rng: Generator, label: str, side: int) -> NDArray[np.uint8]:
    """Draw an image of a class in colour, (side, side, 3)."""
    if label == "Artifact":
        return _artifact(rng, side)
    if label == "Sun":
        return ground.camera(_sun(rng, side), rng, exposure=rng.uniform(0.8, 1.2))
    if label == "Night Sky":
        return ground.camera(_night_sky(rng, side), rng, exposure=rng.uniform(0.8, 1.2))
    if label in NATURAL:
        return ground.camera(NATURAL[label](rng, side), rng)
    return ground.camera(_hardware(rng, label, side), rng)


def _hardware(rng: Generator, label: str, side: int) -> Picture:
    """Part of the rover before a background."""
    layer = hardware.part(rng, label, side)
    behind = outdoors.background(rng, side)
    kind = rng.uniform()
    if kind < 0.4:
        # A shaded or sunlit deck: painted metal out of focus.
        behind = 0.25 * behind + ground.stone_colour(rng, 0.3 * rng.uniform())
        behind = ndimage.gaussian_filter(behind, (6.0, 6.0, 0.0)) * rng.uniform(0.3, 1.6)
    elif kind < 0.92:
        sigma = rng.uniform(1.5, 5.0)
        behind = ndimage.gaussian_filter(behind, (sigma, sigma, 0.0), truncate=2.5)
    opacity = layer[..., 3:]
    return behind + (layer[..., :3] - behind) * opacity


# --- rock seen from close by -----------------------------------------------------------------


def _from_above(rng: Generator, side: int, draw: Callable[[Generator, int], ColourPlan]) -> Picture:
    lit = ground.lit(draw(rng, side + 2 * BORDER), ground.sunlight(rng))
    return lit[BORDER:-BORDER, BORDER:-BORDER]


def _slab(rng: Generator, n: int) -> ColourPlan:
    """Bare rock with random texture and dust cover, sometimes with a joint."""
    texture = ground.noise(rng, n, rng.uniform(1.6, 2.6))
    swell = ground.noise(rng, n, 3.4)
    height = rng.uniform(0.05, 0.2) * texture + rng.uniform(0.008, 0.03) * n * swell
    if rng.uniform() < 0.5:
        cell = rng.uniform(0.35, 0.7) * n
        joints, blocks = ground.fractured(rng, n, cell)
        height += 0.02 * cell * blocks - rng.uniform(1.0, 2.5) * joints
    base = ground.stone_colour(rng)
    share = np.clip(0.5 + 0.35 * swell + 0.1 * texture, 0.0, 1.0)
    return ColourPlan(height, ground.mix(base, ground.kindred(rng, base), share))


def _face(rng: Generator, n: int) -> ColourPlan:
    """Rock from a hand's breadth away: broken faces, pits and grains."""
    height = np.full((n, n), np.inf)
    steep = rng.uniform(0.4, 1.0)
    turn = rng.uniform(0.0, 360.0)
    count = int(rng.integers(3, 8))
    bend = 0.03 * n * ground.noise(rng, n, 3.0, shortest=0.05 * n)
    for k in range(count):
        azimuth = turn + 360.0 * k / count + rng.normal(0.0, 25.0)
        tilt = terrain.along(n, azimuth) * steep * rng.uniform(0.4, 1.0)
        height = np.minimum(height, tilt + rng.uniform(0.0, 0.16) * n + bend * rng.uniform(-1, 1))
    texture = ground.noise(rng, n, rng.uniform(1.5, 2.4))
    rough = ground.noise(rng, n, 3.0, 0.3 * n)
    height = terrain.blur(height, rng.uniform(0.6, 2.0)) + rng.uniform(0.2, 0.5) * texture
    height += 0.6 * rough
    base = ground.stone_colour(rng)
    colour = base * np.clip(1.0 + 0.1 * rough + 0.06 * texture, 0.3, 2.0)[..., None]
    if rng.uniform() < 0.6:
        pits, cover = ground.clasts(rng, n, int(rng.integers(10, 60)), 0.01 * n, 0.04 * n)
        height -= rng.uniform(0.8, 1.3) * pits
        colour = colour * (1.0 - 0.35 * cover)[..., None]
    speckle = terrain.smoothstep(ground.noise(rng, n, 0.3, shortest=1.5), 1.3, 2.0)
    grain = base * rng.choice([0.35, 1.9])
    return ColourPlan(height, ground.mix(colour, grain, rng.uniform(0.2, 0.8) * speckle))


def _close_up_rock(rng: Generator, side: int) -> Picture:
    picture = _from_above(rng, side, _face)
    if rng.uniform() < 0.4:
        # Past the edge of the rock the ground is out of focus.
        behind = ndimage.gaussian_filter(_from_above(rng, side, ground.soil), (4.0, 4.0, 0.0))
        edge = terrain.along(side, rng.uniform(0.0, 360.0)) / side
        edge = edge + 0.04 * ground.noise(rng, side, 3.0)
        picture = ground.mix(picture, behind, terrain.smoothstep(edge, 0.36, 0.39))
    return picture


def _layered_rock(rng: Generator, side: int) -> Picture:
    return _from_above(rng, side, _bedded)


def _bedded(rng: Generator, n: int) -> ColourPlan:
    """Face of bedded rock: hard beds stand out as ledges, soft beds recede."""
    dip = rng.normal(0.0, 22.0)
    warp = ground.noise(rng, n, 3.6)
    ragged = ground.noise(rng, n, 2.2, 0.4 * n)
    position = terrain.along(n, dip) + rng.uniform(0.01, 0.035) * n * warp + 0.4 * ragged
    thick = rng.uniform(0.03, 0.065) * n
    count = int(3.0 * n / thick)
    boundaries = np.cumsum(thick * np.exp(rng.normal(0.0, 0.45, count)))
    boundaries -= boundaries[count // 2]
    hardness = rng.uniform(-1.0, 1.0, count + 1) + np.where(np.arange(count + 1) % 2, 0.7, -0.7)
    tone = np.exp(rng.uniform(0.15, 0.28) * rng.standard_normal(count + 1))
    bed = np.searchsorted(boundaries, position)
    texture = ground.noise(rng, n, 1.9)
    erosion = np.clip(1.0 + 0.45 * ground.noise(rng, n, 2.8, 0.5 * n), 0.6, 1.8)
    height = terrain.blur(hardness[bed] * erosion, 0.6) * rng.uniform(0.7, 1.4)
    height += rng.uniform(0.1, 0.3) * texture
    if rng.uniform() < 0.4:
        joints, _blocks = ground.fractured(rng, n, rng.uniform(0.3, 0.5) * n)
        height -= rng.uniform(0.4, 1.0) * joints
    base = ground.stone_colour(rng)
    colour = base * np.clip(tone[bed] * (1.0 + 0.05 * texture), 0.3, 2.5)[..., None]
    if rng.uniform() < 0.3:
        # Sand lies in the hollows or at the foot.
        low = 0.6 * ground.noise(rng, n, 3.4) - 2.5 * terrain.along(n, rng.normal(0.0, 30.0)) / n
        fill = terrain.cover(low, rng.uniform(0.05, 0.2), 0.12)
        sand = ground.kindred(rng, base)
        height = height * (1.0 - 0.9 * fill)
        colour = ground.mix(colour, sand * (1.0 + 0.04 * texture)[..., None], fill)
    return ColourPlan(height, colour)


def _veins(rng: Generator, n: int) -> Field:
    """Opacity of thin bright veins in [0, 1], (n, n)."""
    opacity = np.zeros((n, n))
    unit = n / 116.0
    wander = ground.noise(rng, n, 3.2, shortest=0.04 * n)
    swelling = np.exp(0.35 * ground.noise(rng, n, 2.8, shortest=0.04 * n))
    trend = rng.uniform(0.0, 180.0)
    kind = rng.uniform()
    if kind < 0.75:
        for _ in range(int(rng.integers(2, 7))):
            turned = trend + rng.choice([0.0, rng.uniform(40.0, 110.0)]) + rng.normal(0.0, 12.0)
            line = terrain.along(n, turned) - rng.uniform(-0.38, 0.38) * n
            line = line + rng.uniform(0.01, 0.05) * n * np.roll(wander, rng.integers(n), 0)
            width = rng.uniform(0.3, 1.5) * unit * swelling
            vein = 1.0 - terrain.smoothstep(np.abs(line) - width, 0.0, 0.9)
            ends = terrain.along(n, turned + 90.0) / n + rng.uniform(-0.4, 0.4)
            vein *= 1.0 - terrain.smoothstep(np.abs(ends), 0.45, 0.5)
            np.maximum(opacity, vein, out=opacity)
    if kind > 0.55:
        joints, _blocks = ground.fractured(rng, n, rng.uniform(0.22, 0.5) * n)
        patchy = terrain.smoothstep(wander, -1.2, -0.6)
        np.maximum(opacity, patchy * terrain.smoothstep(joints, 0.7, 0.95), out=opacity)
    return opacity


def _light_toned_veins(rng: Generator, side: int) -> Picture:
    def draw(rng: Generator, n: int) -> ColourPlan:
        plan = _slab(rng, n) if rng.uniform() < 0.7 else ground.outcrop(rng, n)
        veins = _veins(rng, n)
        bright = np.array([0.72, 0.69, 0.64]) * rng.uniform(0.75, 1.1)
        height = plan.height + rng.uniform(-0.3, 0.9) * veins
        return ColourPlan(height, ground.mix(plan.colour * 0.8, bright, 0.95 * veins))

    return _from_above(rng, side, draw)


def _drill_holes(rng: Generator, side: int) -> Picture:
    return _from_above(rng, side, lambda rng, n: _drilled(rng, _slab(rng, n)))


def _drilled(rng: Generator, plan: ColourPlan) -> ColourPlan:
    """Drill one to three holes, each in a ragged ring of its powder."""
    n = plan.height.shape[0]
    east, north = terrain.coordinates(n)
    height, colour = plan.height, plan.colour
    powder = np.clip(
        ground.stone_colour(rng, rng.uniform(0.0, 0.6)) * rng.uniform(1.5, 2.3), 0.2, 0.6
    )
    # Ground-up rock is paler than its weathered surface.
    powder = powder * max(1.0, 1.6 * float(colour.mean()) / float(powder.mean()))
    count = int(rng.choice([1, 1, 2, 3]))
    squash, turn = rng.uniform(0.65, 1.0), rng.uniform(0.0, np.pi)
    radius = rng.uniform(0.06, 0.115) * n / count**0.35
    direction = rng.uniform(0.0, 2.0 * np.pi)
    start = rng.uniform(0.35, 0.65, 2) * n
    ragged = ground.noise(rng, n, 2.6, 0.5 * n)
    crumbs = ground.noise(rng, n, 1.2)
    for k in range(count):
        away = (k - 0.5 * (count - 1)) * radius * rng.uniform(4.5, 5.5)
        y = -north - start[0] - away * np.sin(direction)
        x = east - start[1] - away * np.cos(direction)
        u, v = np.cos(turn) * x + np.sin(turn) * y, np.cos(turn) * y - np.sin(turn) * x
        rho = np.hypot(u, v / squash) / radius
        extent = rng.uniform(2.1, 3.2)
        pile = 1.0 - terrain.smoothstep(rho + 0.35 * ragged, 0.75 * extent, 1.1 * extent)
        pile *= np.clip(0.95 + 0.12 * crumbs, 0.0, 1.0)
        cone = radius * 0.35 * np.exp(-(((rho - 1.35) / 0.45) ** 2))
        height = height * (1.0 - 0.6 * pile) + cone * pile + 0.12 * crumbs * pile
        colour = ground.mix(colour, powder, 0.92 * pile)
        bore = 1.0 - terrain.smoothstep(rho, 1.0 - 0.9 / radius, 1.0 + 0.9 / radius)
        height = height - 1.6 * radius * bore
        # The bore is deep: hardly any light comes back from its bottom.
        colour = colour * (1.0 - 0.85 * bore)[..., None]
    return ColourPlan(height, colour)


def _drt_spot(rng: Generator, side: int) -> Picture:
    return _from_above(rng, side, lambda rng, n: _brushed(rng, _slab(rng, n)))


def _brushed(rng: Generator, plan: ColourPlan) -> ColourPlan:
    """Sweep the dust off a round patch, leaving circular scratches."""
    n = plan.height.shape[0]
    row, column = rng.uniform(0.36, 0.64, 2) * n
    radius = rng.uniform(0.19, 0.31) * n
    squash, turn = rng.uniform(0.72, 1.0), rng.uniform(0.0, np.pi)
    x, y = terrain.offsets(n, column, row)
    u, v = np.cos(turn) * x + np.sin(turn) * y, np.cos(turn) * y - np.sin(turn) * x
    rho = np.hypot(u, v / squash) / radius
    ragged = ground.noise(rng, n, 2.4, 0.5 * n)
    patch = 1.0 - terrain.smoothstep(rho + 0.07 * ragged, 0.88, 1.04)
    rim = np.exp(-(((rho + 0.07 * ragged - 1.08) / 0.09) ** 2))
    rings = np.interp(rho * radius, np.arange(2 * n), rng.standard_normal(2 * n))
    off = 0.35 * np.interp(
        np.hypot(u - 0.25 * radius, v) * 1.0, np.arange(2 * n), rng.standard_normal(2 * n)
    )
    scratches = rings + off
    dust = np.clip(plan.colour.mean((0, 1)) * rng.uniform(1.0, 1.6), 0.12, 0.5)
    dusty = ground.mix(plan.colour, dust, np.full((n, n), rng.uniform(0.4, 0.8)))
    clean = ground.BASALT * rng.uniform(0.32, 0.55) * dust.mean()
    fresh = clean * (1.0 + 0.2 * scratches + 0.1 * ragged)[..., None]
    colour = ground.mix(dusty, np.clip(fresh, 0.015, 0.9), 0.95 * patch)
    colour = ground.mix(colour, np.minimum(dust * 1.25, 0.8), rng.uniform(0.2, 0.6) * rim)
    height = plan.height * (1.0 - 0.6 * patch) + 0.28 * scratches * patch + 0.5 * rim
    return ColourPlan(height, colour)


# --- ground ----------------------------------------------------------------------------------


def _plain_ground(rng: Generator, side: int) -> Picture:
    view = ground.from_above(rng) if rng.uniform() < 0.3 else ground.from_mast(rng)
    return ground.seen(rng, side, ground.plain_ground, view, ground.sunlight(rng))


def _sand(rng: Generator, side: int) -> Picture:
    draw = ground.rippled if rng.uniform() < 0.85 else ground.smooth_sand
    view = ground.from_above(rng) if rng.uniform() < 0.35 else ground.from_mast(rng)
    return ground.seen(rng, side, draw, view, ground.sunlight(rng))


def _float_rock(rng: Generator, side: int) -> Picture:
    view = ground.from_above(rng) if rng.uniform() < 0.3 else ground.from_mast(rng)
    sun = ground.sunlight(rng)
    kind = rng.uniform()

    def draw(rng: Generator, n: int) -> ColourPlan:
        if kind < 0.65:
            return ground.soil(rng, n, rng.uniform(0.06, 0.2))
        return ground.smooth_sand(rng, n) if kind < 0.82 else ground.outcrop(rng, n)

    picture = ground.seen(rng, side, draw, view, sun)
    tone = np.exp(rng.choice([-1.0, 1.0]) * rng.uniform(0.15, 0.5))
    colour = np.clip(ground.kindred(rng, picture.mean((0, 1)), 1.0) * tone, 0.04, 0.6)
    for k in range(int(rng.integers(0, 4)) + 1):
        first = k == 0
        radius = side * (rng.uniform(0.22, 0.4) if first else rng.uniform(0.03, 0.07))
        row, column = rng.uniform(0.3, 0.7, 2) if first else rng.uniform(0.1, 0.95, 2)
        place = (row * side, column * side)
        outdoors.set_rock(rng, picture, sun, place, radius, _squeeze(view, row), colour)
    return picture


def _squeeze(view: View, row: float) -> float:
    """Foreshortening of the ground at a row in sides: 1 from above, 0 at the horizon."""
    depth = (1.0 - view.horizon) / max(row - view.horizon, 0.02)
    return float(np.clip(1.0 / (view.stretch * depth), 0.1, 0.9))


def _wheel_tracks(rng: Generator, side: int) -> Picture:
    view = ground.from_above(rng) if rng.uniform() < 0.35 else ground.from_mast(rng)
    sun = Sun(rng.uniform(0.0, 360.0), rng.uniform(18.0, 45.0))

    def draw(rng: Generator, n: int) -> ColourPlan:
        kind = rng.uniform()
        if kind < 0.3:
            return ground.smooth_sand(rng, n)
        plan = ground.soil(rng, n, rng.uniform(0.05, 0.14))
        return plan if kind < 0.6 else ground.strewn(rng, plan, 25, 0.03 * n)

    picture = ground.seen(rng, side, draw, view, sun)
    outdoors.press_tracks(rng, picture, view, sun)
    return picture


# --- far away --------------------------------------------------------------------------------


def _distant_landscape(rng: Generator, side: int) -> Picture:
    """Mountain beyond the top of the picture, hills before it, perhaps a plain."""
    sun = Sun(rng.uniform(0.0, 360.0), rng.uniform(28.0, 60.0))
    picture = np.full((side, side, 3), 0.3)
    steep = rng.uniform(0.03, 0.065)
    view = View(-3.5 * steep - 0.05, 2.0, float(rng.normal(0.0, 0.03)))
    bottom = rng.uniform(0.6, 1.2)
    outdoors.hills(rng, picture, sun, view, bottom, int(rng.integers(4, 7)), steep)
    if rng.uniform() < 0.65:
        view = View(float(rng.uniform(0.45, 0.9)), 2.5, view.tilt)
        draw = ground.soil if rng.uniform() < 0.6 else ground.rippled
        near = ground.seen(rng, side, draw, view, sun)
        # Similar to the hills.
        near = near * (picture.mean((0, 1)) / near.mean((0, 1))) ** rng.uniform(0.4, 1.0)
        _depth, row = ground.magnification(view, side)
        line = view.horizon + 0.01 * outdoors.skyline(rng, side, 2.6)[None, :]
        picture = ground.mix(picture, near, terrain.smoothstep((row - line) * side, -1.0, 1.0))
    return picture


def _horizon(rng: Generator, side: int) -> Picture:
    view = View(
        float(rng.uniform(0.15, 0.72)), float(rng.uniform(1.2, 3.0)), float(rng.normal(0.0, 0.07))
    )
    sun = ground.sunlight(rng)
    kind = rng.uniform()
    draw = ground.plain_ground if kind < 0.7 else ground.soil if kind < 0.85 else ground.rippled
    picture = outdoors.under_sky(rng, ground.seen(rng, side, draw, view, sun), view, sun)
    if rng.uniform() < 0.3:
        row = rng.uniform(view.horizon + 0.15, 1.0)
        place = (row * side, rng.uniform(0.1, 0.9) * side)
        colour = ground.stone_colour(rng)
        radius = rng.uniform(0.03, 0.08) * side
        outdoors.set_rock(rng, picture, sun, place, radius, _squeeze(view, row), colour)
    return picture


# --- sky -------------------------------------------------------------------------------------


def _sun(rng: Generator, side: int) -> Picture:
    """Sun's disc, through a dark filter or through dusty air."""
    row, column = rng.uniform(0.15, 0.85, 2) * side
    radius = rng.uniform(0.03, 0.2) * side
    x, y = terrain.offsets(side, column, row)
    rho = np.hypot(x, y) / radius
    disc = 1.0 - terrain.smoothstep(rho, 1.0 - 0.8 / radius, 1.0 + 0.8 / radius)
    disc *= 0.6 + 0.4 * np.sqrt(np.clip(1.0 - rho * rho, 0.0, 1.0))
    colour = np.array([1.0, rng.uniform(0.8, 1.0), rng.uniform(0.55, 1.1)])
    if rng.uniform() < 0.3:
        # Phobos passes before the sun; its shape is irregular.
        away, at = rng.uniform(0.0, 0.9), rng.uniform(0.0, 2.0 * np.pi)
        u, v = x / radius - away * np.cos(at), y / radius - away * np.sin(at)
        moon = rng.uniform(0.3, 0.48)
        turn = rng.uniform(0.0, np.pi)
        u, v = np.cos(turn) * u + np.sin(turn) * v, np.cos(turn) * v - np.sin(turn) * u
        disc *= terrain.smoothstep(np.hypot(u, 1.25 * v) / moon, 0.9, 1.1)
    glow = rng.uniform(0.05, 0.4) * np.exp(-np.hypot(x, y) / (rng.uniform(0.06, 0.3) * side))
    level = 0.0
    if rng.uniform() < 0.4:
        level = rng.uniform(0.02, 0.35)
    light = level + (1.0 - level) * np.maximum(disc, glow)
    return ground.mix(np.zeros(3), colour * rng.uniform(0.6, 1.2), light)


def _night_sky(rng: Generator, side: int) -> Picture:
    """Stars, round or drawn out by the planet's turning, over dark current and glow."""
    count = int(rng.integers(20, 120))
    stars = np.zeros((side, side))
    magnitudes = np.minimum(0.25 * (1.0 - rng.uniform(0.0, 1.0, count)) ** -0.7, 4.0)
    azimuth, length = rng.uniform(0.0, 2.0 * np.pi), rng.choice([0.0, 0.0, rng.uniform(2.0, 9.0)])
    steps = np.linspace(-0.5, 0.5, int(2 * length) + 1)
    rows, columns = rng.uniform(0.0, side - 1.0, (2, count, 1))
    rows = np.rint(rows + length * np.sin(azimuth) * steps).astype(np.int64) % side
    columns = np.rint(columns + length * np.cos(azimuth) * steps).astype(np.int64) % side
    weights = np.repeat(magnitudes[:, None], steps.size, 1) / steps.size**0.5
    np.add.at(stars, (rows, columns), weights)
    sigma = rng.uniform(0.45, 0.75)
    stars = terrain.blur(stars, sigma) * 9.0 * sigma * sigma
    if rng.uniform() < 0.3:
        row, column = rng.uniform(0.1, 0.9, 2) * side
        size = rng.uniform(0.012, 0.03) * side
        far = np.hypot(*terrain.offsets(side, column, row))
        stars += 2.0 * np.exp(-((far / size) ** 2))
    glow = rng.uniform(0.0, 0.06) * (1.0 + terrain.along(side, rng.uniform(0.0, 360.0)) / side)
    hue = np.array([1.0, rng.uniform(0.85, 1.0), rng.uniform(0.7, 1.1)])
    dark = rng.uniform(0.01, 0.06) * rng.gamma(2.0, 0.5, (side, side, 3))
    return ground.mix(dark, hue + dark, stars + glow)


# --- spoiled pictures ------------------------------------------------------------------------


def _artifact(rng: Generator, side: int) -> NDArray[np.uint8]:
    names = tuple(NATURAL)
    name = "Ground" if rng.uniform() < 0.5 else names[int(rng.integers(len(names)))]
    light = NATURAL[name](rng, side)
    kind = rng.uniform()
    if kind < 0.08:
        return ground.camera(light, rng, exposure=rng.uniform(6.0, 14.0))
    image = ground.camera(light, rng)
    if kind < 0.2:
        length = int(rng.integers(side // 6, side // 4))
        axes = (0, 1) if rng.uniform() < 0.5 else (int(rng.integers(2)),)
        smeared = image.astype(np.float64)
        for axis in axes:
            smeared = ndimage.uniform_filter1d(smeared, length, axis)
        return np.rint(smeared).astype(np.uint8)
    return _lose_blocks(rng, image)


def _lose_blocks(rng: Generator, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Lose runs of compressed blocks: blank, of one colour, or shifted and miscoloured."""
    side = image.shape[0]
    spoiled = image.copy()
    block = max(side // 12, 4)
    blank = int(rng.choice([0, 0, 128, 255]))
    for _ in range(int(rng.integers(4, 14))):
        top = block * int(rng.integers(0, side // block))
        left = block * int(rng.integers(0, side // block))
        width = block * int(rng.integers(2, side // block))
        rows = slice(top, top + block * int(rng.integers(1, 3)))
        columns = slice(left, left + width)
        kind = rng.uniform()
        if kind < 0.6:
            spoiled[rows, columns] = blank
        elif kind < 0.8:
            spoiled[rows, columns] = image[rows, columns].mean((0, 1)).astype(np.uint8)
        else:
            moved = np.roll(image, int(rng.integers(side // 4, side)), 1)[rows, columns]
            spoiled[rows, columns] = 255 - moved
    return spoiled


NATURAL: dict[str, Callable[[Generator, int], Picture]] = {
    "Close-Up Rock": _close_up_rock,
    "Distant Landscape": _distant_landscape,
    "Drill Holes": _drill_holes,
    "DRT Spot": _drt_spot,
    "Float Rock": _float_rock,
    "Ground": _plain_ground,
    "Horizon": _horizon,
    "Layered Rock": _layered_rock,
    "Light-Toned Veins": _light_toned_veins,
    "Sand": _sand,
    "Wheel Tracks": _wheel_tracks,
}
"""Scenes by daylight, as linear light."""
