"""Tables of evaluations: robustness to corruptions, shift between tasks, temperature scaling."""

from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np

from marsbench.base.names import file_stem
from marsbench.report.analysis import Analysis
from marsbench.report.names import lowered
from marsbench.report.statistics.evaluations import Robustness, Shift
from marsbench.report.statistics.summary import LEVEL, Estimate, estimate_of, stream
from marsbench.report.study.cells import DOWN, UP, GroupKey, metric_is_up, metric_label
from marsbench.report.study.evaluations import Evaluated
from marsbench.report.tables.entries import anchor_of, marked, score_of
from marsbench.report.tables.forms import Column, Entry, Score, Table


def evaluation_tables(analysis: Analysis) -> Iterator[Table]:
    """Tables of all evaluations; none without any."""
    for each in analysis.robustness:
        yield from _robustness_tables(analysis, each)
    for group in analysis.study.groups.values():
        shifts = [shift for shift in analysis.shifts if shift.key == group.key]
        calibrated = [e for e in analysis.evaluations if e.key == group.key and e.calibration]
        if shifts:
            yield _shift_table(group.key, shifts)
        if calibrated:
            yield _temperature_table(analysis, group.key, calibrated)


def _robustness_tables(analysis: Analysis, each: Robustness) -> Iterator[Table]:
    names = each.corruptions
    better = UP if metric_is_up(each.metric) else DOWN
    models = [m for m in analysis.summaries[each.key].models if m in each.scores]
    columns = [name.replace("_", " ") for name in names]
    shown = ", ".join(map(str, each.common))
    over = f"mean over the severities {shown}"
    name = file_stem(each.words)
    rows = [
        [
            model,
            _known(each.at(model, "", 0)),
            _known(each.mean(model, names)),
            _known(each.drop(model, names)),
            *(_known(each.mean(model, (n,))) for n in names),
        ]
        for model in models
    ]
    yield marked(
        Table(
            f"robustness-{name}",
            f"Robustness on {each.title}",
            f"Scores ({metric_label(each.metric)}) on corrupted test samples: {over}, "
            f"interquartile mean over seeds, with {LEVEL} bootstrap intervals; of all corruptions "
            "and of each. Relative drop: loss from the score without corruption, as a share of it.",
            [
                Column("model"),
                Column("without corruption", better),
                Column("all corruptions", better),
                Column("relative drop", DOWN),
                *(Column(column, better) for column in columns),
            ],
            rows,
            [each.key],
        )
    )
    yield marked(
        Table(
            f"drops-{name}",
            f"Relative drops on {each.title}",
            f"Loss from the score without corruption as a share of it, {over}, interquartile mean "
            f"over seeds, with {LEVEL} bootstrap intervals.",
            [Column("model"), *(Column(column, DOWN) for column in columns)],
            [[m, *(_known(each.drop(m, (n,))) for n in names)] for m in models],
            [each.key],
        )
    )


def _known(estimate: Estimate, anchor: str = "") -> Score | None:
    return score_of(estimate, anchor) if np.isfinite(estimate.value) else None


def _shift_table(key: GroupKey, shifts: Sequence[Shift]) -> Table:
    columns = ("model", "trained on", "tested on", "metric")
    numbers = ("in domain", "score", "gap", "ceiling", "below the ceiling", "not scored", "runs")
    rows: list[list[Entry]] = []
    for shift in shifts:
        rows.append(
            [
                shift.model,
                shift.trained_on,
                shift.tested_on,
                metric_label(shift.metric),
                _known(shift.in_domain),
                _known(shift.score),
                _known(shift.gap),
                Score(shift.ceiling) if np.isfinite(shift.ceiling) else None,
                Score(shift.below) if np.isfinite(shift.below) else None,
                shift.ignored,
                shift.num_runs,
            ]
        )
    return Table(
        f"shift-{key.slug}",
        f"Trained on one task, tested on another: {lowered(key.title)}",
        "Interquartile means over seeds of the headline metric of the tested task, without further "
        f"training, with {LEVEL} bootstrap intervals. Gap: score in domain minus score, "
        "with the sign turned for losses. Ceiling: "
        "the best validated model of the same name and mode trained on the tested task. Not "
        "scored: samples, pixels or boxes without a counterpart among the model's classes.",
        list(map(Column, (*columns, *numbers))),
        rows,
        [key],
    )


_SCALED = {"ece": "calibration error", "brier": "Brier score", "log_loss": "log loss"}


def _temperature_table(
    analysis: Analysis, key: GroupKey, evaluations: Sequence[Evaluated]
) -> Table:
    by_cell: defaultdict[tuple[str, str], list[Evaluated]] = defaultdict(list)
    for each in evaluations:
        by_cell[each.trained_on, each.model].append(each)
    columns = ["task", "model", "temperature"]
    columns += [f"{title}{when}" for title in _SCALED.values() for when in ("", ", scaled")]
    names = [f"{when}/{metric}" for metric in _SCALED for when in ("before", "after")]
    rows: list[list[Entry]] = []
    for (task, model), members in sorted(by_cell.items()):
        estimates = [_of(analysis, members, name) for name in ("temperature", *names)]
        anchor = anchor_of(members[0].cell)
        rows.append([task, model, *(_known(estimate, anchor) for estimate in estimates)])
    return Table(
        f"temperature-{key.slug}",
        f"Temperature scaling of {lowered(key.title)}",
        "Test predictions with logits divided by the temperature of the lowest log loss on "
        f"validation predictions: interquartile means over seeds, with {LEVEL} bootstrap "
        "intervals, before and after; lower is better.",
        list(map(Column, columns)),
        rows,
        [key],
    )


def _of(analysis: Analysis, members: Sequence[Evaluated], name: str) -> Estimate:
    values = [m.calibration[name] for m in members if name in m.calibration]
    cell = members[0].cell
    rng = stream(analysis.seed, cell.key.words, cell.task, cell.model, "temperature", name)
    return estimate_of(np.array(values, dtype=np.float64), rng, analysis.rounds)
