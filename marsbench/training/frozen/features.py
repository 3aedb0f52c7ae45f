"""Features of a frozen backbone: encoded once per split, in memory-mapped files.

``MARSBENCH_HOME/features/TASK/KEY/`` holds ``features.f32``, the vectors of all samples of a split
in all views, and ``features.json``, written last, with the file's SHA-256 and the backbone's facts
for records. KEY covers everything that changes a feature. If several processes need the same
features, one encodes and the others wait. Interrupted encoding resumes.
"""

import contextlib
import hashlib
import json
import time
from collections.abc import Iterator
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
from marsbench.config.schema import Augment, Mode, Pooling, Precision
from marsbench.data import decode
from marsbench.data.datamodule import Loader, Speaking, check_batch, collate, default_workers
from marsbench.data.dataset import MarsDataset
from marsbench.data.transforms import augment_batch, finish_batch
from marsbench.models import weights
from marsbench.models.encoders.classifier import Classifier
from marsbench.models.encoders.heads import last_layer
from marsbench.models.inputs import DEFAULT
from marsbench.models.libraries import LIBRARIES
from marsbench.models.weights import backbone_digest
from marsbench.plan.resolve import Plan
from marsbench.training.failures import is_out_of_memory
from marsbench.training.inputs import prepared_inputs
from marsbench.training.loop.allocator import keep_freed_memory
from marsbench.training.loop.devices import device_name, device_of
from marsbench.training.loop.evaluation import meta_of
from marsbench.training.network import build_network
from marsbench.training.provenance import default_weights
from marsbench.training.trained import open_split

VERSION = 1
"""Part of the key; raise it when the features of equal inputs change."""

NUM_TURNED = 8
"""Views of ``protocol=cached augment=d4``: flips and quarter turns, by the low bits of a seed."""

_FEATURES = "features.f32"
_FACTS = "features.json"
_PARTIAL = "features.part"
_REACHED = "reached.json"

_BATCH = {"cpu": 32, "cuda": 256}
"""Images encoded at a time; changes features by rounding only."""

_BYTES = 4
"""Bytes of a number in single precision."""

_SAVED_EVERY = 16
"""Batches between two writes of the progress."""

Features = NDArray[np.float32]


@dataclass(frozen=True)
class BackboneFacts:
    """Facts of a backbone for records.

    Attributes:
        sha256: Digest of its tensors.
        num_features: Length of a feature vector, F.
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
        features: Read-only and memory-mapped, float32 (V, N, F): N samples of the split in V
            views, the first one upright.
        sha256: Digest of the file.
        backbone: Facts of the backbone.
        seconds: Duration of encoding.
        meta: Additional facts of each sample as JSON, if they are not in the index; None without
            such facts.
    """

    features: Features
    sha256: str
    backbone: BackboneFacts
    seconds: float
    meta: list[str] | None


class Encoder:
    """Encodes the splits of a run's task; builds the backbone when needed.

    Args:
        plan: The run. Runs that differ only in seed, subset or fitting of heads share features.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._most = _BATCH["cuda"]
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
        if self._is_named and weights.file_of(self.plan.model) is None:
            _ = self._classifier  # downloads the file, whose content is in the key
        folder = paths.home() / "features" / self.plan.task.name / f"{split}-{self.key(split)}"
        try:
            return once(folder, lambda: _open(folder), lambda: self._write(folder, split))
        except OSError as error:
            raise DataError(
                f"The cache of features {folder} cannot be written: {error.strerror or error}.",
                f"Free space, set MARSBENCH_HOME (now {paths.home()}), or use protocol=online.",
            ) from error

    def release(self) -> None:
        """Free the backbone; fitting heads does not need it."""
        if self.__dict__.pop("_classifier", None) is not None and self.device.type == "cuda":
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
        if self._dtype is torch.float64:
            choices["facts"] = 2  # digest of the tensors as loaded
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
        reached, spent = _reached(folder, shape)
        if not reached:
            with (folder / _PARTIAL).open("wb") as file:
                allocate(file, num_rows * shape[2] * _BYTES)
        partial: NDArray[np.float32] = np.memmap(
            folder / _PARTIAL, dtype=np.float32, mode="r+", shape=(num_rows, shape[2])
        )
        batches = 0
        with self._arithmetic():
            for batch, at in self._batches(dataset, reached, num_rows):
                partial[at.start : at.stop] = batch
                batches += 1
                if at.stop == num_rows or batches % _SAVED_EVERY == 0:
                    partial.flush()  # type: ignore[attr-defined]
                    seconds = spent + time.perf_counter() - started
                    note = {"shape": list(shape), "rows": at.stop, "seconds": seconds}
                    write_text(folder / _REACHED, json.dumps(note) + "\n")
        if not np.isfinite(partial).all():
            (folder / _PARTIAL).unlink()
            raise DataError(
                f"Features of {self.plan.task.name} {split} by {self.plan.model.name} are NaN or "
                "infinite.",
                f"Use trainer.precision=32-true (now {self.plan.config.trainer.precision}).",
            )
        del partial
        facts = {
            "shape": list(shape),
            "sha256": _sha256(folder / _PARTIAL),
            "backbone": vars(backbone),
            "seconds": spent + time.perf_counter() - started,
            "meta": None if rows.meta is not None else meta_of(dataset).get("meta"),
            "environment": environment.versions(),
        }
        (folder / _PARTIAL).replace(folder / _FEATURES)
        write_text(folder / _FACTS, json.dumps(facts, indent=2) + "\n")
        (folder / _REACHED).unlink(missing_ok=True)
        encoded = _open(folder)
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
        with steps(title, rows) as advance, torch.inference_mode():
            advance(start)
            while start < rows:
                view, first = divmod(start, count)
                loader = Loader(
                    Subset(Speaking(dataset), range(first, count)),
                    batch_size=_BATCH.get(self.device.type, _BATCH["cpu"]),
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
                parts.append(self._classifier.features(part))
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

    @contextlib.contextmanager
    def _arithmetic(self) -> Iterator[None]:
        """Use mixed precision if requested."""
        mixed = {Precision.BF16_MIXED: torch.bfloat16, Precision.FP16_MIXED: torch.float16}
        chosen = mixed.get(self.plan.config.trainer.precision)
        with torch.autocast(self.device.type, dtype=chosen, enabled=chosen is not None):
            yield

    @cached_property
    def _classifier(self) -> Classifier:
        plan, config = self.plan, self.plan.config
        built = build_network(plan, Mode.FROZEN)
        if not isinstance(built, Classifier):
            raise TypeError(f"{plan.model.name} is not a classifier")
        # Of the tensors as loaded, which prediction loads again, not of their double precision.
        self._sha256 = backbone_digest(built)
        built.eval().to(self.device, dtype=self._dtype)
        if config.channels_last:
            built.to(memory_format=torch.channels_last)
        if config.compile:
            # The forward pass of the whole classifier is not used.
            built.backbone.compile()
        return built

    @property
    def _is_named(self) -> bool:
        """Whether the weights have a name, whose file may be replaced, and not a digest."""
        return self.plan.weights is not None and self.plan.config.weights is None

    @cached_property
    def _facts(self) -> BackboneFacts:
        classifier = self._classifier
        return BackboneFacts(
            sha256=self._sha256,
            num_features=last_layer(classifier.head).in_features,
            parameters=sum(p.numel() for p in classifier.backbone.parameters()),
            device=device_name(self.device),
        )


def _open(folder: Path) -> Encoded | None:
    """Open the features of a folder; None if they are missing or damaged."""
    try:
        content = parse_json((folder / _FACTS).read_text())
        shape = tuple(content["shape"])
        features = np.memmap(folder / _FEATURES, dtype=np.float32, mode="r", shape=shape)
        encoded = Encoded(
            features,
            str(content["sha256"]),
            BackboneFacts(**content["backbone"]),
            float(content["seconds"]),
            content["meta"],
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return encoded if _sha256(folder / _FEATURES) == encoded.sha256 else None


def _reached(folder: Path, shape: tuple[int, int, int]) -> tuple[int, float]:
    """Number of rows encoded already, and seconds spent on them."""
    try:
        note = parse_json((folder / _REACHED).read_text())
        size = int(np.prod(shape)) * _BYTES
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
