"""Limits of the numbers in a record: sizes of the model, times, memory and counts.

Nobody can compute them again, so only impossible values are refused.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from marsbench.base.errors import StoreError
from marsbench.base.values import Limit, shown
from marsbench.leaderboard.schema import MOST_PARAMETERS
from marsbench.results.record import RunRecord

PARAMETERS = Limit(low=0, high=MOST_PARAMETERS)
SECONDS = Limit(low=0, high=1e10)
BYTES = Limit(low=0, high=1e15)
COUNT = Limit(low=0, high=1e12)


def number_problems(record: RunRecord) -> Iterator[str]:
    """Yield numbers of a record that are impossible."""
    checkpoint = {key: record.checkpoint.get(key) for key in ("epoch", "epochs_trained")}
    counts = {key: value for key, value in record.data.items() if key.startswith("num_")}
    for group, values, limit in (
        ("parameters", record.parameters, PARAMETERS),
        ("timing", record.timing, SECONDS),
        ("peak_memory", record.peak_memory, BYTES),
        ("checkpoint", checkpoint, COUNT),
        ("data", counts, COUNT),
        ("data.train_counts", record.data.get("train_counts") or {}, COUNT),
    ):
        yield from _outside(group, values, limit)
    yield from _contradictions(record)
    try:
        record.input_size, record.num_outputs  # noqa: B018
    except StoreError as error:
        yield error.problem


def _outside(group: str, values: Mapping[str, Any], limit: Limit) -> Iterator[str]:
    for key, value in values.items():
        if value is None:
            continue
        if type(value) not in (int, float) or not limit.holds(value):
            yield f"'{group}.{key[:80]}' is {shown(value)}; expected a number{limit}."


def _contradictions(record: RunRecord) -> Iterator[str]:
    total, trained = (record.parameters.get(key) for key in ("total", "trained"))
    # Models fitted to a table have no parameters, and no optimiser.
    if total == 0 and "optim" in record.identity:
        yield "'parameters.total' is 0; a network has parameters."
    elif total is not None and trained is not None and trained > total >= 0:
        yield f"'parameters.trained' is {shown(trained)} of {shown(total)} parameters in total."
