"""Loaders for training and evaluation."""

import os
from collections.abc import Iterator

import numpy as np
import pytorch_lightning as pl
from pytorch_lightning.accelerators import CUDAAccelerator
from torch.utils.data import DataLoader, Sampler, SequentialSampler

from marsbench.config import Augment, RunConfig
from marsbench.data.dataset import Draw, MarsDataset, Sample
from marsbench.data.rows import Source
from marsbench.data.spec import TaskSpec
from marsbench.data.subsets import Selection
from marsbench.data.transforms import eval_transform, train_transform


class EpochSampler(Sampler[Draw]):
    """Draw every sample once per epoch, in an order and with seeds set by (seed, epoch) alone.

    So an interrupted run continues as if it had not stopped, and the number of worker
    processes changes nothing.

    Args:
        length: Number of samples.
        seed: Seed of the run.
    """

    def __init__(self, length: int, seed: int) -> None:
        self.length, self.seed, self.epoch = length, seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch; Lightning calls this before each."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[Draw]:
        rng = np.random.default_rng([self.seed, self.epoch])
        order = rng.permutation(self.length)
        seeds = rng.integers(2**63, size=self.length)
        for i in order:
            yield Draw(int(i), int(seeds[i]))


class MarsDataModule(pl.LightningDataModule):
    """Train, val and test loaders of one run.

    Args:
        config: The run.
        spec: Its task.
        source: The task's data, opened.
        selection: The train samples of the run's subset.
        side: Side of the model's input in pixels.
        augment: Changes of train images, resolved.
    """

    def __init__(
        self,
        config: RunConfig,
        spec: TaskSpec,
        source: Source,
        selection: Selection,
        *,
        side: int,
        augment: Augment,
    ) -> None:
        super().__init__()
        self.config = config
        evaluate = eval_transform(side)
        self.train = MarsDataset(
            spec,
            source,
            "train",
            indices=selection.indices,
            transform=train_transform(side, augment),
            cache=config.cache,
        )
        self.val, self.test = (
            MarsDataset(spec, source, split, transform=evaluate, cache=config.cache)
            for split in ("val", "test")
        )

    def train_dataloader(self) -> DataLoader[Sample]:
        """Shuffled, augmented train batches."""
        return self._loader(self.train, EpochSampler(len(self.train), self.config.seed))

    def val_dataloader(self) -> DataLoader[Sample]:
        """Validation batches in order."""
        return self.ordered(self.val)

    def ordered(self, dataset: MarsDataset) -> DataLoader[Sample]:
        """Batches of a dataset in order."""
        return self._loader(dataset, SequentialSampler(dataset))

    def _loader(
        self, dataset: MarsDataset, sampler: Sampler[Draw] | Sampler[int]
    ) -> DataLoader[Sample]:
        workers = default_workers() if self.config.workers is None else self.config.workers
        return DataLoader(
            dataset,
            batch_size=self.config.optim.batch_size,
            sampler=sampler,
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=self.trainer is not None
            and isinstance(self.trainer.accelerator, CUDAAccelerator),
        )


def default_workers() -> int:
    """Processes that load data: on small machines the main process is faster by itself."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return 0 if (cores or 1) <= 2 else min(8, (cores or 1) - 1)
