from pathlib import Path

import pytest
import torch

from marsbench.base.errors import DeviceLostError, TrainingError, is_disk_full
from marsbench.config.schema import RunConfig
from marsbench.training.failures import explain, is_device_lost, is_out_of_memory


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


ADVICE = "\nCompile with `TORCH_USE_CUDA_DSA` to enable device-side assertions.\n"


@pytest.mark.parametrize(
    "error",
    [
        torch.AcceleratorError("CUDA error: an illegal memory access was encountered" + ADVICE),
        torch.AcceleratorError("CUDA error: device-side assert triggered" + ADVICE),
        torch.AcceleratorError("CUDA error: uncorrectable ECC error encountered" + ADVICE),
        torch.AcceleratorError("CUDA error: an error of a later driver" + ADVICE),
        RuntimeError("CUDA error: unspecified launch failure" + ADVICE),
        RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasSgemm(h)`"),
        RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"),
        DeviceLostError("The GPU is lost."),
    ],
    ids=lambda error: str(error).splitlines()[0],
)
def test_a_lost_device_is_no_lack_of_memory(error: Exception) -> None:
    assert is_device_lost(error)
    assert not is_out_of_memory(error)
    error.__context__ = torch.OutOfMemoryError("CUDA out of memory.")
    later = ValueError()
    later.__cause__ = error
    assert is_device_lost(later)
    assert not is_out_of_memory(later)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB."),
        torch.AcceleratorError("CUDA error: out of memory" + ADVICE),
        torch.AcceleratorError("CUDA error: invalid configuration argument" + ADVICE),
        torch.AcceleratorError("CUDA error: no kernel image is available for execution" + ADVICE),
        RuntimeError("mat1 and mat2 shapes cannot be multiplied"),
        RuntimeError("unknown error"),
        ValueError("CUDA error: unspecified launch failure"),
    ],
    ids=lambda error: str(error).splitlines()[0],
)
def test_other_errors_leave_the_device(error: Exception) -> None:
    assert not is_device_lost(error)
