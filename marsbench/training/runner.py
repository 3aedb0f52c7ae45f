"""From a config to a record: data, model, fit, evaluate, save."""

import contextlib
import hashlib
import json
import logging
import signal
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytorch_lightning as pl
import torch
import yaml
from lightning_fabric.utilities.exceptions import MisconfigurationException
from numpy.typing import NDArray
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint
from pytorch_lightning.loggers import CSVLogger, Logger, TensorBoardLogger, WandbLogger
from pytorch_lightning.utilities.seed import isolate_rng
from safetensors.torch import save_file
from torch import nn

from marsbench import environment, metrics
from marsbench.config import RunConfig
from marsbench.data.datamodule import MarsDataModule
from marsbench.data.dataset import MarsDataset
from marsbench.errors import ConfigError, StoreError
from marsbench.kinds import Kind
from marsbench.models.build import Classifier
from marsbench.models.modes import build_for_mode, count_parameters
from marsbench.plan import Plan
from marsbench.results.record import Outcome, RunRecord
from marsbench.results.store import (
    CHECKPOINTS,
    CONFIG,
    LOGS,
    MODEL,
    PREDICTIONS,
    Store,
    now,
    write_atomically,
)
from marsbench.training.allocator import keep_freed_memory
from marsbench.training.callbacks import AtomicCheckpointIO, ProgressBar
from marsbench.training.losses import probabilities
from marsbench.training.module import MONITOR, MarsModule

BEST, LAST = "best.ckpt", "last.ckpt"
FITTED = "fitted.json"
"""Written when training is over: a run interrupted after that only evaluates."""


def run(plan: Plan, *, force: bool = False) -> Outcome:
    """Carry out one run, or hand over its record if it is finished already.

    An interrupted run resumes at the epoch it had reached and ends as if never interrupted.

    Args:
        plan: The run, resolved.
        force: Whether to move a finished or unfinished run aside and start anew.

    Raises:
        MarsbenchError: If something the user can mend is in the way.
    """
    store = Store(plan.config.store)
    with store.claim(plan.run_id) as folder:
        # Asked under the claim: another process may have finished it just now.
        if not force and (record := store.find(plan.run_id)) is not None:
            return Outcome(record, was_done=True)
        if force:
            store.clear(plan.run_id)
        try:
            record = _execute(plan, folder)
            store.finish(record)
        except Exception as error:
            store.fail(plan.run_id, error)
            raise
    return Outcome(record, was_done=False)


def _execute(plan: Plan, folder: Path) -> RunRecord:
    config = plan.config
    write_atomically(folder / CONFIG, yaml.safe_dump(config.to_dict(), sort_keys=False))
    keep_freed_memory()
    with _quiet(), _restored():
        # First, since what it refuses is quickly told.
        trainer = _trainer(config, folder)
        # Everything random before the first epoch: the head, or all weights from scratch.
        pl.seed_everything(config.seed, workers=True, verbose=False)
        model = build_for_mode(
            plan.model,
            len(plan.source.class_names),
            config.mode,
            Path(config.weights).expanduser() if config.weights else None,
        )
        weights = _describe_weights(plan, model)
        started = time.perf_counter()
        data = MarsDataModule(
            config,
            plan.task,
            plan.source,
            plan.selection,
            side=plan.model.input_size,
            augment=plan.augment,
        )
        data_s = time.perf_counter() - started

        module = MarsModule(model, plan.task.kind, config)
        started = time.perf_counter()
        resumed_from = _fit(trainer, module, data, folder)
        train_s = time.perf_counter() - started

        started = time.perf_counter()
        checkpoint = _load_best(module, folder)
        scored = {
            split: _evaluate(trainer, module, data, dataset, plan.task.kind)
            for split, dataset in (("val", data.val), ("test", data.test))
        }
        eval_s = time.perf_counter() - started
    _save_predictions(folder, scored)
    if config.save_model:
        _save_model(module, folder)
    timing = {"data": data_s, "train": train_s, "eval": eval_s}
    if resumed_from is not None:
        timing["resumed_from_epoch"] = float(resumed_from)
    return RunRecord(
        run_id=plan.run_id,
        task=plan.task.name,
        kind=plan.task.kind,
        model=plan.model.name,
        mode=config.mode,
        subset=config.subset,
        seed=config.seed,
        protocol=config.protocol,
        headline=plan.task.headline_metric,
        metrics={split: predictions.metrics for split, predictions in scored.items()},
        config=config.to_dict(),
        identity=plan.identity,
        data={
            "source": str(plan.source.name),
            "revision": plan.source.revision,
            "classes": list(plan.source.class_names),
            "num_train": plan.num_samples["train"],
            "num_val": plan.num_samples["val"],
            "num_test": plan.num_samples["test"],
            "subset_origin": plan.selection.origin,
            "subset_digest": plan.selection.digest,
        },
        weights=weights,
        checkpoint=checkpoint,
        timing=timing,
        peak_memory=_peak_memory(trainer),
        parameters=count_parameters(model),
        device=_device_name(trainer),
        environment=environment.versions(),
        git=environment.git_state(),
        created=now(),
    )


def _describe_weights(plan: Plan, model: Classifier) -> dict[str, Any] | None:
    """Say what training starts from, down to the digest of the backbone's tensors."""
    if plan.weights is None:
        return None
    described: dict[str, Any] = {"name": plan.weights, "sha256": _digest(model.backbone)}
    if plan.config.weights is not None or plan.model.weights is None:
        return described | {"path": plan.config.weights}
    published = plan.model.weights
    return described | {
        "data": published.data,
        "images": published.images,
        "licence": published.licence,
    }


def _digest(module: nn.Module) -> str:
    content = hashlib.sha256()
    for name, tensor in module.state_dict().items():
        content.update(f"{name} {tuple(tensor.shape)}".encode())
        content.update(np.ascontiguousarray(tensor.numpy()).data)
    return content.hexdigest()


def _trainer(config: RunConfig, folder: Path) -> pl.Trainer:
    options = config.trainer
    callbacks: list[pl.Callback] = [
        ProgressBar(),
        # One file each, overwritten in place. The second is written every epoch, which
        # save_last=True of the first would do only when the loss improves.
        *(
            ModelCheckpoint(
                folder / CHECKPOINTS,
                filename=Path(name).stem,
                monitor=monitor,
                enable_version_counter=False,
            )
            for name, monitor in ((BEST, MONITOR), (LAST, None))
        ),
    ]
    if options.patience is not None:
        callbacks.append(EarlyStopping(MONITOR, patience=options.patience))
    try:
        return pl.Trainer(
            max_epochs=options.max_epochs,
            precision=options.precision.value,
            accumulate_grad_batches=options.accumulate_grad_batches,
            gradient_clip_val=options.gradient_clip_val,
            accelerator=options.accelerator,
            devices=1,
            callbacks=callbacks,
            logger=_loggers(config, folder),
            plugins=[AtomicCheckpointIO()],
            default_root_dir=folder,
            deterministic="warn",
            use_distributed_sampler=False,
            num_sanity_val_steps=0,
            log_every_n_steps=1,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
    except (ValueError, RuntimeError, ImportError, MisconfigurationException) as error:
        raise ConfigError(
            f"These trainer options cannot be used here: {error}",
            "Change trainer.accelerator or trainer.precision.",
        ) from error


def _loggers(config: RunConfig, folder: Path) -> list[Logger]:
    chosen = config.logger
    logs = folder / LOGS
    # A resumed run logs into a folder of its own: Lightning's CSV logger clears an old one.
    attempt = f"attempt_{1 + len(list(logs.glob('attempt_*')))}"
    loggers: list[Logger] = []
    try:
        if chosen.csv:
            loggers.append(CSVLogger(logs, name="", version=attempt))
        if chosen.tensorboard:
            loggers.append(TensorBoardLogger(logs, name="tensorboard", version=attempt))
        if chosen.wandb:
            (logs / attempt).mkdir(parents=True, exist_ok=True)
            loggers.append(
                WandbLogger(project=chosen.project, name=folder.name, save_dir=logs / attempt)
            )
    except ModuleNotFoundError as error:
        name = "wandb" if chosen.wandb and "wandb" in str(error) else "tensorboard"
        raise ConfigError(
            f"logger.{name}=true needs the package {name}, which is not installed.",
            f"Install it: pip install 'marsbench[{name}]'.",
        ) from error
    return loggers


def _fit(trainer: pl.Trainer, module: MarsModule, data: MarsDataModule, folder: Path) -> int | None:
    """Train, or go on from the last whole epoch; returns that epoch if there was one."""
    checkpoints = folder / CHECKPOINTS
    if (checkpoints / FITTED).exists():
        return int(json.loads((checkpoints / FITTED).read_text())["epochs_trained"])
    last = checkpoints / LAST
    state = _read(last)
    resumed_from = None if state is None else int(state["epoch"]) + 1
    if state is None or not _has_stopped(state):
        _interruptible(
            trainer, lambda: trainer.fit(module, datamodule=data, ckpt_path=last if state else None)
        )
        epochs = trainer.current_epoch
    else:
        epochs = int(state["epoch"]) + 1
    write_atomically(checkpoints / FITTED, json.dumps({"epochs_trained": epochs}) + "\n")
    return resumed_from


def _interruptible(trainer: pl.Trainer, work: Callable[[], object]) -> None:
    """Let Ctrl-C and SIGTERM reach the caller: Lightning turns them into exit codes 1 and 0."""
    handler = signal.getsignal(signal.SIGINT)
    try:
        work()
    except SystemExit as ended:
        signal.signal(signal.SIGINT, handler)
        if not trainer.interrupted:
            raise
        if type(ended) is SystemExit:
            raise KeyboardInterrupt from None
        # Its subclass for SIGTERM, which carries no exit code: preemption must not look like
        # success.
        raise SystemExit(128 + signal.SIGTERM) from None


def _read(path: Path) -> dict[str, Any] | None:
    """Read a checkpoint of ours; None if there is none."""
    if not path.exists():
        return None
    try:
        content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many types on damaged files
        raise StoreError(
            f"The checkpoint {path} of the interrupted run is damaged ({type(error).__name__}).",
            "Start this run anew with --force (from Python: force=True).",
        ) from error
    return content


def _has_stopped(state: dict[str, Any]) -> bool:
    """Whether early stopping had ended the training this checkpoint is the last of."""
    return any(
        callback.get("stopped_epoch", 0) > 0
        for name, callback in state["callbacks"].items()
        if name.startswith("EarlyStopping")
    )


def _load_best(module: MarsModule, folder: Path) -> dict[str, Any]:
    """Load the checkpoint that validation chose; returns what the record says of it."""
    checkpoints = folder / CHECKPOINTS
    best = _read(checkpoints / BEST)
    if best is None:
        raise FileNotFoundError(checkpoints / BEST)
    module.load_state_dict(best["state_dict"], strict=module.strict_loading)
    chosen = next(v for v in best["callbacks"].values() if v.get("monitor") == MONITOR)
    fitted = json.loads((checkpoints / FITTED).read_text())
    return {
        "chosen_by": MONITOR,
        "epoch": int(best["epoch"]),
        "value": float(chosen["best_model_score"]),
        "epochs_trained": fitted["epochs_trained"],
    }


class Predictions(NamedTuple):
    """A split's predictions and what they score.

    Attributes:
        sample_ids: N ids.
        targets: Class ids (N,), or zeros and ones (N, K).
        scores: Probabilities (N, K), float32, as stored.
        metrics: Metric name to value.
    """

    sample_ids: list[str]
    targets: NDArray[np.integer]
    scores: NDArray[np.float32]
    metrics: dict[str, float]


def _evaluate(
    trainer: pl.Trainer,
    module: MarsModule,
    data: MarsDataModule,
    dataset: MarsDataset,
    kind: Kind,
) -> Predictions:
    _interruptible(
        trainer,
        lambda: trainer.predict(module, data.ordered(dataset), return_predictions=False),
    )
    outputs = module.take_outputs()
    # Scored from the float32 that is stored, so that re-scoring gives the same numbers.
    scores = probabilities(kind, outputs["logits"]).cpu().numpy().astype(np.float32)
    found = metrics.score(kind, dataset.targets, scores, dataset.class_names)
    found["loss"] = float(module.loss(outputs["logits"], outputs["label"]))
    return Predictions(list(dataset.sample_ids), dataset.targets, scores, found)


def _save_predictions(folder: Path, scored: dict[str, Predictions]) -> None:
    frames = [
        pd.DataFrame(
            {
                "split": split,
                "sample_id": predictions.sample_ids,
                "target": list(predictions.targets),
                "scores": list(predictions.scores),
            }
        )
        for split, predictions in scored.items()
    ]
    partial = folder / f".{PREDICTIONS}.part"
    pd.concat(frames, ignore_index=True).to_parquet(partial, index=False)
    partial.replace(folder / PREDICTIONS)


def _save_model(module: MarsModule, folder: Path) -> None:
    """Keep the tested weights; of a frozen backbone nothing, since it is its origin's."""
    state = {
        name: tensor.contiguous()
        for name, tensor in module.model.state_dict().items()
        if not (module.model.is_frozen and name.startswith("backbone."))
    }
    partial = folder / f".{MODEL}.part"
    save_file(state, partial)
    partial.replace(folder / MODEL)


def _device_name(trainer: pl.Trainer) -> str:
    device = trainer.strategy.root_device
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type} ({torch.get_num_threads()} threads)"


def _peak_memory(trainer: pl.Trainer) -> dict[str, int]:
    peak = {"host": environment.peak_host_memory()}
    device = trainer.strategy.root_device
    if device.type == "cuda":
        peak["device"] = torch.cuda.max_memory_allocated(device)
    return peak


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence Lightning's advice; errors and our own words remain."""
    logger = logging.getLogger("pytorch_lightning")
    level = logger.level
    logger.setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="pytorch_lightning")
        try:
            yield
        finally:
            logger.setLevel(level)


@contextlib.contextmanager
def _restored() -> Iterator[None]:
    """Give the caller's process back its random states and its choice of algorithms."""
    deterministic = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    with isolate_rng():
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)
