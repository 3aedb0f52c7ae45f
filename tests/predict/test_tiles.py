from collections.abc import Sequence

import numpy as np
import pytest

from marsbench.predict.tiles import Found, Tile, grid, is_own, join, starts, stitch, window


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

    strips = list(stitch(grid(size, (32, 32), 0.25), size, 4, classify, batch_size))
    assert strips[0][0] == 0
    joined = np.concatenate([found for _, found in strips], axis=1)
    assert joined.shape == whole.shape
    np.testing.assert_allclose(joined, whole, atol=1e-6)


def test_tiles_where_nothing_is_leave_zeros() -> None:
    size = (32, 80)
    strips = list(stitch(grid(size, (32, 32), 0.0), size, 2, lambda tiles: [None] * len(tiles), 4))
    assert not np.concatenate([found for _, found in strips], axis=1).any()


LEFT, RIGHT = grid((64, 112), (64, 64), 0.25)[0]
"""Two tiles that share 16 columns, 48 to 64."""


def test_a_box_cut_by_an_inner_border_is_the_neighbours() -> None:
    boxes = np.array(
        [
            [50.0, 10, 64, 20],  # cut, and all of it in the neighbour
            [30.0, 10, 64, 20],  # cut, but too large for the overlap
            [50.0, 10, 60, 20],  # whole
            [0.0, 0, 10, 10],  # at the image's own border
        ]
    )
    assert is_own(boxes, LEFT, 1.0).tolist() == [False, True, True, True]
    assert is_own(np.array([[0.0, 10, 12, 20]]), RIGHT, 1.0).tolist() == [False]


def found(*boxes: tuple[float, float, float, float], score: float = 0.9, label: int = 0) -> Found:
    n = len(boxes)
    return Found(
        np.array(boxes, dtype=np.float64).reshape(-1, 4),
        np.full(n, score),
        np.full(n, label, dtype=np.int64),
    )


def test_an_object_in_two_tiles_is_found_once() -> None:
    # Columns 52 to 72 of the image: cut in the left tile, whole in the right one.
    cut, whole = found((52, 10, 64, 30)), found((4, 10, 24, 30), score=0.7)
    joined = join([(LEFT, cut), (RIGHT, whole)], 1.0)
    assert joined.boxes.tolist() == [[52, 10, 72, 30]]
    # Whole in both.
    twice = join([(LEFT, found((50, 10, 60, 30))), (RIGHT, found((2, 10, 12, 30), score=1))], 1)
    assert twice.boxes.tolist() == [[50, 10, 60, 30]]
    assert twice.scores.tolist() == [1.0]
    # Of another class it is another object.
    other = join([(LEFT, found((50, 10, 60, 30))), (RIGHT, found((2, 10, 12, 30), label=1))], 1)
    assert len(other.boxes) == 2


def test_tiles_without_objects() -> None:
    assert join([(LEFT, found()), (RIGHT, found())], 1.0).boxes.shape == (0, 4)
