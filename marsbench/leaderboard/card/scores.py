"""Scores of a card: interquartile means over seeds with bootstrap intervals."""

from statistics import fmean
from typing import NamedTuple

import numpy as np

from marsbench.leaderboard.card.subject import Subject
from marsbench.report.statistics.summary import Estimate, estimate_of
from marsbench.report.study.cells import metric_title
from marsbench.tasks.kinds import metrics_of


class Score(NamedTuple):
    """Metric of all runs of a card.

    Attributes:
        metric: Name of the metric.
        seeds: Value of each run.
        estimate: Interquartile mean with its interval, which is NaN for a single run.
    """

    metric: str
    seeds: tuple[float, ...]
    estimate: Estimate

    @property
    def title(self) -> str:
        """Name of the metric in text."""
        return metric_title(self.metric)


def scores_of(subject: Subject) -> list[Score]:
    """Metrics of all runs on the scored split, the headline first; the loss is left out."""
    headline = subject.task.headline_metric
    names = [headline, *(name for name in metrics_of(subject.task.kind) if name != headline)]
    return [
        _score(name, [record.scores[name] for record in subject.records])
        for name in names
        if name != "loss" and all(name in record.scores for record in subject.records)
    ]


def _score(metric: str, seeds: list[float]) -> Score:
    # A generator for each metric, so that no interval depends on the others.
    estimate = estimate_of(np.array(seeds), np.random.default_rng(0))
    return Score(metric, tuple(seeds), estimate)


def class_scores(subject: Subject) -> dict[str, dict[str, float]]:
    """Mean over the runs of each metric per class: ``{title of the metric: {class: value}}``."""
    by_metric: dict[str, dict[str, float]] = {}
    for key in subject.records[0].scores:
        metric, separator, name = key.partition("/")
        if separator and all(key in record.scores for record in subject.records):
            mean = fmean(record.scores[key] for record in subject.records)
            by_metric.setdefault(metric, {})[name] = mean
    return {title: by_metric[metric] for metric, title in _PER_CLASS.items() if metric in by_metric}


_PER_CLASS = {"f1": "F1", "iou": "IoU", "ap": "AP", "dice": "Dice", "recall": "recall"}
"""Titles of the metrics per class, in their order on a card."""


def lowest_class(scores: dict[str, dict[str, float]]) -> tuple[str, str, float] | None:
    """First metric per class, the class with its lowest value, and the value; None without any."""
    for metric, values in scores.items():
        name = min(values, key=lambda key: values[key])
        return metric, name, values[name]
    return None
