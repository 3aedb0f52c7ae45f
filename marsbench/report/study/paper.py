"""Runs of a report that stand beside the paper's single runs (Purohit et al. 2025).

Both are scored by the paper's metric of their task. Comparable are runs on real data, of a task and
mode of the paper, scored on the test split, without a method for unequal classes.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from marsbench.base.errors import some
from marsbench.report.study.cells import (
    NONE,
    REAL,
    Cell,
    Group,
    GroupKey,
    Run,
    StudyProblem,
    Trouble,
    amount_of,
)
from marsbench.report.study.rescoring import paper_metric, study_by_metric
from marsbench.report.study.scores import run_of, study_of
from marsbench.results.record import EVALUATION, RunRecord
from marsbench.results.store import Store
from marsbench.tasks.catalog import TASKS

ROUNDED = 1e-6
"""Largest difference of two scores of the same run, in files of rounded scores."""


@dataclass(frozen=True)
class Pairing:
    """Groups of a family of a report, and the paper's groups.

    All have cells of the same tasks, scored by the same metrics; keys are those of the report.

    Attributes:
        family: Key of the family.
        ours: Groups of the report by subset, ascending.
        papers: Groups of the paper by subset, ascending, also for further subsets.
        remarks: Differences of the data, by task.
    """

    family: GroupKey
    ours: Mapping[str, Group]
    papers: Mapping[str, Group]
    remarks: Mapping[str, str]

    @cached_property
    def shared(self) -> dict[str, tuple[str, ...]]:
        """Tasks with runs of the report and of the paper, by subset."""
        pairs = {
            subset: tuple(task for task in group.tasks if task in self.papers[subset].tasks)
            for subset, group in self.ours.items()
            if subset in self.papers
        }
        return {subset: tasks for subset, tasks in pairs.items() if tasks}


def beside_paper(
    store: Store,
    records: Iterable[RunRecord],
    paper: Sequence[RunRecord],
) -> tuple[list[Pairing], list[StudyProblem]]:
    """Pair the families of a report with the paper's runs.

    Args:
        store: Store of the records and their predictions.
        records: Records of the report.
        paper: Records of the paper's runs.

    Returns:
        A pairing for each family with a shared task and subset, and the problems: runs without
        the metric, runs that are the paper's own, or the reason for no pairing at all.
    """
    # On some binary tasks a few models of the paper were scored by another metric.
    theirs = [record for record in paper if record.headline == paper_metric(record)]
    kept, reason = _comparable(records, theirs)
    kept, copies = _without_copies(kept, paper)
    problems = _copy_problems(copies)
    if not kept and copies:
        reason = "its only comparable runs are imported runs of the paper"
    study = study_by_metric(store, kept)
    problems += (
        replace(problem, trouble=Trouble.NO_PAPER)
        for problem in study.problems
        if problem.trouble is Trouble.NO_SCORE
    )
    tasks = {record.task for record in kept}
    groups = study_of(record for record in theirs if record.task in tasks).groups
    families: defaultdict[GroupKey, list[Group]] = defaultdict(list)
    for key, group in study.groups.items():
        families[key.family].append(group)
    pairings = [
        pairing
        for family, members in families.items()
        if (pairing := _pairing(family, members, groups, kept)).shared
    ]
    if not pairings:
        reason = reason or "none has a subset of the paper and the paper's metric"
        text = (
            f"No run of this report stands beside the {len(paper):,} runs of the paper: {reason}."
        )
        problems.insert(0, StudyProblem(Trouble.NO_PAPER, text))
    return pairings, problems


def _comparable(
    records: Iterable[RunRecord], paper: Sequence[RunRecord]
) -> tuple[list[RunRecord], str]:
    """Keep comparable records; if none is left, describe the first unmet condition."""
    modes = {record.mode for record in paper}
    tasks = {record.task for record in paper}
    kept = [(record, run_of(record)) for record in records]
    here = some(sorted({record.task for record, _ in kept}))
    conditions: tuple[tuple[Callable[[Run], bool], str], ...] = (
        (lambda run: run.key.data == REAL, "all are on demo data"),
        (lambda run: run.key.mode in modes, f"its runs are {' and '.join(sorted(modes))}"),
        (lambda run: run.task in tasks, f"{here} not among its {len(tasks)} tasks"),
        (lambda run: run.key.imbalance == NONE, "all have a method for unequal classes"),
        (lambda run: run.key.train_on == NONE, "all are trained within a group of samples"),
        (lambda run: run.data.split == "test", "none is scored on the test split"),
        (lambda run: run.record_type != EVALUATION, "all are evaluations on other data"),
    )
    for holds, reason in conditions:
        kept = [(record, run) for record, run in kept if holds(run)]
        if not kept:
            return [], reason
    return [record for record, _ in kept], ""


def _without_copies(
    records: Iterable[RunRecord], paper: Iterable[RunRecord]
) -> tuple[list[RunRecord], list[RunRecord]]:
    """Part records from imported records of the paper's own runs."""
    scores = {record.run_id: record.score for record in paper}
    kept: list[RunRecord] = []
    copies: list[RunRecord] = []
    for record in records:
        mine, its = record.score, scores.get(record.run_id)
        is_copy = mine is not None and its is not None and abs(mine - its) <= ROUNDED
        (copies if is_copy else kept).append(record)
    return kept, copies


def _copy_problems(copies: Sequence[RunRecord]) -> list[StudyProblem]:
    if not copies:
        return []
    tasks = some(sorted({record.task for record in copies}))
    text = f"{len(copies):,} imported runs of {tasks} are runs of the paper, and not drawn beside "
    text += "themselves."
    return [StudyProblem(Trouble.NO_PAPER, text, tuple(record.run_id for record in copies))]


def _pairing(
    family: GroupKey,
    members: Sequence[Group],
    paper: Mapping[GroupKey, Group],
    records: Iterable[RunRecord],
) -> Pairing:
    """Pair a family with the paper's groups of its category and mode."""
    theirs = {
        key.subset: group
        for key, group in paper.items()
        if (key.category, key.mode) == (family.category, family.mode)
    }
    metrics = {task: metric for group in members for task, metric in group.metrics.items()}
    alike = {
        task
        for group in theirs.values()
        for task, metric in group.metrics.items()
        if metrics.get(task) == metric
    }
    ours = {group.key.subset: group.of_tasks(alike) for group in members}
    papers = {
        subset: replace(group.of_tasks(alike), key=replace(family, subset=subset))
        for subset, group in theirs.items()
    }
    by_id = {record.run_id: record for record in records}
    cells = [cell for group in ours.values() for cell in group.cells.values()]
    return Pairing(family, _ascending(ours), _ascending(papers), _remarks(cells, by_id))


def _ascending(groups: Mapping[str, Group]) -> dict[str, Group]:
    return {subset: groups[subset] for subset in sorted(groups, key=amount_of)}


def _remarks(cells: Iterable[Cell], records: Mapping[str, RunRecord]) -> dict[str, str]:
    """Name tasks whose test split has another size than published."""
    remarks: dict[str, str] = {}
    for cell in cells:
        published = TASKS[cell.task].sizes.get("test") if cell.task in TASKS else None
        count = records[cell.run_ids[0]].data.get("num_test")
        if published and isinstance(count, int) and count != published:
            remarks[cell.task] = f"{count:,} test images here, {published:,} published"
    return remarks
