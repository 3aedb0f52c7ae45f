"""Corrupted demo scenes, for pictures in reports."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from marsbench.config.schema import SourceName
from marsbench.data.cache import DirectSamples
from marsbench.data.sources import open_source
from marsbench.data.tools.pictures.corruptions import image_panels
from marsbench.data.transforms import resize, to_float
from marsbench.tasks.catalog import get_task

_SIDE = 224
"""Side of the corrupted scene in pixels, the input of most models."""


def corrupted_scene(
    task: str, names: Sequence[str], severities: Sequence[int]
) -> Mapping[str, Sequence[NDArray[np.uint8]]]:
    """Draw a demo scene without and with corruptions.

    Args:
        task: Task of the catalogue with demo data.
        names: Corruptions of images.
        severities: Severities.

    Returns:
        By corruption, RGB images (H, W, 3): the scene, then one per severity.
    """
    spec = get_task(task)
    source = open_source(spec, SourceName.DEMO, None, 1.0, splits=["test"])
    rows = source.rows("test")
    index = len(rows) // 2
    pixels = DirectSamples(spec, source, rows)[index].pixels
    image = resize(to_float(torch.from_numpy(pixels.transpose(2, 0, 1).copy())), _SIDE)
    return {
        name: [
            panel.image
            for panel in image_panels(
                image, rows.sample_ids[index], name, severities, is_pair=spec.is_pairs
            )
        ]
        for name in names
    }
