"""Find and load models to predict with: finished runs, checkpoints, repositories of a hub."""

from pathlib import Path

from marsbench.base.errors import ConfigError, StoreError, WeightsError
from marsbench.base.hub import PREFIX, HubAddress, is_address, is_repo_id, parse_address
from marsbench.config.resizing import Resizing
from marsbench.config.schema import Bands, LossName, Matmul
from marsbench.models.spec import Library
from marsbench.models.zoo.catalog import find_model
from marsbench.predict.checkpoints import SUFFIXES, of_checkpoint
from marsbench.predict.predictor import Predictor
from marsbench.predict.repositories import open_repository
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
from marsbench.tasks.kinds import KINDS
from marsbench.training.loop.objectives.build import objective_of
from marsbench.training.trained import rebuild


def load(run: str, store: Path, task: str | None = None, model: str | None = None) -> Predictor:
    """Find and load a model.

    Args:
        run: Id or hash of a run of the store, the folder of a run, a checkpoint file, or
            ``hf://ORG/NAME[/FILE]`` of a hub.
        store: Folder of records.
        task: Task of a checkpoint, or of a run whose task file has moved.
        model: Model of a checkpoint, or the own encoder of a run.

    Raises:
        MarsbenchError: If the run or checkpoint is not found or unfinished, or its weights are
            missing or do not fit.
    """
    if is_address(run):
        return _of_hub(parse_address(run), run, task, model)
    path = Path(run).expanduser()
    if path.is_dir():
        return _of_folder(path, run, task, model)
    if path.exists() and path.name == RECORD:
        return _of_folder(path.parent, run, task, model)
    if path.exists():
        return of_checkpoint(path, *_named(run, task, model))
    known = in_store(run, store)
    if known is not None:
        return _of_folder(known, run, task, model)
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


def _of_hub(address: HubAddress, run: str, task: str | None, model: str | None) -> Predictor:
    repository = open_repository(address)
    if repository.is_run and not address.path:
        return _of_folder(repository.run(), run, task, model)
    task, model = _named(run, task, model)
    return of_checkpoint(repository.checkpoint(), task, model, str(repository.address))


# Finished runs


def _of_folder(folder: Path, run: str, task: str | None, model: str | None) -> Predictor:
    return of_record(finished_run(folder, run), folder, task, model)


def of_record(
    record: RunRecord, folder: Path, task: str | None = None, model: str | None = None
) -> Predictor:
    """Load the model of a finished run.

    Args:
        record: Its record.
        folder: Its folder.
        task: Its task, if the task file has moved.
        model: Its own encoder, which the record does not name.

    Raises:
        MarsbenchError: If its weights were not saved, or its task or frozen backbone is missing.
    """
    check_model(record)
    check_trained(record)
    spec = task_of(record, folder, task)
    if spec.is_spectra:
        raise ConfigError(
            f"The run {record.run_id} predicts spectra, not images.",
            "`marsbench spectra submission` predicts new measurements.",
        )
    classes = tuple(record.data["classes"])
    loss = LossName(record.identity.get("loss") or KINDS[spec.kind].loss)
    side = record.input_size
    if side is None:
        raise StoreError(
            f"The record of {record.run_id} has no input_size.",
            "Remove its folder and run it again.",
        )
    return Predictor(
        model=rebuild(record, folder, spec, model=None if model is None else find_model(model)),
        task=spec,
        classes=classes,
        side=side,
        resizing=Resizing.from_identity(record.identity.get("resize")),
        matmul=Matmul(record.identity.get("matmul", Matmul.HIGHEST)),
        origin=record.run_id,
        version=record.created,
        bands=Bands(record.config.get("bands", Bands.RGB)),
        objective=objective_of(
            spec.kind, loss, len(classes), record.num_outputs, library=library_of(record)
        ),
    )


def library_of(record: RunRecord) -> Library | None:
    """Library of a run's model; None for libraries of other versions."""
    name = str(record.identity.get("architecture", "")).partition(":")[0]
    return Library(name) if name in list(Library) else None
