"""Features and labels of a split, on the device or, if they do not fit, on the host."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from marsbench.training.loop.devices import staging, to_device

PART_BYTES = 2**28
"""Most bytes of features of the host that are copied to the device at a time."""

Indices = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Samples:
    """Features and labels of a split.

    Attributes:
        features: (V, N, F) for V views; on the device, or memory-mapped on the host.
        labels: int64 (N,), or float (N, K) for multilabel tasks; on the device.
    """

    features: Tensor
    labels: Tensor

    @property
    def device(self) -> torch.device:
        """The device of the computation."""
        return self.labels.device

    @property
    def is_near(self) -> bool:
        """Whether the features are on the device."""
        return self.features.device == self.device

    def features_of(self, indices: Indices) -> Tensor:
        """Features of upright samples (n, F), where the features are."""
        return self.features[0][to_device(torch.from_numpy(indices), self.features.device)]

    def labels_of(self, indices: Indices) -> Tensor:
        """Labels of samples."""
        return self.labels[to_device(torch.from_numpy(indices), self.device)]


class Rows:
    """Features of some upright samples, (N, F).

    Features on the device are gathered once, those of the host in parts on each pass.

    Args:
        samples: The split.
        indices: Indices of the samples; None for all.
        dtype: Type of the numbers; None for the type of the features.
    """

    def __init__(
        self, samples: Samples, indices: Indices | None = None, dtype: torch.dtype | None = None
    ) -> None:
        self._features = samples.features[0]
        self._device, self._dtype = samples.device, dtype or samples.features.dtype
        if indices is not None and np.array_equal(indices, np.arange(len(self._features))):
            indices = None
        self._indices = None if indices is None else torch.from_numpy(indices)
        self._num_rows = len(self._features) if indices is None else len(indices)
        if samples.is_near:
            if self._indices is not None:
                self._features = self._features[to_device(self._indices, self._device)]
            self._features, self._indices = self._features.to(self._dtype), None

    def __len__(self) -> int:
        return self._num_rows

    @property
    def num_features(self) -> int:
        """Length of a row, F."""
        return self._features.shape[1]

    @property
    def is_near(self) -> bool:
        """Whether the features are on the device."""
        return self._features.device == self._device

    def parts(self, most: int | None = None) -> Iterator[tuple[slice, Tensor]]:
        """Consecutive rows on the device, with their place.

        Args:
            most: Largest number of rows at a time.
        """
        size = most or max(1, len(self))
        if not self.is_near:
            size = min(size, rows_at_a_time(self._features))
        for start in range(0, len(self), size):
            place = slice(start, min(start + size, len(self)))
            if self.is_near:
                yield place, self._features[place]
                continue
            where = torch.arange(place.start, place.stop)
            where = where if self._indices is None else self._indices[place]
            yield place, fetch(self._features, where, self._device).to(self._dtype)

    def whole(self) -> Tensor:
        """All rows on the device."""
        return joined([part for _, part in self.parts()])


def fetch(features: Tensor, rows: Tensor, device: torch.device) -> Tensor:
    """Copy rows (n,) of features (N, F) of the host to a device, without waiting for it."""
    taken = staging(len(rows), features.shape[1], features.dtype, device)
    torch.index_select(features, 0, rows, out=taken)
    return taken.to(device, non_blocking=True)


def rows_at_a_time(features: Tensor) -> int:
    """Number of rows of features (N, F) of the host to copy at a time."""
    return max(1, PART_BYTES // (features.shape[1] * features.element_size()))


def joined(parts: Sequence[Tensor], dim: int = 0) -> Tensor:
    """Concatenate tensors; a single one is not copied."""
    return parts[0] if len(parts) == 1 else torch.cat(list(parts), dim=dim)
