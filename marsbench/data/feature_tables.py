"""Cached tables of engineered features."""

from collections.abc import Callable
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from marsbench.base import paths
from marsbench.base.errors import DataError
from marsbench.base.files import once, replacing
from marsbench.config.identity import digest


def cached_table(
    task: str, key: Any, compute: Callable[[], NDArray[np.float32]]
) -> NDArray[np.float32]:
    """Load a cached table; a missing or damaged table is computed.

    Args:
        task: Name of the task.
        key: All inputs of the table, as JSON values.
        compute: Computes the table, (N, F).

    Raises:
        DataError: If the file cannot be written.
    """
    path = paths.home() / "decoded" / task / f"features-{digest(key)[:16]}.npz"

    def load() -> NDArray[np.float32] | None:
        try:
            with np.load(path, allow_pickle=False) as arrays:  # checks the checksum
                table: NDArray[np.float32] = arrays["table"]
        except (OSError, ValueError, EOFError, KeyError, BadZipFile):
            return None
        return table

    def build() -> NDArray[np.float32]:
        table = compute()
        with replacing(path) as partial, partial.open("wb") as file:
            np.savez(file, table=table)
        return table

    try:
        return once(path, load, build)
    except OSError as error:
        raise DataError(
            f"The cache of features {path} cannot be written: {error.strerror or error}.",
            f"Free disk space, set MARSBENCH_HOME (now {paths.home()}), or add cache=false.",
        ) from error
