"""Identity of a run: all choices that affect its score, and the id made from them."""

import hashlib
import json
import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from marsbench.config.schema import (
    Augment,
    Checkpoint,
    Imbalance,
    Matmul,
    Negatives,
    OptimName,
    Precision,
    Protocol,
    RunConfig,
    SchedulerName,
    Stored,
)
from marsbench.tasks.kinds import LABELS

PIPELINE = 2
"""Version of the pipeline, increased when equal choices give other numbers.

2: the augmentation of a sample is read from the bits of its draw's seed.
"""


OPTIMUM = 2
"""Version of ``optim.name=lbfgs``, increased when it gives other numbers.

2: converges to a gradient of zero in double precision; before, it stopped short of the optimum.
"""


MIXED = 2
"""Version of classifiers trained in mixed precision, increased when they give other numbers.

2: the head computes in single precision; before, logits had three digits and ties.
"""


def identity(
    config: RunConfig,
    *,
    kind: str,
    data_revision: str,
    subset_digest: str | None,
    architecture: str,
    weights: str | None,
    input_size: int | None,
    augment: Augment,
    loss: str | None = None,
    outputs: int | None = None,
    bands: str | None = None,
    spectra: Mapping[str, Any] | None = None,
    task: Mapping[str, Any] | None = None,
    protocol: Protocol = Protocol.ONLINE,
    trains: bool = True,
    batch_statistics: bool = False,
    resize: Mapping[str, Any] | None = None,
    inputs: Mapping[str, Any] | None = None,
    pooling: str | None = None,
    head: str | None = None,
    prompt: str | None = None,
    decoder: str | None = None,
    test_samples: int | None = None,
    answers: Mapping[str, Any] | None = None,
    train_on: str | None = None,
) -> dict[str, Any]:
    """Collect the choices that affect a run's score, except the five named in its id.

    Fields added by later versions are None by default, and None is dropped, so that ids of
    earlier records stay valid.

    Args:
        config: The run.
        kind: Kind of the task.
        data_revision: Revision of the data.
        subset_digest: Digest of the train samples' ids, in order; None if nothing is trained.
        architecture: Library and id of the model.
        weights: Name of the initial weights; None for random ones.
        input_size: Side of the model's input in pixels; None if images are not resized.
        augment: Augmentation, resolved.
        loss: Loss, if it is not the default of the kind.
        outputs: Number of output nodes, if it is not the number of classes.
        bands: Bands, of images with more than three.
        spectra: Versions and raster of the rendering of spectra.
        task: Facts of a custom task that neither the data nor another field determine.
        protocol: Protocol, resolved.
        trains: Whether the model is trained in batches, with an optimiser and a schedule.
        batch_statistics: Whether the trained part normalises by statistics of a batch. Then the
            number of batches per step, and of devices, matters beside the number of samples.
        resize: Interpolation and crop of images, if they are not resized whole.
        inputs: Adaptation and normalisation of bands, as far as they are not the default.
        pooling: Pooling of tokens, if it is not the model's own.
        head: Head of a classifier, if it is not linear.
        prompt: Digest of the question to a vision-language model.
        decoder: Decoder of an encoder, on masks and boxes.
        test_samples: Number of test samples, if they are not the whole split.
        answers: Choices for the answers of a generative model, as far as they are not the default.
        train_on: Group of the train and validation samples, as ``FIELD:VALUE``.
    """
    is_last = config.trainer.checkpoint is Checkpoint.LAST
    optim, scheduler, trainer = config.optim, config.scheduler, config.trainer
    split = {
        "accumulate_grad_batches": trainer.accumulate_grad_batches,
        "devices": config.world_size,
    }
    is_step, is_plateau = (
        scheduler.name is name for name in (SchedulerName.STEP, SchedulerName.PLATEAU)
    )
    is_mixed = trainer.precision in (Precision.BF16_MIXED, Precision.FP16_MIXED)
    # Heads on cached features, and answers in words, compute as before.
    is_mixed_classifier = (
        is_mixed and kind in LABELS and protocol is Protocol.ONLINE and prompt is None
    )
    choices: dict[str, Any] = {
        "kind": kind,
        "data_revision": data_revision,
        "subset_digest": subset_digest,
        "architecture": architecture,
        "weights": weights,
        "input_size": input_size,
        "protocol": protocol,
        "augment": augment,
        "pipeline": PIPELINE,
        "loss": loss,
        "outputs": outputs,
        "bands": bands,
        "spectra": spectra,
        "task": task,
        "views": config.views,
        "stored": None if config.stored is Stored.FLOAT32 else config.stored,
        "resize": resize,
        "inputs": inputs,
        "pooling": pooling,
        "head": head,
        "prompt": prompt,
        "decoder": decoder,
        "test_samples": test_samples,
        "answers": answers,
        "train_on": train_on,
        "compile": True if config.compile and trains else None,
        "matmul": None if trainer.matmul is Matmul.HIGHEST else trainer.matmul,
        "folds": config.folds,
        "negatives": None if config.negatives is Negatives.INCLUDE else config.negatives,
        "imbalance": None if config.imbalance is Imbalance.NONE else config.imbalance,
        "optim": {
            "name": optim.name,
            "lr": config.learning_rate,
            "weight_decay": optim.weight_decay,
            "momentum": optim.momentum if optim.name is OptimName.SGD else None,
            "effective_batch_size": config.effective_batch_size,
            "layer_decay": None if optim.layer_decay == 1 else optim.layer_decay,
            **{key: n for key, n in split.items() if batch_statistics and n > 1},
        },
        "scheduler": {
            "name": scheduler.name,
            "step_size": scheduler.step_size if is_step else None,
            "gamma": scheduler.gamma if is_step or is_plateau else None,
            "patience": scheduler.patience if is_plateau else None,
            "warmup": scheduler.warmup_epochs(trainer.max_epochs) or None,
        },
        "trainer": {
            "max_epochs": trainer.max_epochs,
            "patience": None if is_last else trainer.patience,
            "checkpoint": "last" if is_last else None,
            "precision": trainer.precision,
            "mixed": MIXED if is_mixed_classifier else None,
            "gradient_clip_val": trainer.gradient_clip_val,
        },
    }
    if not optim.name.has_epochs:
        # All samples at once: no other setting matters.
        is_lbfgs = optim.name is OptimName.LBFGS
        choices["optim"] = {
            "name": optim.name,
            "weight_decay": optim.weight_decay if is_lbfgs else None,
            "version": OPTIMUM if is_lbfgs else None,
        }
        choices["trainer"], choices["scheduler"] = {"precision": trainer.precision}, None
    if not trains:
        choices |= {"optim": None, "scheduler": None, "trainer": None, "loss": None}
    return _without_none(choices)


def _without_none(choices: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: _without_none(value) if isinstance(value, Mapping) else _plain(value)
        for key, value in choices.items()
        if value is not None
    }


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, StrEnum) else value


def digest(value: Any) -> str:
    """SHA-256 of a JSON value, independent of the order of its keys."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def slug(name: str) -> str:
    """Make a name safe for paths: ``smp:unet/tu-x`` becomes ``smp-unet-tu-x``.

    A name without any such character becomes its digest: an empty part would make the rest of a
    path absolute.
    """
    return re.sub(r"[^A-Za-z0-9._]+", "-", name).strip("-.") or digest(name)[:10]


def run_id(
    task: str, model: str, mode: str, subset: str, seed: int, choices: Mapping[str, Any]
) -> str:
    """Build the id of a run: ``task/model/mode/subset/seed-HASH``.

    Args:
        task: Name of the task.
        model: Name of the model, aliases resolved.
        mode: Mode.
        subset: Subset, spelt canonically.
        seed: Seed.
        choices: Result of `identity`.
    """
    return f"{slug(task)}/{slug(model)}/{mode}/{subset}/{seed}-{digest(choices)[:10]}"


_PART = "[A-Za-z0-9_-][A-Za-z0-9._-]{0,200}"
_RUN_ID = re.compile(f"{_PART}(/{_PART}){{4}}")


def is_run_id(text: object) -> bool:
    """Whether a value has the form of a run id, which is also a path that stays in its store."""
    return isinstance(text, str) and _RUN_ID.fullmatch(text) is not None
