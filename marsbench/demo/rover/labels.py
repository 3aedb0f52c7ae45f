"""Scenes for ``surface_multi_label_cls``: what Pancam saw, every thing with its label.

First it is decided what an image shows, scene by scene, so that things occur together as they
do on Mars: tracks lie in soil, abrasion marks on rock, a sky stands above a far view. Then
exactly that is drawn, and nothing that has a label of its own besides. Where readers may
differ, the rules are:

- soil is part of an outcrop only where sand fills the joints; without it they are bare;
- a close-up shows rock alone, so no nearby surface;
- wind ripples, tracks, trenches and bright soil are soil too;
- a night sky is astronomy, a bright sky is sky, the sun in a bright sky is both;
- a big, smooth, glossy stone is a miscellaneous rock, angular ones are float rocks.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from marsbench.demo.art import terrain
from marsbench.demo.art.terrain import Field
from marsbench.demo.rover import objects
from marsbench.demo.rover import pancam as rover_scene
from marsbench.demo.rover import sky as rover_sky
from marsbench.demo.rover.pancam import Frame
from marsbench.tasks.catalog import get_task

CLASSES = get_task("surface_multi_label_cls").class_names
"""Every label, in the order in which a set names them."""

NEAR, SOIL, ROCK = "Nearby Surface", "Soil", "Rock Outcrops"

Names = set[str]


# --- what is shown ---------------------------------------------------------------------------


def label_sets(rng: np.random.Generator, count: int) -> list[tuple[str, ...]]:
    """Decide what each image of a split shows.

    Args:
        rng: Source of randomness.
        count: Number of images.

    Returns:
        Names of what every image shows, in the order of `CLASSES`. Every class is shown at
        least 4 times if there are 200 images or more, and at least once if there are 25.
    """
    least = 4 if count >= 200 else 1
    shown = dict.fromkeys(CLASSES, 0)
    sets: list[Names] = []

    def add(names: Names) -> None:
        sets.append(names)
        for name in names:
            shown[name] += 1

    for name in CLASSES:
        while shown[name] < least and len(sets) < count:
            names = _scene(rng)
            if name in names:
                add(names)
    while len(sets) < count:
        add(_scene(rng))
    order = rng.permutation(count)
    return [tuple(name for name in CLASSES if name in sets[i]) for i in order]


def _scene(rng: np.random.Generator) -> Names:
    """What one image shows."""
    weights = np.array([weight for _, weight in SCENES])
    draw, _ = SCENES[int(rng.choice(len(SCENES), p=weights / weights.sum()))]
    names = draw(rng)
    if rng.uniform() < 0.06:
        names.add("Artifacts")
    return names


def _some(rng: np.random.Generator, chances: dict[str, float]) -> Names:
    """Each name with its own chance."""
    return {name for name, chance in chances.items() if rng.uniform() < chance}


def _one(rng: np.random.Generator, chances: dict[str, float]) -> Names:
    """At most one of the names."""
    draw, names = rng.uniform(), list(chances)
    reached = np.searchsorted(np.cumsum(list(chances.values())), draw)
    return {names[int(reached)]} if reached < len(names) else set()


def _soil_scene(rng: np.random.Generator) -> Names:
    names = {NEAR, SOIL}
    names |= _one(rng, {"Rover Tracks": 0.36, "Dunes/Ripples": 0.34, "Soil Trench": 0.2})
    if "Soil Trench" not in names:
        names |= _one(rng, {"Miscellaneous Rocks": 0.28, "Float Rocks": 0.5})
    if not names & {"Soil Trench", "Dunes/Ripples"}:
        names |= _one(rng, {"Clasts": 0.65, "Spherules": 0.18})
    if not names & {"Dunes/Ripples", "Spherules", "Miscellaneous Rocks"}:
        names |= _some(rng, {"Bright Soil": 0.6})
    return names


def _outcrop_scene(rng: np.random.Generator) -> Names:
    names = {NEAR, ROCK}
    names |= _one(rng, {"Linear Rock Features": 0.36, "Round Rock Features": 0.18})
    names |= _one(rng, {"RAT Hole": 0.14, "RAT Brushed Target": 0.14, "Float Rocks": 0.45})
    if not names & {"RAT Hole", "RAT Brushed Target", "Round Rock Features"}:
        # Sand might hide the others.
        names |= _one(rng, {"Clasts": 0.6, "Spherules": 0.25}) | _some(rng, {SOIL: 0.6})
    return names


def _panorama(rng: np.random.Generator) -> Names:
    names = {NEAR, "Sky", "Distant Vista"}
    if rng.uniform() < 0.4:
        return names | {ROCK} | _some(rng, {SOIL: 0.5, "Float Rocks": 0.4})
    names |= {SOIL} | _one(rng, {"Dunes/Ripples": 0.4, "Rover Tracks": 0.4})
    return names | _some(rng, {"Float Rocks": 0.5, "Clasts": 0.5})


def _far_view(rng: np.random.Generator) -> Names:
    return {"Distant Vista"} | _some(rng, {"Sky": 0.5})


def _sky(_rng: np.random.Generator) -> Names:
    return {"Sky"}


def _astronomy(rng: np.random.Generator) -> Names:
    return {"Astronomy"} | _some(rng, {"Sky": 0.3})


def _close_up(rng: np.random.Generator) -> Names:
    names = {"Close-Up Rock"}
    names |= _one(
        rng,
        {"Linear Rock Features": 0.34, "Round Rock Features": 0.26, "Spherules": 0.26},
    )
    return names | _one(rng, {"RAT Hole": 0.3, "RAT Brushed Target": 0.3})


def _deck_scene(rng: np.random.Generator) -> Names:
    names = {"Rover Deck"}
    kind = rng.uniform()
    if kind < 0.25:
        names |= {NEAR, SOIL} | _some(rng, {"Clasts": 0.3})
    elif kind < 0.45:
        names |= {"Sky", "Distant Vista"}
    return names


def _target(rng: np.random.Generator) -> Names:
    return {"Pancam Calibration Target"} | _some(rng, {"Rover Deck": 0.3})


def _arm_scene(rng: np.random.Generator) -> Names:
    if rng.uniform() < 0.35:
        return {"Arm Hardware", NEAR, ROCK}
    return {"Arm Hardware", NEAR, SOIL} | _some(rng, {"Clasts": 0.5})


def _parts_scene(rng: np.random.Generator) -> Names:
    if rng.uniform() < 0.35:
        return {"Rover Parts", "Sky"}
    return {"Rover Parts", NEAR, SOIL} | _some(rng, {"Clasts": 0.5})


def _wreck_scene(rng: np.random.Generator) -> Names:
    names = {"Other Hardware", NEAR, SOIL}
    return names | {"Sky", "Distant Vista"} if rng.uniform() < 0.5 else names


SCENES: tuple[tuple[Callable[[np.random.Generator], Names], float], ...] = (
    (_soil_scene, 0.26),
    (_outcrop_scene, 0.24),
    (_panorama, 0.12),
    (_close_up, 0.2),
    (_target, 0.1),
    (_deck_scene, 0.085),
    (_arm_scene, 0.085),
    (_parts_scene, 0.08),
    (_astronomy, 0.05),
    (_far_view, 0.035),
    (_wreck_scene, 0.04),
    (_sky, 0.012),
)
"""The kinds of scene and how often each occurs."""


# --- drawing ---------------------------------------------------------------------------------


def render(rng: np.random.Generator, names: tuple[str, ...], side: int) -> NDArray[np.uint8]:
    """Draw one image.

    Args:
        rng: Source of randomness.
        names: What it shows, a combination that `label_sets` makes.
        side: Side of the image in pixels.

    Returns:
        Grey values, (side, side, 1).
    """
    shown = set(names)
    grey = rover_sky.camera(_picture(rng, shown, side), rng)
    if "Artifacts" in shown:
        # A bright disc in the sky would be the sun.
        grey = _spoiled(rng, grey, discs="Sky" not in shown)
    return grey[:, :, None]


def _picture(rng: np.random.Generator, shown: Names, side: int) -> Field:
    """Light of everything that is shown, (side, side)."""
    if "Astronomy" in shown:
        if "Sky" in shown:
            return rover_sky.sun_disc(rng, rover_sky.day_sky(rng, side), filtered=False)
        if rng.uniform() < 0.3:
            return rover_sky.sun_disc(rng, np.zeros((side, side)), filtered=True)
        return rover_sky.night(rng, side)
    if "Close-Up Rock" in shown:
        return _close_rock(rng, shown, side)
    if NEAR in shown:
        picture = _near_surface(rng, shown, side)
    elif "Distant Vista" in shown:
        picture = _vista(rng, side, sky="Sky" in shown)
    elif "Sky" in shown:
        picture = rover_sky.day_sky(rng, side)
    else:
        picture = np.full((side, side), rng.uniform(0.03, 0.3))
    _add_hardware(rng, picture, shown)
    return picture


def _add_hardware(rng: np.random.Generator, picture: Field, shown: Names) -> None:
    """Paint what belongs to the rover over what lies behind it, in place."""
    if "Rover Deck" in shown:
        behind = shown & {NEAR, "Distant Vista"}
        objects.deck(rng, picture, float(rng.uniform(0.4, 0.6)) if behind else -0.1)
    if "Pancam Calibration Target" in shown:
        # Beside a deck that is to be seen it must not fill the view.
        objects.sundial(rng, picture, 0.33 if "Rover Deck" in shown else 0.5)
    if "Arm Hardware" in shown:
        objects.arm(rng, picture)
    if "Rover Parts" in shown:
        (objects.wheel if NEAR in shown else objects.mast)(rng, picture)


def _close_rock(rng: np.random.Generator, shown: Names, side: int) -> Field:
    """Rock that fills the view, with what is in or on it."""
    # So steep that the plan does not repeat, since facets do not wrap around. Where its edges
    # meet they are lit as a wall, so the view keeps to the middle.
    frame = rover_scene.frame(rng, side, -rng.uniform(9.0, 14.0), rng.uniform(1.0, 1.1))
    n = round(1.45 * side)
    plan = _in_rock(rng, rover_scene.close_up(rng, n), np.ones((n, n)), shown)
    unseen = n - int(frame.y.max())
    light = np.roll(rover_scene.lit(plan, frame.sun), unseen // 2, axis=0)
    picture = rover_scene.project(light, frame)
    _abrade(rng, picture, frame, shown)
    return picture


def _in_rock(
    rng: np.random.Generator, plan: rover_scene.Plan, bare: Field, shown: Names
) -> rover_scene.Plan:
    """Add beds, round forms and spherules to rock."""
    if "Linear Rock Features" in shown:
        plan = rover_scene.with_lines(rng, plan, bare)
    if "Round Rock Features" in shown:
        plan = rover_scene.with_round_forms(rng, plan, bare)
    if "Spherules" in shown:
        plan = rover_scene.with_spherules(rng, plan)
    return plan


def _abrade(rng: np.random.Generator, picture: Field, frame: Frame, shown: Names) -> None:
    """Leave the marks of the Rock Abrasion Tool on rock, in place."""
    side = picture.shape[0]
    row, column = rng.uniform(0.3, 0.7, 2) * side
    if "RAT Hole" in shown:
        rover_scene.abraded(rng, picture, frame, float(row), float(column))
    elif "RAT Brushed Target" in shown:
        rover_scene.brushed(rng, picture, frame, float(row), float(column))


def _near_surface(rng: np.random.Generator, shown: Names, side: int) -> Field:
    """Ground within a few metres, with everything on it and the far view above it."""
    n = round(1.25 * side)
    far = bool(shown & {"Sky", "Distant Vista"})
    if far:
        frame = rover_scene.frame(rng, side, rng.uniform(0.22, 0.45), rng.uniform(1.2, 2.0))
    elif shown & {"RAT Hole", "RAT Brushed Target", "Round Rock Features"} or rng.uniform() < 0.3:
        frame = rover_scene.from_above(rng, side)
    else:
        frame = rover_scene.from_mast(rng, side)
    picture = rover_scene.project(rover_scene.lit(_ground(rng, n, shown), frame.sun), frame)
    printed = rover_scene.tracks(rng, picture, frame) if "Rover Tracks" in shown else None
    if "Soil Trench" in shown:
        printed = rover_scene.trench(rng, picture, frame)
    if "Bright Soil" in shown:
        rover_scene.bright_soil(rng, picture, frame, printed)
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


def _ground(rng: np.random.Generator, n: int, shown: Names) -> rover_scene.Plan:
    """Plan of the ground with its textures."""
    if ROCK in shown:
        plan, bare = rover_scene.bedrock(rng, n, sandy=SOIL in shown)
    else:
        plan, bare = rover_scene.soil(rng, n), np.zeros((n, n))
        if "Dunes/Ripples" in shown:
            plan = rover_scene.rippled(rng, plan)
    plan = _in_rock(rng, plan, bare, shown)
    return rover_scene.with_clasts(rng, plan) if "Clasts" in shown else plan


def _put_behind(rng: np.random.Generator, picture: Field, frame: Frame) -> None:
    """Put sky and hills behind the ground, in place."""
    side = picture.shape[0]
    horizon = frame.view.horizon
    behind = rover_sky.day_sky(rng, side)
    top = horizon - rng.uniform(0.08, 0.16)
    rover_sky.hills(rng, behind, frame, float(top), horizon, int(rng.integers(1, 4)))
    above = 1.0 - terrain.smoothstep((frame.row - horizon) * side, -0.7, 0.7)
    hazy = 0.5 * np.exp(-np.maximum(frame.row - horizon, 0.0) / 0.04)
    picture += (0.28 - picture) * hazy
    picture += (behind - picture) * above


def _vista(rng: np.random.Generator, side: int, *, sky: bool) -> Field:
    """Hills and crater walls far away, with or without sky above."""
    frame = rover_scene.frame(rng, side, float(rng.uniform(0.2, 0.4)), 1.5)
    picture = rover_sky.day_sky(rng, side)
    top = rng.uniform(0.2, 0.5) if sky else -0.25
    count = int(rng.integers(3, 6)) if sky else int(rng.integers(4, 7))
    rover_sky.hills(rng, picture, frame, float(top), 0.95, count)
    return picture


def _strew_rocks(rng: np.random.Generator, picture: Field, frame: Frame) -> None:
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


def _spoiled(
    rng: np.random.Generator, grey: NDArray[np.uint8], *, discs: bool
) -> NDArray[np.uint8]:
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
