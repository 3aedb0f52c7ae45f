"""What a report is made of: a store's groups with their estimates, computed once.

Figures, tables and the page all read an `Analysis`, so that they cannot disagree.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from marsbench.report.figures.style import looks
from marsbench.report.statistics.curves import Curve, curves_of
from marsbench.report.statistics.problems import of_comparisons, of_summaries
from marsbench.report.statistics.reference import Published, published, reference_ranges
from marsbench.report.statistics.summary import (
    ROUNDS,
    Comparison,
    Ranges,
    Summary,
    compare,
    observed_ranges,
    summarise,
)
from marsbench.report.study.cells import (
    FULL,
    NONE,
    Group,
    GroupKey,
    Problem,
    amount_of,
    by_severity,
)
from marsbench.report.study.coverage import Study
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
        ranges: What normalises the scores, by family.
        summaries: By group.
        comparisons: Pairs of models, by group; empty where a group has one model.
        rounds: Rounds of the bootstrap.
        seed: Seed of the bootstrap.
        with_published: Whether published numbers stand beside these.
    """

    store: Store
    study: Study
    ranges: Mapping[GroupKey, Ranges]
    summaries: Mapping[GroupKey, Summary]
    comparisons: Mapping[GroupKey, Sequence[Comparison]] = field(default_factory=dict)
    rounds: int = ROUNDS
    seed: int = 0
    with_published: bool = False

    @property
    def problems(self) -> tuple[Problem, ...]:
        """All problems, the gravest first."""
        return by_severity(
            [
                *self.study.problems,
                *of_summaries(self.summaries.values()),
                *(curve.problem for curve in self.curves if curve.problem),
                *of_comparisons(
                    {g.key: self.comparisons.get(g.key, ()) for g in self.headline_groups}
                ),
            ]
        )

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
        families: defaultdict[GroupKey, list[Group]] = defaultdict(list)
        for key, group in self.study.groups.items():
            families[key.family].append(group)
        return {
            family: sorted(groups, key=lambda group: amount_of(group.key.subset))
            for family, groups in families.items()
        }

    @property
    def normalisation(self) -> str:
        """What normalises the scores, in sentences."""
        families: defaultdict[str, list[str]] = defaultdict(list)
        for family, ranges in self.ranges.items():
            families[ranges.source].append(family.family_title)
        if len(families) == 1:
            return f"Scores are normalised by {next(iter(families))}."
        return " ".join(
            f"Scores of {', '.join(of)} are normalised by {source}."
            for source, of in families.items()
        )

    def ranges_of(self, key: GroupKey) -> Ranges:
        """What normalises the scores of a group: the ranges of its family."""
        return self.ranges[key.family]

    @cached_property
    def curves(self) -> tuple[Curve, ...]:
        """Groups that differ in the amount of training data alone."""
        return curves_of(self.families, self.summaries, self.seed)

    def looks(self, key: GroupKey) -> dict[str, dict[str, Any]]:
        """Colours and markers of the models of a category: the same in all of its figures."""
        return self._looks[key.category]

    @cached_property
    def _looks(self) -> dict[str, dict[str, dict[str, Any]]]:
        names: defaultdict[str, dict[str, None]] = defaultdict(dict)
        for key, summary in self.summaries.items():
            names[key.category].update(dict.fromkeys(summary.models))
        return {category: looks(models) for category, models in names.items()}


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
        others: Groups of another store; those of the same family share its ranges.
        rounds: Rounds of the bootstrap.
        seed: Seed of the bootstrap.
        normalise: As `family_ranges` takes it.
        with_published: Whether published numbers stand beside these.
        step: Called with 1 after each group.
    """
    study = replace(study, groups=dict(sorted(study.groups.items(), key=_order)))
    all_ranges = family_ranges([*study.groups.values(), *others], normalise)
    ranges = {
        family: all_ranges[family] for family in dict.fromkeys(k.family for k in study.groups)
    }
    summaries, comparisons = {}, {}
    for key, group in study.groups.items():
        common: Any = {"ranges": ranges[key.family], "rounds": rounds, "seed": seed}
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
    return *places, *unusual, key.protocol, -amount_of(key.subset), key


def family_ranges(groups: Iterable[Group], normalise: str = REFERENCE) -> dict[GroupKey, Ranges]:
    """Give each family its ranges, so that its subsets share a scale and no other moves them.

    Args:
        groups: All groups, of one store or of two that are compared.
        normalise: `REFERENCE` takes the ranges that no record moves, and for a task without one the
            lowest and the highest score seen in the family; `OBSERVED` takes the latter for all.
    """
    families: defaultdict[GroupKey, list[Group]] = defaultdict(list)
    for group in groups:
        families[group.key.family].append(group)
    return {family: _ranges(members, normalise) for family, members in families.items()}


def _ranges(groups: Sequence[Group], normalise: str) -> Ranges:
    if normalise == OBSERVED:
        return observed_ranges(groups)
    pairs = {pair for group in groups for pair in group.metrics.items()}
    fixed = reference_ranges(sorted(pairs), demo=groups[0].key.data == DEMO)
    without = {pair for pair in pairs if not fixed.has(*pair)}
    seen = observed_ranges(groups, without)
    sources = [fixed.source] if fixed.low else []
    if without:
        sources.append(f"{seen.source} ({', '.join(sorted({task for task, _ in without}))})")
    return Ranges("; ".join(sources), {**seen.low, **fixed.low}, {**seen.high, **fixed.high})


def matching(group: Group, task: str) -> list[Published]:
    """Published numbers of a task that were trained and measured as a group's cells were."""
    metric = next(cell for (t, _), cell in group.cells.items() if t == task).metric
    return [
        number
        for number in published()
        if (number.task, number.metric) == (task, metric) and number.is_of(group.key)
    ]
