"""Small helpers for files."""

import hashlib
from pathlib import Path

from marsbench.base.errors import WeightsError


def file_digest(path: Path) -> str:
    """SHA-256 of a checkpoint, the part of a run's id that names it.

    Raises:
        WeightsError: If there is no such file.
    """
    try:
        with path.open("rb") as file:
            return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()[:16]}"
    except OSError as error:
        raise WeightsError(
            f"weights={path} cannot be read: {error.strerror}.", "Give the path of a checkpoint."
        ) from error
