"""The second device itself: errors of CUDA, launches, waits, and numbers of the host."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from tests.device.tensors import NAME, second
from tests.device.watching import watched

pytestmark = pytest.mark.device


def there(*shape: int) -> Tensor:
    return torch.randn(*shape).to(second())


def numbers(*values: float) -> Tensor:
    return torch.tensor(values, device=second())


MIXED: dict[str, Callable[[], Any]] = {
    "add": lambda: there(3, 4) + torch.randn(4),
    "add in place": lambda: torch.randn(3, 4).add_(there(4)),
    "scalar of the device": lambda: torch.randn(3).mul_(there(1)[0]),
    "matmul": lambda: there(3, 4) @ torch.randn(4, 2),
    "bmm into the host": lambda: torch.bmm(
        there(1, 2, 3), there(1, 3, 4), out=torch.empty(1, 2, 4)
    ),
    "cat": lambda: torch.cat([there(2), torch.randn(2)]),
    "index_select": lambda: there(3).index_select(0, torch.tensor([0])),
    "index_copy": lambda: there(3).index_copy_(0, torch.tensor([0]), there(1)),
    "gather": lambda: there(3).gather(0, torch.tensor([0])),
    "scatter_add": lambda: there(3).scatter_add_(0, torch.tensor([0]), there(1)),
    "index": lambda: torch.randn(3)[numbers(0).long()],
    "put": lambda: there(3).__setitem__(numbers(0, 1).long(), torch.randn(2)),
    "where": lambda: torch.where(there(3) > 0, there(3), torch.randn(3)),
    "loss": lambda: functional.cross_entropy(there(3, 2), torch.tensor([0, 1, 0])),
    "layer of the host": lambda: nn.Linear(4, 2)(there(3, 4)),
    "input of the host": lambda: nn.Linear(4, 2).to(second())(torch.randn(3, 4)),
    "numpy": lambda: there(3).numpy(),
    "asarray": lambda: np.asarray(there(3)),
    "generator": lambda: there(3).uniform_(generator=torch.Generator()),
}


@pytest.mark.parametrize("name", MIXED)
def test_tensors_of_two_devices_raise(name: str) -> None:
    with pytest.raises((RuntimeError, TypeError)):
        MIXED[name]()


ALLOWED: dict[str, Callable[[], Any]] = {
    "scalar of the host": lambda: there(3) * torch.tensor(2.0),
    "index of the host": lambda: there(3)[torch.tensor([0, 2])],
    "copy": lambda: there(3).copy_(torch.randn(3)),
    "copy to the host": lambda: torch.randn(3).copy_(there(3)),
    "slice": lambda: there(3).__setitem__(slice(0, 1), torch.randn(1)),
    "number": lambda: torch.where(there(3) > 0, there(3), 1.0),
    "made on the device": lambda: numbers(1, 2) + torch.ones(2, device=second()),
    "one_hot": lambda: functional.one_hot(numbers(0, 1).long(), 3),
}


@pytest.mark.parametrize("name", ALLOWED)
def test_operators_allowed_on_cuda_do_not(name: str) -> None:
    ALLOWED[name]()


def test_a_network_trains_as_on_the_host() -> None:
    trained = []
    for device in (torch.device("cpu"), second()):
        torch.manual_seed(0)
        network = nn.Sequential(
            nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(64, 3)
        )
        images, labels = torch.randn(8, 1, 6, 6), torch.arange(8) % 3
        network.to(device)
        optimizer = torch.optim.AdamW(network.parameters(), lr=1e-2)
        for _ in range(3):
            optimizer.zero_grad()
            loss: Any = functional.cross_entropy(network(images.to(device)), labels.to(device))
            loss.backward()
            optimizer.step()
        trained.append(torch.cat([p.detach().cpu().flatten() for p in network.parameters()]))
    torch.testing.assert_close(trained[0], trained[1], rtol=0, atol=0)


def test_waits_of_the_host_are_counted() -> None:
    values = there(4)
    with watched() as seen:
        float(values.sum())
        values.tolist()
        values[values > 0]
        values.to("cpu")
        torch.randn(3).to(second())
        torch.randn(3).to(second(), non_blocking=True)
        (values + 1).mul_(2)
    assert Counter(cause for cause, _ in seen.waits.elements()) == {
        "item": 1,
        "to host": 2,
        "mask as index": 1,
        "to device": 1,
    }
    assert seen.launches["sum"] == seen.launches["add"] == seen.launches["mul_"] == 1


def test_autocast_uses_half_precision() -> None:
    layer = nn.Linear(4, 2).to(second())
    with torch.autocast(NAME, dtype=torch.bfloat16):
        half = layer(there(3, 4))
    assert half.dtype == torch.bfloat16
    assert layer(there(3, 4)).dtype == torch.float32
