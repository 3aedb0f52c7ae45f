"""Scenes for ``surface_multi_label_cls``: pictures of Pancam showing exactly their labels.

A picture shows everything in its label set and nothing else that has a label. Rules where
readers may differ:

- soil is part of an outcrop only where sand fills the joints, which are bare otherwise;
- a close-up shows rock alone, so no nearby surface;
- wind ripples, tracks, trenches and bright soil are soil too;
- a night sky is astronomy, a bright sky is sky, the sun in a bright sky is both;
- a big, smooth, glossy stone is a miscellaneous rock, angular stones are float rocks.
"""

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from marsbench.demo.art import terrain
from marsbench.demo.art.terrain import Field
from marsbench.demo.rover.ground import Frame
from marsbench.demo.rover.pancam import ground, objects, sky
from marsbench.demo.rover.pancam.labels import NEAR, ROCK, SOIL, Names

# --- drawing ---------------------------------------------------------------------------------


def render(rng: Generator, names: tuple[str, ...], side: int) -> NDArray[np.uint8]:
    """Draw an image in grey values, (side, side, 1).

    Args:
        names: A label set of `labels.label_sets`.
    """
    shown = set(names)
    grey = sky.camera(_picture(rng, shown, side), rng)
    if "Artifacts" in shown:
        # A bright disc in the sky would be the sun.
        grey = _spoiled(rng, grey, discs="Sky" not in shown)
    return grey[:, :, None]


def _picture(rng: Generator, shown: Names, side: int) -> Field:
    """Light of a scene with the given labels, (side, side)."""
    if "Astronomy" in shown:
        if "Sky" in shown:
            return sky.sun_disc(rng, sky.day_sky(rng, side), filtered=False)
        if rng.uniform() < 0.3:
            return sky.sun_disc(rng, np.zeros((side, side)), filtered=True)
        return sky.night(rng, side)
    if "Close-Up Rock" in shown:
        return _close_rock(rng, shown, side)
    if NEAR in shown:
        picture = _near_surface(rng, shown, side)
    elif "Distant Vista" in shown:
        picture = _vista(rng, side, below_sky="Sky" in shown)
    elif "Sky" in shown:
        picture = sky.day_sky(rng, side)
    else:
        picture = np.full((side, side), rng.uniform(0.03, 0.3))
    _add_hardware(rng, picture, shown)
    return picture


def _add_hardware(rng: Generator, picture: Field, shown: Names) -> None:
    """Paint parts of the rover over the scene, in place."""
    if "Rover Deck" in shown:
        behind = shown & {NEAR, "Distant Vista"}
        objects.deck(rng, picture, float(rng.uniform(0.4, 0.6)) if behind else -0.1)
    if "Pancam Calibration Target" in shown:
        # Beside a visible deck the target must not fill the view.
        objects.sundial(rng, picture, 0.33 if "Rover Deck" in shown else 0.5)
    if "Arm Hardware" in shown:
        objects.arm(rng, picture)
    if "Rover Parts" in shown:
        (objects.wheel if NEAR in shown else objects.mast)(rng, picture)


def _close_rock(rng: Generator, shown: Names, side: int) -> Field:
    """Rock filling the view, with its features and marks."""
    # So steep that the plan does not repeat, since facets do not wrap around. Its edges are lit as
    # walls, so the view keeps to the middle.
    frame = ground.frame(rng, side, -rng.uniform(9.0, 14.0), rng.uniform(1.0, 1.1))
    n = round(1.45 * side)
    plan = _in_rock(rng, ground.close_up(rng, n), np.ones((n, n)), shown)
    unseen = n - int(frame.y.max())
    light = np.roll(ground.lit(plan, frame.sun), unseen // 2, axis=0)
    picture = ground.project(light, frame)
    _abrade(rng, picture, frame, shown)
    return picture


def _in_rock(rng: Generator, plan: ground.GreyPlan, bare: Field, shown: Names) -> ground.GreyPlan:
    """Add beds, round forms and spherules to rock."""
    if "Linear Rock Features" in shown:
        plan = ground.with_lines(rng, plan, bare)
    if "Round Rock Features" in shown:
        plan = ground.with_round_forms(rng, plan, bare)
    if "Spherules" in shown:
        plan = ground.with_spherules(rng, plan)
    return plan


def _abrade(rng: Generator, picture: Field, frame: Frame, shown: Names) -> None:
    """Leave the marks of the Rock Abrasion Tool on rock, in place."""
    side = picture.shape[0]
    row, column = rng.uniform(0.3, 0.7, 2) * side
    if "RAT Hole" in shown:
        ground.abraded(rng, picture, frame, float(row), float(column))
    elif "RAT Brushed Target" in shown:
        ground.brushed(rng, picture, frame, float(row), float(column))


def _near_surface(rng: Generator, shown: Names, side: int) -> Field:
    """Ground within a few metres with its objects, and the far view above."""
    n = round(1.25 * side)
    far = bool(shown & {"Sky", "Distant Vista"})
    if far:
        frame = ground.frame(rng, side, rng.uniform(0.22, 0.45), rng.uniform(1.2, 2.0))
    elif shown & {"RAT Hole", "RAT Brushed Target", "Round Rock Features"} or rng.uniform() < 0.3:
        frame = ground.from_above(rng, side)
    else:
        frame = ground.from_mast(rng, side)
    picture = ground.project(ground.lit(_ground(rng, n, shown), frame.sun), frame)
    printed = ground.tracks(rng, picture, frame) if "Rover Tracks" in shown else None
    if "Soil Trench" in shown:
        printed = ground.trench(rng, picture, frame)
    if "Bright Soil" in shown:
        ground.bright_soil(rng, picture, frame, printed)
    _abrade(rng, picture, frame, shown)
    if far:
        _put_behind(rng, picture, frame)
    if "Other Hardware" in shown:
        row = frame.view.horizon + 0.2 if far else rng.uniform(0.5, 0.65)
        objects.wreck(rng, picture, float(row))
    if "Float Rocks" in shown:
        _strew_rocks(rng, picture, frame)
    if "Miscellaneous Rocks" in shown:
        objects.odd_rock(rng, picture, frame.sun)
    return picture


def _ground(rng: Generator, n: int, shown: Names) -> ground.GreyPlan:
    """Plan of the ground with its textures."""
    if ROCK in shown:
        plan, bare = ground.bedrock(rng, n, sandy=SOIL in shown)
    else:
        plan, bare = ground.soil(rng, n), np.zeros((n, n))
        if "Dunes/Ripples" in shown:
            plan = ground.rippled(rng, plan)
    plan = _in_rock(rng, plan, bare, shown)
    return ground.with_clasts(rng, plan) if "Clasts" in shown else plan


def _put_behind(rng: Generator, picture: Field, frame: Frame) -> None:
    """Put sky and hills behind the ground, in place."""
    side = picture.shape[0]
    horizon = frame.view.horizon
    behind = sky.day_sky(rng, side)
    top = horizon - rng.uniform(0.08, 0.16)
    sky.hills(rng, behind, frame, float(top), horizon, int(rng.integers(1, 4)))
    above = 1.0 - terrain.smoothstep((frame.row - horizon) * side, -0.7, 0.7)
    hazy = 0.5 * np.exp(-np.maximum(frame.row - horizon, 0.0) / 0.04)
    picture += (0.28 - picture) * hazy
    picture += (behind - picture) * above


def _vista(rng: Generator, side: int, *, below_sky: bool) -> Field:
    """Hills and crater walls far away, with or without sky above."""
    frame = ground.frame(rng, side, float(rng.uniform(0.2, 0.4)), 1.5)
    picture = sky.day_sky(rng, side)
    top = rng.uniform(0.2, 0.5) if below_sky else -0.25
    count = int(rng.integers(3, 6)) if below_sky else int(rng.integers(4, 7))
    sky.hills(rng, picture, frame, float(top), 0.95, count)
    return picture


def _strew_rocks(rng: Generator, picture: Field, frame: Frame) -> None:
    """Set three to five float rocks on the ground, the far ones first, in place."""
    side = picture.shape[0]
    horizon = frame.view.horizon
    first = max(horizon + 0.12, 0.2)
    squeeze = 0.75 if horizon < -3.0 else 0.5 if horizon < 0.0 else 0.3
    for row in np.sort(rng.uniform(first, 0.88, int(rng.integers(3, 6)))):
        column = rng.uniform(0.1, 0.9)
        depth = frame.depth[int(row * side), int(column * side)]
        radius = max(rng.uniform(0.13, 0.21) * side / max(depth, 1.0) ** 0.6, 0.07 * side)
        centre = (float(row * side), float(column * side))
        objects.float_rock(rng, picture, frame.sun, centre, float(radius), squeeze)


# --- flaws -----------------------------------------------------------------------------------


def _spoiled(rng: Generator, grey: NDArray[np.uint8], *, discs: bool) -> NDArray[np.uint8]:
    """Lose part of an image, or saturate or veil it, with or without bright discs."""
    side = grey.shape[0]
    image = grey.astype(np.float64)
    kind = rng.uniform()
    if kind < 0.45:
        # Packets lost: bands of rows, whole or from some column on.
        for _ in range(int(rng.integers(2, 5))):
            row = int(rng.integers(0, side - side // 10))
            start = int(rng.integers(0, side // 2)) if rng.uniform() < 0.6 else 0
            image[row : row + int(rng.integers(side // 24, side // 8)), start:] = rng.choice(
                [0, 255]
            )
    elif kind < 0.75:
        # Full wells bleed along the columns.
        for _ in range(int(rng.integers(2, 5))):
            column = int(rng.integers(side))
            row, reach = rng.uniform(0.1, 0.9) * side, rng.uniform(0.03, 0.08) * side
            image[:, column : column + int(rng.integers(2, 5))] = 255.0
            if discs:
                image[np.hypot(*terrain.offsets(side, column, row)) < reach] = 255.0
    else:
        # Sun glare: a fan of light and ghosts of the aperture along it.
        corner = rng.choice([0.0, float(side)])
        x, y = terrain.offsets(side, corner, 0.0)
        far = np.hypot(x, y) / side
        image += 230.0 * np.exp(-2.0 * far) * (1.0 + 0.3 * np.cos(9.0 * np.arctan2(y, x)))
        for t in rng.uniform(0.35, 1.1, 3 if discs else 0):
            centre = (abs(corner - 0.7 * t * side), 0.7 * t * side)
            away = np.hypot(*terrain.offsets(side, *centre))
            image += 70.0 * (away < rng.uniform(0.05, 0.13) * side)
    return np.clip(np.rint(image), 0.0, 255.0).astype(np.uint8)
