"""Open TIFF, JPEG 2000, 16-bit PNG, PDS3, PDS4 and ISIS3 images by rasterio (GDAL).

Images are read whole or by windows, from local files or memory. GDAL gets a single driver, chosen
by the content, so no file can make GDAL open another format or a network address. Of the sidecar
files, ``.msk`` is read and ``.aux.xml``, ``.ovr`` and ``.tfw`` are ignored.
"""

import contextlib
import io
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal

import numpy as np
from numpy.typing import NDArray

from marsbench.base.errors import DataError
from marsbench.base.names import display_name
from marsbench.base.reading import read_bytes
from marsbench.data import pds
from marsbench.data.formats import (
    RasterFormat,
    check_claim,
    format_of,
    mask_beside,
    refusal,
    start_of,
    start_of_source,
)
from marsbench.data.georeference import OPTIONS, quietly
from marsbench.data.pictures import png_orientation
from marsbench.data.special import Special, isis, of_label, of_numbers

if TYPE_CHECKING:
    import tifffile

_CHUNK = 32 << 20
"""Bytes of pixels read at a time when rows are subsampled."""


@dataclass(frozen=True)
class Opened:
    """An open data set.

    Attributes:
        dataset: The data set of rasterio.
        form: Its format.
        label: Label of PDS and ISIS images; None for others.
        mask: Open data set of the external mask; None if missing.
    """

    dataset: Any
    form: RasterFormat
    label: pds.Label | None = None
    mask: Any = None

    @property
    def special(self) -> Special:
        """Special numbers of the pixels."""
        dtype = self.dataset.dtypes[0]
        nodata = [value for value in self.dataset.nodatavals if value is not None]
        if self.form.driver == "ISIS3" or self.dataset.tags(ns="json:ISIS3"):
            return isis(dtype)
        stated = None if self.label is None else of_label(dtype, self.label.constants)
        return of_numbers(dtype, nodata) if stated is None else stated


@contextlib.contextmanager
def gdal(where: str, form: RasterFormat | None = None) -> Iterator[None]:
    """Set GDAL's options, and convert its errors to `DataError`."""
    import rasterio

    try:
        with rasterio.Env(**OPTIONS):
            yield
    except DataError:
        raise
    except Exception as error:  # damaged tags make GDAL and tifffile raise many types
        # Names of files in front of the reason are those of GDAL's memory.
        reason = str(error.__cause__ or error).rpartition(":")[2].rpartition("' ")[2].strip(" .*")
        name = form.name if form is not None else "a raster"
        remedy = "Copy it again, or save it as a PNG."
        if form is not None and form.is_labelled:
            remedy = "Check its label, or convert it to a GeoTIFF (gdal_translate, isis2std)."
        raise DataError(
            f"{where} cannot be read as {name}: GDAL: {reason[:200]}.", remedy
        ) from error


def open_source(source: Path | bytes, where: str, path: Path | None) -> Opened:
    """Open a data set with the driver of its format, and check the size of its files.

    Args:
        source: Path or content of the file.
        where: Name of the content in error messages.
        path: Path of the content; data files of detached labels and masks lie beside.

    Raises:
        DataError: If the file is damaged or incomplete, of an unknown format, or of numbers that
            GDAL misreads.
    """
    start = start_of_source(source)
    form = format_of(start)
    if form is None:
        raise refusal(start, where)
    own = path if isinstance(source, bytes) else source
    content, held = source, len(source) if isinstance(source, bytes) else source.stat().st_size
    label = pds.read_label(start, form.driver, where) if form.is_labelled else None
    if label is not None and label.file is not None:
        if own is None:
            raise DataError(f"{where} is a label without its data file.", "Save it as a TIFF.")
        content, held = own, pds.data_file(label, own).stat().st_size
    elif isinstance(content, Path):
        content = _takeable(content)
    with gdal(where, form):
        dataset = _open(content, form.driver)
        if own is not None and isinstance(content, Path):
            pds.check_folder(dataset.files, own)
        claimed = math.prod((dataset.height, dataset.width, dataset.count))
        claimed *= np.dtype(dataset.dtypes[0]).itemsize
        if isinstance(content, bytes) or form.driver == "PNG":  # others are read by windows
            check_claim(claimed, held, where)
        if label is not None and label.start + claimed > held:
            # GDAL returns zeros for missing rows.
            raise DataError(
                f"{where} is damaged: its data end after {held} of {label.start + claimed} bytes.",
                "Copy it again.",
            )
    beside = None if own is None else mask_beside(str(own))
    mask = None if beside is None else _open_mask(beside, (dataset.height, dataset.width))
    return Opened(dataset, form, label, mask)


def _takeable(path: Path) -> Path | bytes:
    """A path that GDAL takes, else the content of its file: GDAL's paths are UTF-8."""
    is_utf8 = display_name(path.absolute()) == str(path.absolute())
    return path if is_utf8 else read_bytes(path)


def _open(content: Path | bytes, driver: str) -> Any:
    import rasterio

    with quietly():
        file = content.absolute() if isinstance(content, Path) else io.BytesIO(content)
        return rasterio.open(file, driver=driver, sharing=False)


def _open_mask(path: Path, size: tuple[int, int]) -> Any:
    """Open GDAL's external mask of an image of a size (height, width)."""
    form = format_of(start_of(path))
    if form is None or form.driver != "GTiff":
        raise DataError(
            f"{path} is not a TIFF; expected a mask of the image beside it.",
            "Remove or rename it if it is no mask.",
        )
    with gdal(str(path), form):
        mask = _open(_takeable(path), form.driver)
    if (mask.height, mask.width) != size:
        raise DataError(
            f"{path} is {mask.height} x {mask.width} pixels; its image is {size[0]} x {size[1]}.",
            "Remove it if it is no mask of this image, or make it anew.",
        )
    return mask


def external_mask(path: Path, size: tuple[int, int]) -> NDArray[np.bool_] | None:
    """Pixels with data by the mask beside an image, (H, W); None without a mask.

    Raises:
        DataError: If the mask is no TIFF, or of another size than the image (height, width).
    """
    beside = mask_beside(str(path))
    if beside is None:
        return None
    mask = _open_mask(beside, size)
    with gdal(str(beside)), mask:
        return np.asarray((mask.read() > 0).any(axis=0))


class Windows:
    """Pixels of an open data set, (H, W, bands), read on indexing with two slices.

    Masks in the file and beside it become an alpha band behind the others, 0 in empty pixels.

    Args:
        opened: The data set.
        where: Name in error messages.
        as_stored: Whether to keep indices of palettes and numbers of 1 to 7 bits.
        bands: Bands of images of more than three; alpha among as many is data, except in PNGs.

    Attributes:
        lut: Lookup table of 8-bit numbers, (256, bands); None to keep the numbers.
        has_alpha: Whether the last band is alpha.
        num_bytes: Bytes of all pixels.
    """

    def __init__(
        self, opened: Opened, where: str, as_stored: bool = False, bands: int | None = None
    ) -> None:
        from rasterio.enums import ColorInterp, MaskFlags

        dataset = opened.dataset
        self._dataset, self._mask, self._where = dataset, opened.mask, where
        self._form = opened.form
        self.lut = None if as_stored else _lookup(dataset)
        self._is_masked = dataset.mask_flag_enums[0] == [MaskFlags.per_dataset]
        stored = dataset.count if self.lut is None else max(self.lut.shape[1], dataset.count)
        is_data = stored == bands and opened.form.driver != "PNG"
        self._has_alpha = (stored > 1 and not is_data) and (
            dataset.colorinterp[-1] is ColorInterp.alpha
            if self.lut is None or dataset.count > 1
            else stored in (2, 4)
        )
        self._adds_alpha = not self._has_alpha and (self._is_masked or self._mask is not None)
        self.has_alpha = self._has_alpha or self._adds_alpha
        self.shape: tuple[int, int, int] = (
            dataset.height,
            dataset.width,
            stored + self._adds_alpha,
        )
        self.dtype: np.dtype[Any] = np.dtype(dataset.dtypes[0])
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
        with gdal(self._where, self._form):
            values: NDArray[Any] = np.moveaxis(self._dataset.read(window=window), 0, 2)
            has_data = self._has_data(window)
        if self.lut is not None:
            values = self.lut[values[:, :, 0]] if values.shape[2] == 1 else self.lut[values, 0]
        if has_data is not None:
            alpha = has_data[:, :, None].astype(values.dtype)
            if not self._adds_alpha:
                alpha *= values[:, :, -1:]
                values = values[:, :, :-1]
            values = np.concatenate([values, alpha], axis=2)
        return values[:: rows.step, :: columns.step]

    def _has_data(self, window: Any) -> "NDArray[np.bool_] | None":
        """Pixels with data by the masks, (h, w); None without masks."""
        masks = []
        if self._is_masked:
            masks.append(self._dataset.read_masks(1, window=window) > 0)
        if self._mask is not None:
            masks.append((self._mask.read(window=window) > 0).any(axis=0))
        return np.logical_and.reduce(masks) if masks else None


def _lookup(dataset: Any) -> NDArray[np.uint8] | None:
    """Lookup table to colours (256, 3) or greys (256, 1), plus alpha if nodata is set.

    For several bands of 1 to 7 bits the table is (256, 1) and holds for each band.
    """
    if dataset.dtypes[0] != "uint8":
        return None
    bits = int(dataset.tags(1, ns="IMAGE_STRUCTURE").get("NBITS", 8))
    greys = {i: (255 * i // (2**bits - 1),) * 3 for i in range(2**bits)}
    try:
        colors = dataset.colormap(1) if dataset.count == 1 else greys
    except ValueError:
        colors = greys
    if colors is greys and bits == 8:
        return None
    lut = np.zeros((256, 3), dtype=np.uint8)
    for index, color in colors.items():
        lut[index] = color[:3]
    if (lut == lut[:, :1]).all():
        lut = lut[:, :1]
    if dataset.nodata is None or dataset.count > 1:
        return lut
    alpha = np.where(np.arange(256) == dataset.nodata, 0, 255).astype(np.uint8)
    return np.column_stack([lut, alpha])


def is_stack(dataset: Any) -> bool:
    """Whether a TIFF has several pages, besides previews and masks."""
    if dataset.driver != "GTiff":
        return False
    text = dataset.tags().get("TIFFTAG_IMAGEDESCRIPTION", "")
    shape = re.match(r'\{"shape": \[([\d, ]+)\]', text)
    pixels = math.prod(map(int, shape[1].split(","))) if shape else 0
    # Listing many pages is slow.
    return pixels > dataset.width * dataset.height * dataset.count or bool(dataset.subdatasets)


def stacked(source: Path | bytes, where: str) -> NDArray[Any]:
    """Read the pages of a TIFF as bands, (H, W, bands).

    tifffile reads the 128 pages of an mmls image in 1 ms, GDAL in 400 ms.

    Raises:
        DataError: If the pages are several images, or have a mask.
    """
    import tifffile

    with tifffile.TiffFile(source if isinstance(source, Path) else io.BytesIO(source)) as file:
        if any(s.keyframe.is_mask for s in file.series):
            raise DataError(
                f"{where} holds several pages and a mask.", "Save it with one page and a mask."
            )
        stacks = [s for s in file.series if len(s.shape) >= 2 and not s.keyframe.is_reduced]
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


def orientation_of(source: Path | bytes, form: RasterFormat, where: str) -> int:
    """Orientation of an image, 1 to 8, which GDAL ignores; 1 is upright.

    Raises:
        DataError: If a PNG is damaged or an animation.
    """
    if form.driver == "PNG":
        return png_orientation(source, where)
    if form.driver != "GTiff":
        return 1
    pages = tiff_pages(source, 1) or [{}]
    orientation = pages[0].get(_ORIENTATION, 1)
    return orientation if orientation in range(1, 9) else 1


_ORIENTATION = 274


def tiff_pages(source: Path | bytes, most: int) -> list[dict[int, int]]:
    """Tags of the first pages of a TIFF: whole numbers by tag, 0 for tags of other values.

    Of bits and kinds of numbers, which are given for each band, the first band counts.

    Args:
        source: Path or content of the file; damaged pages are left out.
        most: Largest number of pages.
    """
    pages: list[dict[int, int]] = []
    with source.open("rb") if isinstance(source, Path) else io.BytesIO(source) as file:
        head = file.read(16)
        order: Literal["little", "big"] = "little" if head[:2] == b"II" else "big"
        is_big = b"+" in head[2:4]
        width, count_width, entry = (8, 8, 20) if is_big else (4, 2, 12)
        at = int.from_bytes(head[8:16] if is_big else head[4:8], order)
        while 0 < at < 1 << 62 and len(pages) < most:
            file.seek(at)
            count = int.from_bytes(file.read(count_width), order)
            entries = file.read(min(count, 1 << 12) * entry)
            after = file.tell()
            pages.append(_tags(file, entries, entry, width, order))
            file.seek(after)
            at = int.from_bytes(file.read(width), order)
    return pages


_OF_BANDS = (258, 339)
"""Tags of bits and kinds of numbers."""


def _tags(
    file: BinaryIO, entries: bytes, size: int, width: int, order: Literal["little", "big"]
) -> dict[int, int]:
    """Tags of a page from its entries of `size` bytes, with counts of `width` bytes."""
    tags = {}
    for at in range(0, len(entries) - size + 1, size):
        tag, kind = (int.from_bytes(entries[at + i : at + i + 2], order) for i in (0, 2))
        place = at + 4 + width
        count = int.from_bytes(entries[at + 4 : place], order)
        length = {3: 2, 4: 4}.get(kind, 0) if count == 1 or tag in _OF_BANDS else 0
        value = entries[place : place + length]  # 16 or 32 bits
        if length * count > width:
            file.seek(min(int.from_bytes(entries[place : place + width], order), 1 << 62))
            value = file.read(length)
        tags[tag] = int.from_bytes(value, order)
    return tags
