"""Launches of the second device, and the places where the host waits for it."""

import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType
from typing import NamedTuple

import torch

Wait = tuple[str, str]
"""Cause of a wait, and the innermost line of marsbench."""


class Cost(NamedTuple):
    """Costs of a part of a run.

    Attributes:
        launches: Number of operators that a GPU would start kernels for.
        waits: Number of times that the host would wait for the GPU.
    """

    launches: int
    waits: int


@dataclass
class Seen:
    """Events on the device.

    Attributes:
        launches: Launches by operator.
        waits: Waits of the host.
        copied: Bytes copied from the host to the device, by type of the numbers.
    """

    launches: Counter[str] = field(default_factory=Counter)
    waits: Counter[Wait] = field(default_factory=Counter)
    copied: Counter[torch.dtype] = field(default_factory=Counter)

    @property
    def cost(self) -> Cost:
        """Costs up to now."""
        return Cost(self.launches.total(), self.waits.total())


_ACTIVE: list[Seen] = []
# Autograd has a thread of its own.
_LOCK = threading.Lock()


@contextmanager
def watched() -> Iterator[Seen]:
    """Note the events on the device."""
    seen = Seen()
    _ACTIVE.append(seen)
    try:
        yield seen
    finally:
        _ACTIVE.remove(seen)


def launch(name: str) -> None:
    """Note the launch of an operator."""
    with _LOCK:
        for seen in _ACTIVE:
            seen.launches[name] += 1


def wait(cause: str) -> None:
    """Note a wait of the host."""
    place = _place()
    with _LOCK:
        for seen in _ACTIVE:
            seen.waits[cause, place] += 1


def copy_to_device(source: torch.Tensor) -> None:
    """Note the bytes of a copy from the host."""
    with _LOCK:
        for seen in _ACTIVE:
            seen.copied[source.dtype] += source.nbytes


def _place() -> str:
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        path = frame.f_code.co_filename
        if "/marsbench/" in path and "/site-packages/" not in path:
            return f"{path.rpartition('/marsbench/')[2]}:{frame.f_lineno}"
        frame = frame.f_back
    return "outside of marsbench"
