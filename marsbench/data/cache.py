"""Cache of decoded samples: pixels, masks and boxes in memory-mapped files per split.

Decoding is most of the cost of loading small images; the cache pays it once for all runs.
Images may differ in size. If several processes open the same split at once, the first builds the
cache and the others wait; a build becomes visible when it is complete. Each process compares the
pixels and the mask of a sample with their checksums on its first access to them.
"""

import contextlib
import errno
import hashlib
import json
import os
import shutil
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from marsbench.base import paths
from marsbench.base.errors import DataError
from marsbench.base.files import once
from marsbench.base.progress import track
from marsbench.config.schema import Bands
from marsbench.data import decode
from marsbench.data.rows import Pixels, Rows, Source
from marsbench.data.samples import Decoded, decode_sample
from marsbench.metrics.boxes import Boxes
from marsbench.tasks.spec import TaskSpec

PIXELS = "pixels.u8"
MASKS = "masks.u8"
INDEX = "index.npz"

_CHUNK = 256
"""Samples decoded ahead of the write; bounds the memory of a build."""


class Samples(Protocol):
    """Decoded samples of a split."""

    def __len__(self) -> int:
        """Number of samples."""

    def __getitem__(self, index: int) -> Decoded:
        """Decode or load a sample."""


class DirectSamples:
    """Samples without a cache, decoded on each access."""

    def __init__(
        self, spec: TaskSpec, source: Source, rows: Rows, bands: Bands = Bands.RGB
    ) -> None:
        self._spec, self._source, self._rows, self._bands = spec, source, rows, bands

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> Decoded:
        raw = self._source.read(self._rows.split, index)
        return decode_sample(self._spec, raw, self._bands)


class CachedSamples:
    """Samples in memory-mapped files, opened by each process on first access.

    Args:
        folder: Folder built by `cached_samples`.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with np.load(folder / INDEX) as index:  # checks the checksums of its arrays
            arrays: dict[str, NDArray[Any]] = dict(index)
        self._offsets: NDArray[np.int64] = arrays["offsets"]
        self._shapes: NDArray[np.int64] = arrays["shapes"]
        self._checksums: NDArray[np.uint32] = arrays["checksums"]
        self._dtype = np.dtype(str(arrays["dtype"]))
        self._resized_from: NDArray[np.int64] | None = arrays.get("resized_from")
        self._mask_offsets: NDArray[np.int64] | None = arrays.get("mask_offsets")
        self._box_ends: NDArray[np.int64] | None = arrays.get("box_ends")
        self._boxes, self._labels = arrays.get("boxes"), arrays.get("labels")
        self._dropped: NDArray[np.int64] | None = arrays.get("dropped")
        self._meta: NDArray[np.str_] | None = arrays.get("meta")
        self._is_checked = np.zeros(len(self._shapes), dtype=bool)
        self._pixels: NDArray[Any] | None = None
        self._masks: NDArray[np.uint8] | None = None

    def __len__(self) -> int:
        return len(self._shapes)

    def __getitem__(self, index: int) -> Decoded:
        if self._pixels is None:
            self._pixels = np.memmap(self.folder / PIXELS, dtype=self._dtype, mode="r")
        shape, start = self._shapes[index], self._offsets[index]
        pixels = self._pixels[start : start + shape.prod()].reshape(shape)
        mask = self._mask(index)
        if not self._is_checked[index]:
            self._check(index, _checksum(pixels, mask))
        return Decoded(
            pixels,
            mask,
            self._boxes_of(index),
            0 if self._dropped is None else int(self._dropped[index]),
            {} if self._meta is None else json.loads(str(self._meta[index])),
            resized_from=None if self._resized_from is None else self._size(index),
        )

    def _check(self, index: int, checksum: int) -> None:
        """Compare a sample with its checksum; a damaged cache is built again when opened next."""
        if checksum != self._checksums[index]:
            with contextlib.suppress(OSError):
                (self.folder / INDEX).unlink()
            raise DataError(
                f"The cache of decoded images {self.folder} is damaged: the checksum of sample "
                f"{index} differs.",
                "Run again: the cache is built again. If this recurs, check the disk.",
            )
        self._is_checked[index] = True

    def _mask(self, index: int) -> NDArray[np.uint8] | None:
        if self._mask_offsets is None:
            return None
        if self._masks is None:
            self._masks = np.memmap(self.folder / MASKS, dtype=np.uint8, mode="r")
        height, width = self._size(index)
        start = int(self._mask_offsets[index])
        return self._masks[start : start + height * width].reshape(height, width)

    def _boxes_of(self, index: int) -> Boxes | None:
        if self._box_ends is None or self._boxes is None or self._labels is None:
            return None
        start = int(self._box_ends[index - 1]) if index else 0
        part = slice(start, int(self._box_ends[index]))
        return Boxes(self._boxes[part], self._labels[part])

    def __getstate__(self) -> dict[str, object]:
        # A memory map pickles as its whole content; workers open the file themselves.
        return {**self.__dict__, "_pixels": None, "_masks": None}

    @property
    def sizes(self) -> NDArray[np.int64]:
        """Heights and widths of the images before resizing, (N, 2)."""
        return self._shapes[:, :2] if self._resized_from is None else self._resized_from

    def _size(self, index: int) -> tuple[int, int]:
        height, width = self.sizes[index]
        return int(height), int(width)

    def odd_size(self, image_size: tuple[int, int]) -> int | None:
        """Position of the first image not of this (height, width); None if all images match."""
        odd = np.flatnonzero((self.sizes != image_size).any(axis=1))
        return int(odd[0]) if len(odd) else None

    @property
    def is_whole(self) -> bool:
        """Whether the files have the lengths given by the index."""
        numbers = int(self._shapes.prod(axis=1).sum())
        if (self.folder / PIXELS).stat().st_size != numbers * self._dtype.itemsize:
            return False
        area = int(self.sizes.prod(axis=1).sum())
        return self._mask_offsets is None or (self.folder / MASKS).stat().st_size == area


def cached_samples(
    spec: TaskSpec, source: Source, rows: Rows, bands: Bands = Bands.RGB
) -> CachedSamples:
    """Open the cache of a split; a missing cache is built.

    Raises:
        DataError: If a sample cannot be decoded, or the disk is full; names the file.
    """
    samples = build_cache(
        folder_of(spec, rows, choices_of(spec, rows, bands)),
        lambda: DirectSamples(spec, source, rows, bands),
        rows,
        f"Decoding {spec.name} {rows.split}",
    )
    check_sizes(samples, spec, source, rows, bands)
    return samples


def choices_of(spec: TaskSpec, rows: Rows, bands: Bands) -> str:
    """Facts with an effect on the decoded samples of a split."""
    choices = f"{rows.fingerprint}\t{spec.decode}\t{spec.channels}\t{decode.VERSION}"
    if spec.has_masks:
        choices += f"\t{len(spec.classes)}"
    if spec.channels > 3:
        choices += f"\t{bands}\t{spec.rgb_bands}"
    return choices


def folder_of(spec: TaskSpec, rows: Rows, choices: str) -> Path:
    """Folder of the cache of a split with these choices."""
    key = hashlib.sha256(choices.encode()).hexdigest()[:16]
    return paths.home() / "decoded" / spec.name / f"{rows.split}-{key}"


def check_sizes(
    samples: CachedSamples, spec: TaskSpec, source: Source, rows: Rows, bands: Bands
) -> None:
    """Check a cache that may be older than the task's image_size.

    Raises:
        DataError: If an image has another size; names the file.
    """
    if spec.image_size is not None and (odd := samples.odd_size(spec.image_size)) is not None:
        decode_sample(spec, source.read(rows.split, odd), bands)  # raises


def build_cache(
    folder: Path, make: Callable[[], Samples], rows: Rows, description: str
) -> CachedSamples:
    """Open a cache; a missing cache is built.

    Args:
        folder: Folder of the cache; its name is the key of the content.
        make: Opens the samples to be cached.
        rows: Index of the split.
        description: Label of the progress bar.

    Raises:
        DataError: If a sample is invalid, or the cache cannot be written.
    """

    def build() -> CachedSamples:
        _build(folder, make(), rows, description)
        return CachedSamples(folder)

    try:
        return once(folder, lambda: open_cache(folder), build)
    except OSError as error:
        hint = f"set MARSBENCH_HOME (now {paths.home()}) to another folder, or add cache=false."
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        what = "Free disk space" if full else "Check its permissions"
        raise DataError(
            f"The cache of decoded images {folder} cannot be written: {error.strerror or error}.",
            f"{what}, {hint}",
        ) from error


def open_cache(folder: Path) -> CachedSamples | None:
    """Open a cache; None if missing or damaged."""
    try:
        samples = CachedSamples(folder)
        return samples if samples.is_whole else None
    except (OSError, ValueError, KeyError, EOFError, TypeError, BadZipFile):
        return None


def _build(folder: Path, samples: Samples, rows: Rows, description: str) -> None:
    partial = folder.with_name(f"{folder.name}.part")
    # Left by a killed build, or a damaged cache.
    for leftover in (partial, folder):
        shutil.rmtree(leftover, ignore_errors=True)
    partial.mkdir()
    order = np.arange(len(samples)) if rows.reading_order is None else rows.reading_order
    try:
        decoded = track(_decode_all(samples, order), description, len(samples))
        numbered = zip(order.tolist(), decoded, strict=True)
        index = _write(partial, numbered, len(samples), has_meta=rows.meta is None)
        with (partial / INDEX).open("wb") as file:
            np.savez(file, **index)  # type: ignore[arg-type]
            file.flush()
            os.fsync(file.fileno())
        partial.rename(folder)
    except BaseException:
        with contextlib.suppress(OSError):
            shutil.rmtree(partial)
        raise


def _write(
    folder: Path, decoded: Iterator[tuple[int, Decoded]], count: int, *, has_meta: bool
) -> dict[str, NDArray[Any]]:
    """Write pixels and masks; return the index with the boxes, and with meta if `has_meta`."""
    shapes = np.zeros((count, 3), dtype=np.int64)
    offsets, mask_offsets = np.zeros(count, dtype=np.int64), np.zeros(count, dtype=np.int64)
    dtype: np.dtype[Any] = np.dtype(np.uint8)
    boxes: dict[int, Boxes] = {}
    dropped = np.zeros(count, dtype=np.int64)
    resized_from: dict[int, tuple[int, int]] = {}
    checksums = np.zeros(count, dtype=np.uint32)
    meta = ["{}"] * count
    with (folder / PIXELS).open("wb") as pixels, (folder / MASKS).open("wb") as masks:
        for i, sample in decoded:
            dtype = sample.pixels.dtype
            offsets[i], shapes[i] = pixels.tell() // dtype.itemsize, sample.pixels.shape
            pixels.write(sample.pixels.tobytes())
            if sample.mask is not None:
                mask_offsets[i] = masks.tell()
                masks.write(sample.mask.tobytes())
            if sample.boxes is not None:
                boxes[i], dropped[i] = sample.boxes, sample.num_dropped
            if sample.resized_from is not None:
                resized_from[i] = sample.resized_from
            checksums[i] = _checksum(sample.pixels, sample.mask)
            if sample.meta and has_meta:
                meta[i] = json.dumps(dict(sample.meta), default=str)
        has_masks = masks.tell() > 0
        for file in (pixels, masks):
            file.flush()
            os.fsync(file.fileno())
    index: dict[str, NDArray[Any]] = {"offsets": offsets, "shapes": shapes}
    index |= {"dtype": np.array(str(dtype)), "checksums": checksums}
    if has_masks:
        index["mask_offsets"] = mask_offsets
    else:
        (folder / MASKS).unlink()
    if boxes:
        ordered = [boxes[i] for i in range(count)]
        index["box_ends"] = np.cumsum([len(of_image) for of_image in ordered])
        index["boxes"] = np.concatenate([of_image.xyxy for of_image in ordered])
        index["labels"] = np.concatenate([of_image.labels for of_image in ordered])
        index["dropped"] = dropped
    if resized_from:
        index["resized_from"] = np.array([resized_from[i] for i in range(count)])
    if any(text != "{}" for text in meta):
        index["meta"] = np.array(meta)
    return index


def _checksum(pixels: Pixels, mask: NDArray[np.uint8] | None) -> int:
    """CRC-32 of a sample's pixels and mask."""
    content = zlib.crc32(np.ascontiguousarray(pixels).data)
    return content if mask is None else zlib.crc32(np.ascontiguousarray(mask).data, content)


def _decode_all(samples: Samples, order: NDArray[np.int64]) -> Iterator[Decoded]:
    """Decode in the given order on all cores (Pillow releases the interpreter lock)."""
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        for start in range(0, len(order), _CHUNK):
            yield from pool.map(samples.__getitem__, order[start : start + _CHUNK].tolist())
