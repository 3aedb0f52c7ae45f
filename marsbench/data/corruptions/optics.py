"""Corruptions by optics and sampling: defocus, smear, loss of resolution."""

import math

import torch
from torch import Tensor
from torch.nn import functional

from marsbench.data.corruptions.randomness import Draws

DIRECTIONS = 8
"""Number of directions of smear, evenly spread over half a turn."""

_FINE = 8
"""Samples along a pixel's side by which a disc's edge is smoothed."""


def defocus(images: Tensor, draws: Draws, *, radius: float) -> Tensor:
    """Spread every point over a disc.

    Args:
        images: (B, C, H, W) in [0, 1].
        draws: Unused.
        radius: Radius of the disc in pixels.
    """
    kernel = disc(radius).to(images.device, images.dtype, non_blocking=True)
    margin = kernel.shape[-1] // 2
    num_bands = images.shape[1]
    padded = _padded(images, margin)
    spread: Tensor = functional.conv2d(
        padded, kernel.expand(num_bands, 1, -1, -1), groups=num_bands
    )
    return spread


def disc(radius: float) -> Tensor:
    """Share of each pixel inside a disc around the middle one, sum 1, (K, K), K odd."""
    margin = math.ceil(radius - 0.5)
    side = 2 * margin + 1
    place = (torch.arange(side * _FINE, dtype=torch.float64) + 0.5) / _FINE - side / 2
    inside = (place[:, None] ** 2 + place**2 <= radius**2).double()
    shares = inside.view(side, _FINE, side, _FINE).mean(dim=(1, 3))
    return shares / shares.sum()


def smear(images: Tensor, draws: Draws, *, length: float) -> Tensor:
    """Average each image along a line of `length` pixels around every pixel.

    Args:
        images: (B, C, H, W) in [0, 1].
        draws: Random numbers: the direction of each image.
        length: Odd number of averaged pixels.
    """
    reach = int(length) // 2
    padded = _padded(images, reach)
    height, width = images.shape[-2:]
    # Directions on the host: no synchronisation with the GPU.
    on_host = Draws(draws.seeds, torch.device("cpu"))
    directions = (on_host.uniform(0, 1)[:, 0] * DIRECTIONS).long()
    smeared = torch.empty_like(images)
    for direction in sorted(set(directions.tolist())):
        where = (directions == direction).nonzero()[:, 0].to(images.device, non_blocking=True)
        part = padded.index_select(0, where)
        total = torch.zeros_like(images[: len(part)])
        for down, right in line(direction, reach):
            top, left = reach + down, reach + right
            total += part[:, :, top : top + height, left : left + width]
        smeared.index_copy_(0, where, total / (2 * reach + 1))
    return smeared


def line(direction: int, reach: int) -> list[tuple[int, int]]:
    """Steps down and right to the pixels of a line of 2 `reach` + 1 pixels around a pixel.

    Args:
        direction: 0 (along the lines) to `DIRECTIONS` - 1, in equal parts of half a turn.
        reach: Number of pixels on either side.
    """
    angle = math.pi * direction / DIRECTIONS
    down, right = math.sin(angle), math.cos(angle)
    down, right = (step / max(abs(down), abs(right)) for step in (down, right))
    return [(round(step * down), round(step * right)) for step in range(-reach, reach + 1)]


def resolution(images: Tensor, draws: Draws, *, factor: float) -> Tensor:
    """Average the pixels to a coarser image and interpolate it to the former size.

    Args:
        images: (B, C, H, W) in [0, 1].
        draws: Unused.
        factor: Ratio of the pixels' sides.
    """
    height, width = images.shape[-2:]
    coarse = [max(1, round(side / factor)) for side in (height, width)]
    small = functional.interpolate(images, size=coarse, mode="area")
    return functional.interpolate(small, size=(height, width), mode="bilinear", align_corners=False)


def _padded(images: Tensor, margin: int) -> Tensor:
    """Repeat the pixels of the edges `margin` times."""
    if margin == 0:
        return images
    return functional.pad(images, (margin,) * 4, mode="replicate")
