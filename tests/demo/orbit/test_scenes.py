"""Orbital scenes with masks and boxes: exact, and not separable by brightness."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from marsbench.demo.art import terrain
from marsbench.demo.orbit import boulders, cones, crater_masks, dust_devils, landslides, placement
from marsbench.demo.scene import Scene
from marsbench.tasks.catalog import get_task
from marsbench.tasks.kinds import Kind

Draw = Callable[[np.random.Generator, int], Scene]

DRAWS: dict[str, Draw] = {
    "boulder_det": boulders.draw_det,
    "boulder_seg": boulders.draw_seg,
    "conequest_det": cones.draw_det,
    "conequest_seg": cones.draw_seg,
    "crater_binary_seg": crater_masks.draw_binary,
    "crater_multi_seg": crater_masks.draw_multi,
    "dust_devil_det": dust_devils.draw,
    "mmls": landslides.draw,
}
MASKED = [name for name in DRAWS if get_task(name).kind is Kind.SEGMENTATION]
BOXED = [name for name in DRAWS if get_task(name).kind is Kind.DETECTION]
COUNT = 60


@pytest.fixture(scope="module")
def scenes() -> dict[str, list[Scene]]:
    return {
        name: [draw(np.random.default_rng([11, i]), 96) for i in range(COUNT)]
        for name, draw in DRAWS.items()
    }


@pytest.mark.parametrize("name", MASKED)
def test_masks_hold_the_tasks_ids(name: str, scenes: dict[str, list[Scene]]) -> None:
    found: set[int] = set()
    for drawn in scenes[name]:
        assert drawn.boxes is None
        assert drawn.labels is None
        assert drawn.mask is not None
        assert drawn.mask.dtype == np.uint8
        assert drawn.mask.shape == drawn.image.shape[:2]
        found |= set(np.unique(drawn.mask).tolist())
    assert found == set(range(len(get_task(name).classes)))


@pytest.mark.parametrize("name", BOXED)
def test_boxes_lie_inside(name: str, scenes: dict[str, list[Scene]]) -> None:
    for drawn in scenes[name]:
        assert drawn.mask is None
        assert drawn.boxes is not None
        assert drawn.labels is not None
        assert drawn.boxes.dtype == np.float64
        assert drawn.boxes.shape == (len(drawn.labels), 4)
        assert drawn.labels.dtype == np.int64
        assert (drawn.labels == 0).all()
        assert (drawn.boxes >= 0).all()
        assert (drawn.boxes <= 96).all()
        assert (drawn.boxes[:, 2:] - drawn.boxes[:, :2] >= placement.SMALLEST).all()


@pytest.mark.parametrize("module", [boulders, cones])
def test_boxes_are_those_of_the_mask(module: object) -> None:
    for seed in range(20):
        if module is boulders:
            owner = boulders.draw(np.random.default_rng(seed), 96)[1]
            boxes = boulders.draw_det(np.random.default_rng(seed), 96).boxes
        else:
            owner = cones.draw(np.random.default_rng(seed), 96, empty=0.0)[1]
            boxes = cones.draw_det(np.random.default_rng(seed), 96).boxes
        assert boxes is not None
        numbers = [n for n in np.unique(owner) if n]
        assert len(boxes) == len(numbers) > 0
        for box, number in zip(boxes, numbers, strict=True):
            rows, columns = np.nonzero(owner == number)
            tight = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
            assert box.tolist() == tight


def test_tight_boxes_leave_out_what_does_not_show() -> None:
    owner = np.zeros((8, 10), np.int32)
    owner[2:5, 3:9] = 3
    owner[7, 0] = 1
    assert placement.tight_boxes(owner).tolist() == [[0, 7, 1, 8], [3, 2, 9, 5]]
    assert placement.tight_boxes(np.zeros((4, 4), np.int32)).shape == (0, 4)


def test_placed_discs_do_not_overlap() -> None:
    radii = np.random.default_rng(0).uniform(3.0, 12.0, 40)
    chance = np.ones((100, 100))
    chance[:, :30] = 0.0
    for given in (None, chance):
        where = placement.placed(np.random.default_rng(1), 100, radii, chance=given)
        kept = np.isfinite(where[:, 0])
        assert 5 < kept.sum() < 40
        apart = np.hypot(*(where[kept][:, None] - where[kept][None]).transpose(2, 0, 1))
        least = radii[kept][:, None] + radii[kept][None]
        assert (apart + 1e6 * np.eye(len(apart)) >= least).all()
        if given is not None:
            assert (where[kept, 0] >= 29.5).all()


def test_window_is_cut_by_the_border() -> None:
    part, east, south = placement.window(50, 2.0, 47.5, 5.0)
    assert part == (slice(42, 50), slice(0, 8))
    assert (east[0, 0], south[0, 0]) == (-2.0, -5.5)
    (rows, columns), _, _ = placement.window(50, -30.0, 10.0, 5.0)
    assert rows.stop > rows.start
    assert columns.stop == columns.start


def share_empty(drawn: list[Scene]) -> float:
    return float(
        np.mean([not (s.labels.size if s.labels is not None else np.any(s.mask)) for s in drawn])
    )


def test_shares_of_pictures_without_objects() -> None:
    share = {
        name: share_empty([DRAWS[name](np.random.default_rng([3, i]), 48) for i in range(140)])
        for name in DRAWS
        if name not in ("crater_multi_seg", "mmls")
    }
    assert 0.22 < share["conequest_seg"] < 0.45
    assert 0.12 < share["dust_devil_det"] < 0.32
    assert 0.01 < share["crater_binary_seg"] < 0.15
    # Published without empty pictures.
    assert share["conequest_det"] == share["boulder_det"] == share["boulder_seg"] == 0.0


def test_binary_craters_are_the_same_pictures_as_those_of_four_kinds() -> None:
    for seed in range(8):
        two = crater_masks.draw_binary(np.random.default_rng(seed), 96)
        five = crater_masks.draw_multi(np.random.default_rng(seed), 96)
        assert two.mask is not None
        assert five.mask is not None
        np.testing.assert_array_equal(two.image, five.image)
        np.testing.assert_array_equal(two.mask, five.mask > 0)


def test_every_kind_of_crater_is_frequent(scenes: dict[str, list[Scene]]) -> None:
    masks = [s.mask for s in scenes["crater_multi_seg"] if s.mask is not None]
    for kind in range(1, 5):
        assert np.mean([np.any(mask == kind) for mask in masks]) > 0.2, kind
    # Secondaries are the small ones.
    sizes = {
        kind: np.median(
            [n for m in masks for n in np.bincount(ndimage.label(m == kind)[0].ravel())[1:]]
        )
        for kind in range(1, 5)
    }
    assert sizes[4] < 0.4 * min(sizes[1], sizes[2], sizes[3])


# --- landslides ------------------------------------------------------------------------------


def test_bands_agree_with_one_another(scenes: dict[str, list[Scene]]) -> None:
    shades = []
    for drawn in scenes["mmls"]:
        assert drawn.image.dtype == np.float32
        assert np.isfinite(drawn.image).all()
        assert drawn.image.min() >= 0.0
        assert drawn.image.max() <= 1.0
        blue, green, red, elevation, inertia, slope, grey = (
            drawn.image[..., band].astype(np.float64) for band in range(7)
        )
        steepness = landslides.STEEPNESS * 96 * np.hypot(*terrain.gradient(elevation))
        np.testing.assert_allclose(slope, np.clip(steepness, 0.0, 1.0), atol=1e-4)
        assert red.mean() > green.mean() > blue.mean()
        assert inertia.std() < 0.05
        # The side that faces the sun is bright, wherever that stands.
        sides = np.stack([*terrain.gradient(elevation)], axis=2).reshape(-1, 2)
        fit = np.linalg.lstsq(
            np.column_stack([sides, np.ones(len(sides))]), grey.ravel(), rcond=None
        )[0]
        shade = np.column_stack([sides, np.ones(len(sides))]) @ fit
        shades.append(np.corrcoef(shade, grey.ravel())[0, 1])
    assert np.median(shades) > 0.45


def test_slides_are_rougher_than_the_ground_but_not_told_by_slope_alone(
    scenes: dict[str, list[Scene]],
) -> None:
    slopes = [
        np.concatenate([s.image[..., 5][s.mask == k] for s in scenes["mmls"]]) for k in (0, 1)
    ]
    assert slopes[1].mean() > 1.1 * slopes[0].mean()
    best = max(
        0.5 * float((slopes[0] < level).mean() + (slopes[1] >= level).mean())
        for level in np.linspace(0.02, 0.8, 40)
    )
    assert best < 0.88


# --- brightness ------------------------------------------------------------------------------


def overlap_by_brightness(drawn: list[Scene]) -> float:
    """Best intersection over union of a threshold on the standardised grey band."""
    grey = np.stack([terrain.standardise(s.image[..., -1].astype(np.float64)) for s in drawn])
    truth: NDArray[np.bool_] = np.stack([s.mask for s in drawn if s.mask is not None]) > 0
    found = []
    for level in np.linspace(-2.5, 2.5, 41):
        for guess in (grey > level, grey < level):
            found.append((guess & truth).sum() / (guess | truth).sum())
    return float(max(found))


@pytest.mark.parametrize("name", MASKED)
def test_brightness_does_not_tell(name: str, scenes: dict[str, list[Scene]]) -> None:
    positive = np.mean([np.mean(s.mask > 0) for s in scenes[name] if s.mask is not None])
    assert overlap_by_brightness(scenes[name]) < max(float(positive) + 0.15, 0.3)
