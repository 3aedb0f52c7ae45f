"""Kernels of deterministic mode."""

import contextlib

import pytest
import torch

from marsbench.models.base import plain_kernels


@pytest.mark.parametrize("warns", [False, True])
@pytest.mark.parametrize("is_on", [False, True])
def test_deterministic_mode_returns(is_on: bool, warns: bool) -> None:
    torch.use_deterministic_algorithms(is_on, warn_only=warns)
    try:
        with contextlib.suppress(ValueError), plain_kernels():
            assert not torch.are_deterministic_algorithms_enabled()
            raise ValueError
        assert torch.are_deterministic_algorithms_enabled() is is_on
        assert torch.is_deterministic_algorithms_warn_only_enabled() is warns
    finally:
        torch.use_deterministic_algorithms(False)
