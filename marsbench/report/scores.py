"""From a store's records to what may be compared.

`Study` holds the cells of a store in groups; `marsbench.report.summary` turns a `Group` into a
`Summary`. A cell is one model on one task, with a score per seed. Cells of one group differ in task
and model alone: modes, protocols, subsets, ways of dealing with unequal classes, views and demo
data are never mixed. Whatever is left out, or kept apart, is said in `Study.problems`.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean

from marsbench.data.catalog import TASKS
from marsbench.errors import StoreError, some
from marsbench.kinds import Kind
from marsbench.report.cells import (
    FULL,
    NONE,
    Cell,
    Group,
    GroupKey,
    Problem,
    Run,
    Trouble,
    metric_is_up,
)
from marsbench.results.record import RunRecord
from marsbench.results.store import Store

__all__ = [
    "FULL",
    "NONE",
    "Cell",
    "Expected",
    "Group",
    "GroupKey",
    "Missing",
    "Problem",
    "Run",
    "Study",
    "Trouble",
    "load_study",
    "metric_is_up",
    "study_of",
]

ENSEMBLE = "ensemble"
EVALUATION = "evaluation"

Expected = tuple[str, str, str, str, int]
"""A run that there should be: task, model, mode, subset, seed."""


@dataclass(frozen=True)
class Missing:
    """Runs that a cell lacks.

    Attributes:
        key: The group.
        task: Task.
        model: Model.
        seeds: Seeds that lack.
        found: Seeds that are there.
    """

    key: GroupKey
    task: str
    model: str
    seeds: tuple[int, ...]
    found: tuple[int, ...]


@dataclass(frozen=True)
class Study:
    """Everything a store has to say.

    Attributes:
        groups: By key, the largest first within a category.
        problems: All problems, those of the groups included.
        num_records: How many records were read.
    """

    groups: Mapping[GroupKey, Group]
    problems: tuple[Problem, ...] = ()
    num_records: int = 0
    records: tuple[RunRecord, ...] = field(default=(), repr=False)

    def missing(self, expected: Iterable[Expected] | None = None) -> list[Missing]:
        """List the runs that lack.

        Args:
            expected: Runs that there should be, such as a suite's. Those of a group of which the
                store has nothing come with a key of protocol ``any``. None for every seed that
                some cell of a group has, in every cell of every task and model of the group.
        """
        if expected is None:
            return [gap for group in self.groups.values() for gap in _gaps(group)]
        have: defaultdict[tuple[str, str, str, str], set[int]] = defaultdict(set)
        keys: dict[tuple[str, str, str, str], GroupKey] = {}
        for key, group in self.groups.items():
            for (task, model), cell in group.cells.items():
                have[task, model, key.mode, key.subset].update(cell.seeds)
                keys[task, model, key.mode, key.subset] = key
        wanted: defaultdict[tuple[str, str, str, str], set[int]] = defaultdict(set)
        for task, model, mode, subset, seed in expected:
            wanted[task, model, mode, subset].add(seed)
        return [
            Missing(
                keys.get(name) or GroupKey(category_of(name[0]), name[2], "any", name[3]),
                *name[:2],
                tuple(sorted(seeds - have[name])),
                tuple(sorted(seeds & have[name])),
            )
            for name, seeds in sorted(wanted.items())
            if seeds - have[name]
        ]


def _gaps(group: Group) -> Iterable[Missing]:
    for task in group.tasks:
        for model in group.models:
            cell = group.cells.get((task, model))
            found = cell.seeds if cell else ()
            # An ensemble has no seeds of its own.
            if cell and cell.runs[0].record_type == ENSEMBLE:
                continue
            if lack := tuple(seed for seed in group.seeds if seed not in found):
                yield Missing(group.key, task, model, lack, found)


def load_study(store: Path | str) -> Study:
    """Read a store.

    Raises:
        StoreError: If there is none, or it holds no finished run that can be read.
    """
    records, unreadable = Store(store).records()
    if not records:
        told = f" {len(unreadable)} could not be read: {some(map(str, unreadable))}"
        raise StoreError(
            f"The store {store} holds no finished run that can be read.{told * bool(unreadable)}",
            "Make some with `marsbench run` or `marsbench sweep`, or name another store.",
        )
    return study_of(records, unreadable)


def study_of(records: Iterable[RunRecord], unreadable: Iterable[StoreError] = ()) -> Study:
    """Group records.

    Args:
        records: Records of any runs.
        unreadable: What could not be read, to be told of.
    """
    problems = [Problem(Trouble.UNREADABLE, f"Left out: {error}") for error in unreadable]
    runs: dict[str, Run] = {}
    kept: list[RunRecord] = []
    for record in records:
        try:
            run = run_of(record)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            text = f"Left out: the record of {record.run_id} lacks what a report needs ({error!r})."
            problems.append(Problem(Trouble.UNREADABLE, text, (record.run_id,)))
            continue
        first = runs.get(run.run_id)
        if first is not None:
            same = "the same score" if first.score == run.score else "another score"
            text = f"{run.run_id} stands in the store twice, the second time with {same}."
            text += " The first is used."
            problems.append(Problem(Trouble.DUPLICATE, text, (run.run_id,)))
        elif not math.isfinite(run.score):
            text = f"Left out: {run.run_id} has no {run.data[2]} on {run.data[1]} that is a number."
            problems.append(Problem(Trouble.NO_SCORE, text, (run.run_id,)))
        else:
            runs[run.run_id] = run
            kept.append(record)
    grouped: defaultdict[GroupKey, list[Run]] = defaultdict(list)
    for run in runs.values():
        grouped[run.key].append(run)
    groups = [_group(key, members) for key, members in grouped.items()]
    groups.sort(key=lambda g: (g.key.category, -sum(len(c.runs) for c in g.cells.values()), g.key))
    problems += [problem for group in groups for problem in group.problems]
    by_key = {group.key: group for group in groups}
    return Study(by_key, tuple(problems), len(kept), tuple(kept))


def run_of(record: RunRecord) -> Run:
    """Take from a record what a report needs."""
    score = record.score
    val = record.metrics.get("val", {}).get("loss")
    seconds = record.timing.get("train")
    return Run(
        run_id=record.run_id,
        key=GroupKey(
            category=category_of(record.task, record.kind, record.headline),
            mode=record.mode,
            protocol=record.protocol,
            subset=record.subset,
            imbalance=str(record.identity.get("imbalance", NONE)),
            views=str(record.identity.get("views", NONE)),
            data="demo" if record.data.get("source") == "demo" else "real",
        ),
        task=record.task,
        model=_model_of(record),
        seed=int(record.seed),
        setting=record.run_id.rpartition("-")[2],
        data=(str(record.data.get("revision", "")), record.scored_split, record.headline),
        score=math.nan if score is None else float(score),
        val_loss=math.nan if val is None else float(val),
        train_seconds=math.nan if seconds is None else float(seconds),
        parameters=int(record.parameters.get("total", 0)),
        record_type=record.record_type,
    )


def _model_of(record: RunRecord) -> str:
    """Name a record's model; an ensemble by the models of its runs, which its id does not tell."""
    if record.record_type == ENSEMBLE:
        members = sorted({parent.split("/")[1] for parent in record.parents if "/" in parent})
        fitted = "fitted " if "weights" in record.identity else ""
        return f"{fitted}{ENSEMBLE} of {' + '.join(members) or 'runs'}"
    return f"{record.model} ({EVALUATION})" if record.record_type == EVALUATION else record.model


def category_of(task: str, kind: str | None = None, headline: str = "") -> str:
    """Say which family of tasks a task is of.

    Args:
        task: Its name.
        kind: Its kind; None to look it up.
        headline: The metric it is judged by, which tells spectra of custom tasks.

    Returns:
        classification, segmentation, detection or spectra.
    """
    spec = TASKS.get(task)
    if (spec and spec.technique is not None) or headline == "log_loss":
        return "spectra"
    found = kind or (spec.kind if spec else "")
    return str(found) if found in (Kind.SEGMENTATION, Kind.DETECTION) else "classification"


def _group(key: GroupKey, runs: Sequence[Run]) -> Group:
    """Make the cells of a group, and say what is not as it should be."""
    problems: list[Problem] = []
    by_task: defaultdict[str, list[Run]] = defaultdict(list)
    for run in runs:
        by_task[run.task].append(run)
    cells: dict[tuple[str, str], Cell] = {}
    for task in sorted(by_task):
        by_model: defaultdict[str, list[Run]] = defaultdict(list)
        for run in _of_one_data(key, task, by_task[task], problems):
            by_model[run.model].append(run)
        for model in sorted(by_model):
            cells[task, model] = _cell(key, task, model, by_model[model], problems)
    group = Group(key, cells)
    lone = [task for task in group.tasks if sum(name == task for name, _ in cells) == 1]
    single = [f"{task} {model}" for (task, model), cell in cells.items() if len(cell.runs) == 1]
    if lone:
        text = f"{key.title}: only one model has {some(lone)}; there is nothing to compare it with."
        problems.append(Problem(Trouble.ONE_MODEL, text))
    if single:
        text = f"{key.title}: one seed only, so no interval, for {some(single)}."
        problems.append(Problem(Trouble.ONE_SEED, text))
    if gaps := list(_gaps(group)):
        named = some(f"{g.task} {g.model} (seeds {some(map(str, g.seeds))})" for g in gaps)
        count = sum(len(gap.seeds) for gap in gaps)
        text = f"{key.title}: {count} runs lack that others have: {named}."
        problems.append(
            Problem(Trouble.MISSING, text + " Each task is resampled from its own runs.")
        )
    return Group(key, cells, tuple(problems))


def _of_one_data(
    key: GroupKey, task: str, runs: Sequence[Run], problems: list[Problem]
) -> Sequence[Run]:
    """Keep the runs of the data that most runs of a task are of: others cannot be compared."""
    counts = Counter(run.data for run in runs)
    if len(counts) == 1:
        return runs
    chosen = max(counts, key=lambda data: (counts[data], data))
    out = tuple(run.run_id for run in runs if run.data != chosen)
    others = some(f"{data} ({number} runs)" for data, number in counts.items() if data != chosen)
    text = (
        f"{key.title}: {task} was scored on several data (revision, split, metric). Compared are "
        f"the {counts[chosen]} runs of {chosen}; kept apart: {others}."
    )
    problems.append(Problem(Trouble.REVISIONS, text, out))
    return [run for run in runs if run.data == chosen]


def _cell(
    key: GroupKey, task: str, model: str, runs: Sequence[Run], problems: list[Problem]
) -> Cell:
    """Let one setting stand for a model: the one of most seeds, then of lowest validation loss."""
    settings: defaultdict[str, list[Run]] = defaultdict(list)
    for run in runs:
        settings[run.setting].append(run)

    def order(setting: str) -> tuple[int, float, str]:
        losses = [run.val_loss for run in settings[setting] if math.isfinite(run.val_loss)]
        return -len(settings[setting]), fmean(losses) if losses else math.inf, setting

    chosen, *others = sorted(settings, key=order)
    if others:
        named = some(f"{setting} (seeds: {len(settings[setting])})" for setting in others)
        text = (
            f"{key.title}: {task} {model} was run with {len(settings)} settings. Shown is "
            f"{chosen} (seeds: {len(settings[chosen])}), which has most seeds, or of as many the "
            f"lowest validation loss; kept apart: {named}."
        )
        out = tuple(run.run_id for setting in others for run in settings[setting])
        problems.append(Problem(Trouble.SETTINGS, text, out))
    ordered = sorted(settings[chosen], key=lambda run: run.seed)
    return Cell(task, model, key, tuple(ordered), tuple(others))
