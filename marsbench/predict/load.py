"""Load models to predict with: finished runs, checkpoints, repositories of a hub."""

from pathlib import Path

from marsbench.config.resizing import Resizing
from marsbench.config.schema import Bands, LossName, Matmul
from marsbench.models.spec import Library
from marsbench.models.zoo.catalog import find_model
from marsbench.predict.checkpoints import load_checkpoint
from marsbench.predict.places import CheckpointPlace, Place, RunPlace, find, run_place
from marsbench.predict.predictor import Predictor
from marsbench.results.record import RunRecord
from marsbench.tasks.kinds import KINDS
from marsbench.training.loop.objectives.build import objective_of
from marsbench.training.trained import rebuild


def load(run: str, store: Path, task: str | None = None, model: str | None = None) -> Predictor:
    """Find and load a model; the arguments are those of `find`.

    Raises:
        MarsbenchError: If the run or checkpoint is not found or unfinished, or its weights are
            missing or do not fit.
    """
    return load_place(find(run, store, task, model))


def load_place(place: Place) -> Predictor:
    """Load the model of a run or checkpoint.

    Raises:
        MarsbenchError: If its weights were not saved or do not fit, or its frozen backbone is
            missing.
    """
    return load_checkpoint(place) if isinstance(place, CheckpointPlace) else _load_run(place)


def of_record(
    record: RunRecord, folder: Path, task: str | None = None, model: str | None = None
) -> Predictor:
    """Load the model of a finished run; the arguments are those of `run_place`.

    Raises:
        MarsbenchError: If its weights were not saved, or its task or frozen backbone is missing.
    """
    return _load_run(run_place(record, folder, task, model))


def _load_run(place: RunPlace) -> Predictor:
    record, spec = place.record, place.task
    classes = tuple(record.data["classes"])
    loss = LossName(record.identity.get("loss") or KINDS[spec.kind].loss)
    entry = None if place.model is None else find_model(place.model)
    return Predictor(
        model=rebuild(record, place.folder, spec, model=entry),
        task=spec,
        classes=classes,
        side=place.side,
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
