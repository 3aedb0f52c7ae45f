"""The model to predict with, by the name it is given: a finished run, a checkpoint, a hub's."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import cast

from torch import Tensor, nn

from marsbench.base.errors import ConfigError, StoreError, WeightsError
from marsbench.config.schema import Bands, LossName, Mode
from marsbench.data.samples import colors_of
from marsbench.models import weights
from marsbench.models.base import Model
from marsbench.models.modes import build_for_mode
from marsbench.models.spec import ModelSpec
from marsbench.models.zoo.catalog import get_model
from marsbench.predict.checkpoints import SUFFIXES, from_hub, of_checkpoint
from marsbench.predict.predictor import Network, Predictor
from marsbench.results.find import finished_run, in_store, unknown_run
from marsbench.results.record import RunRecord
from marsbench.results.store import MODEL, RECORD
from marsbench.tasks.catalog import get_task
from marsbench.tasks.kinds import KINDS, Kind
from marsbench.tasks.spec import Decode, TaskSpec
from marsbench.training import provenance
from marsbench.training.loop.objectives.build import objective_of

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


def load(run: str, store: Path, task: str | None = None, model: str | None = None) -> Predictor:
    """Find and load a model.

    Args:
        run: Id or hash of a run of the store, the folder of a run, a checkpoint file, or
            ``ORG/NAME`` of a hub.
        store: Folder of records.
        task: Task of a checkpoint; of a run, where its own file has moved.
        model: Model of a checkpoint.

    Raises:
        MarsbenchError: If there is none, it is unfinished, or its weights are not to be had or do
            not fit.
    """
    path = Path(run).expanduser()
    if path.is_dir():
        return _of_folder(path, run, task)
    if path.is_file() and path.name == RECORD:
        return _of_folder(path.parent, run, task)
    if path.is_file():
        return of_checkpoint(path, *_named(run, task, model))
    known = in_store(run, store)
    if known is not None:
        return _of_folder(known, run, task)
    if path.suffix in SUFFIXES:
        raise WeightsError(f"There is no checkpoint {run}.", "Correct the path.")
    if _HUB_ID.fullmatch(run) and (task is not None or model is not None):
        task, model = _named(run, task, model)
        return of_checkpoint(from_hub(run), task, model, run)
    raise unknown_run(run, store)


def _named(run: str, task: str | None, model: str | None) -> tuple[str, str]:
    if task is None or model is None:
        raise ConfigError(
            f"{run} is a checkpoint, which does not say what it is of.",
            "Add --task TASK and --model MODEL; of a run of this package, name its folder.",
        )
    return task, model


# Finished runs


def _of_folder(folder: Path, run: str, task: str | None) -> Predictor:
    return of_record(finished_run(folder, run), folder, task)


def of_record(record: RunRecord, folder: Path, task: str | None = None) -> Predictor:
    """Load the model of a finished run.

    Args:
        record: Its record.
        folder: Its folder.
        task: Where to find its task if not where it was.

    Raises:
        MarsbenchError: If its weights were not kept, its task is gone, or the frozen backbone it
            had cannot be had any more.
    """
    if not (folder / MODEL).exists():
        raise StoreError(
            f"The run {record.run_id} kept no weights: there is no {MODEL} in {folder}.",
            "Run it again with save_model=true --force.",
        )
    spec = _task_of(record, task)
    model = get_model(record.model)
    classes = tuple(record.data["classes"])
    identity = record.identity
    loss = LossName(identity.get("loss") or KINDS[spec.kind].loss)
    num_outputs = int(identity.get("outputs") or len(classes))
    side, bands = int(identity["input_size"]), Bands(record.config.get("bands", Bands.RGB))
    built = _built(record, folder, spec, model, num_outputs, side, bands)
    state = weights.read_checkpoint(folder / MODEL)
    kept_elsewhere = built.frozen_prefix if built.is_frozen else ()
    _load_exactly(built, state, kept_elsewhere, str(folder / MODEL))
    return Predictor(
        model=cast(Network, built.eval()),
        task=spec,
        classes=classes,
        side=side,
        origin=record.run_id,
        version=record.created,
        bands=bands,
        objective=objective_of(spec.kind, loss, len(classes), num_outputs),
    )


def _task_of(record: RunRecord, task: str | None) -> TaskSpec:
    """The task of a run, from its file if it is a custom one."""
    word = task or str(record.config.get("task") or record.task)
    try:
        spec = get_task(word)
    except ConfigError as error:
        raise ConfigError(
            f"The task of run {record.run_id} cannot be had: {error.problem}",
            "Say with --task where its file is now.",
        ) from error
    if spec.decode is Decode.SPECTRUM:
        raise ConfigError(
            f"The run {record.run_id} takes spectra, not images.",
            "`marsbench spectra submission` predicts new measurements.",
        )
    if spec.kind != record.kind or len(spec.classes) != len(record.data["classes"]):
        raise ConfigError(
            f"The run {record.run_id} is of a {record.kind} task with "
            f"{len(record.data['classes'])} classes; {word} is {spec.kind} with "
            f"{len(spec.classes)}.",
            "Name the task it was trained on with --task.",
        )
    return spec


def _built(
    record: RunRecord,
    folder: Path,
    spec: TaskSpec,
    model: ModelSpec,
    num_outputs: int,
    side: int,
    bands: Bands,
) -> Model:
    """Build a run's model; of a frozen one with the very backbone it had."""
    mode, checkpoint = Mode(record.mode), None
    if mode is Mode.FROZEN and record.config.get("weights"):
        checkpoint = Path(record.config["weights"]).expanduser()
    elif mode is Mode.FINETUNE and spec.kind is Kind.DETECTION:
        # Detectors that start from weights hold the statistics of their normalisation constant:
        # other modules than those of a detector from scratch.
        checkpoint = folder / MODEL
    elif mode is Mode.FINETUNE:
        mode = Mode.SCRATCH  # all of it is in the file; nothing has to be downloaded
    colors = colors_of(spec, bands)
    built = build_for_mode(
        model, spec.kind, num_outputs, mode, side=side, colors=colors, checkpoint=checkpoint
    )
    if mode is Mode.FROZEN and record.weights is not None:
        found = provenance.backbone_digest(built)
        if found != record.weights["sha256"]:
            raise WeightsError(
                f"The frozen backbone of run {record.run_id} is not the one it was trained on: "
                f"weights {record.weights['name']} have now the digest {found[:12]}, then "
                f"{record.weights['sha256'][:12]}.",
                "Install the versions that record.json names, or put back the file that weights= "
                "named.",
            )
    return built


def _load_exactly(
    model: nn.Module, state: Mapping[str, Tensor], elsewhere: str | tuple[str, ...], origin: str
) -> None:
    """Load tensors by name: every one but those of a frozen backbone, or an error."""
    wanted = model.state_dict()
    needed = {k for k in wanted if not (elsewhere and k.startswith(elsewhere))}
    shapes = [k for k in needed & set(state) if wanted[k].shape != state[k].shape]
    if needed != set(state) or shapes:
        odd = sorted(needed ^ set(state)) or shapes
        raise WeightsError(
            f"{origin} is not of this model: {len(odd)} tensor(s) differ, such as {odd[0]}.",
            "Install the versions that record.json names, or run it again with --force.",
        )
    model.load_state_dict(dict(state), strict=False)
