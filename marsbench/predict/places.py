"""Find the model to predict with, and check the words for it; nothing here loads torch."""

from dataclasses import dataclass
from pathlib import Path

from marsbench.base.errors import ConfigError, NotAvailableError, StoreError, WeightsError
from marsbench.base.hub import PREFIX, HubAddress, is_address, is_repo_id, parse_address
from marsbench.base.paths import expanded
from marsbench.models.spec import ModelSpec
from marsbench.models.zoo.catalog import find_model
from marsbench.predict.repositories import SUFFIXES, open_repository
from marsbench.results.find import (
    check_model,
    check_trained,
    finished_run,
    in_store,
    task_of,
    unknown_run,
)
from marsbench.results.record import RunRecord
from marsbench.results.store import RECORD
from marsbench.tasks.catalog import get_task
from marsbench.tasks.spec import TaskSpec


@dataclass(frozen=True)
class RunPlace:
    """A finished run with a model.

    Attributes:
        record: Its record.
        folder: Its folder.
        task: Its task.
        side: Side of the model's input in pixels.
        model: Word for its own encoder, which the record does not name.
    """

    record: RunRecord
    folder: Path
    task: TaskSpec
    side: int
    model: str | None = None


@dataclass(frozen=True)
class CheckpointPlace:
    """A file of weights.

    Attributes:
        path: The file.
        task: Its task.
        model: Its model.
        origin: Its name for messages.
    """

    path: Path
    task: TaskSpec
    model: ModelSpec
    origin: str


Place = RunPlace | CheckpointPlace


def find(run: str, store: Path, task: str | None = None, model: str | None = None) -> Place:
    """Find a run or checkpoint; files of a hub are downloaded.

    Args:
        run: Id of a run of the store or its short form, the folder of a run, a checkpoint file, or
            ``hf://ORG/NAME[/FILE]`` of a hub.
        store: Folder of records.
        task: Task of a checkpoint, or of a run whose task file has moved.
        model: Model of a checkpoint, or the own encoder of a run.

    Raises:
        MarsbenchError: If the run or checkpoint is not found, unfinished or without a model, or a
            name is unknown.
    """
    if is_address(run):
        return _of_hub(parse_address(run), run, task, model)
    path = expanded(run)
    if path.is_dir():
        return run_place(finished_run(path, run), path, task, model)
    if path.exists() and path.name == RECORD:
        return run_place(finished_run(path.parent, run), path.parent, task, model)
    if path.exists():
        return checkpoint_place(path, *_named(run, task, model))
    known = in_store(run, store)
    if known is not None:
        return run_place(finished_run(known, run), known, task, model)
    if path.suffix in SUFFIXES:
        raise WeightsError(f"The checkpoint {run} was not found.", "Correct the path.")
    if is_repo_id(run):
        raise ConfigError(
            f"{run} is not the folder of a run, nor a checkpoint.",
            f"Correct the path; for a repository of the hub write {PREFIX}{run}.",
        )
    raise unknown_run(run, store, "A checkpoint needs --task and --model.")


def _named(run: str, task: str | None, model: str | None) -> tuple[str, str]:
    if task is None or model is None:
        raise ConfigError(
            f"{run} is a checkpoint without a record of its task and model.",
            "Add --task TASK and --model MODEL; for a run of this package, give its folder.",
        )
    return task, model


def _of_hub(address: HubAddress, run: str, task: str | None, model: str | None) -> Place:
    repository = open_repository(address)
    if repository.is_run and not address.path:
        folder = repository.run()
        return run_place(finished_run(folder, run), folder, task, model)
    task, model = _named(run, task, model)
    return checkpoint_place(repository.checkpoint(), task, model, str(repository.address))


def run_place(
    record: RunRecord, folder: Path, task: str | None = None, model: str | None = None
) -> RunPlace:
    """Check that a finished run has a model of images.

    Args:
        record: Its record.
        folder: Its folder.
        task: Its task, if the task file has moved.
        model: Its own encoder, which the record does not name.

    Raises:
        MarsbenchError: If it trained nothing, its task is not found, or it predicts spectra.
    """
    check_model(record)
    check_trained(record)
    spec = task_of(record, folder, task)
    if spec.is_spectra:
        raise ConfigError(
            f"The run {record.run_id} predicts spectra, not images.",
            "`marsbench spectra submission` predicts new measurements.",
        )
    if record.input_size is None:
        raise StoreError(
            f"The record of {record.run_id} has no input_size.",
            "Remove its folder and run it again.",
        )
    return RunPlace(record, folder, spec, record.input_size, model)


def checkpoint_place(
    path: Path, task: str, model: str, origin: str | None = None
) -> CheckpointPlace:
    """Check the task and the model of a checkpoint.

    Args:
        path: The file.
        task: Its task.
        model: Its model.
        origin: Its name for messages; by default the path.

    Raises:
        MarsbenchError: If a name is unknown, or the model is not of the task's kind.
    """
    spec, entry = get_task(task), find_model(model)
    if spec.is_spectra:
        raise NotAvailableError(
            f"The samples of {spec.name} are spectra, not images.",
            "`marsbench spectra submission` predicts new measurements with a finished run.",
        )
    if spec.kind not in entry.kinds:
        raise NotAvailableError(
            f"Model {entry.name} does not support {spec.kind} tasks such as {spec.name}.",
            "`marsbench list models` shows the kinds of tasks of each model.",
        )
    return CheckpointPlace(path, spec, entry, origin or str(path))
