"""Pictures of samples: colours of classes, masks over images, boxes, legends, sheets."""

import colorsys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure, SubFigure
from matplotlib.patches import Patch, Rectangle
from numpy.typing import NDArray
from PIL import Image

from marsbench.base.errors import DataError
from marsbench.data.rows import Pixels
from marsbench.metrics.boxes import Boxes, PredictedBoxes
from marsbench.metrics.masks import IGNORE
from marsbench.tasks.spec import BACKGROUND, normalise

PALETTE = (
    "#56B4E9",
    "#E69F00",
    "#009E73",
    "#F0E442",
    "#CC79A7",
    "#D55E00",
    "#0072B2",
    "#882255",
    "#FFFFFF",
    "#000000",
)
"""Colours safe for colour-blind readers, after Okabe and Ito (https://jfly.uni-koeln.de/color/).

Sky blue comes first since Mars is orange, black last since shadows are black; wine red and white
are added."""

MOST_PIXELS = 512
"""Longest side of a drawn image in pixels; a contact sheet shows no more."""

_BACKGROUND = "#464646"
"""Dark grey of the background where every class needs a colour."""

_ALPHA = 0.45
"""Opacity of a mask over its image."""

_STRIPES = (40, 230)
"""Alternating greys over ignored pixels, half transparent: on any ground, at least a grey of the
two is visible."""

RGB = NDArray[np.uint8]
"""Pixels of shape (H, W, 3)."""


def class_colors(names: Sequence[str]) -> list[str | None]:
    """Colours by class id; None for the background, left unpainted.

    Args:
        names: Class names by id.
    """
    colors: list[str | None] = []
    for name in names:
        shown = sum(color is not None for color in colors)
        if not colors and normalise(name) == BACKGROUND:
            colors.append(None)
        elif shown < len(PALETTE):
            colors.append(PALETTE[shown])
        else:
            # No palette has so many distinct colours; steps of the golden ratio never repeat a hue.
            red, green, blue = colorsys.hsv_to_rgb(shown * 0.618 % 1, 0.6, 0.9)
            colors.append(f"#{round(255 * red):02X}{round(255 * green):02X}{round(255 * blue):02X}")
    return colors


def palette(names: Sequence[str]) -> NDArray[np.uint8]:
    """Colours by class id, (K, 3), with dark grey for the background."""
    colors = [color or _BACKGROUND for color in class_colors(names)]
    return np.array([list(bytes.fromhex(color[1:])) for color in colors], dtype=np.uint8)


def to_rgb(pixels: Pixels, rgb_bands: tuple[int, int, int] | None = None) -> RGB:
    """Convert an image of any number of bands to 8-bit RGB.

    Args:
        pixels: Image of shape (H, W, C), uint8, or float in [0, 1].
        rgb_bands: Indices of the red, green and blue bands of an image of more than three. By
            default the first band is shown in grey.
    """
    if pixels.shape[2] > 3 and rgb_bands is not None:
        pixels = pixels[:, :, list(rgb_bands)]
    if pixels.shape[2] != 3:
        pixels = pixels[:, :, [0, 0, 0]]
    if pixels.dtype == np.uint8:
        return np.ascontiguousarray(pixels, dtype=np.uint8)
    shown: RGB = np.round(255 * pixels.clip(0, 1)).astype(np.uint8)
    return shown


def paint_mask(image: RGB, mask: NDArray[np.uint8], names: Sequence[str]) -> RGB:
    """Lay a mask over its image: classes half transparent with an outline, ignored pixels striped.

    Args:
        image: Image.
        mask: Class ids of shape (H, W), `IGNORE` where pixels are to be ignored.
        names: Class names by id.
    """
    image, mask = _fit(image, mask)
    painted = image.astype(np.float64)
    edges = _edges(mask, max(1, max(mask.shape) // 160))
    colors = palette(names)
    for class_id, color in enumerate(class_colors(names)):
        if color is not None:
            inside = mask == class_id
            painted[inside] = (1 - _ALPHA) * painted[inside] + _ALPHA * colors[class_id]
            painted[inside & edges] = colors[class_id]
    y, x = np.indices(mask.shape)
    stripe = max(2, max(mask.shape) // 40)
    for turn, grey in enumerate(_STRIPES):
        hatched = (mask == IGNORE) & ((x + y) // stripe % 2 == turn)
        painted[hatched] = 0.5 * painted[hatched] + 0.5 * grey
    return painted.round().astype(np.uint8)


def _fit(image: RGB, mask: NDArray[np.uint8]) -> tuple[RGB, NDArray[np.uint8]]:
    """Shrink an image and its mask to at most `MOST_PIXELS` a side."""
    height, width = mask.shape
    shrink = max(height, width) / MOST_PIXELS
    if shrink <= 1:
        return image, mask
    size = max(1, round(width / shrink)), max(1, round(height / shrink))
    return (
        np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BOX)),
        np.asarray(Image.fromarray(mask).resize(size, Image.Resampling.NEAREST)),
    )


def _edges(mask: NDArray[np.uint8], width: int) -> NDArray[np.bool_]:
    """Mark pixels within `width` pixels of another class, (H, W)."""
    edges = np.zeros(mask.shape, dtype=bool)
    for step in range(1, width + 1):
        down, right = mask[step:] != mask[:-step], mask[:, step:] != mask[:, :-step]
        edges[step:] |= down
        edges[:-step] |= down
        edges[:, step:] |= right
        edges[:, :-step] |= right
    return edges


def new_figure(width: float, height: float) -> Figure:
    """Start a figure of a width and height in inches, without a screen."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


@dataclass(frozen=True)
class Panel:
    """An image of a sheet, with its title and target.

    Attributes:
        image: Image.
        title: Text above it.
        target: Mask of class ids (H, W) or boxes to draw over it.
        color: Colour of the title.
    """

    image: RGB
    title: str = ""
    target: NDArray[np.uint8] | Boxes | None = None
    color: str = "black"

    def show(self, axis: Axes, names: Sequence[str]) -> None:
        """Draw the panel, with class names by id."""
        height, width = self.image.shape[:2]
        if isinstance(self.target, np.ndarray):
            image = paint_mask(self.image, self.target, names)
        else:
            image, _ = _fit(self.image, np.zeros((height, width), dtype=np.uint8))
        # Coordinates start at the image's corner, as in boxes.
        axis.imshow(image, extent=(0, width, height, 0))
        axis.set_title(self.title, fontsize=7, loc="left", pad=2, color=self.color)
        if isinstance(self.target, Boxes):
            _show_boxes(axis, self.target, names)


def sheet(
    figure: Figure | SubFigure,
    groups: Sequence[Sequence[Panel]],
    names: Sequence[str],
    across: int,
) -> None:
    """Draw panels in rows, with a legend if they show masks or boxes.

    Args:
        figure: An empty figure.
        groups: The panels of each sample, which stand side by side.
        names: Class names by id.
        across: Samples in a row.
    """
    wide = max(map(len, groups), default=1)
    axes = grid(figure, max(1, -(-len(groups) // across)), wide * across)
    for i, panels in enumerate(groups):
        first = wide * (i % across)
        for axis, panel in zip(axes[i // across, first:], panels, strict=False):
            panel.show(axis, names)
    targets = [panel.target for panels in groups for panel in panels if panel.target is not None]
    if targets:
        masks = [target for target in targets if isinstance(target, np.ndarray)]
        _add_legend(figure, names, ignored=any((mask == IGNORE).any() for mask in masks))


def grid(figure: Figure | SubFigure, rows: int, columns: int) -> NDArray[np.object_]:
    """Add axes without lines or ticks, (rows, columns)."""
    axes: NDArray[np.object_] = figure.subplots(rows, columns, squeeze=False)
    for axis in axes.ravel():
        axis.set_axis_off()
    return axes


def _show_boxes(axis: Axes, boxes: Boxes, names: Sequence[str]) -> None:
    """Draw boxes over an image, with the scores of predicted ones."""
    colors = class_colors(names)
    height = axis.get_ylim()[0]
    for i, (left, top, right, bottom) in enumerate(boxes.xyxy):
        color = colors[int(boxes.labels[i])]
        # A dark line around a bright line is visible on any ground.
        for line, thickness in (("black", 2.2), (color, 1.1)):
            frame = Rectangle((left, top), right - left, bottom - top, fill=False)
            frame.set(edgecolor=line, linewidth=thickness)
            axis.add_patch(frame)
        if isinstance(boxes, PredictedBoxes):
            axis.text(
                max(left, 0.0),
                max(top, 0.0),
                f"{boxes.scores[i]:.2f}",
                fontsize=5,
                color="black",
                # Inside the box if there is no room above.
                va="bottom" if top > 0.06 * height else "top",
                clip_on=True,
                bbox={"facecolor": color, "edgecolor": "none", "pad": 0.6},
            )


def _add_legend(figure: Figure | SubFigure, names: Sequence[str], *, ignored: bool = False) -> None:
    """Add a legend of class colours below a figure.

    Args:
        figure: The figure.
        names: Class names by id.
        ignored: Whether the legend has an entry for ignored pixels.
    """
    handles = [
        Patch(facecolor="none" if color is None else color, edgecolor="black", label=name)
        for name, color in zip(names, class_colors(names), strict=True)
    ]
    if ignored:
        handles.append(Patch(facecolor="white", edgecolor="0.4", hatch="////", label="ignored"))
    figure.legend(
        handles=handles, loc="outside lower center", ncols=min(len(handles), 6), fontsize=8
    )


def save(figure: Figure, path: Path) -> None:
    """Write a figure as PNG.

    Raises:
        DataError: If the file cannot be written.
    """
    try:
        figure.savefig(path, dpi=110)
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path} cannot be written: {error}.", "Name a PNG in an existing folder."
        ) from error


def spread(length: int, count: int) -> NDArray[np.int64]:
    """Up to `count` evenly spaced indices into `length` items, endpoints included."""
    return np.linspace(0, length - 1, min(count, length)).astype(np.int64)


def short(sample_id: str, length: int = 26) -> str:
    """Shorten a long id to its end, the most telling part."""
    return sample_id if len(sample_id) <= length else f"...{sample_id[3 - length :]}"
