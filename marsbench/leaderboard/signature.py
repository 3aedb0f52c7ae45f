"""Short forms of predictions, to find near-equal predictions of two submissions.

A board keeps a few hundred bytes per run and compares a new submission with thousands.
"""

import base64
import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from marsbench.base.errors import some
from marsbench.leaderboard.predictions import Predictions
from marsbench.leaderboard.schema import Check, CheckedRun, Signature
from marsbench.tasks.kinds import BOXES, MASKS, Kind

SAMPLES = 64
"""Samples of a sketch."""

NEAR = 1.0
"""Largest mean difference of near-equal sketches, of 255."""

_UNSURE = 8
"""Smallest number of samples with a score between 0.02 and 0.98.

Two good models are sure of the same classes, so their sketches are alike without them.
"""

_CONFIDENT = 0.3
"""Smallest score of the boxes counted in a sketch."""

Bytes = NDArray[np.uint8]


def sign(kind: Kind, predictions: Predictions, num_classes: int) -> Signature:
    """Build the signature of predictions.

    Args:
        kind: Kind of the task.
        predictions: Predictions of the scored split, sorted by sample id.
        num_classes: Number of classes, K.
    """
    hashes = [hashlib.sha256(name.encode()).digest() for name in predictions.sample_ids]
    chosen = sorted(range(len(hashes)), key=hashes.__getitem__)[:SAMPLES]
    rounded, sketch = _FORMS[kind](predictions.columns, num_classes)
    content = hashlib.sha256("\n".join(predictions.sample_ids).encode())
    for array in rounded:
        content.update(np.ascontiguousarray(array).tobytes())
    return Signature(
        digest=content.hexdigest()[:16],
        sketch=base64.b64encode(sketch[chosen].tobytes()).decode(),
    )


def _of_labels(columns: Mapping[str, Any], num_classes: int) -> tuple[list[NDArray[Any]], Bytes]:
    """Class with the highest score, spread over a byte, and this score."""
    scores = columns["scores"]
    best = scores.argmax(axis=1) * (255 // max(num_classes - 1, 1))
    return [np.round(scores * 1000).astype(np.int32)], _two(best, scores.max(axis=1))


def _of_masks(columns: Mapping[str, Any], num_classes: int) -> tuple[list[NDArray[Any]], Bytes]:
    """Shares of the pixels with the right class and with the most predicted class."""
    counts = columns["confusion"].reshape(-1, num_classes, num_classes)
    pixels = np.maximum(counts.sum(axis=(1, 2)), 1)
    right = np.trace(counts, axis1=1, axis2=2) / pixels
    return [counts], _two(right * 255, counts.sum(axis=1).max(axis=1) / pixels)


def _of_boxes(columns: Mapping[str, Any], _: int) -> tuple[list[NDArray[Any]], Bytes]:
    """Number of confident boxes, and the highest score."""
    scores = columns["scores"]
    number = np.array([8 * (of_image >= _CONFIDENT).sum() for of_image in scores])
    best = np.array([of_image.max(initial=0.0) for of_image in scores])
    rounded = [np.round(boxes * 10).astype(np.int64) for boxes in columns["boxes"]]
    rounded += [np.round(of_image * 1000).astype(np.int64) for of_image in scores]
    return rounded, _two(number, best)


def _two(first: NDArray[Any], share: NDArray[Any]) -> Bytes:
    """Bytes (N, 2) of a number up to 255 and a share of 1."""
    both = np.stack([np.minimum(first, 255), np.clip(share, 0, 1) * 255], axis=1)
    return np.round(both).astype(np.uint8)


_FORMS: dict[Kind, Callable[[Mapping[str, Any], int], tuple[list[NDArray[Any]], Bytes]]] = {
    **dict.fromkeys(Kind, _of_labels),
    **dict.fromkeys(MASKS, _of_masks),
    **dict.fromkeys(BOXES, _of_boxes),
}


def _bytes(signature: Signature) -> Bytes:
    """Sketch as bytes (S, 2); empty if it is invalid."""
    try:
        content = base64.b64decode(signature.sketch, validate=True)
    except ValueError:
        content = b""
    even = content[: min(len(content), 2 * SAMPLES) // 2 * 2]
    return np.frombuffer(even, dtype=np.uint8).reshape(-1, 2)


def _are_near(ours: Sequence[Signature], others: Sequence[Signature]) -> list[bool]:
    """Whether each of M runs has predictions equal or nearly equal to any of others."""
    digests = {other.digest for other in others}
    near = [signature.digest in digests for signature in ours]
    mine = [_bytes(signature) for signature in ours]
    alike = [sketch for sketch in map(_bytes, others) if sketch.shape == mine[0].shape]
    if not alike or any(sketch.shape != mine[0].shape for sketch in mine):
        return near
    first, second = np.stack(mine), np.stack(alike)
    difference = np.abs(first[:, None].astype(np.int16) - second).mean(axis=(2, 3))
    is_telling = (_unsure(first)[:, None] >= _UNSURE) & (_unsure(second) >= _UNSURE)
    is_close = ((difference <= NEAR) & is_telling).any(axis=1)
    return [a or bool(b) for a, b in zip(near, is_close, strict=True)]


def _unsure(sketches: Bytes) -> NDArray[np.int64]:
    """Number of samples with a score that is neither low nor high, of sketches (M, S, 2)."""
    scores = sketches[..., 1]
    count: NDArray[np.int64] = ((scores > 5) & (scores < 250)).sum(axis=-1)
    return count


def equal_seeds(runs: Sequence[CheckedRun]) -> Iterator[tuple[str, str]]:
    """Yield tasks in which seeds have equal predictions, and these seeds in words."""
    seeds: defaultdict[tuple[str, str], list[int]] = defaultdict(list)
    for run in runs:
        if run.signature is not None:
            seeds[run.task, run.signature.digest].append(run.seed)
    for (task, _), members in seeds.items():
        if len(members) > 1:
            yield task, some(map(str, members), count=10)


def near_runs(runs: Sequence[CheckedRun], other: Check) -> list[str]:
    """Ids of the runs whose predictions are nearly equal to runs of another submission."""
    ours, theirs = _by_task(runs), _by_task(other.runs)
    return [
        run_id
        for key, group in ours.items()
        if key in theirs
        for run_id, is_near in zip(
            group, _are_near([*group.values()], [*theirs[key].values()]), strict=True
        )
        if is_near
    ]


def _by_task(runs: Sequence[CheckedRun]) -> dict[tuple[str, str], dict[str, Signature]]:
    """Signatures by run id, for each task and scored split."""
    groups: defaultdict[tuple[str, str], dict[str, Signature]] = defaultdict(dict)
    for run in runs:
        if run.signature is not None:
            groups[run.task, run.split][run.run_id] = run.signature
    return groups
