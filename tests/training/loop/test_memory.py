"""Too little memory: half the batch, twice the batches."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

import marsbench
from marsbench.base import environment
from marsbench.base.errors import GpuSharedError, TrainingError
from marsbench.config.schema import RunConfig
from marsbench.plan.resolve import resolve
from marsbench.results.store import Store
from marsbench.training.failures import is_out_of_memory
from marsbench.training.loop.memory import in_smaller_batches
from marsbench.training.loop.module import MarsModule

# Its layers normalise groups of channels, not batches: the size of a batch changes nothing.
MODEL = "timm:test_vit"


def keys(toy: str, store: Path, **more: Any) -> dict[str, Any]:
    values = {"task": toy, "model": MODEL, "mode": "scratch", "store": str(store), "workers": 0}
    return {**values, "optim.batch_size": 12, "trainer.max_epochs": 3, **more}


def only_up_to(
    monkeypatch: pytest.MonkeyPatch, most: int, error: type[Exception], epoch: int = 0
) -> list[int]:
    """Have training fail while a batch is above some size."""
    sizes: list[int] = []
    step = MarsModule.training_step

    def limited(self: MarsModule, batch: Any, *rest: Any) -> Any:
        size = len(batch["sample_id"])
        sizes.append(size)
        if size > most and self.current_epoch >= epoch:
            raise error("CUDA error: out of memory")
        return step(self, batch, *rest)

    monkeypatch.setattr(MarsModule, "training_step", limited)
    return sizes


@pytest.mark.parametrize(
    ("error", "epoch"),
    [
        (torch.OutOfMemoryError, 0),
        (RuntimeError, 2),
        pytest.param(torch.OutOfMemoryError, 2, marks=pytest.mark.slow),
        pytest.param(RuntimeError, 0, marks=pytest.mark.slow),
    ],
)
def test_the_run_is_the_same_in_smaller_batches(
    error: type[Exception], epoch: int, toy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = resolve(RunConfig.from_dict(keys(toy, tmp_path)))
    whole = marsbench.run(**keys(toy, tmp_path / "whole"))
    with monkeypatch.context() as patch:
        sizes = only_up_to(patch, 3, error, epoch)
        record = marsbench.run(**keys(toy, tmp_path / "parts"))
    assert sizes[0] == 12
    assert max(sizes[-4:]) == 3
    assert record.run_id == whole.run_id == plan.run_id
    assert record.config["optim"]["batch_size"] == 3
    assert record.config["trainer"]["accumulate_grad_batches"] == 4
    (note,) = record.data["notes"]
    assert "optim.batch_size=12" in note
    assert "notes" not in whole.data
    assert ("resumed_from_epoch" in record.timing) == (epoch > 0)
    one, other = (Store(tmp_path / name).predictions(record.run_id) for name in ("parts", "whole"))
    pd.testing.assert_frame_equal(one, other, rtol=1e-3, atol=1e-4)
    assert not (tmp_path / "parts" / record.run_id / "failed.json").exists()


def test_one_sample_at_a_time_is_the_end(
    toy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = only_up_to(monkeypatch, 0, torch.OutOfMemoryError)
    with pytest.raises(TrainingError, match="even for one sample at a time"):
        marsbench.run(**keys(toy, tmp_path))
    assert sizes == [12, 6, 3, 1]
    (told,) = tmp_path.rglob("failed.json")
    assert "too small" in told.read_text()


def test_batches_are_not_halved_beside_other_workers(
    toy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sweep runs the unit alone, where the whole batch may fit."""
    sizes = only_up_to(monkeypatch, 6, torch.OutOfMemoryError)
    monkeypatch.setenv(environment.SHARES, "1")
    with pytest.raises(GpuSharedError, match="beside other workers"):
        marsbench.run(**keys(toy, tmp_path))
    assert sizes == [12]
    assert not list(tmp_path.rglob("failed.json"))


def test_other_errors_are_not_repeated(
    toy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = only_up_to(monkeypatch, 0, ZeroDivisionError)
    with pytest.raises(ZeroDivisionError):
        marsbench.run(**keys(toy, tmp_path))
    assert sizes == [12]


@pytest.mark.parametrize(("batch", "smaller"), [(32, 16), (33, 11), (7, 1), (2, 1)])
def test_a_step_keeps_its_samples(batch: int, smaller: int) -> None:
    values = {"task": "frost_cls", "model": "vit", "optim.batch_size": batch}
    config = RunConfig.from_dict({**values, "trainer.accumulate_grad_batches": 3})
    less = in_smaller_batches(config)
    assert less is not None
    assert less.optim.batch_size == smaller
    assert less.effective_batch_size == config.effective_batch_size


def test_what_says_that_memory_does_not_suffice() -> None:
    assert is_out_of_memory(torch.OutOfMemoryError("x"))
    assert is_out_of_memory(RuntimeError("CUBLAS_STATUS_ALLOC_FAILED when calling"))
    assert is_out_of_memory(RuntimeError("DefaultCPUAllocator: can't allocate memory"))
    outer = ValueError("outer")
    outer.__cause__ = RuntimeError("CUDA out of memory. Tried to allocate 2 GiB")
    assert is_out_of_memory(outer)
    assert not is_out_of_memory(ValueError("a book out of memory"))
    assert not is_out_of_memory(RuntimeError("shapes do not fit"))
