"""Masks and boxes change as their images do."""

import numpy as np
import pytest
import torch

from marsbench.config.schema import Augment
from marsbench.data.transforms import (
    SMALLEST_PART,
    augment_boxes,
    finish_batch,
    resize_mask,
    turn_boxes,
    window_of,
    zoom_boxes,
)

SIDE = 24
EVERY = [Augment.HFLIP, Augment.D4, Augment.SCALE_HFLIP, Augment.SCALE_D4]


def batch_of(seeds: list[int]) -> dict[str, object]:
    """Images whose one bright rectangle is their mask and their box."""
    rng = np.random.default_rng(0)
    images = torch.zeros(len(seeds), 1, SIDE, SIDE, dtype=torch.uint8)
    masks = torch.zeros(len(seeds), SIDE, SIDE, dtype=torch.uint8)
    boxes = []
    for i in range(len(seeds)):
        left, top = rng.integers(0, SIDE - 9, 2)
        width, height = rng.integers(4, 9, 2)
        images[i, 0, top : top + height, left : left + width] = 255
        masks[i, top : top + height, left : left + width] = 1
        boxes.append(torch.tensor([[left, top, left + width, top + height]]).float())
    labels = [torch.zeros(1, dtype=torch.int64) for _ in seeds]
    return {"image": images, "mask": masks, "boxes": boxes, "labels": labels, "seed": seeds}


def tight(mask: torch.Tensor) -> list[float]:
    rows, columns = mask.any(dim=1).nonzero(), mask.any(dim=0).nonzero()
    return [float(v) for v in (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)]


@pytest.mark.parametrize("augment", [Augment.HFLIP, Augment.D4])
def test_flips_and_turns_are_exact(augment: Augment) -> None:
    batch = finish_batch(augment_boxes(batch_of(list(range(16))), augment), augment)
    for image, mask, boxes in zip(batch["image"], batch["mask"], batch["boxes"], strict=True):
        assert torch.equal(image[0] == 1, mask == 1)
        assert boxes.tolist() == [tight(mask == 1)]
    if augment is Augment.D4:
        assert len({tuple(m.flatten().tolist()) for m in batch["mask"][:8]}) == 8


@pytest.mark.parametrize("augment", [Augment.SCALE_HFLIP, Augment.SCALE_D4])
def test_zooming_keeps_all_three_together(augment: Augment) -> None:
    seeds = np.random.default_rng(1).integers(2**63, size=400).tolist()
    batch = finish_batch(augment_boxes(batch_of(seeds), augment), augment)
    kept = 0
    for image, mask, boxes in zip(batch["image"], batch["mask"], batch["boxes"], strict=True):
        # Bilinear edges and nearest ids differ by about a pixel.
        assert ((image[0] > 0.5) != (mask == 1)).float().mean() < 0.08
        for box in boxes.tolist():
            kept += 1
            assert np.abs(np.array(box) - tight(mask == 1)).max() <= 1.1
    # What lies outside the window is not dropped but unseen.
    assert 0 < batch["dropped"] <= 400 - kept


def test_a_window_is_a_part_of_the_image() -> None:
    windows = [window_of(seed * 8, 100) for seed in range(300)]
    parts = [part for _, _, part in windows]
    assert all(0 <= left <= 100 - part and 0 <= top <= 100 - part for left, top, part in windows)
    assert 100 * SMALLEST_PART - 1 <= min(parts) < 75
    assert max(parts) > 95
    assert window_of(8, 100) == window_of(9, 100)  # the lowest bits flip and turn


def test_what_is_left_of_a_box() -> None:
    boxes = torch.tensor(
        [[0.0, 0, 10, 10], [40, 40, 60, 60], [95, 95, 100, 100], [50, 0, 50.5, 90]]
    )
    clipped, kept = zoom_boxes(boxes, (5, 5, 50), 100)
    assert kept.tolist() == [True, True, False, False]
    assert clipped[0].tolist() == [0, 0, 10, 10]
    assert clipped[1].tolist() == [70, 70, 100, 100]


def test_boxes_return_after_all_turns() -> None:
    boxes = torch.tensor([[1.0, 2, 5, 9]])
    turned = boxes
    for _ in range(4):
        turned = turn_boxes(turned, 0b010, SIDE, Augment.D4)  # one quarter turn
    assert torch.equal(turned, boxes)
    assert torch.equal(turn_boxes(boxes, 0b110, SIDE, Augment.HFLIP), boxes)
    assert turn_boxes(torch.zeros(0, 4), 7, SIDE, Augment.D4).shape == (0, 4)


@pytest.mark.parametrize("augment", EVERY)
def test_evaluation_changes_nothing(augment: Augment) -> None:
    batch = batch_of([0, 1])
    del batch["seed"]
    finished = finish_batch(batch, augment)
    assert torch.equal(finished["mask"], batch_of([0, 1])["mask"].long())  # type: ignore[attr-defined]
    assert finished["mask"].dtype == torch.int64


def test_masks_are_resized_by_nearest() -> None:
    mask = torch.tensor([[0, 255], [3, 1]], dtype=torch.uint8)
    resized = resize_mask(mask, 4)
    assert set(resized.flatten().tolist()) == {0, 1, 3, 255}
    assert set(resized[:2, 2:].flatten().tolist()) == {255}
