"""Transforms between cache and model.

Workers resize image by image on uint8. Batches are then augmented on the device and scaled to
float32 in [0, 1]. The model normalises.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional

from marsbench.config.resizing import WHOLE, Resizing
from marsbench.config.schema import Augment


def resize(image: Tensor, side: int, resizing: Resizing = WHOLE) -> Tensor:
    """Resize an image (C, H, W), uint8 or floats in [0, 1], to (side, side), with antialiasing.

    Args:
        image: The image.
        side: Side of the square in pixels.
        resizing: Interpolation, and a central crop if any.
    """
    if resizing.shorter is None and image.shape[-2:] == (side, side):
        return image
    size = [side, side] if resizing.shorter is None else [resizing.shorter]
    mode = InterpolationMode(resizing.interpolation)
    resized: Tensor = functional.resize(image, size, interpolation=mode, antialias=True)
    if resized.is_floating_point() and mode is InterpolationMode.BICUBIC:
        resized = resized.clamp(0, 1)  # bicubic weights overshoot at edges
    if resizing.shorter is not None:
        resized = functional.center_crop(resized, [side, side])
    return resized


def resize_mask(mask: Tensor, side: int) -> Tensor:
    """Resize class ids (H, W) to (side, side) by nearest neighbour."""
    if mask.shape == (side, side):
        return mask
    mode = InterpolationMode.NEAREST_EXACT
    resized: Tensor = functional.resize(mask[None], [side, side], interpolation=mode)
    return resized[0]


def to_float(image: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """Convert an image to floating point in [0, 1]; floats are already scaled."""
    return image.to(dtype) / 255.0 if image.dtype == torch.uint8 else image.to(dtype)


_TURNED = (Augment.D4, Augment.SCALE_D4)
_SCALED = (Augment.SCALE_HFLIP, Augment.SCALE_D4)

SMALLEST_PART = 2 / 3
"""Smallest side of a random crop as a share of the image."""

SMALLEST_BOX = 2.0
"""Smallest width and height of a box after cropping, in pixels."""


def augment_batch(images: Tensor, seeds: Sequence[int], augment: Augment) -> Tensor:
    """Flip and turn each image of a batch by its seed, without interpolation.

    Bit 0 of the seed sets a horizontal flip, bits 1 and 2 the quarter turns: eight equally likely
    combinations. The result depends on the seed alone, not on batch, process or device.

    Args:
        images: (B, C, H, W), or masks (B, H, W), of any type on any device; square if quarter turns
            are possible.
        seeds: Non-negative seeds of the draws, shape (B,), in the memory of the host.
        augment: Resolved augmentation.

    Returns:
        Same shape and type; the images themselves without augmentation.
    """
    return _changed(images, _drawn(seeds, augment, images.device))


Change = Callable[[Tensor], Tensor]

_CHANGES: tuple[tuple[int, Change], ...] = (
    (1, lambda images: images.flip(-1)),
    (2, lambda images: images.rot90(1, (-2, -1))),
    (4, lambda images: images.rot90(2, (-2, -1))),
)
"""Bits of a seed and the changes that they set, in order; quarter turns add up."""


def _drawn(
    seeds: Sequence[int], augment: Augment, device: torch.device
) -> list[tuple[Change, Tensor | None]]:
    """Changes of a batch, each with a mask of its images on the device; None for all images."""
    changes = _CHANGES if augment in _TURNED else _CHANGES[:1]
    if augment is Augment.NONE:
        return []
    bits = [[bool(seed & bit) for seed in seeds] for bit, _ in changes]
    # One copy, and no synchronisation with the GPU.
    masks = torch.tensor(bits).to(device, non_blocking=True)
    return [
        (change, None if all(chosen) else mask)
        for (_, change), mask, chosen in zip(changes, masks, bits, strict=True)
        if any(chosen)
    ]


def _changed(images: Tensor, drawn: Sequence[tuple[Change, Tensor | None]]) -> Tensor:
    """Apply changes to images (B, ..., H, W)."""
    changed = images
    for change, mask in drawn:
        every = change(changed)
        if mask is not None:
            every = torch.where(mask.view(-1, *[1] * (images.ndim - 1)), every, changed)
        changed = every
    if changed.stride() != images.stride():
        changed = torch.empty_like(images).copy_(changed)
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
    """Left, top and side of the random crop of a seed.

    The side is drawn uniformly between `SMALLEST_PART` and 1 of the image's side.
    """
    rng = np.random.default_rng(seed >> 3)
    part = max(1, round(side * rng.uniform(SMALLEST_PART, 1.0)))
    return int(rng.integers(side - part + 1)), int(rng.integers(side - part + 1)), part


def zoom_boxes(boxes: Tensor, window: tuple[int, int, int], side: int) -> tuple[Tensor, Tensor]:
    """Crop boxes (N, 4) to a window and scale them to the image.

    Returns:
        Clipped boxes, (N, 4), and a mask of the boxes to keep, (N,): at least `SMALLEST_BOX`
        pixels in both directions and a quarter of the original area.
    """
    left, top, part = window
    scale = side / part
    moved = (boxes - boxes.new_tensor([left, top, left, top])) * scale
    clipped = moved.clamp(0, side)
    sides, before = clipped[:, 2:] - clipped[:, :2], moved[:, 2:] - moved[:, :2]
    kept = (sides >= SMALLEST_BOX).all(dim=1) & (sides.prod(dim=1) >= 0.25 * before.prod(dim=1))
    return clipped, kept


def _zoom(batch: dict[str, Any], seeds: Sequence[int]) -> None:
    """Crop and scale every image of a batch in place, with masks."""
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


def augment_boxes(batch: Mapping[str, Any], augment: Augment) -> dict[str, Any]:
    """Zoom, flip and turn the boxes of a batch in the memory of the host, as `finish_batch` images.

    Args:
        batch: A batch of `marsbench.data.dataset.Sample` with images (B, C, S, S).
        augment: Resolved augmentation.

    Returns:
        The batch; ``dropped`` is the number of boxes lost by cropping.
    """
    batch = dict(batch)
    if "seed" not in batch or "boxes" not in batch:
        return batch
    seeds, side = batch["seed"], batch["image"].shape[-1]
    if augment in _SCALED:
        pairs = zip(batch["boxes"], seeds, strict=True)
        zoomed = [zoom_boxes(boxes, window_of(seed, side), side) for boxes, seed in pairs]
        batch["boxes"] = [boxes[kept] for boxes, kept in zoomed]
        batch["labels"] = [v[kept] for v, (_, kept) in zip(batch["labels"], zoomed, strict=True)]
        # Counts boxes partly inside of the window; boxes outside are unseen, not dropped.
        batch["dropped"] = sum(
            int(((boxes[:, 2:] > boxes[:, :2]).all(dim=1) & ~kept).sum()) for boxes, kept in zoomed
        )
    if augment is not Augment.NONE:
        pairs = zip(batch["boxes"], seeds, strict=True)
        batch["boxes"] = [turn_boxes(boxes, seed, side, augment) for boxes, seed in pairs]
    return batch


def finish_batch(
    batch: Mapping[str, Any],
    augment: Augment,
    *,
    channels_last: bool = False,
    dtype: torch.dtype = torch.float32,
) -> dict[str, Any]:
    """Augment a batch on its device and convert its images to floating point.

    Masks are transformed with their images, boxes by `augment_boxes`.

    Args:
        batch: A batch of `marsbench.data.dataset.Sample`, with uint8 images from 8-bit files.
            Samples drawn for training have seeds and are augmented.
        augment: Resolved augmentation.
        channels_last: Whether to lay images out channels last.
        dtype: Type of the images.

    """
    batch = dict(batch)
    if "seed" in batch:
        seeds = batch["seed"]
        if augment in _SCALED:
            _zoom(batch, seeds)
        drawn = _drawn(seeds, augment, batch["image"].device)
        batch["image"] = _changed(batch["image"], drawn)
        if "mask" in batch:
            batch["mask"] = _changed(batch["mask"], drawn)
    if "mask" in batch:
        batch["mask"] = batch["mask"].long()
    image = to_float(batch["image"], dtype)
    if channels_last and image.ndim == 4:
        image = image.contiguous(memory_format=torch.channels_last)
    return {**batch, "image": image}
