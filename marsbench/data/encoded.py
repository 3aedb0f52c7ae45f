"""Encoded images of a split, in a file of equal rows."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class EncodedImages:
    """Rows of a file, each mapped into memory alone.

    A map of the whole file would keep every page once read in the memory of the process.

    Attributes:
        path: The file.
        dtype: Type of its numbers.
        length: Numbers in a row, F.
    """

    path: Path
    dtype: str
    length: int

    def __getitem__(self, position: int) -> NDArray[np.floating]:
        """Copy a row, (F,)."""
        dtype = np.dtype(self.dtype)
        start = position * self.length * dtype.itemsize
        mapped = np.memmap(self.path, dtype, mode="r", offset=start, shape=(self.length,))
        return np.array(mapped)
