"""Sky, hills and far plain of the rover segmentation tasks.

Picture and mask share the profile of every skyline.
"""

import numpy as np
from numpy.random import Generator

from marsbench.demo.art import terrain
from marsbench.demo.art.terrain import Field
from marsbench.demo.rover import ground, outdoors
from marsbench.demo.rover.ground import SKYLIGHT, Frame
from marsbench.demo.rover.segmentation.ground import Kind, Surface


def far_away(rng: Generator, surface: Surface, frame: Frame) -> None:
    """Paint everything above the horizon, in place; the ground's light colours the hills."""
    side = frame.side
    horizon = frame.view.horizon
    sky = outdoors.hazy_sky(rng, side, frame.view)
    sky *= rng.uniform(0.75, 1.15)
    kind = np.full((side, side), Kind.SKY, np.uint8)
    near = surface.light[frame.ground].mean(0)
    haze = sky[max(int(horizon * side) - 1, 0)].mean(0)
    if rng.uniform() < 0.75:
        relief = ground.noise(rng, side, 2.8, longest=0.4 * side, shortest=2.0)
        count = int(rng.integers(1, 4))
        top = rng.uniform(0.03, min(0.16, 0.7 * horizon))
        rough = rng.uniform(2.2, 3.2)
        for k in range(count):
            nearer = (k + 1) / count
            mean = horizon - top * (1.0 - 0.75 * k / count)
            line = mean + (0.12 + 0.2 * rng.uniform()) * top * outdoors.skyline(rng, side, rough)
            # Hills never sink below their plain.
            below = frame.row - np.minimum(line, horizon - 0.012)[None, :]
            shaded = _slopes(rng, relief, below, frame)
            hill = near * rng.uniform(0.55, 0.95) * shaded[..., None]
            veil = rng.uniform(0.15, 0.35) + 0.4 * (1.0 - nearer)
            hill += (haze - hill) * veil
            sky += (hill - sky) * terrain.smoothstep(below * side, -0.7, 0.7)[..., None]
            kind[below > 0.0] = Kind.RIDGE
    line = horizon + rng.uniform(0.002, 0.008) * outdoors.skyline(rng, side, 2.2)
    below = frame.row - line[None, :]
    if rng.uniform() < 0.3:
        # Plain too far away to be classified: smooth, in thick air.
        deep = rng.uniform(0.02, 0.05)
        plain = near * rng.uniform(0.5, 0.8) if rng.uniform() < 0.5 else 0.5 * (near + haze)
        sky += (plain - sky) * terrain.smoothstep(below * side, -0.7, 0.7)[..., None]
        kind[below > 0.0] = Kind.NOTHING
        below = below - deep
    cover = terrain.smoothstep(below * side, -0.7, 0.7)[..., None]
    surface.light[:] = sky + (surface.light - sky) * cover
    beyond = below <= 0.0
    surface.kind[beyond] = kind[beyond]
    surface.shadow[beyond] = 0.0


def _slopes(rng: Generator, relief: Field, below: Field, frame: Frame) -> Field:
    """Light of a hillside with ravines, about 1 on average, (side, side)."""
    texture = np.roll(relief, int(rng.integers(frame.side)), 1)
    towards = terrain.facing(texture, frame.sun.azimuth_deg)
    slopes = 1.0 + rng.uniform(0.5, 1.1) * towards
    # Some hills show their beds.
    if rng.uniform() < 0.4:
        slopes += 0.1 * np.sin(below * rng.uniform(90.0, 180.0) + texture)
    lit: Field = np.clip(slopes, 0.35, 1.7) + SKYLIGHT.mean()
    return lit
