"""Contact sheets of labelled samples."""

from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from marsbench.data.cache import DirectImages
from marsbench.data.rows import Source
from marsbench.data.spec import SPLITS, TaskSpec
from marsbench.errors import DataError, unknown_name

COLUMNS = 8


def draw_samples(
    spec: TaskSpec, source: Source, split: str, path: Path, columns: int = COLUMNS
) -> None:
    """Draw one row of samples per class, evenly spread over the split.

    Args:
        spec: The task.
        source: Its data, opened.
        split: train, val or test.
        path: PNG to write.
        columns: Samples per class.

    Raises:
        DataError: If an image cannot be read or the picture cannot be written.
    """
    if split not in SPLITS:
        raise unknown_name("split", split, SPLITS)
    rows = source.rows(split)
    images = DirectImages(spec, source, rows)
    names = source.class_names
    figure = Figure(figsize=(1.6 * columns, 1.75 * len(names) + 0.4), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(len(names), columns, squeeze=False)
    for class_id, name in enumerate(names):
        of_class = np.flatnonzero(rows.of_class(class_id))
        chosen = of_class[
            np.linspace(0, len(of_class) - 1, min(columns, len(of_class))).astype(int)
        ]
        for axis in grid[class_id]:
            axis.set_axis_off()
        grid[class_id, 0].set_title(f"{name} ({len(of_class)})", loc="left", fontsize=9)
        for axis, index in zip(grid[class_id], chosen, strict=False):
            pixels = images[int(index)]
            axis.imshow(
                pixels[:, :, 0] if pixels.shape[2] == 1 else pixels, cmap="gray", vmin=0, vmax=255
            )
    figure.suptitle(f"{spec.name}, {split}: {len(rows)} samples ({source.revision})", fontsize=10)
    try:
        figure.savefig(path, dpi=110)
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path} cannot be written: {error}.", "Name a PNG in a folder that exists."
        ) from error
