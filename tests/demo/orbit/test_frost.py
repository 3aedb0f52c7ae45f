"""Frost scenes: frost follows the topography; grey values do not reveal the class."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from marsbench.demo import recipes
from marsbench.demo.art import terrain
from marsbench.demo.orbit import frost
from marsbench.demo.scene import Scene

RECIPE = recipes.RECIPES["frost_cls"]

Image = NDArray[np.float64]
Samples = dict[str, tuple[Image, Image]]


@pytest.fixture(scope="module")
def samples() -> Samples:
    """Images scaled to [0, 1] and targets, 250 for training and 250 for testing."""
    recipe = replace(RECIPE, sizes={"train": 250, "test": 250})
    splits = {}
    for split in ("train", "test"):
        names = recipes.labels(recipe, split, 1.0)
        source = [recipes.draw(recipe, split, i, name) for i, name in enumerate(names)]
        images = [drawn.image.astype(np.float64) for drawn in source if isinstance(drawn, Scene)]
        target = np.array([1.0 if name == (frost.FROST,) else -1.0 for name in names])
        splits[split] = (np.stack(images)[..., 0] / 255.0, target)
    return splits


def ridge_accuracy(samples: Samples, features: Callable[[Image], Image], penalty: float) -> float:
    """Accuracy on test of a ridge classifier fitted on train; penalty per feature."""
    fit, judge = (np.stack([features(x) for x in samples[s][0]]) for s in ("train", "test"))
    mean, deviation = fit.mean(0), fit.std(0) + 1e-9
    fit, judge = (fit - mean) / deviation, (judge - mean) / deviation
    target = samples["train"][1]
    gram = fit @ fit.T + penalty * fit.shape[1] * np.eye(len(fit))
    scores = judge @ (fit.T @ np.linalg.solve(gram, target - target.mean())) + target.mean()
    return float(np.mean(np.sign(scores) == samples["test"][1]))


def raw(image: Image) -> Image:
    """Every second pixel in both directions."""
    return image[::2, ::2].ravel()


def grey_values(image: Image) -> Image:
    """Histogram of eight bins, mean and standard deviation."""
    counts = np.histogram(image, 8, (0.0, 1.0))[0] / image.size
    return np.array([*counts, image.mean(), image.std()])


def topography(image: Image) -> Image:
    """Direction and sharpness of edges, and smoothness of bright ground."""
    image = terrain.standardise(image)
    found: list[float] = []
    for sigma in (1.0, 2.0):
        smooth = terrain.blur(image, sigma)
        east, north = terrain.gradient(smooth)
        steepness = np.hypot(east, north)
        towards = np.arctan2(north, east)
        for power in (1, 3):
            weights = steepness**power
            turned = np.histogram(towards, 12, (-np.pi, np.pi), weights=weights)[0]
            found.extend(turned / weights.sum())
        found.extend(float(np.mean(g**3) / np.mean(g**2) ** 1.5) for g in (east, north))
        found.extend(np.percentile(steepness, [10, 50, 90, 99]) / steepness.mean())
        found.append(np.corrcoef(smooth.ravel(), steepness.ravel())[0, 1])
        detail = image - smooth
        roughness = terrain.blur(detail**2, 3.0)
        level = np.digitize(smooth, np.quantile(smooth, [0.2, 0.4, 0.6, 0.8]))
        found.extend(np.log(roughness[level == k].mean()) for k in range(5))
        found.append(float(np.mean(detail**3) / np.mean(detail**2) ** 1.5))
    return np.array(found)


def test_frost_follows_topography_and_dust_does_not() -> None:
    ties: dict[str, list[float]] = {"frost": [], "dust": []}
    for seed in range(40):
        rng = np.random.default_rng(seed)
        light = terrain.afternoon(rng)
        ground = frost.TERRAINS[seed % len(frost.TERRAINS)](rng, 96)
        relief = terrain.blur(ground.coarse, 1.0)
        favoured = ground.pole * np.tanh(
            terrain.standardise(terrain.facing(relief, light.pole_deg))
        ) + ground.hollow * np.tanh(terrain.standardise(terrain.hollows(relief, ground.shelter)))
        covers = {
            "frost": frost._frost_cover(rng, ground, light, 0.5),
            "dust": frost._dust(rng, 96),
        }
        for name, opacity in covers.items():
            assert opacity.min() >= 0
            assert opacity.max() <= 1
            ties[name].append(np.corrcoef(opacity.ravel(), favoured.ravel())[0, 1])
    assert min(ties["frost"]) > 0.5
    assert abs(np.mean(ties["dust"])) < 0.1


def test_grey_values_do_not_tell_but_topography_does(samples: Samples) -> None:
    assert ridge_accuracy(samples, raw, 0.1) < 0.65
    assert ridge_accuracy(samples, grey_values, 0.1) < 0.72
    assert ridge_accuracy(samples, topography, 0.1) > 0.8
