"""Heads on cached features on the second device: numbers of the CPU."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from marsbench.plan.resolve import resolve
from marsbench.results.record import Outcome
from marsbench.results.store import Store
from marsbench.training.frozen import features
from marsbench.training.frozen.bank import run_bank
from tests.device.tensors import NAME, second
from tests.device.watching import watched
from tests.training.frozen.banks import config

pytestmark = pytest.mark.device

BANKS: dict[str, dict[str, Any]] = {
    "adamw": {},
    "sgd": {"optim.name": "sgd", "trainer.gradient_clip_val": 0.1, "scheduler.name": "plateau"},
    "d4": {"augment": "d4"},
    "lbfgs": {"optim.name": "lbfgs", "optim.weight_decay": 0.1},
    "knn": {"optim.name": "knn"},
    "weights": {"imbalance": "loss_weight"},
    "many": {"task": "many"},
    "mixed": {"trainer.precision": "bf16-mixed"},
}

LOOSE = {"mixed": 0.02}
"""Tolerance of probabilities: autocast halves other operators on the CPU."""


def fitted(task: str, store: Path, weights: str, **values: Any) -> dict[str, np.ndarray]:
    """Probabilities of the runs of a bank by run id; features are encoded for each store."""
    with pytest.MonkeyPatch.context() as patch:
        # The second bank must not open the features of the first.
        patch.setenv("MARSBENCH_HOME", str(store / "home"))
        plans = [
            resolve(config(task, store, weights, seed=seed, subset=subset, **values))
            for seed in (0, 1)
            for subset in ("full", "few_shot_2")
        ]
        scores = {}
        for plan, outcome in run_bank(plans):
            assert isinstance(outcome, Outcome), outcome
            scores[plan.run_id] = np.stack(list(Store(store).predictions(plan.run_id)["scores"]))
    return scores


@pytest.mark.parametrize("name", BANKS)
def test_banks_end_as_on_the_cpu(
    name: str,
    task: Callable[[str], str],
    weights: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    values = {"task": "labels", **BANKS[name]}
    path = task(values.pop("task"))
    expected = fitted(path, tmp_path / "cpu", weights, **values)
    monkeypatch.setattr(features, "device_of", lambda config: second())
    with watched() as seen:
        scores = fitted(path, tmp_path / "device", weights, **values)
    assert seen.launches.total() > 100
    assert scores.keys() == expected.keys()
    for run_id, probabilities in expected.items():
        record = Store(tmp_path / "device").find(run_id)
        assert record is not None
        assert record.device.startswith(NAME)
        np.testing.assert_allclose(scores[run_id], probabilities, atol=LOOSE.get(name, 1e-6))


def waits_of_epochs(task: str, place: Path, weights: str, epochs: int, batch: int) -> int:
    with pytest.MonkeyPatch.context() as patch, watched() as seen:
        patch.setattr(features, "device_of", lambda config: second())
        values = {"trainer.max_epochs": epochs, "optim.batch_size": batch, "trainer.patience": None}
        fitted(task, place, weights, **values)
    return seen.waits.total()


def test_steps_of_heads_make_nobody_wait(
    task: Callable[[str], str], weights: str, tmp_path: Path
) -> None:
    """The host waits for epochs and heads, however many steps an epoch has."""
    path = task("labels")
    few = waits_of_epochs(path, tmp_path / "few", weights, 3, 12)
    many = waits_of_epochs(path, tmp_path / "many", weights, 3, 2)
    longer = waits_of_epochs(path, tmp_path / "longer", weights, 4, 12)
    assert many == few
    assert longer - few <= 20
