"""Train or resume, and load the chosen checkpoint."""

import json
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch

from marsbench.base.documents import parse_json
from marsbench.base.errors import StoreError
from marsbench.base.files import write_text
from marsbench.base.reading import check_regular
from marsbench.config.schema import Checkpoint
from marsbench.data.datamodule import MarsDataModule
from marsbench.results.store import CHECKPOINTS
from marsbench.training.loop.checkpoints import BEST, LAST
from marsbench.training.loop.module import MONITOR, MarsModule
from marsbench.training.loop.trainer import interruptible

FITTED = "fitted.json"
"""File of finished training; a run interrupted afterwards only evaluates."""


def fit(trainer: pl.Trainer, module: MarsModule, data: MarsDataModule, folder: Path) -> int | None:
    """Train or resume; returns the epoch of resumption, or None."""
    checkpoints = folder / CHECKPOINTS
    if (checkpoints / FITTED).exists():
        return int(parse_json((checkpoints / FITTED).read_text())["epochs_trained"])
    last = checkpoints / LAST
    state = _read(last)
    resumed_from = None if state is None else int(state["epoch"]) + 1
    if state is None or not _has_stopped(state):
        interruptible(
            trainer, lambda: trainer.fit(module, datamodule=data, ckpt_path=last if state else None)
        )
        epochs = trainer.current_epoch
    else:
        epochs = int(state["epoch"]) + 1
    if trainer.is_global_zero:
        write_text(checkpoints / FITTED, json.dumps({"epochs_trained": epochs}) + "\n")
    return resumed_from


def _read(path: Path) -> dict[str, Any] | None:
    """Read a checkpoint of this run; None if missing."""
    if not path.exists():
        return None
    try:
        check_regular(path)
        content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        if not isinstance(content["epoch"], int):
            raise TypeError("epoch")
        if not all(isinstance(state, dict) for state in content["callbacks"].values()):
            raise TypeError("callbacks")
    except Exception as error:  # damaged files raise many types
        raise StoreError(
            f"The checkpoint {path} of the interrupted run is damaged ({type(error).__name__}).",
            "Start the run again with --force (from Python: force=True).",
        ) from error
    return content


def _has_stopped(state: dict[str, Any]) -> bool:
    """Whether early stopping ended the training of a last checkpoint."""
    return any(
        callback.get("stopped_epoch", 0) > 0
        for name, callback in state["callbacks"].items()
        if name.startswith("EarlyStopping")
    )


def load_chosen(module: MarsModule, folder: Path) -> dict[str, Any]:
    """Load the best or the last checkpoint, as configured; returns facts for the record."""
    checkpoints = folder / CHECKPOINTS
    is_last = module.config.trainer.checkpoint is Checkpoint.LAST
    path = checkpoints / (LAST if is_last else BEST)
    best = _read(path)
    if best is None:
        raise FileNotFoundError(path)
    own = module.load_state_dict(best["state_dict"], strict=module.strict_loading)
    frozen = module.model.frozen_prefix
    if missing := [k for k in own.missing_keys if not k.removeprefix("model.").startswith(frozen)]:
        raise StoreError(
            f"The checkpoint {path} is missing {len(missing)} tensor(s), such as {missing[0]}.",
            "Start the run again with --force (from Python: force=True).",
        )
    fitted = parse_json((checkpoints / FITTED).read_text())
    if is_last:
        return {"chosen_by": "last", "epoch": int(best["epoch"]), **fitted}
    chosen = next(v for v in best["callbacks"].values() if v.get("monitor") == MONITOR)
    return {
        "chosen_by": MONITOR,
        "epoch": int(best["epoch"]),
        "value": float(chosen["best_model_score"]),
        "epochs_trained": fitted["epochs_trained"],
    }
