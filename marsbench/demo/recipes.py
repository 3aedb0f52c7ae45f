"""The built-in demo data: which tasks have generated samples, and how a sample is made.

Sample ``index`` of a split depends on the recipe, the split, the index and its label alone,
never on other samples or on how many there are.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from math import floor
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from marsbench.data.spec import SPLITS
from marsbench.errors import unknown_name


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How the demo data of one task are made.

    Attributes:
        task: Name of the task.
        version: Raised with every change that moves a pixel or a label.
        image_size: Side of the images in pixels.
        sizes: Samples per split at size 1.
        class_weights: Class name to frequency; they need not sum to 1.
        render: ``"module:function"`` of the function ``(rng, label, side) -> image`` that draws
            one sample; a string, so that listing recipes imports nothing heavy.
    """

    task: str
    version: int
    image_size: int
    sizes: Mapping[str, int]
    class_weights: Mapping[str, float]
    render: str


RECIPES: dict[str, Recipe] = {
    recipe.task: recipe
    for recipe in (
        Recipe(
            task="frost_cls",
            version=1,
            image_size=96,
            sizes={"train": 240, "val": 80, "test": 120},
            class_weights={"Frost": 0.48, "Non Frost": 0.52},
            render="marsbench.demo.frost:render",
        ),
    )
}
"""Every recipe by the name of its task."""


def labels(recipe: Recipe, split: str, size: float) -> list[str]:
    """Class name of every sample of a split.

    Args:
        recipe: The recipe.
        split: train, val or test.
        size: Factor on the number of samples; at least one of each class is kept.

    Returns:
        Class names in the order of the samples, shuffled the same way every time. The counts
        follow the class weights by largest remainder.

    Raises:
        UnknownNameError: If there is no such split.
    """
    rng = np.random.default_rng(_seed(recipe, split, 0))
    names = list(recipe.class_weights)
    count = max(round(recipe.sizes[split] * size), len(names))
    counts = _largest_remainder(list(recipe.class_weights.values()), count)
    ordered = [name for name, n in zip(names, counts, strict=True) for _ in range(n)]
    return [ordered[i] for i in rng.permutation(count)]


def render(recipe: Recipe, split: str, index: int, label: str) -> NDArray[np.uint8]:
    """Draw one sample.

    Args:
        recipe: The recipe.
        split: train, val or test.
        index: Position of the sample in its split.
        label: Its class name, from `labels`.

    Returns:
        Image of shape (image_size, image_size, channels).

    Raises:
        UnknownNameError: If there is no such split or class.
    """
    if label not in recipe.class_weights:
        raise unknown_name(f"class of {recipe.task}", label, recipe.class_weights)
    rng = np.random.default_rng(_seed(recipe, split, 1, index))
    module, _, function = recipe.render.partition(":")
    draw: Callable[[np.random.Generator, str, int], NDArray[np.uint8]]
    draw = getattr(import_module(module), function)
    return draw(rng, label, recipe.image_size)


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
