"""The one torch Dataset, and the contract of a sample."""

from collections.abc import Callable, Sequence
from typing import NamedTuple, NotRequired, TypedDict

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from marsbench.data.cache import DirectImages, Images, cached_images
from marsbench.data.rows import Source
from marsbench.data.spec import TaskSpec
from marsbench.data.transforms import to_float
from marsbench.kinds import Kind


class Sample(TypedDict):
    """One sample.

    Attributes:
        image: float32 (C, H, W) in [0, 1], not normalised; while it is on its way to the device,
            uint8 in [0, 255].
        sample_id: Id in the task's index.
        index: Position in the dataset.
        label: int64 () class id for binary and multiclass tasks; float32 (K,) of zeros and
            ones for multilabel ones.
        seed: Seed of the random changes to come, where the sample was asked for by a `Draw`.
    """

    image: Tensor
    sample_id: str
    index: int
    label: NotRequired[Tensor]
    seed: NotRequired[int]


class Draw(NamedTuple):
    """One visit to a sample in training: which, and the seed of its random changes."""

    position: int
    seed: int


class MarsDataset(Dataset[Sample]):
    """The samples of one split of a task, or of a subset of it.

    Args:
        spec: The task.
        source: Its data, opened.
        split: train, val or test.
        indices: Positions in the split to keep, shape (n,); None keeps all.
        transform: From uint8 (C, H, W) to the image of the sample; by default to float32 in
            [0, 1].
        cache: Whether decoded images are kept in the memory-mapped cache.

    Attributes:
        class_names: The K class names in the order of their ids.
        sample_ids: The n ids.
        targets: Class ids (n,), or zeros and ones (n, K) for multilabel tasks.

    Indexing with an int gives a sample; indexing with a `Draw` gives it with the draw's seed.
    """

    def __init__(
        self,
        spec: TaskSpec,
        source: Source,
        split: str,
        *,
        indices: NDArray[np.int64] | None = None,
        transform: Callable[[Tensor], Tensor] | None = None,
        cache: bool = True,
    ) -> None:
        rows = source.rows(split)
        self.spec, self.split = spec, split
        self.class_names = source.class_names
        self.images: Images = (
            cached_images(spec, source, rows) if cache else DirectImages(spec, source, rows)
        )
        self.indices = np.arange(len(rows)) if indices is None else indices
        self.sample_ids: Sequence[str] = [rows.sample_ids[int(i)] for i in self.indices]
        self.targets = rows.targets[self.indices]
        self.transform = transform or to_float

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, draw: int | Draw) -> Sample:
        index, seed = draw if isinstance(draw, Draw) else (int(draw), None)
        pixels = self.images[int(self.indices[index])]
        # A copy: the cache is read-only and torch tensors are not.
        image = torch.from_numpy(pixels.transpose(2, 0, 1).copy())
        dtype = torch.float32 if self.spec.kind is Kind.MULTILABEL else torch.int64
        sample: Sample = {
            "image": self.transform(image),
            "sample_id": self.sample_ids[index],
            "index": index,
            "label": torch.as_tensor(self.targets[index], dtype=dtype),
        }
        if seed is not None:
            sample["seed"] = seed
        return sample
