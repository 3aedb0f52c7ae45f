"""Files of cached features: finished ones, memory-mapped, and unfinished ones.

A folder holds ``features.f32``, the features (V, N, F) of a split of N samples in V views
(``features.f16`` with ``stored=float16``), and ``features.json``, written last, with the file's
SHA-256 and the backbone's facts for records.
"""

import hashlib
import json
import math
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from marsbench.base import environment
from marsbench.base.documents import parse_json
from marsbench.base.files import allocate, write_text
from marsbench.config.schema import Stored
from marsbench.data.encoded import EncodedImages

_FEATURES = {Stored.FLOAT32: "features.f32", Stored.FLOAT16: "features.f16"}
_FACTS = "features.json"
_PARTIAL, _REACHED = "features.partial", "samples.json"
"""Unfinished features, and the number of samples encoded in all views."""

_EARLIER = ("features.part", "reached.json")
"""Unfinished features of earlier versions, which encoded view by view."""

_SAVED_EVERY = 16
"""Batches between two writes of the progress."""

Features = NDArray[np.floating]

Shape = tuple[int, int, int]


@dataclass(frozen=True)
class BackboneFacts:
    """Facts of a backbone for records.

    Attributes:
        sha256: Digest of its tensors.
        num_features: Length of a row, F.
        parameters: Number of its parameters.
        device: Device that encoded.
    """

    sha256: str
    num_features: int
    parameters: int
    device: str


@dataclass(frozen=True)
class Encoded:
    """The features of a split.

    Attributes:
        features: Read-only and memory-mapped, (V, N, F): N samples of the split in V views, the
            first one upright; float32, or as in ``stored`` of maps.
        file: Their file.
        sha256: Digest of the file.
        backbone: Facts of the backbone.
        seconds: Duration of encoding.
        meta: Additional facts of each sample as JSON, if they are not in the index; None without
            such facts.
    """

    features: Features
    file: Path
    sha256: str
    backbone: BackboneFacts
    seconds: float
    meta: list[str] | None

    @property
    def images(self) -> EncodedImages:
        """The upright samples, for a dataset."""
        return EncodedImages(self.file, self.features.dtype.name, self.features.shape[2])


def is_finished(folder: Path) -> bool:
    """Whether a folder has had finished features, which may be damaged."""
    return (folder / _FACTS).exists()


def allocated(folder: Path) -> int:
    """Bytes of a folder's unfinished features, whose space is taken already."""
    try:
        return (folder / _PARTIAL).stat().st_size
    except OSError:
        return 0


def open_features(folder: Path, stored: Stored) -> Encoded | None:
    """Open the features of a folder; None if they are missing or damaged."""
    file = folder / _FEATURES[stored]
    try:
        content = parse_json((folder / _FACTS).read_text())
        features = np.memmap(file, dtype=str(stored), mode="r", shape=tuple(content["shape"]))
        encoded = Encoded(
            features,
            file,
            str(content["sha256"]),
            BackboneFacts(**content["backbone"]),
            float(content["seconds"]),
            content["meta"],
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return encoded if _sha256(file) == encoded.sha256 else None


class Unfinished:
    """The features of a split while they are encoded, after an interruption the remaining ones.

    Args:
        folder: The folder; made if missing.
        shape: (V, N, F).
        stored: Format of the numbers.
        since: Start of the work in the seconds of `time.perf_counter`.

    Attributes:
        samples: Number of samples encoded in all views.

    Raises:
        OSError: If the space cannot be allocated.
    """

    def __init__(self, folder: Path, shape: Shape, stored: Stored, since: float) -> None:
        self.folder, self.shape, self.stored = folder, shape, stored
        self._row = shape[2] * np.dtype(str(stored)).itemsize
        self.samples, spent = self._reached()
        self._since = since - spent
        self._batches = 0
        folder.mkdir(exist_ok=True)
        if not self.samples:
            # Files of earlier versions too: one that resumes would not know this order.
            for name in (_PARTIAL, _REACHED, *_EARLIER):
                (folder / name).unlink(missing_ok=True)
            with (folder / _PARTIAL).open("wb") as file:
                allocate(file, math.prod(shape[:2]) * self._row)
        # Written, not mapped: pages of a map would stay in the memory of the process.
        self._file = (folder / _PARTIAL).open("r+b")

    def write(self, batch: Features) -> bool:
        """Write the next samples in all views, (V, B, F).

        Returns:
            Whether all numbers are finite in the stored format; if not, none is written.
        """
        with np.errstate(over="ignore"):
            rows = np.ascontiguousarray(batch, dtype=str(self.stored))
        if not np.isfinite(rows).all():
            return False
        for view, part in enumerate(rows):
            self._file.seek((view * self.shape[1] + self.samples) * self._row)
            self._file.write(part.data)
        self.samples += rows.shape[1]
        self._batches += 1
        if self.samples == self.shape[1] or self._batches % _SAVED_EVERY == 0:
            self._file.flush()
            os.fsync(self._file.fileno())
            note = {"shape": self.shape, "samples": self.samples, "seconds": self.seconds}
            write_text(self.folder / _REACHED, json.dumps(note) + "\n")
        return True

    def finish(self, backbone: BackboneFacts, meta: list[str] | None) -> None:
        """Turn the written features into finished ones."""
        self.close()
        facts: dict[str, Any] = {
            "shape": self.shape,
            "sha256": _sha256(self.folder / _PARTIAL),
            "backbone": vars(backbone),
            "seconds": self.seconds,
            "meta": meta,
            "environment": environment.versions(),
        }
        (self.folder / _PARTIAL).replace(self.folder / _FEATURES[self.stored])
        write_text(self.folder / _FACTS, json.dumps(facts, indent=2) + "\n")
        (self.folder / _REACHED).unlink(missing_ok=True)

    def discard(self) -> None:
        """Remove the file of features that are not finite."""
        self.close()
        (self.folder / _PARTIAL).unlink()

    def close(self) -> None:
        """Close the file; its features stay."""
        self._file.close()

    @property
    def seconds(self) -> float:
        """Duration of encoding, also before an interruption."""
        return time.perf_counter() - self._since

    def _reached(self) -> tuple[int, float]:
        """Number of samples encoded before, and seconds spent on them."""
        try:
            note = parse_json((self.folder / _REACHED).read_text())
            size = math.prod(self.shape[:2]) * self._row
            if tuple(note["shape"]) == self.shape and allocated(self.folder) == size:
                return int(note["samples"]), float(note["seconds"])
        except (OSError, ValueError, KeyError, TypeError):
            pass
        return 0, 0.0


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, hashlib.sha256).hexdigest()
