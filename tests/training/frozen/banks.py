"""Small runs with cached features, for tests."""

from pathlib import Path
from typing import Any

from marsbench.config.schema import RunConfig
from marsbench.plan.resolve import resolve
from marsbench.results.record import Outcome, RunRecord
from marsbench.training.frozen.bank import run_bank

MODEL = "timm:test_resnet"


def config(toy: str, store: Path, weights: str, **more: Any) -> RunConfig:
    return RunConfig.from_dict(
        {
            "task": toy,
            "model": MODEL,
            "weights": weights,
            "store": str(store),
            "workers": 0,
            "optim.batch_size": 8,
            "trainer.max_epochs": 6,
            **more,
        }
    )


def run_all(configs: list[RunConfig]) -> list[RunRecord]:
    found = {plan.run_id: out for plan, out in run_bank([resolve(one) for one in configs])}
    records = []
    for one in configs:
        outcome = found[resolve(one).run_id]
        assert isinstance(outcome, Outcome), outcome
        records.append(outcome.record)
    return records


def grid(toy: str, store: Path, weights: str, **more: Any) -> list[RunConfig]:
    return [
        config(toy, store, weights, seed=seed, subset=subset, **{"optim.lr": lr}, **more)
        for seed in (0, 1)
        for subset in ("full", "few_shot_2", "partition_0.50")
        for lr in (0.1, 0.001)
    ]
