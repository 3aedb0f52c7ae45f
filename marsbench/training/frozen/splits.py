"""Splits of a bank: encoded features, on the device as far as they fit."""

import warnings

import numpy as np
import torch
from torch import Tensor

from marsbench.base.progress import tell
from marsbench.training.failures import is_out_of_memory
from marsbench.training.frozen.features import Encoder
from marsbench.training.frozen.files import Encoded
from marsbench.training.frozen.samples import Samples
from marsbench.training.loop.devices import free_memory, release_memory, to_device

_SHARE = 0.9
"""Share of the free memory to plan with; libraries take some for themselves."""


class Splits:
    """Splits with shared features.

    Args:
        encoder: Encodes them.

    Attributes:
        encoder: The encoder.
        device: Device of the heads.
        encoded: The encoded features of each split.
        samples: Features and labels of each split, after `place`.
    """

    def __init__(self, encoder: Encoder) -> None:
        self.encoder, self.device = encoder, encoder.device
        self.encoded: dict[str, Encoded] = {}
        self.samples: dict[str, Samples] = {}

    @property
    def num_features(self) -> int:
        """Length of a row, F."""
        return self.encoded["train"].backbone.num_features

    def encode(self, split: str) -> None:
        """Open the features of a split; encodes the split if necessary."""
        self.encoded[split] = self.encoder.encode(split)

    def place(self, needs: int) -> None:
        """Move features to the device, the smallest split first, as far as they fit.

        Args:
            needs: Bytes of the device that heads take.
        """
        free = free_memory(self.device)
        room = None if free is None else int(_SHARE * free) - needs
        on_host = []
        for split, encoded in sorted(
            self.encoded.items(), key=lambda item: item[1].features.nbytes
        ):
            features = _opened(encoded)
            labels = to_device(self._labels(split), self.device)
            moved = None
            if room is None or features.nbytes <= room:
                moved = _moved(features, self.device)
            if moved is None:
                on_host.append(split)
            elif room is not None:
                room -= features.nbytes
            self.samples[split] = Samples(features if moved is None else moved, labels)
        self._tell(on_host, needs, free)

    @property
    def has_features_on_device(self) -> bool:
        """Whether features take memory of a GPU."""
        is_near = [samples.is_near for samples in self.samples.values()]
        return self.device.type != "cpu" and any(is_near)

    def leave_on_host(self) -> None:
        """Take all features off the device."""
        near = [split for split, samples in self.samples.items() if samples.is_near]
        for split in near:
            features = _opened(self.encoded[split])
            self.samples[split] = Samples(features, self.samples[split].labels)
        release_memory(self.device)
        self._tell(near, 0, free_memory(self.device))

    def _labels(self, split: str) -> Tensor:
        targets = self.encoder.plan.source.rows(split).targets
        return torch.from_numpy(targets.astype(np.float32 if targets.ndim == 2 else np.int64))

    def _tell(self, splits: list[str], needs: int, free: int | None) -> None:
        """Name the splits whose features stay on the host."""
        if not splits:
            return
        size = sum(self.encoded[split].features.nbytes for split in splits)
        room = "" if free is None else f", which has {free / 2**30:.1f} GiB free"
        tell(
            f"Features of {self.encoder.plan.task.name} {', '.join(splits)} "
            f"({size / 2**30:.1f} GiB) do not fit on the device beside the heads "
            f"({needs / 2**30:.1f} GiB){room}: they stay on the host and are copied in batches."
        )


def _opened(encoded: Encoded) -> Tensor:
    """Memory-mapped features (V, N, F)."""
    with warnings.catch_warnings():
        # Tensors do not know that the file is read-only; nothing writes into it.
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(encoded.features)


def _moved(features: Tensor, device: torch.device) -> Tensor | None:
    """Features on a device; None if its memory is too small."""
    try:
        return features.to(device)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
    release_memory(device)
    return None
