"""Splits of a step are other runs where batch statistics are trained, and only there."""

from pathlib import Path
from typing import Any

import pytest

import marsbench
from marsbench.base.errors import TrainingError
from marsbench.config.schema import RunConfig
from marsbench.plan.resolve import resolve
from marsbench.training.loop.module import MarsModule

SPLITS = {"32 x 1": (32, 1), "8 x 4": (8, 4), "1 x 32": (1, 32)}


def ids(task: str, **more: Any) -> set[str]:
    values = {"task": task, "model": "timm:test_resnet", "mode": "scratch"} | more
    return {
        resolve(
            RunConfig.from_dict(
                {**values, "optim.batch_size": size, "trainer.accumulate_grad_batches": count}
            )
        ).run_id
        for size, count in SPLITS.values()
    }


def test_three_splits_are_three_runs(toy: str, weights: str) -> None:
    assert len(ids(toy)) == 3
    assert len(ids(toy, mode="finetune", weights=weights)) == 3
    assert len(ids(toy, mode="frozen", weights=weights)) == 1
    assert len(ids(toy, model="timm:test_vit")) == 1


def test_a_whole_batch_has_the_id_of_before(toy: str) -> None:
    plan = resolve(RunConfig.from_dict({"task": toy, "model": "resnet18", "mode": "scratch"}))
    assert plan.has_batch_statistics
    assert set(plan.identity["optim"]) == {
        "name",
        "lr",
        "weight_decay",
        "effective_batch_size",
    }


def test_too_little_memory_is_no_other_run(
    toy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise RuntimeError("CUDA error: out of memory")

    monkeypatch.setattr(MarsModule, "training_step", full)
    with pytest.raises(TrainingError) as caught:
        marsbench.run(
            task=toy, model="timm:test_resnet", mode="scratch", store=str(tmp_path), workers=0
        )
    assert "optim.batch_size=16" in str(caught.value)
    assert "a run of its own" in str(caught.value)
