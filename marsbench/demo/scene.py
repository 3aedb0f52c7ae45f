"""Demo image with its mask or boxes."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Scene:
    """Demo image with its mask or boxes.

    Attributes:
        image: Pixels, (H, W, C); uint8, or float32 in [0, 1] for measured bands.
        mask: Class ids, (H, W), with ignore 255. None in a detection task.
        boxes: Left, top, right and bottom of every object in pixels, (N, 4), tight around its
            visible pixels. None in a segmentation task.
        labels: Class ids of the objects from 0, background not counted, (N,).
    """

    image: NDArray[np.uint8] | NDArray[np.float32]
    mask: NDArray[np.uint8] | None = None
    boxes: NDArray[np.float64] | None = None
    labels: NDArray[np.int64] | None = None
