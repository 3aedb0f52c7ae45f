"""Problems of estimates, in sentences for whole families rather than subsets."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from marsbench.base.errors import some
from marsbench.report.statistics.summary import Comparison, GroupSummary
from marsbench.report.study.cells import GroupKey, StudyProblem, Trouble


def of_summaries(summaries: Iterable[GroupSummary]) -> list[StudyProblem]:
    """List tasks without a range for normalisation, and groups without ranks."""
    unranged: defaultdict[tuple[GroupKey, str], dict[str, None]] = defaultdict(dict)
    unranked: defaultdict[GroupKey, list[str]] = defaultdict(list)
    for summary in summaries:
        family, source = summary.key.family, summary.ranges.source
        for result in summary.tasks.values():
            if not summary.ranges.has(result.cell.task, result.cell.metric):
                unranged[family, source][result.cell.task] = None
        if len(summary.models) > 1 and not summary.ranked_tasks:
            unranked[family].append(summary.key.subset)
    ranges = (
        StudyProblem(
            Trouble.RANGE,
            f"{family.family_title}: {some(tasks)} left out of aggregates over tasks, without a "
            f"range in {source}.",
        )
        for (family, source), tasks in unranged.items()
    )
    ranks = (
        StudyProblem(
            Trouble.MISSING,
            f"{family.family_title}: no ranks in {', '.join(subsets)}, since no task is shared by "
            "all models and no two models have all tasks.",
        )
        for family, subsets in unranked.items()
    )
    return [*ranges, *ranks]


def of_comparisons(comparisons: Mapping[GroupKey, Sequence[Comparison]]) -> list[StudyProblem]:
    """List how many pairs of models have too few runs for a test, for all groups together."""
    counts = {key: sum(not pair.is_tested for pair in pairs) for key, pairs in comparisons.items()}
    untested = [
        f"{key.title} ({count} of {len(comparisons[key])} pairs)"
        for key, count in counts.items()
        if count
    ]
    if not untested:
        return []
    text = (
        "Too few runs with the same task and seed for a significant difference after correction "
        f"for the number of pairs; this is no evidence of equal models: {some(untested)}."
    )
    return [StudyProblem(Trouble.UNTESTED, text)]
