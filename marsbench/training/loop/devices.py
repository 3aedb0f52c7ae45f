"""Devices of runs with cached features, and their memory."""

import torch
from torch import Tensor

from marsbench.base import environment
from marsbench.base.errors import ConfigError
from marsbench.config.schema import RunConfig


def device_of(config: RunConfig) -> torch.device:
    """Choose the device of a run with cached features, or without training.

    Raises:
        ConfigError: If the requested device is not available.
    """
    wanted = config.trainer.accelerator
    if wanted in ("gpu", "cuda") and not torch.cuda.is_available():
        raise ConfigError(
            f"trainer.accelerator={wanted} is not available: no CUDA device was found.",
            "Remove it, or see `marsbench doctor`.",
        )
    if wanted not in ("auto", "cpu", "gpu", "cuda"):
        raise ConfigError(
            f"trainer.accelerator={wanted} is invalid for cached features and "
            "mode=zero_shot; expected auto, cpu or gpu.",
            "Choose one of these, or protocol=online.",
        )
    return torch.device("cuda" if wanted != "cpu" and torch.cuda.is_available() else "cpu")


def device_name(device: torch.device) -> str:
    """Readable name of a device."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type} ({torch.get_num_threads()} threads)"


def reset_peak_memory(device: torch.device) -> None:
    """Start to measure the peak memory of a device; leaves CUDA alone for other devices."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def peak_memory(device: torch.device) -> dict[str, int]:
    """Peak memory in bytes of the process (``host``) and of the device.

    ``device`` is the memory of tensors, ``device_reserved`` that held by torch's allocator.
    """
    peak = {"host": environment.peak_host_memory()}
    if device.type == "cuda":
        peak["device"] = torch.cuda.max_memory_allocated(device)
        peak["device_reserved"] = torch.cuda.max_memory_reserved(device)
    return peak


def free_memory(device: torch.device) -> int | None:
    """Bytes of a device that new tensors can take; None for the host."""
    if device.type != "cuda":
        return None
    free, _ = torch.cuda.mem_get_info(device)
    # Torch keeps the memory of freed tensors.
    return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)


def release_memory(device: torch.device) -> None:
    """Give the memory of freed tensors back to a device."""
    if device.type == "cuda":
        torch.cuda.empty_cache()


def staging(rows: int, columns: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Make an empty tensor (rows, columns) of the host, from which copies to a device are fast.

    Of pinned memory, if the device is a GPU: the copy does not block the host. Torch reuses the
    memory only after the copy.
    """
    return torch.empty(rows, columns, dtype=dtype, pin_memory=device.type == "cuda")


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """Copy a tensor of the host to a device, without waiting for the device."""
    if device.type == "cuda":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)
