"""What happens to images between the cache and the model.

Resizing is done image by image on uint8, by the processes that load data. What follows is done
in batches on the device: random changes, and scaling to float32 in [0, 1]. Normalising is the
model's part.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional

from marsbench.config.schema import Augment


def resize(image: Tensor, side: int) -> Tensor:
    """Resize an image (C, H, W) of any type to (side, side), with antialiasing."""
    if image.shape[-2:] == (side, side):
        return image
    resized: Tensor = functional.resize(image, [side, side], antialias=True)
    return resized


def resize_mask(mask: Tensor, side: int) -> Tensor:
    """Resize class ids (H, W) to (side, side): each pixel takes the id of the nearest."""
    if mask.shape == (side, side):
        return mask
    mode = InterpolationMode.NEAREST_EXACT
    resized: Tensor = functional.resize(mask[None], [side, side], interpolation=mode)
    return resized[0]


def to_float(image: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """Give an image as floating point in [0, 1]: uint8 is scaled, floats are there already."""
    return image.to(dtype) / 255.0 if image.dtype == torch.uint8 else image.to(dtype)


_TURNED = (Augment.D4, Augment.SCALE_D4)
_SCALED = (Augment.SCALE_HFLIP, Augment.SCALE_D4)

SMALLEST_PART = 2 / 3
"""Least share of an image's side that is blown up to all of it."""

SMALLEST_BOX = 2.0
"""Pixels a box has to have in both directions to be kept."""


def augment_batch(images: Tensor, seeds: Sequence[int], augment: Augment) -> Tensor:
    """Change every image of a batch in the way its seed says; exact, nothing is interpolated.

    The three lowest bits of a seed decide: bit 0 a horizontal flip, bits 1 and 2 the quarter
    turns. Eight flips and turns are then equally likely, and what happens to a sample depends on
    its seed alone, whatever batch, process or device it is in.

    Args:
        images: (B, C, H, W), or masks (B, H, W), of any type on any device; square where there
            are quarter turns.
        seeds: Non-negative seeds of the draws, shape (B,), in the memory of the host.
        augment: What to change, resolved.

    Returns:
        As given; the images themselves where nothing is to change.
    """
    if augment is Augment.NONE:
        return images
    turns = [seed >> 1 & 3 if augment in _TURNED else 0 for seed in seeds]
    changed = torch.empty_like(images)
    for quarter in range(4):
        for flip in (0, 1):
            chosen = [i for i, seed in enumerate(seeds) if turns[i] == quarter and seed & 1 == flip]
            if not chosen:
                continue
            # The positions are known on the host, so a GPU is never waited for.
            where = torch.tensor(chosen).to(images.device, non_blocking=True)
            part = images.index_select(0, where)
            part = part.flip(-1) if flip else part
            changed.index_copy_(0, where, part.rot90(quarter, (-2, -1)))
    return changed


def turn_boxes(boxes: Tensor, seed: int, side: int, augment: Augment) -> Tensor:
    """Change boxes (N, 4) of a square image as `augment_batch` changes the image."""
    left, top, right, bottom = boxes.unbind(-1)
    if seed & 1:
        left, right = side - right, side - left
    for _ in range(seed >> 1 & 3 if augment in _TURNED else 0):
        left, top, right, bottom = top, side - right, bottom, side - left
    return torch.stack([left, top, right, bottom], dim=-1)


def window_of(seed: int, side: int) -> tuple[int, int, int]:
    """Left, top and side of the part of an image that is blown up; a seed gives one window.

    The side is drawn uniformly from `SMALLEST_PART` of the image's to all of it.
    """
    rng = np.random.default_rng(seed >> 3)
    part = max(1, round(side * rng.uniform(SMALLEST_PART, 1.0)))
    return int(rng.integers(side - part + 1)), int(rng.integers(side - part + 1)), part


def zoom_boxes(boxes: Tensor, window: tuple[int, int, int], side: int) -> tuple[Tensor, Tensor]:
    """Cut boxes (N, 4) to a window and blow them up.

    Returns:
        The boxes, clipped, (N, 4), and which of them still show something, (N,): at least
        `SMALLEST_BOX` pixels in both directions and a quarter of the area there was.
    """
    left, top, part = window
    scale = side / part
    moved = (boxes - boxes.new_tensor([left, top, left, top])) * scale
    clipped = moved.clamp(0, side)
    sides, before = clipped[:, 2:] - clipped[:, :2], moved[:, 2:] - moved[:, :2]
    kept = (sides >= SMALLEST_BOX).all(dim=1) & (sides.prod(dim=1) >= 0.25 * before.prod(dim=1))
    return clipped, kept


def _zoom(batch: dict[str, Any], seeds: Sequence[int]) -> None:
    """Blow up a part of every image of a batch, with its mask and boxes; in place."""
    images = batch["image"]
    side = images.shape[-1]
    windows = [window_of(seed, side) for seed in seeds]
    parts = [(slice(top, top + part), slice(left, left + part)) for left, top, part in windows]
    batch["image"] = torch.stack(
        [
            resize(image[:, rows, columns], side)
            for image, (rows, columns) in zip(images, parts, strict=True)
        ]
    )
    if "mask" in batch:
        masks = zip(batch["mask"], parts, strict=True)
        batch["mask"] = torch.stack([resize_mask(m[rows, cols], side) for m, (rows, cols) in masks])
    if "boxes" in batch:
        found = [zoom_boxes(b, w, side) for b, w in zip(batch["boxes"], windows, strict=True)]
        batch["boxes"] = [boxes[kept] for boxes, kept in found]
        batch["labels"] = [v[kept] for v, (_, kept) in zip(batch["labels"], found, strict=True)]
        # Of those that the window shows in part; what lies outside is not dropped but unseen.
        batch["dropped"] = sum(
            int(((boxes[:, 2:] > boxes[:, :2]).all(dim=1) & ~kept).sum()) for boxes, kept in found
        )


def finish_batch(
    batch: Mapping[str, Any],
    augment: Augment,
    *,
    channels_last: bool = False,
    dtype: torch.dtype = torch.float32,
) -> dict[str, Any]:
    """Make a batch that has come to its device ready for the model.

    Masks and boxes are changed as their images are.

    Args:
        batch: A batch of `marsbench.data.dataset.Sample`, its images still uint8 where the files
            are of 8 bits. Those that were drawn for training have seeds and are changed at random.
        augment: What to change, resolved.
        channels_last: Whether to lay images out channels last.
        dtype: Type of the images.

    Returns:
        The batch; with ``dropped``, the number of boxes of which too little was left.
    """
    batch = dict(batch)
    if "seed" in batch:
        seeds = batch["seed"]
        if augment in _SCALED:
            _zoom(batch, seeds)
        batch["image"] = augment_batch(batch["image"], seeds, augment)
        if "mask" in batch:
            batch["mask"] = augment_batch(batch["mask"], seeds, augment)
        if "boxes" in batch and augment is not Augment.NONE:
            side = batch["image"].shape[-1]
            pairs = zip(batch["boxes"], seeds, strict=True)
            batch["boxes"] = [turn_boxes(boxes, seed, side, augment) for boxes, seed in pairs]
    if "mask" in batch:
        batch["mask"] = batch["mask"].long()
    image = to_float(batch["image"], dtype)
    if channels_last and image.ndim == 4:
        image = image.contiguous(memory_format=torch.channels_last)
    return {**batch, "image": image}
