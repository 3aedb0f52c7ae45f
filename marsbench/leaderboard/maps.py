"""Class maps of a submission: PNG files of one band of 8 bits."""

import contextlib
import io
import struct
import zlib
from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from marsbench.base.errors import some
from marsbench.leaderboard.files import Files
from marsbench.leaderboard.runs import MOST_FILE
from marsbench.metrics.masks import Counts, confusion

MOST_PIXELS = 100_000_000
"""Largest number of pixels of a map without a mask to compare its size with."""

_DAMAGED = (
    *(OSError, SyntaxError, EOFError, ValueError, IndexError, struct.error, zlib.error),
    *(Image.DecompressionBombError, Image.DecompressionBombWarning),
)


def read_map(files: Files, name: str, shape: tuple[int, int] | None) -> NDArray[np.uint8]:
    """Read a class map.

    Args:
        files: Files of the submission.
        name: Path of the map.
        shape: Height and width of its mask; None if unknown.

    Returns:
        Class ids, (H, W).

    Raises:
        ValueError: If it is damaged, or of another format or size; the message says so.
    """
    content = files.read(name, MOST_FILE)
    with _reading():
        image = Image.open(io.BytesIO(content), formats=["PNG"])
    # The size is in the header, so a bomb is refused before its pixels are decoded.
    size = image.height, image.width
    if shape is not None and size != shape:
        raise ValueError(f"is {_text(size)} pixels; its mask is {_text(shape)}")
    if size[0] * size[1] > MOST_PIXELS:
        raise ValueError(f"is {_text(size)} pixels; expected up to {MOST_PIXELS:,} in all")
    if image.mode != "L":
        raise ValueError(f"has pixels of mode {image.mode}; expected one band of 8 bits")
    with _reading():
        return np.asarray(image)


@contextlib.contextmanager
def _reading() -> Iterator[None]:
    """Translate the library's errors on damaged files."""
    try:
        yield
    except _DAMAGED as error:
        raise ValueError(f"is not a PNG file: {error}") from error


def _text(size: tuple[int, int]) -> str:
    return f"{size[0]} x {size[1]}"


def count(
    mask: NDArray[np.uint8] | None, classes: NDArray[np.uint8], num_classes: int
) -> Counts | None:
    """Count pixels by true and predicted class, (K, K); None without a mask.

    Raises:
        ValueError: If the map holds other ids than 0 to K - 1.
    """
    if classes.max(initial=0) >= num_classes:
        ids = np.unique(classes[classes >= num_classes])
        raise ValueError(f"holds class {some(map(str, ids))}; expected 0 to {num_classes - 1}")
    return None if mask is None else confusion(mask, classes, num_classes)


def listed(problems: Iterable[tuple[str, str]]) -> str:
    """Problems of maps by name, shortened."""
    return some((f"{name} {problem}" for name, problem in problems), "; ", 3)
