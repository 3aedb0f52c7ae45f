"""The frost recipe: reproducible, independent samples, and not solvable by grey value."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from zlib import crc32

import numpy as np
import pytest
from numpy.typing import NDArray

from marsbench.demo import frost, recipes, terrain
from marsbench.errors import UnknownNameError

RECIPE = recipes.RECIPES["frost_cls"]
CLASSES = tuple(RECIPE.class_weights)

Image = NDArray[np.float64]
Samples = dict[str, tuple[Image, Image]]


@pytest.fixture(scope="module")
def samples() -> Samples:
    """Images scaled to [0, 1] and targets, 250 to fit on and 250 to judge by."""
    recipe = replace(RECIPE, sizes={"train": 250, "test": 250})
    splits = {}
    for split in ("train", "test"):
        names = recipes.labels(recipe, split, 1.0)
        images = [recipes.render(recipe, split, i, name) for i, name in enumerate(names)]
        target = np.array([1.0 if name == frost.FROST else -1.0 for name in names])
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
    """Which way edges face, how sharp they are, and whether bright ground is smooth."""
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


@pytest.mark.parametrize("label", CLASSES)
def test_image_has_the_promised_shape_and_contrast(label: str) -> None:
    for index in range(12):
        image = recipes.render(RECIPE, "train", index, label)
        assert image.dtype == np.uint8
        assert image.shape == (RECIPE.image_size, RECIPE.image_size, 1)
        assert np.ptp(image) > 80


@pytest.mark.parametrize("label", CLASSES)
@pytest.mark.parametrize("side", [48, 65, 128])
def test_any_side(label: str, side: int) -> None:
    for seed in range(8):
        assert frost.render(np.random.default_rng(seed), label, side).shape == (side, side, 1)


def test_equal_seeds_give_equal_images_and_others_differ() -> None:
    first = [recipes.render(RECIPE, "train", i, CLASSES[0]) for i in range(8)]
    again = [recipes.render(RECIPE, "train", i, CLASSES[0]) for i in reversed(range(8))][::-1]
    np.testing.assert_array_equal(first, again)
    assert len({image.tobytes() for image in first}) == 8
    others = [
        recipes.render(RECIPE, "test", 0, CLASSES[0]),
        recipes.render(RECIPE, "train", 0, CLASSES[1]),
        recipes.render(replace(RECIPE, version=RECIPE.version + 1), "train", 0, CLASSES[0]),
    ]
    assert all((first[0] != other).any() for other in others)


def test_global_randomness_neither_matters_nor_is_used() -> None:
    np.random.seed(0)  # noqa: NPY002
    expected = np.random.random()  # noqa: NPY002
    np.random.seed(0)  # noqa: NPY002
    one = recipes.render(RECIPE, "val", 3, CLASSES[0])
    assert np.random.random() == expected  # noqa: NPY002
    np.testing.assert_array_equal(one, recipes.render(RECIPE, "val", 3, CLASSES[0]))


def test_another_process_draws_the_same_image() -> None:
    code = (
        "from marsbench.demo import recipes; from zlib import crc32; "
        "r = recipes.RECIPES['frost_cls']; "
        "print(crc32(recipes.render(r, 'train', 5, 'Frost').tobytes()))"
    )
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert int(run.stdout) == crc32(recipes.render(RECIPE, "train", 5, "Frost").tobytes())


@pytest.mark.parametrize("split", ["train", "val", "test"])
@pytest.mark.parametrize("size", [0.001, 0.1, 1.0, 2.5])
def test_labels_are_exact_and_repeatable(split: str, size: float) -> None:
    names = recipes.labels(RECIPE, split, size)
    assert names == recipes.labels(RECIPE, split, size)
    assert len(names) == max(round(RECIPE.sizes[split] * size), len(CLASSES))
    total = sum(RECIPE.class_weights.values())
    for name, weight in RECIPE.class_weights.items():
        assert names.count(name) >= 1
        assert abs(names.count(name) - len(names) * weight / total) < 1


def test_labels_are_shuffled_differently_per_split() -> None:
    recipe = replace(RECIPE, sizes=dict.fromkeys(("train", "val"), 100))
    train, val = (recipes.labels(recipe, split, 1.0) for split in ("train", "val"))
    assert train != sorted(train)
    assert train != val


def test_labels_by_largest_remainder_keep_rare_classes() -> None:
    recipe = replace(RECIPE, sizes={"val": 10}, class_weights={"a": 5.0, "b": 2.6, "c": 0.01})
    names = recipes.labels(recipe, "val", 1.0)
    assert [names.count(name) for name in "abc"] == [6, 3, 1]


def test_unknown_split_or_class_is_named() -> None:
    with pytest.raises(UnknownNameError, match="split 'training'"):
        recipes.labels(RECIPE, "training", 1.0)
    with pytest.raises(UnknownNameError, match="Frosty"):
        recipes.render(RECIPE, "train", 0, "Frosty")


def test_listing_recipes_does_not_import_scipy() -> None:
    code = "import sys, marsbench.demo.recipes; sys.exit('scipy' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


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


def test_flat_ground_is_lit_by_the_sine_of_the_elevation() -> None:
    np.testing.assert_allclose(terrain.hillshade(np.zeros((8, 8)), 123.0, 30.0), 0.5)


def test_slopes_facing_the_sun_are_brighter() -> None:
    falls_east = -0.3 * terrain.coordinates(9)[0]
    assert np.allclose(terrain.facing(falls_east, 90.0), 0.3)
    assert np.allclose(terrain.aspect_deg(falls_east), 90.0)
    assert np.allclose(terrain.slope_deg(falls_east), np.rad2deg(np.arctan(0.3)))
    towards, away = (terrain.hillshade(falls_east, az, 30.0).mean() for az in (90.0, 270.0))
    assert towards > 0.5 > away


def test_fractal_is_standardised_and_smoother_with_beta() -> None:
    rough, smooth = (terrain.fractal(np.random.default_rng(0), 64, beta) for beta in (1.0, 4.0))
    for field in (rough, smooth):
        assert field.mean() == pytest.approx(0.0, abs=1e-9)
        assert field.std() == pytest.approx(1.0)
    assert np.std(np.diff(smooth)) < 0.3 * np.std(np.diff(rough))


def test_fractal_stretches_along_the_azimuth() -> None:
    field = terrain.fractal(np.random.default_rng(0), 96, 2.5, stretch=4.0, azimuth_deg=90.0)
    east, north = terrain.gradient(field)
    assert np.std(east) < 0.6 * np.std(north)


@pytest.mark.parametrize("fraction", [0.1, 0.5, 0.9])
def test_cover_takes_the_asked_share(fraction: float) -> None:
    field = terrain.fractal(np.random.default_rng(0), 64, 2.5)
    assert np.mean(terrain.cover(field, fraction, 0.3) > 0.5) == pytest.approx(fraction, abs=0.01)
