"""Recipes of the built-in demo data: a table entry per task, drawn by a function.

A sample depends on its recipe, split, index and labels alone, never on other samples or on their
number.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import floor
from typing import TYPE_CHECKING
from zlib import crc32

from marsbench.base import lazy
from marsbench.base.errors import unknown_name
from marsbench.tasks.catalog import get_task
from marsbench.tasks.spec import SPLITS

if TYPE_CHECKING:
    from numpy.random import Generator

    from marsbench.demo.scene import Scene
    from marsbench.spectra.spectrum import Spectrum

Labels = tuple[str, ...]
"""Class names of one sample: one, any number (multilabel), or none (masks, boxes)."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Demo data of a task.

    Functions are named as ``"module:function"``, so that listing recipes imports neither them nor
    numpy.

    Attributes:
        task: Name of the task.
        draw: Function that draws one sample: ``(rng, label, side) -> image`` with a class name, or
            a tuple of them where there are ``label_sets``; ``(rng, side) -> Scene`` with masks or
            boxes; ``(rng, names) -> Spectrum``. Images are uint8 (side, side, channels); the two
            channels of an image pair are before and after.
        sizes: Samples per split at size 1.
        class_weights: Class name to relative frequency. In a multilabel recipe, roughly the share
            of images that show the class.
        label_sets: Function ``(rng, count) -> [names, ...]`` that chooses the labels of the
            samples of a multilabel recipe.
        fields: Function ``(rng) -> {field: value}`` of the facts that group samples, with the
            stream of the sample; None without groups.
        image_size: Side of the images in pixels; 0 for spectra.
        version: Raised with every change of a pixel, point or label.
    """

    task: str
    draw: str
    sizes: Mapping[str, int]
    class_weights: Mapping[str, float] = field(default_factory=dict)
    label_sets: str | None = None
    fields: str | None = None
    image_size: int = 96
    version: int = 1


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
    # Approximate share of images per class; `label_sets` combines the classes.
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

_SPECTRA = {"train": 240, "val": 60, "test": 80}


def _scenes(task: str, draw: str, train: int) -> Recipe:
    sizes = {"train": train, "val": train // 4, "test": train // 3}
    return Recipe(task=task, draw=draw, sizes=sizes, image_size=128)


RECIPES: dict[str, Recipe] = {
    recipe.task: recipe
    for recipe in (
        Recipe(
            task="atmospheric_dust_cls_edr",
            draw="marsbench.demo.orbit.atmospheric_dust:render_edr",
            sizes={"train": 400, "val": 120, "test": 200},
            class_weights=_DUST,
        ),
        Recipe(
            task="atmospheric_dust_cls_rdr",
            draw="marsbench.demo.orbit.atmospheric_dust:render_rdr",
            sizes={"train": 400, "val": 120, "test": 200},
            class_weights=_DUST,
        ),
        Recipe(
            task="change_cls_ctx",
            draw="marsbench.demo.orbit.change:render_ctx",
            sizes={"train": 240, "val": 80, "test": 120},
            class_weights=_CHANGE,
        ),
        Recipe(
            task="change_cls_hirise",
            draw="marsbench.demo.orbit.change:render_hirise",
            sizes={"train": 480, "val": 120, "test": 240},
            class_weights=_CHANGE,
        ),
        Recipe(
            task="domars16k",
            draw="marsbench.demo.orbit.landforms.scenes:render",
            sizes={"train": 1200, "val": 300, "test": 450},
            class_weights=dict.fromkeys(get_task("domars16k").class_names, 1.0),
        ),
        Recipe(
            task="frost_cls",
            draw="marsbench.demo.orbit.frost:render",
            sizes={"train": 240, "val": 80, "test": 120},
            class_weights={"Frost": 0.48, "Non Frost": 0.52},
        ),
        Recipe(
            task="landmark_cls",
            draw="marsbench.demo.orbit.landmarks.scenes:render",
            sizes={"train": 1200, "val": 320, "test": 480},
            class_weights=_LANDMARKS,
        ),
        Recipe(
            task="surface_cls",
            draw="marsbench.demo.rover.curiosity.scenes:render",
            sizes={"train": 1920, "val": 480, "test": 640},
            class_weights=_SURFACE,
        ),
        Recipe(
            task="surface_multi_label_cls",
            draw="marsbench.demo.rover.pancam.scenes:render",
            sizes={"train": 1400, "val": 300, "test": 450},
            class_weights=_SHOWN,
            label_sets="marsbench.demo.rover.pancam.labels:label_sets",
        ),
        _scenes("boulder_seg", "marsbench.demo.orbit.boulders:draw_seg", 240),
        _scenes("conequest_seg", "marsbench.demo.orbit.cones:draw_seg", 240),
        _scenes("crater_binary_seg", "marsbench.demo.orbit.crater_masks:draw_binary", 240),
        _scenes("crater_multi_seg", "marsbench.demo.orbit.crater_masks:draw_multi", 600),
        _scenes("mars_seg_mer", "marsbench.demo.rover.segmentation.scenes:draw_mer", 360),
        _scenes("mars_seg_msl", "marsbench.demo.rover.segmentation.scenes:draw_msl", 360),
        _scenes("mmls", "marsbench.demo.orbit.landslides:draw", 240),
        _scenes("s5mars", "marsbench.demo.rover.segmentation.scenes:draw_s5mars", 480),
        _scenes("boulder_det", "marsbench.demo.orbit.boulders:draw_det", 300),
        _scenes("conequest_det", "marsbench.demo.orbit.cones:draw_det", 300),
        _scenes("dust_devil_det", "marsbench.demo.orbit.dust_devils:draw", 300),
        Recipe(
            task="ega_ms",
            draw="marsbench.demo.spectrum.ega:draw",
            sizes=_SPECTRA,
            label_sets="marsbench.demo.spectrum.mixtures:minerals",
            fields="marsbench.demo.spectrum.ega:fields",
            image_size=0,
        ),
        Recipe(
            task="gcms",
            draw="marsbench.demo.spectrum.gc:draw",
            sizes=_SPECTRA,
            label_sets="marsbench.demo.spectrum.mixtures:compounds",
            image_size=0,
        ),
    )
}
"""Recipes by task name; a task need not have one."""


def labels(recipe: Recipe, split: str, size: float) -> list[Labels]:
    """Class names of every sample of a split, in the same shuffled order every time.

    Counts of single-label recipes follow the class weights by largest remainder, and every class
    has at least one sample.

    Args:
        recipe: The recipe.
        split: train, val or test.
        size: Factor on the number of samples.

    Raises:
        UnknownNameError: If the split is unknown.
    """
    rng = _stream(recipe, split, 0)
    names = list(recipe.class_weights)
    count = max(round(recipe.sizes[split] * size), len(names), 2)
    if recipe.label_sets is not None:
        return list(lazy.load(recipe.label_sets)(rng, count))
    if not names:
        return [()] * count
    counts = _largest_remainder(list(recipe.class_weights.values()), count)
    ordered = [(name,) for name, n in zip(names, counts, strict=True) for _ in range(n)]
    return [ordered[i] for i in rng.permutation(count)]


def draw(recipe: Recipe, split: str, index: int, names: Labels) -> "Scene | Spectrum":
    """Draw a sample from a random stream of its own.

    Args:
        recipe: The recipe.
        split: train, val or test.
        index: Position of the sample in its split.
        names: Class names of the sample, from `labels`.

    Raises:
        UnknownNameError: If the split is unknown.
    """
    from marsbench.demo.scene import Scene

    rng = _stream(recipe, split, 1, index)
    function = lazy.load(recipe.draw)
    if not recipe.image_size:
        spectrum: Spectrum = function(rng, names)
        return replace(spectrum, where=f"demo sample {split} {index}")
    if not recipe.class_weights:
        scene: Scene = function(rng, recipe.image_size)
        return scene
    return Scene(function(rng, names if recipe.label_sets else names[0], recipe.image_size))


def fields(recipe: Recipe, split: str, count: int) -> dict[str, list[str]]:
    """Facts that group the first `count` samples of a split, by name; nothing is drawn."""
    if recipe.fields is None:
        return {}
    function = lazy.load(recipe.fields)
    facts = [function(_stream(recipe, split, 1, index)) for index in range(count)]
    return {name: [of_sample[name] for of_sample in facts] for name in facts[0]}


def _stream(recipe: Recipe, split: str, *key: int) -> "Generator":
    """Random stream of a split: key (0,) orders the labels, (1, index) draws a sample."""
    import numpy as np

    if split not in SPLITS:
        raise unknown_name("split", split, SPLITS)
    # A spawn key, since plain entropy is padded with zeros: (a, b, c) would equal (a, b, c, 0).
    entropy = (crc32(recipe.task.encode()), recipe.version, SPLITS.index(split))
    return np.random.default_rng(np.random.SeedSequence(entropy, spawn_key=key))


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
