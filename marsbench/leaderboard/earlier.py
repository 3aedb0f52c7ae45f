"""Metrics as earlier versions defined them, for the comparison with their records."""

from collections.abc import Callable, Mapping
from typing import Any

from marsbench.metrics import masks


def _iou_per_image(columns: Mapping[str, Any], num_classes: int) -> float:
    """Mean over images of the mean IoU over the classes of an image."""
    (confusions,) = masks.read(columns, num_classes)
    scores = [
        masks.score(counts[None], [str(k) for k in range(num_classes)]) for counts in confusions
    ]
    # The mean over classes of a single image is its `miou`; images without pixels have none.
    known = [of_image["miou"] for of_image in scores if of_image]
    return sum(known) / max(len(known), 1)


EARLIER: dict[str, Callable[[Mapping[str, Any], int], float]] = {"iou_per_image": _iou_per_image}
"""Earlier definitions by metric; each takes the stored columns and the number of classes."""
