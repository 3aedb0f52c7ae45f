"""Preparation of batches, and counts of pixels, on the second device."""

import numpy as np
import pytest
import torch

from marsbench.config.schema import Augment
from marsbench.data.transforms import finish_batch
from marsbench.metrics.masks import confusion as count_pixels
from marsbench.training.loop.objectives.masks import confusion
from tests.device.tensors import second
from tests.device.watching import watched

pytestmark = pytest.mark.device


def test_flips_and_turns_take_one_copy() -> None:
    images = torch.randint(256, (8, 1, 6, 6), dtype=torch.uint8)
    batch = {"image": images, "mask": images[:, 0], "seed": list(range(8))}
    expected = finish_batch(batch, Augment.D4)
    there = {**batch, "image": images.to(second()), "mask": images[:, 0].to(second())}
    with watched() as seen:
        finished = finish_batch(there, Augment.D4)
    for key in ("image", "mask"):
        assert torch.equal(finished[key].cpu(), expected[key])
    assert seen.waits.total() == 0
    assert seen.launches["where"] == 6
    assert seen.launches.total() <= 24


def test_pixels_are_counted_without_waiting() -> None:
    rng = np.random.default_rng(0)
    truth, classes = rng.integers(0, 5, (3, 9, 11)), rng.integers(0, 5, (3, 9, 11))
    truth[:, :2] = 255
    truth[2] = 255
    there = [torch.from_numpy(values).to(second()) for values in (truth, classes)]
    with watched() as seen:
        counts = confusion(there[0], there[1], 5)
    assert seen.waits.total() == 0
    assert not {name for name in seen.launches if "scatter" in name or "bincount" in name}
    expected = [count_pixels(t, p, 5) for t, p in zip(truth, classes, strict=True)]
    np.testing.assert_array_equal(counts.cpu().numpy(), expected)
