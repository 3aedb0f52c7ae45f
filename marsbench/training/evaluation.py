"""Score a split with the chosen weights, and keep its predictions."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytorch_lightning as pl
from numpy.typing import NDArray

from marsbench import metrics
from marsbench.data.datamodule import MarsDataModule
from marsbench.data.dataset import MarsDataset
from marsbench.results.store import PREDICTIONS
from marsbench.training.module import MarsModule
from marsbench.training.trainer import interruptible


class Predictions(NamedTuple):
    """A split's predictions and what they score.

    Attributes:
        sample_ids: N ids.
        targets: Class ids (N,), or zeros and ones (N, K).
        scores: Probabilities (N, K), float32, as stored.
        metrics: Metric name to value.
    """

    sample_ids: list[str]
    targets: NDArray[np.integer]
    scores: NDArray[np.float32]
    metrics: dict[str, float]


def evaluate(
    trainer: pl.Trainer,
    module: MarsModule,
    data: MarsDataModule,
    dataset: MarsDataset,
) -> Predictions:
    """Predict a split and score it.

    Args:
        trainer: Runs the loop.
        module: The model, with the weights to test.
        data: Gives the loader.
        dataset: The split.
    """
    # It is not attached to a trainer that is handed a loader.
    data.trainer = trainer
    interruptible(
        trainer,
        lambda: trainer.predict(module, data.ordered(dataset), return_predictions=False),
    )
    outputs = module.take_outputs()
    objective = module.objective
    # Scored from the float32 that is stored, so that re-scoring gives the same numbers.
    scores = objective.probabilities(outputs["logits"]).cpu().numpy().astype(np.float32)
    found = metrics.score(objective.kind, dataset.targets, scores, dataset.class_names)
    found["loss"] = float(objective.plain(outputs["logits"], outputs["label"]).mean())
    return Predictions(list(dataset.sample_ids), dataset.targets, scores, found)


def save_predictions(folder: Path, scored: dict[str, Predictions]) -> None:
    """Write the predictions of the splits into a run's folder."""
    frames = [
        pd.DataFrame(
            {
                "split": split,
                "sample_id": predictions.sample_ids,
                "target": list(predictions.targets),
                "scores": list(predictions.scores),
            }
        )
        for split, predictions in scored.items()
    ]
    partial = folder / f".{PREDICTIONS}.part"
    pd.concat(frames, ignore_index=True).to_parquet(partial, index=False)
    partial.replace(folder / PREDICTIONS)
