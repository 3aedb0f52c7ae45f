"""Scores to compare an evaluation with: in domain, and of a model trained on the target."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from marsbench.base.errors import StoreError, UnknownNameError
from marsbench.config.identity import slug
from marsbench.evaluate.planning import Evaluation
from marsbench.results.groups import score_in
from marsbench.results.record import RUN, RunRecord
from marsbench.results.store import RECORD, Store, read_record
from marsbench.tasks.kinds import METRICS


def in_domain(evaluation: Evaluation) -> float | None:
    """Score of the run on its own test split, by the evaluation's headline metric.

    Of a run trained within a group, the score on the samples of this group. None if it is undefined
    or the predictions of the run are gone.
    """
    record, metric = evaluation.parent.record, evaluation.headline
    if record.train_on is None:
        return record.scores.get(metric)
    return _within(record, evaluation.parent.folder, record.train_on, metric)


def clean(evaluation: Evaluation, store: Store) -> float | None:
    """Score of the run on the same samples without corruption; None if unknown.

    Args:
        evaluation: The evaluation under a corruption.
        store: Store of records.
    """
    if evaluation.is_own:
        return evaluation.parent.record.scores.get(evaluation.headline)
    try:
        record = store.find(replace(evaluation, damage=None).run_id)
    except StoreError:
        return None  # a damaged record is no reference
    facts = {} if record is None else record.data.get("evaluation", {})
    if record is None or facts.get("parent_created") != evaluation.parent.record.created:
        return None
    return record.scores.get(evaluation.headline)


def ceiling(evaluation: Evaluation, store: Store) -> dict[str, Any] | None:
    """Best validated run of the same model and mode on the target, with its test score.

    Of a group of samples, the run is trained on all samples or within the group, and the score is
    on the group. Without a val split it is validated out of fold, on the group that the evaluated
    run was trained on.

    Args:
        evaluation: The evaluation.
        store: Store of records.

    Returns:
        ``run_id`` and ``score``; None without such a run on the same data.
    """
    metric, record = evaluation.headline, evaluation.parent.record
    group = None if evaluation.tested.group is None else str(evaluation.tested.group)
    place = Path(slug(evaluation.task.name)) / slug(record.model) / record.mode
    best: tuple[float, dict[str, Any]] | None = None
    sign = 1 if METRICS[metric].higher_is_better else -1
    for file in sorted((store.root / place).glob(f"*/*/{RECORD}")):
        try:
            other = read_record(file)
        except StoreError:
            continue  # a damaged record is no reference
        is_alike = other.record_type == RUN and other.task == evaluation.task.name
        if not is_alike or other.data.get("revision") != evaluation.source.revision:
            continue
        if other.train_on not in (None, group):
            continue
        validated, score = other.metrics.get("val", {}).get(metric), other.scores.get(metric)
        if group is not None:
            if validated is None and record.train_on is not None:
                validated = _within(other, file.parent, record.train_on, metric)
            score = _within(other, file.parent, group, metric)
        if validated is None or score is None:
            continue
        if best is None or sign * validated > best[0]:
            best = sign * validated, {"run_id": other.run_id, "score": score}
    return None if best is None else best[1]


def _within(record: RunRecord, folder: Path, group: str, metric: str) -> float | None:
    """Score on a group; None if it is undefined, or the predictions are gone or without it."""
    try:
        return score_in(record, folder, group, metric)
    except (StoreError, UnknownNameError):
        return None
