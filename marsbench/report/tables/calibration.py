"""Tables of calibration: calibration error and Brier score, models x tasks."""

from collections.abc import Iterator

from marsbench.metrics.calibration import NUM_BINS
from marsbench.report.analysis import Analysis
from marsbench.report.names import lowered
from marsbench.report.statistics.summary import LEVEL, Estimate, estimate_of, stream
from marsbench.report.study.calibration import METRICS, Calibrated
from marsbench.report.study.cells import DOWN, Group, metric_title
from marsbench.report.tables.entries import anchor_of, marked, score_of
from marsbench.report.tables.forms import Column, Entry, Table

_DEFINITIONS = {
    "ece": f"expected calibration error of the highest probability over {NUM_BINS} bins of equal "
    "width; of multilabel tasks the mean over the labels, each by its own probability",
    "brier": "Brier score: squared error of the probabilities, summed over the classes (0 to 2); "
    "of two classes, and of labels, whose mean is taken, 0 to 1",
}


def calibration_tables(analysis: Analysis) -> Iterator[Table]:
    """Tables of each metric of calibration, for every group with tasks of labels."""
    for group in analysis.headline_groups:
        calibration = analysis.calibration.get(group.key, {})
        for metric in METRICS if calibration else ():
            yield _table(analysis, group, metric)


def _table(analysis: Analysis, group: Group, metric: str) -> Table:
    calibration = analysis.calibration[group.key]
    tasks = [task for task in group.tasks if any(name[0] == task for name in calibration)]
    models = [m for m in analysis.summaries[group.key].models if any(m in n for n in calibration)]
    rows: list[list[Entry]] = []
    for model in models:
        row: list[Entry] = [model]
        for task in tasks:
            cell = calibration.get((task, model))
            known = cell is not None and len(cell.values[metric])
            row.append(
                score_of(_estimate(analysis, cell, metric), anchor_of(cell.cell))
                if cell is not None and known
                else None
            )
        rows.append(row)
    title = metric_title(metric)
    return marked(
        Table(
            f"{metric}-{group.key.slug}",
            f"{title[0].upper()}{title[1:]} of {lowered(group.key.title)}",
            f"Interquartile means over seeds of the {_DEFINITIONS[metric]}; with {LEVEL} "
            "bootstrap intervals.",
            [Column("model"), *(Column(task, DOWN) for task in tasks)],
            rows,
            [group.key],
        )
    )


def _estimate(analysis: Analysis, calibrated: Calibrated, metric: str) -> Estimate:
    cell = calibrated.cell
    rng = stream(analysis.seed, cell.key.words, cell.task, cell.model, metric)
    return estimate_of(calibrated.values[metric], rng, analysis.rounds)
