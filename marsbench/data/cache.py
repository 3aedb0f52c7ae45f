"""Decoded images: uint8 pixels in one memory-mapped file per split, written once.

Decoding is most of the cost of loading small images; the cache pays it once for all runs.
Images may differ in size. Several processes may ask for the same split at once: one builds,
the others wait, and a build only becomes visible when it is whole.
"""

import contextlib
import errno
import hashlib
import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol
from zipfile import BadZipFile

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from marsbench import paths
from marsbench.data import decode
from marsbench.data.rows import Rows, Source
from marsbench.data.spec import TaskSpec
from marsbench.errors import DataError
from marsbench.progress import track

PIXELS = "pixels.u8"
INDEX = "index.npz"

_CHUNK = 256
"""Images decoded ahead of the write: bounds the memory of a build."""


class Images(Protocol):
    """The decoded images of one split."""

    def __len__(self) -> int:
        """Number of images."""

    def __getitem__(self, index: int) -> NDArray[np.uint8]:
        """One image, shape (H, W, C)."""


class DirectImages:
    """Images decoded anew whenever they are asked for."""

    def __init__(self, spec: TaskSpec, source: Source, rows: Rows) -> None:
        self._spec, self._source, self._rows = spec, source, rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> NDArray[np.uint8]:
        return decode.decode(self._spec, self._source.read(self._rows.split, index))


class CachedImages:
    """Images in a memory-mapped file; opened anew in each process that uses them.

    Args:
        folder: Folder that `cached_images` built.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with np.load(folder / INDEX) as index:
            self._offsets: NDArray[np.int64] = index["offsets"]
            self._shapes: NDArray[np.int64] = index["shapes"]
        self._pixels: NDArray[np.uint8] | None = None

    def __len__(self) -> int:
        return len(self._shapes)

    def __getitem__(self, index: int) -> NDArray[np.uint8]:
        if self._pixels is None:
            self._pixels = np.memmap(self.folder / PIXELS, dtype=np.uint8, mode="r")
        shape, start = self._shapes[index], self._offsets[index]
        return self._pixels[start : start + shape.prod()].reshape(shape)

    def __getstate__(self) -> dict[str, object]:
        # A memory map pickles as its whole content; workers open the file themselves.
        return {**self.__dict__, "_pixels": None}

    def odd_size(self, image_size: tuple[int, int]) -> int | None:
        """Position of the first image of another (height, width); None if there is none."""
        odd = np.flatnonzero((self._shapes[:, :2] != image_size).any(axis=1))
        return int(odd[0]) if len(odd) else None

    @property
    def is_whole(self) -> bool:
        """Whether the pixel file has the length its index says."""
        return (self.folder / PIXELS).stat().st_size == int(self._shapes.prod(axis=1).sum())


def cached_images(spec: TaskSpec, source: Source, rows: Rows) -> CachedImages:
    """Open a split's cache, building it first if it is not there.

    Raises:
        DataError: If an image cannot be decoded, or there is no room; names the file.
    """
    key = hashlib.sha256(
        f"{rows.fingerprint}\t{spec.decode}\t{spec.channels}\t{decode.VERSION}".encode()
    ).hexdigest()[:16]
    folder = paths.home() / "decoded" / spec.name / f"{rows.split}-{key}"
    images = _open(folder)
    if images is None:
        images = _build_once(spec, source, rows, folder)
    # A cache made before the task said what size its images have.
    if spec.image_size is not None and (odd := images.odd_size(spec.image_size)) is not None:
        decode.decode(spec, source.read(rows.split, odd))  # raises
    return images


def _build_once(spec: TaskSpec, source: Source, rows: Rows, folder: Path) -> CachedImages:
    """Build a cache unless another process does."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{folder}.lock"):
            # Another process may have finished while this one waited.
            images = _open(folder)
            if images is None:
                description = f"Decoding {spec.name} {rows.split}"
                _build(folder, DirectImages(spec, source, rows), rows, description)
                images = CachedImages(folder)
    except OSError as error:
        hint = f"or set MARSBENCH_HOME (now {paths.home()}), or cache=false to go without."
        what = "Make room" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "Mend that"
        raise DataError(
            f"The cache of decoded images {folder} cannot be written: {error.strerror or error}.",
            f"{what}, {hint}",
        ) from error
    return images


def _open(folder: Path) -> CachedImages | None:
    """Open a cache; None if there is none, or if something outside damaged it."""
    try:
        images = CachedImages(folder)
        return images if images.is_whole else None
    except (OSError, ValueError, KeyError, EOFError, BadZipFile):
        return None


def _build(folder: Path, images: DirectImages, rows: Rows, description: str) -> None:
    partial = folder.with_name(f"{folder.name}.part")
    # Leftovers of a build that was killed, or a cache that was damaged.
    for leftover in (partial, folder):
        shutil.rmtree(leftover, ignore_errors=True)
    partial.mkdir()
    shapes = np.zeros((len(images), 3), dtype=np.int64)
    offsets = np.zeros(len(images), dtype=np.int64)
    order = np.arange(len(images)) if rows.reading_order is None else rows.reading_order
    try:
        with (partial / PIXELS).open("wb") as file:
            decoded = track(_decode_all(images, order), description, len(images))
            for i, pixels in zip(order, decoded, strict=True):
                offsets[i], shapes[i] = file.tell(), pixels.shape
                file.write(pixels.tobytes())
            file.flush()
            os.fsync(file.fileno())
        with (partial / INDEX).open("wb") as file:
            np.savez(file, offsets=offsets, shapes=shapes)
            file.flush()
            os.fsync(file.fileno())
        partial.rename(folder)
    except BaseException:
        with contextlib.suppress(OSError):
            shutil.rmtree(partial)
        raise


def _decode_all(images: DirectImages, order: NDArray[np.int64]) -> Iterator[NDArray[np.uint8]]:
    """Decode on all cores (Pillow releases the interpreter lock), in a given order."""
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        for start in range(0, len(order), _CHUNK):
            yield from pool.map(images.__getitem__, order[start : start + _CHUNK].tolist())
