"""Steps as CUDA graphs: one launch instead of one per operator.

The products of heads are small, so that a GPU takes less time for an operator than the host for its
launch. A graph of all operators of a step is launched at once.
"""

from collections import Counter
from collections.abc import Callable, Hashable
from typing import Any

import torch
from torch import Tensor

from marsbench.base.progress import tell
from marsbench.training.failures import is_device_lost

EAGER = 10
"""Steps of a shape before its capture, which takes as long as some dozens of steps."""

Step = Callable[..., None]


def captured(step: Step, device: torch.device) -> Step:
    """Replay a step as a graph after its first calls; on other devices than CUDA the step itself.

    Args:
        step: A function of tensors on the device. It updates tensors in place that stay where they
            are, and makes no call wait for the device.
        device: The device.
    """
    return _Replayed(step) if device.type == "cuda" else step


class _Replayed:
    """A step, and its graph for each shape of the arguments."""

    is_refused = False
    """Whether a capture failed in this process: later steps stay eager."""

    def __init__(self, step: Step) -> None:
        self._step = step
        self._calls: Counter[Hashable] = Counter()
        self._graphs: dict[Hashable, tuple[torch.cuda.CUDAGraph, list[Tensor]]] = {}
        # Graphs of a step never run at the same time, and nothing reads their memory afterwards.
        self._pool = torch.cuda.graph_pool_handle()
        self._stream: torch.cuda.Stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]

    def __call__(self, *inputs: Tensor) -> None:
        """Step on inputs."""
        shapes = tuple(tensor.shape for tensor in inputs)
        self._calls[shapes] += 1
        if self._calls[shapes] == EAGER + 1 and not self.is_refused:
            self._capture(shapes, inputs)
        if shapes not in self._graphs:
            self._eagerly(inputs)
            return
        graph, buffers = self._graphs[shapes]
        for buffer, given in zip(buffers, inputs, strict=True):
            buffer.copy_(given, non_blocking=True)
        graph.replay()

    def _eagerly(self, inputs: tuple[Tensor, ...]) -> None:
        """Step in the stream of captures, where libraries then have their workspaces."""
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            self._step(*inputs)
        torch.cuda.current_stream().wait_stream(self._stream)

    def _capture(self, shapes: Hashable, inputs: tuple[Tensor, ...]) -> None:
        """Capture the step, which is not carried out; a failure leaves it eager."""
        graph = torch.cuda.CUDAGraph()
        buffers = [tensor.clone() for tensor in inputs]
        options: dict[str, Any] = {"pool": self._pool, "stream": self._stream}
        # Another thread copies finished heads to the host.
        options["capture_error_mode"] = "thread_local"
        try:
            # A failing capture leaves its stream as the current one; the outer context ends that.
            with (
                torch.cuda.stream(torch.cuda.current_stream()),
                torch.cuda.graph(graph, **options),
            ):
                self._step(*buffers)
        except Exception as error:
            if is_device_lost(error):
                raise
            type(self).is_refused = True
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            tell(f"Heads are fitted without CUDA graphs, whose capture failed: {reason}")
        else:
            self._graphs[shapes] = graph, buffers
