"""Heads on cached features on the second device: numbers of the CPU."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from marsbench.plan.resolve import resolve
from marsbench.results.record import Outcome
from marsbench.results.store import Store
from marsbench.training.frozen import bank, features, optimum, splits
from marsbench.training.frozen.bank import run_bank
from marsbench.training.frozen.turns import fit_heads
from tests.device.rules import note_copy
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


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("adamw", "planned"),
        ("lbfgs", "planned"),
        ("knn", "planned"),
        ("many", "allocation"),
        ("sgd", "fit"),
    ],
)
def test_features_that_do_not_fit_stay_on_the_host(
    name: str,
    how: str,
    task: Callable[[str], str],
    weights: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(features, "device_of", lambda config: second())
    values = {"task": "labels", **BANKS[name]}
    path = task(values.pop("task"))
    expected = fitted(path, tmp_path / "device", weights, **values)
    capsys.readouterr()
    if how == "planned":
        monkeypatch.setattr(splits, "free_memory", lambda device: 2**20)
        monkeypatch.setattr(bank, "memory_of", lambda *_: 2**20)
    elif how == "allocation":
        monkeypatch.setattr(
            "tests.device.rules.note_copy",
            lambda into, source, **more: (
                full() if is_split(source) else note_copy(into, source, **more)
            ),
        )
    else:

        def crowded(heads: Any, samples: Any, **more: Any) -> Any:
            return full() if samples["val"].is_near else fit_heads(heads, samples, **more)

        monkeypatch.setattr(bank, "fit_heads", crowded)
    scores = fitted(path, tmp_path / "host", weights, **values)
    told = capsys.readouterr().err
    assert told.count("stay on the host") == 1
    assert "test, train, val" in told or "val, test, train" in told
    assert scores.keys() == expected.keys()
    for run_id, probabilities in expected.items():
        # Newton's method sums in another order.
        atol = 1e-6 if name == "lbfgs" else 0
        np.testing.assert_allclose(scores[run_id], probabilities, rtol=0, atol=atol)


def is_split(tensor: torch.Tensor) -> bool:
    """Whether a tensor has features of a split, in contrast to weights of few outputs."""
    return tensor.dim() == 3 and tensor.shape[2] > 30


def full(*_: Any) -> Any:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 40.00 GiB")


def test_small_splits_go_to_the_device_first(
    task: Callable[[str], str], weights: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(features, "device_of", lambda config: second())
    near: dict[str, bool] = {}
    place = splits.Splits.place

    def placed(self: splits.Splits, needs: int) -> None:
        size = self.encoded["val"].features.nbytes
        monkeypatch.setattr(splits, "free_memory", lambda device: int((1.5 * size + needs) / 0.9))
        place(self, needs)
        near.update({name: samples.is_near for name, samples in self.samples.items()})

    monkeypatch.setattr(splits.Splits, "place", placed)
    fitted(task("labels"), tmp_path, weights)
    assert near["val"]
    assert not near["train"]


def test_a_gpu_isolates_no_failing_head(
    task: Callable[[str], str], weights: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """But for a lack of memory."""
    monkeypatch.setattr(features, "device_of", lambda config: second())
    plans = [resolve(config(task("labels"), tmp_path, weights, seed=seed)) for seed in range(8)]
    sizes: list[int] = []

    def failing(error: Exception) -> Callable[..., Any]:
        def fails(heads: Any, *_: Any, **__: Any) -> Any:
            sizes.append(len(heads))
            raise error

        return fails

    monkeypatch.setattr(bank, "fit_heads", failing(ValueError("odd")))
    assert all("odd" in str(outcome) for _, outcome in run_bank(plans))
    assert sizes == [8]
    sizes.clear()
    monkeypatch.setattr(bank, "fit_heads", failing(torch.OutOfMemoryError("out of memory")))
    assert all("trainer.accelerator=cpu" in str(outcome) for _, outcome in run_bank(plans))
    assert sizes[:4] == [8, 4, 2, 1]


@pytest.mark.parametrize("name", ["lbfgs", "knn"])
def test_heads_fitted_one_by_one_fail_alone(
    name: str,
    task: Callable[[str], str],
    weights: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On a GPU as on a CPU."""
    places = {"lbfgs": (optimum, "fit_to_convergence"), "knn": (bank, "fit_neighbours")}
    owner, place = places[name]
    monkeypatch.setattr(features, "device_of", lambda config: second())
    fit = getattr(owner, place)

    def odd(head: Any, *arguments: Any) -> Any:
        if head.seed == 2:
            raise RuntimeError("not positive-definite")
        return fit(head, *arguments)

    monkeypatch.setattr(owner, place, odd)
    path = task("labels")
    plans = [
        resolve(config(path, tmp_path, weights, seed=seed, **BANKS[name])) for seed in range(4)
    ]
    outcomes = {plan.config.seed: outcome for plan, outcome in run_bank(plans)}
    assert [isinstance(outcomes[s], Outcome) for s in range(4)] == [True, True, False, True]


def waits_of_epochs(task: str, place: Path, weights: str, epochs: int, batch: int) -> int:
    with pytest.MonkeyPatch.context() as patch, watched() as seen:
        patch.setattr(features, "device_of", lambda config: second())
        values = {"trainer.max_epochs": epochs, "optim.batch_size": batch, "trainer.patience": None}
        fitted(task, place, weights, **values)
    return seen.waits.total()


def test_steps_of_heads_make_nobody_wait(
    task: Callable[[str], str], weights: str, tmp_path: Path
) -> None:
    """The host waits once for an epoch of each block, however many steps it has."""
    path = task("labels")
    few = waits_of_epochs(path, tmp_path / "few", weights, 3, 12)
    many = waits_of_epochs(path, tmp_path / "many", weights, 3, 2)
    longer = waits_of_epochs(path, tmp_path / "longer", weights, 4, 12)
    assert many == few
    assert longer - few == 2
