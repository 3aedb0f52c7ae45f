"""What one training gives, kept until all of a run's are done, and put together."""

import dataclasses
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from marsbench.base.files import write_text
from marsbench.data.dataset import MarsDataset
from marsbench.data.folds import OUT_OF_FOLD
from marsbench.metrics import scoring
from marsbench.plan.resolve import Plan
from marsbench.results.store import PREDICTIONS
from marsbench.training.loop.evaluation import Predictions, save_predictions
from marsbench.training.parts import Part

DONE = "part.json"
"""File of a part that is trained and scored."""


@dataclass(frozen=True)
class Trained:
    """What one training gives; all but the predictions as in a record.

    Attributes:
        scored: Predictions by the name they are scored under.
        weights: What it started from.
        checkpoint: Which epoch is tested.
        timing: Seconds.
        peak_memory: Bytes.
        parameters: Numbers of parameters.
        device: The device.
        data: What else the record's `data` say.
    """

    scored: dict[str, Predictions]
    weights: dict[str, Any] | None
    checkpoint: dict[str, Any]
    timing: dict[str, float]
    peak_memory: dict[str, int]
    parameters: dict[str, int]
    device: str
    data: dict[str, Any] = field(default_factory=dict)


def finished(part: Part, run_folder: Path, train: Callable[[], Trained]) -> Trained:
    """Hand over what a part gave before a run was interrupted, or train it now."""
    if not part.name:
        return train()
    folder = part.folder(run_folder)
    if (folder / DONE).is_file():
        return _read(folder)
    folder.mkdir(parents=True, exist_ok=True)
    trained = train()
    save_predictions(folder, trained.scored)
    rest = {
        f.name: getattr(trained, f.name) for f in dataclasses.fields(Trained) if f.name != "scored"
    }
    rest["metrics"] = {name: found.metrics for name, found in trained.scored.items()}
    write_text(folder / DONE, json.dumps(rest, indent=2) + "\n")
    return trained


def _read(folder: Path) -> Trained:
    content = json.loads((folder / DONE).read_text())
    values = content.pop("metrics")
    table = pd.read_parquet(folder / PREDICTIONS)
    scored = {}
    for name, part in table.groupby("split", sort=False):
        columns = {
            str(column): list(part[column])
            for column in part
            if column not in ("split", "sample_id")
        }
        scored[str(name)] = Predictions(list(part["sample_id"]), columns, values[str(name)])
    return Trained(scored=scored, **content)


def together(plan: Plan, trained: list[Trained]) -> Trained:
    """Put the models of a run's folds together; a single one stays as it is.

    Out-of-fold predictions make up the train split; of splits that every model predicted the
    mean of the probabilities counts.
    """
    if plan.config.folds is None:
        return trained[0]
    names = plan.source.class_names
    scored: dict[str, Predictions] = {}
    for name in trained[0].scored:
        if name == OUT_OF_FOLD:
            rows = [
                row
                for one in trained
                for row in zip(
                    one.scored[name].sample_ids, *one.scored[name].columns.values(), strict=True
                )
            ]
            rows.sort(key=lambda row: str(row[0]))
            ids = [row[0] for row in rows]
            columns = {
                column: [row[i + 1] for row in rows]
                for i, column in enumerate(trained[0].scored[name].columns)
            }
        else:
            first = trained[0].scored[name]
            ids, columns = first.sample_ids, dict(first.columns)
            scores = np.mean([np.stack(one.scored[name].columns["scores"]) for one in trained], 0)
            columns["scores"] = list(scores.astype(np.float32))
        values = scoring.score(plan.task.kind, columns, names)
        losses = [one.scored[name].metrics.get("loss") for one in trained]
        known = [loss for loss in losses if loss is not None]
        if known:
            values["loss"] = float(np.mean(known))
        scored[name] = Predictions(ids, columns, values)
    folds = [
        {"num_train": one.data.get("num_train"), **one.checkpoint, "metrics": _headline(plan, one)}
        for one in trained
    ]
    timing: dict[str, float] = {}
    for one in trained:
        for key, value in one.timing.items():
            if key != "resumed_from_epoch":
                timing[key] = timing.get(key, 0.0) + value
    return Trained(
        scored=scored,
        weights=trained[0].weights,
        checkpoint={"chosen_by": trained[0].checkpoint.get("chosen_by"), "folds": folds},
        timing=timing,
        peak_memory={
            key: max(one.peak_memory.get(key, 0) for one in trained)
            for key in trained[0].peak_memory
        },
        parameters=trained[0].parameters,
        device=trained[0].device,
        data={
            "scored_split": "test" if "test" in scored else OUT_OF_FOLD,
            **{key: value for key, value in trained[0].data.items() if key == "features"},
        },
    )


def _headline(plan: Plan, one: Trained) -> dict[str, float | None]:
    """The headline metric of a fold's predictions."""
    return {
        name: found.metrics.get(plan.task.headline_metric) for name, found in one.scored.items()
    }


def open_split(plan: Plan, split: str) -> MarsDataset:
    """Open a split as a run sees it."""
    return MarsDataset(
        plan.task,
        plan.source,
        split,
        side=plan.side,
        bands=plan.config.bands,
        cache=plan.config.cache,
        rendering=plan.rendering,
    )
