"""Corruptions of images on the second device: the same images, without waiting for the device."""

import pytest
import torch

from marsbench.data.corruptions.applying import corrupt_images, corrupt_pairs
from marsbench.data.corruptions.table import Subject, names_of
from tests.device.tensors import second
from tests.device.watching import watched

pytestmark = pytest.mark.device

ON_THE_HOST = ("jpeg",)
"""Corruptions by a codec."""


@pytest.mark.parametrize("name", names_of(Subject.IMAGES))
def test_images_are_those_of_the_host(name: str) -> None:
    torch.manual_seed(0)
    images, seeds = torch.rand(4, 3, 40, 40), [3, 1, 2**62, 9]
    expected = corrupt_images(images, name, 3, seeds)
    there = images.to(second())
    with watched() as seen:
        corrupted = corrupt_images(there, name, 3, seeds)
    assert corrupted.device == second()
    torch.testing.assert_close(corrupted.cpu(), expected, atol=1e-5, rtol=0)
    waits = {cause for cause, _ in seen.waits}
    assert bool(waits) == (name in ON_THE_HOST), seen.waits


def test_pairs_are_those_of_the_host() -> None:
    images = torch.rand(2, 3, 40, 40)
    expected = corrupt_pairs(images, "noise", 3, [1, 2])
    corrupted = corrupt_pairs(images.to(second()), "noise", 3, [1, 2])
    torch.testing.assert_close(corrupted.cpu(), expected, atol=1e-5, rtol=0)
