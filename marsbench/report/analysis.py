"""Estimates of every group of a store, computed once for figures, tables and the page."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from marsbench.report.figures.style import looks
from marsbench.report.names import lowered
from marsbench.report.statistics.curves import Curve, curves_of
from marsbench.report.statistics.evaluations import Robustness, Shift, robustness_of, shifts_of
from marsbench.report.statistics.modes import Modes, modes_of
from marsbench.report.statistics.paper import Beside, summarise_beside
from marsbench.report.statistics.problems import of_comparisons, of_summaries
from marsbench.report.statistics.ranges import REFERENCE, Pair, Ranges, family_ranges, scale_of
from marsbench.report.statistics.reference import Published, published
from marsbench.report.statistics.summary import (
    ROUNDS,
    Comparison,
    GroupSummary,
    compare,
    summarise,
)
from marsbench.report.study.by_group import Scores, scores_by_group
from marsbench.report.study.calibration import Calibration, calibration_of
from marsbench.report.study.cells import (
    DEMO,
    FULL,
    NONE,
    PARTITION,
    Group,
    GroupKey,
    StudyProblem,
    amount_of,
    by_severity,
)
from marsbench.report.study.coverage import Study
from marsbench.report.study.evaluations import Evaluated, evaluations_of
from marsbench.report.study.paper import beside_paper
from marsbench.report.study.pretraining import pretraining_of
from marsbench.results.record import RunRecord
from marsbench.results.store import Store


@dataclass(frozen=True)
class Analysis:
    """Content of a report.

    Attributes:
        store: Store of the records and their predictions.
        study: Records in groups.
        ranges: Ranges of the normalisation, by key from `scale_of`.
        summaries: Estimates by group.
        comparisons: Pairs of models, by group; empty for a group of a single model.
        rounds: Rounds of the bootstrap.
        seed: Seed of the bootstrap.
        normalise: Choice of the ranges, `REFERENCE` or `OBSERVED`.
        with_published: Whether published numbers are shown.
        beside: Families beside the paper's runs.
        beside_problems: Problems of the records beside the paper's runs.
        calibration: Calibration of the groups with figures and tables of their own.
        calibration_problems: Unreadable predictions.
        evaluations: Evaluations of the runs on other data, under corruptions, or calibrated.
        evaluation_problems: Evaluations left out.
        by_group: Scores per group of samples, of these groups.
        by_group_problems: Unreadable predictions.
    """

    store: Store
    study: Study
    ranges: Mapping[GroupKey, Ranges]
    summaries: Mapping[GroupKey, GroupSummary]
    comparisons: Mapping[GroupKey, Sequence[Comparison]] = field(default_factory=dict)
    rounds: int = ROUNDS
    seed: int = 0
    normalise: str = REFERENCE
    with_published: bool = False
    beside: Sequence[Beside] = ()
    beside_problems: Sequence[StudyProblem] = ()
    calibration: Calibration = field(default_factory=dict)
    calibration_problems: Sequence[StudyProblem] = ()
    evaluations: Sequence[Evaluated] = ()
    evaluation_problems: Sequence[StudyProblem] = ()
    by_group: Scores = field(default_factory=dict)
    by_group_problems: Sequence[StudyProblem] = ()

    @property
    def problems(self) -> tuple[StudyProblem, ...]:
        """All problems, the most severe first."""
        return by_severity(
            [
                *self.study.problems,
                *self.beside_problems,
                *self.calibration_problems,
                *self.evaluation_problems,
                *self.by_group_problems,
                *of_summaries(self.summaries.values()),
                *(curve.problem for curve in self.curves if curve.problem),
                *of_comparisons(
                    {g.key: self.comparisons.get(g.key, ()) for g in self.headline_groups}
                ),
            ]
        )

    @cached_property
    def headline_groups(self) -> tuple[Group, ...]:
        """Groups with figures and tables of their own: the full train split of each family.

        Other subsets are points of curves. A family without the full split shows all its subsets.
        """
        shown = []
        for family in self.families.values():
            full = [group for group in family if group.key.subset == FULL]
            shown += full or family
        return tuple(shown)

    @cached_property
    def families(self) -> dict[GroupKey, list[Group]]:
        """Groups of equal settings except the subset, by the key of the full train split."""
        families: defaultdict[GroupKey, list[Group]] = defaultdict(list)
        for key, group in self.study.groups.items():
            families[key.family].append(group)
        return {
            family: sorted(groups, key=lambda group: amount_of(group.key.subset))
            for family, groups in families.items()
        }

    @property
    def normalisation(self) -> str:
        """Description of the normalisation, in sentences."""
        families: defaultdict[str, list[str]] = defaultdict(list)
        for title, ranges, _ in self.scales:
            families[ranges.source].append(title)
        if len(families) == 1:
            return f"Scores are normalised by {next(iter(families))}."
        return " ".join(
            f"Scores of {', '.join(map(lowered, of))} are normalised by {source}."
            for source, of in families.items()
        )

    @cached_property
    def scales(self) -> list[tuple[str, Ranges, set[Pair]]]:
        """Title, ranges, and tasks with metrics of all groups that share ranges."""
        shared = Counter(key.family for key in self.ranges)
        pairs: defaultdict[GroupKey, set[Pair]] = defaultdict(set)
        for key, group in self.study.groups.items():
            pairs[scale_of(key, self.normalise)].update(group.metrics.items())
        return [
            *(
                (key.title if shared[key.family] > 1 else key.family_title, ranges, pairs[key])
                for key, ranges in self.ranges.items()
            ),
            *(scale for each in self.beside for scale in each.scales),
        ]

    @cached_property
    def curves(self) -> tuple[Curve, ...]:
        """Curves over the amount of training data."""
        return curves_of(self.families, self.curve_summaries, self.seed)

    @cached_property
    def curve_summaries(self) -> Mapping[GroupKey, GroupSummary]:
        """Estimates by group on the scale of its curve: of the full split, that of partitions."""
        ends = {}
        for family in self.families:
            ranges = self.ranges.get(replace(family, subset=PARTITION))
            if ranges is not None and family in self.summaries:
                group = self.study.groups[family]
                ends[family] = summarise(group, ranges=ranges, rounds=self.rounds, seed=self.seed)
        return {**self.summaries, **ends}

    @cached_property
    def modes(self) -> tuple[Modes, ...]:
        """Models in several modes, by category."""
        options: Any = {"normalise": self.normalise, "rounds": self.rounds, "seed": self.seed}
        return modes_of(self.headline_groups, self.summaries, **options)

    @cached_property
    def overlapping(self) -> frozenset[str]:
        """Ids of runs whose pre-training may have seen images of their task."""
        return frozenset(
            record.run_id
            for record in self.study.records
            if record.task in (pretraining_of(record).overlaps or ())
        )

    @cached_property
    def robustness(self) -> list[Robustness]:
        """Scores under corruptions."""
        return robustness_of(self.evaluations, self.rounds, self.seed)

    @cached_property
    def shifts(self) -> list[Shift]:
        """Models tested on other tasks than their own."""
        return shifts_of(self.evaluations, self.rounds, self.seed)

    def looks(self, key: GroupKey) -> dict[str, dict[str, Any]]:
        """Colours and markers of the models of a category, the same in all its figures."""
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
    """Compute all estimates of a study.

    Args:
        store: Store of its records.
        study: Groups of records.
        others: Groups of another store, which share ranges as groups of this store do.
        rounds: Rounds of the bootstrap.
        seed: Seed of the bootstrap.
        normalise: `REFERENCE` or `OBSERVED`, as in `family_ranges`.
        with_published: Whether published numbers are shown.
        step: Called with 1 after each group.
    """
    study = replace(
        study, groups=dict(sorted(study.groups.items(), key=lambda item: _order(item[0])))
    )
    all_ranges = family_ranges([*study.groups.values(), *others], normalise)
    scales = {key: scale_of(key, normalise) for key in study.groups}
    ranges = {scale: all_ranges[scale] for scale in dict.fromkeys(scales.values())}
    summaries, comparisons = {}, {}
    for key, group in study.groups.items():
        common: Any = {"ranges": ranges[scales[key]], "rounds": rounds, "seed": seed}
        summaries[key] = summarise(group, **common)
        comparisons[key] = compare(group, **common) if len(group.models) > 1 else []
        step(1)
    return Analysis(
        store, study, ranges, summaries, comparisons, rounds, seed, normalise, with_published
    )


def with_paper(
    analysis: Analysis, paper: Sequence[RunRecord], normalise: str = REFERENCE
) -> Analysis:
    """Add estimates of comparable families beside the paper's runs.

    Args:
        analysis: Estimates of a report.
        paper: Records of the paper's runs.
        normalise: As in `analyse`; observed ranges cover the runs of both.
    """
    pairings, problems = beside_paper(analysis.store, analysis.study.records, paper)
    options: Any = {"normalise": normalise, "rounds": analysis.rounds, "seed": analysis.seed}
    beside = [summarise_beside(pairing, **options) for pairing in pairings]
    beside.sort(key=lambda each: _order(each.pairing.family))
    return replace(analysis, beside=tuple(beside), beside_problems=tuple(problems))


def with_evaluations(analysis: Analysis) -> Analysis:
    """Add the evaluations of the runs that the store has."""
    study = analysis.study
    evaluations, problems = evaluations_of(study.evaluations, study.records, study.groups.values())
    return replace(analysis, evaluations=evaluations, evaluation_problems=problems)


def with_calibration(analysis: Analysis) -> Analysis:
    """Add the calibration of groups with figures and tables of their own.

    Metrics that records of earlier versions lack come from stored predictions.
    """
    calibration, problems = calibration_of(
        analysis.store, analysis.study.records, analysis.headline_groups
    )
    return replace(analysis, calibration=calibration, calibration_problems=problems)


def with_groups_of_samples(analysis: Analysis) -> Analysis:
    """Add the scores per group of samples, such as an instrument, from stored predictions."""
    scores, problems = scores_by_group(
        analysis.store, analysis.study.records, analysis.headline_groups
    )
    return replace(analysis, by_group=scores, by_group_problems=problems)


_CATEGORIES = ("classification", "segmentation", "detection", "spectra")
_MODES = ("frozen", "finetune", "scratch", "zero_shot")


def _order(key: GroupKey) -> tuple[Any, ...]:
    """Order groups as in the paper: frozen first, default settings before others."""
    places = [
        known.index(name) if name in known else len(known)
        for known, name in ((_CATEGORIES, key.category), (_MODES, key.mode))
    ]
    others = (key.imbalance, key.views, key.train_on)
    unusual = (*(other != NONE for other in others), key.data == DEMO)
    return *places, *unusual, key.protocol, -amount_of(key.subset), key


def matching(group: Group, task: str) -> list[Published]:
    """Published numbers of a task with the metric and training of a group."""
    metric = next(cell for (t, _), cell in group.cells.items() if t == task).metric
    return [
        number
        for number in published()
        if (number.task, number.compared) == (task, metric) and number.is_of(group.key)
    ]
