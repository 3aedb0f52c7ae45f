"""What every recipe promises: exact labels, reproducible and independent samples."""

import subprocess
import sys
from collections import Counter
from dataclasses import replace
from zlib import crc32

import numpy as np
import pytest

from marsbench.base.errors import UnknownNameError
from marsbench.data.sources.demo import DemoSource
from marsbench.demo import recipes
from marsbench.demo.recipes import RECIPES, Recipe
from marsbench.tasks.catalog import TASKS, get_task
from marsbench.tasks.kinds import Kind
from marsbench.tasks.spec import SPLITS, Decode, TaskSpec

each_recipe = pytest.mark.parametrize("recipe", RECIPES.values(), ids=lambda r: r.task)


def spec_of(recipe: Recipe) -> TaskSpec:
    return get_task(recipe.task)


def test_every_classification_task_has_one() -> None:
    spectra = {Decode.SPECTRUM}
    wanted = {
        t.name for t in TASKS.values() if t.kind.is_classification and t.decode not in spectra
    }
    assert set(RECIPES) == wanted


@each_recipe
def test_classes_are_those_of_the_task(recipe: Recipe) -> None:
    spec = spec_of(recipe)
    assert set(recipe.class_weights) == set(spec.class_names)
    assert (recipe.label_sets is not None) == (spec.kind is Kind.MULTILABEL)


def some_of_every_class(names: list[tuple[str, ...]]) -> list[int]:
    """Positions of samples that show every class between them."""
    last = {name: i for i, labels in enumerate(names) for name in labels}
    return sorted({*range(12), *last.values()})


def channels_of(recipe: Recipe) -> int:
    spec = spec_of(recipe)
    return 2 if spec.decode is Decode.PAIR_LABEL else spec.channels


@each_recipe
def test_images_are_as_promised_and_repeatable(recipe: Recipe) -> None:
    names = recipes.labels(recipe, "train", 1.0)
    chosen = some_of_every_class(names)
    seen = set()
    for i in chosen:
        image = recipes.render(recipe, "train", i, names[i])
        assert image.dtype == np.uint8
        assert image.shape == (recipe.image_size, recipe.image_size, channels_of(recipe))
        assert np.ptp(image, axis=(0, 1)).min() > 20
        seen.add(image.tobytes())
    assert len(seen) == len(chosen)
    again = recipes.render(recipe, "train", i, names[i])
    np.testing.assert_array_equal(image, again)
    other = recipes.render(replace(recipe, version=99), "train", i, names[i])
    assert (image != other).any()
    assert (image != recipes.render(recipe, "test", i, names[i])).any()


@each_recipe
@pytest.mark.parametrize("side", [48, 65, 128])
def test_images_can_have_any_side(recipe: Recipe, side: int) -> None:
    sized = replace(recipe, image_size=side)
    names = recipes.labels(recipe, "val", 1.0)
    for i in some_of_every_class(names):
        image = recipes.render(sized, "val", i, names[i])
        assert image.shape == (side, side, channels_of(recipe))
        assert np.ptp(image) > 15


def test_another_process_draws_the_same_images() -> None:
    code = (
        "from zlib import crc32; from marsbench.demo import recipes\n"
        "for r in recipes.RECIPES.values():\n"
        "    names = recipes.labels(r, 'train', 1.0)\n"
        "    print(crc32(recipes.render(r, 'train', 5, names[5]).tobytes()))\n"
    )
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    expected = [
        crc32(recipes.render(r, "train", 5, recipes.labels(r, "train", 1.0)[5]).tobytes())
        for r in RECIPES.values()
    ]
    assert [int(line) for line in run.stdout.split()] == expected


@each_recipe
def test_global_randomness_neither_matters_nor_is_used(recipe: Recipe) -> None:
    names = recipes.labels(recipe, "val", 1.0)
    np.random.seed(0)  # noqa: NPY002
    expected = np.random.random()  # noqa: NPY002
    np.random.seed(0)  # noqa: NPY002
    one = recipes.render(recipe, "val", 3, names[3])
    assert np.random.random() == expected  # noqa: NPY002
    np.testing.assert_array_equal(one, recipes.render(recipe, "val", 3, names[3]))


@each_recipe
@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("size", [0.001, 0.1, 1.0, 2.5])
def test_labels_are_exact_and_repeatable(recipe: Recipe, split: str, size: float) -> None:
    names = recipes.labels(recipe, split, size)
    assert names == recipes.labels(recipe, split, size)
    assert len(names) == max(round(recipe.sizes[split] * size), len(recipe.class_weights))
    counts = Counter(name for labels in names for name in labels)
    assert set(counts) == set(recipe.class_weights)
    if recipe.label_sets is None:
        total = sum(recipe.class_weights.values())
        small = [n for n, w in recipe.class_weights.items() if len(names) * w / total < 1]
        for name, weight in recipe.class_weights.items():
            # What rare classes get in advance, others lack.
            assert abs(counts[name] - len(names) * weight / total) < 1 + len(small)


@each_recipe
def test_splits_differ(recipe: Recipe) -> None:
    train, val = (recipes.labels(recipe, split, 1.0)[:60] for split in ("train", "val"))
    assert train != val
    assert train != sorted(train)


@each_recipe
def test_the_source_gives_the_labels_as_targets(recipe: Recipe) -> None:
    spec = spec_of(recipe)
    source = DemoSource(spec, 0.2)
    targets = source.rows("test").targets
    names = recipes.labels(recipe, "test", 0.2)
    for target, labels in zip(targets, names, strict=True):
        ids = np.flatnonzero(target).tolist() if targets.ndim == 2 else [int(target)]
        assert {source.class_names[i] for i in ids} == set(labels)
    raw = source.read("test", 0)
    assert (raw.after is not None) == (spec.decode is Decode.PAIR_LABEL)


def test_labels_by_largest_remainder_keep_rare_classes() -> None:
    recipe = replace(
        RECIPES["frost_cls"], sizes={"val": 10}, class_weights={"a": 5.0, "b": 2.6, "c": 0.01}
    )
    names = recipes.labels(recipe, "val", 1.0)
    assert [names.count((name,)) for name in "abc"] == [6, 3, 1]


def test_unknown_split_or_class_is_named() -> None:
    recipe = RECIPES["frost_cls"]
    with pytest.raises(UnknownNameError, match="split 'training'"):
        recipes.labels(recipe, "training", 1.0)
    with pytest.raises(UnknownNameError, match="Frosty"):
        recipes.render(recipe, "train", 0, ("Frosty",))


def test_listing_recipes_does_not_import_scipy() -> None:
    code = "import sys, marsbench.demo.recipes; sys.exit('scipy' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
