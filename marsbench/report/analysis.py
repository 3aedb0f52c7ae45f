"""What a report is made of: a store's groups with their estimates, computed once.

Figures, tables and the page all read an `Analysis`, so that they cannot disagree.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from marsbench.config import parse_subset
from marsbench.errors import StoreError, some, unknown_name
from marsbench.kinds import METRICS
from marsbench.report.reference import Published, published, reference_ranges
from marsbench.report.scores import (
    FULL,
    NONE,
    Group,
    GroupKey,
    Problem,
    Study,
    Trouble,
    load_study,
    study_of,
)
from marsbench.report.style import looks
from marsbench.report.summary import (
    ROUNDS,
    Comparison,
    Ranges,
    Summary,
    compare,
    observed_ranges,
    summarise,
)
from marsbench.results.record import RunRecord
from marsbench.results.store import Store

REFERENCE = "reference"
OBSERVED = "observed"
"""What scores are normalised by."""

DEMO = "demo"


@dataclass(frozen=True)
class Analysis:
    """Everything that is drawn and written.

    Attributes:
        store: Where the records are; their predictions are read from there.
        study: The records in groups.
        ranges: What normalises the scores, of real and of demo data.
        summaries: By group.
        comparisons: Pairs of models, by group; empty where a group has one model.
        rounds: Rounds of the bootstrap.
        seed: Seed of the bootstrap.
        with_published: Whether published numbers stand beside these.
    """

    store: Store
    study: Study
    ranges: Mapping[str, Ranges]
    summaries: Mapping[GroupKey, Summary]
    comparisons: Mapping[GroupKey, Sequence[Comparison]] = field(default_factory=dict)
    rounds: int = ROUNDS
    seed: int = 0
    with_published: bool = False

    @property
    def problems(self) -> tuple[Problem, ...]:
        """All problems, each once, in the order found."""
        found = [*self.study.problems, *(p for s in self.summaries.values() for p in s.problems)]
        return tuple(dict.fromkeys(found))

    @cached_property
    def headline_groups(self) -> tuple[Group, ...]:
        """Groups that have pictures of their own: those of the full train split.

        Other subsets are points of curves; where a family lacks the full split, each of its
        subsets stands for itself.
        """
        shown = []
        for family in self.families.values():
            full = [group for group in family if group.key.subset == FULL]
            shown += full or family
        return tuple(shown)

    @cached_property
    def families(self) -> dict[GroupKey, list[Group]]:
        """Groups that differ in their subset alone, by their key with the full one in its place."""
        found: defaultdict[GroupKey, list[Group]] = defaultdict(list)
        for key, group in self.study.groups.items():
            found[replace(key, subset=FULL)].append(group)
        return {
            family: sorted(groups, key=lambda group: _amount(group.key.subset))
            for family, groups in found.items()
        }

    @cached_property
    def curves(self) -> tuple["Curve", ...]:
        """Groups that differ in the amount of training data alone, over the tasks they share."""
        found = []
        for family, groups in self.families.items():
            for what in ("partition", "few_shot"):
                members = [g for g in groups if g.key.subset.startswith(what)]
                if members and what == "partition":
                    members += [g for g in groups if g.key.subset == FULL]
                tasks = {task for group in members[:1] for task in group.tasks}
                tasks = tasks.intersection(*(group.tasks for group in members))
                if not members or not tasks:
                    continue
                summaries = [
                    summarise(
                        Group(g.key, {k: c for k, c in g.cells.items() if k[0] in tasks}),
                        ranges=self.ranges[family.data],
                        rounds=self.rounds,
                        seed=self.seed,
                    )
                    for g in members
                ]
                found.append(Curve(family, what, tuple(sorted(tasks)), tuple(summaries)))
        return tuple(found)

    def looks(self, key: GroupKey) -> dict[str, dict[str, Any]]:
        """Colours and markers of the models of a category: the same in all of its figures."""
        return self._looks[key.category]

    @cached_property
    def _looks(self) -> dict[str, dict[str, dict[str, Any]]]:
        names: defaultdict[str, dict[str, None]] = defaultdict(dict)
        for key, summary in self.summaries.items():
            names[key.category].update(dict.fromkeys(summary.models))
        return {category: looks(found) for category, found in names.items()}


@dataclass(frozen=True)
class Curve:
    """Scores over the amount of training data.

    Attributes:
        family: What its groups share, with the full split for a subset.
        what: partition or few_shot.
        tasks: The tasks that every amount has; others would move the mean by which they are.
        summaries: One for each amount, from little to much, over these tasks.
    """

    family: GroupKey
    what: str
    tasks: tuple[str, ...]
    summaries: tuple[Summary, ...]

    @property
    def title(self) -> str:
        """Its family in words, without a subset."""
        words = self.family.title.split(" ")
        words.remove(FULL)
        return " ".join(words)

    @property
    def slug(self) -> str:
        """Its name as part of a file's name."""
        return f"{self.what.replace('_', '-')}-{self.title.replace('=', '-').replace(' ', '-')}"


def _amount(subset: str) -> float:
    """Order subsets by what they hold: shots, then shares, then everything."""
    part = parse_subset(subset)
    if part.shots is not None:
        return part.shots - 1e6
    return float(part.fraction) if part.fraction is not None else math.inf


def selected(
    records: Iterable[RunRecord],
    tasks: Sequence[str] = (),
    models: Sequence[str] = (),
    modes: Sequence[str] = (),
) -> list[RunRecord]:
    """Keep the records of some tasks, models and modes; of all where none is named.

    Raises:
        UnknownNameError: If a name occurs in no record.
    """
    found = list(records)
    for what, wanted in (("task", tasks), ("model", models), ("mode", modes)):
        known = {getattr(record, what) for record in found}
        for name in wanted:
            if name not in known:
                raise unknown_name(f"{what} in these records", name, known)
        found = [r for r in found if not wanted or getattr(r, what) in wanted]
    return found


def analyse(
    store: Store,
    study: Study,
    *,
    others: Iterable[Group] = (),
    rounds: int = ROUNDS,
    seed: int = 0,
    normalise: str = REFERENCE,
    with_published: bool = False,
    step: Callable[[int], None] = lambda _: None,
) -> Analysis:
    """Estimate everything of a study.

    Args:
        store: Where its records are.
        study: Its groups.
        others: Groups of another store that share the ranges.
        rounds: Rounds of the bootstrap.
        seed: Seed of the bootstrap.
        normalise: As `ranges_of` takes it.
        with_published: Whether published numbers stand beside these.
        step: Called with 1 after each group.
    """
    study = replace(study, groups=dict(sorted(study.groups.items(), key=_order)))
    ranges = ranges_of([*study.groups.values(), *others], normalise)
    summaries, comparisons = {}, {}
    for key, group in study.groups.items():
        common: Any = {"ranges": ranges[key.data], "rounds": rounds, "seed": seed}
        summaries[key] = summarise(group, **common)
        comparisons[key] = compare(group, **common) if len(group.models) > 1 else []
        step(1)
    return Analysis(store, study, ranges, summaries, comparisons, rounds, seed, with_published)


_CATEGORIES = ("classification", "segmentation", "detection", "spectra")
_MODES = ("frozen", "finetune", "scratch")


def _order(item: tuple[GroupKey, Group]) -> tuple[Any, ...]:
    """Order groups as the paper shows them: frozen first, and what is as usual before the rest."""
    key, _ = item
    places = [
        known.index(name) if name in known else len(known)
        for known, name in ((_CATEGORIES, key.category), (_MODES, key.mode))
    ]
    unusual = (key.imbalance != NONE, key.views != NONE, key.data == DEMO)
    return *places, *unusual, key.protocol, -_amount(key.subset), key


def ranges_of(groups: Iterable[Group], normalise: str = REFERENCE) -> dict[str, Ranges]:
    """Give each task one range for the whole report, so that its groups share a scale.

    Args:
        groups: All groups, of one store or of two that are compared.
        normalise: `REFERENCE` takes the reference range where a task has one, else the lowest and
            the highest score seen in any group; `OBSERVED` takes the latter for all tasks.

    Returns:
        Ranges of real and of demo data: of the same name they are other data, so that no range of
        one task's own fits both.
    """
    by_data: defaultdict[str, list[Group]] = defaultdict(list)
    for group in groups:
        by_data[group.key.data].append(group)
    return {data: _ranges(data, members, normalise) for data, members in by_data.items()}


def _ranges(data: str, groups: Sequence[Group], normalise: str) -> Ranges:
    seen = observed_ranges(groups)
    if normalise == OBSERVED:
        return seen
    metrics = {cell.task: cell.metric for group in groups for cell in group.cells.values()}
    fixed = reference_ranges(metrics)
    tasks = {
        task
        for task in set(fixed.low) & set(metrics)
        if data != DEMO or math.isfinite(METRICS[metrics[task]].high)
    }
    sources = [fixed.source] if tasks else []
    sources += [seen.source] if set(metrics) - tasks else []
    return Ranges(
        source="; for tasks without one, ".join(sources),
        low={**seen.low, **{task: fixed.low[task] for task in tasks}},
        high={**seen.high, **{task: fixed.high[task] for task in tasks}},
    )


def matching(group: Group, task: str) -> list[Published]:
    """Published numbers of a task that were trained and measured as a group's cells were."""
    metric = next(cell for (t, _), cell in group.cells.items() if t == task).metric
    return [
        one
        for one in published()
        if (one.task, one.mode, one.metric) == (task, group.key.mode, metric)
        and one.imbalance == group.key.imbalance == NONE
        and group.key.subset == FULL
        and group.key.data != DEMO
    ]


def open_study(
    store: Store,
    tasks: Sequence[str] = (),
    models: Sequence[str] = (),
    modes: Sequence[str] = (),
) -> Study:
    """Read a store and keep some of its records.

    Raises:
        StoreError: If there is no store, or no record that can be read.
        UnknownNameError: If a name occurs in no record.
    """
    study = load_study(store.root)
    if tasks or models or modes:
        told = [p for p in study.problems if p.trouble in _OF_RECORDS]
        study = study_of(selected(study.records, tasks, models, modes))
        study = replace(study, problems=(*told, *study.problems))
    if not study.groups:
        reasons = some((problem.message for problem in study.problems), " ")
        raise StoreError(
            f"No run of {store.root} that was asked for can be reported. {reasons}".strip(),
            "Run them again, or ask for others.",
        )
    return study


_OF_RECORDS = (Trouble.UNREADABLE, Trouble.NO_SCORE, Trouble.DUPLICATE)
"""Troubles of single records, which no choice among the others mends."""
