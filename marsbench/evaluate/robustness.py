"""Scores under corruptions summed up: mean and relative drop, by run and by corruption."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from marsbench.results.record import RunRecord
from marsbench.tasks.kinds import METRICS


def gap(metric: str, reference: float | None, score: float | None) -> float | None:
    """How much worse a score is than a reference; None if one of them is unknown.

    Args:
        metric: Metric of both; the difference of a loss has its sign turned.
        reference: The reference.
        score: The score.
    """
    if reference is None or score is None:
        return None
    return reference - score if METRICS[metric].higher_is_better else score - reference


@dataclass(frozen=True)
class Robustness:
    """Scores of a run under corruptions.

    Attributes:
        parent: Id of the run.
        task: Task of the samples.
        headline: Metric of the scores.
        clean: Score without corruption; None if unknown.
        scores: Score by corruption and severity.
    """

    parent: str
    task: str
    headline: str
    clean: float | None
    scores: Mapping[str, Mapping[int, float]]

    @property
    def common(self) -> tuple[int, ...]:
        """Severities that every corruption has; means are over them, so that they compare."""
        of_each = [set(scores) for scores in self.scores.values()]
        return tuple(sorted(set.intersection(*of_each)))

    def mean_of(self, name: str) -> float | None:
        """Mean score under a corruption, over the common severities; None without any."""
        return fmean(self.scores[name][s] for s in self.common) if self.common else None

    @property
    def mean(self) -> float | None:
        """Mean over the corruptions of their means; None without a common severity."""
        means = [self.mean_of(name) for name in self.scores]
        known = [mean for mean in means if mean is not None]
        return fmean(known) if known else None

    def drop(self, score: float | None) -> float | None:
        """Loss of a score against the clean one, relative to the clean one; positive is worse."""
        loss = gap(self.headline, self.clean, score)
        return loss / self.clean if loss is not None and self.clean else None

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "parent": self.parent,
            "task": self.task,
            "headline": self.headline,
            "clean": self.clean,
            "severities": list(self.common),
            "mean": self.mean,
            "relative_drop": self.drop(self.mean),
            "corruptions": {
                name: {
                    "scores": {str(severity): score for severity, score in scores.items()},
                    "mean": self.mean_of(name),
                    "relative_drop": self.drop(self.mean_of(name)),
                }
                for name, scores in self.scores.items()
            },
        }


def robustness_of(records: Iterable[RunRecord]) -> list[Robustness]:
    """Sum up evaluations under corruptions, by run and task; other records are left out.

    Args:
        records: Records of evaluations.
    """
    groups: dict[tuple[Any, ...], list[RunRecord]] = {}
    for record in records:
        facts = record.data.get("evaluation", {})
        if facts.get("corruption") is not None and record.score is not None:
            # Of one choice of samples and classes, whatever the corruption.
            own = ("corruption", "severity")
            rest = sorted((k, str(v)) for k, v in record.identity.items() if k not in own)
            groups.setdefault(tuple(rest), []).append(record)
    return [_sum_up(group) for group in groups.values()]


def _sum_up(records: list[RunRecord]) -> Robustness:
    scores: dict[str, dict[int, float]] = {}
    for record in records:
        facts = record.data["evaluation"]
        if record.score is not None:
            scores.setdefault(facts["corruption"], {})[facts["severity"]] = record.score
    first = records[0]
    return Robustness(
        parent=first.parents[0],
        task=first.task,
        headline=first.headline,
        clean=first.data["evaluation"]["clean"],
        scores={name: dict(sorted(of_name.items())) for name, of_name in scores.items()},
    )
