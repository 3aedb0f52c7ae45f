"""Tensors of the second device; their numbers are in the memory of the host."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import return_and_correct_aliasing
from torch.utils._pytree import tree_leaves, tree_map

from tests.device.rules import check

NAME = "second"
"""Type of the device."""


def second() -> torch.device:
    """The device, after `tests.device.backend.set_up`."""
    return torch.device(NAME, 0)


class DeviceTensor(torch.Tensor):
    """A tensor on the second device.

    Attributes:
        held: Tensor of the host with its numbers.
    """

    held: Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @staticmethod
    def __new__(cls: type, inner: Tensor) -> "DeviceTensor":
        make: Any = torch.Tensor._make_wrapper_subclass
        made: DeviceTensor = make(
            cls,
            inner.size(),
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            layout=inner.layout,
            device=second(),
        )
        made.held = inner
        return made

    def __repr__(self, **_: Any) -> str:  # type: ignore[override]
        return f"DeviceTensor({self.held!r})"

    def numpy(self, *, force: bool = False) -> Any:
        if not force:
            raise TypeError(f"can't convert {self.device} device type tensor to numpy")
        return self.detach().cpu().numpy()

    def __array__(self, dtype: Any = None) -> Any:
        return self.numpy() if dtype is None else self.numpy().astype(dtype)

    def tolist(self) -> Any:
        return self.detach().cpu().tolist()

    def __format__(self, spec: str) -> str:
        return format(self.item(), spec) if self.dim() == 0 else repr(self)

    def __reduce_ex__(self, protocol: Any) -> Any:
        # Checkpoints are read with map_location="cpu".
        plain: Any = self.held.detach()
        return plain.__reduce_ex__(protocol)

    def __deepcopy__(self, memo: Any) -> Any:
        copied = DeviceTensor(self.held.detach().clone())
        if isinstance(self, nn.Parameter):
            return nn.Parameter(copied, self.requires_grad)
        return copied.requires_grad_(self.requires_grad)

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Check an operator, and carry it out on the inner tensors."""
        kwargs = dict(kwargs or {})
        name = func._schema.name.partition("::")[2]
        check(name, func, args, kwargs, is_on_device)
        device = kwargs.get("device")
        is_to_host = device is not None and torch.device(device).type == "cpu"
        if device is not None:
            kwargs["device"] = torch.device("cpu")
        kwargs.pop("pin_memory", None)
        result = func(*tree_map(inner_of, args), **tree_map(inner_of, kwargs))
        for value in tree_leaves((args, kwargs)):
            if isinstance(value, DeviceTensor) and value.shape != value.held.shape:
                raise NotImplementedError(f"{func} changes the shape of an argument")
        if name in ("copy_", "_copy_from"):
            return args[0] if name == "copy_" else args[1]
        if is_to_host:
            return result
        correct: Any = return_and_correct_aliasing
        return correct(func, args, kwargs, tree_map(_placed, result))


def is_on_device(value: Any) -> bool:
    """Whether a value is a tensor on the device."""
    return isinstance(value, DeviceTensor)


def inner_of(value: Any) -> Any:
    """Tensor of the host for a tensor on the device; other values as they are."""
    return value.held if isinstance(value, DeviceTensor) else value


def _placed(value: Any) -> Any:
    return DeviceTensor(value) if type(value) is torch.Tensor else value
