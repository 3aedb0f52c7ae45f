"""Label sets for ``surface_multi_label_cls``, drawn scene by scene.

Things occur together as on Mars: tracks lie in soil, abrasion marks on rock, a sky stands above a
far view.
"""

from collections.abc import Callable

import numpy as np
from numpy.random import Generator

from marsbench.tasks.catalog import get_task

CLASSES = get_task("surface_multi_label_cls").class_names
"""All labels, in the order of a label set."""

NEAR, SOIL, ROCK = "Nearby Surface", "Soil", "Rock Outcrops"

Names = set[str]


def label_sets(rng: Generator, count: int) -> list[tuple[str, ...]]:
    """Draw the label sets of a split's images.

    Every class is in at least 4 sets of 200 or more, and in at least one set of 25 or more. Names
    are in the order of `CLASSES`.
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


def _scene(rng: Generator) -> Names:
    """Labels of an image."""
    weights = np.array([weight for _, weight in SCENES])
    draw, _ = SCENES[int(rng.choice(len(SCENES), p=weights / weights.sum()))]
    names = draw(rng)
    if rng.uniform() < 0.06:
        names.add("Artifacts")
    return names


def _some(rng: Generator, chances: dict[str, float]) -> Names:
    """Names drawn independently, each with its own chance."""
    return {name for name, chance in chances.items() if rng.uniform() < chance}


def _one(rng: Generator, chances: dict[str, float]) -> Names:
    """Draw a single name or none, by their chances."""
    draw, names = rng.uniform(), list(chances)
    reached = np.searchsorted(np.cumsum(list(chances.values())), draw)
    return {names[int(reached)]} if reached < len(names) else set()


def _soil_scene(rng: Generator) -> Names:
    names = {NEAR, SOIL}
    names |= _one(rng, {"Rover Tracks": 0.36, "Dunes/Ripples": 0.34, "Soil Trench": 0.2})
    if "Soil Trench" not in names:
        names |= _one(rng, {"Miscellaneous Rocks": 0.28, "Float Rocks": 0.5})
    if not names & {"Soil Trench", "Dunes/Ripples"}:
        names |= _one(rng, {"Clasts": 0.65, "Spherules": 0.18})
    if not names & {"Dunes/Ripples", "Spherules", "Miscellaneous Rocks"}:
        names |= _some(rng, {"Bright Soil": 0.6})
    return names


def _outcrop_scene(rng: Generator) -> Names:
    names = {NEAR, ROCK}
    names |= _one(rng, {"Linear Rock Features": 0.36, "Round Rock Features": 0.18})
    names |= _one(rng, {"RAT Hole": 0.14, "RAT Brushed Target": 0.14, "Float Rocks": 0.45})
    if not names & {"RAT Hole", "RAT Brushed Target", "Round Rock Features"}:
        # Sand might hide the others.
        names |= _one(rng, {"Clasts": 0.6, "Spherules": 0.25}) | _some(rng, {SOIL: 0.6})
    return names


def _panorama(rng: Generator) -> Names:
    names = {NEAR, "Sky", "Distant Vista"}
    if rng.uniform() < 0.4:
        return names | {ROCK} | _some(rng, {SOIL: 0.5, "Float Rocks": 0.4})
    names |= {SOIL} | _one(rng, {"Dunes/Ripples": 0.4, "Rover Tracks": 0.4})
    return names | _some(rng, {"Float Rocks": 0.5, "Clasts": 0.5})


def _far_view(rng: Generator) -> Names:
    return {"Distant Vista"} | _some(rng, {"Sky": 0.5})


def _sky(_rng: Generator) -> Names:
    return {"Sky"}


def _astronomy(rng: Generator) -> Names:
    return {"Astronomy"} | _some(rng, {"Sky": 0.3})


def _close_up(rng: Generator) -> Names:
    names = {"Close-Up Rock"}
    names |= _one(
        rng,
        {"Linear Rock Features": 0.34, "Round Rock Features": 0.26, "Spherules": 0.26},
    )
    return names | _one(rng, {"RAT Hole": 0.3, "RAT Brushed Target": 0.3})


def _deck_scene(rng: Generator) -> Names:
    names = {"Rover Deck"}
    kind = rng.uniform()
    if kind < 0.25:
        names |= {NEAR, SOIL} | _some(rng, {"Clasts": 0.3})
    elif kind < 0.45:
        names |= {"Sky", "Distant Vista"}
    return names


def _target(rng: Generator) -> Names:
    return {"Pancam Calibration Target"} | _some(rng, {"Rover Deck": 0.3})


def _arm_scene(rng: Generator) -> Names:
    if rng.uniform() < 0.35:
        return {"Arm Hardware", NEAR, ROCK}
    return {"Arm Hardware", NEAR, SOIL} | _some(rng, {"Clasts": 0.5})


def _parts_scene(rng: Generator) -> Names:
    if rng.uniform() < 0.35:
        return {"Rover Parts", "Sky"}
    return {"Rover Parts", NEAR, SOIL} | _some(rng, {"Clasts": 0.5})


def _wreck_scene(rng: Generator) -> Names:
    names = {"Other Hardware", NEAR, SOIL}
    return names | {"Sky", "Distant Vista"} if rng.uniform() < 0.5 else names


SCENES: tuple[tuple[Callable[[Generator], Names], float], ...] = (
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
"""Kinds of scene and their frequencies."""
