"""Arithmetic of networks: precision of float32 products, and mixed precision."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from marsbench.config.schema import Matmul, Precision, RunConfig

_MIXED = {Precision.BF16_MIXED: torch.bfloat16, Precision.FP16_MIXED: torch.float16}

_backends: Any = torch.backends  # its type stubs lack attributes

_PRODUCTS = (
    _backends.cuda.matmul,
    _backends.cudnn.conv,
    _backends.cudnn.rnn,
    _backends.mkldnn.matmul,
    _backends.mkldnn.conv,
)
"""Places of torch that hold the precision of a kind of product."""


@contextmanager
def products(matmul: Matmul) -> Iterator[None]:
    """Set the precision of float32 products, of matrices and convolutions alike.

    Torch's own default differs between the two on GPUs: matrix products are exact to rounding, and
    convolutions are in TF32.

    Args:
        matmul: highest for IEEE single precision, high for TF32 where the device has it.
    """
    before = [product.fp32_precision for product in _PRODUCTS]
    flags = _matmul_flag(), _backends.cudnn.conv.fp32_precision == "tf32"
    try:
        _set([_NAMES[matmul]] * len(_PRODUCTS), str(matmul), matmul is Matmul.HIGH)
        yield
    finally:
        _set(before, *flags)


_NAMES = {Matmul.HIGHEST: "ieee", Matmul.HIGH: "tf32"}
"""Torch's names; an absent precision ("none") would follow torch.backends.fp32_precision."""


def _set(precisions: list[str], matmul: str, convolution: bool) -> None:
    # Lightning and torch.compile read the earlier flags, which raise errors if the two disagree.
    torch.set_float32_matmul_precision(matmul)
    _backends.cudnn.allow_tf32 = convolution
    for product, precision in zip(_PRODUCTS, precisions, strict=True):
        product.fp32_precision = precision


def _matmul_flag() -> str:
    try:
        return torch.get_float32_matmul_precision()
    except RuntimeError:  # a caller has set only the later flags
        return "highest"


@contextmanager
def arithmetic(config: RunConfig, device: torch.device) -> Iterator[None]:
    """Compute as a run does: precision of products, and mixed precision if requested.

    Args:
        config: The run.
        device: The device.
    """
    mixed = _MIXED.get(config.trainer.precision)
    with (
        products(config.trainer.matmul),
        torch.autocast(device.type, dtype=mixed, enabled=mixed is not None),
    ):
        yield
