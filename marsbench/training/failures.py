"""What stops a run, in words: full disks and memories, models that cannot be translated.

Of several training processes the first speaks for all. What stops another one is left in a file
for it, since all that the first sees is that the other has gone.
"""

import contextlib
import errno
import json
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import distributed

from marsbench.base.errors import ConfigError, MarsbenchError, StoreError, TrainingError
from marsbench.base.files import write_text
from marsbench.config.schema import RunConfig

_WORD = ".stopped-"

_NO_MEMORY = ("out of memory", "can't allocate memory", "_status_alloc_failed")
"""Words of CUDA, of the CPU's allocator, of cuBLAS and cuDNN."""

_CANNOT_WRITE = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EIO}

_GO_ON = (
    "Make room or choose another store=FOLDER; the same command then goes on from the last whole "
    "epoch."
)


def explain(error: Exception, config: RunConfig, folder: Path) -> MarsbenchError | None:
    """Find the words for an error that stopped a run.

    Args:
        error: What was raised.
        config: The run.
        folder: The run's folder.

    Returns:
        An error that says what to do; None where the error says so itself, or nobody knows.
    """
    if isinstance(error, MarsbenchError):
        return None
    for link in _chain(error):
        if isinstance(link, OSError) and link.errno in _CANNOT_WRITE:
            path = Path(str(link.filename)) if link.filename else folder
            if not path.is_relative_to(folder):
                return StoreError(f"{path}: {link.strerror}.", "Mend that and run again.")
            return StoreError(
                f"The run cannot write into {folder} ({path.name}): {link.strerror}.", _GO_ON
            )
        if isinstance(link, MemoryError) or _is_out_of_memory(link):
            batch, accumulated = config.optim.batch_size, config.trainer.accumulate_grad_batches
            return TrainingError(
                f"The device has too little memory for {config.model} with "
                f"optim.batch_size={batch}.",
                f"Set optim.batch_size={max(batch // 2, 1)} and "
                f"trainer.accumulate_grad_batches={2 * accumulated}: the run is then the same, but "
                "for batch normalisation, and goes on where it stopped. Or use "
                "trainer.precision=bf16-mixed.",
            )
        # These two write in C++ and Rust and give no error number.
        text = str(link)
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
                f"compile=true: torch.compile cannot translate {config.model} here ({reason}).",
                "Leave compile out, or install what it needs (a C++ compiler on a CPU).",
            )
    return None


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error, or what it came from, says that memory for tensors did not suffice."""
    return any(_is_out_of_memory(link) for link in _chain(error))


def _is_out_of_memory(error: BaseException) -> bool:
    # Libraries beside torch's own allocator raise RuntimeError, and say it in words alone.
    text = str(error).lower() if isinstance(error, RuntimeError) else ""
    return isinstance(error, torch.OutOfMemoryError) or any(words in text for words in _NO_MEMORY)


def leave_word(error: Exception, explained: MarsbenchError | None, folder: Path) -> None:
    """Tell the first process what stopped this one.

    Args:
        error: What was raised.
        explained: The same in words, if there are any.
        folder: The run's folder.
    """
    known = explained or (error if isinstance(error, MarsbenchError) else None)
    if known is None:
        # Mostly an echo: the first process has gone, and this one notices.
        return
    with contextlib.suppress(OSError):
        write_text(folder / f"{_WORD}{os.getpid()}", json.dumps([known.problem, known.remedy]))
    if distributed.is_initialized() and distributed.get_backend() == "nccl":
        # The first process waits for a collective until it is killed: better said twice.
        sys.stderr.write(f"Error: {known}\n")


def word_of_others(folder: Path) -> TrainingError | None:
    """What stopped another process of this run; None if none left word."""
    for path in sorted(folder.glob(f"{_WORD}*")):
        with contextlib.suppress(OSError, ValueError):
            return TrainingError(*json.loads(path.read_text()))
    return None


def forget_words(folder: Path) -> None:
    """Remove what processes of earlier attempts left."""
    for path in folder.glob(f"{_WORD}*"):
        path.unlink(missing_ok=True)


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An error and those it came from."""
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        yield link
        link = link.__cause__ or link.__context__
