"""Where a run computes."""

import torch

from marsbench.base import environment
from marsbench.base.errors import ConfigError
from marsbench.config.schema import RunConfig


def device_of(config: RunConfig) -> torch.device:
    """Choose where a run with cached features computes.

    Raises:
        ConfigError: If the device asked for is not here.
    """
    wanted = config.trainer.accelerator
    if wanted in ("gpu", "cuda") and not torch.cuda.is_available():
        raise ConfigError(
            f"trainer.accelerator={wanted}: no CUDA device is here.",
            "Leave it out, or see `marsbench doctor`.",
        )
    if wanted not in ("auto", "cpu", "gpu", "cuda"):
        raise ConfigError(
            f"trainer.accelerator={wanted} is not for cached features.",
            "Choose auto, cpu or gpu, or protocol=online.",
        )
    return torch.device("cuda" if wanted != "cpu" and torch.cuda.is_available() else "cpu")


def device_name(device: torch.device) -> str:
    """Name a device for people."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type} ({torch.get_num_threads()} threads)"


def peak_memory(device: torch.device) -> dict[str, int]:
    """Give the peak bytes of the process (host) and of the device."""
    peak = {"host": environment.peak_host_memory()}
    if device.type == "cuda":
        peak["device"] = torch.cuda.max_memory_allocated(device)
    return peak
