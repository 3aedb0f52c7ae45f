"""Records of evaluations."""

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from marsbench.data.download.web import shown
from marsbench.evaluate.planning import Evaluation
from marsbench.evaluate.reference import ceiling, clean, in_domain
from marsbench.evaluate.robustness import gap
from marsbench.evaluate.scoring import Read
from marsbench.metrics import scoring
from marsbench.metrics.groups import GroupScores, fields_of, grouping, score_group, score_groups
from marsbench.results.record import RunRecord
from marsbench.results.store import Store, now
from marsbench.training.loop.devices import device_name, peak_memory
from marsbench.training.loop.evaluation import Predictions
from marsbench.training.provenance import Surroundings

SHARED = ("num_train", "subset_origin", "subset_digest", "inputs", "loss")
"""Facts of the run that its evaluations repeat."""


def combined(evaluation: Evaluation, reads: Sequence[Read]) -> Predictions:
    """Score the outputs of a run; probabilities of several folds are averaged.

    Args:
        evaluation: The evaluation.
        reads: Outputs of its networks.
    """
    columns = dict(reads[0].columns)
    if len(reads) > 1:
        scores = np.mean([np.stack(read.columns["scores"]) for read in reads], 0)
        columns["scores"] = list(scores.astype(np.float32))
    names = evaluation.classes.names
    num_scored = evaluation.classes.num_scored
    values = scoring.score(evaluation.kind, columns, names, num_scored)
    if evaluation.tested.group is not None:
        # A group may have no sample of a class.
        values = score_group(evaluation.kind, columns, names, num_scored)["metrics"]
    losses = [read.loss for read in reads if read.loss is not None]
    if losses:
        values["loss"] = float(np.mean(losses))
    return Predictions(list(reads[0].sample_ids), columns, values)


def ignored(evaluation: Evaluation, read: Read) -> dict[str, int]:
    """Number of samples, pixels or boxes of each class of the target without a counterpart."""
    classes = evaluation.classes
    counts = read.counts
    if counts is None:
        rows = evaluation.source.rows(evaluation.tested.split)
        chosen = evaluation.tested.positions(rows)
        counts = np.array([rows.of_class(k)[chosen].sum() for k in range(len(classes.target))])
    return {
        name: int(counts[k]) for k, name in enumerate(classes.target) if classes.of_target[k] < 0
    }


def groups(evaluation: Evaluation, predictions: Predictions) -> dict[str, GroupScores]:
    """Scores per group of samples, by ``FIELD:VALUE``; empty if no field groups them."""
    fields = fields_of(predictions.columns)
    chosen = grouping(fields)
    if (group := evaluation.tested.group) is not None and group.field in fields:
        chosen[group.field] = fields[group.field]
    classes = evaluation.classes
    return score_groups(
        evaluation.kind, predictions.columns, classes.names, chosen, classes.num_scored
    )


def record_of(
    evaluation: Evaluation,
    predictions: Predictions,
    read: Read,
    started: float,
    device: torch.device,
    around: Surroundings,
    store: Store,
) -> RunRecord:
    """Write the record of an evaluation.

    Args:
        evaluation: The evaluation.
        predictions: Its scored predictions.
        read: Outputs of its first network.
        started: Time of its start, by `time.perf_counter`.
        device: Its device.
        around: Versions of packages and the git commit.
        store: Store of records, for the ceiling.
    """
    parent, task, source = evaluation.parent.record, evaluation.task, evaluation.source
    score, own = predictions.metrics.get(evaluation.headline), in_domain(evaluation)
    facts: dict[str, Any] = {
        "trained_on": parent.task,
        "class_map": evaluation.settings.class_map,
        "classes": evaluation.classes.counterparts,
        "num_scored": evaluation.classes.num_scored,
        "ignored": ignored(evaluation, read),
        "bands": str(evaluation.reading.change),
        **evaluation.tested.facts,
        "groups": groups(evaluation, predictions),
        "in_domain": own,
        "gap": gap(evaluation.headline, own, score),
        "ceiling": ceiling(evaluation, store),
        "parent_created": parent.created,
    }
    if evaluation.damage is not None:
        facts |= {
            "corruption": evaluation.damage.name,
            "severity": evaluation.damage.severity,
            "corruption_seed": evaluation.damage.seed,
            "clean": clean(evaluation, store),
        }
    versions, git = around
    return parent.evaluated(
        run_id=evaluation.run_id,
        task=task.name,
        kind=evaluation.kind,
        headline=evaluation.headline,
        metrics={evaluation.tested.name: predictions.metrics},
        config=_public(evaluation),
        identity=evaluation.identity,
        data={
            "source": str(source.name),
            "revision": source.revision,
            "classes": list(evaluation.classes.names),
            "task": task.reading,
            "scored_split": evaluation.tested.name,
            "num_test": len(predictions.sample_ids),
            **{key: parent.data[key] for key in SHARED if key in parent.data},
            **({"notes": list(source.notes)} if source.notes else {}),
            "evaluation": facts,
        },
        timing={"data": 0.0, "train": 0.0, "eval": time.perf_counter() - started},
        peak_memory=peak_memory(device),
        device=device_name(device),
        environment=versions,
        git=git,
        created=now(),
    )


def _public(evaluation: Evaluation) -> dict[str, Any]:
    """Config for the record: the run's, with the target's data, without credentials."""
    place = evaluation.place
    root = place.get("root")
    if root is not None and "://" in str(root):
        root = shown(str(root))
    given = {
        "task": evaluation.task.word,
        "source": str(place["source"]),
        "root": root,
        "size": place["size"],
        "revision": place["revision"],
    }
    return {**evaluation.parent.record.config, **given}
