"""What libraries raise when a disk is full or a model cannot be translated, in words."""

import errno
import shutil
from collections.abc import Iterator
from pathlib import Path

from marsbench.config import RunConfig
from marsbench.errors import ConfigError, MarsbenchError, StoreError

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
            where = f" ({link.filename})" if link.filename else ""
            return StoreError(
                f"The run cannot write into {folder}{where}: {link.strerror}.", _GO_ON
            )
        # These two write in C++ and Rust and give no error number.
        text = str(link)
        if "PytorchStreamWriter" in text or type(link).__name__ == "SafetensorError":
            free = shutil.disk_usage(folder).free
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


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An error and those it came from."""
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        yield link
        link = link.__cause__ or link.__context__
