"""Tables with the modes of each model side by side."""

from collections.abc import Iterator

from marsbench.base.errors import some
from marsbench.report.analysis import Analysis
from marsbench.report.names import lowered
from marsbench.report.statistics.summary import LEVEL
from marsbench.report.study.cells import UP
from marsbench.report.tables.entries import marked, model_anchor, score_of
from marsbench.report.tables.forms import Column, Entry, Table


def modes_tables(analysis: Analysis) -> Iterator[Table]:
    """Compare the modes of each category over the tasks that all of them have."""
    for each in analysis.modes:
        rows: list[list[Entry]] = []
        for model, line in each.over_tasks.items():
            scores = {
                key: score_of(estimate, model_anchor(analysis.study.groups[key], model))
                for key, estimate in line.items()
            }
            rows.append([model, *map(scores.get, each.keys)])
        source = each.ranges.words(each.metrics.items())
        yield marked(
            Table(
                f"modes-{each.slug}",
                f"Modes side by side: {lowered(each.title)}",
                f"Interquartile means of normalised scores over {some(each.tasks)}, with {LEVEL} "
                f"bootstrap intervals. Scores are normalised by {source}.",
                [Column("model"), *(Column(each.label(key), UP) for key in each.keys)],
                rows,
                each.keys,
            )
        )
