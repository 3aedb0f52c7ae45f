"""Features of a frozen backbone: encoded once per split, in memory-mapped files.

``MARSBENCH_HOME/features/TASK/KEY/`` holds the `files` of a split. A row is the vector of a
classifier, or all feature maps that a decoder of masks uses, flat. KEY covers everything that
changes a feature. If several processes need the same features, one encodes and the others wait.
Interrupted encoding resumes.
"""

import gc
import shutil
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import closing
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Subset

from marsbench.base import environment, paths
from marsbench.base.errors import DataError, TrainingError
from marsbench.base.files import once
from marsbench.base.progress import steps, tell
from marsbench.config.identity import PIPELINE, digest
from marsbench.config.schema import Augment, Matmul, Mode, Pooling, Precision, Stored
from marsbench.data import decode
from marsbench.data.datamodule import Loader, Speaking, check_batch, collate, default_workers
from marsbench.data.dataset import MarsDataset
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
from marsbench.training.frozen.files import (
    BackboneFacts,
    Encoded,
    Features,
    Unfinished,
    allocated,
    is_finished,
    open_features,
)
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

BATCH = {"cpu": 32, "cuda": 256}
"""Images encoded at a time; changes features by rounding only."""

_MOST_BYTES = 2**26
"""Most bytes of features encoded at a time: maps are large."""


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
            return once(
                folder,
                lambda: open_features(folder, self._stored),
                lambda: self._write(folder, split),
            )
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
        missing = {s: folder for s, folder in folders.items() if not is_finished(folder)}
        if not missing:
            return
        needed = sum(self._size(split) - allocated(folder) for split, folder in missing.items())
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
        self.__dict__.pop("_encode", None)
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
        if plan.config.compile:
            choices["compile"] = True
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
        if is_finished(folder):
            tell(f"The features in {folder} are damaged and will be encoded again.")
        keep_freed_memory()
        dataset = open_split(self.plan, split)
        shape = (self.views(split), len(dataset), self._facts.num_features)
        with (
            closing(Unfinished(folder, shape, self._stored, started)) as unfinished,
            arithmetic(self.plan.config, self.device),
        ):
            for batch in self._batches(dataset, shape[0], unfinished.samples):
                if not unfinished.write(batch):
                    unfinished.discard()
                    raise self._infinite(split)
            has_meta = self.plan.source.rows(split).meta is not None
            unfinished.finish(self._facts, None if has_meta else meta_of(dataset).get("meta"))
        encoded = open_features(folder, self._stored)
        if encoded is None:
            raise DataError(
                f"The features in {folder} changed while they were written.", "Run again."
            )
        return encoded

    def _infinite(self, split: str) -> DataError:
        remedy = f"Use trainer.precision=32-true (now {self.plan.config.trainer.precision})."
        if self._stored is not Stored.FLOAT32:
            remedy = f"Use stored=float32 (now {self._stored})."
        return DataError(
            f"Features of {self.plan.task.name} {split} by {self.plan.model.name} are NaN or "
            f"infinite in {self._stored}.",
            remedy,
        )

    def _batches(self, dataset: MarsDataset, views: int, start: int) -> Iterator[Features]:
        """Encode samples from `start` on; yields their features in all views, (V, B, F)."""
        config, count = self.plan.config, len(dataset)
        most = max(1, _MOST_BYTES // (4 * self._facts.num_features * views))
        loader = Loader(
            Subset(Speaking(dataset), range(start, count)),
            batch_size=min(BATCH.get(self.device.type, BATCH["cpu"]), most),
            collate_fn=collate,
            num_workers=default_workers() if config.workers is None else config.workers,
            pin_memory=self.device.type == "cuda",
        )
        title = f"Encoding {self.plan.task.name} {dataset.split}"
        with steps(title, count, start) as advance, torch.inference_mode():
            for batch in loader:
                check_batch(batch)
                images = self._images(batch["image"])
                encoded = [self._features(_turned(images, view)) for view in range(views)]
                yield torch.stack(encoded).float().cpu().numpy()
                advance(len(images))

    def _images(self, images: Tensor) -> Tensor:
        """Move images to the device and prepare them for the backbone."""
        config = self.plan.config
        moved = {"image": images.to(self.device, non_blocking=True)}
        finished = finish_batch(
            moved, Augment.NONE, channels_last=config.channels_last, dtype=self._dtype
        )
        ready: Tensor = finished["image"]
        return ready

    def _features(self, images: Tensor) -> Tensor:
        """Encode images (B, C, S, S); if memory is too small, in smaller batches from now on."""
        parts: list[Tensor] = []
        start = 0
        while start < len(images):
            part = images[start : start + self._most]
            features = self._attempt(part)
            if features is None:
                # Outside of the handler, whose error references the tensors of the failed attempt.
                self._most = len(part) // 2
                gc.collect()
                if self.device.type == "cuda":
                    torch.cuda.empty_cache()
            else:
                parts.append(features)
                start += len(part)
        return torch.cat(parts)

    def _attempt(self, images: Tensor) -> Tensor | None:
        """Encode images at once; None if memory is too small for more than one."""
        try:
            return self._encode(images)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            if len(images) == 1:
                raise TrainingError(
                    "The memory of the device is too small to encode a single image with "
                    f"{self.plan.model.name}.",
                    "Use trainer.precision=bf16-mixed, trainer.accelerator=cpu or a smaller model.",
                ) from error
            return None

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
        return built

    @cached_property
    def _encode(self) -> Callable[[Tensor], Tensor]:
        """From images (B, C, S, S) to features (B, F)."""
        encode = self._network.features
        return torch.compile(encode) if self.plan.config.compile else encode

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


def _turned(images: Tensor, view: int) -> Tensor:
    """A view of images; view 0 is upright."""
    return augment_batch(images, [view] * len(images), Augment.D4) if view else images


@lru_cache
def _version(package: str) -> str | None:
    """Version of a package, cached because the lookup is slow."""
    return environment.installed(package)
