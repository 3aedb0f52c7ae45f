"""Predict new measurements with finished runs on spectra."""

import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from marsbench.base.errors import ConfigError, StoreError
from marsbench.base.progress import track
from marsbench.config.schema import RunConfig
from marsbench.data.rendering import Rendering
from marsbench.data.spectra import Spectra, technique_of
from marsbench.data.transforms import resize
from marsbench.models.base import Model
from marsbench.models.tables.base import TabularModel
from marsbench.models.zoo.catalog import find_model, get_model
from marsbench.plan.case import Case, side_of
from marsbench.plan.derived import rendered_by
from marsbench.results.ensemble.weights import combine
from marsbench.results.find import check_model, find_run
from marsbench.results.record import RunRecord
from marsbench.spectra import features, raster
from marsbench.spectra.presets import RasterSpec
from marsbench.tasks.catalog import get_task
from marsbench.tasks.kinds import Kind
from marsbench.tasks.spec import TaskSpec
from marsbench.training.loop.arithmetic import products
from marsbench.training.trained import rebuild

Scores = NDArray[np.float64]

BATCH = 32
"""Number of rasters in a batch."""


def predict_spectra(
    record: RunRecord,
    folder: Path,
    spectra: Spectra,
    ids: Sequence[str],
    store: Path,
    model: str | None = None,
) -> Scores:
    """Predict the labels of measurements.

    Averages over the models of a run's folds, over the runs of an ensemble, and over random
    drawings of each measurement if the run has several.

    Args:
        record: A finished run on spectra, or an ensemble of such runs.
        folder: Its folder.
        spectra: The measurements.
        ids: Their ids, which seed the drawings.
        store: Folder of records, with the runs of ensembles.
        model: The own encoder of the run, which its record does not name.

    Returns:
        Probability of each class in the record's order, (N, K).

    Raises:
        MarsbenchError: If the models were not saved, or are of another version.
    """
    check_model(record)
    if record.parents:
        parts = [find_run(parent, store) for parent in record.parents]
        scores = np.stack(
            [predict_spectra(part, place, spectra, ids, store, model) for part, place in parts]
        )
        weights = record.checkpoint.get("weights")
        if weights is None:
            return np.asarray(scores.mean(axis=0))
        trusted = np.array([weights[parent] for parent in record.parents])
        return combine(Kind(record.kind), scores, trusted)
    spec = record.task_as_run(get_task(str(record.config["task"])))
    if not spec.is_spectra:
        raise ConfigError(
            f"The run {record.run_id} predicts images, not spectra.",
            "`marsbench predict` predicts images.",
        )
    config = RunConfig.from_dict(record.config)
    # The name in the record, not the word in its config, which may name a file to execute.
    entry = find_model(model) if model else get_model(record.model)
    folds = config.folds
    places = [folder] if folds is None else [folder / f"fold_{k}" for k in range(folds)]
    case = Case(config, spec, entry)
    rendering = case.rendering
    chosen = None if rendering is None else rendering.raster
    _check_version(record, rendering)
    shape = None if chosen is None else (chosen.rows, chosen.columns)
    models = [rebuild(record, place, spec, shape, entry) for place in places]
    if chosen is None or case.is_table:
        return _tables(models, spec, chosen, spectra)
    side = side_of(case, lambda: entry.input_size)
    order = track(range(len(spectra)), f"Predicting with {record.model}", len(spectra))
    with products(config.trainer.matmul):
        return np.stack([_one(models, chosen, config.draws, side, spectra, ids, i) for i in order])


def _check_version(record: RunRecord, rendering: Rendering | None) -> None:
    """Check that this version renders spectra as in the run."""
    rendered = dict(record.identity.get("spectra", {}))
    rendered.pop("models", None)  # the fitted models are stored
    if rendered != rendered_by(rendering):
        raise StoreError(
            f"The run {record.run_id} is of a version that renders spectra differently.",
            "Run it again, or use its version.",
        )


def _tables(
    models: list[TabularModel],
    spec: TaskSpec,
    chosen: RasterSpec | None,
    spectra: Spectra,
) -> Scores:
    technique = technique_of(spec)

    def row(index: int) -> NDArray[np.float32]:
        spectrum = spectra[index]
        if chosen is None:
            return features.engineered(spectrum, technique)
        prepared = raster.prepare(spectrum, chosen)
        return raster.draw(prepared, chosen, derivatized=spectrum.derivatized).ravel()

    order = track(range(len(spectra)), "Reading spectra", len(spectra))
    x = np.stack([row(i) for i in order])
    scores = [model.predict(x) for model in models]
    return np.asarray(np.mean(scores, axis=0), dtype=np.float64)


def _one(
    networks: list[Model],
    chosen: RasterSpec,
    draws: int,
    side: int | None,
    spectra: Spectra,
    ids: Sequence[str],
    index: int,
) -> Scores:
    """Class probabilities of a measurement, (K,): mean over models and drawings."""
    spectrum = spectra[index]
    prepared = raster.prepare(spectrum, chosen)
    seeds: list[list[int] | None] = [None]
    if draws > 1:
        name = zlib.crc32(ids[index].encode())
        seeds = [[name, draw] for draw in range(draws)]
    images = np.stack(
        [
            raster.draw(
                prepared,
                chosen,
                None if seed is None else np.random.default_rng(seed),
                derivatized=spectrum.derivatized,
            )
            for seed in seeds
        ]
    )
    with torch.inference_mode():
        chances = [
            torch.sigmoid(network(batch).float()).double().numpy()
            for network in networks
            for batch in _batches(images, side)
        ]
    return np.asarray(np.concatenate(chances).mean(axis=0))


def _batches(images: NDArray[np.float32], side: int | None) -> Iterator[torch.Tensor]:
    for start in range(0, len(images), BATCH):
        batch = torch.from_numpy(images[start : start + BATCH])
        yield batch if side is None else torch.stack([resize(image, side) for image in batch])
