"""Explain errors of runs: full disks, too little memory, failed compilation.

Of several training processes only the first reports errors. The others leave theirs in a file, as
the first process only notices that another one has ended.
"""

import contextlib
import errno
import json
import os
import shutil
from pathlib import Path

import torch
from torch import distributed

from marsbench.base.documents import parse_json
from marsbench.base.errors import (
    SHARED_MEMORY,
    ConfigError,
    DeviceLostError,
    MarsbenchError,
    StoreError,
    TrainingError,
    causes,
)
from marsbench.base.files import write_text
from marsbench.base.progress import tell
from marsbench.base.reading import read_text
from marsbench.config.schema import RunConfig

_ERROR = ".stopped-"

_NO_MEMORY = ("out of memory", "can't allocate memory", "_status_alloc_failed")
"""Phrases of CUDA, the CPU's allocator, cuBLAS and cuDNN."""

_NO_SHARED_MEMORY = (SHARED_MEMORY, "out of shared memory")
"""Phrases of torch, which also guesses the cause of a bus error."""

_LOST = (
    "an illegal memory access was encountered",
    "an illegal instruction was encountered",
    "device-side assert triggered",
    "unspecified launch failure",
    "misaligned address",
    "hardware stack error",
    "invalid program counter",
    "operation not supported on global/shared address space",
    "the launch timed out and was terminated",
    "uncorrectable ecc error",
    "uncorrectable nvlink error",
    "_status_execution_failed",
    "unknown error",
)
"""Phrases of CUDA errors after which every further call of the process fails alike.

The errors that "leave the process in an inconsistent state" in the CUDA runtime API (error types),
and the failure of a kernel as reported by cuBLAS and cuDNN.
"""

_LIBRARIES = ("cuda", "cudnn", "hip error")
"""Words of every message of a GPU's library, such as "CUDA error: unknown error"."""

_SURVIVED = (
    "invalid argument",
    "invalid configuration argument",
    "invalid device function",
    "invalid device ordinal",
    "no kernel image is available",
    "too many resources requested for launch",
    "operation not supported",
)
"""Phrases of CUDA errors that concern one call; the process can go on using the GPU."""

_CANNOT_WRITE = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EIO}

_GO_ON = (
    "Free space or choose another store=FOLDER; the same command then continues after the last "
    "complete epoch."
)


def explain(error: Exception, config: RunConfig, folder: Path) -> MarsbenchError | None:
    """Explain an error of a run and add a remedy.

    Args:
        error: The error.
        config: The run.
        folder: The run's folder.

    Returns:
        An error with a remedy; None if the error has a remedy already or is unknown.
    """
    if isinstance(error, MarsbenchError):
        return None
    for link in causes(error):
        if isinstance(link, OSError) and link.errno in _CANNOT_WRITE:
            path = Path(str(link.filename)) if link.filename else folder
            if not path.is_relative_to(folder):
                return StoreError(
                    f"{path} cannot be written: {link.strerror}.",
                    "Free disk space or correct the permissions, and run again.",
                )
            return StoreError(
                f"The run cannot write into {folder} ({path.name}): {link.strerror}.", _GO_ON
            )
        if isinstance(link, MemoryError) or _is_out_of_memory(link):
            batch, accumulated = config.optim.batch_size, config.trainer.accumulate_grad_batches
            return TrainingError(
                f"The memory of the device is too small for {config.model} with "
                f"optim.batch_size={batch}.",
                f"Set optim.batch_size={max(batch // 2, 1)} and "
                f"trainer.accumulate_grad_batches={2 * accumulated}, which is the same run and "
                "continues where it stopped, or with batch normalisation a run of its own. Or use "
                "trainer.precision=bf16-mixed.",
            )
        text = str(link)
        if isinstance(link, RuntimeError) and any(words in text for words in _NO_SHARED_MEMORY):
            return TrainingError(
                "The shared memory is too small for the worker processes that load data.",
                "Add workers=0, or enlarge it (/dev/shm; docker run --shm-size=2g).",
            )
        # These writers, in C++ and Rust, give no error number.
        if "PytorchStreamWriter" in text or type(link).__name__ == "SafetensorError":
            existing = next(
                place for place in (folder, *folder.absolute().parents) if place.exists()
            )
            free = shutil.disk_usage(existing).free
            return StoreError(
                f"The run cannot write into {folder}, where {free / 2**20:.1f} MiB are free: "
                f"{text.splitlines()[0][:200]}.",
                _GO_ON,
            )
        if config.compile and type(link).__module__.startswith(("torch._dynamo", "torch._induc")):
            reason = (text.strip().splitlines() or [type(link).__name__])[0]
            return ConfigError(
                f"compile=true: torch.compile fails for {config.model} here ({reason}).",
                "Remove compile=true, or install its requirements (on a CPU a C++ compiler).",
            )
    return None


def is_device_lost(error: BaseException) -> bool:
    """Whether an error, or a cause of the error, leaves this process without its GPU.

    After an illegal memory access, a failed assertion in a kernel or a fault of the hardware, each
    later call fails alike, whatever the run. Only a new process can continue.
    """
    return any(_is_device_lost(link) for link in causes(error))


def _is_device_lost(error: BaseException) -> bool:
    if isinstance(error, DeviceLostError):
        return True
    if not isinstance(error, RuntimeError) or _is_out_of_memory(error):
        return False
    # Later lines are advice about assertions, whatever the error.
    first = (str(error).lower().splitlines() or [""])[0]
    if any(words in first for words in _LOST):
        return any(library in first for library in _LIBRARIES)
    return isinstance(error, torch.AcceleratorError) and not any(
        words in first for words in _SURVIVED
    )


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error, or a cause of the error, is a lack of memory for tensors.

    A lost GPU is none, even where it was lost after a lack of memory.
    """
    return any(_is_out_of_memory(link) for link in causes(error)) and not is_device_lost(error)


def _is_out_of_memory(error: BaseException) -> bool:
    # Other libraries than torch's allocator raise RuntimeError, with only a message.
    text = str(error).lower() if isinstance(error, RuntimeError) else ""
    return isinstance(error, torch.OutOfMemoryError) or any(words in text for words in _NO_MEMORY)


def write_error(error: Exception, explained: MarsbenchError | None, folder: Path) -> None:
    """Leave the error of this process for the first process.

    Args:
        error: The error.
        explained: Its explanation, if known.
        folder: The run's folder.
    """
    known = explained or (error if isinstance(error, MarsbenchError) else None)
    if known is None:
        # Usually a consequence: the first process has ended.
        return
    with contextlib.suppress(OSError):
        write_text(folder / f"{_ERROR}{os.getpid()}", json.dumps([known.problem, known.remedy]))
    if distributed.is_initialized() and distributed.get_backend() == "nccl":
        # The first process waits for a collective until it is killed, so print it here too.
        tell(f"Error: {known}")


def error_of_others(folder: Path) -> TrainingError | None:
    """Read the error left by another process of this run, or None."""
    for path in sorted(folder.glob(f"{_ERROR}*")):
        with contextlib.suppress(OSError, ValueError, TypeError):
            return TrainingError(*parse_json(read_text(path)))
    return None


def remove_errors(folder: Path) -> None:
    """Remove the errors left by processes of earlier attempts."""
    for path in folder.glob(f"{_ERROR}*"):
        path.unlink(missing_ok=True)
