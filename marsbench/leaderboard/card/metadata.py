"""Metadata of a card in the hub's own form: https://huggingface.co/docs/hub/model-cards."""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from marsbench.base import hub
from marsbench.base.text import inline
from marsbench.config.identity import slug
from marsbench.config.schema import SourceName
from marsbench.leaderboard.card.scores import Score
from marsbench.leaderboard.card.subject import Subject
from marsbench.tasks.kinds import BOXES, LABELS, MASKS, Kind

if TYPE_CHECKING:
    from huggingface_hub import ModelCardData

_PIPELINES: dict[Kind, str] = {
    **dict.fromkeys(LABELS, "image-classification"),
    **dict.fromkeys(MASKS, "image-segmentation"),
    **dict.fromkeys(BOXES, "object-detection"),
}
"""The hub's names of kinds of task."""

_SPECTRA = "other"
"""The hub has no name for tasks on spectra."""

_METRICS = {
    "f1_weighted": "f1",
    "f1_macro": "f1",
    "f1_positive": "f1",
    "auroc": "roc_auc",
    "miou": "mean_iou",
}
"""The hub's names of metrics that differ from ours: https://huggingface.co/metrics."""

_DIGITS = 6


def metadata(subject: Subject, scores: Sequence[Score], licence: str | None) -> "ModelCardData":
    """Describe the model for the hub's search and its tables of results.

    Args:
        subject: Runs of the card.
        scores: Their scores.
        licence: The hub's identifier of the model's licence; None if unstated.
    """
    from huggingface_hub import EvalResult, ModelCardData

    task, record = subject.task, subject.published
    pipeline = None if task.is_spectra else _PIPELINES[task.kind]
    several = f", IQM of {len(subject.records)} seeds" if len(subject.records) > 1 else ""
    revision = re.match(r"hub:([0-9a-f]{40})", str(record.data.get("revision")))
    # Scores on demo data are not results on the published data set.
    is_demo = record.data.get("source") == SourceName.DEMO
    hub_id = None if is_demo else task.hub_id
    results = [
        EvalResult(
            task_type=pipeline or _SPECTRA,
            dataset_type=hub_id or slug(f"{task.name}{'-demo' * is_demo}"),
            dataset_name=inline(task.title or task.name) + ", demo data" * is_demo,
            dataset_split="test" if record.scored_split == "test" else "train",
            dataset_revision=revision[1] if revision else None,
            metric_type=_METRICS.get(score.metric, score.metric),
            metric_value=round(score.estimate.value, _DIGITS),
            metric_name=f"{score.title}{several}",
        )
        for score in scores
    ]
    tags = ["mars", "planetary-science", slug(task.collection), slug(task.name), record.mode]
    return ModelCardData(
        license=licence,
        library_name="marsbench",
        pipeline_tag=pipeline,
        tags=list(dict.fromkeys(tags)),
        datasets=None if hub_id is None else [hub_id],
        base_model=base_model(subject),
        model_name=inline(f"{record.model} on {task.name}"),
        eval_results=results,
    )


def base_model(subject: Subject) -> str | None:
    """Repository of the initial weights on the hub; None if they are elsewhere."""
    weights = subject.published.weights or {}
    place = str(weights.get("path") or "")
    if hub.is_address(place):
        return hub.parse_address(place).repo
    name = str(weights.get("name"))
    # timm's own repositories have the names of its weights.
    return name if name.startswith("timm/") and hub.is_repo_id(name) else None
