"""Retry with smaller batches and gradient accumulation if memory is too small."""

import gc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from marsbench.base.errors import TrainingError
from marsbench.base.progress import tell
from marsbench.config.schema import RunConfig
from marsbench.plan.resolve import Plan
from marsbench.results.record import RunRecord
from marsbench.training.failures import is_out_of_memory
from marsbench.training.trainers import trainer_of


def within_memory(
    plan: Plan, folder: Path, execute: Callable[[Plan, Path], RunRecord]
) -> RunRecord:
    """Carry out a run; if memory is too small, halve the batch and accumulate twice the batches.

    Steps average over the same samples, so the run and its id do not change. The run continues
    after its last saved epoch, and its record notes the smaller batches. Models whose trained
    part has batch normalisation would give another run, and fail instead.

    Args:
        plan: The run.
        folder: Its folder.
        execute: Carries out a run.

    Raises:
        TrainingError: If memory is too small for a single sample.
    """
    given = plan.config
    while True:
        try:
            record = execute(plan, folder)
        except Exception as error:
            # With several devices, some may have enough memory and wait for the others.
            can_split = plan.config.world_size == 1 and not plan.has_batch_statistics
            if not (can_split and trainer_of(plan).has_epochs and is_out_of_memory(error)):
                raise
            smaller = in_smaller_batches(plan.config)
            if smaller is None:
                raise TrainingError(
                    f"The memory of the device is too small for {given.model}, even for one sample "
                    "at a time.",
                    "Use trainer.precision=bf16-mixed, a smaller model or another device.",
                ) from error
        else:
            return record if plan.config is given else _noted(record, given)
        # Outside of the handler, whose error references tensors.
        plan = replace(plan, config=smaller)
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        tell(
            f"Too little memory: continuing with optim.batch_size={smaller.optim.batch_size} and "
            f"trainer.accumulate_grad_batches={smaller.trainer.accumulate_grad_batches}."
        )


def in_smaller_batches(config: RunConfig) -> RunConfig | None:
    """Divide the batch by its smallest factor, usually 2; None for a batch of size 1."""
    batch = config.optim.batch_size
    parts = next((n for n in range(2, batch + 1) if batch % n == 0), None)
    if parts is None:
        return None
    accumulated = config.trainer.accumulate_grad_batches * parts
    return replace(
        config,
        optim=replace(config.optim, batch_size=batch // parts),
        trainer=replace(config.trainer, accumulate_grad_batches=accumulated),
    )


def _noted(record: RunRecord, given: RunConfig) -> RunRecord:
    """Note the smaller batches in a record."""
    optim, trainer = record.config["optim"], record.config["trainer"]
    note = (
        f"Memory was too small for optim.batch_size={given.optim.batch_size}: trained with "
        f"{optim['batch_size']} and trainer.accumulate_grad_batches="
        f"{trainer['accumulate_grad_batches']}."
    )
    return replace(record, data={**record.data, "notes": [*record.data.get("notes", []), note]})
