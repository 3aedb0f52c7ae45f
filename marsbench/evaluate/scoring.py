"""Predictions of a model as classes of another task, and their scores."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from marsbench.data.dataset import MarsDataset
from marsbench.evaluate.classes import Classes
from marsbench.metrics.boxes import Boxes
from marsbench.metrics.groups import INSTRUMENT
from marsbench.tasks.kinds import Kind
from marsbench.training.loop.evaluation import meta_of

Scores = NDArray[np.float32]

B = TypeVar("B", bound=Boxes)


@dataclass(frozen=True)
class Read:
    """Outputs of a network on a split.

    Attributes:
        sample_ids: Ids of the samples.
        columns: Columns of the stored predictions, in the matched classes.
        loss: Mean loss; None unless classes match one to one.
        counts: Pixels or boxes of each class of the target, (K,); None for labels.
    """

    sample_ids: Sequence[str]
    columns: dict[str, Any]
    loss: float | None = None
    counts: NDArray[np.int64] | None = field(default=None, compare=False)


def joined_scores(
    classes: Classes, kind: Kind, targets: NDArray[np.integer], scores: Scores
) -> dict[str, Any]:
    """Columns ``target`` and ``scores`` of labels in the matched classes.

    Probabilities of merged classes are added up; of merged labels, which do not exclude each
    other, the largest counts. Probabilities that are to add up to 1 are scaled where labels or
    ignored classes leave them at another sum.

    Args:
        classes: Classes of model and target.
        kind: Kind of the model's task.
        targets: Class ids (N,), or rows of zeros and ones (N, K), of the target.
        scores: Probabilities of the model's classes, (N, K).
    """
    merge = np.max if kind is Kind.MULTILABEL else np.sum
    members = [np.flatnonzero(classes.of_source == k) for k in range(len(classes.names))]
    joined = np.stack(
        [scores[:, m[0]] if len(m) == 1 else merge(scores[:, m], axis=1) for m in members], axis=1
    )
    if classes.kind is Kind.MULTILABEL:
        positive = [
            targets[:, classes.of_target == k].any(axis=1) for k in range(classes.num_scored)
        ]
        return {"target": list(np.stack(positive, 1).astype(np.uint8)), "scores": list(joined)}
    if kind is Kind.MULTILABEL or (classes.of_source < 0).any():
        total = joined.sum(axis=1, keepdims=True)
        joined = np.divide(joined, total, out=np.zeros_like(joined), where=total > 0)
    return {"target": list(classes.of_target[targets]), "scores": list(joined)}


def kept_boxes(boxes: B, positions: NDArray[np.int64]) -> B:
    """Boxes with matched classes, labelled by their positions."""
    own = positions[boxes.labels]
    kept = boxes[own >= 0]
    kept.labels[:] = own[own >= 0]
    return kept


def sample_facts(dataset: MarsDataset) -> dict[str, list[Any]]:
    """Columns with facts of the samples: ``meta``, and of spectra ``instrument``."""
    columns = meta_of(dataset)
    if dataset.rendering is not None:
        metas = [dataset.samples[int(i)].meta for i in dataset.indices]
        columns[INSTRUMENT] = [str(meta.get(INSTRUMENT, "")) for meta in metas]
    return columns
