"""The built-in demo data: which tasks have generated samples, and how a sample is made.

Sample ``index`` of a split depends on the recipe, the split, the index and its label alone,
never on other samples or on how many there are.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import floor
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from marsbench.base import lazy
from marsbench.base.errors import unknown_name
from marsbench.tasks.catalog import get_task
from marsbench.tasks.spec import SPLITS


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How the demo data of one task are made.

    Attributes:
        task: Name of the task.
        version: Raised with every change that moves a pixel or a label.
        image_size: Side of the images in pixels.
        sizes: Samples per split at size 1.
        class_weights: Class name to frequency; they need not sum to 1. Of a multilabel recipe,
            about the share of images that show the class.
        render: ``"module:function"`` of the function ``(rng, label, side) -> image`` that draws
            one sample; a string, so that listing recipes imports nothing heavy. The label is a
            class name, of a multilabel recipe a tuple of them. The image is uint8 (side, side,
            channels); of an image pair the two channels are before and after.
        label_sets: Of a multilabel recipe, ``"module:function"`` of the function
            ``(rng, count) -> [names, ...]`` that decides what each image shows.
    """

    task: str
    version: int
    image_size: int
    sizes: Mapping[str, int]
    class_weights: Mapping[str, float]
    render: str
    label_sets: str | None = None


_DUST = {"Dusty": 0.5, "Non dusty": 0.5}
_CHANGE = {"Change": 0.25, "No change": 0.75}

_LANDMARKS = {
    # Other is the majority, Impact Ejecta the rarest (paper, B.2.1); 56 to 1.
    "Other": 0.56,
    "Crater": 0.13,
    "Slope Streak": 0.09,
    "Bright Dune": 0.07,
    "Dark Dune": 0.06,
    "Swiss Cheese": 0.05,
    "Spider": 0.03,
    "Impact Ejecta": 0.01,
}

_SURFACE = {
    # Ground prevails and Arm Cover is among the rarest (paper, B.2 and D.1.1); 40 to 1.
    "Ground": 400,
    "Close-Up Rock": 140,
    "Float Rock": 110,
    "Layered Rock": 100,
    "Horizon": 90,
    "Wheel": 80,
    "Sand": 70,
    "Distant Landscape": 65,
    "Light-Toned Veins": 60,
    "Mastcam Calibration Target": 55,
    "Drill Holes": 55,
    "DRT Spot": 50,
    "MAHLI Calibration Target": 48,
    "Wheel Tracks": 45,
    "Observation Tray": 42,
    "ChemCam Calibration Target": 40,
    "Night Sky": 38,
    "Sun": 36,
    "Portion Box": 34,
    "Rover Rear Deck": 32,
    "Inlet": 30,
    "Turret": 30,
    "Alpha Particle X-Ray Spectrometer (APXS)": 28,
    "Portion Tube": 26,
    "MAHLI": 25,
    "Wheel Joint": 24,
    "Drill": 22,
    "Artifact": 20,
    "REMS-UV": 20,
    "APXS Calibration Target": 18,
    "CheMin Inlet Open": 16,
    "Dust Removal Tool (DRT)": 15,
    "Scoop": 14,
    "Mastcam": 13,
    "Portion Tube Opening": 12,
    "Arm Cover": 10,
}

_SHOWN = {
    # About the share of images that show each; `rover_labels.label_sets` combines them.
    "Soil": 0.55,
    "Nearby Surface": 0.5,
    "Rock Outcrops": 0.35,
    "Clasts": 0.3,
    "Float Rocks": 0.25,
    "Distant Vista": 0.2,
    "Sky": 0.2,
    "Close-Up Rock": 0.15,
    "Linear Rock Features": 0.15,
    "Dunes/Ripples": 0.12,
    "Rover Tracks": 0.1,
    "Rover Deck": 0.1,
    "Pancam Calibration Target": 0.1,
    "Spherules": 0.1,
    "Round Rock Features": 0.08,
    "Bright Soil": 0.07,
    "RAT Hole": 0.06,
    "RAT Brushed Target": 0.06,
    "Arm Hardware": 0.06,
    "Miscellaneous Rocks": 0.06,
    "Rover Parts": 0.06,
    "Artifacts": 0.05,
    "Astronomy": 0.05,
    "Soil Trench": 0.04,
    "Other Hardware": 0.03,
}

RECIPES: dict[str, Recipe] = {
    recipe.task: recipe
    for recipe in (
        Recipe(
            task="atmospheric_dust_cls_edr",
            version=1,
            image_size=96,
            sizes={"train": 400, "val": 120, "test": 200},
            class_weights=_DUST,
            render="marsbench.demo.orbit.atmospheric_dust:render_edr",
        ),
        Recipe(
            task="atmospheric_dust_cls_rdr",
            version=1,
            image_size=96,
            sizes={"train": 400, "val": 120, "test": 200},
            class_weights=_DUST,
            render="marsbench.demo.orbit.atmospheric_dust:render_rdr",
        ),
        Recipe(
            task="change_cls_ctx",
            version=1,
            image_size=96,
            sizes={"train": 240, "val": 80, "test": 120},
            class_weights=_CHANGE,
            render="marsbench.demo.orbit.change:render_ctx",
        ),
        Recipe(
            task="change_cls_hirise",
            version=1,
            image_size=96,
            sizes={"train": 480, "val": 120, "test": 240},
            class_weights=_CHANGE,
            render="marsbench.demo.orbit.change:render_hirise",
        ),
        Recipe(
            task="domars16k",
            version=1,
            image_size=96,
            sizes={"train": 1200, "val": 300, "test": 450},
            class_weights=dict.fromkeys(get_task("domars16k").class_names, 1.0),
            render="marsbench.demo.orbit.landforms.classes:render",
        ),
        Recipe(
            task="frost_cls",
            version=1,
            image_size=96,
            sizes={"train": 240, "val": 80, "test": 120},
            class_weights={"Frost": 0.48, "Non Frost": 0.52},
            render="marsbench.demo.orbit.frost:render",
        ),
        Recipe(
            task="landmark_cls",
            version=1,
            image_size=96,
            sizes={"train": 1200, "val": 320, "test": 480},
            class_weights=_LANDMARKS,
            render="marsbench.demo.orbit.landmarks:render",
        ),
        Recipe(
            task="surface_cls",
            version=1,
            image_size=96,
            sizes={"train": 1920, "val": 480, "test": 640},
            class_weights=_SURFACE,
            render="marsbench.demo.rover.surface:render",
        ),
        Recipe(
            task="surface_multi_label_cls",
            version=1,
            image_size=96,
            sizes={"train": 1400, "val": 300, "test": 450},
            class_weights=_SHOWN,
            render="marsbench.demo.rover.labels:render",
            label_sets="marsbench.demo.rover.labels:label_sets",
        ),
    )
}
"""Every recipe by the name of its task."""


def labels(recipe: Recipe, split: str, size: float) -> list[tuple[str, ...]]:
    """Class names of every sample of a split: one each, or any number in a multilabel recipe.

    Args:
        recipe: The recipe.
        split: train, val or test.
        size: Factor on the number of samples; at least one of each class is kept.

    Returns:
        Class names in the order of the samples, shuffled the same way every time. Single-label
        counts follow the class weights by largest remainder.

    Raises:
        UnknownNameError: If there is no such split.
    """
    rng = np.random.default_rng(_seed(recipe, split, 0))
    names = list(recipe.class_weights)
    count = max(round(recipe.sizes[split] * size), len(names))
    if recipe.label_sets is not None:
        return list(lazy.load(recipe.label_sets)(rng, count))
    counts = _largest_remainder(list(recipe.class_weights.values()), count)
    ordered = [(name,) for name, n in zip(names, counts, strict=True) for _ in range(n)]
    return [ordered[i] for i in rng.permutation(count)]


def render(recipe: Recipe, split: str, index: int, names: tuple[str, ...]) -> NDArray[np.uint8]:
    """Draw one sample.

    Args:
        recipe: The recipe.
        split: train, val or test.
        index: Position of the sample in its split.
        names: Its class names, from `labels`.

    Returns:
        Image of shape (image_size, image_size, channels); of a pair, channels are before and
        after.

    Raises:
        UnknownNameError: If there is no such split or class.
    """
    for name in names:
        if name not in recipe.class_weights:
            raise unknown_name(f"class of {recipe.task}", name, recipe.class_weights)
    rng = np.random.default_rng(_seed(recipe, split, 1, index))
    label = names[0] if recipe.label_sets is None else names
    image: NDArray[np.uint8] = lazy.load(recipe.render)(rng, label, recipe.image_size)
    return image


def _seed(recipe: Recipe, split: str, *stream: int) -> np.random.SeedSequence:
    """Seed of a stream of randomness: (0,) orders the labels, (1, index) draws a sample."""
    if split not in SPLITS:
        raise unknown_name("split", split, SPLITS)
    # A spawn key, since plain entropy is padded with zeros: (a, b, c) would equal (a, b, c, 0).
    entropy = (crc32(recipe.task.encode()), recipe.version, SPLITS.index(split))
    return np.random.SeedSequence(entropy, spawn_key=stream)


def _largest_remainder(weights: list[float], total: int) -> list[int]:
    """Share out ``total`` by weight, each at least 1; ties go to the earlier class."""
    quotas = [total * weight / sum(weights) for weight in weights]
    counts = [floor(quota) for quota in quotas]
    by_remainder = sorted(range(len(quotas)), key=lambda i: counts[i] - quotas[i])
    for i in by_remainder[: total - sum(counts)]:
        counts[i] += 1
    while 0 in counts:
        counts[counts.index(max(counts))] -= 1
        counts[counts.index(0)] += 1
    return counts
