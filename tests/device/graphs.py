"""CUDA graphs played on the second device.

A capture notes every operator with its arguments, without effect; a replay carries them out again
on the same tensors. Numbers of the host are part of the notes, as they are part of a CUDA graph.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from marsbench.training.frozen import block, graphs


class Graph(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Operators of a capture."""

    def __init__(self, played: list["Graph"]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._played = played
        self.noted: list[tuple[Any, Any, Any, Any]] = []
        self._before: dict[int, tuple[Tensor, Tensor]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        for argument, value in _arguments(func, args, kwargs):
            if argument.alias_info is not None and argument.alias_info.is_write:
                for tensor in tree_leaves(value):
                    self._before.setdefault(id(tensor), (tensor, tensor.clone()))
        result = func(*args, **kwargs)
        self.noted.append((func, args, kwargs, result))
        return result

    def restore(self) -> None:
        """Undo the effects of the capture."""
        for tensor, before in self._before.values():
            tensor.copy_(before)

    def replay(self) -> None:
        self._played.append(self)
        for func, args, kwargs, result in self.noted:
            again = func(*args, **kwargs)
            if all(value.alias_info is None for value in func._schema.returns):
                for own, new in zip(tree_leaves(result), tree_leaves(again), strict=True):
                    own.copy_(new)


def _arguments(func: Any, args: Any, kwargs: Any) -> Iterator[tuple[Any, Any]]:
    for place, argument in enumerate(func._schema.arguments):
        if place < len(args):
            yield argument, args[place]
        elif argument.name in kwargs:
            yield argument, kwargs[argument.name]


@contextmanager
def capture(graph: Graph, **_: Any) -> Iterator[None]:
    with graph:
        yield
    graph.restore()


class Stream:
    """The only stream."""

    def wait_stream(self, other: "Stream") -> None:
        """Everything is in order."""


def play(patch: pytest.MonkeyPatch, capture: Callable[..., Any] = capture) -> list[Graph]:
    """Fit heads with graphs; returns the graph of every replay, which is added by it."""
    played: list[Graph] = []
    fakes = {
        "CUDAGraph": partial(Graph, played),
        "graph": capture,
        "graph_pool_handle": object,
        "Stream": Stream,
        "current_stream": Stream,
        "stream": lambda _: nullcontext(),
    }
    for name, fake in fakes.items():
        patch.setattr(torch.cuda, name, fake)
    patch.setattr(graphs, "EAGER", 2)
    patch.setattr(graphs._Replayed, "is_refused", False)
    patch.setattr(block, "captured", lambda step, device: graphs._Replayed(step))
    return played
