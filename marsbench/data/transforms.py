"""What happens to images between the cache and the model.

Resizing is done image by image on uint8, by the processes that load data. What follows is done
in batches on the device: random changes, and scaling to float32 in [0, 1]. Normalising is the
model's part.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torchvision.transforms import v2

from marsbench.config import Augment


def resize(side: int) -> v2.Transform:
    """Resize uint8 images (..., C, H, W) to (side, side)."""
    return v2.Resize((side, side), antialias=True)


def to_float(image: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """Scale uint8 to a floating point type, in [0, 1]."""
    return image.to(dtype) / 255.0


def augment_batch(images: Tensor, seeds: Sequence[int], augment: Augment) -> Tensor:
    """Change every image of a batch in the way its seed says; exact, nothing is interpolated.

    The three lowest bits of a seed decide: bit 0 a horizontal flip, bits 1 and 2 the quarter
    turns. Eight flips and turns are then equally likely, and what happens to a sample depends on
    its seed alone, whatever batch, process or device it is in.

    Args:
        images: (B, C, H, W) of any type on any device; square where there are quarter turns.
        seeds: Non-negative seeds of the draws, shape (B,), in the memory of the host.
        augment: What to change, resolved.

    Returns:
        (B, C, H, W); the images themselves where nothing is to change.
    """
    if augment is Augment.NONE:
        return images
    turns = [seed >> 1 & 3 if augment is Augment.D4 else 0 for seed in seeds]
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


def finish_batch(
    batch: Mapping[str, Any],
    augment: Augment,
    *,
    channels_last: bool = False,
    dtype: torch.dtype = torch.float32,
) -> dict[str, Any]:
    """Make a batch that has come to its device ready for the model.

    Args:
        batch: A batch of `marsbench.data.dataset.Sample`, its images still uint8. Those that were
            drawn for training have seeds and are changed at random.
        augment: What to change, resolved.
        channels_last: Whether to lay images out channels last.
        dtype: Type of the images.
    """
    image = batch["image"]
    if "seed" in batch:
        image = augment_batch(image, batch["seed"], augment)
    image = to_float(image, dtype)
    if channels_last:
        image = image.contiguous(memory_format=torch.channels_last)
    return {**batch, "image": image}
