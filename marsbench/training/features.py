"""What a frozen backbone makes of the images of a split: encoded once, in memory-mapped files.

``MARSBENCH_HOME/features/TASK/KEY/`` holds ``features.f32``, the vectors of all samples of one
split and one view, and ``features.json``, written last, with the file's SHA-256 and what the
records of heads say of the backbone. KEY covers everything that changes a feature. Several
processes may ask for the same features at once: one encodes, the others wait; encoding that was
interrupted goes on where it stopped.
"""

import contextlib
import hashlib
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Subset

from marsbench import environment, paths
from marsbench.config import Augment, Mode, Precision, RunConfig, Views
from marsbench.data import decode
from marsbench.data.datamodule import check_batch, collate, default_workers
from marsbench.data.dataset import MarsDataset
from marsbench.data.samples import colors_of
from marsbench.data.spec import Decode
from marsbench.data.transforms import augment_batch, finish_batch
from marsbench.errors import ConfigError, DataError
from marsbench.identity import PIPELINE, digest
from marsbench.models.build import Classifier
from marsbench.models.modes import build_for_mode
from marsbench.plan import Plan
from marsbench.progress import tell, track
from marsbench.results.store import write_atomically
from marsbench.training.evaluation import meta_of
from marsbench.training.provenance import backbone_digest

VERSION = 1
"""Part of the key: raise it whenever features come out otherwise."""

NUM_TURNED = 8
"""Views of ``views=d4``: flips and quarter turns, numbered by the three bits of a draw's seed."""

_FEATURES = "features.f32"
_TOLD = "features.json"
_PARTIAL = "features.part"
_REACHED = "reached.json"

_BATCH = {"cpu": 32, "cuda": 256}
"""Images encoded at a time; it moves features by rounding alone."""

_SAVED_EVERY = 16
"""Batches between two notes of how far encoding is."""

Features = NDArray[np.float32]


@dataclass(frozen=True)
class Backbone:
    """What records say of a backbone whose features are used.

    Attributes:
        sha256: Digest of its tensors.
        num_features: Length of a feature vector, F.
        parameters: Number of its parameters.
        device: What encoded.
    """

    sha256: str
    num_features: int
    parameters: int
    device: str


@dataclass(frozen=True)
class Encoded:
    """The features of a split.

    Attributes:
        features: Read-only and memory-mapped, float32 (V, N, F): N samples of the whole split in
            V views, the first of them upright.
        digests: SHA-256 of each view's file.
        backbone: What encoded them.
        seconds: What encoding took, whenever that was.
        meta: What else the data say of each sample, as JSON; None where they say nothing.
    """

    features: Features
    digests: tuple[str, ...]
    backbone: Backbone
    seconds: float
    meta: list[str] | None


class Encoder:
    """Encodes the splits of a run's task with its backbone, which is built when it is needed.

    Args:
        plan: The run. Runs that differ in seed, subset or how heads are fitted share features.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan

    @property
    def views(self) -> range:
        """Views of train images that are encoded."""
        return range(NUM_TURNED if self.plan.config.views == Views.D4 else 1)

    def encode(self, split: str) -> Encoded:
        """Open the features of a split, encoding it first if need be.

        Views beside the upright one are of the train split: they stand for augmentation.

        Raises:
            DataError: If an image cannot be read, or the cache cannot be written.
            WeightsError: If the backbone's weights cannot be had.
        """
        views = self.views if split == "train" else range(1)
        found = [self._view(split, view) for view in views]
        if len(found) == 1:
            features = found[0].features[None]
        else:
            # One block of memory, in which a draw is one row.
            features = np.stack([one.features for one in found])
        return Encoded(
            features,
            tuple(one.sha256 for one in found),
            found[0].backbone,
            sum(one.seconds for one in found),
            found[0].meta,
        )

    def key(self, split: str, view: int) -> str:
        """Name what the features of a split depend on."""
        plan = self.plan
        choices: dict[str, Any] = {
            "version": VERSION,
            "pipeline": PIPELINE,
            "decode": decode.VERSION,
            "rows": plan.source.rows(split).fingerprint,
            "architecture": plan.model.architecture,
            "weights": plan.weights,
            "normalise": [plan.model.mean, plan.model.std],
            "side": plan.side,
            "bands": plan.config.bands if plan.task.channels > 3 else None,
            "raster": plan.identity.get("spectra"),
            "precision": plan.config.trainer.precision,
            "view": view,
        }
        return digest(choices)[:16]

    def _view(self, split: str, view: int) -> "_File":
        name = f"{split}-{self.key(split, view)}"
        folder = paths.home() / "features" / self.plan.task.name / name
        if (there := _open(folder)) is not None:
            return there
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with FileLock(f"{folder}.lock"):
                # Another process may have finished while this one waited.
                found = _open(folder)
                if found is None:
                    self._write(folder, split, view)
                    found = _open(folder)
        except OSError as error:
            raise DataError(
                f"The cache of features {folder} cannot be written: {error.strerror or error}.",
                f"Make room, or set MARSBENCH_HOME (now {paths.home()}), or protocol=online.",
            ) from error
        if found is None:
            raise DataError(
                f"The features in {folder} changed while they were written.", "Run again."
            )
        return found

    def _write(self, folder: Path, split: str, view: int) -> None:
        """Encode what lacks of a view."""
        started = time.perf_counter()
        dataset = self._dataset(split)
        backbone = self._told
        shape = (len(dataset), backbone.num_features)
        reached, spent = _reached(folder, shape)
        partial: NDArray[np.float32] = np.memmap(
            folder / _PARTIAL, dtype=np.float32, mode="r+" if reached else "w+", shape=shape
        )
        what = f"Encoding {self.plan.task.name} {split}"
        what += f", view {view + 1} of {NUM_TURNED}" if len(self.views) > 1 else ""
        with self._arithmetic():
            for batch, rows in self._batches(dataset, reached, view, what):
                partial[rows.start : rows.stop] = batch
                if rows.stop == len(dataset) or (rows.stop // len(batch)) % _SAVED_EVERY == 0:
                    partial.flush()  # type: ignore[attr-defined]
                    seconds = spent + time.perf_counter() - started
                    _note(folder / _REACHED, shape=list(shape), rows=rows.stop, seconds=seconds)
        if not np.isfinite(partial).all():
            (folder / _PARTIAL).unlink()
            raise DataError(
                f"{self.plan.model.name} makes features that are no numbers of "
                f"{self.plan.task.name} {split}.",
                f"Use trainer.precision=32-true (now {self.plan.config.trainer.precision}).",
            )
        del partial
        told = {
            "shape": list(shape),
            "sha256": _sha256(folder / _PARTIAL),
            "backbone": vars(backbone),
            "seconds": spent + time.perf_counter() - started,
            "meta": meta_of(dataset).get("meta"),
            "environment": environment.versions(),
        }
        (folder / _PARTIAL).replace(folder / _FEATURES)
        write_atomically(folder / _TOLD, json.dumps(told, indent=2) + "\n")
        (folder / _REACHED).unlink(missing_ok=True)

    def _batches(
        self, dataset: MarsDataset, start: int, view: int, what: str
    ) -> Iterator[tuple[Features, range]]:
        """Encode samples from a position on; gives features (B, F) and which rows they are."""
        size = _BATCH.get(self.device.type, _BATCH["cpu"])
        config = self.plan.config
        workers = default_workers() if config.workers is None else config.workers
        loader: DataLoader[Any] = DataLoader(
            Subset(dataset, range(start, len(dataset))),
            batch_size=size,
            collate_fn=collate,
            num_workers=workers,
            pin_memory=self.device.type == "cuda",
        )
        with torch.inference_mode():
            for batch in track(loader, what, len(loader)):
                check_batch(batch)
                moved = {"image": batch["image"].to(self.device, non_blocking=True)}
                finished = finish_batch(
                    moved,
                    Augment.NONE,
                    channels_last=config.channels_last,
                    dtype=self._dtype,
                )
                images = finished["image"]
                if view:
                    images = augment_batch(images, [view] * len(images), Augment.D4)
                found = self._classifier.features(images).float().cpu().numpy()
                yield found, range(start, start + len(found))
                start += len(found)

    @cached_property
    def device(self) -> torch.device:
        """Where images are encoded and heads are fitted."""
        return device_of(self.plan.config)

    @property
    def _dtype(self) -> torch.dtype:
        is_double = self.plan.config.trainer.precision is Precision.FLOAT64
        return torch.float64 if is_double else torch.float32

    @contextlib.contextmanager
    def _arithmetic(self) -> Iterator[None]:
        """Mixed precision where the run asks for it."""
        mixed = {Precision.BF16_MIXED: torch.bfloat16, Precision.FP16_MIXED: torch.float16}
        chosen = mixed.get(self.plan.config.trainer.precision)
        with torch.autocast(self.device.type, dtype=chosen, enabled=chosen is not None):
            yield

    @cached_property
    def _classifier(self) -> Classifier:
        plan = self.plan
        raster = None if plan.rendering is None else plan.rendering.raster
        config = plan.config
        built = build_for_mode(
            plan.model,
            plan.task.kind,
            plan.num_outputs,
            Mode.FROZEN,
            side=plan.side,
            colors=colors_of(plan.task, config.bands),
            shape=None if raster is None else (raster.rows, raster.columns),
            checkpoint=Path(config.weights).expanduser() if config.weights else None,
        )
        if not isinstance(built, Classifier):
            raise TypeError(f"{plan.model.name} is no classifier")
        built.eval().to(self.device, dtype=self._dtype)
        if config.channels_last:
            built.to(memory_format=torch.channels_last)
        if config.compile:
            built.compile()
        return built

    @cached_property
    def _told(self) -> Backbone:
        classifier = self._classifier
        return Backbone(
            sha256=backbone_digest(classifier),
            num_features=int(classifier.head.in_features),  # type: ignore[arg-type]
            parameters=sum(p.numel() for p in classifier.backbone.parameters()),
            device=name_of(self.device),
        )

    def _dataset(self, split: str) -> MarsDataset:
        plan = self.plan
        return MarsDataset(
            plan.task,
            plan.source,
            split,
            side=plan.side,
            bands=plan.config.bands,
            cache=plan.config.cache or plan.task.decode is Decode.SPECTRUM,
            rendering=plan.rendering,
        )


@dataclass(frozen=True)
class _File:
    """One view of a split."""

    features: Features
    sha256: str
    backbone: Backbone
    seconds: float
    meta: list[str] | None


def device_of(config: RunConfig) -> torch.device:
    """Choose where a run with cached features computes.

    Raises:
        ConfigError: If the device asked for is not here.
    """
    wanted = config.trainer.accelerator
    if wanted in ("gpu", "cuda") and not torch.cuda.is_available():
        raise ConfigError(
            f"trainer.accelerator={wanted}: no CUDA device is here.",
            "Leave it out, or see `marsbench doctor`.",
        )
    if wanted not in ("auto", "cpu", "gpu", "cuda"):
        raise ConfigError(
            f"trainer.accelerator={wanted} is not for cached features.",
            "Choose auto, cpu or gpu, or protocol=online.",
        )
    return torch.device("cuda" if wanted != "cpu" and torch.cuda.is_available() else "cpu")


def name_of(device: torch.device) -> str:
    """Name a device for people."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"cpu ({torch.get_num_threads()} threads)"


def _open(folder: Path) -> _File | None:
    """Open a view; None if it is not there, or was damaged from outside, which is told."""
    try:
        told = json.loads((folder / _TOLD).read_text())
        shape = tuple(told["shape"])
        features = np.memmap(folder / _FEATURES, dtype=np.float32, mode="r", shape=shape)
        backbone, sha256 = Backbone(**told["backbone"]), str(told["sha256"])
        seconds, meta = float(told["seconds"]), told["meta"]
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError):
        tell(f"The features in {folder} are damaged and encoded again.")
        return None
    if _sha256(folder / _FEATURES) != sha256:
        tell(f"The features in {folder} do not have their checksum and are encoded again.")
        return None
    return _File(features, sha256, backbone, seconds, meta)


def _reached(folder: Path, shape: tuple[int, int]) -> tuple[int, float]:
    """Say how many rows are encoded already, and what they took."""
    try:
        told = json.loads((folder / _REACHED).read_text())
        whole = shape[0] * shape[1] * np.dtype(np.float32).itemsize
        if tuple(told["shape"]) == shape and (folder / _PARTIAL).stat().st_size == whole:
            return int(told["rows"]), float(told["seconds"])
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return 0, 0.0


def _note(path: Path, **values: Any) -> None:
    write_atomically(path, json.dumps(values) + "\n")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, hashlib.sha256).hexdigest()
