"""Loaders for training and evaluation."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pytorch_lightning as pl
from numpy.typing import NDArray
from pytorch_lightning.accelerators import CUDAAccelerator
from torch.utils.data import DataLoader, Dataset, Sampler, default_collate, get_worker_info

from marsbench.base.environment import usable_cores
from marsbench.base.errors import DataError, MarsbenchError
from marsbench.config.schema import RunConfig
from marsbench.data.dataset import Draw, MarsDataset, Sample
from marsbench.data.rendering import Rendering
from marsbench.data.rows import Source
from marsbench.tasks.kinds import Kind
from marsbench.tasks.spec import TaskSpec


class EpochSampler(Sampler[Draw]):
    """Draw train samples once per epoch, in an order and with seeds set by (seed, epoch) alone.

    So an interrupted run continues as if it had not stopped, and the number of worker
    processes changes nothing. Several devices share the batches of one device out: the samples
    of a step are those that one device with as large a batch would see.

    Args:
        draws: Positions to draw, with repeats where a sample is drawn more often, shape (n,).
        seed: Seed of the run.
        batch_size: Samples per batch and device.
        rank: Which of the devices this is.
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
        """Choose the epoch; Lightning calls this before each."""
        self.epoch = epoch

    def __len__(self) -> int:
        whole, rest = divmod(len(self.draws), self.batch_size * self.world_size)
        return whole * self.batch_size + self._share(rest)

    def _share(self, rest: int) -> int:
        """Samples of the last, incomplete batch that fall to this device."""
        # At least one, which then counts for nothing: devices step together.
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
    """Order the draws of an epoch, and give each draw its seed.

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
    """Positions in order; of several devices each has every so many.

    Args:
        length: Number of samples.
        rank: Which of the devices this is.
        world_size: Number of devices.
    """

    def __init__(self, length: int, rank: int = 0, world_size: int = 1) -> None:
        # More devices than samples: one sample is seen twice, and counted once.
        self.positions = range(min(rank, length - 1), length, world_size)

    def __len__(self) -> int:
        return len(self.positions)

    def __iter__(self) -> Iterator[int]:
        return iter(self.positions)


class MarsDataModule(pl.LightningDataModule):
    """Loaders of one training: of the samples it learns from, and of those it predicts.

    Args:
        config: The run.
        spec: Its task.
        source: The task's data, opened.
        train: Positions of the train samples.
        val: Samples that choose the checkpoint, as (split, positions or None for all); None where
            the last one is taken.
        draws: Positions among the train samples that an epoch draws, with repeats; None draws
            each once.
        side: Side of the model's input in pixels; None keeps the size of rasterised spectra.
        rendering: How spectra become images.

    Attributes:
        train: The train samples.
        val: Those that choose the checkpoint, or None.
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
    ) -> None:
        super().__init__()
        self.config, self.spec, self.source = config, spec, source
        self.side, self.rendering = side, rendering
        self.train = self.dataset("train", train)
        self.val = None if val is None else self.dataset(*val)
        self.draws = np.arange(len(self.train)) if draws is None else draws
        if spec.kind is Kind.DETECTION:
            for dataset in (self.train, self.val):
                if dataset is not None:
                    _check_boxes(dataset)

    def dataset(self, split: str, indices: NDArray[np.int64] | None = None) -> MarsDataset:
        """Open samples of a split, or all of them."""
        return MarsDataset(
            self.spec,
            self.source,
            split,
            indices=indices,
            side=self.side,
            bands=self.config.bands,
            cache=self.config.cache,
            rendering=self.rendering,
        )

    def train_dataloader(self) -> DataLoader[Sample]:
        """Shuffled train batches, to be augmented on the device."""
        sampler = EpochSampler(
            self.draws, self.config.seed, self.config.optim.batch_size, *self._place
        )
        return self._loader(self.train, sampler)

    def val_dataloader(self) -> Any:
        """Validation batches in order; none where no checkpoint is chosen."""
        return [] if self.val is None else self.ordered(self.val)

    def ordered(self, dataset: MarsDataset) -> DataLoader[Sample]:
        """Batches of a dataset in order."""
        return self._loader(dataset, ShareSampler(len(dataset), *self._place))

    @property
    def _place(self) -> tuple[int, int]:
        """Which of how many devices this process serves."""
        return (
            (0, 1) if self.trainer is None else (self.trainer.global_rank, self.trainer.world_size)
        )

    def _loader(
        self, dataset: MarsDataset, sampler: Sampler[Draw] | Sampler[int]
    ) -> DataLoader[Sample]:
        workers = self.config.workers
        if workers is None:
            workers = default_workers(self.config.trainer.devices)
        return DataLoader(
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
    """Refuse a split that shows no object: there is nothing to learn, or to choose by."""
    if all(dataset.samples[int(i)].is_negative for i in dataset.indices):
        raise DataError(
            f"No {dataset.split} image of {dataset.spec.name} has a box.",
            "Add images with boxes, or choose a larger subset.",
        )


STACKED = ("image", "index", "label", "mask", "size")
"""What has the same shape in every sample, and becomes one tensor."""


class Speaking(Dataset[Any]):
    """Hands what is wrong with a sample over from a worker process, as it is.

    Raised there, it would arrive wrapped in that process's traceback.
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
    """Raise what a worker process found wrong with a sample of a batch."""
    if FAILED in batch:
        raise batch[FAILED]


FAILED = "failed"
"""Key of a batch that could not be made: what is wrong."""


def collate(samples: list[Sample | MarsbenchError]) -> dict[str, Any]:
    """Make a batch; what differs in shape stays a list, as do ids and seeds."""
    batch: dict[str, Any] = {}
    good = [sample for sample in samples if not isinstance(sample, MarsbenchError)]
    if len(good) < len(samples):
        return {FAILED: next(s for s in samples if isinstance(s, MarsbenchError))}
    for key in good[0]:
        if key in ("meta", "spectrum"):  # of no use to a model
            continue
        values = [sample[key] for sample in good]  # type: ignore[literal-required]
        batch[key] = default_collate(values) if key in STACKED else values
    return batch


def default_workers(devices: int = 1) -> int:
    """Processes that load data for each of a machine's devices.

    On small machines none: the main process is faster by itself.
    """
    cores = usable_cores()
    return 0 if cores <= 2 else min(8, (cores - 1) // devices)
