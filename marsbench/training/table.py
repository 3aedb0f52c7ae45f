"""Fit models of tables: rasters or engineered features of spectra as rows of numbers."""

import time
from pathlib import Path
from typing import Any

import numpy as np

from marsbench.base import environment
from marsbench.base.progress import track
from marsbench.data.cache import Samples
from marsbench.data.feature_tables import cached_table
from marsbench.data.rendering import Rendering
from marsbench.data.rows import Rows, Source
from marsbench.data.samples import Decoded
from marsbench.data.spectra import VERSION as POINTS_VERSION
from marsbench.data.spectra import (
    PreparedSamples,
    Spectra,
    open_spectra,
    prepared_samples,
    technique_of,
)
from marsbench.metrics import scoring
from marsbench.models.tables.base import Table, TabularModel, table_model
from marsbench.plan.resolve import Plan
from marsbench.spectra import features, raster
from marsbench.spectra.presets import RasterSpec
from marsbench.tasks.spec import TaskSpec
from marsbench.training.loop.evaluation import Predictions, facts_of
from marsbench.training.parts import Part, Section
from marsbench.training.trained import TABLE, Trained


def train(plan: Plan, part: Part, run_folder: Path) -> Trained:
    """Fit a model and predict its scored samples."""
    started = time.perf_counter()
    x = rows_of(plan, part.train)
    y = plan.source.rows("train").targets
    labels = (y if part.train.indices is None else y[part.train.indices]).astype(np.uint8)
    timing = {"data": time.perf_counter() - started}
    started = time.perf_counter()
    model = table_model(plan.model.id)()
    model.fit(x[part.balance.draws], labels[part.balance.draws], plan.config.seed)
    timing["train"] = time.perf_counter() - started
    started = time.perf_counter()
    scored = {name: _predict(plan, model, section) for name, section in part.scored.items()}
    timing["eval"] = time.perf_counter() - started
    if plan.config.save_model:
        model.save(part.folder(run_folder) / TABLE)
    return Trained(
        scored=scored,
        weights=None,
        checkpoint={"chosen_by": "none"},
        timing=timing,
        peak_memory={"host": environment.peak_host_memory()},
        parameters={"total": 0, "trained": 0},
        device=f"cpu ({environment.usable_cores()} cores)",
        data={"num_train": len(x), "num_features": x.shape[1]},
    )


def _predict(plan: Plan, model: TabularModel, section: Section) -> Predictions:
    rows = plan.source.rows(section.split)
    chosen = np.arange(len(rows)) if section.indices is None else section.indices
    scores = model.predict(rows_of(plan, section)).astype(np.float32)
    columns: dict[str, list[Any]] = {
        "target": list(rows.targets[chosen]),
        "scores": list(scores),
        **facts_of(rows, chosen),
    }
    values = scoring.score(plan.task.kind, columns, plan.source.class_names)
    return Predictions([rows.sample_ids[int(i)] for i in chosen], columns, values)


def rows_of(plan: Plan, section: Section) -> Table:
    """Table of samples, (n, F): pixels of their rasters, or engineered features."""
    rows = plan.source.rows(section.split)
    table = whole_table(plan.task, plan.source, rows, plan.rendering, cache=plan.config.cache)
    return table if section.indices is None else table[section.indices]


def _pixels(decoded: Decoded, spec: RasterSpec) -> Table:
    """Raster of a sample as a row."""
    flag = decoded.meta.get("derivatized")
    derivatized = None if flag is None else flag == "1"
    return raster.draw(decoded.pixels[:, :, 0], spec, derivatized=derivatized).ravel()


def whole_table(
    task: TaskSpec,
    source: Source,
    rows: Rows,
    rendering: Rendering | None,
    *,
    cache: bool,
    replaced: Spectra | None = None,
) -> Table:
    """Table of all samples of a split, (N, F); engineered features are cached.

    Args:
        task: The task.
        source: Its data.
        rows: The split.
        rendering: Rasterisation to pixels; None for engineered features.
        cache: Whether to keep spectra and features in caches.
        replaced: Spectra in place of the source's, such as corrupted ones; never cached.
    """
    if rendering is not None:
        spec = rendering.raster
        samples: Samples
        if replaced is None:
            samples = prepared_samples(task, source, rows, spec, cache=cache)
        else:
            samples = PreparedSamples(replaced, spec)
        return np.stack([_pixels(samples[i], spec) for i in range(len(rows))])

    def compute() -> Table:
        spectra = open_spectra(task, source, rows, cache=cache) if replaced is None else replaced
        order = track(range(len(rows)), f"Features of {task.name} {rows.split}", len(rows))
        return np.stack([features.engineered(spectra[i], technique) for i in order])

    technique = technique_of(task)
    key = [rows.fingerprint, POINTS_VERSION, features.VERSION, rows.split, technique]
    return cached_table(task.name, key, compute) if cache and replaced is None else compute()
