"""Results of training: stored per fold, combined per run, and rebuilt from finished runs."""

import dataclasses
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any

import numpy as np
from torch import Tensor

from marsbench.base import hub, lazy
from marsbench.base.documents import parse_json
from marsbench.base.errors import StoreError, WeightsError
from marsbench.base.files import file_digest, write_text
from marsbench.base.reading import check_regular
from marsbench.config.schema import Bands, Decoder, HeadName, Mode, OptimName, Pooling
from marsbench.data.dataset import MarsDataset
from marsbench.data.folds import OUT_OF_FOLD, folds_digest
from marsbench.data.samples import colors_of
from marsbench.metrics import scoring
from marsbench.models import weights
from marsbench.models.base import Model
from marsbench.models.encoders.neighbours import with_neighbours
from marsbench.models.inputs import Inputs
from marsbench.models.libraries import LIBRARIES
from marsbench.models.modes import build_for_mode
from marsbench.models.spec import Library, ModelSpec
from marsbench.models.tables.base import TabularModel, reading_model, table_model
from marsbench.models.tensors import read_checkpoint
from marsbench.models.zoo.catalog import get_model
from marsbench.plan.resolve import Plan
from marsbench.results.record import RunRecord
from marsbench.results.store import MODEL, PREDICTIONS, read_table
from marsbench.tasks.kinds import Kind
from marsbench.tasks.spec import TaskSpec
from marsbench.training.loop.evaluation import Predictions, save_predictions
from marsbench.training.parts import Part
from marsbench.training.trainers import TRAINERS

DONE = "part.json"
"""File of a finished part."""

TABLE = "model"
"""Folder of a fitted table model."""


@dataclass(frozen=True)
class Trained:
    """Result of training a part, with the fields of a record.

    Attributes:
        scored: Predictions by the name of their scores.
        weights: Initial weights.
        checkpoint: The tested epoch.
        timing: Seconds.
        peak_memory: Bytes.
        parameters: Numbers of parameters.
        device: The device.
        data: Additional entries of the record's `data`.
    """

    scored: dict[str, Predictions]
    weights: dict[str, Any] | None
    checkpoint: dict[str, Any]
    timing: dict[str, float]
    peak_memory: dict[str, int]
    parameters: dict[str, int]
    device: str
    data: dict[str, Any] = field(default_factory=dict)


def finished(part: Part, run_folder: Path, train: Callable[[], Trained]) -> Trained:
    """Train a part, or read its result if finished before an interruption of the run."""
    if not part.name:
        return train()
    folder = part.folder(run_folder)
    if (folder / DONE).is_file():
        return _read(folder)
    folder.mkdir(parents=True, exist_ok=True)
    trained = train()
    save_predictions(folder, trained.scored)
    facts = {
        f.name: getattr(trained, f.name) for f in dataclasses.fields(Trained) if f.name != "scored"
    }
    facts["metrics"] = {name: predictions.metrics for name, predictions in trained.scored.items()}
    write_text(folder / DONE, json.dumps(facts, indent=2) + "\n")
    return trained


def _read(folder: Path) -> Trained:
    content = parse_json((folder / DONE).read_text())
    values = content.pop("metrics")
    table = read_table(folder / PREDICTIONS)
    scored = {}
    for name, part in table.groupby("split", sort=False):
        columns = {
            str(column): list(part[column])
            for column in part
            if column not in ("split", "sample_id")
        }
        scored[str(name)] = Predictions(list(part["sample_id"]), columns, values[str(name)])
    return Trained(scored=scored, **content)


def together(plan: Plan, trained: list[Trained]) -> Trained:
    """Combine the folds of a run; a single part is returned unchanged.

    Out-of-fold predictions are joined. For splits that every model predicts, probabilities are
    averaged.
    """
    if plan.config.folds is None:
        return trained[0]
    names = plan.source.class_names
    scored: dict[str, Predictions] = {}
    for name in trained[0].scored:
        if name == OUT_OF_FOLD:
            rows = [
                row
                for fold in trained
                for row in zip(
                    fold.scored[name].sample_ids, *fold.scored[name].columns.values(), strict=True
                )
            ]
            rows.sort(key=lambda row: str(row[0]))
            ids = [row[0] for row in rows]
            columns = {
                column: [row[i + 1] for row in rows]
                for i, column in enumerate(trained[0].scored[name].columns)
            }
        else:
            first = trained[0].scored[name]
            ids, columns = first.sample_ids, dict(first.columns)
            scores = np.mean([np.stack(fold.scored[name].columns["scores"]) for fold in trained], 0)
            columns["scores"] = list(scores.astype(np.float32))
        values = scoring.score(plan.task.kind, columns, names)
        losses = [fold.scored[name].metrics.get("loss") for fold in trained]
        known = [loss for loss in losses if loss is not None]
        if known:
            values["loss"] = float(np.mean(known))
        scored[name] = Predictions(ids, columns, values)
    folds = [
        {
            "num_train": fold.data.get("num_train"),
            **fold.checkpoint,
            "metrics": _headline(plan, fold),
        }
        for fold in trained
    ]
    timing: dict[str, float] = {}
    for fold in trained:
        for key, value in fold.timing.items():
            if key != "resumed_from_epoch":
                timing[key] = timing.get(key, 0.0) + value
    return Trained(
        scored=scored,
        weights=trained[0].weights,
        checkpoint={"chosen_by": trained[0].checkpoint.get("chosen_by"), "folds": folds},
        timing=timing,
        peak_memory={
            key: max(fold.peak_memory.get(key, 0) for fold in trained)
            for key in trained[0].peak_memory
        },
        parameters=trained[0].parameters,
        device=trained[0].device,
        data={
            "scored_split": "test" if "test" in scored else OUT_OF_FOLD,
            "folds_digest": folds_digest(fold.scored[OUT_OF_FOLD].sample_ids for fold in trained),
            **{key: value for key, value in trained[0].data.items() if key == "features"},
        },
    )


def _headline(plan: Plan, fold: Trained) -> dict[str, float | None]:
    """Headline metric of a fold on each scored split."""
    return {
        name: predictions.metrics.get(plan.task.headline_metric)
        for name, predictions in fold.scored.items()
    }


def open_split(plan: Plan, split: str) -> MarsDataset:
    """Open a split with the run's size, bands and rendering."""
    return MarsDataset(
        plan.task,
        plan.source,
        split,
        side=plan.side,
        bands=plan.config.bands,
        cache=plan.config.cache,
        rendering=plan.rendering,
        resizing=plan.resizing,
    )


def rebuild(
    record: RunRecord,
    folder: Path,
    task: TaskSpec,
    shape: tuple[int, int] | None = None,
    model: ModelSpec | None = None,
) -> Any:
    """Rebuild the model of a finished run: a `Model` in evaluation, or a fitted `TabularModel`.

    Args:
        record: The run.
        folder: Folder of the run, or of a fold.
        task: Its task.
        shape: Rows and columns of rasterised spectra.
        model: The own encoder of the run, named by the caller: a record names none, so that nothing
            of a record is executed.

    Raises:
        StoreError: If its weights were not kept.
        WeightsError: If they do not fit, or the frozen backbone has other weights than before.
        NotAvailableError: If the run has an own encoder, and none is named.
    """
    entry = get_model(record.model) if model is None else model
    if entry.library is Library.OWN and entry.architecture != record.identity.get("architecture"):
        raise WeightsError(
            f"The run {record.run_id} is of {record.identity.get('architecture')}, and "
            f"{entry.word} is {entry.architecture}.",
            "Name the files of the run, unchanged; the digest covers the code and its files.",
        )
    trains = record.mode != Mode.ZERO_SHOT
    trainer = TRAINERS[LIBRARIES[entry.library].trainer if trains else "zero_shot"]
    return lazy.load(trainer.rebuild)(record, folder, task, shape, entry)


def rebuild_network(
    record: RunRecord,
    folder: Path,
    task: TaskSpec,
    shape: tuple[int, int] | None,
    entry: ModelSpec,
) -> Model:
    """Rebuild a network for `rebuild`."""
    path = _kept(record, folder / MODEL)
    mode, checkpoint = Mode(record.mode), None
    if mode is Mode.FROZEN and record.config.get("weights"):
        checkpoint = _initial(record, folder)
    elif mode is Mode.FINETUNE and task.kind is Kind.DETECTION and not entry.is_encoder:
        # Detectors that start from weights have constant normalisation statistics, which are other
        # modules than in a detector from scratch.
        checkpoint = path
    elif mode is Mode.FINETUNE:
        mode = Mode.SCRATCH  # the file has all weights, so none are downloaded
    decoder = record.identity.get("decoder")
    model = build_for_mode(
        entry,
        task.kind,
        record.num_outputs,
        mode,
        side=record.input_size,
        colors=colors_of(task, Bands(record.config.get("bands", Bands.RGB))),
        shape=shape,
        checkpoint=checkpoint,
        inputs=Inputs.from_plain(record.data.get("inputs", {}), record.run_id),
        pooling=Pooling(record.identity.get("pooling", Pooling.AUTO)),
        head=HeadName(record.identity.get("head", HeadName.LINEAR)),
        decoder=None if decoder is None else Decoder(decoder),
    )
    model.name_classes(record.data["classes"])
    if mode is Mode.FROZEN and record.weights is not None:
        digest = weights.backbone_digest(model)
        if digest != record.weights["sha256"]:
            raise WeightsError(
                f"The frozen backbone of run {record.run_id} has changed: the digest of "
                f"{record.weights['name']} is {digest[:12]}; expected "
                f"{record.weights['sha256'][:12]}.",
                "Install the versions in record.json, or restore the file given by weights=.",
            )
    state = read_checkpoint(path)
    if OptimName.KNN in (record.config.get("optim") or {}).values():
        with_neighbours(model, state)
    _load_exactly(model, state, path)
    return model.eval()


def rebuild_table(
    record: RunRecord,
    folder: Path,
    task: TaskSpec,
    shape: tuple[int, int] | None,
    entry: ModelSpec,
) -> TabularModel:
    """Load a fitted table model for `rebuild`."""
    path = _kept(record, folder / TABLE)
    with reading_model(path):
        return table_model(entry.id).load(path)


def _initial(record: RunRecord, folder: Path) -> Path:
    """Initial weights of a frozen run: in its folder, or at the path or address in its record.

    A record may come from elsewhere, so only a file with the digest of the run's identity is read.
    """
    given = str((record.weights or {}).get("path") or record.config["weights"])
    wanted = record.identity.get("weights")
    # Without the checksum of a link.
    beside = folder / PurePath(given.partition("#sha256=")[0]).name
    if _has_digest(beside, wanted):
        return beside
    if _has_digest(path := hub.local_file(given, may_ask=False), wanted):
        return path
    raise WeightsError(
        f"The initial weights of run {record.run_id} ({wanted}) are not at {given}.",
        f"Restore the file given by weights=, or copy it into {folder}.",
    )


def _has_digest(path: Path, wanted: Any) -> bool:
    return path.is_file() and file_digest(path) == wanted


def _kept(record: RunRecord, path: Path) -> Path:
    """Path of the weights of a run, a file or a folder of files."""
    try:
        for file in (path, *path.rglob("*")):
            check_regular(file)
    except FileNotFoundError as error:
        raise StoreError(
            f"The weights of run {record.run_id} were not saved: {path} was not found.",
            "Run it again with save_model=true --force.",
        ) from error
    except OSError as error:
        raise StoreError(
            f"{error.filename} cannot be read: {error.strerror}.", "Check its permissions."
        ) from error
    return path


def _load_exactly(model: Model, state: Mapping[str, Tensor], path: Path) -> None:
    """Load all tensors by name, without a frozen backbone."""
    own = model.state_dict()
    frozen = model.frozen_prefix if model.is_frozen else ()
    needed = {name for name in own if not (frozen and name.startswith(frozen))}
    shapes = [name for name in needed & set(state) if own[name].shape != state[name].shape]
    if needed != set(state) or shapes:
        differing = sorted(needed ^ set(state)) or shapes
        raise WeightsError(
            f"{path} is not of this model: {len(differing)} tensor(s) differ, such as "
            f"{differing[0]}.",
            "Install the versions in record.json, or run it again with --force.",
        )
    model.load_state_dict(dict(state), strict=False)
