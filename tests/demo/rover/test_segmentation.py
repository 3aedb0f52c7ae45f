"""Rover scenes with masks: exact, repeatable, of the right classes in sensible amounts."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from marsbench.demo.rover.ground import Sun
from marsbench.demo.rover.segmentation import ground, objects
from marsbench.demo.rover.segmentation import scenes as segmentation
from marsbench.demo.rover.segmentation.ground import Kind
from marsbench.demo.rover.segmentation.scenes import draw_mer, draw_msl, draw_s5mars
from marsbench.demo.scene import Scene
from marsbench.tasks.catalog import get_task

Draw = Callable[[np.random.Generator, int], Scene]

DRAW: dict[str, Draw] = {
    "mars_seg_mer": draw_mer,
    "mars_seg_msl": draw_msl,
    "s5mars": draw_s5mars,
}
SIDE = 128
COUNT = 60
LEAST_PIXELS = 20

_MARS_SEG_SHARES = {
    "background": (0.005, 0.1),
    "Bedrock": (0.12, 0.4),
    "Gravel/Sand/Soil": (0.25, 0.55),
    "Rock": (0.015, 0.1),
    "Shadow": (0.03, 0.15),
    "Sky/Distant Mountains": (0.1, 0.28),
    "Track": (0.008, 0.08),
}
SHARES = {
    "mars_seg_mer": _MARS_SEG_SHARES,
    "mars_seg_msl": _MARS_SEG_SHARES,
    "s5mars": {
        "background": (0.005, 0.08),
        "Bedrock": (0.12, 0.45),
        "Hole": (0.0002, 0.01),
        "Ridge": (0.015, 0.1),
        "Rock": (0.012, 0.1),
        "Rover": (0.02, 0.15),
        "Sand/Soil": (0.25, 0.55),
        "Sky": (0.06, 0.22),
        "Track": (0.008, 0.08),
    },
}
"""Least and greatest share of all pixels."""


@pytest.fixture(scope="module")
def scenes() -> dict[str, list[Scene]]:
    """Sixty scenes of every task."""
    return {
        task: [draw(np.random.default_rng([3, i]), SIDE) for i in range(COUNT)]
        for task, draw in DRAW.items()
    }


def masks(scenes: list[Scene]) -> NDArray[np.uint8]:
    """Masks of all scenes, (count, side, side)."""
    found = [scene.mask for scene in scenes]
    return np.stack([mask for mask in found if mask is not None])


def ids(task: str, *names: str) -> list[int]:
    return [get_task(task).class_names.index(name) for name in names]


@pytest.mark.parametrize("task", DRAW)
def test_same_seed_same_scene_and_others_differ(task: str) -> None:
    first, again, other = (DRAW[task](np.random.default_rng(seed), 96) for seed in (5, 5, 6))
    np.testing.assert_array_equal(first.image, again.image)
    np.testing.assert_array_equal(masks([first]), masks([again]))
    assert np.any(first.image != other.image)


@pytest.mark.parametrize("side", [64, 97, 160])
@pytest.mark.parametrize("task", DRAW)
def test_shape_and_dtype_at_any_size(task: str, side: int) -> None:
    scene = DRAW[task](np.random.default_rng(1), side)
    assert scene.image.shape == (side, side, get_task(task).channels)
    assert scene.image.dtype == np.uint8
    assert scene.mask is not None
    assert scene.mask.shape == (side, side)
    assert scene.mask.dtype == np.uint8
    assert scene.boxes is None
    assert scene.labels is None


@pytest.mark.parametrize("task", DRAW)
def test_ids_are_the_tasks_and_every_class_is_seen_often_enough(
    task: str, scenes: dict[str, list[Scene]]
) -> None:
    found = masks(scenes[task])
    names = get_task(task).class_names
    assert set(np.unique(found)) == set(range(len(names)))
    for k, name in enumerate(names):
        shown = np.mean((found == k).sum((1, 2)) >= LEAST_PIXELS)
        assert shown >= 0.08, name


@pytest.mark.parametrize("task", DRAW)
def test_shares_of_the_classes_are_sensible(task: str, scenes: dict[str, list[Scene]]) -> None:
    found = masks(scenes[task])
    assert set(SHARES[task]) == set(get_task(task).class_names)
    for name, (least, greatest) in SHARES[task].items():
        share = float(np.mean(found == ids(task, name)[0]))
        assert least < share < greatest, (name, share)


@pytest.mark.parametrize(
    ("task", "sky", "ground"),
    [
        ("mars_seg_mer", ["Sky/Distant Mountains"], ["Bedrock", "Gravel/Sand/Soil", "Track"]),
        ("mars_seg_msl", ["Sky/Distant Mountains"], ["Bedrock", "Gravel/Sand/Soil", "Track"]),
        ("s5mars", ["Sky"], ["Ridge"]),
        ("s5mars", ["Sky", "Ridge"], ["Bedrock", "Sand/Soil", "Track", "Hole"]),
    ],
)
def test_sky_is_above_ground_in_every_column(
    task: str, sky: list[str], ground: list[str], scenes: dict[str, list[Scene]]
) -> None:
    found = masks(scenes[task])
    rows = np.arange(SIDE)[None, :, None]
    lowest = np.where(np.isin(found, ids(task, *sky)), rows, -1).max(1)
    highest = np.where(np.isin(found, ids(task, *ground)), rows, SIDE).min(1)
    assert np.all(lowest < highest)
    with_sky = np.mean(np.isin(found, ids(task, *sky)).any((1, 2)))
    assert 0.4 < with_sky < 0.9


def test_neither_brightness_nor_row_tells_the_ground(scenes: dict[str, list[Scene]]) -> None:
    """Bedrock is brighter than soil in some scenes and darker in others."""
    brighter = []
    bedrock, soil = ids("mars_seg_mer", "Bedrock", "Gravel/Sand/Soil")
    for scene, mask in zip(scenes["mars_seg_mer"], masks(scenes["mars_seg_mer"]), strict=True):
        if min((mask == bedrock).sum(), (mask == soil).sum()) > 200:
            grey = scene.image[..., 0]
            brighter.append(np.median(grey[mask == bedrock]) > np.median(grey[mask == soil]))
    assert len(brighter) > 20
    assert 0.25 < np.mean(brighter) < 0.85


def test_shadow_is_darker_than_the_same_ground_beside_it(scenes: dict[str, list[Scene]]) -> None:
    shadow, soil = ids("mars_seg_mer", "Shadow", "Gravel/Sand/Soil")
    contrasts = []
    for scene, mask in zip(scenes["mars_seg_mer"], masks(scenes["mars_seg_mer"]), strict=True):
        if min((mask == shadow).sum(), (mask == soil).sum()) > 100:
            grey = scene.image[..., 0].astype(float)
            contrasts.append(grey[mask == soil].mean() - grey[mask == shadow].mean())
    assert np.mean(np.array(contrasts) > 0.0) > 0.9


def test_shadows_of_stones_fall_away_from_the_sun() -> None:
    side = 96
    stone = objects.Stone(60.0, 48.0, 8.0, 0.8, 0.5)
    for azimuth, towards_left in ((90.0, True), (270.0, False)):
        rng = np.random.default_rng(2)
        frame = ground.frame(rng, side, Sun(azimuth, 30.0), sky=False)
        surface = ground.bare_ground(rng, frame, 0.0)
        objects.cast_shadows(surface, frame, [stone])
        columns = np.argwhere(surface.shadow > 0.5)[:, 1]
        assert (columns.mean() < 48.0) == towards_left


def test_a_stone_hides_the_ground_where_its_mask_is() -> None:
    rng = np.random.default_rng(4)
    frame = ground.frame(rng, 96, Sun(100.0, 40.0), sky=False)
    surface = ground.bare_ground(rng, frame, 0.4)
    before = surface.light.copy()
    stones = [objects.Stone(50.0, 40.0, 12.0, 0.9, 0.5)]
    shade = np.zeros((96, 96))
    objects.set_stones(rng, surface, frame, stones, np.full(3, 9.0), shade)
    rock = surface.kind == Kind.ROCK
    changed = np.any(surface.light != before, axis=-1)
    assert rock.sum() > 100
    assert np.all(changed[rock])
    # What changed without being rock is its antialiased outline.
    assert np.sum(changed & ~rock) < 0.35 * rock.sum()


def test_tracks_take_soil_and_spare_bedrock() -> None:
    frame = ground.frame(np.random.default_rng(1), 96, Sun(150.0, 40.0), sky=False)
    surface = ground.bare_ground(np.random.default_rng(2), frame, 0.4)
    bedrock = surface.kind == Kind.BEDROCK
    before = surface.light.copy()
    ground.tracks(np.random.default_rng(3), surface, frame)
    assert np.any(surface.kind == Kind.TRACK)
    assert np.all(surface.kind[bedrock] == Kind.BEDROCK)
    np.testing.assert_array_equal(surface.light[bedrock], before[bedrock])


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_bedrock_takes_the_asked_share_of_the_ground(share: float) -> None:
    rng = np.random.default_rng(9)
    frame = ground.frame(rng, 128, Sun(200.0, 40.0), sky=True)
    surface = ground.bare_ground(rng, frame, share)
    found = np.mean(surface.kind[frame.ground] == Kind.BEDROCK)
    assert found == pytest.approx(share, abs=0.01)


def test_drilled_holes_are_small_dark_and_in_paler_powder() -> None:
    for seed in range(5):
        rng = np.random.default_rng(seed)
        frame = ground.frame(rng, 128, Sun(200.0, 40.0), sky=False)
        surface = ground.bare_ground(rng, frame, 1.0)
        ground.holes(rng, surface, frame)
        hole = surface.kind == Kind.HOLE
        assert 30 < hole.sum() < 900
        assert np.median(surface.light[hole]) < 0.4 * np.median(surface.light[~hole])


def test_black_margins_are_background() -> None:
    surface = ground.Surface(
        np.full((64, 64, 3), 0.3), np.full((64, 64), Kind.SOIL, np.uint8), np.zeros((64, 64))
    )
    table = segmentation._table("s5mars", segmentation._S5MARS)
    shares = []
    for seed in range(40):
        image = np.full((64, 64, 3), 200, np.uint8)
        scene = segmentation._finish(np.random.default_rng(seed), surface, image, table)
        black = scene.image.max(-1) < 12
        np.testing.assert_array_equal(masks([scene])[0] == 0, black)
        shares.append(black.any())
    assert 0.05 < np.mean(shares) < 0.5
