"""Batch normalisation where a batch has no statistics to give."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


@contextmanager
def without_lone_statistics(model: nn.Module) -> Iterator[None]:
    """Let norms that see a single value per channel use what they have learnt.

    One image pooled to one value per channel has no variance: batch normalisation refuses it,
    and the last batch of an epoch may be that small.
    """
    lone: list[nn.Module] = []

    def look(norm: nn.Module, inputs: tuple[Any, ...]) -> None:
        image: Tensor = inputs[0]
        if image.numel() == image.shape[1]:
            norm.eval()
            lone.append(norm)

    hooks = [
        norm.register_forward_pre_hook(look)
        for norm in model.modules()
        if isinstance(norm, _BatchNorm) and norm.training
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
        for norm in lone:
            norm.train()
