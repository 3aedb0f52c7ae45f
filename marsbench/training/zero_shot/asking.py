"""Label the test split by a model that is not trained, and score the labels."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from marsbench.base import environment
from marsbench.base.progress import track
from marsbench.config.identity import digest
from marsbench.data.dataset import MarsDataset
from marsbench.data.subsets import test_sample
from marsbench.metrics import scoring
from marsbench.metrics.masks import IGNORE
from marsbench.models.spec import ModelSpec
from marsbench.plan.resolve import Plan
from marsbench.results.find import check_trained
from marsbench.results.record import RunRecord
from marsbench.tasks.kinds import Kind
from marsbench.tasks.spec import TaskSpec
from marsbench.training.loop.evaluation import Predictions, meta_of
from marsbench.training.parts import Part
from marsbench.training.trained import Trained
from marsbench.training.zero_shot.models import Images, Predicted, open_model


def train(plan: Plan, part: Part, run_folder: Path) -> Trained:
    """Label the test samples; nothing is trained."""
    started = time.perf_counter()
    targets = targets_of(plan)
    chosen = test_sample(targets, plan.num_samples["test"])
    dataset = _dataset(plan, chosen)
    timing = {"data": time.perf_counter() - started, "train": 0.0}
    started = time.perf_counter()
    predicted = open_model(plan, part.folder(run_folder)).predict(Images(dataset))
    scored = _scored(plan, dataset, targets[chosen], predicted)
    timing["eval"] = time.perf_counter() - started
    memory = dict(predicted.peak_memory) or {"host": environment.peak_host_memory()}
    return Trained(
        scored={"test": scored},
        weights=predicted.weights,
        checkpoint={"chosen_by": "none"},
        timing=timing,
        peak_memory=memory,
        parameters={"total": predicted.parameters, "trained": 0},
        device=predicted.device,
        data={
            "test_digest": digest(list(dataset.sample_ids))[:16],
            "zero_shot": dict(predicted.facts),
            **_notes(plan, scored.metrics),
        },
    )


def _notes(plan: Plan, metrics: Mapping[str, float]) -> dict[str, Any]:
    """Notes of the record: those of the data, and the share of invalid and refused answers."""
    notes = list(plan.source.notes)
    if unanswered := metrics.get("unanswered"):
        refused = metrics.get("refused", 0.0)
        notes.append(
            f"{plan.model.name} gives no valid answer to {unanswered:.1%} of the test images of "
            f"{plan.task.name}, {refused:.1%} by a refusal; they count as wrong."
        )
    return {"notes": notes} if notes else {}


def _dataset(plan: Plan, indices: NDArray[np.int64] | None = None) -> MarsDataset:
    return MarsDataset(
        plan.task,
        plan.source,
        "test",
        indices=indices,
        side=plan.side,
        bands=plan.config.bands,
        cache=plan.config.cache,
        resizing=plan.resizing,
    )


def targets_of(plan: Plan) -> NDArray[np.integer]:
    """Targets of the test split: class ids (n,), or zeros and ones (n, K) of labels.

    A class of a mask is a label of its image if any pixel has it; pixels of 255 and the background
    do not count.
    """
    if not plan.task.has_masks:
        return plan.source.rows("test").targets
    samples = _dataset(plan).samples
    names, kept = plan.source.class_names, plan.class_names
    present = np.zeros((len(samples), len(names)), dtype=np.uint8)
    for i in track(range(len(samples)), f"Labels of {plan.task.name} test", len(samples)):
        mask = samples[i].mask
        if mask is not None:
            present[i, np.unique(mask[mask != IGNORE])] = 1
    return present[:, [names.index(name) for name in kept]]


def _scored(
    plan: Plan, dataset: MarsDataset, targets: NDArray[np.integer], predicted: Predicted
) -> Predictions:
    """Score predictions; unanswered images count as wrong."""
    columns: dict[str, Any] = {"target": list(targets)}
    scores = np.asarray(predicted.scores, dtype=np.float32)
    rates = {}
    if predicted.unanswered is not None:
        scores = as_wrong(scores, predicted.unanswered, targets, plan.asked.kind)
        refused = np.zeros(len(scores), bool) if predicted.refused is None else predicted.refused
        rates = {
            "unanswered": float(predicted.unanswered.mean()),
            "refused": float(refused.mean()),
        }
        columns["answer"] = np.select(
            [refused, predicted.unanswered], ["refused", "unparsable"], "answered"
        ).tolist()
    columns["scores"] = list(scores)
    values = scoring.score(plan.asked.kind, columns, plan.class_names)
    return Predictions(list(dataset.sample_ids), columns | meta_of(dataset), values | rates)


def as_wrong(
    scores: NDArray[np.float32],
    unanswered: NDArray[np.bool_],
    targets: NDArray[np.integer],
    kind: Kind,
) -> NDArray[np.float32]:
    """Scores in which unanswered images are wrong, whatever metric reads them.

    They have no class. A multilabel image without a label in truth has every label instead, since
    no class would be right.

    Args:
        scores: Scores, (n, K).
        unanswered: Images without a valid answer, (n,).
        targets: Class ids (n,), or zeros and ones (n, K).
        kind: Kind of the task.
    """
    wrong = np.where(unanswered[:, None], np.float32(0), scores)
    if kind is Kind.MULTILABEL:
        wrong[unanswered & ~targets.any(axis=1)] = 1
    return wrong


def rebuild(
    record: RunRecord,
    folder: Path,
    task: TaskSpec,
    shape: tuple[int, int] | None,
    entry: ModelSpec,
) -> None:
    """Raise for `marsbench.training.trained.rebuild`, as `check_trained`."""
    check_trained(record)
