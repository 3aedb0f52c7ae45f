"""Linear warm-up: rates of the training loop and of cached heads, ids and refusals."""

import math
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl

import marsbench
from marsbench.base.errors import ConfigError
from marsbench.config.schema import RunConfig, SchedulerConfig, SchedulerName
from marsbench.plan.resolve import resolve
from marsbench.training.frozen.optimizers import LearningRate
from marsbench.training.loop.callbacks import ProgressBar

EPOCHS, WARMUP, RATE = 7, 3, 0.01


def expected(name: str) -> list[float]:
    """Rates by the formulas."""
    rates = [RATE * (e + 1) / (WARMUP + 1) for e in range(WARMUP)]
    for after in range(EPOCHS - WARMUP):
        factor = {
            "none": 1.0,
            "cosine": (1 + math.cos(math.pi * after / (EPOCHS - WARMUP))) / 2,
            "step": 0.5 ** (after // 2),
        }[name]
        rates.append(RATE * factor)
    return rates


def keys(toy: str, **more: Any) -> dict[str, Any]:
    return {
        "task": toy,
        "model": "timm:test_resnet",
        "mode": "scratch",
        "workers": 0,
        "optim.lr": RATE,
        "scheduler.step_size": 2,
        "scheduler.gamma": 0.5,
        "trainer.max_epochs": EPOCHS,
        "trainer.patience": None,
        **more,
    }


@pytest.mark.parametrize("name", ["none", "cosine", "step"])
def test_rates_equal_the_formula(
    name: str, toy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates: list[float] = []

    def note(self: ProgressBar, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        rates.append(trainer.optimizers[0].param_groups[0]["lr"])

    monkeypatch.setattr(ProgressBar, "on_train_epoch_start", note, raising=False)
    values = keys(toy, **{"scheduler.name": name, "scheduler.warmup": WARMUP})
    marsbench.run(**values, store=str(tmp_path))
    assert rates == pytest.approx(expected(name))
    schedule = SchedulerConfig(SchedulerName(name), step_size=2, gamma=0.5, warmup=WARMUP)
    cached = LearningRate(RATE, schedule)
    ours = []
    for _ in range(EPOCHS):
        ours.append(cached.now(EPOCHS))
        cached.step(None)
    assert ours == pytest.approx(expected(name))


def test_plateau_waits_for_the_warmup(
    toy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both engines start to count epochs without a better loss after the warm-up."""
    rates: list[float] = []

    def note(self: ProgressBar, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        rates.append(trainer.optimizers[0].param_groups[0]["lr"])

    monkeypatch.setattr(ProgressBar, "on_train_epoch_start", note, raising=False)
    monkeypatch.setattr(
        "marsbench.training.loop.objectives.labels.LabelObjective.val_loss",
        lambda self, outputs: outputs["logits"].sum() * 0 + 1,
    )
    values = keys(toy, **{"scheduler.name": "plateau", "scheduler.warmup": WARMUP})
    marsbench.run(**values | {"scheduler.patience": 0, "store": str(tmp_path)})
    schedule = SchedulerConfig(SchedulerName.PLATEAU, gamma=0.5, patience=0, warmup=WARMUP)
    cached, ours = LearningRate(RATE, schedule), []
    for _ in range(EPOCHS):
        ours.append(cached.now(EPOCHS))
        cached.step(1.0)
    rising = [RATE * (e + 1) / (WARMUP + 1) for e in range(WARMUP)]
    # The first epoch after the warm-up sets the best loss.
    assert ours == pytest.approx([*rising, RATE, RATE, RATE / 2, RATE / 4])
    assert rates == pytest.approx(ours)


def test_a_share_of_the_epochs_is_the_same_run(toy: str) -> None:
    def plan(**more: Any) -> Any:
        return resolve(RunConfig.from_dict(keys(toy, **more)))

    assert "warmup" not in plan().identity["scheduler"]
    assert plan(**{"scheduler.warmup": 0.4}).identity["scheduler"]["warmup"] == 3
    ids = {plan(**{"scheduler.warmup": w}).run_id for w in (0.4, 3, 3.0)}
    assert len(ids) == 1
    assert plan().run_id not in ids


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"scheduler.warmup": 7}, "takes 7 of 7 epochs"),
        ({"scheduler.warmup": 1.5}, "is no whole number of epochs"),
        ({"scheduler.warmup": -1}, "scheduler.warmup"),
        ({"scheduler.warmup": 1, "optim.name": "lbfgs", "mode": "frozen"}, "training in epochs"),
    ],
)
def test_refusals(toy: str, weights: str, more: dict[str, Any], message: str) -> None:
    if "mode" in more:
        more = {**more, "weights": weights}
    with pytest.raises(ConfigError, match=message):
        resolve(RunConfig.from_dict(keys(toy, **more)))
