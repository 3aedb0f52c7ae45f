"""Train networks with Lightning, and predict with the chosen checkpoint."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch

from marsbench.base.hub import local_file
from marsbench.config.schema import Mode
from marsbench.data.datamodule import MarsDataModule
from marsbench.data.dataset import MarsDataset
from marsbench.data.encoded import EncodedImages
from marsbench.data.samples import colors_of
from marsbench.models.base import Model
from marsbench.models.encoders.heads import last_layer
from marsbench.models.modes import build_for_mode, count_parameters
from marsbench.plan.resolve import Plan
from marsbench.tasks.kinds import Kind
from marsbench.training.inputs import prepared_inputs
from marsbench.training.loop.devices import device_name, peak_memory, reset_peak_memory
from marsbench.training.loop.evaluation import evaluate
from marsbench.training.loop.fitting import fit, load_chosen
from marsbench.training.loop.kernels import unsteady_kernels
from marsbench.training.loop.module import MarsModule
from marsbench.training.loop.objectives.build import objective_of
from marsbench.training.loop.trainer import leave_group, make_trainer, process_rank
from marsbench.training.parts import Part
from marsbench.training.provenance import describe_weights, save_model
from marsbench.training.trained import Trained


def train(
    plan: Plan,
    part: Part,
    run_folder: Path,
    encoded: Mapping[str, EncodedImages] | None = None,
) -> Trained:
    """Train a model, or resume its training, and predict its scored samples.

    Args:
        plan: The run.
        part: Part of the run.
        run_folder: Folder of the run.
        encoded: Encoded images by split, in place of the images.
    """
    config, folder = plan.config, part.folder(run_folder)
    is_first = process_rank(config) == 0
    # First, since it fails quickly.
    trainer = make_trainer(config, folder)
    reset_peak_memory(trainer.strategy.root_device)
    # Seeds the initial weights.
    pl.seed_everything(config.seed, workers=True, verbose=False)
    module = build_module(plan, part)
    weights = describe_weights(plan, module.model)
    started = time.perf_counter()
    data = MarsDataModule(
        config,
        plan.task,
        plan.source,
        np.arange(0) if part.train.indices is None else part.train.indices,
        None if part.val is None else (part.val.split, part.val.indices),
        draws=part.balance.draws,
        side=plan.side,
        rendering=plan.rendering,
        resizing=plan.resizing,
        encoded=encoded,
    )
    timing = {"data": time.perf_counter() - started}

    started = time.perf_counter()
    with unsteady_kernels() as unsteady:
        resumed_from = fit(trainer, module, data, folder)
    timing["train"] = time.perf_counter() - started
    root_device = trainer.strategy.root_device
    memory, device = peak_memory(root_device), device_name(root_device)
    if config.world_size > 1:
        leave_group()
        if not is_first:
            raise SystemExit(0)
        # A single device sees every sample once; several would pad the last batch.
        trainer = make_trainer(config, folder, alone=True)

    started = time.perf_counter()
    checkpoint = load_chosen(module, folder)
    sets = {name: data.dataset(s.split, s.indices) for name, s in part.scored.items()}
    scored = {
        name: evaluate(trainer, module, data, dataset, folder) for name, dataset in sets.items()
    }
    timing["eval"] = time.perf_counter() - started
    if config.save_model:
        save_model(module.model, folder)
    if resumed_from is not None:
        timing["resumed_from_epoch"] = float(resumed_from)
    return Trained(
        scored=scored,
        weights=weights,
        checkpoint=checkpoint,
        timing=timing,
        peak_memory=memory,
        parameters=count_parameters(module.model),
        device=device,
        data={
            **_dropped(plan, {"train": data.train, **sets}),
            **({"not_deterministic": sorted(unsteady)} if unsteady else {}),
        },
    )


def _dropped(plan: Plan, sets: Mapping[str, MarsDataset]) -> dict[str, Any]:
    """Count the dropped boxes of each split, outside of their image."""
    if plan.task.kind is not Kind.DETECTION:
        return {}
    return {"boxes_dropped": {name: dataset.num_dropped for name, dataset in sets.items()}}


def build_module(plan: Plan, part: Part | None = None) -> MarsModule:
    """Build the Lightning module of a run: model, objective and optimiser.

    Args:
        plan: The run.
        part: Part of the run; None for the only one.
    """
    config = plan.config
    balance = plan.balance if part is None else part.balance
    model = build_network(plan, config.mode)
    if plan.rendering is not None:
        # Most labels of spectra are rare: the head starts at their frequencies.
        start_at_frequencies(model, plan, part)
    if config.channels_last:
        model.to(memory_format=torch.channels_last)
    if config.compile:
        model.compile()
    return MarsModule(
        model,
        objective_of(
            plan.task.kind,
            plan.loss,
            len(plan.source.class_names),
            plan.num_outputs,
            balance.class_weights,
            plan.model.library,
        ),
        config,
        augment=plan.augment,
        num_draws=len(balance.draws),
    )


def start_at_frequencies(model: Model, plan: Plan, part: Part | None) -> None:
    """Set the bias of a multilabel head to the log odds of each label in the train samples."""
    indices = plan.selection.indices if part is None else part.train.indices
    targets = plan.source.rows("train").targets
    counts = (targets if indices is None else targets[indices]).sum(axis=0)
    shares = (counts + 0.5) / (len(targets if indices is None else indices) + 1)
    bias: Any = last_layer(model.get_submodule("head")).bias
    with torch.no_grad():
        bias.copy_(torch.from_numpy(np.log(shares / (1 - shares))).to(bias))


def build_network(plan: Plan, mode: Mode) -> Model:
    """Build a run's network with its initial weights.

    Args:
        plan: The run.
        mode: The mode.

    Raises:
        WeightsError: If the mode needs weights and they are missing or do not fit.
    """
    config = plan.config
    raster = None if plan.rendering is None else plan.rendering.raster
    model = build_for_mode(
        plan.model,
        plan.task.kind,
        plan.num_outputs,
        mode,
        side=plan.side,
        colors=colors_of(plan.task, config.bands),
        shape=None if raster is None else (raster.rows, raster.columns),
        checkpoint=local_file(config.weights) if config.weights else None,
        inputs=prepared_inputs(plan),
        pooling=config.pooling,
        head=config.head,
        decoder=plan.decoder,
    )
    model.name_classes(plan.source.class_names)
    return model
