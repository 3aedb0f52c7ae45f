"""Scores under corruptions summed up: mean and relative drop, by run and by corruption."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from marsbench.results.record import RunRecord
from marsbench.tasks.kinds import METRICS


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

    def mean_of(self, name: str) -> float:
        """Mean score under a corruption, over its severities."""
        return fmean(self.scores[name].values())

    @property
    def mean(self) -> float:
        """Mean over the corruptions of their means, so that each counts alike."""
        return fmean(self.mean_of(name) for name in self.scores)

    def drop(self, score: float) -> float | None:
        """Loss of a score against the clean one, relative to the clean one; positive is worse."""
        if self.clean is None or self.clean == 0:
            return None
        sign = 1 if METRICS[self.headline].higher_is_better else -1
        return sign * (self.clean - score) / self.clean

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "parent": self.parent,
            "task": self.task,
            "headline": self.headline,
            "clean": self.clean,
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
