"""New images: found, opened without copying them, and handed out part by part in [0, 1]."""

import contextlib
import os
import threading
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from marsbench.base.errors import DataError
from marsbench.config.schema import Bands
from marsbench.data import decode, tiff
from marsbench.data.rows import Pixels
from marsbench.data.samples import SMALLEST
from marsbench.data.sources.annotations import AFTER, BEFORE, second_of_pair
from marsbench.predict.geo import Georeference, read_georeference, read_nodata
from marsbench.tasks.spec import Decode, TaskSpec

SUFFIXES = (".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".tif", ".tiff", ".bmp", ".gif", ".webp")
"""What files of a folder are images; a file that is named is opened whatever it is called."""

PERCENTILES = (0.5, 99.5)
"""Of images deeper than 8 bits: what becomes 0 and 1."""

_SAMPLED = 4_000_000
"""Numbers that percentiles are taken of; of larger images every so many-th row and column."""

_IN_MEMORY = 256 << 20
"""Bytes of pixels above which a TIFF that has to be unpacked is unpacked to a temporary file."""

_ROWS = 1024
"""Rows looked at together where a whole image has to be."""

_EXTRA_SAMPLES = 338
_ALPHA = (1, 2)
"""Number of the TIFF tag that says what bands beyond the colours are, and its values for alpha."""

_pil_limit = threading.Lock()


@dataclass(frozen=True)
class Item:
    """One image to predict.

    Attributes:
        path: Its file; of a pair, the one before.
        name: Its path below the folder that was named, or its own name.
        after: The later image of a pair.
    """

    path: Path
    name: str
    after: Path | None = None


def find_images(given: Sequence[Path], task: TaskSpec, skip: Path) -> list[Item]:
    """List the images of files and folders, each once.

    Args:
        given: Files and folders; folders are searched to the bottom.
        task: The task: where its images are pairs, the second of each is left to the first.
        skip: Folder whose images are left out: what is written here is not read again.

    Raises:
        DataError: If a path does not exist, or there is no image.
    """
    found: dict[Path, Item] = {}
    for path in given:
        if not path.exists():
            raise DataError(f"There is no file or folder {path}.", "Correct the path.")
        for file in _images_of(path, skip) if path.is_dir() else [path]:
            name = file.relative_to(path).as_posix() if path.is_dir() else file.name
            found.setdefault(file.resolve(), Item(file, name))
    if not found:
        raise DataError(
            f"No images in {', '.join(map(str, given))}.",
            f"Name images, or folders with files that end in {' '.join(SUFFIXES)}.",
        )
    items = list(found.values())
    if task.decode is not Decode.PAIR_LABEL:
        return items
    seconds = {second_of_pair(i.path).resolve() for i in items if BEFORE in i.path.name}
    return [
        Item(i.path, i.name, second_of_pair(i.path)) if BEFORE in i.path.name else i
        for i in items
        if BEFORE in i.path.name or i.path.resolve() not in seconds
    ]


def _images_of(folder: Path, skip: Path) -> Iterator[Path]:
    skip = skip.resolve()
    for path in sorted(folder.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if hidden or path.suffix.lower() not in SUFFIXES or not path.is_file():
            continue
        if not path.resolve().is_relative_to(skip):
            yield path


@dataclass(frozen=True)
class Picture:
    """An opened image.

    Attributes:
        stored: Pixels as they stand in the file, (H, W, bands), perhaps still on disk.
        bands: Which of the bands the model sees.
        repeated: How often a grey band is repeated.
        scaled: Numbers that become 0 and 1; None where pixels are of 8 bits, or in [0, 1] already.
        alpha: Band that is 0 where there is no image; None without one.
        nodata: Number of pixels that hold nothing; None without one.
        geo: Where the image lies; None where the file does not say.
        note: How its numbers were made, where it was made of several files.
    """

    stored: NDArray[Any]
    bands: tuple[int, ...]
    repeated: int = 1
    scaled: tuple[float, float] | None = None
    alpha: int | None = None
    nodata: float | None = None
    geo: Georeference | None = None
    note: str | None = None

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.stored.shape[0], self.stored.shape[1]

    @property
    def scaling(self) -> str:
        """How numbers of the file became the model's, for people."""
        if self.note is not None:
            return self.note
        if self.scaled is not None:
            low, high = self.scaled
            return f"percentiles {PERCENTILES[0]} to {PERCENTILES[1]}: {low:g} to {high:g}"
        return "8 bits" if self.stored.dtype == np.uint8 else "0 to 1 as stored"

    @property
    def has_gaps(self) -> bool:
        """Whether some pixels may hold nothing."""
        has_value = self.alpha is not None or self.nodata is not None
        return has_value or self.stored.dtype.kind == "f"

    def part(self, rows: slice, columns: slice) -> Pixels:
        """Pixels of a part, (h, w, C): uint8, or float32 in [0, 1], zero where nothing is."""
        return self._finished(self.stored[rows, columns])

    def valid(self, rows: slice, columns: slice) -> NDArray[np.bool_]:
        """Tell which pixels of a part hold something, (h, w)."""
        return self._valid(self.stored[rows, columns])

    def _valid(self, values: NDArray[Any]) -> NDArray[np.bool_]:
        valid = np.ones(values.shape[:2], dtype=np.bool_)
        if self.alpha is not None:
            valid &= values[:, :, self.alpha] > 0
        chosen = values[:, :, list(self.bands)]
        if chosen.dtype.kind == "f":
            valid &= np.isfinite(chosen).all(axis=2)
        if self.nodata is not None and not np.isnan(self.nodata):
            valid &= ~_is_nodata(chosen, self.nodata).all(axis=2)
        return valid

    def preview(self, longest: int) -> NDArray[np.uint8]:
        """Show the image with every so many-th pixel, at most ``longest`` a side; (h, w, 3)."""
        step = -(-max(self.size) // longest)
        pixels = self._finished(self.stored[::step, ::step])
        if pixels.dtype != np.uint8:
            pixels = np.round(pixels * 255).astype(np.uint8)
        shown = [0, 1, 2] if pixels.shape[2] >= 3 else [0, 0, 0]
        return np.ascontiguousarray(pixels[:, :, shown].astype(np.uint8))

    def _finished(self, values: NDArray[Any]) -> Pixels:
        chosen = values[:, :, list(self.bands)]
        if chosen.dtype != np.uint8:
            numbers = chosen.astype(np.float32)
            if self.scaled is not None:
                low, high = self.scaled
                numbers = np.clip((numbers - low) / max(high - low, 1e-12), 0, 1)
            chosen = numbers
        if self.has_gaps:
            chosen = np.where(self._valid(values)[:, :, None], chosen, 0).astype(chosen.dtype)
        return np.repeat(chosen, self.repeated, axis=2) if self.repeated > 1 else chosen


def _is_nodata(values: NDArray[Any], nodata: float) -> NDArray[np.bool_]:
    # Stored in fewer digits than the tag's text.
    wanted = values.dtype.type(nodata) if values.dtype.kind == "f" else nodata
    found: NDArray[np.bool_] = values == wanted
    return found


def open_picture(item: Item, task: TaskSpec, bands: Bands) -> Picture:
    """Open an image, or a pair as its composite.

    Args:
        item: The image.
        task: What the model was trained on.
        bands: Which bands of it.

    Raises:
        DataError: If it is damaged, of other bands or too small; names the file.
    """
    if task.decode is not Decode.PAIR_LABEL:
        return _open(item.path, task, bands)
    if item.after is None:
        raise DataError(
            f"{item.path} says in its name neither '{BEFORE}' nor '{AFTER}', or its first lacks.",
            "Name the two images of a pair alike, with these words.",
        )
    if not item.after.exists():
        raise DataError(
            f"{item.path} has no second image {item.after.name}.", "Put it beside the first."
        )
    pair = [_open(path, task, bands) for path in (item.path, item.after)]
    before, after = (p.part(slice(None), slice(None)) for p in pair)
    if before.shape != after.shape:
        raise DataError(
            f"{item.path} is {before.shape[0]} x {before.shape[1]} pixels and {item.after} "
            f"{after.shape[0]} x {after.shape[1]}: the two images of a pair must have one size.",
            "Crop both to the same ground.",
        )
    if before.dtype != after.dtype:
        before, after = (_in_one(p) for p in (before, after))
    composite = np.concatenate([np.zeros_like(before), after, before], axis=2)
    note = "; ".join(dict.fromkeys(p.scaling for p in pair))
    return Picture(composite, (0, 1, 2), geo=pair[0].geo, note=note)


def _in_one(pixels: Pixels) -> NDArray[np.float32]:
    if pixels.dtype == np.uint8:
        return pixels.astype(np.float32) / np.float32(255)
    return pixels.astype(np.float32)


def _open(path: Path, task: TaskSpec, bands: Bands) -> Picture:
    try:
        with path.open("rb") as file:
            start = file.read(4)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}.") from error
    if not start:
        raise DataError(f"{path} is empty (0 bytes).", "Copy it again.")
    geo = nodata = None
    if start in tiff.SIGNATURES:
        values, has_alpha, geo, nodata = _read_tiff(path)
    else:
        values, has_alpha = _read_by_pil(path)
    if values.dtype.kind not in "uif":
        raise DataError(f"{path} holds numbers of type {values.dtype}.", "Save it as 8 bits.")
    if min(values.shape[:2]) < SMALLEST:
        raise DataError(
            f"{path} is {values.shape[0]} x {values.shape[1]} pixels, too small to say anything "
            "of.",
            "Leave it out.",
        )
    count = values.shape[2]
    alpha = count - 1 if has_alpha and count > 1 else None
    chosen, repeated = _choose(path, values, count - (alpha is not None), task, bands)
    picture = Picture(values, chosen, repeated, None, alpha, nodata, geo)
    if values.dtype == np.uint8:
        return picture
    if task.channels > 3:
        _check_unit(path, picture)
        return picture
    return Picture(values, chosen, repeated, _percentiles(path, picture), alpha, nodata, geo)


def _choose(
    path: Path, values: NDArray[Any], count: int, task: TaskSpec, bands: Bands
) -> tuple[tuple[int, ...], int]:
    """Say which bands the model sees, and how often a grey one is repeated."""
    wanted = task.channels
    takes = f"was trained on images of {wanted}"
    remedy = f"Save it with {'one band' if wanted == 1 else f'these {wanted} bands'}."
    if wanted == 3:
        remedy = "Save it with three bands, or in grey with one."
    if wanted > 3 and bands is Bands.RGB and task.rgb_bands is not None:
        takes = "takes three colours"
        remedy = f"Save it with red, green and blue alone, or with all {wanted} bands of the task."
        if count == wanted:
            return task.rgb_bands, 1
        if count == 3:
            return (0, 1, 2), 1
    elif count == wanted:
        return tuple(range(count)), 1
    elif count == 1 and wanted <= 3:
        return (0,), wanted
    elif wanted == 1 and count == 3 and _is_grey(values):
        return (0,), 1
    raise DataError(
        f"{path} has {count} band{'' if count == 1 else 's'}"
        + (" that differ" if wanted == 1 and count == 3 else "")
        + f", where the model {takes}.",
        remedy,
    )


def _is_grey(values: NDArray[Any]) -> bool:
    parts = (values[i : i + _ROWS, :, :3] for i in range(0, len(values), _ROWS))
    return all(bool((part == part[:, :, :1]).all()) for part in parts)


def _check_unit(path: Path, picture: Picture) -> None:
    """Raise if an image for a task whose images are in [0, 1] is not."""
    for top in range(0, picture.size[0], _ROWS):
        part = picture.part(slice(top, top + _ROWS), slice(None))
        if part.min() < 0 or part.max() > 1:
            raise DataError(
                f"{path} holds numbers outside 0..1: {part.min():g} to {part.max():g}.",
                "Scale the image to 0..1 as the task's own images are, or save it with 8 bits per "
                "band.",
            )


def _percentiles(path: Path, picture: Picture) -> tuple[float, float]:
    """Numbers that become 0 and 1, over all bands together, so that colours keep their ratio."""
    height, width = picture.size
    step = max(1, int(np.ceil(np.sqrt(height * width / _SAMPLED))))
    sample = picture.stored[::step, ::step]
    valid = picture._valid(sample)
    if not valid.any():
        raise DataError(f"{path} holds no data: every pixel is empty.", "Leave it out.")
    values = sample[:, :, list(picture.bands)][valid].astype(np.float64)
    low, high = np.percentile(values, PERCENTILES)
    return float(low), float(high)


@contextlib.contextmanager
def _large_images_allowed() -> Iterator[None]:
    """Lift PIL's limit of 179 million pixels: a claim is measured by the size of its file."""
    with _pil_limit:
        before = Image.MAX_IMAGE_PIXELS
        Image.MAX_IMAGE_PIXELS = None
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = before


def _read_by_pil(path: Path) -> tuple[NDArray[Any], bool]:
    """Read pixels (H, W, bands), and whether the last band is alpha."""
    try:
        with _large_images_allowed(), Image.open(path) as opened:
            claimed = 4 * opened.width * opened.height
            if claimed > 4096 * os.path.getsize(path) + (64 << 20):  # noqa: PTH202
                raise DataError(f"{path} is damaged: it claims {claimed} bytes.", "Copy it again.")
            if opened.mode in ("P", "PA", "1") or "transparency" in opened.info:
                wanted = "RGBA" if "transparency" in opened.info or opened.mode == "PA" else "RGB"
                shown = opened.convert("L" if opened.mode == "1" else wanted)
            elif opened.mode in ("CMYK", "YCbCr", "LAB", "HSV"):
                shown = opened.convert("RGB")
            else:
                shown = opened
            values = np.asarray(shown)
            has_alpha = shown.mode in ("LA", "RGBA")
    except UnidentifiedImageError as error:  # its text adds the path alone
        raise DataError(
            f"{path} is damaged or no image.", "Copy it again, or leave it out."
        ) from error
    except decode._DAMAGE as error:
        raise DataError(
            f"{path} is damaged or no image: {str(error)[:200]}.", "Copy it again, or leave it out."
        ) from error
    return values if values.ndim == 3 else values[:, :, None], has_alpha


def _read_tiff(path: Path) -> tuple[NDArray[Any], bool, Georeference | None, float | None]:
    """Read a TIFF as (H, W, bands), whether its last band is alpha, its georeference, its gaps."""
    import tifffile

    try:
        with tifffile.TiffFile(path) as file:
            found = [
                s
                for s in file.series
                if len(s.shape) >= 2 and not s.keyframe.is_reduced and not _is_mask(s.keyframe)
            ]
            if not found:
                raise ValueError("it holds no pixels")
            series, page = found[0], found[0].keyframe
            axes, shape = tiff.axes_of(series)
            if len(found) > 1 or set(axes) - set("YXSC"):
                raise DataError(f"{path} holds several pages.", "Save it with one page.")
            claimed = tiff.claimed_bytes(series.shape, series.dtype)
            if claimed > 4096 * os.path.getsize(path) + (64 << 20):  # noqa: PTH202
                raise DataError(f"{path} is damaged: it claims {claimed} bytes.", "Copy it again.")
            values = _values(path, series, shape, claimed)
            order = [axes.index(axis) for axis in "YXSC" if axis in axes]
            values = values.transpose(order)
            # Bands that stand in two axes are no image.
            values = values if values.ndim == 3 else values.reshape(*values.shape[:2], -1)
            extra = page.tags.get(_EXTRA_SAMPLES)
            kinds: Collection[int] = () if extra is None else np.atleast_1d(extra.value).tolist()
            has_alpha = len(kinds) == 1 and set(kinds) <= set(_ALPHA)
            return values, has_alpha, read_georeference(page), read_nodata(page)
    except DataError:
        raise
    except Exception as error:  # damaged tags make tifffile raise nearly anything
        remedy = "Copy it again, or save it as a PNG."
        if "imagecodecs" in str(error):
            remedy = "Install what unpacks it: pip install imagecodecs; or save it uncompressed."
        raise DataError(f"{path} cannot be read: {str(error)[:200]}.", remedy) from error


def _is_mask(page: Any) -> bool:
    """Whether a page says which pixels of another are transparent."""
    return bool(int(page.subfiletype or 0) & 4)


def _values(path: Path, series: Any, shape: tuple[int, ...], size: int) -> NDArray[Any]:
    """Read numbers of a shape: from the file where it maps them, else unpacked."""
    try:
        values: NDArray[Any] = series.asarray(out="memmap" if size > _IN_MEMORY else None)
    except Exception as error:
        # Some compressions, such as LZW, tifffile leaves to another package; PIL has them.
        if "imagecodecs" not in str(error):
            raise
        with _large_images_allowed():
            found = tiff.by_pil(path.read_bytes())
        # PIL puts bands last, wherever they stand in the file.
        if found is None or found.shape != shape:
            raise
        values = found
    return values.reshape(shape)
