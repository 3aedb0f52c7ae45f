"""Many heads at once: each is what it would be alone, and what torch's own loop makes of it."""

import dataclasses
import gc
import itertools
import math
import time
import weakref
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim import SGD, Adam, AdamW, lr_scheduler

from marsbench.config.schema import LossName, OptimName, SchedulerConfig, SchedulerName
from marsbench.data.datamodule import epoch_order
from marsbench.tasks.kinds import Kind
from marsbench.training.frozen.block import _Block, fit_block
from marsbench.training.frozen.heads import Head, LinearHead
from marsbench.training.frozen.losses import HeadLoss
from marsbench.training.frozen.samples import Samples
from marsbench.training.frozen.turns import LIMITS, Limits, blocks_of, fit_heads, turns_of
from marsbench.training.loop.objectives.labels import LabelObjective

N, F, K = 60, 7, 4
CPU = torch.device("cpu")
OBJECTIVES = {
    "multiclass": (Kind.MULTICLASS, LossName.CROSS_ENTROPY, K, K),
    "two_nodes": (Kind.BINARY, LossName.BINARY_CROSS_ENTROPY, 2, 2),
    "one_node": (Kind.BINARY, LossName.BINARY_CROSS_ENTROPY, 2, 1),
    "binary": (Kind.BINARY, LossName.CROSS_ENTROPY, 2, 2),
    "multilabel": (Kind.MULTILABEL, LossName.BINARY_CROSS_ENTROPY, K, K),
}


def objective_of(name: str, *, weighed: bool = False) -> LabelObjective:
    kind, loss, classes, outputs = OBJECTIVES[name]
    weights = np.linspace(0.5, 2.0, classes) if weighed else None
    return LabelObjective(kind, loss, classes, outputs, weights).double()


def samples_of(name: str, views: int = 1) -> dict[str, Samples]:
    kind, _, classes, _ = OBJECTIVES[name]
    rng = torch.Generator().manual_seed(5)
    found = {}
    for split, count in (("train", N), ("val", 33)):
        features = torch.randn(views, count, F, generator=rng)
        labels: torch.Tensor
        if kind is Kind.MULTILABEL:
            labels = (features[0, :, :classes] + torch.randn(count, classes, generator=rng)) > 0
            labels = labels.float()
        else:
            labels = (features[0, :, :classes]).argmax(dim=1)
            noisy = torch.rand(count, generator=rng) < 0.3
            labels = torch.where(noisy, torch.randint(classes, (count,), generator=rng), labels)
        found[split] = Samples(features, labels)
    return found


def head_of(objective: LabelObjective, **values: Any) -> Head:
    base: dict[str, Any] = {
        "train": np.arange(N),
        "draws": np.arange(N),
        "val": ("val", np.arange(33)),
        "loss": HeadLoss(objective),
        "seed": 0,
        "batch_size": 16,
        "optimizer": OptimName.ADAMW,
        "lr": 0.01,
        "weight_decay": 0.05,
        "momentum": 0.9,
        "scheduler": SchedulerConfig(),
        "max_epochs": 12,
        "patience": 5,
        "clip": None,
        "turned": False,
    }
    return Head(**(base | values))


def by_torch(head: Head, samples: dict[str, Samples]) -> tuple[torch.Tensor, int, int, list[float]]:
    """Fit one head with torch's own parts: logits of val, epoch, epochs trained, losses."""
    objective = head.loss.objective
    outputs = objective.num_outputs
    bound = 1 / math.sqrt(F)
    first = torch.empty(F + 1, outputs, dtype=torch.float64)
    first.uniform_(-bound, bound, generator=torch.Generator().manual_seed(head.seed))
    linear = nn.Linear(F, outputs).double()
    with torch.no_grad():
        linear.weight.copy_(first[:-1].T)
        linear.bias.copy_(first[-1])
    parameters = linear.parameters()
    optimizer: torch.optim.Optimizer
    if head.optimizer is OptimName.SGD:
        optimizer = SGD(
            parameters,
            lr=head.lr,
            weight_decay=head.weight_decay,
            momentum=head.momentum,
            nesterov=head.momentum > 0,
        )
    else:
        kind = Adam if head.optimizer is OptimName.ADAM else AdamW
        optimizer = kind(parameters, lr=head.lr, weight_decay=head.weight_decay)
    schedule, plateau = _schedule(head, optimizer)
    train, rows = samples["train"], head.train[head.draws]
    split, indices = head.val or ("val", np.arange(33))
    best, waited, losses, chosen, at = math.inf, 0, [], None, -1
    for epoch in range(head.max_epochs):
        order, seeds = epoch_order(len(rows), head.seed, epoch)
        for start in range(0, len(rows), head.batch_size):
            part = order[start : start + head.batch_size]
            views = seeds[part] & 7 if head.turned else 0 * part
            x = train.features[torch.from_numpy(views), torch.from_numpy(rows[part])].double()
            y = train.labels[torch.from_numpy(rows[part])]
            y = y.double() if y.is_floating_point() else y
            optimizer.zero_grad()
            objective(linear(x), y).mean().backward()
            if head.clip is not None:
                nn.utils.clip_grad_norm_(linear.parameters(), head.clip)
            optimizer.step()
        if schedule is not None:
            schedule.step()
        with torch.no_grad():
            x = samples[split].features[0, torch.from_numpy(indices)].double()
            y = samples[split].labels[torch.from_numpy(indices)]
            y = y.double() if y.is_floating_point() else y
            logits = linear(x)
            loss = float(objective.plain(logits, y).mean())
        if head.val is None:
            chosen, at = logits, epoch
            continue
        losses.append(loss)
        if plateau is not None:
            plateau.step(loss)
        if loss < best:
            best, waited, chosen, at = loss, 0, logits, epoch
        else:
            waited += 1
            if head.patience is not None and waited >= head.patience:
                break
    assert chosen is not None
    return chosen, at, epoch + 1, losses


def _schedule(head: Head, optimizer: torch.optim.Optimizer) -> tuple[Any, Any]:
    one = head.scheduler
    match one.name:
        case SchedulerName.COSINE:
            return lr_scheduler.CosineAnnealingLR(optimizer, T_max=head.max_epochs), None
        case SchedulerName.STEP:
            return lr_scheduler.StepLR(optimizer, one.step_size, one.gamma), None
        case SchedulerName.PLATEAU:
            return None, lr_scheduler.ReduceLROnPlateau(
                optimizer, factor=one.gamma, patience=one.patience
            )
    return None, None


def fit_all(heads: list[Head], samples: dict[str, Samples]) -> list[LinearHead]:
    """Fit heads in their blocks."""
    outputs = heads[0].loss.num_outputs
    found: dict[int, LinearHead] = {}
    for block in blocks_of(heads, F, outputs, CPU):
        fitted = fit_block([heads[i] for i in block], samples, dtype=torch.float64)
        found |= dict(zip(block, fitted, strict=True))
    return [found[i] for i in range(len(heads))]


def val_logits(fitted: LinearHead, samples: dict[str, Samples]) -> torch.Tensor:
    return fitted.logits(samples["val"].features[0])


def grid(objective: LabelObjective) -> list[Head]:
    """Heads that differ in everything a sweep varies."""
    few = np.array([3, 5, 8, 13, 21, 34, 55])
    rng = np.random.default_rng(1)
    part = np.sort(rng.permutation(N)[:30])
    schedules = [
        SchedulerConfig(name=SchedulerName.NONE),
        SchedulerConfig(name=SchedulerName.COSINE),
        SchedulerConfig(name=SchedulerName.STEP, step_size=2, gamma=0.5),
        SchedulerConfig(name=SchedulerName.PLATEAU, gamma=0.3, patience=1),
    ]
    heads: list[Head] = []
    for seed, train, lr in itertools.product((0, 7), (np.arange(N), part, few), (0.3, 0.01)):
        for n, optimizer in enumerate((OptimName.ADAM, OptimName.ADAMW, OptimName.SGD)):
            heads.append(
                head_of(
                    objective,
                    seed=seed,
                    train=train,
                    draws=np.arange(len(train)),
                    lr=lr,
                    optimizer=optimizer,
                    weight_decay=0.2 * n,
                    scheduler=schedules[(len(heads) + seed) % 4],
                    max_epochs=(12, 20)[len(heads) % 2],
                    patience=(2, 5, None)[len(heads) % 3],
                    batch_size=(16, 8)[len(heads) % 5 == 0],
                    clip=0.5 if len(heads) % 7 == 0 else None,
                )
            )
    return heads


@pytest.mark.parametrize("weighed", [False, True])
@pytest.mark.parametrize("name", OBJECTIVES)
def test_every_head_of_a_bank_is_what_torch_makes_of_it_alone(name: str, weighed: bool) -> None:
    samples, heads = samples_of(name), grid(objective_of(name, weighed=weighed))
    # The oracle takes its time: with weights it sees a part, of each optimiser, rate and schedule.
    step = 5 if weighed else 1
    for head, fitted in list(zip(heads, fit_all(heads, samples), strict=True))[::step]:
        logits, epoch, trained, losses = by_torch(head, samples)
        assert (fitted.epoch, fitted.epochs_trained) == (epoch, trained)
        np.testing.assert_allclose(fitted.losses, losses, rtol=1e-9)
        torch.testing.assert_close(val_logits(fitted, samples), logits, rtol=0, atol=1e-9)


def test_a_head_alone_is_the_head_in_the_bank() -> None:
    samples, heads = samples_of("multiclass"), grid(objective_of("multiclass"))
    together = fit_all(heads, samples)
    for head, fitted in zip(heads, together, strict=True):
        (alone,) = fit_block([head], samples, dtype=torch.float64)
        assert alone.epochs_trained == fitted.epochs_trained
        torch.testing.assert_close(
            val_logits(alone, samples), val_logits(fitted, samples), rtol=0, atol=1e-6
        )


def test_repeated_draws_and_turned_views() -> None:
    samples = samples_of("multiclass", views=8)
    objective = objective_of("multiclass")
    draws = np.sort(np.random.default_rng(2).integers(30, size=50))
    heads = [
        head_of(objective, train=np.arange(10, 40), draws=draws, turned=True, seed=seed, lr=lr)
        for seed in (0, 3)
        for lr in (0.1, 0.01)
    ]
    for head, fitted in zip(heads, fit_all(heads, samples), strict=True):
        logits, epoch, *_ = by_torch(head, samples)
        assert fitted.epoch == epoch
        torch.testing.assert_close(val_logits(fitted, samples), logits, rtol=0, atol=1e-9)


def test_without_validation_the_last_epoch_counts() -> None:
    samples, objective = samples_of("multiclass"), objective_of("multiclass")
    heads = [head_of(objective, val=None, max_epochs=epochs) for epochs in (1, 4, 9)]
    for head, fitted in zip(heads, fit_all(heads, samples), strict=True):
        logits, epoch, trained, _ = by_torch(head, samples)
        assert fitted.losses == []
        assert (fitted.epoch, fitted.epochs_trained) == (epoch, trained)
        torch.testing.assert_close(val_logits(fitted, samples), logits, rtol=0, atol=1e-9)


def test_a_head_that_diverges_harms_no_other() -> None:
    samples, objective = samples_of("multiclass"), objective_of("multiclass")
    good = head_of(objective, optimizer=OptimName.SGD, lr=0.01)
    bad = dataclasses.replace(good, lr=1e300)
    fitted = fit_block([bad, good], samples, dtype=torch.float64)
    assert fitted[0].broken == 0
    assert fitted[1].broken is None
    logits, *_ = by_torch(good, samples)
    torch.testing.assert_close(val_logits(fitted[1], samples), logits, rtol=0, atol=1e-9)


def test_the_memory_of_a_block_is_free_without_garbage_collection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A full collection is rare: the blocks of thousands of runs would pile up."""
    blocks = []
    first = _Block.__init__

    def noted(self: _Block, *arguments: Any) -> None:
        first(self, *arguments)
        blocks.append(weakref.ref(self))

    monkeypatch.setattr(_Block, "__init__", noted)
    gc.disable()
    try:
        fit_block([head_of(objective_of("multiclass"), max_epochs=2)], samples_of("multiclass"))
        (block,) = blocks
        assert block() is None
    finally:
        gc.enable()


def test_blocks_hold_every_head_once_and_fit_into_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    heads = grid(objective_of("multiclass"))
    monkeypatch.setitem(LIMITS, "cpu", Limits(heads=3, bytes=2**30, folders=8))
    monkeypatch.setattr("marsbench.training.frozen.block._MOST_LOGITS", 50)
    blocks = blocks_of(heads, F, K, CPU)
    assert sorted(i for block in blocks for i in block) == list(range(len(heads)))
    assert max(map(len, blocks)) <= 3
    samples = samples_of("multiclass")
    for head, fitted in list(zip(heads, fit_all(heads, samples), strict=True))[::5]:
        torch.testing.assert_close(
            val_logits(fitted, samples), by_torch(head, samples)[0], rtol=0, atol=1e-9
        )


def test_turns_hold_every_head_once_and_mix_no_optimisers(monkeypatch: pytest.MonkeyPatch) -> None:
    heads = grid(objective_of("multiclass"))
    monkeypatch.setitem(LIMITS, "cpu", Limits(heads=9, bytes=2**30, folders=8))
    turns = turns_of(heads, F, K, CPU)
    assert sorted(i for turn in turns for i in turn) == list(range(len(heads)))
    assert len(turns) < len(blocks_of(heads, F, K, CPU))
    assert max(map(len, turns)) <= 9
    assert all(len({heads[i].optimizer for i in turn}) == 1 for turn in turns)
    # A GPU takes one block after the other.
    gpu = torch.device("cuda")
    assert turns_of(heads, F, K, gpu) == blocks_of(heads, F, K, gpu)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_cores_share_the_heads_of_several_blocks(threads: int) -> None:
    heads, samples = grid(objective_of("multiclass")), samples_of("multiclass")
    expected = fit_all(heads, samples)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        started = time.perf_counter()
        found = fit_heads(heads, samples, dtype=torch.float64)
        elapsed = time.perf_counter() - started
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one.weight, other.weight, rtol=0, atol=1e-12)
        assert one.epoch == other.epoch
    assert 0 < sum(one.seconds for one in found) <= elapsed


def test_whoever_interrupts_waits_for_an_epoch_alone() -> None:
    objective, samples = objective_of("multiclass"), samples_of("multiclass")
    endless = head_of(objective, max_epochs=10**7, patience=None, val=None)
    short = head_of(objective, max_epochs=1, draws=np.arange(8))

    def interrupted(_: int) -> None:
        raise KeyboardInterrupt

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        started = time.perf_counter()
        with pytest.raises(KeyboardInterrupt):
            fit_heads([endless, short], samples, dtype=torch.float64, advance=interrupted)
        assert time.perf_counter() - started < 60
    finally:
        torch.set_num_threads(before)
