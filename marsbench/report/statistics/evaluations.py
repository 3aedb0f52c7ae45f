"""Estimates of evaluations: scores under corruptions, and on other tasks."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np

from marsbench.data.corruptions.table import CORRUPTIONS
from marsbench.report.names import lowered
from marsbench.report.statistics.summary import ROUNDS, Estimate, estimate_of, stream
from marsbench.report.study.cells import GroupKey, metric_is_up
from marsbench.report.study.evaluations import Evaluated

Point = tuple[str, int]
"""A corruption and its severity."""


@dataclass(frozen=True)
class Robustness:
    """Scores of the models of a group on a test split under corruptions.

    Attributes:
        key: The group.
        trained_on: Task of the runs.
        tested_on: Task of the evaluations.
        metric: Headline metric.
        scores: Scores by model, seed, and corruption and severity.
        clean: Scores without corruption by model and seed.
        rounds: Rounds of the bootstrap.
        seed: Seed of the bootstrap.
    """

    key: GroupKey
    trained_on: str
    tested_on: str
    metric: str
    scores: Mapping[str, Mapping[int, Mapping[Point, float]]]
    clean: Mapping[str, Mapping[int, float]]
    rounds: int = ROUNDS
    seed: int = 0

    @property
    def title(self) -> str:
        """Task, or both tasks, with the title of the group."""
        return f"{self._tasks}, {lowered(self.key.title)}"

    @property
    def words(self) -> str:
        """The same as words, which name files and random streams."""
        return f"{self._tasks}, {self.key.words}"

    @property
    def _tasks(self) -> str:
        on = self.tested_on
        return on if on == self.trained_on else f"{self.trained_on} on {on}"

    @property
    def corruptions(self) -> tuple[str, ...]:
        """Corruptions, in the order of the table."""
        names = {name for name, _ in self._points}
        known = [name for name in CORRUPTIONS if name in names]
        return (*known, *sorted(names - set(known)))

    @property
    def severities(self) -> tuple[int, ...]:
        """Severities."""
        return tuple(sorted({severity for _, severity in self._points}))

    @property
    def common(self) -> tuple[int, ...]:
        """Severities that every corruption has, for means; all severities if there are none."""
        of_each = [{s for n, s in self._points if n == name} for name in self.corruptions]
        return tuple(sorted(set.intersection(*of_each))) or self.severities

    @property
    def _points(self) -> set[Point]:
        return {p for seeds in self.scores.values() for points in seeds.values() for p in points}

    def at(self, model: str, corruption: str, severity: int) -> Estimate:
        """Interquartile mean over seeds at a severity; 0 is without corruption."""
        if severity == 0:
            values = list(self.clean.get(model, {}).values())
        else:
            runs = self.scores[model].values()
            values = [points[p] for points in runs if (p := (corruption, severity)) in points]
        return self._estimate(values, model, corruption, str(severity))

    def mean(self, model: str, corruptions: Sequence[str]) -> Estimate:
        """Interquartile mean over seeds of the mean over corruptions and their common severities.

        Seeds that lack an evaluation are left out.
        """
        means = self._means(model, corruptions)
        return self._estimate(list(means.values()), model, "mean", *corruptions)

    def drop(self, model: str, corruptions: Sequence[str]) -> Estimate:
        """Loss from the score without corruption to `mean`, relative to the former."""
        sign = 1 if metric_is_up(self.metric) else -1
        clean = self.clean.get(model, {})
        drops = [
            sign * (clean[seed] - mean) / clean[seed]
            for seed, mean in self._means(model, corruptions).items()
            if clean.get(seed)
        ]
        return self._estimate(drops, model, "drop", *corruptions)

    def _means(self, model: str, corruptions: Sequence[str]) -> dict[int, float]:
        wanted = [(name, severity) for name in corruptions for severity in self.common]
        return {
            seed: fmean(points[p] for p in wanted)
            for seed, points in self.scores[model].items()
            if all(p in points for p in wanted)
        }

    def _estimate(self, values: Sequence[float], *names: str) -> Estimate:
        rng = stream(self.seed, self.words, *names)
        return estimate_of(np.array(values, dtype=np.float64), rng, self.rounds)


def robustness_of(
    evaluations: Iterable[Evaluated], rounds: int = ROUNDS, seed: int = 0
) -> list[Robustness]:
    """Group evaluations under corruptions by group, tasks and metric.

    Scores of one run under one corruption with several seeds of the corruption are averaged.
    """
    gathered: defaultdict[tuple[GroupKey, str, str, str], list[Evaluated]] = defaultdict(list)
    for each in evaluations:
        if each.corruption and each.severity:
            name = (each.key, each.trained_on, each.tested_on, each.metric)
            gathered[name].append(each)
    made = []
    for name, members in sorted(gathered.items()):
        several: defaultdict[tuple[str, int, Point], list[float]] = defaultdict(list)
        clean: defaultdict[str, dict[int, float]] = defaultdict(dict)
        for each in members:
            several[each.model, each.seed, (each.corruption, each.severity)].append(each.score)
            if each.clean is not None:
                clean[each.model][each.seed] = each.clean
        scores: dict[str, dict[int, dict[Point, float]]] = {}
        for (model, run, point), values in several.items():
            scores.setdefault(model, {}).setdefault(run, {})[point] = fmean(values)
        made.append(Robustness(*name, scores, dict(clean), rounds, seed))
    return made


@dataclass(frozen=True)
class Shift:
    """A model trained on one task and tested on another.

    Attributes:
        key: The group.
        model: Model.
        trained_on: Task of the runs.
        tested_on: Task of the evaluations.
        metric: Headline metric.
        in_domain: Score on the runs' own test split.
        score: Score on the other task.
        gap: In-domain score minus score, per run; the sign of losses is turned.
        ceiling: Score of the same model trained on the other task; NaN without such a run.
        below: Ceiling minus score, as `gap`; NaN without a ceiling.
        ignored: Number of samples, pixels or boxes without a counterpart.
        num_runs: Number of runs.
    """

    key: GroupKey
    model: str
    trained_on: str
    tested_on: str
    metric: str
    in_domain: Estimate
    score: Estimate
    gap: Estimate
    ceiling: float
    below: float
    ignored: int
    num_runs: int


def shifts_of(evaluations: Iterable[Evaluated], rounds: int = ROUNDS, seed: int = 0) -> list[Shift]:
    """Estimate evaluations on other tasks, without corruption."""
    gathered: defaultdict[tuple[GroupKey, str, str, str, str], dict[int, Evaluated]]
    gathered = defaultdict(dict)
    for each in evaluations:
        if each.is_elsewhere and not each.corruption:
            name = (each.key, each.model, each.trained_on, each.tested_on, each.metric)
            gathered[name][each.seed] = each
    made = []
    for name, by_seed in sorted(gathered.items()):
        key, model, trained_on, tested_on, metric = name
        members = list(by_seed.values())

        def estimate(
            what: str, values: list[float], names: tuple[str, ...] = (key.words, *name[1:])
        ) -> Estimate:
            rng = stream(seed, *names, what)
            return estimate_of(np.array(values, dtype=np.float64), rng, rounds)

        own = [each.in_domain for each in members if each.in_domain is not None]
        sign = 1 if metric_is_up(metric) else -1
        gaps = [sign * (e.in_domain - e.score) for e in members if e.in_domain is not None]
        ceilings = [each.ceiling for each in members if each.ceiling is not None]
        ceiling = fmean(ceilings) if ceilings else float("nan")
        score = estimate("score", [each.score for each in members])
        made.append(
            Shift(
                key, model, trained_on, tested_on, metric,
                estimate("in domain", own),
                score,
                estimate("gap", gaps),
                ceiling,
                sign * (ceiling - score.value),
                members[0].ignored,
                len(members),
            )
        )  # fmt: skip
    return made
