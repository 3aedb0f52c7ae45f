"""Pre-training behind the runs of a report."""

from collections.abc import Iterable
from typing import NamedTuple

from marsbench.config.schema import Mode
from marsbench.models.pretraining import RANDOM, UNKNOWN, Pretraining
from marsbench.models.zoo.catalog import ALIASES, MODELS
from marsbench.results.record import IMPORTED, RunRecord


class Initial(NamedTuple):
    """Initial weights of a model.

    Attributes:
        model: Model.
        weights: Name of the weights; empty if it is unknown or they are random.
        pretraining: Data behind them.
    """

    model: str
    weights: str
    pretraining: Pretraining


def pretraining_of(record: RunRecord) -> Pretraining:
    """Data behind the initial weights of a run.

    Records of earlier versions do not state them; then they are those of the zoo's weights of the
    same name.
    """
    if record.pretraining != UNKNOWN or record.record_type == IMPORTED:
        return record.pretraining
    if record.weights is None:
        return RANDOM
    entry = MODELS.get(ALIASES.get(record.model, record.model))
    known = () if entry is None else (entry.weights, *entry.variants)
    name = record.weights.get("name")
    return next((w.pretraining for w in known if w is not None and w.name == name), UNKNOWN)


def initial_weights(records: Iterable[RunRecord]) -> list[Initial]:
    """List the initial weights of all models, each once, without runs from scratch."""
    listed = {
        Initial(r.model, str((r.weights or {}).get("name") or ""), pretraining_of(r))
        for r in records
        if r.mode != Mode.SCRATCH
    }
    return sorted(listed, key=lambda each: (each.model, each.weights, each.pretraining.data))
