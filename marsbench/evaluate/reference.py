"""Scores to compare an evaluation with: in domain, and of a model trained on the target."""

from pathlib import Path
from typing import Any

from marsbench.base.errors import StoreError
from marsbench.config.identity import slug
from marsbench.evaluate.planning import Evaluation
from marsbench.results.record import RUN, RunRecord
from marsbench.results.store import RECORD, Store, read_record
from marsbench.tasks.kinds import METRICS


def in_domain(evaluation: Evaluation) -> float | None:
    """Score of the run on its own test split, by the evaluation's headline metric."""
    return evaluation.parent.record.scores.get(evaluation.headline)


def ceiling(evaluation: Evaluation, store: Store) -> dict[str, Any] | None:
    """Best validated run of the same model and mode on the target, with its test score.

    Args:
        evaluation: The evaluation.
        store: Store of records.

    Returns:
        ``run_id`` and ``score``; None without such a run on the same data.
    """
    metric, record = evaluation.headline, evaluation.parent.record
    place = Path(slug(evaluation.task.name)) / slug(record.model) / record.mode
    best: tuple[float, RunRecord] | None = None
    sign = 1 if METRICS[metric].higher_is_better else -1
    for file in sorted((store.root / place).glob(f"*/*/{RECORD}")):
        try:
            other = read_record(file)
        except StoreError:
            continue  # a damaged record is no reference
        validated = other.metrics.get("val", {}).get(metric)
        is_alike = other.record_type == RUN and other.task == evaluation.task.name
        if not is_alike or other.data.get("revision") != evaluation.source.revision:
            continue
        if validated is None or other.scores.get(metric) is None:
            continue
        if best is None or sign * validated > best[0]:
            best = sign * validated, other
    if best is None:
        return None
    return {"run_id": best[1].run_id, "score": best[1].scores[metric]}
