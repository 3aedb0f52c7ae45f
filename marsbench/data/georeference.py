"""Georeferences of images, and georeferenced outputs."""

import contextlib
import threading
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from affine import Affine
    from rasterio.control import GroundControlPoint
    from rasterio.crs import CRS

_opening = threading.Lock()
"""Held while a file is opened: warning filters are global."""

OPTIONS = {
    "GDAL_CACHEMAX": 256,  # MB of decoded blocks, for all files together
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    "GDAL_PAM_ENABLED": "NO",
    "CPL_VSIL_CURL_ALLOWED_EXTENSIONS": ".none",
}
"""Settings of GDAL: bounded memory, no files beside an image, no network."""


@dataclass(frozen=True)
class Georeference:
    """Georeference of an image.

    Attributes:
        crs: Coordinate reference system; None if missing.
        transform: Affine map from column and row, counted from the image's corner, to map
            coordinates; None if missing.
        gcps: Ground control points.
    """

    crs: "CRS | None"
    transform: "Affine | None"
    gcps: "tuple[GroundControlPoint, ...]" = ()

    def bounds(self, box: Sequence[float]) -> list[float] | None:
        """Bounds of a box in map coordinates.

        Args:
            box: Left, top, right and bottom in pixels.

        Returns:
            xmin, ymin, xmax and ymax; None without a transform.
        """
        if self.transform is None:
            return None
        left, top, right, bottom = box
        corners = [(x, y, 1.0) for x in (left, right) for y in (top, bottom)]
        on_map = np.array(corners) @ np.array(self.transform[:6]).reshape(2, 3).T
        return [*on_map.min(axis=0).tolist(), *on_map.max(axis=0).tolist()]

    def decimated(self, step: int) -> "Georeference":
        """Georeference of every `step`-th row and column."""
        from affine import Affine
        from rasterio.control import GroundControlPoint

        transform = self.transform
        if transform is not None:
            a, b, c, d, e, f = transform[:6]
            transform = Affine(a * step, b * step, c, d * step, e * step, f)
        gcps = [
            GroundControlPoint(p.row / step, p.col / step, p.x, p.y, p.z, p.id, p.info)
            for p in self.gcps
        ]
        return Georeference(self.crs, transform, tuple(gcps))


def read_georeference(dataset: Any) -> Georeference | None:
    """Read the georeference of a rasterio data set; None if missing."""
    gcps, crs = dataset.gcps
    transform = None if dataset.transform.is_identity else dataset.transform
    crs = dataset.crs or crs
    if crs is None and transform is None and not gcps:
        return None
    return Georeference(crs, transform, tuple(gcps))


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Suppress rasterio's NotGeoreferencedWarning while a file is opened."""
    from rasterio.errors import NotGeoreferencedWarning

    with _opening, warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        yield


@contextlib.contextmanager
def create(
    path: Path, size: tuple[int, int], bands: int, geo: Georeference, nodata: int | None = None
) -> Iterator[Any]:
    """Create an 8-bit GeoTIFF, and yield rasterio's writer.

    Args:
        path: File to write.
        size: Height and width.
        bands: Number of bands; three are red, green and blue.
        geo: Georeference.
        nodata: Value of empty pixels.

    Raises:
        OSError: If the file cannot be written.
    """
    import rasterio
    from rasterio._err import CPLE_BaseError

    height, width = size
    profile = {
        "driver": "GTiff",
        "height": height,
        "width": width,
        "count": bands,
        "dtype": "uint8",
        "nodata": nodata,
        "crs": geo.crs,
        "transform": geo.transform,
        "compress": "deflate",
        "bigtiff": "if_safer",
    }
    if geo.gcps:
        profile["gcps"] = list(geo.gcps)
    try:
        with rasterio.Env(**OPTIONS):
            with quietly():
                writer = rasterio.open(path, "w", **profile)
            with writer:
                yield writer
            # GDAL does not report a full disk on closing: read the last row back.
            with quietly():
                written = rasterio.open(path)
            with written:
                written.read(window=((height - 1, height), (0, width)))
    except CPLE_BaseError as error:  # not an OSError
        raise OSError(str(error)) from error
