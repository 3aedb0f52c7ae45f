import re
from pathlib import Path

import pytest
import torch

from marsbench.base.errors import DataError, DeviceLostError, TrainingError, is_disk_full
from marsbench.config.schema import RunConfig
from marsbench.training.failures import (
    LITTLE,
    error_of_others,
    explain,
    explain_machine,
    explaining_machine,
    is_device_lost,
    is_out_of_memory,
    write_error,
)


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


@pytest.mark.parametrize(
    ("words", "remedy"),
    [
        (
            "Bus error. It is possible that dataloader's workers are out of shared memory.",
            "--shm-size",
        ),
        ("Killed. ", "Set fewer workers"),
    ],
    ids=["bus", "killed"],
)
def test_a_killed_worker_process(words: str, remedy: str, tmp_path: Path) -> None:
    error = RuntimeError("DataLoader worker (pid(s) 7) exited unexpectedly")
    error.__cause__ = RuntimeError(f"DataLoader worker (pid 7) is killed by signal: {words}")
    config = RunConfig.from_dict({"task": "t", "model": "m"})
    explained = explain(error, config, tmp_path)
    assert isinstance(explained, TrainingError)
    assert remedy in explained.remedy
    with pytest.raises(TrainingError, match=re.escape(explained.problem)), explaining_machine():
        raise error


def test_other_errors_pass_unchanged() -> None:
    error = DataError("An image is damaged.")
    with pytest.raises(DataError) as raised, explaining_machine():
        raise error
    assert raised.value is error


@pytest.mark.parametrize("is_lost", [True, False])
def test_errors_of_other_processes_keep_their_kind(is_lost: bool, tmp_path: Path) -> None:
    kind = DeviceLostError if is_lost else TrainingError
    write_error(ValueError(), kind("A problem.", "A remedy."), tmp_path)
    error = error_of_others(tmp_path)
    assert type(error) is kind
    assert (error.problem, error.remedy) == ("A problem.", "A remedy.")


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
    # A library may have explained it as a fault of its input.
    as_data = DataError("The encoder fails.")
    as_data.__cause__ = error
    explained = explain_machine(as_data)
    assert isinstance(explained, DeviceLostError)
    assert str(error).splitlines()[0].rstrip(".") in explained.problem


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


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB."),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"),
        RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED"),
        RuntimeError(
            "unable to mmap 154 bytes from file </torch_1_2>: Cannot allocate memory (12)"
        ),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."),
    ],
    ids=str,
)
def test_words_of_a_lack_of_memory(error: Exception) -> None:
    assert is_out_of_memory(error)
    assert not is_device_lost(error)


@pytest.mark.parametrize(
    "words",
    [
        "CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`",
        "cuDNN error: CUDNN_STATUS_NOT_INITIALIZED",
        "GET was unable to find an engine to execute this computation",
        "FIND was unable to find an engine to execute this computation",
        "Unable to find a valid cuDNN algorithm to run convolution",
    ],
)
def test_words_of_several_causes_count_if_little_memory_is_free(
    words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = RuntimeError(words)
    assert not is_out_of_memory(error)  # without a GPU
    free = LITTLE - 1
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (free, 80 * 2**30))
    assert is_out_of_memory(error)
    assert not is_out_of_memory(RuntimeError("shapes do not fit"))
    free = LITTLE
    assert not is_out_of_memory(error)

    def lost() -> None:
        raise torch.AcceleratorError("CUDA error: unspecified launch failure")

    monkeypatch.setattr(torch.cuda, "mem_get_info", lost)
    assert not is_out_of_memory(error)
