"""Read TIFF, JPEG 2000, PDS3, PDS4 and ISIS3 images by rasterio (GDAL).

Images are read whole or by windows, from local files or memory. GDAL gets a single driver, chosen
by the content, so no file can make GDAL open another format or a network address. Sidecar files
(``.aux.xml``, ``.msk``, ``.ovr``, ``.tfw``) are ignored.
"""

import contextlib
import io
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from marsbench.base import reading
from marsbench.base.errors import DataError
from marsbench.data import pds
from marsbench.data.georeference import OPTIONS, Georeference, quietly, read_georeference

if TYPE_CHECKING:
    import tifffile

TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
"""First bytes of a TIFF or BigTIFF."""

PERCENTILES = (0.5, 99.5)
"""Percentiles of deep images that become 0 and 1."""

_START = pds.LONGEST
"""Bytes at the start of a file that are searched for its format and label."""

_IN_MEMORY = 64 << 20
"""Bytes of pixels above which a file is read by windows."""

_CHUNK = 32 << 20
"""Bytes of pixels read at a time when rows are subsampled."""

_SAMPLED = 4_000_000
"""Largest number of pixels for percentiles; larger images are subsampled."""


class RasterFormat(NamedTuple):
    """A raster format.

    Attributes:
        driver: GDAL's name.
        suffixes: Usual ends of file names.
        mark: Pattern of the first bytes.
        is_labelled: Whether a text label describes the pixels, which may be in another file.
    """

    driver: str
    suffixes: tuple[str, ...]
    mark: re.Pattern[bytes]
    is_labelled: bool = False


FORMATS = (
    RasterFormat("GTiff", (".tif", ".tiff"), re.compile(b"|".join(map(re.escape, TIFF)))),
    RasterFormat(
        "JP2OpenJPEG",
        (".jp2", ".j2k", ".jpx"),
        re.compile(rb"\0\0\0\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51"),
    ),
    RasterFormat("ISIS3", (".cub", ".lbl"), re.compile(rb"\s*Object\s*=\s*IsisCube"), True),
    RasterFormat(
        "PDS4", (".xml", ".lblx"), re.compile(rb"(?s:.{,8192}?)<Product_Observational"), True
    ),
    RasterFormat("PDS", (".img", ".lbl"), re.compile(rb"(?s:.{,256})PDS_VERSION_ID\s*="), True),
)

LABEL_SUFFIXES = tuple(s for form in FORMATS if form.is_labelled for s in form.suffixes)
"""Suffixes shared by labels and unrelated files; the content decides."""


def format_of(start: bytes) -> RasterFormat | None:
    """Detect the raster format from the first bytes; None for other files."""
    return next((form for form in FORMATS if form.mark.match(start)), None)


def start_of(path: Path) -> bytes:
    """Read the first bytes of a file.

    Raises:
        DataError: If it cannot be read.
    """
    try:
        with reading.open_file(path) as file:
            return file.read(_START)
    except OSError as error:
        raise DataError(
            f"{path} cannot be read: {error.strerror or error}.", "Check the path."
        ) from error


def is_raster(path: Path) -> bool:
    """Whether a file is a raster or a raster's label. Data files of labels are neither."""
    try:
        start = start_of(path)
        form = format_of(start)
        if form is not None and form.is_labelled:
            pds.read_label(start, form.driver, str(path))
    except DataError:
        return False
    return form is not None


def companion(path: Path) -> Path | None:
    """Data file of a detached label; None for files with their own pixels."""
    if path.suffix.lower() not in LABEL_SUFFIXES or not path.is_file():
        return None
    start = start_of(path)
    form = format_of(start)
    if form is None or not form.is_labelled:
        return None
    file = pds.data_file(pds.read_label(start, form.driver, str(path)), path)
    return None if file == path else file


@dataclass(frozen=True)
class Raster:
    """An opened image, with the file's description of its numbers.

    Attributes:
        where: Name in error messages.
        pixels: Numbers of the file by rows and columns, (H, W, bands), in memory or on disk.
        alpha: Index of the alpha band, 0 in empty pixels; None without alpha.
        is_alpha_stored: False for the alpha band of the nodata index of a palette.
        nodata: Value of empty pixels; None without nodata.
        geo: Georeference; None if the file has none.
    """

    where: str
    pixels: "NDArray[Any] | Windows"
    alpha: int | None = None
    is_alpha_stored: bool = True
    nodata: float | None = None
    geo: Georeference | None = None

    @property
    def colors(self) -> int:
        """Number of bands beside alpha."""
        return int(self.pixels.shape[2]) - (self.alpha is not None)

    @property
    def has_gaps(self) -> bool:
        """Whether pixels may be empty."""
        has_value = self.alpha is not None or self.nodata is not None
        return has_value or self.pixels.dtype.kind == "f"

    def valid(self, values: NDArray[Any], bands: Sequence[int]) -> NDArray[np.bool_]:
        """Mask of the non-empty pixels, (h, w).

        Args:
            values: A window of `pixels`, (h, w, all bands).
            bands: Bands to look at; a pixel is empty if all of them are nodata or one is NaN.
        """
        valid = np.ones(values.shape[:2], dtype=np.bool_)
        if self.alpha is not None:
            valid &= values[:, :, self.alpha] > 0
        chosen = values[:, :, list(bands)]
        if chosen.dtype.kind == "f":
            valid &= np.isfinite(chosen).all(axis=2)
        if self.nodata is not None and not np.isnan(self.nodata):
            # Pixels are stored with fewer digits than the tag.
            kind = chosen.dtype.type
            nodata = kind(self.nodata) if chosen.dtype.kind == "f" else self.nodata
            valid &= ~(chosen == nodata).all(axis=2)
        return valid

    def limits(self, bands: Sequence[int]) -> tuple[float, float]:
        """Limits of the stretch of deep images: `PERCENTILES` over all bands together.

        Raises:
            DataError: If all pixels are empty.
        """
        height, width, _ = self.pixels.shape
        step = max(1, int(np.ceil(np.sqrt(height * width / _SAMPLED))))
        sample = self.pixels[::step, ::step]
        valid = self.valid(sample, bands)
        if not valid.any():
            raise DataError(f"{self.where} holds no data: every pixel is empty.", "Leave it out.")
        values = sample[:, :, list(bands)][valid].astype(np.float64)
        low, high = np.percentile(values, PERCENTILES)
        return float(low), float(high)


def stretch(values: NDArray[Any], limits: tuple[float, float]) -> NDArray[np.float32]:
    """Scale numbers linearly from the limits to [0, 1], and clip."""
    low, high = limits
    scaled = (values.astype(np.float32) - low) / max(high - low, 1e-12)
    return np.clip(scaled, 0, 1)  # type: ignore[no-any-return]


def open_raster(source: Path | bytes, where: str = "", path: Path | None = None) -> Raster:
    """Open a raster as a picture.

    Palette indices become colours, and numbers of 1 to 7 bits are scaled to 8 bits. Files below
    `_IN_MEMORY` are read at once and closed.

    Args:
        source: Path or content of the file.
        where: Name of the content in error messages.
        path: Path of the content; data files of detached labels lie beside.

    Raises:
        DataError: If the file is damaged, has several pages, or an unknown format.
    """
    where = where or str(source)
    dataset = _open(source, where, path)
    with _gdal(where):
        if _is_stack(dataset):
            return Raster(where, _stacked(source, where))
        space = dataset.tags(ns="IMAGE_STRUCTURE").get("SOURCE_COLOR_SPACE", "")
        if space.endswith("LAB"):
            raise DataError(f"{where} has colours in {space}; expected RGB.", "Save it as RGB.")
        windows = Windows(dataset, where)
        alpha = None
        if windows.shape[2] > 1 and windows.has_alpha:
            alpha = windows.shape[2] - 1
        stored = windows.lut is None
        nodata = dataset.nodata if stored else None
        raster = Raster(where, windows, alpha, stored, nodata, read_georeference(dataset))
    if windows.num_bytes > _IN_MEMORY and isinstance(source, Path):
        return raster
    return replace(raster, pixels=windows[:, :])


def numbers(encoded: bytes, where: str, path: Path | None = None) -> NDArray[Any]:
    """Read the stored numbers of a raster, (H, W, bands); arguments as `open_raster`.

    Raises:
        DataError: As `open_raster`.
    """
    dataset = _open(encoded, where, path)
    with _gdal(where), dataset:
        if _is_stack(dataset):
            return _stacked(encoded, where)
        return np.asarray(np.moveaxis(dataset.read(), 0, 2))


def size(encoded: bytes, where: str, path: Path | None = None) -> tuple[int, int]:
    """Height and width, without reading pixels; arguments and errors as `open_raster`."""
    dataset = _open(encoded, where, path)
    with _gdal(where), dataset:
        if _is_stack(dataset):
            height, width, _ = _stacked(encoded, where).shape
            return height, width
        return dataset.height, dataset.width


def check_claim(claimed: int, held: int, where: str) -> None:
    """Refuse an image with more bytes of pixels than its file can hold compressed.

    A damaged width could otherwise exhaust the memory.

    Raises:
        DataError: If the claim is too large; names the image.
    """
    if claimed > 4096 * held + (64 << 20):
        raise DataError(
            f"{where} is damaged: its header declares {claimed} bytes of pixels, but the file has "
            f"{held} bytes.",
            "Copy or unpack it again.",
        )


@contextlib.contextmanager
def _gdal(where: str) -> Iterator[None]:
    """Set GDAL's options, and convert its errors to `DataError`."""
    import rasterio

    try:
        with rasterio.Env(**OPTIONS):
            yield
    except DataError:
        raise
    except Exception as error:  # damaged tags make GDAL and tifffile raise many types
        reason = str(error.__cause__ or error).rpartition(":")[2].strip(" .")
        raise DataError(
            f"{where} cannot be read: {reason[:200]}.", "Copy it again, or save it as a PNG."
        ) from error


def _open(source: Path | bytes, where: str, path: Path | None) -> Any:
    """Open a data set with the driver of its format, and check the size of its files."""
    import rasterio

    start = start_of(source) if isinstance(source, Path) else source[:_START]
    form = format_of(start)
    if form is None:
        raise DataError(
            f"{where} is not a TIFF, JPEG 2000, PDS or ISIS image.", "Save it as a TIFF."
        )
    own = path if isinstance(source, bytes) else source
    first, held = 0, len(source) if isinstance(source, bytes) else source.stat().st_size
    if form.is_labelled:
        label = pds.read_label(start, form.driver, where)
        first = label.start
        if label.file is not None:
            if own is None:
                raise DataError(f"{where} is a label without its data file.", "Save it as a TIFF.")
            source, held = own, pds.data_file(label, own).stat().st_size
    with _gdal(where):
        with quietly():
            content = source.absolute() if isinstance(source, Path) else io.BytesIO(source)
            dataset = rasterio.open(content, driver=form.driver, sharing=False)
        if own is not None and isinstance(source, Path):
            pds.check_folder(dataset.files, own)
        claimed = math.prod((dataset.height, dataset.width, dataset.count))
        claimed *= np.dtype(dataset.dtypes[0]).itemsize
        if isinstance(source, bytes):  # others are read by windows
            check_claim(claimed, held, where)
        if form.is_labelled and first + claimed > held:
            # GDAL returns zeros for missing rows.
            raise DataError(
                f"{where} is damaged: its data end after {held} of {first + claimed} bytes.",
                "Copy it again.",
            )
    return dataset


class Windows:
    """Pixels of an open data set, (H, W, bands), read on indexing with two slices.

    Attributes:
        lut: Lookup table of a single band, (256, bands); None to keep the numbers.
        has_alpha: Whether the last band is alpha.
        num_bytes: Bytes of all pixels.
    """

    def __init__(self, dataset: Any, where: str) -> None:
        from rasterio.enums import ColorInterp

        self._dataset, self._where = dataset, where
        self.lut = _lookup(dataset)
        bands = dataset.count if self.lut is None else self.lut.shape[1]
        self.shape: tuple[int, int, int] = (dataset.height, dataset.width, bands)
        self.dtype: np.dtype[Any] = np.dtype(dataset.dtypes[0])
        self.has_alpha = (
            dataset.colorinterp[-1] is ColorInterp.alpha if self.lut is None else bands in (2, 4)
        )
        self.num_bytes = math.prod(self.shape) * self.dtype.itemsize

    def __getitem__(self, window: tuple[slice, slice]) -> NDArray[Any]:
        rows, columns = (range(n)[s] for n, s in zip(self.shape, window, strict=False))
        if not rows or not columns:
            return np.zeros((len(rows), len(columns), self.shape[2]), self.dtype)
        if rows.step == 1:
            return self._read(rows, columns)
        spanned = rows.step * (columns[-1] + 1 - columns[0]) * self.shape[2] * self.dtype.itemsize
        count = max(1, _CHUNK // spanned)
        parts = [rows[i : i + count] for i in range(0, len(rows), count)]
        # A view would keep the skipped rows and columns in memory.
        return np.concatenate([self._read(part, columns).copy() for part in parts])

    def _read(self, rows: range, columns: range) -> NDArray[Any]:
        from rasterio.windows import Window

        height, width = rows[-1] + 1 - rows[0], columns[-1] + 1 - columns[0]
        window = Window(columns[0], rows[0], width, height)
        with _gdal(self._where):
            values: NDArray[Any] = np.moveaxis(self._dataset.read(window=window), 0, 2)
        values = values[:: rows.step, :: columns.step]
        return values if self.lut is None else self.lut[values[:, :, 0]]


def _lookup(dataset: Any) -> NDArray[np.uint8] | None:
    """Lookup table to colours (256, 3) or greys (256, 1), plus alpha if nodata is set."""
    if dataset.count > 1 or dataset.dtypes[0] != "uint8":
        return None
    bits = int(dataset.tags(1, ns="IMAGE_STRUCTURE").get("NBITS", 8))
    try:
        colors = dataset.colormap(1)
    except ValueError:
        if bits == 8:
            return None
        colors = {i: (255 * i // (2**bits - 1),) * 3 for i in range(2**bits)}
    lut = np.zeros((256, 3), dtype=np.uint8)
    for index, color in colors.items():
        lut[index] = color[:3]
    if (lut == lut[:, :1]).all():
        lut = lut[:, :1]
    if dataset.nodata is None:
        return lut
    alpha = np.where(np.arange(256) == dataset.nodata, 0, 255).astype(np.uint8)
    return np.column_stack([lut, alpha])


def _is_stack(dataset: Any) -> bool:
    """Whether a TIFF has several pages, besides previews and masks."""
    if dataset.driver != "GTiff":
        return False
    text = dataset.tags().get("TIFFTAG_IMAGEDESCRIPTION", "")
    shape = re.match(r'\{"shape": \[([\d, ]+)\]', text)
    pixels = math.prod(map(int, shape[1].split(","))) if shape else 0
    # Listing many pages is slow.
    return pixels > dataset.width * dataset.height * dataset.count or bool(dataset.subdatasets)


def _stacked(source: Path | bytes, where: str) -> NDArray[Any]:
    """Read the pages of a TIFF as bands, (H, W, bands).

    tifffile reads the 128 pages of an mmls image in 1 ms, GDAL in 400 ms.
    """
    import tifffile

    with tifffile.TiffFile(source if isinstance(source, Path) else io.BytesIO(source)) as file:
        stacks = [
            s
            for s in file.series
            if len(s.shape) >= 2 and not s.keyframe.is_reduced and not s.keyframe.is_mask
        ]
        if not stacks:
            raise ValueError("it holds no pixels")
        axes, shape = _axes(stacks[0])
        if len(stacks) > 1 or set(axes) - set("YXSC"):
            own = math.prod(n for axis, n in zip(axes, shape, strict=True) if axis not in "YXSC")
            page = stacks[0].keyframe
            raise DataError(
                f"{where} holds several pages: {len(stacks) - 1 + own}, of {page.imagelength} x "
                f"{page.imagewidth} (height x width).",
                "Save it with one page.",
            )
        dtype = np.dtype(stacks[0].dtype)
        held = source.stat().st_size if isinstance(source, Path) else len(source)
        check_claim(math.prod(shape) * dtype.itemsize, held, where)
        values = stacks[0].asarray().reshape(shape)
    values = values.transpose([axes.index(axis) for axis in "YXSC" if axis in axes])
    return values.reshape(*values.shape[:2], -1)


def _axes(series: "tifffile.TiffPageSeries") -> tuple[str, tuple[int, ...]]:
    """Names and lengths of the axes, without axes of length 1 besides rows and columns."""
    kept = [
        (axis, int(n))
        for axis, n in zip(series.axes, series.shape, strict=True)
        if n > 1 or axis in "YX"
    ]
    axes, shape = "".join(axis for axis, _ in kept), tuple(n for _, n in kept)
    if axes in ("QYX", "IYX") and shape[2] < min(shape[:2]):
        # A page per row of the image with a column per band: tools write an array (H, W, bands) as
        # a stack of pages, such as the images of mmls.
        return "YXS", shape
    return axes, shape
