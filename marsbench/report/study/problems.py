"""Problems of cells, in sentences for whole families rather than subsets."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from marsbench.base.errors import some
from marsbench.base.keys import flatten
from marsbench.report.study.cells import (
    FULL,
    Basis,
    Group,
    GroupKey,
    Run,
    StudyProblem,
    Trouble,
    amount_of,
)
from marsbench.results.record import RunRecord


@dataclass
class Gathered:
    """Items of the same sort, with the subsets of each.

    Attributes:
        subsets: Subsets by item, in the order added.
        run_ids: Affected runs.
    """

    subsets: dict[str, list[str]] = field(default_factory=dict)
    run_ids: list[str] = field(default_factory=list)

    def add(self, what: str, subset: str, runs: Iterable[Run] = ()) -> None:
        """Add an item."""
        subsets = self.subsets.setdefault(what, [])
        if subset not in subsets:
            subsets.append(subset)
        self.run_ids += (run.run_id for run in runs)

    def __str__(self) -> str:
        """List the first items, with their subsets unless all are full."""
        if all(subsets == [FULL] for subsets in self.subsets.values()):
            return some(self.subsets)
        return some(
            f"{what} in {', '.join(sorted(subsets, key=amount_of))}"
            for what, subsets in self.subsets.items()
        )

    def problem(self, trouble: Trouble, text: str) -> StudyProblem:
        """Build a problem of the affected runs."""
        return StudyProblem(trouble, text, tuple(self.run_ids))


def of_cells(groups: Sequence[Group]) -> list[StudyProblem]:
    """List cells with a single seed, tasks with a single model, and resumed runs."""
    seeds: defaultdict[GroupKey, Gathered] = defaultdict(Gathered)
    models: defaultdict[GroupKey, Gathered] = defaultdict(Gathered)
    for group in groups:
        family, subset = group.key.family, group.key.subset
        for (task, model), cell in group.cells.items():
            if len(cell.runs) == 1 and not cell.is_ensemble:
                seeds[family].add(f"{task} {model}", subset)
        for task in group.tasks:
            if sum(name == task for name, _ in group.cells) == 1:
                models[family].add(task, subset)
    lone = (
        of.problem(
            Trouble.ONE_MODEL,
            f"{family.family_title}: no comparison on tasks with a single model: {of}.",
        )
        for family, of in models.items()
    )
    single = (
        of.problem(Trouble.ONE_SEED, f"{family.family_title}: no interval for a single seed: {of}.")
        for family, of in seeds.items()
    )
    return [*single, *lone, *_resumed(groups)]


def _resumed(groups: Iterable[Group]) -> list[StudyProblem]:
    """List runs timed only for their last part."""
    resumed = [
        run for group in groups for cell in group.cells.values() for run in cell.runs if run.resumed
    ]
    if not resumed:
        return []
    text = f"Left out of training times: {len(resumed)} resumed runs of "
    text += f"{some(sorted({run.task for run in resumed}))}, timed for their last part only."
    return [StudyProblem(Trouble.NOTE, text, tuple(run.run_id for run in resumed))]


class Kept:
    """Runs kept apart within cells, and why.

    Attributes:
        revisions: Runs of other data, by family and task.
        settings: Runs of other settings, by family, task and model.
        reasons: Reasons for the choice of the shown setting.
    """

    def __init__(self) -> None:
        self.revisions: defaultdict[tuple[GroupKey, str], Gathered] = defaultdict(Gathered)
        self.settings: defaultdict[tuple[GroupKey, str, str], Gathered] = defaultdict(Gathered)
        self.reasons: defaultdict[tuple[GroupKey, str, str], dict[str, None]] = defaultdict(dict)

    def problems(self) -> list[StudyProblem]:
        """Problems naming the runs kept apart."""
        other_data = (
            of.problem(
                Trouble.REVISIONS,
                f"{family.family_title}: {task} has runs on different data. The report compares "
                f"runs on the most frequent data; kept apart ({len(of.run_ids)} runs): {of}.",
            )
            for (family, task), of in self.revisions.items()
        )
        other_settings = (
            of.problem(
                Trouble.SETTINGS,
                f"{name[0].family_title}: {name[1]} {name[2]} was run with several settings. "
                f"Shown: {' or '.join(self.reasons[name])}; kept apart: {of}.",
            )
            for name, of in self.settings.items()
        )
        return [*other_data, *other_settings]


def data_words(other: Basis, shown: Basis) -> str:
    """Describe the differences of two data: ``revision r2 instead of r1``."""
    words = (
        f"{name.replace('_', ' ')} {theirs or 'unknown'} instead of {ours or 'unknown'}"
        for name, theirs, ours in zip(Basis._fields, other, shown, strict=True)
        if theirs != ours
    )
    return " and ".join(words)


def setting_words(other: Mapping[str, Any], shown: Mapping[str, Any]) -> str:
    """Describe the differences of two settings: ``optim.lr=0.01 instead of 0.001``."""
    theirs, ours = flatten(other), flatten(shown)
    return some(
        _choice(key, theirs.get(key), ours.get(key))
        for key in sorted({*theirs, *ours})
        if theirs.get(key) != ours.get(key)
    )


def _choice(key: str, other: Any, shown: Any) -> str:
    if isinstance(other, list) or isinstance(shown, list):
        return f"other {key}"
    # Default choices are absent from an identity.
    words = ["the default" if value is None else str(value) for value in (other, shown)]
    return f"{key}={words[0]} instead of {words[1]}"


def of_records(records: Sequence[RunRecord]) -> list[StudyProblem]:
    """List the notes of records, each once."""
    by_note: defaultdict[str, list[RunRecord]] = defaultdict(list)
    for record in records:
        for note in record.data.get("notes", ()):
            by_note[note].append(record)
    problems = []
    for note, noted in by_note.items():
        number = "1 run" if len(noted) == 1 else f"{len(noted)} runs"
        tasks = some(sorted({record.task for record in noted}))
        ids = tuple(record.run_id for record in noted)
        problems.append(StudyProblem(Trouble.NOTE, f"{note} ({number} of {tasks})", ids))
    return problems
