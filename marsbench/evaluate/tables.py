"""Fitted models of tables on the spectra of another task."""

import numpy as np

from marsbench.evaluate.planning import Evaluation
from marsbench.evaluate.scoring import Read, joined_scores
from marsbench.models.tables.base import TabularModel
from marsbench.tasks.kinds import Kind
from marsbench.training.loop.evaluation import facts_of
from marsbench.training.table import whole_table
from marsbench.training.trained import rebuild


def read_table(evaluation: Evaluation) -> list[Read]:
    """Read a target by the models of a run: one, or one per fold.

    Raises:
        MarsbenchError: If a model cannot be rebuilt, or a sample cannot be read.
    """
    parent, source = evaluation.parent, evaluation.source
    record, rendering = parent.record, evaluation.rendering
    shape = None if rendering is None else (rendering.raster.rows, rendering.raster.columns)
    models: list[TabularModel] = [
        rebuild(record, place, parent.task, shape, parent.model) for place in parent.places
    ]
    rows = source.rows(evaluation.tested.split)
    cache, damage = evaluation.settings.cache, evaluation.damage
    table = whole_table(
        evaluation.task,
        source,
        rows,
        rendering,
        cache=cache,
        replaced=None
        if damage is None
        else damage.spectra(evaluation.task, source, rows, cache=cache),
    )
    ids = evaluation.positions
    facts = facts_of(rows, ids)
    reads = []
    for model in models:
        scores = model.predict(table[ids]).astype(np.float32)
        columns = joined_scores(evaluation.classes, Kind(record.kind), rows.targets[ids], scores)
        reads.append(Read([rows.sample_ids[int(i)] for i in ids], columns | facts))
    return reads
