"""Predict and score a split, and write predictions."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
from numpy.typing import NDArray
from PIL import Image

from marsbench.base.files import replacing
from marsbench.data.datamodule import MarsDataModule
from marsbench.data.dataset import MarsDataset
from marsbench.data.rows import Rows
from marsbench.metrics import scoring
from marsbench.metrics.groups import INSTRUMENT
from marsbench.results.store import PREDICTIONS, map_path
from marsbench.training.loop.module import MarsModule
from marsbench.training.loop.trainer import interruptible


@dataclass(frozen=True)
class Predictions:
    """Predictions of a split and their metrics.

    Attributes:
        sample_ids: N ids.
        columns: Stored values by column, lists or arrays of N. For labels ``target`` and
            ``scores``, probabilities (K,) as float32; for masks ``confusion``, pixels by class in
            the ground truth (rows) and the prediction, (K * K,); for boxes ``target_boxes``,
            ``target_labels``, ``boxes``, ``scores`` and ``labels``; additional facts of samples,
            such as the region, in ``meta`` as JSON. Scoring the columns gives the metrics.
        metrics: Metric name to value.
    """

    sample_ids: list[str]
    columns: dict[str, Any]
    metrics: dict[str, float]


def evaluate(
    trainer: pl.Trainer,
    module: MarsModule,
    data: MarsDataModule,
    dataset: MarsDataset,
    folder: Path | None = None,
) -> Predictions:
    """Predict and score a split.

    Args:
        trainer: Lightning's trainer.
        module: The model with the tested weights.
        data: Makes the loader.
        dataset: The split.
        folder: The run's folder, for class maps of the test split; None to write none.
    """
    # Lightning does not attach it if it is given a loader.
    data.trainer = trainer
    objective = module.objective
    if folder is not None and dataset.split == "test":
        objective.keep = partial(_write_map, folder)
    with dataset.averaged(module.config.draws):
        interruptible(
            trainer,
            lambda: trainer.predict(module, data.ordered(dataset), return_predictions=False),
        )
    outputs = module.take_outputs()
    columns = objective.columns(dataset, outputs)
    values = scoring.score(dataset.spec.kind, columns, dataset.class_names)
    columns |= meta_of(dataset)
    values["loss"] = float(objective.val_loss(outputs))
    objective.keep = None
    return Predictions(list(dataset.sample_ids), columns, values)


def meta_of(dataset: MarsDataset) -> dict[str, list[Any]]:
    """Column ``meta``: additional facts of the samples as JSON. Missing without such facts."""
    if not dataset.has_meta:
        return {}
    facts = [dict(dataset.meta(i)) for i in range(len(dataset))]
    if dataset.rendering is not None:
        for of_sample in facts:
            of_sample.pop(INSTRUMENT, None)  # which has a column of its own
        if not any(facts):
            return {}
    return {"meta": [meta_text(of_sample) for of_sample in facts]}


def facts_of(rows: Rows, positions: NDArray[np.int64]) -> dict[str, list[str]]:
    """Columns of the facts in an index: ``instrument``, and further facts in ``meta`` as JSON.

    Args:
        rows: The index of a split.
        positions: Samples, (n,).
    """
    fields = dict(rows.fields)
    instruments = fields.pop(INSTRUMENT, None) if rows.groups is None else rows.groups
    fields.pop(INSTRUMENT, None)
    columns = {}
    if instruments is not None:
        columns[INSTRUMENT] = [str(instruments[int(i)]) for i in positions]
    if rows.meta is not None or fields:
        columns["meta"] = [
            meta_text(
                {name: values[int(i)] for name, values in fields.items()}
                | dict(rows.meta[int(i)] if rows.meta is not None else {})
            )
            for i in positions
        ]
    return columns


def meta_text(meta: Mapping[str, Any]) -> str:
    """Additional facts of a sample as JSON."""
    return json.dumps(dict(meta), default=str)


def _write_map(folder: Path, sample_id: str, classes: NDArray[np.uint8]) -> None:
    """Write a class map, a PNG of class ids, into a run's folder."""
    path = map_path(folder, sample_id)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path, sync=False) as partial:
        Image.fromarray(classes).save(partial, format="PNG")


def save_predictions(folder: Path, scored: dict[str, Predictions]) -> None:
    """Write the predictions of all splits into a run's folder."""
    import pyarrow as pa
    from pyarrow import parquet

    names = list(
        dict.fromkeys(name for predictions in scored.values() for name in predictions.columns)
    )
    columns: dict[str, Any] = {
        "split": pa.array([split for split, p in scored.items() for _ in p.sample_ids]),
        "sample_id": pa.array([i for p in scored.values() for i in p.sample_ids]),
    }
    for name in names:
        columns[name] = _column(
            [p.columns.get(name, [None] * len(p.sample_ids)) for p in scored.values()]
        )
    # Dictionaries do not shrink values that hardly repeat and take twice the time. The writer's
    # many small pieces go to the disk at once.
    content = pa.BufferOutputStream()
    parquet.write_table(pa.table(columns), content, use_dictionary=["split"])
    with replacing(folder / PREDICTIONS, sync=False) as path:
        path.write_bytes(content.getvalue())


def _column(splits: list[Any]) -> Any:
    """Join the values of the splits into a column; equally long rows of numbers at once."""
    import pyarrow as pa

    if not all(isinstance(split, np.ndarray) for split in splits):
        values = [value for split in splits for value in split]
        first = values[0] if values else None
        if not isinstance(first, np.ndarray) or any(
            not isinstance(value, np.ndarray) or value.shape != first.shape for value in values
        ):
            return pa.array(values)
        splits = [np.stack(values)]
    joined = np.concatenate(splits)
    if joined.ndim == 1:
        return pa.array(joined)
    offsets = np.arange(len(joined) + 1, dtype=np.int32) * joined.shape[1]
    return pa.ListArray.from_arrays(offsets, pa.array(joined.reshape(-1)))
