"""Objects of orbital scenes: their places, visibility, masks and boxes.

Masks and boxes are made from each object's own pixels, and so are exact by construction.
"""

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy import ndimage

from marsbench.demo.scene import Scene

Field = NDArray[np.float64]
Pixels = NDArray[np.bool_]
Window = tuple[slice, slice]

SMALLEST = 4
"""Least extent of an object in either direction, in pixels; nothing smaller is drawn."""


def window(side: int, column: float, row: float, reach: float) -> tuple[Window, Field, Field]:
    """Part of a picture around a point.

    Args:
        column: Column of the point, may lie outside.
        row: Row of the point, may lie outside.
        reach: Least distance from the point to the part's edges in pixels.

    Returns:
        Rows and columns of the part; and the distance of its pixels to the right of the point,
        (1, columns), and below it, (rows, 1), in pixels. Empty if nothing lies inside.
    """
    top, left = (int(np.clip(np.floor(x - reach), 0, side)) for x in (row, column))
    bottom, right = (int(np.clip(np.ceil(x + reach) + 1, 0, side)) for x in (row, column))
    south = np.arange(top, bottom, dtype=np.float64)[:, None] - row
    east = np.arange(left, right, dtype=np.float64)[None, :] - column
    return (slice(top, bottom), slice(left, right)), east, south


def placed(
    rng: Generator,
    side: int,
    radii: NDArray[np.float64],
    *,
    overhang: float = 0.3,
    chance: Field | None = None,
    tries: int = 12,
) -> NDArray[np.float64]:
    """Places for discs without overlap.

    Args:
        radii: Radii of the discs in pixels, (count,).
        overhang: Greatest distance of a centre outside the picture, as a share of the radius.
        chance: Relative chance of every pixel to be a centre, (side, side); None for anywhere.
        tries: Places tried per disc.

    Returns:
        Column and row of every disc, (count, 2); NaN for discs without a free place.
    """
    count = len(radii)
    if chance is None:
        spread = side + 2.0 * overhang * radii[:, None, None]
        where = rng.uniform(size=(count, tries, 2)) * spread - overhang * radii[:, None, None] - 0.5
    else:
        steps = np.cumsum(chance.ravel())
        cells = np.searchsorted(steps, rng.uniform(0.0, steps[-1], (count, tries)), side="right")
        cells = np.minimum(cells, chance.size - 1)
        where = np.stack([cells % side, cells // side], axis=2) + rng.uniform(
            -0.5, 0.5, (count, tries, 2)
        )
    places = np.full((count, 2), np.nan)
    # Large discs first, while there is room.
    for i in np.argsort(-radii, kind="stable"):
        apart = np.hypot(*(where[i][:, None] - places[None]).transpose(2, 0, 1))
        clear = (np.nan_to_num(apart, nan=np.inf) >= radii[i] + radii).all(axis=1)
        if clear.any():
            places[i] = where[i, int(np.argmax(clear))]
    return places


def shows(inside: Pixels, radius: float = 0.0) -> bool:
    """Whether enough of an object is visible to be recognised and counted.

    Args:
        inside: Its pixels in the picture, (rows, columns).
        radius: Radius in pixels; a third of a disc of this size must be visible.
    """
    if inside.sum() < np.pi * radius * radius / 3.0:
        return False
    rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
    if not rows.size:
        return False
    return bool(min(np.ptp(rows), np.ptp(columns)) + 1 >= SMALLEST)


def tight_boxes(owner: NDArray[np.int32]) -> NDArray[np.float64]:
    """Boxes tight around the visible pixels of objects.

    Args:
        owner: Number of the object in every pixel, from 1, (H, W); 0 for none.

    Returns:
        Left, top, right and bottom in pixels, (N, 4), in the order of the numbers; the last
        column and row of an object lie inside.
    """
    boxes = [
        (columns.start, rows.start, columns.stop, rows.stop)
        for rows, columns in filter(None, ndimage.find_objects(owner))
    ]
    return np.array(boxes, np.float64).reshape(-1, 4)


def segmented(image: NDArray[np.uint8], owner: NDArray[np.int32]) -> Scene:
    """Scene with the mask of objects of a class, from their numbers, (H, W)."""
    return Scene(image, mask=(owner > 0).astype(np.uint8))


def detected(image: NDArray[np.uint8], owner: NDArray[np.int32]) -> Scene:
    """Scene with the boxes of objects of a class, from their numbers, (H, W)."""
    boxes = tight_boxes(owner)
    return Scene(image, boxes=boxes, labels=np.zeros(len(boxes), np.int64))
