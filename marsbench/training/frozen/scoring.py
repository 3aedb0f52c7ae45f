"""Score fitted heads of runs."""

from typing import Any

import numpy as np

from marsbench.config.schema import OptimName
from marsbench.metrics import scoring
from marsbench.plan.resolve import Plan
from marsbench.training.frozen.heads import FittedHead
from marsbench.training.frozen.neighbours import FittedNeighbours
from marsbench.training.frozen.plans import positions_of
from marsbench.training.frozen.samples import Rows, joined
from marsbench.training.frozen.splits import Splits
from marsbench.training.frozen.writing import HeldRun
from marsbench.training.loop.devices import device_name, peak_memory
from marsbench.training.loop.evaluation import Predictions, facts_of
from marsbench.training.loop.module import MONITOR
from marsbench.training.loop.objectives.labels import LabelObjective
from marsbench.training.parts import Part, Section
from marsbench.training.provenance import describe_weights
from marsbench.training.trained import Trained


def trained_of(run: HeldRun, k: int, fitted: FittedHead, splits: Splits) -> Trained:
    """Score the head of a part of a run."""
    plan, part, device = run.plan, run.parts[k], splits.device
    encoded = splits.encoded
    backbone = encoded["train"].backbone
    scored = {
        name: _predict(plan, fitted, section, run.heads[k].loss.objective, splits)
        for name, section in part.scored.items()
    }
    names = sorted(part.splits)
    num_train = len(positions_of(part.train, len(plan.source.rows("train"))))
    return Trained(
        scored=scored,
        weights=describe_weights(plan, sha256=backbone.sha256),
        checkpoint=_checkpoint(plan, part, fitted),
        timing={"data": 0.0, "train": fitted.seconds},
        peak_memory=peak_memory(device),
        parameters={
            "total": backbone.parameters + fitted.num_trained,
            "trained": fitted.num_trained,
        },
        device=device_name(device),
        data={
            "features": {
                # The cost for all runs with these features, whenever they were encoded.
                "encode_s": sum(encoded[split].seconds for split in names),
                "sha256": {split: encoded[split].sha256 for split in names},
                "views": splits.encoder.views("train"),
                "encoded_on": backbone.device,
                "heads_together": run.together,
            },
            **({"num_train": num_train} if part.name else {}),
        },
    )


def _predict(
    plan: Plan, fitted: FittedHead, section: Section, objective: LabelObjective, splits: Splits
) -> Predictions:
    """Predict and score samples with a head."""
    rows = plan.source.rows(section.split)
    chosen = positions_of(section, len(rows))
    samples = splits.samples[section.split]
    labels = samples.labels if section.indices is None else samples.labels_of(chosen)
    parts = Rows(samples, section.indices).parts()
    logits = joined([fitted.logits(features) for _, features in parts])
    scores = objective.probabilities(logits).cpu().numpy().astype(np.float32)
    columns: dict[str, Any] = {"target": rows.targets[chosen], "scores": scores}
    columns |= facts_of(rows, chosen)
    meta = splits.encoded[section.split].meta
    if rows.meta is None and meta is not None:
        columns["meta"] = [meta[int(i)] for i in chosen]
    values = scoring.score(plan.task.kind, columns, plan.source.class_names)
    wanted = labels.to(logits.dtype) if labels.is_floating_point() else labels
    values["loss"] = float(objective.plain(logits, wanted).mean())
    ids = rows.sample_ids
    if section.indices is not None:
        ids = [ids[int(i)] for i in chosen]
    return Predictions(list(ids), columns, values)


def _checkpoint(plan: Plan, part: Part, fitted: FittedHead) -> dict[str, Any]:
    """Facts of the tested epoch, as for a network."""
    if plan.config.optim.name is OptimName.LBFGS:
        return {"chosen_by": "convergence", "iterations": fitted.epochs_trained}
    if isinstance(fitted, FittedNeighbours):
        return {"chosen_by": MONITOR, "value": fitted.loss, "neighbours": fitted.neighbours}
    epochs = {"epoch": fitted.epoch, "epochs_trained": fitted.epochs_trained}
    if part.val is None:
        return {"chosen_by": "last", **epochs}
    return {"chosen_by": MONITOR, "value": fitted.losses[fitted.epoch], **epochs}
