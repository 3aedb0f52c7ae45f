"""Tables of scores per group of samples: models x groups, for each task that has groups."""

from collections.abc import Iterator

from marsbench.report.analysis import Analysis
from marsbench.report.names import lowered
from marsbench.report.statistics.summary import LEVEL, Estimate, estimate_of, stream
from marsbench.report.study.by_group import ByGroup
from marsbench.report.study.cells import DOWN, UP, Group, metric_is_up, metric_label
from marsbench.report.tables.entries import anchor_of, marked, score_of
from marsbench.report.tables.forms import Column, Entry, Table


def group_tables(analysis: Analysis) -> Iterator[Table]:
    """Tables of every task whose samples have groups, such as instruments or regions."""
    for group in analysis.headline_groups:
        scores = analysis.by_group.get(group.key, {})
        for task in group.tasks:
            if of_task := {model: of for (name, model), of in scores.items() if name == task}:
                yield _table(analysis, group, task, of_task)


def _table(analysis: Analysis, group: Group, task: str, scores: dict[str, ByGroup]) -> Table:
    sizes: dict[str, int] = {}
    for of_model in scores.values():
        sizes |= of_model.sizes
    better = UP if metric_is_up(group.metrics[task]) else DOWN
    rows: list[list[Entry]] = []
    for model in analysis.summaries[group.key].models:
        if model not in scores:
            continue
        of_model = scores[model]
        row: list[Entry] = [model]
        for name in sizes:
            known = name in of_model.values
            row.append(
                score_of(_estimate(analysis, of_model, name), anchor_of(of_model.cell))
                if known
                else None
            )
        rows.append(row)
    columns = [Column(f"{name} (n={count})", better) for name, count in sizes.items()]
    return marked(
        Table(
            f"groups-{task}-{group.key.slug}",
            f"Groups of samples of {task}: {lowered(group.key.title)}",
            f"Interquartile means over seeds of the {metric_label(group.metrics[task])} within "
            f"each group of the scored samples, with {LEVEL} bootstrap intervals over seeds. A "
            "score that a group does not define is missing.",
            [Column("model"), *columns],
            rows,
            [group.key],
        )
    )


def _estimate(analysis: Analysis, scores: ByGroup, name: str) -> Estimate:
    cell = scores.cell
    rng = stream(analysis.seed, cell.key.words, cell.task, cell.model, name)
    return estimate_of(scores.values[name], rng, analysis.rounds)
