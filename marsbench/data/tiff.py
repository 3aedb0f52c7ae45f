"""Sizes and numbers of TIFFs, whose bands may stand beside or after one another, or be pages."""

import contextlib
import io
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from marsbench.base.errors import DataError

if TYPE_CHECKING:
    import tifffile

SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
"""How a TIFF begins."""

_BITS_PER_SAMPLE = 258
"""Number of a tag."""

_BANDS = "SC"
"""Axes of bands, as tifffile names them: samples of a pixel, and channels on pages of their own."""


def check_claim(claimed: int, encoded: bytes, where: str) -> None:
    """Refuse an image that claims more bytes of pixels than its file can hold packed.

    One damaged byte of a width would else occupy all memory.

    Raises:
        DataError: Names the image.
    """
    if claimed > 4096 * len(encoded) + (64 << 20):
        raise DataError(
            f"{where} is damaged: it claims {claimed} bytes of pixels in a file of "
            f"{len(encoded)} bytes.",
            "Unpack the data again.",
        )


def size(encoded: bytes, where: str) -> tuple[int, int]:
    """Height and width from the tags alone.

    Raises:
        DataError: If it is damaged; names it.
    """
    with _opened(encoded, where) as (series, _):
        lengths = dict(zip(*axes_of(series), strict=True))
        return lengths["Y"], lengths["X"]


def numbers(encoded: bytes, where: str) -> NDArray[Any]:
    """Numbers as they stand in the file, of shape (H, W) or (H, W, bands).

    Raises:
        DataError: If it is damaged, or of several pages that are no bands; names it.
    """
    with _opened(encoded, where) as (series, others):
        axes, shape = axes_of(series)
        if others or set(axes) - set(f"YX{_BANDS}"):
            pages = math.prod(n for axis, n in zip(axes, shape, strict=True) if axis not in "YXSC")
            raise DataError(
                f"{where} holds several pages: {others + pages}, of {series.keyframe.imagelength} "
                f"x {series.keyframe.imagewidth} (height x width).",
                "Save it with one page.",
            )
        try:
            values: NDArray[Any] = series.asarray().reshape(shape)
        except Exception as error:
            # Some compressions, such as LZW, tifffile leaves to another package; PIL has them.
            if "imagecodecs" not in str(error) or (found := by_pil(encoded)) is None:
                raise
            if found.shape[:2] != (shape[axes.index("Y")], shape[axes.index("X")]):
                raise
            return found
        return values.transpose([axes.index(axis) for axis in f"YX{_BANDS}" if axis in axes])


@contextlib.contextmanager
def _opened(encoded: bytes, where: str) -> Iterator[tuple["tifffile.TiffPageSeries", int]]:
    """Give what is in the file, and how many things more; previews are left out.

    Raises:
        DataError: For whatever goes wrong meanwhile.
    """
    import tifffile

    try:
        with tifffile.TiffFile(io.BytesIO(encoded)) as file:
            first = file.pages.first
            check_claim(claimed_bytes(first.shape, first.dtype), encoded, where)
            found = [s for s in file.series if len(s.shape) >= 2 and not s.keyframe.is_reduced]
            if not found:
                # What tifffile makes of a file cut short before its directory.
                raise ValueError("it holds no pixels")
            check_claim(sum(claimed_bytes(s.shape, s.dtype) for s in found), encoded, where)
            yield found[0], len(found) - 1
    except DataError:
        raise
    # Damaged tags make tifffile raise nearly anything.
    except Exception as error:
        raise DataError(
            f"{where} cannot be read: {error}.", "Unpack the data again, or save it as a PNG."
        ) from error


def claimed_bytes(shape: tuple[int, ...], dtype: "np.dtype[Any] | None") -> int:
    """Bytes of numbers of a shape and type."""
    return math.prod(map(int, shape)) * (8 if dtype is None else dtype.itemsize)


def axes_of(series: "tifffile.TiffPageSeries") -> tuple[str, tuple[int, ...]]:
    """Names and lengths of the axes that are rows, columns or longer than 1."""
    kept = [
        (axis, int(n))
        for axis, n in zip(series.axes, series.shape, strict=True)
        if n > 1 or axis in "YX"
    ]
    axes, shape = "".join(axis for axis, _ in kept), tuple(n for _, n in kept)
    if axes in ("QYX", "IYX") and shape[2] < min(shape[:2]):
        # A page for each row of the image, and in it a column for each band, as tools write it
        # that take an array of (H, W, bands) for a stack of pages: so does mmls.
        return "YXS", shape
    return axes, shape


def by_pil(encoded: bytes) -> NDArray[Any] | None:
    """Numbers of a TIFF by PIL; None where it would change them, or cannot read it."""
    try:
        with Image.open(io.BytesIO(encoded)) as opened:
            bits = set(opened.tag_v2.get(_BITS_PER_SAMPLE, (1,)))  # type: ignore[attr-defined]
            # Grey of 2 or 4 bits is stretched to 8, colours of 16 are cut, further pages left out.
            whole = bits == {8} or (opened.mode != "RGB" and not bits & {2, 4})
            return np.asarray(opened) if whole and getattr(opened, "n_frames", 1) == 1 else None
    except (OSError, ValueError, TypeError, SyntaxError, Image.DecompressionBombError):
        return None
