"""Large images in overlapping tiles: where they lie, and how what is found in them is joined."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray

from marsbench.metrics.boxes import NO_BOXES, PredictedBoxes

NMS_IOU = 0.5
"""Overlap above which the lower of two boxes of one class is the other's double."""

AGREEMENT = 0.5
"""Overlap (IoU) along either axis above which boxes of two tiles are parts of one object."""

Probabilities = NDArray[np.float32]


@dataclass(frozen=True)
class Tile:
    """A part of an image, in pixels.

    Attributes:
        top: First row.
        left: First column.
        height: Number of rows.
        width: Number of columns.
        shared: Columns and rows it shares with the neighbours at its left, top, right and bottom;
            None at the image's own borders.
    """

    top: int
    left: int
    height: int
    width: int
    shared: tuple[int | None, int | None, int | None, int | None] = (None, None, None, None)

    @property
    def rows(self) -> slice:
        """Its rows in the image."""
        return slice(self.top, self.top + self.height)

    @property
    def columns(self) -> slice:
        """Its columns in the image."""
        return slice(self.left, self.left + self.width)


def starts(length: int, side: int, overlap: float) -> list[int]:
    """First pixels of tiles along one direction: the first at 0, the last flush with the end.

    Args:
        length: Pixels of the image.
        side: Pixels of a tile.
        overlap: Least share of a tile that the next one covers again, in [0, 1).
    """
    if length <= side:
        return [0]
    stride = max(1, int(side * (1 - overlap)))
    count = -(-(length - side) // stride) + 1
    # Spread evenly, rather than with all the excess in the last.
    return [round(i * (length - side) / (count - 1)) for i in range(count)]


def grid(size: tuple[int, int], footprint: tuple[int, int], overlap: float) -> list[list[Tile]]:
    """Lay tiles over an image; rows of tiles from the top, each from the left.

    Args:
        size: Height and width of the image.
        footprint: Height and width of a tile; of smaller images, the image's own.
        overlap: As of `starts`.
    """
    height, width = (min(a, b) for a, b in zip(size, footprint, strict=True))
    tops, lefts = starts(size[0], height, overlap), starts(size[1], width, overlap)
    above, below = _shared(tops, height)
    before, behind = _shared(lefts, width)
    return [
        [
            Tile(top, left, height, width, (before[j], above[i], behind[j], below[i]))
            for j, left in enumerate(lefts)
        ]
        for i, top in enumerate(tops)
    ]


def _shared(first: Sequence[int], side: int) -> tuple[list[int | None], list[int | None]]:
    """Pixels that each tile shares with the one before it, and with the one after it."""
    shared: list[int | None] = [max(0, a + side - b) for a, b in pairwise(first)]
    return [None, *shared], [*shared, None]


def window(height: int, width: int) -> NDArray[np.float32]:
    """Weights of a tile's pixels, (height, width): a cosine, 1 in the middle, never 0.

    A network sees least around the pixels at a tile's border; there the neighbour's word counts.
    """
    rows, columns = (np.sin(np.pi * (np.arange(n) + 0.5) / n) for n in (height, width))
    return np.outer(rows, columns).astype(np.float32)


def stitch(
    rows_of_tiles: Sequence[Sequence[Tile]],
    size: tuple[int, int],
    num_classes: int,
    classify: Callable[[Sequence[Tile]], Sequence[Probabilities | None]],
    batch_size: int,
) -> Iterator[tuple[int, Probabilities]]:
    """Join the class probabilities of tiles, by a weighted mean where they overlap.

    Of the image only as many rows as a tile has are held at a time: K x tile x width numbers.

    Args:
        rows_of_tiles: What `grid` gave.
        size: Height and width of the image.
        num_classes: K.
        classify: Gives the probabilities (K, h, w) of each of some tiles; None of a tile where
            there is nothing to see.
        batch_size: Tiles handed to it at a time.

    Yields:
        The first row of a strip, and its probabilities (K, rows, width), zeros where nothing was
        seen; strips from the top. The array is overwritten by the next one.
    """
    height = rows_of_tiles[0][0].height
    sums = np.zeros((num_classes, height, size[1]), dtype=np.float32)
    totals = np.zeros((height, size[1]), dtype=np.float32)
    weights = window(height, rows_of_tiles[0][0].width)
    for i, row in enumerate(rows_of_tiles):
        for start in range(0, len(row), batch_size):
            tiles = row[start : start + batch_size]
            for tile, found in zip(tiles, classify(tiles), strict=True):
                if found is not None:
                    sums[:, :, tile.columns] += found * weights
                    totals[:, tile.columns] += weights
        top = row[0].top
        is_last = i + 1 == len(rows_of_tiles)
        done = height if is_last else rows_of_tiles[i + 1][0].top - top
        joined = sums[:, :done]
        joined /= np.maximum(totals[:done], np.float32(1e-12))
        yield top, joined
        # What is left belongs to the first rows of the next tiles.
        sums[:, : height - done] = sums[:, done:]
        sums[:, height - done :] = 0
        totals[: height - done] = totals[done:]
        totals[height - done :] = 0


def is_own(boxes: NDArray[np.float64], tile: Tile, tolerance: float) -> NDArray[np.bool_]:
    """Tell which boxes of a tile are not the neighbour's, (N,).

    A box that touches an inner border may be cut there. It is the neighbour's if that one sees
    where the box begins, clear of its own border, and therefore more of the object. A box that
    reaches across the whole overlap, no neighbour sees better; it stays, and `join` looks for
    its other part.

    Args:
        boxes: (N, 4) in pixels of the tile.
        tile: The tile.
        tolerance: Pixels from a border that count as touching it.
    """
    left, top, right, bottom = boxes.T
    near_left, near_top, near_right, near_bottom = tile.shared
    own = np.ones(len(boxes), dtype=np.bool_)
    for shared, touches, reach in (
        (near_left, left <= tolerance, right),
        (near_top, top <= tolerance, bottom),
        (near_right, right >= tile.width - tolerance, tile.width - left),
        (near_bottom, bottom >= tile.height - tolerance, tile.height - top),
    ):
        if shared is not None:
            # Twice, since two tiles place a box a little apart: neither may leave it to the other.
            own &= ~(touches & (reach < shared - 2 * tolerance))
    return own


def join(parts: Sequence[tuple[Tile, PredictedBoxes]], tolerance: float) -> PredictedBoxes:
    """Put the objects of tiles together: those at inner borders once, doubles not at all.

    Parts of an object that is larger than the overlap become one box with the highest of their
    scores, through as many tiles as it crosses.

    Args:
        parts: Tiles of one `grid`, and what was found in each, in pixels of the tile.
        tolerance: As of `is_own`.

    Returns:
        In pixels of the image, the highest score first.
    """
    moved: list[tuple[Tile, PredictedBoxes]] = []
    for tile, found in parts:
        own = _without_doubles(found[is_own(found.xyxy, tile, tolerance)])
        offset = np.array([tile.left, tile.top, tile.left, tile.top])
        moved.append((tile, replace(own, xyxy=own.xyxy + offset)))
    return _without_doubles(_united(moved, tolerance))


def _without_doubles(found: PredictedBoxes) -> PredictedBoxes:
    from torchvision.ops import batched_nms

    if len(found.scores) < 2:
        return found
    kept = batched_nms(
        torch.from_numpy(found.xyxy),
        torch.from_numpy(found.scores),
        torch.from_numpy(found.labels),
        NMS_IOU,
    )
    return found[kept.numpy()]


def _united(parts: Sequence[tuple[Tile, PredictedBoxes]], tolerance: float) -> PredictedBoxes:
    """Unite the parts of objects that go on in the next tile; boxes in pixels of the image."""
    joined = PredictedBoxes(
        np.concatenate([NO_BOXES.xyxy, *(f.xyxy for _, f in parts)]),
        np.concatenate([NO_BOXES.labels, *(f.labels for _, f in parts)]),
        np.concatenate([np.zeros(0), *(f.scores for _, f in parts)]),
    )
    counts = [len(found.scores) for _, found in parts]
    starts_at = np.cumsum([0, *counts])
    at = {(tile.top, tile.left): i for i, (tile, _) in enumerate(parts)}
    # Each box points to one of the same object, at last to the object's first.
    first_of = list(range(len(joined.scores)))

    def first(i: int) -> int:
        while first_of[i] != i:
            i = first_of[i]
        return i

    for i, (tile, found) in enumerate(parts):
        _, _, behind, below = tile.shared
        for axis, shared in enumerate((behind, below)):
            if shared is None:
                continue
            end = (tile.columns.stop, tile.rows.stop)[axis]
            place = (tile.top, end - shared) if axis == 0 else (end - shared, tile.left)
            j = at.get(place)
            if j is None or not counts[i] or not counts[j]:
                continue
            agreement = _agreement(found, parts[j][1], axis, (end - shared, end), tolerance)
            for a, b in _pairs(agreement):
                roots = sorted((first(int(starts_at[i]) + a), first(int(starts_at[j]) + b)))
                first_of[roots[1]] = roots[0]
    groups: dict[int, list[int]] = {}
    for i in range(len(first_of)):
        groups.setdefault(first(i), []).append(i)
    boxes, scores = joined.xyxy.copy(), joined.scores.copy()
    for i, members in groups.items():
        boxes[i, :2] = joined.xyxy[members, :2].min(axis=0)
        boxes[i, 2:] = joined.xyxy[members, 2:].max(axis=0)
        scores[i] = joined.scores[members].max()
    return PredictedBoxes(boxes, joined.labels, scores)[np.array(list(groups), dtype=np.int64)]


def _agreement(
    before: PredictedBoxes,
    behind: PredictedBoxes,
    axis: int,
    both: tuple[int, int],
    tolerance: float,
) -> NDArray[np.float64]:
    """Tell how well boxes of two neighbours, N and M, fit together as parts of an object.

    Where both tiles see it, parts of one object are alike, however far each goes beyond.

    Args:
        before: In the left or upper tile, in pixels of the image.
        behind: In the right or lower tile.
        axis: 0 where the tiles lie side by side, 1 where one lies above the other.
        both: First and last pixel along the axis that both see.
        tolerance: As of `is_own`.

    Returns:
        (N, M): the lesser of the 1-D IoUs along the axes; 0 of boxes of two classes, and where
        neither is cut.
    """
    across = [1 - axis, 3 - axis]
    along = [axis, axis + 2]
    cut_before = before.xyxy[:, axis + 2] >= both[1] - tolerance
    cut_behind = behind.xyxy[:, axis] <= both[0] + tolerance
    a, b = (found.xyxy[:, along].clip(*both) for found in (before, behind))
    # One that goes on, and one that comes from there, agree even if tiles share no pixel.
    fits = np.where(cut_before[:, None] & cut_behind, 1.0, _iou_1d(a, b))
    fits = np.minimum(fits, _iou_1d(before.xyxy[:, across], behind.xyxy[:, across]))
    may_be = (cut_before[:, None] | cut_behind) & (before.labels[:, None] == behind.labels)
    return np.where(may_be, fits, 0.0)


def _iou_1d(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Overlap of intervals (N, 2) and (M, 2), (N, M)."""
    shared = np.minimum(a[:, None, 1], b[:, 1]) - np.maximum(a[:, None, 0], b[:, 0])
    shared = np.maximum(shared, 0.0)
    whole = (a[:, 1] - a[:, 0])[:, None] + (b[:, 1] - b[:, 0]) - shared
    found: NDArray[np.float64] = shared / np.maximum(whole, 1e-9)
    return found


def _pairs(agreement: NDArray[np.float64]) -> Iterator[tuple[int, int]]:
    """Choose pairs of rows and columns, the best first, each row and column at most once."""
    rows, columns = np.nonzero(agreement > AGREEMENT)
    free_rows, free_columns = set(rows.tolist()), set(columns.tolist())
    for k in np.argsort(-agreement[rows, columns], kind="stable"):
        row, column = int(rows[k]), int(columns[k])
        if row in free_rows and column in free_columns:
            free_rows.remove(row)
            free_columns.remove(column)
            yield row, column
