"""Decode samples: the image, and its mask or boxes."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from marsbench.base.errors import DataError
from marsbench.config.schema import Bands
from marsbench.data import decode
from marsbench.data.rows import Pixels, Raw
from marsbench.metrics.boxes import Boxes
from marsbench.tasks.kinds import Decode
from marsbench.tasks.spec import TaskSpec

T = TypeVar("T")

THINNEST = 0.01
"""Pixels; thinner boxes lose their area when scaled and turned in single precision."""

SMALLEST = 2
"""Smallest height and width of an image in pixels."""


@dataclass(frozen=True)
class Decoded:
    """A decoded sample.

    Attributes:
        pixels: Image of shape (H, W, C), uint8, or float32 in [0, 1].
        mask: Class ids of shape (H, W), uint8, 255 for ignored pixels; in segmentation.
        boxes: Boxes clipped to the image; in detection.
        num_dropped: Number of boxes dropped because they lie outside of the image.
        meta: Further fields of the sample, such as its region.
        readings: Changes made to the numbers of the files, for people; empty from a cache.
        resized_from: Height and width of the image before resizing; None at its own size. Masks
            and boxes always are those of the image's own size.
    """

    pixels: Pixels
    mask: NDArray[np.uint8] | None = None
    boxes: Boxes | None = None
    num_dropped: int = 0
    meta: Mapping[str, Any] = field(default_factory=dict)
    readings: tuple[str, ...] = ()
    resized_from: tuple[int, int] | None = None

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the image before resizing."""
        height, width, _ = self.pixels.shape
        return self.resized_from or (height, width)

    @property
    def is_negative(self) -> bool:
        """Whether the sample shows no object: no boxes, or a mask of background alone."""
        if self.boxes is not None:
            return len(self.boxes) == 0
        return self.mask is not None and decode.is_background(self.mask)


def decode_sample(spec: TaskSpec, raw: Raw, bands: Bands = Bands.RGB) -> Decoded:
    """Decode a sample of a task.

    Args:
        spec: The task.
        raw: Raw files of the sample.
        bands: Bands to keep of images with more than three.

    Raises:
        DataError: If a file is damaged, or contradicts the task or another file; names the file.
    """
    return DECODERS[spec.decode](spec, raw, bands)


def _labelled(spec: TaskSpec, raw: Raw, bands: Bands) -> Decoded:
    if spec.channels > 3:
        seen = decode_pixels(spec, raw, bands)
    else:
        read = decode.read_pair if spec.is_pairs else decode.read_image
        seen = read(raw, spec.channels)
    decode.check_size(spec, (seen.pixels.shape[0], seen.pixels.shape[1]), raw.where)
    return Decoded(seen.pixels, meta=raw.meta, readings=seen.readings)


def _masked(spec: TaskSpec, raw: Raw, bands: Bands) -> Decoded:
    pixels, readings = decode_pixels(spec, raw, bands)
    source = needed(raw.mask, raw, "mask")
    mask = decode.mask(raw, len(spec.classes))
    if mask.shape != pixels.shape[:2]:
        raise DataError(
            f"{source.where} is {mask.shape[0]} x {mask.shape[1]} pixels; its image {raw.where} is "
            f"{pixels.shape[0]} x {pixels.shape[1]} (height x width).",
            "Give the image a mask of its own size.",
        )
    return Decoded(pixels, mask=mask, meta=raw.meta, readings=readings)


def _boxed(spec: TaskSpec, raw: Raw, bands: Bands) -> Decoded:
    pixels, readings = decode_pixels(spec, raw, bands)
    height, width, _ = pixels.shape
    boxes, num_dropped = clipped(needed(raw.boxes, raw, "boxes"), (height, width))
    return Decoded(pixels, None, boxes, num_dropped, raw.meta, readings)


DECODERS: dict[Decode, Callable[[TaskSpec, Raw, Bands], Decoded]] = {
    Decode.IMAGE_LABEL: _labelled,
    Decode.PAIR_LABEL: _labelled,
    Decode.IMAGE_MASK: _masked,
    Decode.IMAGE_BOXES: _boxed,
}
"""Decoders of samples; spectra have their own in `data.spectra`."""


def decode_pixels(spec: TaskSpec, raw: Raw, bands: Bands = Bands.RGB) -> decode.Seen:
    """Decode the image of a segmentation or detection sample, without its mask or boxes.

    Raises:
        DataError: If the file is damaged, or its bands or size differ from the task's; names it.
    """
    if spec.channels > 3:
        rgb = spec.rgb_bands if bands is Bands.RGB else None
        chosen = range(spec.channels) if rgb is None else rgb
        seen = decode.read_bands(raw, spec.channels, chosen)
    else:
        seen = decode.read_image(raw, spec.channels)
    size = seen.pixels.shape[0], seen.pixels.shape[1]
    if not isinstance(raw.image, np.ndarray):  # generated images may have any size
        decode.check_size(spec, size, raw.where)
    if min(size) < SMALLEST:
        raise DataError(
            f"{raw.where} is {size[0]} x {size[1]} pixels, too small to train on.",
            "Remove it.",
        )
    return seen


def clipped(boxes: Boxes, size: tuple[int, int]) -> tuple[Boxes, int]:
    """Clip boxes to their image; annotated boxes may extend beyond the image by a rounding error.

    Args:
        boxes: The boxes.
        size: Height and width of the image.

    Returns:
        Boxes wider and higher than `THINNEST`, and the number of other boxes.
    """
    height, width = size
    xyxy = np.clip(boxes.xyxy, 0, [width, height, width, height])
    kept = np.all(xyxy[:, 2:] - xyxy[:, :2] > THINNEST, axis=1)
    return Boxes(xyxy, boxes.labels)[kept], int((~kept).sum())


def needed(part: T | None, raw: Raw, name: str) -> T:
    """Raise if a part of a sample, such as its mask, is missing."""
    if part is None:
        raise DataError(f"{raw.where} has no {name}.", "Unpack the data again.")
    return part


def colors_of(spec: TaskSpec, bands: Bands) -> tuple[int | None, ...] | None:
    """Position of each band in RGB, None for other bands; None for three bands or fewer."""
    if spec.channels <= 3 or bands is Bands.RGB:
        return None
    rgb = spec.rgb_bands or ()
    return tuple(rgb.index(i) if i in rgb else None for i in range(spec.channels))
