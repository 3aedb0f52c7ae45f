"""Loaders for training and evaluation."""

import sys
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pytorch_lightning as pl
from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
from numpy.typing import NDArray
from pytorch_lightning.accelerators import CUDAAccelerator
from torch.utils.data import DataLoader, Dataset, Sampler, get_worker_info

from marsbench.base.environment import usable_cores
from marsbench.base.errors import DataError, MarsbenchError
from marsbench.config.resizing import WHOLE, Resizing
from marsbench.config.schema import RunConfig
from marsbench.data.batches import batch_of
from marsbench.data.dataset import Draw, MarsDataset, Sample
from marsbench.data.encoded import EncodedImages
from marsbench.data.rendering import Rendering
from marsbench.data.rows import Source
from marsbench.tasks.kinds import Kind
from marsbench.tasks.spec import TaskSpec


class EpochSampler(Sampler[Draw]):
    """Draw the train samples of an epoch in an order and with seeds set by (seed, epoch) alone.

    A resumed run therefore equals an uninterrupted run, for any number of workers. Several
    devices split each batch: a step sees the samples of a single device with the whole batch.

    Args:
        draws: Positions to draw, repeated for oversampled samples, shape (n,).
        seed: Seed of the run.
        batch_size: Samples per batch and device.
        rank: Rank of this device.
        world_size: Number of devices.
    """

    def __init__(
        self,
        draws: NDArray[np.int64],
        seed: int,
        batch_size: int = 1,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.draws, self.seed, self.epoch = draws, seed, 0
        self.batch_size, self.rank, self.world_size = batch_size, rank, world_size

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch; called by Lightning before each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        whole, rest = divmod(len(self.draws), self.batch_size * self.world_size)
        return whole * self.batch_size + self._share(rest)

    def _share(self, rest: int) -> int:
        """Number of samples of the incomplete last batch for this device."""
        # At least one, ignored by the loss: devices step together.
        return max(len(range(self.rank, rest, self.world_size)), 1 if rest else 0)

    def __iter__(self) -> Iterator[Draw]:
        order, seeds = epoch_order(len(self.draws), self.seed, self.epoch)
        rest = len(order) % (self.batch_size * self.world_size)
        mine = np.concatenate(
            [
                order[: len(order) - rest][self.rank :: self.world_size],
                order[len(order) - rest :][self.rank :: self.world_size],
            ]
        )
        if len(mine) < len(self):
            mine = np.append(mine, order[-1])
        for i in mine:
            yield Draw(int(self.draws[i]), int(seeds[i]))


def epoch_order(
    num_draws: int, seed: int, epoch: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Order and seeds of the draws of an epoch.

    Args:
        num_draws: Number of draws, m.
        seed: Seed of the run.
        epoch: Epoch, from 0.

    Returns:
        Positions of the draws in order, (m,); and the seed of the draw at each position, (m,).
    """
    rng = np.random.default_rng([seed, epoch])
    order = rng.permutation(num_draws)
    return order, rng.integers(2**63, size=num_draws)


class ShareSampler(Sampler[int]):
    """Positions in order; each of several devices takes every `world_size`-th.

    Args:
        length: Number of samples.
        rank: Rank of this device.
        world_size: Number of devices.
    """

    def __init__(self, length: int, rank: int = 0, world_size: int = 1) -> None:
        # With more devices than samples, a sample is seen twice and counted once.
        self.positions = range(min(rank, length - 1), length, world_size)

    def __len__(self) -> int:
        return len(self.positions)

    def __iter__(self) -> Iterator[int]:
        return iter(self.positions)


class MarsDataModule(pl.LightningDataModule):
    """Train and evaluation loaders of a run.

    Args:
        config: The run.
        spec: Task of the run.
        source: The task's data, opened.
        train: Positions of the train samples.
        val: Samples to choose the checkpoint by, as (split, positions or None for all); None
            takes the last checkpoint.
        draws: Positions among the train samples drawn in an epoch, with repeats; None draws
            each sample once.
        side: Side of the model's input in pixels; None keeps the size of rasterised spectra.
        rendering: Rasterisation of spectra.
        resizing: Resizing of images to `side`.
        encoded: Encoded images by split, in place of the images.

    Attributes:
        train: The train samples.
        val: The samples to choose the checkpoint by, or None.
    """

    def __init__(
        self,
        config: RunConfig,
        spec: TaskSpec,
        source: Source,
        train: NDArray[np.int64],
        val: tuple[str, NDArray[np.int64] | None] | None = ("val", None),
        *,
        side: int | None,
        draws: NDArray[np.int64] | None = None,
        rendering: Rendering | None = None,
        resizing: Resizing = WHOLE,
        encoded: Mapping[str, EncodedImages] | None = None,
    ) -> None:
        super().__init__()
        self.config, self.spec, self.source = config, spec, source
        self.side, self.rendering, self.resizing = side, rendering, resizing
        self.encoded = encoded or {}
        self.train = self.dataset("train", train)
        self.val = None if val is None else self.dataset(*val)
        self.draws = np.arange(len(self.train)) if draws is None else draws
        if spec.kind is Kind.DETECTION:
            for dataset in (self.train, self.val):
                if dataset is not None:
                    _check_boxes(dataset)

    def dataset(self, split: str, indices: NDArray[np.int64] | None = None) -> MarsDataset:
        """Open the dataset of a split; `indices` of None takes all samples."""
        return MarsDataset(
            self.spec,
            self.source,
            split,
            indices=indices,
            side=self.side,
            bands=self.config.bands,
            cache=self.config.cache,
            rendering=self.rendering,
            resizing=self.resizing,
            encoded=self.encoded.get(split),
        )

    def train_dataloader(self) -> DataLoader[Sample]:
        """Shuffled train batches; augmentation happens on the device."""
        sampler = EpochSampler(
            self.draws, self.config.seed, self.config.optim.batch_size, *self._place
        )
        return self._loader(self.train, sampler)

    def val_dataloader(self) -> Any:
        """Validation batches in order; an empty list without validation samples."""
        return [] if self.val is None else self.ordered(self.val)

    def ordered(self, dataset: MarsDataset) -> DataLoader[Sample]:
        """Batches of a dataset in order."""
        return self._loader(dataset, ShareSampler(len(dataset), *self._place))

    @property
    def _place(self) -> tuple[int, int]:
        """Rank and number of devices."""
        return (
            (0, 1) if self.trainer is None else (self.trainer.global_rank, self.trainer.world_size)
        )

    def _loader(
        self, dataset: MarsDataset, sampler: Sampler[Draw] | Sampler[int]
    ) -> DataLoader[Sample]:
        workers = self.config.workers
        if workers is None:
            workers = default_workers(processes_on_cores(self.trainer))
        return Loader(
            Speaking(dataset),
            batch_size=self.config.optim.batch_size,
            sampler=sampler,
            collate_fn=collate,
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=self.trainer is not None
            and isinstance(self.trainer.accelerator, CUDAAccelerator),
        )


def _check_boxes(dataset: MarsDataset) -> None:
    """Refuse a split without boxes."""
    if all(dataset.samples[int(i)].is_negative for i in dataset.indices):
        raise DataError(
            f"No {dataset.split} image of {dataset.spec.name} has a box.",
            "Add images with boxes, or choose a larger subset.",
        )


class Loader(DataLoader[Any]):
    """Loader whose workers start by any method, also from a script without a main guard.

    Processes started by ``spawn`` (macOS, Windows) or ``forkserver`` (Linux from Python 3.14)
    execute the main program, here the user's script with its run, once more. Workers need nothing
    from it.
    """

    def __iter__(self) -> Any:
        """Start the workers; multiprocessing finds no main program to execute."""
        main = sys.modules["__main__"]
        names = ("__spec__", "__file__")
        before = {name: main.__dict__[name] for name in names if name in main.__dict__}
        main.__dict__.update(dict.fromkeys(names))
        try:
            return super().__iter__()
        finally:
            for name in names:
                del main.__dict__[name]
            main.__dict__.update(before)


class Speaking(Dataset[Any]):
    """Dataset whose items in worker processes are samples or errors.

    An error raised in a worker would arrive wrapped in the worker's traceback.
    """

    def __init__(self, dataset: MarsDataset) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, draw: int | Draw) -> Sample | MarsbenchError:
        try:
            return self.dataset[draw]
        except MarsbenchError as error:
            if get_worker_info() is None:
                raise
            return error


def check_batch(batch: Mapping[str, Any]) -> None:
    """Raise the error of a worker process for a batch."""
    if FAILED in batch:
        raise batch[FAILED]


FAILED = "failed"
"""Key of a batch that holds an error in place of samples."""


UNUSED = ("meta", "spectrum")
"""Fields of samples that no model uses."""


def collate(samples: list[Sample | MarsbenchError]) -> dict[str, Any]:
    """Make a batch of the fields that models use, or of the error of a sample."""
    good = [sample for sample in samples if not isinstance(sample, MarsbenchError)]
    if len(good) < len(samples):
        return {FAILED: next(s for s in samples if isinstance(s, MarsbenchError))}
    return batch_of([{k: v for k, v in sample.items() if k not in UNUSED} for sample in good])


def processes_on_cores(trainer: pl.Trainer | None) -> int:
    """Number of training processes that share the cores of this process.

    Processes that Lightning or torchrun start on a machine share them; tasks of srun have cores of
    their own.

    Args:
        trainer: Trainer of the run; None for a single process.
    """
    if trainer is None:
        return 1
    cluster = getattr(trainer.strategy, "cluster_environment", None)
    return 1 if isinstance(cluster, SLURMEnvironment) else trainer.num_devices


def default_workers(processes: int = 1) -> int:
    """Default number of worker processes of a loader; 0 on machines with at most two cores.

    Args:
        processes: Number of processes that share the cores of this process.
    """
    cores = usable_cores()
    return 0 if cores <= 2 else min(8, (cores - 1) // processes)
