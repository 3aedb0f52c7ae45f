"""Large images in overlapping tiles: where they lie, and how what is found in them is joined."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray

NMS_IOU = 0.5
"""Overlap above which the lower of two boxes of one class is the other's double."""

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
        The first row of a strip, and its probabilities (K, rows, width); strips from the top.
        Zeros where nothing was seen.
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
        joined = sums[:, :done] / np.maximum(totals[:done], np.float32(1e-12))
        yield top, joined.astype(np.float32, copy=False)
        # What is left belongs to the first rows of the next tiles.
        sums[:, : height - done] = sums[:, done:]
        sums[:, height - done :] = 0
        totals[: height - done] = totals[done:]
        totals[height - done :] = 0


@dataclass(frozen=True)
class Found:
    """Objects found in an image or a tile.

    Attributes:
        boxes: Left, top, right and bottom in pixels, float64 (N, 4).
        scores: Confidence in [0, 1], float64 (N,).
        labels: Class ids from 0, int64 (N,).
    """

    boxes: NDArray[np.float64]
    scores: NDArray[np.float64]
    labels: NDArray[np.int64]

    def chosen(self, which: NDArray[np.bool_] | NDArray[np.int64]) -> "Found":
        """Keep some of them."""
        return Found(self.boxes[which], self.scores[which], self.labels[which])


def is_own(boxes: NDArray[np.float64], tile: Tile, tolerance: float) -> NDArray[np.bool_]:
    """Tell which boxes of a tile are not the neighbour's, (N,).

    A box that touches an inner border may be cut there. It is the neighbour's if that one sees
    all of the box that this tile sees, and therefore more of the object. An object larger than
    the overlap no neighbour sees so; it stays.

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
            own &= ~(touches & (reach <= shared))
    return own


def join(parts: Sequence[tuple[Tile, Found]], tolerance: float) -> Found:
    """Put the objects of tiles together: those at inner borders once, doubles not at all.

    Args:
        parts: Tiles, and what was found in each, in pixels of the tile.
        tolerance: As of `is_own`.

    Returns:
        In pixels of the image, the highest score first.
    """
    from torchvision.ops import batched_nms

    moved = []
    for tile, found in parts:
        own = found.chosen(is_own(found.boxes, tile, tolerance))
        offset = np.array([tile.left, tile.top, tile.left, tile.top])
        moved.append(Found(own.boxes + offset, own.scores, own.labels))
    joined = Found(
        np.concatenate([m.boxes for m in moved]),
        np.concatenate([m.scores for m in moved]),
        np.concatenate([m.labels for m in moved]),
    )
    kept = batched_nms(
        torch.from_numpy(joined.boxes),
        torch.from_numpy(joined.scores),
        torch.from_numpy(joined.labels),
        NMS_IOU,
    )
    return joined.chosen(kept.numpy())
