"""Features of a frozen backbone: encoded once per split, in memory-mapped files.

``MARSBENCH_HOME/features/TASK/KEY/`` holds ``features.f32``, a row for each sample of a split in
each view, and ``features.json``, written last, with the file's SHA-256 and the backbone's facts for
records. A row is the vector of a classifier, or all feature maps that a decoder of masks uses, flat
(``features.f16`` with ``stored=float16``). KEY covers everything that changes a feature. If several
processes need the same features, one encodes and the others wait. Interrupted encoding resumes.
"""

import hashlib
import json
import math
import os
import shutil
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Subset

from marsbench.base import environment, paths
from marsbench.base.documents import parse_json
from marsbench.base.errors import DataError, TrainingError
from marsbench.base.files import allocate, once, write_text
from marsbench.base.progress import steps, tell
from marsbench.config.identity import PIPELINE, digest
from marsbench.config.schema import Augment, Matmul, Mode, Pooling, Precision, Stored
from marsbench.data import decode
from marsbench.data.datamodule import Loader, Speaking, check_batch, collate, default_workers
from marsbench.data.dataset import MarsDataset
from marsbench.data.encoded import EncodedImages
from marsbench.data.transforms import augment_batch, finish_batch
from marsbench.models import weights
from marsbench.models.encoders.classifier import Classifier
from marsbench.models.encoders.heads import last_layer
from marsbench.models.inputs import DEFAULT
from marsbench.models.libraries import LIBRARIES
from marsbench.models.segmenters.encoder import MapSegmenter
from marsbench.models.weights import backbone_digest
from marsbench.plan.resolve import Plan
from marsbench.training.failures import is_out_of_memory
from marsbench.training.inputs import prepared_inputs
from marsbench.training.loop.allocator import keep_freed_memory
from marsbench.training.loop.arithmetic import arithmetic
from marsbench.training.loop.devices import device_name, device_of
from marsbench.training.loop.evaluation import meta_of
from marsbench.training.network import build_network
from marsbench.training.provenance import default_weights
from marsbench.training.trained import open_split

VERSION = 1
"""Part of the key; raise it when the features of equal inputs change."""

NUM_TURNED = 8
"""Views of ``protocol=cached augment=d4``: flips and quarter turns, by the low bits of a seed."""

MAPS_VERSION = 1
"""Part of the key of maps; raise it when other maps are stored, or in another order."""

_FEATURES = {Stored.FLOAT32: "features.f32", Stored.FLOAT16: "features.f16"}
_FACTS = "features.json"
_PARTIAL = "features.part"
_REACHED = "reached.json"

BATCH = {"cpu": 32, "cuda": 256}
"""Images encoded at a time; changes features by rounding only."""

_MOST_BYTES = 2**26
"""Most bytes of features encoded at a time: maps are large."""

_SAVED_EVERY = 16
"""Batches between two writes of the progress."""

Features = NDArray[np.floating]


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


class Encoder:
    """Encodes the splits of a run's task; builds the backbone when needed.

    Args:
        plan: The run. Runs that differ only in seed, subset or fitting of heads share features.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._most = BATCH["cuda"]
        self._sha256 = ""

    def views(self, split: str) -> int:
        """Number of encoded views: 8 for training images with cached augmentation, else 1."""
        turned = self.plan.augment is Augment.D4 and split == "train"
        return NUM_TURNED if turned else 1

    def encode(self, split: str) -> Encoded:
        """Open the features of a split; encodes the split if necessary.

        Raises:
            DataError: If an image cannot be read, or the cache cannot be written.
            WeightsError: If the backbone's weights are missing or do not fit.
            TrainingError: If the memory of the device is too small for a single image.
        """
        folder = self._folder(split)
        try:
            return once(folder, lambda: self._open(folder), lambda: self._write(folder, split))
        except OSError as error:
            raise DataError(
                f"The cache of features {folder} cannot be written: {error.strerror or error}.",
                f"Free space, set MARSBENCH_HOME (now {paths.home()}), or use protocol=online.",
            ) from error

    def _folder(self, split: str) -> Path:
        if self._is_named and weights.file_of(self.plan.model) is None:
            _ = self._network  # downloads the file, whose content is in the key
        return paths.home() / "features" / self.plan.task.name / f"{split}-{self.key(split)}"

    def check_space(self, splits: Collection[str]) -> None:
        """Refuse features that do not fit on the disk, before any of them is encoded.

        Raises:
            DataError: If the missing features of the splits take more bytes than are free.
        """
        folders = {split: self._folder(split) for split in splits}
        missing = {s: folder for s, folder in folders.items() if not (folder / _FACTS).exists()}
        if not missing:
            return
        needed = sum(self._size(split) - _allocated(folder) for split, folder in missing.items())
        existing = next(p for p in (paths.home(), *paths.home().parents) if p.exists())
        free = shutil.disk_usage(existing).free
        if needed > free:
            smaller = ""
            if self._is_map and self._stored is Stored.FLOAT32:
                smaller = "use stored=float16 (half the bytes), "
            raise DataError(
                f"The cache of features of {self.plan.task.name} by {self.plan.model.name} takes "
                f"{needed / 2**30:.2f} GiB, and {existing} has {free / 2**30:.2f} GiB free.",
                f"Free space, {smaller}set MARSBENCH_HOME (now {paths.home()}), or use "
                "protocol=online.",
            )

    def _size(self, split: str) -> int:
        """Bytes of the features of a split."""
        rows = self.views(split) * len(self.plan.source.rows(split))
        return rows * self._facts.num_features * self._dtype_stored.itemsize

    @property
    def _is_map(self) -> bool:
        """Whether rows are feature maps."""
        return self.plan.decoder is not None

    @property
    def _stored(self) -> Stored:
        return self.plan.config.stored

    @property
    def _dtype_stored(self) -> np.dtype[np.floating]:
        return np.dtype(str(self._stored))

    def release(self) -> None:
        """Free the backbone; training on features does not need it."""
        if self.__dict__.pop("_network", None) is not None and self.device.type == "cuda":
            torch.cuda.empty_cache()

    def key(self, split: str) -> str:
        """Digest of all facts with an effect on the features of a split."""
        plan, spec, library = self.plan, self.plan.task, self.plan.model.library
        choices: dict[str, Any] = {
            "version": VERSION,
            "pipeline": PIPELINE,
            "decode": [decode.VERSION, spec.decode, spec.channels, spec.rgb_bands],
            "rows": plan.source.rows(split).fingerprint,
            "architecture": plan.model.architecture,
            "library": _version(LIBRARIES[library].package or str(library)),
            "weights": plan.weights,
            "file": default_weights(plan.model) if self._is_named else None,
            "normalise": [plan.model.mean, plan.model.std],
            "side": plan.side,
            "resize": plan.resizing.identity,
            "bands": plan.config.bands if spec.channels > 3 else None,
            "raster": plan.identity.get("spectra"),
            "precision": plan.config.trainer.precision,
            "views": self.views(split),
        }
        # Absent by default, so that the features of earlier versions serve.
        if plan.config.pooling is not Pooling.AUTO:
            choices["pooling"] = plan.config.pooling
        if plan.inputs != DEFAULT:
            choices["inputs"] = prepared_inputs(plan).plain
        if plan.config.trainer.matmul is not Matmul.HIGHEST:
            choices["matmul"] = plan.config.trainer.matmul
        if self._dtype is torch.float64:
            choices["facts"] = 2  # digest of the tensors as loaded
        if self._is_map:
            # All decoders use the same maps.
            choices["maps"] = MAPS_VERSION
        if self._stored is not Stored.FLOAT32:
            choices["stored"] = self._stored
        return digest(choices)[:16]

    def _write(self, folder: Path, split: str) -> Encoded:
        """Encode a split, or the remaining part."""
        started = time.perf_counter()
        folder.mkdir(exist_ok=True)
        if (folder / _FACTS).exists():
            tell(f"The features in {folder} are damaged and will be encoded again.")
        keep_freed_memory()
        dataset = open_split(self.plan, split)
        rows, backbone = self.plan.source.rows(split), self._facts
        shape = (self.views(split), len(dataset), backbone.num_features)
        num_rows = shape[0] * shape[1]
        reached, spent = _reached(folder, shape, self._dtype_stored)
        if not reached:
            with (folder / _PARTIAL).open("wb") as file:
                allocate(file, self._size(split))
        batches, are_finite = 0, True
        # Written, not mapped: pages of a map would stay in the memory of the process.
        with arithmetic(self.plan.config, self.device), (folder / _PARTIAL).open("r+b") as file:
            file.seek(reached * shape[2] * self._dtype_stored.itemsize)
            for batch, at in self._batches(dataset, reached, num_rows):
                with np.errstate(over="ignore"):
                    stored = np.ascontiguousarray(batch, dtype=self._dtype_stored)
                are_finite = bool(np.isfinite(stored).all())
                if not are_finite:
                    break
                file.write(stored.data)
                batches += 1
                if at.stop == num_rows or batches % _SAVED_EVERY == 0:
                    file.flush()
                    os.fsync(file.fileno())
                    seconds = spent + time.perf_counter() - started
                    note = {"shape": list(shape), "rows": at.stop, "seconds": seconds}
                    write_text(folder / _REACHED, json.dumps(note) + "\n")
        if not are_finite:
            (folder / _PARTIAL).unlink()
            remedy = f"Use trainer.precision=32-true (now {self.plan.config.trainer.precision})."
            if self._stored is not Stored.FLOAT32:
                remedy = f"Use stored=float32 (now {self._stored})."
            raise DataError(
                f"Features of {self.plan.task.name} {split} by {self.plan.model.name} are NaN or "
                f"infinite in {self._stored}.",
                remedy,
            )
        facts = {
            "shape": list(shape),
            "sha256": _sha256(folder / _PARTIAL),
            "backbone": vars(backbone),
            "seconds": spent + time.perf_counter() - started,
            "meta": None if rows.meta is not None else meta_of(dataset).get("meta"),
            "environment": environment.versions(),
        }
        (folder / _PARTIAL).replace(folder / _FEATURES[self._stored])
        write_text(folder / _FACTS, json.dumps(facts, indent=2) + "\n")
        (folder / _REACHED).unlink(missing_ok=True)
        encoded = self._open(folder)
        if encoded is None:
            raise DataError(
                f"The features in {folder} changed while they were written.", "Run again."
            )
        return encoded

    def _batches(
        self, dataset: MarsDataset, start: int, rows: int
    ) -> Iterator[tuple[Features, range]]:
        """Encode from a row on, view by view; yields features (B, F) and their rows."""
        config, count = self.plan.config, len(dataset)
        workers = default_workers() if config.workers is None else config.workers
        title = f"Encoding {self.plan.task.name} {dataset.split}"
        most = max(1, _MOST_BYTES // (4 * self._facts.num_features))
        with steps(title, rows) as advance, torch.inference_mode():
            advance(start)
            while start < rows:
                view, first = divmod(start, count)
                loader = Loader(
                    Subset(Speaking(dataset), range(first, count)),
                    batch_size=min(BATCH.get(self.device.type, BATCH["cpu"]), most),
                    collate_fn=collate,
                    num_workers=workers,
                    pin_memory=self.device.type == "cuda",
                )
                for batch in loader:
                    check_batch(batch)
                    images = self._images(batch["image"], view)
                    features = self._features(images).float().cpu().numpy()
                    yield features, range(start, start + len(features))
                    start += len(features)
                    advance(len(features))

    def _images(self, images: Tensor, view: int) -> Tensor:
        """Move images to the device and prepare a view for the backbone."""
        config = self.plan.config
        moved = {"image": images.to(self.device, non_blocking=True)}
        finished = finish_batch(
            moved, Augment.NONE, channels_last=config.channels_last, dtype=self._dtype
        )
        ready: Tensor = finished["image"]
        return augment_batch(ready, [view] * len(ready), Augment.D4) if view else ready

    def _features(self, images: Tensor) -> Tensor:
        """Encode images; if memory is too small, in smaller batches from now on."""
        parts = []
        for part in torch.split(images, self._most):
            try:
                parts.append(self._network.features(part))
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                if len(part) == 1:
                    raise TrainingError(
                        "The memory of the device is too small to encode a single image with "
                        f"{self.plan.model.name}.",
                        "Use trainer.precision=bf16-mixed, trainer.accelerator=cpu or a smaller "
                        "model.",
                    ) from error
                self._most = len(part) // 2
                parts.append(self._features(part))
        return torch.cat(parts)

    @cached_property
    def device(self) -> torch.device:
        """Device for encoding and fitting."""
        return device_of(self.plan.config)

    @property
    def _dtype(self) -> torch.dtype:
        is_double = self.plan.config.trainer.precision is Precision.FLOAT64
        return torch.float64 if is_double else torch.float32

    @cached_property
    def _network(self) -> Classifier | MapSegmenter:
        plan, config = self.plan, self.plan.config
        built = build_network(plan, Mode.FROZEN)
        if not isinstance(built, Classifier | MapSegmenter):
            raise TypeError(f"{plan.model.name} gives neither vectors nor maps")
        # Of the tensors as loaded, which prediction loads again, not of their double precision.
        self._sha256 = backbone_digest(built)
        built.eval().to(self.device, dtype=self._dtype)
        if config.channels_last:
            built.to(memory_format=torch.channels_last)
        if config.compile:
            # The forward pass of the whole network is not used.
            built.backbone.compile()
        return built

    @property
    def _is_named(self) -> bool:
        """Whether the weights have a name, whose file may be replaced, and not a digest."""
        return self.plan.weights is not None and self.plan.config.weights is None

    @cached_property
    def _facts(self) -> BackboneFacts:
        network = self._network
        if isinstance(network, MapSegmenter):
            num_features = network.num_features
        else:
            num_features = last_layer(network.head).in_features
        return BackboneFacts(
            sha256=self._sha256,
            num_features=num_features,
            parameters=sum(p.numel() for p in network.backbone.parameters()),
            device=device_name(self.device),
        )

    def _open(self, folder: Path) -> Encoded | None:
        """Open the features of a folder; None if they are missing or damaged."""
        file = folder / _FEATURES[self._stored]
        try:
            content = parse_json((folder / _FACTS).read_text())
            shape = tuple(content["shape"])
            features = np.memmap(file, dtype=self._dtype_stored, mode="r", shape=shape)
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


def _allocated(folder: Path) -> int:
    """Bytes of a folder's unfinished features, whose space is taken already."""
    try:
        return (folder / _PARTIAL).stat().st_size
    except OSError:
        return 0


def _reached(
    folder: Path, shape: tuple[int, int, int], dtype: np.dtype[np.floating]
) -> tuple[int, float]:
    """Number of rows encoded already, and seconds spent on them."""
    try:
        note = parse_json((folder / _REACHED).read_text())
        size = math.prod(shape) * dtype.itemsize
        if tuple(note["shape"]) == shape and (folder / _PARTIAL).stat().st_size == size:
            return int(note["rows"]), float(note["seconds"])
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return 0, 0.0


@lru_cache
def _version(package: str) -> str | None:
    """Version of a package, cached because the lookup is slow."""
    return environment.installed(package)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, hashlib.sha256).hexdigest()
