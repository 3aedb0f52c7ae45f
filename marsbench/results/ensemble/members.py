"""Predictions of the members of an ensemble, checked against their records."""

import hashlib
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from marsbench.base.errors import ConfigError, StoreError
from marsbench.metrics import scoring
from marsbench.metrics.labels import read
from marsbench.results.record import RunRecord
from marsbench.results.store import PREDICTIONS, read_table
from marsbench.tasks.kinds import Kind

TOLERANCE = 1e-6
"""Largest difference of a metric between a record and its predictions, and of a probability."""

_SUM_TOLERANCE = 1e-3
"""Largest distance from 1 of a sum of probabilities in single or mixed precision."""

ANSWER = "answer"
"""Column of runs of generative models: answered, unparsable or refused."""

_COLUMNS = ("split", "sample_id", "target", "scores")


def read_member(record: RunRecord, folder: Path) -> pd.DataFrame:
    """Read the predictions of a run of labels, and score them again.

    Args:
        record: The run.
        folder: Its folder.

    Raises:
        StoreError: If they are missing, ragged, not finite, no probabilities, or do not give the
            metrics of the record.
        ConfigError: If they are answers in words.
    """
    path = folder / PREDICTIONS
    table = read_table(path)
    if missing := [name for name in _COLUMNS if name not in table]:
        raise _wrong(f"{path} is missing the column(s) {', '.join(missing)}.")
    if ANSWER in table:
        raise ConfigError(
            f"{record.run_id} holds answers in words, which have no probabilities to average.",
            "Name runs of models that give probabilities.",
        )
    kind, classes = Kind(record.kind), record.data["classes"]
    for split, expected in record.metrics.items():
        part = table[table["split"] == split]
        try:
            targets, scores = read(part, len(classes))
            _check_probabilities(kind, scores)
            values = scoring.score(kind, {**part, "target": targets, "scores": scores}, classes)
        except (ValueError, TypeError, IndexError) as error:
            raise _wrong(f"The predictions of {split} in {path} are invalid: {error}.") from error
        for name in sorted(values.keys() & expected.keys()):
            if not math.isclose(values[name], expected[name], abs_tol=TOLERANCE):
                raise _wrong(
                    f"The predictions of {split} in {path} give {name}={values[name]:g}; its "
                    f"record has {expected[name]:g}."
                )
    return table


def digest_of(table: pd.DataFrame) -> str:
    """Digest of predictions by content, 16 hexadecimal digits."""
    ordered = table.sort_values(["split", "sample_id"])
    content = hashlib.sha256()
    for name in ("split", "sample_id"):
        content.update(json.dumps([str(value) for value in ordered[name]]).encode())
    for name, dtype in (("target", "<i8"), ("scores", "<f4")):
        content.update(np.stack(list(ordered[name])).astype(dtype).tobytes())
    return content.hexdigest()[:16]


def _check_probabilities(kind: Kind, scores: np.ndarray[Any, Any]) -> None:
    if scores.size and (scores.min() < -TOLERANCE or scores.max() > 1 + TOLERANCE):
        raise ValueError(
            f"scores are {scores.min():g} to {scores.max():g}; expected probabilities in 0..1"
        )
    if kind is not Kind.MULTILABEL and np.abs(scores.sum(axis=1) - 1).max(initial=0) > (
        _SUM_TOLERANCE
    ):
        raise ValueError("probabilities of a sample do not add up to 1")


def _wrong(problem: str) -> StoreError:
    return StoreError(problem, "Restore the file, or run it again with --force.")
