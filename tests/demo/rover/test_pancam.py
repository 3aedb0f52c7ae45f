"""Pancam's scenes: label sets are plausible, and every label is visible in its image."""

from collections import Counter

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from marsbench.demo import recipes
from marsbench.demo.art import terrain
from marsbench.demo.rover.ground import Frame
from marsbench.demo.rover.pancam import ground, labels, objects, scenes, sky

RECIPE = recipes.RECIPES["surface_multi_label_cls"]
NEAR, SOIL, ROCK = labels.NEAR, labels.SOIL, labels.ROCK


def drawn(seed: int, *names: str) -> NDArray[np.float64]:
    """Grey values of an image, (96, 96)."""
    image = scenes.render(np.random.default_rng(seed), names, 96)
    return image[:, :, 0].astype(np.float64)


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_every_class_is_shown_often_enough(split: str) -> None:
    sets = recipes.labels(RECIPE, split, 1.0)
    shown = Counter(name for names in sets for name in names)
    for name, share in RECIPE.class_weights.items():
        assert shown[name] >= 4
        assert 0.4 * share < shown[name] / len(sets) < 1.9 * share, name


def test_few_images_show_every_class_too() -> None:
    for seed in range(20):
        sets = labels.label_sets(np.random.default_rng(seed), 25)
        assert len(sets) == 25
        assert {name for names in sets for name in names} == set(labels.CLASSES)


def test_sets_are_ordered_and_make_sense() -> None:
    for names in labels.label_sets(np.random.default_rng(0), 1500):
        assert names
        assert list(names) == sorted(names, key=labels.CLASSES.index)
        shown = set(names)
        rock, near = {ROCK, "Close-Up Rock"}, {NEAR}
        for name, place in {
            "RAT Hole": rock,
            "RAT Brushed Target": rock,
            "Round Rock Features": rock,
            "Linear Rock Features": rock,
            "Dunes/Ripples": {SOIL},
            "Rover Tracks": {SOIL},
            "Soil Trench": {SOIL},
            "Bright Soil": {SOIL},
            "Clasts": near,
            "Float Rocks": near,
            "Other Hardware": near,
            SOIL: near,
            ROCK: near,
        }.items():
            assert name not in shown or shown & place, names
        # What fills the view leaves no room for these.
        assert not ("Close-Up Rock" in shown and shown & {NEAR, "Sky", "Distant Vista"})
        assert "Astronomy" not in shown or shown <= {"Astronomy", "Sky", "Artifacts"}


@pytest.mark.parametrize("name", labels.CLASSES)
def test_images_of_every_class_have_contrast(name: str) -> None:
    sets = labels.label_sets(np.random.default_rng(3), 400)
    for seed, names in enumerate([names for names in sets if name in names][:6]):
        image = drawn(seed, *names)
        # An empty sky is the only thing that is nearly even.
        assert np.ptp(image) > (10 if names == ("Sky",) else 45), names


def test_sky_is_smooth_and_only_there_if_named() -> None:
    """Of a panorama the top is smooth, of ground alone it is not."""
    roughness: dict[bool, list[float]] = {True: [], False: []}
    for seed in range(20):
        for names in ((SOIL, "Distant Vista", NEAR, "Sky"), (SOIL, NEAR)):
            top = drawn(seed, *names)[2:8]
            spread = terrain.blur(top, 1.0).std() / drawn(seed, *names).std()
            roughness["Sky" in names].append(float(spread))
    assert np.median(roughness[True]) < 0.5 * np.median(roughness[False])


def test_night_is_dark_but_for_its_stars() -> None:
    for seed in range(10):
        night = sky.night(np.random.default_rng(seed), 96)
        assert np.median(night) < 0.03
        assert night.max() > 0.1


def flat_ground(seed: int) -> tuple[NDArray[np.float64], Frame]:
    """Even, flat ground from above, and its frame."""
    frame = ground.from_above(np.random.default_rng(seed), 96)
    return np.full((96, 96), 0.3), frame


def test_brushed_rock_is_darker_and_flat_and_a_hole_has_a_shadow() -> None:
    for seed in range(10):
        rng = np.random.default_rng(seed)
        swept, frame = flat_ground(seed)
        ground.brushed(rng, swept, frame, 48.0, 48.0)
        assert swept[48, 48] < 0.65 * 0.3
        assert swept.max() <= 0.3 + 1e-9
        assert swept[2, 2] == pytest.approx(0.3)
        holed, frame = flat_ground(seed)
        ground.abraded(rng, holed, frame, 48.0, 48.0)
        dark = np.argwhere(holed < 0.2)
        assert len(dark) > 15
        # The shadow lies on the side of the sun.
        row, column = dark.mean(0) - 48.0
        x, y = terrain.direction(frame.sun.azimuth_deg)
        assert column * x - row * y > 3.0
        # The wall opposite is the brightest, the floor only a little brighter than the rock.
        row, column = np.argwhere(holed > 0.97 * holed.max()).mean(0) - 48.0
        assert column * x - row * y < -3.0
        assert 0.29 < np.median(holed[46:51, 46:51]) < 0.4


def test_a_close_up_is_not_darker_along_its_bottom() -> None:
    rows = [drawn(seed, "Close-Up Rock").mean(1) for seed in range(30)]
    relative = np.array([row / row.mean() for row in rows]).mean(0)
    assert relative[-4:].min() > 0.97


def test_flaws_leave_no_disc_in_the_sky() -> None:
    even = np.full((96, 96), 120, np.uint8)
    for seed in range(30):
        flawed = scenes._spoiled(np.random.default_rng(seed), even, discs=False)
        regions, count = ndimage.label(flawed > 250)
        edges = (regions[0], regions[-1], regions[:, 0], regions[:, -1])
        assert set(np.concatenate(edges)) >= set(range(1, count + 1)), seed


def test_tracks_and_trenches_are_where_they_say() -> None:
    for seed in range(10):
        picture, frame = flat_ground(seed)
        inside = ground.tracks(np.random.default_rng(seed), picture, frame)
        assert 0.04 < inside.mean() < 0.7
        changed = np.abs(picture - 0.3)
        assert changed[inside > 0.9].mean() > 3 * changed[inside < 0.01].mean()
        picture, frame = flat_ground(seed)
        heaped = ground.trench(np.random.default_rng(seed), picture, frame)
        assert 0.02 < heaped.mean() < 0.5
        # The furrow is the darkest, the heaps lie around it.
        assert picture[heaped < 0.1].min() < 0.15


def test_bright_soil_is_much_brighter() -> None:
    for seed in range(10):
        picture, frame = flat_ground(seed)
        ground.bright_soil(np.random.default_rng(seed), picture, frame, None)
        assert 0.02 < np.mean(picture > 0.5) < 0.6


def test_spherules_are_alike_and_clasts_are_not() -> None:
    spread: dict[str, list[float]] = {"spherules": [], "clasts": []}
    for seed in range(8):
        flat = ground.GreyPlan(np.zeros((120, 120)), np.full((120, 120), 0.3))
        for name, add in (
            ("spherules", ground.with_spherules),
            ("clasts", ground.with_clasts),
        ):
            plan = add(np.random.default_rng(seed), flat)
            labels, count = ndimage.label(np.abs(plan.albedo - 0.3) > 0.01)
            sizes = ndimage.sum_labels(np.ones_like(labels), labels, range(1, count + 1))
            assert count > 15
            middle = np.percentile(sizes, [25, 75])
            spread[name].append(float(middle[1] / middle[0]))
    assert np.median(spread["spherules"]) < np.median(spread["clasts"])


def test_sandless_outcrop_is_bare_and_sandy_one_is_not() -> None:
    for seed in range(6):
        _, bare = ground.bedrock(np.random.default_rng(seed), 96, sandy=False)
        assert bare.min() == 1.0
        _, bare = ground.bedrock(np.random.default_rng(seed), 96, sandy=True)
        assert 0.2 < np.mean(bare < 0.5) < 0.75


@pytest.mark.parametrize("name", ["arm", "wheel", "mast", "sundial"])
def test_hardware_covers_part_of_the_view(name: str) -> None:
    for seed in range(8):
        picture = np.full((96, 96), 0.3)
        getattr(objects, name)(np.random.default_rng(seed), picture)
        touched = np.abs(picture - 0.3) > 0.02
        assert 0.06 < touched.mean() < 0.95
        assert picture.min() < 0.1


def test_deck_stays_below_its_edge() -> None:
    for seed in range(8):
        picture = np.full((96, 96), 0.3)
        objects.deck(np.random.default_rng(seed), picture, 0.5)
        assert (picture[:28] == 0.3).all()
        assert np.mean(np.abs(picture[70:] - 0.3) > 0.02) > 0.7


def test_artifacts_differ_from_the_clean_image_in_part() -> None:
    for seed in range(20):
        names = (SOIL, NEAR)
        clean = drawn(seed, *names)
        spoiled = drawn(seed, SOIL, "Artifacts", NEAR)
        share = np.mean(np.abs(spoiled - clean) > 20)
        assert share > 0.03
        assert share < 0.99
