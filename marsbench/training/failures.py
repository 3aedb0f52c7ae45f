"""Explain errors of runs: full disks, too little memory, lost GPUs, failed compilation.

Of several training processes only the first reports errors. The others leave theirs in a file, as
the first process only notices that another one has ended.
"""

import contextlib
import errno
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import distributed

from marsbench.base import environment
from marsbench.base.documents import parse_json
from marsbench.base.errors import (
    SHARED_MEMORY,
    ConfigError,
    DeviceLostError,
    GpuSharedError,
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

_NO_MEMORY = (
    "out of memory",
    "can't allocate memory",
    "cannot allocate memory",
    "_alloc_failed",
    "_allocation_failed",
)
"""Phrases of CUDA, the CPU's allocator, the system, cuBLAS and cuDNN."""

_PERHAPS_NO_MEMORY = (
    "_status_not_initialized",
    "unable to find an engine to execute this computation",
    "unable to find a valid cudnn algorithm",
)
"""Phrases of cuBLAS and cuDNN for a lack of memory among other causes, such as wrong libraries.

They count as a lack of memory if little is free (pytorch/pytorch issue 108645).
"""

LITTLE = 2**30
"""Bytes: less free memory of a GPU is little. cuDNN asks for workspaces of up to this size."""

_NO_SHARED_MEMORY = (SHARED_MEMORY, "out of shared memory")
"""Phrases of torch, which also guesses the cause of a bus error."""

_KILLED = "is killed by signal: Killed"
"""Phrase of torch on a worker process ended by the system."""

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
    "saved epoch."
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
    if (known := explain_machine(error)) is not None:
        return known
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
        is_memory = isinstance(link, OSError) and link.errno == errno.ENOMEM
        if is_memory or isinstance(link, MemoryError) or _is_out_of_memory(link):
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


def explain_machine(error: Exception) -> MarsbenchError | None:
    """Explain an error of the machine: a lost GPU, killed or starved worker processes.

    Args:
        error: The error, of training, encoding, evaluation or prediction.

    Returns:
        An error with a remedy; None if the error has a remedy already or is another one.
    """
    if isinstance(error, DeviceLostError):
        return None
    if is_device_lost(error):
        first = next(link for link in causes(error) if _is_device_lost(link))
        if _is_out_of_memory(first):
            return GpuSharedError(
                f"Too little memory is left beside other workers: {str(first).splitlines()[0]}",
                "The sweep will run its unit alone; launcher.per_gpu=1 does so from the start.",
            )
        return DeviceLostError(
            f"The GPU failed: {str(first).splitlines()[0].rstrip('.')}.",
            "This process cannot use it any more. Give the same command again: a new process "
            "continues. If it fails again, look for Xid messages in `dmesg`, use another GPU, or "
            "set CUDA_LAUNCH_BLOCKING=1 to learn the operator.",
        )
    if isinstance(error, MarsbenchError):
        return None
    texts = [str(link) for link in causes(error) if isinstance(link, RuntimeError)]
    if any(words in text for text in texts for words in _NO_SHARED_MEMORY):
        return TrainingError(
            "The shared memory is too small for the worker processes that load data.",
            "Add workers=0, or enlarge it (/dev/shm; docker run --shm-size=2g).",
        )
    if any(_KILLED in text for text in texts):
        return TrainingError(
            "The system killed a worker process that loads data, mostly for lack of memory.",
            "Set fewer workers (workers=1), or grant the job more memory.",
        )
    return None


@contextlib.contextmanager
def explaining_machine() -> Iterator[None]:
    """Raise errors of the machine with a remedy; others pass unchanged."""
    try:
        yield
    except Exception as error:
        if (known := explain_machine(error)) is None:
            raise
        raise known from error


def is_device_lost(error: BaseException) -> bool:
    """Whether an error, or a cause of the error, leaves this process without its GPU.

    After an illegal memory access, a failed assertion in a kernel or a fault of the hardware, each
    later call fails alike, whatever the run. Only a new process can continue. So does a lack of
    memory of a worker that shares its GPU: smaller batches would make room for the other workers.
    """
    return any(_is_device_lost(link) for link in causes(error))


def _is_device_lost(error: BaseException) -> bool:
    if isinstance(error, DeviceLostError):
        return True
    if not isinstance(error, RuntimeError):
        return False
    if _is_out_of_memory(error):
        return environment.shares_gpu()
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
    if isinstance(error, torch.OutOfMemoryError) or any(words in text for words in _NO_MEMORY):
        return True
    return any(words in text for words in _PERHAPS_NO_MEMORY) and _is_nearly_full()


def _is_nearly_full() -> bool:
    """Whether little memory of this process's GPU is free, of whichever process the rest is.

    Blocks that torch keeps for later count as used: the libraries of these errors ask the driver.
    """
    if not torch.cuda.is_available():
        return False
    try:
        free, _ = torch.cuda.mem_get_info()
    except RuntimeError:  # a lost GPU answers nothing
        return False
    return free < LITTLE


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
    is_lost = isinstance(known, DeviceLostError)
    with contextlib.suppress(OSError):
        text = json.dumps([known.problem, known.remedy, is_lost])
        write_text(folder / f"{_ERROR}{os.getpid()}", text)
    if distributed.is_initialized() and distributed.get_backend() == "nccl":
        # The first process waits for a collective until it is killed, so print it here too.
        tell(f"Error: {known}")


def error_of_others(folder: Path) -> MarsbenchError | None:
    """Read the error left by another process of this run, or None."""
    for path in sorted(folder.glob(f"{_ERROR}*")):
        with contextlib.suppress(OSError, ValueError, TypeError):
            problem, remedy, is_lost = parse_json(read_text(path))
            return (DeviceLostError if is_lost else TrainingError)(problem, remedy)
    return None


def remove_errors(folder: Path) -> None:
    """Remove the errors left by processes of earlier attempts."""
    for path in folder.glob(f"{_ERROR}*"):
        path.unlink(missing_ok=True)
