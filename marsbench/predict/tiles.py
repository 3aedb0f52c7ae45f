"""Split large images into overlapping tiles, and join the predictions."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray

from marsbench.metrics.boxes import NO_BOXES, PredictedBoxes

NMS_IOU = 0.5
"""IoU above which the lower-scored of two boxes of a class is a duplicate."""

AGREEMENT = 0.5
"""IoU along either axis above which boxes of two tiles are parts of the same object."""

Probabilities = NDArray[np.float32]


@dataclass(frozen=True)
class Tile:
    """A tile of an image, in pixels.

    Attributes:
        top: First row.
        left: First column.
        height: Number of rows.
        width: Number of columns.
        shared: Columns and rows shared with the left, top, right and bottom neighbours; None at
            the image's borders.
    """

    top: int
    left: int
    height: int
    width: int
    shared: tuple[int | None, int | None, int | None, int | None] = (None, None, None, None)

    @property
    def rows(self) -> slice:
        """Rows in the image."""
        return slice(self.top, self.top + self.height)

    @property
    def columns(self) -> slice:
        """Columns in the image."""
        return slice(self.left, self.left + self.width)


def starts(length: int, side: int, overlap: float) -> list[int]:
    """Start pixels of tiles along an axis, from 0 to flush with the end.

    Args:
        length: Pixels of the image.
        side: Pixels of a tile.
        overlap: Smallest share of a tile shared with the next tile, in [0, 1).
    """
    if length <= side:
        return [0]
    stride = max(1, int(side * (1 - overlap)))
    count = -(-(length - side) // stride) + 1
    # Spread the excess evenly over all tiles.
    return [round(i * (length - side) / (count - 1)) for i in range(count)]


def grid(size: tuple[int, int], footprint: tuple[int, int], overlap: float) -> list[list[Tile]]:
    """Cover an image with tiles, in rows from the top and from left to right.

    Args:
        size: Height and width of the image.
        footprint: Height and width of a tile, cut to the image.
        overlap: As in `starts`.
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


def batches(rows: Sequence[Sequence[Tile]], size: int) -> Iterator[Sequence[Tile]]:
    """Divide the rows of a `grid` into batches of at most `size` tiles, each of a single row."""
    for row in rows:
        for start in range(0, len(row), size):
            yield row[start : start + size]


def _shared(first: Sequence[int], side: int) -> tuple[list[int | None], list[int | None]]:
    """Pixels shared by each tile with its predecessor and its successor."""
    shared: list[int | None] = [max(0, a + side - b) for a, b in pairwise(first)]
    return [None, *shared], [*shared, None]


def window(height: int, width: int) -> NDArray[np.float32]:
    """Cosine weights of a tile's pixels, (height, width): 1 in the middle, never 0.

    A network sees the least context at a tile's border, so the neighbour gets more weight there.
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
    """Join class probabilities of tiles by a weighted mean in overlaps.

    Only the rows of a tile are in memory at a time: K x tile x width numbers.

    Args:
        rows_of_tiles: Output of `grid`.
        size: Height and width of the image.
        num_classes: K.
        classify: Returns the probabilities (K, h, w) of tiles; None for an empty tile.
        batch_size: Tiles per call of `classify`.

    Yields:
        First row and probabilities (K, rows, width) of strips from the top, zeros for empty tiles.
        The array is overwritten by the next strip.
    """
    height = rows_of_tiles[0][0].height
    sums = np.zeros((num_classes, height, size[1]), dtype=np.float32)
    totals = np.zeros((height, size[1]), dtype=np.float32)
    weights = window(height, rows_of_tiles[0][0].width)
    for i, row in enumerate(rows_of_tiles):
        for tiles in batches([row], batch_size):
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
        # The remaining rows overlap with the next tiles.
        sums[:, : height - done] = sums[:, done:]
        sums[:, height - done :] = 0
        totals[: height - done] = totals[done:]
        totals[height - done :] = 0


def is_own(boxes: NDArray[np.float64], tile: Tile, tolerance: float) -> NDArray[np.bool_]:
    """Mask of the boxes to keep in a tile rather than in its neighbour, (N,).

    A box at an inner border may be cut off. The neighbour keeps the object if the box begins
    inside of the overlap, clear of the neighbour's own border. A box across the whole overlap is
    cut off in both tiles: both parts stay, and `join` unites them.

    Args:
        boxes: (N, 4) in pixels of the tile.
        tile: The tile.
        tolerance: Distance in pixels from a border up to which a box touches the border.
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
            # Twice, because two tiles place a box slightly apart: both must not drop the box.
            own &= ~(touches & (reach < shared - 2 * tolerance))
    return own


def join(parts: Sequence[tuple[Tile, PredictedBoxes]], tolerance: float) -> PredictedBoxes:
    """Join the boxes of tiles, without duplicates at inner borders.

    Parts of an object larger than the overlap become a single box with the highest score, across
    any number of tiles.

    Args:
        parts: Tiles of a `grid`, and the boxes of each in pixels of the tile.
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
    """Unite the parts of objects cut off by tiles; boxes in pixels of the image."""
    joined = PredictedBoxes(
        np.concatenate([NO_BOXES.xyxy, *(f.xyxy for _, f in parts)]),
        np.concatenate([NO_BOXES.labels, *(f.labels for _, f in parts)]),
        np.concatenate([np.zeros(0), *(f.scores for _, f in parts)]),
    )
    counts = [len(found.scores) for _, found in parts]
    starts_at = np.cumsum([0, *counts])
    at = {(tile.top, tile.left): i for i, (tile, _) in enumerate(parts)}
    # Union-find: each box points to an earlier box of the same object.
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
    """Agreement of N and M boxes of two neighbours as parts of the same objects.

    Parts of an object coincide inside of the overlap, but not outside.

    Args:
        before: In the left or upper tile, in pixels of the image.
        behind: In the right or lower tile.
        axis: 0 for tiles side by side, 1 for tiles above each other.
        both: First and last shared pixel along the axis.
        tolerance: As of `is_own`.

    Returns:
        (N, M): the lesser of the 1-D IoUs along the axes; 0 for different classes, and for pairs of
        uncut boxes.
    """
    across = [1 - axis, 3 - axis]
    along = [axis, axis + 2]
    cut_before = before.xyxy[:, axis + 2] >= both[1] - tolerance
    cut_behind = behind.xyxy[:, axis] <= both[0] + tolerance
    a, b = (found.xyxy[:, along].clip(*both) for found in (before, behind))
    # Boxes cut off at the facing borders agree fully along the axis, even without overlap.
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
    """Match rows and columns greedily by agreement, each at most once."""
    rows, columns = np.nonzero(agreement > AGREEMENT)
    free_rows, free_columns = set(rows.tolist()), set(columns.tolist())
    for k in np.argsort(-agreement[rows, columns], kind="stable"):
        row, column = int(rows[k]), int(columns[k])
        if row in free_rows and column in free_columns:
            free_rows.remove(row)
            free_columns.remove(column)
            yield row, column
