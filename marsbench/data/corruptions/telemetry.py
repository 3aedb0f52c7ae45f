"""Corruptions between camera and ground: missing data and JPEG."""

import io

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from marsbench.data.corruptions.randomness import Draws

BLOCKS = 8
"""Number of blocks along a side of an image."""

BURST = 56
"""Number of bursts of lines in an image; a burst is lost or kept."""


def missing_lines(images: Tensor, draws: Draws, *, lines: float, blocks: float) -> Tensor:
    """Set bursts of lines and blocks to zero.

    Args:
        images: (B, C, H, W) in [0, 1].
        draws: Random numbers. Losses of a severity are among those of the stronger ones.
        lines: Share of missing lines.
        blocks: Share of missing blocks.
    """
    height, width = images.shape[-2:]
    bursts = min(BURST, height)
    of_line = torch.arange(height, device=images.device) * bursts // height
    without_line = (draws.ranks(0, bursts) < round(lines * bursts))[:, of_line]
    rows, columns = (
        torch.arange(side, device=images.device) * BLOCKS // side for side in (height, width)
    )
    lost = draws.ranks(1, BLOCKS**2) < round(blocks * BLOCKS**2)
    without_block = lost.view(-1, BLOCKS, BLOCKS)[:, rows][:, :, columns]
    return images.masked_fill((without_line[:, :, None] | without_block)[:, None], 0.0)


def jpeg(images: Tensor, draws: Draws, *, quality: float) -> Tensor:
    """Compress by JPEG.

    Args:
        images: (B, C, H, W) in [0, 1].
        draws: Unused.
        quality: Quality of libjpeg, 1 to 100.
    """
    pixels = (images.detach() * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
    decoded = np.stack([_recoded(picture, int(quality)) for picture in pixels])
    recoded = torch.from_numpy(decoded).to(images.device).permute(0, 3, 1, 2)
    return recoded.to(images.dtype) / 255.0


def _recoded(pixels: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    """Encode and decode an image (H, W, C)."""
    file = io.BytesIO()
    is_grey = pixels.shape[2] == 1
    Image.fromarray(pixels[:, :, 0] if is_grey else pixels).save(file, "JPEG", quality=quality)
    file.seek(0)
    with Image.open(file) as image:
        decoded: NDArray[np.uint8] = np.asarray(image).reshape(pixels.shape)
    return decoded
