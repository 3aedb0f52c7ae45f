"""Shared parts of networks: frozen backbones, batches of a single image."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


class Model(nn.Module):
    """A network whose backbone can be frozen.

    Attributes:
        adapter: From images to the input of the network.
        frozen_prefix: Prefix, or prefixes, of the backbone's tensors in `state_dict`.
        is_frozen: Whether the backbone is frozen.
    """

    adapter: nn.Module
    frozen_prefix: str | tuple[str, ...]
    is_frozen = False

    def name_classes(self, names: Sequence[str]) -> None:
        """Take the class names in the order of their ids; most models need none."""

    def freeze_backbone(self) -> None:
        """Fix every backbone tensor, running statistics included."""
        self.is_frozen = True
        for module in self._frozen_modules():
            module.requires_grad_(False)
            module.eval()

    def train(self, mode: bool = True) -> Self:
        """Switch to training mode; a frozen backbone stays in evaluation mode."""
        super().train(mode)
        if self.is_frozen:
            for module in self._frozen_modules():
                module.eval()
        return self

    def _frozen_modules(self) -> list[nn.Module]:
        prefixes = self.frozen_prefix
        prefixes = (prefixes,) if isinstance(prefixes, str) else prefixes
        return [self.get_submodule(prefix.rstrip(".")) for prefix in prefixes]


def on_meta(build: Callable[[], nn.Module]) -> nn.Module:
    """Build a model, if possible on the meta device, without memory for weights."""
    try:
        with torch.device("meta"):
            return build()
    except (NotImplementedError, RuntimeError):
        return build()  # some models compute with weights or widths while being built


def has_batch_statistics(module: nn.Module) -> bool:
    """Whether training the module normalises by statistics of a batch.

    Fixed parts of a frozen model, which `train` leaves in evaluation mode, do not count.
    """
    return any(isinstance(part, _BatchNorm) for part in module.train().modules() if part.training)


@contextmanager
def plain_kernels() -> Iterator[None]:
    """Use the kernels of non-deterministic mode.

    In deterministic mode some operators are replaced by much slower ones on a GPU, also where
    their own kernels are deterministic.
    """
    before = torch.are_deterministic_algorithms_enabled()
    warns = torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(False)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before, warn_only=warns)


@contextmanager
def without_lone_statistics(model: nn.Module) -> Iterator[None]:
    """Use running statistics in batch normalisation of a single value per channel.

    One image pooled to one value per channel has no variance: batch normalisation refuses it,
    and the last batch of an epoch may be that small.
    """
    lone: list[nn.Module] = []

    def check(norm: nn.Module, inputs: tuple[Any, ...]) -> None:
        image: Tensor = inputs[0]
        if image.numel() == image.shape[1]:
            norm.eval()
            lone.append(norm)

    hooks = [
        norm.register_forward_pre_hook(check)
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
