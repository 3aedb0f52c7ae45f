"""Heads on the second device: graphs of steps, launches and waits, features of the host."""

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._pytree import tree_leaves

from marsbench.config.schema import OptimName, SchedulerConfig, SchedulerName
from marsbench.models.encoders import neighbours
from marsbench.training.frozen import block, graphs
from marsbench.training.frozen import samples as samples_module
from marsbench.training.frozen.heads import Head, LinearHead
from marsbench.training.frozen.neighbours import fit_neighbours
from marsbench.training.frozen.optimum import fit_to_convergence
from marsbench.training.frozen.samples import Samples
from marsbench.training.frozen.turns import fit_heads
from tests.device.graphs import play
from tests.device.tensors import DeviceTensor, second
from tests.device.watching import Cost, watched
from tests.training.frozen.test_block import N, head_of, objective_of, samples_of

pytestmark = pytest.mark.device

COSTS = {OptimName.ADAMW: Cost(22, 0), OptimName.ADAM: Cost(22, 0), OptimName.SGD: Cost(18, 0)}
"""Costs of a step."""

EPOCH = Cost(18, 1)
"""Costs of an epoch besides its steps, however many heads there are."""


def there(samples: dict[str, Samples], *, near: bool = True) -> dict[str, Samples]:
    """Samples on the device, their features on the host if not near."""
    return {
        split: Samples(s.features.to(second()) if near else s.features, s.labels.to(second()))
        for split, s in samples.items()
    }


def heads_of(name: str, **values: Any) -> list[Head]:
    """Heads of two seeds that stop at different epochs."""
    objective = objective_of(name, weighed=values.pop("weighed", False))
    return [
        head_of(objective, seed=seed, lr=lr, max_epochs=epochs, **values)
        for seed in (0, 3)
        for lr, epochs in ((0.1, 12), (0.01, 9), (0.001, 3))
    ]


KINDS: dict[str, dict[str, Any]] = {
    "adamw": {},
    "adam": {"optimizer": OptimName.ADAM, "clip": 0.1, "weighed": True},
    "sgd": {"optimizer": OptimName.SGD, "clip": 0.1},
    "cosine": {"scheduler": SchedulerConfig(name=SchedulerName.COSINE)},
    "plateau": {"scheduler": SchedulerConfig(name=SchedulerName.PLATEAU, patience=0)},
    "turned": {"turned": True},
    "last": {"val": None},
}


def assert_equal(fitted: list[LinearHead], expected: list[LinearHead], atol: float) -> None:
    for own, other in zip(fitted, expected, strict=True):
        assert (own.epoch, own.epochs_trained) == (other.epoch, other.epochs_trained)
        torch.testing.assert_close(own.weight.cpu(), other.weight.cpu(), rtol=0, atol=atol)
        torch.testing.assert_close(own.bias.cpu(), other.bias.cpu(), rtol=0, atol=atol)
        np.testing.assert_allclose(own.losses, other.losses, rtol=0, atol=atol)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("near", [True, False], ids=["device", "host"])
def test_replayed_steps_give_the_numbers_of_the_cpu(
    kind: str, near: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = samples_of("multiclass", views=8 if kind == "turned" else 1)
    heads = heads_of("multiclass", **KINDS[kind])
    expected = fit_heads(heads, samples, dtype=torch.float64)
    eager = fit_heads(heads, there(samples, near=near), dtype=torch.float64)
    replays = play(monkeypatch)
    fitted = fit_heads(heads, there(samples, near=near), dtype=torch.float64)
    # Epochs have three steps of 16 samples and a smaller one.
    assert len(replays) > 20
    assert len({id(graph) for graph in replays}) >= 2
    assert_equal(eager, expected, 1e-12)
    assert_equal(fitted, eager, 0)


def test_steps_wait_for_nothing_and_move_no_tensor(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that they can be captured."""
    places: list[set[int]] = []

    def watching(step: graphs.Step, device: torch.device) -> graphs.Step:
        owner: Any = step.__self__  # type: ignore[attr-defined]
        places.clear()

        def watched_step(*inputs: torch.Tensor) -> None:
            with watched() as seen:
                step(*inputs)
            assert seen.waits.total() == 0
            tensors = tree_leaves([vars(owner), vars(owner.optimizer)])
            held = {t.held.data_ptr() for t in tensors if isinstance(t, DeviceTensor)}
            assert len(held) > 8
            places.append(held)

        return watched_step

    monkeypatch.setattr(block, "captured", watching)
    heads = [dataclasses.replace(h, max_epochs=5, clip=0.1) for h in heads_of("multiclass")]
    fit_heads(heads, there(samples_of("multiclass")), dtype=torch.float64)
    assert len(places) == 5 * 4
    assert all(held == places[0] for held in places)


def test_a_failing_capture_leaves_steps_eager(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    heads, samples = heads_of("multiclass"), there(samples_of("multiclass"))
    expected = fit_heads(heads, samples, dtype=torch.float64)

    def failing(graph: Any, **_: Any) -> Any:
        raise RuntimeError("operation not permitted when stream is capturing\nadvice")

    replays = play(monkeypatch, failing)
    for _ in range(2):
        fitted = fit_heads(heads, samples, dtype=torch.float64)
        assert_equal(fitted, expected, 0)
    assert not replays
    told = capsys.readouterr().err
    assert told.count("operation not permitted when stream is capturing") == 1
    assert "advice" not in told

    def lost(graph: Any, **_: Any) -> Any:
        raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered")

    play(monkeypatch, lost)
    with pytest.raises(torch.AcceleratorError):
        fit_heads(heads, samples, dtype=torch.float64)


def cost_of(optimizer: OptimName, count: int, epochs: int, batch: int) -> np.ndarray:
    objective, samples = objective_of("multiclass"), there(samples_of("multiclass"))
    heads = [
        head_of(
            objective,
            seed=i % 2,
            lr=1e-4 * (i + 1),
            optimizer=optimizer,
            batch_size=batch,
            max_epochs=epochs,
            patience=None,
        )
        for i in range(count)
    ]
    with watched() as seen:
        fit_heads(heads, samples, dtype=torch.float64)
    return np.array(seen.cost)


@pytest.mark.parametrize("optimizer", COSTS)
def test_costs_of_steps_epochs_and_heads(optimizer: OptimName) -> None:
    few = cost_of(optimizer, 8, 3, N // 2)
    step = (cost_of(optimizer, 8, 3, N // 4) - few) / (3 * 2)
    epoch = cost_of(optimizer, 8, 4, N // 2) - few - 2 * step
    head = (cost_of(optimizer, 16, 3, N // 2) - few) / 8
    for cost, most in ((step, COSTS[optimizer]), (epoch, EPOCH), (head, Cost(2, 0))):
        assert cost[0] <= most.launches * 1.1 + 1, cost
        assert cost[1] <= most.waits, cost


@pytest.mark.parametrize("part_bytes", [2**28, 300], ids=["a part", "parts"])
@pytest.mark.parametrize("name", ["multiclass", "multilabel"])
def test_other_fits_on_features_of_the_host(
    name: str, part_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(samples_module, "PART_BYTES", part_bytes)
    monkeypatch.setattr(neighbours, "_PART_BYTES", part_bytes)
    samples, objective = samples_of(name), objective_of(name)
    near, far = there(samples), there(samples, near=False)
    few = head_of(objective, train=np.arange(5), draws=np.arange(5))
    for head in (head_of(objective), few):
        fits = [fit_to_convergence(head, s, torch.float64) for s in (near, far)]
        assert fits[1].converged
        torch.testing.assert_close(fits[0].weight.cpu(), fits[1].weight.cpu(), rtol=0, atol=1e-9)
        voters = [fit_neighbours(head, s, torch.float64) for s in (near, far)]
        assert voters[0].neighbours == voters[1].neighbours
        assert voters[0].loss == pytest.approx(voters[1].loss, abs=1e-12)
        assert voters[1].head.features.device.type == "cpu"
        asked = near["val"].features[0]
        logits = [fitted.logits(asked).cpu() for fitted in voters]
        torch.testing.assert_close(logits[0], logits[1], rtol=0, atol=1e-12)
    # Validation in parts.
    heads = heads_of(name)
    fitted = [fit_heads(heads, s, dtype=torch.float64) for s in (near, far)]
    assert_equal(fitted[1], fitted[0], 1e-12)
