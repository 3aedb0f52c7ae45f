"""Lookup of finished runs by id, its short form, or path."""

from pathlib import Path

from marsbench.base.errors import ConfigError, NotAvailableError, StoreError, some, unknown_name
from marsbench.base.paths import expanded
from marsbench.config.schema import Mode
from marsbench.results.ids import matching, short_ids
from marsbench.results.record import EVALUATION, RunRecord
from marsbench.results.store import CONFIG, FAILED, RECORD, Store, read_record
from marsbench.tasks.catalog import get_task
from marsbench.tasks.spec import TASK_FILE, TaskSpec, recast


def find_run(run: str, store: Path) -> tuple[RunRecord, Path]:
    """Find a finished run.

    Args:
        run: Id or short form of it (`matching`), folder, or path of ``record.json``.
        store: Folder of records.

    Returns:
        The record and its folder.

    Raises:
        MarsbenchError: If the run is not found, unfinished or ambiguous.
    """
    path = expanded(run)
    folder = path if path.is_dir() else path.parent if path.name == RECORD else in_store(run, store)
    if folder is None:
        raise unknown_run(run, store)
    return finished_run(folder, run), folder


def finished_run(folder: Path, run: str) -> RunRecord:
    """Read the record in the folder of a run.

    Raises:
        StoreError: If the record is missing or invalid.
    """
    if not (folder / RECORD).exists():
        if (folder / CONFIG).exists():
            how = "has failed" if (folder / FAILED).exists() else "is not finished"
            raise StoreError(
                f"The run {run} {how}: {RECORD} is missing in {folder}.",
                "Run it again; it resumes from its last checkpoint.",
            )
        raise StoreError(
            f"{folder} is not the folder of a run: {RECORD} is missing.",
            "Name the folder of a run, or its id as printed by `marsbench results`.",
        )
    return read_record(folder / RECORD)


def check_model(record: RunRecord) -> None:
    """Refuse an evaluation, which has no model of its own.

    Raises:
        ConfigError: If the record is an evaluation.
    """
    if record.record_type == EVALUATION:
        raise ConfigError(
            f"{record.run_id} is the evaluation of a run, without a model of its own.",
            f"Name the run: {some(record.parents)}.",
        )


def check_trained(record: RunRecord) -> None:
    """Refuse a run without training, which has no model to load.

    Raises:
        NotAvailableError: If the run trained nothing.
    """
    if record.mode == Mode.ZERO_SHOT:
        raise NotAvailableError(
            f"The run {record.run_id} trained nothing, so it has no model to load.",
            f"Run it on other data: marsbench run task=NAME model={record.model} mode=zero_shot.",
        )


def task_of(record: RunRecord, folder: Path, task: str | None = None) -> TaskSpec:
    """Task of a run as it was trained, custom tasks from their file.

    Args:
        record: The run.
        folder: Its folder, with the file of the task if the run was published.
        task: Name or file of the task, if its file has moved.

    Raises:
        ConfigError: If the task is not found, or is of another kind or number of classes.
        StoreError: If the task in the record is invalid.
    """
    published = folder / TASK_FILE
    if task is None and published.is_file():
        task = str(published)
    word = task or str(record.config.get("task") or record.task)
    try:
        spec = get_task(word)
    except ConfigError as error:
        raise ConfigError(
            f"The task of run {record.run_id} was not found: {error.problem}",
            "Give the path of its file with --task.",
        ) from error
    asked = recast(spec) if record.mode == Mode.ZERO_SHOT else spec
    if asked.kind != record.kind or len(asked.classes) != len(record.data["classes"]):
        raise ConfigError(
            f"The task {word} is {asked.kind} with {len(asked.classes)} classes; the run "
            f"{record.run_id} expects {record.kind} with {len(record.data['classes'])}.",
            "Give the task of the run with --task.",
        )
    return record.task_as_run(spec)


def in_store(run: str, store: Path) -> Path | None:
    """Folder of a run by its id or a short form of it; None if not found.

    Args:
        run: Id, or a word of `matching` such as ``SEED-HASH``.
        store: Folder of records.

    Raises:
        ConfigError: If it names several runs.
    """
    opened = Store(store)
    if (opened.folder(run) / CONFIG).exists() or (opened.folder(run) / RECORD).exists():
        return opened.folder(run)
    if not opened.root.is_dir():
        return None
    run_ids = matching(run, finished_ids(opened))
    if len(run_ids) > 1:
        raise ConfigError(
            f"'{run}' names {len(run_ids)} runs: {some(run_ids)}.",
            f"Give the whole id, or a name in the column run of `marsbench results {store}`.",
        )
    return opened.folder(run_ids[0]) if run_ids else None


def finished_ids(store: Store) -> list[str]:
    """Ids of all finished runs, sorted, from the names of their folders.

    Raises:
        StoreError: If the store is missing.
    """
    return [path.parent.relative_to(store.root).as_posix() for path in store.paths()]


def unknown_run(run: str, store: Path, also: str = "") -> ConfigError:
    """Build the error for an unknown run.

    Args:
        run: Word for it.
        store: Folder of records.
        also: Further sentence of the remedy.
    """
    opened = Store(store)
    if not opened.root.is_dir():
        return ConfigError(
            f"'{run}' is neither a run's folder nor a checkpoint; the store {store} is missing.",
            "Name the store with --store; a repository of the hub is hf://ORG/NAME.",
        )
    run_ids = finished_ids(opened)
    hint = f"`marsbench results {store}` lists them. {also}".rstrip()
    # Close matches have the form of the word.
    names = run_ids if run.count("/") > 1 else short_ids(run_ids).values()
    return unknown_name(f"run in {store}", run, names, hint)
