"""Machined objects as layers: signed distances, a canvas of materials, and light.

A shape is its signed distance in the part's own coordinates, negative inside. Painting a shape
on a `Canvas` lays down a colour, a height and a gloss with antialiased edges. `lit` shades the
whole canvas at once: all details share a sun, cast shadows and gather dust.

Distances after Quilez, "2D distance functions", https://iquilezles.org/articles/distfunctions2d/.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy import ndimage

from marsbench.demo.art import terrain
from marsbench.demo.art.terrain import Field

Colour = tuple[float, float, float]
"""Reflectance in red, green and blue."""

Place = tuple[Field, Field]
"""Coordinates of the pixels in a part: to its right and down, in half sizes of the part."""

BLACK: Colour = (0.035, 0.033, 0.032)
DUST: Colour = (0.44, 0.25, 0.14)
KAPTON: Colour = (0.62, 0.36, 0.08)
RED: Colour = (0.5, 0.05, 0.035)
GREEN: Colour = (0.05, 0.3, 0.09)
BLUE: Colour = (0.04, 0.09, 0.42)
YELLOW: Colour = (0.6, 0.42, 0.04)


# --- signed distances ------------------------------------------------------------------------


def length(x: Field, y: Field) -> Field:
    """Length of vectors; at these array sizes much faster than ``np.hypot``."""
    root: Field = np.sqrt(x * x + y * y)
    return root


def disc(p: Place, radius: float) -> Field:
    """Distance to a disc around the origin."""
    return length(*p) - radius


def ring(p: Place, radius: float, width: float) -> Field:
    """Distance to a ring around the origin, given its middle radius and full width."""
    return np.abs(length(*p) - radius) - 0.5 * width


def box(p: Place, half_width: float, half_height: float, corner: float = 0.0) -> Field:
    """Distance to a rectangle around the origin with rounded corners."""
    x = np.abs(p[0]) - (half_width - corner)
    y = np.abs(p[1]) - (half_height - corner)
    outside = length(np.maximum(x, 0.0), np.maximum(y, 0.0))
    return outside + np.minimum(np.maximum(x, y), 0.0) - corner


def rod(
    p: Place, start: tuple[float, float], end: tuple[float, float], radius: float, tip: float = -1.0
) -> Field:
    """Distance to a rod with round ends; a radius ``tip`` of 0 or more tapers the end."""
    x, y = p[0] - start[0], p[1] - start[1]
    dx, dy = end[0] - start[0], end[1] - start[1]
    t = np.clip((x * dx + y * dy) / max(dx * dx + dy * dy, 1e-12), 0.0, 1.0)
    wide = radius if tip < 0 else radius + (tip - radius) * t
    return length(x - t * dx, y - t * dy) - wide


def ngon(p: Place, radius: float, corners: int) -> Field:
    """Distance to a regular polygon with its first side facing right."""
    step = 2.0 * np.pi / corners
    rho, angle = length(*p), np.arctan2(p[1], p[0])
    folded = angle - step * np.round(angle / step)
    distance: Field = rho * np.cos(folded) - radius
    return distance


def trapezium(p: Place, top: float, bottom: float, half_height: float) -> Field:
    """Distance to a trapezium given half its upper and lower width."""
    slant = 0.5 * (bottom - top) / half_height
    middle = 0.5 * (top + bottom) + slant * p[1]
    sides: Field = (np.abs(p[0]) - middle) / np.sqrt(1.0 + slant * slant)
    return np.maximum(sides, np.abs(p[1]) - half_height)


def lathe(p: Place, places: tuple[float, ...], radii: tuple[float, ...]) -> tuple[Field, Field]:
    """Distance to a solid of revolution around the vertical axis, and its height above the axis.

    Args:
        p: Coordinates.
        places: Positions down the axis, increasing.
        radii: Radius at each position, interpolated linearly.
    """
    wide = np.interp(p[1], places, radii)
    ends = np.maximum(places[0] - p[1], p[1] - places[-1])
    distance = np.maximum(np.abs(p[0]) - wide, ends)
    return distance, np.sqrt(np.maximum(wide * wide - p[0] * p[0], 0.0))


def turned(p: Place, angle_deg: float) -> Place:
    """Coordinates in a frame turned clockwise by an angle."""
    c, s = np.cos(np.deg2rad(angle_deg)), np.sin(np.deg2rad(angle_deg))
    return p[0] * c + p[1] * s, p[1] * c - p[0] * s


def around(count: int, radius: float, first_deg: float = 0.0) -> list[tuple[float, float]]:
    """Points evenly spaced on a circle."""
    angles = np.deg2rad(first_deg + 360.0 / count * np.arange(count))
    return [(float(radius * np.cos(a)), float(radius * np.sin(a))) for a in angles]


# --- materials -------------------------------------------------------------------------------


def grey(rng: Generator, low: float, high: float) -> Colour:
    """Nearly neutral colour of random lightness in a range."""
    level, warmth = rng.uniform(low, high), rng.normal(0.0, 0.025)
    return float(level * (1.0 + warmth)), float(level), float(level * (1.0 - warmth))


def metal(rng: Generator) -> Colour:
    """Bare aluminium, steel or titanium."""
    return grey(rng, 0.3, 0.55)


def white(rng: Generator) -> Colour:
    """White paint, more or less yellowed."""
    level = rng.uniform(0.6, 0.8)
    return level, float(level * rng.uniform(0.93, 0.99)), float(level * rng.uniform(0.84, 0.96))


def darker(colour: Colour, factor: float) -> Colour:
    """Colour times a factor."""
    return colour[0] * factor, colour[1] * factor, colour[2] * factor


# --- canvas ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Canvas:
    """Painted layers as seen by a camera.

    Attributes:
        u: Coordinate of every pixel to the part's right, (rows, columns).
        v: Coordinate of every pixel down the part, (rows, columns).
        unit: Pixels per unit of the coordinates.
        lean: Displacement in the picture of a point one unit above the part's plane.
        rgb: Colour, (3, rows, columns).
        height: Height above the part's plane, in units of the coordinates, (rows, columns).
        gloss: Metallic share of the surface, in [0, 1], (rows, columns).
        alpha: Opacity, in [0, 1], (rows, columns).
    """

    u: Field
    v: Field
    unit: float
    lean: tuple[float, float]
    rgb: NDArray[np.float64]
    height: Field
    gloss: Field
    alpha: Field

    def at(self, x: float = 0.0, y: float = 0.0, *, z: float = 0.0, turn: float = 0.0) -> Place:
        """Coordinates around a point at a height above the plane, turned by degrees."""
        p = self.u - (x + z * self.lean[0]), self.v - (y + z * self.lean[1])
        return turned(p, turn) if turn else p

    def near(self, x: float, y: float, reach: float, z: float = 0.0) -> "Canvas":
        """View of the canvas around a point; painting there is cheap and changes this canvas."""
        # Search every fourth pixel; the margin covers the pixels between.
        sparse = slice(None, None, 4)
        across = np.abs(self.u[sparse, sparse] - (x + z * self.lean[0]))
        down = np.abs(self.v[sparse, sparse] - (y + z * self.lean[1]))
        inside = np.maximum(across, down) < reach + 5.0 / self.unit
        rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
        if rows.size:
            w = (
                slice(max(4 * rows[0] - 3, 0), 4 * rows[-1] + 4),
                slice(max(4 * columns[0] - 3, 0), 4 * columns[-1] + 4),
            )
        else:
            w = slice(0, 0), slice(0, 0)
        return Canvas(
            self.u[w],
            self.v[w],
            self.unit,
            self.lean,
            self.rgb[:, w[0], w[1]],
            self.height[w],
            self.gloss[w],
            self.alpha[w],
        )

    def paint(
        self,
        distance: Field,
        colour: Colour | NDArray[np.float64],
        z: float | Field | None = None,
        *,
        bevel: float = 0.0,
        gloss: float = 0.3,
        opacity: float | Field = 1.0,
    ) -> None:
        """Paint a shape over the canvas.

        Args:
            distance: Signed distance to the shape, negative inside.
            colour: Its colour, or one per pixel, (3, rows, columns).
            z: Height of its edge above the part's plane; None leaves the heights.
            bevel: Radius of the rounded edge; the radius of a rod makes a cylinder. Negative for
                a hollow.
            gloss: Metallic share, in [0, 1].
            opacity: Opacity, in [0, 1].
        """
        share = np.clip(0.5 - distance * self.unit, 0.0, 1.0) * opacity
        # Most shapes touch few rows, so skip the others.
        touched = np.flatnonzero(share.any(1))
        if not touched.size:
            return
        rows = slice(touched[0], touched[-1] + 1)
        share = share[rows]
        for channel, value in zip(self.rgb, colour, strict=True):
            self._blend(channel[rows], share, value[rows] if np.ndim(value) else value)
        self._blend(self.gloss[rows], share, gloss)
        self._blend(self.alpha[rows], share, 1.0)
        if z is not None:
            top = z[rows] if isinstance(z, np.ndarray) else z
            if bevel:
                inset = np.clip(1.0 + distance[rows] / abs(bevel), 0.0, 1.0)
                top = top + bevel * np.sqrt(1.0 - inset * inset)
            self._blend(self.height[rows], share, top)

    @staticmethod
    def _blend(below: Field, share: Field, above: float | Field) -> None:
        below += share * (above - below)

    def wall(
        self, shape: Callable[[Place], Field], low: float, high: float, colour: Colour
    ) -> None:
        """Paint the sides of a shape standing up from one height to another."""
        travel = (high - low) * float(np.hypot(*self.lean)) * self.unit
        if travel < 0.5:
            return
        steps = int(np.clip(travel / 2.0, 2, 6))
        swept = shape(self.at(z=low))
        reached = np.full_like(swept, low)
        for z in np.linspace(low, high, steps)[1:]:
            section = shape(self.at(z=float(z)))
            # A ramp from one section to the next, not stairs.
            reached += np.clip(0.5 - section * self.unit * steps / travel, 0.0, 1.0) * (z - reached)
            swept = np.minimum(swept, section)
        # Rounded over its width, or every wall would look flat.
        curve = min(0.3, 0.6 * (high - low))
        self.paint(swept, colour, reached - curve, bevel=curve)

    def screw(self, x: float, y: float, radius: float, z: float = 0.0) -> None:
        """Paint a screw with a dark socket."""
        spot = self.near(x, y, 1.3 * radius, z)
        p = spot.at(x, y, z=z)
        spot.paint(disc(p, radius), (0.3, 0.29, 0.28), z, bevel=0.5 * radius, gloss=0.7)
        spot.paint(disc(p, 0.45 * radius), BLACK, gloss=0.2)


def speckled(rng: Generator, canvas: Canvas, colour: Colour, depth: float) -> Field:
    """Colour with grains of other lightness, (3, rows, columns).

    Args:
        canvas: The canvas to be painted.
        colour: Mean colour.
        depth: Contrast of the grains; 0 for none.
    """
    grain = ndimage.gaussian_filter(rng.standard_normal(canvas.u.shape), 0.7, truncate=2.5)
    factor: Field = np.clip(1.0 + 2.2 * depth * grain, 0.2, 3.0)
    return np.stack([value * factor for value in colour])


def view(
    rng: Generator, side: int, size: float, *, turn: float, drift: float = 0.1, squash: float = 0.75
) -> Canvas:
    """Empty canvas from a random point of view.

    Args:
        size: Side of the part as a share of the image's.
        turn: Greatest turn to either side in the image plane, in degrees.
        drift: Greatest offset from the image's centre, as a share of its side.
        squash: Least foreshortening.
    """
    unit = 0.5 * size * side
    centre = 0.5 * (side - 1) + side * rng.uniform(-drift, drift, 2)
    y, x = np.mgrid[0:side, 0:side].astype(np.float64)
    x, y = (x - centre[0]) / unit, (y - centre[1]) / unit
    # Seen from aside: narrower towards the tilt, and larger where it is nearer.
    tilt, short = rng.uniform(0.0, 2.0 * np.pi), rng.uniform(squash, 0.98)
    c, s = np.cos(tilt), np.sin(tilt)
    ahead, aside = (x * c + y * s) / short, y * c - x * s
    nearer = 1.0 + rng.uniform(0.0, 0.08) * np.clip(ahead, -1.5, 1.5)
    ahead, aside = ahead / nearer, aside / nearer
    x, y = ahead * c - aside * s, ahead * s + aside * c
    sign = 1.0 if rng.uniform() < 0.5 else -1.0
    raised = sign * np.sqrt(1.0 - short * short) / short
    angle = rng.uniform(-turn, turn)
    u, v = turned((x, y), angle)
    lean_u, lean_v = turned((np.array(c * raised), np.array(s * raised)), angle)
    empty = np.zeros((side, side))
    return Canvas(
        u,
        v,
        unit * float(np.sqrt(short)),
        (float(lean_u), float(lean_v)),
        np.zeros((3, side, side)),
        empty,
        empty.copy(),
        empty.copy(),
    )


# --- light -----------------------------------------------------------------------------------


def _shadow(height: Field, x: float, y: float, slope: float) -> Field:
    """Depth of every pixel below the lowest unblocked ray of the sun, in pixels."""
    side = height.shape[0]
    reach = max(side // 6, 4)
    padded = np.pad(height, reach, mode="edge")
    excess = np.zeros_like(height)
    for step in np.unique(np.rint(np.geomspace(1.0, reach, 8)).astype(np.int64)):
        row, column = reach + round(y * step), reach + round(x * step)
        blocker = padded[row : row + side, column : column + side]
        # Shadows fade with distance, as the sky fills them, rather than end with the search.
        rise = (blocker - height - slope * step) * (1.0 - (step / (1.05 * reach)) ** 2)
        np.maximum(excess, rise, out=excess)
    return excess


def _scratches(rng: Generator, side: int) -> Field:
    """Fine parallel lines, of unit variance."""
    lines = rng.standard_normal((side, side))
    lines = ndimage.uniform_filter1d(lines, max(side // 8, 3), axis=int(rng.integers(2)))
    return terrain.standardise(lines)


def lit(
    canvas: Canvas, rng: Generator, *, dust: float = 1.0, shadow: float = 0.0
) -> NDArray[np.float64]:
    """Shade a canvas under a random sun.

    Args:
        dust: Factor on the amount of dust.
        shadow: Darkness of the shadow on the ground around it, in [0, 1]; 0 for none.

    Returns:
        Red, green, blue in linear light and opacity, each in [0, 1], (side, side, 4).
    """
    side = canvas.u.shape[0]
    azimuth = np.deg2rad(rng.uniform(-70.0, 70.0)) - 0.5 * np.pi
    elevation = np.deg2rad(rng.uniform(32.0, 68.0))
    x, y = float(np.cos(azimuth)), float(np.sin(azimuth))
    flat, up = float(np.cos(elevation)), float(np.sin(elevation))
    height = ndimage.gaussian_filter(canvas.height * canvas.unit, 0.75, truncate=2.5)
    # An edge is as steep as a pixel is small: bounded, or its antialiasing would glitter.
    south, east = (np.clip(g, -2.5, 2.5) for g in np.gradient(height))
    up_normal = 1.0 / np.sqrt(1.0 + east * east + south * south)
    sunlit = np.maximum(up - flat * (east * x + south * y), 0.0) * up_normal
    excess = _shadow(height, x, y, up / max(flat, 1e-3))
    sunlit *= 1.0 - 0.85 * terrain.smoothstep(excess, 0.0, 1.6)
    # Deep gaps see little of the sky and gather little dust.
    deep = ndimage.uniform_filter(height, max(side // 10, 3), mode="nearest") - height
    hollow = np.clip(3.0 * deep / side**0.8, 0.0, 1.0)
    sky = rng.uniform(0.22, 0.45) * (1.0 - 0.7 * hollow)
    glint = np.maximum(up_normal * (up + 1.0) - flat * up_normal * (east * x + south * y), 0.0)
    glint = (glint / np.sqrt(2.0 + 2.0 * up)) ** 24
    # Metal mirrors bright sky where it leans up in the image and red ground where it leans down.
    mirror = terrain.smoothstep(south * up_normal, -0.7, 0.7)

    worn = rng.uniform(0.0, 0.045) * _scratches(rng, side) * canvas.gloss
    film = terrain.fractal(rng, side, 2.2)
    amount = dust * rng.uniform(0.05, 0.6)
    film = np.clip(amount * (0.8 + 0.4 * film) * up_normal + 0.1 * amount, 0.0, 0.92)
    film *= 1.0 - 0.85 * hollow
    gloss = canvas.gloss * (1.0 - film)
    image = np.empty((side, side, 4))
    sun_colour, sky_colour, ground = (1.0, 0.95, 0.88), (1.0, 0.9, 0.78), (0.5, 0.3, 0.2)
    for channel in range(3):
        albedo = canvas.rgb[channel] * (1.0 + worn)
        albedo += film * (DUST[channel] - albedo)
        reflected = ground[channel] + (1.2 * sky_colour[channel] - ground[channel]) * mirror
        diffuse = sunlit * sun_colour[channel] + sky * sky_colour[channel]
        image[..., channel] = (
            albedo * (diffuse * (1.0 - 0.45 * gloss) + 0.5 * gloss * sky * 2.0 * reflected)
            + 0.7 * gloss * glint * (sunlit > 0.05) * albedo**0.5
        )
    opaque = canvas.alpha
    if shadow:
        # On bare ground the layer is pure darkness.
        below = shadow * terrain.smoothstep(excess, 0.0, 2.5) * (1.0 - opaque)
        image[..., :3] *= (opaque / np.maximum(opaque + below, 1e-6))[..., None]
        image[..., 3] = opaque + below
    else:
        image[..., 3] = opaque
    # A random exposure, so that brightness does not reveal the part.
    mean = float((image[..., :3].mean(2) * opaque).sum() / max(float(opaque.sum()), 1e-6))
    image[..., :3] *= 0.12 * 3.2 ** rng.uniform() / max(mean, 1e-6)
    return np.clip(image, 0.0, 1.0)
