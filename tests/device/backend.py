"""Registration of the second device with torch.

It takes torch's key for devices of other packages, which a process cannot give back: tests of the
device run in a process of their own.
"""

import importlib
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from tests.device.rules import note_copy
from tests.device.tensors import NAME, DeviceTensor, inner_of, is_on_device

MADE = ("arange", "arange.start", "arange.start_step", "linspace", "eye", "eye.m")
"""Operators that make a tensor of numbers."""

LOWER = (
    "mm",
    "addmm",
    "bmm",
    "baddbmm",
    "addmv",
    "linear",
    "matmul",
    "convolution",
    "conv1d",
    "conv2d",
    "conv_transpose2d.input",
    "scaled_dot_product_attention",
)
"""Operators in half precision under autocast."""

UPPER = (
    "softmax.int",
    "log_softmax.int",
    "cross_entropy_loss",
    "layer_norm",
    "native_layer_norm",
    "group_norm",
    "binary_cross_entropy_with_logits",
    "nll_loss",
    "nll_loss_nd",
    "smooth_l1_loss",
)
"""Operators in single precision under autocast."""


class Runtime:
    """The device's counterpart of `torch.cuda`."""

    def is_initialized(self) -> bool:
        return True

    def is_available(self) -> bool:
        return True

    def _is_in_bad_fork(self) -> bool:
        return False

    def current_device(self) -> int:
        return 0

    def device_count(self) -> int:
        return 1

    def manual_seed_all(self, seed: int) -> None:
        """Numbers are drawn by the host's generator."""

    def get_rng_state(self, device: Any = None) -> Tensor:
        return torch.zeros(1, dtype=torch.uint8)

    def set_rng_state(self, state: Tensor, device: Any = None) -> None:
        """Nothing to restore."""

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16, torch.float16]


@cache
def set_up() -> list[Any]:
    """Register the device in this process; returns the libraries, which must stay alive."""
    from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

    _setup_privateuseone_for_python_backend(NAME, Runtime())
    library: Any = torch.library.Library
    own, others = library("aten", "IMPL"), library("_", "IMPL")
    for name in MADE:
        own.impl(name, partial(_made, _operator(name)), "PrivateUse1")
    own.impl("empty.memory_format", _empty, "PrivateUse1")
    own.impl("empty_strided", _empty_strided, "PrivateUse1")
    own.impl("_copy_from", _copy_from, "PrivateUse1")
    for is_lower, names in ((True, LOWER), (False, UPPER)):
        for name in names:
            own.impl(name, partial(_cast, _operator(name), is_lower), "AutocastPrivateUse1")
    others.fallback(torch.library.fallthrough_kernel, "AutocastPrivateUse1")
    # Optimisers take all parameters at once, as on a GPU.
    importlib.import_module("torch.optim.optimizer")._foreach_supported_types.append(DeviceTensor)
    # The host's memory serves as pinned memory.
    torch.Tensor.pin_memory = lambda self, *_: self  # type: ignore[method-assign]
    return [own, others]


def _operator(name: str) -> Any:
    packet, _, overload = name.partition(".")
    return getattr(getattr(torch.ops.aten, packet), overload or "default")


def _made(operator: Any, *args: Any, dtype: Any = None, **_: Any) -> Tensor:
    return DeviceTensor(operator(*args, dtype=dtype, device="cpu"))


def _empty(size: Any, dtype: Any = None, memory_format: Any = None, **_: Any) -> Tensor:
    layout = memory_format or torch.contiguous_format
    dtype = dtype or torch.get_default_dtype()
    return DeviceTensor(torch.empty(size, dtype=dtype, memory_format=layout))


def _empty_strided(size: Any, stride: Any, dtype: Any = None, **_: Any) -> Tensor:
    dtype = dtype or torch.get_default_dtype()
    return DeviceTensor(torch.empty_strided(size, stride, dtype=dtype))


def _copy_from(source: Tensor, into: Tensor, non_blocking: bool = False) -> Tensor:
    """Copy between host and device, for example in ``torch.tensor(numbers, device=...)``."""
    note_copy(into, source, is_free=non_blocking, is_on=is_on_device)
    inner_of(into).copy_(inner_of(source))
    return into


def _cast(operator: Any, is_lower: bool, *args: Any, **kwargs: Any) -> Any:
    """Carry out an operator in its precision under autocast."""
    keys: Any = torch._C.DispatchKey
    key = torch._C.DispatchKeySet(keys.AutocastPrivateUse1)
    dtype = torch.get_autocast_dtype(NAME) if is_lower else torch.float32

    def cast(value: Any) -> Any:
        is_float = isinstance(value, Tensor) and value.is_floating_point()
        return value.to(dtype) if is_float and value.dtype != torch.float64 else value

    with torch._C._ExcludeDispatchKeyGuard(key):
        return operator(*tree_map(cast, args), **tree_map(cast, kwargs))
