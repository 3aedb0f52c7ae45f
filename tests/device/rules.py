"""Rules of CUDA for the operators of a device: errors, launches and waits."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from tests.device.watching import copy_to_device, launch, wait

IsOnDevice = Callable[[Any], bool]

SCALARS = {"masked_fill", "masked_fill_", "fill", "fill_", "index_fill", "index_fill_", "where"}
"""Operators that take scalars of the host; pointwise ones do too."""

INDEXED = {"index", "_unsafe_index"}
PUT = {"index_put", "index_put_", "_index_put_impl_", "_unsafe_index_put"}

ASKED = {
    "_local_scalar_dense": "item",
    "nonzero": "nonzero",
    "masked_select": "masked_select",
    "_unique2": "unique",
    "unique_dim": "unique",
    "unique_consecutive": "unique",
    "equal": "equal",
    "bincount": "bincount",
    "nms": "nms",
}
"""Operators with results, or shapes, that the host asks the device for."""

COMPILED = {"roi_align"}
"""Operators that torchvision replaces by compiled Python on CUDA, in deterministic mode."""


def check(name: str, func: Any, args: Any, kwargs: Mapping[str, Any], is_on: IsOnDevice) -> None:
    """Raise the errors of CUDA, and note launches and waits.

    Args:
        name: Name of the operator.
        func: The operator.
        args: Its arguments.
        kwargs: Its keyword arguments.
        is_on: Whether a value is a tensor on the device.

    Raises:
        RuntimeError: If values of the host and the device must not meet in this operator.
    """
    _check_generator(kwargs.get("generator"))
    if name in COMPILED and torch.are_deterministic_algorithms_enabled():
        raise RuntimeError(f"{name} is compiled Python in deterministic mode")
    if name == "_to_copy":
        _note_conversion(kwargs)
    elif name == "copy_":
        note_copy(*args[:2], is_free=_is_free(args, kwargs), is_on=is_on)
    elif name in INDEXED | PUT:
        _check_indices(name, args, is_on)
    else:
        _check_places(name, func, args, kwargs, is_on)
    if name in ASKED:
        wait(ASKED[name])
    if name == "repeat_interleave" and kwargs.get("output_size") is None:
        wait("repeat_interleave")
    if not _is_view(func):
        launch(name)


def note_copy(into: Any, source: Any, *, is_free: bool, is_on: IsOnDevice) -> None:
    """Note a copy between host and device: its bytes to the device, and the wait of the host."""
    if not is_on(into):
        wait("to host")
    elif not is_on(source):
        copy_to_device(source)
        if not is_free:
            wait("to device")


def _note_conversion(kwargs: Mapping[str, Any]) -> None:
    device = kwargs.get("device")
    if device is not None and torch.device(device).type == "cpu":
        wait("to host")


def _is_free(args: Any, kwargs: Mapping[str, Any]) -> bool:
    """Whether the host goes on during a copy to the device."""
    return bool(kwargs.get("non_blocking") or (len(args) > 2 and args[2]))


def _is_view(func: Any) -> bool:
    aliases = [argument.alias_info for argument in func._schema.arguments]
    return any(alias is not None and not alias.is_write for alias in aliases)


def _check_generator(generator: torch.Generator | None) -> None:
    if generator is not None and generator.device.type == "cpu":
        raise RuntimeError("a generator of the host cannot draw on the device")


def _check_places(
    name: str, func: Any, args: Any, kwargs: Mapping[str, Any], is_on: IsOnDevice
) -> None:
    """Refuse tensors of the host among those of the device, but for scalars that are only read."""
    others = {key: value for key, value in kwargs.items() if key != "generator"}
    tensors = [value for value in tree_leaves((args, others)) if isinstance(value, Tensor)]
    strangers = [tensor for tensor in tensors if not is_on(tensor)]
    if not strangers or len(strangers) == len(tensors):
        return
    takes_scalars = torch.Tag.pointwise in func.tags or name in SCALARS
    is_written = name.endswith("_") and not name.startswith("_foreach") and not is_on(args[0])
    if is_written or not takes_scalars or any(tensor.dim() for tensor in strangers):
        raise _mixed(name)


def _check_indices(name: str, args: Sequence[Any], is_on: IsOnDevice) -> None:
    source, indices = args[0], [index for index in args[1] if index is not None]
    if not is_on(source) and any(is_on(index) for index in indices):
        raise RuntimeError("indices on the device cannot index a tensor of the host")
    for index in indices:
        if index.dtype in (torch.bool, torch.uint8):
            wait("mask as index")
        elif is_on(source) and not is_on(index):
            wait("index of the host")
    if name in PUT and is_on(args[2]) != is_on(source) and args[2].dim() > 0:
        raise _mixed(name)


def _mixed(name: str) -> RuntimeError:
    return RuntimeError(
        f"Expected all tensors to be on the same device, but {name} has tensors of the host and "
        "of the second device"
    )
