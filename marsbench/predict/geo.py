"""Where on the ground the pixels of a TIFF lie, carried from tags to tags."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import tifffile

PIXEL_SCALE, TIEPOINT, TRANSFORMATION = 33550, 33922, 34264
KEYS, DOUBLES, ASCII = 34735, 34736, 34737
NODATA = 42113
"""Numbers of the tags of GeoTIFF (https://docs.ogc.org/is/19-008r4), and GDAL's own."""

_CARRIED = (PIXEL_SCALE, TIEPOINT, TRANSFORMATION, KEYS, DOUBLES, ASCII)
_RASTER_TYPE, _PIXEL_IS_POINT = 1025, 2

ExtraTag = tuple[int, int, int, Any, bool]
"""A tag as tifffile writes it: code, type, count, value, and whether it is of one page alone."""


@dataclass(frozen=True)
class Georeference:
    """The tags that say where an image lies, as they stand in its file.

    Attributes:
        tags: What `tifffile.imwrite` takes as ``extratags``.
    """

    tags: tuple[ExtraTag, ...]

    def _value(self, code: int) -> tuple[float, ...] | None:
        for tag in self.tags:
            if tag[0] == code:
                return tag[3] if isinstance(tag[3], tuple) else (tag[3],)
        return None

    @property
    def affine(self) -> NDArray[np.float64] | None:
        """From a pixel's column and row to map coordinates, (2, 3); None where tags give none.

        Columns and rows count from the image's corner, so the first pixel is 0 to 1.
        """
        matrix, scale, tie = map(self._value, (TRANSFORMATION, PIXEL_SCALE, TIEPOINT))
        if matrix is not None and len(matrix) == 16:
            affine = np.array(matrix, dtype=np.float64).reshape(4, 4)[:2, [0, 1, 3]]
        elif scale is not None and tie is not None and len(tie) == 6 and len(scale) >= 2:
            column, row, _, x, y, _ = tie
            east, south = scale[:2]
            affine = np.array([[east, 0.0, x - column * east], [0.0, -south, y + row * south]])
        else:
            return None  # such as points of control, which need a fit
        if self._pixel_is_point:
            # Their coordinates are those of a pixel's centre.
            affine[:, 2] -= 0.5 * (affine[:, 0] + affine[:, 1])
        return affine

    @property
    def _pixel_is_point(self) -> bool:
        keys = self._value(KEYS) or ()
        entries = [keys[i : i + 4] for i in range(4, len(keys) - 3, 4)]
        return any(e[0] == _RASTER_TYPE and e[3] == _PIXEL_IS_POINT for e in entries)

    def bounds(self, box: Sequence[float]) -> list[float] | None:
        """Least and largest map coordinates of a box, in the unit of the map.

        Args:
            box: Left, top, right and bottom in pixels.

        Returns:
            xmin, ymin, xmax and ymax; None where the tags give no transformation.
        """
        affine = self.affine
        if affine is None:
            return None
        left, top, right, bottom = box
        corners = np.array([[x, y, 1.0] for x in (left, right) for y in (top, bottom)])
        found = corners @ affine.T
        return [*found.min(axis=0).tolist(), *found.max(axis=0).tolist()]


def read_georeference(page: "tifffile.TiffPage") -> Georeference | None:
    """Read the tags of a page; None where it has no georeference."""
    tags = tuple(
        (code, int(tag.dtype), int(tag.count), tag.value, True)
        for code in _CARRIED
        if (tag := page.tags.get(code)) is not None
    )
    return Georeference(tags) if tags else None


def read_nodata(page: "tifffile.TiffPage") -> float | None:
    """Read GDAL's value of pixels that hold nothing; None where there is none."""
    tag = page.tags.get(NODATA)
    try:
        return None if tag is None else float(str(tag.value).strip("\0 "))
    except ValueError:
        return None
