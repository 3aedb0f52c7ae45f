import warnings

import torch

from marsbench.training.loop.kernels import unsteady_kernels


def put() -> None:
    # The only one of these operators on a CPU.
    torch.zeros(3).put_(torch.tensor([0]), torch.ones(1))


def test_operators_without_deterministic_kernels_are_collected() -> None:
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        for _ in range(2):  # also in the second run of a process
            with warnings.catch_warnings(record=True) as shown, unsteady_kernels() as names:
                put()
                warnings.warn("another", UserWarning, stacklevel=1)
            assert names == {"put_"}
            assert [str(warning.message) for warning in shown] == ["another"]
    finally:
        torch.use_deterministic_algorithms(False)
    with unsteady_kernels() as names:
        put()
    assert names == set()
