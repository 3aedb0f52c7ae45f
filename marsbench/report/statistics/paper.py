"""Estimates of a report's models and of the paper's, side by side."""

import itertools
import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from marsbench.base.errors import some
from marsbench.report.statistics.curves import Curve, curves_of
from marsbench.report.statistics.ranges import REFERENCE, Pair, Ranges, family_ranges, scale_of
from marsbench.report.statistics.reference import PAPER
from marsbench.report.statistics.summary import ROUNDS, GroupSummary, ModelSummary, summarise
from marsbench.report.study.cells import (
    FEW_SHOT,
    FULL,
    PARTITION,
    Group,
    GroupKey,
    metric_title,
)
from marsbench.report.study.paper import Pairing

_MARK = " (paper)"


def in_paper(model: str) -> str:
    """Name of a model of the paper, beside the same model of a report."""
    return f"{model}{_MARK}"


def plain(model: str) -> str:
    """Name of a model without the mark of `in_paper`."""
    return model.removesuffix(_MARK)


class Both(NamedTuple):
    """Cells and estimates of a report and of the paper; the paper's models are `in_paper`.

    Attributes:
        group: Cells.
        summary: Estimates. Both models of a name follow each other; the pair with the best
            interquartile mean comes first. There are no ranks.
    """

    group: Group
    summary: GroupSummary


@dataclass(frozen=True)
class Beside:
    """Estimates of a family beside the paper's.

    Attributes:
        pairing: Groups of both.
        shown: Groups of the report and of the paper behind the estimates, each cell once.
        ranges: Ranges of the normalisation, the same for both, by key from `scale_of`.
        by_subset: Cells and estimates of the shared tasks, for each shared subset, the full
            split first, then descending.
        curves: Curves over the amount of training data, also at amounts of the paper alone.
        normalise: Choice of the ranges, as in `family_ranges`.
    """

    pairing: Pairing
    shown: tuple[Group, ...]
    ranges: Mapping[GroupKey, Ranges]
    by_subset: Mapping[str, Both]
    curves: tuple[Curve, ...]
    normalise: str = REFERENCE

    @property
    def title(self) -> str:
        """Title of the family beside the paper."""
        return f"{self.pairing.family.family_title} beside the paper"

    @property
    def scales(self) -> list[tuple[str, Ranges, set[Pair]]]:
        """Title, ranges, and tasks with metrics of all groups that share ranges."""
        pairs: defaultdict[GroupKey, set[Pair]] = defaultdict(set)
        for group in self.shown:
            pairs[scale_of(group.key, self.normalise)].update(group.metrics.items())
        is_one = len(self.ranges) == 1
        return [
            (self.title if is_one else f"{key.title} beside the paper", ranges, pairs[key])
            for key, ranges in self.ranges.items()
        ]

    @property
    def source(self) -> str:
        """Origin of all ranges, to be read after "normalised by"."""
        if len(self.ranges) == 1:
            (ranges,) = self.ranges.values()
            return ranges.words(self.metrics.items())
        return "; ".join(f"{ranges.source} ({key.subset})" for key, ranges in self.ranges.items())

    def ranges_of(self, curve: Curve) -> Ranges:
        """Ranges of a curve."""
        return self.ranges[scale_of(replace(curve.family, subset=curve.what), self.normalise)]

    @property
    def headline(self) -> list[Both]:
        """The full train split; if it is not shared, every shared subset."""
        full = self.by_subset.get(FULL)
        return [full] if full else list(self.by_subset.values())

    @property
    def metrics(self) -> dict[str, str]:
        """Metric of each shared task."""
        return {
            task: metric
            for both in self.by_subset.values()
            for task, metric in both.group.metrics.items()
        }

    @property
    def origin(self) -> str:
        """Source, metrics and differences of the paper's scores, in sentences."""
        tasks: defaultdict[str, list[str]] = defaultdict(list)
        for task, metric in self.metrics.items():
            tasks[metric_title(metric)].append(task)
        metrics = "; ".join(f"{title} of {', '.join(of)}" for title, of in tasks.items())
        remarks = (f"{task}: {text}" for task, text in self.pairing.remarks.items())
        return (
            f"The paper's scores are single runs of {PAPER}. Metrics of both: {metrics}. "
            "The paper trained with online augmentation, its own settings and its own code; the "
            f"revision of its data is not recorded, so data may differ{_listed(remarks)}."
        )


def _listed(texts: Iterable[str]) -> str:
    listed = some(texts, "; ")
    return f" ({listed})" if listed else ""


def summarise_beside(
    pairing: Pairing,
    *,
    normalise: str = REFERENCE,
    rounds: int = ROUNDS,
    seed: int = 0,
) -> Beside:
    """Compute the estimates of a pairing.

    Intervals of the paper's models do not depend on the report's, and vice versa.

    Args:
        pairing: Groups of both.
        normalise: As in `marsbench.report.statistics.ranges.family_ranges`.
        rounds: Rounds of the bootstrap.
        seed: Seed of the bootstrap.
    """
    shared = [_tasks_of(pairing, *item) for item in pairing.shared.items()]
    amounts = [_of_amounts(pairing, what) for what in (PARTITION, FEW_SHOT)]
    tasks: defaultdict[str, set[str]] = defaultdict(set)
    for _, papers in itertools.chain(shared, *amounts):
        tasks[papers.key.subset].update(papers.tasks)
    shown = tuple(group for item in tasks.items() for group in _tasks_of(pairing, *item))
    ranges = family_ranges(shown, normalise)
    known: dict[tuple[GroupKey, tuple[str, ...], GroupKey], Both] = {}

    def both(ours: Group, papers: Group, scale: GroupKey) -> Both:
        name = (papers.key, papers.tasks, scale)
        if name not in known:
            known[name] = _both(ours, papers, ranges[scale], rounds, seed)
        return known[name]

    curves: list[Curve] = []
    for what, pairs in zip((PARTITION, FEW_SHOT), amounts, strict=True):
        # The full split at the end of a curve is on the scale of its partitions.
        scale = scale_of(replace(pairing.family, subset=what), normalise)
        members = [both(*pair, scale) for pair in pairs]
        summaries = {member.group.key: member.summary for member in members}
        curves += curves_of({pairing.family: [m.group for m in members]}, summaries, seed)
    return Beside(
        pairing,
        shown,
        ranges,
        {
            papers.key.subset: both(ours, papers, scale_of(papers.key, normalise))
            for ours, papers in reversed(shared)
        },
        tuple(curves),
        normalise,
    )


def _tasks_of(pairing: Pairing, subset: str, tasks: Collection[str]) -> tuple[Group, Group]:
    papers = pairing.papers[subset].of_tasks(tasks)
    ours = pairing.ours.get(subset, Group(papers.key, {})).of_tasks(tasks)
    return ours, papers


def _of_amounts(pairing: Pairing, what: str) -> list[tuple[Group, Group]]:
    """Groups of a curve: all amounts of the paper, for tasks that the report has in some amount."""
    tasks = {
        task
        for subset, shared in pairing.shared.items()
        if subset.startswith(what)
        for task in shared
    }
    subsets = [s for s in pairing.papers if s.startswith(what)]
    subsets += [FULL] if what == PARTITION and FULL in pairing.papers else []
    pairs = [_tasks_of(pairing, subset, tasks) for subset in subsets]
    return [pair for pair in pairs if pair[1].cells]


def _both(ours: Group, papers: Group, ranges: Ranges, rounds: int, seed: int) -> Both:
    """Summarise two groups of the same tasks, each on its own."""
    common: Any = {"ranges": ranges, "rounds": rounds, "seed": seed}
    mine, their = (
        summarise(ours, **common),
        summarise(replace(papers, key=_own_key(papers)), **common),
    )
    cells = {(task, in_paper(model)): cell for (task, model), cell in papers.cells.items()}
    group = Group(papers.key, {**ours.cells, **cells})
    tasks = {(task, in_paper(model)): result for (task, model), result in their.tasks.items()}
    models = {
        **mine.models,
        **{in_paper(n): replace(m, model=in_paper(n)) for n, m in their.models.items()},
    }
    models = {
        name: replace(
            model,
            rank=None,
            missing_tasks=tuple(task for task in group.tasks if (task, name) not in group.cells),
        )
        for name, model in models.items()
    }
    summary = GroupSummary(group.key, ranges, {**mine.tasks, **tasks}, _paired(models), (), rounds)
    return Both(group, summary)


def _own_key(papers: Group) -> GroupKey:
    """Key of the paper's runs, so that all families stand beside the same intervals."""
    return next(iter(papers.cells.values())).runs[0].key


def _paired(models: Mapping[str, ModelSummary]) -> dict[str, ModelSummary]:
    """Order models by the better of both of a name; complete models first."""
    pairs: defaultdict[str, list[ModelSummary]] = defaultdict(list)
    for name, model in models.items():
        pairs[plain(name)].append(model)
    ordered = sorted(pairs.items(), key=lambda item: (min(map(_place, item[1])), item[0]))
    return {model.model: model for _, pair in ordered for model in pair}


def _place(model: ModelSummary) -> tuple[bool, bool, float]:
    unknown = math.isnan(model.iqm.value)
    return bool(model.missing_tasks), unknown, 0.0 if unknown else -model.iqm.value
