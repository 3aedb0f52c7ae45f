"""Lightning's trainer for a run: loggers, callbacks, devices, signals."""

import contextlib
import logging
import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning_fabric.utilities.exceptions import MisconfigurationException
from pytorch_lightning.callbacks import EarlyStopping
from pytorch_lightning.strategies import DDPStrategy, Strategy
from pytorch_lightning.utilities import rank_zero_only
from pytorch_lightning.utilities.seed import isolate_rng
from torch import distributed
from torch.utils import deterministic as deterministic_options

from marsbench.base import environment
from marsbench.base.errors import ConfigError
from marsbench.config.schema import Checkpoint, RunConfig
from marsbench.results.store import CHECKPOINTS
from marsbench.training.loop.callbacks import ProgressBar
from marsbench.training.loop.checkpoints import Checkpoints, HeldCheckpoints
from marsbench.training.loop.loggers import make_loggers
from marsbench.training.loop.module import MONITOR

WAIT = timedelta(minutes=10)
"""Longest wait of a process for the others, one of which may be lost; Lightning's is 30 minutes.

The first process may write checkpoints of gigabytes meanwhile, and the others may have to start.
"""


def process_rank(config: RunConfig) -> int:
    """Rank of this process in its run; 0 for a single process."""
    return int(getattr(rank_zero_only, "rank", None) or 0) if config.world_size > 1 else 0


def check_tasks(config: RunConfig) -> None:
    """Check that the tasks of a SLURM job fit a run on several devices.

    Raises:
        ConfigError: If their number differs, or srun did not start the run, which would wait for
            the other tasks for ever; in the first task.
        SystemExit: With code 2, in the other tasks.
    """
    variables = os.environ
    # In interactive jobs Lightning starts the processes, and torchrun does within a task.
    is_ours = variables.get("SLURM_JOB_NAME") in ("bash", "interactive")
    is_ours = is_ours or TorchElasticEnvironment.detect()
    if config.world_size == 1 or "SLURM_NTASKS" not in variables or is_ours:
        return
    devices, nodes = config.trainer.devices, config.trainer.num_nodes
    wanted = {
        "SLURM_NTASKS": devices * nodes,
        "SLURM_NTASKS_PER_NODE": devices,
        "SLURM_NNODES": nodes,
    }
    wrong = [
        f"{key} is {variables[key]}, expected {number}"
        for key, number in wanted.items()
        if variables.get(key, str(number)) != str(number)
    ]
    if not wrong and "SLURM_STEP_ID" in variables:
        return
    if environment.helps_another(config.world_size):
        raise SystemExit(2)
    raise ConfigError(
        f"The tasks of this SLURM job do not fit trainer.devices={devices} and "
        f"trainer.num_nodes={nodes}: {'; '.join(wrong) or 'the run was not started by srun'}.",
        f"Submit with --nodes={nodes} --ntasks-per-node={devices} and start it by srun. Or let the "
        "run start its processes on one node: `env -u SLURM_NTASKS marsbench run ...`.",
    )


def make_trainer(config: RunConfig, folder: Path, *, alone: bool = False) -> pl.Trainer:
    """Build the trainer of a run.

    Args:
        config: The run.
        folder: The run's folder.
        alone: Whether only this process runs, on a single device.

    Raises:
        ConfigError: If its options cannot be used on this machine.
    """
    options = config.trainer
    chooses = options.checkpoint is Checkpoint.BEST
    callbacks: list[pl.Callback] = []
    held = HeldCheckpoints()
    if not alone:
        callbacks += [
            ProgressBar(),
            Checkpoints(folder / CHECKPOINTS, held, chooses=chooses),
        ]
        if options.patience is not None and chooses:
            callbacks.append(EarlyStopping(MONITOR, patience=options.patience))
    plugins: list[Any] = [held]
    if alone or config.world_size == 1:
        # A scheduler's variables describe its tasks, and say nothing about this run: tasks of an
        # allocation may be other runs, or may not be used at all.
        single = LightningEnvironment()
        single.set_global_rank(0)
        plugins.append(single)
    else:
        os.environ[environment.HELPER] = "1"  # inherited by the processes that Lightning starts
    has_loggers = not alone and process_rank(config) == 0
    loggers = make_loggers(config, folder) if has_loggers else []
    try:
        trainer = pl.Trainer(
            max_epochs=options.max_epochs,
            precision=options.precision.value,
            accumulate_grad_batches=options.accumulate_grad_batches,
            gradient_clip_val=options.gradient_clip_val,
            accelerator=options.accelerator,
            devices=1 if alone else options.devices,
            num_nodes=1 if alone else options.num_nodes,
            strategy="auto" if alone else _strategy(config),
            callbacks=callbacks,
            logger=loggers or False,
            plugins=plugins,
            default_root_dir=folder,
            deterministic="warn" if options.deterministic else False,
            benchmark=not options.deterministic,
            # Our samplers distribute samples to devices.
            use_distributed_sampler=False,
            num_sanity_val_steps=0,
            log_every_n_steps=1,
            enable_checkpointing=not alone,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        # Otherwise checked when training begins.
        if (cluster := getattr(trainer.strategy, "cluster_environment", None)) is not None:
            cluster.validate_settings(trainer.num_devices, trainer.num_nodes)
        return trainer
    except (ValueError, RuntimeError, ImportError, MisconfigurationException) as error:
        raise ConfigError(
            f"The trainer options cannot be used on this machine: {error}",
            "Change trainer.accelerator, trainer.devices, trainer.strategy or trainer.precision.",
        ) from error


def _strategy(config: RunConfig) -> str | Strategy:
    """Strategy of a run; the processes of several devices wait for each other only so long."""
    name = config.trainer.strategy
    # A notebook forks its processes, which Lightning knows to do by itself.
    is_notebook = hasattr(sys, "ps1") or bool(sys.flags.interactive)
    if config.world_size > 1 and (name == "ddp" or (name == "auto" and not is_notebook)):
        return DDPStrategy(timeout=WAIT)
    return name


def leave_group() -> None:
    """Leave the process group after all processes have finished."""
    if distributed.is_available() and distributed.is_initialized():
        distributed.barrier()
        distributed.destroy_process_group()


def interruptible(trainer: pl.Trainer, work: Callable[[], object]) -> None:
    """Pass Ctrl-C and SIGTERM to the caller; Lightning turns them into exit codes 1 and 0."""
    handler = signal.getsignal(signal.SIGINT)
    try:
        work()
    except SystemExit as ended:
        signal.signal(signal.SIGINT, handler)
        if not trainer.interrupted:
            raise
        if type(ended) is SystemExit:
            raise KeyboardInterrupt from None
        # Lightning's subclass for SIGTERM has no exit code; preemption must not look like success.
        raise SystemExit(128 + signal.SIGTERM) from None


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence Lightning's advice, but not errors and our own messages."""
    loggers = [logging.getLogger(name) for name in ("pytorch_lightning", "lightning_fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        # Importing Lightning sets their own levels, so a parent's level has no effect.
        logger.setLevel(logging.ERROR)
    with warnings.catch_warnings():
        for module in ("pytorch_lightning", "lightning_fabric"):
            warnings.filterwarnings("ignore", module=module)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


@contextlib.contextmanager
def restored() -> Iterator[None]:
    """Restore random states, deterministic algorithms and environment variables afterwards."""
    # Lightning leaves ranks in the environment, which would mislead the next run.
    variables, rank = dict(os.environ), getattr(rank_zero_only, "rank", 0)
    deterministic = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    options: Any = deterministic_options  # its type stub knows no attributes
    fill = options.fill_uninitialized_memory
    # Filling every new tensor only guards against reading uninitialised memory.
    options.fill_uninitialized_memory = False
    with isolate_rng():
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)
            options.fill_uninitialized_memory = fill
            rank_zero_only.rank = rank  # type: ignore[attr-defined]
            os.environ.clear()
            os.environ.update(variables)
