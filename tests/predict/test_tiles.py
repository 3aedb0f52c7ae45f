from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from marsbench.metrics.boxes import PredictedBoxes
from marsbench.predict.tiles import Tile, grid, is_own, join, starts, stitch, window


@pytest.mark.parametrize("length", [1, 31, 32, 33, 64, 100, 1001])
@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.9])
def test_tiles_cover_everything_and_overlap_enough(length: int, overlap: float) -> None:
    found = starts(length, 32, overlap)
    assert found[0] == 0
    assert max(found) + 32 >= length
    if length > 32:
        assert found[-1] + 32 == length
    steps = np.diff(found)
    assert (steps > 0).all()
    assert (steps <= max(1, 32 * (1 - overlap)) + 1e-9).all()


def test_a_tile_knows_what_it_shares() -> None:
    rows = grid((32, 56), (32, 32), 0.25)
    assert [[t.left for t in row] for row in rows] == [[0, 24]]
    assert [t.shared for t in rows[0]] == [(None, None, 8, None), (8, None, None, None)]


def test_windows_fade_to_the_border_and_never_vanish() -> None:
    weights = window(8, 5)
    assert weights.shape == (8, 5)
    assert weights.min() > 0
    assert np.allclose(weights, weights[::-1, ::-1])
    assert weights[3, 2] == weights.max()


@pytest.mark.parametrize("size", [(100, 130), (32, 200), (20, 90), (33, 33)])
@pytest.mark.parametrize("batch_size", [1, 3, 100])
def test_tiles_of_a_function_of_pixels_join_to_the_whole(
    size: tuple[int, int], batch_size: int
) -> None:
    whole = np.random.default_rng(0).dirichlet(np.ones(4), size).astype(np.float32)
    whole = whole.transpose(2, 0, 1)

    def classify(tiles: Sequence[Tile]) -> list[np.ndarray]:
        assert len(tiles) <= batch_size
        return [whole[:, t.rows, t.columns] for t in tiles]

    strips = stitch(grid(size, (32, 32), 0.25), size, 4, classify, batch_size)
    tops, parts = zip(*((top, strip.copy()) for top, strip in strips), strict=True)
    assert tops[0] == 0
    joined = np.concatenate(parts, axis=1)
    assert joined.shape == whole.shape
    np.testing.assert_allclose(joined, whole, atol=1e-6)


def test_tiles_where_nothing_is_leave_zeros() -> None:
    size = (32, 80)
    strips = stitch(grid(size, (32, 32), 0.0), size, 2, lambda tiles: [None] * len(tiles), 4)
    assert not any(strip.any() for _, strip in strips)


LEFT, RIGHT = grid((64, 112), (64, 64), 0.25)[0]
"""Two tiles that share 16 columns, 48 to 64."""


def test_a_box_cut_by_an_inner_border_is_the_neighbours() -> None:
    boxes = np.array(
        [
            [51.0, 10, 64, 20],  # cut, and all of it in the neighbour
            [30.0, 10, 64, 20],  # cut, but too large for the overlap
            [50.0, 10, 60, 20],  # whole
            [0.0, 0, 10, 10],  # at the image's own border
        ]
    )
    assert is_own(boxes, LEFT, 1.0).tolist() == [False, True, True, True]
    assert is_own(np.array([[0.0, 10, 12, 20]]), RIGHT, 1.0).tolist() == [False]


def found(
    *boxes: tuple[float, float, float, float], score: float = 0.9, label: int = 0
) -> PredictedBoxes:
    n = len(boxes)
    return PredictedBoxes(
        np.array(boxes, dtype=np.float64).reshape(-1, 4),
        np.full(n, label, dtype=np.int64),
        np.full(n, score, dtype=np.float64),
    )


def test_an_object_in_two_tiles_is_found_once() -> None:
    # Columns 52 to 72 of the image: cut in the left tile, whole in the right one.
    cut, whole = found((52, 10, 64, 30)), found((4, 10, 24, 30), score=0.7)
    joined = join([(LEFT, cut), (RIGHT, whole)], 1.0)
    assert joined.xyxy.tolist() == [[52, 10, 72, 30]]
    # Whole in both.
    twice = join([(LEFT, found((50, 10, 60, 30))), (RIGHT, found((2, 10, 12, 30), score=1))], 1)
    assert twice.xyxy.tolist() == [[50, 10, 60, 30]]
    assert twice.scores.tolist() == [1.0]
    # Of another class it is another object.
    other = join([(LEFT, found((50, 10, 60, 30))), (RIGHT, found((2, 10, 12, 30), label=1))], 1)
    assert len(other.xyxy) == 2


def seen(
    tiles: Sequence[Sequence[Tile]], *objects: Sequence[float]
) -> list[tuple[Tile, PredictedBoxes]]:
    """What a detector without fault finds: of each object, of its own class, what a tile shows."""
    parts = []
    for tile in (tile for row in tiles for tile in row):
        offset = np.array([tile.left, tile.top] * 2)
        shown = np.clip(
            np.array(objects, dtype=np.float64) - offset, 0, np.array([tile.width, tile.height] * 2)
        )
        (kept,) = np.nonzero((shown[:, 2:] > shown[:, :2]).all(axis=1))
        parts.append((tile, PredictedBoxes(shown[kept], kept, np.full(len(kept), 0.9))))
    return parts


def check_each_is_found_once(tiles: Sequence[Sequence[Tile]], boxes: np.ndarray, t: float) -> None:
    joined = join(seen(tiles, *boxes.tolist()), t)
    order = np.argsort(joined.labels)
    assert joined.labels[order].tolist() == list(range(len(boxes)))
    np.testing.assert_array_equal(joined.xyxy[order], boxes)


@pytest.mark.parametrize("box", [[75.5, 20, 99.5, 44], [75, 20, 100, 44]])
def test_an_object_that_fills_the_overlap_is_not_left_by_both(box: list[float]) -> None:
    tiles = grid((100, 175), (100, 100), 0.25)
    assert join(seen(tiles, box), 1.0).xyxy.tolist() == [box]


@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.6])
@pytest.mark.parametrize("tolerance", [0.5, 1.0, 2.5])
def test_an_object_of_any_width_at_any_place_is_found_once(
    overlap: float, tolerance: float
) -> None:
    tiles = grid((32, 100), (32, 32), overlap)
    for width in (*range(1, 34), 40, 55, 70, 100):
        left = np.arange(0, 100 - width + 0.5, 0.5)
        boxes = np.stack([left, left * 0 + 4, left + width, left * 0 + 20], axis=1)
        check_each_is_found_once(tiles, boxes, tolerance)


@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.6])
def test_an_object_at_the_corner_of_four_tiles_is_found_once(overlap: float) -> None:
    tiles = grid((56, 56), (32, 32), overlap)
    for width, height in ((2, 3), (7, 7), (8, 8), (8, 4), (9, 9), (12, 30), (31, 31), (40, 44)):
        left, top = map(np.ravel, np.mgrid[: 57 - width : 2, : 57 - height])
        boxes = np.stack([left, top, left + width, top + height], axis=1).astype(np.float64)
        check_each_is_found_once(tiles, boxes, 1.0)


def test_tiles_that_place_a_box_apart_do_not_both_leave_it() -> None:
    tiles = grid((64, 112), (64, 64), 0.25)
    rng = np.random.default_rng(0)
    for left in np.arange(40, 60, 0.5):
        for width in np.arange(8, 24, 0.5):
            parts = [
                (tile, replace(f, xyxy=f.xyxy + rng.uniform(-0.5, 0.5, f.xyxy.shape)))
                for tile, f in seen(tiles, [left, 10, left + width, 30])
            ]
            joined = join(parts, 1.0)
            assert len(joined.xyxy) == 1
            np.testing.assert_allclose(joined.xyxy[0], [left, 10, left + width, 30], atol=1.1)


def test_parts_of_an_object_larger_than_the_overlap_become_one_box() -> None:
    # Columns 46 to 66 of the image: the parts of 18 pixels each are doubles of one another.
    joined = join([(LEFT, found((46, 10, 64, 30))), (RIGHT, found((0, 11, 18, 30), score=0.7))], 1)
    assert joined.xyxy.tolist() == [[46, 10, 66, 30]]
    assert joined.scores.tolist() == [0.9]
    # Through three tiles.
    tiles = grid((32, 80), (32, 32), 0.25)
    assert join(seen(tiles, [10, 3, 75, 20]), 1.0).xyxy.tolist() == [[10, 3, 75, 20]]


def test_objects_side_by_side_stay_apart() -> None:
    # One above the other, both cut; of another class; and one that ends where another begins.
    tiles = grid((64, 112), (64, 64), 0.25)
    two = [[30, 5, 80, 20], [30, 22, 80, 40]]
    parts = [(tile, replace(f, labels=f.labels * 0)) for tile, f in seen(tiles, *two)]
    assert sorted(join(parts, 1.0).xyxy.tolist()) == two
    other = join([(LEFT, found((40, 5, 64, 20))), (RIGHT, found((0, 5, 30, 20), label=1))], 1.0)
    assert len(other.xyxy) == 2
    beside = [[20, 5, 52, 20], [54, 5, 90, 20]]
    parts = [(tile, replace(f, labels=f.labels * 0)) for tile, f in seen(tiles, *beside)]
    assert sorted(join(parts, 1.0).xyxy.tolist()) == beside
    # A part fits one part of the neighbour alone: that which is most like it.
    joined = join(
        [(LEFT, found((30, 5, 64, 20))), (RIGHT, found((0, 6, 30, 20), (0, 11, 30, 26)))], 1.0
    )
    assert sorted(joined.xyxy.tolist()) == [[30, 5, 78, 20], [48, 11, 78, 26]]


def test_tiles_without_objects() -> None:
    assert join([], 1.0).xyxy.shape == (0, 4)
    assert join([(LEFT, found()), (RIGHT, found())], 1.0).xyxy.shape == (0, 4)
