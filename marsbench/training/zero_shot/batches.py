"""Label images batch by batch; an interrupted run keeps the finished batches."""

import contextlib
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from marsbench.base.files import replacing
from marsbench.base.progress import steps
from marsbench.training.zero_shot.models import Images

FILE = "scores.npy"
"""Scores of the first images, in the folder of an unfinished run."""

_SECONDS = 20.0
"""Seconds between two writes."""

Scores = NDArray[np.float32]


def labelled(
    label: Callable[[Tensor], Tensor],
    images: Images,
    num_classes: int,
    *,
    batch_size: int,
    folder: Path,
    title: str,
) -> Scores:
    """Label all images.

    Args:
        label: From images (B, C, H, W) in [0, 1] to scores (B, K).
        images: The n images, of one size.
        num_classes: Number of classes, K.
        batch_size: Images at once.
        folder: Folder of the run, whose id covers every choice behind a score.
        title: Text before the progress bar.

    Returns:
        Scores (n, K).
    """
    scores = np.zeros((len(images), num_classes), np.float32)
    done = _earlier(folder, scores)
    written = time.monotonic()
    with steps(title, len(images), done) as advance:
        try:
            while done < len(images):
                batch = torch.stack(images[done : done + batch_size])
                scores[done : done + len(batch)] = label(batch).float().numpy(force=True)
                done += len(batch)
                advance(len(batch))
                if time.monotonic() - written > _SECONDS:
                    _write(folder, scores[:done])
                    written = time.monotonic()
        except BaseException:
            _write(folder, scores[:done])
            raise
    (folder / FILE).unlink(missing_ok=True)
    return scores


def _earlier(folder: Path, scores: Scores) -> int:
    """Fill in the scores of an earlier attempt, and count them; a damaged file counts for none."""
    with contextlib.suppress(OSError, ValueError, EOFError):
        earlier = np.load(folder / FILE, allow_pickle=False)
        is_alike = earlier.dtype == scores.dtype and earlier.shape[1:] == scores.shape[1:]
        if is_alike and len(earlier) <= len(scores):
            scores[: len(earlier)] = earlier
            return len(earlier)
    return 0


def _write(folder: Path, scores: Scores) -> None:
    """Keep scores; a full disk costs the kept scores alone."""
    with (
        contextlib.suppress(OSError),
        replacing(folder / FILE, sync=False) as path,
        path.open("wb") as file,
    ):
        np.save(file, scores)
