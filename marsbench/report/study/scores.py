"""Group the records of a store into comparable cells.

A cell is a model on a task, with a score per seed. Cells of a group differ only in task and model:
modes, protocols, subsets, methods for unequal classes, views and demo data are never mixed.
`Study.problems` lists all records left out or kept apart.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean

from marsbench.base.errors import ConfigError, NothingYetError, StoreError, some, unknown_name
from marsbench.base.text import inline
from marsbench.config.schema import parse_subset
from marsbench.report.study import problems as troubles
from marsbench.report.study.cells import (
    DEMO,
    ENSEMBLE,
    FULL,
    NONE,
    REAL,
    Basis,
    Cell,
    Group,
    GroupKey,
    Run,
    StudyProblem,
    Trouble,
    by_severity,
)
from marsbench.report.study.coverage import (
    CellName,
    ExpectedRuns,
    Study,
    category_of,
    group_value,
)
from marsbench.results.record import EVALUATION, RunRecord
from marsbench.results.store import DuplicateError, Store
from marsbench.tasks.kinds import METRICS, Kind

ROUNDING = 1e-6
"""Tolerance of the bounds of a metric, for sums in single precision."""


def load_study(store: Path | str) -> Study:
    """Read a store.

    Raises:
        StoreError: If the store is missing or has no valid record.
    """
    records, evaluations, unreadable = _read(Store(store))
    return replace(study_of(records, unreadable), evaluations=tuple(evaluations))


def _read(store: Store) -> tuple[list[RunRecord], list[RunRecord], list[StoreError]]:
    """Read the records of a store, its evaluations, and the errors of invalid records.

    Raises:
        StoreError: If the store is missing or has no valid record.
    """
    records, evaluations, unreadable = store.everything()
    if not records:
        details = f" {len(unreadable)} could not be read: {some(map(str, unreadable))}"
        none = f"The store {store.root} has no finished run with a valid record."
        raise StoreError(
            none + details * bool(unreadable),
            "Create some with `marsbench run` or `marsbench sweep`, or name another store.",
        )
    return records, evaluations, unreadable


def open_study(
    store: Store,
    tasks: Sequence[str] = (),
    models: Sequence[str] = (),
    modes: Sequence[str] = (),
    plan: ExpectedRuns | None = None,
) -> Study:
    """Read a store and keep the records of some tasks, models and modes.

    Args:
        store: The store.
        tasks: Tasks to keep; empty for all.
        models: Models to keep; empty for all.
        modes: Modes to keep; empty for all.
        plan: Expected runs, narrowed to these tasks, models and modes; other records are ignored.

    Raises:
        NothingYetError: If no expected run has a record.
        StoreError: If the store is missing or has no valid record.
        UnknownNameError: If a name occurs neither in the records nor in the plan.
    """
    if plan and not (store.root.is_dir() and store.paths()):
        raise _nothing_yet(store, plan)
    records, evaluations, unreadable = _read(store)
    choices = (("task", tasks), ("model", models), ("mode", modes))
    for what, wanted in choices:
        known = {getattr(item, what) for item in (*records, *(plan.runs if plan else ()))}
        for name in wanted:
            if name not in known:
                raise unknown_name(f"{what} in {store.root}", name, known)
    if plan:
        plan = plan.only(tasks, models, modes)
        records = [record for record in records if _name_of(record) in plan.seeds]
        if not records:
            raise _nothing_yet(store, plan, unreadable)
    study = study_of(records, unreadable, plan=plan)
    if tasks or models or modes:
        lasting = [p for p in study.problems if p.trouble in _OF_RECORDS]
        records = [
            record
            for record in study.records
            if all(getattr(record, what) in wanted or not wanted for what, wanted in choices)
        ]
        study = study_of(records, plan=plan, problems=lasting)
    if not study.groups:
        reasons = some((problem.message for problem in study.problems), " ")
        raise StoreError(
            f"No requested run of {store.root} can be reported. {reasons}".strip(),
            "Run them again, or request other runs.",
        )
    return replace(study, evaluations=tuple(evaluations))


def _nothing_yet(
    store: Store, plan: ExpectedRuns, unreadable: Iterable[StoreError] = ()
) -> NothingYetError:
    return NothingYetError(
        f"No run of {plan.name} in {store.root} has finished: nothing to report yet.",
        "\n".join(_left_out(error).message for error in unreadable),
    )


_OF_RECORDS = (Trouble.UNREADABLE, Trouble.NO_SCORE, Trouble.DUPLICATE)
"""Troubles of single records, shown for any choice of tasks, models and modes."""


def study_of(
    records: Iterable[RunRecord],
    unreadable: Iterable[StoreError] = (),
    *,
    plan: ExpectedRuns | None = None,
    problems: Iterable[StudyProblem] = (),
) -> Study:
    """Group records.

    Args:
        records: Records of any runs, each once; evaluations on other data are no runs.
        unreadable: Errors of invalid records, to be listed as problems.
        plan: Expected runs.
        problems: Further problems to list.
    """
    collected = [*problems, *map(_left_out, unreadable)]
    runs: list[Run] = []
    kept: list[RunRecord] = []
    for record in records:
        if record.record_type == EVALUATION:
            continue
        try:
            run = run_of(record)
        except ConfigError as error:
            text = f"Left out: {record.run_id}. {error.problem}"
            collected.append(StudyProblem(Trouble.UNREADABLE, text, (record.run_id,)))
            continue
        if why := _no_score(run):
            collected.append(
                StudyProblem(Trouble.NO_SCORE, f"Left out: {run.run_id} {why}.", (run.run_id,))
            )
        else:
            runs.append(run)
            kept.append(record)
    grouped: defaultdict[GroupKey, list[Run]] = defaultdict(list)
    for run in _disambiguated(runs):
        grouped[run.key].append(run)
    apart = troubles.Kept()
    groups = [_group(key, members, apart) for key, members in grouped.items()]
    groups.sort(key=lambda g: (g.key.category, -sum(len(c.runs) for c in g.cells.values()), g.key))
    study = Study({group.key: group for group in groups}, (), len(kept), tuple(kept), plan)
    collected += [*apart.problems(), *_missing_problems(study)]
    collected += [*troubles.of_cells(groups), *troubles.of_records(kept)]
    return replace(study, problems=by_severity(collected))


def _left_out(error: StoreError) -> StudyProblem:
    if isinstance(error, DuplicateError):
        return StudyProblem(Trouble.DUPLICATE, f"Left out: {error}", (error.run_id,))
    return StudyProblem(Trouble.UNREADABLE, f"Left out: {error}")


def _no_score(run: Run) -> str:
    """Describe why a score is invalid; empty for valid scores."""
    split, metric = run.data.split, run.data.metric
    if not math.isfinite(run.score):
        return f"has no finite {metric} on {split}"
    info = METRICS.get(metric)
    if info and not info.low - ROUNDING <= run.score <= info.high + ROUNDING:
        return f"has a {metric} of {run.score:g} on {split}, out of the bounds of {info.title}"
    return ""


def _disambiguated(runs: Sequence[Run]) -> list[Run]:
    """Add the digest to names of ensembles of different runs of the same models."""
    settings: defaultdict[tuple[GroupKey, str, str], set[str]] = defaultdict(set)
    for run in runs:
        if run.record_type == ENSEMBLE:
            settings[run.key, run.task, run.model].add(run.setting)
    return [
        replace(run, model=f"{run.model} ({run.setting})")
        if len(settings.get((run.key, run.task, run.model), ())) > 1
        else run
        for run in runs
    ]


def _missing_problems(study: Study) -> Iterable[StudyProblem]:
    gathered: defaultdict[GroupKey, troubles.Gathered] = defaultdict(troubles.Gathered)
    counts: Counter[GroupKey] = Counter()
    for gap in study.missing:
        what = f"{gap.task} {gap.model} (seeds {some(map(str, gap.seeds))})"
        gathered[gap.key.family].add(what, gap.key.subset)
        counts[gap.key.family] += len(gap.seeds)
    who = study.plan.name if study.plan else ""
    for family, of in gathered.items():
        number = "1 run" if counts[family] == 1 else f"{counts[family]} runs"
        origin = f"of {who}" if who else "with seeds and tasks of other runs"
        text = f"{family.family_title}: missing {number} {origin}: {of}."
        # Without a plan, other models have more runs of the same task.
        text += "" if who else " Each task is resampled from its own runs."
        yield of.problem(Trouble.MISSING, text)


def run_of(record: RunRecord) -> Run:
    """Convert a record; control characters of its names become escapes.

    Raises:
        ConfigError: If its subset or kind is invalid.
    """
    if record.kind not in [*Kind]:
        raise unknown_name("kind", record.kind, Kind)
    score = record.score
    val = record.metrics.get("val", {}).get("loss")
    is_full = parse_subset(record.subset) == parse_subset(FULL)
    resumed = "resumed_from_epoch" in record.timing
    return Run(
        run_id=record.run_id,
        key=GroupKey(
            category=category_of(record.task, record.kind, record.headline),
            mode=inline(record.mode),
            protocol=inline(record.protocol),
            subset=inline(record.subset),
            imbalance=inline(record.imbalance),
            views=inline(str(record.identity.get("views", NONE))),
            train_on=inline(record.train_on or NONE),
            data=DEMO if record.data.get("source") == DEMO else REAL,
        ),
        task=inline(record.task),
        model=inline(_model_of(record)),
        seed=record.seed,
        setting=record.run_id.rpartition("-")[2],
        identity=record.identity,
        data=Basis(
            str(record.data.get("revision", "")),
            record.scored_split,
            inline(record.headline),
            "" if is_full else record.data.get("subset_digest", ""),
            str(record.data.get("test_digest", "")),
        ),
        subset_origin=record.data.get("subset_origin", ""),
        score=math.nan if score is None else score,
        val_loss=math.nan if val is None else val,
        train_seconds=math.nan if record.train_seconds is None else record.train_seconds,
        resumed=resumed,
        record_type=record.record_type,
    )


def _name_of(record: RunRecord) -> CellName:
    """Name of the cell of a record, as in `ExpectedRuns.seeds`."""
    views = str(record.identity.get("views", NONE))
    group = group_value(record.train_on or NONE)
    ways = (record.mode, record.subset, record.imbalance, views, group)
    return record.task, _model_of(record), *ways


def _model_of(record: RunRecord) -> str:
    """Name of the model of a record; for an ensemble the models of its members."""
    if record.record_type == ENSEMBLE:
        members = sorted({parent.split("/")[1] for parent in record.parents if "/" in parent})
        fitted = "fitted " if "weights" in record.identity else ""
        return f"{fitted}{ENSEMBLE} of {' + '.join(members) or 'runs'}"
    return record.model


def _group(key: GroupKey, runs: Sequence[Run], apart: troubles.Kept) -> Group:
    """Build the cells of a group, and note runs kept apart."""
    by_task: defaultdict[str, list[Run]] = defaultdict(list)
    for run in runs:
        by_task[run.task].append(run)
    cells: dict[tuple[str, str], Cell] = {}
    for task in sorted(by_task):
        by_model: defaultdict[str, list[Run]] = defaultdict(list)
        for run in _of_one_data(key, task, by_task[task], apart):
            by_model[run.model].append(run)
        for model in sorted(by_model):
            cells[task, model] = _cell(key, task, model, by_model[model], apart)
    return Group(key, cells)


def _of_one_data(
    key: GroupKey, task: str, runs: Sequence[Run], apart: troubles.Kept
) -> Sequence[Run]:
    """Keep the runs on the most frequent data of a task; others are not comparable."""
    counts = Counter(run.data for run in runs)
    chosen = max(counts, key=lambda data: (counts[data], data))
    for data in counts:
        if data != chosen:
            out = [run for run in runs if run.data == data]
            apart.revisions[key.family, task].add(
                troubles.data_words(data, chosen), key.subset, out
            )
    return [run for run in runs if run.data == chosen]


def _cell(key: GroupKey, task: str, model: str, runs: Sequence[Run], apart: troubles.Kept) -> Cell:
    """Choose the setting with most seeds, then with the lowest validation loss."""
    settings: defaultdict[str, list[Run]] = defaultdict(list)
    for run in sorted(runs, key=lambda run: run.seed):
        settings[run.setting].append(run)
    most = max(map(len, settings.values()))
    tied = sorted(setting for setting, members in settings.items() if len(members) == most)
    reason, chosen = "the setting with most seeds", tied[0]
    if len(tied) > 1 and all(_val_loss(settings[setting]) == math.inf for setting in tied):
        reason = "of the settings with most seeds, the first by id, without validation losses"
    elif len(tied) > 1 and len({_loss_of(settings[setting][0]) for setting in tied}) == 1:
        reason = "of the settings with most seeds, the setting with the lowest validation loss"
        chosen = min(tied, key=lambda setting: (_val_loss(settings[setting]), setting))
    elif len(tied) > 1:
        reason = "of the settings with most seeds, the first by id, since their losses are not "
        reason += "comparable"
    others = {}
    for setting in sorted(set(settings) - {chosen}):
        out = settings[setting]
        words = troubles.setting_words(out[0].identity, settings[chosen][0].identity)
        others[setting] = words
        apart.settings[key.family, task, model].add(words, key.subset, out)
        apart.reasons[key.family, task, model][reason] = None
    return Cell(task, model, key, tuple(settings[chosen]), others)


def _loss_of(run: Run) -> tuple[str, ...]:
    """Name of the loss function; values of different losses are not comparable."""
    return tuple(str(run.identity.get(name)) for name in ("loss", "outputs"))


def _val_loss(runs: Sequence[Run]) -> float:
    losses = [run.val_loss for run in runs if math.isfinite(run.val_loss)]
    return fmean(losses) if losses else math.inf
