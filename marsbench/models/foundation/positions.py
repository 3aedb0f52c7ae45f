"""Fixed positions of Prithvi: sines and cosines of column, row and time.

Jakubik et al. 2023, https://arxiv.org/abs/2310.18660, and Szwarcman et al. 2024,
https://arxiv.org/abs/2412.02732.
"""

from typing import Any

import torch
from torch import Tensor, nn

_SHARES = (6, 6, 4)
"""Sixteenths of the width of a token for column, row and time."""

_LONGEST = 10_000
"""Ratio of the longest to the shortest wavelength, nearly."""


def fix(module: Any) -> None:
    """Give a transformer of timm the positions of a single image, which are never trained."""
    rows, columns = module.patch_embed.grid_size
    positions = encoded((1, rows, columns), module.embed_dim)
    module.pos_embed = nn.Parameter(positions, requires_grad=False)


def encoded(grid: tuple[int, int, int], width: int) -> Tensor:
    """Encode the positions of a series of images.

    Args:
        grid: Numbers of images, and of rows and columns of patches.
        width: Width of a token, a multiple of 16 with even parts.

    Returns:
        Positions (1, 1 + N, width), the first, of the class token, zero. Patches are in the order
        of time, row, column.
    """
    times, rows, columns = grid
    time, row, column = torch.meshgrid(
        *(torch.arange(n, dtype=torch.float64) for n in (times, rows, columns)), indexing="ij"
    )
    parts = [
        _waves(axis.flatten(), width // 16 * share)
        for axis, share in zip((column, row, time), _SHARES, strict=True)
    ]
    patches = torch.cat(parts, dim=1)
    return torch.cat([torch.zeros_like(patches[:1]), patches])[None].float()


def _waves(at: Tensor, width: int) -> Tensor:
    """Sines, then cosines, of positions (N,) at width / 2 frequencies; returns (N, width)."""
    half = width // 2
    frequencies = _LONGEST ** (-torch.arange(half, dtype=torch.float64) / half)
    angles = at[:, None] * frequencies
    return torch.cat([angles.sin(), angles.cos()], dim=1)
