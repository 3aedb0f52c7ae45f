"""From a config to a record: data, model, fit, evaluate, save."""

import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytorch_lightning as pl
import torch

from marsbench.base import environment
from marsbench.base.errors import MarsbenchError
from marsbench.base.files import write_text
from marsbench.base.progress import tell
from marsbench.config.schema import Protocol
from marsbench.data.datamodule import MarsDataModule
from marsbench.data.dataset import MarsDataset
from marsbench.models.base import Model
from marsbench.models.build import count_parameters
from marsbench.models.spec import Library
from marsbench.plan.resolve import Plan
from marsbench.results.record import Outcome, RunRecord
from marsbench.results.store import CONFIG, Store
from marsbench.tasks.kinds import Kind
from marsbench.tasks.spec import Decode
from marsbench.training.building import build_network
from marsbench.training.failures import explain, forget_words, leave_word, word_of_others
from marsbench.training.frozen.bank import run_alone
from marsbench.training.gallery import gallery
from marsbench.training.loop.allocator import keep_freed_memory
from marsbench.training.loop.devices import device_name, peak_memory
from marsbench.training.loop.evaluation import evaluate, save_predictions
from marsbench.training.loop.fitting import fit, load_chosen
from marsbench.training.loop.memory import within_memory
from marsbench.training.loop.module import MarsModule
from marsbench.training.loop.objectives.build import objective_of
from marsbench.training.loop.trainer import leave_group, make_trainer, process_rank, quiet, restored
from marsbench.training.parts import Part, parts_of
from marsbench.training.provenance import config_text, describe_weights, record_of, save_model
from marsbench.training.tabular import train_table
from marsbench.training.trained import Trained, finished, open_split, together


def run(plan: Plan, *, force: bool = False) -> Outcome:
    """Carry out one run, or hand over its record if it is finished already.

    An interrupted run resumes at the epoch it had reached and ends as if never interrupted. Of
    the processes that train on several devices the first does all but the training alone; the
    others end with exit code 0 when training is over.

    Args:
        plan: The run, resolved.
        force: Whether to move a finished or unfinished run aside and start anew.

    Raises:
        MarsbenchError: If something the user can mend is in the way.
    """
    if plan.protocol is Protocol.CACHED:
        return run_alone(plan, force=force)
    store = Store(plan.config.store)
    if process_rank(plan.config) > 0:
        _assist(plan, store, force)
    if environment.helps_another():
        # A script that trains on several devices is executed once for each of them; what it ran
        # before on one device the first process has just done.
        force = False
    with store.claim(plan.run_id) as folder:
        # Asked under the claim: another process may have finished it just now.
        if not force and (record := store.find(plan.run_id)) is not None:
            return Outcome(record, was_done=True)
        if force:
            store.clear(plan.run_id)
        try:
            record = within_memory(plan, folder, _execute)
            store.finish(record)
        except Exception as error:
            explained = explain(error, plan.config, folder)
            if explained is None and not isinstance(error, MarsbenchError):
                explained = word_of_others(folder)
            store.fail(plan.run_id, explained or error)
            if explained is None:
                raise
            raise explained from error
    return Outcome(record, was_done=False)


def _assist(plan: Plan, store: Store, force: bool) -> NoReturn:
    """Train as one of several processes that is not the first."""
    folder = store.folder(plan.run_id)
    if force or store.find(plan.run_id) is None:
        try:
            _execute(plan, folder)
        except Exception as error:
            leave_word(error, explain(error, plan.config, folder), folder)
            raise SystemExit(2) from error
    raise SystemExit(0)


def _execute(plan: Plan, folder: Path) -> RunRecord:
    config = plan.config
    is_first = process_rank(config) == 0
    if is_first:
        forget_words(folder)
        write_text(folder / CONFIG, config_text(config))
    keep_freed_memory()
    if plan.task.decode is Decode.SPECTRUM:
        for note in plan.source.notes:
            tell(note)
    parts = parts_of(plan)
    with quiet(), restored():
        train = train_table if plan.model.library is Library.TABULAR else _train_network
        trained = [finished(part, folder, partial(train, plan, part, folder)) for part in parts]
    one = together(plan, trained)
    save_predictions(folder, one.scored)
    if config.pictures:
        gallery(open_split(plan, "test"), one.scored["test"], folder)
    return record_of(plan, one)


def _train_network(plan: Plan, part: Part, run_folder: Path) -> Trained:
    """Train one model, or go on with it, and predict what it is scored on."""
    config, folder = plan.config, part.folder(run_folder)
    is_first = process_rank(config) == 0
    # First, since what it refuses is quickly told.
    trainer = make_trainer(config, folder)
    # Everything random before the first epoch: the head, or all weights from scratch.
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
    )
    timing = {"data": time.perf_counter() - started}

    started = time.perf_counter()
    resumed_from = fit(trainer, module, data, folder)
    timing["train"] = time.perf_counter() - started
    root_device = trainer.strategy.root_device
    memory, device = peak_memory(root_device), device_name(root_device)
    if config.world_size > 1:
        leave_group()
        if not is_first:
            raise SystemExit(0)
        # One device sees every sample once; several would pad the last batch.
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
        data=_dropped(plan, {"train": data.train, **sets}),
    )


def _dropped(plan: Plan, sets: Mapping[str, MarsDataset]) -> dict[str, Any]:
    """Count the boxes of each split that cover nothing of their image and are left out."""
    if plan.task.kind is not Kind.DETECTION:
        return {}
    return {"boxes_dropped": {name: found.num_dropped for name, found in sets.items()}}


def build_module(plan: Plan, part: Part | None = None) -> MarsModule:
    """Build what a run trains: the model in its mode and layout, its loss, its optimiser.

    Args:
        plan: The run.
        part: Which of its trainings; None where it has but one.
    """
    config = plan.config
    balance = plan.balance if part is None else part.balance
    model = build_network(plan, config.mode)
    if plan.rendering is not None:
        # Of spectra most labels are rare: the head begins at what is known without a look.
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
    head: Any = model.get_submodule("head")
    with torch.no_grad():
        head.bias.copy_(torch.from_numpy(np.log(shares / (1 - shares))).to(head.bias))
