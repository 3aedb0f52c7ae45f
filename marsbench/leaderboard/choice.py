"""Choice of the records of a submission: one model in one setting, with every seed of its tasks."""

import contextlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

from marsbench.base.errors import ConfigError, MarsbenchError, StoreError, some, unknown_name
from marsbench.base.keys import flatten
from marsbench.config.renamed import VIEWS
from marsbench.config.schema import Mode, RunConfig, check_key
from marsbench.leaderboard.schema import SEEDS, Data
from marsbench.models.zoo.catalog import get_model
from marsbench.results.record import RunRecord
from marsbench.results.store import Store
from marsbench.sweep.lists import LISTS
from marsbench.sweep.suites import canonical
from marsbench.sweep.words import run_command
from marsbench.tasks.catalog import TASKS, get_task, known_task

SETTING = "setting"
"""Word for the hash at the end of a run id."""

ONE_OF = ("model", "weights", "mode", "protocol", "subset", "imbalance", VIEWS)
"""Settings with one value in a submission."""

_FIELDS = ("task", "model", "mode", "subset", "seed", "protocol", "imbalance")
"""Words that are attributes of a record."""


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Records of a submission.

    Attributes:
        records: Records, by task and seed.
        settings: Values of `ONE_OF`.
        data: Data of the records.
        tasks: Tasks, sorted.
        seeds: Seeds that every task should have, sorted.
        partial: Whether seeds or tasks are missing.
        notes: Remarks for the user.
    """

    records: tuple[RunRecord, ...]
    settings: Mapping[str, str]
    data: Data
    tasks: tuple[str, ...]
    seeds: tuple[int, ...]
    partial: bool
    notes: tuple[str, ...] = ()


def choose(store: Store, words: Mapping[str, str], *, partial: bool = False) -> Choice:
    """Choose the records of a submission.

    Args:
        store: Store of the records.
        words: Values by key, several separated by commas: task, model, mode, subset, seed,
            protocol, imbalance, source, setting, and any other key of a run. Records of demo data
            count only for ``source=demo``.
        partial: Whether seeds and tasks may be missing.

    Raises:
        StoreError: If the store is missing, no record is left, or runs are missing.
        ConfigError: If a word is invalid, or records of several models or settings are left.
    """
    everything, unreadable = store.records()
    notes = [f"Left out: {error}" for error in unreadable]
    others = Counter(r.record_type for r in everything if r.record_type != "run")
    for sort, count in sorted(others.items()):
        left = f"{count} record{'s' * (count > 1)} of type {sort}"
        notes.append(f"Left out: {left}; a submission holds single runs.")
    records = [record for record in everything if record.record_type == "run"]
    if within := [record.run_id for record in records if record.train_on is not None]:
        notes.append(f"Left out: {len(within)} run(s) trained within a group: {some(within)}.")
        records = [record for record in records if record.train_on is None]
    own = {r.task for r in records if known_task(r.task) is None}
    if named := own.intersection(words.get("task", "").split(",")):
        raise ConfigError(
            f"{some(sorted(named))} is not a task of the leaderboard.",
            "`marsbench list tasks` shows its tasks.",
        )
    if own:
        notes.append(f"Left out: {some(sorted(own))}, not among the tasks of the leaderboard.")
        records = [record for record in records if record.task not in own]
    if odd := [record for record in records if _is_apart(record)]:
        notes.append(
            f"Left out: {_runs(len(odd))} without training on a part of the test split, or with "
            "masks recast as labels; a board has the whole split and the target of the task."
        )
        records = [record for record in records if not _is_apart(record)]
    data = Data.DEMO if words.get("source") == "demo" else Data.REAL
    drawn = [record for record in records if _is_demo(record)]
    if data is Data.REAL:
        records = [record for record in records if not _is_demo(record)]
    if not records:
        raise _nothing(store, words, drawn, notes)
    wanted = {key: _values(key, text, records, store) for key, text in words.items()}
    absent = wanted.get("task", set()) - {record.task for record in records}
    records = [record for record in records if _matches(record, wanted)]
    if not records:
        raise _nothing(store, words, drawn, notes)
    settings = _one_of_each(records)
    by_task = _of_one_setting(records)
    if "seed" in words and len(wanted["seed"]) < SEEDS and not partial:
        raise ConfigError(
            f"seed={words['seed']} names {len(wanted['seed'])} of at least {SEEDS} seeds.",
            "Name more seeds, leave seed out, or add --partial for a submission marked as "
            "incomplete.",
        )
    seeds = tuple(sorted(wanted.get("seed") or {record.seed for record in records}))
    missing = _missing(by_task, absent, _filled(seeds))
    if missing and not partial:
        raise _incomplete(missing, by_task, store)
    if absent:
        notes.append(f"Left out: {some(sorted(absent))}, without a run.")
    return Choice(
        records=tuple(record for task in sorted(by_task) for record in by_task[task]),
        settings=settings,
        data=data,
        tasks=tuple(sorted(by_task)),
        seeds=tuple(seed for seed in seeds if any(r.seed == seed for r in records)),
        partial=bool(missing),
        notes=tuple(notes),
    )


def _is_apart(record: RunRecord) -> bool:
    """Whether the scores of a model that is not trained are of other samples or targets."""
    spec = known_task(record.task)
    is_recast = spec is not None and record.kind != spec.kind
    return record.mode == Mode.ZERO_SHOT and (is_recast or "test_samples" in record.identity)


def _is_demo(record: RunRecord) -> bool:
    return record.data.get("source") == "demo"


def _setting(record: RunRecord) -> str:
    return record.run_id.rpartition("-")[2]


def _value(record: RunRecord, key: str) -> str | float | None:
    """Value of a key: as resolved for the run, else as configured."""
    if key == SETTING:
        return _setting(record)
    if key in _FIELDS:
        return cast("str | float", getattr(record, key))
    if key == "source":
        return str(record.data.get("source"))
    if key == VIEWS:
        return str(record.identity.get(VIEWS, "none"))
    value = flatten(record.identity).get(key, flatten(record.config).get(key))
    return value if isinstance(value, str | float | int | None) else str(value)


def _values(key: str, text: str, records: Sequence[RunRecord], store: Store) -> set[Any]:
    """Canonical values of a word.

    Raises:
        ConfigError: If the key is unknown, a value is invalid, or no record has it.
    """
    if key != SETTING:
        check_key(key, (SETTING,))
    known = {_value(record, key) for record in records}
    values: set[Any] = set()
    for name in text.split(","):
        values |= {name} if name in known else set(_canonical(key, name, known, store))
    return values


def _canonical(key: str, name: str, known: set[Any], store: Store) -> Iterable[Any]:
    """Canonical values of a value as typed; the name of a list gives the list."""
    values: Iterable[Any] = ()
    if name in LISTS.get(key, {}):
        return LISTS[key][name]
    if key == "task":
        with contextlib.suppress(MarsbenchError):
            values = [get_task(name).name]
            known = known | TASKS.keys()  # a task of the catalogue without a run is missing
    elif key == "model":
        with contextlib.suppress(MarsbenchError):
            values = [get_model(name).name]
    elif key == SETTING:
        values = [name.rpartition("-")[2]]  # of SEED-HASH or a whole id
    else:
        values = canonical(key, name)
    if key != "seed" and not known.intersection(values):
        raise unknown_name(f"{key} in {store.root}", name, map(str, known))
    return values


def _matches(record: RunRecord, wanted: Mapping[str, set[Any]]) -> bool:
    return all(_value(record, key) in values for key, values in wanted.items())


def _nothing(
    store: Store, words: Mapping[str, str], drawn: Sequence[RunRecord], notes: Sequence[str]
) -> StoreError:
    given = " ".join(f"{key}={value}" for key, value in words.items())
    if drawn and words.get("source") != "demo":
        return StoreError(
            f"The store {store.root} has no run on real data"
            f"{f' with {given}' if given else ''}; {len(drawn)} are on demo data.",
            "Run on real data. Add source=demo for a submission marked as demo data, which no "
            "board shows among others.",
        )
    return StoreError(
        " ".join(
            [f"The store {store.root} has no run{f' with {given}' if given else ''}.", *notes]
        ),
        f"`marsbench results {store.root}` lists its runs.",
    )


def _one_of_each(records: Sequence[RunRecord]) -> dict[str, str]:
    """Values of `ONE_OF`.

    Raises:
        ConfigError: If there are several of one.
    """
    counts = Counter(tuple(_text(_value(record, key)) for key in ONE_OF) for record in records)
    most = max(sorted(counts), key=lambda values: counts[values])
    several = [i for i in range(len(ONE_OF)) if len({values[i] for values in counts}) > 1]
    if not several:
        return dict(zip(ONE_OF, most, strict=True))
    listed = (
        f"  {' '.join(f'{ONE_OF[i]}={values[i]}' for i in several)} ({_runs(count)})"
        for values, count in sorted(counts.items())
    )
    raise ConfigError(
        f"A submission has one {_joined(ONE_OF[i] for i in several)}; these runs have:\n"
        f"{some(listed, chr(10), 10)}",
        f"Narrow them, for example: {' '.join(f'{ONE_OF[i]}={most[i]}' for i in several)}",
    )


def _joined(names: Iterable[str]) -> str:
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last


def _of_one_setting(records: Iterable[RunRecord]) -> dict[str, list[RunRecord]]:
    """Records by task, sorted by seed.

    Raises:
        ConfigError: If a task has runs of several settings.
    """
    by_task: defaultdict[str, list[RunRecord]] = defaultdict(list)
    for record in sorted(records, key=lambda record: record.seed):
        by_task[record.task].append(record)
    for task in sorted(by_task):
        members: defaultdict[str, list[RunRecord]] = defaultdict(list)
        for record in by_task[task]:
            members[_setting(record)].append(record)
        if len(members) > 1:
            raise _several(task, members)
    return dict(by_task)


def _several(task: str, members: Mapping[str, Sequence[RunRecord]]) -> ConfigError:
    """Build the error for a task with runs of several settings, with their differences."""
    flat = {setting: flatten(runs[0].identity) for setting, runs in members.items()}
    keys = sorted({key for values in flat.values() for key in values})
    differing = [k for k in keys if len({str(v.get(k)) for v in flat.values()}) > 1]
    listed = [
        f"  setting={setting} ({_runs(len(members[setting]))}): "
        + some(f"{key}={_text(values.get(key))}" for key in differing)
        for setting, values in flat.items()
    ]
    most = max(members, key=lambda setting: len(members[setting]))
    example = f"setting={most}"
    for key in differing:
        if sum(values.get(key) == flat[most].get(key) for values in flat.values()) > 1:
            continue  # leaves several settings
        with contextlib.suppress(ConfigError):
            check_key(key)
            example = f"{key}={_text(flat[most].get(key))} or {example}"
            break
    return ConfigError(
        f"A submission has one setting for each task; {task} has runs of {len(members)}:\n"
        f"{some(listed, chr(10), 10)}",
        f"Narrow them, for example: {example}",
    )


def _runs(count: int) -> str:
    return f"{count} run{'s' * (count > 1)}"


def _text(value: Any) -> str:
    return "null" if value is None else str(value)


def _filled(seeds: Sequence[int]) -> tuple[int, ...]:
    """Seeds of a complete submission: at least `SEEDS`, further seeds as in the paper or from 0."""
    paper = [seed for seed in LISTS["seed"]["paper"] if isinstance(seed, int)]
    more = paper if set(seeds) <= set(paper) else range(len(seeds) + SEEDS)
    further = [seed for seed in more if seed not in seeds][: max(0, SEEDS - len(seeds))]
    return tuple(sorted((*seeds, *further)))


def _missing(
    by_task: Mapping[str, Sequence[RunRecord]], absent: Iterable[str], seeds: Sequence[int]
) -> dict[str, list[int]]:
    """Seeds without a run, by task."""
    present = {task: {record.seed for record in records} for task, records in by_task.items()}
    present |= {task: set() for task in absent}
    gaps = {task: [s for s in seeds if s not in present[task]] for task in sorted(present)}
    return {task: seeds for task, seeds in gaps.items() if seeds}


def _incomplete(
    missing: Mapping[str, Sequence[int]], by_task: Mapping[str, Sequence[RunRecord]], store: Store
) -> StoreError:
    """Build the error for missing runs, with the commands of the first ones."""
    gaps = (
        f"{task} seed{'s' if len(seeds) > 1 else ''} {some(map(str, seeds), count=SEEDS)}"
        for task, seeds in missing.items()
    )
    some_record = next(iter(by_task.values()))[0]
    commands = [
        command
        for task, seeds in list(missing.items())[:3]
        if (command := _command(by_task.get(task, [some_record])[0], task, seeds, store))
    ]
    runs = "".join(f"\n  {command}" for command in commands)
    return StoreError(
        f"The submission is incomplete. Missing: {some(gaps, '; ')}.",
        "Add --partial to submit it as it is, marked as incomplete; or run the missing seeds"
        f"{':' + runs if runs else '.'}",
    )


def _command(record: RunRecord, task: str, seeds: Sequence[int], store: Store) -> str:
    """Command that runs the seeds of a task like a record; empty if its config is unknown."""
    word = record.config.get("task") if record.task == task else task
    try:
        config = RunConfig.from_dict({**record.config, "task": word, "seed": seeds[0]})
    except ConfigError:
        return ""
    command = run_command(replace(config, store=str(store.root)))
    if len(seeds) == 1:
        return command
    each = " ".join(map(str, seeds))
    return f"for seed in {each}; do {command.replace(f'seed={seeds[0]} ', 'seed=$seed ', 1)}; done"
