"""Recipes: exact labels, reproducible and independent samples."""

import subprocess
import sys
from collections import Counter
from dataclasses import replace
from itertools import product
from typing import Any
from zlib import crc32

import numpy as np
import pytest
from numpy.typing import NDArray

from marsbench.base.errors import UnknownNameError
from marsbench.data.sources.demo import DemoSource
from marsbench.demo import recipes
from marsbench.demo.recipes import RECIPES, Labels, Recipe
from marsbench.demo.scene import Scene
from marsbench.spectra.spectrum import Spectrum
from marsbench.tasks.catalog import TASKS, get_task
from marsbench.tasks.kinds import Kind
from marsbench.tasks.spec import SPLITS, TaskSpec

each_recipe = pytest.mark.parametrize("recipe", RECIPES.values(), ids=lambda r: r.task)
each_image = pytest.mark.parametrize(
    "recipe", [r for r in RECIPES.values() if r.image_size], ids=lambda r: r.task
)


def spec_of(recipe: Recipe) -> TaskSpec:
    return get_task(recipe.task)


def arrays(drawn: Scene | Spectrum) -> list[NDArray[Any]]:
    """Arrays of a drawn sample."""
    return [value for value in vars(drawn).values() if isinstance(value, np.ndarray)]


def same(a: Scene | Spectrum, b: Scene | Spectrum) -> bool:
    return all(map(np.array_equal, arrays(a), arrays(b)))


def image_of(recipe: Recipe, split: str, index: int, names: Labels) -> NDArray[Any]:
    drawn = recipes.draw(recipe, split, index, names)
    assert isinstance(drawn, Scene)
    return drawn.image


def test_recipes_are_of_known_tasks() -> None:
    assert set(RECIPES) <= set(TASKS)


@each_recipe
def test_classes_are_those_of_the_task(recipe: Recipe) -> None:
    spec = spec_of(recipe)
    assert (recipe.label_sets is not None) == (spec.kind is Kind.MULTILABEL)
    if spec.kind.is_classification and recipe.image_size:
        assert set(recipe.class_weights) == set(spec.class_names)
    else:
        assert not recipe.class_weights


def some_of_every_class(names: list[Labels]) -> list[int]:
    """Positions of samples that together show every class."""
    last = {name: i for i, labels in enumerate(names) for name in labels}
    return sorted({*range(12), *last.values()})


def channels_of(recipe: Recipe) -> int:
    spec = spec_of(recipe)
    return 2 if spec.is_pairs else spec.channels


@each_image
def test_images_are_as_promised(recipe: Recipe) -> None:
    names = recipes.labels(recipe, "train", 1.0)
    chosen = some_of_every_class(names)
    seen = set()
    for i in chosen:
        image = image_of(recipe, "train", i, names[i])
        assert image.dtype == (np.float32 if recipe.task == "mmls" else np.uint8)
        assert image.shape == (recipe.image_size, recipe.image_size, channels_of(recipe))
        if recipe.class_weights:
            assert np.ptp(image, axis=(0, 1)).min() > 20
        seen.add(image.tobytes())
    assert len(seen) == len(chosen)


@each_image
def test_images_can_have_any_side(recipe: Recipe) -> None:
    names = recipes.labels(recipe, "val", 1.0)
    for side, i in product((48, 65), some_of_every_class(names)):
        sized = replace(recipe, image_size=side)
        image = image_of(sized, "val", i, names[i])
        assert image.shape == (side, side, channels_of(recipe))
        assert np.ptp(image) > (15 if recipe.class_weights else 0)


@each_recipe
def test_samples_depend_on_recipe_split_and_index_alone(recipe: Recipe) -> None:
    names = recipes.labels(recipe, "train", 1.0)[3]
    drawn = recipes.draw(recipe, "train", 3, names)
    assert same(drawn, recipes.draw(recipe, "train", 3, names))
    others = (recipe, "train", 4), (recipe, "test", 3), (replace(recipe, version=99), "train", 3)
    assert not any(same(drawn, recipes.draw(*other, names)) for other in others)


def test_another_process_draws_the_same() -> None:
    code = (
        "from zlib import crc32; from marsbench.demo import recipes\n"
        "for r in recipes.RECIPES.values():\n"
        "    drawn = recipes.draw(r, 'train', 5, recipes.labels(r, 'train', 1.0)[5])\n"
        "    print(crc32((drawn.image if r.image_size else drawn.abundance).tobytes()))\n"
    )
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    for recipe, line in zip(RECIPES.values(), run.stdout.split(), strict=True):
        drawn = recipes.draw(recipe, "train", 5, recipes.labels(recipe, "train", 1.0)[5])
        assert int(line) == crc32(
            drawn.image.tobytes() if isinstance(drawn, Scene) else drawn.abundance.tobytes()
        )


@each_recipe
def test_global_randomness_neither_matters_nor_is_used(recipe: Recipe) -> None:
    names = recipes.labels(recipe, "val", 1.0)
    np.random.seed(0)  # noqa: NPY002
    expected = np.random.random()  # noqa: NPY002
    np.random.seed(0)  # noqa: NPY002
    drawn = recipes.draw(recipe, "val", 3, names[3])
    assert np.random.random() == expected  # noqa: NPY002
    assert same(drawn, recipes.draw(recipe, "val", 3, names[3]))


@each_recipe
def test_labels_are_exact_and_repeatable(recipe: Recipe) -> None:
    for split, size in product(SPLITS, (0.001, 0.1, 1.0, 2.5)):
        names = recipes.labels(recipe, split, size)
        assert names == recipes.labels(recipe, split, size)
        least = max(len(recipe.class_weights), 2)
        assert len(names) == max(round(recipe.sizes[split] * size), least)
        counts = Counter(name for labels in names for name in labels)
        if spec_of(recipe).kind.is_classification:
            assert set(counts) == set(spec_of(recipe).class_names)
        if recipe.class_weights and recipe.label_sets is None:
            total = sum(recipe.class_weights.values())
            small = [n for n, w in recipe.class_weights.items() if len(names) * w / total < 1]
            for name, weight in recipe.class_weights.items():
                # Samples guaranteed to rare classes are missing from others.
                assert abs(counts[name] - len(names) * weight / total) < 1 + len(small)


@each_recipe
def test_splits_differ(recipe: Recipe) -> None:
    if not spec_of(recipe).kind.is_classification:
        pytest.skip("without labels")
    train, val = (recipes.labels(recipe, split, 1.0)[:60] for split in ("train", "val"))
    assert train != val
    assert train != sorted(train)


@each_recipe
def test_the_source_gives_the_labels_as_targets(recipe: Recipe) -> None:
    spec = spec_of(recipe)
    source = DemoSource(spec, 0.2)
    targets = source.rows("test").targets
    names = recipes.labels(recipe, "test", 0.2)
    assert len(targets) == len(names)
    for target, labels in zip(targets, names, strict=True):
        ids = np.flatnonzero(target).tolist() if targets.ndim == 2 else [int(target)]
        assert {source.class_names[i] for i in ids} == set(labels)
    raw = source.read("test", 0)
    assert (raw.after is not None) == (spec.is_pairs)


def test_labels_by_largest_remainder_keep_rare_classes() -> None:
    recipe = replace(
        RECIPES["frost_cls"], sizes={"val": 10}, class_weights={"a": 5.0, "b": 2.6, "c": 0.01}
    )
    names = recipes.labels(recipe, "val", 1.0)
    assert [names.count((name,)) for name in "abc"] == [6, 3, 1]


def test_unknown_split_is_named() -> None:
    recipe = RECIPES["frost_cls"]
    with pytest.raises(UnknownNameError, match="split 'training'"):
        recipes.labels(recipe, "training", 1.0)
    with pytest.raises(UnknownNameError, match="split 'training'"):
        recipes.draw(recipe, "training", 0, ("Frost",))
