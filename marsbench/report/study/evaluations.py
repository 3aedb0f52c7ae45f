"""Evaluations of the runs of a report: on other tasks, under corruptions, and calibrated."""

import math
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from marsbench.base.errors import some
from marsbench.base.text import inline
from marsbench.report.study.cells import Cell, Group, GroupKey, StudyProblem, Trouble
from marsbench.results.record import RunRecord


@dataclass(frozen=True)
class Evaluated:
    """An evaluation, reduced to the fields for reports.

    Attributes:
        run_id: Its id.
        cell: Cell of its run.
        seed: Seed of its run.
        trained_on: Task of the run, with the group of its samples if any.
        tested_on: Task of the evaluation, with the group of its samples if any.
        metric: Its headline metric.
        score: Its score.
        in_domain: Score of the run on its own test split; None if unknown.
        clean: Score on the same samples without corruption; None if unknown.
        ceiling: Score of a model trained on the evaluated task; None without such a run.
        ignored: Number of samples, pixels or boxes without a counterpart among the run's classes.
        corruption: Corruption of the samples; empty without any.
        severity: Its severity; 0 without any.
        calibration: Temperature, and metrics before and after, of a run calibrated by it.
        variant: Data revision and matching of classes, as text; scores of others differ.
        created: Time of its record.
        is_elsewhere: Whether it is of other samples than the run's own test split.
    """

    run_id: str
    cell: Cell
    seed: int
    trained_on: str
    tested_on: str
    metric: str
    score: float
    in_domain: float | None
    clean: float | None
    ceiling: float | None
    ignored: int
    corruption: str
    severity: int
    calibration: Mapping[str, float]
    variant: str
    created: str
    is_elsewhere: bool

    @property
    def key(self) -> GroupKey:
        """Key of the group of the run."""
        return self.cell.key

    @property
    def model(self) -> str:
        """Model of the run."""
        return self.cell.model

    @property
    def comparison(self) -> tuple[Hashable, ...]:
        """Key of the evaluations that stand beside each other."""
        return (self.key, self.trained_on, self.tested_on, bool(self.calibration))


def evaluations_of(
    evaluations: Iterable[RunRecord], records: Iterable[RunRecord], groups: Iterable[Group]
) -> tuple[list[Evaluated], tuple[StudyProblem, ...]]:
    """Gather the evaluations of the runs behind the numbers of a report.

    Args:
        evaluations: Records of evaluations.
        records: Records of runs.
        groups: Cells of these runs.

    Returns:
        The evaluations, and problems: invalid evaluations, and those of replaced runs or of runs
        with other settings than the reported ones.
    """
    parents = {record.run_id: record for record in records}
    cells = {i: cell for group in groups for cell in group.cells.values() for i in cell.run_ids}
    kept: list[Evaluated] = []
    apart: dict[str, list[str]] = {reason: [] for reason in _REASONS}
    for record in evaluations:
        parent = parents.get(record.parents[0]) if record.parents else None
        if parent is None:
            continue  # of runs that are not in the report
        facts = record.data.get("evaluation")
        facts = facts if isinstance(facts, dict) else {}
        if facts.get("parent_created") != parent.created:
            apart["replaced"].append(record.run_id)
        elif parent.run_id not in cells:
            apart["settings"].append(record.run_id)
        elif (reduced := _reduced(record, parent, cells[parent.run_id], facts)) is None:
            apart["invalid"].append(record.run_id)
        else:
            kept.append(reduced)
    alike = list(_alike(kept))
    apart["variant"] = sorted({each.run_id for each in kept} - {each.run_id for each in alike})
    return alike, tuple(_problems(apart))


def _alike(evaluations: Sequence[Evaluated]) -> Iterator[Evaluated]:
    """Evaluations of one variant for each pair of tasks in a group of runs.

    That with most evaluations, or the latest of several. Calibrated ones are compared with each
    other alone.
    """
    sizes: dict[Any, dict[str, tuple[int, str]]] = {}
    for each in evaluations:
        variants = sizes.setdefault(each.comparison, {})
        count, created = variants.get(each.variant, (0, ""))
        variants[each.variant] = count + 1, max(created, each.created)
    for each in evaluations:
        variants = sizes[each.comparison]
        if each.variant == max(variants, key=variants.__getitem__):
            yield each


def _reduced(
    record: RunRecord, parent: RunRecord, cell: Cell, facts: Mapping[str, Any]
) -> Evaluated | None:
    """Read the facts of an evaluation; None if it has no finite score."""
    score = _number(record.score)
    severity = facts.get("severity")
    ceiling, ignored = facts.get("ceiling"), facts.get("ignored")
    known = ignored.values() if isinstance(ignored, dict) else ()
    in_domain, clean = (_number(facts.get(name)) for name in ("in_domain", "clean"))
    has_other_data = record.data.get("revision") != parent.data.get("revision")
    group = facts.get("test_on")
    matched = record.identity.get("classes")
    is_elsewhere = record.task != parent.task or has_other_data or bool(group or matched)
    other = "other data" * (record.task == parent.task and has_other_data)
    if file := facts.get("class_map"):
        other = f"{other} class_map={Path(str(file)).name}".lstrip()
    if score is None:
        return None
    return Evaluated(
        run_id=record.run_id,
        cell=cell,
        seed=parent.seed,
        trained_on=_named(parent.task, parent.train_on),
        tested_on=_named(record.task, f"{group or ''} {other}".strip()),
        metric=record.headline,
        score=score,
        in_domain=in_domain,
        clean=in_domain if clean is None and not is_elsewhere else clean,
        ceiling=_number(ceiling.get("score")) if isinstance(ceiling, dict) else None,
        ignored=sum(int(n) for n in known if _number(n) is not None),
        corruption=inline(str(facts.get("corruption") or "")),
        severity=severity if type(severity) is int else 0,
        calibration=dict(_calibration(facts)),
        variant=str([record.data.get("revision"), matched, record.identity.get("reading")]),
        created=record.created,
        is_elsewhere=is_elsewhere,
    )


def _named(task: str, samples: Any) -> str:
    return f"{task} {inline(str(samples))}" if samples else task


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) else None


def _calibration(facts: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """Temperature, and ``before/METRIC`` and ``after/METRIC``."""
    if (temperature := _number(facts.get("temperature"))) is None:
        return
    yield "temperature", temperature
    for when in ("before", "after"):
        metrics = facts.get(when)
        for name, value in metrics.items() if isinstance(metrics, dict) else ():
            if (number := _number(value)) is not None:
                yield f"{when}/{name}", number


_REASONS = {
    "replaced": (Trouble.REVISIONS, "their runs were replaced since; evaluate again with --force"),
    "settings": (Trouble.SETTINGS, "their runs have other settings than the reported ones"),
    "invalid": (Trouble.NO_SCORE, "they have no finite score"),
    "variant": (
        Trouble.SETTINGS,
        "their data or matched classes differ from those of most evaluations of the same tasks",
    ),
}


def _problems(apart: Mapping[str, list[str]]) -> Iterator[StudyProblem]:
    for reason, run_ids in apart.items():
        if run_ids:
            trouble, words = _REASONS[reason]
            text = f"Left out, {len(run_ids)} evaluation(s): {words}: {some(run_ids)}."
            yield StudyProblem(trouble, text, tuple(run_ids))
