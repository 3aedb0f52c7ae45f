from pathlib import Path

import pytest
import torch

from marsbench.base.errors import TrainingError, is_disk_full
from marsbench.config.schema import RunConfig
from marsbench.training.failures import explain


def shared_memory_error() -> Exception:
    """Error of torch itself on more shared memory than any machine has."""
    try:
        torch.UntypedStorage._new_using_fd_cpu(1 << 50)
    except RuntimeError as error:
        return error
    raise AssertionError


@pytest.mark.parametrize("is_nested", [False, True])
def test_full_shared_memory_is_not_a_full_disk(is_nested: bool, tmp_path: Path) -> None:
    error = shared_memory_error()
    if is_nested:  # as errors of worker processes arrive
        error = RuntimeError(f"Caught RuntimeError in DataLoader worker process 0.\n{error}")
    explained = explain(error, RunConfig.from_dict({"task": "t", "model": "m"}), tmp_path)
    assert isinstance(explained, TrainingError)
    assert explained.problem.startswith("The shared memory is too small")
    assert "workers=0" in explained.remedy
    explained.__cause__ = error
    assert not is_disk_full(explained)


def test_a_bus_error_of_a_worker_process(tmp_path: Path) -> None:
    error = RuntimeError(
        "DataLoader worker (pid 7) is killed by signal: Bus error. It is possible that "
        "dataloader's workers are out of shared memory. Please try to raise your limit."
    )
    explained = explain(error, RunConfig.from_dict({"task": "t", "model": "m"}), tmp_path)
    assert isinstance(explained, TrainingError)
    assert "--shm-size" in explained.remedy
